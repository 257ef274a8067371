//! `hallpass token delegate` and `token prove`: what the holder of a bound pass signs.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{
    access::{Signer, json_file, token_argument},
    error::CliError,
    output::{Output, View},
    token::{CallKind, Narrower, as_call, parse_arguments, parse_call},
    view::under,
};
use hallpass_broker::identity::AgentKey;
use hallpass_core::{
    base::{
        holder::HolderKey,
        ids::AgentId,
        time::{Clock as _, SystemClock},
    },
    possession::{ProofContent, call_digest, sign_proof},
    token::{Delegation, delegate},
};
use hallpass_verify::broker_side::verify_signatures;

/// `hallpass token delegate`.
#[derive(Debug, Args)]
pub(super) struct Delegate {
    /// The token, or `-` to read it from stdin.
    token: String,
    /// The key file of whoever holds the pass now.
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

/// `hallpass token prove`.
#[derive(Debug, Args)]
pub(super) struct Prove {
    /// The token, or `-` to read it from stdin.
    token: String,
    /// The key file of whoever holds the pass.
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
    /// The URL of the request.
    #[arg(long, value_name = "URL")]
    url: String,
    /// The HTTP method of the request.
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    method: String,
    /// The nonce from the server's last `DPoP-Nonce` header.
    #[arg(long, value_name = "NONCE")]
    nonce: Option<String>,
    /// Good for this call only: tool:NAME, resource:URI or prompt:NAME.
    #[arg(long, value_name = "KIND:NAME", value_parser = parse_call)]
    call: Option<(CallKind, String)>,
    /// The call's arguments.
    #[arg(long, value_name = "JSON", value_parser = parse_arguments, requires = "call")]
    arguments: Option<Value>,
}

impl Prove {
    pub(super) fn run(&self, output: Output) -> Result<(), CliError> {
        let token = token_argument(&self.token)?;
        let key = AgentKey::read(&self.key).map_err(CliError::failed)?;
        let digest = self.call.as_ref().map(|call| {
            let digest = call_digest(&as_call(call, self.arguments.as_ref()));
            digest.ok_or_else(|| {
                CliError::usage("a number in --arguments cannot be signed for: it is not exact")
            })
        });
        let content = ProofContent {
            token: &token,
            method: &self.method,
            url: &self.url,
            now: SystemClock::default().now(),
            nonce: self.nonce.as_deref(),
            call: digest.transpose()?,
        };
        let proof = sign_proof(key.key(), &content).map_err(CliError::failed)?;
        output.note("good for one request within a minute; send it as `DPoP:`, the token as `Authorization: DPoP`");
        output.show(
            &json!({"proof": proof}),
            View::Fields(vec![("proof", proof.clone())]),
        )
    }
}

/// The public key in a JWK file.
pub(super) fn public_key(path: &Path) -> Result<HolderKey, CliError> {
    let jwk: Value = json_file(path)?;
    HolderKey::from_jwk(&jwk).ok_or_else(|| {
        CliError::usage(format!(
            "`{}` is no public JWK of Ed25519 or P-256",
            path.display()
        ))
        .hint("`hallpass agent key NAME --key-out FILE` makes a key and shows its public half")
    })
}
