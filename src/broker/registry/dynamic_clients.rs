//! Dynamic registration (RFC 7591): any program may register as a client. It becomes an agent when a person
//! consents, and is forgotten without a consent.

use std::time::Duration;

use crate::{
    BrokerError, Caller, OneTimeSecret, Registry,
    change::{Decided, View},
    domain::{consent::RegistrationRecord, event::LedgerEvent},
};
use hallpass_core::base::{ids::AgentId, random, redirect::RedirectUri, time::Timestamp};

/// A client that registers itself.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// What it calls itself.
    pub name: Option<String>,
    /// Where codes may be sent.
    pub redirect_uris: Vec<RedirectUri>,
    /// Whether it wants a secret.
    pub with_secret: bool,
}

/// A client that registered itself.
#[derive(Debug)]
pub struct RegisteredClient {
    /// Its id.
    pub agent: AgentId,
    /// Its secret, returned once.
    pub secret: Option<OneTimeSecret>,
    /// When it was registered.
    pub registered_at: Timestamp,
}

impl Registry {
    /// Registers an unverified client, for [`UNUSED_LIVES`] or until a person consents.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Full`] when [`MAX_UNUSED`] of them wait for a consent, and when it cannot be recorded.
    pub async fn register_client(
        &self,
        caller: &Caller,
        new: NewClient,
    ) -> Result<RegisteredClient, BrokerError> {
        let id = format!("client-{}", hex::encode(random::bytes::<16>().as_slice()));
        let agent: AgentId = id
            .parse()
            .map_err(|error| BrokerError::Internal(format!("{error}")))?;
        let secret = new.with_secret.then(|| OneTimeSecret::token(""));
        let redirect_uris: Vec<String> = new.redirect_uris.into_iter().map(String::from).collect();
        let decide = |view: &View<'_>| {
            let now = view.now();
            if view.state().people.registrations(now) >= MAX_UNUSED {
                return Err(BrokerError::Full(format!(
                    "{MAX_UNUSED} clients wait for a first consent"
                )));
            }
            let registration = RegistrationRecord {
                agent: agent.clone(),
                name: new.name.clone(),
                redirect_uris: redirect_uris.clone(),
                secret: secret.as_ref().map(OneTimeSecret::digest),
                expires_at: now.plus(UNUSED_LIVES),
            };
            let events = vec![LedgerEvent::ClientRegistered { registration }];
            Ok(Decided::record(now, events, now))
        };
        let registered_at = self.changes.in_turn(caller, decide).await?.value;
        Ok(RegisteredClient {
            agent,
            secret,
            registered_at,
        })
    }

    /// A client that registered itself and has no consent yet: its name and redirect URIs.
    #[must_use]
    pub fn unused_client(&self, client: &AgentId) -> Option<RegistrationRecord> {
        let now = self.changes.now();
        self.changes
            .state()
            .people
            .registration(client, now)
            .cloned()
    }
}

/// A registration without a consent is forgotten after this.
pub const UNUSED_LIVES: Duration = Duration::from_secs(24 * 3600);

/// At most so many wait for a consent.
pub const MAX_UNUSED: usize = 1000;
