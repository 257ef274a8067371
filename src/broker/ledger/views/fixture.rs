//! What the tests of the index begin with.

use std::{path::Path, sync::Arc};

use crate::{
    domain::event::{Actor, Entry, LedgerEvent},
    ledger::{
        file::{Journal, Options, Reader},
        views::Index,
    },
};
use hallpass_core::base::time::Timestamp;

/// A small entry about one of two stewards.
pub(super) fn entry(number: u64) -> Entry {
    entry_of(LedgerEvent::StewardAdded {
        steward: format!("stw_{:032x}", number % 2).parse().unwrap(),
    })
}

pub(super) fn entry_of(event: LedgerEvent) -> Entry {
    let at = Timestamp::from_unix_seconds(1_795_000_000);
    Entry {
        at,
        actor: Actor::Broker,
        request: None,
        trace: None,
        idempotency: None,
        event,
    }
}

/// A journal in `dir` and the index that follows it.
pub(super) fn followed(dir: &Path) -> (Journal, Arc<Index>, Reader) {
    let (recovered, _) = <Journal>::open(dir, Options::default(), |_| {}).unwrap();
    let reader = recovered.reader();
    let index = Arc::new(Index::open(dir, &reader).unwrap().0);
    let applied_to = Arc::clone(&index);
    let journal = recovered
        .start(Box::new(move |records| applied_to.apply(records).unwrap()))
        .unwrap();
    (journal, index, reader)
}
