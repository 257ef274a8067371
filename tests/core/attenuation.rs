//! Attenuation narrows: what a chain allows, every shorter chain allows too, whoever wrote it.
//!
//! Both halves are held against a model of the format in a few lines of plain Rust, so that a pass
//! which allows nothing at all could not pass for a safe one.

use std::cell::Cell;

use biscuit_auth::{
    AuthorizerBuilder, AuthorizerLimits, BlockBuilder,
    builder::{Scope, Term, fact, int, string},
};
use hallpass_core::{
    base::{ids::ServerUri, time::Timestamp},
    token::{
        Arguments, Evaluation, GrantedDetail, Narrowing, PassContent, PassToken, RequestFacts,
        UnverifiedPass, VerifiedPass, attenuate,
        constraint::{Constraint, Scalar},
        manifest::Tool,
        path::{path_segments, resource_segments, url_host},
        rights::Kind,
    },
};
use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use serde_json::{Value, json};

use support::{Issuer, raw};

const SERVERS: [&str; 3] = [
    "https://ledger.example/mcp",
    "https://b.example/mcp",
    "https://b.example/mcp/2",
];
const TOOLS: [&str; 3] = ["read", "write", "read_all"];
const TREES: [&str; 4] = [
    "file:///srv/data",
    "file:///srv",
    "https://files.example/x",
    "file:///srv/data/inner",
];
const POINTERS: [&str; 6] = ["/amount", "/owner", "/path", "/url", "/flag", "/o/x"];

fn tool() -> Tool {
    serde_json::from_value(json!({"path_arguments": ["/path"], "url_arguments": ["/url"]})).unwrap()
}

fn constraint() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-2..6_i64, 0..8_i64).prop_map(|(min, more)| json!({"min": min, "max": min + more})),
        (0..9_i64).prop_map(|max| json!({"max": max})),
        Just(json!({"in": ["acme", "Q3 plan"]})),
        Just(json!({"in": [1, 2, 3]})),
        Just(json!({"prefix": "Q3 "})),
        Just(json!({"equal": "acme"})),
        Just(json!({"equal": true})),
        Just(json!({"equal": 3})),
        Just(json!({"under": "/srv/data"})),
        Just(json!({"under": "/"})),
        Just(json!({"host": ["api.example.com", "x.example"]})),
    ]
}

/// A constraint on the pointer that its kind makes sense for, mostly.
fn constrained() -> impl Strategy<Value = (&'static str, Value)> {
    (
        constraint(),
        select(&POINTERS[..]),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(constraint, pointer, sensible)| {
            let key = constraint
                .as_object()
                .unwrap()
                .keys()
                .next()
                .unwrap()
                .clone();
            let fitting = match key.as_str() {
                "min" | "max" => "/amount",
                "under" => "/path",
                "host" => "/url",
                "prefix" => "/o/x",
                _ if constraint["equal"] == json!(true) => "/flag",
                _ => "/owner",
            };
            (if sensible { fitting } else { pointer }, constraint)
        })
}

fn detail() -> impl Strategy<Value = GrantedDetail> {
    let subset = |all: &'static [&'static str], least| {
        prop::sample::subsequence(all.to_vec(), least..=all.len())
    };
    let constraints = prop::collection::vec((0..3_usize, constrained()), 0..3);
    let closed = prop::bool::weighted(0.25);
    let lists = (
        subset(&TOOLS, 1),
        subset(&TREES, 0),
        subset(&["summary", "greet"], 0),
    );
    (select(&SERVERS[..]), lists, constraints, closed, prop::bool::weighted(0.2)).prop_map(
        |(server, (tools, trees, prompts), constraints, closed, read_only)| {
            let mut members = json!({"type": "mcp", "server": server, "tools": tools, "resources": trees,
                "prompts": prompts, "read_only": read_only});
            for (index, (pointer, constraint)) in constraints {
                members["constraints"][tools[index % tools.len()]][pointer] = constraint;
            }
            if closed {
                members["closed_arguments"] = json!([tools[0]]);
            }
            serde_json::from_value(members).unwrap()
        },
    )
}

fn narrowing() -> impl Strategy<Value = Narrowing> {
    let rights = prop::option::of(prop::collection::vec(detail(), 0..3));
    (
        prop::option::of(0..400_u64),
        rights,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(seconds, rights, read_only)| {
            let mut narrowing = Narrowing::default();
            narrowing.expires_at =
                seconds.map(|seconds| base().plus(std::time::Duration::from_secs(seconds)));
            narrowing.rights = rights;
            narrowing.read_only = read_only;
            narrowing
        })
}

fn argument(pointer: &'static str) -> impl Strategy<Value = Value> {
    let fitting = match pointer {
        "/amount" => vec![json!(0), json!(3), json!(100)],
        "/owner" => vec![json!("acme"), json!("Q3 plan"), json!(3), json!(2)],
        "/path" => vec![
            json!("/srv/data/a"),
            json!("/srv/database"),
            json!("/srv/data/../x"),
            json!("/srv/data"),
        ],
        "/url" => {
            vec![
                json!("https://api.example.com/x"),
                json!("https://evil.example/"),
                json!("https://u@x.example/"),
            ]
        }
        "/flag" => vec![json!(true), json!(false)],
        _ => vec![json!("Q3 report"), json!("Q4 report")],
    };
    let doubtful = vec![
        json!(1.5),
        json!(null),
        json!([]),
        json!(["/srv/data/a", "/etc"]),
        json!({"x": 1}),
        json!("3"),
    ];
    prop_oneof![6 => select(fitting), 1 => select(doubtful)]
}

fn arguments() -> impl Strategy<Value = Value> {
    let each: Vec<_> = POINTERS
        .iter()
        .map(|pointer| prop::option::weighted(0.6, argument(pointer)))
        .collect();
    (each, prop::bool::weighted(0.1)).prop_map(|(values, extra)| {
        let mut all = json!({});
        for (pointer, value) in POINTERS.iter().zip(values) {
            let Some(value) = value else { continue };
            match *pointer {
                "/o/x" => all["o"]["x"] = value,
                pointer => all[&pointer[1..]] = value,
            }
        }
        if extra {
            all["unheard"] = json!("of");
        }
        all
    })
}

#[derive(Debug, Clone)]
struct Call {
    server: ServerUri,
    kind: Kind,
    name: String,
    arguments: Value,
    read_only: bool,
    at: i64,
}

fn call() -> impl Strategy<Value = Call> {
    let uris = [
        "file:///srv/data/a",
        "file:///srv/database",
        "file:///srv/data/inner/b",
        "https://files.example/x/y",
    ];
    let named = prop_oneof![
        8 => select(&TOOLS[..]).prop_map(|name| (Kind::Tool, name)),
        2 => select(uris.to_vec()).prop_map(|uri| (Kind::Resource, uri)),
        1 => select(vec!["summary", "greet"]).prop_map(|name| (Kind::Prompt, name)),
    ];
    let at = prop_oneof![5 => 0..200_i64, 1 => -10..420_i64];
    (select(&SERVERS[..]), named, arguments(), any::<bool>(), at).prop_map(
        |(server, (kind, name), arguments, read_only, at)| Call {
            server: server.parse().unwrap(),
            kind,
            name: name.to_owned(),
            arguments: if kind == Kind::Resource {
                json!({})
            } else {
                arguments
            },
            read_only: read_only || kind != Kind::Tool,
            at,
        },
    )
}

fn verified(issuer: &Issuer, token: &PassToken) -> VerifiedPass {
    UnverifiedPass::parse(token.expose())
        .unwrap()
        .verify(&issuer.root.public())
        .unwrap()
}

fn base() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

impl Call {
    fn time(&self) -> Timestamp {
        Timestamp::from_unix_millis(base().unix_millis() + self.at * 1000)
    }

    fn evaluate(&self, pass: &VerifiedPass) -> Evaluation {
        let arguments = Arguments::flatten(
            Some(&self.arguments),
            (self.kind == Kind::Tool).then(tool).as_ref(),
        );
        hallpass_core::token::evaluate(
            pass,
            hallpass_core::token::MAX_EVALUATION_TIME,
            &RequestFacts {
                time: self.time(),
                me: &self.server,
                kind: self.kind,
                name: &self.name,
                arguments: &arguments,
                read_only: self.read_only,
                call_proven: false,
            },
        )
    }
}

/// What biscuit-auth's own authorizer says to the same token and the same call, given the
/// verifier's part as Datalog text: nothing of hallpass decides here.
fn library_allows(issuer: &Issuer, token: &PassToken, call: &Call) -> bool {
    let strings = |texts: &[String]| texts.iter().map(|text| string(text)).collect::<Vec<Term>>();
    let mut facts = vec![
        fact("time", &[Term::Date(call.time().unix_seconds())]),
        fact("me", &[string(call.server.as_str())]),
        fact(
            "call",
            &[
                string(call.server.as_str()),
                string(call.kind.as_str()),
                string(&call.name),
            ],
        ),
        fact("read_only", &[Term::Bool(call.read_only)]),
        fact("depth", &[int(0)]),
    ];
    if let Some(segments) = resource_segments(&call.name).filter(|_| call.kind == Kind::Resource) {
        facts.push(fact("call_path", &[Term::Array(strings(&segments))]));
    }
    let mut names = Vec::new();
    pointers("", &call.arguments, &mut names);
    for name in &names {
        let value = call.arguments.pointer(name).unwrap();
        let text = value.as_str();
        let declared = call.kind == Kind::Tool;
        let (path, host) = (text.and_then(path_segments), text.and_then(url_host));
        match name.as_str() {
            "/path" if declared && path.is_none() => continue,
            "/url" if declared && host.is_none() => continue,
            "/path" if declared => {
                let segments = [vec!["file".to_owned(), String::new()], path.unwrap()].concat();
                facts.push(fact(
                    "arg_path",
                    &[string(name), Term::Array(strings(&segments))],
                ));
            }
            "/url" if declared => {
                facts.push(fact("arg_host", &[string(name), string(host.unwrap())]))
            }
            _ => {}
        }
        let scalar = match Scalar::from_json(value) {
            Some(Scalar::Bool(value)) => Term::Bool(value),
            Some(Scalar::Int(value)) => int(value),
            Some(Scalar::Text(value)) => string(&value),
            None => continue,
        };
        facts.push(fact("arg", &[string(name), scalar]));
    }
    facts.push(fact(
        "arg_names",
        &[Term::Set(strings(&names).into_iter().collect())],
    ));
    let limits = AuthorizerLimits {
        max_time: std::time::Duration::from_secs(10),
        ..AuthorizerLimits::default()
    };
    let verifier = AuthorizerBuilder::new()
        .set_limits(limits)
        .code(raw::VERIFIER)
        .unwrap();
    let verifier = facts
        .into_iter()
        .fold(verifier, |verifier, fact| verifier.fact(fact).unwrap());
    verifier
        .build(&raw::biscuit(token, &issuer.root.public()))
        .unwrap()
        .authorize()
        .is_ok()
}

/// The format again, from `docs/token-format.md` and not from the code: details that name the
/// call, and everything that every detail asks of it.
fn model_rights(rights: &[GrantedDetail], call: &Call) -> bool {
    let here: Vec<_> = rights
        .iter()
        .filter(|detail| detail.server == call.server)
        .collect();
    let names = |detail: &&GrantedDetail| match call.kind {
        Kind::Tool => detail.tools.iter().any(|tool| tool.as_str() == call.name),
        Kind::Prompt => detail
            .prompts
            .iter()
            .any(|prompt| prompt.as_str() == call.name),
        Kind::Resource => detail.resources.iter().any(|tree| {
            resource_segments(&call.name)
                .is_some_and(|segments| segments.starts_with(tree.segments()))
        }),
    };
    here.iter().any(names)
        && (call.kind != Kind::Tool || here.iter().all(|detail| model_arguments(detail, call)))
}

fn model_arguments(detail: &GrantedDetail, call: &Call) -> bool {
    let of_call = |tool: &&hallpass_core::base::ids::ToolName| tool.as_str() == call.name;
    let constraints = detail
        .constraints
        .iter()
        .find(|(tool, _)| of_call(tool))
        .map(|(_, constraints)| constraints);
    let satisfied = constraints
        .into_iter()
        .flatten()
        .all(|(pointer, constraint)| {
            call.arguments
                .pointer(pointer.as_str())
                .is_some_and(|value| model_constraint(pointer.as_str(), constraint, value))
        });
    let closed = detail.closed_arguments.iter().any(|tool| of_call(&tool));
    let allowed: Vec<&str> = constraints
        .into_iter()
        .flatten()
        .flat_map(|(pointer, _)| pointer.with_ancestors())
        .collect();
    let mut all = Vec::new();
    pointers("", &call.arguments, &mut all);
    let read_only = detail.read_only && detail.tools.iter().any(|tool| of_call(&tool));
    satisfied
        && (!closed || all.iter().all(|name| allowed.contains(&name.as_str())))
        && (!read_only || call.read_only)
}

fn pointers(at: &str, value: &Value, all: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (name, value) in members {
        let pointer = format!("{at}/{name}");
        pointers(&pointer, value, all);
        all.push(pointer);
    }
}

fn model_constraint(pointer: &str, constraint: &Constraint, value: &Value) -> bool {
    let text = value.as_str();
    // A path or a URL in doubt has no meaning at all, not even that of a string.
    if pointer == "/path" && text.and_then(path_segments).is_none()
        || pointer == "/url" && text.and_then(url_host).is_none()
    {
        return false;
    }
    match constraint {
        Constraint::Range { min, max } => value.as_i64().is_some_and(|value| {
            min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max)
        }),
        Constraint::In(values) => {
            Scalar::from_json(value).is_some_and(|value| values.contains(&value))
        }
        Constraint::Equal(wanted) => Scalar::from_json(value).as_ref() == Some(wanted),
        Constraint::Prefix(prefix) => text.is_some_and(|text| text.starts_with(prefix.as_str())),
        Constraint::Under(under) => {
            let under = path_segments(under).unwrap();
            pointer == "/path"
                && text
                    .and_then(path_segments)
                    .is_some_and(|path| path.starts_with(&under))
        }
        Constraint::Host(hosts) => {
            pointer == "/url"
                && text
                    .and_then(url_host)
                    .is_some_and(|host| hosts.iter().any(|allowed| allowed == host))
        }
    }
}

fn model_pass(content: &PassContent, call: &Call) -> bool {
    let from = content.issued_at.minus(std::time::Duration::from_secs(5));
    let all_read_only = content.rights.iter().all(|detail| detail.read_only);
    call.time() >= from
        && call.time() < content.expires_at
        && (!all_read_only || call.read_only)
        && model_rights(&content.rights, call)
}

fn model_narrowing(narrowing: &Narrowing, call: &Call) -> bool {
    narrowing.expires_at.is_none_or(|until| call.time() < until)
        && (!narrowing.read_only || call.read_only)
        && narrowing
            .rights
            .as_ref()
            .is_none_or(|rights| model_rights(rights, call))
}

/// A new pass of what remains of `pass`, if that can be said as rights and fits.
fn said_again(issuer: &Issuer, pass: &VerifiedPass) -> Option<VerifiedPass> {
    let remaining = pass.remaining();
    let content = PassContent {
        expires_at: pass.valid_until(),
        ..issuer.content(remaining.rights)
    };
    let draft = hallpass_core::token::mint(&issuer.root, &content)
        .ok()
        .filter(|_| remaining.unsaid == 0)?;
    Some(verified(issuer, &draft.token))
}

#[test]
fn what_a_longer_chain_allows_every_shorter_one_allows_as_the_model_says() {
    let issuer = Issuer::new();
    let (allowed, narrowed, repeated) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let strategy = (
        prop::collection::vec(detail(), 1..4),
        prop::collection::vec(narrowing(), 1..5),
        prop::collection::vec(call(), 12),
    );
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&strategy, |(rights, narrowings, calls)| {
        let content = issuer.content(rights);
        let Ok(draft) = hallpass_core::token::mint(&issuer.root, &content) else {
            return Err(TestCaseError::reject("does not fit into a pass"));
        };
        let mut chain = vec![draft.token];
        let mut applied = Vec::new();
        for narrowing in narrowings {
            // One that says nothing is refused and not part of the chain.
            if let Ok(longer) = attenuate(chain.last().unwrap(), &narrowing) {
                chain.push(longer.token);
                applied.push(narrowing);
            }
        }
        let longest = chain.last().unwrap().clone();
        let chain: Vec<_> = chain.iter().map(|token| verified(&issuer, token)).collect();
        prop_assert!(chain.iter().all(|pass| pass.remaining().unsaid == 0));
        let again: Vec<_> = chain.iter().map(|pass| said_again(&issuer, pass)).collect();
        for (index, call) in calls.iter().enumerate() {
            if index < 3 {
                let ours = call.evaluate(chain.last().unwrap()) == Evaluation::Allowed;
                prop_assert_eq!(library_allows(&issuer, &longest, call), ours);
            }
            let mut so_far = model_pass(&content, call);
            for (index, pass) in chain.iter().enumerate() {
                if let Some(narrowing) = index.checked_sub(1).and_then(|index| applied.get(index)) {
                    let shorter = so_far;
                    so_far = so_far && model_narrowing(narrowing, call);
                    narrowed.set(narrowed.get() + usize::from(shorter && !so_far));
                }
                allowed.set(allowed.get() + usize::from(so_far));
                let evaluation = call.evaluate(pass);
                prop_assert!(
                    !matches!(evaluation, Evaluation::Fault(_)),
                    "{evaluation:?}"
                );
                prop_assert_eq!(
                    evaluation == Evaluation::Allowed,
                    so_far,
                    "block {}: {:?}",
                    index,
                    evaluation
                );
                if let Some(again) = &again[index] {
                    let same = call.evaluate(again) == Evaluation::Allowed;
                    prop_assert_eq!(
                        same,
                        so_far,
                        "block {} said again: {:?}",
                        index,
                        pass.remaining()
                    );
                    repeated.set(repeated.get() + usize::from(same && index > 0));
                }
            }
        }
        Ok(())
    });
    result.unwrap();
    assert!(
        allowed.get() > 100 && narrowed.get() > 50 && repeated.get() > 10,
        "the test says little: {allowed:?} allowed, {narrowed:?} narrowed, {repeated:?} allowed once more"
    );
}

/// What holders wrote who wanted more than they were given.
fn hostile_statement() -> impl Strategy<Value = String> {
    let names = [
        "right",
        "right_path",
        "arg",
        "call",
        "me",
        "time",
        "read_only",
        "aud",
        "hallpass",
        "arg_names",
        "exp",
    ];
    let server = SERVERS[0];
    let fact = select(vec![
        format!(r#"right("{server}", "tool", {{"write", "read", "delete"}});"#),
        format!(r#"call("{server}", "tool", "read");"#),
        r#"right_path("https://ledger.example/mcp", "resource", ["file", ""]);"#.to_owned(),
        r#"arg("/amount", 1);"#.to_owned(),
        r#"arg("/owner", "acme");"#.to_owned(),
        r#"arg_path("/path", ["file", "", "srv", "data"]);"#.to_owned(),
        r#"arg_names({"/amount"});"#.to_owned(),
        "read_only(true);".to_owned(),
        "time(2026-11-22T10:00:01Z);".to_owned(),
        format!(r#"aud({{"{server}"}});"#),
        format!(r#"me("{server}");"#),
        "hallpass(1);".to_owned(),
        "exp(2099-01-01T00:00:00Z);".to_owned(),
        r#"agent("root");"#.to_owned(),
        r#"delegate("other", hex:00);"#.to_owned(),
        r#"approved("a","t","s","tool","n","d",2099-01-01T00:00:00Z,"w");"#.to_owned(),
    ]);
    let rule = select(vec![
        r#"right($s, $k, {"write", "read"}) <- call($s, $k, $n);"#.to_owned(),
        r#"right($s, $k, $set) <- right($s, $k, $set) trusting authority;"#.to_owned(),
        r#"call($s, $k, "read") <- call($s, $k, $n);"#.to_owned(),
        r#"arg($p, 1) <- arg($p, $v);"#.to_owned(),
        r#"read_only(true) <- call($s, $k, $n) trusting previous;"#.to_owned(),
        r#"time(2026-11-22T10:00:01Z) <- time($t);"#.to_owned(),
        format!(
            "me($s) <- call($s, $k, $n) trusting {};",
            raw::key_pair(9).public()
        ),
    ]);
    let check = (
        select(names.to_vec()),
        select(vec![
            "check if",
            "check if",
            "check all",
            "check all",
            "reject if",
        ]),
    )
        .prop_flat_map(|(name, kind)| {
            let body = match name {
                "arg" | "me" => r#"arg("/amount", $v), $v >= 0"#.to_owned(),
                "right" | "call" => {
                    "right($s, $k, $set), call($s, $k, $n), $set.contains($n)".to_owned()
                }
                "time" => "time($t), $t < 2099-01-01T00:00:00Z".to_owned(),
                "read_only" => "read_only($r)".to_owned(),
                "arg_names" => r#"arg_names($a), $a.all($n -> $n.starts_with("/"))"#.to_owned(),
                _ => "true".to_owned(),
            };
            let scope = prop_oneof![
                4 => Just(String::new()),
                1 => select(vec![
                    " trusting authority".to_owned(),
                    " trusting previous".to_owned(),
                    format!(" trusting {}", raw::key_pair(9).public()),
                ]),
            ];
            scope.prop_map(move |scope| format!("{kind} {body}{scope};"))
        });
    prop_oneof![1 => fact, 1 => rule, 6 => check]
}

#[test]
fn no_appended_block_widens_a_pass() {
    let issuer = Issuer::new();
    let root = issuer.root.public();
    let signers = [1, 9, 42].map(raw::key_pair);
    let (admitted, refused, allowed) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let blocks = prop::collection::vec(
        (
            prop::collection::vec(hostile_statement(), 1..3),
            prop::option::of(0..3_usize),
            prop::bool::weighted(0.1),
        ),
        1..3,
    );
    let strategy = (
        prop::collection::vec(detail(), 1..3),
        blocks,
        prop::collection::vec(call(), 10),
    );
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let result = runner.run(&strategy, |(rights, blocks, calls)| {
        let Ok(draft) = hallpass_core::token::mint(&issuer.root, &issuer.content(rights)) else {
            return Err(TestCaseError::reject("does not fit into a pass"));
        };
        let pass = draft.token;
        let mut hostile = pass.clone();
        for (statements, signer, scoped) in &blocks {
            let code = statements.join("\n");
            hostile = match signer {
                Some(signer) => raw::append_third_party(&hostile, &root, &signers[*signer], &code),
                None => {
                    let block = BlockBuilder::new().code(&code).unwrap();
                    raw::append_block(
                        &hostile,
                        &root,
                        if *scoped {
                            block.scope(Scope::Previous)
                        } else {
                            block
                        },
                    )
                }
            };
        }
        if raw::profile_rule(&hostile).is_err() {
            refused.set(refused.get() + 1);
            return Ok(());
        }
        let token = hostile;
        let Ok(hostile) = UnverifiedPass::parse(token.expose())
            .unwrap()
            .verify(&issuer.root.public())
        else {
            // A delegation of a pass that is bound to no key.
            refused.set(refused.get() + 1);
            return Ok(());
        };
        admitted.set(admitted.get() + 1);
        let pass = verified(&issuer, &pass);
        for call in &calls {
            let evaluation = call.evaluate(&hostile);
            prop_assert_eq!(
                library_allows(&issuer, &token, call),
                evaluation == Evaluation::Allowed
            );
            if evaluation == Evaluation::Allowed {
                allowed.set(allowed.get() + 1);
                prop_assert_eq!(call.evaluate(&pass), Evaluation::Allowed);
            } else if let Some(again) = said_again(&issuer, &hostile) {
                prop_assert_ne!(
                    call.evaluate(&again),
                    Evaluation::Allowed,
                    "{:?}",
                    hostile.remaining()
                );
            }
        }
        Ok(())
    });
    result.unwrap();
    let counts = (admitted.get(), refused.get(), allowed.get());
    assert!(
        counts.0 > 10 && counts.1 > 10 && counts.2 > 0,
        "admitted, refused, allowed: {counts:?}"
    );
}
