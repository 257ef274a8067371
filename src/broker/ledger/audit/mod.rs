//! The audit trail: proofs of what is in it, checking it from bytes and a public key alone, and showing
//! it to people.
//!
//! [`verify`] needs no lock, no index and no broker: a copy of the file is enough, and the live file
//! of a running broker works as well. The chain of hashes finds any flipped bit and any record removed,
//! swapped or inserted; a head that was noted earlier, or an export's signature, also finds a tail that
//! was cut and a history that was written anew.
//!
//! A journal is checked over all its segments. Where the oldest were archived the check begins with the
//! record that began the first segment that is left, and says so; [`Claims::follows`] joins it to the archive.

mod either;
mod evidence;
mod export;
mod offline;
mod report;
mod sheet;
mod statement;
mod unsound;
mod view;

pub use evidence::{ConsistencyEvidence, Evidence, EvidenceError, HeadEvidence, InclusionEvidence};
pub use export::Export;
pub use offline::{
    Claims, FileState, Seal, Signature, Summary, verify, verify_file, verify_segments,
};
pub use report::{ActivityRow, LiveRow, Reach, ReachRow, RefusalRow, Refusals, activity};
pub use sheet::csv;
pub use statement::{
    Anchor, ExportStatement, KeptError, Signed, Signer, Standing, Statement, StatementError,
    TreeHead,
};
pub use unsound::VerifyError;
pub use view::{AuditEvent, Page, Trail};
