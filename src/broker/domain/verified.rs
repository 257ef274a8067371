//! Stewards who proved who they are.

use crate::domain::event::VerifiedBy;
use hallpass_core::base::ids::StewardId;

/// A steward who proved to be that person, through an issuer that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSteward {
    pub(crate) steward: StewardId,
    pub(crate) by: VerifiedBy,
}

impl VerifiedSteward {
    /// Who.
    #[must_use]
    pub const fn steward(&self) -> &StewardId {
        &self.steward
    }
}
