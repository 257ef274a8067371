//! An authorization request whose client and redirect URI are known.

use crate::server::oauth::grammar::Form;
use hallpass_broker::{PersonsClient, domain::client::ClientOrigin};
use hallpass_core::{base::redirect::RedirectUri, token::RequestedDetail};

/// A request whose client is known and whose redirect URI is that client's.
#[derive(Debug)]
pub(super) struct PendingAuthorization {
    /// The client.
    pub(super) client: RequestingClient,
    /// Where the answer goes.
    pub(super) redirect: RedirectUri,
    /// Whether the request named it.
    pub(super) is_named: bool,
    /// To be given back with the answer.
    pub(super) state: Option<String>,
    pub(super) form: Form,
}

/// A client, as a person is shown it.
#[derive(Debug)]
pub(super) struct RequestingClient {
    /// Its id, as it was sent.
    pub(super) id: String,
    /// What it calls itself.
    pub(super) name: Option<String>,
    /// How it came to be registered.
    pub(super) origin: ClientOrigin,
    pub(super) redirect_uris: Vec<RedirectUri>,
    pub(super) defaults: Vec<RequestedDetail>,
    pub(super) known_as: PersonsClient,
}

impl RequestingClient {
    /// Whether an operator registered it.
    pub(super) fn is_vouched_for(&self) -> bool {
        self.origin == ClientOrigin::Registered
    }
}

impl PendingAuthorization {
    /// Whether the browser may be sent there before a person has looked: an unverified client
    /// must not make of this page one that sends visitors anywhere, or that opens programs on their machine by a
    /// scheme (RFC 9700 section 4.11.2).
    pub(super) fn may_send_unseen(&self) -> bool {
        self.client.is_vouched_for()
            || (self.redirect.is_local() && !self.redirect.is_private_scheme())
    }
}
