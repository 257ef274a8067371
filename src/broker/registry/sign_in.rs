//! Signing in: a person shows who they are by a code that an operator gave them, once.

use std::time::Duration;

use crate::{
    BrokerError, ObjectKind, OneTime,
    broker::{Broker, Caller},
    domain::{
        event::{Actor, Event, Subject},
        one_time_secret::digest_of_typed,
    },
};
use hallpass_core::base::{ids::StewardId, time::Timestamp};

impl Broker {
    /// Makes a code with which `steward` signs in once, within [`SIGN_IN_LIVES`]. The one that was made
    /// before it, if any, is no good any more.
    ///
    /// # Errors
    ///
    /// When there is no such steward, the steward is revoked, or it cannot be recorded.
    pub async fn make_sign_in_code(
        &self,
        caller: &Caller,
        steward: &StewardId,
    ) -> Result<(OneTime, Timestamp), BrokerError> {
        let _changing = self.changes.lock().await;
        if !self.state().stewards.contains(steward) {
            return Err(BrokerError::no_such(ObjectKind::Steward));
        }
        if self
            .state()
            .is_suspended(&Subject::Steward(steward.clone()))
        {
            return Err(BrokerError::Suspended(
                "the steward was revoked and not reinstated".to_owned(),
            ));
        }
        let now = self.now();
        let (code, expires_at) = (OneTime::for_people(), now.plus(SIGN_IN_LIVES));
        let event = Event::SignInCodeMade {
            steward: steward.clone(),
            code: code.digest(),
            expires_at,
        };
        self.record(caller, now, vec![event]).await?;
        Ok((code, expires_at))
    }

    /// Who signs in with the code that somebody `typed`; it is used up then.
    ///
    /// # Errors
    ///
    /// [`BrokerError::NotFound`], alike for what is no code, was never made, was used, replaced or ended,
    /// and for a steward who is revoked; and when it cannot be recorded.
    pub async fn sign_in(&self, caller: &Caller, typed: &str) -> Result<StewardId, BrokerError> {
        let unknown = || BrokerError::no_such(ObjectKind::SignInCode);
        let code = digest_of_typed(typed).ok_or_else(unknown)?;
        let known = || {
            let now = self.now();
            self.state().people.who_signs_in(&code, now).cloned()
        };
        // Whoever guesses holds up nobody.
        known().ok_or_else(unknown)?;
        let _changing = self.changes.lock().await;
        let steward = known().ok_or_else(unknown)?;
        if self
            .state()
            .is_suspended(&Subject::Steward(steward.clone()))
        {
            return Err(unknown());
        }
        let caller = Caller {
            actor: Actor::Steward(steward.clone()),
            ..caller.clone()
        };
        let event = Event::SignedIn {
            steward: steward.clone(),
            code,
        };
        self.record(&caller, self.now(), vec![event]).await?;
        Ok(steward)
    }
}

/// How long a code to sign in with lives.
pub const SIGN_IN_LIVES: Duration = Duration::from_secs(10 * 60);
