//! Stewards who proved who they are.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use hallpass_core::base::ids::StewardId;

/// How a steward proved to be that person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifiedBy {
    /// The issuer that said so.
    pub issuer: String,
    /// The groups that it has the person in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
}

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
