//! Events: everything that happened, each with enough to rebuild the state from.
//!
//! There are two chains and two types of events: [`LedgerEvent`] for what the broker did, which its state is folded
//! from, and [`DecisionEvent`](crate::domain::decision::DecisionEvent) for what verifiers report.
//!
//! An event never holds a token, a proof, a private key or a person's name. New members are optional: an older
//! build's journal can be read. A member that a build does not know stops its start: it could be a restriction.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::domain::verified::VerifiedBy;
use crate::domain::{
    client::{ClientOrigin, ClientProfile, ClientSecret},
    consent::{ConsentRecord, RegistrationRecord},
    parent::ParentPass,
    subjects::Subjects,
};
use hallpass_core::{
    base::{
        ReasonCode,
        digest::Digest,
        ids::{
            AgentId, GrantId, GroupName, KeyId, OperatorId, RequestId, RevocationId, ServerUri,
            StewardId, TaskId,
        },
        key::PublicKey,
        time::Timestamp,
    },
    token::{GrantedDetail, RequestedDetail, manifest::Manifest},
};

/// Who caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "snake_case",
    tag = "kind",
    content = "id",
    deny_unknown_fields
)]
pub enum Actor {
    /// The broker itself, by schedule or at start.
    Broker,
    /// An agent that proved its key, knew its secret or was proven by its platform; or a public client with a code or
    /// token of a person's.
    Agent(AgentId),
    /// An operator that presented a token.
    Operator(OperatorId),
    /// A task's own OAuth client, that presented its secret.
    TaskClient(TaskId),
    /// A steward who signed in.
    Steward(StewardId),
}

/// The events of one chain of records.
pub trait ChainEvent:
    fmt::Debug + Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The event that begins a segment of the chain, with the digest of the snapshot that it begins with, if any.
    fn segment_begun(snapshot: Option<Digest>) -> Self;

    /// Whether it is the event that begins a segment.
    fn begins_segment(&self) -> bool;

    /// The digest of the snapshot that the segment begins with, when it is that event and there is one.
    fn snapshot(&self) -> Option<Digest>;

    /// The id of the token that it records as made.
    fn made_token(&self) -> Option<RevocationId> {
        None
    }

    /// Adds whom and what it names to `subjects`.
    fn name_subjects(&self, subjects: &mut Subjects);
}

/// An event on its way into a chain, with who caused it and by which request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry<E = LedgerEvent> {
    /// When the broker decided it.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// The HTTP request, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The W3C trace id of that request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Digest over the actor and its idempotency key, so that a replay is known after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Digest>,
    /// What happened.
    pub event: E,
}

/// What happened in the broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum LedgerEvent {
    /// The broker started; names its issuer and version.
    BrokerStarted {
        /// The issuer.
        issuer: String,
        /// The version of the software.
        version: String,
        /// What recovery found and did, in words; empty after a clean stop.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        recovery: Vec<String>,
    },
    /// A segment of the journal begins here; the first record of every segment but the first.
    SegmentBegun {
        /// Digest over the file that holds all that the records before it add up to, where one is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<Digest>,
    },
    /// A key was made or moved to another state.
    KeyChanged {
        /// What the key signs.
        purpose: KeyPurpose,
        /// Its number, unique per purpose.
        key: KeyId,
        /// The public half.
        public: PublicKey,
        /// Its state from now on.
        state: KeyState,
        /// For a new feed or checkpoint key: the old one's signed word for it, so that a pinned key leads to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<String>,
    },
    /// An operator's token was made.
    OperatorAdded {
        /// The operator.
        operator: OperatorId,
        /// What it may do.
        roles: BTreeSet<Role>,
        /// Block 0's id, to revoke it by.
        revocation_id: RevocationId,
        /// When the token ends.
        expires_at: Timestamp,
        /// For a verifier's token: the servers whose feed it may read.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        servers: BTreeSet<ServerUri>,
    },
    /// An operator's tokens are refused from now on.
    OperatorRemoved {
        /// The operator.
        operator: OperatorId,
    },
    /// A steward was registered; the name is in the directory only.
    StewardAdded {
        /// The opaque id.
        steward: StewardId,
    },
    /// A steward's name was erased from the directory.
    StewardErased {
        /// The opaque id.
        steward: StewardId,
    },
    /// A steward was linked to a person whom an issuer knows; whom, is in the directory only.
    StewardIdentified {
        /// The opaque id.
        steward: StewardId,
        /// The issuer whose ID tokens of that person count.
        issuer: String,
    },
    /// A steward is known by no issuer any more.
    StewardUnidentified {
        /// The opaque id.
        steward: StewardId,
    },
    /// An agent was registered or changed; carries its whole record.
    AgentSet {
        /// The record.
        agent: AgentRecord,
    },
    /// An agent was removed; its id stays taken.
    AgentRemoved {
        /// The agent.
        agent: AgentId,
    },
    /// A server was registered or changed; carries its whole manifest.
    ServerSet {
        /// The manifest.
        manifest: Manifest,
    },
    /// A server's secrets to ask about passes with were changed; carries all that it has.
    ServerSecretsSet {
        /// The server.
        server: ServerUri,
        /// What is kept of them.
        secrets: Vec<ClientSecret>,
    },
    /// A server was removed.
    ServerRemoved {
        /// The server.
        server: ServerUri,
    },
    /// A policy set was loaded.
    PolicyLoaded {
        /// Digest over all files.
        digest: Digest,
        /// How many grants.
        grants: usize,
        /// How many guardrails.
        guardrails: usize,
    },
    /// A task was opened.
    TaskOpened {
        /// The task.
        task: TaskRecord,
    },
    /// A token was minted; it is released once this is durable.
    TokenIssued {
        /// The task.
        task: TaskId,
        /// The token.
        token: TokenRecord,
    },
    /// A request for rights was refused.
    RequestRefused {
        /// The agent that asked.
        agent: AgentId,
        /// The steward it would have acted for.
        steward: StewardId,
        /// The task, when it was one already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<TaskId>,
        /// What was asked; of a long request the servers and the first names, without constraints.
        asked: Vec<RequestedDetail>,
        /// SHA-256 over the JSON of all that was asked, where `asked` is a part of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked_digest: Option<Digest>,
        /// The reasons; of many the first, and how many more there are.
        reasons: Vec<RecordedReason>,
    },
    /// A task ended because its agent said so: its passes die.
    TaskCompleted {
        /// The task.
        task: TaskId,
        /// When the last of its passes would have ended.
        passes_end: Timestamp,
    },
    /// An agent reported blocks that it appended.
    DelegationReported {
        /// The task.
        task: TaskId,
        /// The block ids of the longer token, block 0 first.
        blocks: Vec<RevocationId>,
        /// To whom, when the agent says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delegate: Option<String>,
        /// The registered agent that has the key that was reported, when there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registered: Option<AgentId>,
    },
    /// Something was revoked.
    Revoked {
        /// What.
        revocation: RevocationRecord,
    },
    /// Minting for a suspended agent, steward or server is allowed again.
    Reinstated {
        /// Whom or what.
        subject: Subject,
    },
    /// An assertion was used and will not be accepted again.
    AssertionUsed {
        /// Whose.
        agent: AgentId,
        /// Digest of its `jti`.
        jti: Digest,
        /// Until when it must be remembered.
        expires_at: Timestamp,
    },
    /// A code was made with which a steward signs in once.
    SignInCodeMade {
        /// The steward.
        steward: StewardId,
        /// Digest of the code.
        code: Digest,
        /// When it ends.
        expires_at: Timestamp,
    },
    /// A steward signed in: the code is used up.
    SignedIn {
        /// The steward.
        steward: StewardId,
        /// Digest of the code.
        code: Digest,
    },
    /// A steward allowed a client to act for them; it was sent an authorization code.
    ConsentGiven {
        /// What was allowed.
        consent: ConsentRecord,
    },
    /// An authorization code is used up.
    CodeUsed {
        /// Digest of the code.
        code: Digest,
        /// The client that it was made for.
        agent: AgentId,
        /// Who had allowed it.
        steward: StewardId,
        /// What it opens; none, when it came from where it should not have been.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<TaskId>,
        /// Digest of the refresh token that was made with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refresh: Option<Digest>,
    },
    /// The refresh token of a task was used, and replaced.
    RefreshRotated {
        /// The task.
        task: TaskId,
        /// Digest of the one that counts now.
        next: Digest,
    },
    /// A client registered itself; it becomes an agent with the first consent.
    ClientRegistered {
        /// What was registered.
        registration: RegistrationRecord,
    },
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyPurpose {
    /// Passes.
    Root,
    /// Feed frames and key documents.
    Feed,
    /// Operators' tokens.
    Operator,
    /// Tree heads and exports of the audit trail.
    Checkpoint,
}

/// Where a key is in its life; only an active key signs, active and retiring ones verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, not signing yet.
    Pending,
    /// Signs.
    Active,
    /// Signs no more; what it signed still verifies.
    Retiring,
    /// What it signed is refused.
    Revoked,
}

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Read everything.
    Auditor,
    /// Follow the feed of its servers.
    Verifier,
}

/// An agent, as registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRecord {
    /// Its id.
    pub agent: AgentId,
    /// Who answers for it; of a client that people brought: who consented first, and answers for nothing.
    pub steward: StewardId,
    /// The groups that grants can name.
    pub groups: BTreeSet<GroupName>,
    /// Its public keys as JWKs (RFC 7517): Ed25519, P-256, P-384 or RSA. May be none, when it has a secret, a place
    /// where authorization codes are sent, or a platform that proves it to be its workload.
    pub keys: Vec<Value>,
    /// When it was registered first.
    pub registered_at: Timestamp,
    /// Its secrets, at most [`MAX_SECRETS`](crate::domain::client::MAX_SECRETS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<ClientSecret>,
    /// What it is as an OAuth client, when that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientProfile>,
}

impl AgentRecord {
    /// Whether it has something of its own to authenticate with: a key, a secret, or keys that it publishes.
    #[must_use]
    pub fn has_credential(&self) -> bool {
        let publishes = |client: &ClientProfile| client.published_keys.is_some();
        !self.keys.is_empty()
            || !self.secrets.is_empty()
            || self.client.as_ref().is_some_and(publishes)
    }

    /// The steward who answers for what it does; `None` for a self-registered client: who consented first is one
    /// of them, no more.
    #[must_use]
    pub fn answered_for_by(&self) -> Option<&StewardId> {
        let is_registered = self
            .client
            .as_ref()
            .is_none_or(|client| client.origin == ClientOrigin::Registered);
        is_registered.then_some(&self.steward)
    }

    /// Who answers for what it does for `steward`, where that is another.
    #[must_use]
    pub fn answered_for_beside(&self, steward: &StewardId) -> Option<StewardId> {
        self.answered_for_by()
            .filter(|own| *own != steward)
            .cloned()
    }
}

/// A task, as opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRecord {
    /// Its id.
    pub task: TaskId,
    /// Whose.
    pub agent: AgentId,
    /// For whom.
    pub steward: StewardId,
    /// Who answered for the agent when it was opened, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_for_by: Option<StewardId>,
    /// What for.
    pub purpose: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it is over.
    pub ends_at: Timestamp,
    /// Values that grants may pin arguments to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, Value>,
    /// What was asked for, so that a renewal can ask for the same.
    pub asked: Vec<RequestedDetail>,
    /// Whether a renewal may ask for that and nothing else: another party than the agent set it as a limit when the
    /// task was opened, and its word (an identity assertion) is not at hand at a renewal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fixed_rights: bool,
    /// Whether less than that was good enough.
    pub allow_partial: bool,
    /// To which key its passes are bound, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<hallpass_core::token::Holding>,
    /// The secret by which its own OAuth client gets its passes, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<ClientSecret>,
    /// The pass that was exchanged for it, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentPass>,
    /// Whether its steward allowed it in person, or the pass that it came of; they may be another than the agent's
    /// then. Only refresh tokens renew a task that came of no pass.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub consented: bool,
    /// How the steward proved to be that person; `None` when the agent said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<VerifiedBy>,
}

/// A token, as minted: its ids and its content, never its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// Block 0's id.
    pub revocation_id: RevocationId,
    /// The root key that signed it.
    pub key: KeyId,
    /// Its `iat`.
    pub issued_at: Timestamp,
    /// Its `exp`.
    pub expires_at: Timestamp,
    /// What it allows.
    pub rights: Vec<GrantedDetail>,
    /// The thumbprint (RFC 7638) of the key that it is bound to, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Which grant allowed what.
    pub decided_by: Vec<RecordedGrant>,
    /// Digest over the policy set that decided.
    pub policy: Digest,
}

/// Which grant allowed one right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = DecidedBy))]
#[serde(deny_unknown_fields)]
pub struct RecordedGrant {
    /// The right, in words: `tool read_ledger`.
    pub right: String,
    /// The server.
    pub server: ServerUri,
    /// The grant.
    pub grant: GrantId,
    /// The file it stands in.
    pub file: String,
}

/// One reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedReason {
    /// The code.
    pub code: ReasonCode,
    /// What it was about and what decided, in words.
    pub detail: String,
}

/// What can be revoked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A block of a token, and everything appended after it.
    RevocationId(RevocationId),
    /// A task.
    Task(TaskId),
    /// An agent: every pass issued up to now, and minting until it is reinstated.
    Agent(AgentId),
    /// A steward, likewise.
    Steward(StewardId),
    /// A server, likewise.
    Server(ServerUri),
    /// A root key.
    Key(KeyId),
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationRecord {
    /// What.
    pub subject: Subject,
    /// Passes issued up to then die (subjects with a cut-off).
    pub cut_off: Timestamp,
    /// Until when verifiers must know it: after that no pass that it concerns can be alive.
    pub expires_at: Timestamp,
    /// Whether the task of a revoked block 0 stays open for renewal.
    pub only_token: bool,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The task that it is or belongs to, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// For a block that was appended: block 0 of its genuine pass, which was presented with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appended_to: Option<RevocationId>,
    /// The servers concerned, when that is known; empty means all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub servers: BTreeSet<ServerUri>,
}
