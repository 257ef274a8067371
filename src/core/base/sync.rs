//! Locks that are still used after a panic.
//!
//! The standard library marks a lock as poisoned when a thread panics while it holds it. Here such a lock is taken all
//! the same: every critical section replaces a value or adds to a collection in one step, so that its data is whole
//! wherever the code in it can panic, and a verifier or broker that refused for ever after one panic would be worse. What
//! must stop after a failure, such as the ledger's writer, has a state of its own that says so.

use std::sync::{
    LockResult, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// What a lock, or a wait for a condition, returned, poisoned or not.
pub fn ignoring_poison<G>(result: LockResult<G>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}

/// Takes a [`Mutex`], poisoned or not.
pub trait MutexExt<T: ?Sized> {
    /// Blocks until the lock is free.
    fn locked(&self) -> MutexGuard<'_, T>;
}

impl<T: ?Sized> MutexExt<T> for Mutex<T> {
    fn locked(&self) -> MutexGuard<'_, T> {
        ignoring_poison(self.lock())
    }
}

/// Takes a [`RwLock`], poisoned or not.
pub trait RwLockExt<T: ?Sized> {
    /// Blocks until no one writes.
    fn read_locked(&self) -> RwLockReadGuard<'_, T>;

    /// Blocks until no one reads or writes.
    fn write_locked(&self) -> RwLockWriteGuard<'_, T>;
}

impl<T: ?Sized> RwLockExt<T> for RwLock<T> {
    fn read_locked(&self) -> RwLockReadGuard<'_, T> {
        ignoring_poison(self.read())
    }

    fn write_locked(&self) -> RwLockWriteGuard<'_, T> {
        ignoring_poison(self.write())
    }
}

#[cfg(test)]
mod tests {
    use std::{panic::catch_unwind, sync::Arc};

    use super::*;

    #[test]
    fn a_lock_is_taken_after_a_panic_of_its_holder() {
        let lock = Arc::new((Mutex::new(1), RwLock::new(1)));
        let held = Arc::clone(&lock);
        let panicked = catch_unwind(move || {
            let (_one, _other) = (held.0.lock(), held.1.write());
            panic!("while both are held");
        });
        assert!(panicked.is_err() && lock.0.is_poisoned() && lock.1.is_poisoned());
        *lock.0.locked() += 1;
        *lock.1.write_locked() += 1;
        assert_eq!((*lock.0.locked(), *lock.1.read_locked()), (2, 2));
    }
}
