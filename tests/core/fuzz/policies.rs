//! Policy files: any text. What loads decides, gives no more than was asked for, and says why not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hallpass_broker::policy::{Behalf, Catalogue, Decision, PolicyFile, PolicySet, Question};
use hallpass_core::token::RequestedDetail;
use serde_json::{Value, json};

use crate::fuzz::{corpus, fuzz, input::Input};
use support::{SERVER, manifest};

struct PolicyTarget {
    catalogue: Catalogue,
    grants: Vec<Vec<u8>>,
    guardrails: Vec<Vec<u8>>,
    questions: Vec<Question>,
}

impl PolicyTarget {
    fn new() -> Self {
        let of = |ending: &str| {
            let files = corpus::files("policies").into_iter();
            files
                .filter(|(name, _)| name.ends_with(ending))
                .map(|(_, text)| text)
                .collect()
        };
        let question = |members: Value, holder_bound| {
            let mut detail = json!({"type": "mcp", "server": SERVER});
            detail
                .as_object_mut()
                .unwrap()
                .extend(members.as_object().unwrap().clone());
            let requested: Vec<RequestedDetail> = vec![serde_json::from_value(detail).unwrap()];
            Question {
                agent: "research-bot".parse().unwrap(),
                groups: BTreeSet::from(["research".parse().unwrap()]),
                steward: "stw_00000000000000000000000000000001".parse().unwrap(),
                behalf: Behalf {
                    steward: "stw_00000000000000000000000000000001".parse().unwrap(),
                    verified: false,
                    groups: BTreeSet::new(),
                },
                purpose: "close the books".to_owned(),
                requested,
                ttl_seconds: 60,
                context: BTreeMap::from([
                    ("currency".to_owned(), json!("EUR")),
                    ("n".to_owned(), json!(i64::MIN)),
                ]),
                holder_bound,
                allow_partial: holder_bound,
            }
        };
        let mut manifest = manifest();
        let transfer = manifest
            .tools
            .get_mut(&"transfer".parse().unwrap())
            .unwrap();
        transfer.arguments = ["/amount", "/currency", "/path", "/url"]
            .iter()
            .map(|argument| argument.parse().unwrap())
            .collect();
        Self {
            catalogue: Catalogue::new([Arc::new(manifest)]).unwrap(),
            grants: of(".toml"),
            guardrails: of(".cedar"),
            questions: vec![
                question(json!({"tools": ["read_ledger"]}), false),
                question(
                    json!({"tools": ["*"], "prompts": ["*"], "resources": ["file:///srv/data"]}),
                    true,
                ),
                question(json!({"resources": ["file:///srv/data/secret"]}), true),
                question(json!({"tools": ["delete_ledger", "transfer"]}), false),
            ],
        }
    }
}

fn files(grants: &[u8], guardrails: &[u8]) -> Vec<PolicyFile> {
    let file = |name: &str, text: &[u8]| PolicyFile {
        name: name.to_owned(),
        text: String::from_utf8_lossy(text).into_owned(),
    };
    vec![
        file("policy/a.toml", grants),
        file("policy/b.cedar", guardrails),
    ]
}

/// What `question` asks for is at least what `decision` gives.
fn gives_no_more(decision: &Decision, question: &Question) {
    let Decision::Granted(granted) = decision else {
        return;
    };
    assert!(granted.max_ttl > Duration::ZERO);
    assert!(question.allow_partial || granted.dropped.is_empty());
    let asked = &question.requested[0];
    for detail in &granted.rights {
        assert_eq!(detail.server, asked.server);
        assert!(
            detail
                .tools
                .iter()
                .all(|tool| asked.tools.iter().any(|pattern| pattern.matches(tool)))
        );
        assert!(
            detail
                .prompts
                .iter()
                .all(|prompt| asked.prompts.iter().any(|pattern| pattern.matches(prompt)))
        );
        for tree in &detail.resources {
            assert!(
                asked
                    .resources
                    .iter()
                    .any(|root| tree.as_str().starts_with(root.as_str()))
            );
        }
    }
    assert!(!granted.decided_by.is_empty());
}

#[test]
fn a_policy_of_any_text_is_refused_with_a_place_or_decides() {
    let seeds = corpus::files("policies").len();
    fuzz!(
        "policies",
        seeds,
        PolicyTarget::new(),
        |setup: &mut PolicyTarget, input: &mut Input<'_>| {
            let mut grants = input.seed(&setup.grants);
            let mut guardrails = setup.guardrails[0].clone();
            if input.one_in(2) {
                (grants, guardrails) = (setup.grants[0].clone(), input.seed(&setup.guardrails));
            }
            match PolicySet::from_files(files(&grants, &guardrails), &setup.catalogue) {
                Ok((set, _)) => {
                    assert!(
                        set.check(&setup.catalogue).0.is_empty(),
                        "what loads is right"
                    );
                    for question in &setup.questions {
                        let decision = set.decide(question, &setup.catalogue);
                        gives_no_more(&decision, question);
                        assert_eq!(decision, set.decide(question, &setup.catalogue));
                        if let Decision::Refused(reasons) = &decision {
                            assert!(!reasons.is_empty());
                        }
                    }
                }
                Err(errors) => {
                    assert!(
                        !errors.findings().is_empty() && errors.to_string().starts_with("policy/"),
                        "{errors}"
                    );
                }
            }
        }
    );
}

#[test]
fn the_seeds_are_good() {
    let setup = PolicyTarget::new();
    let (set, warnings) = PolicySet::from_files(
        files(&setup.grants[0], &setup.guardrails[0]),
        &setup.catalogue,
    )
    .unwrap();
    assert_eq!(warnings, []);
    let decisions = setup
        .questions
        .iter()
        .map(|question| set.decide(question, &setup.catalogue));
    let granted: Vec<bool> = decisions
        .map(|decision| matches!(decision, Decision::Granted(_)))
        .collect();
    assert_eq!(granted, [true, true, true, false]);
}
