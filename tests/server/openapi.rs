//! The OpenAPI document is what `docs/openapi.json` says; `UPDATE_DOCS=1` writes it anew.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(&hallpass::server::openapi()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &'_ Value)| -> Vec<String> {
        item.as_object()
            .unwrap()
            .keys()
            .map(|method| format!("{method} {path}"))
            .collect()
    };
    let names = paths.iter().flat_map(of);
    names
        .map(|name| {
            let (method, path) = name.split_once(' ').unwrap();
            let operation = &document["paths"][path][method];
            (name.clone(), operation)
        })
        .collect()
}

#[test]
fn the_document_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let now = hallpass::server::openapi();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == now,
        "docs/openapi.json is out of date: run `UPDATE_DOCS=1 cargo test --test server openapi`"
    );
}

#[test]
fn every_operation_says_what_it_does_who_may_call_it_and_what_it_answers() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let operations = operations(&document);
    assert!(!operations.is_empty());
    let mut ids = BTreeSet::new();
    for (name, operation) in operations {
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|summary| !summary.is_empty()),
            "{name}"
        );
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{name}: operationId is taken"
        );
        let responses = operation["responses"].as_object().unwrap();
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{name}"
        );
        if !name.ends_with(".json") {
            assert!(
                responses.contains_key("4XX") && responses.contains_key("5XX"),
                "{name}"
            );
        }
        // RFC 7591 has no such header.
        let creates = responses.contains_key("201") && name != "post /oauth/register";
        let parameters = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let has_key = parameters
            .iter()
            .any(|parameter| parameter["name"] == "Idempotency-Key");
        assert!(
            !creates || has_key,
            "{name} creates and takes no idempotency key"
        );
    }
}

#[test]
fn every_post_that_may_be_sent_again_offers_the_idempotency_key() {
    let document = document();
    let without = [
        "post /v1/keys/operator/{id}/revoke",
        "post /v1/policy/check",
        "post /v1/policy/explain",
        "post /v1/policy/reload",
    ];
    for (name, operation) in operations(&document) {
        let parameters = operation["parameters"].as_array();
        let offers = parameters
            .into_iter()
            .flatten()
            .any(|parameter| parameter["name"] == "Idempotency-Key");
        let expected = name.starts_with("post /v1/") && !without.contains(&name.as_str());
        assert_eq!(offers, expected, "{name}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        assert!(
            document
                .pointer(reference.trim_start_matches('#'))
                .is_some(),
            "{reference}"
        );
    }
}

#[test]
fn answers_may_gain_members_and_requests_may_not() {
    let document = document();
    let is_closed = |name: &str| {
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name}");
        schema["additionalProperties"] == false
    };
    for open in [
        "KeyDocument",
        "RootKeyEntry",
        "CallReport",
        "ReportedHop",
        "Manifest",
        "Constraint",
        "AuthorizationDetail",
        "DecidedBy",
        "TaskView",
    ] {
        assert!(!is_closed(open), "{open}");
    }
    for closed in [
        "OpenRequest",
        "RevokeRequest",
        "ConsistencyEvidence",
        "Signed",
    ] {
        assert!(is_closed(closed), "{closed}");
    }
}
