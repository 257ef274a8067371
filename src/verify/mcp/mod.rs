//! MCP without a transport: messages, their purposes, decisions, and changes to responses.
//!
//! Everything here is pure: no I/O, no HTTP. The [`tower`](crate#features) layer is one adapter;
//! a stdio server or a gateway is another. An adapter does this with each message of a client:
//!
//! 1. [`Decider::admit`] checks the token, once for a connection or once for a request.
//! 2. [`Decider::message`] reads one strict JSON-RPC message and determines its purpose.
//! 3. [`Decider::clear`] decides the call that the message makes, if it makes one.
//! 4. The adapter executes [`ClientMessage::to_bytes`], never the received bytes, so that the
//!    decided call is the one that runs.
//! 5. [`transform_message`] or an [`EventStream`] applies a [`ResponseTransform`] to the
//!    server's messages. [`ListFilter`] is the first one: it hides entries that the pass does not allow.
//!
//! A refusal is a [`Rejection`]: a JSON-RPC error, without an HTTP status.
//!
//! ```
//! use hallpass_verify::{
//!     Pass,
//!     mcp::{Decider, Rejection},
//! };
//!
//! /// One line of a stdio server: the bytes to execute, or the error to return.
//! fn judge(decider: &Decider, pass: &Pass, line: &[u8]) -> Result<Vec<u8>, Rejection> {
//!     let message = decider.message(line)?;
//!     decider
//!         .clear(pass, &message, None)
//!         .map_err(|denial| Rejection::of_call(&denial).answering(message.id()))?;
//!     message.to_bytes()
//! }
//! ```

mod call;
mod decider;
mod events;
mod lists;
mod message;
mod purpose;
mod rejection;
mod server_message;
mod transform;

pub use call::CallRequest;
pub use decider::{DEFAULT_MAX_MESSAGE_BYTES, Decider};
pub use events::EventStream;
pub use lists::ListFilter;
pub use message::ClientMessage;
pub use purpose::{Purpose, ServerPurpose};
pub use rejection::{ErrorCode, Rejection};
pub use server_message::ServerMessage;
pub use transform::{Change, Exchange, ResponseTransform, transform_message};

#[cfg(feature = "tower")]
pub(crate) use events::WatchedStream;
#[cfg(feature = "tower")]
pub(crate) use rejection::{Denied, of_call, of_pass};
