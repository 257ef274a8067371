//! Proofs of possession as nobody who means well would write them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_core::{
    base::{ReasonCode, digest::Digest, key::PrivateKey},
    token::PassToken,
};
use serde_json::{Value, json};

use crate::{Holders, SERVER, holders::holder};

/// A proof as a table writes it: header, claims, and the key that signs.
pub struct RawProof {
    pub header: Value,
    pub claims: Value,
}

impl RawProof {
    pub fn good(setup: &Holders, token: &PassToken) -> Self {
        let jwk = holder(&setup.planner).to_jwk();
        let claims = json!({"jti": "1", "htm": "POST", "htu": SERVER, "iat": setup.issuer.now().unix_seconds(),
            "ath": digest(token.expose())});
        Self {
            header: json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk}),
            claims,
        }
    }

    pub fn signed_by(&self, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&self.header), part(&self.claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
        format!("{text}.{signature}")
    }

    pub fn signed(&self, key: &PrivateKey) -> String {
        self.signed_by(|message| key.sign(message).to_vec())
    }
}

fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::of(text.as_bytes()).as_bytes())
}

const INVALID: ReasonCode = ReasonCode::ProofInvalid;

/// Makes one thing of a proof wrong.
pub type Spoil = fn(&mut RawProof);

/// What is wrong with a proof, the code of it, and how to make it so.
pub const SPOILED: &[(&str, ReasonCode, Spoil)] = &[
    ("another type", INVALID, |raw| {
        raw.header["typ"] = json!("jwt")
    }),
    ("no type", INVALID, |raw| {
        drop(raw.header.as_object_mut().unwrap().remove("typ"))
    }),
    ("no signature", INVALID, |raw| {
        raw.header["alg"] = json!("none")
    }),
    ("a symmetric algorithm", INVALID, |raw| {
        raw.header["alg"] = json!("HS256")
    }),
    ("another key's algorithm", INVALID, |raw| {
        raw.header["alg"] = json!("ES256")
    }),
    ("no key", INVALID, |raw| {
        drop(raw.header.as_object_mut().unwrap().remove("jwk"))
    }),
    ("a private key", INVALID, |raw| {
        raw.header["jwk"]["d"] = json!("AAAA")
    }),
    ("a symmetric key", INVALID, |raw| {
        raw.header["jwk"]["k"] = json!("AAAA")
    }),
    ("critical headers", INVALID, |raw| {
        raw.header["crit"] = json!(["exp"])
    }),
    ("an unencoded payload", INVALID, |raw| {
        raw.header["b64"] = json!(false)
    }),
    ("another key", ReasonCode::ProofKey, |raw| {
        raw.header["jwk"]["x"] = json!("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    }),
    ("no claim jti", INVALID, |raw| {
        drop(raw.claims.as_object_mut().unwrap().remove("jti"))
    }),
    ("no claim ath", INVALID, |raw| {
        drop(raw.claims.as_object_mut().unwrap().remove("ath"))
    }),
    ("no claim iat", INVALID, |raw| {
        drop(raw.claims.as_object_mut().unwrap().remove("iat"))
    }),
    ("no claim htm", INVALID, |raw| {
        drop(raw.claims.as_object_mut().unwrap().remove("htm"))
    }),
    ("no claim htu", INVALID, |raw| {
        drop(raw.claims.as_object_mut().unwrap().remove("htu"))
    }),
    ("an empty jti", INVALID, |raw| raw.claims["jti"] = json!("")),
    ("a long jti", INVALID, |raw| {
        raw.claims["jti"] = json!("x".repeat(257))
    }),
    ("a jti that is no text", INVALID, |raw| {
        raw.claims["jti"] = json!(1)
    }),
    ("a date in text", INVALID, |raw| {
        raw.claims["iat"] = json!("1763805600")
    }),
    ("a negative date", INVALID, |raw| {
        raw.claims["iat"] = json!(-1)
    }),
    ("a date beyond all", INVALID, |raw| {
        raw.claims["iat"] = json!(1e300)
    }),
    ("a call that is no digest", INVALID, |raw| {
        raw.claims["hallpass_call"] = json!("read_ledger")
    }),
    ("another token", ReasonCode::ProofToken, |raw| {
        raw.claims["ath"] = json!(digest("x"))
    }),
    ("a digest with padding", ReasonCode::ProofToken, |raw| {
        raw.claims["ath"] = json!(format!("{}=", raw.claims["ath"].as_str().unwrap()));
    }),
    ("another method", ReasonCode::ProofTarget, |raw| {
        raw.claims["htm"] = json!("GET")
    }),
    ("the method in lower case", ReasonCode::ProofTarget, |raw| {
        raw.claims["htm"] = json!("post")
    }),
    ("another path", ReasonCode::ProofTarget, |raw| {
        raw.claims["htu"] = json!("https://ledger.example/admin")
    }),
    ("another host", ReasonCode::ProofTarget, |raw| {
        raw.claims["htu"] = json!("https://ledger.example.evil/mcp")
    }),
    ("a host behind a user", ReasonCode::ProofTarget, |raw| {
        raw.claims["htu"] = json!("https://ledger.example@evil/mcp")
    }),
    ("another scheme", ReasonCode::ProofTarget, |raw| {
        raw.claims["htu"] = json!("http://ledger.example/mcp")
    }),
    ("a minute and more ago", ReasonCode::ProofTime, |raw| {
        raw.claims["iat"] = json!(raw.claims["iat"].as_u64().unwrap() - 61)
    }),
    ("more than seconds ahead", ReasonCode::ProofTime, |raw| {
        raw.claims["iat"] = json!(raw.claims["iat"].as_u64().unwrap() + 6)
    }),
];
