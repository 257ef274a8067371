//! Received passes: parsed, then verified, then evaluated for one call.

use std::{collections::BTreeSet, fmt, sync::OnceLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use biscuit_auth::{builder::Check, format::SerializedBiscuit};

use crate::{
    base::{
        ReasonCode,
        digest::Digest,
        ids::{KeyId, RevocationId},
        key::PublicKey,
        text::quote,
        time::Timestamp,
    },
    token::{
        HolderChain, MAX_EVALUATION_TIME, MAX_TOKEN_BYTES, PassClaims, PassError, ProfileError,
        RequestFacts,
        depth::max_delegations,
        engine::{Answer, At, Engine},
        keys,
        limits::MAX_TEXT_BYTES,
        profile,
        shape::Shape,
        short::shortened,
        wire::Wire,
    },
};

/// A token that is inside the profile and whose signatures were not checked: trust nothing in it.
///
/// Its claims are not accessible before [`UnverifiedPass::verify`]:
///
/// ```compile_fail,E0599
/// fn trust(pass: &crate::token::UnverifiedPass) -> &crate::token::PassClaims {
///     pass.claims()
/// }
/// ```
pub struct UnverifiedPass {
    bytes: Vec<u8>,
    wire: Wire,
}

impl UnverifiedPass {
    /// Decodes a token's text and checks it against the structural profile.
    ///
    /// # Errors
    ///
    /// Refuses text that is not base64url without padding, is longer than the limit, or is outside the
    /// profile (`docs/token-format.md`).
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        if text.len() > MAX_TOKEN_BYTES.div_ceil(3).saturating_mul(4) {
            return Err(ProfileError::TooLarge);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| ProfileError::Malformed)?;
        let wire = profile::admit(&bytes)?;
        Ok(Self { bytes, wire })
    }

    /// The root key's number, from outside the signature: a hint for picking the key.
    #[must_use]
    pub fn key_hint(&self) -> Option<KeyId> {
        self.wire.key_hint()
    }

    /// Checks every signature against `key` and reads block 0.
    ///
    /// # Errors
    ///
    /// Refuses a signature that does not match, and an invalid block 0.
    pub fn verify(self, key: &PublicKey) -> Result<VerifiedPass, PassError> {
        let key = keys::to_biscuit(key).ok_or(PassError::Signature)?;
        SerializedBiscuit::from_slice(&self.bytes, key).map_err(|_| PassError::Signature)?;
        let claims = PassClaims::read(&self.wire)?;
        let blocks = self.wire.revocation_ids();
        if blocks.len() != self.wire.block_count() {
            return Err(PassError::Signature);
        }
        let engine = Engine::load(&self.wire).map_err(|_| PassError::Checks)?;
        let (valid_until, foreign_times) = times(&self.wire, claims.expires_at);
        let holder = HolderChain::read(&self.wire, &claims)?;
        let hops = holder.as_ref().map_or(0, |chain| chain.hops().len());
        let is_too_deep = hops > 0 && max_delegations(&self.wire).is_some_and(|most| hops > most);
        Ok(VerifiedPass {
            wire: self.wire,
            claims,
            blocks,
            engine,
            valid_until,
            foreign_times,
            holder,
            is_too_deep,
            demands: OnceLock::new(),
        })
    }

    pub(super) const fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.wire.is_sealed()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl fmt::Debug for UnverifiedPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedPass")
            .field("blocks", &self.wire.block_count())
            .finish_non_exhaustive()
    }
}

/// A pass whose signatures were verified. Revocation, time and rights are checked separately.
pub struct VerifiedPass {
    wire: Wire,
    claims: PassClaims,
    blocks: Vec<RevocationId>,
    engine: Engine,
    valid_until: Timestamp,
    foreign_times: Vec<At>,
    holder: Option<HolderChain>,
    is_too_deep: bool,
    demands: OnceLock<BTreeSet<Digest>>,
}

impl VerifiedPass {
    /// The content of block 0.
    #[must_use]
    pub const fn claims(&self) -> &PassClaims {
        &self.claims
    }

    /// Every block's id, block 0 first. Revoking any of them ends this pass.
    #[must_use]
    pub fn blocks(&self) -> &[RevocationId] {
        &self.blocks
    }

    /// When it ends, including every narrowing that hallpass wrote. Checks that others wrote may end it
    /// earlier.
    #[must_use]
    pub const fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// The digests of block 0's checks, time checks excluded. Pass A is no stricter than pass B if A's
    /// set is a subset of B's.
    #[must_use]
    pub fn demands(&self) -> &BTreeSet<Digest> {
        let checks = || (0..self.wire.checks(0).len()).map(|at| self.wire.check(0, at));
        let demand = |check: Option<Check>| match check {
            Some(check) => {
                let is_time = matches!(Shape::of(&check), Shape::Time { .. });
                // SECURITY: not as printed Datalog, which is not escaped: two checks could print alike.
                (!is_time).then(|| Digest::of(format!("{check:?}").as_bytes()))
            }
            // A check that cannot be read again equals no other.
            None => Some(Digest::of(&self.wire.bytes())),
        };
        self.demands
            .get_or_init(|| checks().filter_map(demand).collect())
    }

    /// Whether the time checks that hallpass did not write hold at `now`.
    pub fn is_in_foreign_time(&self, now: Timestamp) -> bool {
        self.foreign_times.is_empty()
            || self
                .engine
                .ask_those(
                    |at| self.foreign_times.contains(&at),
                    MAX_EVALUATION_TIME,
                    |telling| RequestFacts::tell_time(now, telling),
                )
                .is_ok_and(|answer| answer == Answer::default())
    }

    /// Whether it was handed on more often than one of its blocks allows.
    pub const fn is_too_deep(&self) -> bool {
        self.is_too_deep
    }

    /// Whether it is sealed: usable, but not narrowable.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.wire.is_sealed()
    }

    /// The keys that it is bound to; `None` for a bearer pass.
    #[must_use]
    pub const fn holder(&self) -> Option<&HolderChain> {
        self.holder.as_ref()
    }

    /// The most that the checks of its appended blocks cost for each call, in units of up to
    /// 35 nanoseconds: the profile allows 100,000.
    #[must_use]
    pub const fn cost(&self) -> usize {
        self.wire.cost()
    }

    pub(super) const fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Whether the audience and the rights of block 0 allow this: the first check of every call.
    pub fn names(&self, request: &RequestFacts<'_>) -> bool {
        self.claims.audience.contains(request.me) && request.is_named_by(&self.claims.rights)
    }

    /// Checks the audience and the rights, which only block 0 can give.
    fn refusals_of_block_0(&self, request: &RequestFacts<'_>) -> Vec<FailedCheck> {
        let mut refusals = Vec::new();
        // The audience first: it explains the other refusals.
        if !self.claims.audience.contains(request.me) {
            refusals.push(FailedCheck::of_block_0(
                ReasonCode::Audience,
                "the pass is for another server",
            ));
        }
        if !request.is_named_by(&self.claims.rights) {
            refusals.push(FailedCheck::of_block_0(
                ReasonCode::NotGranted,
                "the pass does not name it",
            ));
        }
        refusals
    }

    /// A check as text. Expensive, so only for one that refuses.
    fn shape(&self, (block, index): At) -> Option<Shape> {
        self.wire.check(block, index).map(|check| Shape::of(&check))
    }
}

/// Evaluates the audience, the rights of block 0 and every check of every block for one call, within `max_time`.
///
/// SECURITY: it does not check revocation, the age of the feed or possession: the caller of this function states
/// the facts of the request. So it is not a method of the pass, which servers hold; a verifier clears calls.
#[must_use]
pub fn evaluate(pass: &VerifiedPass, max_time: Duration, request: &RequestFacts<'_>) -> Evaluation {
    if request.arguments.too_many() && pass.engine.mentions("arg") {
        let detail = format!(
            "more than {} arguments, or a name that is too long",
            crate::token::MAX_ARGUMENTS
        );
        return Evaluation::Refused(vec![FailedCheck {
            block: None,
            code: ReasonCode::ArgumentCount,
            detail,
        }]);
    }
    if request.arguments.leaves_out() && pass.engine.looks_at_any_argument() {
        let detail =
            "an argument that cannot be checked, and a check that covers every argument".to_owned();
        return Evaluation::Refused(vec![FailedCheck {
            block: None,
            code: ReasonCode::ArgumentConstraint,
            detail,
        }]);
    }
    if request.name.len() > MAX_TEXT_BYTES {
        // No right names it, and no check needs it.
        return Evaluation::Refused(vec![FailedCheck::of_block_0(
            ReasonCode::NotGranted,
            "its name is too long",
        )]);
    }
    let Ok(answer) = pass.engine.ask(max_time, |telling| {
        request.tell(telling, pass.holder.as_ref())
    }) else {
        return Evaluation::Fault(EvaluationFault::RunLimit);
    };
    let mut refusals = pass.refusals_of_block_0(request);
    for at in answer.failed {
        let shape = pass.shape(at);
        let mistyped = shape
            .as_ref()
            .and_then(|shape| mistyped(shape, at, request));
        refusals.push(mistyped.unwrap_or_else(|| explain(shape.as_ref(), at, request)));
    }
    for at in answer.erred {
        // An argument whose type does not match the constraint on this call is a refusal.
        // Any other failed comparison is an evaluation error.
        match pass
            .shape(at)
            .and_then(|shape| mistyped(&shape, at, request))
        {
            Some(refusal) => refusals.push(refusal),
            None => return Evaluation::Fault(EvaluationFault::Engine),
        }
    }
    let expired = |refusal: &FailedCheck| refusal.code == ReasonCode::Expired;
    if request.time >= pass.claims.expires_at && !refusals.iter().any(expired) {
        // Block 0 has a check for this too; a pass that was made without it must still expire.
        refusals.push(FailedCheck::of_block_0(
            ReasonCode::Expired,
            format!("valid until {}", pass.claims.expires_at),
        ));
    }
    if refusals.is_empty() {
        Evaluation::Allowed
    } else {
        Evaluation::Refused(refusals)
    }
}

fn explain(shape: Option<&Shape>, (block, _): At, request: &RequestFacts<'_>) -> FailedCheck {
    let (code, detail) = match shape {
        Some(shape) => (shape.code(request.time), shortened(shape)),
        None => (ReasonCode::Attenuation, "a check".to_owned()),
    };
    FailedCheck {
        block: Some(block),
        code,
        detail,
    }
}

/// The refusal, when the check is a constraint on this call whose argument is present and
/// of the wrong type.
fn mistyped(shape: &Shape, (block, _): At, request: &RequestFacts<'_>) -> Option<FailedCheck> {
    let Shape::Constraint {
        pointer,
        constraint,
        ..
    } = shape
    else {
        return None;
    };
    let found = request.arguments.scalar(pointer.as_str())?;
    let wanted = constraint.type_name();
    if !shape.concerns(request.me, request.kind, request.name) || found.type_name() == wanted {
        return None;
    }
    let detail = shortened(format_args!(
        "argument `{}` must be of type {wanted}",
        quote(pointer.as_str())
    ));
    Some(FailedCheck {
        block: Some(block),
        code: ReasonCode::ArgumentType,
        detail,
    })
}

impl fmt::Debug for VerifiedPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedPass")
            .field("claims", &self.claims)
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

/// The result of the evaluation of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum Evaluation {
    /// Every check holds and a right names the call.
    Allowed,
    /// Refused, with every reason.
    Refused(Vec<FailedCheck>),
    /// It could not be evaluated: the caller must refuse.
    Fault(EvaluationFault),
}

/// Why the evaluation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvaluationFault {
    /// The engine exceeded its limits.
    RunLimit,
    /// The engine could not evaluate a check, for instance one that compares values of two types.
    Engine,
}

/// One reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedCheck {
    /// The block that refused; `None` when no block did.
    pub block: Option<usize>,
    /// The stable reason code.
    pub code: ReasonCode,
    /// The explanation, for people.
    pub detail: String,
}

impl FailedCheck {
    fn of_block_0(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self {
            block: Some(0),
            code,
            detail: detail.into(),
        }
    }
}

/// The end by the time checks that hallpass wrote, and the other time checks, which the engine
/// evaluates.
fn times(wire: &Wire, expires_at: Timestamp) -> (Timestamp, Vec<At>) {
    let (mut valid_until, mut foreign) = (expires_at, Vec::new());
    for ((block, index), check) in wire
        .every_check()
        .filter(|((block, _), check)| wire.is_about_time(*block, check))
    {
        match wire.check(block, index).map(|check| Shape::of(&check)) {
            Some(Shape::Time { until, .. }) => valid_until = valid_until.min(until),
            _ if wire.is_only_about_time(block, check) => foreign.push((block, index)),
            _ => {}
        }
    }
    (valid_until, foreign)
}
