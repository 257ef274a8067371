//! Why a private key was not read or kept.

use std::path::PathBuf;

use crate::ProtectionError;
use hallpass_core::base::secret_file::SecretFileError;

/// A key file that could not be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Its content.
    #[error("`{}` is not a private key file (a JWK with kty, crv, x and d)", .0.display())]
    Content(PathBuf),
    /// It is encrypted, and nothing was given to decrypt it with.
    #[error("`{}` is encrypted: name the file with the passphrase in `keys.passphrase_file`, or set HALLPASS_KEY_ENCRYPTION_KEY", .0.display())]
    Sealed(PathBuf),
    /// It is not encrypted, though key files should be.
    #[error("`{}` is not encrypted, though key files are to be: if you put it there, run `hallpass keys encrypt`", .0.display())]
    NotSealed(PathBuf),
    /// It was not encrypted or decrypted.
    #[error("`{}`: {error}", path.display())]
    Protection {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: ProtectionError,
    },
}
