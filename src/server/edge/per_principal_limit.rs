//! Shares: how much of a limited resource one principal may hold.

use hallpass_core::base::sync::MutexExt as _;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

/// What each principal holds, and how much that may be.
#[derive(Debug)]
pub(crate) struct Shares {
    most: usize,
    held: Mutex<HashMap<String, usize>>,
}

/// One piece of a principal's share; given back when it is dropped.
pub(crate) struct Share {
    of: Arc<Shares>,
    principal: String,
}

impl Shares {
    /// Shares of an eighth of `all`, and of one at least.
    pub(crate) fn eighths(all: usize) -> Arc<Self> {
        Self::of(all / 8)
    }

    /// Shares of half of `all`, and of one at least.
    pub(crate) fn halves(all: usize) -> Arc<Self> {
        Self::of(all / 2)
    }

    fn of(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            held: Mutex::new(HashMap::new()),
        })
    }

    /// One piece more for `principal`, unless it holds its whole share.
    pub(crate) fn take(self: &Arc<Self>, principal: &str) -> Option<Share> {
        let mut held = self.held();
        let pieces = held.entry(principal.to_owned()).or_insert(0);
        if *pieces >= self.most {
            return None;
        }
        *pieces = pieces.saturating_add(1);
        Some(Share {
            of: Arc::clone(self),
            principal: principal.to_owned(),
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.held.locked()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held();
        if let Some(pieces) = held.get_mut(&self.principal) {
            *pieces = pieces.saturating_sub(1);
            if *pieces == 0 {
                held.remove(&self.principal);
            }
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_holds_its_share_and_no_more_until_it_gives_back() {
        let shares = Shares::eighths(16);
        let held = [shares.take("a"), shares.take("a")];
        assert!(held.iter().all(Option::is_some) && shares.take("a").is_none());
        assert!(shares.take("b").is_some());
        drop(held);
        assert!(shares.take("a").is_some());
        assert!(shares.held().is_empty(), "what is not held is forgotten");
    }
}
