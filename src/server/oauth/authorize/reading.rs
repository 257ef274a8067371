//! Who asks, and where the answer may go: found before anything else is believed.

use std::net::IpAddr;

use crate::server::{
    App,
    oauth::{
        authorize::pending::{PendingAuthorization, RequestingClient},
        grammar::{AuthorizationRequest, Form, OAuthError, client_document::ClientKeys},
    },
};
use hallpass_broker::{Ask, PersonsClient, domain::client::ClientOrigin, policy::Catalogue};
use hallpass_core::{
    base::{client_url::ClientUrl, ids::AgentId, redirect::RedirectUri},
    token::{RequestedDetail, manifest::Manifest},
};

/// Why no answer can be sent to a client: the person sees it on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unknown {
    #[error("The address of this page is malformed, too long, or names something twice.")]
    Request,
    #[error("The program that sent you here is not known.")]
    Client,
    #[error(
        "The program that sent you here describes itself at an address that cannot be read now, or not soundly."
    )]
    Document,
    #[error("The program that sent you here wants the answer at a place that is not its own.")]
    RedirectUri,
}

impl PendingAuthorization {
    /// Reads the query of an authorization request as far as it says who asks.
    pub(super) async fn read((app, peer): (&App, IpAddr), query: &str) -> Result<Self, Unknown> {
        if query.len() > MAX_QUERY_BYTES {
            return Err(Unknown::Request);
        }
        let form = Form::parse(query.as_bytes()).map_err(|_| Unknown::Request)?;
        let client = find((app, peer), form.text("client_id").ok_or(Unknown::Client)?).await?;
        let named = form.text("redirect_uri");
        let redirect = match (named, client.redirect_uris.as_slice()) {
            (Some(asked), registered) => {
                let asked: RedirectUri = asked.parse().map_err(|_| Unknown::RedirectUri)?;
                let is_its_own = registered
                    .iter()
                    .any(|registered| registered.admits(&asked));
                if is_its_own {
                    asked
                } else {
                    return Err(Unknown::RedirectUri);
                }
            }
            (None, [only]) => only.clone(),
            (None, _) => return Err(Unknown::RedirectUri),
        };
        let state = form.text("state").map(str::to_owned);
        Ok(Self {
            client,
            redirect,
            is_named: named.is_some(),
            state,
            form,
        })
    }

    /// What is asked for.
    pub(super) fn ask(&self, app: &App) -> Result<Ask, OAuthError> {
        let request = AuthorizationRequest::read(&self.form)?;
        let catalogue = app.broker.state().catalogue();
        let everything;
        let defaults = if self.client.defaults.is_empty() {
            everything = everything_at(&catalogue, &request);
            &everything
        } else {
            &self.client.defaults
        };
        let details = request.asked.resolve(&catalogue, defaults);
        // Who names nothing at all lacks the server: scopes may be left out here.
        let nothing = defaults.is_empty() && !request.asked.names_scope();
        let details = details.map_err(|error| {
            if nothing {
                OAuthError::InvalidTarget
            } else {
                error
            }
        })?;
        Ok(Ask {
            client: self.client.known_as.clone(),
            redirect_uri: self.is_named.then(|| self.redirect.to_string()),
            challenge: request.challenge,
            holder: request.holder,
            in_detail: request.asked.details.is_some(),
            details,
        })
    }
}

async fn find((app, peer): (&App, IpAddr), id: &str) -> Result<RequestingClient, Unknown> {
    if ClientUrl::is_meant(id) {
        let url = id.parse().map_err(|_| Unknown::Client)?;
        return of_document((app, peer), &url).await;
    }
    let agent: AgentId = id.parse().map_err(|_| Unknown::Client)?;
    let registered = app
        .broker
        .state()
        .agent(&agent)
        .map(|record| record.client.clone().unwrap_or_default());
    let (name, redirect_uris, origin, defaults) = match registered {
        Some(client) => (
            None,
            client.redirect_uris,
            client.origin,
            client.default_details,
        ),
        None => {
            let unused = app
                .broker
                .registry
                .unused_client(&agent)
                .ok_or(Unknown::Client)?;
            (
                unused.name,
                unused.redirect_uris,
                ClientOrigin::Dynamic,
                Vec::new(),
            )
        }
    };
    // A document's client is known by its URL, from which it is read each time; and a client without redirect URIs is
    // not distinguished from an unknown one.
    if matches!(origin, ClientOrigin::MetadataDocument { .. }) || redirect_uris.is_empty() {
        return Err(Unknown::Client);
    }
    let redirect_uris = redirect_uris
        .iter()
        .filter_map(|uri| uri.parse().ok())
        .collect();
    let known_as = PersonsClient::Known(agent);
    Ok(RequestingClient {
        id: id.to_owned(),
        name,
        origin,
        redirect_uris,
        defaults,
        known_as,
    })
}

async fn of_document(
    (app, peer): (&App, IpAddr),
    url: &ClientUrl,
) -> Result<RequestingClient, Unknown> {
    let documents = app.consents.documents.as_ref().ok_or(Unknown::Client)?;
    let metadata = documents.metadata(url, (peer, app.clock.monotonic())).await.map_err(|error| {
        tracing::info!(client = %url, error = %error, "a client metadata document was not taken");
        Unknown::Document
    })?;
    let (keys, published_keys) = match &metadata.keys {
        ClientKeys::PrivateKeyJwt(jwks) => (jwks.clone(), None),
        ClientKeys::Published(published) => (Vec::new(), Some(published.clone())),
        ClientKeys::Public | ClientKeys::Secret => (Vec::new(), None),
    };
    let agent = url.agent().ok_or(Unknown::Client)?;
    let known = app
        .broker
        .state()
        .agent(&agent)
        .and_then(|record| record.client.clone());
    Ok(RequestingClient {
        id: url.to_string(),
        name: metadata.name.clone(),
        origin: ClientOrigin::MetadataDocument {
            url: url.to_string(),
        },
        redirect_uris: metadata.redirect_uris.clone(),
        defaults: known.unwrap_or_default().default_details,
        known_as: PersonsClient::Document {
            url: url.clone(),
            redirect_uris: metadata.redirect_uris.clone(),
            keys,
            published_keys,
        },
    })
}

/// Everything at the servers that are named, or at the only one that there is: what a client asks for
/// that does not say, of which policy allows a part.
fn everything_at(catalogue: &Catalogue, request: &AuthorizationRequest) -> Vec<RequestedDetail> {
    let named = request
        .asked
        .resources
        .iter()
        .filter_map(|server| catalogue.get(server));
    let mut servers: Vec<&Manifest> = named.map(AsRef::as_ref).collect();
    if request.asked.resources.is_empty() {
        servers = catalogue.iter().map(AsRef::as_ref).collect();
        servers.truncate(if servers.len() == 1 { 1 } else { 0 });
    }
    let everything = servers.into_iter().map(|manifest| {
        let mut detail = RequestedDetail::new(manifest.server.clone());
        let all = |is_empty: bool| if is_empty { None } else { "*".parse().ok() };
        detail.tools.extend(all(manifest.tools.is_empty()));
        detail.prompts.extend(all(manifest.prompts.is_empty()));
        detail.resources = manifest
            .resources
            .iter()
            .map(|root| root.uri.clone())
            .collect();
        detail
    });
    everything
        .filter(|detail| !detail.names_nothing())
        .collect()
}

const MAX_QUERY_BYTES: usize = 8 * 1024;
