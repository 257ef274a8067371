//! Attenuation: a holder narrows its own pass, offline.

use biscuit_auth::{BlockBuilder, UnverifiedBiscuit, builder::Check};
use serde::{Deserialize, Serialize};

use crate::{
    base::{
        ids::{RevocationId, ServerUri},
        time::Timestamp,
    },
    token::{
        AttenuateError, GrantedDetail, PassToken, ProfileError, UnverifiedPass,
        datalog::{self, Target},
        mint::{argument_checks, encode, tools_of},
        profile,
        rights::Kind,
    },
};

/// How a pass is narrowed. An absent field changes nothing. Rights that the pass does not have are
/// not gained: a narrowing never widens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Narrowing {
    /// The latest end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The only rights to keep, with their constraints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights: Option<Vec<GrantedDetail>>,
    /// Whether only read-only calls are kept.
    #[serde(default)]
    pub read_only: bool,
}

/// A narrowed pass and the id of the block that narrows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attenuated {
    /// The longer token.
    pub token: PassToken,
    /// Every block's id, block 0 first; revoking the last ends this pass and none of its siblings.
    pub blocks: Vec<RevocationId>,
}

/// Appends a block to `token` that narrows it. Needs no key and no network.
///
/// Hand on the result. `token` itself keeps all its rights and stays with its holder.
///
/// # Errors
///
/// See [`AttenuateError`]. On an error nothing is appended.
///
/// ```
/// # use hallpass_core::{base::time::Timestamp, token::{PassToken, attenuate, Narrowing}};
/// # fn example(token: &PassToken) -> Result<(), Box<dyn std::error::Error>> {
/// let mut narrowing = Narrowing::default();
/// narrowing.read_only = true;
/// narrowing.expires_at = Some("2026-11-22T10:05:00Z".parse()?);
/// let narrower = attenuate(token, &narrowing)?;
/// println!("revoke it alone by {}", narrower.blocks[1]);
/// # Ok(())
/// # }
/// ```
pub fn attenuate(token: &PassToken, narrowing: &Narrowing) -> Result<Attenuated, AttenuateError> {
    let checks = narrowing.checks()?;
    if checks.is_empty() {
        Err(AttenuateError::Empty)
    } else {
        append(token, checks)
    }
}

/// Narrows an operator's token to some operations of the broker, for a script that needs only those.
///
/// # Errors
///
/// As [`attenuate`].
pub fn attenuate_operator(
    token: &PassToken,
    operations: &[&str],
    expires_at: Option<Timestamp>,
) -> Result<Attenuated, AttenuateError> {
    let mut checks: Vec<Check> = expires_at.map(datalog::ends_at).into_iter().collect();
    if !operations.is_empty() {
        checks.push(datalog::only_operations(operations.iter().copied()));
    }
    if checks.is_empty() {
        Err(AttenuateError::Empty)
    } else {
        append(token, checks)
    }
}

fn append(token: &PassToken, checks: Vec<Check>) -> Result<Attenuated, AttenuateError> {
    let parsed = UnverifiedPass::parse(token.expose()).map_err(AttenuateError::Token)?;
    if parsed.is_sealed() {
        return Err(AttenuateError::Sealed);
    }
    let bytes = parsed.into_bytes();
    let biscuit = UnverifiedBiscuit::from(&bytes)
        .map_err(|_| AttenuateError::Token(ProfileError::Malformed))?;
    let block = checks
        .into_iter()
        .try_fold(BlockBuilder::new(), BlockBuilder::check);
    let longer = block
        .and_then(|block| biscuit.append(block))
        .map_err(|_| AttenuateError::Engine)?;
    let bytes = longer.to_vec().map_err(|_| AttenuateError::Engine)?;
    let wire = profile::admit(&bytes).map_err(AttenuateError::Profile)?;
    Ok(Attenuated {
        token: encode(&bytes),
        blocks: wire.revocation_ids(),
    })
}

impl Narrowing {
    /// The checks for this narrowing; empty when it changes nothing.
    pub(super) fn checks(&self) -> Result<Vec<Check>, AttenuateError> {
        let mut checks: Vec<Check> = self.expires_at.map(datalog::ends_at).into_iter().collect();
        if self.read_only {
            checks.push(datalog::read_only(None));
        }
        if let Some(rights) = &self.rights {
            checks.push(only(rights));
            for detail in rights {
                if let Some(obligation) = detail.unsupported_obligations().next() {
                    return Err(AttenuateError::Unsupported(obligation));
                }
                checks.extend(argument_checks(detail).ok_or(AttenuateError::Engine)?);
                if detail.read_only && !detail.tools.is_empty() {
                    checks.push(datalog::read_only(Some(&tools_of(detail))));
                }
            }
        }
        Ok(checks)
    }
}

fn only(rights: &[GrantedDetail]) -> Check {
    let mut targets = Vec::new();
    let mut subtrees: Vec<(ServerUri, Vec<String>)> = Vec::new();
    for detail in rights {
        let prompts = detail
            .prompts
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect();
        let prompts = Target {
            server: detail.server.clone(),
            kind: Kind::Prompt,
            names: prompts,
        };
        targets.extend(
            [tools_of(detail), prompts]
                .into_iter()
                .filter(|target| !target.names.is_empty()),
        );
        subtrees.extend(
            detail
                .resources
                .iter()
                .map(|tree| (detail.server.clone(), tree.segments().to_vec())),
        );
    }
    datalog::only(&targets, &subtrees)
}
