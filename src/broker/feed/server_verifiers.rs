//! The broker's own judges: one verifier for each server that somebody asks about here.
//!
//! What a pass is worth at a server is said by what the server itself would run: the same code over the same
//! signed frames, brought up to date with every question.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{BrokerError, LiveTask, State, broker::Broker, domain::event::TokenRecord};
use hallpass_core::{base::ids::ServerUri, token::VerifiedPass};
use hallpass_verify::{Denial, FrameError, Pass, Verifier, broker_side};

/// The judges, by server.
#[derive(Debug, Default)]
pub(crate) struct Judges(Mutex<HashMap<ServerUri, Arc<Verifier>>>);

impl State {
    /// The records of a pass of which every block is genuine: its task, which is open, and what was minted.
    ///
    /// SECURITY: whoever has a root key can sign what this broker never issued. A pass that lives is in its records.
    pub(crate) fn issued(&self, pass: &VerifiedPass) -> Option<(&LiveTask, &TokenRecord)> {
        let (first, claims) = (pass.blocks().first()?, pass.claims());
        let live = self.task_of(first).filter(|live| live.end.is_none())?;
        let is_its_own = live.record.task == claims.task && live.record.agent == claims.agent;
        let token = live
            .tokens
            .iter()
            .find(|token| token.revocation_id == *first)?;
        is_its_own.then_some((live, token))
    }
}

impl Broker {
    /// The pass that `token` is, when a root key of this broker signed it; whether it lives is another question.
    pub(crate) fn genuine(&self, token: &str) -> Result<Option<VerifiedPass>, BrokerError> {
        Ok(broker_side::verify_signatures(&self.key_document()?, token).ok())
    }

    /// The pass that `token` is, when the judge for `server` admits it now, with that judge.
    ///
    /// # Errors
    ///
    /// When it cannot be decided: not known is not dead, and whoever asks may remember the answer.
    pub(crate) fn admitted(
        &self,
        server: &ServerUri,
        token: &str,
    ) -> Result<Option<(Arc<Verifier>, Pass)>, BrokerError> {
        let judge = match self.judge(server) {
            Ok(judge) => judge,
            // It was removed: nothing is worth anything there.
            Err(BrokerError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        match broker_side::verify_without_possession(&judge, token)
            .and_then(|pass| judge.admit(&pass).map(|_| pass))
        {
            Ok(pass) => Ok(Some((judge, pass))),
            Err(Denial::Refused(_)) => Ok(None),
            Err(fault) => Err(BrokerError::Internal(fault.to_string())),
        }
    }

    /// The judge for `server`, which knows all that is news to verifiers by now.
    ///
    /// # Errors
    ///
    /// When there is no such server, or no key to sign with.
    fn judge(&self, server: &ServerUri) -> Result<Arc<Verifier>, BrokerError> {
        let known = self.judges().get(server).cloned();
        if let Some(judge) = known {
            let have = judge.memory().sequence;
            let (is_there, is_current) = {
                let state = self.state();
                (
                    state.servers.contains_key(server),
                    state.news_since(have).next().is_none(),
                )
            };
            if !is_there {
                self.judges().remove(server);
            } else if is_current && judge.is_ready() {
                return Ok(judge);
            }
            let frame = self.feed_frame(server, Some(have))?;
            match judge.accept_frame(&frame.text) {
                // Somebody else brought it further meanwhile.
                Ok(()) | Err(FrameError::Older { .. }) => return Ok(judge),
                // A key that it never heard of signs now, or it lags too far behind.
                Err(_) => {}
            }
        }
        let judge = Arc::new(self.new_judge(server)?);
        self.judges().insert(server.clone(), Arc::clone(&judge));
        Ok(judge)
    }

    fn new_judge(&self, server: &ServerUri) -> Result<Verifier, BrokerError> {
        let manifest = self.server(server.as_str())?.manifest;
        let unusable = |error: FrameError| BrokerError::Internal(error.to_string());
        let document = self.key_document()?;
        let builder = Verifier::builder(
            self.issuer().clone(),
            document.feed_key.thumbprint(),
            manifest,
        );
        let judge = builder.clock(Arc::clone(&self.clock)).build();
        judge.accept_key_document(&document).map_err(unusable)?;
        judge
            .accept_frame(&self.feed_frame(server, None)?.text)
            .map_err(unusable)?;
        Ok(judge)
    }

    fn judges(&self) -> std::sync::MutexGuard<'_, HashMap<ServerUri, Arc<Verifier>>> {
        self.judges.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
