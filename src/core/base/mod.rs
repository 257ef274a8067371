//! The base types that every other module uses. No policy, no tokens, and no I/O except for
//! private files.

#[cfg(feature = "issuer")]
pub mod client_url;
pub mod digest;
pub mod error;
pub mod format;
pub mod holder;
pub mod ids;
pub mod json;
pub mod jws;
pub mod key;
pub mod media_type;
pub mod person_name;
pub mod private_file;
pub mod random;
mod reason;
#[cfg(feature = "issuer")]
pub mod redirect;
#[cfg(feature = "issuer")]
pub mod secret_file;
pub mod sync;
pub mod text;
pub mod time;
pub mod trace;
pub mod uri;

pub use reason::ReasonCode;
