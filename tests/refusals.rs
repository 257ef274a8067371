//! Every reason that a verifier can give, each shown once: the table is complete by construction,
//! since a code that is neither shown nor declared somebody else's fails the test.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

use std::{collections::BTreeSet, time::Duration};

use hallpass::{
    base::{
        ReasonCode,
        digest::SubjectDigest,
        ids::{KeyId, ServerUri},
        key::PrivateKey,
        time::Timestamp,
    },
    token::{self, Narrowing, PassToken, RootKey, attenuate, rights::GrantedDetail},
    verify::{
        Call, Denial, Permit, Verifier,
        document::{RevocationEntry, Subjects},
    },
};
use serde_json::{Value, json};

mod support;

use support::{Issuer, SERVER, raw, rights};

/// A broker, its verifier, and a pass that is good for several calls.
struct Scene {
    issuer: Issuer,
    verifier: Verifier,
}

impl Scene {
    fn new() -> Self {
        let issuer = Issuer::new();
        let verifier = issuer.verifier();
        Self { issuer, verifier }
    }

    fn pass(&self, members: Value) -> PassToken {
        self.issuer.mint(vec![rights(members)])
    }

    fn plain(&self) -> PassToken {
        self.pass(json!({"tools": ["read_ledger", "transfer"]}))
    }

    /// The plain pass with a block of Datalog text after it.
    fn with_block(&self, code: &str) -> PassToken {
        raw::append(&self.plain(), &self.issuer.root.public(), code)
    }

    fn call(&self, token: &PassToken, tool: &str, arguments: Value) -> Result<Permit, Denial> {
        let pass = self.verifier.verify(token.expose())?;
        self.verifier.clear(&pass, &Call::tool(tool, Some(&arguments)))
    }

    fn read(&self, token: &PassToken) -> Result<Permit, Denial> {
        self.call(token, "read_ledger", json!({}))
    }

    /// What a plain pass is told once `subject` is revoked.
    fn revoked(&self, subject: impl Fn(&PassToken) -> SubjectDigest) -> Result<Permit, Denial> {
        let pass = self.plain();
        self.read(&pass).expect("good before it is revoked");
        let expires_at = self.issuer.now().plus(Duration::from_secs(600));
        self.issuer.revoke(&self.verifier, RevocationEntry { subject: subject(&pass), cut_off: None, expires_at });
        self.read(&pass)
    }

    fn block_0_id(&self, token: &PassToken) -> SubjectDigest {
        Subjects::token(&self.verifier.verify(token.expose()).unwrap().verified().blocks()[0])
    }
}

type Case = (ReasonCode, &'static str, fn(&Scene) -> Result<Permit, Denial>);

/// Block 0 of a pass as Datalog text, with `extra` after it.
fn block_0(format: u8, extra: &str) -> String {
    format!(
        r#"hallpass({format}); issuer("{}"); task("tsk_00000000000000000000000000000001"); agent("research-bot");
        steward("stw_00000000000000000000000000000001"); iat(2026-11-22T10:00:00Z); exp(2026-11-22T10:05:00Z);
        aud({{"{SERVER}"}}); right("{SERVER}", "tool", {{"read_ledger"}});
        check if time($t), $t >= 2026-11-22T09:59:55Z && $t < 2026-11-22T10:05:00Z; {extra}"#,
        support::ISSUER
    )
}

fn bytes_cases() -> Vec<Case> {
    use ReasonCode::*;
    vec![
        (TokenMalformed, "not base64url", |scene| scene.read(&PassToken::from_text("no token!".into()))),
        (TokenMalformed, "not a Biscuit", |scene| scene.read(&PassToken::from_text("AAAA".into()))),
        (TokenMalformed, "nothing", |scene| scene.read(&PassToken::from_text(String::new()))),
        (TokenTooLarge, "too large", |scene| scene.read(&raw::token(vec![0; 16 * 1024 + 1]))),
        (TokenProfile, "a holder's fact", |scene| scene.read(&scene.with_block("read_only(true);"))),
        (TokenSignature, "another key under the same number", |scene| {
            let foreign = RootKey::new(KeyId(1), &PrivateKey::from_seed(&[66; 32])).unwrap();
            let content = scene.issuer.content(vec![rights(json!({"tools": ["read_ledger"]}))]);
            scene.read(&token::mint(&foreign, &content).unwrap().release(&support::receipt()))
        }),
        (TokenKeyUnknown, "a number that no key has", |scene| {
            let mut wire = raw::wire(&scene.plain());
            wire.root_key_id = Some(99);
            scene.read(&raw::from_wire(&wire))
        }),
        (TokenFormat, "another format", |scene| scene.read(&raw::mint(&scene.issuer, &block_0(2, "")))),
        (TokenIssuer, "another broker with the same key", |scene| {
            let mut content = scene.issuer.content(vec![rights(json!({"tools": ["read_ledger"]}))]);
            content.issuer = "https://other.example".parse().unwrap();
            scene.read(&scene.issuer.mint_content(&content))
        }),
        (HolderChain, "a delegation of a pass that is bound to no key", |scene| {
            let root = scene.issuer.root.public();
            let code = r#"delegate("helper", "ed25519/00");"#;
            scene.read(&raw::append_third_party(&scene.plain(), &root, &raw::key_pair(9), code))
        }),
        (ProofRequired, "a pass that is bound to a key", |scene| {
            let code = block_0(1, &format!(r#"cnf("ed25519/{}");"#, "00".repeat(32)));
            scene.read(&raw::mint(&scene.issuer, &code))
        }),
    ]
}

fn revocation_cases() -> Vec<Case> {
    use ReasonCode::*;
    vec![
        (RevokedToken, "block 0", |scene| scene.revoked(|pass| scene.block_0_id(pass))),
        (RevokedToken, "a block further on", |scene| {
            let mut narrowing = Narrowing::default();
            narrowing.read_only = true;
            let longer = attenuate(&scene.plain(), &narrowing).unwrap();
            scene.read(&longer.token)?;
            let expires_at = scene.issuer.now().plus(Duration::from_secs(600));
            let subject = Subjects::token(&longer.blocks[1]);
            scene.issuer.revoke(&scene.verifier, RevocationEntry { subject, cut_off: None, expires_at });
            scene.read(&longer.token)
        }),
        (RevokedTask, "its task", |scene| {
            scene.revoked(|_| Subjects::task(&"tsk_00000000000000000000000000000001".parse().unwrap()))
        }),
        (RevokedAgent, "its agent", |scene| scene.revoked(|_| Subjects::agent(&"research-bot".parse().unwrap()))),
        (RevokedSteward, "its steward", |scene| {
            scene.revoked(|_| Subjects::steward(&"stw_00000000000000000000000000000001".parse().unwrap()))
        }),
        (RevokedServer, "its server", |scene| scene.revoked(|_| Subjects::server(&support::server()))),
        (RevokedKey, "its root key", |scene| scene.revoked(|_| Subjects::key(KeyId(1)))),
    ]
}

fn call_cases() -> Vec<Case> {
    use ReasonCode::*;
    vec![
        (NotYetValid, "issued in the future", |scene| {
            let mut content = scene.issuer.content(vec![rights(json!({"tools": ["read_ledger"]}))]);
            content.issued_at = content.issued_at.plus(Duration::from_secs(6));
            scene.read(&scene.issuer.mint_content(&content))
        }),
        (Expired, "at its end", |scene| {
            let pass = scene.plain();
            scene.issuer.clock.advance(Duration::from_secs(300));
            scene.issuer.tell(&scene.verifier, scene.issuer.frame());
            scene.read(&pass)
        }),
        (Expired, "at the end that a holder set", |scene| {
            let mut narrowing = Narrowing::default();
            narrowing.expires_at = Some(scene.issuer.now());
            scene.read(&attenuate(&scene.plain(), &narrowing).unwrap().token)
        }),
        (Audience, "for another server", |scene| {
            let code = block_0(1, "").replace(&format!(r#"aud({{"{SERVER}"}})"#), r#"aud({"https://b.example/mcp"})"#);
            scene.read(&raw::mint(&scene.issuer, &code))
        }),
        (NotGranted, "another tool", |scene| scene.call(&scene.plain(), "delete_ledger", json!({}))),
        (NotGranted, "narrowed away", |scene| {
            let mut narrowing = Narrowing::default();
            narrowing.rights = Some(vec![rights(json!({"tools": ["transfer"]}))]);
            scene.read(&attenuate(&scene.plain(), &narrowing).unwrap().token)
        }),
        (NotInManifest, "a tool that the server does not pin", |scene| scene.call(&scene.plain(), "drop", json!({}))),
        (ArgumentConstraint, "too much", |scene| scene.call(&constrained(scene), "transfer", json!({"amount": 101}))),
        (ArgumentConstraint, "no argument", |scene| scene.call(&constrained(scene), "transfer", json!({}))),
        (ArgumentType, "a number as a string", |scene| {
            scene.call(&constrained(scene), "transfer", json!({"amount": "5"}))
        }),
        (ArgumentNotAllowed, "one that the list does not name", |scene| {
            scene.call(&constrained(scene), "transfer", json!({"amount": 5, "memo": "x"}))
        }),
        (ArgumentCount, "more than a verifier looks at", |scene| {
            let many = (0..65).map(|index| (format!("a{index}"), json!(1))).collect();
            scene.call(&constrained(scene), "transfer", Value::Object(many))
        }),
        (ReadOnly, "a tool that changes something", |scene| {
            scene.call(&scene.pass(json!({"tools": ["transfer"], "read_only": true})), "transfer", json!({}))
        }),
        (DelegationDepth, "deeper than a block allows", |scene| {
            scene.read(&scene.with_block("check if depth($d), $d < 0;"))
        }),
        (Budget, "nobody counts", |scene| scene.read(&scene.with_block(r#"check if used("n", $u), $u < 3;"#))),
        (Mask, "nobody masks", |scene| {
            scene.read(&scene.with_block(r#"check if will_mask($m), $m.contains({"/ssn"});"#))
        }),
        (Sequence, "nobody remembers", |scene| {
            scene.read(&scene.with_block(r#"check if history($h), !$h.contains("x");"#))
        }),
        (ApprovalRequired, "nobody approves", |scene| {
            scene.read(&scene.with_block("check if approved($a,$b,$c,$d,$e,$f,$g,$h);"))
        }),
        (Context, "no context", |scene| scene.read(&scene.with_block(r#"check if ctx("region", "eu");"#))),
        (Attenuation, "a check that hallpass did not write", |scene| {
            scene.read(&scene.with_block(r#"check if me("https://elsewhere.example");"#))
        }),
    ]
}

fn fault_cases() -> Vec<Case> {
    use ReasonCode::*;
    vec![
        (FeedStale, "never heard from the broker", |scene| {
            scene.issuer.silent_verifier().verify(scene.plain().expose()).map(|_| unreachable!())
        }),
        (FeedStale, "not heard for longer than the bound", |scene| {
            let pass = scene.plain();
            scene.issuer.clock.advance(Duration::from_secs(60));
            scene.read(&pass)?;
            scene.issuer.clock.advance(Duration::from_millis(1));
            scene.read(&pass)
        }),
        (Evaluation, "a check that compares what cannot be compared", |scene| {
            scene.read(&scene.with_block(r#"check if me($m), $m < 3;"#))
        }),
    ]
}

fn constrained(scene: &Scene) -> PassToken {
    scene.pass(json!({"tools": ["transfer"], "constraints": {"transfer": {"/amount": {"max": 100}}},
        "closed_arguments": ["transfer"]}))
}

/// Codes that no verifier gives, with who gives them.
const ELSEWHERE: &[(&[ReasonCode], &str)] = {
    use ReasonCode::*;
    &[
        (
            &[RunLimit],
            "the profile bounds the cost, so the limits are a net that nothing reaches: token::pass shows the mapping",
        ),
        (&[TokenMissing, TokenInvalid], "verify-tower: what a request without a token, and an outsider, is told"),
        (
            &[MessageMalformed, MessageTooLarge, MethodNotAllowed, HeaderMismatch],
            "verify-tower: before any call is cleared",
        ),
        (
            &[
                NoGrant,
                Guardrail,
                PolicyError,
                HolderKeyRequired,
                UnsupportedObligation,
                PassTooLarge,
                ConstraintMismatch,
                ContextMissing,
                StewardMismatch,
            ],
            "policy and minting: a pass that was never made",
        ),
        (
            &[
                InvalidRequest,
                RequestTooLarge,
                UnsupportedMediaType,
                Unauthenticated,
                Forbidden,
                NotFound,
                HttpMethodNotAllowed,
                Conflict,
                IdempotencyConflict,
                Suspended,
                TaskEnded,
                RateLimited,
                Timeout,
                Unavailable,
                Internal,
            ],
            "the broker's API",
        ),
    ]
};

#[test]
fn every_code_is_shown_or_is_somebody_elses() {
    let cases = [bytes_cases(), revocation_cases(), call_cases(), fault_cases()].concat();
    for (code, name, run) in &cases {
        let denial = run(&Scene::new()).expect_err(name);
        assert_eq!(denial.codes(), [*code], "{code}: {name}: {denial}");
        assert_eq!(denial.code(), *code, "{name}");
    }
    let shown: BTreeSet<_> = cases.iter().map(|(code, ..)| *code).collect();
    let elsewhere: BTreeSet<_> = ELSEWHERE.iter().flat_map(|(codes, _)| codes.iter().copied()).collect();
    assert_eq!(shown.intersection(&elsewhere).collect::<Vec<_>>(), Vec::<&ReasonCode>::new());
    let all: BTreeSet<_> = ReasonCode::ALL.iter().copied().collect();
    assert_eq!(shown.union(&elsewhere).copied().collect::<BTreeSet<_>>(), all);
}

#[test]
fn a_refusal_lists_every_reason_with_its_block() {
    let scene = Scene::new();
    let pass = scene.pass(json!({"tools": ["transfer"], "read_only": true,
        "constraints": {"transfer": {"/amount": {"max": 100}, "/owner": {"in": ["acme"]}}}}));
    let mut narrowing = Narrowing::default();
    narrowing.expires_at = Some(scene.issuer.now());
    narrowing.rights = Some(vec![rights(json!({"tools": ["read_ledger"]}))]);
    let longer = attenuate(&pass, &narrowing).unwrap().token;
    let denial = scene.call(&longer, "transfer", json!({"amount": "a", "owner": "x"})).unwrap_err();
    let Denial::Refused(refusals) = denial else { panic!("{denial}") };
    let mut found: Vec<_> = refusals.iter().map(|refusal| (refusal.block, refusal.code)).collect();
    found.sort_unstable();
    let expected = [
        (Some(0), ReasonCode::ArgumentConstraint),
        (Some(0), ReasonCode::ArgumentType),
        (Some(0), ReasonCode::ReadOnly),
        (Some(1), ReasonCode::Expired),
        (Some(1), ReasonCode::NotGranted),
    ];
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_pass_for_another_server_is_told_so_first() {
    let scene = Scene::new();
    let mut detail = GrantedDetail::new("https://b.example/mcp".parse::<ServerUri>().unwrap());
    detail.tools.push("read_ledger".parse().unwrap());
    let denial = scene.read(&scene.issuer.mint(vec![detail])).unwrap_err();
    assert_eq!(denial.codes(), [ReasonCode::Audience, ReasonCode::NotGranted]);
}

#[test]
fn a_right_call_is_cleared_and_says_for_whom() {
    let scene = Scene::new();
    let permit = scene.call(&constrained(&scene), "transfer", json!({"amount": 5})).unwrap();
    assert_eq!((permit.name(), permit.agent().as_str()), ("transfer", "research-bot"));
    assert_eq!(permit.chain().len(), 1);
    assert_eq!(permit.cleared_at(), scene.issuer.now());
    assert_eq!(permit.valid_until(), "2026-11-22T10:05:00Z".parse::<Timestamp>().unwrap());
    let calls = [
        (Call::resource("file:///srv/data/x"), json!({"tools": ["read_ledger"], "resources": ["file:///srv/data"]})),
        (Call::prompt("summary", None), json!({"prompts": ["summary"]})),
    ];
    for (call, members) in calls {
        let pass = scene.verifier.verify(scene.pass(members).expose()).unwrap();
        scene.verifier.clear(&pass, &call).unwrap();
    }
}
