//! Stewards who proved who they are.

use crate::domain::event::VerifiedBy;
use hallpass_core::base::ids::StewardId;

/// A steward who proved to be that person, through an issuer that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSteward {
    pub(crate) steward: StewardId,
    pub(crate) by: VerifiedBy,
}

/// A steward who signed in, to decide what a client may do for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub(crate) steward: StewardId,
    /// Through which issuer; `None`: with an operator's code.
    pub(crate) by: Option<VerifiedBy>,
}

impl SignedIn {
    /// With a code that an operator gave them.
    #[must_use]
    pub const fn with_code(steward: StewardId) -> Self {
        Self { steward, by: None }
    }

    /// Who.
    #[must_use]
    pub const fn steward(&self) -> &StewardId {
        &self.steward
    }

    /// The issuer that said so, unless an operator's code did.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.by.as_ref().map(|by| by.issuer.as_str())
    }
}

impl From<VerifiedSteward> for SignedIn {
    fn from(VerifiedSteward { steward, by }: VerifiedSteward) -> Self {
        Self {
            steward,
            by: Some(by),
        }
    }
}

impl VerifiedSteward {
    /// Who.
    #[must_use]
    pub const fn steward(&self) -> &StewardId {
        &self.steward
    }
}
