//! Delegation: the holder of a bound pass hands it on by signing a block, offline.

use biscuit_auth::{Algorithm, BlockBuilder, UnverifiedBiscuit, builder::Check};

use crate::{
    base::{
        holder::HolderKey,
        ids::AgentId,
        key::{PrivateKey, PublicKey},
    },
    token::{
        AttenuateError, Attenuated, DelegateError, Narrowing, ProfileError, VerifiedPass,
        datalog::{self, DELEGATE},
        depth::delegations_left,
        mint::encode,
        profile,
    },
};

/// The recipient of a delegated pass, and the rights that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers must set every field")]
pub struct Delegation {
    /// The delegate's name, for the audit trail. Only the delegating holder vouches for it.
    pub agent: AgentId,
    /// The delegate's key, the only one that can use the result.
    pub key: HolderKey,
    /// The restrictions of the delegate; an empty one keeps all rights.
    pub narrowing: Narrowing,
    /// How many more times it may be handed on.
    pub may_delegate: u8,
    /// Whether the result is sealed: it can be used and neither narrowed nor handed on.
    pub use_only: bool,
}

/// Hands `pass` on: appends a block, signed with `holder`, that names the delegate and its key.
///
/// Needs no network. The result can be used with the delegate's key only; the pass itself stays with
/// its holder. Revoke the last of the result's block ids to end the delegation and all below it.
///
/// SECURITY: a holder's signature covers the preceding blocks only through the signature of the block before. If an
/// attacker changed the content of a copy and kept that signature, the signed hop would be valid on the real pass. So
/// only a pass whose signatures were checked can be handed on.
///
/// # Errors
///
/// See [`DelegateError`]. On an error nothing is appended.
///
/// ```
/// # use hallpass_core::{base::key::{PrivateKey, PublicKey}, token::{Delegation, PassToken, UnverifiedPass, delegate}};
/// # fn example(text: &str, root: &PublicKey, own: &PrivateKey, to: &Delegation) -> Result<(), Box<dyn std::error::Error>> {
/// let pass = UnverifiedPass::parse(text)?.verify(root)?;
/// let handed: PassToken = delegate(&pass, own, to)?.token;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0308
/// # use hallpass_core::{base::key::PrivateKey, token::{Delegation, UnverifiedPass, delegate}};
/// fn unchecked(text: &str, own: &PrivateKey, to: &Delegation) {
///     delegate(&UnverifiedPass::parse(text).unwrap(), own, to).unwrap();
/// }
/// ```
pub fn delegate(
    pass: &VerifiedPass,
    holder: &PrivateKey,
    delegation: &Delegation,
) -> Result<Attenuated, DelegateError> {
    if pass.wire().is_sealed() {
        return Err(AttenuateError::Sealed.into());
    }
    let here = refuse_impossible(pass, &holder.public(), delegation)?;
    let mut checks = delegation.narrowing.checks()?;
    checks.push(datalog::depth(here.saturating_add(delegation.may_delegate)));
    let bytes = append(&pass.wire().bytes(), holder, delegation, checks)?;
    let wire = profile::admit(&bytes).map_err(AttenuateError::Profile)?;
    Ok(Attenuated {
        token: encode(&bytes),
        blocks: wire.revocation_ids(),
    })
}

/// The depth at which the delegate is, if the delegation can be made at all.
fn refuse_impossible(
    pass: &VerifiedPass,
    holder: &PublicKey,
    delegation: &Delegation,
) -> Result<u8, DelegateError> {
    let chain = pass.holder().ok_or(DelegateError::Unbound)?;
    if chain.leaf().ed25519() != Some(holder) {
        return Err(DelegateError::NotHolder);
    }
    if delegation.may_delegate > 0 && delegation.use_only {
        return Err(DelegateError::CannotDelegate("its pass would be sealed"));
    }
    if delegation.may_delegate > 0 && delegation.key.ed25519().is_none() {
        return Err(DelegateError::CannotDelegate(
            "blocks are signed with Ed25519 only",
        ));
    }
    let depth = chain.hops().len();
    let left = delegations_left(pass.wire(), depth);
    let wanted = usize::from(delegation.may_delegate).saturating_add(1);
    if wanted > left {
        return Err(DelegateError::TooDeep { left, wanted });
    }
    u8::try_from(depth.saturating_add(1)).map_err(|_| DelegateError::TooDeep { left, wanted })
}

fn append(
    token: &[u8],
    holder: &PrivateKey,
    delegation: &Delegation,
    checks: Vec<Check>,
) -> Result<Vec<u8>, AttenuateError> {
    let engine = |_| AttenuateError::Engine;
    let biscuit = UnverifiedBiscuit::from(token)
        .map_err(|_| AttenuateError::Token(ProfileError::Malformed))?;
    let named = [
        datalog::text(delegation.agent.as_str()),
        datalog::text(&delegation.key.to_string()),
    ];
    let block = BlockBuilder::new()
        .fact(datalog::fact(DELEGATE, named))
        .map_err(engine)?;
    let block = checks
        .into_iter()
        .try_fold(block, BlockBuilder::check)
        .map_err(engine)?;
    let seed = holder.dangerous_seed();
    let key = biscuit_auth::PrivateKey::from_bytes(seed.as_slice(), Algorithm::Ed25519)
        .map_err(|_| AttenuateError::Engine)?;
    let request = biscuit.third_party_request().map_err(engine)?;
    let signed = request
        .create_block(&key, block)
        .and_then(|block| block.serialize())
        .map_err(engine)?;
    let longer = biscuit.append_third_party(&signed).map_err(engine)?;
    let longer = if delegation.use_only {
        longer.seal().map_err(engine)?
    } else {
        longer
    };
    longer.to_vec().map_err(engine)
}
