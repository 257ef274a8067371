//! Proofs of possession: any text, changed proofs, and changed headers and claims signed anew.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_core::{
    base::{ReasonCode, digest::Digest},
    possession::{Presented, ProofContent, sign_proof},
    token::PassToken,
};
use hallpass_verify::Verifier;
use serde_json::{Value, json};

use crate::fuzz::{
    corpus,
    forge::{HOLDER, STRANGER, jws, key},
    fuzz,
    input::Input,
};
use support::{Issuer, SERVER};

/// A bound pass of the corpus and one verifier, which is renewed before it has no more room.
struct ProofTarget {
    issuer: Issuer,
    verifier: Verifier,
    taken: usize,
    token: PassToken,
    seeds: Vec<Value>,
}

impl ProofTarget {
    fn new() -> Self {
        let (issuer, verifier) = a_minute_old();
        let token = std::fs::read_to_string(corpus::directory("tokens").join("bound")).unwrap();
        let token = PassToken::from_text(token);
        let mut seeds = corpus::json("proofs");
        for seed in &mut seeds {
            seed["claims"]["ath"] = json!(encode(Digest::of(token.expose().as_bytes()).as_bytes()));
        }
        Self {
            issuer,
            verifier,
            taken: 0,
            token,
            seeds,
        }
    }

    fn takes(&mut self, proof: &str) -> bool {
        let presented = Presented::new(proof, "POST");
        let answer = self
            .verifier
            .verify_with_proof(self.token.expose(), &presented);
        if let Err(denial) = &answer {
            assert!(
                denial.code() != ReasonCode::ProofRequired
                    && !denial.to_string().contains(proof_or_all(proof))
            );
            return false;
        }
        let again = self
            .verifier
            .verify_with_proof(self.token.expose(), &presented)
            .unwrap_err();
        assert_eq!(again.code(), ReasonCode::ProofReplayed);
        self.taken += 1;
        if self.taken.is_multiple_of(10_000) {
            (self.issuer, self.verifier) = a_minute_old();
        }
        true
    }
}

/// A verifier that remembers the proofs of the last minute, so that one may be as old.
fn a_minute_old() -> (Issuer, Verifier) {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    issuer.clock.advance(Duration::from_secs(60));
    issuer.tell(&verifier, issuer.frame());
    (issuer, verifier)
}

/// A part of a proof long enough not to be in a sentence by chance.
fn proof_or_all(proof: &str) -> &str {
    if proof.len() > 40 {
        proof
    } else {
        "\u{10ffff}"
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// RFC 9449 once more, by whoever reads the test: what a proof that was taken says.
fn is_right(setup: &ProofTarget, header: &[u8], claims: &[u8]) -> bool {
    let (Ok(header), Ok(claims)) = (
        serde_json::from_slice::<Value>(header),
        serde_json::from_slice::<Value>(claims),
    ) else {
        return false;
    };
    let now = setup.issuer.now().unix_seconds() as f64;
    let own = serde_json::to_value(key(HOLDER).public().to_jwk()).unwrap();
    let jwk = &header["jwk"];
    let is_own = ["kty", "crv", "x"]
        .iter()
        .all(|name| jwk[name] == own[name]);
    let url = claims["htu"].as_str().unwrap_or_default();
    let url = url
        .split(['?', '#'])
        .next()
        .unwrap()
        .to_ascii_lowercase()
        .replacen(":443/", "/", 1);
    header["typ"] == "dpop+jwt"
        && (header["alg"] == "EdDSA" || header["alg"] == "Ed25519")
        && header.get("crit").is_none()
        && header.get("b64").is_none()
        && is_own
        && jwk.get("d").is_none()
        && claims["htm"] == "POST"
        && url == SERVER
        && claims["ath"] == encode(Digest::of(setup.token.expose().as_bytes()).as_bytes())
        && claims["iat"]
            .as_f64()
            .is_some_and(|iat| iat >= now - 60.0 && iat < now + 5.001)
        && claims["jti"]
            .as_str()
            .is_some_and(|jti| (1..=256).contains(&jti.len()))
}

#[test]
fn the_seeds_are_good() {
    let mut setup = ProofTarget::new();
    let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
    let signed = |seed: &Value| jws(HOLDER, &bytes(&seed["header"]), &bytes(&seed["claims"]));
    let proofs: Vec<String> = setup.seeds.iter().map(signed).collect();
    for ((name, _), proof) in corpus::files("proofs").iter().zip(&proofs) {
        assert_eq!(setup.takes(proof), !name.starts_with("bad_"), "{name}");
    }
}

#[test]
fn a_proof_is_taken_once_and_only_when_its_holder_signed_what_the_rfc_asks_for() {
    let seeds = corpus::files("proofs").len();
    fuzz!(
        "proofs",
        seeds,
        ProofTarget::new(),
        |setup: &mut ProofTarget, input: &mut Input<'_>| {
            let (header, claims) = input.jws_parts(&setup.seeds);
            let proof = jws(HOLDER, &header, &claims);
            if setup.takes(&proof) {
                let header = String::from_utf8_lossy(&header);
                assert!(
                    is_right(setup, header.as_bytes(), &claims),
                    "{header}.{}",
                    String::from_utf8_lossy(&claims)
                );
            }
            assert!(
                !setup.takes(&jws(STRANGER, &header, &claims)),
                "somebody else's signature"
            );
            // Texts: one that is right, changed anywhere, is another or refused.
            let now = setup.issuer.now();
            let content = ProofContent {
                token: setup.token.expose(),
                method: "POST",
                url: SERVER,
                now,
                nonce: None,
                call: None,
            };
            let right = sign_proof(&key(HOLDER), &content).unwrap();
            let changed = input.seed(&[right.as_bytes()]);
            let changed = String::from_utf8_lossy(&changed).into_owned();
            let taken = setup.takes(&changed);
            assert_eq!(taken, changed == right, "{changed}");
            assert!(!setup.takes(&String::from_utf8_lossy(input.rest())));
        }
    );
}
