//! Several brokers over one ledger: that a decision is made again when another broker recorded first.

mod changes;
mod cluster;
mod interleavings;
mod overtaken;
