//! The journal: everything that happened, in one append-only, hash-chained log. It is the truth;
//! every other view of the broker's state is derived from it.
//!
//! One record is one line of JSON: `{"seq":N,"prev":"…",<members of the entry>,"hash":"…"}`. The
//! hash is SHA-256 over the exact bytes of the line before `,"hash":"`, and `prev` is the hash of
//! the line before, so no bit can change, and no record leave, enter or move, without it showing.
//!
//! What a caller may rely on:
//!
//! - [`Journal::append`] answers after `fdatasync` succeeded for the bytes of the call, and after the
//!   state derived from them was updated. A [`Receipt`] is the proof.
//! - After a failed write or sync nothing is acknowledged any more, by this process, ever: a sync
//!   that failed must not be tried again, since the kernel may have dropped the pages.
//! - At the next start a torn tail, which was never acknowledged, is cut, kept aside and reported.
//!   Any other damage stops the start and names its place.
//! - One process at a time: a lock on the data directory refuses the second.
//!
//! The records of one call are adjacent, and answered together. A crash in the middle of a call may
//! keep a first part of its records, without an answer.
//!
//! The chain goes on through numbered files, the segments. Each but the first begins with a record of its
//! own, [`ChainEvent::segment_begun`], which can hold the digest of a snapshot: all that the records before it add
//! up to. So a start checks every segment that is kept and replays only what follows the newest snapshot,
//! and the oldest segments can be archived or removed ([`Journal::retire`]). While a segment is begun nothing
//! is written, for as long as its snapshot takes.
//!
//! It is not an index (see [`index`](crate::ledger::views)).

mod copy;
mod error;
mod files;
mod handle;
mod journal;
mod line;
mod lines;
mod open;
mod options;
mod queue;
mod read;
mod recover;
mod recovery;
mod retention;
mod retire;
mod roll;
mod snapshot;
mod writer;

pub use crate::ledger::record::{Head, HeadError, LinePlace, Record};
pub use copy::JournalCopy;
pub use error::{Damage, Flaw, JournalError, MAX_ENTRY_BYTES, OpenError, ReadError};
pub use files::{LOCK_FILE, segment_name, segment_number, segments_of};
pub use handle::{FileLedger, RetireError};
pub use journal::Journal;
pub use line::Chain;
pub use lines::{Line, Lines};
pub use options::{DIRECTORY, Options};
pub use read::{Reader, Records, Segment};
pub use recovery::{Recovered, Recovery, Restore, Torn};
pub use retention::{Keep, ShortenError};
pub use snapshot::{Snapshot, SnapshotError, TakeSnapshot};
pub use writer::{Apply, Storage};

#[cfg(doc)]
use crate::{domain::event::ChainEvent, ledger::Receipt};
