//! Operators: their tokens, and what the records say about them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    BrokerError, Caller, ObjectKind, State,
    change::{Changes, Decided, View, recorded},
    domain::{
        event::{LedgerEvent, Role},
        state::operators::OperatorEntry,
    },
    error::files,
    keys::lifecycle::Keys,
    ledger::Draft,
};
use hallpass_core::{
    base::{
        ids::{OperatorId, RevocationId, ServerUri},
        time::Timestamp,
    },
    token::{OperatorContent, PassToken, mint_operator},
};

/// An operator's token to be made.
#[derive(Debug, Clone)]
pub struct NewOperator {
    /// Who.
    pub operator: OperatorId,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// For a verifier: the servers whose feed it may follow.
    pub servers: BTreeSet<ServerUri>,
    /// How long the token lives.
    pub ttl: Duration,
}

/// An operator's token, handed out once.
#[derive(Debug)]
pub struct OperatorToken {
    /// Who.
    pub operator: OperatorId,
    /// The token.
    pub token: PassToken,
    /// What to revoke it by.
    pub revocation_id: RevocationId,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Operators and their tokens.
#[derive(Debug)]
pub struct Operators {
    pub(crate) changes: Arc<Changes>,
    pub(crate) keys: Arc<Keys>,
}

impl Operators {
    /// Makes a token for an operator. Another one for the same operator may live beside it.
    ///
    /// # Errors
    ///
    /// When it has no role, a verifier has no server or a server is not registered, the time is out
    /// of bounds, or it cannot be recorded.
    pub async fn add_operator(
        &self,
        caller: &Caller,
        new: NewOperator,
    ) -> Result<OperatorToken, BrokerError> {
        let decide = |view: &View<'_>| {
            let (now, state) = (view.now(), view.state());
            refuse_bad_operator(&state, &new)?;
            let issued_at = OperatorEntry::issue_time(state.operators.get(&new.operator), now);
            drop(state);
            let content = OperatorContent {
                operator: new.operator.clone(),
                roles: new
                    .roles
                    .iter()
                    .map(|role| role.as_str().to_owned())
                    .collect(),
                servers: new.servers.clone(),
                issued_at,
                expires_at: issued_at.plus(new.ttl),
            };
            let minted = mint_operator(self.keys.ring().operator().map_err(files)?, &content);
            let draft = Draft::from(
                minted.map_err(|error| BrokerError::invalid("ttl_seconds", error.to_string()))?,
            );
            let event = LedgerEvent::OperatorAdded {
                operator: new.operator.clone(),
                roles: new.roles.clone(),
                revocation_id: draft.revocation_id(),
                expires_at: content.expires_at,
                servers: new.servers.clone(),
            };
            let made = (draft, content.expires_at);
            Ok::<_, BrokerError>(Decided::record(now, vec![event], made))
        };
        let done = self.changes.in_turn(caller, decide).await?;
        let (draft, expires_at) = done.value;
        Ok(OperatorToken {
            operator: new.operator,
            revocation_id: draft.revocation_id(),
            token: draft.release(&recorded(done.receipt)?)?,
            expires_at,
        })
    }

    /// Refuses every token of an operator that was issued up to now.
    ///
    /// # Errors
    ///
    /// When there is no such operator, or it cannot be recorded.
    pub async fn remove_operator(
        &self,
        caller: &Caller,
        operator: &OperatorId,
    ) -> Result<(), BrokerError> {
        let decide = |view: &View<'_>| {
            if !view.state().operators.contains_key(operator) {
                return Err(BrokerError::not_found(ObjectKind::Operator, operator));
            }
            let operator = operator.clone();
            let events = vec![LedgerEvent::OperatorRemoved { operator }];
            Ok(Decided::record(view.now(), events, ()))
        };
        self.changes.in_turn(caller, decide).await?;
        Ok(())
    }

    /// Operators whose tokens may be accepted, with what they may do and until when.
    #[must_use]
    pub fn operators(&self) -> Vec<(OperatorId, BTreeSet<Role>, Timestamp)> {
        let state = self.changes.state();
        let alive = state
            .operators
            .iter()
            .filter(|(_, entry)| entry.is_accepted());
        alive
            .map(|(operator, entry)| (operator.clone(), entry.roles.clone(), entry.expires_at))
            .collect()
    }
}

fn refuse_bad_operator(state: &State, new: &NewOperator) -> Result<(), BrokerError> {
    if new.roles.is_empty() {
        return Err(BrokerError::invalid(
            "roles",
            "give at least one of admin, auditor, verifier",
        ));
    }
    if new.roles.contains(&Role::Verifier) == new.servers.is_empty() {
        return Err(BrokerError::invalid(
            "servers",
            "name the servers whose feed a verifier follows; other roles have none",
        ));
    }
    if new.ttl < MIN_OPERATOR_TTL || new.ttl > MAX_OPERATOR_TTL {
        let (min, max) = (MIN_OPERATOR_TTL.as_secs(), MAX_OPERATOR_TTL.as_secs());
        return Err(BrokerError::invalid(
            "ttl_seconds",
            format!("an operator's token lives {min} to {max} seconds"),
        ));
    }
    match new
        .servers
        .iter()
        .find(|server| !state.servers.contains_key(server))
    {
        Some(server) => Err(BrokerError::invalid(
            "servers",
            format!("no server `{server}` is registered"),
        )),
        None => Ok(()),
    }
}

const MIN_OPERATOR_TTL: Duration = Duration::from_secs(60);
const MAX_OPERATOR_TTL: Duration = Duration::from_secs(366 * 24 * 3600);
