//! Answers of the token endpoint (RFC 6749 section 5).

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::tasks::token_type,
    server::{
        edge::{answer::Answer, problem::Problem},
        oauth::grammar::{Asked, OAuthError, exchange::ACCESS_TOKEN},
    },
};
use hallpass_broker::{BrokerError, Handed, Issued};
use hallpass_core::{
    base::time::Timestamp,
    token::{GrantedDetail, scope},
};

/// A token.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenAnswer<'a> {
    /// The pass; it is returned once, and the broker does not store it.
    access_token: &'a str,
    /// `urn:ietf:params:oauth:token-type:access_token`, when it was given for another token (RFC 8693).
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    /// `Bearer`, or `DPoP` for a pass that is bound to a key.
    token_type: &'static str,
    /// How long it lives, in seconds.
    expires_in: u64,
    /// Renews it once, for what a person allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    /// What was granted, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// What was granted, with exact names, when details were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<&'a [GrantedDetail]>,
}

/// The answer with the pass that was `issued` for what was `asked`, at `now`.
pub(super) fn token(issued: &Issued, asked: &Asked, now: Timestamp) -> Result<Answer, Problem> {
    answered(issued, (None, None, asked.details.is_some()), now)
}

/// The answer with the pass that was `issued` for another token, at `now` (RFC 8693 section 2.2.1).
pub(super) fn exchanged(issued: &Issued, asked: &Asked, now: Timestamp) -> Result<Answer, Problem> {
    answered(
        issued,
        (Some(ACCESS_TOKEN), None, asked.details.is_some()),
        now,
    )
}

/// The pass that was handed to a person's client, with what renews it.
pub(super) fn with_refresh(handed: &Handed, now: Timestamp) -> Result<Answer, Problem> {
    answered(
        &handed.issued,
        (None, Some(handed.refresh.expose()), handed.in_detail),
        now,
    )
}

fn answered(
    issued: &Issued,
    (issued_token_type, refresh_token, in_detail): (Option<&'static str>, Option<&str>, bool),
    now: Timestamp,
) -> Result<Answer, Problem> {
    Answer::ok(&TokenAnswer {
        access_token: issued.token.expose(),
        issued_token_type,
        token_type: token_type(issued.record.holder.is_some()),
        expires_in: issued.record.expires_at.since(now).as_secs(),
        refresh_token,
        scope: scope::granted(&issued.record.rights),
        // RFC 9396 section 7: for those who sent some. Some stock clients take no answer with members
        // that they did not ask for.
        authorization_details: in_detail.then_some(issued.record.rights.as_slice()),
    })
}

/// Why the broker gave no token, as the client sees it: the reasons are in the audit trail.
pub(super) fn refusal(error: BrokerError, asked: &Asked) -> Problem {
    let inside = error.to_string();
    let refused = if asked.names_scope() {
        OAuthError::InvalidScope
    } else {
        OAuthError::UnauthorizedClient
    };
    let answered = match &error {
        BrokerError::Refused(_) => refused,
        BrokerError::Invalid {
            field: "authorization_details",
            ..
        } if asked.details.is_some() => OAuthError::InvalidAuthorizationDetails,
        BrokerError::Invalid { .. } => refused,
        BrokerError::Suspended(_) => OAuthError::UnauthorizedClient,
        BrokerError::TaskEnded(_) | BrokerError::Conflict(_) => OAuthError::InvalidGrant,
        BrokerError::NotFound(_) | BrokerError::Replay => OAuthError::InvalidClient,
        // What keeps the broker from recording has its own status, and says when to retry.
        _ => return error.into(),
    };
    Problem::oauth(answered, inside)
}
