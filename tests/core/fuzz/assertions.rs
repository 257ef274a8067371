//! Agents' assertions: any text, and changed headers and claims that the agent's key did sign.

use std::sync::Arc;

use hallpass_broker::identity::{AssertionError, RegisteredKey, VerifiedAssertion, assertion};
use hallpass_core::base::{ids::AgentId, time::Timestamp};
use serde_json::{Value, json};

use crate::fuzz::{
    corpus,
    forge::{HOLDER, STRANGER, jws, key},
    fuzz,
    input::Input,
};
use support::ISSUER;

struct AssertionTarget {
    keys: Arc<[RegisteredKey]>,
    now: Timestamp,
    seeds: Vec<Value>,
}

impl AssertionTarget {
    fn new() -> Self {
        let jwk = key(HOLDER).public().to_jwk();
        let jwk = json!({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x});
        Self {
            keys: RegisteredKey::from_jwks(&[jwk]).unwrap().into(),
            now: "2026-11-22T10:00:00Z".parse().unwrap(),
            seeds: corpus::json("assertions"),
        }
    }

    fn verify(&self, text: &str) -> Result<VerifiedAssertion, AssertionError> {
        let lookup =
            |agent: &AgentId| (agent.as_str() == "research-bot").then(|| Arc::clone(&self.keys));
        assertion::verify(text, lookup, &ISSUER.parse().unwrap(), self.now)
    }
}

/// RFC 7523 as hallpass narrows it, once more.
fn is_right(header: &Value, claims: &Value, now: u64) -> bool {
    // A time that is there and is no number of seconds is as wrong as one out of range.
    let second = |name: &str| {
        claims.get(name).map(|value| {
            let number = value.as_f64().filter(|number| *number >= 0.0);
            number.map_or(u64::MAX, |number| number as u64)
        })
    };
    let skew = 10;
    let only = |name: &String| ["alg", "typ", "kid", "x5t", "x5t#S256"].contains(&name.as_str());
    (header["alg"] == "EdDSA" || header["alg"] == "Ed25519")
        && header
            .as_object()
            .is_some_and(|members| members.keys().all(only))
        && claims["iss"] == "research-bot"
        && claims["sub"] == "research-bot"
        && [json!(ISSUER), json!(format!("{ISSUER}/"))]
            .iter()
            .any(|own| claims["aud"] == *own || claims["aud"] == json!([own]))
        && claims["jti"].as_str().is_some_and(|jti| !jti.is_empty())
        && second("exp").is_some_and(|exp| exp > now - skew && exp <= now + 300 + skew)
        && second("nbf").is_none_or(|nbf| nbf <= now + skew)
        && second("iat").is_none_or(|iat| iat <= now + skew)
}

#[test]
fn the_seeds_are_good() {
    let setup = AssertionTarget::new();
    let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
    let signed = |seed: &Value| jws(HOLDER, &bytes(&seed["header"]), &bytes(&seed["claims"]));
    let believed: Vec<bool> = setup
        .seeds
        .iter()
        .map(|seed| setup.verify(&signed(seed)).is_ok())
        .collect();
    assert_eq!(believed, [false, false, true, true]);
}

#[test]
fn an_assertion_is_accepted_only_when_the_agent_signed_the_right_claims() {
    let seeds = corpus::files("assertions").len();
    fuzz!(
        "assertions",
        seeds,
        AssertionTarget::new(),
        |setup: &mut AssertionTarget, input: &mut Input<'_>| {
            let (header, claims) = input.jws_parts(&setup.seeds);
            let text = jws(HOLDER, &header, &claims);
            let answer = setup.verify(&text);
            if let Ok(verified) = &answer {
                let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
                assert!(
                    is_right(&read(&header), &read(&claims), setup.now.unix_seconds()),
                    "{}",
                    String::from_utf8_lossy(&claims)
                );
                assert_eq!(verified.agent.as_str(), "research-bot");
                assert!(
                    verified.expires_at > setup.now,
                    "its `jti` would be forgotten while it is good"
                );
            }
            assert!(
                setup.verify(&jws(STRANGER, &header, &claims)).is_err(),
                "somebody else's signature"
            );
            let changed = input.seed(&[text.as_bytes()]);
            let changed = String::from_utf8_lossy(&changed);
            let again = setup.verify(&changed);
            assert!(changed == text || again.is_err(), "nobody signed {changed}");
            // Whatever the reason, outside it reads the same.
            let said =
                |answer: &Result<_, AssertionError>| answer.as_ref().err().map(ToString::to_string);
            if let (Some(one), Some(two)) = (said(&answer), said(&setup.verify(""))) {
                assert_eq!(one, two);
            }
            assert!(
                setup
                    .verify(&String::from_utf8_lossy(input.rest()))
                    .is_err()
            );
        }
    );
}
