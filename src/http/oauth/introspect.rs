//! Introspection (RFC 7662): a server that cannot verify passes asks what one is worth there.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::schema;
use crate::{
    base::ids::{AgentId, IssuerUri, ServerUri, StewardId},
    broker::Introspected,
    http::{
        App,
        answer::Answer,
        auth::{one_credential, outside},
        context::{Context, Here},
        document::OAuthProblems,
        extract::FormInput,
        problem::Problem,
    },
    identity::Credential,
    oauth::{Form, OAuthError, Presented},
    token::{rights::GrantedDetail, scope},
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
pub(in crate::http) async fn introspect(
    State(app): State<Arc<App>>,
    Here(context): Here,
    headers: HeaderMap,
    FormInput(form): FormInput,
) -> Result<Response, Problem> {
    let asking = app.asking(&headers, &form, &context)?;
    let token = form.text("token").ok_or(OAuthError::InvalidRequest)?.to_owned();
    let server = asking.server.clone();
    // Checking signatures takes its time.
    let found = app.blocking(move |broker| broker.introspect(&server, &token)).await??;
    // SECURITY: who only reads `scope` would take a bound pass from whoever has caught it.
    let found = found.filter(|found| found.holder.is_none() || asking.checks_proofs);
    let answer = match &found {
        Some(found) => Answer::ok(&Active::new(found, app.broker.issuer(), &asking.server))?,
        None => Answer::ok(&json!({"active": false}))?,
    };
    let mut response = answer.into_response();
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Who asks.
struct Asking {
    server: ServerUri,
    /// Whether it knows of passes that are bound to keys.
    checks_proofs: bool,
}

impl App {
    /// The server that asks: by its own secret, or by the token of its verifier's operator.
    fn asking(&self, headers: &HeaderMap, form: &Form, context: &Context) -> Result<Asking, Problem> {
        if let Some(Credential::OperatorToken(token)) = one_credential(headers) {
            return self.asking_operator(token, form, context);
        }
        let unknown = |inside: &str| {
            self.limits.note_failure(context.peer);
            Problem::oauth(OAuthError::InvalidClient, inside)
        };
        let Presented::Secret { readings } = self.presented(headers, form, context)? else {
            return Err(unknown("no secret"));
        };
        let known = readings.iter().map(|read| self.broker.server_with_secret(&read.id, &read.secret));
        // Every reading is tried, so that the time does not tell which was right.
        let server = known.fold(None, |found: Option<ServerUri>, known| found.or(known));
        let server = server.ok_or_else(|| unknown("no server has this name and secret"))?;
        self.admit_principal(&format!("server {server}"), context)?;
        Ok(Asking { server, checks_proofs: false })
    }

    fn asking_operator(&self, token: &str, form: &Form, context: &Context) -> Result<Asking, Problem> {
        let session = self.operator(token, context)?;
        let named = form.text("resource").map(|text| {
            let known = self.broker.state().server(text).map(|manifest| manifest.server.clone());
            known.ok_or(OAuthError::InvalidTarget)
        });
        let mut own = session.token().servers().iter();
        let server = match (named.transpose()?, own.next(), own.next()) {
            (Some(named), ..) => named,
            (None, Some(only), None) => only.clone(),
            // For which of its servers it asks, it must say.
            _ => return Err(OAuthError::InvalidRequest.into()),
        };
        session.clear_introspection(&server, self.broker.now()).map_err(outside)?;
        Ok(Asking { server, checks_proofs: true })
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
            token_type: if found.holder.is_some() { "DPoP" } else { "Bearer" },
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
    let nested = between.iter().rev().fold(None, |inner: Option<Value>, agent| Some(actor(agent, inner)));
    Some(actor(&found.agent, nested))
}

fn actor(agent: &AgentId, inner: Option<Value>) -> Value {
    match inner {
        Some(inner) => json!({"sub": agent, "act": inner}),
        None => json!({"sub": agent}),
    }
}
