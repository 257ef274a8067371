//! A holder with a P-256 key, as browsers have: a stock DPoP client.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_core::{
    base::{digest::Digest, holder::HolderKey},
    possession::ProofContent,
};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::{Value, json};

pub fn holder() -> HolderKey {
    HolderKey::from_jwk(&jwk()).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_slice(&[9; 32]).unwrap()
}

fn jwk() -> Value {
    let point = key().verifying_key().to_encoded_point(false);
    let coordinate = |bytes: Option<&p256::FieldBytes>| URL_SAFE_NO_PAD.encode(bytes.unwrap());
    json!({"kty": "EC", "crv": "P-256", "x": coordinate(point.x()), "y": coordinate(point.y())})
}

/// Only Ed25519 holders have a function for it in hallpass.
pub fn sign_proof(content: &ProofContent<'_>) -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static PROOFS: AtomicUsize = AtomicUsize::new(0);

    let digest = |digest: Digest| URL_SAFE_NO_PAD.encode(digest.as_bytes());
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk()});
    let mut claims = json!({"jti": format!("p256-{}", PROOFS.fetch_add(1, Ordering::Relaxed)), "htm": content.method,
        "htu": content.url, "iat": content.now.unix_seconds(), "ath": digest(Digest::of(content.token.as_bytes()))});
    if let Some(call) = content.call {
        claims["hallpass_call"] = json!(digest(call));
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let signature: Signature = key().sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}
