//! How a broker is run.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use crate::{KeysAtRest, ledger::record::Head};
use hallpass_core::base::ids::{AgentId, IssuerUri};

/// How a broker is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The issuer that passes name.
    pub issuer: IssuerUri,
    /// What a start does with a journal that was written under another issuer.
    pub other_issuer: OtherIssuer,
    /// Where journal, index, keys and directory live.
    pub data_dir: PathBuf,
    /// Where grants and guardrails live.
    pub policy_dir: PathBuf,
    /// A task lasts at most this long.
    pub max_task_ttl: Duration,
    /// A pass lives at most this long, whatever a grant says.
    pub max_pass_ttl: Duration,
    /// A new key is published this long before it signs: longer than any verifier's staleness bound.
    pub rotation_overlap: Duration,
    /// A key that has signed this long is rotated; `None` leaves that to operators.
    pub rotate_keys_after: Option<Duration>,
    /// Whether private key files are encrypted.
    pub keys_at_rest: KeysAtRest,
    /// A record that the journal is known to have had: one that lacks it is an older copy, and refused.
    pub expected_head: Option<Head>,
    /// Whether the machine's time of day is right although the last record is much older.
    pub accept_clock: bool,
    /// Beyond this many bytes the chain of decisions that verifiers report loses its oldest segments.
    pub decisions_bytes: u64,
    /// How the journal is split, and which of its past is kept.
    pub retention: Retention,
    /// The agents that a trusted platform proves to be its workloads: they need no key or secret.
    pub workloads: BTreeSet<AgentId>,
}

impl Options {
    /// The defaults of the configuration.
    #[must_use]
    pub fn new(issuer: IssuerUri, data_dir: PathBuf, policy_dir: PathBuf) -> Self {
        Self {
            issuer,
            other_issuer: OtherIssuer::default(),
            data_dir,
            policy_dir,
            max_task_ttl: Duration::from_secs(8 * 3600),
            max_pass_ttl: Duration::from_secs(3600),
            rotation_overlap: Duration::from_secs(120),
            rotate_keys_after: None,
            keys_at_rest: KeysAtRest::Plain,
            expected_head: None,
            accept_clock: false,
            decisions_bytes: 1024 * 1024 * 1024,
            retention: Retention::default(),
            workloads: BTreeSet::new(),
        }
    }
}

/// What a start does with a journal whose last start wrote under another issuer than [`Options::issuer`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OtherIssuer {
    /// It goes on as the configured issuer, and [`Opened::issuer_before`](crate::Opened::issuer_before) says so.
    #[default]
    Change,
    /// It is refused: no other issuer was asked for.
    Refuse,
    /// It goes on as the issuer of the journal. For commands that serve no client.
    Keep,
}

/// How the journal is split, and which of its past is kept. By default all of it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// A segment that is longer than this many bytes is followed by a new one; one that begins with a snapshot of more
    /// than 2 MiB only when it is four times as long as that, too.
    pub segment_bytes: u64,
    /// Segments whose last record is older than this are removed.
    pub keep_for: Option<Duration>,
    /// The oldest segments are removed until all that are left have at most so many bytes.
    pub keep_bytes: Option<u64>,
    /// What is removed is copied there first.
    pub archive_dir: Option<PathBuf>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            keep_for: None,
            keep_bytes: None,
            archive_dir: None,
        }
    }
}
