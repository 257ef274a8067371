//! Room on the disk: when it runs low, minting is refused first and revoking last.
//!
//! A journal that cannot be written stops the broker, and then nothing can be revoked either. So a part
//! of the disk is set aside in a file: what makes rights stops while there is still room beside it, and
//! when even that is gone the file is given up, for what ends rights and for the next start.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::{
    BrokerError,
    domain::event::{Actor, LedgerEvent},
};
use hallpass_core::base::private_file;

/// The room in the data directory's file system.
#[derive(Debug)]
pub(crate) struct DiskReserve {
    data_dir: PathBuf,
    /// Whether the reserve lies there, as far as this process knows.
    held: AtomicBool,
    /// Whether the file system can set room aside.
    can_hold: AtomicBool,
    /// Whether the last log line about disk space said that it is low.
    low: AtomicBool,
}

impl DiskReserve {
    /// Gives the reserve up when there is hardly any room beside it, so that the journal in `data_dir`
    /// can be opened: that cuts, notes and indexes.
    pub(crate) fn before_opening(data_dir: &Path) -> Self {
        let reserve = Self {
            data_dir: data_dir.to_owned(),
            held: AtomicBool::new(is_whole(&data_dir.join(RESERVE_FILE))),
            can_hold: AtomicBool::new(true),
            low: AtomicBool::new(false),
        };
        reserve.make_room();
        reserve
    }

    /// Allocates the reserve again when there is space for it, and logs when that has changed.
    /// Blocks on the disk.
    pub(crate) fn keep(&self) {
        let is_low = self.is_low();
        if !is_low && !self.held.load(Ordering::SeqCst) && self.can_hold.load(Ordering::SeqCst) {
            match self.lay_in() {
                Ok(()) => self.held.store(true, Ordering::SeqCst),
                Err(error) => {
                    // What room there is counts all the same; only others are not held off from it.
                    self.can_hold.store(false, Ordering::SeqCst);
                    tracing::warn!(error = %error, "no room on the disk can be set aside");
                }
            }
        }
        if self.low.swap(is_low, Ordering::SeqCst) == is_low {
            return;
        }
        if is_low {
            tracing::warn!(directory = %self.data_dir.display(), "room on the disk is low: only what ends rights is recorded");
        } else {
            tracing::info!("there is room on the disk again: everything is recorded");
        }
    }

    /// Refuses what makes rights while room is low. What ends rights passes; what operators do to that end, and what
    /// the broker does of itself, a start above all, may use the reserve. Agents may not: their completions would
    /// use it up.
    pub(crate) fn admit(&self, actor: &Actor, events: &[LedgerEvent]) -> Result<(), BrokerError> {
        // SECURITY: any client can cause these records, so the reserve is not for them.
        let is_a_strangers = |event: &LedgerEvent| {
            matches!(
                event,
                LedgerEvent::ClientRegistered { .. } | LedgerEvent::CodeUsed { .. }
            )
        };
        let ends = events.iter().any(ends_rights);
        let may_use_reserve = match actor {
            Actor::Broker => !events.iter().any(is_a_strangers),
            Actor::Operator(_) => ends,
            Actor::Agent(_) | Actor::TaskClient(_) | Actor::Steward(_) => false,
        };
        let has_room = if may_use_reserve {
            // Not sooner: another writer would take the space that is released.
            self.make_room();
            true
        } else if ends {
            let set_aside = if self.held.load(Ordering::SeqCst) {
                0
            } else {
                RESERVE_BYTES
            };
            self.free()
                .is_none_or(|free| free >= LAST_BYTES.saturating_mul(2).saturating_add(set_aside))
        } else {
            !self.is_low()
        };
        if has_room {
            Ok(())
        } else {
            Err(BrokerError::StorageLow)
        }
    }

    /// Whether there is less room, the reserve included, than the reserve and as much again.
    pub(crate) fn is_low(&self) -> bool {
        !self.has_room_for(0)
    }

    /// Whether room is not low once `bytes` more are taken.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        let reserved = if self.held.load(Ordering::SeqCst) {
            RESERVE_BYTES
        } else {
            0
        };
        let wanted = RESERVE_BYTES.saturating_mul(2).saturating_add(bytes);
        self.free()
            .is_none_or(|free| free.saturating_add(reserved) >= wanted)
    }

    /// Gives the reserve up when there is hardly any room beside it.
    pub(crate) fn make_room(&self) {
        if self.held.load(Ordering::SeqCst) && self.free().is_some_and(|free| free < LAST_BYTES) {
            self.held.store(false, Ordering::SeqCst);
            match fs::remove_file(self.reserve()) {
                Ok(()) => tracing::warn!(
                    bytes = RESERVE_BYTES,
                    "the disk is full: the reserve was given up"
                ),
                Err(error) => {
                    tracing::error!(error = %error, "the disk is full and the reserve cannot be given up")
                }
            }
        }
    }

    /// The bytes that this process may still use; `None` when the file system does not say, which
    /// refuses nothing: a write that fails is reported all the same.
    fn free(&self) -> Option<u64> {
        let found = statvfs(&self.data_dir).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn lay_in(&self) -> io::Result<()> {
        let path = self.reserve();
        let file = private_file::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let laid_in = fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES);
        if laid_in.is_err() {
            fs::remove_file(&path)?;
        }
        Ok(laid_in?)
    }

    fn reserve(&self) -> PathBuf {
        self.data_dir.join(RESERVE_FILE)
    }
}

/// Whether the file takes the room that it is there for: a copy of it may be a hole.
fn is_whole(reserve: &Path) -> bool {
    fs::metadata(reserve).is_ok_and(|reserve| reserve.blocks().saturating_mul(512) >= RESERVE_BYTES)
}

/// Whether the event takes rights away. Events of keys count: before a key that leaked
/// can be revoked there must be another.
const fn ends_rights(event: &LedgerEvent) -> bool {
    match event {
        LedgerEvent::Revoked { .. }
        | LedgerEvent::TaskCompleted { .. }
        | LedgerEvent::OperatorRemoved { .. }
        | LedgerEvent::AgentRemoved { .. }
        | LedgerEvent::ServerRemoved { .. }
        | LedgerEvent::StewardErased { .. }
        | LedgerEvent::StewardUnidentified { .. }
        | LedgerEvent::CodeUsed { task: None, .. }
        | LedgerEvent::KeyChanged { .. } => true,
        // The journal's own, and no caller's to refuse.
        LedgerEvent::SegmentBegun { .. }
        | LedgerEvent::BrokerStarted { .. }
        | LedgerEvent::OperatorAdded { .. }
        | LedgerEvent::StewardAdded { .. }
        | LedgerEvent::StewardIdentified { .. }
        | LedgerEvent::AgentSet { .. }
        | LedgerEvent::ServerSet { .. }
        | LedgerEvent::ServerSecretsSet { .. }
        | LedgerEvent::PolicyLoaded { .. }
        | LedgerEvent::TaskOpened { .. }
        | LedgerEvent::TokenIssued { .. }
        | LedgerEvent::RequestRefused { .. }
        | LedgerEvent::DelegationReported { .. }
        | LedgerEvent::Reinstated { .. }
        | LedgerEvent::AssertionUsed { .. }
        | LedgerEvent::SignInCodeMade { .. }
        | LedgerEvent::SignedIn { .. }
        | LedgerEvent::ConsentGiven { .. }
        | LedgerEvent::CodeUsed { .. }
        | LedgerEvent::RefreshRotated { .. }
        | LedgerEvent::ClientRegistered { .. } => false,
    }
}

/// The reserve's name in the data directory.
const RESERVE_FILE: &str = "reserve";

/// About 15,000 revocations, and several starts.
const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// With less than this beside it the reserve is given up: the writer's largest batch, and a call that is as long as
/// a record may be.
const LAST_BYTES: u64 = 6 * 1024 * 1024;
