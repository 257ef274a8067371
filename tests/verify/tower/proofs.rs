//! Bound passes at the layer: how they are presented, and how RFC 9449 wants them refused.

use bytes::Bytes;
use hallpass_core::{
    base::{holder::HolderKey, key::PrivateKey},
    possession::{ProofContent, call_digest, sign_proof},
    token::{Call, Holding},
};
use hallpass_verify::{VerifierBuilder, tower::HallpassLayer};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::tower::guarded::{Answered, Guarded, METADATA, call, json_response, message, request};
use support::{Issuer, SERVER, rights};

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[11; 32])
}

fn bound(issuer: &Issuer) -> String {
    let detail = rights(json!({"tools": ["read_ledger", "transfer"], "call_proof": ["transfer"]}));
    let mut content = issuer.content(vec![detail]);
    content.holder = Some(Holding {
        key: HolderKey::Ed25519(key().public()),
        max_delegations: 0,
    });
    issuer.mint_content(&content).expose().to_owned()
}

fn proof(issuer: &Issuer, token: &str, call: Option<&Call<'_>>, nonce: Option<&str>) -> String {
    let content = ProofContent {
        token,
        method: "POST",
        url: SERVER,
        now: issuer.now(),
        nonce,
        call: call.map(|call| call_digest(call).unwrap()),
    };
    sign_proof(&key(), &content).unwrap()
}

/// A POST of `body` with the token in the `DPoP` scheme and these proofs.
fn presented(token: &str, proofs: &[&str], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = request(token, body);
    request
        .headers_mut()
        .insert("authorization", format!("DPoP {token}").parse().unwrap());
    for proof in proofs {
        request.headers_mut().append("dpop", proof.parse().unwrap());
    }
    request
}

fn challenge(answered: &Answered) -> &str {
    answered.header("www-authenticate")
}

#[tokio::test]
async fn a_bound_pass_with_its_proof_reaches_the_server_and_the_proof_does_not() {
    let guarded = Guarded::new();
    let token = bound(&guarded.issuer);
    let proof = proof(&guarded.issuer, &token, None, None);
    let answered = guarded
        .send(presented(
            &token,
            &[&proof],
            call("read_ledger", &json!({})),
        ))
        .await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    let reached = guarded.reached();
    assert!(
        reached[0].0.headers.get("dpop").is_none()
            && reached[0].0.headers.get("authorization").is_none()
    );
    let permit = reached[0]
        .0
        .extensions
        .get::<hallpass_verify::Permit>()
        .unwrap();
    assert_eq!(permit.holder(), Some(&HolderKey::Ed25519(key().public())));
    // The same proof once more.
    let answered = guarded
        .send(presented(
            &token,
            &[&proof],
            call("read_ledger", &json!({})),
        ))
        .await;
    assert_eq!(
        (answered.status, answered.reason().as_str()),
        (StatusCode::UNAUTHORIZED, "proof_replayed")
    );
    assert!(guarded.reached().is_empty());
}

#[tokio::test]
async fn a_bound_pass_as_a_bearer_token_is_refused_with_a_proof_beside_it_or_without() {
    let guarded = Guarded::new();
    let token = bound(&guarded.issuer);
    let plain = request(&token, call("read_ledger", &json!({})));
    let mut with_proof = request(&token, call("read_ledger", &json!({})));
    let proof = proof(&guarded.issuer, &token, None, None);
    with_proof
        .headers_mut()
        .insert("dpop", proof.parse().unwrap());
    for request in [plain, with_proof] {
        let answered = guarded.send(request).await;
        assert_eq!(
            (answered.status, answered.reason().as_str()),
            (StatusCode::UNAUTHORIZED, "proof_required")
        );
        assert!(
            challenge(&answered).starts_with("Bearer error=\"invalid_token\""),
            "{}",
            challenge(&answered)
        );
    }
    assert!(guarded.reached().is_empty());
}

#[tokio::test]
async fn a_bad_proof_is_401_with_the_error_of_rfc_9449() {
    let guarded = Guarded::new();
    let token = bound(&guarded.issuer);
    let good = proof(&guarded.issuer, &token, None, None);
    let thief = {
        let now = guarded.issuer.now();
        let content = ProofContent {
            token: &token,
            method: "POST",
            url: SERVER,
            now,
            nonce: None,
            call: None,
        };
        sign_proof(&PrivateKey::from_seed(&[66; 32]), &content).unwrap()
    };
    let read = call("read_ledger", &json!({}));
    for (proofs, reason) in [
        (vec![], "proof_invalid"),
        (vec![good.as_str(), good.as_str()], "proof_invalid"),
        (vec!["no proof"], "proof_invalid"),
        (vec![thief.as_str()], "proof_key"),
    ] {
        let answered = guarded.send(presented(&token, &proofs, read.clone())).await;
        assert_eq!(
            (answered.status, answered.reason().as_str()),
            (StatusCode::UNAUTHORIZED, reason)
        );
        let expected = format!(
            "DPoP error=\"invalid_dpop_proof\", resource_metadata=\"{METADATA}\", \
             error_description=\"sign a new proof for this request\", algs=\"EdDSA ES256\""
        );
        assert_eq!(challenge(&answered), expected);
    }
    // Whoever has no genuine token learns nothing about proofs.
    let answered = guarded.send(presented("AAAA", &[&good], read)).await;
    assert_eq!(answered.reason(), "token_invalid");
    assert!(guarded.reached().is_empty());
}

#[tokio::test]
async fn an_irreversible_tool_wants_a_proof_of_the_very_call() {
    let guarded = Guarded::new();
    let token = bound(&guarded.issuer);
    let arguments = json!({"amount": 10});
    let transfer = Call::tool("transfer", Some(&arguments));
    let send = async |proof: String, arguments: &Value| {
        guarded
            .send(presented(&token, &[&proof], call("transfer", arguments)))
            .await
    };
    let none = send(proof(&guarded.issuer, &token, None, None), &arguments).await;
    assert_eq!(
        (none.status, none.reason().as_str()),
        (StatusCode::UNAUTHORIZED, "call_proof_required")
    );
    let other = send(
        proof(&guarded.issuer, &token, Some(&transfer), None),
        &json!({"amount": 11}),
    )
    .await;
    assert_eq!(
        (other.status, other.reason().as_str()),
        (StatusCode::UNAUTHORIZED, "proof_call")
    );
    assert!(
        challenge(&other).starts_with("DPoP error=\"invalid_dpop_proof\""),
        "{}",
        challenge(&other)
    );
    assert!(guarded.reached().is_empty());
    let good = send(
        proof(&guarded.issuer, &token, Some(&transfer), None),
        &arguments,
    )
    .await;
    assert_eq!(
        (good.status, guarded.reached().len()),
        (StatusCode::OK, 1),
        "{}",
        good.text
    );
    // What is not granted at all stays a matter of scope.
    let proof = proof(&guarded.issuer, &token, None, None);
    let answered = guarded
        .send(presented(
            &token,
            &[&proof],
            call("delete_ledger", &json!({})),
        ))
        .await;
    assert_eq!(answered.status, StatusCode::FORBIDDEN);
    assert!(
        challenge(&answered).starts_with("DPoP error=\"insufficient_scope\""),
        "{}",
        challenge(&answered)
    );
}

#[tokio::test]
async fn every_response_has_a_nonce_where_proofs_need_one() {
    let issuer = Issuer::new();
    let verifier = std::sync::Arc::new(issuer.verifier_with(VerifierBuilder::require_proof_nonce));
    let layer = HallpassLayer::new(std::sync::Arc::clone(&verifier));
    let answer = |_: &_| json_response(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    let guarded = Guarded::with_layer(issuer, layer, verifier, answer);
    let token = bound(&guarded.issuer);
    let ask = async |nonce: Option<&str>| {
        let proof = proof(&guarded.issuer, &token, None, nonce);
        guarded
            .send(presented(&token, &[&proof], message("ping", &json!({}))))
            .await
    };
    let first = ask(None).await;
    assert_eq!(
        (first.status, first.reason().as_str()),
        (StatusCode::UNAUTHORIZED, "proof_nonce")
    );
    assert!(
        challenge(&first).starts_with("DPoP error=\"use_dpop_nonce\""),
        "{}",
        challenge(&first)
    );
    let nonce = first.header("dpop-nonce").to_owned();
    let second = ask(Some(&nonce)).await;
    assert_eq!(
        (second.status, second.header("dpop-nonce")),
        (StatusCode::OK, nonce.as_str()),
        "{}",
        second.text
    );
}
