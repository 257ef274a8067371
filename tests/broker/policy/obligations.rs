//! What is granted comes with the demands of the request and of the grant, all of them.

use std::sync::Arc;

use hallpass_broker::policy::Catalogue;
use hallpass_core::base::ReasonCode;
use serde_json::json;

use crate::policy::{ask, codes, grant, granted, question, refused, rights, set};

const TRANSFER: &str = r#"tools = ["transfer", "read_*"]
closed_arguments = ["transfer"]
[grant.constraints.transfer]
"/amount" = { min = 0, max = 100 }
"#;

#[test]
fn constraints_of_request_and_grant_both_hold() {
    let set = set(&[("a.toml", &grant("pay", TRANSFER))]);
    let request = json!({
        "tools": ["transfer", "read_ledger"],
        "constraints": { "transfer": { "/amount": { "max": 5000 }, "/currency": { "equal": "EUR" } } },
    });
    assert_eq!(
        rights(&granted(ask(&set, &question(request)))),
        json!([
            {
                "tools": ["read_ledger", "transfer"],
                "constraints": { "transfer": { "/amount": { "max": 5000 }, "/currency": { "equal": "EUR" } } },
                "closed_arguments": ["transfer"],
            },
            { "tools": ["transfer"], "constraints": { "transfer": { "/amount": { "min": 0, "max": 100 } } } },
        ])
    );
}

#[test]
fn a_constraint_that_both_make_is_said_once() {
    let set = set(&[("a.toml", &grant("pay", TRANSFER))]);
    let request = json!({ "tools": ["transfer"], "constraints": { "transfer": { "/amount": { "min": 0, "max": 100 } } } });
    assert_eq!(
        rights(&granted(ask(&set, &question(request))))
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_tool_is_held_to_every_pattern_that_matches_it() {
    let body = r#"tools = ["read_*"]
[grant.constraints."read_*"]
"/year" = { min = 2020 }
[grant.constraints."*_ledger"]
"/year" = { max = 2026 }
"#;
    let set = set(&[("a.toml", &grant("reads", body))]);
    let answer = granted(ask(&set, &question(json!({ "tools": ["read_*"] }))));
    assert_eq!(
        rights(&answer),
        json!([
            {
                "tools": ["read_ledger", "read_secrets"],
                "constraints": { "read_ledger": { "/year": { "max": 2026 } }, "read_secrets": { "/year": { "min": 2020 } } },
            },
            { "tools": ["read_ledger"], "constraints": { "read_ledger": { "/year": { "min": 2020 } } } },
        ])
    );
}

#[test]
fn demands_on_a_dropped_tool_are_dropped_with_it() {
    let set = set(&[("a.toml", &grant("reads", "tools = [\"read_*\"]"))]);
    let mut question = question(json!({
        "tools": ["read_ledger", "transfer", "gone"],
        "constraints": { "transfer": { "/amount": { "max": 1 } }, "gone": { "/x": { "max": 1 } } },
        "closed_arguments": ["transfer"],
    }));
    question.allow_partial = true;
    assert_eq!(
        rights(&granted(ask(&set, &question))),
        json!([{ "tools": ["read_ledger"] }])
    );
}

#[test]
fn constraints_that_do_not_fit_the_request_or_the_manifest_are_refused() {
    let set = set(&[("a.toml", &grant("all", "tools = [\"*\"]"))]);
    for request in [
        json!({ "tools": ["read_ledger"], "constraints": { "transfer": { "/amount": { "max": 1 } } } }),
        json!({ "tools": ["read_*"], "constraints": { "read_gone": { "/x": { "max": 1 } } } }),
        json!({ "tools": ["read_ledger"], "closed_arguments": ["transfer"] }),
        json!({ "tools": ["transfer"], "constraints": { "transfer": { "/amuont": { "max": 1 } } } }),
        json!({ "tools": ["transfer"], "constraints": { "transfer": { "/currency": { "under": "/srv" } } } }),
        json!({ "tools": ["transfer"], "constraints": { "transfer": { "/currency": { "host": ["a.example"] } } } }),
        json!({ "tools": ["export"], "constraints": { "export": { "/path": { "prefix": "/srv/" } } } }),
        json!({ "tools": ["export"], "constraints": { "export": { "/url": { "prefix": "https://a.example" } } } }),
        json!({ "tools": ["export"], "constraints": { "export": { "/path": { "host": ["a.example"] } } } }),
    ] {
        let mut question = question(request.clone());
        question.allow_partial = true;
        assert_eq!(
            codes(&refused(ask(&set, &question))),
            [ReasonCode::ConstraintMismatch],
            "{request}"
        );
    }
    let fits = json!({ "tools": ["export"],
        "constraints": { "export": { "/path": { "under": "/srv" }, "/url": { "host": ["a.example"] } } } });
    granted(ask(&set, &question(fits)));
}

#[test]
fn what_needs_a_gateway_is_refused_and_never_dropped() {
    let set = set(&[("a.toml", &grant("all", "tools = [\"*\"]"))]);
    for request in [
        json!({ "tools": ["read_ledger"], "mask": { "read_ledger": ["/x"] } }),
        json!({ "tools": ["read_ledger"], "max_calls": { "read_ledger": 3 } }),
        json!({ "tools": ["read_ledger"], "forbid_after": { "read_ledger": ["transfer"] } }),
    ] {
        let mut question = question(request);
        question.allow_partial = true;
        assert_eq!(
            codes(&refused(ask(&set, &question))),
            [ReasonCode::UnsupportedObligation]
        );
    }
}

#[test]
fn read_only_is_asked_or_granted_and_means_read_only_tools() {
    let all = set(&[("a.toml", &grant("all", "tools = [\"*\"]"))]);
    let answer = granted(ask(
        &all,
        &question(json!({ "tools": ["*_ledger", "tra*", "read_ledger"] })),
    ));
    assert_eq!(
        rights(&answer),
        json!([{ "tools": ["read_ledger", "transfer"] }])
    );
    let answer = granted(ask(
        &all,
        &question(json!({ "tools": ["*"], "read_only": true })),
    ));
    let expected = json!([{ "tools": ["export", "read_ledger", "read_secrets", "search_entries"], "read_only": true }]);
    assert_eq!(rights(&answer), expected);
    let reasons = refused(ask(
        &all,
        &question(json!({ "tools": ["transfer"], "read_only": true })),
    ));
    assert_eq!(codes(&reasons), [ReasonCode::ReadOnly]);

    let reads = set(&[(
        "a.toml",
        &grant("reads", "tools = [\"*\"]\nread_only = true"),
    )]);
    assert_eq!(
        codes(&refused(ask(
            &reads,
            &question(json!({ "tools": ["transfer"] }))
        ))),
        [ReasonCode::NoGrant]
    );
    let answer = granted(ask(&reads, &question(json!({ "tools": ["export"] }))));
    assert_eq!(
        rights(&answer),
        json!([{ "tools": ["export"], "read_only": true }])
    );
}

#[test]
fn a_pin_holds_every_tool_that_has_the_argument_to_the_context() {
    let set = set(&[(
        "a.toml",
        &grant("pinned", "tools = [\"*\"]\npin = [\"/customer_id\"]"),
    )]);
    let mut question = question(json!({ "tools": ["read_ledger", "transfer", "search_entries"] }));
    let reasons = refused(ask(&set, &question));
    assert_eq!(
        codes(&reasons),
        [ReasonCode::ContextMissing, ReasonCode::ContextMissing]
    );
    question
        .context
        .insert("customer_id".to_owned(), json!("c-7"));
    let pinned = json!({ "/customer_id": { "equal": "c-7" } });
    assert_eq!(
        rights(&granted(ask(&set, &question))),
        json!([{
            "tools": ["read_ledger", "search_entries", "transfer"],
            "constraints": { "read_ledger": pinned, "transfer": pinned },
        }])
    );
}

#[test]
fn a_request_cannot_constrain_a_pin_away() {
    let set = set(&[(
        "a.toml",
        &grant("pinned", "tools = [\"*\"]\npin = [\"/customer_id\"]"),
    )]);
    let mut question = question(json!({
        "tools": ["read_ledger"], "constraints": { "read_ledger": { "/customer_id": { "equal": "c-8" } } },
    }));
    question
        .context
        .insert("customer_id".to_owned(), json!("c-7"));
    assert_eq!(
        rights(&granted(ask(&set, &question))),
        json!([
            { "tools": ["read_ledger"], "constraints": { "read_ledger": { "/customer_id": { "equal": "c-8" } } } },
            { "tools": ["read_ledger"], "constraints": { "read_ledger": { "/customer_id": { "equal": "c-7" } } } },
        ])
    );
}

#[test]
fn a_manifest_that_changed_under_a_grant_refuses() {
    let pinned = set(&[(
        "a.toml",
        &grant("pinned", "tools = [\"*\"]\npin = [\"/customer_id\"]"),
    )]);
    let body = "tools = [\"export\"]\n[grant.constraints.export]\n\"/path\" = { under = \"/srv\" }";
    let under = set(&[("a.toml", &grant("under", body))]);
    let mut manifest = crate::policy::ledger();
    for tool in manifest.tools.values_mut() {
        tool.arguments.clear();
        tool.path_arguments.clear();
    }
    let changed = Catalogue::new([Arc::new(manifest)]).unwrap();
    let mut question = question(json!({ "tools": ["export"] }));
    question
        .context
        .insert("customer_id".to_owned(), json!("c-7"));
    for set in [pinned, under] {
        granted(ask(&set, &question));
        assert_eq!(
            codes(&refused(set.decide(&question, &changed))),
            [ReasonCode::ConstraintMismatch]
        );
        let (errors, warnings) = set.check(&changed);
        assert!(!errors.is_empty() || !warnings.is_empty());
    }
}

#[test]
fn a_proof_of_the_call_that_any_permitting_grant_requires_holds_in_every_detail_of_the_tool() {
    let mut manifest = crate::policy::ledger();
    manifest
        .tools
        .get_mut(&"transfer".parse().unwrap())
        .unwrap()
        .irreversible = true;
    let catalogue = Catalogue::new([Arc::new(manifest)]).unwrap();
    let strict = grant(
        "strict",
        "tools = [\"transfer\"]\nrequire_call_proof = true",
    );
    let wide = grant("wide", "tools = [\"*\"]");
    // The same tool twice, by its name and by a pattern, each time with what else a caller may ask for.
    let mut question = question(json!([
        { "tools": ["transfer"] },
        { "tools": ["tra*", "read_ledger"], "constraints": { "transfer": { "/amount": { "max": 1 } } } },
    ]));
    for (set, covering) in [
        (set(&[("a.toml", &strict), ("b.toml", &wide)]), "strict"),
        (set(&[("a.toml", &wide), ("b.toml", &strict)]), "wide"),
    ] {
        question.holder_bound = false;
        assert_eq!(
            codes(&refused(set.decide(&question, &catalogue))),
            [ReasonCode::HolderKeyRequired],
            "{covering}"
        );
        question.holder_bound = true;
        let answer = granted(set.decide(&question, &catalogue));
        let by = answer
            .decided_by
            .iter()
            .find(|by| by.right.name.as_str() == "transfer")
            .unwrap();
        assert_eq!(by.grant.as_str(), covering);
        let of_transfer =
            |detail: &serde_json::Value| detail["tools"].to_string().contains("transfer");
        let details = rights(&answer);
        let details: Vec<_> = details
            .as_array()
            .unwrap()
            .iter()
            .filter(|detail| of_transfer(detail))
            .collect();
        assert_eq!(details.len(), 2, "{details:?}");
        assert!(
            details
                .iter()
                .all(|detail| detail["call_proof"] == json!(["transfer"])),
            "{details:?}"
        );
    }
    // What else a grant demands is asked only of the one that covers the right: the first.
    let strict = grant("strict", "tools = [\"transfer\"]\nrequire_proof = true");
    question.holder_bound = false;
    granted(set(&[("a.toml", &wide), ("b.toml", &strict)]).decide(&question, &catalogue));
    let refusals =
        refused(set(&[("a.toml", &strict), ("b.toml", &wide)]).decide(&question, &catalogue));
    assert_eq!(codes(&refusals), [ReasonCode::HolderKeyRequired]);
}
