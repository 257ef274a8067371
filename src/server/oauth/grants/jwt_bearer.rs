//! `urn:ietf:params:oauth:grant-type:jwt-bearer` (RFC 7523 section 2.1): a JWT of a trusted issuer is the grant.
//!
//! Without client authentication it is a platform's, which says which workload, and so which agent, this is.
//! A client that proves itself brings an identity provider's (ID-JAG), which says on whose behalf it acts.

use std::collections::BTreeSet;

use crate::server::{
    edge::{answer::Answer, problem::Problem},
    oauth::{
        client::Client,
        exchange::Exchange,
        grammar::{Asked, OAuthError, Presented, asked},
        grants::{Opening, catalogue_and_defaults, on_behalf, open},
    },
};
use hallpass_broker::{
    BrokerError, Caller, UsedAssertion, domain::event::Actor, identity::issuer::IdJag,
    policy::Catalogue,
};
use hallpass_core::token::{RequestedDetail, scope::Scope};

/// Opens a task for the workload, or for the client on the person's behalf, and answers its pass.
pub(crate) async fn answer(exchange: &Exchange<'_>, assertion: &str) -> Result<Answer, Problem> {
    let Exchange {
        app,
        context,
        presented,
        asked,
        ..
    } = exchange;
    if let Presented::Nothing { client_id } = presented {
        let client = app
            .workload(assertion, *client_id, (OAuthError::InvalidGrant, context))
            .await?;
        let (catalogue, defaults) = catalogue_and_defaults(exchange, &client);
        let holder = exchange.holder(&client.agent)?;
        let details = asked.resolve(&catalogue, &defaults)?;
        return open(
            exchange,
            &client,
            Opening {
                purpose: WORKLOAD,
                details,
                fixed_rights: false,
                verified: None,
                holder,
            },
        )
        .await;
    }
    let client = exchange.client().await?;
    let jag = app
        .trust
        .id_jag(assertion, (app.broker.issuer(), || app.broker.now()))
        .await;
    let jag =
        jag.map_err(|reason| app.not_believed(reason, (OAuthError::InvalidGrant, context)))?;
    if jag.client_id != client.agent.as_str() {
        return Err(invalid(exchange, "the grant is for another client"));
    }
    let holder = exchange.holder(&client.agent)?;
    if jag.holder.is_some() && jag.holder != holder.as_ref().map(|holding| holding.key.thumbprint())
    {
        return Err(invalid(
            exchange,
            "the grant is bound to a key that was not proven",
        ));
    }
    let (catalogue, defaults) = catalogue_and_defaults(exchange, &client);
    let details = within(&jag, asked, (&catalogue, &defaults))?;
    consume(exchange, &client, &jag).await?;
    // SECURITY: the assertion is used up now, so its limits must stay with the task.
    let opening = Opening {
        purpose: IDENTITY_ASSERTION,
        details,
        fixed_rights: true,
        verified: None,
        holder,
    };
    let steward = app.broker.registry.steward_of(&jag.person);
    let opening = on_behalf(
        exchange,
        &client,
        (opening, steward, OAuthError::InvalidGrant),
    )
    .await?;
    open(exchange, &client, opening).await
}

/// What may be asked for: what the request asks, at the servers and in the scope of the grant.
fn within(
    jag: &IdJag,
    asked: &Asked,
    (catalogue, defaults): (&Catalogue, &[RequestedDetail]),
) -> Result<Vec<RequestedDetail>, OAuthError> {
    let granted = jag
        .resources
        .iter()
        .map(|resource| catalogue.canonical(&asked::server(resource)?).cloned());
    let granted = granted
        .collect::<Option<BTreeSet<_>>>()
        .ok_or(OAuthError::InvalidTarget)?;
    let scope = jag
        .scope
        .as_deref()
        .map(str::parse::<Scope>)
        .transpose()
        .map_err(|_| OAuthError::InvalidScope)?;
    let mut asked = asked.clone();
    if asked.resources.is_empty() {
        asked.resources.clone_from(&granted);
    }
    if asked.scope.is_none() && asked.details.is_none() {
        asked.scope.clone_from(&scope);
    }
    let mut details = asked.resolve(catalogue, defaults)?;
    if !details.iter().all(|detail| {
        catalogue
            .canonical(&detail.server)
            .is_some_and(|at| granted.contains(at))
    }) {
        return Err(OAuthError::InvalidTarget);
    }
    if let Some(scope) = scope {
        let narrow =
            |detail: &RequestedDetail| scope.narrow(detail, catalogue.get(&detail.server)?);
        details = details.iter().filter_map(narrow).collect();
    }
    if details.is_empty() {
        Err(OAuthError::InvalidScope)
    } else {
        Ok(details)
    }
}

/// SECURITY: durably used up before anything comes of it, so that no restart makes it good again.
async fn consume(exchange: &Exchange<'_>, client: &Client, jag: &IdJag) -> Result<(), Problem> {
    let Exchange { app, context, .. } = exchange;
    let used = UsedAssertion {
        agent: client.agent.clone(),
        jti: jag.jti,
        expires_at: jag.expires_at,
    };
    app.broker
        .use_assertion(&used)
        .map_err(|error| match error {
            BrokerError::Replay => invalid(exchange, error.to_string()),
            other => other.into(),
        })?;
    let caller = Caller {
        assertion: Some(used),
        ..context.caller(Actor::Agent(client.agent.clone()))
    };
    Ok(app.broker.note(&caller).await?)
}

fn invalid(exchange: &Exchange<'_>, inside: impl Into<String>) -> Problem {
    exchange
        .app
        .unproven(exchange.context, OAuthError::InvalidGrant, inside)
}

const WORKLOAD: &str = "OAuth workload token";
const IDENTITY_ASSERTION: &str = "OAuth identity assertion";
