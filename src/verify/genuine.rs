//! Signatures: checks that a known root key signed a pass, before anything else.

use crate::Denial;
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{IssuerUri, KeyId},
        key::PublicKey,
    },
    token::{UnverifiedPass, VerifiedPass},
    wire::document::KeyDocument,
};

/// Reads `token` if a root key of `document` signed it for the document's broker.
///
/// It checks neither revocation nor time nor audience: a [`Verifier`](crate::Verifier) does.
///
/// # Errors
///
/// Refuses a token outside the profile, one that none of these keys signed, and another issuer's.
pub fn verify_signatures(document: &KeyDocument, token: &str) -> Result<VerifiedPass, Denial> {
    let root_key = |id| {
        document
            .keys
            .iter()
            .find(|entry| entry.id == id)
            .map(|entry| entry.key)
    };
    let (pass, _) = genuine(token, root_key)?;
    refuse_foreign(&pass, &document.iss)?;
    Ok(pass)
}

/// Checks the signatures; returns the pass and the key that signed it.
pub(super) fn genuine(
    token: &str,
    root_key: impl FnOnce(KeyId) -> Option<PublicKey>,
) -> Result<(VerifiedPass, (KeyId, PublicKey)), Denial> {
    let unverified = UnverifiedPass::parse(token)
        .map_err(|error| Denial::because(error.code(), error.to_string()))?;
    let id = unverified.key_hint().ok_or_else(unknown_key)?;
    let key = root_key(id).ok_or_else(unknown_key)?;
    let pass = unverified
        .verify(&key)
        .map_err(|error| Denial::because(error.code(), error.to_string()))?;
    Ok((pass, (id, key)))
}

pub(super) fn refuse_foreign(pass: &VerifiedPass, issuer: &IssuerUri) -> Result<(), Denial> {
    if pass.claims().issuer == *issuer {
        return Ok(());
    }
    Err(Denial::because(
        ReasonCode::TokenIssuer,
        "issued by another broker",
    ))
}

pub(super) fn unknown_key() -> Denial {
    Denial::because(
        ReasonCode::TokenKeyUnknown,
        "signed by an unknown or retired key",
    )
}
