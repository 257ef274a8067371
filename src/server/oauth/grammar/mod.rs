//! Floor 4: what OAuth 2.1 clients send and get, parsed and serialized. Pure: it knows neither HTTP
//! servers nor the broker, reads no clock and keeps nothing.
//!
//! A token request is read in three steps: the [`Form`], which credentials it presents
//! ([`Presented`]), what it asks for ([`TokenRequest`]). Whatever is wrong is an [`OAuthError`] with
//! the code of its RFC and one fixed text.

pub mod asked;
pub mod authorization;
pub mod client_auth;
pub mod client_document;
pub mod error;
pub mod exchange;
pub mod form;
pub mod grant;
pub mod metadata;
pub mod pkce;

pub use asked::Asked;
pub use authorization::AuthorizationRequest;
pub use client_auth::Presented;
pub use error::OAuthError;
pub use exchange::{TokenExchange, TokenType};
pub use form::Form;
pub use grant::{Grant, TokenRequest};
pub use metadata::Offered;
