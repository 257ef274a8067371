//! `hallpass token prove`: a proof of possession for one request.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::{
    access::token_argument,
    error::CliError,
    output::{Output, View},
    token::call::{Arguments, Called},
};
use hallpass_broker::identity::AgentKey;
use hallpass_core::{
    base::time::{Clock as _, SystemClock},
    possession::{ProofContent, call_digest, sign_proof},
};

/// `hallpass token prove`.
#[derive(Debug, Args)]
pub(super) struct Prove {
    /// The token, or `-` to read it from stdin.
    token: String,
    /// The key file of the holder of the pass.
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
    #[arg(long, value_name = "KIND:NAME")]
    call: Option<Called>,
    #[command(flatten)]
    arguments: Arguments,
}

impl Prove {
    pub(super) fn run(&self, output: Output) -> Result<(), CliError> {
        let token = token_argument(&self.token)?;
        let key = AgentKey::read(&self.key).map_err(CliError::failed)?;
        let digest = self.call.as_ref().map(|call| {
            let digest = call_digest(&call.with(&self.arguments));
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
