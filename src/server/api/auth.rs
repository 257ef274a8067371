//! Who is asking: sessions as extractors, so that a route's signature says who may call it.
//!
//! One `Authorization` header with one credential. An assertion is used up before anything else
//! happens, and it is recorded before the answer leaves (see the middleware).

use std::{marker::PhantomData, sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use tokio::sync::OwnedSemaphorePermit;

use crate::server::{
    App,
    edge::{
        context::{Context, Here},
        describe::Described,
        problem::Problem,
    },
};
use hallpass_broker::{
    BrokerError, Caller, UsedAssertion,
    domain::event::Actor,
    identity::{
        AssertionKeys, Credential, Operation, OperatorError, OperatorSession, OperatorStanding,
        assertion,
    },
};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{AgentId, OperatorId, ServerUri},
    },
    token::RequestedDetail,
};

/// An agent that proved its key with this request.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) agent: AgentId,
    pub(crate) caller: Caller,
}

/// An operator whose token allows the operation `N`.
#[derive(Debug)]
pub(crate) struct Operator<N> {
    pub(crate) caller: Caller,
    pub(crate) session: OperatorSession,
    needs: PhantomData<fn() -> N>,
}

/// An agent about its own, or an operator whose token allows the operation `N`.
#[derive(Debug)]
pub(crate) enum Reader<N> {
    Agent(Box<Agent>),
    Operator(#[expect(dead_code, reason = "that there is one is what counts")] Box<Operator<N>>),
}

impl<N> Reader<N> {
    /// The agent to whose things the answer is confined.
    pub(crate) fn confined_to(&self) -> Option<&AgentId> {
        match self {
            Self::Agent(agent) => Some(&agent.agent),
            Self::Operator(_) => None,
        }
    }
}

/// The operation that a route needs.
pub(crate) trait Needs {
    /// As operators' tokens name it.
    const OPERATION: Operation;
}

/// One type for each operation, so that extractors can name them.
pub(crate) mod needs {
    use super::{Needs, Operation};

    macro_rules! needs {
        ($($name:ident),+ $(,)?) => {$(
            #[derive(Debug)]
            pub(crate) struct $name;

            impl Needs for $name {
                const OPERATION: Operation = Operation::$name;
            }
        )+};
    }

    needs!(
        AgentsRead,
        AgentsWrite,
        AgentsDelete,
        ServersRead,
        ServersWrite,
        ServersDelete,
        StewardsRead,
        StewardsWrite,
        StewardsDelete,
        StewardsSignIn,
        OperatorsRead,
        OperatorsWrite,
        OperatorsDelete,
        KeysRead,
        KeysRotate,
        PolicyRead,
        PolicyExplain,
        PolicyWrite,
        PolicyReload,
        TasksRead,
        RevocationsRead,
        RevocationsCreate,
        RevocationsReinstate,
        AuditRead,
        DecisionsCreate,
    );
}

impl Described for Agent {}

impl FromRequestParts<Arc<App>> for Agent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Here(context) = Here::from_request_parts(parts, app).await?;
        match credential(&parts.headers, app, &context)? {
            Credential::Assertion(text) => app.agent(text, &context),
            Credential::OperatorToken(text) => {
                app.authenticated(text, &context)?;
                Err(Problem::forbidden("this route is for agents"))
            }
        }
    }
}

impl<N> Described for Operator<N> {}

impl<N: Needs> FromRequestParts<Arc<App>> for Operator<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Here(context) = Here::from_request_parts(parts, app).await?;
        let session = match credential(&parts.headers, app, &context)? {
            Credential::OperatorToken(text) => app.operator(text, &context, N::OPERATION)?,
            // An agent learns what it is not allowed only once it proved who it is.
            Credential::Assertion(text) => {
                return Err(app
                    .agent(text, &context)
                    .err()
                    .unwrap_or_else(for_operators));
            }
        };
        let caller = context.caller(Actor::Operator(session.operator().clone()));
        Ok(Self {
            caller,
            session,
            needs: PhantomData,
        })
    }
}

impl<N> Described for Reader<N> {}

impl<N: Needs> FromRequestParts<Arc<App>> for Reader<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Here(context) = Here::from_request_parts(parts, app).await?;
        if let Credential::Assertion(text) = credential(&parts.headers, app, &context)? {
            return app
                .agent(text, &context)
                .map(|agent| Self::Agent(Box::new(agent)));
        }
        Operator::from_request_parts(parts, app)
            .await
            .map(|operator| Self::Operator(Box::new(operator)))
    }
}

/// An operator, for routes where what is needed depends on the parameters.
#[derive(Debug)]
pub(crate) struct Follower(OperatorSession);

impl Described for Follower {}

impl FromRequestParts<Arc<App>> for Follower {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Here(context) = Here::from_request_parts(parts, app).await?;
        match credential(&parts.headers, app, &context)? {
            // What each route needs beside depends on its parameters.
            Credential::OperatorToken(text) => {
                app.operator(text, &context, Operation::FeedRead).map(Self)
            }
            Credential::Assertion(text) => Err(app
                .agent(text, &context)
                .err()
                .unwrap_or_else(for_operators)),
        }
    }
}

impl Follower {
    /// Who.
    pub(crate) const fn operator(&self) -> &OperatorId {
        self.0.operator()
    }

    /// Whether it may follow `server`; for `None`, a server that is not registered, whether it may
    /// know that.
    pub(crate) fn clear(&self, app: &App, server: Option<&ServerUri>) -> Result<(), Problem> {
        let now = app.broker.now();
        let cleared = match server {
            Some(server) => self.0.clear_at(Operation::FeedRead, server, now),
            None => self.0.clear(Operation::ServersRead, now),
        };
        cleared.map_err(outside)
    }

    /// Whether it still may: its operator may have been removed, or its time be over.
    pub(crate) fn still_follows(&self, app: &App, server: &ServerUri) -> bool {
        app.stands(&self.0)
            && self
                .0
                .clear_at(Operation::FeedRead, server, app.broker.now())
                .is_ok()
    }
}

impl App {
    /// The agent that signed the assertion `text`, which is used up by this.
    pub(crate) fn agent(&self, text: &str, context: &Context) -> Result<Agent, Problem> {
        let lookup = |agent: &AgentId| self.agent_keys.of(&self.broker.state(), agent);
        self.agent_with(text, context, lookup)
    }

    /// The agent whose keys `lookup` knows and that signed the assertion `text`, which is used up by this.
    pub(crate) fn agent_with<K: Into<AssertionKeys>>(
        &self,
        text: &str,
        context: &Context,
        lookup: impl Fn(&AgentId) -> Option<K>,
    ) -> Result<Agent, Problem> {
        let verified = assertion::verify(text, lookup, self.broker.issuer(), self.broker.now());
        let verified = verified
            .map_err(|error| self.not_authenticated(context, error.reason().to_string()))?;
        let used = UsedAssertion {
            agent: verified.agent,
            jti: verified.jti,
            expires_at: verified.expires_at,
        };
        // SECURITY: first, so that an intercepted assertion uses up the sender's quota and
        // not the agent's.
        self.broker.use_assertion(&used).inspect_err(|error| {
            // That it cannot be remembered is no fault of the sender.
            if matches!(error, BrokerError::Replay) {
                self.limits.note_failure(context.peer);
            }
        })?;
        let agent = used.agent.clone();
        self.admit(&Actor::Agent(agent.clone()), context)?;
        let caller = Caller {
            assertion: Some(used),
            ..context.caller(Actor::Agent(agent.clone()))
        };
        context.used_assertion(caller.clone());
        Ok(Agent { agent, caller })
    }

    /// The operator that presents the token `text`, which allows `operation` now.
    ///
    /// SECURITY: a token that has expired, or was narrowed to something else, may be in any hands. Its failures count
    /// against the address, and not against the operator. Revocations have a quota of their own, so that nothing else
    /// that an operator's tokens are used for keeps it from revoking.
    pub(crate) fn operator(
        &self,
        text: &str,
        context: &Context,
        operation: Operation,
    ) -> Result<OperatorSession, Problem> {
        let session = self.authenticated(text, context)?;
        session
            .clear(operation, self.broker.now())
            .map_err(|error| self.refused(error, context))?;
        self.places.note_known(context.peer);
        let actor = Actor::Operator(session.operator().clone());
        match operation {
            Operation::RevocationsCreate => {
                self.admit_principal(&format!("{actor}, revoking"), context)?;
            }
            _ => self.admit(&actor, context)?,
        }
        Ok(session)
    }

    /// The operator whose token `text` is, whatever it allows.
    fn authenticated(&self, text: &str, context: &Context) -> Result<OperatorSession, Problem> {
        let session = self.authenticate(text);
        session.map_err(|reason| self.not_authenticated(context, reason.as_str().to_owned()))
    }

    /// Counts a request of `actor`, who proved to be that, often and at once.
    pub(crate) fn admit(&self, actor: &Actor, context: &Context) -> Result<(), Problem> {
        self.admit_principal(&actor.to_string(), context)
    }

    /// Counts a request under the name `principal`, often and at once.
    pub(crate) fn admit_principal(
        &self,
        principal: &String,
        context: &Context,
    ) -> Result<(), Problem> {
        self.limits.admit_principal(principal)?;
        let share = self.request_shares.take(principal);
        context.hold(share.ok_or_else(|| Problem::rate_limited(Duration::from_secs(1)))?);
        Ok(())
    }

    /// Charges `agent` for a decision about `details`, by the number of rights: each is decided by itself.
    pub(crate) fn charge(
        &self,
        agent: &AgentId,
        details: &[RequestedDetail],
    ) -> Result<(), Problem> {
        let rights = self.broker.state().catalogue().count_rights(details);
        let requests = u32::try_from(rights / RIGHTS_A_REQUEST).unwrap_or(u32::MAX);
        let actor = Actor::Agent(agent.clone());
        self.limits.charge(&actor.to_string(), requests)
    }

    /// A permit that is kept for operators who may revoke: no load may keep them out.
    pub(crate) fn reserved(
        &self,
        headers: &HeaderMap,
        context: &Context,
    ) -> Option<OwnedSemaphorePermit> {
        let Some(Credential::OperatorToken(text)) = one_credential(headers) else {
            return None;
        };
        let session = self
            .authenticate(text)
            .inspect_err(|_| self.limits.note_failure(context.peer))
            .ok()?;
        session
            .clear(Operation::RevocationsCreate, self.broker.now())
            .ok()?;
        Arc::clone(&self.reserve).try_acquire_owned().ok()
    }

    fn authenticate(&self, text: &str) -> Result<OperatorSession, ReasonCode> {
        let broker = &self.broker;
        let standing = OperatorStanding {
            key: &|id| broker.state().operator_key(id),
            is_revoked: &|block| broker.state().is_revoked_block(block),
            is_accepted: &|operator, issued_at| {
                broker.state().accepts_operator(operator, issued_at)
            },
        };
        OperatorSession::authenticate(text, &standing).map_err(|error| error.reason())
    }

    /// Whether a session that was good still is: neither its token, nor its operator, nor the key
    /// that signed it was revoked.
    fn stands(&self, session: &OperatorSession) -> bool {
        let state = self.broker.state();
        let token = session.token();
        state.accepts_operator(session.operator(), token.issued_at())
            && state.operator_key(token.key()).is_some()
            && !token
                .blocks()
                .iter()
                .any(|block| state.is_revoked_block(block))
    }

    /// Whether the operator of a session may still read the audit trail.
    pub(crate) fn still_accepts(&self, session: &OperatorSession) -> bool {
        self.stands(session)
            && session
                .clear(Operation::AuditRead, self.broker.now())
                .is_ok()
    }

    fn refused(&self, error: OperatorError, context: &Context) -> Problem {
        match error.code() {
            ReasonCode::Unauthenticated => {
                self.not_authenticated(context, error.reason().as_str().to_owned())
            }
            _ => {
                self.limits.note_failure(context.peer);
                outside(error)
            }
        }
    }

    fn not_authenticated(&self, context: &Context, inside: String) -> Problem {
        self.limits.note_failure(context.peer);
        Problem::unauthenticated(inside)
    }
}

/// The one bearer credential of a request.
pub(crate) fn one_credential(headers: &HeaderMap) -> Option<Credential<'_>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    value
        .filter(|_| values.next().is_none())
        .and_then(Credential::from_authorization)
}

/// The same, where there must be one.
fn credential<'h>(
    headers: &'h HeaderMap,
    app: &App,
    context: &Context,
) -> Result<Credential<'h>, Problem> {
    one_credential(headers).ok_or_else(|| {
        app.not_authenticated(context, "not exactly one bearer credential".to_owned())
    })
}

pub(crate) fn outside(error: OperatorError) -> Problem {
    match error.code() {
        ReasonCode::Forbidden => Problem::forbidden(error.to_string()),
        _ => Problem::unauthenticated(error.reason().as_str()),
    }
}

/// A decision about so many rights counts as one request.
const RIGHTS_A_REQUEST: usize = 8;

fn for_operators() -> Problem {
    Problem::forbidden("this route is for operators")
}
