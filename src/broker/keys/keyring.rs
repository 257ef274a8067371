//! The keyring: the secret keys that this broker has loaded.

use std::collections::BTreeMap;

use crate::{
    KeyFileError, State,
    domain::event::{KeyPurpose, KeyState},
    keys::store::KeyStore,
};
use hallpass_core::{
    base::{
        ids::KeyId,
        key::{PrivateKey, PublicKey},
    },
    token::RootKey,
};

/// The secret keys that are on disk.
#[derive(Debug)]
pub(crate) struct Keyring {
    store: Box<dyn KeyStore>,
    keys: BTreeMap<(KeyPurpose, KeyId), PrivateKey>,
    /// The active root and operator keys in the engine's form.
    root: Option<RootKey>,
    operator: Option<RootKey>,
    /// The active key of every purpose.
    active: BTreeMap<KeyPurpose, KeyId>,
}

/// A key that could not be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Its file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The file holds another key than the records name.
    #[error("`{0}` does not hold the key that the journal names: restore it from a copy")]
    Other(String),
    /// A purpose has no active key.
    #[error("there is no active {0} key")]
    NoneActive(&'static str),
}

impl Keyring {
    pub(crate) fn empty(store: Box<dyn KeyStore>) -> Self {
        Self {
            store,
            keys: BTreeMap::new(),
            root: None,
            operator: None,
            active: BTreeMap::new(),
        }
    }

    /// Makes a key and writes its file; it counts for nothing until the journal knows it.
    pub(crate) fn make(
        &mut self,
        purpose: KeyPurpose,
        id: KeyId,
    ) -> Result<PublicKey, KeyringError> {
        let key = PrivateKey::generate();
        let public = key.public();
        self.store.store(&key_name(purpose, id), &key)?;
        self.keys.insert((purpose, id), key);
        Ok(public)
    }

    /// Reads every key that the records say is alive, takes up the active ones, and destroys those that
    /// are revoked.
    pub(crate) fn follow(&mut self, state: &State) -> Result<(), KeyringError> {
        let of_purpose = |purpose| {
            state
                .live_keys(purpose)
                .map(move |(id, entry)| (purpose, id, entry))
        };
        let live: Vec<_> = KeyPurpose::ALL.into_iter().flat_map(of_purpose).collect();
        for (purpose, id, _) in &live {
            if !self.keys.contains_key(&(*purpose, *id)) {
                self.keys
                    .insert((*purpose, *id), self.store.load(&key_name(*purpose, *id))?);
            }
        }
        let mut active = BTreeMap::new();
        for (purpose, id, entry) in live {
            let key = self
                .keys
                .get(&(purpose, id))
                .filter(|key| key.public() == entry.public);
            let key =
                key.ok_or_else(|| KeyringError::Other(self.store.place(&key_name(purpose, id))))?;
            if entry.state == KeyState::Active {
                // In the order of their numbers, so the latest stays.
                active.insert(purpose, (id, key));
            }
        }
        if let Some(none) = KeyPurpose::ALL
            .into_iter()
            .find(|purpose| !active.contains_key(purpose))
        {
            return Err(KeyringError::NoneActive(none.as_str()));
        }
        let root_key = |purpose: KeyPurpose| {
            let (id, key) = active
                .get(&purpose)
                .ok_or(KeyringError::NoneActive(purpose.as_str()))?;
            RootKey::new(*id, key)
                .map_err(|_| KeyringError::Other(self.store.place(&key_name(purpose, *id))))
        };
        let (root, operator) = (root_key(KeyPurpose::Root)?, root_key(KeyPurpose::Operator)?);
        let active = active
            .into_iter()
            .map(|(purpose, (id, _))| (purpose, id))
            .collect();
        (self.root, self.operator, self.active) = (Some(root), Some(operator), active);
        let revoked = state
            .keys
            .iter()
            .filter(|(_, entry)| entry.state == KeyState::Revoked);
        for ((purpose, id), _) in revoked {
            self.keys.remove(&(*purpose, *id));
            self.store.remove(&key_name(*purpose, *id))?;
        }
        Ok(())
    }

    /// Writes the file of every key anew, in the form that files should have; how many there were.
    pub(crate) fn rewrite(&self) -> Result<usize, KeyringError> {
        for ((purpose, id), key) in &self.keys {
            self.store.store(&key_name(*purpose, *id), key)?;
        }
        Ok(self.keys.len())
    }

    /// Whether the keys that sign are others than the records say.
    pub(crate) fn is_behind(&self, state: &State) -> bool {
        let active = |purpose| {
            let active = state
                .live_keys(purpose)
                .filter(|(_, entry)| entry.state == KeyState::Active);
            active.map(|(id, _)| id).max()
        };
        KeyPurpose::ALL
            .into_iter()
            .any(|purpose| active(purpose) != self.active.get(&purpose).copied())
    }

    pub(crate) fn root(&self) -> Result<&RootKey, KeyringError> {
        self.root.as_ref().ok_or(KeyringError::NoneActive("root"))
    }

    pub(crate) fn operator(&self) -> Result<&RootKey, KeyringError> {
        self.operator
            .as_ref()
            .ok_or(KeyringError::NoneActive("operator"))
    }

    pub(crate) fn feed(&self) -> Result<&PrivateKey, KeyringError> {
        self.active(KeyPurpose::Feed)
    }

    pub(crate) fn checkpoint(&self) -> Result<&PrivateKey, KeyringError> {
        self.active(KeyPurpose::Checkpoint)
    }

    pub(crate) fn active(&self, purpose: KeyPurpose) -> Result<&PrivateKey, KeyringError> {
        let key = self
            .active
            .get(&purpose)
            .and_then(|id| self.keys.get(&(purpose, *id)));
        key.ok_or(KeyringError::NoneActive(purpose.as_str()))
    }
}

/// The name of a key's file.
pub(crate) fn key_name(purpose: KeyPurpose, id: KeyId) -> String {
    format!("{}-{id}", purpose.as_str())
}
