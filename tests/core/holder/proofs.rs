//! Proofs of possession: the good ones, and every way in which one is not.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_core::{
    base::{ReasonCode, holder::HolderKey},
    possession::{PROOF_LIFETIME, Presented, ProofContent, call_digest, sign_proof},
    token::Call,
};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::{Value, json};

use support::{
    Holders, SERVER,
    holders::{code, hand, holder, to},
    raw_proof::{RawProof, SPOILED},
    rights,
};

#[test]
fn a_bound_pass_is_good_with_its_holders_proof_and_never_as_a_plain_bearer_token() {
    let setup = Holders::new();
    let pass = setup.pass();
    let permit = setup.read_as(&setup.planner, &pass).unwrap();
    assert_eq!(
        (permit.holder(), permit.delegates()),
        (Some(&holder(&setup.planner)), &[][..])
    );
    assert_eq!(
        code(setup.verifier.verify(pass.expose())),
        ReasonCode::ProofRequired
    );
    // Cached signatures change nothing.
    assert_eq!(
        code(setup.verifier.verify(pass.expose())),
        ReasonCode::ProofRequired
    );
}

#[test]
fn a_proof_does_not_make_a_bound_pass_of_one_that_is_not() {
    let setup = Holders::new();
    let plain = setup
        .issuer
        .mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
    assert_eq!(
        code(setup.read_as(&setup.planner, &plain)),
        ReasonCode::ProofInvalid
    );
    assert!(setup.verifier.verify(plain.expose()).is_ok());
}

#[test]
fn a_stolen_pass_is_worth_nothing_without_the_key() {
    let setup = Holders::new();
    let pass = setup.pass();
    assert_eq!(
        code(setup.read_as(&setup.thief, &pass)),
        ReasonCode::ProofKey
    );
    // The holder's key in the header, the thief's signature under it.
    let raw = RawProof::good(&setup, &pass);
    let presented = raw.signed(&setup.thief);
    assert_eq!(
        code(setup.present(&pass, &presented, &Call::tool("read_ledger", None))),
        ReasonCode::ProofInvalid
    );
}

#[test]
fn a_proof_is_taken_once_and_not_for_another_token() {
    let setup = Holders::new();
    let (pass, other) = (setup.pass(), setup.pass());
    let read = Call::tool("read_ledger", None);
    let proof = setup.proof(&setup.planner, &pass);
    assert_eq!(
        code(setup.present(&other, &proof, &read)),
        ReasonCode::ProofToken
    );
    setup.present(&pass, &proof, &read).unwrap();
    assert_eq!(
        code(setup.present(&pass, &proof, &read)),
        ReasonCode::ProofReplayed
    );
    setup.after(PROOF_LIFETIME.as_secs() - 1);
    assert_eq!(
        code(setup.present(&pass, &proof, &read)),
        ReasonCode::ProofReplayed
    );
    setup.after(2);
    assert_eq!(
        code(setup.present(&pass, &proof, &read)),
        ReasonCode::ProofTime,
        "too old to be remembered"
    );
}

#[test]
fn a_proof_from_before_the_verifier_began_to_remember_is_refused() {
    let setup = Holders::new();
    let (pass, proof) = (setup.pass(), setup.proof(&setup.planner, &setup.pass()));
    let read = Call::tool("read_ledger", None);
    let used = setup.proof(&setup.planner, &pass);
    setup.present(&pass, &used, &read).unwrap();
    setup.issuer.clock.advance(Duration::from_secs(2));
    let restarted = Holders {
        verifier: setup.issuer.verifier(),
        ..setup
    };
    assert_eq!(
        code(restarted.present(&pass, &used, &read)),
        ReasonCode::ProofTime
    );
    drop(proof);
    restarted
        .present(&pass, &restarted.proof(&restarted.planner, &pass), &read)
        .unwrap();
}

#[test]
fn what_is_wrong_with_a_proof_has_a_code_each() {
    let setup = Holders::new();
    setup.after(120);
    let pass = setup.pass();
    let read = Call::tool("read_ledger", None);
    for (what, expected, spoil) in SPOILED {
        let mut raw = RawProof::good(&setup, &pass);
        spoil(&mut raw);
        let proof = raw.signed(&setup.planner);
        assert_eq!(
            code(setup.present(&pass, &proof, &read)),
            *expected,
            "{what}"
        );
    }
    let codes: std::collections::BTreeSet<_> = SPOILED.iter().map(|(_, code, _)| *code).collect();
    let all = [
        ReasonCode::ProofInvalid,
        ReasonCode::ProofKey,
        ReasonCode::ProofToken,
        ReasonCode::ProofTarget,
        ReasonCode::ProofTime,
    ];
    assert_eq!(codes, all.into(), "each code is among the cases");
    // None of those was taken note of: the same `jti` is still good.
    setup
        .present(
            &pass,
            &RawProof::good(&setup, &pass).signed(&setup.planner),
            &read,
        )
        .unwrap();
}

#[test]
fn what_is_not_a_jws_is_refused_without_a_panic() {
    let setup = Holders::new();
    let pass = setup.pass();
    let good = RawProof::good(&setup, &pass).signed(&setup.planner);
    let [header, claims, signature] =
        <[&str; 3]>::try_from(good.split('.').collect::<Vec<_>>()).unwrap();
    let twice = URL_SAFE_NO_PAD.encode(r#"{"typ":"dpop+jwt","alg":"EdDSA","alg":"none","jwk":{}}"#);
    let cases = [
        String::new(),
        ".".repeat(2),
        ".".repeat(5),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.{signature}="),
        format!("{header}.{claims}."),
        format!("{twice}.{claims}.{signature}"),
        format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode("[]")),
        format!(
            "{}.{claims}.{signature}",
            URL_SAFE_NO_PAD.encode([0xff, 0xfe])
        ),
        "x".repeat(5000),
        "ä.ö.ü".to_owned(),
    ];
    for proof in cases {
        let answer = setup
            .verifier
            .verify_with_proof(pass.expose(), &Presented::new(&proof, "POST"));
        assert_eq!(code(answer), ReasonCode::ProofInvalid, "{proof}");
    }
}

#[test]
fn headers_that_say_nothing_to_us_neither_help_nor_harm() {
    let setup = Holders::new();
    let pass = setup.pass();
    let read = Call::tool("read_ledger", None);
    let unknown = json!({"kid": "other", "jku": "https://evil.example/jwks", "x5c": ["AAAA"], "x5u": "https://evil.example", "foo": {"bar": 1}});
    let mut raw = RawProof::good(&setup, &pass);
    raw.header
        .as_object_mut()
        .unwrap()
        .extend(unknown.as_object().unwrap().clone());
    raw.header["jwk"]["kid"] = json!("mine");
    raw.claims["nonce"] = json!("nobody asked");
    raw.claims["exp"] = json!(1);
    setup
        .present(&pass, &raw.signed(&setup.planner), &read)
        .unwrap();
    assert_eq!(
        code(setup.present(&pass, &raw.signed(&setup.thief), &read)),
        ReasonCode::ProofInvalid
    );
    raw.header["jwk"] = holder(&setup.thief).to_jwk();
    assert_eq!(
        code(setup.present(&pass, &raw.signed(&setup.thief), &read)),
        ReasonCode::ProofKey
    );
}

#[test]
fn a_proof_for_one_call_is_refused_with_another() {
    let setup = Holders::new();
    let pass = setup.pass();
    let (small, large) = (json!({"amount": 10}), json!({"amount": 100}));
    let signed_for = |call: &Call<'_>| {
        let content = ProofContent {
            call: call_digest(call),
            ..setup.content(&pass)
        };
        sign_proof(&setup.planner, &content).unwrap()
    };
    let transfer = Call::tool("transfer", Some(&small));
    for other in [
        Call::tool("transfer", Some(&large)),
        Call::tool("transfer", None),
        Call::tool("read_ledger", Some(&small)),
        Call::prompt("summary", Some(&small)),
        Call::resource("transfer"),
    ] {
        assert_eq!(
            code(setup.present(&pass, &signed_for(&transfer), &other)),
            ReasonCode::ProofCall,
            "{other:?}"
        );
    }
    // The order and the spelling of JSON do not matter, its meaning does.
    let same: Value = serde_json::from_str(r#"{ "amount" : 1e1 }"#).unwrap();
    let answer = setup.present(
        &pass,
        &signed_for(&Call::tool("transfer", Some(&same))),
        &transfer,
    );
    assert!(answer.is_ok(), "{answer:?}");
    setup
        .present(&pass, &signed_for(&transfer), &transfer)
        .unwrap();
}

#[test]
fn a_tool_that_needs_a_proof_of_the_very_call_gets_one_or_refuses() {
    let setup = Holders::new();
    let detail = rights(json!({"tools": ["read_ledger", "transfer"], "call_proof": ["transfer"]}));
    let pass = setup.bound_to(holder(&setup.planner), 0, vec![detail]);
    let plain = || setup.proof(&setup.planner, &pass);
    setup
        .present(&pass, &plain(), &Call::tool("read_ledger", None))
        .unwrap();
    let denial = setup
        .present(&pass, &plain(), &Call::tool("transfer", None))
        .unwrap_err();
    assert_eq!(denial.codes(), [ReasonCode::CallProofRequired]);
    setup
        .call_as(&setup.planner, &pass, "transfer", json!({}))
        .unwrap();
    // It is listed all the same: some call of it could be made.
    let verified = setup
        .verifier
        .verify_with_proof(pass.expose(), &Presented::new(&plain(), "POST"))
        .unwrap();
    assert!(setup.verifier.may_show(
        &verified,
        hallpass_core::token::rights::Kind::Tool,
        "transfer"
    ));
}

#[test]
fn one_detail_that_needs_a_proof_of_the_call_binds_every_other_detail_of_the_same_tool() {
    let setup = Holders::new();
    let proven = json!({"tools": ["transfer"], "call_proof": ["transfer"]});
    let wide = json!({"tools": ["read_ledger", "transfer"], "constraints": {"transfer": {"/amount": {"max": 100}}}});
    for details in [[&proven, &wide], [&wide, &proven]] {
        let details = details
            .into_iter()
            .map(|detail| rights(detail.clone()))
            .collect();
        let pass = setup.bound_to(holder(&setup.planner), 0, details);
        let arguments = json!({"amount": 1});
        let call = Call::tool("transfer", Some(&arguments));
        let denial = setup
            .present(&pass, &setup.proof(&setup.planner, &pass), &call)
            .unwrap_err();
        assert_eq!(denial.codes(), [ReasonCode::CallProofRequired]);
        setup
            .call_as(&setup.planner, &pass, "transfer", arguments.clone())
            .unwrap();
        setup.read_as(&setup.planner, &pass).unwrap();
    }
}

#[test]
fn a_p256_holder_can_use_a_pass_and_its_proof_is_held_to_the_same() {
    let setup = Holders::new();
    let key = SigningKey::from_slice(&[9; 32]).unwrap();
    let point = key.verifying_key().to_encoded_point(false);
    let coordinate = |bytes: Option<&p256::FieldBytes>| URL_SAFE_NO_PAD.encode(bytes.unwrap());
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": coordinate(point.x()), "y": coordinate(point.y())});
    let bound = HolderKey::from_jwk(&jwk).unwrap();
    let pass = setup.bound_to(
        bound.clone(),
        0,
        vec![rights(json!({"tools": ["read_ledger"]}))],
    );
    let mut raw = RawProof::good(&setup, &pass);
    raw.header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
    let sign = |message: &[u8]| {
        let signature: Signature = key.sign(message);
        signature.to_bytes().to_vec()
    };
    let read = Call::tool("read_ledger", None);
    let permit = setup.present(&pass, &raw.signed_by(sign), &read).unwrap();
    assert_eq!(permit.holder(), Some(&bound));
    // The other half of a P-256 signature's two forms is the same proof, and so a replay.
    let twin = |message: &[u8]| {
        let signature: Signature = key.sign(message);
        let twin = Signature::from_scalars(signature.r().to_bytes(), (-*signature.s()).to_bytes())
            .unwrap();
        twin.to_bytes().to_vec()
    };
    assert_eq!(
        code(setup.present(&pass, &raw.signed_by(twin), &read)),
        ReasonCode::ProofReplayed
    );
    raw.header["alg"] = json!("EdDSA");
    assert_eq!(
        code(setup.present(&pass, &raw.signed_by(sign), &read)),
        ReasonCode::ProofInvalid
    );
    // It cannot hand the pass on: nothing it signs is a block's signature.
    let forged = support::raw::key_pair(9);
    let code_text = format!("delegate(\"x\", \"{}\");", holder(&setup.thief));
    let stolen = support::raw::append_third_party(&pass, &setup.root(), &forged, &code_text);
    assert_eq!(
        code(setup.read_as(&setup.thief, &stolen)),
        ReasonCode::HolderChain
    );
}

#[test]
fn a_server_that_gives_out_nonces_takes_no_proof_without_one() {
    let setup = Holders::new();
    let verifier = setup
        .issuer
        .verifier_with(|builder| builder.require_proof_nonce());
    let setup = Holders { verifier, ..setup };
    let (pass, read) = (setup.pass(), Call::tool("read_ledger", None));
    let with = |nonce: Option<&str>| {
        let content = ProofContent {
            nonce,
            ..setup.content(&pass)
        };
        setup.present(&pass, &sign_proof(&setup.planner, &content).unwrap(), &read)
    };
    assert_eq!(code(with(None)), ReasonCode::ProofNonce);
    assert_eq!(code(with(Some("made up"))), ReasonCode::ProofNonce);
    let nonce = setup.verifier.proof_nonce().unwrap();
    with(Some(&nonce)).unwrap();
    setup.after(180);
    assert_eq!(
        code(with(Some(&nonce))),
        ReasonCode::ProofNonce,
        "an old one"
    );
    assert!(Holders::new().verifier.proof_nonce().is_none());
}

#[test]
fn a_server_known_under_another_url_takes_proofs_for_both() {
    let setup = Holders::new();
    let verifier = setup
        .issuer
        .verifier_with(|builder| builder.also_reached_at("http://127.0.0.1:9000/mcp"));
    let setup = Holders { verifier, ..setup };
    let (pass, read) = (setup.pass(), Call::tool("read_ledger", None));
    for (url, good) in [
        (SERVER, true),
        ("http://127.0.0.1:9000/mcp?x=1", true),
        ("http://127.0.0.1:9001/mcp", false),
    ] {
        let content = ProofContent {
            url,
            ..setup.content(&pass)
        };
        let answer = setup.present(&pass, &sign_proof(&setup.planner, &content).unwrap(), &read);
        assert_eq!(answer.is_ok(), good, "{url}: {answer:?}");
    }
}

#[test]
fn a_delegates_proof_is_the_only_one_for_its_pass() {
    let setup = Holders::new();
    let handed = hand(
        &setup.pass(),
        &setup.planner,
        &to("researcher", holder(&setup.researcher), 0),
    );
    setup.read_as(&setup.researcher, &handed.token).unwrap();
    assert_eq!(
        code(setup.read_as(&setup.planner, &handed.token)),
        ReasonCode::ProofKey
    );
    assert_eq!(
        code(setup.read_as(&setup.researcher, &setup.pass())),
        ReasonCode::ProofKey
    );
}

#[test]
fn an_agent_with_too_many_proofs_is_refused_and_no_other() {
    let setup = Holders::new();
    let verifier = setup
        .issuer
        .verifier_with(|builder| builder.remembered_proofs(32));
    let setup = Holders { verifier, ..setup };
    let (pass, read) = (setup.pass(), Call::tool("read_ledger", None));
    for _ in 0..8 {
        setup
            .present(&pass, &setup.proof(&setup.planner, &pass), &read)
            .unwrap();
    }
    let answer = setup.present(&pass, &setup.proof(&setup.planner, &pass), &read);
    assert_eq!(code(answer), ReasonCode::ProofGuardFull);
    let content = |agent: &str| {
        let mut content = setup
            .issuer
            .content(vec![rights(json!({"tools": ["read_ledger"]}))]);
        content.agent = agent.parse().unwrap();
        content.holder = Some(hallpass_core::token::Holding {
            key: holder(&setup.researcher),
            max_delegations: 0,
        });
        setup.issuer.mint_content(&content)
    };
    // Another key of the same agent has no room of its own.
    assert_eq!(
        code(setup.read_as(&setup.researcher, &content("research-bot"))),
        ReasonCode::ProofGuardFull
    );
    setup
        .read_as(&setup.researcher, &content("other-bot"))
        .unwrap();
    setup.after(66);
    setup
        .present(&pass, &setup.proof(&setup.planner, &pass), &read)
        .unwrap();
}
