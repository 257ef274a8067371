//! The traps of Biscuit and of the ground around it, each stepped into on purpose.

use hallpass_core::{
    base::ReasonCode,
    token::{Call, PassToken, UnverifiedPass, VerifiedPass},
};
use hallpass_verify::{Denial, Permit, Verifier};
use serde_json::Value;

mod bytes;
mod clocks;
mod meaning;
mod operators;
mod profile;
mod remaining;

fn verified(issuer: &support::Issuer, token: &PassToken) -> Result<VerifiedPass, ReasonCode> {
    let parsed = UnverifiedPass::parse(token.expose()).map_err(|error| error.code())?;
    parsed
        .verify(&issuer.root.public())
        .map_err(|error| error.code())
}

fn call(
    verifier: &Verifier,
    token: &PassToken,
    tool: &str,
    arguments: &Value,
) -> Result<Permit, Denial> {
    let pass = verifier.verify(token.expose())?;
    verifier.clear(&pass, &Call::tool(tool, Some(arguments)))
}

fn code(
    verifier: &Verifier,
    token: &PassToken,
    tool: &str,
    arguments: &Value,
) -> Option<ReasonCode> {
    call(verifier, token, tool, arguments)
        .err()
        .map(|denial| denial.code())
}
