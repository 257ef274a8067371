//! Floor 1: what a pass may say, and the only room that speaks Biscuit.

pub mod constraint;
pub mod manifest;
pub mod path;
pub mod rights;
