//! Issuing: policy is asked, the record is durable, then the pass is handed out.

use std::{sync::Arc, time::Duration};

use crate::{
    BrokerError, Caller, IssueAgain, OpenTask,
    change::{Changes, Decided, Done, View, recorded},
    domain::event::{LedgerEvent, TaskRecord},
    issuing::{
        decision_queue::{DecisionQueue, Place},
        opening::{OpenedBy, Rights, Terms},
        pipeline::{GrantedRequest, Issued, Mint, Minted, Refusal, Requested, Way},
        request::{refuse_bad_details, refuse_bad_request},
    },
    keys::lifecycle::Keys,
    policy::{Decision, Granted, Reason},
    policy_store::Policies,
    registry::directory::SharedDirectory,
};
use hallpass_core::{
    base::{
        ids::{AgentId, IssuerUri, StewardId, TaskId},
        time::Timestamp,
    },
    token::RequestedDetail,
};

/// What passes and tasks may be at most, and which issuer they name.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The issuer that passes name.
    pub issuer: IssuerUri,
    /// A task lasts at most this long.
    pub max_task_ttl: Duration,
    /// A pass lives at most this long, whatever a grant says.
    pub max_pass_ttl: Duration,
}

/// Opening tasks and minting passes.
#[derive(Debug)]
pub struct Issuance {
    pub(crate) changes: Arc<Changes>,
    pub(crate) policy: Arc<Policies>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) directory: Arc<SharedDirectory>,
    pub(crate) limits: Limits,
    /// Where decisions about many rights wait.
    pub(crate) queue: DecisionQueue,
}

/// A pass that is asked for, as the state of the moment has it.
pub(crate) struct Asked<X> {
    pub(crate) requested: Requested,
    /// The steward that the agent named.
    pub(crate) said: Option<String>,
    /// What is recorded before the pass.
    pub(crate) before: Vec<LedgerEvent>,
    /// What the caller wants back with it.
    pub(crate) with: X,
}

/// What became of a request.
enum Outcome<X> {
    Minted(Box<Minted>, X),
    Refused(BrokerError),
}

impl Issuance {
    /// Opens a task for `agent` and mints its first pass.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Refused`] with every reason when policy says no (which is recorded too), or
    /// when agent, steward or server are suspended, or nothing can be recorded.
    pub async fn open_task(
        &self,
        caller: &Caller,
        agent: &AgentId,
        request: OpenTask,
    ) -> Result<Issued, BrokerError> {
        let asked = |view: &View<'_>| {
            let asked = self.opened(view, agent, request.clone())?;
            let task = asked.requested.task.clone();
            let before = vec![LedgerEvent::TaskOpened { task }];
            Ok(Asked { before, ..asked })
        };
        self.issue(caller, asked).await.map(|(issued, ())| issued)
    }

    /// Mints another pass in a task: policy is asked again, the task's end stays.
    ///
    /// # Errors
    ///
    /// As [`open_task`](Self::open_task), and when the task is not this agent's, is complete,
    /// revoked or over.
    pub async fn issue_again(
        &self,
        caller: &Caller,
        agent: &AgentId,
        (task, request): (&TaskId, IssueAgain),
    ) -> Result<Issued, BrokerError> {
        self.renew(caller, (agent, task), |task| {
            // A child is the actor's to renew: there is no refresh token for it.
            if task.consented && task.parent.is_none() {
                return Err(BrokerError::Conflict(
                    "a person allowed this task: its refresh token renews it".to_owned(),
                ));
            }
            let Some(details) = &request.details else {
                return Ok(());
            };
            refuse_bad_details(details)?;
            // SECURITY: the first pass was limited by more than policy; a further one must not escape that.
            if task.fixed_rights {
                let detail = if task.parent.is_some() {
                    "a task that came of another pass gives what was asked for then: exchange that pass again"
                } else {
                    "the rights of this task were fixed when it was opened: leave this out to renew them, or open a new task"
                };
                return Err(BrokerError::invalid("authorization_details", detail));
            }
            task.asked.clone_from(details);
            Ok(())
        })
        .await
    }

    /// Mints another pass in a task of `agent`, whose record `narrow` may narrow first.
    pub(crate) async fn renew(
        &self,
        caller: &Caller,
        (agent, task): (&AgentId, &TaskId),
        narrow: impl Fn(&mut TaskRecord) -> Result<(), BrokerError>,
    ) -> Result<Issued, BrokerError> {
        let asked = |view: &View<'_>| {
            let state = view.state();
            let agent = state.registered(agent)?.clone();
            let mut task = state.task_of_agent(&agent.agent, task)?.record.clone();
            drop(state);
            narrow(&mut task)?;
            Ok(Asked::plain(Requested {
                agent,
                task,
                way: Way::Renewed,
            }))
        };
        self.issue(caller, asked).await.map(|(issued, ())| issued)
    }

    /// What a request would be answered, by the same path, without recording anything; the pass
    /// that it would give is dropped.
    ///
    /// # Errors
    ///
    /// When there is no such agent or the request is not well-formed, or no key to sign with.
    pub fn explain(&self, agent: &AgentId, request: OpenTask) -> Result<Decision, BrokerError> {
        let view = self.changes.look();
        let Asked {
            requested, said, ..
        } = self.opened(&view, agent, request)?;
        let refusal = match self.run(&view, requested, said.as_deref()) {
            Ok(minted) => return Ok(Decision::Granted(minted.granted)),
            Err(refusal) => refusal,
        };
        match refusal.error {
            BrokerError::Refused(reasons) => Ok(Decision::Refused(reasons)),
            error @ (BrokerError::Suspended(_) | BrokerError::TaskEnded(_)) => Ok(
                Decision::Refused(vec![Reason::new(error.code(), error.to_string())]),
            ),
            error => Err(error),
        }
    }

    /// Records that a request was refused before anything was decided, as `error` says why; returns what its caller
    /// is to be answered: `error`, or that there is no such agent, the request is not well-formed, or nothing can be
    /// recorded.
    pub async fn refuse_task(
        &self,
        caller: &Caller,
        agent: &AgentId,
        (request, error): (OpenTask, BrokerError),
    ) -> BrokerError {
        let refusal = {
            let view = self.changes.look();
            match self.opened(&view, agent, request) {
                Ok(asked) => asked.requested.refused(error),
                Err(error) => return error,
            }
        };
        self.record_refusal(caller, refusal).await
    }

    /// A task that `agent` asks for, not recorded yet.
    pub(crate) fn opened(
        &self,
        view: &View<'_>,
        agent: &AgentId,
        request: OpenTask,
    ) -> Result<Asked<()>, BrokerError> {
        let agent = view.state().registered(agent)?.clone();
        refuse_bad_request(&request, self.limits.max_task_ttl)?;
        let opened_at = view.now().floor_second();
        let rights = Rights {
            are_fixed: request.fixed_rights,
            may_be_partial: request.allow_partial,
        };
        let terms = Terms {
            agent: &agent,
            purpose: request.purpose,
            opened_at,
            ends_at: opened_at.plus(request.ttl),
            context: request.context,
            asked: request.details,
            holder: request.holder,
        };
        let by = OpenedBy::Agent {
            verified: request.verified,
            rights,
        };
        let task = TaskRecord::open(by, terms);
        let way = Way::Opened;
        Ok(Asked {
            said: request.steward,
            ..Asked::plain(Requested { agent, task, way })
        })
    }

    /// Runs what `ask` asks for through all stages, and records what comes of it: the pass, or the refusal. `ask` is
    /// called again when another broker records in between.
    ///
    /// # Errors
    ///
    /// Those of `ask`, which are recorded nowhere; why it was refused; or that nothing can be recorded.
    pub(crate) async fn issue<X, E: From<BrokerError>>(
        &self,
        caller: &Caller,
        mut ask: impl FnMut(&View<'_>) -> Result<Asked<X>, E>,
    ) -> Result<(Issued, X), E> {
        let asked = ask(&self.changes.look())?;
        let place = self.place(caller, &asked.requested.task.asked).await?;
        let mut decide = |view: &View<'_>| -> Result<Decided<Outcome<X>>, E> {
            let Asked {
                requested,
                said,
                before: mut events,
                with,
            } = ask(view)?;
            let now = view.now();
            Ok(match self.run(view, requested, said.as_deref()) {
                Ok(minted) => {
                    events.push(minted.event());
                    Decided::record(now, events, Outcome::Minted(Box::new(minted), with))
                }
                Err(refusal) => refused(caller, now, refusal).map(Outcome::Refused),
            })
        };
        let decide = |view: &View<'_>| match &place {
            Some(place) => place.run(|| decide(view)),
            None => decide(view),
        };
        let Done { value, receipt } = self.changes.beside_others(caller, decide).await?;
        let (minted, with) = match value {
            Outcome::Minted(minted, with) => (minted, with),
            Outcome::Refused(error) => return Err(error.into()),
        };
        let receipt = recorded(receipt)?;
        let recorded = minted.recorded(&receipt, &self.changes.state());
        match recorded {
            Ok(issued) => Ok((issued, with)),
            Err(refusal) => Err(self.record_refusal(caller, refusal).await.into()),
        }
    }

    /// Waits for a place to decide about what is asked, where that takes one.
    pub(crate) async fn place(
        &self,
        caller: &Caller,
        asked: &[RequestedDetail],
    ) -> Result<Option<Place<'_>>, BrokerError> {
        let rights = self.changes.state().catalogue().count_rights(asked);
        self.queue.place(&caller.actor, rights).await
    }

    /// All stages up to the mint.
    pub(crate) fn run(
        &self,
        view: &View<'_>,
        requested: Requested,
        said: Option<&str>,
    ) -> Result<Minted, Refusal> {
        let now = view.now();
        // Before the state is read: other threads read it while they hold the directory.
        let is_meant = said.is_none_or(|said| {
            let meant = |steward: &StewardId| *steward == requested.task.steward;
            self.directory.lock().find(said, meant).is_some()
        });
        let eligible = requested.eligible(&view.state(), now, is_meant)?;
        let (policy, catalogue) = (self.policy.current(), view.state().catalogue());
        let granted = eligible.decide(&policy, &catalogue, now)?;
        self.mint(view, granted)
    }

    /// All stages up to policy's, for a pass that is to be bound to a key of which only the thumbprint is known yet.
    pub(crate) fn run_bound(
        &self,
        view: &View<'_>,
        requested: Requested,
    ) -> Result<Granted, Refusal> {
        let now = view.now();
        let eligible = requested.eligible(&view.state(), now, true)?;
        let (policy, catalogue) = (self.policy.current(), view.state().catalogue());
        let granted = eligible.decide_bound(&policy, &catalogue, now)?;
        match granted.issue_time(&view.state(), now) {
            Ok(_) => Ok(granted.granted),
            Err(error) => Err(granted.refused(error)),
        }
    }

    fn mint(&self, view: &View<'_>, granted: GrantedRequest) -> Result<Minted, Refusal> {
        let now = view.now();
        let issued_at = match granted.issue_time(&view.state(), now) {
            Ok(issued_at) => issued_at,
            Err(error) => return Err(granted.refused(error)),
        };
        // Another broker may have rotated or revoked a key.
        if let Err(error) = self.keys.follow_if_behind() {
            return Err(granted.refused(error));
        }
        let keyring = self.keys.ring();
        let root = match keyring.root() {
            Ok(root) => root,
            Err(error) => return Err(granted.refused(BrokerError::Files(error.to_string()))),
        };
        let with = Mint {
            issuer: &self.limits.issuer,
            root,
            max_pass_ttl: self.limits.max_pass_ttl,
        };
        granted.mint(issued_at, &with)
    }

    /// Records a refusal; returns what its caller is to be answered.
    pub(crate) async fn record_refusal(&self, caller: &Caller, refusal: Refusal) -> BrokerError {
        let event = refusal.event();
        let decide = |view: &View<'_>| {
            let caller = caller.without_key();
            Ok(Decided::record(view.now(), vec![event.clone()], ()).by(caller))
        };
        match self.changes.beside_others(caller, decide).await {
            Ok(Done { .. }) => refusal.error,
            Err(error) => error,
        }
    }
}

/// The record of a refusal that was decided at `now`.
pub(crate) fn refused(caller: &Caller, now: Timestamp, refusal: Refusal) -> Decided<BrokerError> {
    // A refusal creates nothing, so the idempotency key stays free for another try.
    Decided::record(now, vec![refusal.event()], refusal.error).by(caller.without_key())
}

impl Asked<()> {
    /// Nothing but the request.
    pub(crate) const fn plain(requested: Requested) -> Self {
        Self {
            requested,
            said: None,
            before: Vec::new(),
            with: (),
        }
    }
}
