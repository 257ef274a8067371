//! Operators: their tokens, and what the records tell of them.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    BrokerError, ObjectKind,
    broker::{Broker, Caller},
    domain::event::{Event, Role},
    ledger::receipt::Draft,
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

/// An operator as the records tell of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorEntry {
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) expires_at: Timestamp,
    /// Tokens issued up to then are refused.
    pub(crate) removed_at: Option<Timestamp>,
    /// The `iat` of its latest token.
    pub(crate) latest_issue: Timestamp,
}

impl OperatorEntry {
    /// The `iat` of a token made at `at`: tokens of a removed operator end with the second of the
    /// removal, so a new one begins after it.
    pub(crate) fn issue_time(before: Option<&Self>, at: Timestamp) -> Timestamp {
        let removed_at = before.and_then(|entry| entry.removed_at);
        let after_removal = removed_at.map(|at| at.floor_second().plus(Duration::from_secs(1)));
        after_removal.map_or(at.floor_second(), |after| after.max(at.floor_second()))
    }

    /// Whether it was made, or made again, since it was removed.
    pub(crate) fn is_accepted(&self) -> bool {
        self.removed_at
            .is_none_or(|removed_at| self.latest_issue > removed_at)
    }
}

impl Broker {
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
        let _changing = self.changes.lock().await;
        self.refuse_bad_operator(&new)?;
        let now = self.now();
        let issued_at = OperatorEntry::issue_time(self.state().operators.get(&new.operator), now);
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
        let draft = {
            let keyring = self.keyring();
            let root = keyring
                .operator()
                .map_err(|error| BrokerError::Files(error.to_string()))?;
            let minted = mint_operator(root, &content);
            Draft::from(
                minted.map_err(|error| BrokerError::invalid("ttl_seconds", error.to_string()))?,
            )
        };
        let revocation_id = draft.revocation_id();
        let (operator, expires_at) = (new.operator, content.expires_at);
        let (roles, servers) = (new.roles, new.servers);
        let event = Event::OperatorAdded {
            operator: operator.clone(),
            roles,
            revocation_id,
            expires_at,
            servers,
        };
        let receipt = self.record(caller, now, vec![event]).await?;
        Ok(OperatorToken {
            operator,
            token: draft.release(&receipt)?,
            revocation_id,
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
        let _changing = self.changes.lock().await;
        if !self.state().operators.contains_key(operator) {
            return Err(BrokerError::not_found(ObjectKind::Operator, operator));
        }
        let event = Event::OperatorRemoved {
            operator: operator.clone(),
        };
        self.record(caller, self.now(), vec![event]).await.map(drop)
    }

    /// Operators whose tokens may be accepted, with what they may do and until when.
    #[must_use]
    pub fn operators(&self) -> Vec<(OperatorId, BTreeSet<Role>, Timestamp)> {
        let state = self.state();
        let alive = state
            .operators
            .iter()
            .filter(|(_, entry)| entry.is_accepted());
        alive
            .map(|(operator, entry)| (operator.clone(), entry.roles.clone(), entry.expires_at))
            .collect()
    }

    fn refuse_bad_operator(&self, new: &NewOperator) -> Result<(), BrokerError> {
        if new.roles.is_empty() {
            return Err(BrokerError::invalid(
                "roles",
                "give at least one of admin, auditor, verifier",
            ));
        }
        if new.roles.contains(&Role::Verifier) == new.servers.is_empty() {
            return Err(BrokerError::invalid(
                "servers",
                "name the servers whose feed a verifier follows; nobody else has any",
            ));
        }
        if new.ttl < MIN_OPERATOR_TTL || new.ttl > MAX_OPERATOR_TTL {
            let (min, max) = (MIN_OPERATOR_TTL.as_secs(), MAX_OPERATOR_TTL.as_secs());
            return Err(BrokerError::invalid(
                "ttl_seconds",
                format!("an operator's token lives {min} to {max} seconds"),
            ));
        }
        let state = self.state();
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
}

const MIN_OPERATOR_TTL: Duration = Duration::from_secs(60);
const MAX_OPERATOR_TTL: Duration = Duration::from_secs(366 * 24 * 3600);
