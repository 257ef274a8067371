//! Calls: the chain of decisions as people and tools read it, each call with the task that it was made for.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};

use crate::{
    BrokerError, DecisionsError, History,
    domain::{
        decision::{Attribution, DecisionEvent},
        event::{Actor, TokenRecord},
    },
    ledger::{
        record::Record,
        views::{Filter, FoundPage, IndexError, Indexed as _, Verdict, Window},
    },
    trail::{decisions::Chain, lookup::Records},
};
use hallpass_core::{
    base::{
        ReasonCode,
        digest::Digest,
        ids::{AgentId, GrantId, ReportId, RevocationId, ServerUri, StewardId, TaskId},
        time::Timestamp,
    },
    token::rights::Kind,
    wire::report::{CallReport, Decision, LostReports, ReportedCall, ReportedHop},
};

/// A page of calls.
#[derive(Debug)]
pub struct CallPage {
    /// In the order that was asked for.
    pub calls: Vec<CallView>,
    /// The `after` of the next page; `None` when this is the last.
    pub next: Option<u64>,
}

/// One record of the chain of decisions: a call that was decided, or a gap.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = DecidedCall))]
pub struct CallView {
    /// Its place in the chain of decisions.
    pub seq: u64,
    /// The verifier's id for it.
    pub id: ReportId,
    /// When it was decided, by the verifier's clock; for a gap, when that begins.
    pub at: Timestamp,
    /// When the broker recorded it.
    pub recorded_at: Timestamp,
    /// Which operator's token reported it.
    pub reported_by: String,
    /// The server.
    pub server: ServerUri,
    /// `allowed`, `refused` or `lost`.
    pub decision: Cow<'static, str>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<ReasonCode>,
    /// What was called; absent when the request was refused before its call was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<ReportedCall>,
    /// In whose name; absent for a gap.
    #[serde(
        flatten,
        deserialize_with = "whose_of",
        skip_serializing_if = "Option::is_none"
    )]
    pub whose: Option<Whose>,
    /// The gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Gap>,
    /// The record's hash.
    pub hash: Digest,
}

/// In whose name a call was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Whose {
    /// Whether the broker's own records agree with what was reported.
    pub attributed: bool,
    /// In what they agree or differ.
    pub attribution: Attribution,
    /// The task.
    pub task: TaskId,
    /// What the task was opened for, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The agent.
    pub agent: AgentId,
    /// On whose behalf it acts, as the pass says.
    pub steward: StewardId,
    /// That person's name, unless it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward_name: Option<String>,
    /// The grant by which the pass had this right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// What to revoke the pass by.
    pub revocation_id: RevocationId,
    /// The ids of its blocks, block 0 first.
    pub chain: Vec<RevocationId>,
    /// Who was given it, hop by hop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegates: Vec<ReportedHop>,
    /// The thumbprint of the key that may use it, when it is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The W3C trace id, as the caller says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The W3C id of the span in whose course the call was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// In whose name the call of these members was made. Without this, serde would read members that it does not understand
/// as a call without attribution.
fn whose_of<'de, D: Deserializer<'de>>(members: D) -> Result<Option<Whose>, D::Error> {
    let members = Map::deserialize(members)?;
    let is_there = ["agent", "attributed", "attribution"]
        .iter()
        .any(|name| members.contains_key(*name));
    if !is_there {
        return Ok(None);
    }
    Whose::deserialize(Value::Object(members))
        .map(Some)
        .map_err(D::Error::custom)
}

/// Reports that were lost.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Gap {
    /// How many; absent when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// None was lost before.
    pub from: Timestamp,
    /// None was lost after.
    pub to: Timestamp,
}

impl History {
    /// The calls that `filter` wants, as far as `window` shows them. Its times are those of the calls.
    ///
    /// # Errors
    ///
    /// When the chain of decisions or the journal cannot be read; never a part of an answer. A page may be
    /// shorter than its limit and not the last.
    pub async fn calls(
        self: &Arc<Self>,
        filter: Filter,
        window: Window,
    ) -> Result<CallPage, BrokerError> {
        let chain = self.decisions.chain().await?;
        let history = Arc::clone(self);
        let find = move || history.find_calls(&chain, &filter, window);
        let found = tokio::task::spawn_blocking(find).await;
        let unusable = |error: String| BrokerError::from(DecisionsError::Unusable(error.into()));
        found
            .map_err(|error| unusable(error.to_string()))?
            .map_err(|error| unusable(error.to_string()))
    }

    fn find_calls(
        &self,
        chain: &Chain,
        filter: &Filter,
        window: Window,
    ) -> Result<CallPage, IndexError> {
        let FoundPage { found, next } = chain.views.page(filter, window)?;
        let mut records = Records::new(&self.changes, &self.views);
        let mut calls = Vec::with_capacity(found.len());
        for sequence in found {
            // The chain's own records are about no call.
            let Some(record) = chain.views.record(sequence)? else {
                continue;
            };
            if let Some(verdict) = record.entry.event.verdict() {
                calls.push(self.view_call(&record, verdict, &mut records)?);
            }
        }
        Ok(CallPage { calls, next })
    }

    fn view_call(
        &self,
        record: &Record<DecisionEvent>,
        verdict: Verdict,
        records: &mut Records<'_>,
    ) -> Result<CallView, IndexError> {
        let reported_by = match &record.entry.actor {
            Actor::Operator(operator) => operator.to_string(),
            Actor::Agent(_) | Actor::TaskClient(_) | Actor::Steward(_) | Actor::Broker => {
                return Err(IndexError::Damaged);
            }
        };
        let view = |(id, at, server): (&ReportId, Timestamp, &ServerUri)| CallView {
            seq: record.sequence,
            id: id.clone(),
            at,
            recorded_at: record.entry.at,
            reported_by,
            server: server.clone(),
            decision: Cow::Borrowed(verdict.as_str()),
            reasons: Vec::new(),
            call: None,
            whose: None,
            lost: None,
            hash: record.hash,
        };
        match &record.entry.event {
            DecisionEvent::CallDecided { call, attribution } => {
                let reasons = match &call.decision {
                    Decision::Allowed => Vec::new(),
                    Decision::Refused(reasons) => reasons.clone(),
                };
                let whose = Some(self.whose(call, *attribution, records)?);
                Ok(CallView {
                    reasons,
                    call: call.call.clone(),
                    whose,
                    ..view((&call.id, call.at, &call.server))
                })
            }
            DecisionEvent::ReportsLost {
                lost:
                    LostReports {
                        id,
                        server,
                        count,
                        from,
                        to,
                        ..
                    },
            } => {
                let lost = Some(Gap {
                    count: *count,
                    from: *from,
                    to: *to,
                });
                Ok(CallView {
                    lost,
                    ..view((id, *from, server))
                })
            }
            DecisionEvent::SegmentBegun { .. } => Err(IndexError::Damaged),
        }
    }

    fn whose(
        &self,
        call: &CallReport,
        attribution: Attribution,
        records: &mut Records<'_>,
    ) -> Result<Whose, IndexError> {
        let revocation_id = *call.chain.first().ok_or(IndexError::Damaged)?;
        let task = records.task(&call.task)?;
        let purpose = match &task {
            Some(known) => records.purpose((&call.task, known))?,
            None => None,
        };
        // A claim about another agent's pass is not shown as a fact.
        let grant = match (&task, &call.call) {
            (Some(task), Some(called)) if attribution == Attribution::Confirmed => records
                .of_pass((task, &revocation_id), |pass| {
                    grant_of(pass, (call, called))
                })?
                .flatten(),
            _ => None,
        };
        Ok(Whose {
            attributed: attribution == Attribution::Confirmed,
            attribution,
            task: call.task.clone(),
            purpose,
            agent: call.agent.clone(),
            steward: call.steward.clone(),
            steward_name: self.directory.lock().name(&call.steward).map(str::to_owned),
            grant,
            revocation_id,
            chain: call.chain.clone(),
            delegates: call.delegates.clone(),
            holder: call.holder.clone(),
            trace: call.caused_by.map(|parent| parent.trace_id()),
            parent: call.caused_by.map(|parent| parent.span_id()),
        })
    }
}

/// The grant that gave the right to what was called: for a resource, that of the subtree that it is in.
fn grant_of(pass: &TokenRecord, (report, called): (&CallReport, &ReportedCall)) -> Option<GrantId> {
    let name = called.name.as_str();
    let covers = |right: &str| match right
        .strip_prefix(called.kind.as_str())
        .and_then(|rest| rest.strip_prefix(' '))
    {
        Some(root) if called.kind == Kind::Resource => name
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || root.ends_with('/') || rest.starts_with('/')),
        Some(exact) => exact == name,
        None => false,
    };
    let here = pass
        .decided_by
        .iter()
        .filter(|by| by.server == report.server && covers(&by.right));
    here.max_by_key(|by| by.right.len())
        .map(|by| by.grant.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_whose_attribution_cannot_be_read_is_none_in_nobodys_name() {
        let pass = "ab".repeat(64);
        let call = json!({"seq": 1, "id": "rpt_00000000000000000000000000000000", "at": "2026-12-01T00:00:00Z",
            "recorded_at": "2026-12-01T00:00:00Z", "reported_by": "operator ledger", "server": "https://s.example/mcp",
            "decision": "allowed", "hash": Digest::ZERO, "attributed": false, "attribution": "other_agent",
            "task": "tsk_00000000000000000000000000000000", "agent": "bot",
            "steward": "stw_00000000000000000000000000000000", "revocation_id": pass, "chain": [pass]});
        let read: CallView = serde_json::from_value(call.clone()).unwrap();
        assert!(!read.whose.unwrap().attributed);
        let with = |name: &str, value: Value| {
            let mut call = call.clone();
            call[name] = value;
            serde_json::from_value::<CallView>(call)
        };
        with("attribution", json!("other_pass")).unwrap();
        assert!(with("attribution", json!("a_newer_word")).is_err());
        assert!(with("steward", json!(7)).is_err());
    }
}
