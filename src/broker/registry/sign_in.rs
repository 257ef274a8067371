//! Signing in: a person shows who they are by a code that an operator gave them, once.

use std::time::Duration;

use crate::{
    BrokerError, Caller, ObjectKind, OneTimeSecret, Registry,
    change::{Decided, View},
    domain::{
        event::{Actor, LedgerEvent, Subject},
        one_time_secret::digest_of_typed,
    },
};
use hallpass_core::base::{ids::StewardId, time::Timestamp};

impl Registry {
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
    ) -> Result<(OneTimeSecret, Timestamp), BrokerError> {
        let code = OneTimeSecret::for_people();
        let decide = |view: &View<'_>| {
            let (now, state) = (view.now(), view.state());
            if !state.stewards.contains(steward) {
                return Err(BrokerError::no_such(ObjectKind::Steward));
            }
            if state.is_suspended(&Subject::Steward(steward.clone())) {
                return Err(BrokerError::Suspended(
                    "the steward was revoked and not reinstated".to_owned(),
                ));
            }
            let expires_at = now.plus(SIGN_IN_LIVES);
            let event = LedgerEvent::SignInCodeMade {
                steward: steward.clone(),
                code: code.digest(),
                expires_at,
            };
            Ok(Decided::record(now, vec![event], expires_at))
        };
        let expires_at = self.changes.in_turn(caller, decide).await?.value;
        Ok((code, expires_at))
    }

    /// The steward who signs in with the `typed` code, which is used up by this.
    ///
    /// # Errors
    ///
    /// [`BrokerError::NotFound`], alike for what is no code, was never made, was used, replaced or ended,
    /// and for a steward who is revoked; and when it cannot be recorded.
    pub async fn sign_in(&self, caller: &Caller, typed: &str) -> Result<StewardId, BrokerError> {
        let unknown = || BrokerError::no_such(ObjectKind::SignInCode);
        let code = digest_of_typed(typed).ok_or_else(unknown)?;
        let known = |view: &View<'_>| {
            let (now, state) = (view.now(), view.state());
            let steward = state.people.who_signs_in(&code, now).cloned();
            steward.ok_or_else(unknown)
        };
        // Before the turn, so that guesses hold up nothing.
        known(&self.changes.look())?;
        let decide = |view: &View<'_>| {
            let steward = known(view)?;
            let subject = Subject::Steward(steward.clone());
            if view.state().is_suspended(&subject) {
                return Err(unknown());
            }
            let event = LedgerEvent::SignedIn {
                steward: steward.clone(),
                code,
            };
            let caller = caller.by(Actor::Steward(steward.clone()));
            Ok(Decided::record(view.now(), vec![event], steward).by(caller))
        };
        Ok(self.changes.in_turn(caller, decide).await?.value)
    }
}

/// How long a code to sign in with lives.
pub const SIGN_IN_LIVES: Duration = Duration::from_secs(10 * 60);
