//! The way of a pass, as types: requested, eligible, decided, minted, recorded. Each is made from the one before it
//! alone, and everything up to the mint is pure but for the signature.

use std::time::Duration;

use crate::{
    BrokerError, State,
    domain::{
        eligibility::{
            MAX_PASSES, full, refuse_ended_parent, refuse_ineligible_agent, refuse_other_steward,
            refuse_renewal, refuse_suspended, refuse_suspended_people, subjects,
        },
        event::{
            AgentRecord, KeyPurpose, LedgerEvent, RecordedGrant, RecordedReason, TaskRecord,
            TokenRecord,
        },
    },
    error::not_mintable,
    issuing::confine::confined,
    ledger::{Draft, Receipt},
    policy::{Behalf, Catalogue, Decision, Granted, PolicySet, Question, Reason},
};
use hallpass_core::{
    base::{digest::Digest, ids::IssuerUri, time::Timestamp},
    token::{PassContent, PassToken, RequestedDetail, RootKey, mint},
};

/// A pass that is asked for.
pub(crate) struct Requested {
    pub(crate) agent: AgentRecord,
    /// The task that it is to be minted in, with what is asked for.
    pub(crate) task: TaskRecord,
    pub(crate) way: Way,
}

/// In which way a pass is asked for.
pub(crate) enum Way {
    /// With a new task, which an agent opens.
    Opened,
    /// With a new task, which a person allowed.
    Consented,
    /// In a task that is open, by its agent or the task's own client.
    Renewed,
    /// In a task that is open, with the refresh token of a person's client.
    Refreshed,
}

/// A request by an agent that may ask, for a task that it may have.
pub(crate) struct Eligible {
    agent: AgentRecord,
    task: TaskRecord,
    is_new: bool,
}

/// A request that policy granted.
///
/// A decision that needs an approval is to be a second way out of [`Eligible::decide`], beside this one: the request
/// with the terms that are to be approved, which is recorded as pending instead of minted. Policy cannot decide so yet:
/// [`Decision`] has no such answer, and the match there does not compile without an arm for it once it has.
pub(crate) struct GrantedRequest {
    request: Eligible,
    pub(crate) granted: Granted,
    policy: Digest,
}

/// A pass that was minted. It is released by the receipt of its record.
pub(crate) struct Minted {
    request: Eligible,
    draft: Draft,
    pub(crate) record: TokenRecord,
    pub(crate) granted: Granted,
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

/// A request that was refused, wherever on the way.
pub(crate) struct Refusal {
    task: TaskRecord,
    is_new: bool,
    pub(crate) error: BrokerError,
}

/// What a mint needs besides the request.
pub(crate) struct Mint<'m> {
    pub(crate) issuer: &'m IssuerUri,
    pub(crate) root: &'m RootKey,
    /// A pass lives at most this long, whatever a grant says.
    pub(crate) max_pass_ttl: Duration,
}

impl Way {
    const fn is_new(&self) -> bool {
        matches!(self, Self::Opened | Self::Consented)
    }
}

impl Requested {
    /// Whether the agent may ask for it at `now`. `is_meant`: whether the task is for the steward that the agent
    /// named, if it named one.
    pub(crate) fn eligible(
        self,
        state: &State,
        now: Timestamp,
        is_meant: bool,
    ) -> Result<Eligible, Refusal> {
        let Self { agent, task, way } = self;
        let checked = match way {
            Way::Opened => refuse_ineligible_agent(state, &agent, &task)
                .and_then(|()| refuse_other_steward(&task, is_meant)),
            Way::Consented => refuse_suspended_people(state, &agent, &task.steward),
            Way::Renewed => refuse_ineligible_agent(state, &agent, &task)
                .and_then(|()| refuse_renewal(state, &agent, &task, now)),
            Way::Refreshed => refuse_suspended_people(state, &agent, &task.steward)
                .and_then(|()| refuse_renewal(state, &agent, &task, now)),
        };
        let is_new = way.is_new();
        match checked {
            Ok(()) => Ok(Eligible {
                agent,
                task,
                is_new,
            }),
            Err(error) => Err(Refusal {
                task,
                is_new,
                error,
            }),
        }
    }

    /// It is refused before anything else is asked.
    pub(crate) fn refused(self, error: BrokerError) -> Refusal {
        Refusal {
            is_new: self.way.is_new(),
            task: self.task,
            error,
        }
    }
}

impl Eligible {
    /// What policy says.
    pub(crate) fn decide(
        self,
        policy: &PolicySet,
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Result<GrantedRequest, Refusal> {
        let question = question(&self.agent, &self.task, now);
        self.answered(policy, policy.decide(&question, catalogue))
    }

    /// What policy says of a pass that is to be bound to a key of which only the thumbprint is known yet.
    pub(crate) fn decide_bound(
        self,
        policy: &PolicySet,
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Result<GrantedRequest, Refusal> {
        let question = Question {
            holder_bound: true,
            ..question(&self.agent, &self.task, now)
        };
        self.answered(policy, policy.decide(&question, catalogue))
    }

    fn answered(self, policy: &PolicySet, decision: Decision) -> Result<GrantedRequest, Refusal> {
        match decision {
            Decision::Granted(granted) => Ok(GrantedRequest {
                request: self,
                granted,
                policy: policy.digest(),
            }),
            Decision::Refused(reasons) => Err(self.refused(BrokerError::Refused(reasons))),
        }
    }

    fn refused(self, error: BrokerError) -> Refusal {
        Refusal {
            task: self.task,
            is_new: self.is_new,
            error,
        }
    }
}

impl GrantedRequest {
    /// The `iat` at `now`: later than every cut-off of what the pass concerns, so that a pass minted after a
    /// reinstatement is not taken for one of those that died.
    pub(crate) fn issue_time(
        &self,
        state: &State,
        now: Timestamp,
    ) -> Result<Timestamp, BrokerError> {
        let Eligible { agent, task, .. } = &self.request;
        let mut issued_at = now.floor_second();
        for subject in subjects(agent, task, &self.granted.rights) {
            refuse_suspended(state, &subject)?;
            if let Some(cut_off) = state.cut_off(&subject) {
                issued_at = issued_at.max(cut_off.floor_second().plus(Duration::from_secs(1)));
            }
        }
        Ok(issued_at)
    }

    /// Makes the pass, with the `iat` that [`issue_time`](Self::issue_time) says; it is not released yet.
    pub(crate) fn mint(self, issued_at: Timestamp, with: &Mint<'_>) -> Result<Minted, Refusal> {
        match self.signed(issued_at, with) {
            Ok((draft, record)) => Ok(Minted {
                request: self.request,
                draft,
                record,
                granted: self.granted,
            }),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn signed(
        &self,
        issued_at: Timestamp,
        with: &Mint<'_>,
    ) -> Result<(Draft, TokenRecord), BrokerError> {
        let (task, granted) = (&self.request.task, &self.granted);
        let lives = granted.max_ttl.min(with.max_pass_ttl);
        let expires_at = issued_at.plus(lives).min(task.ends_at).floor_second();
        if expires_at <= issued_at {
            return Err(BrokerError::TaskEnded(
                "the task is over: open a new one".to_owned(),
            ));
        }
        let content = PassContent {
            issuer: with.issuer.clone(),
            task: task.task.clone(),
            agent: task.agent.clone(),
            steward: task.steward.clone(),
            issued_at,
            expires_at,
            holder: task.holder.clone(),
            rights: confined(task, granted.rights.clone())?,
        };
        let minted = mint(with.root, &content)
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
            key: with.root.id(),
            issued_at,
            expires_at,
            rights: content.rights,
            holder: content.holder.map(|holding| holding.key.thumbprint()),
            decided_by: decided_by.collect(),
            policy: self.policy,
        };
        Ok((draft, record))
    }

    /// It is refused although policy granted it.
    pub(crate) fn refused(self, error: BrokerError) -> Refusal {
        self.request.refused(error)
    }
}

impl Minted {
    /// The event that records it.
    pub(crate) fn event(&self) -> LedgerEvent {
        LedgerEvent::TokenIssued {
            task: self.request.task.task.clone(),
            token: self.record.clone(),
        }
    }

    /// Hands the pass out, now that `receipt` says that it is recorded and `state` has the record.
    ///
    /// SECURITY: looked at again, since deciding and signing took their time. A revocation or completion of this
    /// broker that was recorded before the pass knew nothing of it, and the pass never leaves then; one that is
    /// recorded after it finds the pass in the records and reaches it. Limits are counted again for the same reason.
    pub(crate) fn recorded(self, receipt: &Receipt, state: &State) -> Result<Issued, Refusal> {
        let overtaken = self.refuse_overtaken(state);
        let Self {
            request,
            draft,
            record,
            granted,
        } = self;
        let Eligible { task, .. } = request;
        match overtaken.and_then(|()| Ok(draft.release(receipt)?)) {
            Ok(token) => Ok(Issued {
                task,
                record,
                token,
                dropped: granted.dropped,
            }),
            // The task was recorded, with the pass.
            Err(error) => Err(Refusal {
                task,
                is_new: false,
                error,
            }),
        }
    }

    fn refuse_overtaken(&self, state: &State) -> Result<(), BrokerError> {
        let Eligible { agent, task, .. } = &self.request;
        let live = state.task(&task.task).filter(|live| live.end.is_none());
        let live = live.ok_or_else(|| {
            BrokerError::TaskEnded("the task was revoked or completed meanwhile".to_owned())
        })?;
        let is_own = |token: &TokenRecord| token.revocation_id == self.record.revocation_id;
        if live.tokens.len() > MAX_PASSES && !live.tokens.iter().take(MAX_PASSES).any(is_own) {
            return Err(full());
        }
        refuse_ended_parent(state, task)?;
        let is_same = |now: &AgentRecord| now.steward == agent.steward;
        if !state.agent(&task.agent).is_some_and(is_same) {
            return Err(BrokerError::Suspended(
                "the agent was removed or changed meanwhile".to_owned(),
            ));
        }
        if !state.may_sign(KeyPurpose::Root, self.record.key) {
            return Err(BrokerError::Suspended(
                "the key that signed it was revoked meanwhile: ask again".to_owned(),
            ));
        }
        for subject in subjects(agent, task, &self.record.rights) {
            refuse_suspended(state, &subject)?;
            let died = |cut_off| self.record.issued_at <= cut_off;
            if state.cut_off(&subject).is_some_and(died) {
                return Err(BrokerError::Suspended(
                    "it was revoked and reinstated meanwhile: ask again".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

impl Refusal {
    /// The event that records it.
    pub(crate) fn event(&self) -> LedgerEvent {
        let (asked, asked_digest) = recorded_asked(&self.task.asked);
        LedgerEvent::RequestRefused {
            agent: self.task.agent.clone(),
            steward: self.task.steward.clone(),
            task: (!self.is_new).then(|| self.task.task.clone()),
            asked,
            asked_digest,
            reasons: recorded_reasons(&self.error),
        }
    }
}

fn question(agent: &AgentRecord, task: &TaskRecord, now: Timestamp) -> Question {
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

/// What a refusal records of what was asked: all of it where that is short, and else a part and the digest of the whole.
/// An agent without any grant is refused as often as it asks, and each refusal is a record that stays.
fn recorded_asked(asked: &[RequestedDetail]) -> (Vec<RequestedDetail>, Option<Digest>) {
    let whole = serde_json::to_vec(asked).unwrap_or_default();
    if whole.len() <= MAX_RECORDED_ASKED_BYTES {
        return (asked.to_vec(), None);
    }
    let mut left = MAX_RECORDED_ASKED_BYTES;
    let mut fits = |name: &str| {
        let fits = name.len() <= left;
        left = left.saturating_sub(name.len());
        fits
    };
    let part = |detail: &RequestedDetail| {
        let mut part = RequestedDetail::new(detail.server.clone());
        let tools = detail.tools.iter().filter(|name| fits(name.as_str()));
        part.tools = tools.cloned().collect();
        let prompts = detail.prompts.iter().filter(|name| fits(name.as_str()));
        part.prompts = prompts.cloned().collect();
        let resources = detail.resources.iter().filter(|tree| fits(tree.as_str()));
        part.resources = resources.cloned().collect();
        part
    };
    let parts = asked.iter().map(part).collect();
    (parts, Some(Digest::of(&whole)))
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

const MAX_RECORDED_REASONS: usize = 16;
/// A recorded request is at most about so long, in bytes.
const MAX_RECORDED_ASKED_BYTES: usize = 2 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_records_a_long_request_in_part_and_its_digest() {
        let mut detail = RequestedDetail::new("https://s.example/mcp".parse().unwrap());
        detail.tools.push("read".parse().unwrap());
        let short = [detail.clone()];
        assert_eq!(recorded_asked(&short), (short.to_vec(), None));
        detail.tools = (0..400)
            .map(|number| format!("{number:063}").parse().unwrap())
            .collect();
        let long = vec![detail; 3];
        let (asked, digest) = recorded_asked(&long);
        assert_eq!(
            digest,
            Some(Digest::of(&serde_json::to_vec(&long).unwrap()))
        );
        assert_eq!(
            (asked.len(), asked[0].tools.len(), asked[1].tools.len()),
            (3, 32, 0)
        );
        assert!(serde_json::to_vec(&asked).unwrap().len() < 2 * MAX_RECORDED_ASKED_BYTES);
    }
}
