//! The engine: grants as Cedar permits, guardrails as they are, one question at a time.
//!
//! SECURITY: grants and questions reach Cedar as data (JSON policies, entities, context), never as
//! policy text, so no name can say more than a name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName,
    EntityUid, Policy, PolicyId, PolicySet, Request, RestrictedExpression, Schema, ValidationMode,
    Validator,
};
use serde_json::{Value, json};

use crate::policy::{
    AgentSelector, Grant, Question, Right, RightName, ServerSelector,
    candidates::{Candidates, EngineFault},
    grant_file::PlacedGrant,
    guardrail::Guardrail,
};
use hallpass_core::base::{
    ids::{AgentId, GroupName, ServerUri},
    text::quote,
};
use hallpass_core::token::{
    constraint::Scalar,
    manifest::Manifest,
    path::ResourceTree,
    rights::{Kind, NamePattern},
};

/// What the engine says about one right.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The first grant in order that permits it, and all that do.
    Permit(usize, Vec<usize>),
    /// Every guardrail that forbids it, in order; none when merely no grant permits it.
    Forbid(BTreeSet<usize>),
    /// What could not be evaluated: who, and Cedar's words.
    Fault(Vec<(Option<Decider>, String)>),
}

/// Which policy it was, by its place in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Decider {
    Grant(usize),
    Guardrail(usize),
}

/// All policies, compiled once. They name servers, never what a manifest says about them, so a
/// changed manifest needs no new engine: manifests become entities with each question.
#[derive(Debug)]
pub(super) struct Engine {
    schema: Schema,
    policies: Candidates,
    deciders: HashMap<PolicyId, Decider>,
    /// Every subtree that some grant names: the only ancestors that a decision can turn on.
    granted_trees: BTreeSet<ResourceTree>,
}

/// The schema that guardrails are checked against, parsed.
pub(super) fn schema() -> Result<Schema, EngineFault> {
    let (schema, _warnings) =
        Schema::from_cedarschema_str(SCHEMA).map_err(|error| EngineFault(error.to_string()))?;
    Ok(schema)
}

impl Engine {
    pub(super) fn new(
        grants: &[PlacedGrant],
        guardrails: &[Guardrail],
    ) -> Result<Self, EngineFault> {
        let schema = schema()?;
        let mut policies = Vec::new();
        let mut permits_of = Vec::new();
        let mut deciders = HashMap::new();
        for (at, guardrail) in guardrails.iter().enumerate() {
            deciders.insert(guardrail.policy.id().clone(), Decider::Guardrail(at));
            policies.push(guardrail.policy.clone());
        }
        for (at, placed) in grants.iter().enumerate() {
            let mut own = Vec::new();
            for (kind, permit) in permits(&placed.grant) {
                let id = PolicyId::new(format!("grant:{}:{kind}", placed.grant.id));
                deciders.insert(id.clone(), Decider::Grant(at));
                own.push(
                    Policy::from_json(Some(id), permit)
                        .map_err(|error| EngineFault(error.to_string()))?,
                );
            }
            policies.extend(own.iter().cloned());
            permits_of.push(own);
        }
        let policies =
            PolicySet::from_policies(policies).map_err(|error| EngineFault(error.to_string()))?;
        let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        if let Some(error) = result.validation_errors().next() {
            return Err(EngineFault(error.to_string()));
        }
        let guardrails = guardrails.iter().map(|guardrail| guardrail.policy.clone());
        let policies = Candidates::new(grants, permits_of, guardrails)?;
        let granted_trees = grants
            .iter()
            .flat_map(|placed| placed.grant.resources.iter().cloned())
            .collect();
        Ok(Self {
            schema,
            policies,
            deciders,
            granted_trees,
        })
    }

    #[cfg(test)]
    pub(super) const fn candidates(&self) -> &Candidates {
        &self.policies
    }

    /// The places of the grants that select an agent, on whatever server.
    pub(super) fn grants_for(
        &self,
        agent: &AgentId,
        groups: &BTreeSet<GroupName>,
    ) -> BTreeSet<usize> {
        self.policies.grants_for(agent, groups)
    }

    /// Sets `question` up for its `rights`, each with the manifest of its server.
    pub(super) fn ask<'e>(
        &'e self,
        question: &Question,
        rights: &BTreeMap<Right, &Manifest>,
    ) -> Result<Asked<'e>, EngineFault> {
        let agent = uid("Agent", question.agent.as_str())?;
        let mut entities = vec![task_entity(question)?];
        let groups = question
            .groups
            .iter()
            .map(|group| uid("Group", group.as_str()))
            .collect::<Result<_, _>>()?;
        let steward =
            RestrictedExpression::new_entity_uid(uid("Steward", question.steward.as_str())?);
        entities.push(entity(
            agent.clone(),
            [("steward", steward)],
            groups,
            &BTreeMap::new(),
        )?);
        let servers: BTreeMap<_, _> = rights
            .values()
            .map(|manifest| (&manifest.server, *manifest))
            .collect();
        for manifest in servers.values() {
            entities.push(server_entity(manifest)?);
        }
        for (right, manifest) in rights {
            entities.push(self.right_entity(right, manifest)?);
        }
        let fault = |error: &dyn std::error::Error| EngineFault(error.to_string());
        let entities =
            Entities::from_entities(entities, Some(&self.schema)).map_err(|error| fault(&error))?;
        let behalf = &question.behalf;
        let groups = behalf
            .groups
            .iter()
            .map(|group| RestrictedExpression::new_string(group.clone()));
        let ttl = i64::try_from(question.ttl_seconds).map_err(|error| fault(&error))?;
        let context = Context::from_pairs([
            (
                "purpose".to_owned(),
                RestrictedExpression::new_string(question.purpose.clone()),
            ),
            (
                "ttl_seconds".to_owned(),
                RestrictedExpression::new_long(ttl),
            ),
            (
                "holder_bound".to_owned(),
                RestrictedExpression::new_bool(question.holder_bound),
            ),
            (
                "steward".to_owned(),
                RestrictedExpression::new_entity_uid(uid("Steward", behalf.steward.as_str())?),
            ),
            (
                "steward_verified".to_owned(),
                RestrictedExpression::new_bool(behalf.verified),
            ),
            (
                "steward_groups".to_owned(),
                RestrictedExpression::new_set(groups),
            ),
            (
                "task".to_owned(),
                RestrictedExpression::new_entity_uid(uid("Task", TASK)?),
            ),
        ])
        .map_err(|error| fault(&error))?;
        let policies = servers
            .values()
            .map(|manifest| {
                let policies = self.policies.of(question, manifest)?;
                Ok((manifest.server.clone(), policies))
            })
            .collect::<Result<_, EngineFault>>()?;
        Ok(Asked {
            engine: self,
            policies,
            agent,
            entities,
            context,
        })
    }

    fn right_entity(&self, right: &Right, manifest: &Manifest) -> Result<Entity, EngineFault> {
        let server = uid("Server", manifest.server.as_str())?;
        let mut parents = HashSet::from([server.clone()]);
        let mut attributes = vec![("server", RestrictedExpression::new_entity_uid(server))];
        let name = |name: &str| ("name", RestrictedExpression::new_string(name.to_owned()));
        let unlisted = || {
            EngineFault(format!(
                "{right} is not in the manifest of `{}`",
                manifest.server
            ))
        };
        let labels = match &right.name {
            RightName::Tool(tool) => {
                let pinned = manifest.tools.get(tool).ok_or_else(unlisted)?;
                attributes.push(name(tool.as_str()));
                attributes.push((
                    "read_only",
                    RestrictedExpression::new_bool(pinned.read_only),
                ));
                attributes.push((
                    "irreversible",
                    RestrictedExpression::new_bool(pinned.irreversible),
                ));
                &pinned.labels
            }
            RightName::Prompt(prompt) => {
                attributes.push(name(prompt.as_str()));
                &manifest.prompts.get(prompt).ok_or_else(unlisted)?.labels
            }
            RightName::Resource(tree) => {
                let root = manifest.root_of(tree).ok_or_else(unlisted)?;
                for granted in self
                    .granted_trees
                    .iter()
                    .filter(|granted| granted.contains(tree))
                {
                    parents.insert(uid("GrantedTree", granted.as_str())?);
                }
                attributes.push((
                    "root",
                    RestrictedExpression::new_string(root.uri.as_str().to_owned()),
                ));
                &root.labels
            }
        };
        entity(right_uid(right)?, attributes, parents, labels)
    }
}

/// A question with its entities, ready to be decided right by right.
#[derive(Debug)]
pub(super) struct Asked<'e> {
    engine: &'e Engine,
    /// What can decide at each server.
    policies: BTreeMap<ServerUri, Arc<PolicySet>>,
    agent: EntityUid,
    entities: Entities,
    context: Context,
}

impl Asked<'_> {
    /// Decides one of the rights that the question was set up for.
    pub(super) fn decide(&self, right: &Right) -> Verdict {
        match self.try_decide(right) {
            Ok(verdict) => verdict,
            Err(fault) => Verdict::Fault(vec![(None, fault.to_string())]),
        }
    }

    fn try_decide(&self, right: &Right) -> Result<Verdict, EngineFault> {
        let Engine {
            schema, deciders, ..
        } = self.engine;
        let policies = self
            .policies
            .get(&right.server)
            .ok_or_else(|| EngineFault(format!("no question was set up for `{}`", right.server)))?;
        let action = uid("Action", action_of(right.kind()))?;
        let request = Request::new(
            self.agent.clone(),
            action,
            right_uid(right)?,
            self.context.clone(),
            Some(schema),
        )
        .map_err(|error| EngineFault(error.to_string()))?;
        let response = Authorizer::new().is_authorized(&request, policies, &self.entities);
        // SECURITY: Cedar skips a policy that it cannot evaluate; a skipped guardrail would be an
        // open door, so any error at all refuses, whatever else was said.
        let mut errors: Vec<_> = response
            .diagnostics()
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| {
                (
                    deciders.get(error.policy_id()).copied(),
                    error.inner().to_string(),
                )
            })
            .collect();
        if !errors.is_empty() {
            errors.sort();
            return Ok(Verdict::Fault(errors));
        }
        let by: BTreeSet<Decider> = response
            .diagnostics()
            .reason()
            .filter_map(|id| deciders.get(id))
            .copied()
            .collect();
        Ok(match response.decision() {
            Decision::Deny => Verdict::Forbid(
                by.into_iter()
                    .filter_map(|decider| match decider {
                        Decider::Guardrail(at) => Some(at),
                        Decider::Grant(_) => None,
                    })
                    .collect(),
            ),
            Decision::Allow => {
                let grants: Vec<usize> = by
                    .into_iter()
                    .filter_map(|decider| match decider {
                        Decider::Grant(at) => Some(at),
                        Decider::Guardrail(_) => None,
                    })
                    .collect();
                match grants.first() {
                    Some(first) => Verdict::Permit(*first, grants),
                    None => return Err(EngineFault("allowed by no grant".to_owned())),
                }
            }
        })
    }
}

/// The Cedar permits that mean `grant`: one for each kind of thing that it gives.
fn permits(grant: &Grant) -> Vec<(Kind, Value)> {
    let names = |names: &[NamePattern]| (!names.is_empty()).then(|| name_term(names));
    let trees: Vec<_> = grant
        .resources
        .iter()
        .map(|tree| entity_literal("GrantedTree", tree.as_str()))
        .collect();
    let within =
        (!trees.is_empty()).then(|| binary("in", &variable("resource"), &json!({ "Set": trees })));
    let read_only = grant
        .read_only
        .then(|| attribute(&variable("resource"), "read_only"));
    let tools =
        names(&grant.tools).map(|named| [Some(named), read_only].into_iter().flatten().collect());
    let prompts = names(&grant.prompts).map(|named| vec![named]);
    let resources = within.map(|within| vec![within]);
    [
        (Kind::Tool, tools),
        (Kind::Prompt, prompts),
        (Kind::Resource, resources),
    ]
    .into_iter()
    .filter_map(|(kind, terms)| Some((kind, permit(grant, kind, terms?))))
    .collect()
}

fn permit(grant: &Grant, kind: Kind, mut terms: Vec<Value>) -> Value {
    terms.extend(agent_term(&grant.agents));
    let resource = match &grant.server {
        ServerSelector::Uri(uri) => {
            let server = json!({ "entity": { "type": "Server", "id": uri.as_str() } });
            json!({ "op": "is", "entity_type": type_of(kind), "in": server })
        }
        ServerSelector::Name(name) => {
            let server_name = attribute(&attribute(&variable("resource"), "server"), "name");
            terms.push(binary(
                "==",
                &server_name,
                &json!({ "Value": name.as_str() }),
            ));
            json!({ "op": "is", "entity_type": type_of(kind) })
        }
    };
    let conditions: Vec<_> = terms
        .into_iter()
        .map(|body| json!({ "kind": "when", "body": body }))
        .collect();
    json!({
        "effect": "permit",
        "principal": { "op": "All" },
        "action": { "op": "==", "entity": { "type": "Action", "id": action_of(kind) } },
        "resource": resource,
        "conditions": conditions,
        "annotations": { "id": grant.id.as_str() },
    })
}

/// That the agent is one of these; `None` when every agent is.
fn agent_term(agents: &[AgentSelector]) -> Option<Value> {
    let (mut ids, mut groups) = (Vec::new(), Vec::new());
    for selector in agents {
        match selector {
            AgentSelector::Any => return None,
            AgentSelector::Agent(agent) => ids.push(entity_literal("Agent", agent.as_str())),
            AgentSelector::Group(group) => groups.push(entity_literal("Group", group.as_str())),
        }
    }
    // A Cedar set holds entities of one type.
    let sets = [ids, groups].into_iter().filter(|set| !set.is_empty());
    Some(any_of(
        sets.map(|set| binary("in", &variable("principal"), &json!({ "Set": set })))
            .collect(),
    ))
}

/// That the resource's name is one of these.
fn name_term(names: &[NamePattern]) -> Value {
    let name = || attribute(&variable("resource"), "name");
    let (mut exact, mut terms) = (Vec::new(), Vec::new());
    for pattern in names {
        match pattern.exact() {
            Some(exactly) => exact.push(json!({ "Value": exactly.as_str() })),
            None => {
                terms.push(json!({ "like": { "left": name(), "pattern": like_pattern(pattern) } }))
            }
        }
    }
    if !exact.is_empty() {
        terms.push(binary("contains", &json!({ "Set": exact }), &name()));
    }
    any_of(terms)
}

fn like_pattern(pattern: &NamePattern) -> Vec<Value> {
    let mut elements = Vec::new();
    for (at, literal) in pattern.as_str().split('*').enumerate() {
        if at > 0 {
            elements.push(json!("Wildcard"));
        }
        if !literal.is_empty() {
            elements.push(json!({ "Literal": literal }));
        }
    }
    elements
}

/// The disjunction of `terms`, as a balanced tree so that many terms do not make it deep.
fn any_of(mut terms: Vec<Value>) -> Value {
    while terms.len() > 1 {
        terms = terms
            .chunks(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(binary("||", left, right)),
                [one] => Some(one.clone()),
                _ => None,
            })
            .collect();
    }
    terms.pop().unwrap_or_else(|| json!({ "Value": false }))
}

fn variable(name: &str) -> Value {
    json!({ "Var": name })
}

fn attribute(of: &Value, name: &str) -> Value {
    json!({ ".": { "left": of, "attr": name } })
}

fn binary(operator: &str, left: &Value, right: &Value) -> Value {
    json!({ operator: { "left": left, "right": right } })
}

fn entity_literal(entity_type: &str, id: &str) -> Value {
    json!({ "Value": { "__entity": { "type": entity_type, "id": id } } })
}

fn task_entity(question: &Question) -> Result<Entity, EngineFault> {
    let mut values = BTreeMap::new();
    for (name, value) in &question.context {
        let text = match Scalar::from_json(value) {
            Some(Scalar::Text(text)) => text,
            Some(Scalar::Int(number)) => number.to_string(),
            Some(Scalar::Bool(flag)) => flag.to_string(),
            None => {
                return Err(EngineFault(format!(
                    "context value `{}` is no scalar",
                    quote(name)
                )));
            }
        };
        values.insert(name.clone(), text);
    }
    entity(uid("Task", TASK)?, [], HashSet::new(), &values)
}

fn server_entity(manifest: &Manifest) -> Result<Entity, EngineFault> {
    let name = (
        "name",
        RestrictedExpression::new_string(manifest.name.as_str().to_owned()),
    );
    let region = manifest
        .region
        .clone()
        .map(|region| ("region", RestrictedExpression::new_string(region)));
    entity(
        uid("Server", manifest.server.as_str())?,
        [name].into_iter().chain(region),
        HashSet::new(),
        &BTreeMap::new(),
    )
}

fn entity(
    uid: EntityUid,
    attributes: impl IntoIterator<Item = (&'static str, RestrictedExpression)>,
    parents: HashSet<EntityUid>,
    tags: &BTreeMap<String, String>,
) -> Result<Entity, EngineFault> {
    let attributes = attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let tags = tags.iter().map(|(name, value)| {
        (
            name.clone(),
            RestrictedExpression::new_string(value.clone()),
        )
    });
    Entity::new_with_tags(uid, attributes, parents, tags)
        .map_err(|error| EngineFault(error.to_string()))
}

fn uid(entity_type: &str, id: &str) -> Result<EntityUid, EngineFault> {
    let entity_type: EntityTypeName = entity_type
        .parse()
        .map_err(|_| EngineFault(format!("`{entity_type}` is no entity type")))?;
    Ok(EntityUid::from_type_name_and_id(
        entity_type,
        EntityId::new(id),
    ))
}

/// No server URI holds a space, so server and name never run into each other.
fn right_uid(right: &Right) -> Result<EntityUid, EngineFault> {
    uid(
        type_of(right.kind()),
        &format!("{} {}", right.server, right.name.as_str()),
    )
}

const fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "Tool",
        Kind::Resource => "ResourceTree",
        Kind::Prompt => "Prompt",
    }
}

const fn action_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "call",
        Kind::Resource => "read",
        Kind::Prompt => "get",
    }
}

/// The id of the one task entity of a question.
const TASK: &str = "asked";

/// What guardrails can look at, as Cedar schema text; `hallpass serve` writes it beside the policies.
pub const SCHEMA: &str = include_str!("hallpass.cedarschema");
