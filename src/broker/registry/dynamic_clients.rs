//! Dynamic registration (RFC 7591): anybody may say that they are a client. It is none until a person
//! consents, and forgotten when nobody does.

use std::time::Duration;

use crate::{
    BrokerError, OneTime,
    broker::{Broker, Caller},
    domain::{consent::RegistrationRecord, event::Event},
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
    /// Its secret, told once.
    pub secret: Option<OneTime>,
    /// When it was registered.
    pub registered_at: Timestamp,
}

impl Broker {
    /// Registers a client that nobody vouches for, for [`UNUSED_LIVES`] or until somebody consents.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Full`] when [`MAX_UNUSED`] of them wait for a consent, and when it cannot be recorded.
    pub async fn register_client(
        &self,
        caller: &Caller,
        new: NewClient,
    ) -> Result<RegisteredClient, BrokerError> {
        let _changing = self.changes.lock().await;
        let now = self.now();
        if self.state().people.registrations(now) >= MAX_UNUSED {
            return Err(BrokerError::Full(format!(
                "{MAX_UNUSED} clients wait for a first consent"
            )));
        }
        let id = format!("client-{}", hex::encode(random::bytes::<16>().as_slice()));
        let agent: AgentId = id
            .parse()
            .map_err(|error| BrokerError::Internal(format!("{error}")))?;
        let secret = new.with_secret.then(|| OneTime::token(""));
        let registration = RegistrationRecord {
            agent: agent.clone(),
            name: new.name,
            redirect_uris: new.redirect_uris.into_iter().map(String::from).collect(),
            secret: secret.as_ref().map(OneTime::digest),
            expires_at: now.plus(UNUSED_LIVES),
        };
        self.record(caller, now, vec![Event::ClientRegistered { registration }])
            .await?;
        Ok(RegisteredClient {
            agent,
            secret,
            registered_at: now,
        })
    }

    /// A client that registered itself and that nobody consented to yet: its name and redirect URIs.
    #[must_use]
    pub fn unused_client(&self, client: &AgentId) -> Option<RegistrationRecord> {
        let now = self.now();
        self.state().people.registration(client, now).cloned()
    }
}

/// A registration that nobody consented to is forgotten after this.
pub const UNUSED_LIVES: Duration = Duration::from_secs(24 * 3600);

/// At most so many wait for a consent.
pub const MAX_UNUSED: usize = 1000;
