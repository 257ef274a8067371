//! The verifier of one MCP server.

use std::{
    fmt,
    sync::{Arc, RwLock, RwLockReadGuard},
    time::Duration,
};

use quick_cache::{Weighter, sync::Cache};

use crate::{
    Denial, Fault, FrameError, KeyDocument, Memory, Permit, Refusal,
    genuine::{genuine, refuse_foreign, unknown_key},
    revocations::LATE_ANSWER,
    state::State,
};
use hallpass_core::base::sync::RwLockExt as _;
use hallpass_core::{
    base::{
        ReasonCode,
        digest::Digest,
        holder::HolderKey,
        ids::{AgentId, IssuerUri, KeyId, RevocationId, ServerUri, StewardId, TaskId},
        key::PublicKey,
        text::quote,
        time::{Clock, Timestamp},
    },
    possession::{self, Nonces, ReplayGuard},
    token::{
        Arguments, CLOCK_SKEW_SECONDS, Call, Evaluation, EvaluationFault, HolderChain, Hop,
        MAX_PASS_BYTES, RequestFacts, VerifiedPass, evaluate, manifest::Manifest, rights::Kind,
    },
};

/// Verifies passes and clears calls for one MCP server, from memory.
///
/// Cheap to share behind an [`Arc`]; every method takes `&self`.
pub struct Verifier {
    pub(super) issuer: IssuerUri,
    pub(super) server: ServerUri,
    pub(super) feed_key_pin: String,
    pub(super) staleness_bound: Duration,
    pub(super) max_evaluation_time: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) state: RwLock<State>,
    pub(super) signatures: Cache<Digest, Arc<Signed>, ByLength>,
    /// The accepted URLs of proofs of possession, in comparable form.
    pub(super) endpoints: Vec<String>,
    pub(super) nonces: Option<Nonces>,
    pub(super) proofs: ReplayGuard,
}

/// A pass with valid signatures, and the key that signed it.
#[derive(Debug)]
pub(super) struct Signed {
    pass: VerifiedPass,
    key: (KeyId, PublicKey),
    text_bytes: usize,
}

/// The weight of a cached token: its length, since the cached data grows with it.
#[derive(Debug, Clone)]
pub(super) struct ByLength;

impl Weighter<Digest, Arc<Signed>> for ByLength {
    fn weight(&self, _: &Digest, signed: &Arc<Signed>) -> u64 {
        // Every entry has a fixed overhead.
        u64::try_from(signed.text_bytes.max(MAX_PASS_BYTES)).unwrap_or(u64::MAX)
    }
}

/// A pass that was verified by a [`Verifier`]. It may be revoked or expire at any moment: both are
/// checked again whenever a call is cleared.
#[derive(Clone)]
pub struct Pass {
    signed: Arc<Signed>,
    /// The call that the holder's proof names, if any.
    pub(super) proven_call: Option<Digest>,
}

impl Pass {
    /// The broker that issued it.
    #[must_use]
    pub fn issuer(&self) -> &IssuerUri {
        &self.verified().claims().issuer
    }

    /// The task that it was issued for.
    #[must_use]
    pub fn task(&self) -> &TaskId {
        &self.verified().claims().task
    }

    /// The agent that it was issued to.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.verified().claims().agent
    }

    /// The person for whom the agent acts; see [`Permit::steward`].
    #[must_use]
    pub fn steward(&self) -> &StewardId {
        &self.verified().claims().steward
    }

    /// The ids of the token's blocks, block 0 first. Revoking any of them ends this pass.
    #[must_use]
    pub fn chain(&self) -> &[RevocationId] {
        self.verified().blocks()
    }

    /// The delegates, as each holder before signed; empty for a pass that was not handed on.
    #[must_use]
    pub fn delegates(&self) -> &[Hop] {
        self.verified().holder().map_or(&[], HolderChain::hops)
    }

    /// The key that it is bound to now; `None` for a pass that is not bound to a key.
    #[must_use]
    pub fn holder(&self) -> Option<&HolderKey> {
        self.verified().holder().map(HolderChain::leaf)
    }

    /// When it ends, every narrowing that hallpass wrote included.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.verified().valid_until()
    }

    /// The claims, for the broker's own crates.
    pub(crate) fn verified(&self) -> &VerifiedPass {
        &self.signed.pass
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.signed.pass.fmt(f)
    }
}

impl Verifier {
    /// Checks a token's bytes: structure, signatures, issuer, holder chain, revocation.
    ///
    /// A pass that is bound to a key is refused: it needs [`verify_with_proof`](Self::verify_with_proof).
    ///
    /// Checked signatures are cached by the token's digest; everything else is checked each time.
    ///
    /// # Errors
    ///
    /// A refusal with every reason; a fault when the newest frame from the broker is too old.
    pub fn verify(&self, token: &str) -> Result<Pass, Denial> {
        let pass = self.verify_without_possession(token)?;
        if pass.verified().holder().is_some() {
            let detail = "the pass is bound to a key: present it with a proof of possession (DPoP)";
            return Err(Denial::because(ReasonCode::ProofRequired, detail));
        }
        Ok(pass)
    }

    /// How long `pass` may still be used here: checks revocation, time and audience, but no call.
    ///
    /// For requests without a call, such as `initialize` or `tools/list`, and for streams.
    ///
    /// # Errors
    ///
    /// A refusal with every reason; a fault when it cannot be decided.
    pub fn admit(&self, pass: &Pass) -> Result<Duration, Denial> {
        let state = self.current_state()?;
        self.refuse_revoked(pass, &state)?;
        let now = state.time(&*self.clock);
        drop(state);
        let (verified, claims) = (pass.verified(), pass.verified().claims());
        let begins = claims
            .issued_at
            .minus(Duration::from_secs(CLOCK_SKEW_SECONDS));
        let reasons = [
            (
                now < begins,
                ReasonCode::NotYetValid,
                "the pass is not valid yet",
            ),
            (
                now >= verified.valid_until(),
                ReasonCode::Expired,
                "the pass has ended",
            ),
            (
                !verified.is_in_foreign_time(now),
                ReasonCode::Expired,
                "a narrowing in time does not hold",
            ),
            (
                !claims.audience.contains(&self.server),
                ReasonCode::Audience,
                "the pass is for another server",
            ),
            (
                verified.is_too_deep(),
                ReasonCode::DelegationDepth,
                "handed on more often than a block allows",
            ),
        ];
        let refusals: Vec<_> = reasons
            .into_iter()
            .filter(|(refuses, ..)| *refuses)
            .map(|(_, code, detail)| Refusal::new(code, None, detail))
            .collect();
        if refusals.is_empty() {
            Ok(verified.valid_until().since(now))
        } else {
            Err(Denial::Refused(refusals))
        }
    }

    /// Whether the answer to a call that was cleared with `pass` may be sent, also when the pass has expired since.
    ///
    /// # Errors
    ///
    /// A refusal when the pass, its task, agent, steward, server or key is revoked, or when it expired more than an hour
    /// ago; a fault when the verifier is stale.
    pub(super) fn admit_answer(&self, pass: &Pass) -> Result<(), Denial> {
        let state = self.current_state()?;
        self.refuse_revoked(pass, &state)?;
        let (now, end) = (state.time(&*self.clock), pass.verified().valid_until());
        // SECURITY: a snapshot leaves out revocations that have expired, as the pass has by then.
        let is_unknown = now >= end && state.snapshot_at >= end;
        if is_unknown || now >= end.plus(LATE_ANSWER) {
            let detail =
                "the pass ended before the call did, and its revocation can no longer be checked";
            return Err(Denial::because(ReasonCode::Expired, detail));
        }
        Ok(())
    }

    /// Decides one call: revocation, time, audience, rights, constraints, every narrowing.
    ///
    /// # Errors
    ///
    /// A refusal with every reason and the block that refused; a fault when it cannot be decided.
    pub fn clear(&self, pass: &Pass, call: &Call<'_>) -> Result<Permit, Denial> {
        let state = self.current_state()?;
        self.refuse_revoked(pass, &state)?;
        let (now, manifest) = (state.time(&*self.clock), Arc::clone(&state.manifest));
        // The holder controls the cost of a token, within the profile, so neither the feed nor other
        // calls may wait for it.
        drop(state);
        let (arguments, read_only) = self.in_manifest(call, &manifest)?;
        let call_proven = proves_call(pass, call)?;
        let request = self.request(call, &arguments, (now, read_only, call_proven));
        match evaluate(pass.verified(), self.max_evaluation_time, &request) {
            Evaluation::Allowed => Ok(self.permit(pass, call, now)),
            Evaluation::Refused(failed) => Err(Denial::Refused(
                failed
                    .into_iter()
                    .map(|failed| Refusal::of(pass.verified(), failed))
                    .collect(),
            )),
            Evaluation::Fault(EvaluationFault::RunLimit) => Err(Denial::Fault(Fault::RunLimit)),
            Evaluation::Fault(_) => Err(Denial::Fault(Fault::Evaluation)),
        }
    }

    /// Whether some call of `name` could be cleared now, with any arguments: decides whether a list of
    /// tools, prompts or resources shows it to the holder of `pass`.
    #[must_use]
    pub fn may_show(&self, pass: &Pass, kind: Kind, name: &str) -> bool {
        if !self.names(pass, kind, name) {
            return false;
        }
        let call = Call::new(kind, name, None);
        // The proof may name one call, which is not the listed one.
        let pass = &Pass {
            proven_call: None,
            ..pass.clone()
        };
        let about_arguments = |refusal: &Refusal| {
            matches!(
                refusal.code,
                ReasonCode::ArgumentConstraint
                    | ReasonCode::ArgumentNotAllowed
                    | ReasonCode::ArgumentType
                    | ReasonCode::CallProofRequired
            )
        };
        match self.clear(pass, &call) {
            Ok(_) => true,
            Err(Denial::Refused(refusals)) => refusals.iter().all(about_arguments),
            Err(Denial::Fault(_)) => false,
        }
    }

    /// Whether the pass is for this server and names this, without an evaluation of its checks.
    pub(super) fn names(&self, pass: &Pass, kind: Kind, name: &str) -> bool {
        let (call, arguments) = (Call::new(kind, name, None), Arguments::default());
        pass.verified().names(&self.request(
            &call,
            &arguments,
            (pass.verified().claims().issued_at, true, false),
        ))
    }

    /// Applies a signed frame from the broker atomically.
    ///
    /// # Errors
    ///
    /// See [`FrameError`]; after [`FrameError::Gap`] ask the broker for a snapshot.
    pub fn accept_frame(&self, text: &str) -> Result<(), FrameError> {
        let frame = self.state().verify_frame(text)?;
        let mut state = self.state.write_locked();
        state.accept(frame, (&self.issuer, &self.server), &*self.clock)?;
        self.proofs.begin(state.time(&*self.clock));
        Ok(())
    }

    /// Learns the feed keys that the broker's key document proves to those trusted now; to the pinned one
    /// when there are none yet, so that a retired key is not trusted again.
    ///
    /// # Errors
    ///
    /// When the document is from another broker, or has no chain from the pinned key.
    pub fn accept_key_document(&self, document: &KeyDocument) -> Result<(), FrameError> {
        let document = document.read();
        if document.iss != self.issuer {
            return Err(FrameError::Address);
        }
        let mut state = self.state.write_locked();
        let known: Vec<String> = state
            .memory()
            .feed_keys
            .iter()
            .map(PublicKey::thumbprint)
            .collect();
        let roots = if known.is_empty() {
            std::slice::from_ref(&self.feed_key_pin)
        } else {
            &known
        };
        let keys = document.feed_keys_from(&self.issuer, roots);
        if keys.is_empty() {
            return Err(document
                .newer_link()
                .map_or(FrameError::Signature, FrameError::from));
        }
        state.trust_feed_keys(&keys);
        Ok(())
    }

    /// The memory to keep across restarts; see [`VerifierBuilder::memory`](crate::VerifierBuilder::memory).
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.state().memory().clone()
    }

    /// Whether the newest frame from the broker is within the staleness bound.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.state().is_stale(&*self.clock, self.staleness_bound)
    }

    /// The number of revocations in memory.
    #[must_use]
    pub fn revocation_count(&self) -> usize {
        self.state().revocations.len()
    }

    /// The server of this verifier.
    #[must_use]
    pub const fn server(&self) -> &ServerUri {
        &self.server
    }

    /// The trusted broker.
    #[must_use]
    pub const fn issuer(&self) -> &IssuerUri {
        &self.issuer
    }

    /// The manifest in use.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        Manifest::clone(&self.state().manifest)
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        // State is replaced member by member only after every check passed; a panic between two
        // assignments cannot happen, so a poisoned lock still holds a sound state.
        self.state.read_locked()
    }

    /// The state, if the newest frame from the broker is within the staleness bound.
    fn current_state(&self) -> Result<RwLockReadGuard<'_, State>, Denial> {
        let state = self.state();
        if state.is_stale(&*self.clock, self.staleness_bound) {
            return Err(Denial::Fault(Fault::FeedStale));
        }
        Ok(state)
    }

    /// As [`verify`](Self::verify), and **without** a proof of possession of a bound pass.
    ///
    /// SECURITY: never clear a call with the result; a stolen token would be enough for it.
    pub(crate) fn verify_without_possession(&self, token: &str) -> Result<Pass, Denial> {
        drop(self.current_state()?);
        let pass = self.signed(token)?;
        refuse_foreign(pass.verified(), &self.issuer)?;
        self.refuse_revoked(&pass, &self.state())?;
        Ok(pass)
    }

    /// The pass, with its signatures checked now or from the cache. The state is not locked during the check.
    pub(super) fn signed(&self, token: &str) -> Result<Pass, Denial> {
        let digest = Digest::of(token.as_bytes());
        let root_key = |id: KeyId| self.state().root_key(id).copied();
        let current = |signed: &Signed| root_key(signed.key.0) == Some(signed.key.1);
        if let Some(signed) = self
            .signatures
            .get(&digest)
            .filter(|signed| current(signed))
        {
            return Ok(Pass {
                signed,
                proven_call: None,
            });
        }
        let (pass, key) = genuine(token, root_key)?;
        let signed = Arc::new(Signed {
            pass,
            key,
            text_bytes: token.len(),
        });
        self.signatures.insert(digest, Arc::clone(&signed));
        Ok(Pass {
            signed,
            proven_call: None,
        })
    }

    fn refuse_revoked(&self, pass: &Pass, state: &State) -> Result<(), Denial> {
        let (id, key) = pass.signed.key;
        // Before the key: a revoked key is no longer published.
        let mut refusals = state
            .revocations
            .refusals(pass.verified(), id, &self.server);
        refusals.extend(state.refuse_suspended_holders(pass.verified()));
        if !refusals.is_empty() {
            return Err(Denial::Refused(refusals));
        }
        if state.root_key(id) == Some(&key) {
            return Ok(());
        }
        Err(unknown_key())
    }

    /// The arguments as the manifest describes them, and whether the call is read-only.
    fn in_manifest(
        &self,
        call: &Call<'_>,
        manifest: &Manifest,
    ) -> Result<(Arguments, bool), Denial> {
        let known = match call.kind {
            Kind::Tool => call
                .name
                .parse()
                .ok()
                .and_then(|name| manifest.tools.get(&name))
                .map(|tool| {
                    (
                        Arguments::flatten(call.arguments, Some(tool)),
                        tool.read_only,
                    )
                }),
            Kind::Prompt => call
                .name
                .parse()
                .ok()
                .and_then(|name| manifest.prompts.get(&name))
                .map(|_| (Arguments::flatten(call.arguments, None), true)),
            Kind::Resource => Some((Arguments::default(), true)),
        };
        known.ok_or_else(|| {
            let name: String = call.name.chars().take(MAX_SHOWN_NAME).collect();
            let name = quote(&name);
            Denial::because(
                ReasonCode::NotInManifest,
                format!("the server's manifest has no {} `{name}`", call.kind),
            )
        })
    }

    fn request<'r>(
        &'r self,
        call: &Call<'r>,
        arguments: &'r Arguments,
        (time, read_only, call_proven): (Timestamp, bool, bool),
    ) -> RequestFacts<'r> {
        RequestFacts {
            time,
            me: &self.server,
            kind: call.kind,
            name: call.name,
            arguments,
            read_only,
            call_proven,
        }
    }

    fn permit(&self, pass: &Pass, call: &Call<'_>, now: Timestamp) -> Permit {
        let verified = pass.verified();
        let claims = verified.claims();
        Permit {
            server: self.server.clone(),
            kind: call.kind,
            name: call.name.to_owned(),
            task: claims.task.clone(),
            agent: claims.agent.clone(),
            steward: claims.steward.clone(),
            chain: verified.blocks().to_vec(),
            delegates: verified
                .holder()
                .map_or(&[][..], HolderChain::hops)
                .to_vec(),
            holder: verified.holder().map(|chain| chain.leaf().clone()),
            cleared_at: now,
            valid_until: verified.valid_until(),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Whether the holder's proof names this call; a proof that names another call is refused.
fn proves_call(pass: &Pass, call: &Call<'_>) -> Result<bool, Denial> {
    match pass.proven_call {
        None => Ok(false),
        Some(proven) if possession::call_digest(call) == Some(proven) => Ok(true),
        Some(_) => {
            let detail =
                "the proof is for another call: `hallpass_call` is not the digest of this one";
            Err(Denial::because(ReasonCode::ProofCall, detail))
        }
    }
}

/// Names of things are shown up to this many characters.
const MAX_SHOWN_NAME: usize = 128;
