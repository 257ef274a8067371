//! Why the chain of decisions did not take or give something.

use std::{fmt, sync::Arc};

/// Why the chain of decisions did not take or give something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecisionsError {
    /// So many batches wait that another one would only wait longer.
    #[error("too many batches of reports wait to be recorded")]
    Busy,
    /// It was not opened, or cannot be written or read.
    #[error("the chain of decisions cannot be used: {0}")]
    Unusable(Arc<str>),
}

impl DecisionsError {
    pub(crate) fn unusable(error: impl fmt::Display) -> Self {
        Self::Unusable(error.to_string().into())
    }
}
