//! Random unknown members anywhere in a genuine frame.

use hallpass_verify::FrameError;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::setup::{OBJECTS, TASK, frame, pass, path, revocation, seen, signed, told, with};

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
    ];
    let name = prop_oneof![Just("crit".to_owned()), Just("v".to_owned()), "[a-z]{1,6}"];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An unknown member: its object, its name, what it holds. No member of today's begins with `xx`.
fn member() -> impl Strategy<Value = (usize, String, Value)> {
    (0..OBJECTS.len(), "xx[a-z_.]{0,10}", anything())
}

/// The frame that comes second: it revokes the pass, or it does not.
fn second(revokes: bool) -> Value {
    let mut second = frame(3);
    if revokes {
        let entry = serde_json::to_value(revocation(TASK)).unwrap();
        second["revocations"].as_array_mut().unwrap().push(entry);
    }
    second
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn unknown_members_never_change_what_a_verifier_decides(
        members in prop::collection::vec(member(), 1..8),
        revokes in any::<bool>(),
    ) {
        let (first, pass) = (signed(&frame(2)), pass());
        let plain = told(&first);
        plain.accept_frame(&signed(&second(revokes))).unwrap();
        let mut more = second(revokes);
        for (object, name, value) in members {
            more = with(more, OBJECTS[object], json!({name: value}));
        }
        let verifier = told(&first);
        verifier.accept_frame(&signed(&more)).unwrap();
        prop_assert_eq!(verifier.memory(), plain.memory());
        prop_assert_eq!(verifier.manifest(), plain.manifest());
        let expected = seen(&plain, &pass);
        prop_assert_eq!(&expected["decision"] == "allow", !revokes);
        prop_assert_eq!(seen(&verifier, &pass), expected);
    }

    #[test]
    fn an_unknown_critical_member_always_refuses_and_leaves_no_mark(
        members in prop::collection::vec(member(), 0..5),
        (object, name, value) in member(),
        known in any::<bool>(),
        revokes in any::<bool>(),
    ) {
        let (first, pass) = (signed(&frame(2)), pass());
        let verifier = told(&first);
        let before = (seen(&verifier, &pass), verifier.memory(), verifier.manifest());
        let mut more = second(revokes);
        for (object, name, value) in members {
            more = with(more, OBJECTS[object], json!({name: value}));
        }
        let pointer = OBJECTS[object];
        let present = more.pointer(pointer).unwrap().as_object().unwrap().keys().next().cloned();
        let known_first = present.filter(|present| known && !present.starts_with('x'));
        let mut crit: Vec<String> = known_first.into_iter().collect();
        crit.push(name.clone());
        more = with(more, pointer, json!({&name: value, "crit": crit}));
        let error = verifier.accept_frame(&signed(&more)).unwrap_err();
        prop_assert_eq!(error, FrameError::Critical { member: path(pointer, &name) });
        prop_assert_eq!((seen(&verifier, &pass), verifier.memory(), verifier.manifest()), before);
        // What was refused does not keep it from the next.
        verifier.accept_frame(&signed(&second(revokes))).unwrap();
    }
}
