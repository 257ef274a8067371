//! In-process verifiers, one for each server that is asked about here: used by introspection and token exchange.
//!
//! What a pass is worth at a server is said by what the server itself would run: the same code over the same
//! signed frames, brought up to date with every question.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    BrokerError, Feed, LiveTask, ObjectKind, State, change::Changes, domain::event::TokenRecord,
};
use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::{base::ids::ServerUri, token::VerifiedPass};
use hallpass_verify::{
    Denial, FrameError, Verifier,
    broker_side::{self, UnprovenPass},
};

/// The broker's own verifiers, by server.
#[derive(Debug)]
pub struct ServerVerifiers {
    changes: Arc<Changes>,
    feed: Arc<Feed>,
    known: Mutex<HashMap<ServerUri, Arc<Verifier>>>,
}

impl State {
    /// The records of a pass of which every block is genuine: its task, which is open, and what was minted.
    ///
    /// SECURITY: a stolen root key can sign what this broker never issued. A live pass is in its records.
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

impl ServerVerifiers {
    pub(crate) fn new(changes: Arc<Changes>, feed: Arc<Feed>) -> Self {
        Self {
            changes,
            feed,
            known: Mutex::default(),
        }
    }

    pub(super) const fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// The pass that `token` is, when a root key of this broker signed it; whether it lives is another question.
    pub(crate) fn genuine(&self, token: &str) -> Result<Option<VerifiedPass>, BrokerError> {
        Ok(broker_side::verify_signatures(&self.feed.key_document()?, token).ok())
    }

    /// The pass that `token` is, when the verifier for `server` admits it now, with that verifier.
    ///
    /// # Errors
    ///
    /// When it cannot be decided: unknown is not the same as dead, and the caller may cache the answer.
    pub(crate) fn admitted(
        &self,
        server: &ServerUri,
        token: &str,
    ) -> Result<Option<(Arc<Verifier>, UnprovenPass)>, BrokerError> {
        let verifier = match self.current(server) {
            Ok(verifier) => verifier,
            // It was removed: nothing is worth anything there.
            Err(BrokerError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        match UnprovenPass::verify(&verifier, token) {
            Ok(pass) => Ok(Some((verifier, pass))),
            Err(Denial::Refused(_)) => Ok(None),
            Err(fault) => Err(BrokerError::Internal(fault.to_string())),
        }
    }

    /// The verifier for `server`, which knows all that is news to verifiers by now.
    ///
    /// # Errors
    ///
    /// When there is no such server, or no key to sign with.
    fn current(&self, server: &ServerUri) -> Result<Arc<Verifier>, BrokerError> {
        let known = self.known().get(server).cloned();
        if let Some(verifier) = known {
            let have = verifier.memory().sequence;
            let (is_there, is_current) = {
                let state = self.changes.state();
                (
                    state.servers.contains_key(server),
                    state.news_since(have).next().is_none(),
                )
            };
            if !is_there {
                self.known().remove(server);
            } else if is_current && verifier.is_ready() {
                return Ok(verifier);
            }
            let frame = self.feed.feed_frame(server, Some(have))?;
            match verifier.accept_frame(&frame.text) {
                // Another request advanced it meanwhile.
                Ok(()) | Err(FrameError::Older { .. }) => return Ok(verifier),
                // A key that it never heard of signs now, or it lags too far behind.
                Err(_) => {}
            }
        }
        let verifier = Arc::new(self.new_verifier(server)?);
        self.known().insert(server.clone(), Arc::clone(&verifier));
        Ok(verifier)
    }

    fn new_verifier(&self, server: &ServerUri) -> Result<Verifier, BrokerError> {
        let manifest = self.changes.state().servers.get(server).cloned();
        let manifest =
            manifest.ok_or_else(|| BrokerError::not_found(ObjectKind::Server, server))?;
        let unusable = |error: FrameError| BrokerError::Internal(error.to_string());
        let document = self.feed.key_document()?;
        let builder = Verifier::builder(
            self.feed.issuer.clone(),
            document.feed_key.thumbprint(),
            manifest.as_ref().clone(),
        );
        let verifier = builder.clock(Arc::clone(self.changes.clock())).build();
        verifier
            .accept_key_document(&document.into())
            .map_err(unusable)?;
        verifier
            .accept_frame(&self.feed.feed_frame(server, None)?.text)
            .map_err(unusable)?;
        Ok(verifier)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ServerUri, Arc<Verifier>>> {
        self.known.locked()
    }
}
