//! Why a broker did not start.

use std::path::PathBuf;

use crate::{
    BrokerError, DirectoryError, KeyringError,
    ledger::{
        file::{OpenError, ReadError},
        record::Head,
        views::IndexError,
    },
    policy::PolicyErrors,
};
use hallpass_core::base::{ids::IssuerUri, secret_file::SecretFileError, time::Timestamp};

/// Why a broker did not start. Nothing was changed, unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The journal is sound and lacks a record that it is known to have had.
    #[error(
        "the journal ends with {found}, and once had {expected}: this is an older copy. Restore a newer one; where there is none, start without the expected head and revoke again what was revoked since"
    )]
    OlderCopy {
        /// The record that it is known to have had.
        expected: Head,
        /// Its last record.
        found: Head,
    },
    /// The journal is sound and another than the one that is expected.
    #[error(
        "the journal has another record where it once had {expected}: it is not the one that this head was noted from"
    )]
    OtherJournal {
        /// The record that it is known to have had.
        expected: Head,
    },
    /// The journal was written under another issuer, and no issuer was configured.
    #[error(
        "the journal in `{}` was written by the broker `{journal}`, and this start would go on as `{configured}`: `issuer` is not set, so it follows the address that the broker listens at. Set `issuer = \"{journal}\"` in the configuration file (or --issuer {journal}) to go on as the same broker. If it is to become `{configured}`, set that instead: passes that are out are then refused, and verifiers and agents need the new issuer", data_dir.display()
    )]
    OtherIssuer {
        /// Where the journal is.
        data_dir: PathBuf,
        /// Under which issuer it was written.
        journal: String,
        /// Under which one it would go on.
        configured: IssuerUri,
    },
    /// The journal names an issuer that is none.
    #[error("the journal names the issuer `{0}`, which is no issuer's URI")]
    JournalIssuer(String),
    /// The machine's time of day is implausible, and what is recorded with it could not be taken back.
    #[error(
        "the machine's clock says {now}, and the last record is of {last}: if the clock is right, start with `--accept-clock`"
    )]
    Clock {
        /// The machine's time of day.
        now: Timestamp,
        /// The time of the last record.
        last: Timestamp,
    },
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A key.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// The directory of stewards.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A secret file.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyErrors),
    /// Something that the start had to record.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A directory could not be made.
    #[error("cannot make the directory `{}`: {source}", path.display())]
    MakeDirectory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
