//! What holds for every policy and every request.

use hallpass_broker::policy::{Decision, Right, RightName};
use hallpass_core::token::rights::NamePattern;
use proptest::prelude::*;
use serde_json::json;

use crate::policy::{ask, catalogue, grant, question, set};

const TOOLS: [&str; 5] = [
    "read_ledger",
    "read_secrets",
    "search_entries",
    "transfer",
    "export",
];

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(&TOOLS[..]).prop_map(str::to_owned),
        "[a-z_]{0,3}\\*[a-z_]{0,3}(\\*[a-z_]{0,2})?",
        Just("*".to_owned()),
        Just("read_*".to_owned()),
        Just("*e*".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Cedar's `like` and the pattern that expands requests agree, so that what is granted is
    /// exactly what some grant's pattern matches and no guardrail forbids.
    #[test]
    fn granted_is_exactly_what_grants_match_and_guardrails_spare(
        granted_patterns in prop::collection::vec(pattern(), 1..4),
        forbidden in prop::sample::subsequence(&TOOLS[..], 0..=TOOLS.len()),
        asked in pattern(),
    ) {
        let quoted = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let grants = grant("g", &format!("tools = [{}]", quoted(&granted_patterns)));
        let guardrails: String = forbidden
            .iter()
            .map(|name| format!("forbid (principal, action == Action::\"call\", resource) when {{ resource.name == {name:?} }};\n"))
            .collect();
        let set = set(&[("a.toml", &grants), ("b.cedar", &guardrails)]);
        let mut question = question(json!({ "tools": [asked] }));
        question.allow_partial = true;

        let matches = |patterns: &[String], name: &str| {
            patterns.iter().any(|pattern| pattern.parse::<NamePattern>().unwrap().matches(&name.parse().unwrap()))
        };
        let mut expected: Vec<&str> = TOOLS
            .into_iter()
            .filter(|name| matches(std::slice::from_ref(&asked), name))
            .filter(|name| matches(&granted_patterns, name) && !forbidden.contains(name))
            .collect();
        expected.sort_unstable();
        let answer = match ask(&set, &question) {
            Decision::Granted(granted) => granted.rights.iter().flat_map(|d| d.tools.clone()).map(String::from).collect(),
            Decision::Refused(reasons) => { prop_assert!(!reasons.is_empty()); Vec::new() }
        };
        prop_assert_eq!(&answer, &expected);

        // Whole or not at all, and the same answer every time.
        question.allow_partial = false;
        let whole = matches!(ask(&set, &question), Decision::Granted(_));
        let all = TOOLS.into_iter().filter(|name| matches(std::slice::from_ref(&asked), name)).count();
        prop_assert_eq!(whole, all > 0 && all == expected.len());
        prop_assert_eq!(ask(&set, &question), ask(&set, &question));
    }

    /// Whatever is granted on resources lies in one root, in a granted subtree and in what was asked.
    #[test]
    fn a_granted_subtree_is_inside_everything_it_must_be(
        granted_tree in "file:///srv(/(data|logs|secret|x)){0,3}",
        asked in "file:///srv(/(data|logs|secret|x)){0,3}",
    ) {
        let set = set(&[("a.toml", &grant("g", &format!("resources = [\"{granted_tree}\"]")))]);
        let catalogue = catalogue();
        let manifest = catalogue.named(&"ledger".parse().unwrap()).unwrap();
        if let Decision::Granted(granted) = ask(&set, &question(json!({ "resources": [asked] }))) {
            for by in &granted.decided_by {
                let Right { name: RightName::Resource(tree), .. } = &by.right else { panic!("{by:?}") };
                prop_assert!(manifest.root_of(tree).is_some());
                let outer: hallpass_core::token::path::ResourceTree = granted_tree.parse().unwrap();
                prop_assert!(outer.contains(tree));
                prop_assert_eq!(tree.as_str(), asked.as_str());
            }
        }
    }
}
