//! TLS of the main listener: a certificate and its key from files, read again on demand.

use std::path::PathBuf;

use axum_server::tls_rustls::RustlsConfig;
use tokio::signal::unix::{SignalKind, signal};

use hallpass_core::base::secret_file::{SecretFileError, tighten_secret};

/// Where the certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM, for its owner and its group alone to read.
    pub key: PathBuf,
}

/// The certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// They cannot be read, or do not belong together.
    #[error("cannot use the certificate `{}` with the key `{}`: {source}", files.certificate.display(), files.key.display())]
    Unusable {
        /// The files.
        files: TlsFiles,
        /// Why not.
        source: std::io::Error,
    },
    /// Others than its owner and its group may read the key.
    #[error(transparent)]
    Key(#[from] SecretFileError),
}

/// The certificate that is served.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    files: TlsFiles,
    config: RustlsConfig,
}

impl TlsFiles {
    /// Reads them as a server does, and serves nothing.
    ///
    /// # Errors
    ///
    /// When a server with these files would not start.
    pub async fn check(self) -> Result<(), TlsError> {
        Certificate::load(self).await.map(drop)
    }
}

impl Certificate {
    pub(crate) async fn load(files: TlsFiles) -> Result<Self, TlsError> {
        // Named here, not left to the crate's default, which panics when another feature set
        // leaves it undecided. An error means that a provider was chosen before, which is fine.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        tighten_secret(&files.key)?;
        match RustlsConfig::from_pem_file(&files.certificate, &files.key).await {
            Ok(config) => Ok(Self { files, config }),
            Err(source) => Err(TlsError::Unusable { files, source }),
        }
    }

    /// Reads the files again. When they cannot be used the old certificate stays.
    pub(crate) async fn reload(&self) -> Result<(), TlsError> {
        tighten_secret(&self.files.key)?;
        let read = self
            .config
            .reload_from_pem_file(&self.files.certificate, &self.files.key)
            .await;
        read.map_err(|source| TlsError::Unusable {
            files: self.files.clone(),
            source,
        })
    }

    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }
}

/// Reads the certificate again on every SIGHUP; when it cannot be used, the old one stays.
pub(crate) async fn reload_on_hangup(certificate: Option<Certificate>) {
    let Some(certificate) = certificate else {
        return;
    };
    let Ok(mut hangups) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangups.recv().await.is_some() {
        match certificate.reload().await {
            Ok(()) => tracing::info!("the certificate was read again"),
            Err(error) => tracing::error!(error = %error, "the old certificate stays"),
        }
    }
}
