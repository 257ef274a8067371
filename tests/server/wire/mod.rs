//! Documents that another build wrote (`docs/wire.md`): the vectors, random members, and brokers and
//! verifiers of two builds with each other.

mod anywhere;
mod builds;
mod documents;
mod setup;
mod vectors;
