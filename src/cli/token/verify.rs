//! `hallpass token verify`: a call, tried as the server's verifier would.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::{
    access::{LookUp, Operator, key_document, server_uri, token_argument},
    error::{CliError, Exit},
    names::Names,
    output::{Output, View},
    token::call::{Arguments, Called},
    view::under,
};
use hallpass_broker::identity::AgentKey;
use hallpass_core::{
    base::{
        holder::HolderKey,
        ids::{IssuerUri, ServerUri},
        time::{Clock as _, SystemClock},
    },
    possession::{Presented, ProofContent, call_digest, sign_proof},
    token::{Call, UnverifiedPass, manifest::Manifest},
};
use hallpass_verify::{Denial, Pass, Permit, Verifier};

/// `hallpass token verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The token, or `-` to read it from stdin.
    token: String,
    /// The server that the call is for, by URI or registered name.
    #[arg(long, value_name = "SERVER")]
    server: String,
    /// The call: tool:NAME, resource:URI or prompt:NAME.
    #[arg(long, value_name = "KIND:NAME")]
    call: Called,
    #[command(flatten)]
    arguments: Arguments,
    /// For a bound pass: the key file of its holder, to sign the proof of possession with.
    #[arg(long, value_name = "KEYFILE")]
    key: Option<PathBuf>,
    /// Show the chain of delegations too, and what each hop leaves.
    #[arg(long)]
    explain: bool,
    /// The thumbprint of the broker's feed key: nothing is believed that it did not sign or vouch for.
    #[arg(long, value_name = "THUMBPRINT", allow_hyphen_values = true)]
    feed_key: String,
    /// The issuer that is meant; needed when the broker calls itself by another origin than --broker.
    #[arg(long, value_name = "URI")]
    issuer: Option<IssuerUri>,
    #[command(flatten)]
    operator: Operator,
}

impl Verify {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let token = token_argument(&self.token)?;
        let session = self.operator.open()?;
        let client = session.client();
        let server = server_uri(client, &self.server, LookUp::Operator(&self.operator)).await?;
        let document = key_document(client, self.issuer.as_ref()).await?;
        let frame = session.frame(&server).await?;
        let verifier = verifier(server, document.iss.clone(), &self.feed_key)?;
        let foreign = |error| {
            CliError::failed(error).hint(
                "does --feed-key hold what `hallpass keys show-pin` shows on the broker's machine?",
            )
        };
        verifier
            .accept_key_document(&document.into())
            .map_err(foreign)?;
        verifier.accept_frame(frame.trim()).map_err(foreign)?;
        let call = self.call.with(&self.arguments);
        if self.explain {
            explain_chain(&token, output);
        }
        let answer = self
            .verified(&verifier, &token, &call)?
            .and_then(|pass| verifier.clear(&pass, &call));
        match answer {
            Ok(permit) => {
                let names = Names::known_to(&session, output).await;
                permitted(&permit, &names, output)
            }
            Err(denial) => denied(&denial, output),
        }
    }

    /// Verifies as the server would, with a proof of the very call when the holder's key is given.
    fn verified(
        &self,
        verifier: &Verifier,
        token: &str,
        call: &Call<'_>,
    ) -> Result<Result<Pass, Denial>, CliError> {
        let Some(key) = &self.key else {
            return Ok(verifier.verify(token));
        };
        let key = AgentKey::read(key).map_err(CliError::failed)?;
        let (url, now) = (verifier.server().as_str(), SystemClock::default().now());
        let content = ProofContent {
            token,
            method: "POST",
            url,
            now,
            nonce: None,
            call: call_digest(call),
        };
        let proof = sign_proof(key.key(), &content).map_err(CliError::failed)?;
        Ok(verifier.verify_with_proof(token, &Presented::new(&proof, "POST")))
    }
}

/// Who gave the pass to whom, what each hop took away, and what is left, for people.
fn explain_chain(token: &str, output: Output) {
    let Ok(pass) = UnverifiedPass::parse(token) else {
        return;
    };
    output.note("the chain, as the token says, before it was verified:");
    for (number, block) in pass
        .dangerous_unverified_summary()
        .blocks
        .iter()
        .enumerate()
    {
        let who = match &block.delegation {
            Some(hop) => format!(
                "delegated by `{}` to `{}` (key {})",
                hop.from, hop.to, hop.key
            ),
            None => format!("by {}", block.by),
        };
        let requires = block.requires.join("; ");
        output.note(&format!(
            "block {number}, {who}: {}",
            if requires.is_empty() {
                "takes nothing away"
            } else {
                &requires
            }
        ));
    }
}

/// A verifier that knows nothing of the server yet: the broker's first frame brings its manifest.
fn verifier(server: ServerUri, issuer: IssuerUri, feed_key: &str) -> Result<Verifier, CliError> {
    let name = "server".parse().map_err(CliError::failed)?;
    Ok(Verifier::builder(issuer, feed_key, Manifest::new(server, name)).build())
}

fn permitted(permit: &Permit, names: &Names, output: Output) -> Result<(), CliError> {
    let document = json!({
        "decision": "permitted", "server": permit.server(), "kind": permit.kind(), "name": permit.name(),
        "agent": permit.agent(), "steward": permit.steward(), "task": permit.task(), "chain": permit.chain(),
        "holder": permit.holder().map(HolderKey::thumbprint),
        "delegates": permit.delegates().iter().map(|hop| &hop.agent).collect::<Vec<_>>(),
        "cleared_at": permit.cleared_at(), "valid_until": permit.valid_until(),
    });
    let fields = vec![
        (
            "permitted",
            format!("{} {} on {}", permit.kind(), permit.name(), permit.server()),
        ),
        ("agent", permit.agent().to_string()),
        ("steward", names.of(permit.steward())),
        ("task", permit.task().to_string()),
        ("until", permit.valid_until().to_string()),
    ];
    output.show(&document, View::Fields(fields))
}

fn denied(denial: &Denial, output: Output) -> Result<(), CliError> {
    let (reasons, lines): (Value, Vec<String>) = match denial {
        Denial::Refused(refusals) => (
            json!(refusals),
            refusals.iter().map(ToString::to_string).collect(),
        ),
        Denial::Fault(fault) => (
            json!([{"code": fault.code(), "detail": fault.to_string()}]),
            vec![fault.to_string()],
        ),
    };
    let decision = if matches!(denial, Denial::Fault(_)) {
        "fault"
    } else {
        "refused"
    };
    output.show(
        &json!({"decision": decision, "reasons": reasons}),
        View::Fields(under("refused", lines)),
    )?;
    Err(CliError::answered(Exit::Refused))
}
