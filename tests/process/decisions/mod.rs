//! What verifiers decide, from the call to the auditor: reported, spooled, recorded, read.

mod batches;
mod chain;
mod delivery;
mod ledger;
