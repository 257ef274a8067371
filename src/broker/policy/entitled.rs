//! What one agent could be given, right by right: what grants name for it, and what policy says of each.
//!
//! A decision answers a request. Here there is no request: each right is decided as if it were asked for alone in a plain
//! request, once without a holder key and once with one. What a guardrail looks at beside (purpose, length, context,
//! the person) is not known, so a guardrail that wants it forbids here what a fuller request may get.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::policy::{
    Behalf, Catalogue, Grant, Question, Reason, Right, RightName, ServerSelector,
    compiled::Compiled, engine::Verdict, fit::obligations_fit, grant_file::PlacedGrant,
};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{AgentId, GroupName, ServerUri, StewardId},
    },
    token::{
        constraint::Constraint,
        manifest::Manifest,
        path::{Pointer, ResourceTree},
        rights::NamePattern,
    },
};

/// The rights that grants name for one agent.
#[derive(Debug)]
pub struct Entitlements<'s> {
    set: &'s Compiled,
    /// The grants that select the agent, by their places.
    grants: BTreeSet<usize>,
    /// Without a holder key, and with one.
    questions: [Question; 2],
}

/// A right that a grant names for an agent, and what policy says of it.
#[derive(Debug, Clone)]
pub struct Entitlement<'s> {
    /// The right.
    pub right: Right,
    /// The first grant that names it: its limits hold.
    pub grant: &'s Grant,
    /// The file of that grant.
    pub file: &'s str,
    /// The further grants that name it.
    pub more: Vec<&'s Grant>,
    /// The arguments that the grant limits.
    pub limits: Vec<(&'s Pointer, &'s Constraint)>,
    /// The arguments that must equal the task's context.
    pub pins: Vec<&'s Pointer>,
    /// Whether a call may hold limited arguments only.
    pub closed: bool,
    /// What policy says.
    pub answer: EntitlementAnswer,
    /// What a call must prove.
    pub proof: EntitlementProof,
    /// Why it is not given, or not without proof.
    pub reasons: Vec<Reason>,
}

/// What policy answers a plain request: for a minute, without purpose and context, for the agent's own steward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntitlementAnswer {
    /// It is given.
    Given,
    /// A guardrail forbids it; where that guardrail looks at more than a plain request says, a fuller one may get it.
    Forbidden,
    /// It is refused: the policy could not be evaluated, or the grant does not fit the server's manifest.
    Undecided,
}

/// What each call must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EntitlementProof {
    /// Nothing beside the pass.
    None,
    /// Possession of the holder's key.
    HolderKey,
    /// The same, for the very call.
    Call,
}

impl<'s> Entitlements<'s> {
    /// What `set` could give to `agent`, which is in `groups` and for which `steward` answers.
    pub(super) fn of(
        set: &'s Compiled,
        agent: &AgentId,
        groups: &BTreeSet<GroupName>,
        steward: &StewardId,
    ) -> Self {
        let question = |holder_bound| Question {
            agent: agent.clone(),
            groups: groups.clone(),
            steward: steward.clone(),
            behalf: Behalf {
                steward: steward.clone(),
                verified: false,
                groups: BTreeSet::new(),
            },
            purpose: String::new(),
            requested: Vec::new(),
            ttl_seconds: PLAIN_TTL_SECONDS,
            context: BTreeMap::new(),
            holder_bound,
            allow_partial: false,
        };
        Self {
            set,
            grants: set.engine.candidates().grants_for(agent, groups),
            questions: [question(false), question(true)],
        }
    }
}

impl<'s> Entitlements<'s> {
    /// The servers on which a grant names something for the agent.
    #[must_use]
    pub fn servers<'c>(
        &self,
        catalogue: &'c Catalogue,
    ) -> BTreeMap<&'c ServerUri, &'c Arc<Manifest>> {
        let manifest = |placed: &PlacedGrant| match &placed.grant.server {
            ServerSelector::Uri(uri) => catalogue.get(uri).filter(|found| found.server == *uri),
            ServerSelector::Name(name) => catalogue.named(name),
        };
        let found = self.placed().filter_map(manifest);
        found.map(|manifest| (&manifest.server, manifest)).collect()
    }

    /// The rights that grants name on the server of `manifest`, by their words. A resource subtree stands for each of
    /// its subtrees, but for those in a root inside of it, which is listed too.
    #[must_use]
    pub fn rights(&self, manifest: &Manifest) -> BTreeMap<String, Right> {
        let tools = manifest.tools.keys().cloned().map(RightName::Tool);
        let prompts = manifest.prompts.keys().cloned().map(RightName::Prompt);
        let granted: BTreeSet<&ResourceTree> = self
            .on(manifest)
            .flat_map(|placed| &placed.grant.resources)
            .collect();
        // A root inside of a granted subtree has labels of its own, and is asked for by itself.
        let roots = || manifest.resources.iter().map(|root| &root.uri);
        let inside = roots().filter(|root| granted.iter().any(|tree| tree.contains(root)));
        let in_root = granted
            .iter()
            .copied()
            .filter(|tree| roots().any(|root| root.contains(tree)));
        let trees: BTreeSet<&ResourceTree> = inside.chain(in_root).collect();
        let trees = trees.into_iter().cloned().map(RightName::Resource);
        tools
            .chain(prompts)
            .chain(trees)
            .map(|name| Right {
                server: manifest.server.clone(),
                name,
            })
            .filter(|right| {
                self.on(manifest)
                    .any(|placed| names(&placed.grant, right, manifest))
            })
            .map(|right| (right.to_string(), right))
            .collect()
    }

    /// What policy says of `rights` on the server of `manifest`, in their order; those that no grant names are left out.
    #[must_use]
    pub fn decided(&self, manifest: &Manifest, rights: &[Right]) -> Vec<Entitlement<'s>> {
        let whole = rights
            .iter()
            .filter(|right| !holds_another_root(right, manifest));
        let all: BTreeMap<Right, &Manifest> =
            whole.map(|right| (right.clone(), manifest)).collect();
        let asked = self.questions.each_ref().map(|question| {
            let asked = self.set.engine.ask(question, &all);
            asked.map_err(|fault| fault.to_string())
        });
        let verdicts = |right: &Right| {
            asked.each_ref().map(|asked| match asked {
                Ok(asked) => asked.decide(right),
                Err(fault) => Verdict::Fault(vec![(None, fault.clone())]),
            })
        };
        let entitlement = |right: &Right| {
            let naming = self
                .on(manifest)
                .filter(|placed| names(&placed.grant, right, manifest));
            let naming: Vec<&'s PlacedGrant> = naming.collect();
            let judged = if all.contains_key(right) {
                self.judged(right, manifest, &naming, verdicts(right))?
            } else {
                Judged::in_parts(right)
            };
            entitlement(right, manifest, &naming, judged)
        };
        rights.iter().filter_map(entitlement).collect()
    }

    /// What two verdicts come to, with what the first grant demands; `None` when no grant gives the right.
    fn judged(
        &self,
        right: &Right,
        manifest: &Manifest,
        naming: &[&'s PlacedGrant],
        [unbound, bound]: [Verdict; 2],
    ) -> Option<Judged> {
        let first = naming.first()?;
        let no_grant = |verdict: &Verdict| matches!(verdict, Verdict::Forbid(by) if by.is_empty());
        if no_grant(&unbound) || no_grant(&bound) {
            return None;
        }
        let reasons = |question, verdict: &Verdict| {
            let mut reasons = self.set.refusals(right, verdict);
            if matches!(verdict, Verdict::Permit(..)) {
                let fits = obligations_fit(first, question, (right, manifest), call_proof(naming));
                // What is pinned to the context of a task is a limit here.
                let lacking = |reason: &Reason| reason.code != ReasonCode::ContextMissing;
                reasons.extend(fits.err().into_iter().flatten().filter(lacking));
            }
            reasons
        };
        let [plain, holding] = &self.questions;
        let (without, with) = (reasons(plain, &unbound), reasons(holding, &bound));
        let needs_key = !without.is_empty();
        let (answer, reasons) = match (without.is_empty(), with.is_empty(), &bound) {
            (true, ..) | (_, true, _) => (EntitlementAnswer::Given, without),
            (false, false, Verdict::Forbid(_)) => (EntitlementAnswer::Forbidden, with),
            (false, false, _) => (EntitlementAnswer::Undecided, with),
        };
        Some(Judged {
            answer,
            needs_key: needs_key && answer == EntitlementAnswer::Given,
            reasons,
        })
    }

    fn placed(&self) -> impl Iterator<Item = &'s PlacedGrant> {
        let set = self.set;
        self.grants.iter().filter_map(|at| set.grants.get(*at))
    }

    /// The agent's grants on the server of `manifest`, in the order in which they are asked.
    fn on(&self, manifest: &Manifest) -> impl Iterator<Item = &'s PlacedGrant> {
        self.placed().filter(|placed| match &placed.grant.server {
            ServerSelector::Uri(uri) => *uri == manifest.server,
            ServerSelector::Name(name) => *name == manifest.name,
        })
    }
}

/// What policy says of a right.
struct Judged {
    answer: EntitlementAnswer,
    /// Whether it is given with a holder key alone.
    needs_key: bool,
    reasons: Vec<Reason>,
}

impl Judged {
    fn in_parts(right: &Right) -> Self {
        let detail = format!(
            "`{right}` on `{}` holds another root of the server: what lies outside of that root is asked for in parts",
            right.server
        );
        Self {
            answer: EntitlementAnswer::Undecided,
            needs_key: false,
            reasons: vec![Reason::new(ReasonCode::NotInManifest, detail).about(right)],
        }
    }
}

fn entitlement<'s>(
    right: &Right,
    manifest: &Manifest,
    naming: &[&'s PlacedGrant],
    judged: Judged,
) -> Option<Entitlement<'s>> {
    let (first, more) = naming.split_first()?;
    let grant = &first.grant;
    let tool = match &right.name {
        RightName::Tool(name) => manifest.tools.get_key_value(name),
        RightName::Prompt(_) | RightName::Resource(_) => None,
    };
    let is_irreversible = tool.is_some_and(|(_, tool)| tool.irreversible);
    let proof = if call_proof(naming) && is_irreversible {
        EntitlementProof::Call
    } else if grant.require_proof || call_proof(naming) || judged.needs_key {
        EntitlementProof::HolderKey
    } else {
        EntitlementProof::None
    };
    let of_tool = |pattern: &NamePattern| tool.is_some_and(|(name, _)| pattern.matches(name));
    let limits = grant
        .constraints
        .iter()
        .filter(|(pattern, _)| of_tool(pattern));
    let pins = grant
        .pin
        .iter()
        .filter(|pointer| tool.is_some_and(|(_, tool)| tool.arguments.contains(*pointer)));
    Some(Entitlement {
        right: right.clone(),
        grant,
        file: &first.file,
        more: more.iter().map(|placed| &placed.grant).collect(),
        limits: limits.flat_map(|(_, arguments)| arguments).collect(),
        pins: pins.collect(),
        closed: tool.is_some_and(|(name, _)| grant.closes(name)),
        answer: judged.answer,
        proof,
        reasons: judged.reasons,
    })
}

/// Whether any of the grants that name a right demands a proof of the call.
fn call_proof(naming: &[&PlacedGrant]) -> bool {
    naming.iter().any(|placed| placed.grant.require_call_proof)
}

/// Whether no pass names it whole, since a root inside of it has labels of its own.
fn holds_another_root(right: &Right, manifest: &Manifest) -> bool {
    matches!(&right.name, RightName::Resource(tree) if manifest.root_of(tree).is_none())
}

/// Whether `grant` names `right`, as the permits that are made of it do.
fn names(grant: &Grant, right: &Right, manifest: &Manifest) -> bool {
    match &right.name {
        RightName::Tool(name) => {
            let is_read_only = manifest.tools.get(name).is_some_and(|tool| tool.read_only);
            (is_read_only || !grant.read_only)
                && grant.tools.iter().any(|named| named.matches(name))
        }
        RightName::Prompt(name) => grant.prompts.iter().any(|named| named.matches(name)),
        RightName::Resource(tree) => grant.resources.iter().any(|named| named.contains(tree)),
    }
}

/// How long a plain request is for: a minute.
const PLAIN_TTL_SECONDS: u64 = 60;
