//! Introspection (RFC 7662): a server that cannot verify passes asks what one is worth there.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use serde::Serialize;
use serde_json::{Value, json};

use crate::server::{
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
        schema,
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

/// What a pass is worth at the asking server.
///
/// `scope` holds only what a server may allow that looks at nothing but names; what a pass allows under
/// constraints stands in `authorization_details` alone. To a server that asks with a secret, a pass that is bound
/// to a key is worth nothing: such servers ask for no proof.
#[utoipa::path(post, path = "/oauth/introspect", operation_id = "oauth_introspect", tag = "oauth",
    security(("client" = []), ("operator" = [])),
    request_body(content = schema::IntrospectionRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What it is worth", body = schema::Introspection), OAuthProblems))]
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
    // SECURITY: who only reads `scope` would take a bound pass from whoever has caught it.
    let found = found.filter(|found| found.holder.is_none() || asking.checks_proofs);
    match &found {
        Some(found) => Answer::ok(&Active::new(found, app.broker.issuer(), &asking.server)),
        None => Answer::ok(&json!({"active": false})),
    }
}

/// Who asks.
struct Asking {
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
    ) -> Result<Asking, Problem> {
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
        Ok(Asking {
            server,
            checks_proofs: false,
        })
    }

    fn asking_operator(
        &self,
        token: &str,
        form: &Form,
        context: &Context,
    ) -> Result<Asking, Problem> {
        let session = self.operator(token, context)?;
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
        // SECURITY: whether there is such a server is told to those who may list them all.
        let cleared = match &server {
            Some(server) => session.clear_at(Operation::PassesIntrospect, server, now),
            None => session.clear(Operation::ServersRead, now),
        };
        cleared.map_err(outside)?;
        let server = server.ok_or(OAuthError::InvalidTarget)?;
        Ok(Asking {
            server,
            checks_proofs: true,
        })
    }
}

#[derive(Serialize)]
struct Active<'a> {
    active: bool,
    client_id: &'a AgentId,
    sub: &'a AgentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Value>,
    steward: &'a StewardId,
    iss: &'a IssuerUri,
    aud: &'a ServerUri,
    exp: u64,
    iat: u64,
    token_type: &'static str,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Value>,
    authorization_details: &'a [GrantedDetail],
}

impl<'a> Active<'a> {
    fn new(found: &'a Introspected, issuer: &'a IssuerUri, server: &'a ServerUri) -> Self {
        Self {
            active: true,
            client_id: &found.agent,
            sub: found.on_behalf_of.last().unwrap_or(&found.agent),
            act: act(found),
            steward: &found.steward,
            iss: issuer,
            aud: server,
            exp: found.expires_at.unix_seconds(),
            iat: found.issued_at.unix_seconds(),
            token_type: if found.holder.is_some() {
                "DPoP"
            } else {
                "Bearer"
            },
            scope: scope::granted(std::slice::from_ref(&found.plain)).unwrap_or_default(),
            cnf: found.holder.as_ref().map(|key| json!({"jkt": key})),
            authorization_details: &found.rights,
        }
    }
}

/// Who acts, the latest outermost; nobody but the agent itself for a pass that came of no exchange.
fn act(found: &Introspected) -> Option<Value> {
    // The last one is the subject, for whom all the others act.
    let (_, between) = found.on_behalf_of.split_last()?;
    let nested = between
        .iter()
        .rev()
        .fold(None, |inner: Option<Value>, agent| {
            Some(actor(agent, inner))
        });
    Some(actor(&found.agent, nested))
}

fn actor(agent: &AgentId, inner: Option<Value>) -> Value {
    match inner {
        Some(inner) => json!({"sub": agent, "act": inner}),
        None => json!({"sub": agent}),
    }
}
