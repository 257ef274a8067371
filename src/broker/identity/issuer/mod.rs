//! Trusted issuers: identity providers and platforms whose JWTs are believed, each for what the settings say.
//!
//! [`ForeignJwt`] takes a JWT apart, [`ForeignJwt::verify`] makes it a [`GenuineJwt`] with the [`KeySet`] of its
//! [`TrustedIssuer`], and each kind reads its own claims of that: [`Person`], [`Workload`], [`IdJag`]. All of it is
//! pure; the caller passes the keys and the time, and remembers what may be used once only.

mod foreign_jwt;
mod id_jag;
mod id_token;
mod key_set;
mod subject;
mod trusted;
mod workload;

pub use crate::identity::issuer::{
    foreign_jwt::{ForeignJwt, GenuineJwt, JwtReason, MAX_JWT_BYTES},
    id_jag::IdJag,
    id_token::{MAX_GROUPS, Person},
    key_set::{KeySet, KeySetError, LeftOut},
    trusted::{IssuerSettings, SignInClient, TrustedIssuer, TrustedKind},
    workload::Workload,
};
