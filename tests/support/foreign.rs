//! Agents outside hallpass: keys of every kind that is registered, and a standard library to sign with.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// An agent outside hallpass, with a standard library: one key of one kind.
pub struct Foreign {
    pub algorithm: Algorithm,
    private: Private,
    pub jwk: Value,
    pub public_der: Vec<u8>,
}

enum Private {
    Library(EncodingKey),
    /// The library takes RSA keys in a form that the key's maker does not write.
    Rsa(RsaKeyPair),
}

impl Foreign {
    pub fn ed25519() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        Self {
            algorithm: Algorithm::EdDSA,
            private: Private::Library(EncodingKey::from_ed_der(pkcs8.as_ref())),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
            public_der: pair.public_key().as_ref().to_vec(),
        }
    }

    pub fn p256() -> Self {
        let signing = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        Self {
            algorithm: Algorithm::ES256,
            private: Private::Library(EncodingKey::from_ec_der(pkcs8.as_ref())),
            jwk: json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])}),
            public_der: point.to_vec(),
        }
    }

    pub fn p384() -> Self {
        let signing = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref()).unwrap();
        let point = pair.public_key().as_ref();
        Self {
            algorithm: Algorithm::ES384,
            private: Private::Library(EncodingKey::from_ec_der(pkcs8.as_ref())),
            jwk: json!({"kty": "EC", "crv": "P-384", "x": b64(&point[1..49]), "y": b64(&point[49..])}),
            public_der: point.to_vec(),
        }
    }

    pub fn rsa() -> Self {
        let pair = RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let components = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        Self {
            algorithm: Algorithm::RS256,
            jwk: json!({"kty": "RSA", "n": b64(&components.n), "e": b64(&components.e)}),
            public_der: pair.public_key().as_ref().to_vec(),
            private: Private::Rsa(pair),
        }
    }

    /// An RSA key that signs in the other way.
    pub fn pss() -> Self {
        let mut key = Self::rsa();
        key.algorithm = Algorithm::PS256;
        key.jwk["alg"] = json!("PS256");
        key
    }

    pub fn all() -> [Self; 5] {
        [
            Self::ed25519(),
            Self::p256(),
            Self::rsa(),
            Self::p384(),
            Self::pss(),
        ]
    }

    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
        let signature = match &self.private {
            Private::Library(key) => {
                jsonwebtoken::crypto::sign(signed.as_bytes(), key, self.algorithm).unwrap()
            }
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &dyn signature::RsaEncoding = match self.algorithm {
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                pair.sign(
                    padding,
                    &SystemRandom::new(),
                    signed.as_bytes(),
                    &mut signature,
                )
                .unwrap();
                b64(&signature)
            }
        };
        format!("{signed}.{signature}")
    }

    pub fn header(&self) -> String {
        format!(r#"{{"alg":"{:?}"}}"#, self.algorithm)
    }
}

pub fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
