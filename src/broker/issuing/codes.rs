//! Codes: authorization codes and refresh tokens, from presented to used up.
//!
//! SECURITY: each may be used once. A reused code or token means that the client or an attacker has a copy. We cannot
//! tell which, so its task ends, with every pass of it (RFC 9700 section 4.14). The only exception is the same refresh
//! within [`REPEATED_FOR`](crate::REPEATED_FOR), which gets the same answer and nothing new.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    BrokerError, Caller, GivenBack, Issuance, Issued, OneTimeSecret, Revocations, Revoke, State,
    Tasks,
    change::{Changes, Decided, Done, View},
    domain::{
        consent::ConsentRecord,
        event::{LedgerEvent, Subject, TaskRecord},
    },
    issuing::{
        code_error::{CodeError, CodeReason},
        consent,
        issue::Asked,
        keyed_locks::KeyedLocks,
        narrow,
        pipeline::{Requested, Way},
        presented::{Handed, Redemption, Refresh, RefreshRequest, Refreshed},
        repeats::Repeats,
    },
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, ServerUri, TaskId},
    },
    token::{RequestedDetail, scope::Scope},
};

/// Authorization codes and refresh tokens.
#[derive(Debug)]
pub struct Codes {
    pub(crate) changes: Arc<Changes>,
    pub(crate) issuance: Arc<Issuance>,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) tasks: Arc<Tasks>,
    /// Of two requests with one code, the second finds what the first has done.
    pub(crate) locks: KeyedLocks,
    /// What may be given again to a client that lost it.
    pub(crate) repeats: Repeats<RefreshRequest, Handed>,
}

/// Why a code or token is not taken, and what follows from that.
enum Stop {
    /// A client or an attacker has it that should not: the task that came of it ends.
    EndTask(TaskId, Misuse),
    /// It was presented with something that does not belong to it: it is used up by that.
    UseUp(Box<ConsentRecord>, CodeReason),
    /// Nothing.
    Error(CodeError),
}

/// What shows that a code or token is in wrong hands.
#[derive(Debug, Clone, Copy)]
enum Misuse {
    CodeTwice,
    TokenTwice,
    OtherClient,
}

impl<E: Into<CodeError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Misuse {
    /// Why the task was revoked, for the records.
    const fn words(self) -> &'static str {
        match self {
            Self::CodeTwice => "an authorization code was used twice",
            Self::TokenTwice => "a refresh token was used twice",
            Self::OtherClient => "a refresh token came from another client",
        }
    }

    const fn reason(self) -> CodeReason {
        match self {
            Self::CodeTwice | Self::TokenTwice => CodeReason::UsedTwice,
            Self::OtherClient => CodeReason::OtherClient,
        }
    }
}

impl Codes {
    /// What the authorization code `code` was allowed for; `None` when it was never made here or is forgotten.
    #[must_use]
    pub fn allowed_by_code(&self, code: &str) -> Option<Vec<RequestedDetail>> {
        let digest = Digest::of(code.as_bytes());
        let state = self.changes.state();
        let consent = state.people.consent(&digest);
        consent
            .map(|consent| consent.details.clone())
            .or_else(|| allowed_in_family(&state, &digest))
    }

    /// What the task of the refresh token `token`, replaced or not, was allowed; `None` when no task that lives has it.
    #[must_use]
    pub fn allowed_by_refresh_token(&self, token: &str) -> Option<Vec<RequestedDetail>> {
        allowed_in_family(&self.changes.state(), &Digest::of(token.as_bytes()))
    }

    /// Redeems an authorization code for `agent`, which has authenticated as far as it can: opens the
    /// task that was allowed and mints its first pass.
    ///
    /// # Errors
    ///
    /// [`CodeError::Refused`] when the code is not good. One that comes with another's redirect URI,
    /// verifier, key or client is used up by that; one that comes again ends its task. Otherwise as
    /// [`open_task`](Issuance::open_task), and the code stays good, unless what it opened was revoked in that moment.
    pub async fn redeem_code(
        &self,
        caller: &Caller,
        agent: &AgentId,
        redemption: Redemption<'_>,
    ) -> Result<Handed, CodeError> {
        let digest = Digest::of(redemption.code.as_bytes());
        let _locked = self.locks.lock(&digest).await;
        let refresh = OneTimeSecret::token(REFRESH_PREFIX);
        let ask = |view: &View<'_>| -> Result<Asked<bool>, Stop> {
            let (consent, now) = (redeemable(&view.state(), &digest)?, view.now());
            if consent.expires_at <= now {
                return Err(CodeReason::Ended.into());
            }
            if let Err(reason) = fits(&consent, agent, &redemption) {
                return Err(Stop::UseUp(Box::new(consent), reason));
            }
            let record = view.state().registered(agent)?.clone();
            let mut opened = consent::task_of(&consent, &record, now);
            opened.holder.clone_from(&redemption.holder);
            let asked = narrowed(&opened.asked, &redemption.servers, None)?;
            let before = vec![
                // First, so that a crash between them leaves a code that is used up.
                LedgerEvent::CodeUsed {
                    code: digest,
                    agent: agent.clone(),
                    steward: consent.steward.clone(),
                    task: Some(opened.task.clone()),
                    refresh: Some(refresh.digest()),
                },
                LedgerEvent::TaskOpened {
                    task: opened.clone(),
                },
            ];
            Ok(Asked {
                requested: Requested {
                    agent: record,
                    task: TaskRecord { asked, ..opened },
                    way: Way::Consented,
                },
                said: None,
                before,
                with: consent.in_detail,
            })
        };
        let (issued, in_detail) = self.issue(caller, ask).await?;
        Ok(Handed {
            issued,
            refresh,
            in_detail,
        })
    }

    /// Mints another pass in the task of a refresh token, which a new one replaces: policy is asked again.
    ///
    /// # Errors
    ///
    /// [`CodeError::Refused`] when the token is not good: one that was replaced, or that another client
    /// presents, ends its task. The same request gets the same answer again for [`REPEATED_FOR`](crate::REPEATED_FOR),
    /// unless the token in it was used meanwhile or the task has ended. Otherwise as [`issue_again`](Issuance::issue_again), and the token stays good, unless
    /// the task was revoked in that moment.
    pub async fn refresh(
        &self,
        caller: &Caller,
        agent: &AgentId,
        refresh: Refresh<'_>,
    ) -> Result<Refreshed, CodeError> {
        let digest = Digest::of(refresh.token.as_bytes());
        let _locked = self.locks.lock(&digest).await;
        let request = RefreshRequest::of(agent, &refresh);
        if let Some(handed) = self.repeated(&digest, agent, &request) {
            tracing::info!(task = %handed.issued.task.task, "a refresh was repeated, and answered as before");
            return Ok(Refreshed {
                handed,
                is_repeated: true,
            });
        }
        let next = OneTimeSecret::token(REFRESH_PREFIX);
        let ask = |view: &View<'_>| -> Result<Asked<bool>, Stop> {
            let (now, state) = (view.now(), view.state());
            let known = state.people.family_of(&digest);
            let (task, family) = known.ok_or(CodeReason::Unknown)?;
            if family.current != digest {
                return Err(Stop::EndTask(task.clone(), Misuse::TokenTwice));
            }
            if family.agent != *agent {
                return Err(Stop::EndTask(task.clone(), Misuse::OtherClient));
            }
            let live = state.task_of_agent(agent, task);
            let task = live.map_err(|_| CodeReason::Unknown)?.record.clone();
            if state.open_task_of(agent, &task.task, now).is_err() {
                return Err(CodeReason::Ended.into());
            }
            if task.holder.is_some() && task.holder != refresh.holder {
                return Err(CodeReason::Holder.into());
            }
            // Any program can be such a client: what can never succeed again is not recorded each time.
            if state.is_full(&task.task) {
                return Err(CodeReason::Ended.into());
            }
            let asked = narrowed(&task.asked, &refresh.servers, refresh.scope)?;
            let before = vec![LedgerEvent::RefreshRotated {
                task: task.task.clone(),
                next: next.digest(),
            }];
            Ok(Asked {
                requested: Requested {
                    agent: state.registered(agent)?.clone(),
                    task: TaskRecord { asked, ..task },
                    way: Way::Refreshed,
                },
                said: None,
                before,
                with: family.in_detail,
            })
        };
        let (issued, in_detail) = self.issue(caller, ask).await?;
        let handed = Arc::new(Handed {
            issued,
            refresh: next,
            in_detail,
        });
        let now = self.changes.look().now();
        self.repeats
            .remember(digest, request, Arc::clone(&handed), now);
        Ok(Refreshed {
            handed,
            is_repeated: false,
        })
    }

    /// What the same request got just now, as long as it is good: it is the last that its task gave, and the task is open.
    ///
    /// SECURITY: who has a copy of the token gets nothing by it that its client does not have. Of the two, the later to use
    /// the next token is found out.
    fn repeated(
        &self,
        token: &Digest,
        agent: &AgentId,
        request: &RefreshRequest,
    ) -> Option<Arc<Handed>> {
        let view = self.changes.look();
        let (now, state) = (view.now(), view.state());
        let handed = self.repeats.answer(token, request, now)?;
        let (task, family) = state.people.family_of(token)?;
        let is_last = family.current == handed.refresh.digest() && family.agent == *agent;
        (is_last && state.open_task_of(agent, task, now).is_ok()).then_some(handed)
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
        let _locked = self.locks.lock(&digest).await;
        let known = self
            .changes
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
        match self.tasks.complete_task(caller, agent, &task).await {
            Ok(_) => Ok(GivenBack::Revoked(Subject::Task(task))),
            Err(BrokerError::TaskEnded(_) | BrokerError::NotFound(_)) => Ok(GivenBack::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Issues what `ask` asks for; when it stops, does what follows from that.
    async fn issue(
        &self,
        caller: &Caller,
        ask: impl FnMut(&View<'_>) -> Result<Asked<bool>, Stop> + Send,
    ) -> Result<(Issued, bool), CodeError> {
        match self.issuance.issue(caller, ask).await {
            Ok(issued) => Ok(issued),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::EndTask(task, misuse)) => {
                self.end_misused(caller, &task, misuse).await?;
                Err(misuse.reason().into())
            }
            Err(Stop::UseUp(consent, reason)) => {
                self.use_up(caller, &consent).await?;
                Err(reason.into())
            }
        }
    }

    /// Ends the task whose code or token a client or an attacker has that should not.
    async fn end_misused(
        &self,
        caller: &Caller,
        task: &TaskId,
        misuse: Misuse,
    ) -> Result<(), BrokerError> {
        let revoke = Revoke {
            subject: Subject::Task(task.clone()),
            only_token: false,
            reason: Some(misuse.words().to_owned()),
        };
        // By the broker, on the request of the caller.
        match self.revocations.revoke(&caller.as_broker(), revoke).await {
            // Forgotten: none of its passes is alive.
            Ok(_) | Err(BrokerError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Uses up a code that a client or an attacker has that should not.
    async fn use_up(&self, caller: &Caller, consent: &ConsentRecord) -> Result<(), BrokerError> {
        let used = || LedgerEvent::CodeUsed {
            code: consent.code,
            agent: consent.agent.clone(),
            steward: consent.steward.clone(),
            task: None,
            refresh: None,
        };
        let decide = |view: &View<'_>| {
            let is_good = view.state().people.consent(&consent.code).is_some();
            let events = is_good.then(used).into_iter().collect();
            Ok(Decided::record(view.now(), events, ()))
        };
        self.changes
            .beside_others(&caller.as_broker(), decide)
            .await
            .map(|Done { value, .. }| value)
    }
}

/// What the code of this digest is good for.
fn redeemable(state: &State, code: &Digest) -> Result<ConsentRecord, Stop> {
    let family = state.people.family_of(code);
    if let Some((task, _)) = family.filter(|(_, family)| family.current != *code) {
        return Err(Stop::EndTask(task.clone(), Misuse::CodeTwice));
    }
    let consent = state.people.consent(code).cloned();
    consent.ok_or_else(|| CodeReason::Unknown.into())
}

fn allowed_in_family(state: &State, digest: &Digest) -> Option<Vec<RequestedDetail>> {
    let (task, _) = state.people.family_of(digest)?;
    let live = state.task(task);
    Some(
        live.map(|live| live.record.asked.clone())
            .unwrap_or_default(),
    )
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

const REFRESH_PREFIX: &str = "hpr_";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Ask, Broker, NewAgent, PersonsClient};
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
            .registry
            .set_server(&caller, serde_json::from_value(manifest).unwrap())
            .await
            .unwrap();
        std::fs::write(policy.join("g.toml"), GRANT).unwrap();
        broker.policy.reload_policy(&caller).await.unwrap().unwrap();
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
        let steward: StewardId = broker
            .registry
            .add_agent(&caller, new)
            .await
            .unwrap()
            .steward;
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
            .consents
            .consent(
                &caller,
                broker
                    .consents
                    .offer(crate::SignedIn::with_code(steward.clone()), ask)
                    .unwrap(),
            )
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
        let handed = broker
            .codes
            .redeem_code(&caller, &app, redemption)
            .await
            .unwrap();
        let refresh = async |token: &OneTimeSecret| {
            let refresh = Refresh {
                token: token.expose(),
                servers: BTreeSet::new(),
                scope: None,
                holder: None,
            };
            broker.codes.refresh(&caller, &app, refresh).await
        };
        let handed = refresh(&handed.refresh).await.unwrap().handed;
        {
            let mut state = broker.changes.cell().write();
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
