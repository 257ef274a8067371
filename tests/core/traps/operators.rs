//! Operators' tokens and passes: of one make, and never one for the other.

use std::{collections::BTreeSet, time::Duration};

use biscuit_auth::format::schema;
use hallpass_core::{
    base::{
        ReasonCode,
        ids::KeyId,
        key::{PrivateKey, PublicKey},
    },
    token::{
        OperatorContent, PassToken, RootKey, VerifiedOperator, attenuate_operator, mint_operator,
    },
};
use serde_json::json;

use super::verified;
use support::{self, Issuer, raw, rights};

fn operator(issuer: &Issuer, root: &RootKey) -> PassToken {
    let content = OperatorContent {
        operator: "alice".parse().unwrap(),
        roles: BTreeSet::from(["admin".to_owned()]),
        servers: BTreeSet::from([support::server()]),
        issued_at: issuer.now(),
        expires_at: issuer.now().plus(Duration::from_secs(3600)),
    };
    mint_operator(root, &content).unwrap().token
}

fn verify(token: &PassToken, key: &PublicKey) -> Result<VerifiedOperator, ReasonCode> {
    VerifiedOperator::verify(token.expose(), |id| (id == KeyId(1)).then_some(*key))
}

#[test]
fn neither_is_taken_for_the_other_whatever_key_signs() {
    let issuer = Issuer::new();
    let operators = RootKey::new(KeyId(1), &PrivateKey::from_seed(&[3; 32])).unwrap();
    let pass = issuer.mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
    let admin = operator(&issuer, &operators);
    assert_eq!(
        verified(&issuer, &admin).err(),
        Some(ReasonCode::TokenSignature)
    );
    assert_eq!(
        verify(&pass, &operators.public()).err(),
        Some(ReasonCode::TokenSignature)
    );
    // Even where somebody used one key for both.
    assert_eq!(
        verified(&issuer, &operator(&issuer, &issuer.root)).err(),
        Some(ReasonCode::TokenFormat)
    );
    assert_eq!(
        verify(&pass, &issuer.root.public()).err(),
        Some(ReasonCode::TokenFormat)
    );
    // Nor can one token be both.
    let both = raw::mint(
        &issuer,
        r#"hallpass(1); operator(1); id("alice"); role("admin"); issuer("https://broker.example");
        task("tsk_00000000000000000000000000000001"); agent("a"); steward("stw_00000000000000000000000000000001");
        iat(2026-11-22T10:00:00Z); exp(2026-11-22T11:00:00Z); aud({"https://ledger.example/mcp"});
        check if time($t), $t < 2026-11-22T11:00:00Z && true;"#,
    );
    assert_eq!(
        verified(&issuer, &both).err(),
        Some(ReasonCode::TokenFormat)
    );
    assert_eq!(
        verify(&both, &issuer.root.public()).err(),
        Some(ReasonCode::TokenFormat)
    );
}

#[test]
fn an_operator_may_what_its_role_may_until_it_ends() {
    let issuer = Issuer::new();
    let root = RootKey::new(KeyId(1), &PrivateKey::from_seed(&[3; 32])).unwrap();
    let token = operator(&issuer, &root);
    let admin = verify(&token, &root.public()).unwrap();
    let now = issuer.now();
    assert!(admin.permits("agents.write", &["admin", "auditor"], now));
    assert!(!admin.permits("agents.write", &["auditor"], now));
    assert!(!admin.permits("agents.write", &[], now));
    assert!(!admin.permits(
        "agents.write",
        &["admin"],
        now.plus(Duration::from_secs(3600))
    ));
    assert!(!admin.permits(
        "agents.write",
        &["admin"],
        now.minus(Duration::from_secs(6))
    ));
    let script = attenuate_operator(
        &token,
        &["audit.read"],
        Some(now.plus(Duration::from_secs(60))),
    )
    .unwrap()
    .token;
    let script = verify(&script, &root.public()).unwrap();
    assert!(script.permits("audit.read", &["admin"], now));
    assert!(!script.permits("agents.write", &["admin"], now));
    assert!(!script.permits("audit.read", &["admin"], now.plus(Duration::from_secs(60))));
}

#[test]
fn what_is_printed_for_debugging_holds_no_secret() {
    let issuer = Issuer::new();
    let root = RootKey::new(KeyId(1), &PrivateKey::from_seed(&[3; 32])).unwrap();
    let token = operator(&issuer, &root);
    let Some(schema::proof::Content::NextSecret(secret)) = raw::wire(&token).proof.content else {
        panic!("sealed")
    };
    let printed = format!("{:?}", verify(&token, &root.public()).unwrap());
    let decimal = format!("{secret:?}");
    assert!(
        !printed.contains(decimal.trim_matches(['[', ']'])),
        "{printed}"
    );
    assert!(
        printed.contains("alice") && printed.len() < 300,
        "{printed}"
    );
}

#[test]
fn a_holders_block_gives_no_role() {
    let issuer = Issuer::new();
    let root = RootKey::new(KeyId(1), &PrivateKey::from_seed(&[3; 32])).unwrap();
    let token = operator(&issuer, &root);
    for code in [
        r#"role("root");"#,
        r#"role("root") <- role($r);"#,
        r#"follows("https://b.example/mcp");"#,
    ] {
        let widened = raw::append(&token, &root.public(), code);
        assert_eq!(
            verify(&widened, &root.public()).err(),
            Some(ReasonCode::TokenProfile),
            "{code}"
        );
    }
    let huge = PassToken::from_text("A".repeat(30_000));
    assert_eq!(
        verify(&huge, &root.public()).err(),
        Some(ReasonCode::TokenTooLarge)
    );
}
