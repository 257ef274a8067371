//! The life of the signing keys, from pending to revoked.
//!
//! A new key is published before it signs, so that every verifier knows it by then, and an old one
//! stays published until the last thing that it signed has ended. Only the active key of a purpose
//! signs.

use std::{
    collections::BTreeSet,
    sync::{Arc, RwLock, RwLockReadGuard},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    BrokerError, Caller, KeyringError, ObjectKind, State,
    change::{Changes, Decided, Turn, View},
    domain::{
        event::{KeyPurpose, KeyState, LedgerEvent},
        state::KeyEntry,
    },
    error::files,
    keys::{keyring::Keyring, store::KeyStore},
};
use hallpass_core::base::sync::RwLockExt as _;
use hallpass_core::{
    base::{
        format::Format,
        ids::{IssuerUri, KeyId},
        key::PublicKey,
        time::Timestamp,
    },
    wire::document::KeyLink,
};

/// A key, as shown to operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeyView {
    /// What it signs.
    pub purpose: KeyPurpose,
    /// Its number.
    pub id: KeyId,
    /// Where it is in its life.
    pub state: KeyState,
    /// Since when.
    pub since: Timestamp,
    /// From when a pending key will sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signs_from: Option<Timestamp>,
    /// The JWK thumbprint of its public half: for a feed or checkpoint key, what others pin.
    pub thumbprint: String,
}

/// The broker's keys: what they sign now, and how they are rotated.
#[derive(Debug)]
pub struct Keys {
    changes: Arc<Changes>,
    keyring: RwLock<Keyring>,
    rotation: Rotation,
}

/// How keys are rotated.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    /// The issuer that links to new keys name.
    pub issuer: IssuerUri,
    /// A new key is published this long before it signs.
    pub overlap: Duration,
    /// A key that has signed this long is rotated; `None` leaves that to operators.
    pub after: Option<Duration>,
}

impl Keys {
    pub(crate) fn new(changes: Arc<Changes>, store: Box<dyn KeyStore>, rotation: Rotation) -> Self {
        Self {
            changes,
            keyring: RwLock::new(Keyring::empty(store)),
            rotation,
        }
    }

    /// The keys that sign now.
    pub(crate) fn ring(&self) -> RwLockReadGuard<'_, Keyring> {
        self.keyring.read_locked()
    }

    /// The first key of every purpose that has none: a crash may have kept a part of the first ones.
    ///
    /// # Errors
    ///
    /// When a key cannot be stored or recorded.
    pub(crate) async fn make_first_keys(&self) -> Result<(), KeysError> {
        let caller = Caller::broker();
        let decide = |view: &View<'_>| -> Result<Decided<()>, KeysError> {
            let known: BTreeSet<KeyPurpose> = {
                let state = view.state();
                state.keys.keys().map(|(purpose, _)| *purpose).collect()
            };
            let mut events = Vec::new();
            for purpose in KeyPurpose::ALL.into_iter().filter(|it| !known.contains(it)) {
                let (key, state) = (KeyId(1), KeyState::Active);
                let public = self.make(purpose, key)?;
                events.push(LedgerEvent::KeyChanged {
                    purpose,
                    key,
                    public,
                    state,
                    link: None,
                });
            }
            Ok(Decided::record(view.now(), events, ()))
        };
        self.changes.in_turn(&caller, decide).await?;
        Ok(())
    }

    /// Every key that there ever was, with where it is in its life.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyView> {
        let state = self.changes.state();
        let view = |((purpose, id), entry): (&(KeyPurpose, KeyId), &KeyEntry)| KeyView {
            purpose: *purpose,
            id: *id,
            state: entry.state,
            since: entry.since,
            signs_from: (entry.state == KeyState::Pending).then(|| {
                entry
                    .since
                    .plus(pending_for(*purpose, self.rotation.overlap))
            }),
            thumbprint: entry.public.thumbprint(),
        };
        state.keys.iter().map(view).collect()
    }

    /// Begins a rotation: makes a new key of `purpose` and publishes it. It signs once every
    /// verifier had time to hear of it, or at once when the purpose has no verifiers elsewhere.
    ///
    /// # Errors
    ///
    /// When a rotation is under way, or the key cannot be written or recorded.
    pub async fn rotate_key(
        &self,
        caller: &Caller,
        purpose: KeyPurpose,
    ) -> Result<KeyView, BrokerError> {
        let turn = self.changes.turn().await;
        let mut made: Option<(KeyId, PublicKey)> = None;
        let decide = |view: &View<'_>| {
            let next = self.next_key(&view.state(), purpose)?;
            if !self.changes.is_healthy() {
                // The record of an earlier try may turn up at the next start: its key must not be written over.
                return Err(BrokerError::Files(
                    "the journal has stopped, so no key is made: restart hallpass".to_owned(),
                ));
            }
            let public = match made {
                Some((key, public)) if key == next => public,
                _ => {
                    self.changes.reserve().make_room();
                    self.make(purpose, next).map_err(files)?
                }
            };
            made = Some((next, public));
            let event = LedgerEvent::KeyChanged {
                purpose,
                key: next,
                public,
                state: KeyState::Pending,
                link: self.link_to(purpose, public)?,
            };
            Ok(Decided::record(view.now(), vec![event], next))
        };
        let next = turn.change(caller, decide).await?.value;
        self.advance(&turn).await?;
        self.view(purpose, next)
    }

    /// The number of the next key of `purpose`.
    fn next_key(&self, state: &State, purpose: KeyPurpose) -> Result<KeyId, BrokerError> {
        let is_pending = |(_, entry): (KeyId, &KeyEntry)| entry.state == KeyState::Pending;
        if state.live_keys(purpose).any(is_pending) {
            let overlap = self.rotation.overlap.as_secs();
            return Err(BrokerError::Conflict(format!(
                "a new {} key is pending already; it signs {overlap} s after it was made",
                purpose.as_str()
            )));
        }
        let numbers = state.keys.keys().filter(|(of, _)| *of == purpose);
        let last = numbers.map(|(_, id)| id.0).max();
        Ok(KeyId(last.unwrap_or(0).saturating_add(1)))
    }

    fn view(&self, purpose: KeyPurpose, id: KeyId) -> Result<KeyView, BrokerError> {
        let mut keys = self.keys().into_iter();
        let view = keys.find(|key| (key.purpose, key.id) == (purpose, id));
        view.ok_or_else(|| BrokerError::no_such(ObjectKind::Key(purpose, id)))
    }

    /// Moves keys on: pending ones that verifiers know by now become active, the active one before
    /// them retires, and retired ones whose last signature has ended are revoked.
    pub(crate) async fn advance_keys(&self) -> Result<(), BrokerError> {
        self.advance(&self.changes.turn().await).await
    }

    async fn advance(&self, turn: &Turn<'_>) -> Result<(), BrokerError> {
        let decide = |view: &View<'_>| {
            let now = view.now();
            let events = next_states(&view.state(), now, self.rotation.overlap);
            Ok::<_, BrokerError>(Decided::record(now, events, ()))
        };
        let done = turn.change(&Caller::broker(), decide).await?;
        // Or a key was changed before, and could not be followed then.
        if done.receipt.is_some() || self.ring().is_behind(&self.changes.state()) {
            self.follow_keys()?;
        }
        Ok(())
    }

    /// Begins the rotations that are due: of each purpose whose active key has signed long enough.
    pub(crate) async fn rotate_due_keys(&self) -> Result<(), BrokerError> {
        let Some(after) = self.rotation.after else {
            return Ok(());
        };
        let now = self.changes.now();
        let due = {
            let state = self.changes.state();
            KeyPurpose::ALL
                .into_iter()
                .filter(|purpose| is_due(&state, *purpose, (now, after)))
                .collect::<Vec<_>>()
        };
        let mut done = Ok(());
        for purpose in due {
            match self.rotate_key(&Caller::broker(), purpose).await {
                // Another rotation began meanwhile.
                Ok(_) | Err(BrokerError::Conflict(_)) => {}
                Err(error) => done = done.and(Err(error)),
            }
        }
        done
    }

    /// Revokes an operator key that retires: tokens that it signed are refused from now on, and the
    /// streams that were opened with them end.
    ///
    /// # Errors
    ///
    /// Refuses a key that signs or will sign (rotate first), and the one that signed the caller's own
    /// token, `own`: an operator who locked itself out could not finish what it began.
    pub async fn revoke_operator_key(
        &self,
        caller: &Caller,
        (id, own): (KeyId, Option<KeyId>),
    ) -> Result<KeyView, BrokerError> {
        let decide = |view: &View<'_>| {
            let state = view.state();
            let entry = state.keys.get(&(KeyPurpose::Operator, id));
            let entry = entry
                .ok_or_else(|| BrokerError::no_such(ObjectKind::Key(KeyPurpose::Operator, id)))?;
            refuse_in_use(entry.state, id, own)?;
            let event = LedgerEvent::KeyChanged {
                purpose: KeyPurpose::Operator,
                key: id,
                public: entry.public,
                state: KeyState::Revoked,
                link: None,
            };
            Ok::<_, BrokerError>(Decided::record(view.now(), vec![event], ()))
        };
        self.changes.in_turn(caller, decide).await?;
        self.follow_keys()?;
        self.view(KeyPurpose::Operator, id)
    }

    /// Writes every key file anew in the form that [`Options::keys_at_rest`](crate::Options) says; how
    /// many there are.
    ///
    /// # Errors
    ///
    /// When one cannot be written. Those before it have the new form then, and the rest the old one:
    /// try again.
    pub fn rewrite_key_files(&self) -> Result<usize, KeyringError> {
        self.ring().rewrite()
    }

    pub(crate) fn follow_keys(&self) -> Result<(), BrokerError> {
        let mut keyring = self.keyring.write_locked();
        keyring.follow(&self.changes.state()).map_err(files)
    }

    /// [`follow_keys`](Self::follow_keys), where the keys that sign are others than the records say.
    pub(crate) fn follow_if_behind(&self) -> Result<(), BrokerError> {
        let is_behind = self.ring().is_behind(&self.changes.state());
        if is_behind {
            self.follow_keys()
        } else {
            Ok(())
        }
    }

    fn make(&self, purpose: KeyPurpose, id: KeyId) -> Result<PublicKey, KeyringError> {
        let mut keyring = self.keyring.write_locked();
        keyring.make(purpose, id)
    }

    fn link_to(&self, purpose: KeyPurpose, new: PublicKey) -> Result<Option<String>, BrokerError> {
        let typ = match purpose {
            KeyPurpose::Feed => KeyLink::FEED_TYP,
            KeyPurpose::Checkpoint => KeyLink::CHECKPOINT_TYP,
            KeyPurpose::Root | KeyPurpose::Operator => return Ok(None),
        };
        let keyring = self.ring();
        let old = keyring.active(purpose).map_err(files)?;
        let link = KeyLink {
            v: Format::One,
            iss: self.rotation.issuer.clone(),
            old: old.public(),
            new,
        };
        link.sign(typ, old).map(Some).map_err(files)
    }
}

/// Why there are no first keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// A key could not be stored.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// They could not be recorded.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Refuses to revoke an operator key in another state than retiring, and the one that signed the caller's own token.
fn refuse_in_use(state: KeyState, id: KeyId, own: Option<KeyId>) -> Result<(), BrokerError> {
    let refusal = match state {
        KeyState::Retiring if own == Some(id) => format!(
            "your own token is signed with operator key {id}: make yourself a new one first, with \
             `hallpass operator add`, or offline with `hallpass operator recover`"
        ),
        KeyState::Retiring => return Ok(()),
        KeyState::Revoked => format!("operator key {id} is revoked already"),
        KeyState::Pending | KeyState::Active => {
            format!("operator key {id} signs: rotate first, with `hallpass keys rotate operator`")
        }
    };
    Err(BrokerError::Conflict(refusal))
}

/// Whether the newest active key of `purpose` signs for `after` and nothing is to follow it yet.
fn is_due(state: &State, purpose: KeyPurpose, (now, after): (Timestamp, Duration)) -> bool {
    let newest = state.live_keys(purpose).max_by_key(|(id, _)| *id);
    newest.is_some_and(|(_, entry)| {
        entry.state == KeyState::Active && now.since(entry.since) >= after
    })
}

/// How long a new key is published before it signs.
const fn pending_for(purpose: KeyPurpose, overlap: Duration) -> Duration {
    match purpose {
        // Operators' tokens are verified by the broker alone, which knows its keys at once.
        KeyPurpose::Operator => Duration::ZERO,
        KeyPurpose::Root | KeyPurpose::Feed | KeyPurpose::Checkpoint => overlap,
    }
}

/// What time alone changes about the keys.
fn next_states(state: &State, now: Timestamp, overlap: Duration) -> Vec<LedgerEvent> {
    let mut events = Vec::new();
    for purpose in KeyPurpose::ALL {
        let changed = |id, entry: &KeyEntry, state| LedgerEvent::KeyChanged {
            purpose,
            key: id,
            public: entry.public,
            state,
            link: None,
        };
        let overlap = pending_for(purpose, overlap);
        let known = |entry: &KeyEntry| {
            entry.state == KeyState::Pending && now.since(entry.since) >= overlap
        };
        let next = state.live_keys(purpose).find(|(_, entry)| known(entry));
        // The new one first: a crash may keep the first of two records, and then there are two active
        // keys, of which the later signs, and not none.
        events.extend(next.map(|(id, entry)| changed(id, entry, KeyState::Active)));
        let actives = || {
            state
                .live_keys(purpose)
                .filter(|(_, entry)| entry.state == KeyState::Active)
        };
        let signs = next
            .map(|(id, _)| id)
            .max(actives().map(|(id, _)| id).max());
        let before = actives().filter(|(id, _)| Some(*id) != signs);
        events.extend(before.map(|(id, entry)| changed(id, entry, KeyState::Retiring)));
        let over = |entry: &KeyEntry| match purpose {
            KeyPurpose::Root => now > entry.last_expiry.plus(overlap),
            KeyPurpose::Feed | KeyPurpose::Checkpoint => now.since(entry.since) > overlap,
            // What an operator key signed ends when its operator is removed or its time is over.
            KeyPurpose::Operator => state
                .operators
                .values()
                .all(|operator| !operator.is_accepted() || operator.expires_at < now),
        };
        let retired = state
            .live_keys(purpose)
            .filter(|(_, entry)| entry.state == KeyState::Retiring && over(entry));
        events.extend(retired.map(|(id, entry)| changed(id, entry, KeyState::Revoked)));
    }
    events
}

#[cfg(test)]
mod tests {
    use hallpass_core::base::key::PrivateKey;

    use super::*;

    fn entry(state: KeyState) -> KeyEntry {
        let public = PrivateKey::generate().public();
        KeyEntry {
            public,
            state,
            since: Timestamp::EPOCH,
            last_expiry: Timestamp::EPOCH,
        }
    }

    #[test]
    fn a_rotation_that_is_cut_after_any_record_leaves_a_key_that_signs() {
        let mut state = State::default();
        state
            .keys
            .insert((KeyPurpose::Root, KeyId(1)), entry(KeyState::Active));
        state
            .keys
            .insert((KeyPurpose::Root, KeyId(2)), entry(KeyState::Pending));
        let next = |state: &State| {
            let events = next_states(state, Timestamp::EPOCH, Duration::ZERO);
            let states = events.into_iter().filter_map(|event| match event {
                LedgerEvent::KeyChanged { key, state, .. } => Some((key, state)),
                _ => None,
            });
            states.collect::<Vec<_>>()
        };
        assert_eq!(
            next(&state),
            [(KeyId(2), KeyState::Active), (KeyId(1), KeyState::Retiring)]
        );
        state
            .keys
            .insert((KeyPurpose::Root, KeyId(2)), entry(KeyState::Active));
        assert_eq!(next(&state), [(KeyId(1), KeyState::Retiring)]);
    }
}
