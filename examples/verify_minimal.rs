//! Verifying one call in a few lines: without a server, a runtime or a network.
//!
//! What the broker says comes from files here; the feature `feed` keeps it current.
//!
//! ```sh
//! curl -s https://broker.example/v1/keys.json > keys.json
//! curl -s -H "Authorization: Bearer $VERIFIER_TOKEN" "https://broker.example/v1/feed?server=$SERVER" > frame.jwt
//! cargo run --example verify_minimal -- https://broker.example FEED_KEY_THUMBPRINT manifest.json keys.json frame.jwt \
//!     '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_ledger","arguments":{"year":2026}}}' < pass
//! ```

#![allow(clippy::print_stdout, reason = "an example prints to its user")]

use std::{env, error::Error, fs, io};

use hallpass_verify::{KeyDocument, Manifest, Verifier, mcp::CallRequest};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [issuer, feed_key, manifest, keys, frame, message] = arguments.as_slice() else {
        return Err(
            "usage: verify_minimal ISSUER FEED_KEY MANIFEST KEYS FRAME MESSAGE < PASS".into(),
        );
    };
    let manifest = Manifest::from_json(&fs::read(manifest)?)?;
    let verifier = Verifier::builder(issuer.parse()?, feed_key, manifest).build();
    verifier.accept_key_document(&KeyDocument::from_json(&fs::read(keys)?)?)?;
    verifier.accept_frame(fs::read_to_string(frame)?.trim_end())?;

    let pass = verifier.verify(io::read_to_string(io::stdin())?.trim_end())?;
    let request = CallRequest::from_json_rpc(message.as_bytes())?;
    let permit = verifier.clear(&pass, &request.call())?;
    println!(
        "{} may call {} for {} until {}",
        permit.agent(),
        permit.name(),
        permit.task(),
        permit.valid_until()
    );
    println!(
        "what to execute: {}",
        String::from_utf8_lossy(request.bytes())
    );
    Ok(())
}
