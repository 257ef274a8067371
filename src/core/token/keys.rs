//! Root keys, which sign passes and operators' tokens. Ed25519 only.
//!
//! secp256r1, which Biscuit also knows, lets a holder change a token's signature and with it the
//! id by which it is revoked.

use std::{cell::Cell, fmt};

use biscuit_auth::{Algorithm, KeyPair};

use crate::{
    base::{
        ids::KeyId,
        key::{PrivateKey, PublicKey},
    },
    token::signer::Signer,
};

/// A private root key with its number.
pub struct RootKey {
    id: KeyId,
    public: PublicKey,
    signer: Signer,
    pair: KeyPair,
}

impl RootKey {
    /// The root key number `id` with the private key `key`.
    ///
    /// # Errors
    ///
    /// Never for a key that [`PrivateKey`] holds; the engine's own check is passed on.
    pub fn new(id: KeyId, key: &PrivateKey) -> Result<Self, KeyError> {
        let seed = key.dangerous_seed();
        let private = biscuit_auth::PrivateKey::from_bytes(seed.as_slice(), Algorithm::Ed25519)
            .map_err(|_| KeyError)?;
        let signer = Signer::from_seed(&seed).ok_or(KeyError)?;
        Ok(Self {
            id,
            public: key.public(),
            signer,
            pair: KeyPair::from(&private),
        })
    }

    /// The key's number, which passes carry as a hint.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) const fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(super) const fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey")
            .field("id", &self.id)
            .field("public", &self.public)
            .finish()
    }
}

/// The key's bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key")]
pub struct KeyError;

/// The same key in the library's type.
///
/// Its constructor computes a square root, a tenth of a signature check; a verifier has one or two
/// root keys at a time, so the last one of each thread is kept.
pub(super) fn to_biscuit(key: &PublicKey) -> Option<biscuit_auth::PublicKey> {
    thread_local! {
        static LAST: Cell<Option<(PublicKey, biscuit_auth::PublicKey)>> = const { Cell::new(None) };
    }
    if let Some((of, known)) = LAST.get()
        && of == *key
    {
        return Some(known);
    }
    let converted = biscuit_auth::PublicKey::from_bytes(key.as_bytes(), Algorithm::Ed25519).ok()?;
    LAST.set(Some((*key, converted)));
    Some(converted)
}
