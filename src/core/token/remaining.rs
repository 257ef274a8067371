//! Converts the remaining rights of a verified pass back to rights, so that a new pass can be minted that allows no more.
//!
//! Every narrowing that hallpass wrote is taken into account. Checks that others wrote cannot be expressed as rights: they are
//! counted, and a caller that mints a pass from the result must refuse when there is any.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    base::ids::{ServerUri, ToolName},
    token::{
        GrantedDetail, NamedRight, VerifiedPass,
        constraint::Constraint,
        datalog::Target,
        depth::max_delegations,
        narrowed::Narrowed,
        path::{Pointer, ResourceTree},
        rights::Kind,
        shape::Shape,
    },
};

/// The rights that remain of a pass after every narrowing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remaining {
    /// The rights; every constraint of every detail on a tool applies. The pass itself has the end and the holders.
    pub rights: Vec<GrantedDetail>,
    /// The number of checks that rights cannot express: the pass may allow less than `rights`.
    pub unsaid: usize,
}

impl VerifiedPass {
    /// The remaining rights.
    #[must_use]
    pub fn remaining(&self) -> Remaining {
        let narrowed = Narrowed::of(self.wire(), self.claims());
        let mut demands = Demands {
            unsaid: narrowed.unread,
            ..Demands::default()
        };
        for (block, shape) in narrowed.demands {
            match shape {
                // Block 0 begins with the pass. Rights cannot express a narrowing that begins later.
                Shape::Time { from, .. } => demands.count(from.is_some() && block > 0),
                Shape::Depth { .. } => {}
                other => demands.add(other),
            }
        }
        let rights = demands.of(&narrowed.rights);
        Remaining {
            rights,
            unsaid: demands.unsaid,
        }
    }

    /// Whether it may be handed on once more, by the checks on its depth that hallpass wrote, and can be.
    #[must_use]
    pub fn may_be_handed_on(&self) -> bool {
        let hops = self.holder().map_or(0, |chain| chain.hops().len());
        !self.is_sealed() && max_delegations(self.wire()).is_none_or(|most| hops < most)
    }
}

/// The demands of a pass's checks on tool calls.
#[derive(Debug, Default)]
struct Demands {
    constraints: Vec<(Target, Pointer, Constraint)>,
    closed: Vec<(Target, BTreeSet<String>)>,
    read_only: Vec<Target>,
    all_read_only: bool,
    call_proven: Vec<Target>,
    unsaid: usize,
}

impl Demands {
    fn count(&mut self, is_unsaid: bool) {
        self.unsaid = self.unsaid.saturating_add(usize::from(is_unsaid));
    }

    fn add(&mut self, shape: Shape) {
        let is_tool = |target: &Target| target.kind == Kind::Tool;
        match shape {
            Shape::ReadOnly { target: None } => self.all_read_only = true,
            // Resources and prompts are always read-only.
            Shape::ReadOnly {
                target: Some(target),
            } => self.read_only.extend(Some(target).filter(is_tool)),
            // A holder's constraint may be one that no right can hold: written as JSON, it could not be read again.
            Shape::Constraint {
                target,
                pointer,
                constraint,
            } if is_tool(&target) && constraint.refuse_contradictions().is_ok() => {
                self.constraints.push((target, pointer, constraint));
            }
            Shape::Closed { target, allowed } if is_tool(&target) => {
                self.closed.push((target, allowed))
            }
            Shape::CallProven { target } if is_tool(&target) => self.call_proven.push(target),
            _ => self.count(true),
        }
    }

    /// The rights; counts the checks that they cannot express.
    fn of(&mut self, named: &BTreeSet<NamedRight>) -> Vec<GrantedDetail> {
        let mut details = names_by_server(named);
        let mut more = Vec::new();
        for base in details.values_mut() {
            self.constrain(base, &mut more);
            self.close(base, &mut more);
            self.keep_read_only(base, &mut more);
            let tools = base.tools.clone();
            base.call_proof = tools
                .into_iter()
                .filter(|tool| concerns(&self.call_proven, &base.server, tool))
                .collect();
        }
        details
            .into_values()
            .chain(more)
            .filter(|detail| !detail.names_nothing())
            .collect()
    }

    /// Puts every constraint into the first detail in which its argument has no other yet.
    fn constrain(&self, base: &mut GrantedDetail, more: &mut Vec<GrantedDetail>) {
        let server = base.server.clone();
        for (target, pointer, constraint) in self
            .constraints
            .iter()
            .filter(|(to, ..)| to.server == server)
        {
            for tool in base
                .tools
                .clone()
                .into_iter()
                .filter(|tool| target.names.contains(tool.as_str()))
            {
                let place = |detail: &GrantedDetail| {
                    let held = detail
                        .constraints
                        .get(&tool)
                        .and_then(|arguments| arguments.get(pointer));
                    held.is_none_or(|held| held == constraint)
                };
                let here =
                    |detail: &&mut GrantedDetail| detail.server == target.server && place(detail);
                let mut all = std::iter::once(&mut *base).chain(more.iter_mut());
                match all.find(here) {
                    Some(detail) => hold(detail, &tool, pointer, constraint),
                    None => {
                        let mut next = GrantedDetail::new(target.server.clone());
                        hold(&mut next, &tool, pointer, constraint);
                        more.push(next);
                    }
                }
            }
        }
    }

    /// Closes the arguments of tools: in a detail whose constraints name exactly what a closed list allows.
    fn close(&mut self, base: &mut GrantedDetail, more: &mut Vec<GrantedDetail>) {
        let mut unsaid = 0_usize;
        let server = base.server.clone();
        for (target, allowed) in self.closed.iter().filter(|(to, _)| to.server == server) {
            for tool in base
                .tools
                .clone()
                .into_iter()
                .filter(|tool| target.names.contains(tool.as_str()))
            {
                if closed_list(base, &tool) == *allowed {
                    base.closed_arguments.insert(tool);
                    continue;
                }
                let mut closed = GrantedDetail::new(target.server.clone());
                closed.tools.push(tool.clone());
                let own = self.constraints.iter().filter(|(to, ..)| {
                    to.server == target.server && to.names.contains(tool.as_str())
                });
                for (_, pointer, constraint) in
                    own.filter(|(_, pointer, _)| allowed.contains(pointer.as_str()))
                {
                    hold(&mut closed, &tool, pointer, constraint);
                }
                // An argument that is allowed without a constraint cannot be expressed: only others write this.
                unsaid =
                    unsaid.saturating_add(usize::from(closed_list(&closed, &tool) != *allowed));
                closed.closed_arguments.insert(tool);
                more.push(closed);
            }
        }
        self.unsaid = self.unsaid.saturating_add(unsaid);
    }

    fn keep_read_only(&self, base: &mut GrantedDetail, more: &mut Vec<GrantedDetail>) {
        let is_read_only =
            |tool: &&ToolName| self.all_read_only || concerns(&self.read_only, &base.server, tool);
        let tools: Vec<ToolName> = base.tools.iter().filter(is_read_only).cloned().collect();
        if tools.len() == base.tools.len() {
            base.read_only = self.all_read_only || !tools.is_empty();
        } else if !tools.is_empty() {
            let mut read_only = GrantedDetail::new(base.server.clone());
            (read_only.tools, read_only.read_only) = (tools, true);
            more.push(read_only);
        }
    }
}

/// The names only, one detail for each server. A name that is invalid in rights is left out, which only narrows.
fn names_by_server(named: &BTreeSet<NamedRight>) -> BTreeMap<ServerUri, GrantedDetail> {
    let mut details: BTreeMap<ServerUri, GrantedDetail> = BTreeMap::new();
    for right in named {
        let server = right.server();
        let detail = details
            .entry(server.clone())
            .or_insert_with(|| GrantedDetail::new(server.clone()));
        match right {
            NamedRight::Names { kind, names, .. } => {
                let names = names
                    .iter()
                    .filter_map(|name| name.parse::<ToolName>().ok());
                let of_kind = if *kind == Kind::Prompt {
                    &mut detail.prompts
                } else {
                    &mut detail.tools
                };
                of_kind.extend(names);
            }
            NamedRight::Subtree { segments, .. } => detail.resources.extend(tree(segments)),
        }
    }
    details
}

fn tree(segments: &[String]) -> Option<ResourceTree> {
    let (scheme, rest) = segments.split_first()?;
    let tree: ResourceTree = format!("{scheme}://{}", rest.join("/")).parse().ok()?;
    (tree.segments() == segments).then_some(tree)
}

fn hold(detail: &mut GrantedDetail, tool: &ToolName, pointer: &Pointer, constraint: &Constraint) {
    if !detail.tools.contains(tool) {
        detail.tools.push(tool.clone());
    }
    detail
        .constraints
        .entry(tool.clone())
        .or_default()
        .insert(pointer.clone(), constraint.clone());
}

/// The arguments that `tool` may have in `detail` once they are closed.
fn closed_list(detail: &GrantedDetail, tool: &ToolName) -> BTreeSet<String> {
    let constrained = detail.constraints.get(tool).into_iter().flatten();
    constrained
        .flat_map(|(pointer, _)| pointer.with_ancestors())
        .map(str::to_owned)
        .collect()
}

fn concerns(targets: &[Target], server: &ServerUri, tool: &ToolName) -> bool {
    targets
        .iter()
        .any(|target| target.server == *server && target.names.contains(tool.as_str()))
}
