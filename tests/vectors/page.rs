//! The vectors of `docs/token-format.md`, read from the page itself. They need
//! the verifier only, and come out the same with every feature.

use std::collections::BTreeMap;

use hallpass_core::{
    base::{
        ids::{KeyId, RevocationId},
        key::{PrivateKey, PublicKey},
        time::Timestamp,
    },
    token::{
        Arguments, Evaluation, RequestFacts, RootKey, UnverifiedPass, manifest::Tool, rights::Kind,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    root_key: String,
    tokens: BTreeMap<String, Token>,
    cases: Vec<Case>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    text: String,
    /// The first 8 bytes of each block's revocation id; empty for a token outside the profile.
    blocks: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    token: String,
    at: Timestamp,
    server: String,
    kind: Kind,
    name: String,
    arguments: Value,
    read_only: bool,
    /// `allowed`, or every reason.
    answer: Vec<String>,
}

impl Case {
    fn decide(&self, token: &str, key: &PublicKey) -> Vec<String> {
        let pass = match UnverifiedPass::parse(token) {
            Ok(parsed) => parsed.verify(key),
            Err(error) => return vec![error.code().to_string()],
        };
        let pass = match pass {
            Ok(pass) => pass,
            Err(error) => return vec![error.code().to_string()],
        };
        let tool: Tool = serde_json::from_value(json!({"path_arguments": ["/path"]})).unwrap();
        let arguments = Arguments::flatten(Some(&self.arguments), Some(&tool));
        let request = RequestFacts {
            time: self.at,
            me: &self.server.parse().unwrap(),
            kind: self.kind,
            name: &self.name,
            arguments: &arguments,
            read_only: self.read_only,
            call_proven: false,
        };
        match hallpass_core::token::evaluate(
            &pass,
            hallpass_core::token::MAX_EVALUATION_TIME,
            &request,
        ) {
            Evaluation::Allowed => vec!["allowed".to_owned()],
            Evaluation::Refused(failed) => failed
                .iter()
                .map(|failed| failed.code.to_string())
                .collect(),
            Evaluation::Fault(fault) => vec![format!("{fault:?}")],
        }
    }
}

fn root() -> RootKey {
    RootKey::new(KeyId(1), &PrivateKey::from_seed(&[1; 32])).unwrap()
}

fn ids(text: &str) -> Vec<String> {
    let Ok(parsed) = UnverifiedPass::parse(text) else {
        return Vec::new();
    };
    let blocks = parsed.dangerous_unverified_summary().blocks;
    blocks
        .iter()
        .map(|block: &hallpass_core::token::BlockSummary| short(&block.revocation_id))
        .collect()
}

fn short(id: &RevocationId) -> String {
    id.to_string()[..16].to_owned()
}

fn page() -> Vectors {
    let page = include_str!("../../docs/token-format.md");
    let (_, after) = page.rsplit_once("```json\n").unwrap();
    serde_json::from_str(after.split_once("```").unwrap().0).unwrap()
}

#[test]
fn the_page_is_true() {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        new_vectors::print();
    }
    let vectors = page();
    let key = root().public();
    assert_eq!(vectors.root_key, raw_hex(key.as_bytes()));
    for (name, token) in &vectors.tokens {
        assert_eq!(ids(&token.text), token.blocks, "{name}");
    }
    assert!(vectors.cases.len() >= 10);
    for (index, case) in vectors.cases.iter().enumerate() {
        assert_eq!(
            case.decide(&vectors.tokens[&case.token].text, &key),
            case.answer,
            "case {index}"
        );
    }
    let answers = |wanted: &str| {
        vectors
            .cases
            .iter()
            .filter(|case| case.answer == [wanted])
            .count()
    };
    assert!(answers("allowed") >= 3 && answers("token_profile") >= 1);
}

fn raw_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes new vectors, for which tokens are minted: only a broker can.
mod new_vectors {
    use hallpass_core::token::{Narrowing, PassToken, attenuate};

    use super::*;
    use support::{Issuer, SERVER, raw, rights};

    impl Case {
        fn new(token: &str, seconds: u64, call: (Kind, &str, Value), read_only: bool) -> Self {
            let start: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
            let (kind, name, arguments) = call;
            let at = start.plus(std::time::Duration::from_secs(seconds));
            let (token, name) = (token.to_owned(), name.to_owned());
            Self {
                token,
                at,
                server: SERVER.to_owned(),
                kind,
                name,
                arguments,
                read_only,
                answer: Vec::new(),
            }
        }
    }

    /// Prints new vectors for the page.
    pub(super) fn print() {
        let issuer = Issuer::new();
        let plain = issuer
            .mint(vec![rights(json!({"tools": ["read_ledger", "transfer"], "resources": ["file:///srv/data"],
            "constraints": {"transfer": {"/amount": {"min": 0, "max": 100}, "/path": {"under": "/srv/data"}}}}))]);
        let mut narrowing = Narrowing::default();
        narrowing.read_only = true;
        narrowing.expires_at = Some("2026-11-22T10:01:00Z".parse().unwrap());
        let narrowed = attenuate(&plain, &narrowing).unwrap().token;
        let forged = raw::append(
            &plain,
            &root().public(),
            &format!(r#"right("{SERVER}", "tool", {{"delete_ledger"}});"#),
        );
        let mut other_key = raw::wire(&plain);
        other_key.authority.next_key.key[0] ^= 1;
        let tokens = [
            ("plain", &plain),
            ("narrowed", &narrowed),
            ("with_a_holders_fact", &forged),
            ("changed", &raw::from_wire(&other_key)),
        ];
        let token = |token: &PassToken| Token {
            text: token.expose().to_owned(),
            blocks: ids(token.expose()),
        };
        let tokens: BTreeMap<_, _> = tokens
            .into_iter()
            .map(|(name, text)| (name.to_owned(), token(text)))
            .collect();
        let good = json!({"amount": 100, "path": "/srv/data/a"});
        let transfer = |arguments: &Value| (Kind::Tool, "transfer", arguments.clone());
        let read = || (Kind::Tool, "read_ledger", json!({}));
        let mut cases = vec![
            Case::new("plain", 0, transfer(&good), false),
            Case::new("plain", 0, read(), true),
            Case::new(
                "plain",
                0,
                (Kind::Resource, "file:///srv/data/a", json!({})),
                true,
            ),
            Case::new(
                "plain",
                0,
                (Kind::Resource, "file:///srv/database", json!({})),
                true,
            ),
            Case::new(
                "plain",
                0,
                transfer(&json!({"amount": 101, "path": "/srv/data/a"})),
                false,
            ),
            Case::new(
                "plain",
                0,
                transfer(&json!({"amount": 1, "Amount": 101, "path": "/srv/data/a"})),
                false,
            ),
            Case::new(
                "plain",
                0,
                (Kind::Resource, "file:///srv/data/.. ", json!({})),
                true,
            ),
            Case::new(
                "plain",
                0,
                transfer(&json!({"amount": "100", "path": "/srv/data/../a"})),
                false,
            ),
            Case::new("plain", 0, (Kind::Tool, "delete_ledger", json!({})), false),
            Case::new("plain", 299, read(), true),
            Case::new("plain", 300, read(), true),
            Case::new("narrowed", 59, read(), true),
            Case::new("narrowed", 60, transfer(&good), false),
            Case::new(
                "with_a_holders_fact",
                0,
                (Kind::Tool, "delete_ledger", json!({})),
                false,
            ),
            Case::new("changed", 0, read(), true),
        ];
        let mut elsewhere = Case::new("plain", 0, read(), true);
        elsewhere.server = "https://b.example/mcp".to_owned();
        cases.push(elsewhere);
        for case in &mut cases {
            case.answer = case.decide(&tokens[&case.token].text, &root().public());
        }
        let vectors = Vectors {
            root_key: raw_hex(root().public().as_bytes()),
            tokens,
            cases,
        };
        let text = |value: &Value| value.to_string();
        println!("{{\"root_key\": {},", json!(vectors.root_key));
        println!(" \"tokens\": {{");
        let tokens: Vec<String> = vectors
            .tokens
            .iter()
            .map(|(name, token)| {
                format!(
                    "  {}: {}",
                    json!(name),
                    text(&serde_json::to_value(token).unwrap())
                )
            })
            .collect();
        println!("{}}},", tokens.join(",\n"));
        let cases: Vec<String> = vectors
            .cases
            .iter()
            .map(|case| format!("  {}", text(&serde_json::to_value(case).unwrap())))
            .collect();
        println!(" \"cases\": [\n{}]}}", cases.join(",\n"));
    }
}
