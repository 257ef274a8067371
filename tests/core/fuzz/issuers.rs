//! Trusted issuers: any key set, any JWT, and changed headers and claims that the issuer's key did sign.

use hallpass_broker::identity::issuer::{
    ForeignJwt, IdJag, KeySet, Person, TrustedIssuer, TrustedKind, Workload,
};
use hallpass_core::base::{ids::IssuerUri, time::Timestamp};
use serde_json::{Value, json};

use crate::fuzz::{
    corpus,
    forge::{HOLDER, STRANGER, jws, key},
    fuzz,
    input::Input,
};
use support::ISSUER;

struct IssuerTarget {
    trusted: TrustedIssuer,
    keys: KeySet,
    own: IssuerUri,
    now: Timestamp,
    seeds: Vec<Value>,
}

/// What a JWT was believed to be.
#[derive(Debug, PartialEq)]
enum Believed {
    IdToken,
    Workload,
    IdJag,
}

impl IssuerTarget {
    fn new() -> Self {
        let settings = json!({
            "issuer": "https://idp.example", "kinds": ["id_token", "workload", "id_jag"], "client_ids": ["web-app"],
            "subjects": {"ns:*:bot": "bot"},
        });
        Self {
            trusted: TrustedIssuer::new(serde_json::from_value(settings).unwrap()).unwrap(),
            keys: KeySet::from_json(&json!({"keys": [jwk(HOLDER, "one")]})).unwrap(),
            own: ISSUER.parse().unwrap(),
            now: "2026-11-22T10:00:00Z".parse().unwrap(),
            seeds: corpus::json("issuers"),
        }
    }

    /// As everything that this JWT is believed to be.
    fn believed(&self, text: &str) -> Vec<Believed> {
        let genuine = |kind| {
            ForeignJwt::read(text)
                .ok()?
                .verify((&self.trusted, kind), &self.keys)
                .ok()
        };
        let id_token =
            genuine(TrustedKind::IdToken).and_then(|jwt| Person::of_id_token(&jwt, self.now).ok());
        let workload = genuine(TrustedKind::Workload)
            .and_then(|jwt| Workload::read(&jwt, &self.own, self.now).ok());
        let id_jag =
            genuine(TrustedKind::IdJag).and_then(|jwt| IdJag::read(&jwt, &self.own, self.now).ok());
        if let Some(jag) = &id_jag {
            assert!(
                jag.expires_at > self.now,
                "its `jti` would be forgotten while it is good"
            );
            assert!(!jag.resources.is_empty());
        }
        [
            id_token.map(|_| Believed::IdToken),
            workload.map(|_| Believed::Workload),
            id_jag.map(|_| Believed::IdJag),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn jwk(number: u8, kid: &str) -> Value {
    let jwk = key(number).public().to_jwk();
    json!({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "kid": kid, "use": "sig", "alg": "EdDSA", "x5c": ["MIIB"]})
}

/// What every kind has to have, once more.
fn is_right(header: &Value, claims: &Value, now: u64) -> bool {
    let second = |name: &str| {
        claims.get(name).map(|value| {
            let number = value.as_f64().filter(|number| *number >= 0.0);
            number.map_or(u64::MAX, |number| number as u64)
        })
    };
    let only = |name: &String| ["alg", "typ", "kid", "x5t", "x5t#S256"].contains(&name.as_str());
    (header["alg"] == "EdDSA" || header["alg"] == "Ed25519")
        && header
            .as_object()
            .is_some_and(|members| members.keys().all(only))
        && header
            .get("kid")
            .is_none_or(|kid| kid.is_null() || kid == "one")
        && claims["iss"] == "https://idp.example"
        && claims["sub"].as_str().is_some_and(|sub| !sub.is_empty())
        && second("exp").is_some_and(|exp| exp > now - 10 && exp <= now + 2 * 3600 + 10)
        && second("nbf").is_none_or(|nbf| nbf <= now + 10)
        && second("iat").is_none_or(|iat| iat <= now + 10)
}

#[test]
fn the_seeds_are_good() {
    let setup = IssuerTarget::new();
    let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
    let signed = |seed: &Value| jws(HOLDER, &bytes(&seed["header"]), &bytes(&seed["claims"]));
    let believed: Vec<_> = setup
        .seeds
        .iter()
        .map(|seed| setup.believed(&signed(seed)))
        .collect();
    assert_eq!(
        believed,
        [
            vec![Believed::IdJag],
            vec![Believed::IdToken],
            vec![],
            vec![Believed::Workload]
        ]
    );
}

#[test]
fn a_jwt_is_accepted_as_one_kind_and_only_when_the_issuer_signed_the_right_claims() {
    let seeds = corpus::files("issuers").len();
    fuzz!(
        "issuers",
        seeds,
        IssuerTarget::new(),
        |setup: &mut IssuerTarget, input: &mut Input<'_>| {
            let (header, claims) = input.jws_parts(&setup.seeds);
            let text = jws(HOLDER, &header, &claims);
            let believed = setup.believed(&text);
            assert!(believed.len() <= 1, "{believed:?}");
            if !believed.is_empty() {
                let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
                let claimed = String::from_utf8_lossy(&claims);
                assert!(
                    is_right(&read(&header), &read(&claims), setup.now.unix_seconds()),
                    "{claimed}"
                );
                let is_jag = read(&header)["typ"] == "oauth-id-jag+jwt";
                assert_eq!(is_jag, believed == [Believed::IdJag], "{claimed}");
            }
            assert!(
                setup.believed(&jws(STRANGER, &header, &claims)).is_empty(),
                "somebody else's signature"
            );
            let changed = input.seed(&[text.as_bytes()]);
            let changed = String::from_utf8_lossy(&changed);
            assert!(
                changed == text || setup.believed(&changed).is_empty(),
                "nobody signed {changed}"
            );
            assert!(
                setup
                    .believed(&String::from_utf8_lossy(input.rest()))
                    .is_empty()
            );
        }
    );
}

#[test]
fn a_key_set_has_only_what_verifies() {
    let sets = [
        json!({"keys": [jwk(HOLDER, "one"), jwk(STRANGER, "two")]}),
        json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "one"}, {"kty": "oct", "k": "AAAA", "kid": "one"}]}),
        json!({"keys": []}),
    ];
    fuzz!(
        "key_sets",
        sets.len(),
        IssuerTarget::new(),
        |setup: &mut IssuerTarget, input: &mut Input<'_>| {
            let set = input.json_seed(&sets);
            let Ok(keys) = KeySet::from_json(&set) else {
                return;
            };
            let header = br#"{"alg":"EdDSA","kid":"one"}"#;
            let claims = br#"{"iss":"https://idp.example"}"#;
            let jwt = jws(HOLDER, header, claims);
            let verified = ForeignJwt::read(&jwt)
                .unwrap()
                .verify((&setup.trusted, TrustedKind::Workload), &keys)
                .is_ok();
            let x = &jwk(HOLDER, "one")["x"];
            let listed = set["keys"]
                .as_array()
                .unwrap()
                .iter()
                .any(|key| key["x"] == *x && key["kid"] == "one");
            assert!(listed || !verified, "a key that is not in {set} verified");
        }
    );
}
