//! Verifies hallpass passes in your MCP server, offline: no call asks the broker.
//!
//! - Every call that reaches a tool was allowed by a pass: this tool, these arguments, this task, now.
//! - A revoked pass is refused within seconds, and everything is refused when the broker is silent.
//! - Each refusal says which block of the pass refused and why; each allowed call has a [`Permit`]
//!   with the agent, its task and the person for whom it acts.
//!
//! # A guarded server
//!
//! With the features `feed` and `tower`. `server` is an axum `Router`, rmcp's
//! `StreamableHttpService` or any other service that speaks MCP over streamable HTTP.
//!
//! ```
//! # #[cfg(all(feature = "feed", feature = "tower"))]
//! # mod example {
//! use std::{error::Error, fs, sync::Arc};
//!
//! use hallpass_verify::{
//!     IssuerUri, Manifest, Verifier,
//!     feed::{FeedClient, FeedHandle, load_memory},
//!     tower::{HallpassLayer, HallpassService},
//! };
//! use tower_layer::Layer as _;
//!
//! fn guard<S>(server: S) -> Result<(HallpassService<S>, FeedHandle), Box<dyn Error>> {
//!     let broker = "https://broker.example";
//!     let issuer: IssuerUri = broker.parse()?;
//!     let manifest = Manifest::from_json(&fs::read("ledger.json")?)?;
//!     let memory = load_memory("feed-state.json", &issuer, &manifest.server)?;
//!     let verifier = Verifier::builder(issuer, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", manifest);
//!     let verifier = Arc::new(verifier.memory(memory).build());
//!
//!     let token = fs::read_to_string("verifier.token")?;
//!     let client = FeedClient::builder(Arc::clone(&verifier), broker, token.trim_end());
//!     let feed = client.state_file("feed-state.json").build()?.spawn();
//!     Ok((HallpassLayer::new(verifier).layer(server), feed))
//! }
//! # }
//! ```
//!
//! Keep the [`FeedHandle`](feed::FeedHandle): dropping it stops the feed. In a handler, the
//! [`Permit`] is in the extensions of the HTTP request.
//!
//! # Where each input comes from
//!
//! | input | command on the broker's side |
//! | --- | --- |
//! | issuer, feed key thumbprint | `hallpass keys show-pin` prints both |
//! | manifest | `hallpass server show ledger --json`, member `manifest`. With `feed`, [`Manifest::new`] is enough: the first frame contains the registered one |
//! | verifier token | `hallpass operator add ledger-verifier --role verifier --server ledger --ttl 90d --token-out verifier.token` |
//! | state file | the feed client writes it; keep it over restarts |
//!
//! # Features
//!
//! | feature | adds | dependencies |
//! | --- | --- | --- |
//! | none | [`Verifier`], [`mcp`], [`holder`] | no I/O, no runtime |
//! | `feed` | [`feed`]: keys, manifest and revocations from the broker; decision reports to it | tokio, reqwest |
//! | `tower` | [`tower`]: a layer for axum, rmcp and hyper | `http`, `http-body`, `tower-service` |
//!
//! None is on by default, and none changes a decision.
//!
//! # Without the layer
//!
//! A stdio server, or one with a transport of its own, reads each message with [`mcp`] and executes
//! the bytes that were decided:
//!
//! ```
//! use hallpass_verify::{Pass, Verifier, mcp::CallRequest};
//!
//! fn call(verifier: &Verifier, pass: &Pass, received: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//!     let request = CallRequest::from_json_rpc(received)?;
//!     let permit = verifier.clear(pass, &request.call())?;
//!     println!("{} calls {} for {}", permit.agent(), permit.name(), permit.task());
//!     Ok(request.bytes().to_vec())
//! }
//! ```
//!
//! # The model
//!
//! - To **verify** is to check a token: structure, signatures, issuer, holder chain, revocation. It
//!   gives a [`Pass`]. To **clear** is to decide one call: revocation again, time, audience, rights,
//!   argument limits, every narrowing. It gives a [`Permit`], which nothing else makes.
//! - A **refusal** is a no with every reason ([`Refusal`], [`ReasonCode`]). A **fault** means that
//!   nothing can be decided now ([`Fault`]). Both are a [`Denial`], and both fail closed.
//! - **Staleness.** The broker sends the verifier signed frames, with a heartbeat every 5 seconds.
//!   When the newest frame is older than the [bound](DEFAULT_STALENESS_BOUND) of 60 seconds, every
//!   decision is a fault. A new verifier refuses everything until its first frame.
//! - **Revocation** is checked at every call, not only when a token is verified: by token, task,
//!   agent, steward, server and key. A stream ends with its pass.
//! - **Possession.** A pass that is bound to a key is accepted only with a proof by that key (DPoP, RFC
//!   9449): [`Verifier::verify_with_proof`]. The layer does this by itself.
//! - **The manifest** says which tools are read-only, and which arguments are paths or URLs. Statements
//!   of a server or a caller at run time are not trusted.
//!
//! A verifier performs no I/O and reads time from the [`Clock`] that it is given. It makes no
//! statement about what a tool does with an allowed call.
//!
//! Signatures name types of `serde_json` 1 and, with the feature `tower`, of `bytes` 1, `http` 1,
//! `http-body` 1, `tower-layer` 0.3 and `tower-service` 0.3. Private keys come in `zeroize` 1.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
pub mod broker_side;
mod builder;
#[cfg(feature = "feed")]
#[cfg_attr(docsrs, doc(cfg(feature = "feed")))]
pub mod feed;
mod genuine;
pub mod holder;
mod key_document;
pub mod mcp;
mod permit;
mod reporting;
mod revocations;
mod state;
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub mod tower;
mod verifier;
mod with_proof;

pub use builder::{DEFAULT_STALENESS_BOUND, VerifierBuilder};
pub use hallpass_core::{
    base::{
        ReasonCode,
        digest::Digest,
        format::Format,
        holder::{HolderKey, P256Key},
        ids::{AgentId, IdError, IssuerUri, KeyId, RevocationId, ServerUri, StewardId, TaskId},
        json::JsonError,
        key::{PublicJwk, PublicKey},
        time::{Clock, SystemClock, Timestamp},
        trace::TraceParent,
    },
    possession::Presented,
    token::{Call, Hop, manifest::Manifest, rights::Kind},
    wire::DocumentError,
};
pub use key_document::KeyDocument;
pub use permit::{Denial, Fault, Permit, Refusal, RefusingHop};
pub use reporting::ReportSink;
pub use state::{FrameError, Memory};
pub use verifier::{Pass, Verifier};

/// The parts of a [`Manifest`].
pub mod manifest {
    pub use hallpass_core::{
        base::ids::{ServerName, ToolName},
        token::{
            manifest::{Prompt, ResourceRoot, Tool},
            path::{Pointer, ResourceTree},
        },
    };
}

/// Decision reports: what a [`ReportSink`] receives.
pub mod report {
    pub use hallpass_core::{
        base::ids::ReportId,
        wire::report::{CallMethod, CallReport, CalledName, Decision, ReportedCall, ReportedHop},
    };
}
