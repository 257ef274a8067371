//! A real MCP server, built with rmcp, that verifies hallpass passes offline.
//!
//! ```sh
//! hallpass server add http://127.0.0.1:8931/mcp --name ledger --manifest ledger.json
//! cargo run --example verify_rmcp -- --manifest ledger.json --issuer http://127.0.0.1:7400 \
//!     --feed-key THUMBPRINT --verifier-token-file verifier.token --state-file ledger-feed.json
//! ```
//!
//! The server is in `support/ledger.rs`: two lines of it are hallpass.

#![allow(clippy::print_stderr, reason = "an example prints to its user")]

#[path = "support/ledger.rs"]
mod ledger;

use std::{error::Error, fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::Parser;
use hallpass_verify::{
    IssuerUri, Manifest, Verifier,
    feed::{self, FeedClient},
    tower::HallpassLayer,
};

/// A small ledger as an MCP server. It verifies passes itself and asks the broker nothing per call.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, env = "LEDGER_LISTEN", default_value = "127.0.0.1:8931")]
    listen: SocketAddr,
    /// Names under which clients reach the server, when it is not on this machine.
    #[arg(long = "host", env = "LEDGER_HOSTS", value_delimiter = ',')]
    hosts: Vec<String>,
    /// The manifest as registered with the broker (JSON): the server's URI, its tools, what they do.
    #[arg(long, env = "LEDGER_MANIFEST")]
    manifest: PathBuf,
    /// The broker whose passes count.
    #[arg(long, env = "HALLPASS_ISSUER")]
    issuer: IssuerUri,
    /// The thumbprint of the broker's feed key, by which everything it says is judged.
    #[arg(long, env = "HALLPASS_FEED_KEY", allow_hyphen_values = true)]
    feed_key: String,
    /// A file with this server's verifier token, with which it asks for revocations.
    #[arg(long, env = "HALLPASS_VERIFIER_TOKEN_FILE")]
    verifier_token_file: PathBuf,
    /// Where to remember how far it had heard, so that no older word is believed after a restart.
    #[arg(long, env = "LEDGER_STATE_FILE", default_value = "ledger-feed.json")]
    state_file: PathBuf,
    /// Report every decision to the broker, and keep in this directory what it has not taken yet.
    #[arg(long, env = "LEDGER_SPOOL")]
    spool: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let options = Options::parse();
    let (verifier, client) = follow(&options)?;
    let reports = options
        .spool
        .as_ref()
        .map(|spool| client.reports(spool).spawn())
        .transpose()?
        .map(Arc::new);
    let layer = HallpassLayer::builder(Arc::clone(&verifier));
    let layer = if let Some(reports) = &reports {
        layer.report_to(reports.clone())
    } else {
        layer
    }
    .build();
    let feed = client.spawn();
    let listener = tokio::net::TcpListener::bind(options.listen).await?;
    eprintln!(
        "{} on {}, waiting for {}",
        verifier.server(),
        listener.local_addr()?,
        verifier.issuer()
    );
    // Until the broker has spoken every request is answered 503; nothing is let through unverified.
    let _ = tokio::time::timeout(Duration::from_secs(10), feed.ready()).await;
    axum::serve(listener, ledger::router(layer, &options.hosts))
        .with_graceful_shutdown(interrupted())
        .await?;
    feed.shutdown().await;
    if let Some(reports) = reports {
        reports.shutdown().await;
    }
    Ok(())
}

/// Builds the verifier and what keeps it current with its broker's keys and revocations.
fn follow(options: &Options) -> Result<(Arc<Verifier>, FeedClient), Box<dyn Error>> {
    let manifest = Manifest::from_json(&fs::read(&options.manifest)?)?;
    let memory = feed::load_memory(&options.state_file, &options.issuer, &manifest.server)?;
    let verifier = Verifier::builder(options.issuer.clone(), &options.feed_key, manifest)
        .memory(memory)
        .build();
    let verifier = Arc::new(verifier);
    let token = fs::read_to_string(&options.verifier_token_file)?;
    let client = FeedClient::builder(
        Arc::clone(&verifier),
        options.issuer.as_str(),
        token.trim_end(),
    );
    Ok((verifier, client.state_file(&options.state_file).build()?))
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler for it the signal ends the process at once, which is safe as well.
        std::future::pending::<()>().await;
    }
}
