//! Where private keys are kept.

use std::fmt;

use crate::KeyFileError;
use hallpass_core::base::key::PrivateKey;

/// Keeps private keys, each under a name, sealed where that is wanted. Every broker of one ledger has the same keys.
pub trait KeyStore: fmt::Debug + Send + Sync {
    /// The key of this name.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be read or unsealed.
    fn load(&self, name: &str) -> Result<PrivateKey, KeyFileError>;

    /// Keeps a key under a name, durably; it replaces the one before.
    ///
    /// # Errors
    ///
    /// When it cannot be kept.
    fn store(&self, name: &str, key: &PrivateKey) -> Result<(), KeyFileError>;

    /// Destroys a key that nothing may be signed with any more. What is not there is destroyed.
    ///
    /// # Errors
    ///
    /// When it is still there.
    fn remove(&self, name: &str) -> Result<(), KeyFileError>;

    /// Where the key of this name is kept, for messages to operators.
    fn place(&self, name: &str) -> String;
}
