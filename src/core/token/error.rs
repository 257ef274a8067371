//! Errors: why a token is refused, and why one is not minted, narrowed or delegated.

use crate::{
    base::{ReasonCode, time::Timestamp},
    token::limits::{MAX_APPENDED_BLOCKS, MAX_PASS_BYTES, MAX_RIGHTS, MAX_TOKEN_BYTES},
};

/// Why a token's structure was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("longer than {MAX_TOKEN_BYTES} bytes")]
    TooLarge,
    /// Not a Biscuit.
    #[error("not a Biscuit")]
    Malformed,
    /// A block that the format does not allow.
    #[error("block {block}: {rule}")]
    Block {
        /// The block, counted from 0.
        block: usize,
        /// The rule that the block breaks.
        rule: &'static str,
    },
    /// A block declares a symbol that another block, or the format, has already declared.
    #[error("a symbol is declared twice")]
    Symbols,
    /// More than [`MAX_APPENDED_BLOCKS`] blocks after block 0.
    #[error("more than {MAX_APPENDED_BLOCKS} appended blocks")]
    TooManyBlocks,
}

impl ProfileError {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::TooLarge => ReasonCode::TokenTooLarge,
            Self::Malformed => ReasonCode::TokenMalformed,
            Self::Block { .. } | Self::Symbols | Self::TooManyBlocks => ReasonCode::TokenProfile,
        }
    }
}

/// Why a block 0 is not a valid block 0 of a pass of format 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// A fact is absent, doubled, or of the wrong shape.
    #[error("`{0}` must occur exactly once and be well-formed")]
    Fact(&'static str),
    /// An unknown fact.
    #[error("a fact that the format does not define")]
    Unknown,
}

/// Why a chain of delegations is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// A delegation in a pass that is not bound to a key.
    #[error("block {block} delegates a pass that is not bound to a key")]
    Unbound {
        /// The block.
        block: usize,
    },
    /// Signed by another key than that of the holder before.
    #[error("the delegation in block {block} is not signed by the holder before it")]
    NotByHolder {
        /// The block.
        block: usize,
    },
    /// Not an agent's id and a key.
    #[error("the delegation in block {block} does not name an agent and a key")]
    Malformed {
        /// The block.
        block: usize,
    },
}

/// Why a pass was not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// A signature does not match.
    #[error("a signature does not match")]
    Signature,
    /// Block 0 is not a valid block 0 of format 1.
    #[error("not a pass of format 1: {0}")]
    Claims(#[from] ClaimsError),
    /// The delegations are not signed hop by hop by the pass's holders.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A check that cannot be loaded, for example because it refers to a symbol that does not exist.
    #[error("a check cannot be read")]
    Checks,
}

impl PassError {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Signature => ReasonCode::TokenSignature,
            Self::Claims(_) => ReasonCode::TokenFormat,
            Self::Chain(_) => ReasonCode::HolderChain,
            Self::Checks => ReasonCode::TokenProfile,
        }
    }
}

/// Why a pass was not minted. A pass is never minted with less than was granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// No right is named.
    #[error("the pass would name no tool, resource or prompt")]
    Empty,
    /// More than [`MAX_RIGHTS`] names.
    #[error(
        "the pass would name {0} tools, resources and prompts; at most {MAX_RIGHTS} fit: ask for fewer"
    )]
    TooManyRights(usize),
    /// Longer than [`MAX_PASS_BYTES`].
    #[error(
        "the pass would be {0} bytes long; at most {MAX_PASS_BYTES} fit: ask for fewer rights or constraints"
    )]
    TooLarge(usize),
    /// A mask, a budget or a sequence: no verifier of this build can enforce it.
    #[error("`{0}` needs a gateway, which this build does not have")]
    Unsupported(&'static str),
    /// A constraint on a tool that the same detail does not name.
    #[error("a constraint on `{0}`, which the rights do not name")]
    StrayConstraint(String),
    /// A call that needs a proof, in a pass that is not bound to a key.
    #[error(
        "calls of `{0}` need a proof of possession, and the pass is not bound to a key: send `holder_key`"
    )]
    HolderNeeded(String),
    /// It would end before it begins.
    #[error("the pass would end at {0}, before it begins")]
    EndsBeforeItBegins(Timestamp),
    /// The engine refused; never for content that passed the checks above.
    #[error("the token engine refused the pass")]
    Engine,
}

impl MintError {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Empty | Self::EndsBeforeItBegins(_) => ReasonCode::InvalidRequest,
            Self::TooManyRights(_) | Self::TooLarge(_) => ReasonCode::PassTooLarge,
            Self::Unsupported(_) => ReasonCode::UnsupportedObligation,
            Self::HolderNeeded(_) => ReasonCode::HolderKeyRequired,
            Self::StrayConstraint(_) => ReasonCode::ConstraintMismatch,
            Self::Engine => ReasonCode::Internal,
        }
    }
}

/// Why a narrowing was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttenuateError {
    /// The narrowing is empty.
    #[error("the narrowing changes nothing: give an earlier end, fewer rights or read-only")]
    Empty,
    /// The token cannot be narrowed.
    #[error("not a token that can be narrowed: {0}")]
    Token(ProfileError),
    /// The token is sealed: it can be used, not narrowed.
    #[error("the token is sealed: it can be used but not narrowed")]
    Sealed,
    /// The result would be outside the profile.
    #[error("the narrowed token would be refused: {0}; name fewer rights or constraints")]
    Profile(ProfileError),
    /// It has a member that an attenuation cannot express.
    #[error("`{0}` cannot be added by attenuation")]
    Unsupported(&'static str),
    /// The engine refused; never for a narrowing that passed the checks above.
    #[error("the token engine refused the narrowing")]
    Engine,
}

/// Why a delegation was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DelegateError {
    /// The pass is not bound to a key, so no holder can sign: narrow it instead.
    #[error(
        "the pass is not bound to a key: request one with `holder_key`, or narrow this one with `attenuate`"
    )]
    Unbound,
    /// The pass is bound to another key than the one that signs.
    #[error("the pass is bound to another key: only its holder can hand it on")]
    NotHolder,
    /// The pass may not be handed on that often.
    #[error("the pass may be handed on {left} more times, not {wanted}")]
    TooDeep {
        /// How often it may still be handed on.
        left: usize,
        /// How often this delegation would allow it to be handed on, itself included.
        wanted: usize,
    },
    /// A delegate with a P-256 key cannot hand it on, and a sealed pass cannot be handed on.
    #[error("the delegate could not hand it on: {0}; allow no further delegations")]
    CannotDelegate(&'static str),
    /// The pass is sealed, or the narrowing was refused.
    #[error(transparent)]
    Narrowing(#[from] AttenuateError),
}
