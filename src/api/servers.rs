//! Servers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::secret::Secret;
use hallpass_broker::ServerView;
use hallpass_core::base::ids::{ServerName, ServerUri};

/// A server, with the secret that was made for it when one was.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerWithSecret {
    /// The server.
    #[serde(flatten)]
    pub server: ServerView,
    /// The id that goes with a secret that was just made: the server's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ServerName>,
    /// The secret that was just made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
}

/// What a server is called.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ServerNames {
    /// Its canonical URI.
    pub server: ServerUri,
    /// Its short name.
    pub name: ServerName,
}
