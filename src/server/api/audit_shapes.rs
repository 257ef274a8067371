//! Shapes of heads, proofs and reports for the OpenAPI document.

#![expect(dead_code, reason = "these types describe JSON and are never made")]

use serde_json::Value;
use utoipa::ToSchema;

/// A statement under the checkpoint key, and what leads to that key.
#[derive(ToSchema)]
pub(crate) struct Signed {
    /// The compact JWS (EdDSA): of type `hallpass-tree-head+jwt` or `hallpass-export+jwt`.
    jws: String,
    /// The key that signed it.
    #[schema(value_type = Object)]
    checkpoint_key: Value,
    /// Every change of that key, signed by the key before.
    checkpoint_key_chain: Option<Vec<String>>,
}

/// The last record and the Merkle tree over all of them, signed: worth keeping somewhere else.
#[derive(ToSchema)]
pub(crate) struct AuditHead {
    /// The last record's place in the chain, and the size of the tree.
    sequence: u64,
    /// The last record's hash.
    hash: String,
    /// The root (RFC 9162); a leaf is the 32 bytes of a record's hash.
    root: String,
    at: String,
    signed: Signed,
}

/// A record and the proof that it is in the tree.
#[derive(ToSchema)]
pub(crate) struct InclusionEvidence {
    /// The record's exact line.
    record: String,
    inclusion: Inclusion,
    /// The head, unless a size was asked for.
    signed: Option<Signed>,
}

/// A Merkle inclusion proof (RFC 9162 section 2.1.3).
#[derive(ToSchema)]
pub(crate) struct Inclusion {
    sequence: u64,
    size: u64,
    hashes: Vec<String>,
}

/// The proof that a tree begins with an older one.
#[derive(ToSchema)]
pub(crate) struct ConsistencyEvidence {
    consistency: Consistency,
    /// The head, unless `to` was asked for.
    signed: Option<Signed>,
}

/// A Merkle consistency proof (RFC 9162 section 2.1.4).
#[derive(ToSchema)]
pub(crate) struct Consistency {
    from: u64,
    to: u64,
    hashes: Vec<String>,
}

/// Something that an agent did, or that was done about it.
#[derive(ToSchema)]
pub(crate) struct ActivityRow {
    at: String,
    /// The record.
    seq: u64,
    /// `token_issued`, `request_refused`, …
    event: String,
    /// Who caused it.
    actor: String,
    agent: Option<String>,
    /// Opaque.
    steward: Option<String>,
    task: Option<String>,
    server: Option<String>,
    /// `tool read_ledger`.
    right: Option<String>,
    /// The grant that allowed it.
    grant: Option<String>,
    /// The block of the pass that it is about.
    token: Option<String>,
    /// To whom it was handed on.
    delegate: Option<String>,
    /// The rest in words.
    detail: String,
}

/// A pass by which a tool could be called.
#[derive(ToSchema)]
pub(crate) struct ReachRow {
    /// The record of its issue.
    seq: u64,
    agent: Option<String>,
    /// Opaque.
    steward: Option<String>,
    task: String,
    grant: Option<String>,
    /// Its first block.
    token: String,
    issued_at: String,
    /// Had it not been revoked.
    expires_at: String,
    /// To whom it was handed on, as far as it was reported and not revoked.
    delegates: Option<Vec<String>>,
}

/// How often one agent was refused for one reason.
#[derive(ToSchema)]
pub(crate) struct RefusalRow {
    code: String,
    agent: String,
    count: u64,
    first: String,
    last: String,
    /// What was said the last time.
    detail: String,
}

/// What an agent can do now.
#[derive(ToSchema)]
pub(crate) struct AccessRow {
    /// Opaque.
    steward: String,
    steward_name: Option<String>,
    agent: String,
    groups: Vec<String>,
    /// Revoked and not reinstated, itself or its steward.
    suspended: bool,
    live_passes: u64,
    /// When the last of them ends.
    passes_end: Option<String>,
    /// `tool read_ledger on https://…`.
    rights: Vec<String>,
    grants: Vec<String>,
    /// When it last got a pass.
    last_issued: Option<String>,
    /// When a call with one of its passes was last let through, as verifiers reported and the broker's records confirm.
    last_used: Option<String>,
}
