//! PKCE (RFC 7636): whoever redeems a code shows that it is the one who asked for it. `S256` only.

use crate::base::digest::Digest;

/// The digest that a verifier must have: `code_challenge`, read.
///
/// # Errors
///
/// Refuses an absent challenge, every method but `S256` (so an absent one, which stands for
/// `plain`), and what is not the base64url of 32 bytes, without padding.
pub fn challenge(challenge: Option<&str>, method: Option<&str>) -> Result<Digest, PkceError> {
    // SECURITY: `plain` would make the challenge itself the secret, which the browser's history has.
    if method != Some(S256) {
        return Err(PkceError::Method);
    }
    challenge.and_then(Digest::from_base64url).ok_or(PkceError::Challenge)
}

/// The digest of `code_verifier`: what the challenge of its code must be.
///
/// # Errors
///
/// Refuses what is not 43 to 128 unreserved characters (RFC 7636 section 4.1).
pub fn verifier(text: &str) -> Result<Digest, PkceError> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_one = (43..=128).contains(&text.len()) && text.bytes().all(unreserved);
    if is_one { Ok(Digest::of(text.as_bytes())) } else { Err(PkceError::Verifier) }
}

/// A part of PKCE that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PkceError {
    /// Not `S256`.
    #[error("`code_challenge_method` must be S256")]
    Method,
    /// Not a challenge.
    #[error("`code_challenge` must be the base64url of a SHA-256 digest, without padding")]
    Challenge,
    /// Not a verifier.
    #[error("`code_verifier` must be 43 to 128 unreserved characters")]
    Verifier,
}

/// The one method.
pub const S256: &str = "S256";

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_fits() {
        assert_eq!(challenge(Some(CHALLENGE), Some("S256")), verifier(VERIFIER));
        assert_ne!(challenge(Some(CHALLENGE), Some("S256")), verifier(&VERIFIER.replace('d', "e")));
    }

    #[test]
    fn nothing_weaker_is_taken() {
        for method in [None, Some("plain"), Some("s256"), Some("")] {
            assert_eq!(challenge(Some(CHALLENGE), method), Err(PkceError::Method));
        }
        let longer = format!("{CHALLENGE}A");
        let padded = format!("{CHALLENGE}=");
        for bad in [None, Some(""), Some(VERIFIER.get(1..).unwrap()), Some(&*longer), Some(&*padded), Some("+")] {
            assert_eq!(challenge(bad, Some("S256")), Err(PkceError::Challenge), "{bad:?}");
        }
        let (short, long) = ("a".repeat(42), "a".repeat(129));
        for bad in ["", &*short, &*long, "a b", &"ä".repeat(43)] {
            assert_eq!(verifier(bad), Err(PkceError::Verifier), "{bad:?}");
        }
    }
}
