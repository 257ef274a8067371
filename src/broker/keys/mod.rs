//! The broker's signing keys, and their files.

pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod keyring;
pub(crate) mod lifecycle;
pub(crate) mod protection;
pub(crate) mod store;
