//! Passes on the way in: unverified, then verified, then asked about one call.

use std::{collections::BTreeSet, fmt, sync::LazyLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit, error};

use super::{
    claims::{ClaimsError, PassClaims},
    constraint::{Constraint, Scalar},
    datalog, keys,
    profile::{self, MAX_TOKEN_BYTES, ProfileError},
    request::RequestFacts,
    shape::Shape,
    wire::Wire,
};
use crate::base::{
    ReasonCode,
    digest::Digest,
    ids::{KeyId, RevocationId},
    key::PublicKey,
    time::Timestamp,
};

/// A token that is inside the profile and whose signatures nobody has checked: believe nothing.
pub struct UnverifiedPass {
    bytes: Vec<u8>,
    digest: Digest,
    wire: Wire,
}

impl UnverifiedPass {
    /// Decodes a token's text and holds it against the structural profile.
    ///
    /// # Errors
    ///
    /// Refuses what is not base64url without padding, is larger than the cap, or is outside the
    /// profile (`docs/token-format.md`).
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        if text.len() > MAX_TOKEN_BYTES.div_ceil(3).saturating_mul(4) {
            return Err(ProfileError::TooLarge);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ProfileError::Malformed)?;
        let wire = profile::admit(&bytes)?;
        Ok(Self { bytes, digest: Digest::of(text.as_bytes()), wire })
    }

    /// The root key's number, from outside the signature: a hint for picking the key.
    #[must_use]
    pub fn key_hint(&self) -> Option<KeyId> {
        self.wire.key_hint()
    }

    /// SHA-256 over the text as presented: the key of a cache, never an identity.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Checks every signature against `key` and reads block 0.
    ///
    /// # Errors
    ///
    /// Refuses a signature that does not match, and a block 0 that is not that of a pass of format 1.
    pub fn verify(self, key: &PublicKey) -> Result<VerifiedPass, PassError> {
        let key = keys::to_biscuit(key).ok_or(PassError::Signature)?;
        let biscuit = Biscuit::from(&self.bytes, key).map_err(|_| PassError::Signature)?;
        let claims = PassClaims::read(&self.wire)?;
        let blocks = self.wire.revocation_ids();
        if blocks.len() != self.wire.block_count() {
            return Err(PassError::Signature);
        }
        let looks_at_arguments = self.wire.any_check_mentions(|name| name.starts_with("arg"));
        let expectations = expectations(&self.wire);
        let valid_until = valid_until(&self.wire, claims.expires_at);
        let delegations = delegations(&self.wire);
        Ok(VerifiedPass {
            biscuit,
            wire: self.wire,
            claims,
            blocks,
            looks_at_arguments,
            expectations,
            valid_until,
            delegations,
        })
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.wire.is_sealed()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What block 0 and the appended blocks say, unverified: for showing to people who hold the
    /// token, never for deciding.
    #[must_use]
    pub fn dangerous_unverified_summary(&self) -> super::inspect::Summary {
        super::inspect::Summary::of(&self.wire)
    }
}

impl fmt::Debug for UnverifiedPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedPass").field("blocks", &self.wire.block_count()).finish_non_exhaustive()
    }
}

/// Why a pass was not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// A signature does not match.
    #[error("a signature does not match")]
    Signature,
    /// Block 0 is not that of a pass of format 1.
    #[error("not a pass of format 1: {0}")]
    Claims(#[from] ClaimsError),
}

impl PassError {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Signature => ReasonCode::TokenSignature,
            Self::Claims(_) => ReasonCode::TokenFormat,
        }
    }
}

/// A pass whose signatures are genuine. Whether it is revoked, in time, or allows a call is
/// another question.
pub struct VerifiedPass {
    biscuit: Biscuit,
    wire: Wire,
    claims: PassClaims,
    blocks: Vec<RevocationId>,
    looks_at_arguments: bool,
    expectations: Vec<Expectation>,
    valid_until: Timestamp,
    delegations: usize,
}

impl VerifiedPass {
    /// What block 0 says.
    #[must_use]
    pub const fn claims(&self) -> &PassClaims {
        &self.claims
    }

    /// Every block's id, block 0 first. Revoking any of them ends this pass.
    #[must_use]
    pub fn blocks(&self) -> &[RevocationId] {
        &self.blocks
    }

    /// When it ends, every narrowing that hallpass wrote included.
    #[must_use]
    pub const fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// How many signed delegations it carries.
    #[must_use]
    pub const fn delegations(&self) -> usize {
        self.delegations
    }

    /// Asks every check of every block, and the rights of block 0, about one call.
    #[must_use]
    pub fn evaluate(&self, request: &RequestFacts<'_>) -> Evaluation {
        if self.looks_at_arguments && request.arguments.too_many() {
            let detail = format!("more than {} arguments", super::request::MAX_ARGUMENTS);
            return Evaluation::Refused(vec![FailedCheck { block: None, code: ReasonCode::ArgumentCount, detail }]);
        }
        let mistyped = self.mistyped(request);
        let without: BTreeSet<&str> = mistyped.iter().map(|expectation| expectation.pointer.as_str()).collect();
        let mut failed: Vec<FailedCheck> = mistyped.iter().map(|expectation| expectation.failed()).collect();
        let facts = request.facts(self.looks_at_arguments, &without);
        match self.run(facts) {
            // Block 0 has a check that says so too; a pass that was made without it must not live for ever.
            Ok(()) if request.time >= self.claims.expires_at => {
                let detail = format!("valid until {}", self.claims.expires_at);
                failed.push(FailedCheck { block: Some(0), code: ReasonCode::Expired, detail });
                Evaluation::Refused(failed)
            }
            Ok(()) if failed.is_empty() => Evaluation::Allowed,
            // A withdrawn fact that no check missed: cannot be, but must not allow.
            Ok(()) => Evaluation::Refused(failed),
            Err(error::Token::FailedLogic(logic)) => {
                let known: BTreeSet<_> =
                    mistyped.iter().map(|expectation| (expectation.block, expectation.check)).collect();
                failed.extend(self.explain(&logic, request.time, &known));
                Evaluation::Refused(failed)
            }
            Err(error) => Evaluation::Fault(EvaluationFault::of(&error)),
        }
    }

    fn run(&self, facts: Vec<biscuit_auth::builder::Fact>) -> Result<(), error::Token> {
        let builder = facts.into_iter().try_fold(TEMPLATE.clone(), AuthorizerBuilder::fact)?;
        builder.build(&self.biscuit)?.authorize().map(|_| ())
    }

    /// Arguments whose type a constraint on this very call does not take. Their facts are
    /// withdrawn, so that the engine never compares what it cannot.
    fn mistyped(&self, request: &RequestFacts<'_>) -> Vec<&Expectation> {
        let concerned = self
            .expectations
            .iter()
            .filter(|expectation| expectation.shape.concerns(request.me, request.kind, request.name));
        concerned
            .filter(|expectation| {
                let found = request.arguments.scalar(&expectation.pointer);
                found.is_some_and(|scalar| scalar.type_name() != expectation.type_name)
            })
            .collect()
    }

    fn explain(&self, logic: &error::Logic, now: Timestamp, known: &BTreeSet<(usize, usize)>) -> Vec<FailedCheck> {
        let (granted, checks) = match logic {
            error::Logic::Unauthorized { policy: error::MatchedPolicy::Allow(_), checks } => (true, checks.as_slice()),
            error::Logic::Unauthorized { policy: error::MatchedPolicy::Deny(_), checks }
            | error::Logic::NoMatchingPolicy { checks } => (false, checks.as_slice()),
            _ => (false, &[][..]),
        };
        let mut failed = Vec::new();
        // The verifier's own checks are about the audience, which explains all that follows.
        if checks.iter().any(|check| matches!(check, error::FailedCheck::Authorizer(_))) {
            let detail = "the pass is for another server".to_owned();
            failed.push(FailedCheck { block: Some(0), code: ReasonCode::Audience, detail });
        }
        if !granted {
            let detail = "the pass does not name it".to_owned();
            failed.push(FailedCheck { block: Some(0), code: ReasonCode::NotGranted, detail });
        }
        let of_blocks = checks.iter().filter_map(|check| match check {
            error::FailedCheck::Block(check) => Some((usize_of(check.block_id), usize_of(check.check_id))),
            error::FailedCheck::Authorizer(_) => None,
        });
        failed.extend(of_blocks.filter(|at| !known.contains(at)).map(|at| self.explain_check(at, now)));
        failed
    }

    fn explain_check(&self, (block, index): (usize, usize), now: Timestamp) -> FailedCheck {
        match self.wire.check(block, index) {
            Some(check) => {
                let shape = Shape::of(&check);
                FailedCheck { block: Some(block), code: shape.code(now), detail: shape.to_string() }
            }
            None => FailedCheck { block: Some(block), code: ReasonCode::Attenuation, detail: "a check".to_owned() },
        }
    }
}

impl fmt::Debug for VerifiedPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedPass")
            .field("claims", &self.claims)
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

/// What the engine said about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers should break when a new kind of answer appears")]
pub enum Evaluation {
    /// Every check holds and a right names the call.
    Allowed,
    /// No, and every reason.
    Refused(Vec<FailedCheck>),
    /// It cannot be said: refuse.
    Fault(EvaluationFault),
}

/// Why the engine could not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvaluationFault {
    /// It ran out of its limits.
    RunLimit,
    /// It could not evaluate a check, for instance one that compares values of two types.
    Engine,
}

impl EvaluationFault {
    const fn of(error: &error::Token) -> Self {
        match error {
            error::Token::RunLimit(_) => Self::RunLimit,
            _ => Self::Engine,
        }
    }
}

/// One thing that refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedCheck {
    /// The block that refused; `None` for what no block says.
    pub block: Option<usize>,
    /// The stable reason code.
    pub code: ReasonCode,
    /// What it says, for people.
    pub detail: String,
}

/// A constraint that takes one type only.
struct Expectation {
    block: usize,
    check: usize,
    shape: Shape,
    pointer: String,
    type_name: &'static str,
}

impl Expectation {
    fn failed(&self) -> FailedCheck {
        let detail = format!("argument `{}` must be of type {}", self.pointer.escape_debug(), self.type_name);
        FailedCheck { block: Some(self.block), code: ReasonCode::ArgumentType, detail }
    }
}

fn expectations(wire: &Wire) -> Vec<Expectation> {
    let mut expectations = Vec::new();
    for block in 0..wire.block_count() {
        for check in 0..wire.check_count(block) {
            let Some(builder) = wire.check(block, check) else { continue };
            let shape = Shape::of(&builder);
            let Shape::Constraint { pointer, constraint, .. } = &shape else { continue };
            let type_name = match constraint {
                Constraint::Range { .. } => "integer",
                Constraint::Equal(value) => value.type_name(),
                Constraint::In(values) => values.first().map_or("string", Scalar::type_name),
                Constraint::Prefix(_) | Constraint::Under(_) | Constraint::Host(_) => "string",
            };
            let pointer = pointer.as_str().to_owned();
            expectations.push(Expectation { block, check, shape, pointer, type_name });
        }
    }
    expectations
}

fn valid_until(wire: &Wire, expires_at: Timestamp) -> Timestamp {
    let checks =
        (0..wire.block_count()).flat_map(|block| (0..wire.check_count(block)).map(move |check| (block, check)));
    let ends = checks.filter_map(|(block, check)| match Shape::of(&wire.check(block, check)?) {
        Shape::Time { until, .. } => Some(until),
        _ => None,
    });
    ends.fold(expires_at, Timestamp::min)
}

fn delegations(wire: &Wire) -> usize {
    let is_delegation =
        |block: usize| wire.facts(block).iter().any(|fact| wire.symbol(block, fact.predicate.name) == Some("delegate"));
    (1..wire.block_count()).filter(|block| is_delegation(*block)).count()
}

fn usize_of(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// Explicit limits: the engine's default of one millisecond refuses correct tokens on a busy
/// machine. The profile bounds the cost; these are the safety net under it.
pub(super) const LIMITS: AuthorizerLimits =
    AuthorizerLimits { max_facts: 2_000, max_iterations: 10, max_time: Duration::from_millis(250) };

static TEMPLATE: LazyLock<AuthorizerBuilder> = LazyLock::new(|| {
    let builder = AuthorizerBuilder::new().set_limits(LIMITS);
    let checked = datalog::verifier_checks().into_iter().try_fold(builder, AuthorizerBuilder::check);
    let complete = checked
        .and_then(|builder| datalog::verifier_policies().into_iter().try_fold(builder, AuthorizerBuilder::policy));
    // Without policies the engine refuses every call, so this fails closed; a test sees that it does not happen.
    complete.unwrap_or_default()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_part_is_complete_and_has_limits_of_its_own() {
        assert_eq!(*TEMPLATE.limits(), LIMITS);
        assert_ne!(LIMITS.max_time, AuthorizerLimits::default().max_time);
        let said = TEMPLATE.dump_code();
        assert_eq!((said.matches("check if").count(), said.matches("allow if").count()), (2, 2), "{said}");
        assert!(said.trim_end().ends_with("deny if true;"), "{said}");
    }

    #[test]
    fn limits_that_are_reached_are_a_fault() {
        let error = error::Token::RunLimit(error::RunLimit::Timeout);
        assert_eq!(EvaluationFault::of(&error), EvaluationFault::RunLimit);
        assert_eq!(EvaluationFault::of(&error::Token::AlreadySealed), EvaluationFault::Engine);
    }
}
