//! Shapes for the OpenAPI document. Types of the lower floors know nothing of OpenAPI, so what they
//! look like as JSON is said here; `tests/server/http` holds real answers against these shapes.

#![expect(dead_code, reason = "these types describe JSON and are never made")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use crate::server::edge::problem::ReasonBody;

/// Rights on one MCP server (RFC 9396).
#[derive(ToSchema)]
pub(crate) struct AuthorizationDetail {
    /// Always `mcp`.
    #[schema(rename = "type")]
    detail_type: String,
    /// The server's canonical resource URI.
    server: String,
    /// Tools; in a request a name may hold `*`.
    tools: Option<Vec<String>>,
    /// Resource subtrees.
    resources: Option<Vec<String>>,
    /// Prompts; in a request a name may hold `*`.
    prompts: Option<Vec<String>>,
    /// Per tool and JSON pointer of an argument: what it must satisfy.
    constraints: Option<BTreeMap<String, BTreeMap<String, Constraint>>>,
    /// Tools whose calls may hold no argument but the constrained ones.
    closed_arguments: Option<Vec<String>>,
    /// Only what the manifest marks read-only.
    read_only: Option<bool>,
    /// Per tool: result fields to be masked. Needs a gateway.
    mask: Option<BTreeMap<String, Vec<String>>>,
    /// Per tool: how often it may be called in the task. Needs a gateway.
    max_calls: Option<BTreeMap<String, u32>>,
    /// Per tool: tools after which it may not be called. Needs a gateway.
    forbid_after: Option<BTreeMap<String, Vec<String>>>,
}

/// What an argument must satisfy: one or more of these.
#[derive(ToSchema)]
pub(crate) struct Constraint {
    /// Exactly this.
    #[schema(value_type = Option<Object>)]
    equal: Option<Value>,
    /// One of these.
    #[schema(rename = "in", value_type = Option<Vec<Object>>)]
    one_of: Option<Vec<Value>>,
    /// At least this.
    min: Option<i64>,
    /// At most this.
    max: Option<i64>,
    /// A text that begins so.
    prefix: Option<String>,
    /// A path at or below this one.
    under: Option<String>,
    /// A URL of one of these hosts.
    host: Option<Vec<String>>,
}

/// A code to sign in with, told once.
#[derive(ToSchema)]
pub(crate) struct SignInCode {
    /// Who signs in with it.
    steward: String,
    /// The code.
    code: String,
    /// When it ends.
    expires_at: String,
}

/// A pass, handed out once.
#[derive(ToSchema)]
pub(crate) struct Issued {
    /// The task.
    task_id: String,
    /// The pass; it is told once and kept nowhere.
    token: String,
    /// `Bearer`, or `DPoP` for a pass that is bound to a key.
    token_type: String,
    /// When the pass ends.
    expires_at: String,
    /// When the task ends.
    task_ends_at: String,
    /// What to revoke the pass by.
    revocation_id: String,
    /// What was granted, with exact names.
    authorization_details: Vec<AuthorizationDetail>,
    /// Which grant gave which right.
    decided_by: Vec<DecidedBy>,
    /// What was asked for and left out.
    dropped: Option<Vec<ReasonBody>>,
}

/// A task that was opened: with its first pass, or with credentials when those were asked for.
#[derive(ToSchema)]
pub(crate) struct Opened {
    /// The task.
    task_id: String,
    /// The pass; it is told once and kept nowhere.
    token: Option<String>,
    /// `Bearer`, or `DPoP` for a pass that is bound to a key.
    token_type: Option<String>,
    /// When the pass ends.
    expires_at: Option<String>,
    /// What to revoke the pass by.
    revocation_id: Option<String>,
    /// With credentials: the id that a stock OAuth client is configured with.
    client_id: Option<String>,
    /// With credentials: its secret; it is told once and kept nowhere.
    client_secret: Option<String>,
    /// With credentials: the authorization server.
    issuer: Option<String>,
    /// With credentials: where tokens are asked for.
    token_endpoint: Option<String>,
    /// With credentials: the servers that the task's passes are for.
    resources: Option<Vec<String>>,
    /// With credentials: what the passes allow, in words. There is no need to ask for it.
    scope: Option<String>,
    /// When the task ends, and the credentials with it.
    task_ends_at: String,
    /// What was granted, with exact names.
    authorization_details: Vec<AuthorizationDetail>,
    /// Which grant gave which right.
    decided_by: Vec<DecidedBy>,
    /// What was asked for and left out.
    dropped: Option<Vec<ReasonBody>>,
}

/// Which grant gave a right.
#[derive(ToSchema)]
pub(crate) struct DecidedBy {
    /// The right: `tool read_ledger`.
    right: String,
    /// Its server.
    server: String,
    /// The grant.
    grant: String,
    /// Its file.
    file: String,
}

/// A task.
#[derive(ToSchema)]
pub(crate) struct TaskView {
    task_id: String,
    agent: String,
    /// Opaque.
    steward: String,
    /// The issuer through which that person proved it; absent when the agent said so.
    steward_verified_by: Option<String>,
    purpose: String,
    /// Whether the steward allowed it in person, on the consent page.
    consented: Option<bool>,
    /// `open`, `completed`, `revoked` or `over`.
    state: String,
    opened_at: String,
    ends_at: String,
    passes: Vec<PassView>,
    delegations: Vec<DelegationView>,
    /// Whether an OAuth client of its own gets its passes.
    has_client: Option<bool>,
    /// Of which task's pass it came, when it came of one.
    parent: Option<ParentView>,
    /// Tasks that came of its passes.
    children: Option<Vec<String>>,
}

/// The task by one of whose passes another one was opened.
#[derive(ToSchema)]
pub(crate) struct ParentView {
    task_id: String,
    /// In whose place the other acts.
    agent: String,
}

/// A pass of a task, without its bytes.
#[derive(ToSchema)]
pub(crate) struct PassView {
    revocation_id: String,
    issued_at: String,
    expires_at: String,
    revoked: bool,
    authorization_details: Vec<AuthorizationDetail>,
}

/// What an agent said to have handed on.
#[derive(ToSchema)]
pub(crate) struct DelegationView {
    /// The longer token's block ids, block 0 first.
    blocks: Vec<String>,
    /// To whom, as the agent says.
    asserted_delegate: Option<String>,
    /// Which registered agent has the key that was reported.
    registered_delegate: Option<String>,
    revoked: bool,
}

/// A revocation.
#[derive(ToSchema)]
pub(crate) struct Revoked {
    /// Its place in the journal and the feed.
    sequence: u64,
    /// One member: what was revoked.
    subject: Subject,
    /// Passes issued up to then died.
    cut_off: String,
    /// Until when verifiers remember it.
    expires_at: String,
    /// Whether the task stayed open.
    only_token: bool,
    reason: Option<String>,
    task_id: Option<String>,
}

/// What can be revoked: one of these.
#[derive(ToSchema)]
pub(crate) struct Subject {
    revocation_id: Option<String>,
    task: Option<String>,
    agent: Option<String>,
    steward: Option<String>,
    server: Option<String>,
    key: Option<u32>,
}

/// An agent.
#[derive(ToSchema)]
pub(crate) struct AgentView {
    agent: String,
    /// Opaque.
    steward: String,
    steward_name: Option<String>,
    groups: Vec<String>,
    /// Public JWKs.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
    /// Its secrets, without what they are.
    secrets: Option<Vec<SecretView>>,
    /// A secret that was just made; it is told once and kept nowhere.
    client_secret: Option<String>,
    /// What a token request asks for that names no scope.
    default_details: Option<Vec<AuthorizationDetail>>,
    /// Where authorization codes may be sent.
    redirect_uris: Option<Vec<String>>,
    /// The URL of its metadata document, when that is how it came.
    client_document: Option<String>,
    registered_at: String,
    /// Revoked and not reinstated.
    suspended: bool,
}

/// A secret of an agent or a server.
#[derive(ToSchema)]
pub(crate) struct SecretView {
    /// What to remove it by.
    secret_id: String,
    added_at: String,
}

/// A server.
#[derive(ToSchema)]
pub(crate) struct ServerView {
    manifest: Manifest,
    /// Its secrets to ask about passes with, by their ids.
    secrets: Option<Vec<SecretView>>,
    /// The id that goes with a secret that was just made: the server's name.
    client_id: Option<String>,
    /// A secret that was just made; it is told once and kept nowhere.
    client_secret: Option<String>,
    /// Revoked and not reinstated.
    suspended: bool,
}

/// What an MCP server offers, as pinned.
#[derive(ToSchema)]
pub(crate) struct Manifest {
    /// The canonical resource URI.
    server: String,
    /// A short name.
    name: String,
    /// Other URIs of the same server.
    aliases: Option<Vec<String>>,
    /// By exact name.
    tools: Option<BTreeMap<String, Tool>>,
    /// By exact name.
    prompts: Option<BTreeMap<String, Prompt>>,
    /// Resource roots.
    resources: Option<Vec<ResourceRoot>>,
    /// Where it runs.
    region: Option<String>,
    /// What its verifier can do beyond offline checks.
    verifier: Option<Capabilities>,
}

/// A tool, as pinned.
#[derive(ToSchema)]
pub(crate) struct Tool {
    schema_digest: Option<String>,
    /// JSON pointers of the arguments.
    arguments: Option<Vec<String>>,
    read_only: Option<bool>,
    irreversible: Option<bool>,
    /// Arguments that are paths.
    path_arguments: Option<Vec<String>>,
    /// Arguments that are URLs.
    url_arguments: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

/// A prompt, as pinned.
#[derive(ToSchema)]
pub(crate) struct Prompt {
    labels: Option<BTreeMap<String, String>>,
}

/// A resource root, as pinned.
#[derive(ToSchema)]
pub(crate) struct ResourceRoot {
    uri: String,
    labels: Option<BTreeMap<String, String>>,
}

/// What a verifier can do.
#[derive(ToSchema)]
pub(crate) struct Capabilities {
    mask: Option<bool>,
    count: Option<bool>,
    history: Option<bool>,
}

/// A steward.
#[derive(ToSchema)]
pub(crate) struct StewardView {
    /// Opaque.
    steward: String,
    /// Absent once it was erased.
    name: Option<String>,
    /// The issuers whose ID tokens of this person count; absent when there is none.
    identified_by: Option<Vec<String>>,
    /// Revoked and not reinstated.
    suspended: bool,
}

/// A token for an operator, handed out once.
#[derive(ToSchema)]
pub(crate) struct OperatorToken {
    operator: String,
    /// It is told once and kept nowhere.
    token: String,
    /// What to revoke it by.
    revocation_id: String,
    expires_at: String,
}

/// A key of the broker's.
#[derive(ToSchema)]
pub(crate) struct KeyView {
    /// `root`, `feed`, `operator` or `checkpoint`.
    purpose: String,
    id: u32,
    /// `pending`, `active`, `retiring` or `revoked`.
    state: String,
    since: String,
    /// The JWK thumbprint of the public half.
    thumbprint: String,
}

/// The public keys: what a new verifier starts from.
#[derive(ToSchema)]
pub(crate) struct KeyDocument {
    /// The issuer.
    iss: String,
    at: String,
    /// Root keys.
    keys: Vec<RootKeyEntry>,
    /// The feed key that signs now.
    #[schema(value_type = Object)]
    feed_key: Value,
    /// Every change of the feed key, signed by the key before.
    feed_key_chain: Vec<String>,
    /// The key that signs heads and exports of the audit trail.
    #[schema(value_type = Option<Object>)]
    checkpoint_key: Option<Value>,
    /// Every change of the checkpoint key, signed by the key before.
    checkpoint_key_chain: Option<Vec<String>>,
}

/// A root key.
#[derive(ToSchema)]
pub(crate) struct RootKeyEntry {
    id: u32,
    #[schema(value_type = Object)]
    key: Value,
}

/// The policy that is in force.
#[derive(ToSchema)]
pub(crate) struct PolicyView {
    /// Over all files.
    digest: String,
    directory: String,
    grants: Vec<RuleView>,
    guardrails: Vec<RuleView>,
    warnings: Vec<String>,
    /// What refuses now because a server has changed.
    errors: Vec<String>,
}

/// A grant or guardrail and its place.
#[derive(ToSchema)]
pub(crate) struct RuleView {
    id: String,
    file: String,
    line: u64,
}

/// A grant that was written and is in force.
#[derive(ToSchema)]
pub(crate) struct GrantWritten {
    file: String,
    policy: PolicyView,
}

/// One event of the audit trail.
#[derive(ToSchema)]
pub(crate) struct AuditEvent {
    seq: u64,
    at: String,
    #[schema(rename = "type")]
    event_type: String,
    /// `broker`, `agent <id>`, `client of <task>` or `operator <id>`.
    actor: String,
    agent: Option<String>,
    steward: Option<String>,
    task: Option<String>,
    /// The task whose pass was exchanged for that one.
    parent: Option<String>,
    servers: Option<Vec<String>>,
    request: Option<String>,
    trace: Option<String>,
    detail: String,
    /// The record's hash in the chain.
    hash: String,
}
