//! Agent key files: a private JWK whose `kid` is the agent's id, for its owner alone to read.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use crate::identity::assertion::MAX_LIFETIME;
use hallpass_core::base::{
    ids::{AgentId, IssuerUri},
    jws,
    key::PrivateKey,
    random,
    secret_file::{SecretFileError, create_secret, read_secret},
    time::Timestamp,
};

/// An agent's id with its private Ed25519 key; never printed, wiped when dropped.
pub struct AgentKey {
    agent: AgentId,
    key: PrivateKey,
}

impl AgentKey {
    /// A new key for `agent` from the operating system's randomness.
    #[must_use]
    pub fn generate(agent: AgentId) -> Self {
        Self {
            agent,
            key: PrivateKey::generate(),
        }
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// Refuses what is not a regular file, what others than its owner may read or write, and
    /// content that is not exactly a private Ed25519 JWK whose halves belong together.
    pub fn read(path: &Path) -> Result<Self, AgentKeyError> {
        let text = read_secret(path)?;
        let content = || AgentKeyError::Content(path.to_owned());
        let (key, kid) = PrivateKey::from_jwk(&text).ok_or_else(content)?;
        let agent = kid.and_then(|kid| kid.parse().ok()).ok_or_else(content)?;
        Ok(Self { agent, key })
    }

    /// Writes the key to a new file of mode 0600, whole or not at all.
    ///
    /// # Errors
    ///
    /// When `path` exists already, which is never overwritten, and when writing fails.
    pub fn create(&self, path: &Path) -> Result<(), AgentKeyError> {
        Ok(create_secret(
            path,
            &self.key.dangerous_jwk(Some(self.agent.as_str())),
        )?)
    }

    /// The agent.
    #[must_use]
    pub const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// The key itself, to sign delegations and proofs of possession with.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The public half as a JWK, to register.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        let jwk = self.key.public().to_jwk();
        serde_json::json!({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x})
    }

    /// A signed assertion for one request to `issuer`, valid from `now` for one minute.
    ///
    /// # Errors
    ///
    /// Only when the claims cannot be written as JSON.
    pub fn assertion(&self, issuer: &IssuerUri, now: Timestamp) -> Result<String, jws::JwsError> {
        self.assertion_with_jti(issuer, now, &hex::encode(random::bytes::<16>().as_slice()))
    }

    /// As [`Self::assertion`], with a `jti` that the caller chose: it must never have been used.
    ///
    /// # Errors
    ///
    /// Only when the claims cannot be written as JSON.
    pub fn assertion_with_jti(
        &self,
        issuer: &IssuerUri,
        now: Timestamp,
        jti: &str,
    ) -> Result<String, jws::JwsError> {
        let claims = OwnClaims {
            iss: self.agent.as_str(),
            sub: self.agent.as_str(),
            aud: issuer.as_str(),
            iat: now.unix_seconds(),
            exp: now.plus(OWN_LIFETIME).unix_seconds(),
            jti,
        };
        jws::sign(
            &self.key,
            "JWT",
            Some(&self.key.public().thumbprint()),
            &claims,
        )
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey({} {:?})", self.agent, self.key)
    }
}

/// A key file that cannot be used, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum AgentKeyError {
    /// The file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Not an agent key.
    #[error("`{}` is not an agent key: expected a private JWK with `kty` OKP, `crv` Ed25519, `x`, `d` and the agent's id as `kid`", .0.display())]
    Content(PathBuf),
}

#[derive(Serialize)]
struct OwnClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
}

/// How long an assertion of our own lives: long enough for a slow network, short for a thief.
const OWN_LIFETIME: std::time::Duration = std::time::Duration::from_secs(60);
const _: () = assert!(OWN_LIFETIME.as_secs() < MAX_LIFETIME.as_secs());
