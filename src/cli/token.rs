//! `hallpass token`: inspect, narrow and try passes.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{
    access::{Operator, key_document, pass_argument, server_uri, token_argument},
    error::{CliError, Exit},
    handover::{Delegate, Prove},
    output::{Output, View},
    rights::Rights,
    view::under,
};
use hallpass_broker::identity::AgentKey;
use hallpass_core::{
    base::{
        holder::HolderKey,
        ids::{IssuerUri, ServerUri},
        json,
        time::{Clock as _, SystemClock, Timestamp},
    },
    possession::{Presented, ProofContent, call_digest, sign_proof},
    token::{
        Call, GrantedDetail, Left, Narrowing, Summary, UnverifiedPass, attenuate,
        manifest::Manifest,
    },
};
use hallpass_verify::{Denial, Pass, Permit, Verifier};

/// Inspect, narrow and try passes.
#[derive(Debug, Args)]
pub(super) struct Tokens {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a token says, block by block. Asks nobody and verifies nothing.
    #[command(after_help = "\
Examples:
  hallpass token inspect TOKEN
  pbpaste | hallpass token inspect -")]
    Inspect {
        /// The token, or `-` to read it from stdin, which no process list shows.
        token: String,
    },
    /// Narrow a pass, offline, to hand it on. The original keeps all its power.
    #[command(after_help = "\
Examples:
  hallpass token attenuate TOKEN --ttl 1m --read-only
  hallpass token attenuate - --server https://ledger.example/mcp --tool read_ledger < pass.txt")]
    Attenuate(Attenuate),
    /// Hand a bound pass on to another agent, signed with its holder's key.
    #[command(after_help = "\
Examples:
  hallpass token delegate TOKEN --key research-bot.key --to summariser --to-key summariser.jwk \\
      --server https://ledger.example/mcp --tool read_ledger --ttl 1m
  curl https://broker.example/v1/keys.json > keys.json      # once; then without a network:
  hallpass token delegate - --key-document keys.json --key research-bot.key --to helper \\
      --to-key helper.jwk --use-only < pass.txt

Signs over nothing but a pass of the broker: its keys come from --broker, or from a file. Exit 3: not
signed by them.")]
    Delegate(Delegate),
    /// Sign a proof of possession (DPoP) for one request with a bound pass.
    #[command(after_help = "\
Example:
  hallpass token prove TOKEN --key research-bot.key --url https://ledger.example/mcp \\
      --call tool:transfer --arguments '{\"amount\":10}'")]
    Prove(Prove),
    /// Verify a pass and try a call, as the server's verifier would, without calling the server.
    #[command(after_help = "\
Examples:
  hallpass token verify TOKEN --server ledger --feed-key PIN \\
      --call tool:read_ledger --arguments '{\"year\":2026}'
  hallpass token verify TOKEN --server https://ledger.example/mcp --feed-key PIN \\
      --call resource:file:///srv/books/a

`hallpass keys show-pin` shows PIN on the broker's machine. Exit 3: refused, with every reason.")]
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Attenuate {
    /// The token, or `-` to read it from stdin.
    token: String,
    #[command(flatten)]
    narrower: Narrower,
}

/// With how much less a pass is handed on.
#[derive(Debug, Args)]
pub(super) struct Narrower {
    /// How long the narrowed pass may still be used, such as 1m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "expires_at")]
    ttl: Option<Duration>,
    /// Or when it ends, such as 2026-11-22T10:05:00Z.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    #[command(flatten)]
    rights: Rights,
}

#[derive(Debug, Args)]
struct Verify {
    /// The token, or `-` to read it from stdin.
    token: String,
    /// The server that the call is for, by URI or registered name.
    #[arg(long, value_name = "SERVER")]
    server: String,
    /// The call: tool:NAME, resource:URI or prompt:NAME.
    #[arg(long, value_name = "KIND:NAME", value_parser = parse_call)]
    call: (CallKind, String),
    /// The call's arguments.
    #[arg(long, value_name = "JSON", value_parser = parse_arguments)]
    arguments: Option<Value>,
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

/// The call named by `--call` and `--arguments`.
pub(super) fn as_call<'c>(
    (kind, name): &'c (CallKind, String),
    arguments: Option<&'c Value>,
) -> Call<'c> {
    match kind {
        CallKind::Tool => Call::tool(name, arguments),
        CallKind::Resource => Call::resource(name),
        CallKind::Prompt => Call::prompt(name, arguments),
    }
}

/// What kind of thing is called.
#[derive(Debug, Clone, Copy)]
pub(super) enum CallKind {
    Tool,
    Resource,
    Prompt,
}

impl Tokens {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        match self.command {
            Command::Inspect { token } => inspect(&token, output),
            Command::Attenuate(attenuate) => attenuate.run(output),
            Command::Delegate(delegate) => delegate.run(output).await,
            Command::Prove(prove) => prove.run(output),
            Command::Verify(verify) => verify.run(output).await,
        }
    }
}

fn inspect(given: &str, output: Output) -> Result<(), CliError> {
    let token = token_argument(given)?;
    let pass = UnverifiedPass::parse(&token)
        .map_err(|error| CliError::failed(format!("not a hallpass token: {error}")))?;
    let summary = pass.dangerous_unverified_summary();
    let mut document = serde_json::to_value(&summary).map_err(CliError::failed)?;
    if let Some(document) = document.as_object_mut() {
        document.insert("verified".to_owned(), json!(false));
    }
    output.note(
        "unverified: anybody can write a token that says this; `hallpass token verify` checks one",
    );
    output.show(&document, View::Fields(summary_fields(&summary)))
}

fn summary_fields(summary: &Summary) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    match &summary.claims {
        Some(claims) => {
            fields.extend([
                ("issuer", claims.issuer.clone()),
                ("task", claims.task.clone()),
                ("agent", claims.agent.clone()),
                ("steward", claims.steward.clone()),
                ("issued", claims.issued_at.to_string()),
                ("expires", ends_words(claims.expires_at)),
                (
                    "bound to",
                    claims
                        .holder
                        .clone()
                        .unwrap_or_else(|| "no key: whoever has it can use it".to_owned()),
                ),
            ]);
            fields.extend(under("gives", claims.rights.clone()));
        }
        None => fields.push(("claims", "block 0 is not that of a pass".to_owned())),
    }
    fields.push((
        "root key",
        summary
            .key
            .map_or_else(|| "-".to_owned(), |key| format!("{key} (a hint)")),
    ));
    if let Some(left) = &summary.left {
        fields.extend(under("left", left_words(left)));
    }
    fields.push((
        "sealed",
        if summary.sealed {
            "yes: it cannot be narrowed"
        } else {
            "no"
        }
        .to_owned(),
    ));
    for (number, block) in summary.blocks.iter().enumerate() {
        fields.push(("", String::new()));
        let who = match &block.delegation {
            Some(hop) => format!(
                "delegated by {} to {} (asserted), key {}",
                hop.from, hop.to, hop.key
            ),
            None => format!("by {}", block.by),
        };
        fields.push(("block", format!("{number}, {who}")));
        fields.push(("revocation id", block.revocation_id.to_string()));
        fields.extend(under("requires", block.requires.clone()));
    }
    fields
}

fn left_words(left: &Left) -> Vec<String> {
    let mut words = if left.rights.is_empty() {
        vec!["nothing".to_owned()]
    } else {
        left.rights.clone()
    };
    words.extend(left.read_only.then(|| "read-only".to_owned()));
    words.push(format!("until {}", ends_words(left.expires_at)));
    words.extend(
        left.delegations
            .map(|times| format!("may be handed on {times} times more")),
    );
    if left.other_checks > 0 {
        words.push(format!(
            "and what {} checks that hallpass did not write leave of it",
            left.other_checks
        ));
    }
    words
}

fn ends_words(at: Timestamp) -> String {
    let now = SystemClock::default().now();
    if at <= now {
        return format!("{at} (over)");
    }
    let left = Duration::from_secs(at.since(now).as_secs());
    format!("{at} (in {})", humantime::format_duration(left))
}

impl Narrower {
    pub(super) fn narrowing(&self) -> Result<Narrowing, CliError> {
        let mut narrowing = Narrowing::default();
        let now = SystemClock::default().now();
        narrowing.expires_at = self
            .expires_at
            .or_else(|| self.ttl.map(|ttl| now.plus(ttl).floor_second()));
        if self.rights.is_empty() {
            narrowing.read_only = self.rights.is_read_only();
        } else {
            let rights: Result<Vec<GrantedDetail>, _> =
                serde_json::from_value(self.rights.offline()?);
            let rights = rights.map_err(|error| {
                CliError::usage(error)
                    .hint("a pass is narrowed to exact names: `hallpass token inspect` shows those it has")
            })?;
            narrowing.rights = Some(rights);
        }
        Ok(narrowing)
    }
}

impl Attenuate {
    fn run(self, output: Output) -> Result<(), CliError> {
        let token = pass_argument(&self.token)?;
        let narrowed = attenuate(&token, &self.narrower.narrowing()?).map_err(CliError::usage)?;
        let mut fields = vec![("token", narrowed.token.expose().to_owned())];
        fields.extend(under(
            "revocation ids",
            narrowed.blocks.iter().map(ToString::to_string).collect(),
        ));
        output.note(
            "whoever gets this can do no more than it says; revoke its last id to end it alone",
        );
        output.show(
            &json!({"token": narrowed.token.expose(), "revocation_ids": narrowed.blocks}),
            View::Fields(fields),
        )
    }
}

impl Verify {
    async fn run(self, output: Output) -> Result<(), CliError> {
        let token = token_argument(&self.token)?;
        let (client, bearer) = self.operator.open()?;
        let server = server_uri(&client, &self.server, &self.operator).await?;
        let document = key_document(&client, self.issuer.as_ref()).await?;
        let query = [("server", server.to_string())];
        let frame = client
            .text("/v1/feed", (&query, "application/jose"), &bearer)
            .await?;
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
        let call = as_call(&self.call, self.arguments.as_ref());
        if self.explain {
            explain_chain(&token, output);
        }
        let answer = self
            .verified(&verifier, &token, &call)?
            .and_then(|pass| verifier.clear(&pass, &call));
        match answer {
            Ok(permit) => permitted(&permit, output),
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

fn permitted(permit: &Permit, output: Output) -> Result<(), CliError> {
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
        ("steward", permit.steward().to_string()),
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

pub(super) fn parse_call(text: &str) -> Result<(CallKind, String), String> {
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    let kind = match kind {
        _ if name.is_empty() => Err(()),
        "tool" => Ok(CallKind::Tool),
        "resource" => Ok(CallKind::Resource),
        "prompt" => Ok(CallKind::Prompt),
        _ => Err(()),
    };
    let expected = "expected tool:NAME, resource:URI or prompt:NAME";
    kind.map(|kind| (kind, name.to_owned()))
        .map_err(|()| expected.to_owned())
}

pub(super) fn parse_arguments(text: &str) -> Result<Value, String> {
    json::parse(text.as_bytes(), crate::cli::access::MAX_INPUT_BYTES)
        .map_err(|error| error.to_string())
}
