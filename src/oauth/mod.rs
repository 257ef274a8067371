//! Floor 4: OAuth 2.1, the pure parts. What requests say and what documents hold; no server, no broker.

pub mod client_document;
pub mod pkce;
pub mod redirect;
