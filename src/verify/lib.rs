//! Verifying passes and clearing calls, offline.
//!
//! To **verify** is to check a token's bytes; to **clear** is to allow one call. A [`Verifier`]
//! does both from memory: it performs no I/O, reads time from the clock it is given, and learns
//! keys and revocations from signed frames that somebody hands it (feature
//! `feed` does). While its newest frame is older than the staleness bound it refuses
//! everything.
//!
//! ```
//! use hallpass_verify::{Call, Denial, Verifier};
//!
//! fn serve(verifier: &Verifier, bearer: &str, arguments: &serde_json::Value) -> Result<(), Denial> {
//!     let pass = verifier.verify(bearer)?;
//!     let permit = verifier.clear(&pass, &Call::tool("read_ledger", Some(arguments)))?;
//!     println!("{} for task {}", permit.agent(), permit.task());
//!     Ok(())
//! }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
pub mod broker_side;
mod builder;
#[cfg(feature = "feed")]
#[cfg_attr(docsrs, doc(cfg(feature = "feed")))]
pub mod feed;
mod genuine;
pub mod holder;
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
        holder::{HolderKey, P256Key},
        ids::{AgentId, IdError, IssuerUri, KeyId, RevocationId, ServerUri, StewardId, TaskId},
        json::JsonError,
        key::{PublicJwk, PublicKey},
        time::{Clock, SystemClock, Timestamp},
        trace::TraceParent,
    },
    possession::Presented,
    token::{Call, Hop, manifest::Manifest, rights::Kind},
    wire::document::{KeyDocument, RootKeyEntry},
};
pub use permit::{Denial, Fault, Permit, Refusal, RefusingHop};
pub use reporting::ReportSink;
pub use state::{FrameError, Memory};
pub use verifier::{Pass, Verifier};

/// What a server offers: the parts of a [`Manifest`].
pub mod manifest {
    pub use hallpass_core::{
        base::ids::{ServerName, ToolName},
        token::{
            manifest::{Capabilities, Prompt, ResourceRoot, Tool},
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
