//! What verifiers follow: frames, revocations, and the verifiers inside of the broker itself.

pub(crate) mod hub;
pub(crate) mod introspect;
pub(crate) mod revoke;
pub(crate) mod revoke_many;
pub(crate) mod server_verifiers;
