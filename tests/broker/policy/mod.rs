//! Policy as its callers see it: files and manifests in, decisions with their reasons out.
mod decisions;
mod entitled;
mod files;
mod obligations;
mod properties;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hallpass_broker::policy::{
    Behalf, Catalogue, Decision, Granted, PolicyFile, PolicySet, Question, Reason,
};
use hallpass_core::{
    base::ReasonCode,
    token::{
        RequestedDetail,
        manifest::{Manifest, Prompt, ResourceRoot, Tool},
    },
};
use serde_json::{Value, json};

pub(crate) const LEDGER: &str = "https://ledger.example/mcp";

/// The ledger: reads, searches, one transfer of high risk, files under two roots.
pub(crate) fn ledger() -> Manifest {
    let mut manifest = Manifest::new(LEDGER.parse().unwrap(), "ledger".parse().unwrap());
    manifest
        .aliases
        .insert("https://ledger-alias.example/mcp".parse().unwrap());
    manifest.region = Some("eu".to_owned());
    let tool = |read_only: bool, risk: &str, arguments: &[&str]| {
        let mut tool = Tool::default();
        tool.read_only = read_only;
        tool.labels = BTreeMap::from([("risk".to_owned(), risk.to_owned())]);
        tool.arguments = arguments
            .iter()
            .map(|argument| argument.parse().unwrap())
            .collect();
        tool
    };
    let mut export = tool(true, "low", &["/path", "/url", "/customer_id"]);
    export.path_arguments.insert("/path".parse().unwrap());
    export.url_arguments.insert("/url".parse().unwrap());
    for (name, tool) in [
        ("read_ledger", tool(true, "low", &["/year", "/customer_id"])),
        ("read_secrets", tool(true, "high", &["/year"])),
        ("search_entries", tool(true, "low", &["/query"])),
        (
            "transfer",
            tool(false, "high", &["/amount", "/currency", "/customer_id"]),
        ),
        ("export", export),
    ] {
        manifest.tools.insert(name.parse().unwrap(), tool);
    }
    manifest
        .prompts
        .insert("summary".parse().unwrap(), Prompt::default());
    for (uri, risk) in [
        ("file:///srv/data", "low"),
        ("file:///srv/data/secret", "high"),
        ("file:///srv/logs", "low"),
    ] {
        let labels = BTreeMap::from([("risk".to_owned(), risk.to_owned())]);
        let root: ResourceRoot =
            serde_json::from_value(json!({ "uri": uri, "labels": labels })).unwrap();
        manifest.resources.push(root);
    }
    manifest
}

pub(crate) fn catalogue() -> Catalogue {
    Catalogue::new([Arc::new(ledger())]).unwrap()
}

pub(crate) fn files(texts: &[(&str, &str)]) -> Vec<PolicyFile> {
    texts
        .iter()
        .map(|(name, text)| PolicyFile {
            name: format!("policy/{name}"),
            text: (*text).to_owned(),
        })
        .collect()
}

pub(crate) fn set(texts: &[(&str, &str)]) -> PolicySet {
    match PolicySet::from_files(files(texts), &catalogue()) {
        Ok((set, _)) => set,
        Err(errors) => panic!("{errors}"),
    }
}

/// What is wrong with these files, one finding a line.
pub(crate) fn errors(texts: &[(&str, &str)]) -> String {
    PolicySet::from_files(files(texts), &catalogue())
        .err()
        .map(|errors| errors.to_string())
        .unwrap_or_default()
}

/// A grant of `body` to everyone on the ledger.
pub(crate) fn grant(id: &str, body: &str) -> String {
    format!(
        "[[grant]]\nid = \"{id}\"\nagents = [\"*\"]\nserver = \"ledger\"\nmax_ttl = \"10m\"\n{body}\n"
    )
}

pub(crate) fn question(requested: Value) -> Question {
    let details: Vec<RequestedDetail> = match requested {
        Value::Array(details) => details,
        one => vec![one],
    }
    .into_iter()
    .map(|mut detail| {
        let members = detail.as_object_mut().unwrap();
        members.entry("type").or_insert(json!("mcp"));
        members.entry("server").or_insert(json!(LEDGER));
        serde_json::from_value(detail).unwrap()
    })
    .collect();
    Question {
        agent: "research-bot".parse().unwrap(),
        groups: BTreeSet::from(["research".parse().unwrap()]),
        steward: "stw_00000000000000000000000000000001".parse().unwrap(),
        behalf: Behalf {
            steward: "stw_00000000000000000000000000000001".parse().unwrap(),
            verified: false,
            groups: BTreeSet::new(),
        },
        purpose: "close the Q3 books".to_owned(),
        requested: details,
        ttl_seconds: 300,
        context: BTreeMap::new(),
        holder_bound: false,
        allow_partial: false,
    }
}

pub(crate) fn ask(set: &PolicySet, question: &Question) -> Decision {
    set.decide(question, &catalogue())
}

pub(crate) fn granted(decision: Decision) -> Granted {
    match decision {
        Decision::Granted(granted) => granted,
        Decision::Refused(reasons) => panic!("refused: {reasons:#?}"),
    }
}

pub(crate) fn refused(decision: Decision) -> Vec<Reason> {
    match decision {
        Decision::Granted(granted) => panic!("granted: {granted:#?}"),
        Decision::Refused(reasons) => reasons,
    }
}

pub(crate) fn codes(reasons: &[Reason]) -> Vec<ReasonCode> {
    reasons.iter().map(|reason| reason.code).collect()
}

/// The rights granted, as JSON.
pub(crate) fn rights(granted: &Granted) -> Value {
    let mut rights = serde_json::to_value(&granted.rights).unwrap();
    for right in rights.as_array_mut().unwrap() {
        let members = right.as_object_mut().unwrap();
        assert_eq!(members.remove("type"), Some(json!("mcp")));
        assert_eq!(members.remove("server"), Some(json!(LEDGER)));
    }
    rights
}
