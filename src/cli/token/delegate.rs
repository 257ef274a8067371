//! `hallpass token delegate`: a bound pass handed on, signed with its holder's key.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::{
    access::{Signer, public_key, token_argument},
    error::CliError,
    output::{Output, View},
    token::narrow::Narrower,
    view::under,
};
use hallpass_broker::identity::AgentKey;
use hallpass_core::{
    base::ids::AgentId,
    token::{Delegation, delegate},
};
use hallpass_verify::broker_side::verify_signatures;

/// `hallpass token delegate`.
#[derive(Debug, Args)]
pub(super) struct Delegate {
    /// The token, or `-` to read it from stdin.
    token: String,
    /// The key file of the pass's present holder.
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
    /// What the delegate is called.
    #[arg(long, value_name = "AGENT")]
    to: AgentId,
    /// The delegate's public key: a JWK file (Ed25519, or P-256 for one that cannot hand it on).
    #[arg(long, value_name = "JWKFILE")]
    to_key: PathBuf,
    #[command(flatten)]
    narrower: Narrower,
    /// How many times more it may be handed on.
    #[arg(
        long,
        value_name = "TIMES",
        default_value_t = 0,
        conflicts_with = "use_only"
    )]
    may_delegate: u8,
    /// Seal it: the delegate can use it, and neither narrow it nor hand it on.
    #[arg(long)]
    use_only: bool,
    #[command(flatten)]
    signer: Signer,
}

impl Delegate {
    pub(super) async fn run(&self, output: Output) -> Result<(), CliError> {
        let token = token_argument(&self.token)?;
        let holder = AgentKey::read(&self.key).map_err(CliError::failed)?;
        let delegation = Delegation {
            agent: self.to.clone(),
            key: public_key(&self.to_key)?,
            narrowing: self.narrower.narrowing()?,
            may_delegate: self.may_delegate,
            use_only: self.use_only,
        };
        let document = self.signer.key_document().await?;
        let foreign = |denial| {
            CliError::refused(format!("no pass of `{}`: {denial}", document.iss))
                .hint("nothing was signed: hand on only what the broker issued")
        };
        let pass = verify_signatures(&document, &token).map_err(foreign)?;
        let handed = delegate(&pass, holder.key(), &delegation).map_err(CliError::usage)?;
        let mut fields = vec![("token", handed.token.expose().to_owned())];
        fields.extend(under(
            "revocation ids",
            handed.blocks.iter().map(ToString::to_string).collect(),
        ));
        output.note(&format!(
            "only the key of {} can use this; revoke its last id to end it and all below it",
            self.to
        ));
        output.show(
            &json!({"token": handed.token.expose(), "revocation_ids": handed.blocks}),
            View::Fields(fields),
        )
    }
}
