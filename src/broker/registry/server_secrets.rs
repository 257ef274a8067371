//! Secrets of servers: by which a server that cannot verify passes asks the broker about them (RFC 7662).

use crate::{
    BrokerError, Caller, OneTimeSecret, Registry, ServerView, State,
    change::{Decided, View},
    domain::{
        client::{ClientSecret, SecretId},
        event::LedgerEvent,
    },
    registry::{
        agents::known_server,
        client_secrets::{add_secret, is_one_of, remove_secret},
    },
};
use hallpass_core::base::{
    digest::Digest,
    ids::{ServerName, ServerUri},
    time::Timestamp,
};

impl Registry {
    /// Gives a server another secret to ask about passes with; the old one stays good until it is removed.
    ///
    /// # Errors
    ///
    /// When there is no such server, it has [`MAX_SECRETS`](crate::domain::client::MAX_SECRETS) already, or it cannot be recorded.
    pub async fn add_server_secret(
        &self,
        caller: &Caller,
        server: &str,
    ) -> Result<(ServerView, OneTimeSecret), BrokerError> {
        self.change_secrets(caller, server, add_secret).await
    }

    /// Removes a secret of a server: it authenticates no introspection any more.
    ///
    /// # Errors
    ///
    /// When there is no such server or secret, or it cannot be recorded.
    pub async fn remove_server_secret(
        &self,
        caller: &Caller,
        server: &str,
        secret: &SecretId,
    ) -> Result<ServerView, BrokerError> {
        let remove = |kept: &mut Vec<ClientSecret>, _| remove_secret(kept, secret);
        let (view, ()) = self.change_secrets(caller, server, remove).await?;
        Ok(view)
    }

    /// The server with the name `client` whose secret is `secret`.
    ///
    /// A server that is not known takes as long as one that is.
    #[must_use]
    pub fn server_with_secret(&self, client: &str, secret: &str) -> Option<ServerUri> {
        let presented = Digest::of(secret.as_bytes());
        let server = client.parse::<ServerName>().ok();
        let state = self.changes.state();
        let server = server.and_then(|name| Some(state.server(name.as_str())?.server.clone()));
        let known = server.as_ref().map(|server| secrets_of(&state, server));
        let is_good = is_one_of(&presented, known.unwrap_or_default());
        server.filter(|_| is_good)
    }

    async fn change_secrets<X>(
        &self,
        caller: &Caller,
        server: &str,
        change: impl Fn(&mut Vec<ClientSecret>, Timestamp) -> Result<X, BrokerError>,
    ) -> Result<(ServerView, X), BrokerError> {
        let decide = |view: &View<'_>| {
            let (now, state) = (view.now(), view.state());
            let server = known_server(&state, server)?.server.clone();
            let mut secrets = secrets_of(&state, &server).to_vec();
            let with = change(&mut secrets, now)?;
            let set = LedgerEvent::ServerSecretsSet {
                server: server.clone(),
                secrets,
            };
            Ok::<_, BrokerError>(Decided::record(now, vec![set], (server, with)))
        };
        let (server, with) = self.changes.in_turn(caller, decide).await?.value;
        Ok((self.server(server.as_str())?, with))
    }
}

fn secrets_of<'s>(state: &'s State, server: &ServerUri) -> &'s [ClientSecret] {
    state.server_secrets.get(server).map_or(&[], Vec::as_slice)
}
