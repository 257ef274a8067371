//! Trust: JWTs of the trusted issuers, verified with the keys that those have now.

use std::{collections::BTreeMap, sync::Arc};

use zeroize::Zeroizing;

use crate::server::outbound::{Fetcher, KeyError, KeySource, SignInProvider};
use hallpass_broker::identity::issuer::{
    ForeignJwt, GenuineJwt, IdJag, JwtReason, Person, TrustedIssuer, TrustedKind, Workload,
};
use hallpass_core::base::{
    ids::IssuerUri,
    time::{Clock, Timestamp},
};

/// The trusted issuers, by their `iss`. Shared behind an [`Arc`].
///
/// SECURITY: the caller passes the clock, which is read when the keys are there: by then a JWT may have expired
/// that had not when it came, and be forgotten by those who remember that it was used.
#[derive(Debug, Default)]
pub struct Trust {
    issuers: BTreeMap<Box<str>, (TrustedIssuer, KeySource)>,
    /// Those that people sign in with.
    sign_ins: Vec<SignInProvider>,
}

impl Trust {
    /// Trusts these issuers, each asked by a client of its own; of two with one name, the last. Where people sign in with
    /// one, its member of `secrets` is the secret of the broker's client there.
    #[must_use]
    pub fn new(
        issuers: impl IntoIterator<Item = (TrustedIssuer, Fetcher)>,
        mut secrets: BTreeMap<String, Zeroizing<String>>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let mut sign_ins = Vec::new();
        let source = |(trusted, fetcher): (TrustedIssuer, Fetcher)| {
            let fetcher = Arc::new(fetcher);
            if let Some(client) = trusted.sign_in() {
                let secret = secrets.remove(trusted.issuer());
                let clock = Arc::clone(clock);
                sign_ins.push(SignInProvider::new(
                    trusted.issuer(),
                    client.clone(),
                    secret,
                    Arc::clone(&fetcher),
                    clock,
                ));
            }
            let keys = KeySource::new(
                (trusted.issuer(), trusted.jwks_uri()),
                fetcher,
                Arc::clone(clock),
            );
            (trusted.issuer().into(), (trusted, keys))
        };
        let issuers = issuers.into_iter().map(source).collect();
        Self { issuers, sign_ins }
    }

    /// Whether any issuer is trusted for `kind`.
    #[must_use]
    pub fn has(&self, kind: TrustedKind) -> bool {
        self.issuers
            .values()
            .any(|(trusted, _)| trusted.is_for(kind))
    }

    /// Whether `issuer` is trusted for `kind`.
    #[must_use]
    pub fn is_trusted(&self, issuer: &str, kind: TrustedKind) -> bool {
        self.issuers
            .get(issuer)
            .is_some_and(|(trusted, _)| trusted.is_for(kind))
    }

    /// Whether `text` says that it is a workload's token of an issuer that is trusted for those.
    #[must_use]
    pub fn is_of_platform(&self, text: &str) -> bool {
        let kind = TrustedKind::Workload;
        self.has(kind)
            && ForeignJwt::read(text).is_ok_and(|jwt| self.is_trusted(jwt.issuer(), kind))
    }

    /// The person whose ID token `text` is.
    ///
    /// # Errors
    ///
    /// As [`ForeignJwt::read`], [`ForeignJwt::verify`] and [`Person::of_id_token`], and when the issuer's keys
    /// cannot be had.
    pub async fn id_token(
        &self,
        text: &str,
        now: impl Fn() -> Timestamp,
    ) -> Result<Person, TrustError> {
        let jwt = self.genuine(text, TrustedKind::IdToken).await?;
        Ok(Person::of_id_token(&jwt, now())?)
    }

    /// The issuers that people sign in with, in the order of the settings.
    #[must_use]
    pub fn sign_ins(&self) -> &[SignInProvider] {
        &self.sign_ins
    }

    /// The person whose ID token `text` is, which the broker asked `issuer` for with this `nonce`.
    ///
    /// # Errors
    ///
    /// As [`id_token`](Self::id_token) and [`Person::of_sign_in`].
    pub async fn signed_in(
        &self,
        text: &str,
        issuer: &str,
        nonce: &str,
        now: impl Fn() -> Timestamp,
    ) -> Result<Person, TrustError> {
        let jwt = self.genuine(text, TrustedKind::SignIn).await?;
        let person = Person::of_sign_in(&jwt, nonce, now())?;
        // SECURITY: of the issuer that was asked, and of no other that is trusted.
        if *person.issuer != *issuer {
            return Err(JwtReason::Issuer.into());
        }
        Ok(person)
    }

    /// The workload whose token `text` is, made for the broker `own`.
    ///
    /// # Errors
    ///
    /// As [`ForeignJwt::read`], [`ForeignJwt::verify`] and [`Workload::read`], and when the issuer's keys cannot
    /// be had.
    pub async fn workload(
        &self,
        text: &str,
        (own, now): (&IssuerUri, impl Fn() -> Timestamp),
    ) -> Result<Workload, TrustError> {
        let jwt = self.genuine(text, TrustedKind::Workload).await?;
        let workload = Workload::read(&jwt, own, now());
        if let (Err(JwtReason::Subject), Ok(subject)) = (&workload, jwt.subject()) {
            // Its issuer's signature was good, and the operator who writes the patterns must know what to write.
            tracing::info!(
                issuer = jwt.issuer(),
                subject,
                "the `sub` of a workload's token fits no pattern of `subjects`, or those of several agents"
            );
        }
        Ok(workload?)
    }

    /// The identity assertion authorization grant `text`, made for the broker `own`.
    ///
    /// # Errors
    ///
    /// As [`ForeignJwt::read`], [`ForeignJwt::verify`] and [`IdJag::read`], and when the issuer's keys cannot be had.
    pub async fn id_jag(
        &self,
        text: &str,
        (own, now): (&IssuerUri, impl Fn() -> Timestamp),
    ) -> Result<IdJag, TrustError> {
        let jwt = self.genuine(text, TrustedKind::IdJag).await?;
        Ok(IdJag::read(&jwt, own, now())?)
    }

    /// SECURITY: only an issuer that is trusted for this kind is ever asked for anything.
    async fn genuine(&self, text: &str, kind: TrustedKind) -> Result<GenuineJwt<'_>, TrustError> {
        let jwt = ForeignJwt::read(text)?;
        let (trusted, keys) = self.issuers.get(jwt.issuer()).ok_or(JwtReason::Issuer)?;
        if !trusted.is_for(kind) {
            return Err(JwtReason::Issuer.into());
        }
        let keys = keys.keys(jwt.kid()).await?;
        Ok(jwt.verify((trusted, kind), &keys)?)
    }
}

/// Why a JWT of an issuer is not believed: for the log, and never with anything of the JWT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] JwtReason),
    /// It cannot be verified.
    #[error(transparent)]
    Keys(#[from] KeyError),
}
