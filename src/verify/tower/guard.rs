//! What a layer and the services behind it share.

use std::fmt;

use crate::{Verifier, mcp::Decider, tower::sessions::Sessions};

/// The state shared by all clones of a layer and its services.
pub(super) struct Guard {
    pub(super) decider: Decider,
    pub(super) metadata_url: String,
    pub(super) sessions: Sessions,
    pub(super) limits: Limits,
    pub(super) origins: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) message_bytes: usize,
    pub(super) list_bytes: usize,
}

impl Guard {
    pub(super) fn verifier(&self) -> &Verifier {
        self.decider.verifier()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HallpassLayer")
            .field("decider", &self.decider)
            .field("limits", &self.limits)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}
