//! Introspection (RFC 7662): a server that cannot verify passes asks what one is worth there.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::tasks::token_type,
    server::{
        App,
        api::{
            auth::{one_credential, outside},
            openapi::OAuthProblems,
        },
        edge::{
            answer::Answer,
            context::{Context, Here},
            extract::FormInput,
            problem::Problem,
        },
        oauth::{
            client::first_known,
            grammar::{Form, OAuthError, Presented, asked},
            requests::IntrospectionForm,
        },
    },
};
use hallpass_broker::{
    Introspected,
    identity::{Credential, Operation},
};
use hallpass_core::{
    base::ids::{AgentId, IssuerUri, ServerUri, StewardId},
    token::{GrantedDetail, scope},
};

/// Introspects a pass for the calling server (RFC 7662).
///
/// `scope` holds only what a server may allow that looks at nothing but names; what a pass allows under
/// constraints stands in `authorization_details` alone. To a server that asks with a secret, a pass that is bound
/// to a key is worth nothing: such servers ask for no proof.
#[utoipa::path(post, path = "/oauth/introspect", operation_id = "oauth_introspect", tag = "oauth",
    security(("client" = []), ("operator" = [])),
    request_body(content = IntrospectionForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What it is worth", body = Introspection<'_>), OAuthProblems))]
pub(crate) async fn introspect(
    State(app): State<Arc<App>>,
    Here(context): Here,
    headers: HeaderMap,
    FormInput(form): FormInput,
) -> Result<Answer, Problem> {
    let asking = app.asking(&headers, &form, &context)?;
    let token = form
        .text("token")
        .ok_or(OAuthError::InvalidRequest)?
        .to_owned();
    let server = asking.server.clone();
    // Checking signatures takes its time.
    let found = app
        .blocking(move |broker| broker.verifiers.introspect(&server, &token))
        .await??;
    // SECURITY: a server that only reads `scope` would accept a stolen bound pass.
    let found = found.filter(|found| found.holder.is_none() || asking.checks_proofs);
    match &found {
        Some(found) => Answer::ok(&Introspection::of(
            found,
            app.broker.issuer(),
            &asking.server,
        )),
        None => Answer::ok(&Introspection::default()),
    }
}

/// Who asks.
struct IntrospectingServer {
    server: ServerUri,
    /// Whether it knows of passes that are bound to keys.
    checks_proofs: bool,
}

impl App {
    /// The server that asks: by its own secret, or by the token of its verifier's operator.
    fn asking(
        &self,
        headers: &HeaderMap,
        form: &Form,
        context: &Context,
    ) -> Result<IntrospectingServer, Problem> {
        if let Some(Credential::OperatorToken(token)) = one_credential(headers) {
            return self.asking_operator(token, form, context);
        }
        let unknown = |inside: &str| self.unproven(context, OAuthError::InvalidClient, inside);
        let Presented::Secret { readings } = self.presented(headers, form, context)? else {
            return Err(unknown("no secret"));
        };
        let server = first_known(&readings, |read| {
            self.broker
                .registry
                .server_with_secret(&read.id, &read.secret)
        });
        let server = server.ok_or_else(|| unknown("no server has this name and secret"))?;
        self.admit_principal(&format!("server {server}"), context)?;
        Ok(IntrospectingServer {
            server,
            checks_proofs: false,
        })
    }

    fn asking_operator(
        &self,
        token: &str,
        form: &Form,
        context: &Context,
    ) -> Result<IntrospectingServer, Problem> {
        let session = self.operator(token, context, Operation::PassesIntrospect)?;
        let (catalogue, now) = (self.broker.state().catalogue(), self.broker.now());
        let mut own = session.token().servers().iter();
        let server = match (form.text("resource"), own.next(), own.next()) {
            (Some(text), ..) => {
                asked::known(&catalogue, text).map(|manifest| manifest.server.clone())
            }
            (None, Some(only), None) => Some(only.clone()),
            // For which of its servers it asks, it must say.
            _ => return Err(OAuthError::InvalidRequest.into()),
        };
        // SECURITY: whether there is such a server is shown to those who may list them all.
        let cleared = match &server {
            Some(server) => session.clear_at(Operation::PassesIntrospect, server, now),
            None => session.clear(Operation::ServersRead, now),
        };
        cleared.map_err(outside)?;
        let server = server.ok_or(OAuthError::InvalidTarget)?;
        Ok(IntrospectingServer {
            server,
            checks_proofs: true,
        })
    }
}

/// What a pass allows at the calling server: `active` alone when that is nothing.
#[derive(Default, Serialize, ToSchema)]
struct Introspection<'a> {
    /// Whether it is worth anything.
    active: bool,
    /// The agent whose pass it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a AgentId>,
    /// The agent on whose behalf it acts: the first of a chain of exchanges, else the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a AgentId>,
    /// Who acts, the latest outermost (RFC 8693 section 4.1); absent for a pass that came of no exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<ActorClaim<'a>>,
    /// On whose behalf the agent acts, the steward who answers for it or the person whom the task was proven to be for:
    /// an opaque id.
    #[serde(skip_serializing_if = "Option::is_none")]
    steward: Option<&'a StewardId>,
    /// The broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a IssuerUri>,
    /// The asking server.
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a ServerUri>,
    /// When the pass ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    /// When it was issued, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    /// `Bearer`, or `DPoP` for a pass that is bound to a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// What the server may allow by name alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// The key whose possession each use must prove.
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'a>>,
    /// All that is left of the pass at the asking server, with its constraints.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<&'a [GrantedDetail]>,
}

/// An actor (RFC 8693 section 4.1).
#[derive(Serialize, ToSchema)]
#[schema(as = Actor, no_recursion)]
struct ActorClaim<'a> {
    /// The agent.
    sub: &'a AgentId,
    /// For whom it acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Box<Self>>,
}

/// A key (RFC 9449 section 6).
#[derive(Serialize, ToSchema)]
struct Confirmation<'a> {
    /// Its thumbprint (RFC 7638).
    jkt: &'a str,
}

impl<'a> Introspection<'a> {
    fn of(found: &'a Introspected, issuer: &'a IssuerUri, server: &'a ServerUri) -> Self {
        Self {
            active: true,
            client_id: Some(&found.agent),
            sub: Some(found.on_behalf_of.last().unwrap_or(&found.agent)),
            act: act(found),
            steward: Some(&found.steward),
            iss: Some(issuer),
            aud: Some(server),
            exp: Some(found.expires_at.unix_seconds()),
            iat: Some(found.issued_at.unix_seconds()),
            token_type: Some(token_type(found.holder.is_some())),
            scope: Some(scope::granted(std::slice::from_ref(&found.plain)).unwrap_or_default()),
            cnf: found.holder.as_deref().map(|jkt| Confirmation { jkt }),
            authorization_details: Some(&found.rights),
        }
    }
}

/// Who acts, the latest outermost; only the agent itself for a pass that came of no exchange.
fn act(found: &Introspected) -> Option<ActorClaim<'_>> {
    // The last one is the subject, for whom all the others act.
    let (_, between) = found.on_behalf_of.split_last()?;
    let nested = between
        .iter()
        .rev()
        .fold(None, |act, sub| Some(Box::new(ActorClaim { sub, act })));
    Some(ActorClaim {
        sub: &found.agent,
        act: nested,
    })
}
