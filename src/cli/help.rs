//! Words of the help that several commands share.

/// The heading of the options that every command of a kind has.
pub(super) const GLOBAL: &str = "Global options";
