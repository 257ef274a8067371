//! The broker's own judges: one verifier for each server that somebody asks about here.
//!
//! What a pass is worth at a server is said by what the server itself would run: the same code over the same
//! signed frames, brought up to date with every question.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Broker, BrokerError};
use crate::{
    base::ids::ServerUri,
    verify::{FrameError, Verifier},
};

/// The judges, by server.
#[derive(Debug, Default)]
pub(super) struct Judges(Mutex<HashMap<ServerUri, Arc<Verifier>>>);

impl Broker {
    /// The judge for `server`, which knows every record that is durable by now.
    ///
    /// # Errors
    ///
    /// When there is no such server, or no key to sign with.
    pub(super) fn judge(&self, server: &ServerUri) -> Result<Arc<Verifier>, BrokerError> {
        let known = self.judges().get(server).cloned();
        if let Some(judge) = known {
            let have = judge.memory().sequence;
            let is_current = {
                let state = self.state();
                have == state.last_sequence() && state.servers.contains_key(server)
            };
            if is_current && judge.is_ready() {
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
        let unusable = |error: FrameError| BrokerError::Files(error.to_string());
        let document = self.key_document().ok_or_else(|| BrokerError::Files("there is no feed key".to_owned()))?;
        let builder = Verifier::builder(self.issuer().clone(), document.feed_key.thumbprint(), manifest);
        let judge = builder.clock(Arc::clone(&self.clock)).build();
        judge.accept_key_document(&document).map_err(unusable)?;
        judge.accept_frame(&self.feed_frame(server, None)?.text).map_err(unusable)?;
        Ok(judge)
    }

    fn judges(&self) -> std::sync::MutexGuard<'_, HashMap<ServerUri, Arc<Verifier>>> {
        self.judges.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
