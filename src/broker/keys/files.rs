//! Key files: where private keys lie on disk, one file each, mode 0600, encrypted when that is wanted.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use zeroize::Zeroizing;

use crate::{
    KeyFileError, KeyProtection, ProtectionError,
    keys::{protection::is_sealed, store::KeyStore},
};
use hallpass_core::base::{
    key::PrivateKey,
    secret_file::{SecretFileError, read_secret, write_secret},
};

/// How private key files are kept.
#[derive(Debug, Clone, Default)]
pub enum KeysAtRest {
    /// Readable by their owner. An encrypted one is refused.
    #[default]
    Plain,
    /// Encrypted. One that is not is refused: an attacker may have put it there.
    Sealed(Arc<KeyProtection>),
    /// Encrypted from now on; both forms are read. For [`Keys::rewrite_key_files`](crate::Keys::rewrite_key_files).
    Sealing(Arc<KeyProtection>),
    /// Readable from now on; both forms are read. For [`Keys::rewrite_key_files`](crate::Keys::rewrite_key_files).
    Unsealing(Arc<KeyProtection>),
}

/// The directory of key files.
#[derive(Debug)]
pub(crate) struct KeyFiles {
    directory: PathBuf,
    at_rest: KeysAtRest,
}

impl KeyFiles {
    pub(crate) const fn new(directory: PathBuf, at_rest: KeysAtRest) -> Self {
        Self { directory, at_rest }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}{KEY_ENDING}"))
    }
}

impl KeyStore for KeyFiles {
    fn place(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn store(&self, name: &str, key: &PrivateKey) -> Result<(), KeyFileError> {
        let (path, jwk) = (self.path(name), key.dangerous_jwk(None));
        let text = match &self.at_rest {
            KeysAtRest::Plain | KeysAtRest::Unsealing(_) => jwk,
            KeysAtRest::Sealed(protection) | KeysAtRest::Sealing(protection) => Zeroizing::new(
                protection
                    .seal(&jwk)
                    .map_err(|error| not_opened(&path, error))?,
            ),
        };
        write_secret(&path, &text).map_err(KeyFileError::from)
    }

    fn load(&self, name: &str) -> Result<PrivateKey, KeyFileError> {
        let path = self.path(name);
        let text = read_secret(&path)?;
        let open = |protection: &KeyProtection| {
            protection
                .open(&text)
                .map_err(|error| not_opened(&path, error))
        };
        let jwk = match (&self.at_rest, is_sealed(&text)) {
            (KeysAtRest::Plain, true) => return Err(KeyFileError::Sealed(path)),
            (KeysAtRest::Sealed(_), false) => return Err(KeyFileError::NotSealed(path)),
            (KeysAtRest::Plain | KeysAtRest::Sealing(_) | KeysAtRest::Unsealing(_), false) => text,
            (
                KeysAtRest::Sealed(protection)
                | KeysAtRest::Sealing(protection)
                | KeysAtRest::Unsealing(protection),
                true,
            ) => open(protection)?,
        };
        PrivateKey::from_jwk(&jwk)
            .map(|(key, _)| key)
            .ok_or(KeyFileError::Content(path))
    }

    fn remove(&self, name: &str) -> Result<(), KeyFileError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(SecretFileError::Io {
                action: "remove",
                path,
                source: error,
            }
            .into()),
            _ => Ok(()),
        }
    }
}

/// How the names of key files end.
pub(crate) const KEY_ENDING: &str = ".key";

fn not_opened(path: &Path, error: ProtectionError) -> KeyFileError {
    KeyFileError::Protection {
        path: path.to_owned(),
        error,
    }
}
