//! Verifying one call in a few lines: without a server, a runtime or a network.
//!
//! What the broker says comes from files here; the feature `verify-feed` keeps it current.
//!
//! ```sh
//! curl -s https://broker.example/v1/keys.json > keys.json
//! curl -s -H "Authorization: Bearer $VERIFIER_TOKEN" "https://broker.example/v1/feed?server=$SERVER" > frame.jwt
//! cargo run --example verify_minimal -- https://broker.example FEED_KEY_THUMBPRINT manifest.json keys.json frame.jwt \
//!     read_ledger '{"year": 2026}' < pass
//! ```

#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::{env, error::Error, fs, io};

use hallpass_core::{base::json, token::Call, wire::document::KeyDocument};
use hallpass_verify::Verifier;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [issuer, feed_key, manifest, keys, frame, tool, arguments] = arguments.as_slice() else {
        return Err(
            "usage: verify_minimal ISSUER FEED_KEY MANIFEST KEYS FRAME TOOL ARGUMENTS < PASS"
                .into(),
        );
    };
    let manifest = json::parse_as(&fs::read(manifest)?, MAX_BYTES)?;
    let verifier = Verifier::builder(issuer.parse()?, feed_key, manifest).build();
    verifier.accept_key_document(&KeyDocument::parse(&fs::read(keys)?)?)?;
    verifier.accept_frame(fs::read_to_string(frame)?.trim_end())?;

    let pass = verifier.verify(io::read_to_string(io::stdin())?.trim_end())?;
    let arguments = json::parse(arguments.as_bytes(), MAX_BYTES)?;
    let permit = verifier.clear(&pass, &Call::tool(tool, Some(&arguments)))?;
    println!(
        "{} may call {} for {} until {}",
        permit.agent(),
        permit.name(),
        permit.task(),
        permit.valid_until()
    );
    Ok(())
}

const MAX_BYTES: usize = 1024 * 1024;
