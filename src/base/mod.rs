//! Floor 0: the words that every other floor speaks. No I/O, no policy, no tokens.

pub mod digest;
pub mod ids;
pub mod json;
pub mod jws;
pub mod key;
mod reason;
mod receipt;
pub mod time;

pub use reason::ReasonCode;
pub use receipt::Receipt;
