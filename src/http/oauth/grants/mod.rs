//! One file for each grant type: from a request that was read to a token.

pub(super) mod client_credentials;
