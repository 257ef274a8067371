//! The feed: keys, manifests and revocations, signed and pushed to the verifiers concerned.
//!
//! One task for each server that is followed: it waits for changes, gathers what comes within a few
//! milliseconds, signs one frame and sends the same bytes to every subscriber. Without a change
//! it signs a heartbeat, so that a verifier can distinguish silence from a broken connection.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{broadcast, watch};

use crate::{
    BrokerError, ObjectKind, State,
    change::Changes,
    domain::{event::KeyPurpose, state::FeedNews},
    error::files,
    keys::lifecycle::Keys,
};
use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::{
    base::{
        format::Format,
        ids::{IssuerUri, ServerUri},
        key::PublicKey,
        time::Timestamp,
    },
    wire::document::{Frame, KeyDocument, RootKeyEntry},
};

/// A heartbeat goes out when nothing else did for this long.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// News that come within this time share a frame; an operator's do not wait.
const COALESCE: Duration = Duration::from_millis(20);

/// Frames that a slow subscriber may lag behind before it has to start again.
const BACKLOG: usize = 256;

/// A frame, signed once for all who follow one server.
#[derive(Debug, Clone)]
pub struct SignedFrame {
    /// The sequence that its receiver then has.
    pub sequence: u64,
    /// When it was signed.
    pub at: Timestamp,
    /// The compact JWS.
    pub text: Arc<str>,
}

/// What a subscriber gets: a first frame, then every later one.
#[derive(Debug)]
pub struct Subscription {
    /// A snapshot, or a delta when the subscriber said what it has.
    pub first: SignedFrame,
    frames: broadcast::Receiver<SignedFrame>,
}

impl Subscription {
    /// The next frame; `None` when the subscriber lagged too far behind or the broker stops: it
    /// then begins anew with a snapshot.
    pub async fn next(&mut self) -> Option<SignedFrame> {
        loop {
            let frame = self.frames.recv().await.ok()?;
            let is_newer = frame.sequence >= self.first.sequence && frame.at >= self.first.at;
            if is_newer {
                return Some(frame);
            }
            if frame.sequence > self.first.sequence {
                // Its news must not be lost: the subscriber begins anew.
                return None;
            }
            // What the first frame said already would look like a replay.
        }
    }
}

/// The feed of every server.
#[derive(Debug)]
pub struct Feed {
    pub(crate) changes: Arc<Changes>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) issuer: IssuerUri,
    /// The last record that concerns the feed.
    pub(crate) news: watch::Sender<u64>,
    pub(crate) hub: Hub,
}

/// The subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    /// The latest signed time, in milliseconds: frames never go back, even when the clock does.
    signed_at: AtomicI64,
    servers: Mutex<HashMap<ServerUri, broadcast::Sender<SignedFrame>>>,
}

impl Hub {
    /// `now`, or the latest time that was signed when that is later.
    fn signing_time(&self, now: Timestamp) -> Timestamp {
        let before = self
            .signed_at
            .fetch_max(now.unix_millis(), Ordering::SeqCst);
        now.max(Timestamp::from_unix_millis(before))
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<ServerUri, broadcast::Sender<SignedFrame>>> {
        self.servers.locked()
    }
}

impl Feed {
    /// A signed frame for `server`: a snapshot, or what happened after `since`.
    ///
    /// # Errors
    ///
    /// When there is no such server, or no key to sign with.
    pub fn feed_frame(
        &self,
        server: &ServerUri,
        since: Option<u64>,
    ) -> Result<SignedFrame, BrokerError> {
        let (frame, at) = {
            let state = self.changes.state();
            // Under the state's lock and never twice the same way back: a later state has a later time.
            let at = self.hub.signing_time(self.changes.now());
            if !state.servers.contains_key(server) {
                return Err(BrokerError::not_found(ObjectKind::Server, server));
            }
            let since = since.filter(|since| state.remembers_since(*since));
            (build_frame(&state, (&self.issuer, server), since, at), at)
        };
        let keyring = self.keys.ring();
        let key = keyring.feed().map_err(files)?;
        let text = frame.sign(key).map_err(files)?;
        if let Some(meters) = self.changes.meters() {
            (meters.frame_signed)();
        }
        Ok(SignedFrame {
            sequence: frame.sequence,
            at,
            text: text.into(),
        })
    }

    /// Subscribes to the feed of `server`. Must be called inside the runtime that serves it.
    ///
    /// # Errors
    ///
    /// As [`feed_frame`](Self::feed_frame).
    pub fn subscribe(
        self: &Arc<Self>,
        server: &ServerUri,
        since: Option<u64>,
    ) -> Result<Subscription, BrokerError> {
        // Subscribed before the first frame is built, so that nothing falls between the two.
        let frames = self.follow(server);
        let first = self.feed_frame(server, since)?;
        Ok(Subscription { first, frames })
    }

    /// How many subscribers there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        let servers = self.hub.servers();
        servers
            .values()
            .map(broadcast::Sender::receiver_count)
            .sum()
    }

    /// The public key document.
    ///
    /// # Errors
    ///
    /// When there is no key to sign frames or heads with.
    pub fn key_document(&self) -> Result<KeyDocument, BrokerError> {
        let (feed_key, checkpoint_key) = {
            let keyring = self.keys.ring();
            (
                keyring.feed().map_err(files)?.public(),
                keyring.checkpoint().map_err(files)?.public(),
            )
        };
        let state = self.changes.state();
        Ok(KeyDocument {
            v: Format::One,
            iss: self.issuer.clone(),
            at: self.changes.now(),
            keys: root_keys(&state),
            feed_key,
            feed_key_chain: state.feed_key_chain.clone(),
            checkpoint_key: Some(checkpoint_key),
            checkpoint_key_chain: state.checkpoint_key_chain.clone(),
        })
    }

    fn follow(self: &Arc<Self>, server: &ServerUri) -> broadcast::Receiver<SignedFrame> {
        let mut servers = self.hub.servers();
        if let Some(sender) = servers.get(server) {
            return sender.subscribe();
        }
        let (sender, receiver) = broadcast::channel(BACKLOG);
        servers.insert(server.clone(), sender.clone());
        let news = self.news.subscribe();
        let publisher = Publisher {
            feed: Arc::downgrade(self),
            server: server.clone(),
            sender,
        };
        // Read here, before the first frame is built: what happens in between is sent twice, not never.
        let published = self.changes.state().last_sequence();
        tokio::spawn(publisher.run(news, published));
        receiver
    }

    /// Ends every subscription, so that a draining server can stop.
    pub fn end_subscriptions(&self) {
        self.hub.servers().clear();
        // Wakes the publishers, who then see that they are not wanted.
        self.news.send_modify(|_| {});
    }
}

struct Publisher {
    feed: Weak<Feed>,
    server: ServerUri,
    sender: broadcast::Sender<SignedFrame>,
}

impl Publisher {
    async fn run(self, mut news: watch::Receiver<u64>, mut published: u64) {
        loop {
            let woken = tokio::time::timeout(HEARTBEAT, news.changed()).await;
            let Some(feed) = self.feed.upgrade() else {
                return;
            };
            if matches!(woken, Ok(Err(_))) || !self.is_wanted(&feed) {
                return;
            }
            if woken.is_ok() && !has_urgent_news(&feed.changes.state(), published) {
                tokio::time::sleep(COALESCE).await;
            }
            news.mark_unchanged();
            match feed.feed_frame(&self.server, Some(published)) {
                Ok(frame) => {
                    published = frame.sequence;
                    // No subscriber is no error; the next heartbeat ends this task.
                    let _ = self.sender.send(frame);
                }
                Err(error) => {
                    tracing::warn!(server = %self.server, error = %error, "the feed of a server ends");
                    feed.hub.servers().remove(&self.server);
                    return;
                }
            }
        }
    }

    /// Whether there are subscribers; when not, the entry is removed under the lock, so that the next
    /// subscriber starts a new publisher.
    fn is_wanted(&self, feed: &Feed) -> bool {
        let mut servers = feed.hub.servers();
        let is_ours = servers
            .get(&self.server)
            .is_some_and(|sender| sender.same_channel(&self.sender));
        if is_ours && self.sender.receiver_count() == 0 {
            servers.remove(&self.server);
            return false;
        }
        is_ours
    }
}

fn has_urgent_news(state: &State, published: u64) -> bool {
    state.news_since(published).any(|change| change.urgent)
}

fn build_frame(
    state: &State,
    (issuer, server): (&IssuerUri, &ServerUri),
    since: Option<u64>,
    at: Timestamp,
) -> Frame {
    let is_snapshot = since.is_none();
    let mut keys_changed = is_snapshot;
    let mut manifest_changed = is_snapshot;
    let mut holders_changed = is_snapshot;
    let mut revocations = Vec::new();
    for change in state.news_since(since.unwrap_or(0)) {
        match &change.what {
            FeedNews::Keys => keys_changed = true,
            FeedNews::Holders => holders_changed = true,
            FeedNews::Manifest(of) => manifest_changed |= of == server,
            FeedNews::Revocation(entries, servers)
                if servers.is_empty() || servers.contains(server) =>
            {
                holders_changed |= change.concerns_keys;
                revocations.extend(
                    entries
                        .iter()
                        .filter(|entry| entry.expires_at > at)
                        .cloned(),
                );
            }
            FeedNews::Revocation(..) => {}
        }
    }
    let manifest = state.servers.get(server).filter(|_| manifest_changed);
    let suspended_holders = holders_changed.then(|| state.suspended_holders());
    Frame {
        v: Format::One,
        iss: issuer.clone(),
        aud: server.clone(),
        epoch: state.epoch(),
        since,
        sequence: state.last_sequence(),
        at,
        keys: keys_changed.then(|| root_keys(state)),
        feed_keys: keys_changed.then(|| feed_keys(state)),
        manifest: manifest.map(|manifest| manifest.as_ref().clone()),
        revocations,
        suspended_holders,
    }
}

fn root_keys(state: &State) -> Vec<RootKeyEntry> {
    state
        .live_keys(KeyPurpose::Root)
        .map(|(id, entry)| RootKeyEntry {
            id,
            key: entry.public,
        })
        .collect()
}

/// Every feed key to be trusted from now on; one that is pending will sign soon.
fn feed_keys(state: &State) -> Vec<PublicKey> {
    state
        .live_keys(KeyPurpose::Feed)
        .map(|(_, entry)| entry.public)
        .collect()
}
