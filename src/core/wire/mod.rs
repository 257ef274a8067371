//! What broker and verifier send each other: signed documents one way, decision reports the other.

pub mod document;
pub mod report;
