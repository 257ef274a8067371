//! The words of records: what keys sign, where they are in their life, what operators may do.

use serde::{Deserialize, Serialize};

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// Passes.
    Root,
    /// Feed frames and key documents.
    Feed,
    /// Operators' tokens.
    Operator,
    /// Tree heads and exports of the audit trail.
    Checkpoint,
}

impl KeyPurpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Root, Self::Feed, Self::Operator, Self::Checkpoint];

    /// The purpose as paths and file names spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Feed => "feed",
            Self::Operator => "operator",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// Where a key is in its life; only an active key signs, active and retiring ones verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, not signing yet.
    Pending,
    /// Signs.
    Active,
    /// Signs no more; what it signed still verifies.
    Retiring,
    /// What it signed is refused.
    Revoked,
}

impl KeyState {
    /// The state as records and answers spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Revoked => "revoked",
        }
    }
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Read everything.
    Auditor,
    /// Follow the feed of its servers.
    Verifier,
}

impl Role {
    /// The role as operators' tokens spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Verifier => "verifier",
        }
    }
}
