//! Starting a broker: lock, replay, rebuild, keys, first operator.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};

use crate::{
    Broker, BrokerError, Caller, Codes, Consents, DECISIONS_DIRECTORY, Decisions, Exchanges, Feed,
    History, Issuance, Keys, Limits, NewOperator, Operators, Options, OtherIssuer, Policies,
    Registry, Revocations, ServerVerifiers, StartError, Tasks, TokenRevocations,
    change::{Changes, Decided, View},
    disk::reserve::DiskReserve,
    domain::{
        event::{LedgerEvent, Role},
        state::{
            cell::StateCell,
            snapshot::{StateSnapshot, take_snapshot},
        },
    },
    error::files,
    feed::hub::Hub,
    issuing::{decision_queue::DecisionQueue, keyed_locks::KeyedLocks, repeats::Repeats},
    keys::{
        files::KeyFiles,
        lifecycle::{KeysError, Rotation},
    },
    ledger::{
        Ledger,
        file::{Apply, FileLedger, Journal, Options as JournalOptions, ReadError, Reader},
        record::Head,
        tree::{TREE_DIRECTORY, Tree},
        views::{Follower, Index, Views},
    },
    policy::Finding,
    registry::directory::{Directory, STEWARDS_FILE, SharedDirectory},
    trail::reports,
};
use hallpass_core::base::{
    private_file,
    secret_file::{tighten_secret, write_secret},
    time::{Clock, Timestamp},
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
    /// The issuer under which the journal was written before, when it is another one now.
    pub issuer_before: Option<String>,
}

impl Broker {
    /// Opens the data directory, makes what a first start needs, and is ready when it returns.
    ///
    /// # Errors
    ///
    /// See [`StartError`]: a second broker on one directory, damage in the journal, a key file that
    /// is missing or open to others, a policy that does not check.
    pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Opened, StartError> {
        let (broker, recovery) = Self::recover(options, clock)?;
        let issuer_before = broker.state().issuer().map(str::to_owned);
        let issuer_before = issuer_before.filter(|before| before != broker.issuer().as_str());
        let first_start = broker.state().keys.is_empty();
        broker
            .keys
            .make_first_keys()
            .await
            .map_err(|error| match error {
                KeysError::Keyring(error) => StartError::Keys(error),
                KeysError::Broker(error) => StartError::Broker(error),
            })?;
        broker.keys.follow_keys()?;
        if broker.state().operators.is_empty() {
            broker.write_admin_token().await?;
        }
        let policy_warnings = broker.policy.load_at_start().await?;
        let started = LedgerEvent::BrokerStarted {
            issuer: broker.options.issuer.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recovery: recovery.clone(),
        };
        let decide = |view: &View<'_>| {
            let events = vec![started.clone()];
            Ok::<_, BrokerError>(Decided::record(view.now(), events, ()))
        };
        broker.changes.in_turn(&Caller::broker(), decide).await?;
        Ok(Opened {
            broker: Arc::new(broker),
            first_start,
            recovery,
            policy_warnings,
            issuer_before,
        })
    }

    /// Replays the journal into a state and views, and starts to write.
    fn recover(
        mut options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Vec<String>), StartError> {
        let operator_token = options.data_dir.join(OPERATOR_TOKEN_FILE);
        if operator_token.exists() {
            tighten_secret(&operator_token)?;
        }
        let reserve = DiskReserve::before_opening(&options.data_dir);
        // A directory for keys may have been made for the broker; a key in it was not.
        let evidence = vec![
            "index",
            TREE_DIRECTORY,
            DECISIONS_DIRECTORY,
            "keys/root-1.key",
        ];
        let journal_options = JournalOptions {
            segment_bytes: options.retention.segment_bytes,
            evidence,
            ..JournalOptions::default()
        };
        let mut saved = StateSnapshot::new(&options.data_dir);
        let (recovered, found) = Journal::restore(&options.data_dir, journal_options, &mut saved)?;
        let (mut state, tree) = saved.into_parts();
        let mut recovery = found.words();
        let reader = recovered.reader();
        refuse_older_copy(&reader, options.expected_head)?;
        if let Some(journal) = state.issuer()
            && journal != options.issuer.as_str()
        {
            settle_issuer(&mut options, journal)?;
        }
        refuse_implausible_clock(&*clock, state.last_at(), options.accept_clock)?;
        reserve.keep();
        let (index, rebuilt) = Index::open_with(&options.data_dir, &reader, &|| state.carried())?;
        recovery.extend(rebuilt.words());
        let now = state.last_at();
        state.forget(now);
        let news = watch::Sender::new(state.last_sequence());
        let (state, index, tree) = (
            Arc::new(StateCell::new(state)),
            Arc::new(index),
            Arc::new(tree),
        );
        // The index refuses queries from then on, says so, and is rebuilt at the next start; what decides is the
        // state, so minting and revoking go on.
        let follower = Follower::start(Arc::clone(&index), |error| {
            tracing::error!(error = %error, "the index stopped following the journal; restart to rebuild it");
        })?;
        let applier = Applier {
            state: Arc::clone(&state),
            index: follower,
            tree: Arc::clone(&tree),
            news: news.clone(),
        };
        let snapshots = take_snapshot(Arc::clone(&state), Arc::clone(&tree));
        let journal = FileLedger::start(recovered.with_snapshots(snapshots), applier.boxed())?;
        let parts = Parts {
            journal: Arc::new(journal),
            views: Views::new(index, reader),
            state,
            tree,
            news,
            reserve: Arc::new(reserve),
            clock,
        };
        Ok((Self::wired(options, parts)?, recovery))
    }

    /// The use cases, over what was opened.
    fn wired(options: Options, parts: Parts) -> Result<Self, StartError> {
        let Parts {
            journal,
            views,
            state,
            tree,
            news,
            reserve,
            clock,
        } = parts;
        let keys = options.data_dir.join(KEYS_DIRECTORY);
        make_directory(&keys)?;
        let store = KeyFiles::new(keys, options.keys_at_rest.clone());
        let directory = Directory::open(options.data_dir.join(STEWARDS_FILE))?;
        let directory = Arc::new(SharedDirectory::new(directory));
        let ledger: Arc<dyn Ledger> = Arc::<FileLedger>::clone(&journal);
        let changes = Arc::new(Changes::new(ledger, state, clock, reserve));
        let policy = Policies::new(Arc::clone(&changes), options.policy_dir.clone())?;
        let policy = Arc::new(policy);
        let limits = Limits {
            issuer: options.issuer.clone(),
            max_task_ttl: options.max_task_ttl,
            max_pass_ttl: options.max_pass_ttl,
        };
        let rotation = Rotation {
            issuer: options.issuer.clone(),
            overlap: options.rotation_overlap,
            after: options.rotate_keys_after,
        };
        let keys = Arc::new(Keys::new(Arc::clone(&changes), Box::new(store), rotation));
        let issuance = Arc::new(Issuance {
            changes: Arc::clone(&changes),
            policy: Arc::clone(&policy),
            keys: Arc::clone(&keys),
            directory: Arc::clone(&directory),
            limits: limits.clone(),
            queue: DecisionQueue::for_this_machine(),
        });
        let revocations = Arc::new(Revocations {
            changes: Arc::clone(&changes),
            keys: Arc::clone(&keys),
            limits,
        });
        let tasks = Arc::new(Tasks {
            changes: Arc::clone(&changes),
            views: Some(views.clone()),
        });
        let feed = Arc::new(Feed {
            changes: Arc::clone(&changes),
            keys: Arc::clone(&keys),
            issuer: options.issuer.clone(),
            news,
            hub: Hub::default(),
        });
        let verifiers = ServerVerifiers::new(Arc::clone(&changes), Arc::clone(&feed));
        let verifiers = Arc::new(verifiers);
        let decisions = Arc::new(Decisions::open(
            &options.data_dir,
            options.decisions_bytes,
            Arc::clone(&changes),
            views.clone(),
        ));
        Ok(Self {
            consents: Arc::new(Consents {
                changes: Arc::clone(&changes),
                issuance: Arc::clone(&issuance),
            }),
            codes: Arc::new(Codes {
                changes: Arc::clone(&changes),
                issuance: Arc::clone(&issuance),
                revocations: Arc::clone(&revocations),
                tasks: Arc::clone(&tasks),
                locks: KeyedLocks::default(),
                repeats: Repeats::default(),
            }),
            exchanges: Arc::new(Exchanges {
                issuance: Arc::clone(&issuance),
                verifiers: Arc::clone(&verifiers),
            }),
            token_revocations: Arc::new(TokenRevocations {
                changes: Arc::clone(&changes),
                verifiers: Arc::clone(&verifiers),
            }),
            registry: Arc::new(Registry {
                changes: Arc::clone(&changes),
                directory: Arc::clone(&directory),
                policy: Arc::clone(&policy),
                workloads: options.workloads.clone(),
            }),
            operators: Arc::new(Operators {
                changes: Arc::clone(&changes),
                keys: Arc::clone(&keys),
            }),
            history: Arc::new(History {
                changes: Arc::clone(&changes),
                views: views.clone(),
                tree,
                keys: Arc::clone(&keys),
                directory,
                decisions: Arc::clone(&decisions),
                policy: Arc::clone(&policy),
                issuer: options.issuer.clone(),
                max_pass_ttl: options.max_pass_ttl,
                scans: Semaphore::new(reports::MAX_SCANS),
            }),
            issuance,
            tasks,
            revocations,
            policy,
            keys,
            feed,
            verifiers,
            decisions,
            options,
            changes,
            journal,
            views,
        })
    }

    /// Makes a new token for the operator `admin` and writes it to `operator.token` in the data
    /// directory, mode 0600; tokens of `admin` that were issued before are refused from now on.
    ///
    /// # Errors
    ///
    /// When it cannot be recorded or written.
    pub async fn write_admin_token(&self) -> Result<PathBuf, StartError> {
        let operator = FIRST_OPERATOR.parse().map_err(files)?;
        if self.state().operators.contains_key(&operator) {
            self.operators
                .remove_operator(&Caller::broker(), &operator)
                .await?;
        }
        let new = NewOperator {
            operator,
            roles: BTreeSet::from([Role::Admin]),
            servers: BTreeSet::new(),
            ttl: FIRST_OPERATOR_TTL,
        };
        let made = self.operators.add_operator(&Caller::broker(), new).await?;
        let path = self.options.data_dir.join(OPERATOR_TOKEN_FILE);
        write_secret(&path, made.token.expose())?;
        Ok(path)
    }
}

/// SECURITY: no record is ever dated before the last one, so the time of one that was made with a wrong clock would be
/// believed until it comes.
fn refuse_implausible_clock(
    clock: &dyn Clock,
    last: Timestamp,
    is_accepted: bool,
) -> Result<(), StartError> {
    let now = clock.now();
    let is_new = last == Timestamp::EPOCH;
    if is_new || is_accepted || now.since(last) <= PLAUSIBLE_PAUSE {
        return Ok(());
    }
    Err(StartError::Clock { now, last })
}

/// A broker that records nothing for longer than this may as well have a clock that is ahead.
const PLAUSIBLE_PAUSE: Duration = Duration::from_secs(90 * 24 * 3600);

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

/// The issuer to go on with, where the journal was written under another one than is configured.
fn settle_issuer(options: &mut Options, journal: &str) -> Result<(), StartError> {
    match options.other_issuer {
        OtherIssuer::Change => {}
        OtherIssuer::Refuse => {
            return Err(StartError::OtherIssuer {
                data_dir: options.data_dir.clone(),
                journal: journal.to_owned(),
                configured: options.issuer.clone(),
            });
        }
        OtherIssuer::Keep => {
            let parsed = journal.parse();
            options.issuer = parsed.map_err(|_| StartError::JournalIssuer(journal.to_owned()))?;
        }
    }
    Ok(())
}

/// What was opened of one broker.
struct Parts {
    journal: Arc<FileLedger>,
    views: Views,
    state: Arc<StateCell>,
    tree: Arc<Tree>,
    news: watch::Sender<u64>,
    reserve: Arc<DiskReserve>,
    clock: Arc<dyn Clock>,
}

/// What is derived from every durable batch, before anyone has an answer.
struct Applier {
    state: Arc<StateCell>,
    index: Follower,
    tree: Arc<Tree>,
    news: watch::Sender<u64>,
}

impl Applier {
    fn boxed(self) -> Apply {
        Box::new(move |records| {
            let news = self.state.apply(records);
            self.index.follow(records);
            if let Err(error) = self.tree.append(records) {
                tracing::error!(error = %error, "the files of the audit trail's tree could not be written");
            }
            if let Some(sequence) = news {
                self.news.send_replace(sequence);
            }
        })
    }
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
    /// A broker that served no request yet, below `home`.
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
    async fn a_reader_of_the_state_can_ask_for_the_time_while_the_writer_waits() {
        let home = tempfile::tempdir().unwrap();
        let broker = Broker::opened_in(home.path()).await;
        let held = broker.state();
        let state = Arc::clone(broker.changes.cell());
        let writer = thread::spawn(move || drop(state.write()));
        // No other reader gets the lock while the writer waits.
        while broker.changes.cell().is_free() {
            thread::yield_now();
        }
        let ((sender, time), asked) = (mpsc::channel(), Arc::clone(&broker));
        thread::spawn(move || sender.send(asked.now()));
        assert!(time.recv_timeout(Duration::from_secs(10)).unwrap() >= held.last_at());
        drop(held);
        writer.join().unwrap();
    }
}
