//! What an agent could be given says what a request for it is answered.

use std::collections::{BTreeMap, BTreeSet};

use hallpass_broker::policy::{
    Decision, Entitlement, EntitlementAnswer, EntitlementProof, PolicySet, Question, RightName,
};
use hallpass_core::{base::ReasonCode, token::manifest::Manifest};
use proptest::prelude::*;
use serde_json::json;

use crate::policy::{ask, catalogue, codes, grant, ledger, question, set};

/// What `agent` in `groups` could be given on the ledger, by the right's words.
fn entitlements<'s>(
    set: &'s PolicySet,
    manifest: &Manifest,
    (agent, groups): (&str, &[&str]),
) -> BTreeMap<String, Entitlement<'s>> {
    let groups: BTreeSet<_> = groups.iter().map(|group| group.parse().unwrap()).collect();
    let steward = "stw_00000000000000000000000000000001".parse().unwrap();
    let found = set.entitlements(&agent.parse().unwrap(), &groups, &steward);
    let rights: Vec<_> = found.rights(manifest).into_values().collect();
    let decided = found.decided(manifest, &rights).into_iter();
    decided.map(|row| (row.right.to_string(), row)).collect()
}

/// A plain request for one right.
fn plain((agent, groups): (&str, &[&str]), name: &RightName, holder_bound: bool) -> Question {
    let requested = match name {
        RightName::Tool(tool) => json!({ "tools": [tool] }),
        RightName::Prompt(prompt) => json!({ "prompts": [prompt] }),
        RightName::Resource(tree) => json!({ "resources": [tree] }),
    };
    Question {
        agent: agent.parse().unwrap(),
        groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
        purpose: String::new(),
        ttl_seconds: 60,
        holder_bound,
        ..question(requested)
    }
}

fn every_right() -> Vec<RightName> {
    let manifest = ledger();
    let tools = manifest.tools.keys().cloned().map(RightName::Tool);
    let prompts = manifest.prompts.keys().cloned().map(RightName::Prompt);
    let trees = ["file:///srv/data/secret", "file:///srv/logs/a"];
    let trees = trees.map(|tree| RightName::Resource(tree.parse().unwrap()));
    tools.chain(prompts).chain(trees).collect()
}

const AGENTS: [(&str, &[&str]); 3] = [
    ("research-bot", &["research"]),
    ("pay-bot", &["research", "pay"]),
    ("stranger", &[]),
];

fn one_grant(id: usize) -> impl Strategy<Value = String> {
    let agents = [
        "*",
        "research-bot",
        "group:research",
        "group:pay",
        "pay-bot",
    ];
    let named = [
        "tools = [\"*\"]",
        "tools = [\"read_*\", \"export\"]",
        "tools = [\"transfer\"]\nprompts = [\"*\"]",
        "resources = [\"file:///srv/data/\"]",
        "tools = [\"*e*\"]\nresources = [\"file:///srv/data/\", \"file:///srv/logs/a\"]",
    ];
    let members = ["read_only", "require_proof", "require_call_proof"];
    (
        prop::sample::select(agents.to_vec()),
        prop::sample::select(named.to_vec()),
        prop::sample::subsequence(members.to_vec(), 0..=2),
        any::<bool>(),
    )
        .prop_map(move |(agent, named, members, by_uri)| {
            let members: String = members
                .iter()
                .map(|name| format!("{name} = true\n"))
                .collect();
            let text = grant(&format!("g{id}"), &format!("{named}\n{members}"));
            let text = text.replace("[\"*\"]\nserver", &format!("[\"{agent}\"]\nserver"));
            if by_uri {
                text.replace("\"ledger\"", "\"https://ledger.example/mcp\"")
            } else {
                text
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn each_right_is_listed_as_a_request_for_it_is_answered(
        grants in (one_grant(0), one_grant(1), one_grant(2)),
        forbidden in prop::sample::subsequence(vec!["read_ledger", "transfer", "export", "summary"], 0..=2),
        only_bound in prop::sample::subsequence(vec!["read_secrets", "transfer", "export"], 0..=2),
    ) {
        let guardrail = |name: &&str, unless: &str| format!(
            "forbid (principal, action, resource) when {{ resource is Tool && resource.name == {name:?} }} {unless};\n\
             forbid (principal, action, resource) when {{ resource is Prompt && resource.name == {name:?} }} {unless};\n"
        );
        let guardrails: String = forbidden.iter().map(|name| guardrail(name, ""))
            .chain(only_bound.iter().map(|name| guardrail(name, "unless { context.holder_bound }")))
            .collect();
        let grants = format!("{}{}{}", grants.0, grants.1, grants.2);
        let set = set(&[("a.toml", &grants), ("b.cedar", &guardrails)]);
        for agent in AGENTS {
            let listed = entitlements(&set, &ledger(), agent);
            for name in every_right() {
                let [unbound, bound] = [false, true].map(|bound| ask(&set, &plain(agent, &name, bound)));
                let row = listed.values().find(|row| row.right.name == name);
                match (row, &unbound, &bound) {
                    (None, Decision::Refused(reasons), Decision::Refused(_)) => {
                        let without = reasons.iter().all(|reason| {
                            matches!(reason.code, ReasonCode::NoGrant | ReasonCode::Guardrail)
                        });
                        prop_assert!(without, "{name:?}: {reasons:?}");
                    }
                    (Some(row), Decision::Granted(granted), _) => {
                        prop_assert_eq!(row.answer, EntitlementAnswer::Given);
                        prop_assert_eq!(row.proof, EntitlementProof::None);
                        prop_assert_eq!(&granted.decided_by[0].grant, &row.grant.id);
                    }
                    (Some(row), _, Decision::Granted(granted)) => {
                        prop_assert_eq!(row.answer, EntitlementAnswer::Given);
                        prop_assert!(row.proof != EntitlementProof::None && !row.reasons.is_empty());
                        prop_assert_eq!(&granted.decided_by[0].grant, &row.grant.id);
                    }
                    (Some(row), _, Decision::Refused(reasons)) => {
                        prop_assert_eq!(row.answer, EntitlementAnswer::Forbidden);
                        prop_assert_eq!(&row.reasons, reasons);
                    }
                    other => prop_assert!(false, "{name:?}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn the_limits_of_the_grant_are_listed_and_what_is_pinned_is_one() {
    let body = r#"tools = ["transfer"]
closed_arguments = ["transfer"]
pin = ["/customer_id"]
require_call_proof = true
[grant.constraints.transfer]
"/amount" = { max = 100 }
"#;
    let set = set(&[("a.toml", &grant("pays", body))]);
    let mut manifest = ledger();
    let transfer = manifest
        .tools
        .get_mut(&"transfer".parse().unwrap())
        .unwrap();
    transfer.irreversible = true;
    let listed = entitlements(&set, &manifest, AGENTS[0]);
    assert_eq!(listed.len(), 1);
    let row = &listed["tool transfer"];
    assert_eq!(
        (row.answer, row.proof),
        (EntitlementAnswer::Given, EntitlementProof::Call)
    );
    let limits: Vec<_> = row
        .limits
        .iter()
        .map(|(at, limit)| format!("{at} {limit}"))
        .collect();
    assert_eq!(limits, ["/amount at most 100"]);
    assert_eq!(
        row.pins.iter().map(|at| at.as_str()).collect::<Vec<_>>(),
        ["/customer_id"]
    );
    assert!(row.closed);
}

#[test]
fn a_grant_that_does_not_fit_the_manifest_any_more_is_undecided() {
    let body =
        "tools = [\"export\"]\n[grant.constraints.export]\n\"/path\" = { under = \"/srv\" }\n";
    let set = set(&[("a.toml", &grant("exports", body))]);
    let mut manifest = ledger();
    let export = manifest.tools.get_mut(&"export".parse().unwrap()).unwrap();
    export.path_arguments.clear();
    let listed = entitlements(&set, &manifest, AGENTS[0]);
    let row = &listed["tool export"];
    assert_eq!(row.answer, EntitlementAnswer::Undecided);
    assert_eq!(codes(&row.reasons), [ReasonCode::ConstraintMismatch]);
}

#[test]
fn a_root_inside_of_a_granted_subtree_is_decided_by_its_own_labels() {
    let high = "forbid (principal, action, resource) when { resource.hasTag(\"risk\") && resource.getTag(\"risk\") == \"high\" };";
    let set = set(&[
        ("a.toml", &grant("files", "resources = [\"file:///srv/\"]")),
        ("b.cedar", high),
    ]);
    let listed = entitlements(&set, &ledger(), AGENTS[0]);
    let answers: Vec<_> = listed
        .iter()
        .map(|(right, row)| (right.as_str(), row.answer))
        .collect();
    let expected = [
        // Given in parts.
        ("resource file:///srv/data", EntitlementAnswer::Undecided),
        (
            "resource file:///srv/data/secret",
            EntitlementAnswer::Forbidden,
        ),
        ("resource file:///srv/logs", EntitlementAnswer::Given),
    ];
    assert_eq!(answers, expected);
}

#[test]
fn only_servers_with_a_grant_for_the_agent_are_looked_at() {
    let own =
        grant("own", "tools = [\"*\"]").replace("[\"*\"]\nserver", "[\"research-bot\"]\nserver");
    let elsewhere = grant("elsewhere", "tools = [\"*\"]").replace("\"ledger\"", "\"not-there\"");
    let set = set(&[("a.toml", &format!("{own}{elsewhere}"))]);
    let catalogue = catalogue();
    let servers = |agent: &str| {
        let steward = "stw_00000000000000000000000000000001".parse().unwrap();
        set.entitlements(&agent.parse().unwrap(), &BTreeSet::new(), &steward)
            .servers(&catalogue)
            .len()
    };
    assert_eq!((servers("research-bot"), servers("stranger")), (1, 0));
}
