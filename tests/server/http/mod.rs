//! The broker over HTTP: real sockets, real records.

mod auth;
mod bad_input;
mod erasure;
mod floods;
mod holder;
mod idempotency;
mod lists;
mod running;
mod secrets;
mod shapes;
mod story;
mod streams;
