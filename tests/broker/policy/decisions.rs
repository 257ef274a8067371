//! Who decides what, and what a request becomes.

use hallpass_broker::policy::{Catalogue, Decision, PolicySet};
use hallpass_core::base::ReasonCode;
use serde_json::json;

use crate::policy::{
    ask, catalogue, codes, errors, files, grant, granted, question, refused, rights, set,
};

const NO_HIGH_RISK: &str = r#"
@id("no-high-risk")
forbid (principal, action, resource)
when { resource.hasTag("risk") && resource.getTag("risk") == "high" };
"#;

#[test]
fn a_pattern_becomes_the_exact_names_of_the_catalogue() {
    let set = set(&[(
        "a.toml",
        &grant("reads", "tools = [\"read_*\", \"search_*\"]"),
    )]);
    let answer = granted(ask(
        &set,
        &question(json!({ "tools": ["*_ledger", "search_*"] })),
    ));
    assert_eq!(
        rights(&answer),
        json!([{ "tools": ["read_ledger", "search_entries"] }])
    );
    let by: Vec<_> = answer
        .decided_by
        .iter()
        .map(|by| format!("{} {} {}", by.right, by.grant, by.file))
        .collect();
    assert_eq!(
        by,
        [
            "tool read_ledger reads policy/a.toml",
            "tool search_entries reads policy/a.toml"
        ]
    );
    assert_eq!(answer.max_ttl.as_secs(), 600);
}

#[test]
fn a_guardrail_under_a_requested_pattern_refuses_the_name_it_forbids() {
    let set = set(&[
        ("a.toml", &grant("reads", "tools = [\"read_*\"]")),
        ("b.cedar", NO_HIGH_RISK),
    ]);
    let mut question = question(json!({ "tools": ["read_*"] }));
    let reasons = refused(ask(&set, &question));
    assert_eq!(codes(&reasons), [ReasonCode::Guardrail]);
    assert_eq!(
        reasons[0].right.as_ref().unwrap().to_string(),
        "tool read_secrets"
    );
    assert_eq!(reasons[0].decided_by.as_ref().unwrap().name, "no-high-risk");
    assert_eq!(
        reasons[0].decided_by.as_ref().unwrap().file,
        "policy/b.cedar"
    );

    question.allow_partial = true;
    let answer = granted(ask(&set, &question));
    assert_eq!(rights(&answer), json!([{ "tools": ["read_ledger"] }]));
    assert_eq!(codes(&answer.dropped), [ReasonCode::Guardrail]);
}

#[test]
fn a_guardrail_that_cannot_be_evaluated_refuses_although_a_grant_permits() {
    // Fits the schema, and overflows when it is evaluated.
    let overflow = "forbid (principal, action, resource) when { context.ttl_seconds * 9223372036854775807 < 0 };";
    let set = set(&[
        ("a.toml", &grant("reads", "tools = [\"read_*\"]")),
        ("b.cedar", overflow),
    ]);
    let mut question = question(json!({ "tools": ["read_ledger"] }));
    for allow_partial in [false, true] {
        question.allow_partial = allow_partial;
        let reasons = refused(ask(&set, &question));
        assert_eq!(codes(&reasons), [ReasonCode::PolicyError]);
        assert_eq!(reasons[0].decided_by.as_ref().unwrap().name, "policy0");
        assert!(
            reasons[0].detail.contains("overflow"),
            "{}",
            reasons[0].detail
        );
    }
    question.ttl_seconds = 1;
    granted(ask(&set, &question));
}

#[test]
fn a_fault_on_one_right_refuses_a_partial_answer_too() {
    let overflow = r#"forbid (principal, action == Action::"call", resource)
        when { resource.name == "read_secrets" && context.ttl_seconds * 9223372036854775807 < 0 };"#;
    let set = set(&[
        ("a.toml", &grant("reads", "tools = [\"read_*\"]")),
        ("b.cedar", overflow),
    ]);
    let mut question = question(json!({ "tools": ["read_*"] }));
    question.allow_partial = true;
    assert_eq!(
        codes(&refused(ask(&set, &question))),
        [ReasonCode::PolicyError]
    );
}

#[test]
fn a_subtree_never_steps_over_a_nested_root() {
    let set = set(&[
        ("a.toml", &grant("files", "resources = [\"file:///srv\"]")),
        ("b.cedar", NO_HIGH_RISK),
    ]);
    let code = |uri: &str| {
        codes(&refused(ask(
            &set,
            &question(json!({ "resources": [uri] })),
        )))
    };
    assert_eq!(code("file:///srv/data"), [ReasonCode::NotInManifest]);
    assert_eq!(code("file:///srv"), [ReasonCode::NotInManifest]);
    assert_eq!(code("file:///etc"), [ReasonCode::NotInManifest]);
    assert_eq!(code("file:///srv/data/secret/x"), [ReasonCode::Guardrail]);
    let answer = granted(ask(
        &set,
        &question(json!({ "resources": ["file:///srv/data/public", "file:///srv/logs/"] })),
    ));
    assert_eq!(
        rights(&answer),
        json!([{ "resources": ["file:///srv/data/public", "file:///srv/logs"] }])
    );
}

#[test]
fn a_granted_subtree_covers_what_lies_in_it_and_nothing_beside_it() {
    let set = set(&[(
        "a.toml",
        &grant("files", "resources = [\"file:///srv/logs/app\"]"),
    )]);
    let mut question =
        question(json!({ "resources": ["file:///srv/logs/app/1", "file:///srv/logs/apps"] }));
    question.allow_partial = true;
    let answer = granted(ask(&set, &question));
    assert_eq!(
        rights(&answer),
        json!([{ "resources": ["file:///srv/logs/app/1"] }])
    );
    assert_eq!(codes(&answer.dropped), [ReasonCode::NoGrant]);
}

#[test]
fn all_is_refused_with_every_reason_unless_partial_is_allowed() {
    let set = set(&[(
        "a.toml",
        &grant(
            "reads",
            "tools = [\"read_ledger\"]\nprompts = [\"summary\"]",
        ),
    )]);
    let mut question = question(json!([
        { "tools": ["read_ledger", "transfer", "nothing_*", "gone"], "prompts": ["summary"] },
        { "server": "https://other.example/mcp", "tools": ["x"] },
    ]));
    let mut all = codes(&refused(ask(&set, &question)));
    all.sort();
    let mut expected = [
        ReasonCode::NoGrant,
        ReasonCode::NotInManifest,
        ReasonCode::NotInManifest,
        ReasonCode::NotFound,
    ];
    expected.sort();
    assert_eq!(all, expected);

    question.allow_partial = true;
    let answer = granted(ask(&set, &question));
    assert_eq!(
        rights(&answer),
        json!([{ "tools": ["read_ledger"], "prompts": ["summary"] }])
    );
    assert_eq!(answer.dropped.len(), 4);

    question.agent = "other-bot".parse().unwrap();
    question.requested.remove(0);
    assert_eq!(
        codes(&refused(ask(&set, &question))),
        [ReasonCode::NotFound]
    );
}

#[test]
fn the_first_grant_in_order_decides() {
    let slow = grant("slow", "tools = [\"read_*\"]").replace("10m", "1h");
    let fast = grant("fast", "tools = [\"*\"]").replace("10m", "1m");
    let by = |texts: &[(&str, &str)]| {
        let answer = granted(ask(
            &set(texts),
            &question(json!({ "tools": ["read_ledger"] })),
        ));
        (
            answer.decided_by[0].grant.to_string(),
            answer.max_ttl.as_secs(),
        )
    };
    assert_eq!(
        by(&[("a.toml", &slow), ("b.toml", &fast)]),
        ("slow".to_owned(), 3600)
    );
    assert_eq!(
        by(&[("b.toml", &slow), ("a.toml", &fast)]),
        ("fast".to_owned(), 60)
    );
    assert_eq!(
        by(&[("a.toml", &format!("{fast}{slow}"))]),
        ("fast".to_owned(), 60)
    );
    let both = set(&[("a.toml", &slow), ("b.toml", &fast)]);
    let answer = granted(ask(
        &both,
        &question(json!({ "tools": ["read_ledger", "transfer"] })),
    ));
    assert_eq!(
        rights(&answer),
        json!([{ "tools": ["read_ledger"] }, { "tools": ["transfer"] }])
    );
    assert_eq!(answer.max_ttl.as_secs(), 60);
}

#[test]
fn grants_name_agents_groups_and_servers() {
    let with = |agents: &str, server: &str| {
        let text = grant("g", "tools = [\"read_*\"]")
            .replace("[\"*\"]", agents)
            .replace("\"ledger\"", server);
        matches!(
            ask(
                &set(&[("a.toml", &text)]),
                &question(json!({ "tools": ["read_ledger"] }))
            ),
            Decision::Granted(_)
        )
    };
    assert!(with(r#"["research-bot"]"#, r#""ledger""#));
    assert!(with(
        r#"["other", "group:research"]"#,
        r#""https://ledger.example/mcp""#
    ));
    assert!(!with(r#"["group:research-bot"]"#, r#""ledger""#));
    assert!(!with(r#"["research"]"#, r#""ledger""#));
    assert!(!with(r#"["*"]"#, r#""other""#));
    assert!(!with(r#"["*"]"#, r#""https://ledger.example""#));
}

#[test]
fn a_request_may_use_an_alias_and_is_answered_canonically() {
    let set = set(&[("a.toml", &grant("reads", "tools = [\"read_*\"]"))]);
    let request = json!({ "server": "https://ledger-alias.example/mcp", "tools": ["read_ledger"] });
    assert_eq!(
        rights(&granted(ask(&set, &question(request)))),
        json!([{ "tools": ["read_ledger"] }])
    );
}

#[test]
fn a_server_registered_later_needs_no_reload() {
    let (set, warnings) = PolicySet::from_files(
        files(&[("a.toml", &grant("reads", "tools = [\"read_*\"]"))]),
        &Catalogue::default(),
    )
    .unwrap();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].line, Some(4));
    let question = question(json!({ "tools": ["read_ledger"] }));
    assert_eq!(
        codes(&refused(set.decide(&question, &Catalogue::default()))),
        [ReasonCode::NotFound]
    );
    granted(set.decide(&question, &catalogue()));
    assert!(set.check(&catalogue()).1.is_empty());
}

#[test]
fn an_empty_set_gives_nothing() {
    let set = PolicySet::empty().unwrap();
    assert_eq!(
        codes(&refused(ask(
            &set,
            &question(json!({ "tools": ["read_ledger"] }))
        ))),
        [ReasonCode::NoGrant]
    );
}

#[test]
fn guardrails_see_agent_steward_server_resource_and_context() {
    let reads = grant(
        "all",
        "tools = [\"*\"]\nprompts = [\"*\"]\nresources = [\"file:///srv/logs\"]",
    );
    let request = json!({ "tools": ["transfer"] });
    let forbids = |condition: &str| {
        let guardrail = format!(
            "forbid (principal, action in Action::\"use\", resource) when {{ {condition} }};"
        );
        assert_eq!(errors(&[("b.cedar", &guardrail)]), "", "{condition}");
        let set = set(&[("a.toml", &reads), ("b.cedar", &guardrail)]);
        let mut question = question(request.clone());
        question.context = [
            ("ticket".to_owned(), json!("T-1")),
            ("amount".to_owned(), json!(5)),
        ]
        .into();
        matches!(ask(&set, &question), Decision::Refused(_))
    };
    for yes in [
        r#"principal == Agent::"research-bot""#,
        r#"principal in Group::"research""#,
        r#"principal.steward == Steward::"stw_00000000000000000000000000000001""#,
        r#"resource in Server::"https://ledger.example/mcp""#,
        r#"resource.server.name == "ledger""#,
        r#"resource.server has region && resource.server.region == "eu""#,
        r#"resource is Tool && !resource.read_only"#,
        r#"resource is Tool && resource.name like "trans*""#,
        r#"resource.hasTag("risk") && resource.getTag("risk") == "high""#,
        r#"!resource.hasTag("owner")"#,
        r#"context.purpose like "*books*""#,
        r#"context.ttl_seconds > 200"#,
        r#"!context.holder_bound"#,
        r#"context.task.hasTag("ticket") && context.task.getTag("ticket") like "T-*""#,
        r#"context.task.hasTag("amount") && context.task.getTag("amount") == "5""#,
    ] {
        assert!(forbids(yes), "{yes}");
    }
    for no in [
        r#"principal == Agent::"other-bot""#,
        r#"principal in Group::"other""#,
        r#"resource is Tool && resource.irreversible"#,
        r#"context.ttl_seconds > 300"#,
        r#"context.task.hasTag("patient")"#,
        r#"resource is Prompt"#,
    ] {
        assert!(!forbids(no), "{no}");
    }
}

#[test]
fn every_guardrail_that_forbids_is_named() {
    let second = r#"@id("no-transfer") forbid (principal, action == Action::"call",
        resource == Tool::"https://ledger.example/mcp transfer");"#;
    let set = set(&[
        ("a.toml", &grant("all", "tools = [\"*\"]")),
        ("b.cedar", NO_HIGH_RISK),
        ("c.cedar", second),
    ]);
    let reasons = refused(ask(&set, &question(json!({ "tools": ["transfer"] }))));
    let names: Vec<_> = reasons
        .iter()
        .map(|reason| reason.decided_by.as_ref().unwrap().name.as_str())
        .collect();
    assert_eq!(names, ["no-high-risk", "no-transfer"]);
}

#[test]
fn what_a_name_says_is_never_policy() {
    let mut manifest = crate::policy::ledger();
    // Labels, names of tags and context are free text: the hardest place to keep data from code.
    let hostile = r#"x" == "x" || true }; permit(principal, action, resource); // \u{0}"#;
    manifest
        .tools
        .get_mut(&"transfer".parse().unwrap())
        .unwrap()
        .labels = [
        ("risk".to_owned(), hostile.to_owned()),
        (hostile.to_owned(), "high".to_owned()),
    ]
    .into();
    manifest.region = Some(hostile.to_owned());
    let catalogue = Catalogue::new([std::sync::Arc::new(manifest)]).unwrap();
    let set = set(&[
        ("a.toml", &grant("reads", "tools = [\"read_*\"]")),
        ("b.cedar", NO_HIGH_RISK),
    ]);
    let mut question = question(json!({ "tools": ["transfer"] }));
    question.purpose = hostile.to_owned();
    question.context = [(hostile.to_owned(), json!(hostile))].into();
    assert_eq!(
        codes(&refused(set.decide(&question, &catalogue))),
        [ReasonCode::NoGrant]
    );
    question.requested[0].tools = vec!["read_ledger".parse().unwrap()];
    granted(set.decide(&question, &catalogue));
}

#[test]
fn a_request_for_too_many_rights_is_refused_before_it_is_decided() {
    let mut manifest = crate::policy::ledger();
    for number in 0..201 {
        manifest.tools.insert(
            format!("t{number}").parse().unwrap(),
            hallpass_core::token::manifest::Tool::default(),
        );
    }
    let catalogue = Catalogue::new([std::sync::Arc::new(manifest)]).unwrap();
    let set = set(&[("a.toml", &grant("all", "tools = [\"*\"]"))]);
    let mut question = question(json!({ "tools": ["t*"] }));
    question.allow_partial = true;
    assert_eq!(
        codes(&refused(set.decide(&question, &catalogue))),
        [ReasonCode::PassTooLarge]
    );
    question.requested[0].tools = vec!["t1*".parse().unwrap(), "t2*".parse().unwrap()];
    granted(set.decide(&question, &catalogue));
}

#[test]
fn malformed_questions_are_refused_even_when_partial_is_allowed() {
    let set = set(&[("a.toml", &grant("all", "tools = [\"*\"]"))]);
    let code = |change: &dyn Fn(&mut hallpass_broker::policy::Question)| {
        let mut question = question(json!({ "tools": ["read_ledger"] }));
        question.allow_partial = true;
        change(&mut question);
        codes(&refused(ask(&set, &question)))
    };
    assert_eq!(
        code(&|question| question.requested.clear()),
        [ReasonCode::InvalidRequest]
    );
    assert_eq!(
        code(&|question| question.requested[0].tools.clear()),
        [ReasonCode::InvalidRequest]
    );
    assert_eq!(
        code(&|question| question.ttl_seconds = 0),
        [ReasonCode::InvalidRequest]
    );
    assert_eq!(
        code(&|question| question.ttl_seconds = u64::MAX),
        [ReasonCode::InvalidRequest]
    );
    for value in [
        json!(null),
        json!(1.5),
        json!(["prod"]),
        json!({}),
        json!(u64::MAX),
    ] {
        let context = |question: &mut hallpass_broker::policy::Question| {
            question.context.insert("env".to_owned(), value.clone());
        };
        assert_eq!(code(&context), [ReasonCode::InvalidRequest]);
    }
}
