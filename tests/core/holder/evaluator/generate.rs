//! Cases at random: mostly such as could be allowed, with something wrong here and there.

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Value, json};

use super::model::{
    Call, Case, Detail, ELSEWHERE, Flaw, HERE, Hop, Kind, Moment, Narrowing, PEOPLE, Plain,
    Presented, Revoked, Rule, Subject, Who,
};

const TOOLS: [&str; 5] = [
    "read_ledger",
    "search_ledger",
    "transfer",
    "delete_ledger",
    "unheard_of",
];
const PROMPTS: [&str; 2] = ["summary", "greet"];
const TREES: [&str; 4] = [
    "file:///srv/data",
    "file:///srv",
    "https://files.example/x",
    "file:///srv/data/inner",
];
const POINTERS: [&str; 6] = ["/amount", "/owner", "/path", "/url", "/flag", "/o/x"];
/// At most; half of it on average.
const CALLS: usize = 100;

pub(super) fn case() -> impl Strategy<Value = Case> {
    let bound = option::weighted(0.8, (who(), prop_oneof![1 => Just(0_u8), 6 => 1..5_u8]));
    let times = (
        prop_oneof![5 => Just(0_i64), 1 => 1..25_i64],
        prop_oneof![4 => 200..400_i64, 1 => 20..90_i64],
    );
    bound.prop_flat_map(move |bound| {
        (
            vec(detail(true, bound.is_some()), 1..4),
            times.clone(),
            vec(hop(), 0..5),
            vec(call(), 1..=CALLS),
            vec(moment(), 1..4),
        )
            .prop_map(
                move |(granted, (issued, life), hops, calls, moments)| Case {
                    granted,
                    issued,
                    life,
                    bound,
                    hops,
                    calls,
                    moments,
                },
            )
    })
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![8 => 0..PEOPLE - 1, 1 => Just(PEOPLE - 1)].prop_map(Who)
}

/// Whoever is right, mostly. Blocks are signed with Ed25519 only.
fn signer() -> impl Strategy<Value = Option<Who>> {
    option::weighted(0.1, (0..PEOPLE - 1).prop_map(Who))
}

fn rule() -> impl Strategy<Value = (&'static str, Rule)> {
    let text = |text: &str| Plain::Text(text.to_owned());
    prop_oneof![
        (option::of(-2..4_i64), 0..8_i64)
            .prop_map(|(min, more)| ("/amount", Rule::Between(min, Some(min.unwrap_or(0) + more)))),
        (-2..4_i64).prop_map(|min| ("/amount", Rule::Between(Some(min), None))),
        Just(("/owner", Rule::OneOf(vec![text("acme"), text("Q3 plan")]))),
        Just((
            "/amount",
            Rule::OneOf(vec![Plain::Int(1), Plain::Int(2), Plain::Int(3)])
        )),
        Just(("/o/x", Rule::Begins("Q3 "))),
        Just(("/owner", Rule::Exactly(text("acme")))),
        Just(("/flag", Rule::Exactly(Plain::Bool(true)))),
        Just(("/amount", Rule::Exactly(Plain::Int(3)))),
        Just(("/path", Rule::Under("/srv/data"))),
        Just(("/path", Rule::Under("/"))),
        Just(("/url", Rule::Host(vec!["api.example.com", "x.example"]))),
    ]
}

/// On the pointer that its kind makes sense for, mostly.
fn constraint() -> impl Strategy<Value = (usize, &'static str, Rule)> {
    (
        0..TOOLS.len(),
        rule(),
        option::weighted(0.15, select(&POINTERS[..])),
    )
        .prop_map(|(tool, (sensible, rule), pointer)| (tool, pointer.unwrap_or(sensible), rule))
}

fn detail(is_granted: bool, is_bound: bool) -> impl Strategy<Value = Detail> {
    let server = prop_oneof![6 => Just(HERE), 1 => Just(ELSEWHERE)];
    // The broker names something, a holder perhaps nothing.
    let tools = subsequence(TOOLS.to_vec(), if is_granted { 2..=5 } else { 0..=5 });
    let names = (
        tools,
        subsequence(PROMPTS.to_vec(), 0..=2),
        subsequence(TREES.to_vec(), 0..=3),
    );
    let constraints = vec(constraint(), 0..3);
    let switches = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.15),
        0..TOOLS.len(),
    );
    (server, names, constraints, switches).prop_map(
        move |(
            server,
            (tools, prompts, trees),
            constraints,
            (closed, call_proof, read_only, which),
        )| {
            let one = |which: usize| tools.get(which % tools.len().max(1)).copied();
            let constraints = constraints
                .into_iter()
                .filter_map(|(which, pointer, rule)| Some(((one(which)?, pointer), rule)))
                .collect();
            let closed = one(which).filter(|_| closed);
            let call_proof = one(which).filter(|_| call_proof && (is_bound || !is_granted));
            Detail {
                server,
                tools,
                prompts,
                trees,
                constraints,
                closed,
                call_proof,
                read_only,
            }
        },
    )
}

fn narrowing() -> impl Strategy<Value = Narrowing> {
    let rights = option::weighted(0.4, vec(detail(false, true), 0..3));
    (
        option::weighted(0.3, 0..400_i64),
        rights,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(until, rights, read_only)| Narrowing {
            until,
            rights,
            read_only,
        })
}

fn hop() -> impl Strategy<Value = Hop> {
    let delegate = (
        signer(),
        who(),
        narrowing(),
        prop_oneof![2 => Just(0_u8), 3 => Just(1), 1 => Just(2)],
    )
        .prop_flat_map(|(by, to, narrowing, further)| {
            let seals = prop::bool::weighted(0.1);
            seals.prop_map(move |seals| Hop::Delegate {
                by,
                to,
                narrowing: narrowing.clone(),
                further,
                seals,
            })
        });
    prop_oneof![1 => narrowing().prop_map(Hop::Narrow), 2 => delegate]
}

fn argument(pointer: &'static str) -> BoxedStrategy<Value> {
    let fitting = match pointer {
        "/amount" => vec![json!(0), json!(1), json!(3), json!(3), json!(100)],
        "/owner" => vec![
            json!("acme"),
            json!("acme"),
            json!("Q3 plan"),
            json!("evil"),
        ],
        "/path" => vec![
            json!("/srv/data/a"),
            json!("/srv/data"),
            json!("/"),
            json!("/srv/database"),
            json!("/srv/data/../x"),
            json!("/srv/data/%2e"),
            json!("/srv/data//x"),
            json!("/srv/data/..;x/y"),
            json!("srv/data"),
        ],
        "/url" => vec![
            json!("https://api.example.com/x"),
            json!("http://x.example:8080/?y"),
            json!("https://evil.example/"),
            json!("https://u@x.example/"),
            json!("https://X.example/"),
            json!("ftp://x.example/"),
        ],
        "/flag" => vec![json!(true), json!(false)],
        _ => vec![json!("Q3 report"), json!("Q3 "), json!("Q4 report")],
    };
    let doubtful = vec![
        json!(1.5),
        json!(null),
        json!([]),
        json!(["/srv/data/a", "/etc"]),
        json!({"x": 1}),
        json!("3"),
        json!(2),
        json!(true),
        json!("x".repeat(5_000)),
    ];
    prop_oneof![9 => select(fitting), 1 => select(doubtful)].boxed()
}

fn arguments() -> impl Strategy<Value = Value> {
    let each: Vec<_> = POINTERS
        .iter()
        .map(|pointer| option::weighted(0.75, argument(pointer)))
        .collect();
    let members = (
        each,
        option::weighted(0.1, select(vec!["unheard", "Amount", "a/b", "O"])),
    )
        .prop_map(|(values, extra): (Vec<Option<Value>>, _)| {
            let mut all = json!({});
            for (pointer, value) in POINTERS.iter().zip(values) {
                match (*pointer, value) {
                    (_, None) => {}
                    ("/o/x", Some(value)) => all["o"]["x"] = value,
                    (pointer, Some(value)) => all[&pointer[1..]] = value,
                }
            }
            if let Some(extra) = extra {
                all[extra] = json!({"of": 1});
            }
            all
        });
    let many: Value = (0..65)
        .map(|number| (format!("a{number}"), json!(number)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let odd = select(vec![
        json!({}),
        json!([1]),
        json!("text"),
        json!(null),
        many,
    ]);
    prop_oneof![16 => members, 2 => odd]
}

fn call() -> impl Strategy<Value = Call> {
    let tool = prop_oneof![3 => Just("read_ledger"), 2 => Just("search_ledger"), 4 => Just("transfer"), 1 => Just("delete_ledger"), 1 => Just("unheard_of")];
    let uris = [
        "file:///srv/data/a",
        "file:///srv/data",
        "file:///srv/database",
        "file:///srv/data/inner/b",
        "file:///srv/data/../x",
        "https://files.example/x/y",
        "FILE:///srv/data",
        "file:///srv/data?x",
    ];
    prop_oneof![
        10 => (tool, option::weighted(0.95, arguments()))
            .prop_map(|(name, arguments)| Call { kind: Kind::Tool, name, arguments }),
        2 => select(uris.to_vec()).prop_map(|name| Call { kind: Kind::Resource, name, arguments: None }),
        1 => (select(&PROMPTS[..]), option::of(arguments()))
            .prop_map(|(name, arguments)| Call { kind: Kind::Prompt, name, arguments }),
    ]
}

fn revoked() -> impl Strategy<Value = Revoked> {
    let subject = prop_oneof![
        3 => (0..7_usize).prop_map(Subject::Block),
        3 => who().prop_map(Subject::Key),
        3 => Just(Subject::Strangers),
        4 => select(vec![Subject::Task, Subject::Agent, Subject::Steward, Subject::Server, Subject::Root]),
    ];
    // A subject is revoked once; a pass of the very second of the cut-off dies.
    (subject, option::of(-1..2_i64)).prop_map(|(subject, cut_off)| Revoked { subject, cut_off })
}

fn presented() -> impl Strategy<Value = Presented> {
    let flaws = vec![
        Flaw::OtherToken,
        Flaw::OtherUrl,
        Flaw::OtherMethod,
        Flaw::Old,
        Flaw::Future,
        Flaw::Twice,
    ];
    let flaw = prop_oneof![7 => Just(Flaw::None), 1 => select(flaws)];
    let by = option::weighted(0.08, who());
    prop_oneof![
        6 => (by, flaw, option::weighted(0.25, 0..CALLS))
            .prop_map(|(by, flaw, call)| Presented::Proof { by, flaw, call }),
        3 => Just(Presented::Bearer),
        2 => Just(Presented::Before),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    let silence = prop_oneof![10 => Just(0_i64), 4 => 0..60_001_i64, 1 => 60_000..90_000_i64];
    let after = prop_oneof![3 => Just(0_i64), 3 => 0..30_000_i64, 1 => 0..200_000_i64];
    (
        after,
        silence,
        prop::bool::weighted(0.95),
        revocations(),
        vec(presented(), 2..5),
    )
        .prop_map(
            |(after, silence, publishes_root, revoked, presented)| Moment {
                after,
                silence,
                publishes_root,
                revoked,
                presented,
            },
        )
}

/// None, mostly; two of one subject would be merged, which is not what is asked here.
fn revocations() -> impl Strategy<Value = Vec<Revoked>> {
    let some = btree_map(0..3_usize, revoked(), 1..3).prop_map(|all| {
        let mut distinct: Vec<Revoked> = Vec::new();
        for revoked in all.into_values() {
            if distinct
                .iter()
                .all(|before| before.subject != revoked.subject)
            {
                distinct.push(revoked);
            }
        }
        distinct
    });
    prop_oneof![5 => Just(Vec::new()), 2 => some]
}
