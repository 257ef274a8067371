//! The index: views over the journal in sled, by sequence, agent, steward, task, server, time,
//! token and idempotency key.
//!
//! It holds nothing that the journal does not. It is brought up to date at every start, and an
//! index that cannot be read or belongs to another history is moved aside and built anew, so deleting
//! its directory loses nothing. One that knows more than the journal shows that the journal was cut. No decision depends on it alone: what it finds is read from the
//! journal, where it is checked. sled does not notice every damage to its files while it runs: an
//! answer that must be complete beyond doubt comes from an index that was built anew.
//!
//! Most views list records by chunks. The newest chunk is in memory: what was *applied* is in sled up to where it was
//! *sealed*, and a start reads the rest again. What the journal has *announced* is about to be applied, and queries
//! wait for it.
//!
//! sled 0.34 does not sync when it says that it flushed; nothing here needs it to.

mod chunk;
mod compact;
mod error;
#[cfg(test)]
mod fixture;
mod follow;
mod index;
mod indexed;
mod keys;
mod open;
mod postings;
mod prune;
mod query;
mod reading;
mod store;
mod values;
mod whole;
mod window;

pub use error::{IndexError, Trouble};
pub use follow::Follower;
pub use index::{Index, Pair};
pub use indexed::{Indexed, Lookup};
pub use open::{DIRECTORY, Recovery};
pub use postings::Carried;
pub use query::TaskSummary;
pub use whole::{FoundPage, Views};
pub use window::{Filter, Order, Verdict, Window};
