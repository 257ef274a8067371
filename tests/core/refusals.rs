//! Every reason there is: those that a verifier gives are shown here, and for each of the others
//! stands the test that shows it, which is read to see that it still does.

use std::{collections::BTreeSet, time::Duration};

use hallpass_core::{
    base::{
        ReasonCode,
        digest::SubjectDigest,
        holder::HolderKey,
        ids::{KeyId, ServerUri},
        key::PrivateKey,
        time::Timestamp,
    },
    token::{self, Call, GrantedDetail, MintError, Narrowing, PassToken, RootKey, attenuate},
    wire::document::{Frame, RevocationEntry, Subjects},
};
use hallpass_verify::{Denial, Permit, Verifier};
use serde_json::{Value, json};

use support::{Issuer, SERVER, raw, rights};

/// A broker, its verifier, and a pass that is good for several calls.
struct Setup {
    issuer: Issuer,
    verifier: Verifier,
}

impl Setup {
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
        self.verifier
            .clear(&pass, &Call::tool(tool, Some(&arguments)))
    }

    fn read(&self, token: &PassToken) -> Result<Permit, Denial> {
        self.call(token, "read_ledger", json!({}))
    }

    /// What a plain pass is told once `subject` is revoked.
    fn revoked(&self, subject: impl Fn(&PassToken) -> SubjectDigest) -> Result<Permit, Denial> {
        let pass = self.plain();
        self.read(&pass).expect("good before it is revoked");
        let expires_at = self.issuer.now().plus(Duration::from_secs(600));
        self.issuer.revoke(
            &self.verifier,
            RevocationEntry {
                subject: subject(&pass),
                cut_off: None,
                expires_at,
            },
        );
        self.read(&pass)
    }

    fn block_0_id(&self, token: &PassToken) -> SubjectDigest {
        Subjects::token(&self.verifier.verify(token.expose()).unwrap().chain()[0])
    }
}

type Case = (
    ReasonCode,
    &'static str,
    fn(&Setup) -> Result<Permit, Denial>,
);

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
        (TokenMalformed, "not base64url", |setup| {
            setup.read(&PassToken::from_text("no token!".into()))
        }),
        (TokenMalformed, "not a Biscuit", |setup| {
            setup.read(&PassToken::from_text("AAAA".into()))
        }),
        (TokenMalformed, "nothing", |setup| {
            setup.read(&PassToken::from_text(String::new()))
        }),
        (TokenTooLarge, "too large", |setup| {
            setup.read(&raw::token(vec![0; 16 * 1024 + 1]))
        }),
        (TokenProfile, "a holder's fact", |setup| {
            setup.read(&setup.with_block("read_only(true);"))
        }),
        (
            TokenSignature,
            "another key under the same number",
            |setup| {
                let foreign = RootKey::new(KeyId(1), &PrivateKey::from_seed(&[66; 32])).unwrap();
                let content = setup
                    .issuer
                    .content(vec![rights(json!({"tools": ["read_ledger"]}))]);
                setup.read(&token::mint(&foreign, &content).unwrap().token)
            },
        ),
        (TokenKeyUnknown, "a number that no key has", |setup| {
            let mut wire = raw::wire(&setup.plain());
            wire.root_key_id = Some(99);
            setup.read(&raw::from_wire(&wire))
        }),
        (TokenFormat, "another format", |setup| {
            setup.read(&raw::mint(&setup.issuer, &block_0(2, "")))
        }),
        (TokenIssuer, "another broker with the same key", |setup| {
            let mut content = setup
                .issuer
                .content(vec![rights(json!({"tools": ["read_ledger"]}))]);
            content.issuer = "https://other.example".parse().unwrap();
            setup.read(&setup.issuer.mint_content(&content))
        }),
        (
            HolderChain,
            "a delegation of a pass that is bound to no key",
            |setup| {
                let root = setup.issuer.root.public();
                let code = r#"delegate("helper", "ed25519/00");"#;
                setup.read(&raw::append_third_party(
                    &setup.plain(),
                    &root,
                    &raw::key_pair(9),
                    code,
                ))
            },
        ),
        (ProofRequired, "a pass that is bound to a key", |setup| {
            let key = HolderKey::Ed25519(PrivateKey::from_seed(&[9; 32]).public());
            setup.read(&raw::mint(
                &setup.issuer,
                &block_0(1, &format!(r#"cnf("{key}");"#)),
            ))
        }),
    ]
}

fn revocation_cases() -> Vec<Case> {
    use ReasonCode::*;
    vec![
        (RevokedToken, "block 0", |setup| {
            setup.revoked(|pass| setup.block_0_id(pass))
        }),
        (RevokedToken, "a block further on", |setup| {
            let mut narrowing = Narrowing::default();
            narrowing.read_only = true;
            let longer = attenuate(&setup.plain(), &narrowing).unwrap();
            setup.read(&longer.token)?;
            let expires_at = setup.issuer.now().plus(Duration::from_secs(600));
            let subject = Subjects::token(&longer.blocks[1]);
            setup.issuer.revoke(
                &setup.verifier,
                RevocationEntry {
                    subject,
                    cut_off: None,
                    expires_at,
                },
            );
            setup.read(&longer.token)
        }),
        (RevokedTask, "its task", |setup| {
            setup.revoked(|_| {
                Subjects::task(&"tsk_00000000000000000000000000000001".parse().unwrap())
            })
        }),
        (RevokedAgent, "its agent", |setup| {
            setup.revoked(|_| Subjects::agent(&"research-bot".parse().unwrap()))
        }),
        (RevokedSteward, "its steward", |setup| {
            setup.revoked(|_| {
                Subjects::steward(&"stw_00000000000000000000000000000001".parse().unwrap())
            })
        }),
        (RevokedServer, "its server", |setup| {
            setup.revoked(|_| Subjects::server(&support::server()))
        }),
        (RevokedKey, "its root key", |setup| {
            setup.revoked(|_| Subjects::key(KeyId(1)))
        }),
    ]
}

fn call_cases() -> Vec<Case> {
    use ReasonCode::*;
    vec![
        (NotYetValid, "issued in the future", |setup| {
            let mut content = setup
                .issuer
                .content(vec![rights(json!({"tools": ["read_ledger"]}))]);
            content.issued_at = content.issued_at.plus(Duration::from_secs(6));
            setup.read(&setup.issuer.mint_content(&content))
        }),
        (Expired, "at its end", |setup| {
            let pass = setup.plain();
            setup.issuer.clock.advance(Duration::from_secs(300));
            setup.issuer.tell(&setup.verifier, setup.issuer.frame());
            setup.read(&pass)
        }),
        (Expired, "at the end that a holder set", |setup| {
            let mut narrowing = Narrowing::default();
            narrowing.expires_at = Some(setup.issuer.now());
            setup.read(&attenuate(&setup.plain(), &narrowing).unwrap().token)
        }),
        (Audience, "for another server", |setup| {
            let code = block_0(1, "").replace(
                &format!(r#"aud({{"{SERVER}"}})"#),
                r#"aud({"https://b.example/mcp"})"#,
            );
            setup.read(&raw::mint(&setup.issuer, &code))
        }),
        (NotGranted, "another tool", |setup| {
            setup.call(&setup.plain(), "delete_ledger", json!({}))
        }),
        (NotGranted, "narrowed away", |setup| {
            let mut narrowing = Narrowing::default();
            narrowing.rights = Some(vec![rights(json!({"tools": ["transfer"]}))]);
            setup.read(&attenuate(&setup.plain(), &narrowing).unwrap().token)
        }),
        (
            NotInManifest,
            "a tool that the server does not pin",
            |setup| setup.call(&setup.plain(), "drop", json!({})),
        ),
        (ArgumentConstraint, "too much", |setup| {
            setup.call(&constrained(setup), "transfer", json!({"amount": 101}))
        }),
        (ArgumentConstraint, "no argument", |setup| {
            setup.call(&constrained(setup), "transfer", json!({}))
        }),
        (ArgumentType, "a number as a string", |setup| {
            setup.call(&constrained(setup), "transfer", json!({"amount": "5"}))
        }),
        (
            ArgumentNotAllowed,
            "one that the list does not name",
            |setup| {
                setup.call(
                    &constrained(setup),
                    "transfer",
                    json!({"amount": 5, "memo": "x"}),
                )
            },
        ),
        (ArgumentCount, "more than a verifier looks at", |setup| {
            let many = (0..65)
                .map(|index| (format!("a{index}"), json!(1)))
                .collect();
            setup.call(&constrained(setup), "transfer", Value::Object(many))
        }),
        (ReadOnly, "a tool that changes something", |setup| {
            setup.call(
                &setup.pass(json!({"tools": ["transfer"], "read_only": true})),
                "transfer",
                json!({}),
            )
        }),
        (DelegationDepth, "deeper than a block allows", |setup| {
            setup.read(&setup.with_block("check if depth($d), $d < 0;"))
        }),
        (Budget, "nobody counts", |setup| {
            setup.read(&setup.with_block(r#"check if used("n", $u), $u < 3;"#))
        }),
        (Mask, "nobody masks", |setup| {
            setup.read(&setup.with_block(r#"check if will_mask($m), $m.contains({"/ssn"});"#))
        }),
        (Sequence, "nobody remembers", |setup| {
            setup.read(&setup.with_block(r#"check if history($h), !$h.contains("x");"#))
        }),
        (ApprovalRequired, "nobody approves", |setup| {
            setup.read(&setup.with_block("check if approved($a,$b,$c,$d,$e,$f,$g,$h);"))
        }),
        (Context, "no context", |setup| {
            setup.read(&setup.with_block(r#"check if ctx("region", "eu");"#))
        }),
        (
            Attenuation,
            "a check that hallpass did not write",
            |setup| setup.read(&setup.with_block(r#"check if me("https://elsewhere.example");"#)),
        ),
    ]
}

fn fault_cases() -> Vec<Case> {
    use ReasonCode::*;
    vec![
        (FeedStale, "never heard from the broker", |setup| {
            setup
                .issuer
                .silent_verifier()
                .verify(setup.plain().expose())
                .map(|_| unreachable!())
        }),
        (FeedStale, "not heard for longer than the bound", |setup| {
            let pass = setup.plain();
            setup.issuer.clock.advance(Duration::from_secs(60));
            setup.read(&pass)?;
            setup.issuer.clock.advance(Duration::from_millis(1));
            setup.read(&pass)
        }),
        (RunLimit, "no time to evaluate", |setup| {
            let hurried = setup
                .issuer
                .verifier_with(|builder| builder.max_evaluation_time(Duration::ZERO));
            hurried.clear(
                &hurried.verify(setup.plain().expose())?,
                &Call::tool("read_ledger", None),
            )
        }),
        (
            Evaluation,
            "a check that compares what cannot be compared",
            |setup| setup.read(&setup.with_block(r#"check if me($m), $m < 3;"#)),
        ),
    ]
}

fn constrained(setup: &Setup) -> PassToken {
    setup.pass(
        json!({"tools": ["transfer"], "constraints": {"transfer": {"/amount": {"max": 100}}},
        "closed_arguments": ["transfer"]}),
    )
}

/// Codes that no verifier gives, each with the test that produces it: its file and its name.
const ELSEWHERE: &[(ReasonCode, &str, &str)] = {
    use ReasonCode::*;
    &[
        // The layer, before any call is cleared.
        (
            TokenMissing,
            "tests/verify/tower/refusals.rs",
            "without_a_token_there_is_a_challenge_and_nothing_else",
        ),
        (
            TokenInvalid,
            "tests/verify/tower/refusals.rs",
            "outsiders_get_one_answer_whatever_is_wrong_with_the_token",
        ),
        (
            MessageMalformed,
            "tests/verify/tower/refusals.rs",
            "what_is_not_one_strict_message_is_refused",
        ),
        (
            MessageTooLarge,
            "tests/verify/tower/refusals.rs",
            "a_body_longer_than_the_cap_is_refused_at_the_cap_and_not_before",
        ),
        (
            MethodNotAllowed,
            "tests/verify/tower/refusals.rs",
            "a_method_that_cannot_be_cleared_is_refused",
        ),
        (
            HeaderMismatch,
            "tests/verify/tower/refusals.rs",
            "headers_that_repeat_the_body_must_repeat_it",
        ),
        // Proofs of possession.
        (
            ProofInvalid,
            "tests/core/holder/proofs.rs",
            "what_is_wrong_with_a_proof_has_a_code_each",
        ),
        (
            ProofKey,
            "tests/core/holder/proofs.rs",
            "what_is_wrong_with_a_proof_has_a_code_each",
        ),
        (
            ProofToken,
            "tests/core/holder/proofs.rs",
            "what_is_wrong_with_a_proof_has_a_code_each",
        ),
        (
            ProofTarget,
            "tests/core/holder/proofs.rs",
            "what_is_wrong_with_a_proof_has_a_code_each",
        ),
        (
            ProofTime,
            "tests/core/holder/proofs.rs",
            "what_is_wrong_with_a_proof_has_a_code_each",
        ),
        (
            ProofReplayed,
            "tests/core/holder/proofs.rs",
            "a_proof_is_taken_once_and_not_for_another_token",
        ),
        (
            ProofNonce,
            "tests/core/holder/proofs.rs",
            "a_server_that_gives_out_nonces_takes_no_proof_without_one",
        ),
        (
            ProofCall,
            "tests/core/holder/proofs.rs",
            "a_proof_for_one_call_is_refused_with_another",
        ),
        (
            CallProofRequired,
            "tests/core/holder/proofs.rs",
            "a_tool_that_needs_a_proof_of_the_very_call_gets_one_or_refuses",
        ),
        (
            ProofGuardFull,
            "tests/core/holder/proofs.rs",
            "an_agent_with_too_many_proofs_is_refused_and_no_other",
        ),
        // Policy and minting: a pass that was never made.
        (
            NoGrant,
            "tests/server/http/story.rs",
            "a_refusal_lists_every_reason",
        ),
        (
            Guardrail,
            "tests/broker/policy/decisions.rs",
            "a_guardrail_under_a_requested_pattern_refuses_the_name_it_forbids",
        ),
        (
            PolicyError,
            "tests/broker/policy/decisions.rs",
            "a_guardrail_that_cannot_be_evaluated_refuses_although_a_grant_permits",
        ),
        (
            HolderKeyRequired,
            "src/broker/policy/set.rs",
            "a_grant_that_wants_proof_refuses_a_pass_without_a_holder_key",
        ),
        (
            UnsupportedObligation,
            "tests/broker/policy/obligations.rs",
            "what_needs_a_gateway_is_refused_and_never_dropped",
        ),
        (
            PassTooLarge,
            "tests/server/http/story.rs",
            "a_pass_that_would_be_too_large_is_refused_and_recorded",
        ),
        (
            ConstraintMismatch,
            "tests/broker/policy/obligations.rs",
            "constraints_that_do_not_fit_the_request_or_the_manifest_are_refused",
        ),
        (
            ContextMissing,
            "tests/broker/policy/obligations.rs",
            "a_pin_holds_every_tool_that_has_the_argument_to_the_context",
        ),
        (
            StewardMismatch,
            "tests/server/http/story.rs",
            "a_refusal_lists_every_reason",
        ),
        (
            SubjectToken,
            "tests/server/oauth/behalf.rs",
            "a_subject_token_that_is_not_believed_opens_nothing",
        ),
        // The broker's API.
        (
            InvalidRequest,
            "tests/broker/policy/decisions.rs",
            "malformed_questions_are_refused_even_when_partial_is_allowed",
        ),
        (
            RequestTooLarge,
            "tests/server/http/bad_input.rs",
            "a_body_has_its_type_and_its_size",
        ),
        (
            UnsupportedMediaType,
            "tests/verify/tower/refusals.rs",
            "content_that_could_be_read_in_two_ways_is_refused",
        ),
        (
            Unauthenticated,
            "tests/broker/operator.rs",
            "an_expired_token_is_told_apart_from_a_forbidden_operation",
        ),
        (
            Forbidden,
            "tests/broker/operator.rs",
            "each_role_may_do_what_the_table_says",
        ),
        (
            NotFound,
            "tests/server/http/bad_input.rs",
            "unknown_routes_and_methods_are_problems_too",
        ),
        (
            HttpMethodNotAllowed,
            "tests/server/http/bad_input.rs",
            "unknown_routes_and_methods_are_problems_too",
        ),
        (
            Conflict,
            "tests/server/http/bad_input.rs",
            "what_is_not_there_is_404_and_what_is_there_already_409",
        ),
        (
            IdempotencyConflict,
            "tests/server/http/idempotency.rs",
            "the_same_key_for_another_body_is_refused",
        ),
        (
            Suspended,
            "tests/server/http/story.rs",
            "a_revoked_agent_is_refused_until_it_is_reinstated",
        ),
        (
            TaskEnded,
            "tests/server/http/story.rs",
            "a_pass_is_asked_for_used_narrowed_and_revoked",
        ),
        (
            RateLimited,
            "tests/server/http/auth.rs",
            "too_many_requests_are_429_with_a_time_to_wait",
        ),
        (
            Timeout,
            "tests/server/http/running.rs",
            "a_slow_head_and_a_slow_request_are_cut_off",
        ),
        (
            Unavailable,
            "tests/server/http/running.rs",
            "what_cannot_be_recorded_is_503",
        ),
        (
            StorageLow,
            "tests/process/disk/full.rs",
            "minting_ends_first_and_revoking_last",
        ),
        (
            Internal,
            "src/server/middleware.rs",
            "a_panic_ends_its_request_alone_and_tells_nothing",
        ),
    ]
};

/// The text of the test `name` in `file`, from its name to its end.
fn test_in(file: &str, name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let begin = text
        .find(&format!("fn {name}()"))
        .unwrap_or_else(|| panic!("{file} has no test `{name}`"));
    let head = text[..begin].rsplit_once('\n').unwrap();
    assert!(head.0.ends_with("test]"), "{file}: `{name}` is no test");
    let indent: String = head
        .1
        .chars()
        .take_while(|character| *character == ' ')
        .collect();
    let (body, _) = text[begin..]
        .split_once(&format!("\n{indent}}}\n"))
        .unwrap();
    let lines = body
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_reason_of_the_verifier_is_given() {
    for (code, name, run) in [
        bytes_cases(),
        revocation_cases(),
        call_cases(),
        fault_cases(),
    ]
    .concat()
    {
        let denial = run(&Setup::new()).expect_err(name);
        assert_eq!(denial.codes(), [code], "{code}: {name}: {denial}");
        assert_eq!(denial.code(), code, "{name}");
    }
}

#[test]
fn every_other_reason_is_given_where_the_table_says() {
    let here = [
        bytes_cases(),
        revocation_cases(),
        call_cases(),
        fault_cases(),
    ]
    .concat();
    let mut shown: Vec<_> = here
        .iter()
        .map(|(code, ..)| *code)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    for (code, file, name) in ELSEWHERE {
        let test = test_in(file, name);
        let words = [
            format!("\"{code}\""),
            format!("\\\"{code}\\\""),
            format!("ReasonCode::{code:?}"),
        ];
        assert!(
            words.iter().any(|word| test.contains(word.as_str())),
            "{file}: `{name}` does not show `{code}`"
        );
        shown.push(*code);
    }
    shown.sort_unstable();
    let mut all = ReasonCode::ALL.to_vec();
    all.sort_unstable();
    assert_eq!(shown, all, "each code once");
}

#[test]
fn a_refusal_lists_every_reason_with_its_block() {
    let setup = Setup::new();
    let pass = setup.pass(json!({"tools": ["transfer"], "read_only": true,
        "constraints": {"transfer": {"/amount": {"max": 100}, "/owner": {"in": ["acme"]}}}}));
    let mut narrowing = Narrowing::default();
    narrowing.expires_at = Some(setup.issuer.now());
    narrowing.rights = Some(vec![rights(json!({"tools": ["read_ledger"]}))]);
    let longer = attenuate(&pass, &narrowing).unwrap().token;
    let denial = setup
        .call(&longer, "transfer", json!({"amount": "a", "owner": "x"}))
        .unwrap_err();
    let Denial::Refused(refusals) = denial else {
        panic!("{denial}")
    };
    let mut found: Vec<_> = refusals
        .iter()
        .map(|refusal| (refusal.block, refusal.code))
        .collect();
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
fn the_audience_is_the_first_reason_of_a_refusal() {
    let setup = Setup::new();
    let mut detail = GrantedDetail::new("https://b.example/mcp".parse::<ServerUri>().unwrap());
    detail.tools.push("read_ledger".parse().unwrap());
    let denial = setup.read(&setup.issuer.mint(vec![detail])).unwrap_err();
    assert_eq!(
        denial.codes(),
        [ReasonCode::Audience, ReasonCode::NotGranted]
    );
}

#[test]
fn a_pass_at_the_edge_of_its_size_is_minted_and_one_past_it_is_refused() {
    let issuer = Issuer::new();
    let mint = |values: &[String]| {
        let detail = rights(
            json!({"tools": ["transfer"], "constraints": {"transfer": {"/owner": {"in": values}}}}),
        );
        token::mint(&issuer.root, &issuer.content(vec![detail])).map(|draft| draft.token)
    };
    let long = |length: usize| "x".repeat(length);
    let length =
        |first: usize| mint(&[long(first), "y".repeat(1000)]).map(|pass| pass.expose().len());
    let base = length(1000).unwrap();
    // Four characters carry three bytes, so that the last byte that fits ends the text at 4096.
    let fits = 1000 + (token::MAX_PASS_BYTES - base) * 3 / 4;
    assert_eq!(length(fits), Ok(token::MAX_PASS_BYTES));
    assert_eq!(
        length(fits + 1),
        Err(MintError::TooLarge(token::MAX_PASS_BYTES + 2))
    );
    assert_eq!(MintError::TooLarge(0).code(), ReasonCode::PassTooLarge);
    issuer
        .verifier()
        .verify(mint(&[long(fits), "y".repeat(1000)]).unwrap().expose())
        .unwrap();
}

#[test]
fn two_hundred_rights_are_minted_and_one_more_is_refused() {
    let issuer = Issuer::new();
    let mint = |tools: usize| {
        let mut detail = rights(json!({"tools": [], "prompts": ["p"]}));
        detail.tools = (1..tools)
            .map(|number| format!("{number:x}").parse().unwrap())
            .collect();
        token::mint(&issuer.root, &issuer.content(vec![detail])).map(|_| ())
    };
    assert_eq!(mint(token::MAX_RIGHTS), Ok(()));
    assert_eq!(
        mint(token::MAX_RIGHTS + 1),
        Err(MintError::TooManyRights(201))
    );
    assert_eq!(
        MintError::TooManyRights(201).code(),
        ReasonCode::PassTooLarge
    );
}

#[test]
fn a_revoked_key_is_named_to_a_cached_pass_and_unknown_to_a_new_one() {
    let setup = Setup::new();
    let token = setup.plain();
    let pass = setup.verifier.verify(token.expose()).unwrap();
    let expires_at = setup.issuer.now().plus(Duration::from_secs(600));
    let revoked = RevocationEntry {
        subject: Subjects::key(KeyId(1)),
        cut_off: None,
        expires_at,
    };
    let frame = Frame {
        keys: Some(Vec::new()),
        revocations: vec![revoked],
        ..setup.issuer.frame()
    };
    setup.issuer.tell(&setup.verifier, frame);
    let in_use = setup
        .verifier
        .clear(&pass, &Call::tool("read_ledger", None))
        .unwrap_err();
    assert_eq!(in_use.codes(), [ReasonCode::RevokedKey]);
    assert_eq!(
        setup.verifier.admit(&pass).unwrap_err().codes(),
        [ReasonCode::RevokedKey]
    );
    assert_eq!(
        setup.verifier.verify(token.expose()).unwrap_err().codes(),
        [ReasonCode::TokenKeyUnknown]
    );
}

#[test]
fn a_right_call_is_cleared_and_says_for_whom() {
    let setup = Setup::new();
    let permit = setup
        .call(&constrained(&setup), "transfer", json!({"amount": 5}))
        .unwrap();
    assert_eq!(
        (permit.name(), permit.agent().as_str()),
        ("transfer", "research-bot")
    );
    assert_eq!(permit.chain().len(), 1);
    assert_eq!(permit.cleared_at(), setup.issuer.now());
    assert_eq!(
        permit.valid_until(),
        "2026-11-22T10:05:00Z".parse::<Timestamp>().unwrap()
    );
    let calls = [
        (
            Call::resource("file:///srv/data/x"),
            json!({"tools": ["read_ledger"], "resources": ["file:///srv/data"]}),
        ),
        (
            Call::prompt("summary", None),
            json!({"prompts": ["summary"]}),
        ),
    ];
    for (call, members) in calls {
        let pass = setup.verifier.verify(setup.pass(members).expose()).unwrap();
        setup.verifier.clear(&pass, &call).unwrap();
    }
}
