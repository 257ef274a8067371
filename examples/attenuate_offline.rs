//! Narrowing a pass before handing it to a sub-agent: offline, with no key, asking nobody.
//!
//! The narrowed pass goes to standard output, what it requires to standard error.
//!
//! ```sh
//! cargo run --example attenuate_offline -- --server https://ledger.example/mcp --tool read_ledger --ttl 60 < pass
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints to its user"
)]

use std::{error::Error, io, time::Duration};

use clap::Parser;
use hallpass_verify::{
    Clock as _, ServerUri, SystemClock,
    holder::{GrantedDetail, Narrowing, PassToken, attenuate, inspect},
    manifest::ToolName,
};

/// Narrows the pass on standard input.
#[derive(Parser)]
struct Options {
    /// The server that the tools are on.
    #[arg(long, requires = "tool")]
    server: Option<ServerUri>,
    /// Allow these tools only; may be given more than once.
    #[arg(long, requires = "server")]
    tool: Vec<ToolName>,
    /// End at the latest after this many seconds.
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// Allow only what changes nothing.
    #[arg(long)]
    read_only: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let pass = PassToken::from_text(io::read_to_string(io::stdin())?.trim_end().to_owned());

    let mut narrowing = Narrowing::default();
    narrowing.read_only = options.read_only;
    narrowing.expires_at = options
        .ttl
        .map(|ttl| SystemClock::default().now().plus(Duration::from_secs(ttl)));
    narrowing.rights = options.server.map(|server| {
        let mut detail = GrantedDetail::new(server);
        detail.tools = options.tool;
        vec![detail]
    });
    let narrower = attenuate(&pass, &narrowing)?;

    // What the token says. Its signatures are checked by the server that it is presented to.
    let summary = inspect(&narrower.token)?;
    for (number, block) in summary.blocks.iter().enumerate() {
        eprintln!(
            "block {number}, by the {}, revoke it by {}",
            block.by, block.revocation_id
        );
        for requirement in &block.requires {
            eprintln!("  requires: {requirement}");
        }
    }
    println!("{}", narrower.token.expose());
    Ok(())
}
