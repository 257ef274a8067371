//! Decision reports, which a verifier sends to its broker about the calls that it decided.
//!
//! A report names the agent, the task, the call, the delegates of the pass and the decision. It holds
//! digests of arguments and never the arguments, ids of tokens and never a token, and no person's name.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    base::{
        ReasonCode,
        digest::Digest,
        format::Format,
        ids::{AgentId, ReportId, RevocationId, ServerUri, StewardId, TaskId},
        json, random,
        time::Timestamp,
        trace::TraceParent,
    },
    token::{Call, Hop, MAX_APPENDED_BLOCKS, rights::Kind},
    wire::read::{self, Document, DocumentError},
};

/// A batch of 1 to 500 reports about at most 64 servers. The broker accepts all of them or none.
///
/// A document of `docs/wire.md`: unknown members are ignored unless `crit` names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = DecisionsRequest))]
#[non_exhaustive]
pub struct ReportBatch {
    /// The format; absent means 1.
    #[cfg_attr(feature = "schema", schema(value_type = u64, required = false))]
    pub v: Format,
    /// Reports of calls and gaps, about servers that the verifier's token names.
    pub reports: Vec<Report>,
}

impl ReportBatch {
    /// Reads a batch that a verifier of an earlier or a later build may have written.
    ///
    /// # Errors
    ///
    /// When this build cannot read it.
    pub fn read(batch: Value) -> Result<Self, DocumentError> {
        let Unread { v, reports } = read::read(batch)?;
        let reports = reports.into_iter().enumerate().map(|(index, report)| {
            Report::read(report).map_err(|error| error.within_item(index).within("reports"))
        });
        Ok(Self {
            v,
            reports: reports.collect::<Result<_, _>>()?,
        })
    }
}

/// A batch whose reports are not parsed yet. Without a format it is of format 1.
#[derive(Deserialize)]
struct Unread {
    #[serde(default)]
    v: Format,
    reports: Vec<Value>,
}

impl Document for Unread {}

/// One report to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = DecisionReport))]
#[serde(rename_all = "snake_case", tag = "type")]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum Report {
    /// A call was decided.
    Call(Box<CallReport>),
    /// Reports were lost before they could be sent.
    Lost(LostReports),
}

impl Report {
    fn read(mut report: Value) -> Result<Self, DocumentError> {
        const TAG: &str = "type";
        let kind = report
            .as_object_mut()
            .and_then(|members| members.remove(TAG));
        match kind.as_ref().and_then(Value::as_str) {
            Some("call") => Ok(Self::Call(read::read_tagged(report, TAG)?)),
            Some("lost") => Ok(Self::Lost(read::read_tagged(report, TAG)?)),
            _ => Err(DocumentError::Shape {
                at: TAG.to_owned(),
                expectation: "expected `call` or `lost`".to_owned(),
            }),
        }
    }

    /// The report's id.
    #[must_use]
    pub const fn id(&self) -> &ReportId {
        match self {
            Self::Call(call) => &call.id,
            Self::Lost(lost) => &lost.id,
        }
    }

    /// The server that the report is about.
    #[must_use]
    pub const fn server(&self) -> &ServerUri {
        match self {
            Self::Call(call) => &call.server,
            Self::Lost(lost) => &lost.server,
        }
    }

    /// Checks the bounds that every verifier keeps. An error has the member and the expected form.
    ///
    /// # Errors
    ///
    /// The first member that is out of its bounds.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match self {
            Self::Call(call) => call.check(),
            Self::Lost(lost) if lost.from > lost.to => Err(("to", "not before `from`")),
            Self::Lost(lost) if lost.count == Some(0) => {
                Err(("count", "at least 1, or absent when unknown"))
            }
            Self::Lost(_) => Ok(()),
        }
    }
}

/// One call that was decided, or a request with a genuine pass that was refused before its call was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CallReport {
    /// Unique for each decision, so that a report that is sent twice counts once.
    pub id: ReportId,
    /// When it was decided, by the verifier's clock.
    pub at: Timestamp,
    /// The server.
    pub server: ServerUri,
    /// The decision.
    pub decision: Decision,
    /// The call; absent when the request was refused before its body was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<ReportedCall>,
    /// The task that the pass was issued for.
    pub task: TaskId,
    /// The agent that it was issued to.
    pub agent: AgentId,
    /// The steward for whom that agent acts, as in the pass: an opaque id.
    pub steward: StewardId,
    /// The ids of the pass's blocks, block 0 first. Revoking any of them revokes the pass.
    pub chain: Vec<RevocationId>,
    /// The delegates, as each holder before signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegates: Vec<ReportedHop>,
    /// The thumbprint (RFC 7638) of the key that may use the pass; absent when it is not bound to a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The trace and the parent span of the call, as the caller sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<TraceParent>,
}

/// The pass that a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers must set every field")]
pub struct PassIdentity {
    /// The task that the pass was issued for.
    pub task: TaskId,
    /// The agent that it was issued to.
    pub agent: AgentId,
    /// The steward for whom that agent acts.
    pub steward: StewardId,
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum Decision {
    /// The call was allowed.
    Allowed,
    /// The call was refused, with every reason. Never empty.
    Refused(Vec<ReasonCode>),
}

/// The called tool, prompt or resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReportedCall {
    /// The MCP method.
    pub method: CallMethod,
    /// The kind of thing that it names.
    pub kind: Kind,
    /// Which.
    pub name: CalledName,
    /// SHA-256 over the canonical JSON (RFC 8785) of the arguments; absent when there are none, or when a
    /// number in them has no canonical form. A reader who guesses the arguments can confirm the guess.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Digest>,
}

/// The MCP methods that name a thing of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum CallMethod {
    /// Calls a tool.
    #[serde(rename = "tools/call")]
    ToolsCall,
    /// Fetches a prompt.
    #[serde(rename = "prompts/get")]
    PromptsGet,
    /// Reads a resource.
    #[serde(rename = "resources/read")]
    ResourcesRead,
    /// Subscribes to changes of a resource.
    #[serde(rename = "resources/subscribe")]
    ResourcesSubscribe,
    /// Ends that subscription.
    #[serde(rename = "resources/unsubscribe")]
    ResourcesUnsubscribe,
    /// Asks for completions of an argument of a prompt or resource template.
    #[serde(rename = "completion/complete")]
    CompletionComplete,
}

impl CallMethod {
    /// The method as in MCP.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToolsCall => "tools/call",
            Self::PromptsGet => "prompts/get",
            Self::ResourcesRead => "resources/read",
            Self::ResourcesSubscribe => "resources/subscribe",
            Self::ResourcesUnsubscribe => "resources/unsubscribe",
            Self::CompletionComplete => "completion/complete",
        }
    }

    /// The method called `text`, when it is one that names a thing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "tools/call" => Self::ToolsCall,
            "prompts/get" => Self::PromptsGet,
            "resources/read" => Self::ResourcesRead,
            "resources/subscribe" => Self::ResourcesSubscribe,
            "resources/unsubscribe" => Self::ResourcesUnsubscribe,
            "completion/complete" => Self::CompletionComplete,
            _ => return None,
        })
    }

    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Tool => Self::ToolsCall,
            Kind::Prompt => Self::PromptsGet,
            Kind::Resource => Self::ResourcesRead,
        }
    }
}

/// The name of the called thing, as a client sent it, and so bounded. A name that is too long, empty or
/// holds control characters is replaced by `sha256:` and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CalledName(Box<str>);

impl CalledName {
    /// The name to report for `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if is_plain(name) {
            Self(name.into())
        } else {
            Self(format!("sha256:{}", Digest::of(name.as_bytes())).into())
        }
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_plain(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
}

impl TryFrom<String> for CalledName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if is_plain(&text) {
            Ok(Self(text.into()))
        } else {
            Err("expected 1 to 1024 bytes without control characters")
        }
    }
}

impl From<CalledName> for String {
    fn from(name: CalledName) -> Self {
        name.0.into()
    }
}

/// One delegation of the pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReportedHop {
    /// The block of the delegation, counted from 0.
    pub block: usize,
    /// The delegate's name, as asserted by the holder before.
    pub agent: AgentId,
    /// The thumbprint (RFC 7638) of the key that it was bound to.
    pub key: String,
}

impl From<&Hop> for ReportedHop {
    fn from(hop: &Hop) -> Self {
        Self {
            block: hop.block,
            agent: hop.agent.clone(),
            key: hop.key.thumbprint(),
        }
    }
}

/// A gap: the number of lost reports, and when their calls were decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LostReports {
    /// Unique for each gap.
    pub id: ReportId,
    /// The server.
    pub server: ServerUri,
    /// The number of lost reports; absent when it is unknown, as after a crash, when it may be zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// No report before this time was lost.
    pub from: Timestamp,
    /// No report after this time was lost.
    pub to: Timestamp,
}

impl LostReports {
    /// A gap with a new id.
    #[must_use]
    pub fn new(server: ServerUri, count: Option<u64>, (from, to): (Timestamp, Timestamp)) -> Self {
        Self {
            id: new_id(),
            server,
            count,
            from,
            to,
        }
    }
}

impl CallReport {
    /// A report that `decision` was made at `at`, about a pass of `task`, `agent` and `steward`. The caller, a verifier, sets the
    /// other members about the pass and the call.
    #[doc(hidden)]
    #[must_use]
    pub fn new(
        server: ServerUri,
        at: Timestamp,
        decision: Decision,
        identity: PassIdentity,
    ) -> Self {
        Self {
            id: new_id(),
            at,
            server,
            decision,
            call: None,
            task: identity.task,
            agent: identity.agent,
            steward: identity.steward,
            chain: Vec::new(),
            delegates: Vec::new(),
            holder: None,
            caused_by: None,
        }
    }

    /// Sets the trace of the call.
    #[must_use]
    pub fn caused_by(mut self, parent: Option<TraceParent>) -> Self {
        self.caused_by = parent;
        self
    }

    /// Sets the method, when it is not the usual one for the kind of thing.
    #[must_use]
    pub fn by_method(mut self, method: Option<CallMethod>) -> Self {
        if let (Some(call), Some(method)) = (&mut self.call, method) {
            call.method = method;
        }
        self
    }

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let blocks = MAX_APPENDED_BLOCKS.saturating_add(1);
        let keys = self
            .delegates
            .iter()
            .map(|hop| &hop.key)
            .chain(&self.holder);
        let mut last = 0;
        let rising = self
            .delegates
            .iter()
            .all(|hop| std::mem::replace(&mut last, hop.block) < hop.block);
        match &self.decision {
            Decision::Refused(reasons) if !(1..=ReasonCode::ALL.len()).contains(&reasons.len()) => {
                Err(("decision", "a refusal has at least one reason, each once"))
            }
            Decision::Allowed if self.call.is_none() => {
                Err(("call", "required when the decision is `allowed`"))
            }
            _ if !(1..=blocks).contains(&self.chain.len()) => {
                Err(("chain", "1 to 9 ids of blocks"))
            }
            _ if !rising || last >= self.chain.len() => {
                Err(("delegates", "blocks of the chain, in their order"))
            }
            _ if !keys
                .into_iter()
                .all(|key| Digest::from_base64url(key).is_some()) =>
            {
                Err(("holder", "thumbprints of keys (RFC 7638)"))
            }
            _ => Ok(()),
        }
    }
}

impl ReportedCall {
    /// The call, with the digest of its arguments.
    #[must_use]
    pub fn of(call: &Call<'_>) -> Self {
        Self {
            method: CallMethod::of(call.kind),
            kind: call.kind,
            name: CalledName::of(call.name),
            arguments: call.arguments.and_then(json::canonical_digest),
        }
    }
}

fn new_id() -> ReportId {
    ReportId::from_random(*random::bytes())
}

/// The most reports that a broker accepts in one request.
pub const MAX_BATCH_REPORTS: usize = 500;

/// A longer name is reported as its digest.
const MAX_NAME_BYTES: usize = 1024;

#[cfg(test)]
mod tests;
