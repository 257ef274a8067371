//! Who is asking: every way in which an agent's assertion or key is refused.

use std::{collections::HashMap, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_broker::identity::{
    AgentKey, AgentKeyError, AssertionReason, JwkError, RegisteredKey, VerifiedAssertion,
    assertion::{self, MAX_ASSERTION_BYTES},
    jwk::KeyAlgorithm,
};
use hallpass_core::base::{
    ReasonCode,
    ids::{AgentId, IssuerUri},
    json,
    secret_file::SecretFileError,
    time::Timestamp,
};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use support::foreign::{Foreign, b64};

const ISSUER: &str = "https://broker.example";
const NOW: u64 = 1_795_341_900;

fn claims() -> Value {
    json!({"iss": "research-bot", "sub": "research-bot", "aud": ISSUER, "exp": NOW + 60, "jti": "one"})
}

/// The claims as text, with `name` written as `value` is, or left out.
fn claims_with(name: &str, value: Option<&str>) -> String {
    let mut members = claims().as_object().unwrap().clone();
    members.remove(name);
    let mut text: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    text.extend(value.map(|value| format!("\"{name}\":{value}")));
    format!("{{{}}}", text.join(","))
}

fn verify(jwks: &[Value], text: &str) -> Result<VerifiedAssertion, AssertionReason> {
    let keys: Arc<[RegisteredKey]> = RegisteredKey::from_jwks(jwks).unwrap().into();
    let agents = HashMap::from([("research-bot".parse::<AgentId>().unwrap(), keys)]);
    assertion::verify(text, |agent| agents.get(agent).cloned(), &issuer(), now()).map_err(|error| {
        assert_eq!(error.code(), ReasonCode::Unauthenticated);
        assert_eq!(error.to_string(), "the assertion was not accepted");
        error.reason()
    })
}

fn issuer() -> IssuerUri {
    ISSUER.parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW)
}

#[test]
fn each_kind_of_key_signs_assertions() {
    for key in Foreign::all() {
        let verified = verify(
            std::slice::from_ref(&key.jwk),
            &key.sign(&key.header(), &claims().to_string()),
        )
        .unwrap();
        assert_eq!(verified.agent.as_str(), "research-bot");
        assert_eq!(verified.expires_at, Timestamp::from_unix_seconds(NOW + 70));
        let again = claims_with("jti", Some(r#""two""#));
        assert_ne!(
            verify(
                std::slice::from_ref(&key.jwk),
                &key.sign(&key.header(), &again)
            )
            .unwrap()
            .jti,
            verified.jti
        );
        for typ in ["JWT", "jwt", "client-authentication+jwt"] {
            let header = format!(
                r#"{{"alg":"{:?}","typ":"{typ}","kid":"research-bot"}}"#,
                key.algorithm
            );
            assert!(
                verify(
                    std::slice::from_ref(&key.jwk),
                    &key.sign(&header, &claims().to_string())
                )
                .is_ok(),
                "{typ}"
            );
        }
    }
}

#[test]
fn an_agent_key_of_ours_signs_assertions() {
    let key = AgentKey::generate("research-bot".parse().unwrap());
    let text = key.assertion(&issuer(), now()).unwrap();
    assert_eq!(
        verify(&[key.public_jwk()], &text).unwrap().agent,
        *key.agent()
    );
    assert_ne!(key.assertion(&issuer(), now()).unwrap(), text);
    let other: IssuerUri = "https://other.example".parse().unwrap();
    let text = key.assertion(&other, now()).unwrap();
    assert_eq!(
        verify(&[key.public_jwk()], &text),
        Err(AssertionReason::Audience)
    );
}

#[test]
fn any_of_several_keys_signs_and_no_other() {
    let [first, second, third, stranger] = std::array::from_fn(|_| Foreign::ed25519());
    let jwks = [
        first.jwk.clone(),
        second.jwk.clone(),
        third.jwk.clone(),
        Foreign::p256().jwk,
    ];
    for key in [&first, &second, &third] {
        let thumbprint = RegisteredKey::from_jwk(&key.jwk)
            .unwrap()
            .thumbprint()
            .to_owned();
        let header = format!(r#"{{"alg":"EdDSA","kid":"{thumbprint}"}}"#);
        for header in [key.header(), header] {
            assert!(verify(&jwks, &key.sign(&header, &claims().to_string())).is_ok());
        }
    }
    let signed = stranger.sign(&stranger.header(), &claims().to_string());
    assert_eq!(verify(&jwks, &signed), Err(AssertionReason::Signature));
    let misnamed = format!(
        r#"{{"alg":"EdDSA","kid":"{}"}}"#,
        RegisteredKey::from_jwk(&first.jwk).unwrap().thumbprint()
    );
    assert_eq!(
        verify(&jwks, &second.sign(&misnamed, &claims().to_string())),
        Err(AssertionReason::Signature)
    );
}

#[test]
fn headers_that_are_not_believed_are_refused() {
    use AssertionReason::{Algorithm, Header, Signature, Type};
    let key = Foreign::ed25519();
    let cases = [
        (r#"{"alg":"none"}"#, Algorithm),
        (r#"{"alg":"None"}"#, Algorithm),
        (r#"{"alg":"NONE"}"#, Algorithm),
        (r#"{"alg":""}"#, Algorithm),
        (r#"{"alg":"HS256"}"#, Algorithm),
        (r#"{"alg":"eddsa"}"#, Algorithm),
        (r#"{"alg":"PS512"}"#, Algorithm),
        (r#"{"alg":"RS384"}"#, Algorithm),
        (r#"{"alg":"ES512"}"#, Algorithm),
        (r#"{"alg":"PS256"}"#, Signature),
        (r#"{"alg":"ES384"}"#, Signature),
        (r#"{"alg":"ES256"}"#, Signature),
        (r#"{"alg":"RS256"}"#, Signature),
        ("{}", Header),
        (r#"{"alg":null}"#, Header),
        (r#"{"alg":["EdDSA"]}"#, Header),
        (r#"{"alg":"EdDSA","alg":"EdDSA"}"#, Header),
        (r#"{"alg":"EdDSA","crit":["exp"]}"#, Header),
        (r#"{"alg":"EdDSA","b64":false}"#, Header),
        (
            r#"{"alg":"EdDSA","jku":"https://evil.example/keys"}"#,
            Header,
        ),
        (r#"{"alg":"EdDSA","jwk":{}}"#, Header),
        (r#"{"alg":"EdDSA","x5u":"https://evil.example/x"}"#, Header),
        (r#"{"alg":"EdDSA","x5c":[]}"#, Header),
        (r#"{"alg":"EdDSA","cty":"JWT"}"#, Header),
        (r#"{"alg":"EdDSA","kid":7}"#, Header),
        (r#"{"alg":"EdDSA","typ":"at+jwt"}"#, Type),
        (r#"{"alg":"EdDSA","typ":"hallpass-feed+jwt"}"#, Type),
        (r#"{"alg":"EdDSA","typ":""}"#, Type),
    ];
    for (header, reason) in cases {
        assert_eq!(
            verify(
                std::slice::from_ref(&key.jwk),
                &key.sign(header, &claims().to_string())
            ),
            Err(reason),
            "{header}"
        );
    }
}

#[test]
fn headers_as_libraries_write_them_are_read() {
    let key = Foreign::ed25519();
    for header in [
        r#"{"alg":"Ed25519"}"#,
        r#"{"alg":"EdDSA","typ":"jwt","x5t":"iVabnkJvnIn2uxEgEsxU-Ssa3Zs"}"#,
        r#"{"alg":"EdDSA","typ":null,"kid":null,"x5t#S256":"x"}"#,
    ] {
        let text = key.sign(header, &claims().to_string());
        assert!(
            verify(std::slice::from_ref(&key.jwk), &text).is_ok(),
            "{header}"
        );
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    for key in Foreign::all() {
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
            b64(&key.public_der)
        );
        let secrets = [
            key.public_der.clone(),
            pem.clone().into(),
            format!("{pem}\n").into(),
            key.jwk.to_string().into_bytes(),
        ];
        for secret in secrets {
            for alg in ["HS256", "EdDSA", "ES256", "ES384", "RS256", "PS256"] {
                let signed = format!(
                    "{}.{}",
                    b64(format!(r#"{{"alg":"{alg}"}}"#).as_bytes()),
                    b64(claims().to_string().as_bytes())
                );
                let secret = EncodingKey::from_secret(&secret);
                let signature =
                    jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, Algorithm::HS256)
                        .unwrap();
                let refused = verify(
                    std::slice::from_ref(&key.jwk),
                    &format!("{signed}.{signature}"),
                );
                let expected = if alg == "HS256" {
                    AssertionReason::Algorithm
                } else {
                    AssertionReason::Signature
                };
                assert_eq!(refused, Err(expected));
            }
        }
    }
}

#[test]
fn an_algorithm_other_than_the_registered_keys_is_refused() {
    let keys = Foreign::all();
    for registered in &keys {
        for signer in &keys {
            let text = signer.sign(&signer.header(), &claims().to_string());
            assert_eq!(
                verify(std::slice::from_ref(&registered.jwk), &text).is_ok(),
                registered.jwk == signer.jwk
            );
        }
    }
}

#[test]
fn an_rsa_key_signs_in_the_one_way_that_it_was_registered_for() {
    let (rsa, pss) = (Foreign::rsa(), Foreign::pss());
    let as_other = |key: &Foreign, alg: &str| {
        let mut jwk = key.jwk.clone();
        jwk["alg"] = json!(alg);
        jwk
    };
    for (key, jwk) in [
        (&rsa, as_other(&rsa, "PS256")),
        (&pss, as_other(&pss, "RS256")),
    ] {
        for alg in ["RS256", "PS256"] {
            let text = key.sign(&format!(r#"{{"alg":"{alg}"}}"#), &claims().to_string());
            assert_eq!(
                verify(std::slice::from_ref(&jwk), &text),
                Err(AssertionReason::Signature),
                "{alg}"
            );
        }
    }
    // What is stored is read again, and says the same.
    let stored = RegisteredKey::from_jwk(&pss.jwk).unwrap().jwk().clone();
    assert!(verify(&[stored], &pss.sign(&pss.header(), &claims().to_string())).is_ok());
    let both = [rsa.jwk.clone(), as_other(&rsa, "PS256")];
    assert_eq!(
        RegisteredKey::from_jwks(&both).unwrap_err(),
        JwkError::Duplicate,
        "one key, one way"
    );
}

#[test]
fn claims_of_the_wrong_type_are_refused_and_never_taken_for_absent() {
    let key = Foreign::ed25519();
    let check = |name: &'static str, value: Option<&str>| {
        let refused = verify(
            std::slice::from_ref(&key.jwk),
            &key.sign(&key.header(), &claims_with(name, value)),
        );
        assert!(
            matches!(refused, Err(AssertionReason::Claim(claim)) if claim == name)
                || matches!(
                    refused,
                    Err(AssertionReason::Payload | AssertionReason::Subject)
                ),
            "{name}: {value:?}: {refused:?}"
        );
    };
    let soon = (NOW + 60).to_string();
    let wrong_times = [
        format!("\"{soon}\""),
        format!("-{soon}"),
        "1e400".into(),
        "null".into(),
        format!("[{soon}]"),
        "true".into(),
        "{}".into(),
        "9223372036854775808".into(),
        "18446744073709551616".into(),
    ];
    for value in &wrong_times {
        for name in ["exp", "nbf", "iat"] {
            check(name, Some(value));
        }
    }
    for name in ["exp", "iss", "sub", "aud", "jti"] {
        check(name, None);
    }
    for value in ["null", "7", "true", "[]", "{}", r#"["research-bot"]"#] {
        for name in ["iss", "sub", "jti"] {
            check(name, Some(value));
        }
    }
    for value in ["null", "7", "true", "[]", "{}"] {
        check("aud", Some(value));
    }
    check("jti", Some(r#""""#));
    check("jti", Some(&format!("\"{}\"", "j".repeat(129))));
    let longest = claims_with("jti", Some(&format!("\"{}\"", "ü".repeat(128))));
    assert!(
        verify(
            std::slice::from_ref(&key.jwk),
            &key.sign(&key.header(), &longest)
        )
        .is_ok()
    );
}

#[test]
fn only_this_issuer_alone_is_the_audience() {
    let key = Foreign::ed25519();
    let others = [
        "https://broker.example//",
        "https://broker.example/v1",
        "/",
        "https://broker.exampl",
        "https://broker.example.evil.test",
        "https://BROKER.example",
        "http://broker.example",
        "https://broker.example:443",
        " https://broker.example",
        "",
    ];
    for audience in others {
        let text = key.sign(
            &key.header(),
            &claims_with("aud", Some(&json!(audience).to_string())),
        );
        assert_eq!(
            verify(std::slice::from_ref(&key.jwk), &text),
            Err(AssertionReason::Audience),
            "{audience}"
        );
    }
    for same in [
        json!([ISSUER]),
        json!(format!("{ISSUER}/")),
        json!([format!("{ISSUER}/")]),
    ] {
        let text = key.sign(&key.header(), &claims_with("aud", Some(&same.to_string())));
        assert!(
            verify(std::slice::from_ref(&key.jwk), &text).is_ok(),
            "{same}"
        );
    }
    let below: IssuerUri = "https://broker.example/at/work".parse().unwrap();
    assert!(
        below.is_spelled("https://broker.example/at/work")
            && !below.is_spelled("https://broker.example/at/work/")
    );
    let other = key.sign(
        &key.header(),
        &claims_with("aud", Some(r#"["https://other.example"]"#)),
    );
    assert_eq!(
        verify(std::slice::from_ref(&key.jwk), &other),
        Err(AssertionReason::Audience)
    );
    let lists = [
        json!([ISSUER, "https://other.example"]),
        json!([ISSUER, ISSUER]),
        json!([[ISSUER]]),
        json!([7]),
        json!([]),
        json!({"0": ISSUER}),
    ];
    for list in lists {
        let text = key.sign(&key.header(), &claims_with("aud", Some(&list.to_string())));
        assert_eq!(
            verify(std::slice::from_ref(&key.jwk), &text),
            Err(AssertionReason::Claim("aud")),
            "{list}"
        );
    }
}

#[test]
fn times_hold_at_their_bounds_and_not_one_second_past() {
    use AssertionReason::{Expired, NotYetValid, TooLongLived};
    let key = Foreign::ed25519();
    let check = |changes: Value, expected: Result<(), AssertionReason>| {
        let mut claims = claims();
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let text = key.sign(&key.header(), &claims.to_string());
        assert_eq!(
            verify(std::slice::from_ref(&key.jwk), &text).map(drop),
            expected,
            "{changes}"
        );
    };
    check(json!({"exp": NOW - 9}), Ok(()));
    check(
        json!({"exp": f64::from(u32::try_from(NOW).unwrap()) + 0.5}),
        Ok(()),
    );
    check(json!({"exp": NOW - 10}), Err(Expired));
    check(json!({"exp": 0}), Err(Expired));
    check(json!({"exp": NOW + 310}), Ok(()));
    check(json!({"exp": NOW + 311}), Err(TooLongLived));
    check(json!({"exp": NOW + 60, "iat": NOW - 250}), Ok(()));
    check(
        json!({"exp": NOW + 60, "iat": NOW - 251}),
        Err(TooLongLived),
    );
    check(
        json!({"exp": NOW + 60, "iat": NOW + 10, "nbf": NOW + 10}),
        Ok(()),
    );
    check(json!({"exp": NOW + 60, "iat": NOW + 11}), Err(NotYetValid));
    check(json!({"exp": NOW + 60, "nbf": NOW + 11}), Err(NotYetValid));
}

#[test]
fn only_the_registered_spelling_is_the_agent() {
    let key = Foreign::ed25519();
    for (name, reason) in [
        ("research-bot2", AssertionReason::UnknownAgent),
        ("Research-Bot", AssertionReason::Claim("sub")),
        ("research-bot ", AssertionReason::Claim("sub")),
        ("research\u{200b}-bot", AssertionReason::Claim("sub")),
        ("", AssertionReason::Claim("sub")),
    ] {
        let mut claims = claims();
        claims["iss"] = name.into();
        claims["sub"] = name.into();
        assert_eq!(
            verify(
                std::slice::from_ref(&key.jwk),
                &key.sign(&key.header(), &claims.to_string())
            ),
            Err(reason),
            "{name:?}"
        );
    }
    let text = key.sign(&key.header(), &claims_with("sub", Some(r#""other-bot""#)));
    assert_eq!(
        verify(std::slice::from_ref(&key.jwk), &text),
        Err(AssertionReason::Subject)
    );
}

#[test]
fn other_forms_of_jwt_and_changed_bytes_are_refused() {
    let key = Foreign::p256();
    let jwks = [key.jwk.clone()];
    let good = key.sign(&key.header(), &claims().to_string());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let forms = [
        String::new(),
        "..".into(),
        signed.into(),
        format!("{good}."),
        format!("{good}.e30"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        json!({"protected": "e30", "payload": "e30", "signature": "AA"}).to_string(),
        "x".repeat(MAX_ASSERTION_BYTES + 1),
    ];
    for text in forms {
        let refused = verify(&jwks, &text).unwrap_err();
        assert!(
            matches!(
                refused,
                AssertionReason::Malformed | AssertionReason::TooLong | AssertionReason::Header
            ),
            "{text}"
        );
    }
    for other in ["", "AA", &signature[..80], &b64(&[0; 64]), &b64(&[7; 64])] {
        assert_eq!(
            verify(&jwks, &format!("{signed}.{other}")),
            Err(AssertionReason::Signature),
            "{other}"
        );
    }
    for place in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        assert!(
            verify(&jwks, &String::from_utf8(bytes).unwrap()).is_err(),
            "character {place}"
        );
    }
    let doubled = claims_with("aud", Some(&format!("\"{ISSUER}\",\"aud\":\"{ISSUER}\"")));
    assert_eq!(
        verify(&jwks, &key.sign(&key.header(), &doubled)),
        Err(AssertionReason::Payload)
    );
    for payload in [good.as_str(), "[]", "7"] {
        assert_eq!(
            verify(&jwks, &key.sign(&key.header(), payload)),
            Err(AssertionReason::Payload)
        );
    }
}

#[test]
fn keys_are_checked_at_registration() {
    let [ed, ec, rsa, wide, _] = Foreign::all().map(|key| key.jwk);
    let with = |jwk: &Value, name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        jwk
    };
    let modulus = URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap();
    let even = [&modulus[..255], &[2]].concat();
    let short = [&[1], &modulus[1..]].concat();
    let cases = [
        (json!("text"), JwkError::NotAnObject),
        (json!({}), JwkError::Member("kty")),
        (json!({"kty": 7}), JwkError::Member("kty")),
        (json!({"kty": "oct", "k": "AAAA"}), JwkError::Private("k")),
        (
            json!({"kty": "OKP", "crv": "Ed448", "x": "AA"}),
            JwkError::Kind,
        ),
        (
            json!({"kty": "OKP", "crv": "X25519", "x": ed["x"]}),
            JwkError::Kind,
        ),
        (
            json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
            JwkError::Kind,
        ),
        (
            json!({"kty": "EC", "crv": "P-384", "x": ec["x"], "y": ec["y"]}),
            JwkError::Encoding("x"),
        ),
        (
            json!({"kty": "EC", "crv": "P-384", "x": wide["x"], "y": wide["x"]}),
            JwkError::Point,
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": wide["x"], "y": wide["y"]}),
            JwkError::Encoding("x"),
        ),
        (
            json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
            JwkError::Kind,
        ),
        (with(&ed, "d", json!("AA")), JwkError::Private("d")),
        (with(&rsa, "p", json!("AA")), JwkError::Private("p")),
        (with(&ed, "x", json!("AA")), JwkError::Encoding("x")),
        (
            with(&ed, "x", json!(format!("{}=", ed["x"].as_str().unwrap()))),
            JwkError::Encoding("x"),
        ),
        (with(&ed, "x", json!(b64(&[0; 32]))), JwkError::Point),
        (with(&ed, "y", json!("AA")), JwkError::Unknown),
        (
            with(&ed, "x5u", json!("https://evil.example/x")),
            JwkError::Unknown,
        ),
        (with(&ec, "y", ec["x"].clone()), JwkError::Point),
        (with(&ec, "x", json!(b64(&[0; 32]))), JwkError::Point),
        (with(&rsa, "e", json!("Aw")), JwkError::Exponent),
        (with(&rsa, "e", json!("AAEAAQ")), JwkError::Exponent),
        (with(&rsa, "n", json!(b64(&even))), JwkError::Modulus),
        (with(&rsa, "n", json!(b64(&short))), JwkError::Modulus),
        (with(&rsa, "n", json!(b64(&[0xff; 513]))), JwkError::Modulus),
        (
            with(&rsa, "n", json!(b64(&[&[0], &modulus[..]].concat()))),
            JwkError::Encoding("n"),
        ),
        (with(&rsa, "n", json!("")), JwkError::Modulus),
        (with(&ed, "alg", json!("ES256")), JwkError::Purpose("alg")),
        (with(&rsa, "alg", json!("PS512")), JwkError::Purpose("alg")),
        (with(&wide, "alg", json!("ES256")), JwkError::Purpose("alg")),
        (with(&ed, "use", json!("enc")), JwkError::Purpose("use")),
        (
            with(&ed, "key_ops", json!(["sign"])),
            JwkError::Purpose("key_ops"),
        ),
        (with(&ed, "kid", json!("")), JwkError::Kid),
        (with(&ed, "kid", json!("a b")), JwkError::Kid),
    ];
    for (jwk, error) in cases {
        assert_eq!(RegisteredKey::from_jwk(&jwk).unwrap_err(), error, "{jwk}");
    }
    let full = with(
        &with(&with(&ed, "alg", json!("EdDSA")), "use", json!("sig")),
        "kid",
        json!("laptop"),
    );
    // As libraries write it: both operations of the pair, a certificate, members that it does not have.
    for (name, value) in [
        ("key_ops", json!(["sign", "verify"])),
        ("ext", json!(true)),
        ("x5c", json!(["MIIB"])),
        ("alg", json!("Ed25519")),
        ("d", json!(null)),
        ("use", json!(null)),
    ] {
        let key = RegisteredKey::from_jwk(&with(&full, name, value)).unwrap();
        assert_eq!(*key.jwk(), with(&ed, "kid", json!("laptop")), "{name}");
    }
    let key = RegisteredKey::from_jwk(&with(&full, "key_ops", json!(["verify"]))).unwrap();
    assert_eq!(key.algorithm(), KeyAlgorithm::EdDsa);
    assert_eq!(*key.jwk(), with(&ed, "kid", json!("laptop")));
    assert!(
        key.answers_to("laptop") && key.answers_to(key.thumbprint()) && !key.answers_to("other")
    );
    assert_eq!(RegisteredKey::from_jwks(&[]).unwrap_err(), JwkError::Count);
    assert_eq!(
        RegisteredKey::from_jwks(&vec![ed.clone(); 5]).unwrap_err(),
        JwkError::Count
    );
    assert_eq!(
        RegisteredKey::from_jwks(&[ed, full]).unwrap_err(),
        JwkError::Duplicate
    );
}

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    let thumbprint = |jwk: Value| {
        RegisteredKey::from_jwk(&jwk)
            .unwrap()
            .thumbprint()
            .to_owned()
    };
    // RFC 8037, appendix A.3.
    let ed =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(
        thumbprint(ed),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    // RFC 7638, section 3.1.
    let rsa = json!({"kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n":
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
         hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQv\
         RL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnq\
         DKgw"});
    assert_eq!(
        thumbprint(rsa),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
}

#[test]
fn a_key_file_is_its_owners_alone_and_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("research-bot.key");
    let key = AgentKey::generate("research-bot".parse().unwrap());
    key.create(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        AgentKey::read(&path).unwrap().public_jwk(),
        key.public_jwk()
    );
    assert_eq!(AgentKey::read(&path).unwrap().agent(), key.agent());

    let other = AgentKey::generate("research-bot".parse().unwrap());
    assert!(matches!(
        other.create(&path),
        Err(AgentKeyError::File(SecretFileError::Exists(_)))
    ));
    assert_eq!(
        AgentKey::read(&path).unwrap().public_jwk(),
        key.public_jwk()
    );
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );

    // As Kubernetes leaves a volume with `fsGroup`.
    for (mode, left) in [(0o640, 0o640), (0o440, 0o440), (0o660, 0o600)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        AgentKey::read(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            left
        );
    }
    for mode in [0o604, 0o606, 0o664, 0o644] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = AgentKey::read(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    assert!(matches!(
        AgentKey::read(directory.path()),
        Err(AgentKeyError::File(SecretFileError::NotAFile(_)))
    ));
    assert!(matches!(
        AgentKey::read(&directory.path().join("none")),
        Err(AgentKeyError::File(SecretFileError::Io { .. }))
    ));
    assert!(!format!("{key:?}").contains(&secret(&path)));
}

#[test]
fn other_content_is_no_agent_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    AgentKey::generate("research-bot".parse().unwrap())
        .create(&path)
        .unwrap();
    let jwk = json::parse(&std::fs::read(&path).unwrap(), 10_000).unwrap();
    let other = AgentKey::generate("research-bot".parse().unwrap()).public_jwk();
    for (name, value) in [
        ("kty", json!("EC")),
        ("crv", json!("X25519")),
        ("x", other["x"].clone()),
        ("d", json!("AA")),
        ("kid", json!("Research Bot")),
        ("extra", json!(1)),
    ] {
        let mut changed = jwk.clone();
        changed[name] = value;
        std::fs::write(&path, changed.to_string()).unwrap();
        assert!(
            matches!(AgentKey::read(&path), Err(AgentKeyError::Content(_))),
            "{name}"
        );
    }
    std::fs::write(&path, " ".repeat(5000)).unwrap();
    assert!(matches!(
        AgentKey::read(&path),
        Err(AgentKeyError::Content(_))
    ));
}

fn secret(path: &std::path::Path) -> String {
    let jwk = json::parse(&std::fs::read(path).unwrap(), 10_000).unwrap();
    jwk["d"].as_str().unwrap().to_owned()
}

#[test]
fn an_assertion_of_ours_is_short_lived() {
    let key = AgentKey::generate("research-bot".parse().unwrap());
    let text = key
        .assertion(&issuer(), now().minus(Duration::from_secs(71)))
        .unwrap();
    assert_eq!(
        verify(&[key.public_jwk()], &text),
        Err(AssertionReason::Expired)
    );
}
