//! Subject tokens: on whose behalf an agent says that it acts, as the person's identity provider says.

use zeroize::Zeroizing;

use super::{App, problem::Problem};
use crate::{
    base::ReasonCode,
    broker::{BrokerError, VerifiedSteward},
    outbound::{KeyError, TrustError},
    policy::Reason,
};

/// A subject token in the form of a JWT; nothing that it says is believed yet.
pub(super) struct SubjectToken(Zeroizing<String>);

impl SubjectToken {
    /// Reads the member of a request.
    pub(super) fn read(text: String) -> Result<Self, Problem> {
        let text = Zeroizing::new(text);
        let is_jwt = text.split('.').count() == 3 && text.split('.').all(|part| !part.is_empty());
        if is_jwt {
            Ok(Self(text))
        } else {
            Err(Problem::invalid("subject_token", "expected an ID token: a compact JWT"))
        }
    }
}

impl App {
    /// The steward whose ID token this is.
    ///
    /// Whoever asks has proven to be an agent, and is told whether the person is a steward only when the
    /// token was accepted.
    pub(super) async fn steward_of(&self, token: &SubjectToken) -> Result<VerifiedSteward, BrokerError> {
        let refused = |detail: &str| BrokerError::Refused(vec![Reason::new(ReasonCode::SubjectToken, detail)]);
        match self.trust.id_token(&token.0, || self.broker.now()).await {
            Ok(person) => self.broker.steward_of(&person),
            Err(error) => {
                tracing::debug!(reason = %error, "a subject token was refused");
                Err(refused(match error {
                    TrustError::Keys(KeyError::Unavailable) => {
                        "the keys of the subject token's issuer cannot be had now: try again later"
                    }
                    _ => "the subject token was not accepted",
                }))
            }
        }
    }
}
