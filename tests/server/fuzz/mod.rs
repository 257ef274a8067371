//! Fuzz targets of what the server alone reads: documents of clients, and forms and headers of OAuth requests.
//!
//! As in `tests/core/fuzz`: `cargo test --test server fuzz::` runs the whole corpus and then each target for a second.

mod clients;
mod oauth;

pub(crate) use support::{
    fuzz,
    fuzz::{corpus, input},
};
