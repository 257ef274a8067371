//! Issuing: policy is asked, the record is durable, then the pass is handed out.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use serde_json::Value;

use crate::{
    BrokerError, ObjectKind, VerifiedSteward,
    broker::{Broker, Caller},
    domain::{
        eligibility::{refuse_suspended, subjects},
        event::{AgentRecord, Event, RecordedGrant, RecordedReason, TaskRecord, TokenRecord},
        lineage::refuse_ended_parent,
    },
    error::not_mintable,
    issuing::{
        exchange::confined,
        request::{refuse_bad_details, refuse_bad_request},
        tasks::new_task_id,
    },
    ledger::receipt::Draft,
    policy::{Behalf, Decision, Granted, Question, Reason},
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, TaskId},
        time::Timestamp,
    },
    token::{Holding, PassContent, PassToken, RequestedDetail, mint},
};

/// A request for a task and its first pass.
#[derive(Debug, Clone)]
pub struct OpenTask {
    /// What for, in the agent's words.
    pub purpose: String,
    /// How long the task lasts.
    pub ttl: Duration,
    /// What is asked for.
    pub details: Vec<RequestedDetail>,
    /// Whether `details` also limit every further pass of the task, because another party than the agent set them: the
    /// scope of an identity assertion, say.
    pub fixed_rights: bool,
    /// Whether less is good enough.
    pub allow_partial: bool,
    /// For whom, as the agent says: its steward, by id or name; `None` says the same.
    pub steward: Option<String>,
    /// On whose behalf, as that person proved; `None`: the agent's steward.
    pub verified: Option<VerifiedSteward>,
    /// Values that grants may pin arguments to.
    pub context: BTreeMap<String, Value>,
    /// The key that its passes are bound to, and how often they may be handed on.
    pub holder: Option<Holding>,
}

/// A request for another pass in a task.
#[derive(Debug, Clone, Default)]
pub struct IssueAgain {
    /// What is asked for; `None`: what was asked when the task was opened.
    pub details: Option<Vec<RequestedDetail>>,
}

/// A pass, handed out.
#[derive(Debug)]
pub struct Issued {
    /// Its task.
    pub task: TaskRecord,
    /// What was recorded of it.
    pub record: TokenRecord,
    /// The pass.
    pub token: PassToken,
    /// What was asked for and left out, and why.
    pub dropped: Vec<Reason>,
}

impl Broker {
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
        let Opening {
            record,
            task,
            standing,
        } = self.opening(agent, request)?;
        let opened = vec![Event::TaskOpened { task: task.clone() }];
        self.issue(caller, &record, (task, standing), opened).await
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
        let record = self.registered(agent)?;
        let mut task = self.task_of(agent, task)?;
        // A child is the actor's to renew: there is no refresh token for it.
        if task.consented && task.parent.is_none() {
            return Err(BrokerError::Conflict(
                "a person allowed this task: its refresh token renews it".to_owned(),
            ));
        }
        if let Some(details) = request.details {
            refuse_bad_details(&details)?;
            // SECURITY: the first pass was limited by more than policy; a further one must not escape that.
            if task.fixed_rights {
                let detail = if task.parent.is_some() {
                    "a task that came of another pass gives what was asked for then: exchange that pass again"
                } else {
                    "the rights of this task were fixed when it was opened: leave this out to renew them, or open a new task"
                };
                return Err(BrokerError::invalid("authorization_details", detail));
            }
            task.asked = details;
        }
        self.issue_in(caller, &record, task).await
    }

    /// Mints another pass in a task, as its record, perhaps narrowed, says.
    pub(crate) async fn issue_in(
        &self,
        caller: &Caller,
        agent: &AgentRecord,
        task: TaskRecord,
    ) -> Result<Issued, BrokerError> {
        let standing = self.refuse_without_standing(agent, &task, None);
        let standing = standing.and_then(|()| self.refuse_renewal(agent, &task));
        self.issue(caller, agent, (task, standing), Vec::new())
            .await
    }

    /// What a request would be answered, by the same path, without recording anything; the pass
    /// that it would give is dropped.
    ///
    /// # Errors
    ///
    /// When there is no such agent or the request is not well-formed, or no key to sign with.
    pub fn explain(&self, agent: &AgentId, request: OpenTask) -> Result<Decision, BrokerError> {
        let Opening {
            record,
            task,
            standing,
        } = self.opening(agent, request)?;
        match standing.and_then(|()| self.assess(&record, &task, self.now())) {
            Ok(prepared) => Ok(Decision::Granted(prepared.granted)),
            Err(BrokerError::Refused(reasons)) => Ok(Decision::Refused(reasons)),
            Err(error @ (BrokerError::Suspended(_) | BrokerError::TaskEnded(_))) => Ok(
                Decision::Refused(vec![Reason::new(error.code(), error.to_string())]),
            ),
            Err(error) => Err(error),
        }
    }

    /// Records that a request was refused before anybody could be asked about it, as `error` says why.
    ///
    /// # Errors
    ///
    /// Always: `error`, or that there is no such agent, the request is not well-formed, or nothing can be
    /// recorded.
    pub async fn refuse_task(
        &self,
        caller: &Caller,
        agent: &AgentId,
        (request, error): (OpenTask, BrokerError),
    ) -> Result<Infallible, BrokerError> {
        let record = self.registered(agent)?;
        let task = self.new_task(&record, request)?;
        Err(self.record_refusal(caller, &task, true, error).await?)
    }

    /// A task that `agent` asks for, not recorded yet, and whether it may have one.
    pub(crate) fn opening(
        &self,
        agent: &AgentId,
        request: OpenTask,
    ) -> Result<Opening, BrokerError> {
        let record = self.registered(agent)?;
        let said = request.steward.clone();
        let task = self.new_task(&record, request)?;
        let standing = self.refuse_without_standing(&record, &task, said.as_deref());
        Ok(Opening {
            record,
            task,
            standing,
        })
    }

    /// Mints a pass in `task`, recorded after `events`, which open the task when it is a new one.
    pub(crate) async fn issue(
        &self,
        caller: &Caller,
        agent: &AgentRecord,
        (task, standing): (TaskRecord, Result<(), BrokerError>),
        mut events: Vec<Event>,
    ) -> Result<Issued, BrokerError> {
        let now = self.now();
        let Prepared {
            draft,
            record,
            granted,
        } = match standing.and_then(|()| self.assess(agent, &task, now)) {
            Ok(prepared) => prepared,
            Err(error) => {
                let is_new = events
                    .iter()
                    .any(|event| matches!(event, Event::TaskOpened { .. }));
                return Err(self.record_refusal(caller, &task, is_new, error).await?);
            }
        };
        events.push(Event::TokenIssued {
            task: task.task.clone(),
            token: record.clone(),
        });
        let receipt = self.record(caller, now, events).await?;
        if let Err(error) = self.refuse_overtaken(agent, &task, &record) {
            return Err(self.record_refusal(caller, &task, false, error).await?);
        }
        Ok(Issued {
            task,
            record,
            token: draft.release(&receipt)?,
            dropped: granted.dropped,
        })
    }

    fn new_task(&self, agent: &AgentRecord, request: OpenTask) -> Result<TaskRecord, BrokerError> {
        refuse_bad_request(&request, self.options.max_task_ttl)?;
        let opened_at = self.now().floor_second();
        let (steward, verified) = match request.verified {
            Some(verified) => (verified.steward, Some(verified.by)),
            None => (agent.steward.clone(), None),
        };
        Ok(TaskRecord {
            task: new_task_id(),
            agent: agent.agent.clone(),
            answered_for_by: agent.answered_for_beside(&steward),
            steward,
            purpose: request.purpose,
            opened_at,
            ends_at: opened_at.plus(request.ttl),
            context: request.context,
            asked: request.details,
            fixed_rights: request.fixed_rights,
            allow_partial: request.allow_partial,
            holder: request.holder,
            verified,
            client_secret: None,
            parent: None,
            consented: false,
        })
    }

    /// Asks the policy and makes the pass; nobody has it yet.
    pub(crate) fn assess(
        &self,
        agent: &AgentRecord,
        task: &TaskRecord,
        now: Timestamp,
    ) -> Result<Prepared, BrokerError> {
        let (granted, policy) = self.decide(&question(agent, task, now))?;
        self.prepare((agent, task), granted, policy)
    }

    /// What the policy gives, and the digest of it.
    pub(crate) fn decide(&self, question: &Question) -> Result<(Granted, Digest), BrokerError> {
        let policy = self.policy.current();
        let catalogue = self.state().catalogue();
        match policy.decide(question, &catalogue) {
            Decision::Granted(granted) => Ok((granted, policy.digest())),
            Decision::Refused(reasons) => Err(BrokerError::Refused(reasons)),
        }
    }

    fn prepare(
        &self,
        (agent, task): (&AgentRecord, &TaskRecord),
        granted: Granted,
        policy: Digest,
    ) -> Result<Prepared, BrokerError> {
        let issued_at = self.issue_time((agent, task), &granted)?;
        let lives = granted.max_ttl.min(self.options.max_pass_ttl);
        let expires_at = issued_at.plus(lives).min(task.ends_at).floor_second();
        if expires_at <= issued_at {
            return Err(BrokerError::TaskEnded(
                "the task is over: open a new one".to_owned(),
            ));
        }
        let content = PassContent {
            issuer: self.options.issuer.clone(),
            task: task.task.clone(),
            agent: task.agent.clone(),
            steward: task.steward.clone(),
            issued_at,
            expires_at,
            holder: task.holder.clone(),
            rights: confined(task, granted.rights.clone())?,
        };
        let keyring = self.keyring();
        let root = keyring
            .root()
            .map_err(|error| BrokerError::Files(error.to_string()))?;
        let minted = mint(root, &content)
            .map_err(|error| BrokerError::Refused(vec![not_mintable(&error)]))?;
        let draft = Draft::from(minted);
        let decided_by = granted.decided_by.iter().map(|decided| RecordedGrant {
            right: decided.right.to_string(),
            server: decided.right.server.clone(),
            grant: decided.grant.clone(),
            file: decided.file.clone(),
        });
        let record = TokenRecord {
            revocation_id: draft.revocation_id(),
            key: root.id(),
            issued_at,
            expires_at,
            rights: content.rights,
            holder: content.holder.map(|holding| holding.key.thumbprint()),
            decided_by: decided_by.collect(),
            policy,
        };
        Ok(Prepared {
            draft,
            record,
            granted,
        })
    }

    /// The `iat`: now, and later than every cut-off of whoever the pass speaks of, so that a pass
    /// minted after a reinstatement is not taken for one of those that died.
    pub(crate) fn issue_time(
        &self,
        (agent, task): (&AgentRecord, &TaskRecord),
        granted: &Granted,
    ) -> Result<Timestamp, BrokerError> {
        let now = self.now().floor_second();
        let state = self.state();
        let mut issued_at = now;
        for subject in subjects(agent, task, &granted.rights) {
            refuse_suspended(&state, &subject)?;
            if let Some(cut_off) = state.cut_off(&subject) {
                issued_at = issued_at.max(cut_off.floor_second().plus(Duration::from_secs(1)));
            }
        }
        Ok(issued_at)
    }

    /// SECURITY: looked at again once the pass is recorded, since deciding and signing took their time.
    /// A revocation or completion that was recorded before it knew nothing of this pass, which then
    /// never leaves; one that is recorded after it finds the pass in the records and reaches it.
    fn refuse_overtaken(
        &self,
        agent: &AgentRecord,
        task: &TaskRecord,
        token: &TokenRecord,
    ) -> Result<(), BrokerError> {
        let state = self.state();
        if state.task(&task.task).is_none_or(|live| live.end.is_some()) {
            return Err(BrokerError::TaskEnded(
                "the task was revoked or completed meanwhile".to_owned(),
            ));
        }
        refuse_ended_parent(&state, task)?;
        if state
            .agent(&task.agent)
            .is_none_or(|now| now.steward != agent.steward)
        {
            return Err(BrokerError::Suspended(
                "the agent was removed or changed meanwhile".to_owned(),
            ));
        }
        for subject in subjects(agent, task, &token.rights) {
            refuse_suspended(&state, &subject)?;
            if state
                .cut_off(&subject)
                .is_some_and(|cut_off| token.issued_at <= cut_off)
            {
                return Err(BrokerError::Suspended(
                    "it was revoked and reinstated meanwhile: ask again".to_owned(),
                ));
            }
        }
        Ok(())
    }

    pub(crate) async fn record_refusal(
        &self,
        caller: &Caller,
        task: &TaskRecord,
        is_new: bool,
        error: BrokerError,
    ) -> Result<BrokerError, BrokerError> {
        let event = Event::RequestRefused {
            agent: task.agent.clone(),
            steward: task.steward.clone(),
            task: (!is_new).then(|| task.task.clone()),
            asked: task.asked.clone(),
            reasons: recorded_reasons(&error),
        };
        // A refusal creates nothing, so the idempotency key stays free for another try.
        self.record(&caller.without_key(), self.now(), vec![event])
            .await?;
        Ok(error)
    }

    pub(crate) fn registered(&self, agent: &AgentId) -> Result<AgentRecord, BrokerError> {
        let record = self.state().agent(agent).cloned();
        record.ok_or_else(|| BrokerError::not_found(ObjectKind::Agent, agent))
    }
}

/// A pass that was made and that nobody has yet.
pub(crate) struct Prepared {
    draft: Draft,
    pub(crate) record: TokenRecord,
    pub(crate) granted: Granted,
}

/// A task that is asked for.
pub(crate) struct Opening {
    pub(crate) record: AgentRecord,
    pub(crate) task: TaskRecord,
    pub(crate) standing: Result<(), BrokerError>,
}

pub(crate) fn question(agent: &AgentRecord, task: &TaskRecord, now: Timestamp) -> Question {
    Question {
        agent: agent.agent.clone(),
        groups: agent.groups.clone(),
        steward: agent.steward.clone(),
        behalf: Behalf {
            steward: task.steward.clone(),
            verified: task.consented || task.verified.is_some(),
            groups: task
                .verified
                .as_ref()
                .map(|by| by.groups.clone())
                .unwrap_or_default(),
        },
        purpose: task.purpose.clone(),
        requested: task.asked.clone(),
        ttl_seconds: task.ends_at.since(now).as_secs(),
        context: task.context.clone(),
        holder_bound: task.holder.is_some(),
        allow_partial: task.allow_partial,
    }
}

/// The reasons of a refusal as they are recorded: the first ones, and how many more there are.
fn recorded_reasons(error: &BrokerError) -> Vec<RecordedReason> {
    let BrokerError::Refused(reasons) = error else {
        return vec![RecordedReason {
            code: error.code(),
            detail: error.to_string(),
        }];
    };
    let record = |reason: &Reason| RecordedReason {
        code: reason.code,
        detail: reason.detail.clone(),
    };
    let mut recorded: Vec<_> = reasons
        .iter()
        .take(MAX_RECORDED_REASONS)
        .map(record)
        .collect();
    let more = reasons.len().saturating_sub(MAX_RECORDED_REASONS);
    if more > 0 {
        recorded.push(RecordedReason {
            code: error.code(),
            detail: format!("and {more} more reasons"),
        });
    }
    recorded
}

const MAX_RECORDED_REASONS: usize = 64;
