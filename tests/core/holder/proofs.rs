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
    let scene = Holders::new();
    let pass = scene.pass();
    let permit = scene.read_as(&scene.planner, &pass).unwrap();
    assert_eq!(
        (permit.holder(), permit.delegates()),
        (Some(&holder(&scene.planner)), &[][..])
    );
    assert_eq!(
        code(scene.verifier.verify(pass.expose())),
        ReasonCode::ProofRequired
    );
    // Cached signatures change nothing.
    assert_eq!(
        code(scene.verifier.verify(pass.expose())),
        ReasonCode::ProofRequired
    );
}

#[test]
fn a_proof_does_not_make_a_bound_pass_of_one_that_is_not() {
    let scene = Holders::new();
    let plain = scene
        .issuer
        .mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
    assert_eq!(
        code(scene.read_as(&scene.planner, &plain)),
        ReasonCode::ProofInvalid
    );
    assert!(scene.verifier.verify(plain.expose()).is_ok());
}

#[test]
fn a_stolen_pass_is_worth_nothing_without_the_key() {
    let scene = Holders::new();
    let pass = scene.pass();
    assert_eq!(
        code(scene.read_as(&scene.thief, &pass)),
        ReasonCode::ProofKey
    );
    // The holder's key in the header, the thief's signature under it.
    let raw = RawProof::good(&scene, &pass);
    let presented = raw.signed(&scene.thief);
    assert_eq!(
        code(scene.present(&pass, &presented, &Call::tool("read_ledger", None))),
        ReasonCode::ProofInvalid
    );
}

#[test]
fn a_proof_is_taken_once_and_not_for_another_token() {
    let scene = Holders::new();
    let (pass, other) = (scene.pass(), scene.pass());
    let read = Call::tool("read_ledger", None);
    let proof = scene.proof(&scene.planner, &pass);
    assert_eq!(
        code(scene.present(&other, &proof, &read)),
        ReasonCode::ProofToken
    );
    scene.present(&pass, &proof, &read).unwrap();
    assert_eq!(
        code(scene.present(&pass, &proof, &read)),
        ReasonCode::ProofReplayed
    );
    scene.after(PROOF_LIFETIME.as_secs() - 1);
    assert_eq!(
        code(scene.present(&pass, &proof, &read)),
        ReasonCode::ProofReplayed
    );
    scene.after(2);
    assert_eq!(
        code(scene.present(&pass, &proof, &read)),
        ReasonCode::ProofTime,
        "too old to be remembered"
    );
}

#[test]
fn a_proof_from_before_the_verifier_began_to_remember_is_refused() {
    let scene = Holders::new();
    let (pass, proof) = (scene.pass(), scene.proof(&scene.planner, &scene.pass()));
    let read = Call::tool("read_ledger", None);
    let used = scene.proof(&scene.planner, &pass);
    scene.present(&pass, &used, &read).unwrap();
    scene.issuer.clock.advance(Duration::from_secs(2));
    let restarted = Holders {
        verifier: scene.issuer.verifier(),
        ..scene
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
    let scene = Holders::new();
    scene.after(120);
    let pass = scene.pass();
    let read = Call::tool("read_ledger", None);
    for (what, expected, spoil) in SPOILED {
        let mut raw = RawProof::good(&scene, &pass);
        spoil(&mut raw);
        let proof = raw.signed(&scene.planner);
        assert_eq!(
            code(scene.present(&pass, &proof, &read)),
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
    scene
        .present(
            &pass,
            &RawProof::good(&scene, &pass).signed(&scene.planner),
            &read,
        )
        .unwrap();
}

#[test]
fn what_is_not_a_jws_is_refused_without_a_panic() {
    let scene = Holders::new();
    let pass = scene.pass();
    let good = RawProof::good(&scene, &pass).signed(&scene.planner);
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
        let answer = scene
            .verifier
            .verify_with_proof(pass.expose(), &Presented::new(&proof, "POST"));
        assert_eq!(code(answer), ReasonCode::ProofInvalid, "{proof}");
    }
}

#[test]
fn headers_that_say_nothing_to_us_neither_help_nor_harm() {
    let scene = Holders::new();
    let pass = scene.pass();
    let read = Call::tool("read_ledger", None);
    let unknown = json!({"kid": "other", "jku": "https://evil.example/jwks", "x5c": ["AAAA"], "x5u": "https://evil.example", "foo": {"bar": 1}});
    let mut raw = RawProof::good(&scene, &pass);
    raw.header
        .as_object_mut()
        .unwrap()
        .extend(unknown.as_object().unwrap().clone());
    raw.header["jwk"]["kid"] = json!("mine");
    raw.claims["nonce"] = json!("nobody asked");
    raw.claims["exp"] = json!(1);
    scene
        .present(&pass, &raw.signed(&scene.planner), &read)
        .unwrap();
    assert_eq!(
        code(scene.present(&pass, &raw.signed(&scene.thief), &read)),
        ReasonCode::ProofInvalid
    );
    raw.header["jwk"] = holder(&scene.thief).to_jwk();
    assert_eq!(
        code(scene.present(&pass, &raw.signed(&scene.thief), &read)),
        ReasonCode::ProofKey
    );
}

#[test]
fn a_proof_for_one_call_is_refused_with_another() {
    let scene = Holders::new();
    let pass = scene.pass();
    let (small, large) = (json!({"amount": 10}), json!({"amount": 100}));
    let signed_for = |call: &Call<'_>| {
        let content = ProofContent {
            call: call_digest(call),
            ..scene.content(&pass)
        };
        sign_proof(&scene.planner, &content).unwrap()
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
            code(scene.present(&pass, &signed_for(&transfer), &other)),
            ReasonCode::ProofCall,
            "{other:?}"
        );
    }
    // The order and the spelling of JSON do not matter, its meaning does.
    let same: Value = serde_json::from_str(r#"{ "amount" : 1e1 }"#).unwrap();
    let answer = scene.present(
        &pass,
        &signed_for(&Call::tool("transfer", Some(&same))),
        &transfer,
    );
    assert!(answer.is_ok(), "{answer:?}");
    scene
        .present(&pass, &signed_for(&transfer), &transfer)
        .unwrap();
}

#[test]
fn a_tool_that_needs_a_proof_of_the_very_call_gets_one_or_refuses() {
    let scene = Holders::new();
    let detail = rights(json!({"tools": ["read_ledger", "transfer"], "call_proof": ["transfer"]}));
    let pass = scene.bound_to(holder(&scene.planner), 0, vec![detail]);
    let plain = || scene.proof(&scene.planner, &pass);
    scene
        .present(&pass, &plain(), &Call::tool("read_ledger", None))
        .unwrap();
    let denial = scene
        .present(&pass, &plain(), &Call::tool("transfer", None))
        .unwrap_err();
    assert_eq!(denial.codes(), [ReasonCode::CallProofRequired]);
    scene
        .call_as(&scene.planner, &pass, "transfer", json!({}))
        .unwrap();
    // It is listed all the same: some call of it could be made.
    let verified = scene
        .verifier
        .verify_with_proof(pass.expose(), &Presented::new(&plain(), "POST"))
        .unwrap();
    assert!(scene.verifier.may_show(
        &verified,
        hallpass_core::token::rights::Kind::Tool,
        "transfer"
    ));
}

#[test]
fn one_detail_that_needs_a_proof_of_the_call_binds_every_other_detail_of_the_same_tool() {
    let scene = Holders::new();
    let proven = json!({"tools": ["transfer"], "call_proof": ["transfer"]});
    let wide = json!({"tools": ["read_ledger", "transfer"], "constraints": {"transfer": {"/amount": {"max": 100}}}});
    for details in [[&proven, &wide], [&wide, &proven]] {
        let details = details
            .into_iter()
            .map(|detail| rights(detail.clone()))
            .collect();
        let pass = scene.bound_to(holder(&scene.planner), 0, details);
        let arguments = json!({"amount": 1});
        let call = Call::tool("transfer", Some(&arguments));
        let denial = scene
            .present(&pass, &scene.proof(&scene.planner, &pass), &call)
            .unwrap_err();
        assert_eq!(denial.codes(), [ReasonCode::CallProofRequired]);
        scene
            .call_as(&scene.planner, &pass, "transfer", arguments.clone())
            .unwrap();
        scene.read_as(&scene.planner, &pass).unwrap();
    }
}

#[test]
fn a_p256_holder_can_use_a_pass_and_its_proof_is_held_to_the_same() {
    let scene = Holders::new();
    let key = SigningKey::from_slice(&[9; 32]).unwrap();
    let point = key.verifying_key().to_encoded_point(false);
    let coordinate = |bytes: Option<&p256::FieldBytes>| URL_SAFE_NO_PAD.encode(bytes.unwrap());
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": coordinate(point.x()), "y": coordinate(point.y())});
    let bound = HolderKey::from_jwk(&jwk).unwrap();
    let pass = scene.bound_to(
        bound.clone(),
        0,
        vec![rights(json!({"tools": ["read_ledger"]}))],
    );
    let mut raw = RawProof::good(&scene, &pass);
    raw.header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
    let sign = |message: &[u8]| {
        let signature: Signature = key.sign(message);
        signature.to_bytes().to_vec()
    };
    let read = Call::tool("read_ledger", None);
    let permit = scene.present(&pass, &raw.signed_by(sign), &read).unwrap();
    assert_eq!(permit.holder(), Some(&bound));
    // The other half of a P-256 signature's two forms is the same proof, and so a replay.
    let twin = |message: &[u8]| {
        let signature: Signature = key.sign(message);
        let twin = Signature::from_scalars(signature.r().to_bytes(), (-*signature.s()).to_bytes())
            .unwrap();
        twin.to_bytes().to_vec()
    };
    assert_eq!(
        code(scene.present(&pass, &raw.signed_by(twin), &read)),
        ReasonCode::ProofReplayed
    );
    raw.header["alg"] = json!("EdDSA");
    assert_eq!(
        code(scene.present(&pass, &raw.signed_by(sign), &read)),
        ReasonCode::ProofInvalid
    );
    // It cannot hand the pass on: nothing it signs is a block's signature.
    let forged = support::raw::key_pair(9);
    let code_text = format!("delegate(\"x\", \"{}\");", holder(&scene.thief));
    let stolen = support::raw::append_third_party(&pass, &scene.root(), &forged, &code_text);
    assert_eq!(
        code(scene.read_as(&scene.thief, &stolen)),
        ReasonCode::HolderChain
    );
}

#[test]
fn a_server_that_gives_out_nonces_takes_no_proof_without_one() {
    let scene = Holders::new();
    let verifier = scene
        .issuer
        .verifier_with(|builder| builder.require_proof_nonce());
    let scene = Holders { verifier, ..scene };
    let (pass, read) = (scene.pass(), Call::tool("read_ledger", None));
    let with = |nonce: Option<&str>| {
        let content = ProofContent {
            nonce,
            ..scene.content(&pass)
        };
        scene.present(&pass, &sign_proof(&scene.planner, &content).unwrap(), &read)
    };
    assert_eq!(code(with(None)), ReasonCode::ProofNonce);
    assert_eq!(code(with(Some("made up"))), ReasonCode::ProofNonce);
    let nonce = scene.verifier.proof_nonce().unwrap();
    with(Some(&nonce)).unwrap();
    scene.after(180);
    assert_eq!(
        code(with(Some(&nonce))),
        ReasonCode::ProofNonce,
        "an old one"
    );
    assert!(Holders::new().verifier.proof_nonce().is_none());
}

#[test]
fn a_server_known_under_another_url_takes_proofs_for_both() {
    let scene = Holders::new();
    let verifier = scene
        .issuer
        .verifier_with(|builder| builder.also_reached_at("http://127.0.0.1:9000/mcp"));
    let scene = Holders { verifier, ..scene };
    let (pass, read) = (scene.pass(), Call::tool("read_ledger", None));
    for (url, good) in [
        (SERVER, true),
        ("http://127.0.0.1:9000/mcp?x=1", true),
        ("http://127.0.0.1:9001/mcp", false),
    ] {
        let content = ProofContent {
            url,
            ..scene.content(&pass)
        };
        let answer = scene.present(&pass, &sign_proof(&scene.planner, &content).unwrap(), &read);
        assert_eq!(answer.is_ok(), good, "{url}: {answer:?}");
    }
}

#[test]
fn a_delegates_proof_is_the_only_one_for_its_pass() {
    let scene = Holders::new();
    let handed = hand(
        &scene.pass(),
        &scene.planner,
        &to("researcher", holder(&scene.researcher), 0),
    );
    scene.read_as(&scene.researcher, &handed.token).unwrap();
    assert_eq!(
        code(scene.read_as(&scene.planner, &handed.token)),
        ReasonCode::ProofKey
    );
    assert_eq!(
        code(scene.read_as(&scene.researcher, &scene.pass())),
        ReasonCode::ProofKey
    );
}

#[test]
fn an_agent_with_too_many_proofs_is_refused_and_no_other() {
    let scene = Holders::new();
    let verifier = scene
        .issuer
        .verifier_with(|builder| builder.remembered_proofs(32));
    let scene = Holders { verifier, ..scene };
    let (pass, read) = (scene.pass(), Call::tool("read_ledger", None));
    for _ in 0..8 {
        scene
            .present(&pass, &scene.proof(&scene.planner, &pass), &read)
            .unwrap();
    }
    let answer = scene.present(&pass, &scene.proof(&scene.planner, &pass), &read);
    assert_eq!(code(answer), ReasonCode::ProofGuardFull);
    let content = |agent: &str| {
        let mut content = scene
            .issuer
            .content(vec![rights(json!({"tools": ["read_ledger"]}))]);
        content.agent = agent.parse().unwrap();
        content.holder = Some(hallpass_core::token::Holding {
            key: holder(&scene.researcher),
            max_delegations: 0,
        });
        scene.issuer.mint_content(&content)
    };
    // Another key of the same agent has no room of its own.
    assert_eq!(
        code(scene.read_as(&scene.researcher, &content("research-bot"))),
        ReasonCode::ProofGuardFull
    );
    scene
        .read_as(&scene.researcher, &content("other-bot"))
        .unwrap();
    scene.after(66);
    scene
        .present(&pass, &scene.proof(&scene.planner, &pass), &read)
        .unwrap();
}
