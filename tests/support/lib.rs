//! The fixtures of hallpass's tests: an [`Issuer`] for tests that need no broker, and brokers in processes of
//! their own ([`process`], [`workspace`]). None of it links the server: that of `test_broker` does.
//!
//! Without the feature `broker` this needs the verifier alone.

#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::exhaustive_enums,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::new_without_default,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::too_long_first_doc_paragraph,
    clippy::type_complexity,
    clippy::unwrap_used,
    reason = "fixtures fail as tests do, and this crate is published nowhere"
)]

pub mod es256;
#[cfg(feature = "broker")]
pub mod foreign;
pub mod fuzz;
pub mod holders;
pub mod hostile;
#[cfg(feature = "broker")]
pub mod idp;
mod issuer;
#[cfg(feature = "broker")]
pub mod ledger;
#[cfg(feature = "broker")]
pub mod process;
pub mod raw;
pub mod raw_proof;
#[cfg(feature = "broker")]
pub mod records;
pub mod skip;
#[cfg(feature = "broker")]
pub mod tls;
#[cfg(feature = "broker")]
pub mod workspace;

pub use holders::Holders;
pub use issuer::{ISSUER, Issuer, SERVER, manifest, rights, server};
