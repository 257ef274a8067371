//! Exchange: a pass for a narrower one of another agent's, in a task of its own that ends with the pass (RFC 8693).
//!
//! The child allows no more than was left of the parent by construction: every restriction of the parent is
//! appended, as it was, to whatever policy grants the child.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    BrokerError, Caller, Issuance, Issued, ServerVerifiers, State,
    change::View,
    domain::{
        event::{AgentRecord, LedgerEvent, TaskRecord},
        parent::ParentPass,
    },
    issuing::{
        issue::Asked,
        opening::{OpenedBy, Terms},
        pipeline::{Requested, Way},
        request::refuse_bad_details,
    },
    policy::Catalogue,
};
use hallpass_core::{
    base::{
        holder::HolderKey,
        ids::{AgentId, KeyId, ServerUri, ToolName},
    },
    token::{
        GrantedDetail, HolderChain, Holding, PassToken, Remaining, RequestedDetail, VerifiedPass,
        path::ResourceTree, rights::NamePattern,
    },
};

/// A genuine pass that is to be exchanged. Whether it is live is checked when it is exchanged.
pub struct SubjectPass {
    token: PassToken,
    pass: VerifiedPass,
    remaining: Remaining,
}

impl SubjectPass {
    /// What is left of it, by exact names: what is asked for when nothing else is.
    #[must_use]
    pub fn left(&self) -> Vec<RequestedDetail> {
        let servers: BTreeSet<&ServerUri> = self
            .remaining
            .rights
            .iter()
            .map(|detail| &detail.server)
            .collect();
        let all = servers
            .into_iter()
            .map(|server| Left::of(&self.remaining.rights, server).all(server));
        all.filter(|detail| !detail.names_nothing()).collect()
    }

    /// The agent whose pass it is.
    #[must_use]
    pub const fn agent(&self) -> &AgentId {
        &self.pass.claims().agent
    }
}

/// Never the pass.
impl std::fmt::Debug for SubjectPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pass.fmt(f)
    }
}

/// An exchange that is asked for.
#[derive(Debug)]
pub struct Exchange<'e> {
    /// The pass.
    pub subject: &'e SubjectPass,
    /// The key that the actor proved to hold with this very request, if it did: the new pass is bound to it.
    pub proven: Option<HolderKey>,
    /// What is asked for; as far as it is left, the new pass gets it.
    pub asked: Vec<RequestedDetail>,
    /// How long the new task lasts at most.
    pub ttl: Duration,
}

/// Why a pass was not exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The pass is not live, or may not be exchanged; the text is for the client.
    #[error("the subject token cannot be exchanged: {0}")]
    Subject(&'static str),
    /// It is bound to a key, which the actor did not prove to hold.
    #[error("the subject token is bound to a key: send a DPoP proof by it")]
    Proof,
    /// It is not for a server that is asked for.
    #[error("the subject token is not for a server that is asked for")]
    Target,
    /// Nothing of what is asked for is left of it.
    #[error("nothing of what is asked for is left of the subject token")]
    NothingLeft,
    /// The broker said no.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Exchanging passes.
#[derive(Debug)]
pub struct Exchanges {
    pub(crate) issuance: Arc<Issuance>,
    pub(crate) verifiers: Arc<ServerVerifiers>,
}

/// What of a pass is carried over to the one that it is exchanged for.
struct CarriedOver {
    asked: Vec<RequestedDetail>,
    limits: Vec<GrantedDetail>,
}

impl Exchanges {
    /// Reads a pass that is to be exchanged.
    ///
    /// # Errors
    ///
    /// Refuses what no root key of this broker signed.
    pub fn subject_pass(&self, token: &str) -> Result<SubjectPass, ExchangeError> {
        let pass = self
            .verifiers
            .genuine(token)?
            .ok_or(ExchangeError::Subject(NOT_ALIVE))?;
        let remaining = pass.remaining();
        Ok(SubjectPass {
            token: PassToken::from_text(token.to_owned()),
            pass,
            remaining,
        })
    }

    /// Whether `pass` is alive at some server, and `agent`'s own: what an actor token must be.
    ///
    /// # Errors
    ///
    /// When it is not, or it cannot be decided.
    pub fn refuse_foreign_actor(
        &self,
        pass: &SubjectPass,
        agent: &AgentId,
    ) -> Result<(), ExchangeError> {
        if pass.agent() != agent {
            return Err(ExchangeError::Subject(
                "the actor token belongs to another agent",
            ));
        }
        self.alive_at(pass, pass.pass.claims().audience.clone())
            .map(drop)
    }

    /// Exchanges a pass for one of `actor`'s, in a new task that ends with it. Policy is asked for the actor.
    ///
    /// # Errors
    ///
    /// See [`ExchangeError`]. Nothing is recorded of a pass that is not exchanged but what policy refused.
    pub async fn exchange(
        &self,
        caller: &Caller,
        actor: &AgentId,
        exchange: Exchange<'_>,
    ) -> Result<Issued, ExchangeError> {
        let ask = |view: &View<'_>| -> Result<Asked<()>, ExchangeError> {
            let agent = view.state().registered(actor)?.clone();
            let carried = self.carried_over(view, actor, &exchange)?;
            let task = self.child_task(view, carried, &agent, &exchange)?;
            let before = vec![LedgerEvent::TaskOpened { task: task.clone() }];
            let way = Way::Opened;
            Ok(Asked {
                before,
                ..Asked::plain(Requested { agent, task, way })
            })
        };
        self.issuance
            .issue(caller, ask)
            .await
            .map(|(issued, ())| issued)
    }

    /// What of the pass `actor` may carry over, now.
    fn carried_over(
        &self,
        view: &View<'_>,
        actor: &AgentId,
        exchange: &Exchange<'_>,
    ) -> Result<CarriedOver, ExchangeError> {
        let SubjectPass {
            pass, remaining, ..
        } = exchange.subject;
        let asked = in_canonical_names(&view.state().catalogue(), &exchange.asked, pass)?;
        let servers = asked.iter().map(|detail| detail.server.clone()).collect();
        let alive = self.alive_at(exchange.subject, servers)?;
        refuse_without_possession(&view.state(), pass, actor, exchange.proven.as_ref())?;
        if remaining.unsaid > 0 {
            return Err(ExchangeError::Subject(
                "it was narrowed in a way that cannot be carried over",
            ));
        }
        let left: Vec<_> = remaining
            .rights
            .iter()
            .filter(|detail| alive.contains(&detail.server))
            .cloned()
            .collect();
        let asked: Vec<_> = asked
            .iter()
            .map(|detail| Left::of(&left, &detail.server).within(detail))
            .collect();
        let asked: Vec<_> = asked
            .into_iter()
            .filter(|detail| !detail.names_nothing())
            .collect();
        if asked.is_empty() {
            return Err(ExchangeError::NothingLeft);
        }
        // A server of which nothing is asked does not end the child.
        let limits = left
            .into_iter()
            .filter(|limit| asked.iter().any(|detail| detail.server == limit.server))
            .collect();
        Ok(CarriedOver { asked, limits })
    }

    /// Those of `servers` whose own verifiers admit the pass.
    fn alive_at(
        &self,
        subject: &SubjectPass,
        servers: BTreeSet<ServerUri>,
    ) -> Result<BTreeSet<ServerUri>, ExchangeError> {
        let mut alive = BTreeSet::new();
        for server in servers {
            alive.extend(
                self.verifiers
                    .admitted(&server, subject.token.expose())?
                    .map(|_| server),
            );
        }
        if alive.is_empty() {
            Err(ExchangeError::Subject(NOT_ALIVE))
        } else {
            Ok(alive)
        }
    }

    fn child_task(
        &self,
        view: &View<'_>,
        carried: CarriedOver,
        actor: &AgentRecord,
        exchange: &Exchange<'_>,
    ) -> Result<TaskRecord, ExchangeError> {
        let pass = &exchange.subject.pass;
        let (opened_at, state) = (view.now().floor_second(), view.state());
        let ends_at = opened_at
            .plus(exchange.ttl.min(self.issuance.limits.max_task_ttl))
            .min(pass.valid_until());
        let not_alive = || ExchangeError::Subject(NOT_ALIVE);
        let (live, issued) = state
            .issued(pass)
            .filter(|_| ends_at > opened_at)
            .ok_or_else(not_alive)?;
        if state.ancestors(&live.record).len() >= MAX_GENERATIONS {
            return Err(ExchangeError::Subject("it came of too many exchanges"));
        }
        let terms = Terms {
            agent: actor,
            purpose: live.record.purpose.clone(),
            opened_at,
            ends_at,
            context: live.record.context.clone(),
            asked: carried.asked,
            holder: exchange.proven.clone().map(|key| Holding {
                key,
                max_delegations: 0,
            }),
        };
        let by = OpenedBy::Exchange {
            of: &live.record,
            pass: state.parent((pass, &live.record), issued.key, carried.limits),
        };
        Ok(TaskRecord::open(by, terms))
    }
}

/// What is asked for, at servers that the pass is for.
fn in_canonical_names(
    catalogue: &Catalogue,
    asked: &[RequestedDetail],
    pass: &VerifiedPass,
) -> Result<Vec<RequestedDetail>, ExchangeError> {
    refuse_bad_details(asked)?;
    let canonical = |detail: &RequestedDetail| {
        let server = catalogue.canonical(&detail.server)?.clone();
        let is_meant = pass.claims().audience.contains(&server);
        is_meant.then(|| {
            let mut detail = detail.clone();
            detail.server = server;
            detail
        })
    };
    asked
        .iter()
        .map(canonical)
        .collect::<Option<_>>()
        .ok_or(ExchangeError::Target)
}

/// Refuses an actor that did not prove to be the holder of a bound pass, and one that the holder may not hand
/// it on to.
fn refuse_without_possession(
    state: &State,
    pass: &VerifiedPass,
    actor: &AgentId,
    proven: Option<&HolderKey>,
) -> Result<(), ExchangeError> {
    let leaf = pass.holder().map(HolderChain::leaf);
    if leaf.is_some() && leaf != proven {
        return Err(ExchangeError::Proof);
    }
    let stays = match (leaf, pass.holder()) {
        // The actor was handed it already, and keeps it.
        (Some(leaf), Some(chain)) if !chain.hops().is_empty() => state
            .agents_with_key(&leaf.thumbprint())
            .any(|agent| agent.agent == *actor),
        _ => pass.claims().agent == *actor,
    };
    match pass.may_be_handed_on() {
        false if !stays => Err(ExchangeError::Subject("it may not be handed on")),
        _ if pass.is_sealed() => Err(ExchangeError::Subject(
            "it is sealed: it can be used and not narrowed",
        )),
        _ => Ok(()),
    }
}

impl State {
    /// The record of a pass of `task` that is exchanged: all by which its end is known.
    fn parent(
        &self,
        (pass, task): (&VerifiedPass, &TaskRecord),
        key: KeyId,
        left: Vec<GrantedDetail>,
    ) -> ParentPass {
        let keys = pass.holder().into_iter().flat_map(HolderChain::keys);
        let holders: Vec<String> = keys.map(|(_, key)| key.thumbprint()).collect();
        let delegates: Vec<&AgentRecord> = holders
            .iter()
            .flat_map(|key| self.agents_with_key(key))
            .collect();
        let answer = |agent: &AgentRecord| agent.answered_for_beside(&task.steward);
        let answered_for_by = delegates
            .iter()
            .copied()
            .chain(self.agent(&task.agent))
            .filter_map(answer);
        ParentPass {
            task: task.task.clone(),
            agent: task.agent.clone(),
            steward: task.steward.clone(),
            key,
            blocks: pass.blocks().to_vec(),
            delegates: delegates.iter().map(|agent| agent.agent.clone()).collect(),
            answered_for_by: answered_for_by
                .chain(task.answered_for_by.clone())
                .collect(),
            holders,
            limits: left,
        }
    }

    /// The agents in whose places `task` acts, the next first.
    pub(crate) fn ancestors(&self, task: &TaskRecord) -> Vec<AgentId> {
        let mut agents = Vec::new();
        let mut parent = task.parent.as_ref();
        while let Some(pass) = parent.filter(|_| agents.len() <= MAX_GENERATIONS) {
            agents.push(pass.agent.clone());
            parent = self
                .task(&pass.task)
                .and_then(|live| live.record.parent.as_ref());
        }
        agents
    }
}

/// What is named of one server.
#[derive(Default)]
struct Left<'l> {
    tools: BTreeSet<&'l ToolName>,
    prompts: BTreeSet<&'l ToolName>,
    resources: Vec<ResourceTree>,
}

impl<'l> Left<'l> {
    fn of(left: &'l [GrantedDetail], server: &ServerUri) -> Self {
        let mut names = Self::default();
        for detail in left.iter().filter(|detail| detail.server == *server) {
            names.tools.extend(&detail.tools);
            names.prompts.extend(&detail.prompts);
            names.resources.extend(detail.resources.iter().cloned());
        }
        names
    }

    fn all(&self, server: &ServerUri) -> RequestedDetail {
        let mut all = RequestedDetail::new(server.clone());
        let exact = |names: &BTreeSet<&ToolName>| {
            names
                .iter()
                .map(|name| NamePattern::from((*name).clone()))
                .collect()
        };
        (all.tools, all.prompts) = (exact(&self.tools), exact(&self.prompts));
        all.resources.clone_from(&self.resources);
        all
    }

    /// `detail` with exact names that are left, and with every demand that it makes of them.
    fn within(&self, detail: &RequestedDetail) -> RequestedDetail {
        let meant = |patterns: &[NamePattern], names: &BTreeSet<&ToolName>| {
            let is_meant = |name: &ToolName| patterns.iter().any(|pattern| pattern.matches(name));
            names
                .iter()
                .filter(|name| is_meant(name))
                .map(|name| NamePattern::from((*name).clone()))
                .collect()
        };
        let mut kept = detail.clone();
        kept.tools = meant(&detail.tools, &self.tools);
        kept.prompts = meant(&detail.prompts, &self.prompts);
        kept.resources = ResourceTree::intersection(&detail.resources, &self.resources);
        // A demand on a tool that is asked for and not left is moot; any other stays, for policy to refuse.
        let is_moot = |tool: &ToolName| {
            detail.tools.iter().any(|pattern| pattern.matches(tool)) && !self.tools.contains(tool)
        };
        kept.retain_demands(|tool| !is_moot(tool));
        kept
    }
}

const NOT_ALIVE: &str = "it is no pass of this broker that is alive";

/// A pass comes of at most this many exchanges.
const MAX_GENERATIONS: usize = 8;
