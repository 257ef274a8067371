//! Consent: a person allows a client to do for them what policy allows it, and no more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    BrokerError, Caller, Issuance, ObjectKind, OneTimeSecret, SignedIn,
    change::{Changes, Decided, Done, View},
    domain::{
        client::{
            CLIENT_DOCUMENTS, ClientOrigin, ClientProfile, ClientSecret, PublishedKeys,
            REGISTERED_CLIENTS,
        },
        consent::ConsentRecord,
        eligibility::refuse_suspended_people,
        event::{Actor, AgentRecord, LedgerEvent, TaskRecord},
    },
    issuing::{
        narrow,
        opening::{OpenedBy, Terms},
        pipeline::{Requested, Way},
    },
    policy::Reason,
};
use hallpass_core::{
    base::{
        ReasonCode,
        client_url::ClientUrl,
        digest::Digest,
        ids::{AgentId, StewardId},
        redirect::RedirectUri,
        time::Timestamp,
    },
    token::{GrantedDetail, RequestedDetail},
};

/// A client that asks a person, as it is known now.
#[derive(Debug, Clone)]
pub enum PersonsClient {
    /// An agent that is registered, or a client that registered itself.
    Known(AgentId),
    /// A client with a metadata document, as fetched.
    Document {
        /// The document's URL.
        url: ClientUrl,
        /// Its redirect URIs.
        redirect_uris: Vec<RedirectUri>,
        /// Its keys as JWKs, already looked at by the caller.
        keys: Vec<Value>,
        /// Where it publishes its keys, when it has none in the document.
        published_keys: Option<PublishedKeys>,
    },
}

/// What a client asks a person for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The client.
    pub client: PersonsClient,
    /// The redirect URI, when the request named one.
    pub redirect_uri: Option<String>,
    /// What the SHA-256 of the verifier must be.
    pub challenge: Digest,
    /// The thumbprint of the key that the code is to be bound to.
    pub holder: Option<String>,
    /// Whether the request named its rights in full.
    pub in_detail: bool,
    /// What it asks for.
    pub details: Vec<RequestedDetail>,
}

/// What a person is asked to allow: no more than policy does.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Who would allow it.
    pub by: SignedIn,
    /// What was asked, with `details` narrowed to the exact names that policy allows.
    pub ask: Ask,
    /// What policy makes of that, with its constraints.
    pub granted: Vec<GrantedDetail>,
    /// How long one pass lives at most.
    pub pass_ttl: Duration,
    /// How long the client may renew it.
    pub lasts: Duration,
    shown: Shown,
}

/// A client as it was when the page was made.
#[derive(Debug, Clone)]
struct Shown {
    /// What was recorded of it, if anything.
    known: Option<AgentRecord>,
    /// What a consent would record.
    agent: AgentRecord,
}

impl Shown {
    /// Whether a consent to what was shown still meets the client whose record is `now`: keys and redirect URIs that
    /// changed meanwhile are not undone by an old page.
    fn is_still(&self, now: Option<&AgentRecord>) -> bool {
        let Some(now) = now else { return true };
        let said = |agent: &AgentRecord| {
            let client = agent.client.as_ref()?;
            Some((client.redirect_uris.clone(), client.published_keys.clone()))
        };
        self.known.as_ref() == Some(now)
            || (now.keys == self.agent.keys && said(now) == said(&self.agent))
    }
}

/// Offers and consents.
#[derive(Debug)]
pub struct Consents {
    pub(crate) changes: Arc<Changes>,
    pub(crate) issuance: Arc<Issuance>,
}

impl Consents {
    /// What the person who signed in could allow of what is asked, as policy stands now.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Refused`] with every reason when policy allows nothing of it, or more than fits into a pass;
    /// when there is no such client, its id is another's, or it, the steward or a server is revoked.
    pub fn offer(&self, by: SignedIn, ask: Ask) -> Result<Offer, BrokerError> {
        let view = self.changes.look();
        let known = view.state().agent(&agent_of(&ask.client)?).cloned();
        let agent = client_record(&view, &ask.client, &by.steward)?;
        let (lasts, now) = (self.issuance.limits.max_task_ttl, view.now());
        let task = task_for(
            &agent,
            &by,
            ask.details.clone(),
            now.floor_second().plus(lasts),
            now,
        );
        let requested = Requested {
            agent: agent.clone(),
            task,
            way: Way::Consented,
        };
        let granted = match &ask.holder {
            // As it would be minted, so that no person is shown what cannot be minted.
            None => self
                .issuance
                .run(&view, requested, None)
                .map(|it| it.granted),
            // Of the key there is only the thumbprint.
            Some(_) => self.issuance.run_bound(&view, requested),
        };
        let granted = granted.map_err(|refusal| refusal.error)?;
        let catalogue = view.state().catalogue();
        let details = narrow::to_exact(&ask.details, &granted.rights, &catalogue);
        if details.is_empty() {
            let detail = "nothing of what was asked for can be given by name";
            return Err(BrokerError::Refused(vec![Reason::new(
                ReasonCode::NoGrant,
                detail,
            )]));
        }
        Ok(Offer {
            by,
            ask: Ask { details, ..ask },
            pass_ttl: granted.max_ttl.min(self.issuance.limits.max_pass_ttl),
            granted: granted.rights,
            lasts,
            shown: Shown { known, agent },
        })
    }

    /// Records that the steward allowed an offer, and makes the authorization code that is redeemed for
    /// it within [`CODE_LIVES`]. A client becomes an agent with the first consent.
    ///
    /// # Errors
    ///
    /// When the client is gone, its keys or redirect URIs are others than when the page was made, it or the steward
    /// was revoked meanwhile, or it cannot be recorded.
    pub async fn consent(
        &self,
        caller: &Caller,
        offer: Offer,
    ) -> Result<OneTimeSecret, BrokerError> {
        let Offer {
            by: SignedIn {
                steward,
                by: verified,
            },
            ask,
            lasts,
            shown,
            ..
        } = offer;
        let code = OneTimeSecret::token(CODE_PREFIX);
        let caller = caller.by(Actor::Steward(steward.clone()));
        let decide = |view: &View<'_>| {
            let agent = client_record(view, &ask.client, &steward)?;
            let (now, state) = (view.now(), view.state());
            if !shown.is_still(state.agent(&agent.agent)) {
                return Err(missing(&agent.agent));
            }
            refuse_suspended_people(&state, &agent, &steward)?;
            let consent = ConsentRecord {
                code: code.digest(),
                agent: agent.agent.clone(),
                steward: steward.clone(),
                verified: verified.clone(),
                redirect_uri: ask.redirect_uri.clone(),
                challenge: ask.challenge,
                holder: ask.holder.clone(),
                in_detail: ask.in_detail,
                details: ask.details.clone(),
                expires_at: now.plus(CODE_LIVES),
                ends_at: now.floor_second().plus(lasts),
            };
            let mut events = Vec::new();
            if state.agent(&agent.agent) != Some(&agent) {
                events.push(LedgerEvent::AgentSet { agent });
            }
            events.push(LedgerEvent::ConsentGiven { consent });
            Ok(Decided::record(now, events, ()))
        };
        let Done { .. } = self.changes.in_turn(&caller, decide).await?;
        Ok(code)
    }
}

/// The client's record as a consent of `steward` would leave it.
fn client_record(
    view: &View<'_>,
    client: &PersonsClient,
    steward: &StewardId,
) -> Result<AgentRecord, BrokerError> {
    let now = view.now();
    let state = view.state();
    let id = &agent_of(client)?;
    let (group, client, keys, secrets) = match client {
        PersonsClient::Known(_) => {
            if let Some(known) = state.agent(id) {
                return Ok(known.clone());
            }
            let registration = state
                .people
                .registration(id, now)
                .ok_or_else(|| missing(id))?;
            let secret = registration.secret.map(|digest| ClientSecret {
                digest,
                added_at: now,
            });
            let redirect_uris = registration.redirect_uris.clone();
            let client = ClientProfile {
                redirect_uris,
                origin: ClientOrigin::Dynamic,
                ..ClientProfile::default()
            };
            (
                REGISTERED_CLIENTS,
                client,
                Vec::new(),
                secret.into_iter().collect(),
            )
        }
        PersonsClient::Document {
            url,
            redirect_uris,
            keys,
            published_keys,
        } => {
            let origin = ClientOrigin::MetadataDocument {
                url: url.to_string(),
            };
            let redirect_uris = redirect_uris.iter().map(ToString::to_string).collect();
            let client = ClientProfile {
                redirect_uris,
                origin,
                published_keys: published_keys.clone(),
                ..ClientProfile::default()
            };
            (CLIENT_DOCUMENTS, client, keys.clone(), Vec::new())
        }
    };
    if let Some(known) = state.agent(id) {
        // SECURITY: an operator may have given the id to another agent.
        let known_client = known
            .client
            .as_ref()
            .filter(|known| known.origin == client.origin);
        let default_details = known_client
            .ok_or_else(|| missing(id))?
            .default_details
            .clone();
        let client = Some(ClientProfile {
            default_details,
            ..client
        });
        return Ok(AgentRecord {
            keys,
            client,
            ..known.clone()
        });
    }
    if state.removed_agents.contains(id) {
        return Err(missing(id));
    }
    let group = group
        .parse()
        .map_err(|error| BrokerError::Internal(format!("{error}")))?;
    Ok(AgentRecord {
        agent: id.clone(),
        steward: steward.clone(),
        groups: [group].into(),
        keys,
        registered_at: now,
        secrets,
        client: Some(client),
    })
}

/// The id that a client has or will have as an agent.
fn agent_of(client: &PersonsClient) -> Result<AgentId, BrokerError> {
    match client {
        PersonsClient::Known(id) => Ok(id.clone()),
        PersonsClient::Document { url, .. } => url
            .agent()
            .ok_or_else(|| BrokerError::not_found(ObjectKind::AgentOf, url)),
    }
}

fn missing(agent: &AgentId) -> BrokerError {
    BrokerError::not_found(ObjectKind::Agent, agent)
}

/// The task that a consent opens.
pub(crate) fn task_of(consent: &ConsentRecord, agent: &AgentRecord, now: Timestamp) -> TaskRecord {
    let by = SignedIn {
        steward: consent.steward.clone(),
        by: consent.verified.clone(),
    };
    task_for(agent, &by, consent.details.clone(), consent.ends_at, now)
}

fn task_for(
    agent: &AgentRecord,
    by: &SignedIn,
    asked: Vec<RequestedDetail>,
    ends_at: Timestamp,
    now: Timestamp,
) -> TaskRecord {
    let terms = Terms {
        agent,
        purpose: PURPOSE.to_owned(),
        opened_at: now.floor_second(),
        ends_at,
        context: BTreeMap::new(),
        asked,
        holder: None,
    };
    TaskRecord::open(OpenedBy::Consent(by), terms)
}

/// How long an authorization code lives.
pub const CODE_LIVES: Duration = Duration::from_secs(60);

const CODE_PREFIX: &str = "hpc_";

const PURPOSE: &str = "what its steward allowed on the consent page";
