//! Starting a broker: lock, replay, rebuild, keys, first operator.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, watch};

use crate::{
    BrokerError, DECISIONS_DIRECTORY, DirectoryError, KeyringError, NewOperator, Options, State,
    broker::{Broker, Caller},
    disk::reserve::Space,
    domain::{
        assertions::Assertions,
        event::{Event, KeyPurpose, KeyState, Role},
        state::snapshot::{Saved, take_snapshot},
    },
    feed::{hub::FeedHub, server_verifiers::Judges},
    issuing::codes::Turns,
    keys::{files::KeyFiles, keyring::Keyring},
    ledger::{
        file::{Apply, Head, Journal, OpenError, Options as JournalOptions, ReadError, Reader},
        tree::{TREE_DIRECTORY, Tree},
        views::{Follower, Index, IndexError},
    },
    policy::{Finding, PolicyErrors},
    policy_store::PolicyStore,
    registry::directory::Directory,
    trail::{decisions::Decisions, reports},
};
use hallpass_core::base::{
    ids::KeyId,
    private_file,
    secret_file::{SecretFileError, write_secret},
    time::Clock,
};

/// A started broker, and what its start found and did.
#[derive(Debug)]
pub struct Opened {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Whether the data directory was new: keys and the first operator's token were made.
    pub first_start: bool,
    /// What was recovered, in words; empty after a clean stop.
    pub recovery: Vec<String>,
    /// What is odd about the policy but harmless.
    pub policy_warnings: Vec<Finding>,
}

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

impl Broker {
    /// Opens the data directory, makes what a first start needs, and is ready when it returns.
    ///
    /// # Errors
    ///
    /// See [`StartError`]: a second broker on one directory, damage in the journal, a key file that
    /// is missing or open to others, a policy that does not check.
    pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Opened, StartError> {
        let broker = Self::recover(options, clock)?;
        let (broker, mut recovery) = (broker.0, broker.1);
        let first_start = broker.state().keys.is_empty();
        broker.make_first_keys().await?;
        broker.follow_keys()?;
        if broker.state().operators.is_empty() {
            broker.make_first_operator().await?;
        }
        let policy_warnings = broker.load_policy_at_start().await?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let issuer = broker.options.issuer.to_string();
        let event = Event::BrokerStarted {
            issuer,
            version,
            recovery: recovery.clone(),
        };
        broker
            .record(&Caller::broker(), broker.now(), vec![event])
            .await?;
        recovery.shrink_to_fit();
        Ok(Opened {
            broker: Arc::new(broker),
            first_start,
            recovery,
            policy_warnings,
        })
    }

    /// Replays the journal into a state and an index, and starts the writer.
    fn recover(options: Options, clock: Arc<dyn Clock>) -> Result<(Self, Vec<String>), StartError> {
        let space = Space::before_opening(&options.data_dir);
        let segment_bytes = options.retention.segment_bytes;
        // A directory for keys may have been made for the broker; a key in it was not.
        let evidence = vec![
            "index",
            TREE_DIRECTORY,
            DECISIONS_DIRECTORY,
            "keys/root-1.key",
        ];
        let journal_options = JournalOptions {
            segment_bytes,
            evidence,
            ..JournalOptions::default()
        };
        let mut saved = Saved::new(&options.data_dir);
        let (recovered, found) = Journal::restore(&options.data_dir, journal_options, &mut saved)?;
        let (mut state, tree) = saved.into_parts();
        let mut recovery = found.words();
        let reader = recovered.reader();
        refuse_older_copy(&reader, options.expected_head)?;
        space.keep();
        let (index, rebuilt) = Index::open_with(&options.data_dir, &reader, &|| state.carried())?;
        recovery.extend(rebuilt.words());
        let now = state.last_at();
        state.forget(now);
        let assertions = Assertions::recorded(state.unexpired_assertions(now));
        let (feed_sequence, _) = watch::channel(state.last_sequence());
        let (sequence, _) = watch::channel(state.last_sequence());
        let last_at = Arc::new(AtomicI64::new(now.unix_millis()));
        let (state, index, tree) = (
            Arc::new(RwLock::new(state)),
            Arc::new(index),
            Arc::new(tree),
        );
        // The index refuses queries from then on, says so, and is rebuilt at the next start; what decides is the
        // state, so minting and revoking go on.
        let follower = Follower::start(Arc::clone(&index), |error| {
            tracing::error!(error = %error, "the index stopped following the journal; restart to rebuild it");
        })?;
        let (folded, views) = (
            (Arc::clone(&state), Arc::clone(&last_at)),
            (follower, Arc::clone(&tree)),
        );
        let apply = applier(folded, views, (feed_sequence.clone(), sequence.clone()));
        let snapshots = take_snapshot(Arc::clone(&state), Arc::clone(&tree));
        let journal = recovered.with_snapshots(snapshots).start(apply)?;
        let keys = options.data_dir.join(KEYS_DIRECTORY);
        make_directory(&keys)?;
        let directory = Directory::open(options.data_dir.join("stewards.json"))?;
        let policy = PolicyStore::new(options.policy_dir.clone())?;
        let broker = Self {
            clock,
            journal,
            reader,
            index,
            tree,
            state,
            last_at,
            keyring: RwLock::new(Keyring::empty(KeyFiles::new(
                keys,
                options.keys_at_rest.clone(),
            ))),
            directory: Mutex::new(directory),
            policy,
            feed: FeedHub::default(),
            judges: Judges::default(),
            decisions: Decisions::open(&options.data_dir, options.decisions_bytes),
            scans: Semaphore::new(reports::MAX_SCANS),
            changes: tokio::sync::Mutex::new(()),
            assertions,
            turns: Turns::default(),
            feed_sequence,
            sequence,
            meters: std::sync::OnceLock::new(),
            space,
            stopped: watch::Sender::new(false),
            options,
        };
        Ok((broker, recovery))
    }

    /// The first key of every purpose that has none: a crash may have kept a part of the first ones.
    async fn make_first_keys(&self) -> Result<(), StartError> {
        let mut events = Vec::new();
        let known: BTreeSet<KeyPurpose> = self
            .state()
            .keys
            .keys()
            .map(|(purpose, _)| *purpose)
            .collect();
        for purpose in KeyPurpose::ALL
            .into_iter()
            .filter(|purpose| !known.contains(purpose))
        {
            let public = self
                .keyring
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .make(purpose, KeyId(1))?;
            events.push(Event::KeyChanged {
                purpose,
                key: KeyId(1),
                public,
                state: KeyState::Active,
                link: None,
            });
        }
        if !events.is_empty() {
            self.record(&Caller::broker(), self.now(), events).await?;
        }
        Ok(())
    }

    async fn make_first_operator(&self) -> Result<(), StartError> {
        self.write_admin_token().await.map(drop)
    }

    /// Makes a new token for the operator `admin` and writes it to `operator.token` in the data
    /// directory, mode 0600; tokens of `admin` that were issued before are refused from now on.
    ///
    /// # Errors
    ///
    /// When it cannot be recorded or written.
    pub async fn write_admin_token(&self) -> Result<PathBuf, StartError> {
        let operator = FIRST_OPERATOR
            .parse()
            .map_err(|error| BrokerError::Files(format!("{error}")))?;
        if self.state().operators.contains_key(&operator) {
            self.remove_operator(&Caller::broker(), &operator).await?;
        }
        let new = NewOperator {
            operator,
            roles: BTreeSet::from([Role::Admin]),
            servers: BTreeSet::new(),
            ttl: FIRST_OPERATOR_TTL,
        };
        let made = self.add_operator(&Caller::broker(), new).await?;
        let path = self.options.data_dir.join(OPERATOR_TOKEN_FILE);
        write_secret(&path, made.token.expose())?;
        Ok(path)
    }
}

/// SECURITY: an older copy lacks revocations that were answered, and everything that it holds is sound.
fn refuse_older_copy(journal: &Reader, expected: Option<Head>) -> Result<(), StartError> {
    let Some(expected) = expected.filter(|expected| *expected != Head::GENESIS) else {
        return Ok(());
    };
    let found = journal.head();
    if found.sequence < expected.sequence {
        return Err(StartError::OlderCopy { expected, found });
    }
    if expected.sequence < journal.first() {
        return Err(ReadError::Archived {
            sequence: expected.sequence,
            first: journal.first(),
        }
        .into());
    }
    match journal
        .read_from(expected.sequence, None)?
        .next()
        .transpose()?
    {
        Some(record) if record.head() == expected => Ok(()),
        _ => Err(StartError::OtherJournal { expected }),
    }
}

/// What the journal's writer does with every durable batch, before anyone has an answer.
fn applier(
    (state, last_at): (Arc<RwLock<State>>, Arc<AtomicI64>),
    (index, tree): (Follower, Arc<Tree>),
    (feed, all): (watch::Sender<u64>, watch::Sender<u64>),
) -> Apply {
    Box::new(move |records| {
        let mut news = None;
        {
            let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
            for record in records {
                if state.apply(record) {
                    news = Some(record.sequence);
                }
            }
            // While nobody else sees the state: whoever sees a record sees its time.
            last_at.store(state.last_at().unix_millis(), Ordering::SeqCst);
        }
        index.follow(records);
        if let Err(error) = tree.append(records) {
            tracing::error!(error = %error, "the files of the audit trail's tree could not be written");
        }
        if let Some(sequence) = news {
            feed.send_replace(sequence);
        }
        if let Some(last) = records.last() {
            all.send_replace(last.sequence);
        }
    })
}

fn make_directory(path: &std::path::Path) -> Result<(), StartError> {
    private_file::create_dir(path).map_err(|source| StartError::MakeDirectory {
        path: path.to_owned(),
        source,
    })
}

/// Where private keys lie, in the data directory.
pub const KEYS_DIRECTORY: &str = "keys";

/// The first operator's token, in the data directory.
pub const OPERATOR_TOKEN_FILE: &str = "operator.token";

const FIRST_OPERATOR: &str = "admin";
const FIRST_OPERATOR_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
impl Broker {
    /// One that nobody has asked for anything, below `home`.
    pub(crate) async fn opened_in(home: &std::path::Path) -> Arc<Self> {
        let options = Options::new(
            "https://broker.example".parse().unwrap(),
            home.join("data"),
            home.join("policy"),
        );
        Self::open(
            options,
            Arc::new(hallpass_core::base::time::SystemClock::default()),
        )
        .await
        .unwrap()
        .broker
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[tokio::test]
    async fn whoever_holds_the_state_while_the_writer_waits_can_ask_for_the_time() {
        let home = tempfile::tempdir().unwrap();
        let broker = Broker::opened_in(home.path()).await;
        let held = broker.state();
        let state = Arc::clone(&broker.state);
        let writer = thread::spawn(move || drop(state.write()));
        // Nobody else reads as soon as the writer waits.
        while broker.state.try_read().is_ok() {
            thread::yield_now();
        }
        let ((told, time), asked) = (mpsc::channel(), Arc::clone(&broker));
        thread::spawn(move || told.send(asked.now()));
        assert!(time.recv_timeout(Duration::from_secs(10)).unwrap() >= held.last_at());
        drop(held);
        writer.join().unwrap();
    }
}
