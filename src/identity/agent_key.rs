//! Agent key files: a private JWK whose `kid` is the agent's id, for its owner alone to read.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::assertion::MAX_LIFETIME;
use crate::base::{
    ids::{AgentId, IssuerUri},
    json, jws,
    key::PrivateKey,
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
        Self { agent, key: PrivateKey::generate() }
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// Refuses what is not a regular file, what others than its owner may read or write, and
    /// content that is not exactly a private Ed25519 JWK whose halves belong together.
    pub fn read(path: &Path) -> Result<Self, AgentKeyError> {
        let failed = |error| AgentKeyError::read(path, error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(AgentKeyError::NotAFile(path.to_owned()));
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(AgentKeyError::Open { path: path.to_owned(), mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES));
        let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        Self::from_jwk(&bytes).ok_or_else(|| AgentKeyError::Content(path.to_owned()))
    }

    /// Writes the key to a new file of mode 0600, whole or not at all.
    ///
    /// # Errors
    ///
    /// When `path` exists already, which is never overwritten, and when writing fails.
    pub fn create(&self, path: &Path) -> Result<(), AgentKeyError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let failed = |error| AgentKeyError::write(path, error);
        let unfinished = Unfinished(directory.join(format!(".hallpass-{}.tmp", hex::encode(random_16_bytes()))));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished.0).map_err(failed)?;
        let jwk = self.to_jwk().map_err(failed)?;
        file.write_all(&jwk).and_then(|()| file.sync_all()).map_err(failed)?;
        // A link, unlike a rename, fails when the name is taken.
        fs::hard_link(&unfinished.0, path).map_err(failed)?;
        drop(unfinished);
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    /// The agent.
    #[must_use]
    pub const fn agent(&self) -> &AgentId {
        &self.agent
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
        self.assertion_with_jti(issuer, now, &hex::encode(random_16_bytes()))
    }

    /// As [`Self::assertion`], with a `jti` that the caller chose: it must never have been used.
    ///
    /// # Errors
    ///
    /// Only when the claims cannot be written as JSON.
    pub fn assertion_with_jti(&self, issuer: &IssuerUri, now: Timestamp, jti: &str) -> Result<String, jws::JwsError> {
        let claims = OwnClaims {
            iss: self.agent.as_str(),
            sub: self.agent.as_str(),
            aud: issuer.as_str(),
            iat: now.unix_seconds(),
            exp: now.plus(OWN_LIFETIME).unix_seconds(),
            jti,
        };
        jws::sign(&self.key, "JWT", Some(&self.key.public().thumbprint()), &claims)
    }

    fn from_jwk(bytes: &[u8]) -> Option<Self> {
        let jwk: PrivateJwk = json::parse_as(bytes, MAX_FILE_BYTES).ok()?;
        let seed = Zeroizing::new(URL_SAFE_NO_PAD.decode(&jwk.d).ok()?);
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed.as_slice()).ok()?);
        let key = PrivateKey::from_seed(&seed);
        let public = key.public().to_jwk();
        let belongs_together = public.kty == jwk.kty && public.crv == jwk.crv && public.x == jwk.x;
        belongs_together.then_some(())?;
        Some(Self { agent: jwk.kid.parse().ok()?, key })
    }

    fn to_jwk(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let public = self.key.public().to_jwk();
        let jwk = PrivateJwk {
            kty: public.kty,
            crv: public.crv,
            x: public.x,
            d: URL_SAFE_NO_PAD.encode(self.key.dangerous_seed().as_slice()),
            kid: self.agent.to_string(),
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES));
        serde_json::to_writer_pretty(&mut *bytes, &jwk)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey({} {:?})", self.agent, self.key)
    }
}

/// A key file that cannot be used, or not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentKeyError {
    /// Others may read or write it.
    #[error("`{}` has mode {mode:04o}, so others than its owner can reach the key: run `chmod 600 {}`, and make a new key if somebody else has an account here", .path.display(), .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A directory, a pipe or a device.
    #[error("`{}` is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Not an agent key.
    #[error("`{}` is not an agent key: expected a private JWK with `kty` OKP, `crv` Ed25519, `x`, `d` and the agent's id as `kid`", .0.display())]
    Content(PathBuf),
    /// The file is there already.
    #[error("`{}` exists already and is not overwritten: choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// The operating system refused.
    #[error("cannot {verb} `{}`: {source}", .path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl AgentKeyError {
    fn read(path: &Path, source: io::Error) -> Self {
        Self::Io { verb: "read", path: path.to_owned(), source }
    }

    fn write(path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AlreadyExists {
            return Self::Exists(path.to_owned());
        }
        Self::Io { verb: "write", path: path.to_owned(), source }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrivateJwk {
    kty: String,
    crv: String,
    x: String,
    d: String,
    kid: String,
}

impl Drop for PrivateJwk {
    fn drop(&mut self) {
        self.d.zeroize();
    }
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

/// The temporary name of a file that is not whole yet; removed when dropped.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nothing is lost when this fails: the name is random, and the file is its owner's alone.
        drop(fs::remove_file(&self.0));
    }
}

fn random_16_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    bytes
}

/// How long an assertion of our own lives: long enough for a slow network, short for a thief.
const OWN_LIFETIME: std::time::Duration = std::time::Duration::from_secs(60);
const _: () = assert!(OWN_LIFETIME.as_secs() < MAX_LIFETIME.as_secs());

/// A key file is at most this long, in bytes.
const MAX_FILE_BYTES: usize = 4096;
