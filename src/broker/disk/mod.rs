//! Room on the disk.

pub(crate) mod compact;
pub(crate) mod reserve;
