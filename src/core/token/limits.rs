//! Limits on the size of tokens and calls, and on the time of an evaluation.

use std::time::Duration;

/// A token longer than this is refused undecoded, in bytes after base64.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// More appended blocks than this are refused.
pub const MAX_APPENDED_BLOCKS: usize = 8;

/// The blocks of a token declare at most this many symbols: the engine searches all of them.
pub(super) const MAX_SYMBOLS: usize = 1024;

/// No symbol is longer than this, in bytes, and no text of a call that a check can examine.
pub(super) const MAX_TEXT_BYTES: usize = 4096;

/// A pass names at most this many tools, prompts and resource subtrees.
pub const MAX_RIGHTS: usize = 200;

/// A pass is at most this long as text, in bytes, so that it fits into a header everywhere.
pub const MAX_PASS_BYTES: usize = 4096;

/// A pass is accepted this long before its `iat`, in seconds: clocks differ.
pub const CLOCK_SKEW_SECONDS: u64 = 5;

/// A call whose arguments have more pointers than this has no argument facts.
pub const MAX_ARGUMENTS: usize = 64;

/// A call with a pointer longer than this, in bytes, has none either: every value beneath would repeat it.
pub(super) const MAX_ARGUMENT_POINTER_BYTES: usize = 1024;

/// A path of more segments than this has no canonical form.
pub(super) const MAX_SEGMENTS: usize = 128;

/// All appended blocks of a token together may cost this much: up to about four milliseconds.
pub(super) const MAX_COST: usize = 100_000;

/// The names and texts in the checks of all appended blocks together may be this long, counting
/// every use: a check is printed when it is loaded, and when a refusal names it.
pub(super) const MAX_CHECK_TEXT: usize = 64 * 1024;

/// The default time limit for the evaluation of one call.
///
/// A second line of defence: the profile already bounds the cost. The library's own default, a millisecond, refuses
/// correct tokens on a busy machine.
pub const MAX_EVALUATION_TIME: Duration = Duration::from_millis(250);
