//! Room on the disk.

pub(crate) mod reserve;
