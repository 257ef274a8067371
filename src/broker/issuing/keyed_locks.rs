//! Locks by key: requests about one thing wait for one another.

use tokio::sync::{Mutex, MutexGuard};

use hallpass_core::base::digest::Digest;

/// A lock for each key; a few keys share one.
#[derive(Debug)]
pub(crate) struct KeyedLocks(Box<[Mutex<()>; 64]>);

impl KeyedLocks {
    pub(crate) async fn lock(&self, key: &Digest) -> MutexGuard<'_, ()> {
        let [first, ..] = &*self.0;
        let [byte, ..] = key.as_bytes();
        self.0
            .get(usize::from(byte % 64))
            .unwrap_or(first)
            .lock()
            .await
    }
}

impl Default for KeyedLocks {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Mutex::default())))
    }
}
