//! The revocation set, in memory. It is exact.

use std::{collections::HashMap, time::Duration};

use crate::Refusal;
use hallpass_core::{
    base::{
        ReasonCode,
        digest::SubjectDigest,
        ids::{KeyId, ServerUri},
        time::Timestamp,
    },
    token::{HolderChain, VerifiedPass},
    wire::document::{RevocationEntry, Subjects},
};

/// How long after the end of a pass the answer to a call that was cleared with it is still delivered.
pub(super) const LATE_ANSWER: Duration = Duration::from_secs(3600);

/// Revoked subjects with their cut-off and their expiry.
#[derive(Debug, Clone, Default)]
pub(super) struct Revocations {
    entries: HashMap<SubjectDigest, Entry>,
    /// Entries that expired less than [`LATE_ANSWER`] ago: they decide about the answers of calls that
    /// outlive their pass.
    expired: HashMap<SubjectDigest, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    cut_off: Option<Timestamp>,
    expires_at: Timestamp,
}

impl Revocations {
    /// Adds entries; the widest cut-off and the latest expiry of a subject win.
    pub(super) fn add(&mut self, entries: &[RevocationEntry]) {
        for entry in entries {
            let new = Entry {
                cut_off: entry.cut_off,
                expires_at: entry.expires_at,
            };
            let merged = self.entries.get(&entry.subject).map_or(new, |old| Entry {
                // No cut-off at all is the widest.
                cut_off: old.cut_off.zip(new.cut_off).map(|(old, new)| old.max(new)),
                expires_at: old.expires_at.max(new.expires_at),
            });
            self.entries.insert(entry.subject, merged);
        }
    }

    /// Removes all entries for those of a snapshot. Expired ones are kept for late answers.
    pub(super) fn begin_snapshot(&mut self, now: Timestamp) {
        self.prune(now);
        self.entries.clear();
    }

    /// Drops expired entries, which cannot affect an unexpired pass, once they cannot affect a late answer either.
    pub(super) fn prune(&mut self, now: Timestamp) {
        let expired = self.entries.extract_if(|_, entry| entry.expires_at <= now);
        self.expired.extend(expired);
        self.expired
            .retain(|_, entry| entry.expires_at.plus(LATE_ANSWER) > now);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Every revocation that applies to `pass`, signed by `key` and used at `me`.
    pub(super) fn refusals(&self, pass: &VerifiedPass, key: KeyId, me: &ServerUri) -> Vec<Refusal> {
        if self.entries.is_empty() && self.expired.is_empty() {
            return Vec::new();
        }
        let claims = pass.claims();
        let blocks = pass.blocks().iter().enumerate().map(|(block, id)| {
            (
                Subjects::token(id),
                ReasonCode::RevokedToken,
                Some(block),
                "this token was revoked",
            )
        });
        let named = [
            (
                Subjects::task(&claims.task),
                ReasonCode::RevokedTask,
                None,
                "the task was revoked or is complete",
            ),
            (
                Subjects::agent(&claims.agent),
                ReasonCode::RevokedAgent,
                None,
                "the agent was revoked",
            ),
            (
                Subjects::steward(&claims.steward),
                ReasonCode::RevokedSteward,
                None,
                "the steward was revoked",
            ),
            (
                Subjects::server(me),
                ReasonCode::RevokedServer,
                None,
                "the server was revoked",
            ),
            (
                Subjects::key(key),
                ReasonCode::RevokedKey,
                None,
                "the root key was revoked",
            ),
        ];
        let keys = pass
            .holder()
            .into_iter()
            .flat_map(HolderChain::keys)
            .map(|(block, key)| {
                let detail = if block.is_some() {
                    "this delegate was revoked"
                } else {
                    "the holder was revoked"
                };
                (
                    Subjects::holder(key),
                    ReasonCode::RevokedAgent,
                    block,
                    detail,
                )
            });
        let concerned = |subject: &SubjectDigest| {
            let covers = |entry: &Entry| {
                entry
                    .cut_off
                    .is_none_or(|cut_off| claims.issued_at <= cut_off)
            };
            self.entries.get(subject).is_some_and(covers)
                || self.expired.get(subject).is_some_and(covers)
        };
        blocks
            .chain(named)
            .chain(keys)
            .filter(|(subject, ..)| concerned(subject))
            .map(|(_, code, block, detail)| Refusal::new(code, block, detail))
            .collect()
    }
}
