//! Compact JWS with Ed25519 for hallpass's own documents: feed frames, key documents, agents' assertions.
//!
//! One algorithm (`EdDSA`), one header shape, the type checked first: a document of one kind can
//! never be taken for another (RFC 8725 section 3.11).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::base::{
    json,
    key::{PrivateKey, PublicKey},
};

/// Why a JWS was refused. The error repeats nothing of the content, which is untrusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Not three base64url parts, or a header other than the expected one.
    #[error("not a compact EdDSA JWS of the expected type")]
    Malformed,
    /// The signature does not match the key.
    #[error("the signature does not match")]
    Signature,
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as JSON")]
    Payload,
}

/// Signs `payload` as a compact JWS whose header names `typ` and, when given, `kid`.
///
/// # Errors
///
/// Only when `payload` cannot be written as JSON.
pub fn sign<T: Serialize>(
    key: &PrivateKey,
    typ: &str,
    kid: Option<&str>,
    payload: &T,
) -> Result<String, JwsError> {
    let header = Header {
        alg: EDDSA.to_owned(),
        typ: typ.to_owned(),
        kid: kid.map(str::to_owned),
    };
    let header = serde_json::to_vec(&header).map_err(|_| JwsError::Malformed)?;
    let payload = serde_json::to_vec(payload).map_err(|_| JwsError::Payload)?;
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    let signature = key.sign(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(text)
}

/// Checks `text` against `key` and returns its payload, as it was signed.
///
/// # Errors
///
/// Refuses every header but `alg` `EdDSA` with exactly this `typ`, unknown header members
/// (so also `crit`), any other number of parts, text over [`MAX_JWS_BYTES`], and a signature that
/// does not match.
pub fn verify(key: &PublicKey, typ: &str, text: &str) -> Result<Vec<u8>, JwsError> {
    let jws = split(text, MAX_JWS_BYTES)?;
    let header: Header =
        json::parse_as(&jws.header()?, MAX_HEADER_BYTES).map_err(|_| JwsError::Malformed)?;
    if header.alg != EDDSA || header.typ != typ {
        return Err(JwsError::Malformed);
    }
    if !key.verifies(jws.signed().as_bytes(), &jws.signature()?) {
        return Err(JwsError::Signature);
    }
    Ok(jws.payload()?)
}

/// Splits the compact form of a JWS (RFC 7515 section 7.1) into its three parts. Verifies nothing.
///
/// # Errors
///
/// Refuses text of more than `max_bytes`, and text that does not have three parts.
pub fn split(text: &str, max_bytes: usize) -> Result<Compact<'_>, CompactError> {
    if text.len() > max_bytes {
        return Err(CompactError::TooLong);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(CompactError::Parts)?;
    let (header, payload) = signed.split_once('.').ok_or(CompactError::Parts)?;
    if payload.contains('.') {
        return Err(CompactError::Parts);
    }
    Ok(Compact {
        signed,
        header,
        payload,
        signature,
    })
}

/// The three parts of a compact JWS. Nothing in them is verified.
///
/// Each part is decoded on demand, so that a caller can check the header before it decodes the rest.
#[derive(Clone, Copy)]
pub struct Compact<'t> {
    signed: &'t str,
    header: &'t str,
    payload: &'t str,
    signature: &'t str,
}

impl<'t> Compact<'t> {
    /// The bytes that the signature is over: the encoded header and payload with the dot between them.
    #[must_use]
    pub const fn signed(&self) -> &'t str {
        self.signed
    }

    /// The decoded header.
    ///
    /// # Errors
    ///
    /// [`CompactError::Encoding`] when it is not base64url without padding.
    pub fn header(&self) -> Result<Vec<u8>, CompactError> {
        decode(self.header)
    }

    /// The decoded payload.
    ///
    /// # Errors
    ///
    /// [`CompactError::Encoding`] when it is not base64url without padding.
    pub fn payload(&self) -> Result<Vec<u8>, CompactError> {
        decode(self.payload)
    }

    /// The decoded signature.
    ///
    /// # Errors
    ///
    /// [`CompactError::Encoding`] when it is not base64url without padding.
    pub fn signature(&self) -> Result<Vec<u8>, CompactError> {
        decode(self.signature)
    }
}

impl fmt::Debug for Compact<'_> {
    /// Never the content: a JWS may be a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compact").finish_non_exhaustive()
    }
}

/// Why text is not a compact JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// Longer than the caller's limit.
    #[error("{}", Self::TooLong.detail())]
    TooLong,
    /// Not three parts with a dot between them.
    #[error("{}", Self::Parts.detail())]
    Parts,
    /// A part is not strict base64url.
    #[error("{}", Self::Encoding.detail())]
    Encoding,
}

impl CompactError {
    /// The error as a fixed text.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::TooLong => "it is too long",
            Self::Parts => "not three parts",
            Self::Encoding => "not base64url without padding",
        }
    }
}

impl From<CompactError> for JwsError {
    fn from(_: CompactError) -> Self {
        Self::Malformed
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

fn decode(part: &str) -> Result<Vec<u8>, CompactError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| CompactError::Encoding)
}

const EDDSA: &str = "EdDSA";

/// A document is at most this long, in bytes: a snapshot of about 400,000 revocations.
pub const MAX_JWS_BYTES: usize = 32 * 1024 * 1024;

const MAX_HEADER_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_verifies_under_its_key_and_type_only() {
        let key = PrivateKey::from_seed(&[7; 32]);
        let text = sign(&key, "hallpass-feed+jwt", None, &json!({"a": 1})).unwrap();
        assert_eq!(
            verify(&key.public(), "hallpass-feed+jwt", &text).unwrap(),
            br#"{"a":1}"#
        );
        assert_eq!(
            verify(&key.public(), "hallpass-keys+jwt", &text).unwrap_err(),
            JwsError::Malformed
        );
        let other = PrivateKey::from_seed(&[8; 32]).public();
        assert_eq!(
            verify(&other, "hallpass-feed+jwt", &text).unwrap_err(),
            JwsError::Signature
        );
    }

    #[test]
    fn every_changed_character_is_refused() {
        let key = PrivateKey::from_seed(&[7; 32]);
        let text = sign(&key, "t", None, &json!({"a": 1})).unwrap();
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                verify(&key.public(), "t", &changed).is_err(),
                "character {place}"
            );
        }
    }

    #[test]
    fn the_compact_form_has_exactly_three_parts_of_strict_base64url() {
        let parts =
            |text| split(text, 16).map(|jws| (jws.header(), jws.payload(), jws.signature()));
        assert_eq!(
            parts("YQ.Yg.Yw"),
            Ok((Ok(b"a".into()), Ok(b"b".into()), Ok(b"c".into())))
        );
        assert_eq!(split("YQ.Yg.Yw", 16).unwrap().signed(), "YQ.Yg");
        assert_eq!(parts(".."), Ok((Ok(vec![]), Ok(vec![]), Ok(vec![]))));
        for no_parts in ["", "YQ", "YQ.Yg", "YQ.Yg.Yw.ZA", "...", "YQ.Yg.Yw."] {
            assert_eq!(split(no_parts, 16).unwrap_err(), CompactError::Parts);
        }
        assert_eq!(split("YQ.Yg.Yw", 7).unwrap_err(), CompactError::TooLong);
        // Padding, the other alphabet, blanks, an impossible length, and bits beyond the last byte.
        for part in ["YQ==", "+_8", "a/8", "Y Q", "YQ\n", "Y", "YR"] {
            let text = format!("{part}.Yg.Yw");
            let jws = split(&text, 16).unwrap();
            assert_eq!(jws.header(), Err(CompactError::Encoding), "{part}");
        }
        assert_eq!(format!("{:?}", split("YQ.Yg.Yw", 16)), "Ok(Compact { .. })");
    }

    #[test]
    fn other_algorithms_and_critical_headers_are_refused() {
        let key = PrivateKey::from_seed(&[7; 32]);
        for header in [
            r#"{"alg":"none","typ":"t"}"#,
            r#"{"alg":"HS256","typ":"t"}"#,
            r#"{"alg":"EdDSA","typ":"t","crit":["b64"]}"#,
            r#"{"alg":"EdDSA"}"#,
        ] {
            let signed = format!(
                "{}.{}",
                URL_SAFE_NO_PAD.encode(header),
                URL_SAFE_NO_PAD.encode("{}")
            );
            let signature = key.sign(signed.as_bytes());
            let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
            assert_eq!(
                verify(&key.public(), "t", &text).unwrap_err(),
                JwsError::Malformed,
                "{header}"
            );
        }
    }
}
