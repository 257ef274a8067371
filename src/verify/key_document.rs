//! The broker's key document, as verifiers and holders take it.

use hallpass_core::{
    base::ids::IssuerUri,
    wire::{DocumentError, document},
};

/// The public keys of a broker: what it answers at `/v1/keys.json`.
///
/// It is not signed. A verifier believes what the feed key that it pins vouches for and nothing else
/// in it; a holder gets it from the broker, over https.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDocument(document::KeyDocument);

impl KeyDocument {
    /// Reads it from JSON: strictly, and at most 1 MiB.
    ///
    /// # Errors
    ///
    /// Refuses duplicate member names, a format or a critical member that this build does not know, and
    /// what is not a key document.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::KeyDocument::from_json(bytes).map(Self)
    }

    /// The broker that it is of.
    #[must_use]
    pub const fn issuer(&self) -> &IssuerUri {
        &self.0.iss
    }

    pub(crate) const fn read(&self) -> &document::KeyDocument {
        &self.0
    }
}

impl From<document::KeyDocument> for KeyDocument {
    fn from(document: document::KeyDocument) -> Self {
        Self(document)
    }
}
