//! Operators: whose token is accepted, and for which operation.

use std::{collections::BTreeSet, time::Duration};

use hallpass_broker::identity::{Operation, OperatorError, OperatorSession, OperatorStanding};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{KeyId, OperatorId, RevocationId, ServerUri},
        key::{PrivateKey, PublicKey},
        time::Timestamp,
    },
    token::{OperatorContent, PassToken, RootKey, attenuate_operator, mint_operator},
};

const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn root(seed: u8) -> RootKey {
    RootKey::new(KeyId(1), &PrivateKey::from_seed(&[seed; 32])).unwrap()
}

fn token(roles: &[&str], servers: &[&str]) -> PassToken {
    let content = OperatorContent {
        operator: "alice".parse().unwrap(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        servers: servers
            .iter()
            .map(|server| server.parse().unwrap())
            .collect(),
        issued_at: now(),
        expires_at: now().plus(HOUR),
    };
    mint_operator(&root(5), &content).unwrap().token
}

fn authenticate(token: &str) -> Result<OperatorSession, OperatorError> {
    authenticate_unless(token, &BTreeSet::new(), &|_, _| true)
}

fn authenticate_unless(
    token: &str,
    revoked: &BTreeSet<RevocationId>,
    is_accepted: &dyn Fn(&OperatorId, Timestamp) -> bool,
) -> Result<OperatorSession, OperatorError> {
    let key = |hint: KeyId| -> Option<PublicKey> { (hint == KeyId(1)).then(|| root(5).public()) };
    let is_revoked = |id: &RevocationId| revoked.contains(id);
    OperatorSession::authenticate(
        token,
        &OperatorStanding {
            key: &key,
            is_revoked: &is_revoked,
            is_accepted,
        },
    )
}

fn allowed(session: &OperatorSession) -> Vec<&'static str> {
    let allowed = Operation::ALL
        .iter()
        .filter(|operation| session.clear(**operation, now()).is_ok());
    allowed.map(|operation| operation.as_str()).collect()
}

#[test]
fn each_role_may_do_what_the_table_says() {
    for role in ["admin", "auditor", "approver", "verifier", "root"] {
        let session = authenticate(token(&[role], &[]).expose()).unwrap();
        let expected: Vec<_> = Operation::ALL
            .iter()
            .filter(|operation| operation.roles().contains(&role))
            .map(|operation| operation.as_str())
            .collect();
        assert_eq!(allowed(&session), expected, "{role}");
        assert_eq!(session.operator().as_str(), "alice");
    }
    let both = authenticate(token(&["auditor", "verifier"], &[]).expose()).unwrap();
    assert!(
        both.clear(Operation::DecisionsCreate, now()).is_ok()
            && both.clear(Operation::AuditRead, now()).is_ok()
    );
    let none = authenticate(token(&[], &[]).expose()).unwrap();
    let refused = none.clear(Operation::AuditRead, now()).unwrap_err();
    assert_eq!(
        (refused.reason(), refused.code()),
        (ReasonCode::Forbidden, ReasonCode::Forbidden)
    );
}

#[test]
fn an_attenuated_token_does_only_what_it_names() {
    let narrow =
        attenuate_operator(&token(&["admin"], &[]), &["revocations:create"], None).unwrap();
    assert_eq!(
        allowed(&authenticate(narrow.token.expose()).unwrap()),
        ["revocations:create"]
    );
    let wide = attenuate_operator(&token(&["auditor"], &[]), &["agents:write"], None).unwrap();
    assert_eq!(
        allowed(&authenticate(wide.token.expose()).unwrap()),
        [""; 0]
    );
}

#[test]
fn an_expired_token_is_told_apart_from_a_forbidden_operation() {
    let session = authenticate(token(&["auditor"], &[]).expose()).unwrap();
    let late = now().plus(HOUR);
    let expired = session.clear(Operation::AuditRead, late).unwrap_err();
    assert_eq!(
        (expired.reason(), expired.code()),
        (ReasonCode::Expired, ReasonCode::Unauthenticated)
    );
    assert_eq!(
        session
            .clear(Operation::KeysRotate, late)
            .unwrap_err()
            .code(),
        ReasonCode::Forbidden
    );
}

#[test]
fn a_verifier_follows_its_servers_only() {
    let [own, other]: [ServerUri; 2] =
        ["https://ledger.example/mcp", "https://other.example/mcp"].map(|uri| uri.parse().unwrap());
    let verifier = authenticate(token(&["verifier"], &[own.as_str()]).expose()).unwrap();
    assert_eq!(verifier.clear_at(Operation::FeedRead, &own, now()), Ok(()));
    assert_eq!(
        verifier
            .clear_at(Operation::FeedRead, &other, now())
            .unwrap_err()
            .code(),
        ReasonCode::Forbidden
    );
    let auditor = authenticate(token(&["auditor"], &[]).expose()).unwrap();
    assert_eq!(auditor.clear_at(Operation::FeedRead, &other, now()), Ok(()));
    let approver = authenticate(token(&["approver"], &[own.as_str()]).expose()).unwrap();
    assert_eq!(
        approver
            .clear_at(Operation::FeedRead, &own, now())
            .unwrap_err()
            .code(),
        ReasonCode::Forbidden
    );
}

#[test]
fn revoked_removed_foreign_and_broken_tokens_are_not_accepted() {
    let good = token(&["admin"], &[]);
    let narrow = attenuate_operator(&good, &["revocations:create"], None)
        .unwrap()
        .token;
    let blocks = authenticate(narrow.expose())
        .unwrap()
        .token()
        .blocks()
        .to_vec();
    let refused = |result: Result<OperatorSession, OperatorError>| {
        let error = result.unwrap_err();
        assert_eq!(error.code(), ReasonCode::Unauthenticated);
        assert_eq!(error.to_string(), "the operator token was not accepted");
        error.reason()
    };
    for block in &blocks {
        let revoked = BTreeSet::from([*block]);
        assert_eq!(
            refused(authenticate_unless(narrow.expose(), &revoked, &|_, _| true)),
            ReasonCode::RevokedToken
        );
    }
    assert!(authenticate_unless(good.expose(), &BTreeSet::from([blocks[1]]), &|_, _| true).is_ok());
    let removed_later = |_: &OperatorId, issued_at: Timestamp| issued_at > now();
    assert_eq!(
        refused(authenticate_unless(
            good.expose(),
            &BTreeSet::new(),
            &removed_later
        )),
        ReasonCode::Suspended
    );

    let content = OperatorContent {
        operator: "alice".parse().unwrap(),
        roles: BTreeSet::from(["admin".to_owned()]),
        servers: BTreeSet::new(),
        issued_at: now(),
        expires_at: now().plus(HOUR),
    };
    let foreign = mint_operator(&root(6), &content).unwrap().token;
    assert_eq!(
        refused(authenticate(foreign.expose())),
        ReasonCode::TokenSignature
    );
    // A pass, even under the operators' key, is no operator's token.
    let issuer = support::Issuer::new();
    let rights = vec![support::rights(
        serde_json::json!({"tools": ["read_ledger"]}),
    )];
    let pass = hallpass_core::token::mint(&root(5), &issuer.content(rights))
        .unwrap()
        .token;
    assert_eq!(
        refused(authenticate(pass.expose())),
        ReasonCode::TokenFormat
    );
    for broken in ["", "AA", "e30.e30.AA"] {
        refused(authenticate(broken));
    }
}
