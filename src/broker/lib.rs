//! The broker without HTTP: what is recorded, what may be issued, how it is revoked.
//!
//! **This crate makes no promise about its API.** It is the inside of the `hallpass` command.
//!
//! | room | what lives there |
//! | --- | --- |
//! | [`domain`] | records and events, and the state that they add up to |
//! | [`ledger`] | where records become durable: the journal's files, the views over it, the Merkle tree, the audit trail |
//! | [`policy`] | grants and guardrails; what may be given |
//! | [`identity`] | who is asking |
//! | `issuing` | from a request to a pass: tasks, exchange, consent, codes |
//! | `registry` | agents, servers, stewards, operators, clients |
//! | `keys`, `feed`, `trail`, `disk`, [`backup`] | signing keys; what verifiers follow; questions about the past; room on the disk |

#![allow(
    clippy::exhaustive_enums,
    reason = "an inside crate: a new variant should break every match"
)]

pub mod backup;
mod broker;
mod caller;
mod change;
mod disk;
pub mod domain;
mod error;
mod feed;
pub mod identity;
mod issuing;
mod keys;
pub mod ledger;
mod open;
mod options;
pub mod policy;
mod policy_store;
mod registry;
#[cfg(test)]
mod several;
mod start_error;
mod trail;
mod wall_clock;

pub use crate::{
    broker::Broker,
    caller::Caller,
    change::{Changes, Meters},
    domain::{
        client::{CLIENT_DOCUMENTS, REGISTERED_CLIENTS},
        one_time::UsedAssertion,
        one_time_secret::OneTimeSecret,
        state::{
            State,
            live_task::{LiveTask, TaskEnd},
        },
        verified::{SignedIn, VerifiedSteward},
    },
    error::{BrokerError, Missing, ObjectKind},
    feed::{
        hub::{Feed, HEARTBEAT, SignedFrame, Subscription},
        introspect::Introspected,
        revoke::{RevocationView, Revocations, Revoke, Revoked},
        revoke_many::{MAX_AT_ONCE, Many, RevokeMany, RevokedMany, TaskFilter},
        server_verifiers::ServerVerifiers,
    },
    issuing::{
        code_error::{CodeError, CodeReason},
        codes::Codes,
        consent::{Ask, CODE_LIVES, Consents, Offer, PersonsClient},
        exchange::{Exchange, ExchangeError, Exchanges, SubjectPass},
        issue::{Explained, Issuance, Limits, SupposedSteward},
        pipeline::Issued,
        presented::{Handed, Redemption, Refresh, Refreshed},
        repeats::REPEATED_FOR,
        request::{IssueAgain, OpenTask},
        revoke_token::{GivenBack, PassOwner, TokenRevocations},
        task_clients::{OpenedForClient, TaskClient},
        tasks::{
            DelegationReport, DelegationView, ParentView, PassView, TaskItem, TaskView, Tasks,
        },
    },
    keys::{
        error::KeyFileError,
        files::KeysAtRest,
        keyring::KeyringError,
        lifecycle::{KeyView, Keys},
        protection::{KeyProtection, MIN_PASSPHRASE, ProtectionError},
        store::KeyStore,
    },
    open::{KEYS_DIRECTORY, OPERATOR_TOKEN_FILE, Opened},
    options::{Options, OtherIssuer, Retention},
    policy::{EntitlementAnswer, EntitlementProof},
    policy_store::{GrantWritten, Policies, PolicyView, RuleView},
    registry::{
        agents::{AgentView, NewAgent, ServerView},
        directory::{DirectoryError, Identity, STEWARDS_FILE},
        dynamic_clients::{MAX_UNUSED, NewClient, RegisteredClient, UNUSED_LIVES},
        operators::{NewOperator, OperatorToken, Operators},
        service::{Registry, SecretView},
        sign_in::SIGN_IN_LIVES,
        stewards::StewardView,
    },
    start_error::StartError,
    trail::{
        calls::{CallPage, CallView, Gap, Whose},
        decisions::{DECISIONS_DIRECTORY, Decisions, RecordedReports},
        entitlements::{EntitlementFilter, EntitlementPlace, EntitlementRow},
        error::DecisionsError,
        reports::History,
    },
    wall_clock::{ClockFault, MachineClock},
};
