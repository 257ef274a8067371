//! The state file: the verifier's memory across restarts, so that no older frame is accepted.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tracing::{error, info};

use crate::{Memory, Verifier, feed::handle::Progress};
use hallpass_core::{
    base::{
        format::Format,
        ids::{IssuerUri, ServerUri},
        json,
        key::PublicKey,
        private_file::{self, IfExists},
    },
    wire::{self, Document, DocumentError},
};

/// Reads the memory of an earlier verifier of `server` with the broker `issuer`.
///
/// Give it to [`VerifierBuilder::memory`](crate::VerifierBuilder::memory). When there is
/// no file, as at the first start, nothing is remembered.
///
/// # Errors
///
/// A file that cannot be read, is damaged or belongs to another verifier is an error and never ignored:
/// without it, an old frame would be accepted again.
pub fn load_memory(
    path: impl AsRef<Path>,
    issuer: &IssuerUri,
    server: &ServerUri,
) -> Result<Memory, StateFileError> {
    let path = path.as_ref();
    let Some(bytes) = read(path).map_err(|source| StateFileError::Unreadable {
        path: path.to_owned(),
        source,
    })?
    else {
        return Ok(Memory::default());
    };
    let damaged = |problem: String| StateFileError::Damaged {
        path: path.to_owned(),
        problem,
    };
    let mut content = json::parse(&bytes, MAX_BYTES).map_err(|error| damaged(error.to_string()))?;
    read_as_this_format(&mut content);
    let content: Content = wire::read(content).map_err(|error| match error {
        DocumentError::Critical { at } => StateFileError::Newer {
            path: path.to_owned(),
            member: at,
        },
        other => damaged(other.to_string()),
    })?;
    if (&content.iss, &content.aud) != (issuer, server) {
        let whose = format!("`{}` at `{}`", content.iss, content.aud);
        return Err(StateFileError::Foreign {
            path: path.to_owned(),
            whose,
        });
    }
    Ok(content.memory.into())
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateFileError {
    /// It exists and cannot be read.
    #[error("cannot read the feed state file `{}`: {source}; check its owner and permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Its content is not a verifier's memory.
    #[error(
        "the feed state file `{}` is damaged: {problem}; restore it, or remove it while the broker is known to be genuine",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// A later build wrote it, with a member in `crit` that this build does not know.
    #[error(
        "the feed state file `{}` was written by a later build, and this one does not know its member `{member}`: upgrade \
         this verifier, or remove the file while the broker is known to be genuine",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The path of the member.
        member: String,
    },
    /// It belongs to another verifier.
    #[error("the feed state file `{}` belongs to the verifier of {whose}: configure a separate file for each verifier", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its broker and its server.
        whose: String,
    },
    /// The verifier was built without the memory in the file, which would be overwritten.
    #[error(
        "the verifier was built without the newer state of the feed state file `{}`: build it with the result of `load_memory`",
        path.display()
    )]
    Forgotten {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write the feed state file `{}`: {source}; check that its directory exists and is writable", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// A state file that belongs to this verifier and is writable.
pub(super) struct StateFile {
    path: PathBuf,
    iss: IssuerUri,
    aud: ServerUri,
    written: Memory,
}

impl StateFile {
    pub(super) fn open(path: PathBuf, verifier: &Verifier) -> Result<Self, StateFileError> {
        let (iss, aud) = (verifier.issuer().clone(), verifier.server().clone());
        let stored = load_memory(&path, &iss, &aud)?;
        let written = verifier.memory();
        if rank(&stored) > rank(&written) {
            return Err(StateFileError::Forgotten { path });
        }
        let file = Self {
            path,
            iss,
            aud,
            written,
        };
        write(&file.path, &file.content(&file.written)).map_err(|source| {
            StateFileError::Unwritable {
                path: file.path.clone(),
                source,
            }
        })?;
        Ok(file)
    }

    /// Writes a change at once, and a new signed time alone every [`TIME_INTERVAL`], until the
    /// sender is dropped; then writes the newest state.
    pub(super) async fn keep(
        self,
        mut memories: watch::Receiver<Memory>,
        progress: watch::Sender<Progress>,
    ) {
        let mut tried = self.written.clone();
        loop {
            while *memories.borrow_and_update() == tried {
                if memories.changed().await.is_err() {
                    return;
                }
            }
            tried = memories.borrow_and_update().clone();
            self.write(&tried, &progress).await;
            // After a failed write, the next change retries; every heartbeat is a change.
            let weightier = memories.wait_for(|memory| differs_in_more_than_time(memory, &tried));
            // Time, a change and the end all wake the loop, which reads the newest state.
            let _woken = tokio::time::timeout(TIME_INTERVAL, weightier).await.is_ok();
        }
    }

    async fn write(&self, memory: &Memory, progress: &watch::Sender<Progress>) {
        let (path, content) = (self.path.clone(), self.content(memory));
        let done = tokio::task::spawn_blocking(move || write(&path, &content)).await;
        let problem = done
            .map_err(io::Error::other)
            .flatten()
            .err()
            .map(|error| error.to_string());
        let path = self.path.display();
        match (&problem, &progress.borrow().state_file_error) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                error!(
                    "feed: cannot write the state file `{path}`: {now}; older frames would be accepted after a restart"
                );
            }
            (None, Some(_)) => info!("feed: the state file `{path}` can be written again"),
            _ => {}
        }
        progress.send_modify(|progress| progress.state_file_error = problem);
    }

    fn content(&self, memory: &Memory) -> Content {
        Content {
            v: Format::One,
            iss: self.iss.clone(),
            aud: self.aud.clone(),
            memory: Remembered::from(memory),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    v: Format,
    iss: IssuerUri,
    aud: ServerUri,
    memory: Remembered,
}

/// A [`Memory`], as it is written. A build that adds a member reads files without it, and names it in `crit`
/// when an earlier build must not start without it: `docs/wire.md`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    epoch: i64,
    sequence: u64,
    signed_at: i64,
    feed_keys: Vec<PublicKey>,
}

impl From<&Memory> for Remembered {
    fn from(memory: &Memory) -> Self {
        Self {
            epoch: memory.epoch,
            sequence: memory.sequence,
            signed_at: memory.signed_at,
            feed_keys: memory.feed_keys.clone(),
        }
    }
}

impl From<Remembered> for Memory {
    fn from(memory: Remembered) -> Self {
        Self {
            epoch: memory.epoch,
            sequence: memory.sequence,
            signed_at: memory.signed_at,
            feed_keys: memory.feed_keys,
        }
    }
}

impl Document for Content {}

/// A file of a later format is read as one of this format: a later build keeps these members and their
/// meaning, or lists in `crit` the members that an earlier one must know.
fn read_as_this_format(content: &mut Value) {
    if let Some(v) = content.get_mut("v")
        && v.as_u64().is_some_and(|v| v > Format::One.number())
    {
        *v = Format::One.number().into();
    }
}

const fn rank(memory: &Memory) -> (i64, u64, i64) {
    (memory.epoch, memory.sequence, memory.signed_at)
}

fn differs_in_more_than_time(one: &Memory, other: &Memory) -> bool {
    (one.epoch, one.sequence, &one.feed_keys) != (other.epoch, other.sequence, &other.feed_keys)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(READ_AT_MOST).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Replaces the file whole: after a power cut it is the old one or the new one.
fn write(path: &Path, content: &Content) -> io::Result<()> {
    let bytes = serde_json::to_vec(content)?;
    Ok(private_file::write(path, &bytes, IfExists::Replace)?)
}

/// How often a newer signed time alone is written: after a crash, the lower bound of
/// the clock, and so the age of acceptable frames, is at most this much out of date.
const TIME_INTERVAL: Duration = Duration::from_secs(5);

/// The file is at most this long, in bytes: a thousand feed keys.
const MAX_BYTES: usize = 128 * 1024;

/// One more than [`MAX_BYTES`], so that a longer file is detected.
const READ_AT_MOST: u64 = 128 * 1024 + 1;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use hallpass_core::base::key::PrivateKey;

    fn ends() -> (IssuerUri, ServerUri) {
        (
            "https://broker.example".parse().unwrap(),
            "https://ledger.example/mcp".parse().unwrap(),
        )
    }

    fn content(sequence: u64) -> Content {
        let (iss, aud) = ends();
        let feed_keys = vec![PrivateKey::from_seed(&[2; 32]).public()];
        Content {
            v: Format::One,
            iss,
            aud,
            memory: Remembered {
                epoch: 1,
                sequence,
                signed_at: 5,
                feed_keys,
            },
        }
    }

    fn load(path: &Path) -> Result<Memory, StateFileError> {
        let (iss, aud) = ends();
        load_memory(path, &iss, &aud)
    }

    #[test]
    fn what_is_written_is_read_back_and_a_leftover_does_not_hinder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("feed.json");
        assert_eq!(load(&path).unwrap(), Memory::default());
        fs::write(directory.path().join("feed.json.new"), "cut off").unwrap();
        for sequence in [7, 8] {
            write(&path, &content(sequence)).unwrap();
            assert_eq!(load(&path).unwrap(), content(sequence).memory.into());
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions())
                & 0o777,
            0o600
        );
    }

    #[test]
    fn a_damaged_or_foreign_file_is_never_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("feed.json");
        write(&path, &content(7)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let long = format!("{good}{}", " ".repeat(MAX_BYTES));
        let without = good.replace(r#""v":1,"#, "");
        let earlier = good.replace(r#""v":1"#, r#""v":0"#);
        let no_number = good.replace(r#""v":1"#, r#""v":"2""#);
        let empty_list = good.replace(r#""epoch""#, r#""crit":[],"epoch""#);
        let twice = good.replace(r#""epoch""#, r#""epoch":0,"epoch""#);
        let cut = &good[..good.len() - 1];
        for bad in [
            "",
            "{}",
            cut,
            &long,
            &without,
            &earlier,
            &no_number,
            &empty_list,
            &twice,
        ] {
            fs::write(&path, bad).unwrap();
            assert!(
                matches!(load(&path), Err(StateFileError::Damaged { .. })),
                "{bad:.80}"
            );
        }
        fs::write(&path, good.replace("ledger", "payroll")).unwrap();
        assert!(matches!(load(&path), Err(StateFileError::Foreign { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(
            load(&path),
            Err(StateFileError::Unreadable { .. })
        ));
    }

    #[test]
    fn a_file_of_a_later_build_is_read_unless_it_forbids_that() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("feed.json");
        write(&path, &content(7)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let more = good.replace(r#""epoch""#, r#""era":{"crit":["x"]},"epoch""#);
        let more = more.replace(r#""iss""#, r#""era":1,"iss""#);
        let later = more.replace(r#""v":1"#, r#""v":2"#);
        for read in [&more, &later] {
            fs::write(&path, read).unwrap();
            assert_eq!(load(&path).unwrap(), content(7).memory.into());
        }
        for (member, crit) in [
            ("memory.era", r#""crit":["era"],"epoch""#),
            ("memory.era", r#""crit":["epoch","era"],"epoch""#),
        ] {
            fs::write(&path, later.replace(r#""epoch""#, crit)).unwrap();
            let error = load(&path).unwrap_err();
            assert!(
                matches!(&error, StateFileError::Newer { member: named, .. } if named == member),
                "{error}"
            );
            assert!(error.to_string().contains("upgrade"), "{error}");
        }
        // What this build writes over it is a file of this build.
        fs::write(&path, &later).unwrap();
        write(&path, &content(8)).unwrap();
        assert_eq!(load(&path).unwrap(), content(8).memory.into());
    }
}
