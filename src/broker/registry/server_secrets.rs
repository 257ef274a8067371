//! Secrets of servers: by which a server that cannot verify passes asks the broker about them (RFC 7662).

use crate::{
    BrokerError, OneTime, ServerView,
    broker::{Broker, Caller},
    domain::{
        client::{ClientSecret, SecretId},
        event::Event,
    },
    registry::client_secrets::{add_secret, is_one_of, remove_secret},
};
use hallpass_core::base::{
    digest::Digest,
    ids::{ServerName, ServerUri},
};

impl Broker {
    /// Gives a server another secret to ask about passes with; the old one stays good until it is removed.
    ///
    /// # Errors
    ///
    /// When there is no such server, it has [`MAX_SECRETS`](crate::domain::client::MAX_SECRETS) already, or it cannot be recorded.
    pub async fn add_server_secret(
        &self,
        caller: &Caller,
        server: &str,
    ) -> Result<(ServerView, OneTime), BrokerError> {
        let _changing = self.changes.lock().await;
        let server = self.server(server)?.manifest.server;
        let mut secrets = self.secrets_of(&server);
        let secret = add_secret(&mut secrets, self.now())?;
        Ok((self.record_secrets(caller, server, secrets).await?, secret))
    }

    /// Takes a secret from a server: nobody asks about passes with it any more.
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
        let _changing = self.changes.lock().await;
        let server = self.server(server)?.manifest.server;
        let mut secrets = self.secrets_of(&server);
        remove_secret(&mut secrets, secret)?;
        self.record_secrets(caller, server, secrets).await
    }

    /// The server with the name `client` whose secret is `secret`.
    ///
    /// A server that is not known takes as long as one that is.
    #[must_use]
    pub fn server_with_secret(&self, client: &str, secret: &str) -> Option<ServerUri> {
        let presented = Digest::of(secret.as_bytes());
        let server = client.parse::<ServerName>().ok();
        let server = server.and_then(|name| {
            self.state()
                .server(name.as_str())
                .map(|known| known.server.clone())
        });
        let known = server
            .as_ref()
            .map(|server| self.secrets_of(server))
            .unwrap_or_default();
        let is_good = is_one_of(&presented, &known);
        server.filter(|_| is_good)
    }

    fn secrets_of(&self, server: &ServerUri) -> Vec<ClientSecret> {
        self.state()
            .server_secrets
            .get(server)
            .cloned()
            .unwrap_or_default()
    }

    async fn record_secrets(
        &self,
        caller: &Caller,
        server: ServerUri,
        secrets: Vec<ClientSecret>,
    ) -> Result<ServerView, BrokerError> {
        let event = Event::ServerSecretsSet {
            server: server.clone(),
            secrets,
        };
        self.record(caller, self.now(), vec![event]).await?;
        self.server(server.as_str())
    }
}
