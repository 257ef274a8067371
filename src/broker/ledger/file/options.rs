//! How a journal is opened and written.

/// The journal's directory inside the data directory.
pub const DIRECTORY: &str = "journal";

/// How a journal is opened and written.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names in the data directory that exist only where there was a journal: when one of them is
    /// there and the journal is not, the start is refused instead of beginning an empty one.
    pub evidence: Vec<&'static str>,
    /// How many calls of `append` may wait; further ones wait outside.
    pub queue: usize,
    /// The writer stops gathering at this many bytes for one write.
    pub batch_bytes: usize,
    /// The writer stops gathering at this many calls for one write.
    pub batch_calls: usize,
    /// A segment that is longer than this many bytes is followed by a new one; one that begins with a snapshot of more
    /// than 2 MiB only when it is four times as long as that, too.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            evidence: vec!["index"],
            queue: 1024,
            batch_bytes: 1024 * 1024,
            batch_calls: 1024,
            segment_bytes: 16 * 1024 * 1024,
        }
    }
}
