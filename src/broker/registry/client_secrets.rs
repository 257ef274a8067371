//! Clients: agents that prove themselves with a secret, for programs that know OAuth and no keys.

use subtle::{Choice, ConstantTimeEq as _};

use crate::{
    AgentView, BrokerError, Caller, ObjectKind, OneTimeSecret, Registry,
    domain::{
        client::{ClientOrigin, ClientSecret, MAX_SECRETS, SecretId},
        event::AgentRecord,
    },
};
use hallpass_core::base::{
    client_url::{ClientUrl, agent_of_client},
    digest::Digest,
    ids::AgentId,
    time::Timestamp,
};

impl Registry {
    /// Gives an agent another secret; the old one stays good until it is removed.
    ///
    /// # Errors
    ///
    /// When there is no such agent, it has [`MAX_SECRETS`] already, or it cannot be recorded.
    pub async fn add_secret(
        &self,
        caller: &Caller,
        agent: &AgentId,
    ) -> Result<(AgentView, OneTimeSecret), BrokerError> {
        let add = |record: &mut AgentRecord, now| add_secret(&mut record.secrets, now);
        self.change_record(caller, agent, add).await
    }

    /// Removes a secret of an agent: it authenticates the agent no more. Passes that it was given
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
        let remove = |record: &mut AgentRecord, _| {
            remove_secret(&mut record.secrets, secret)?;
            // SECURITY: redirect URIs alone are what public clients have, and knowing the id is enough to act as one.
            let sends_codes = record
                .client
                .as_ref()
                .is_some_and(|client| !client.redirect_uris.is_empty());
            if !record.has_credential() && !self.may_be_bare(agent, sends_codes, false) {
                let detail = "it is the only way in which the agent can prove itself: add a key or a secret first";
                return Err(BrokerError::Conflict(detail.to_owned()));
            }
            Ok(())
        };
        let (view, ()) = self.change_record(caller, agent, remove).await?;
        Ok(view)
    }

    /// The agent that the public client `client_id` is: one of people's programs that can keep no secret, so that
    /// a code or token that it was given is all that it has to show.
    #[must_use]
    pub fn public_client(&self, client_id: &str) -> Option<AgentId> {
        let state = self.changes.state();
        let record = state.agent(&agent_of_client(client_id)?)?;
        let client = record.client.as_ref()?;
        let is_named = match &client.origin {
            ClientOrigin::MetadataDocument { url } => *url == *client_id,
            _ => !ClientUrl::is_meant(client_id),
        };
        // SECURITY: who has a key or a secret shows it, and who has a platform brings its word.
        let is_public = is_named && !client.redirect_uris.is_empty() && self.proves_nothing(record);
        is_public.then(|| record.agent.clone())
    }

    /// Whether the agent could not authenticate by any means.
    fn proves_nothing(&self, record: &AgentRecord) -> bool {
        !record.has_credential() && !self.workloads.contains(&record.agent)
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
            let state = self.changes.state();
            let record = agent.as_ref().and_then(|agent| state.agent(agent));
            is_one_of(
                &presented,
                record.into_iter().flat_map(|record| &record.secrets),
            )
        };
        agent.filter(|_| is_good)
    }
}

/// Makes a secret beside those that are kept.
pub(crate) fn add_secret(
    kept: &mut Vec<ClientSecret>,
    now: Timestamp,
) -> Result<OneTimeSecret, BrokerError> {
    if kept.len() >= MAX_SECRETS {
        return Err(BrokerError::Conflict(format!(
            "there are at most {MAX_SECRETS} secrets: remove one first"
        )));
    }
    let secret = OneTimeSecret::token("");
    kept.push(secret.recorded(now));
    Ok(secret)
}

/// Takes the secret with this id out of those that are kept.
pub(crate) fn remove_secret(
    kept: &mut Vec<ClientSecret>,
    secret: &SecretId,
) -> Result<(), BrokerError> {
    let before = kept.len();
    kept.retain(|kept| kept.id() != *secret);
    if kept.len() < before {
        Ok(())
    } else {
        Err(BrokerError::not_found(ObjectKind::Secret, secret))
    }
}

/// Whether the secret with the digest `presented` is one of those that are kept, in the same time however many
/// these are.
pub(crate) fn is_one_of<'k>(
    presented: &Digest,
    kept: impl IntoIterator<Item = &'k ClientSecret>,
) -> bool {
    let mut known = [NO_SECRET; MAX_SECRETS];
    known
        .iter_mut()
        .zip(kept)
        .for_each(|(place, secret)| *place = secret.digest);
    let is_this = |digest: &Digest| presented.as_bytes().ct_eq(digest.as_bytes());
    known
        .iter()
        .fold(Choice::from(0), |found, digest| found | is_this(digest))
        .into()
}

/// The digest of no secret: no text with this digest is known.
const NO_SECRET: Digest = Digest::ZERO;
