//! Keys at rest: private key files encrypted under a passphrase or a key of the environment's.
//!
//! An encrypted key file is a compact JWE (RFC 7516) around the private JWK, as RFC 7517 section 7
//! describes: other tools that know the standard can open it. The content is encrypted with
//! AES-256-GCM; its key is wrapped with AES (A256KW) under the given key, or under one that
//! PBKDF2 makes of the passphrase (PBES2-HS512+A256KW, RFC 7518 section 4.8).

use std::{fmt, num::NonZeroU32};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    key_wrap::{AES_256, AesKek, KeyWrap as _},
    pbkdf2::{self, PBKDF2_HMAC_SHA512},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use hallpass_core::base::{json, random};

/// What private key files are encrypted under.
pub struct KeyProtection(Secret);

enum Secret {
    Passphrase(Zeroizing<String>),
    Key(Zeroizing<[u8; KEY_BYTES]>),
}

/// Something that key files cannot be protected with, or a file that it does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtectionError {
    /// Too short to protect anything.
    #[error("the passphrase has fewer than {MIN_PASSPHRASE} characters: choose a longer one")]
    WeakPassphrase,
    /// Not a key.
    #[error(
        "expected 32 bytes in base64url, as `openssl rand 32 | basenc --base64url | tr -d =` makes them"
    )]
    NotAKey,
    /// Not in a form that this build writes.
    #[error("it is not encrypted in a way that this build knows")]
    Form,
    /// Encrypted with the other of passphrase and key.
    #[error("it is encrypted under a {0}, and the other was given")]
    OtherKind(&'static str),
    /// Encrypted under another one, or damaged.
    #[error(
        "the passphrase or key is another one than it was encrypted under, or the file is damaged"
    )]
    Secret,
    /// The library refused; it never does.
    #[error("the cryptographic library refused")]
    Library,
}

impl KeyProtection {
    /// Protects with a passphrase of at least [`MIN_PASSPHRASE`] characters; white space around it
    /// does not count.
    ///
    /// # Errors
    ///
    /// [`ProtectionError::WeakPassphrase`].
    pub fn passphrase(text: &str) -> Result<Self, ProtectionError> {
        let text = text.trim();
        if text.chars().count() < MIN_PASSPHRASE {
            return Err(ProtectionError::WeakPassphrase);
        }
        Ok(Self(Secret::Passphrase(Zeroizing::new(text.to_owned()))))
    }

    /// Protects with 32 random bytes, given as base64url without padding.
    ///
    /// # Errors
    ///
    /// [`ProtectionError::NotAKey`].
    pub fn key(text: &str) -> Result<Self, ProtectionError> {
        let bytes = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(text.trim())
                .map_err(|_| ProtectionError::NotAKey)?,
        );
        let bytes =
            <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| ProtectionError::NotAKey)?;
        Ok(Self(Secret::Key(Zeroizing::new(bytes))))
    }

    /// Encrypts `content`.
    pub(crate) fn seal(&self, content: &str) -> Result<String, ProtectionError> {
        let header = match &self.0 {
            Secret::Key(_) => Header::new(WRAPPED, None, None),
            Secret::Passphrase(_) => {
                let salt = URL_SAFE_NO_PAD.encode(*random::bytes::<SALT_BYTES>());
                Header::new(FROM_PASSPHRASE, Some(salt), Some(ITERATIONS))
            }
        };
        let kek = self.wrapping_key(&header)?;
        let content_key = random::bytes::<KEY_BYTES>();
        let mut wrapped = [0; WRAPPED_BYTES];
        kek.wrap(content_key.as_slice(), &mut wrapped)
            .map_err(|_| ProtectionError::Library)?;
        let header = serde_json::to_vec(&header).map_err(|_| ProtectionError::Library)?;
        let header = URL_SAFE_NO_PAD.encode(header);
        let nonce = random::bytes::<NONCE_BYTES>();
        let mut sealed = content.as_bytes().to_vec();
        let tag = cipher(&content_key)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(header.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| ProtectionError::Library)?;
        let parts: [&[u8]; 4] = [&wrapped, nonce.as_slice(), &sealed, tag.as_ref()];
        Ok(parts.iter().fold(header, |text, part| {
            text + "." + &URL_SAFE_NO_PAD.encode(part)
        }))
    }

    /// Decrypts what [`seal`](Self::seal) wrote.
    pub(crate) fn open(&self, sealed: &str) -> Result<Zeroizing<String>, ProtectionError> {
        let form = |_| ProtectionError::Form;
        let parts: Vec<&str> = sealed.trim().split('.').collect();
        let [header_text, wrapped, nonce, content, tag] = parts[..] else {
            return Err(ProtectionError::Form);
        };
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(form);
        let header: Header = json::parse_as(&decoded(header_text)?, MAX_HEADER_BYTES)
            .map_err(|_| ProtectionError::Form)?;
        let kek = self.wrapping_key(&header)?;
        let mut content_key = Zeroizing::new([0; KEY_BYTES]);
        let unwrapped = kek.unwrap(&decoded(wrapped)?, content_key.as_mut_slice());
        unwrapped.map_err(|_| ProtectionError::Secret)?;
        let nonce =
            <[u8; NONCE_BYTES]>::try_from(decoded(nonce)?).map_err(|_| ProtectionError::Form)?;
        let mut content = Zeroizing::new(decoded(content)?);
        content.extend_from_slice(&decoded(tag)?);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = cipher(&content_key)?
            .open_in_place(nonce, Aad::from(header_text.as_bytes()), &mut content)
            .map_err(|_| ProtectionError::Secret)?;
        str::from_utf8(opened)
            .map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| ProtectionError::Form)
    }

    /// The key that the content's key is wrapped under.
    fn wrapping_key(&self, header: &Header) -> Result<AesKek, ProtectionError> {
        if header.enc != CONTENT {
            return Err(ProtectionError::Form);
        }
        let kek = |key: &[u8; KEY_BYTES]| {
            AesKek::new(&AES_256, key).map_err(|_| ProtectionError::Library)
        };
        match (
            &self.0,
            header.alg.as_str(),
            header.p2s.as_deref(),
            header.p2c,
        ) {
            (Secret::Key(key), WRAPPED, None, None) => kek(key),
            (Secret::Passphrase(passphrase), FROM_PASSPHRASE, Some(salt), Some(iterations)) => {
                // Too few say nothing, and too many keep a start waiting for ever.
                let iterations =
                    Some(iterations).filter(|count| (1_000..=10_000_000).contains(count));
                let iterations = iterations
                    .and_then(NonZeroU32::new)
                    .ok_or(ProtectionError::Form)?;
                let salt = URL_SAFE_NO_PAD
                    .decode(salt)
                    .map_err(|_| ProtectionError::Form)?;
                let salt = [FROM_PASSPHRASE.as_bytes(), &[0], &salt].concat();
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                pbkdf2::derive(
                    PBKDF2_HMAC_SHA512,
                    iterations,
                    &salt,
                    passphrase.as_bytes(),
                    key.as_mut_slice(),
                );
                kek(&key)
            }
            (Secret::Passphrase(_), WRAPPED, ..) => Err(ProtectionError::OtherKind("key")),
            (Secret::Key(_), FROM_PASSPHRASE, ..) => Err(ProtectionError::OtherKind("passphrase")),
            _ => Err(ProtectionError::Form),
        }
    }
}

impl fmt::Debug for KeyProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Secret::Passphrase(_) => "KeyProtection(passphrase)",
            Secret::Key(_) => "KeyProtection(key)",
        })
    }
}

/// Whether the content of a key file is encrypted: a JWK is an object, a compact JWE is none.
pub(crate) fn is_sealed(content: &str) -> bool {
    !content.trim_start().starts_with('{')
}

fn cipher(key: &[u8; KEY_BYTES]) -> Result<LessSafeKey, ProtectionError> {
    UnboundKey::new(&AES_256_GCM, key)
        .map(LessSafeKey::new)
        .map_err(|_| ProtectionError::Library)
}

/// The protected header (RFC 7516 section 4.1, RFC 7518 section 4.8.1).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    enc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cty: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p2s: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p2c: Option<u32>,
}

impl Header {
    fn new(alg: &str, p2s: Option<String>, p2c: Option<u32>) -> Self {
        Self {
            alg: alg.to_owned(),
            enc: CONTENT.to_owned(),
            cty: Some("jwk+json".to_owned()),
            p2s,
            p2c,
        }
    }
}

/// A shorter passphrase is refused, in characters.
pub const MIN_PASSPHRASE: usize = 12;

const FROM_PASSPHRASE: &str = "PBES2-HS512+A256KW";
const WRAPPED: &str = "A256KW";
const CONTENT: &str = "A256GCM";
/// What OWASP's password storage cheat sheet asks of PBKDF2 with SHA-512.
const ITERATIONS: u32 = 210_000;
const KEY_BYTES: usize = 32;
const WRAPPED_BYTES: usize = KEY_BYTES + 8;
const NONCE_BYTES: usize = 12;
const SALT_BYTES: usize = 16;
const MAX_HEADER_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT_TEXT: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"…","d":"secret"}"#;

    fn keys() -> [KeyProtection; 2] {
        [
            KeyProtection::passphrase("correct horse battery").unwrap(),
            KeyProtection::key(&URL_SAFE_NO_PAD.encode([7; 32])).unwrap(),
        ]
    }

    #[test]
    fn what_is_sealed_opens_again_and_shows_nothing() {
        for protection in keys() {
            let sealed = protection.seal(CONTENT_TEXT).unwrap();
            assert!(is_sealed(&sealed) && !is_sealed(CONTENT_TEXT));
            assert!(!sealed.contains("secret"));
            assert_eq!(protection.open(&sealed).unwrap().as_str(), CONTENT_TEXT);
            assert_ne!(
                protection.seal(CONTENT_TEXT).unwrap(),
                sealed,
                "nothing is sealed twice alike"
            );
            assert!(!format!("{protection:?}").contains("horse"));
        }
    }

    #[test]
    fn another_secret_and_a_changed_file_open_nothing() {
        let [passphrase, key] = keys();
        let other = KeyProtection::passphrase("correct horse batterx").unwrap();
        let other_key = KeyProtection::key(&URL_SAFE_NO_PAD.encode([8; 32])).unwrap();
        let (by_passphrase, by_key) = (
            passphrase.seal(CONTENT_TEXT).unwrap(),
            key.seal(CONTENT_TEXT).unwrap(),
        );
        assert_eq!(
            other.open(&by_passphrase).unwrap_err(),
            ProtectionError::Secret
        );
        assert_eq!(
            other_key.open(&by_key).unwrap_err(),
            ProtectionError::Secret
        );
        assert_eq!(
            key.open(&by_passphrase).unwrap_err(),
            ProtectionError::OtherKind("passphrase")
        );
        assert_eq!(
            passphrase.open(&by_key).unwrap_err(),
            ProtectionError::OtherKind("key")
        );
        for at in 0..by_key.len() {
            let mut bytes = by_key.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            // The last digit of a part may stand for bits that no byte has; then it does not decode.
            assert!(
                key.open(&String::from_utf8(bytes).unwrap()).is_err(),
                "changed at {at}"
            );
        }
        for text in ["", "....", "{}", CONTENT_TEXT, &by_key[..by_key.len() - 30]] {
            assert!(key.open(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_that_would_take_for_ever_or_was_made_carelessly_is_refused() {
        let [passphrase, _] = keys();
        for count in [1, 999, 10_000_001, u32::MAX] {
            let header = Header::new(FROM_PASSPHRASE, Some("AAAA".to_owned()), Some(count));
            assert_eq!(
                passphrase.wrapping_key(&header).err(),
                Some(ProtectionError::Form),
                "{count}"
            );
        }
    }

    #[test]
    fn weak_passphrases_and_what_is_no_key_are_refused() {
        assert_eq!(
            KeyProtection::passphrase("  short       ").unwrap_err(),
            ProtectionError::WeakPassphrase
        );
        for text in [
            "",
            "AAAA",
            &"A".repeat(44),
            "not base64url at all, not even nearly so",
        ] {
            assert_eq!(
                KeyProtection::key(text).unwrap_err(),
                ProtectionError::NotAKey,
                "{text}"
            );
        }
    }
}
