//! How tests exchange a pass for another.

use hallpass_broker::{Exchange, ExchangeError};
use hallpass_core::{base::holder::HolderKey, token::RequestedDetail};

use super::*;

/// An agent that calls.
pub(super) fn named(agent: &str) -> (Caller, AgentId) {
    let agent: AgentId = agent.parse().unwrap();
    (
        Caller {
            actor: Actor::Agent(agent.clone()),
            ..Caller::broker()
        },
        agent,
    )
}

/// What is to be exchanged, and how.
#[derive(Clone)]
pub(super) struct Of<'t> {
    pub(super) token: &'t PassToken,
    pub(super) proven: Option<HolderKey>,
    pub(super) asked: Option<Vec<RequestedDetail>>,
}

/// All that is left of it, without a proof.
pub(super) fn of(token: &PassToken) -> Of<'_> {
    Of {
        token,
        proven: None,
        asked: None,
    }
}

/// Exchanges as that agent; without being asked for anything else, all that is left.
pub(super) async fn exchange(
    broker: &Broker,
    who: &(Caller, AgentId),
    of: Of<'_>,
) -> Result<Issued, ExchangeError> {
    let subject = broker.exchanges.subject_pass(of.token.expose())?;
    let asked = of.asked.unwrap_or_else(|| subject.left());
    let (proven, ttl) = (of.proven, Duration::from_secs(300));
    broker
        .exchanges
        .exchange(
            &who.0,
            &who.1,
            Exchange {
                subject: &subject,
                proven,
                asked,
                ttl,
            },
        )
        .await
}
