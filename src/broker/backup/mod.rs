//! Backups: a copy of all that a broker needs to go on, made while it runs, and putting one back.
//!
//! **What the copy is.** The journal is append-only; keys, names and policy are small files that are replaced whole. So
//! the small files are read, then the journal up to its end, then the small files again, until both readings are the
//! same. The copy is then what a crash at that moment would have left, and a broker recovers from that by design:
//! each file is written in such an order with its record that either may be missing. No fixed order would do:
//!
//! - *Keys*: a file is written before its key is recorded and destroyed after its revocation is. Keys copied before the
//!   journal lack a new one that the journal names; copied after it, an old one that the journal still lets live. A
//!   broker starts with neither.
//! - *Names*: copied before the journal, a name comes back whose erasure is recorded, and a link to an identity that was
//!   taken away; copied after it, a link is there that no record shows.
//! - *Decisions* are a chain of its own, whose records name tasks of the journal. It is copied first, so that the
//!   journal has all that it names.
//!
//! What is derived (`index/`, `tree/`) and what belongs to a running process (`lock`, `reserve`) is not copied.

mod error;
mod make;
mod manifest;
mod progress;
mod restore;
mod small;

pub use error::{BackupError, RestoreError};
pub use make::{BackedUp, BackupSource, back_up};
pub use manifest::{BackupFile, BackupManifest, CONFIGURATION, Extent, MANIFEST};
pub use progress::Progress;
pub use restore::{Backup, RestoreTo};
