//! Subject tokens: on whose behalf an agent says that it acts, as the person's identity provider says.

use zeroize::Zeroizing;

use crate::server::{
    App,
    edge::problem::Problem,
    outbound::{KeyError, TrustError},
};
use hallpass_broker::{BrokerError, VerifiedSteward, policy::Reason};
use hallpass_core::base::ReasonCode;

/// A subject token in the form of a JWT; nothing that it says is believed yet.
pub(crate) struct SubjectToken(Zeroizing<String>);

impl SubjectToken {
    /// Reads the member of a request.
    pub(crate) fn read(text: &str) -> Result<Self, Problem> {
        let text = Zeroizing::new(text.to_owned());
        let is_jwt = text.split('.').count() == 3 && text.split('.').all(|part| !part.is_empty());
        if is_jwt {
            Ok(Self(text))
        } else {
            Err(Problem::invalid(
                "subject_token",
                "expected an ID token: a compact JWT",
            ))
        }
    }
}

impl App {
    /// The steward whose ID token this is.
    ///
    /// The caller has proven to be an agent, and learns whether the person is a steward only when the
    /// token was accepted. An unknown person is an inner refusal; the outer error says why it cannot be decided.
    pub(crate) async fn steward_of(
        &self,
        token: &SubjectToken,
    ) -> Result<Result<VerifiedSteward, BrokerError>, Problem> {
        match self.trust.id_token(&token.0, || self.broker.now()).await {
            Ok(person) => Ok(self.broker.registry.steward_of(&person)),
            Err(error) => {
                tracing::info!(reason = %error, "a subject token was refused");
                let reason = Reason::new(
                    ReasonCode::SubjectToken,
                    "the subject token was not accepted",
                );
                outage(&error).map_or_else(|| Ok(Err(BrokerError::Refused(vec![reason]))), Err)
            }
        }
    }
}

/// The answer when the issuer of a JWT cannot be asked for its keys, which is no failure of the client; `None` when
/// the JWT was refused.
pub(crate) fn outage(error: &TrustError) -> Option<Problem> {
    let is_outage = *error == TrustError::Keys(KeyError::Unavailable);
    is_outage.then(|| {
        Problem::unavailable(
            "the keys of the token's issuer cannot be had now",
            error.to_string(),
        )
    })
}
