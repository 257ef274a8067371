//! PKCE (RFC 7636): the client that redeems a code proves that it asked for it. `S256` only.

use hallpass_core::base::digest::Digest;

/// The digest that a verifier must have: `code_challenge`, read.
///
/// `None` for an absent challenge, every method but `S256` (so an absent one, which stands for
/// `plain`), and what is not the base64url of 32 bytes, without padding.
#[must_use]
pub fn challenge(challenge: Option<&str>, method: Option<&str>) -> Option<Digest> {
    // SECURITY: `plain` would make the challenge itself the secret, which the browser's history has.
    challenge
        .filter(|_| method == Some(S256))
        .and_then(Digest::from_base64url)
}

/// The digest of `code_verifier`: what the challenge of its code must be.
///
/// `None` for what is not 43 to 128 unreserved characters (RFC 7636 section 4.1).
#[must_use]
pub fn verifier(text: &str) -> Option<Digest> {
    let unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let is_one = (43..=128).contains(&text.len()) && text.bytes().all(unreserved);
    is_one.then(|| Digest::of(text.as_bytes()))
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
        assert!(verifier(VERIFIER).is_some());
        assert_eq!(challenge(Some(CHALLENGE), Some("S256")), verifier(VERIFIER));
        assert_ne!(
            challenge(Some(CHALLENGE), Some("S256")),
            verifier(&VERIFIER.replace('d', "e"))
        );
    }

    #[test]
    fn nothing_weaker_is_taken() {
        for method in [None, Some("plain"), Some("s256"), Some("")] {
            assert_eq!(challenge(Some(CHALLENGE), method), None);
        }
        let longer = format!("{CHALLENGE}A");
        let padded = format!("{CHALLENGE}=");
        for bad in [
            None,
            Some(""),
            Some(VERIFIER.get(1..).unwrap()),
            Some(&*longer),
            Some(&*padded),
            Some("+"),
        ] {
            assert_eq!(challenge(bad, Some("S256")), None, "{bad:?}");
        }
        let (short, long) = ("a".repeat(42), "a".repeat(129));
        for bad in ["", &*short, &*long, "a b", &"ä".repeat(43)] {
            assert_eq!(verifier(bad), None, "{bad:?}");
        }
    }
}
