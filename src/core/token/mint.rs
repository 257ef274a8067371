//! Minting: from granted rights to a signed pass, released only when its record is durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use biscuit_auth::{
    Biscuit,
    builder::{Check, Fact, Term},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    base::{
        holder::HolderKey,
        ids::{AgentId, IssuerUri, RevocationId, ServerUri, StewardId, TaskId, ToolName},
        time::Timestamp,
    },
    token::{
        GrantedDetail, MintError, RootKey,
        datalog::{self, Target, fact, text},
        encode::Writer,
        limits::{CLOCK_SKEW_SECONDS, MAX_PASS_BYTES, MAX_RIGHTS},
        path::Pointer,
        rights::Kind,
    },
};

/// The content of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers must set every field")]
pub struct PassContent {
    /// The broker.
    pub issuer: IssuerUri,
    /// The task.
    pub task: TaskId,
    /// The agent.
    pub agent: AgentId,
    /// The person for whom the agent acts: its steward, or the proven subject of the task.
    pub steward: StewardId,
    /// When it is issued; whole seconds.
    pub issued_at: Timestamp,
    /// When it ends; whole seconds.
    pub expires_at: Timestamp,
    /// The key that it is bound to; `None` for a bearer pass.
    pub holder: Option<Holding>,
    /// The rights. The names of several details on one server add up; every constraint of every
    /// detail on a tool applies.
    pub rights: Vec<GrantedDetail>,
}

/// The holder that a pass is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "callers must set every field")]
pub struct Holding {
    /// The key; every use needs its proof of possession.
    pub key: HolderKey,
    /// How many times it may be handed on.
    pub max_delegations: u8,
}

/// A newly signed token. The caller records its id before it releases the text.
#[derive(Debug)]
#[non_exhaustive]
pub struct Minted {
    /// The token.
    pub token: PassToken,
    /// Block 0's id, by which it is recorded and revoked.
    pub revocation_id: RevocationId,
}

/// A token's text. Secret: possession of a bearer token is enough to use it. Never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PassToken(Zeroizing<String>);

impl PassToken {
    /// Wraps a token's text without parsing it.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one place that sends or stores it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PassToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassToken(…)")
    }
}

/// Mints a pass.
///
/// # Errors
///
/// Rights that cannot be expressed or exceed a limit are refused, never dropped: see [`MintError`].
pub fn mint(root: &RootKey, content: &PassContent) -> Result<Minted, MintError> {
    refuse_what_cannot_be_said(content)?;
    let mut writer = Writer::new();
    identity_facts(content)
        .iter()
        .chain(&holder_fact(content))
        .try_for_each(|fact| writer.fact(fact))?;
    right_facts(&content.rights)
        .iter()
        .try_for_each(|fact| writer.fact(fact))?;
    checks(content)?
        .iter()
        .try_for_each(|check| writer.check(check))?;
    let (bytes, revocation_id) = writer.sign(root)?;
    let token = encode(&bytes);
    if token.expose().len() > MAX_PASS_BYTES {
        return Err(MintError::TooLarge(token.expose().len()));
    }
    Ok(Minted {
        token,
        revocation_id,
    })
}

/// A built Biscuit as text, with block 0's id.
pub(super) fn finish(biscuit: &Biscuit) -> Result<(PassToken, RevocationId), MintError> {
    let bytes = biscuit.to_vec().map_err(|_| MintError::Engine)?;
    let id = biscuit.revocation_identifiers().into_iter().next();
    let id: [u8; 64] = id
        .and_then(|id| id.try_into().ok())
        .ok_or(MintError::Engine)?;
    Ok((encode(&bytes), RevocationId::from_bytes(id)))
}

pub(super) fn encode(bytes: &[u8]) -> PassToken {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    PassToken::from_text(URL_SAFE_NO_PAD.encode(bytes))
}

fn refuse_what_cannot_be_said(content: &PassContent) -> Result<(), MintError> {
    if content.expires_at <= content.issued_at {
        return Err(MintError::EndsBeforeItBegins(content.expires_at));
    }
    // Each name once: the same name in several details is one right.
    let named: BTreeSet<(&ServerUri, Kind, &str)> =
        content.rights.iter().flat_map(names_of).collect();
    let named = named.len();
    if named == 0 {
        return Err(MintError::Empty);
    }
    if named > MAX_RIGHTS {
        return Err(MintError::TooManyRights(named));
    }
    for detail in &content.rights {
        if let Some(obligation) = detail.unsupported_obligations().next() {
            return Err(MintError::Unsupported(obligation));
        }
        let constrained = detail
            .constraints
            .keys()
            .chain(&detail.closed_arguments)
            .chain(&detail.call_proof);
        if let Some(stray) = constrained
            .into_iter()
            .find(|tool| !detail.tools.contains(tool))
        {
            return Err(MintError::StrayConstraint(stray.to_string()));
        }
        if let Some(tool) = detail
            .call_proof
            .first()
            .filter(|_| content.holder.is_none())
        {
            return Err(MintError::HolderNeeded(tool.to_string()));
        }
    }
    Ok(())
}

fn names_of(detail: &GrantedDetail) -> impl Iterator<Item = (&ServerUri, Kind, &str)> {
    let tools = detail.tools.iter().map(|name| (Kind::Tool, name.as_str()));
    let prompts = detail
        .prompts
        .iter()
        .map(|name| (Kind::Prompt, name.as_str()));
    let trees = detail
        .resources
        .iter()
        .map(|tree| (Kind::Resource, tree.as_str()));
    tools
        .chain(prompts)
        .chain(trees)
        .map(|(kind, name)| (&detail.server, kind, name))
}

fn identity_facts(content: &PassContent) -> [Fact; 8] {
    let audience: BTreeSet<&str> = content
        .rights
        .iter()
        .map(|detail| detail.server.as_str())
        .collect();
    [
        fact("hallpass", vec![Term::Integer(datalog::FORMAT)]),
        fact("issuer", vec![text(content.issuer.as_str())]),
        fact("task", vec![text(content.task.as_str())]),
        fact("agent", vec![text(content.agent.as_str())]),
        fact("steward", vec![text(content.steward.as_str())]),
        fact("iat", vec![datalog::date(content.issued_at)]),
        fact("exp", vec![datalog::date(content.expires_at)]),
        fact("aud", vec![datalog::texts(audience)]),
    ]
}

fn holder_fact(content: &PassContent) -> Option<Fact> {
    content
        .holder
        .as_ref()
        .map(|holding| fact("cnf", vec![text(&holding.key.to_string())]))
}

fn right_facts(rights: &[GrantedDetail]) -> Vec<Fact> {
    let mut named: BTreeMap<(&ServerUri, Kind), BTreeSet<&str>> = BTreeMap::new();
    let mut subtrees = BTreeSet::new();
    for detail in rights {
        let tools = detail.tools.iter().map(|name| (Kind::Tool, name));
        for (kind, name) in tools.chain(detail.prompts.iter().map(|name| (Kind::Prompt, name))) {
            named
                .entry((&detail.server, kind))
                .or_default()
                .insert(name.as_str());
        }
        subtrees.extend(
            detail
                .resources
                .iter()
                .map(|tree| (&detail.server, tree.segments())),
        );
    }
    let names = named.into_iter().map(|((server, kind), names)| {
        fact(
            "right",
            vec![
                text(server.as_str()),
                text(kind.as_str()),
                datalog::texts(names),
            ],
        )
    });
    let trees = subtrees.into_iter().map(|(server, segments)| {
        let resource = text(Kind::Resource.as_str());
        fact(
            "right_path",
            vec![text(server.as_str()), resource, datalog::segments(segments)],
        )
    });
    names.chain(trees).collect()
}

fn checks(content: &PassContent) -> Result<Vec<Check>, MintError> {
    let skew = std::time::Duration::from_secs(CLOCK_SKEW_SECONDS);
    let mut checks = vec![datalog::time_window(
        content.issued_at.minus(skew),
        content.expires_at,
    )];
    checks.extend(
        content
            .holder
            .as_ref()
            .map(|holding| datalog::depth(holding.max_delegations)),
    );
    let read_only_everywhere = content.rights.iter().all(|detail| detail.read_only);
    if read_only_everywhere {
        checks.push(datalog::read_only(None));
    }
    for detail in &content.rights {
        checks.extend(argument_checks(detail).ok_or(MintError::Engine)?);
        if detail.read_only && !read_only_everywhere && !detail.tools.is_empty() {
            checks.push(datalog::read_only(Some(&tools_of(detail))));
        }
    }
    // A constraint that occurs in several details (one grant, several requests) is written once.
    let mut distinct: Vec<Check> = Vec::with_capacity(checks.len());
    for check in checks {
        if !distinct.contains(&check) {
            distinct.push(check);
        }
    }
    Ok(distinct)
}

/// The argument checks of a detail; the same in a pass and in an attenuation.
pub(super) fn argument_checks(detail: &GrantedDetail) -> Option<Vec<Check>> {
    let mut checks = Vec::new();
    for (tool, constraints) in &detail.constraints {
        let target = Target::one(&detail.server, Kind::Tool, tool.as_str());
        for (pointer, constraint) in constraints {
            checks.push(datalog::constraint(&target, pointer, constraint)?);
        }
    }
    for tool in &detail.closed_arguments {
        let target = Target::one(&detail.server, Kind::Tool, tool.as_str());
        let constrained = detail
            .constraints
            .get(tool)
            .into_iter()
            .flatten()
            .map(|(pointer, _)| pointer);
        let allowed: BTreeSet<&str> = constrained.flat_map(Pointer::with_ancestors).collect();
        checks.push(datalog::closed_arguments(&target, allowed));
    }
    if !detail.call_proof.is_empty() {
        checks.push(datalog::call_proven(&tools_named(
            detail,
            &detail.call_proof,
        )));
    }
    Some(checks)
}

/// The tools of a detail as the target of a check. Resources and prompts are always read-only.
pub(super) fn tools_of(detail: &GrantedDetail) -> Target {
    tools_named(detail, &detail.tools)
}

fn tools_named<'n>(
    detail: &GrantedDetail,
    names: impl IntoIterator<Item = &'n ToolName>,
) -> Target {
    let names = names
        .into_iter()
        .map(|name| name.as_str().to_owned())
        .collect();
    Target {
        server: detail.server.clone(),
        kind: Kind::Tool,
        names,
    }
}

#[cfg(test)]
mod tests {
    use biscuit_auth::BiscuitBuilder;
    use serde_json::json;

    use super::*;
    use crate::{
        base::{ids::KeyId, key::PrivateKey},
        token::{UnverifiedPass, keys::to_biscuit},
    };

    #[test]
    fn a_pass_says_what_the_librarys_builder_would_say() {
        let root = RootKey::new(KeyId(7), &PrivateKey::from_seed(&[1; 32])).unwrap();
        let details = json!([
            {"type": "mcp", "server": "https://a.example/mcp", "tools": ["x", "y"], "prompts": ["p"],
             "resources": ["file:///srv/data"], "closed_arguments": ["y"], "read_only": true, "call_proof": ["x"],
             "constraints": {"x": {"/a": {"min": -1, "max": 9}, "/b": {"in": ["A", "B"]}, "/c": {"prefix": "Q"},
                 "/d": {"equal": true}, "/e": {"under": "/srv"}, "/f": {"host": ["h.example"]}}}},
            {"type": "mcp", "server": "https://b.example/mcp", "tools": ["x"], "constraints": {"x": {"/n": {"in": [1, 2]}}}},
        ]);
        let issued_at: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let content = PassContent {
            issuer: "https://broker.example".parse().unwrap(),
            task: "tsk_00000000000000000000000000000001".parse().unwrap(),
            agent: "bot".parse().unwrap(),
            steward: "stw_00000000000000000000000000000001".parse().unwrap(),
            issued_at,
            expires_at: issued_at.plus(std::time::Duration::from_secs(60)),
            holder: Some(Holding {
                key: HolderKey::Ed25519(root.public()),
                max_delegations: 2,
            }),
            rights: serde_json::from_value(details).unwrap(),
        };
        let draft = mint(&root, &content).unwrap();
        let ours = Biscuit::from_base64(draft.token.expose(), to_biscuit(&root.public()).unwrap())
            .unwrap();
        let facts = identity_facts(&content)
            .into_iter()
            .chain(holder_fact(&content))
            .chain(right_facts(&content.rights));
        let builder = facts.fold(BiscuitBuilder::new(), |builder, fact| {
            builder.fact(fact).unwrap()
        });
        let builder = checks(&content)
            .unwrap()
            .into_iter()
            .fold(builder, |builder, check| builder.check(check).unwrap());
        let theirs = builder.root_key_id(7).build(root.pair()).unwrap();
        assert_eq!(
            ours.print_block_source(0).unwrap(),
            theirs.print_block_source(0).unwrap()
        );
        assert_eq!(
            ours.block_version(0).unwrap(),
            theirs.block_version(0).unwrap()
        );
        assert_eq!(ours.root_key_id(), theirs.root_key_id());
        assert_eq!(
            ours.revocation_identifiers(),
            [draft.revocation_id.as_bytes().to_vec()]
        );
        assert!(UnverifiedPass::parse(draft.token.expose()).is_ok());
    }
}
