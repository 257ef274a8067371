//! HTTP plumbing that knows no route: limits, TLS, connections, extractors, problems, streams.

pub(crate) mod answer;
pub(crate) mod answers;
pub(crate) mod connections;
pub(crate) mod context;
mod control_frames;
pub(crate) mod cursor;
pub(crate) mod describe;
pub(crate) mod extract;

pub(crate) mod idempotency;
pub(crate) mod limit;
pub(crate) mod limited_stream;
pub(crate) mod per_principal_limit;
pub(crate) mod problem;
pub(crate) mod stream;
pub(crate) mod times;
pub(crate) mod tls;
