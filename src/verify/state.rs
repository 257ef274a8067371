//! A verifier's state from its broker: keys, manifest, revocations, and their age.

use std::{collections::HashSet, sync::Arc, time::Duration};

use crate::{Refusal, revocations::Revocations};
use hallpass_core::{
    base::{
        ReasonCode,
        digest::SubjectDigest,
        ids::{IssuerUri, KeyId, ServerUri},
        key::PublicKey,
        time::{Clock, Timestamp},
    },
    token::{VerifiedPass, manifest::Manifest},
    wire::{
        DocumentError, SignedError,
        document::{Frame, RootKeyEntry, Subjects},
    },
};

/// The verifier's memory across restarts, so that no older frame is accepted afterwards.
///
/// `feed::load_memory` reads it from a state file, which the feed client writes. A program without the feed
/// client keeps the members itself.
///
/// It holds no revocations and no permission to clear anything: a restarted verifier refuses
/// until it has received a frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// The greatest epoch accepted.
    pub epoch: i64,
    /// The greatest sequence accepted in it.
    pub sequence: u64,
    /// The latest signed time accepted, in milliseconds since the Unix epoch.
    pub signed_at: i64,
    /// The feed keys that a pinned key vouched for.
    pub feed_keys: Vec<PublicKey>,
}

/// Why a frame or key document was refused. The verifier's state is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// No trusted feed key signed it, or it is not a frame.
    #[error("no trusted feed key signed the frame")]
    Signature,
    /// The signature is valid, but this build cannot read the content.
    #[error("the broker's document is signed correctly but cannot be read: {problem}")]
    Unreadable {
        /// The problem.
        problem: String,
    },
    /// It is of a format that this build does not read.
    #[error(
        "the broker's document is of format {found}, which this build does not read: upgrade this verifier"
    )]
    Format {
        /// The format.
        found: u64,
    },
    /// The document's `crit` lists a member that this build does not know.
    #[error(
        "the broker's document requires the member `{member}` (`crit`), which this build does not know: upgrade this verifier"
    )]
    Critical {
        /// The path of the member.
        member: String,
    },
    /// It is from another broker or for another server.
    #[error("the frame is from another broker or for another server")]
    Address,
    /// It is older than one that was accepted: a replay, or a broker that was restored from a backup.
    #[error(
        "the frame is older than one accepted before (sequence {given}, have {have}): check whether the broker was restored from a backup"
    )]
    Older {
        /// The frame's sequence.
        given: u64,
        /// The sequence accepted before.
        have: u64,
    },
    /// Frames between this one and the last are missing: ask for a snapshot.
    #[error("frames are missing: have sequence {have}, the frame starts at {since}")]
    Gap {
        /// The sequence accepted before.
        have: u64,
        /// The sequence the frame starts at.
        since: u64,
    },
}

impl From<DocumentError> for FrameError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Format { found, .. } => Self::Format { found },
            DocumentError::Critical { at } => Self::Critical { member: at },
            other => Self::Unreadable {
                problem: other.to_string(),
            },
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) keys: Vec<RootKeyEntry>,
    pub(super) manifest: Arc<Manifest>,
    pub(super) revocations: Revocations,
    /// The signed time of the last snapshot: revocations that expired before may be unknown.
    pub(super) snapshot_at: Timestamp,
    suspended_holders: HashSet<SubjectDigest>,
    memory: Memory,
    heard: Option<Heard>,
}

/// When the newest frame arrived, by the broker's clock and by the local monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Heard {
    signed_at: Timestamp,
    monotonic: Duration,
}

impl State {
    pub(super) fn new(manifest: Manifest, memory: Memory) -> Self {
        Self {
            keys: Vec::new(),
            manifest: Arc::new(manifest),
            revocations: Revocations::default(),
            snapshot_at: Timestamp::EPOCH,
            suspended_holders: HashSet::new(),
            memory,
            heard: None,
        }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn trust_feed_keys(&mut self, keys: &[PublicKey]) {
        for key in keys {
            if !self.memory.feed_keys.contains(key) {
                self.memory.feed_keys.push(*key);
            }
        }
    }

    pub(super) fn root_key(&self, id: KeyId) -> Option<&PublicKey> {
        self.keys
            .iter()
            .find(|entry| entry.id == id)
            .map(|entry| &entry.key)
    }

    /// The refusal of a pass with a suspended agent among its holders.
    pub(super) fn refuse_suspended_holders(&self, pass: &VerifiedPass) -> Vec<Refusal> {
        let Some(chain) = pass.holder().filter(|_| !self.suspended_holders.is_empty()) else {
            return Vec::new();
        };
        let suspended = chain
            .keys()
            .filter(|(_, key)| self.suspended_holders.contains(&Subjects::holder(key)));
        let detail = "its holder is a revoked agent";
        suspended
            .map(|(block, _)| Refusal::new(ReasonCode::RevokedAgent, block, detail))
            .collect()
    }

    /// The time for decisions: the later of the local clock and the broker's time carried forward
    /// by the local monotonic clock. A local clock that is set back revives no pass; one that is set
    /// forward causes refusals until it is corrected.
    pub(super) fn time(&self, clock: &dyn Clock) -> Timestamp {
        let carried = self.heard.map_or(
            Timestamp::from_unix_millis(self.memory.signed_at),
            |heard| {
                heard
                    .signed_at
                    .plus(clock.monotonic().saturating_sub(heard.monotonic))
            },
        );
        clock.now().max(carried)
    }

    /// Whether the newest frame is too old, by either clock, or there is none.
    pub(super) fn is_stale(&self, clock: &dyn Clock, bound: Duration) -> bool {
        self.heard.is_none_or(|heard| {
            let by_signed_time = self.time(clock).since(heard.signed_at);
            let by_own_time = clock.monotonic().saturating_sub(heard.monotonic);
            by_signed_time > bound || by_own_time > bound
        })
    }

    pub(super) fn verify_frame(&self, text: &str) -> Result<Frame, FrameError> {
        let answers = self
            .memory
            .feed_keys
            .iter()
            .map(|key| Frame::read(key, text));
        for answer in answers {
            match answer {
                Ok(frame) => return Ok(frame),
                Err(SignedError::Document(error)) => return Err(error.into()),
                Err(SignedError::Jws(_)) => {}
            }
        }
        Err(FrameError::Signature)
    }

    /// Applies a verified frame atomically.
    pub(super) fn accept(
        &mut self,
        frame: Frame,
        me: (&IssuerUri, &ServerUri),
        clock: &dyn Clock,
    ) -> Result<(), FrameError> {
        if (&frame.iss, &frame.aud) != me {
            return Err(FrameError::Address);
        }
        let have = (
            self.memory.epoch,
            self.memory.sequence,
            self.memory.signed_at,
        );
        if (frame.epoch, frame.sequence, frame.at.unix_millis()) < have
            || frame.at.unix_millis() < have.2
        {
            return Err(FrameError::Older {
                given: frame.sequence,
                have: have.1,
            });
        }
        let is_snapshot = frame.since.is_none();
        if let Some(since) = frame.since
            && (self.heard.is_none() || frame.epoch != have.0 || since > have.1)
        {
            return Err(FrameError::Gap {
                have: have.1,
                since,
            });
        }
        if frame
            .manifest
            .as_ref()
            .is_some_and(|manifest| manifest.server != *me.1)
        {
            return Err(FrameError::Address);
        }
        if is_snapshot {
            self.revocations.begin_snapshot(frame.at);
            self.snapshot_at = frame.at;
        }
        self.revocations.add(&frame.revocations);
        if let Some(holders) = frame.suspended_holders {
            self.suspended_holders = holders.into_iter().collect();
        }
        if let Some(keys) = frame.keys {
            self.keys = keys;
        }
        if let Some(manifest) = frame.manifest {
            self.manifest = Arc::new(manifest);
        }
        if let Some(feed_keys) = frame.feed_keys {
            self.memory.feed_keys = feed_keys;
        }
        (self.memory.epoch, self.memory.sequence) = (frame.epoch, frame.sequence);
        self.memory.signed_at = frame.at.unix_millis();
        // A frame that was signed no later than the last one does not prove freshness: replaying it must
        // not make the state look younger.
        if self.heard.is_none_or(|heard| heard.signed_at < frame.at) {
            self.heard = Some(Heard {
                signed_at: frame.at,
                monotonic: clock.monotonic(),
            });
        }
        // By the broker's time, not the local clock: a local clock that was set forward for a while must
        // not cause revocations to be dropped.
        self.revocations.prune(frame.at);
        Ok(())
    }
}
