//! What decides: grants, guardrails and the engine that they are compiled into.

use crate::policy::{
    candidates::EngineFault, engine::Engine, grant_file::PlacedGrant, guardrail::Guardrail,
};

/// All grants and guardrails of one policy, compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) grants: Vec<PlacedGrant>,
    pub(super) guardrails: Vec<Guardrail>,
    pub(super) engine: Engine,
}

impl Compiled {
    pub(super) fn new(
        grants: Vec<PlacedGrant>,
        guardrails: Vec<Guardrail>,
    ) -> Result<Self, EngineFault> {
        let engine = Engine::new(&grants, &guardrails)?;
        Ok(Self {
            grants,
            guardrails,
            engine,
        })
    }
}
