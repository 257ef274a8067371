//! For holders: narrow a pass, hand it on, and prove possession of its key. Offline.
//!
//! A holder is an agent, a sub-agent, or the client of one. A pass that is not bound to a key is
//! narrowed with [`attenuate`]; one that is bound to a key is handed on with [`delegate`], and each
//! request with it carries a proof from [`sign_proof`].
//!
//! ```
//! use std::time::Duration;
//!
//! use hallpass_verify::{
//!     Clock as _, SystemClock,
//!     holder::{AttenuateError, Narrowing, PassToken, attenuate},
//! };
//!
//! /// The pass for a sub-agent that only reads, for a minute.
//! fn for_reading(own: &PassToken) -> Result<PassToken, AttenuateError> {
//!     let mut narrowing = Narrowing::default();
//!     narrowing.read_only = true;
//!     narrowing.expires_at = Some(SystemClock::default().now().plus(Duration::from_secs(60)));
//!     Ok(attenuate(own, &narrowing)?.token)
//! }
//! ```

use std::fmt;

use crate::{Denial, KeyDocument, genuine::verify_signatures};
use hallpass_core::{
    base::{
        digest::Digest,
        holder::HolderKey,
        ids::{AgentId, RevocationId, TaskId},
        time::Timestamp,
    },
    possession::{self, ProofContent},
    token::{self, UnverifiedPass, VerifiedPass},
};

pub use hallpass_core::{
    base::{jws::JwsError, key::PrivateKey},
    possession::call_digest,
    token::{
        AttenuateError, Attenuated, BlockSummary, ClaimsSummary, DelegateError, DelegationSummary,
        GrantedDetail, Left, Narrowing, PassToken, ProfileError, Summary, attenuate,
        constraint::{Constraint, Scalar},
        rights::{AuthorizationDetail, DetailType},
    },
};

/// Shows the content of a token, block by block, as text. Its signatures are **not** checked.
///
/// # Errors
///
/// Refuses text that is not a token inside the profile.
pub fn inspect(token: &PassToken) -> Result<Summary, ProfileError> {
    UnverifiedPass::parse(token.expose()).map(|pass| pass.dangerous_unverified_summary())
}

/// Checks that the broker of `document` signed `token`, and nothing else: neither revocation nor time
/// nor audience.
///
/// A holder checks this before it hands a pass on, and never in order to allow a call: a
/// [`Verifier`](crate::Verifier) does that. The document is unsigned: get it from the broker, over
/// https.
///
/// # Errors
///
/// Refuses a token outside the profile, one that none of the document's keys signed, and one that
/// another broker issued.
pub fn check_signatures(document: &KeyDocument, token: &PassToken) -> Result<SignedPass, Denial> {
    verify_signatures(document.read(), token.expose()).map(SignedPass)
}

/// A pass of which only the signatures were checked.
///
/// It cannot be used to allow a call: a [`Verifier`](crate::Verifier) clears what it verified itself.
///
/// ```compile_fail,E0308
/// use hallpass_verify::{Call, Verifier, holder::SignedPass};
///
/// fn allow(verifier: &Verifier, pass: &SignedPass) {
///     verifier.clear(pass, &Call::tool("read_ledger", None)).unwrap();
/// }
/// ```
pub struct SignedPass(VerifiedPass);

impl SignedPass {
    /// The task that it was issued for.
    #[must_use]
    pub const fn task(&self) -> &TaskId {
        &self.0.claims().task
    }

    /// The agent that it was issued to.
    #[must_use]
    pub const fn agent(&self) -> &AgentId {
        &self.0.claims().agent
    }

    /// The ids of the token's blocks, block 0 first.
    #[must_use]
    pub fn chain(&self) -> &[RevocationId] {
        self.0.blocks()
    }

    /// The key that it is bound to now; `None` for a pass that is not bound to a key.
    #[must_use]
    pub fn holder(&self) -> Option<&HolderKey> {
        self.0.holder().map(token::HolderChain::leaf)
    }

    /// When it ends, every narrowing that hallpass wrote included.
    #[must_use]
    pub const fn valid_until(&self) -> Timestamp {
        self.0.valid_until()
    }

    /// Whether it may be handed on once more.
    #[must_use]
    pub fn may_be_handed_on(&self) -> bool {
        self.0.may_be_handed_on()
    }
}

impl fmt::Debug for SignedPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The recipient of a delegated pass, and the rights that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delegation {
    /// The delegate's name, for the audit trail. Only the delegating holder vouches for it.
    pub agent: AgentId,
    /// The delegate's key: the only one that can use the result.
    pub key: HolderKey,
    /// The restrictions of the delegate; an empty one keeps all rights.
    pub narrowing: Narrowing,
    /// How many more times it may be handed on.
    pub may_delegate: u8,
    /// Whether the result can be used and neither narrowed nor handed on.
    pub use_only: bool,
}

impl Delegation {
    /// Delegates all rights to `agent`, which may not hand the pass on.
    #[must_use]
    pub fn new(agent: AgentId, key: HolderKey) -> Self {
        Self {
            agent,
            key,
            narrowing: Narrowing::default(),
            may_delegate: 0,
            use_only: false,
        }
    }
}

/// Hands `pass` on: appends a block, signed with the holder's key, that names the delegate and its key.
///
/// Needs no network. The result can be used with the delegate's key only; the pass itself stays with
/// its holder. Revoke the last of the result's block ids to end the delegation and all below it.
///
/// # Errors
///
/// See [`DelegateError`]. On an error nothing is appended.
pub fn delegate(
    pass: &SignedPass,
    holder: &PrivateKey,
    delegation: &Delegation,
) -> Result<Attenuated, DelegateError> {
    let delegation = token::Delegation {
        agent: delegation.agent.clone(),
        key: delegation.key.clone(),
        narrowing: delegation.narrowing.clone(),
        may_delegate: delegation.may_delegate,
        use_only: delegation.use_only,
    };
    token::delegate(&pass.0, holder, &delegation)
}

/// The content of a proof of possession (RFC 9449) for one request.
#[derive(Clone)]
#[non_exhaustive]
pub struct Proof<'p> {
    /// The pass, as it will be presented.
    pub token: &'p PassToken,
    /// The request's HTTP method.
    pub method: &'p str,
    /// The request's URL; query and fragment do not count.
    pub url: &'p str,
    /// When the request is made.
    pub now: Timestamp,
    /// The nonce from the server's last `DPoP-Nonce` header.
    pub nonce: Option<&'p str>,
    /// The digest of the one call that the proof is valid for, from [`call_digest`].
    pub call: Option<Digest>,
}

impl<'p> Proof<'p> {
    /// A proof for a POST to `url`, which is how MCP sends messages, without nonce and for any call.
    #[must_use]
    pub const fn new(token: &'p PassToken, url: &'p str, now: Timestamp) -> Self {
        Self {
            token,
            method: "POST",
            url,
            now,
            nonce: None,
            call: None,
        }
    }
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("method", &self.method)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Signs a proof of possession with an Ed25519 key, for the `DPoP` header of one request.
///
/// # Errors
///
/// Only when the claims cannot be written as JSON.
///
/// ```
/// # use hallpass_verify::{Timestamp, holder::{JwsError, PassToken, PrivateKey, Proof, sign_proof}};
/// # fn example(key: &PrivateKey, token: &PassToken, now: Timestamp) -> Result<(), JwsError> {
/// let proof = sign_proof(key, &Proof::new(token, "https://ledger.example/mcp", now))?;
/// let headers = [("Authorization", format!("DPoP {}", token.expose())), ("DPoP", proof)];
/// # Ok(())
/// # }
/// ```
pub fn sign_proof(key: &PrivateKey, proof: &Proof<'_>) -> Result<String, JwsError> {
    let content = ProofContent {
        token: proof.token.expose(),
        method: proof.method,
        url: proof.url,
        now: proof.now,
        nonce: proof.nonce,
        call: proof.call,
    };
    possession::sign_proof(key, &content)
}
