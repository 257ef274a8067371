//! One request to the token endpoint, with what every grant needs to answer it.

use axum::http::HeaderValue;

use crate::server::{
    App,
    edge::{context::Context, problem::Problem},
    oauth::{
        client::{Client, Proven},
        grammar::{Asked, OAuthError, Presented},
    },
};
use hallpass_core::{base::ids::AgentId, possession::IssuingError, token::Holding};

/// One request to the token endpoint, read, with everything that a grant needs to answer it.
pub(super) struct Exchange<'r> {
    pub(super) app: &'r App,
    pub(super) context: &'r Context,
    /// The client's credential, not looked at yet.
    pub(super) presented: Presented<'r>,
    /// The `DPoP` headers.
    pub(super) proofs: Vec<&'r HeaderValue>,
    /// What is asked for.
    pub(super) asked: Asked,
}

impl Exchange<'_> {
    /// The client, which must prove itself.
    pub(super) async fn client(&self) -> Result<Client, Problem> {
        self.app.client(&self.presented, self.context).await
    }

    /// The client, which must prove itself; it may be a task's own.
    pub(super) async fn proven(&self) -> Result<Proven, Problem> {
        self.app.proven(&self.presented, self.context).await
    }

    /// The client, which proves itself when it can.
    pub(super) async fn persons_client(&self) -> Result<Client, Problem> {
        self.app.persons_client(&self.presented, self.context).await
    }

    /// The key that a pass of `agent` is to be bound to; `None` when no proof was sent. Such a pass is not
    /// handed on.
    pub(super) fn holder(&self, agent: &AgentId) -> Result<Option<Holding>, Problem> {
        let bad = |inside: String| Problem::oauth(OAuthError::InvalidDpopProof, inside);
        let proof = match self.proofs.as_slice() {
            [] => return Ok(None),
            [one] => one.to_str().map_err(|_| bad("not ASCII".to_owned()))?,
            _ => return Err(bad("more than one proof".to_owned())),
        };
        let key = self
            .app
            .issuing_proofs
            .key(proof, agent, self.app.broker.now());
        let key = key.map_err(|error| match error {
            IssuingError::Full => {
                Problem::oauth(OAuthError::TemporarilyUnavailable, error.to_string())
            }
            error => bad(error.to_string()),
        })?;
        Ok(Some(Holding {
            key,
            max_delegations: 0,
        }))
    }
}
