//! Arguments: what a value that is not quite what a constraint looks at comes to.

use hallpass_core::{
    base::{ReasonCode, ids::ServerUri},
    token::{Call, GrantedDetail, Narrowing, PassToken, attenuate},
};
use hallpass_verify::Verifier;
use serde_json::{Value, json};

use super::code;
use support::{Issuer, raw, rights};

fn constrained(issuer: &Issuer, constraints: Value) -> PassToken {
    issuer.mint(vec![rights(
        json!({"tools": ["transfer"], "constraints": {"transfer": constraints}}),
    )])
}

fn transfer(verifier: &Verifier, token: &PassToken, arguments: Value) -> Option<ReasonCode> {
    code(verifier, token, "transfer", &arguments)
}

#[test]
fn a_list_with_one_bad_path_is_no_good_path() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let refused = Some(ReasonCode::ArgumentConstraint);
    for pointer in ["/path", "/paths", "/paths/0"] {
        let pass = constrained(&issuer, json!({ pointer: {"under": "/srv/data"} }));
        for value in [
            json!(["/srv/data/a", "/etc/passwd"]),
            json!(["/etc/passwd", "/srv/data/a"]),
            json!(["/srv/data/a"]),
            json!({"0": "/srv/data/a"}),
            json!("/srv/data/../etc"),
            json!("/srv/database"),
            json!("/srv/data//x"),
            json!("/srv/data/x/"),
            json!("/srv/data\\..\\x"),
            json!("/srv/data/%2e%2e/x"),
            json!("srv/data"),
            json!("file:///srv/data"),
            json!(""),
            json!(null),
        ] {
            let arguments = json!({"path": value, "paths": value});
            assert_eq!(
                transfer(&verifier, &pass, arguments),
                refused,
                "{pointer} {value}"
            );
        }
    }
    let pass = constrained(&issuer, json!({"/path": {"under": "/srv/data"}}));
    for good in ["/srv/data", "/srv/data/a", "/srv/data/ä…/ﬁle b"] {
        assert_eq!(
            transfer(&verifier, &pass, json!({"path": good, "paths": ["/etc"]})),
            None,
            "{good}"
        );
    }
}

#[test]
fn one_good_value_among_bad_ones_satisfies_nothing() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let pass = constrained(&issuer, json!({"/owner": {"in": ["acme"]}}));
    assert_eq!(transfer(&verifier, &pass, json!({"owner": "acme"})), None);
    for owner in [
        json!(["acme", "evil"]),
        json!(["acme"]),
        json!({"": "acme"}),
        json!({"owner": "acme"}),
        json!(null),
    ] {
        let refused = Some(ReasonCode::ArgumentConstraint);
        assert_eq!(
            transfer(&verifier, &pass, json!({"owner": owner, "x": "acme"})),
            refused,
            "{owner}"
        );
    }
    // A name that only looks like the pointer is another one.
    for arguments in [
        json!({"/owner": "acme"}),
        json!({"Owner": "acme"}),
        json!({"owner ": "acme"}),
        json!({"o": {"wner": "acme"}}),
    ] {
        assert_eq!(
            transfer(&verifier, &pass, arguments),
            Some(ReasonCode::ArgumentConstraint)
        );
    }
}

#[test]
fn check_if_is_existential_and_so_is_not_what_we_write() {
    // The trap itself, in a block that a holder wrote by hand: one good argument is enough for it.
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let plain = issuer.mint(vec![rights(json!({"tools": ["transfer"]}))]);
    let some = raw::append(
        &plain,
        &issuer.root.public(),
        r#"check if arg($p, $v), $v === "acme";"#,
    );
    let all = raw::append(
        &plain,
        &issuer.root.public(),
        r#"check all arg($p, $v), $v === "acme";"#,
    );
    let mixed = json!({"a": "acme", "b": "evil"});
    assert_eq!(transfer(&verifier, &some, mixed.clone()), None);
    assert_eq!(
        transfer(&verifier, &all, mixed),
        Some(ReasonCode::ArgumentConstraint)
    );
    assert_eq!(
        transfer(&verifier, &all, json!({})),
        Some(ReasonCode::ArgumentConstraint),
        "false when nothing matches"
    );
}

#[test]
fn a_name_that_a_server_could_take_for_another_satisfies_nothing() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let pass = constrained(&issuer, json!({"/amount": {"max": 100}}));
    let refused = Some(ReasonCode::ArgumentConstraint);
    assert_eq!(transfer(&verifier, &pass, json!({"amount": 1})), None);
    assert_eq!(
        transfer(
            &verifier,
            &pass,
            json!({"amount": 1, "note": {"a": 1, "A": 2}})
        ),
        None
    );
    for other in ["Amount", "AMOUNT", "amoUnt"] {
        assert_eq!(
            transfer(&verifier, &pass, json!({"amount": 1, other: 1_000_000})),
            refused,
            "{other}"
        );
    }
    // A closed list sees every name, and a check on whatever arguments there are is not got around.
    let members = json!({"tools": ["transfer"], "closed_arguments": ["transfer"], "constraints": {"transfer": {"/o": {"max": 5}}}});
    let closed = issuer.mint(vec![rights(members)]);
    let denial = super::call(&verifier, &closed, "transfer", &json!({"o": 1, "O": 9})).unwrap_err();
    assert!(
        denial.codes().contains(&ReasonCode::ArgumentNotAllowed),
        "{denial}"
    );
    let plain = issuer.mint(vec![rights(json!({"tools": ["transfer"]}))]);
    let every = raw::append(
        &plain,
        &issuer.root.public(),
        "check all arg($p, $v), $v <= 5;",
    );
    assert_eq!(
        transfer(&verifier, &every, json!({"a": 9, "A": 9, "b": 1})),
        refused
    );
    assert_eq!(
        transfer(&verifier, &plain, json!({"a": 9, "A": 9, "b": 1})),
        None
    );
}

#[test]
fn a_text_too_long_to_be_searched_hides_from_no_check() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let plain = issuer.mint(vec![rights(json!({"tools": ["transfer"]}))]);
    let root = issuer.root.public();
    let refused = Some(ReasonCode::ArgumentConstraint);
    let long = json!({"memo": "evil".repeat(2_000), "owner": "acme"});
    // Where nobody looks it passes, where somebody looks at it or at everything it does not.
    assert_eq!(transfer(&verifier, &plain, long.clone()), None);
    let every = raw::append(
        &plain,
        &root,
        r#"check all arg($p, $v), !$v.contains("evil");"#,
    );
    assert_eq!(
        transfer(&verifier, &every, json!({"memo": "good", "owner": "acme"})),
        None
    );
    assert_eq!(transfer(&verifier, &every, long.clone()), refused);
    let memo = constrained(&issuer, json!({"/memo": {"prefix": "evil"}}));
    assert_eq!(transfer(&verifier, &memo, json!({"memo": "evil"})), None);
    assert_eq!(transfer(&verifier, &memo, long.clone()), refused);
    let owner = constrained(&issuer, json!({"/owner": {"equal": "acme"}}));
    assert_eq!(transfer(&verifier, &owner, long), None);
    // Nor is a resource's name searched that no right can name.
    let named = raw::append(
        &plain,
        &root,
        r#"check if call($s, $k, $n), !$n.contains("evil");"#,
    );
    let named = verifier.verify(named.expose()).unwrap();
    let uri = format!("file:///srv/data/{}", "evil".repeat(2_000));
    let denial = verifier.clear(&named, &Call::resource(&uri)).unwrap_err();
    assert_eq!(denial.codes(), [ReasonCode::NotGranted]);
}

#[test]
fn a_value_of_another_type_is_a_refusal_and_no_fault() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let wrong = Some(ReasonCode::ArgumentType);
    let absent = Some(ReasonCode::ArgumentConstraint);
    for (constraint, value, expected) in [
        (json!({"max": 5}), json!("3"), wrong),
        (json!({"max": 5}), json!(true), wrong),
        (json!({"max": 5}), json!(3.0), absent),
        (json!({"max": 5}), json!(1e300), absent),
        (
            json!({"max": 5}),
            json!(18_446_744_073_709_551_615_u64),
            absent,
        ),
        (json!({"max": 5}), json!(null), absent),
        (json!({"max": 5}), json!([3]), absent),
        (json!({"min": i64::MIN}), json!(i64::MIN), None),
        (json!({"in": ["3"]}), json!(3), wrong),
        (json!({"in": [3]}), json!("3"), wrong),
        (json!({"in": [true]}), json!("true"), wrong),
        (json!({"equal": "3"}), json!(3), wrong),
        (json!({"equal": true}), json!(1), wrong),
        (json!({"equal": 1}), json!(true), wrong),
        (json!({"prefix": "3"}), json!(31), wrong),
        (json!({"prefix": "3"}), json!("31"), None),
    ] {
        let pass = constrained(&issuer, json!({"/v": constraint}));
        assert_eq!(
            transfer(&verifier, &pass, json!({"v": value})),
            expected,
            "{constraint} {value}"
        );
    }
    // Two constraints that no one type satisfies refuse everything, and still decide.
    let pass = constrained(&issuer, json!({"/v": {"max": 5}}));
    let mut narrowing = Narrowing::default();
    let detail =
        json!({"tools": ["transfer"], "constraints": {"transfer": {"/v": {"prefix": "x"}}}});
    narrowing.rights = Some(vec![rights(detail)]);
    let pass = attenuate(&pass, &narrowing).unwrap().token;
    for value in [json!(3), json!("x"), json!(true), json!(null)] {
        let found = transfer(&verifier, &pass, json!({"v": value}));
        assert!(found == wrong || found == absent, "{value}: {found:?}");
    }
}

#[test]
fn hosts_are_compared_whole_and_in_one_spelling() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let pass = constrained(&issuer, json!({"/url": {"host": ["api.example.com"]}}));
    for good in [
        "https://api.example.com",
        "https://api.example.com:8443/x?y=z#f",
        "http://api.example.com/ü",
    ] {
        assert_eq!(
            transfer(&verifier, &pass, json!({"url": good})),
            None,
            "{good}"
        );
    }
    for bad in [
        "https://api.example.com.evil.example/",
        "https://evil.example/?https://api.example.com",
        "https://evil.example#@api.example.com",
        "https://api.example.com@evil.example/",
        "https://api.example.com\\@evil.example/",
        "https://api.example.com./",
        "https://API.example.com/",
        "https://api.example.com%2eevil.example/",
        "https://api%2eexample.com/",
        "https:/api.example.com/",
        "https:api.example.com",
        "//api.example.com/",
        "ftp://api.example.com/",
        " https://api.example.com/",
        "https://api.example.com\t/",
        "https://api。example.com/",
        "https://[::ffff:1.2.3.4]/",
        "api.example.com",
    ] {
        assert_eq!(
            transfer(&verifier, &pass, json!({"url": bad})),
            Some(ReasonCode::ArgumentConstraint),
            "{bad}"
        );
    }
}

#[test]
fn a_closed_list_is_closed() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let members = json!({"tools": ["transfer"], "closed_arguments": ["transfer"],
        "constraints": {"transfer": {"/o/x": {"max": 5}}}});
    let pass = issuer.mint(vec![rights(members)]);
    assert_eq!(transfer(&verifier, &pass, json!({"o": {"x": 3}})), None);
    let refused = Some(ReasonCode::ArgumentNotAllowed);
    for arguments in [
        json!({"o": {"x": 3, "y": 1}}),
        json!({"o": {"x": 3}, "p": null}),
        json!({"o": {"x": 3}, "p": {}}),
        json!({"o": {"x": 3}, "": 1}),
        json!({"o": {"x": 3}, "o/x": 3}),
    ] {
        assert_eq!(
            transfer(&verifier, &pass, arguments.clone()),
            refused,
            "{arguments}"
        );
    }
    // Closed over nothing: no arguments at all, whatever shape they come in.
    let none = issuer.mint(vec![rights(
        json!({"tools": ["transfer"], "closed_arguments": ["transfer"]}),
    )]);
    assert_eq!(transfer(&verifier, &none, json!({})), None);
    let without = verifier.verify(none.expose()).unwrap();
    assert!(
        verifier
            .clear(&without, &Call::tool("transfer", None))
            .is_ok()
    );
    for arguments in [
        json!({"a": 1}),
        json!(["a"]),
        json!("a"),
        json!(1),
        json!(null),
        json!([]),
    ] {
        assert_eq!(
            transfer(&verifier, &none, arguments.clone()),
            refused,
            "{arguments}"
        );
    }
}

#[test]
fn a_constraint_is_about_one_tool_of_one_server() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let mut elsewhere = GrantedDetail::new("https://b.example/mcp".parse::<ServerUri>().unwrap());
    elsewhere.tools = vec![
        "transfer".parse().unwrap(),
        "delete_ledger".parse().unwrap(),
    ];
    let here = rights(
        json!({"tools": ["transfer", "read_ledger"], "constraints": {"transfer": {"/amount": {"max": 5}}}}),
    );
    let pass = issuer.mint(vec![here, elsewhere]);
    assert_eq!(transfer(&verifier, &pass, json!({"amount": 5})), None);
    assert_eq!(
        transfer(&verifier, &pass, json!({"amount": 6})),
        Some(ReasonCode::ArgumentConstraint)
    );
    assert_eq!(
        code(&verifier, &pass, "read_ledger", &json!({"amount": 6})),
        None
    );
    // What is granted elsewhere is not granted here, and the other way round.
    assert_eq!(
        code(&verifier, &pass, "delete_ledger", &json!({})),
        Some(ReasonCode::NotGranted)
    );
    // A constraint elsewhere does not bind here.
    let mut bound = GrantedDetail::new("https://b.example/mcp".parse::<ServerUri>().unwrap());
    bound.tools = vec!["transfer".parse().unwrap()];
    let constraints = json!({"transfer": {"/amount": {"max": 1}}});
    bound.constraints = serde_json::from_value(constraints).unwrap();
    let pass = issuer.mint(vec![rights(json!({"tools": ["transfer"]})), bound]);
    assert_eq!(transfer(&verifier, &pass, json!({"amount": 6})), None);
}

#[test]
fn a_name_of_one_kind_is_not_that_of_another() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let pass = issuer.mint(vec![rights(
        json!({"prompts": ["read_ledger"], "resources": ["file:///srv/data"]}),
    )]);
    assert_eq!(
        code(&verifier, &pass, "read_ledger", &json!({})),
        Some(ReasonCode::NotGranted)
    );
    let verified = verifier.verify(pass.expose()).unwrap();
    let read = |uri: &str| {
        verifier
            .clear(&verified, &Call::resource(uri))
            .err()
            .map(|denial| denial.code())
    };
    for good in ["file:///srv/data", "file:///srv/data/a/b"] {
        assert_eq!(read(good), None, "{good}");
    }
    for bad in [
        "file:///srv/database",
        "file:///srv/data/../secret",
        "file:///srv/data/./x",
        "file:///srv/data/.. ",
        "file:///srv/data/..;a/x",
        "file:///srv//data",
        "file:///srv/data/%2e%2e/x",
        "file:///srv/data?x",
        "file:///srv/data#x",
        "FILE:///srv/data",
        "file://localhost/srv/data",
        "file:/srv/data",
        "/srv/data",
        "",
    ] {
        assert_eq!(read(bad), Some(ReasonCode::NotGranted), "{bad}");
    }
}

#[test]
fn a_list_of_tools_shows_what_could_be_called() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let members = json!({"tools": ["transfer", "read_ledger"], "constraints": {"transfer": {"/amount": {"max": 5}}}});
    let pass = issuer.mint(vec![rights(members)]);
    let shown = |token: &PassToken| {
        let pass = verifier.verify(token.expose()).unwrap();
        let tools = [
            "transfer",
            "read_ledger",
            "delete_ledger",
            "search_ledger",
            "unheard_of",
        ];
        let kind = hallpass_core::token::rights::Kind::Tool;
        tools
            .into_iter()
            .filter(|tool| verifier.may_show(&pass, kind, tool))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&pass), ["transfer", "read_ledger"]);
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    assert_eq!(
        shown(&attenuate(&pass, &narrowing).unwrap().token),
        ["read_ledger"]
    );
}
