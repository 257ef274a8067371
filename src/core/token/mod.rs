//! Floor 1: the token format, and the only module that uses Biscuit.
//!
//! - [`mint`] makes a pass from granted rights.
//! - [`attenuate`] narrows one, offline; [`delegate`] hands one on with its holder's signature.
//! - [`UnverifiedPass::parse`] checks a token against the structural profile,
//!   [`UnverifiedPass::verify`] checks its signatures, [`evaluate`] decides a call.
//!
//! No Biscuit type leaves this module. `docs/token-format.md` defines the format.

mod attenuate;
mod call;
mod claims;
mod cost;
mod datalog;
mod delegate;
mod depth;
mod encode;
mod engine;
mod error;
mod holder;
mod inspect;
mod keys;
mod left;
mod limits;
mod mint;
mod narrowed;
mod operator;
mod pass;
mod profile;
mod remaining;
mod request;
mod shape;
mod short;
mod signer;
mod wire;

pub mod constraint;
pub mod manifest;
pub mod path;
pub mod rights;
pub mod scope;

pub use attenuate::{Attenuated, Narrowing, attenuate, attenuate_operator};
pub use call::Call;
pub use claims::{NamedRight, PassClaims};
pub use delegate::{Delegation, delegate};
pub use error::{
    AttenuateError, ChainError, ClaimsError, DelegateError, MintError, PassError, ProfileError,
};
pub use holder::{HolderChain, Hop};
pub use inspect::{BlockSummary, ClaimsSummary, DelegationSummary, Summary};
pub use keys::{KeyError, RootKey};
pub use left::Left;
pub use limits::{
    CLOCK_SKEW_SECONDS, MAX_APPENDED_BLOCKS, MAX_ARGUMENTS, MAX_EVALUATION_TIME, MAX_PASS_BYTES,
    MAX_RIGHTS, MAX_TOKEN_BYTES,
};
pub use mint::{Holding, Minted, PassContent, PassToken, mint};
pub use operator::{OperatorContent, VerifiedOperator, mint_operator};
pub use pass::{Evaluation, EvaluationFault, FailedCheck, UnverifiedPass, VerifiedPass, evaluate};
pub use remaining::Remaining;
pub use request::{Arguments, RequestFacts};
pub use rights::{GrantedDetail, RequestedDetail};
