//! Clients: agents that prove themselves with a secret, for programs that know OAuth and no keys.

use serde::Serialize;
use subtle::{Choice, ConstantTimeEq as _};

use super::{AgentView, Broker, BrokerError, Caller, NewAgent, OneTime};
use crate::{
    base::{digest::Digest, ids::AgentId, time::Timestamp},
    journal::client::{ClientSecret, MAX_SECRETS, SecretId},
};

/// A secret of an agent or a server, as shown to operators.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SecretView {
    /// What to remove it by.
    pub secret_id: SecretId,
    /// When it was added.
    pub added_at: Timestamp,
}

impl SecretView {
    pub(super) fn of(secret: &ClientSecret) -> Self {
        Self { secret_id: secret.id(), added_at: secret.added_at }
    }
}

impl Broker {
    /// Registers an agent with a secret; it needs no key then.
    ///
    /// # Errors
    ///
    /// As [`add_agent`](Self::add_agent).
    pub async fn add_agent_with_secret(
        &self,
        caller: &Caller,
        new: NewAgent,
    ) -> Result<(AgentView, OneTime), BrokerError> {
        let _changing = self.changes.lock().await;
        self.refuse_taken(&new.agent)?;
        let secret = OneTime::token("");
        let view = self.set_agent(caller, new, (None, Some(secret.recorded(self.now())))).await?;
        Ok((view, secret))
    }

    /// Gives an agent another secret; the old one stays good until it is removed.
    ///
    /// # Errors
    ///
    /// When there is no such agent, it has [`MAX_SECRETS`] already, or it cannot be recorded.
    pub async fn add_secret(&self, caller: &Caller, agent: &AgentId) -> Result<(AgentView, OneTime), BrokerError> {
        let _changing = self.changes.lock().await;
        let mut record = self.registered(agent)?;
        let secret = add_secret(&mut record.secrets, self.now())?;
        Ok((self.record_agent(caller, record).await?, secret))
    }

    /// Takes a secret from an agent: nobody proves to be it by that any more. Passes that it was given
    /// live on.
    ///
    /// # Errors
    ///
    /// When there is no such agent or secret, the agent could not prove itself any more, or it cannot
    /// be recorded.
    pub async fn remove_secret(
        &self,
        caller: &Caller,
        agent: &AgentId,
        secret: &SecretId,
    ) -> Result<AgentView, BrokerError> {
        let _changing = self.changes.lock().await;
        let mut record = self.registered(agent)?;
        remove_secret(&mut record.secrets, secret)?;
        // SECURITY: redirect URIs alone are what public clients have, and whoever knows the id is one of those.
        let is_bare = record.keys.is_empty() && record.secrets.is_empty();
        if is_bare && !self.options.workloads.contains(agent) {
            let detail = "it is the only way in which the agent can prove itself: add a key or a secret first";
            return Err(BrokerError::Conflict(detail.to_owned()));
        }
        self.record_agent(caller, record).await
    }

    /// The agent with the id `client` whose secret is `secret`.
    ///
    /// SECURITY: the work is the same whether there is such an agent and however many secrets it has:
    /// one digest, and as many comparisons in constant time as there can be secrets.
    #[must_use]
    pub fn client_with_secret(&self, client: &str, secret: &str) -> Option<AgentId> {
        let presented = Digest::of(secret.as_bytes());
        let agent = client.parse::<AgentId>().ok();
        let is_good = {
            let state = self.state();
            let record = agent.as_ref().and_then(|agent| state.agent(agent));
            is_one_of(&presented, record.into_iter().flat_map(|record| &record.secrets))
        };
        agent.filter(|_| is_good)
    }
}

/// Makes a secret beside those that are kept.
pub(super) fn add_secret(kept: &mut Vec<ClientSecret>, now: Timestamp) -> Result<OneTime, BrokerError> {
    if kept.len() >= MAX_SECRETS {
        return Err(BrokerError::Conflict(format!("there are at most {MAX_SECRETS} secrets: remove one first")));
    }
    let secret = OneTime::token("");
    kept.push(secret.recorded(now));
    Ok(secret)
}

/// Takes the secret with this id out of those that are kept.
pub(super) fn remove_secret(kept: &mut Vec<ClientSecret>, secret: &SecretId) -> Result<(), BrokerError> {
    let before = kept.len();
    kept.retain(|kept| kept.id() != *secret);
    if kept.len() < before { Ok(()) } else { Err(BrokerError::NotFound(format!("secret `{secret}`"))) }
}

/// Whether the secret with the digest `presented` is one of those that are kept, in the same time however many
/// these are.
pub(super) fn is_one_of<'k>(presented: &Digest, kept: impl IntoIterator<Item = &'k ClientSecret>) -> bool {
    let mut known = [NOBODYS; MAX_SECRETS];
    known.iter_mut().zip(kept).for_each(|(place, secret)| *place = secret.digest);
    let is_known = known.iter().fold(Choice::from(0), |found, digest| {
        let is_real = Choice::from(u8::from(*digest != NOBODYS));
        found | (presented.as_bytes().ct_eq(digest.as_bytes()) & is_real)
    });
    is_known.into()
}

/// The digest of nobody's secret: no text has it that anybody could find.
const NOBODYS: Digest = Digest::ZERO;
