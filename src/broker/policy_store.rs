//! The policy that is in force, and the files that it comes from.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::{
    BrokerError, Caller, ObjectKind, StartError,
    change::{Changes, Decided, Turn, View},
    domain::{
        client::{CLIENT_DOCUMENTS, REGISTERED_CLIENTS},
        event::LedgerEvent,
    },
    policy::{
        AgentSelector, Catalogue, EXAMPLE_GRANTS, Finding, Grant, PolicyErrors, PolicySet, SCHEMA,
        grant_toml,
    },
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, GroupName},
        sync::RwLockExt as _,
        text::quote,
    },
    token::manifest::Manifest,
};

/// The policy that is in force, and the files that it comes from.
#[derive(Debug)]
pub struct Policies {
    changes: Arc<Changes>,
    directory: PathBuf,
    current: RwLock<Arc<PolicySet>>,
    /// One load at a time, so that an older reading of the files never replaces a newer one.
    loading: Mutex<()>,
}

/// The policy, as shown to operators.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PolicyView {
    /// Digest over all files.
    pub digest: Digest,
    /// The directory.
    pub directory: String,
    /// The grants: id, file and line.
    pub grants: Vec<RuleView>,
    /// The guardrails: name, file and line.
    pub guardrails: Vec<RuleView>,
    /// What is odd but harmless.
    pub warnings: Vec<String>,
    /// What refuses now because a server has changed.
    pub errors: Vec<String>,
}

/// One grant or guardrail and its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RuleView {
    /// Its id or name.
    pub id: String,
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: usize,
}

/// A grant that was written and is in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GrantWritten {
    /// The file that it was written to.
    pub file: String,
    /// The policy that is in force now.
    pub policy: PolicyView,
}

impl Policies {
    pub(crate) fn new(changes: Arc<Changes>, directory: PathBuf) -> Result<Self, PolicyErrors> {
        Ok(Self {
            changes,
            directory,
            current: RwLock::new(Arc::new(PolicySet::empty()?)),
            loading: Mutex::new(()),
        })
    }

    pub(crate) fn current(&self) -> Arc<PolicySet> {
        Arc::clone(&self.current.read_locked())
    }

    /// Puts `set` into force without a record.
    #[cfg(test)]
    pub(crate) fn put(&self, set: Arc<PolicySet>) {
        *self.current.write_locked() = set;
    }

    fn replace(&self, set: PolicySet) {
        *self.current.write_locked() = Arc::new(set);
    }

    /// The policy that is in force.
    #[must_use]
    pub fn policy(&self) -> PolicyView {
        let set = self.current();
        let catalogue = self.changes.state().catalogue();
        let (errors, mut warnings) = set.check(&catalogue);
        warnings.extend(self.absent_agents(&set));
        let rule = |id: String, file: &str, line| RuleView {
            id,
            file: file.to_owned(),
            line,
        };
        PolicyView {
            digest: set.digest(),
            directory: self.directory.display().to_string(),
            grants: set
                .grants()
                .map(|(grant, file, line)| rule(grant.id.to_string(), file, line))
                .collect(),
            guardrails: set
                .guardrails()
                .map(|(name, file, line)| rule(name.to_owned(), file, line))
                .collect(),
            warnings: warnings.iter().map(ToString::to_string).collect(),
            errors: errors.iter().map(ToString::to_string).collect(),
        }
    }

    /// The server that `server` (a URI, an alias or a short name) means, to an agent: one that some grant in force speaks of
    /// for it. So an agent learns no name of a server that it could get nothing for.
    ///
    /// # Errors
    ///
    /// When there is no such server, or no such grant.
    pub fn server_for(&self, agent: &AgentId, server: &str) -> Result<Arc<Manifest>, BrokerError> {
        let missing = || BrokerError::not_found(ObjectKind::Server, quote(server));
        let state = self.changes.state();
        let groups = &state.agent(agent).ok_or_else(missing)?.groups;
        let manifest = state.server(server).ok_or_else(missing)?;
        if !self.current().speaks_of(agent, groups, manifest) {
            return Err(missing());
        }
        Ok(Arc::clone(manifest))
    }

    /// Checks the files without putting them into force: the warnings.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any file.
    pub fn check_policy(&self) -> Result<Vec<Finding>, PolicyErrors> {
        // The state is not held while files are read and compiled: its writer would wait, and everybody with it.
        let catalogue = self.changes.state().catalogue();
        let (set, mut warnings) = PolicySet::load(&self.directory, &catalogue)?;
        warnings.extend(self.absent_agents(&set));
        Ok(warnings)
    }

    /// Grants for agents and groups that there are none of: misspelt, or not registered yet.
    fn absent_agents(&self, set: &PolicySet) -> Vec<Finding> {
        let state = self.changes.state();
        let groups = state.agents.values().flat_map(|agent| &agent.groups);
        let groups: BTreeSet<&str> = groups
            .map(GroupName::as_str)
            // Clients that come by themselves are in these.
            .chain([CLIENT_DOCUMENTS, REGISTERED_CLIENTS])
            .collect();
        let mut findings = Vec::new();
        for (grant, file, line) in set.grants() {
            let absent = grant.agents.iter().filter_map(|selector| match selector {
                AgentSelector::Group(group) if !groups.contains(group.as_str()) => {
                    Some(format!("no agent is in the group `{group}`"))
                }
                AgentSelector::Agent(agent) if !state.agents.contains_key(agent) => {
                    Some(format!("no agent `{agent}` is registered"))
                }
                _ => None,
            });
            findings.extend(absent.map(|reason| Finding {
                file: file.to_owned(),
                line: Some(line),
                reason: format!("grant `{}`: {reason}", grant.id),
            }));
        }
        findings
    }

    /// Puts the files into force; when anything is wrong in any of them, the old policy stays.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in any file; or nothing can be recorded.
    pub async fn reload_policy(
        &self,
        caller: &Caller,
    ) -> Result<Result<PolicyView, PolicyErrors>, BrokerError> {
        let _loading = self.loading.lock().await;
        match self.load().await? {
            Ok((set, turn)) => self.put_into_force(&turn, caller, set).await.map(Ok),
            Err(errors) => Ok(Err(errors)),
        }
    }

    /// Reads and compiles the files on a thread of its own, and in no turn: it takes seconds for thousands of grants, and
    /// neither requests nor revocations wait for it. The turn comes with the set, which fits the servers that there are.
    async fn load(&self) -> Result<Result<(PolicySet, Turn<'_>), PolicyErrors>, BrokerError> {
        loop {
            let catalogue = self.changes.state().catalogue();
            let (directory, of) = (self.directory.clone(), Arc::clone(&catalogue));
            let load = move || PolicySet::load(&directory, &of);
            let loaded = tokio::task::spawn_blocking(load).await;
            let set = match loaded.map_err(|error| BrokerError::Internal(error.to_string()))? {
                Ok((set, _)) => set,
                Err(errors) => return Ok(Err(errors)),
            };
            let turn = self.changes.turn().await;
            if Arc::ptr_eq(&catalogue, &self.changes.state().catalogue()) {
                return Ok(Ok((set, turn)));
            }
            // A server has changed meanwhile: what was loaded may not fit it.
        }
    }

    /// Writes a grant into a file of its own and puts it into force. When it does not check with
    /// all the others, the file is taken away again and the old policy stays.
    ///
    /// # Errors
    ///
    /// When a file of that name exists, it cannot be written, or nothing can be recorded.
    pub async fn write_grant(
        &self,
        caller: &Caller,
        grant: &Grant,
    ) -> Result<Result<GrantWritten, PolicyErrors>, BrokerError> {
        let _loading = self.loading.lock().await;
        let name = format!("{}.toml", grant.id);
        let path = self.directory.join(&name);
        let text =
            grant_toml(grant).map_err(|error| BrokerError::invalid("grant", error.to_string()))?;
        let failed = |error: std::io::Error| {
            BrokerError::Files(format!("cannot write `{}`: {error}", path.display()))
        };
        if path.exists() {
            return Err(BrokerError::Conflict(format!(
                "`{}` exists: edit it and run `hallpass policy reload`",
                path.display()
            )));
        }
        write_new(&path, &text).map_err(failed)?;
        let loaded = self.load().await;
        match loaded.inspect_err(|_| drop(fs::remove_file(&path)))? {
            Ok((set, turn)) => {
                let in_force = self.put_into_force(&turn, caller, set).await;
                // What was not recorded must not come into force with the next start.
                let policy = in_force.inspect_err(|_| drop(fs::remove_file(&path)))?;
                Ok(Ok(GrantWritten {
                    file: path.display().to_string(),
                    policy,
                }))
            }
            Err(errors) => {
                fs::remove_file(&path).map_err(failed)?;
                Ok(Err(errors))
            }
        }
    }

    /// SECURITY: a guardrail that names what a new manifest calls otherwise would guard nothing, and a
    /// grant that does not check would stop the next start; so the policy is changed first.
    pub(crate) fn refuse_trouble(
        &self,
        before: &Catalogue,
        after: &Catalogue,
    ) -> Result<(), BrokerError> {
        let policy = self.current();
        let (new, _) = policy.check(after);
        if new.is_empty() {
            return Ok(());
        }
        let (old, _) = policy.check(before);
        let more: Vec<_> = new
            .iter()
            .filter(|finding| !old.contains(finding))
            .map(ToString::to_string)
            .collect();
        if more.is_empty() {
            return Ok(());
        }
        Err(BrokerError::Conflict(format!(
            "the policy in force does not check with it: {}",
            more.join("; ")
        )))
    }

    async fn put_into_force(
        &self,
        turn: &Turn<'_>,
        caller: &Caller,
        set: PolicySet,
    ) -> Result<PolicyView, BrokerError> {
        let loaded = LedgerEvent::PolicyLoaded {
            digest: set.digest(),
            grants: set.grants().len(),
            guardrails: set.guardrails().len(),
        };
        let decide = |view: &View<'_>| {
            let events = vec![loaded.clone()];
            Ok::<_, BrokerError>(Decided::record(view.now(), events, ()))
        };
        // Recorded first: what decides is never something that the trail does not know.
        turn.change(caller, decide).await?;
        self.replace(set);
        Ok(self.policy())
    }

    /// At start: an absent directory is made, with a commented example and the schema.
    pub(crate) async fn load_at_start(&self) -> Result<Vec<Finding>, StartError> {
        let directory = &self.directory;
        let made = |source| StartError::MakeDirectory {
            path: directory.clone(),
            source,
        };
        if !directory.exists() {
            fs::create_dir_all(directory).map_err(made)?;
            write_new(&directory.join("example.toml"), EXAMPLE_GRANTS).map_err(made)?;
        }
        let schema = directory.join("hallpass.cedarschema");
        if fs::read_to_string(&schema).ok().as_deref() != Some(SCHEMA) {
            // Ours, and only for editors: what is validated against is compiled in.
            fs::write(&schema, SCHEMA).map_err(made)?;
        }
        let catalogue = self.changes.state().catalogue();
        let (set, warnings) = PolicySet::load(directory, &catalogue)?;
        self.put_into_force(&self.changes.turn().await, &Caller::broker(), set)
            .await?;
        Ok(warnings)
    }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
