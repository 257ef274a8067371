//! Codes: authorization codes and refresh tokens, from presented to used up.
//!
//! SECURITY: each is good once. One that comes a second time was stolen or is a thief's, nobody can
//! tell which, so the task that came of it ends, and every pass of it with it (RFC 9700 section 4.14).

use std::{collections::BTreeSet, fmt};

use tokio::sync::{Mutex, MutexGuard};

use crate::{
    BrokerError, GivenBack, Issued, OneTime, Revoke,
    broker::{Broker, Caller},
    domain::{
        consent::ConsentRecord,
        event::{Actor, Event, Subject, TaskRecord},
    },
    issuing::{consent, narrow},
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, ServerUri, TaskId},
    },
    token::{Holding, RequestedDetail, scope::Scope},
};

/// An authorization code, presented.
#[derive(Clone)]
pub struct Redemption<'a> {
    /// The code.
    pub code: &'a str,
    /// The redirect URI that was presented with it.
    pub redirect_uri: Option<&'a str>,
    /// SHA-256 of the verifier.
    pub verifier: Digest,
    /// The servers that the pass is to be for; none: all that were allowed.
    pub servers: BTreeSet<ServerUri>,
    /// The key that passes are to be bound to, proven.
    pub holder: Option<Holding>,
}

/// A refresh token, presented.
#[derive(Clone)]
pub struct Refresh<'a> {
    /// The token.
    pub token: &'a str,
    /// The servers that the pass is to be for; none: all that were allowed.
    pub servers: BTreeSet<ServerUri>,
    /// What the pass is to be for; `None`: all that was allowed.
    pub scope: Option<&'a Scope>,
    /// The key that a proof came with.
    pub holder: Option<Holding>,
}

/// A pass, and what renews it.
#[derive(Debug)]
pub struct Handed {
    /// The pass.
    pub issued: Issued,
    /// The refresh token, good once.
    pub refresh: OneTime,
    /// Whether the answer names the rights in full.
    pub in_detail: bool,
}

/// A code or refresh token that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// It is none that counts here; which, is for the log.
    #[error("{0}")]
    Refused(CodeReason),
    /// One of the servers is none that was allowed.
    #[error("a server that was not allowed")]
    Target,
    /// Some of what is wanted was not allowed.
    #[error("more than was allowed")]
    Scope,
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Why a code or refresh token was refused: for the log, never for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeReason {
    /// Never made here, or forgotten, or its task, agent or steward was ended.
    #[error("no such code or token, or what it was for has ended")]
    Unknown,
    /// It was used before; what came of it is revoked.
    #[error("used twice: what came of it is revoked")]
    UsedTwice,
    /// Its time is over.
    #[error("it has ended")]
    Ended,
    /// It was made for another client.
    #[error("it is another client's")]
    OtherClient,
    /// Not the redirect URI of the request.
    #[error("not the redirect URI that it was sent to")]
    RedirectUri,
    /// Not the verifier of the challenge.
    #[error("the verifier is not that of the challenge")]
    Verifier,
    /// Not the key that it is bound to.
    #[error("no proof by the key that it is bound to")]
    Holder,
}

impl Broker {
    /// Whether `code` is an authorization code that was made here and not forgotten, used or not.
    #[must_use]
    pub fn knows_code(&self, code: &str) -> bool {
        let (digest, state) = (Digest::of(code.as_bytes()), self.state());
        state.people.consent(&digest).is_some() || state.people.family_of(&digest).is_some()
    }

    /// Whether `token` is a refresh token of a task that lives, replaced or not.
    #[must_use]
    pub fn knows_refresh_token(&self, token: &str) -> bool {
        self.state()
            .people
            .family_of(&Digest::of(token.as_bytes()))
            .is_some()
    }

    /// Redeems an authorization code for `agent`, which has authenticated as far as it can: opens the
    /// task that was allowed and mints its first pass.
    ///
    /// # Errors
    ///
    /// [`CodeError::Refused`] when the code is not good. One that comes with another's redirect URI,
    /// verifier, key or client is used up by that; one that comes again ends its task. Otherwise as
    /// [`open_task`](Self::open_task), and the code stays good, unless what it opened was revoked in that moment.
    pub async fn redeem_code(
        &self,
        caller: &Caller,
        agent: &AgentId,
        redemption: Redemption<'_>,
    ) -> Result<Handed, CodeError> {
        let digest = Digest::of(redemption.code.as_bytes());
        let _turn = self.turns.of(&digest).await;
        let (consent, opened) = {
            let state = self.state();
            let family = state
                .people
                .family_of(&digest)
                .filter(|(_, family)| family.current != digest);
            let opened = family.map(|(task, _)| task.clone());
            (state.people.consent(&digest).cloned(), opened)
        };
        if let Some(task) = opened {
            self.end_misused(caller, &task, "an authorization code was used twice")
                .await?;
            return Err(CodeError::Refused(CodeReason::UsedTwice));
        }
        let (consent, now) = (
            consent.ok_or(CodeError::Refused(CodeReason::Unknown))?,
            self.now(),
        );
        if consent.expires_at <= now {
            return Err(CodeError::Refused(CodeReason::Ended));
        }
        if let Err(reason) = fits(&consent, agent, &redemption) {
            self.spend_misused(caller, &consent).await?;
            return Err(CodeError::Refused(reason));
        }
        let record = self.registered(agent)?;
        let opened = TaskRecord {
            holder: redemption.holder,
            ..consent::task_of(&consent, &record, now)
        };
        let asked = narrowed(&opened.asked, &redemption.servers, None)?;
        let refresh = OneTime::token(REFRESH_PREFIX);
        let (agent, steward, task) = (
            agent.clone(),
            consent.steward.clone(),
            Some(opened.task.clone()),
        );
        let events = vec![
            // First, so that a crash between them leaves a code that is used up.
            Event::CodeUsed {
                code: digest,
                agent,
                steward,
                task,
                refresh: Some(refresh.digest()),
            },
            Event::TaskOpened {
                task: opened.clone(),
            },
        ];
        let standing = self.refuse_suspended_people(&record, &opened.steward);
        let issued = self
            .issue(
                caller,
                &record,
                (TaskRecord { asked, ..opened }, standing),
                events,
            )
            .await?;
        Ok(Handed {
            issued,
            refresh,
            in_detail: consent.in_detail,
        })
    }

    /// Mints another pass in the task of a refresh token, which a new one replaces: policy is asked again.
    ///
    /// # Errors
    ///
    /// [`CodeError::Refused`] when the token is not good: one that was replaced, or that another client
    /// presents, ends its task. Otherwise as [`issue_again`](Self::issue_again), and the token stays good, unless
    /// the task was revoked in that moment.
    pub async fn refresh(
        &self,
        caller: &Caller,
        agent: &AgentId,
        refresh: Refresh<'_>,
    ) -> Result<Handed, CodeError> {
        let digest = Digest::of(refresh.token.as_bytes());
        let _turn = self.turns.of(&digest).await;
        let refuse = |reason| Err(CodeError::Refused(reason));
        let known = self
            .state()
            .people
            .family_of(&digest)
            .map(|(task, family)| {
                (
                    task.clone(),
                    family.agent.clone(),
                    family.current,
                    family.in_detail,
                )
            });
        let (task, owner, current, in_detail) =
            known.ok_or(CodeError::Refused(CodeReason::Unknown))?;
        if current != digest {
            self.end_misused(caller, &task, "a refresh token was used twice")
                .await?;
            return refuse(CodeReason::UsedTwice);
        }
        if owner != *agent {
            self.end_misused(caller, &task, "a refresh token came from another client")
                .await?;
            return refuse(CodeReason::OtherClient);
        }
        let Ok(task) = self.task_of(agent, &task) else {
            return refuse(CodeReason::Unknown);
        };
        if self.refuse_ended_task(agent, &task.task).is_err() {
            return refuse(CodeReason::Ended);
        }
        if task.holder.is_some() && task.holder != refresh.holder {
            return refuse(CodeReason::Holder);
        }
        // Anybody can be such a client: what will never succeed again is not recorded each time.
        if self.state().is_full(&task.task) {
            return refuse(CodeReason::Ended);
        }
        let asked = narrowed(&task.asked, &refresh.servers, refresh.scope)?;
        let record = self.registered(agent)?;
        let standing = self.refuse_suspended_people(&record, &task.steward);
        let standing = standing.and_then(|()| self.refuse_renewal(&record, &task));
        let next = OneTime::token(REFRESH_PREFIX);
        let events = vec![Event::RefreshRotated {
            task: task.task.clone(),
            next: next.digest(),
        }];
        let issued = self
            .issue(
                caller,
                &record,
                (TaskRecord { asked, ..task }, standing),
                events,
            )
            .await?;
        Ok(Handed {
            issued,
            refresh: next,
            in_detail,
        })
    }

    /// Ends the task that a refresh token of `agent` is or was good for, every pass of it included (RFC 7009
    /// section 2.1).
    ///
    /// # Errors
    ///
    /// When it cannot be recorded.
    pub async fn revoke_refresh_token(
        &self,
        caller: &Caller,
        agent: &AgentId,
        token: &str,
    ) -> Result<GivenBack, BrokerError> {
        let digest = Digest::of(token.as_bytes());
        let _turn = self.turns.of(&digest).await;
        let known = self
            .state()
            .people
            .family_of(&digest)
            .map(|(task, family)| (task.clone(), family.agent.clone()));
        let Some((task, owner)) = known else {
            return Ok(GivenBack::Nothing);
        };
        if owner != *agent {
            return Ok(GivenBack::NotYours);
        }
        match self.complete_task(caller, agent, &task).await {
            Ok(_) => Ok(GivenBack::Revoked(Subject::Task(task))),
            Err(BrokerError::TaskEnded(_) | BrokerError::NotFound(_)) => Ok(GivenBack::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Ends the task whose code or token somebody has who should not.
    async fn end_misused(
        &self,
        caller: &Caller,
        task: &TaskId,
        reason: &str,
    ) -> Result<(), BrokerError> {
        let revoke = Revoke {
            subject: Subject::Task(task.clone()),
            only_token: false,
            reason: Some(reason.to_owned()),
        };
        match self.revoke(&by_the_broker(caller), revoke).await {
            // Forgotten: none of its passes is alive.
            Ok(_) | Err(BrokerError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Uses a code up that somebody has who should not.
    async fn spend_misused(
        &self,
        caller: &Caller,
        consent: &ConsentRecord,
    ) -> Result<(), BrokerError> {
        let (code, agent, steward) = (consent.code, consent.agent.clone(), consent.steward.clone());
        let event = Event::CodeUsed {
            code,
            agent,
            steward,
            task: None,
            refresh: None,
        };
        self.record(&by_the_broker(caller), self.now(), vec![event])
            .await
            .map(drop)
    }
}

fn fits(
    consent: &ConsentRecord,
    agent: &AgentId,
    redemption: &Redemption<'_>,
) -> Result<(), CodeReason> {
    if consent.agent != *agent {
        return Err(CodeReason::OtherClient);
    }
    if consent.redirect_uri.as_deref() != redemption.redirect_uri {
        return Err(CodeReason::RedirectUri);
    }
    if consent.challenge != redemption.verifier {
        return Err(CodeReason::Verifier);
    }
    let presented = redemption
        .holder
        .as_ref()
        .map(|holding| holding.key.thumbprint());
    if consent.holder.is_some() && consent.holder != presented {
        return Err(CodeReason::Holder);
    }
    Ok(())
}

fn narrowed(
    allowed: &[RequestedDetail],
    servers: &BTreeSet<ServerUri>,
    wanted: Option<&Scope>,
) -> Result<Vec<RequestedDetail>, CodeError> {
    let here = if servers.is_empty() {
        Some(allowed.to_vec())
    } else {
        narrow::at(allowed, servers)
    };
    let here = here.ok_or(CodeError::Target)?;
    match wanted {
        Some(wanted) => narrow::to_wanted(&here, wanted).ok_or(CodeError::Scope),
        None => Ok(here),
    }
}

/// The broker ends it, on the request of whoever sent it.
fn by_the_broker(caller: &Caller) -> Caller {
    Caller {
        actor: Actor::Broker,
        ..caller.without_key()
    }
}

/// Whose turn it is: of two requests with one code, the second finds what the first has done.
#[derive(Debug)]
pub(crate) struct Turns(Box<[Mutex<()>; 64]>);

impl Turns {
    async fn of(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let [first, ..] = &*self.0;
        let [byte, ..] = digest.as_bytes();
        self.0
            .get(usize::from(byte % 64))
            .unwrap_or(first)
            .lock()
            .await
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Mutex::default())))
    }
}

impl fmt::Debug for Redemption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redemption")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Refresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("servers", &self.servers)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

const REFRESH_PREFIX: &str = "hpr_";

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;

    use serde_json::json;

    use super::*;
    use crate::{Ask, NewAgent, PersonsClient};
    use hallpass_core::base::ids::StewardId;

    const GRANT: &str = "[[grant]]\nid = \"g\"\nagents = [\"app\"]\nserver = \"s\"\ntools = [\"read\"]\nmax_ttl = \"10m\"\n";

    #[tokio::test]
    async fn a_refresh_in_a_full_task_is_refused_and_not_recorded() {
        let home = tempfile::tempdir().unwrap();
        let policy = home.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        let broker = Broker::opened_in(home.path()).await;
        let (caller, app) = (Caller::broker(), "app".parse::<AgentId>().unwrap());
        let manifest = json!({"server": "https://s.example/mcp", "name": "s", "tools": {"read": {"read_only": true}}});
        broker
            .set_server(&caller, serde_json::from_value(manifest).unwrap())
            .await
            .unwrap();
        std::fs::write(policy.join("g.toml"), GRANT).unwrap();
        broker.reload_policy(&caller).await.unwrap().unwrap();
        let (agent, steward, redirect_uris) = (
            app.clone(),
            "alice".to_owned(),
            vec!["https://a.example/cb".parse().unwrap()],
        );
        let (groups, keys, default_details) = (BTreeSet::new(), Vec::new(), Vec::new());
        let new = NewAgent {
            agent,
            steward,
            groups,
            keys,
            default_details,
            redirect_uris,
        };
        let steward: StewardId = broker.add_agent(&caller, new).await.unwrap().steward;
        let detail = json!({"type": "mcp", "server": "https://s.example/mcp", "tools": ["read"]});
        let ask = Ask {
            client: PersonsClient::Known(app.clone()),
            redirect_uri: None,
            challenge: Digest::of(b"verifier"),
            holder: None,
            in_detail: false,
            details: vec![serde_json::from_value(detail).unwrap()],
        };
        let code = broker
            .consent(&caller, broker.offer(&steward, ask).unwrap())
            .await
            .unwrap();
        let verifier = Digest::of(b"verifier");
        let servers = BTreeSet::new();
        let redemption = Redemption {
            code: code.expose(),
            redirect_uri: None,
            verifier,
            servers,
            holder: None,
        };
        let handed = broker.redeem_code(&caller, &app, redemption).await.unwrap();
        let refresh = async |token: &OneTime| {
            let refresh = Refresh {
                token: token.expose(),
                servers: BTreeSet::new(),
                scope: None,
                holder: None,
            };
            broker.refresh(&caller, &app, refresh).await
        };
        let handed = refresh(&handed.refresh).await.unwrap();
        {
            let mut state = broker.state.write().unwrap_or_else(PoisonError::into_inner);
            let live = state.tasks.get_mut(&handed.issued.task.task).unwrap();
            live.tokens = vec![live.tokens[0].clone(); 1000];
        }
        let before = broker.state().last_sequence();
        let refused = refresh(&handed.refresh).await.unwrap_err();
        assert!(
            matches!(refused, CodeError::Refused(CodeReason::Ended)),
            "{refused}"
        );
        assert_eq!(broker.state().last_sequence(), before);
    }
}
