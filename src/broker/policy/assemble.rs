//! From covered rights to authorization details: the request's demands and the grant's, all of them.

use std::collections::BTreeMap;

use crate::policy::{Right, RightName, grant_file::PlacedGrant};
use hallpass_core::{
    base::ids::{ServerUri, ToolName},
    token::{GrantedDetail, RequestedDetail, constraint::Constraint, path::Pointer},
};

/// A right's grant, with the values that it pins.
#[derive(Debug)]
pub(super) struct Covered<'d> {
    pub(super) placed: &'d PlacedGrant,
    pub(super) pins: Vec<(Pointer, Constraint)>,
    /// Whether each call needs a proof of the very call.
    pub(super) call_proof: bool,
}

/// What is granted of one entry of the request: one entry for each grant that covers some of it,
/// in the order of the grants' first rights, and more where constraints meet on one argument.
pub(super) fn assemble<'r>(
    detail: &RequestedDetail,
    rights: impl Iterator<Item = &'r Right>,
    covered: &BTreeMap<&Right, Covered<'_>>,
) -> Vec<GrantedDetail> {
    let mut entries: Vec<(&PlacedGrant, Entry)> = Vec::new();
    for right in rights {
        let Some(by) = covered.get(right) else {
            continue;
        };
        let at = entries
            .iter()
            .position(|(placed, _)| placed.grant.id == by.placed.grant.id);
        if at.is_none() {
            let read_only = detail.read_only || by.placed.grant.read_only;
            entries.push((by.placed, Entry::new(right.server.clone(), read_only)));
        }
        let entry = match at {
            Some(at) => entries.get_mut(at),
            None => entries.last_mut(),
        };
        if let Some((_, entry)) = entry {
            entry.add(detail, right, by);
        }
    }
    entries
        .into_iter()
        .flat_map(|(_, entry)| [entry.base].into_iter().chain(entry.more))
        .collect()
}

/// The details of one grant. INVARIANT: every constrained argument is in `base`, so that a closed
/// argument list in `base` names all of them; `more` holds second and further constraints on an
/// argument that `base` constrains already.
struct Entry {
    base: GrantedDetail,
    more: Vec<GrantedDetail>,
}

impl Entry {
    fn new(server: ServerUri, read_only: bool) -> Self {
        let mut base = GrantedDetail::new(server);
        base.read_only = read_only;
        Self {
            base,
            more: Vec::new(),
        }
    }

    fn add(&mut self, detail: &RequestedDetail, right: &Right, by: &Covered<'_>) {
        let tool = match &right.name {
            RightName::Prompt(name) => return self.base.prompts.push(name.clone()),
            RightName::Resource(tree) => return self.base.resources.push(tree.clone()),
            RightName::Tool(tool) => tool,
        };
        self.base.tools.push(tool.clone());
        if detail.closed_arguments.contains(tool) || by.placed.grant.closes(tool) {
            self.base.closed_arguments.insert(tool.clone());
        }
        if detail.call_proof.contains(tool) || by.call_proof {
            self.base.call_proof.insert(tool.clone());
        }
        let asked = detail.constraints.get(tool).into_iter().flatten();
        let pins = by
            .pins
            .iter()
            .map(|(pointer, constraint)| (pointer, constraint));
        for (pointer, constraint) in asked
            .chain(by.placed.grant.constraints_on(tool))
            .chain(pins)
        {
            self.constrain(tool, pointer, constraint);
        }
    }

    /// Holds the argument to `constraint` as well: in the first entry where it has no other yet.
    fn constrain(&mut self, tool: &ToolName, pointer: &Pointer, constraint: &Constraint) {
        for entry in [&mut self.base].into_iter().chain(&mut self.more) {
            if !entry.tools.contains(tool) {
                entry.tools.push(tool.clone());
            }
            let arguments = entry.constraints.entry(tool.clone()).or_default();
            match arguments.get(pointer) {
                Some(held) if held == constraint => return,
                Some(_) => {}
                None => {
                    arguments.insert(pointer.clone(), constraint.clone());
                    return;
                }
            }
        }
        let mut next = GrantedDetail::new(self.base.server.clone());
        next.read_only = self.base.read_only;
        next.tools.push(tool.clone());
        next.constraints
            .entry(tool.clone())
            .or_default()
            .insert(pointer.clone(), constraint.clone());
        self.more.push(next);
    }
}
