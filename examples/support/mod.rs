//! What several examples share.

pub mod ledger;
