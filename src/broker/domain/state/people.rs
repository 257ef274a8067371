//! People: who may sign in, what they consented to, and the refresh tokens that came of it. A part
//! of the state, folded from the same records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::domain::{
    consent::{ConsentRecord, RegistrationRecord},
    event::{LedgerEvent, Subject},
};
use hallpass_core::base::{
    digest::Digest,
    ids::{AgentId, StewardId, TaskId},
    time::Timestamp,
};

/// What the records say about people and the clients that act for them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct People {
    /// One-time codes to sign in with, by digest; one for each steward at most.
    sign_ins: BTreeMap<Digest, SignIn>,
    /// Authorization codes by digest, until they are used or end.
    codes: BTreeMap<Digest, ConsentRecord>,
    /// Refresh tokens, by the task in which they renew.
    families: BTreeMap<TaskId, Family>,
    registrations: BTreeMap<AgentId, RegistrationRecord>,
    /// From the families.
    #[serde(skip)]
    refresh_tokens: HashMap<Digest, TaskId>,
}

/// A one-time code to sign in with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    steward: StewardId,
    expires_at: Timestamp,
}

/// The refresh tokens of one task: one counts, the others, and the code, are known so that a thief shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Family {
    pub(crate) agent: AgentId,
    pub(crate) steward: StewardId,
    pub(crate) current: Digest,
    used: BTreeSet<Digest>,
    /// Whether answers name the rights in full.
    pub(crate) in_detail: bool,
    pub(crate) ends_at: Timestamp,
}

impl People {
    /// Whether there is anything to keep.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            sign_ins,
            codes,
            families,
            registrations,
            ..
        } = self;
        sign_ins.is_empty() && codes.is_empty() && families.is_empty() && registrations.is_empty()
    }

    /// Who signs in with the code of this digest at `now`.
    pub(crate) fn who_signs_in(&self, code: &Digest, now: Timestamp) -> Option<&StewardId> {
        self.sign_ins
            .get(code)
            .filter(|it| it.expires_at > now)
            .map(|it| &it.steward)
    }

    /// What the authorization code of this digest is good for, or was until it ended; `None` once it was used.
    pub(crate) fn consent(&self, code: &Digest) -> Option<&ConsentRecord> {
        self.codes.get(code)
    }

    /// The task that the refresh token or the code of this digest is or was good for, with its family.
    pub(crate) fn family_of(&self, token: &Digest) -> Option<(&TaskId, &Family)> {
        let task = self.refresh_tokens.get(token)?;
        Some((task, self.families.get(task)?))
    }

    /// A client that registered itself and has no consent yet.
    pub(crate) fn registration(
        &self,
        client: &AgentId,
        now: Timestamp,
    ) -> Option<&RegistrationRecord> {
        self.registrations
            .get(client)
            .filter(|it| it.expires_at > now)
    }

    /// How many of them there are.
    pub(crate) fn registrations(&self, now: Timestamp) -> usize {
        self.registrations
            .values()
            .filter(|it| it.expires_at > now)
            .count()
    }

    pub(crate) fn apply(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::SignInCodeMade {
                steward,
                code,
                expires_at,
            } => {
                self.sign_ins.retain(|_, it| it.steward != *steward);
                self.sign_ins.insert(
                    *code,
                    SignIn {
                        steward: steward.clone(),
                        expires_at: *expires_at,
                    },
                );
            }
            LedgerEvent::SignedIn { code, .. } => drop(self.sign_ins.remove(code)),
            LedgerEvent::ConsentGiven { consent } => {
                self.codes.insert(consent.code, consent.clone());
            }
            LedgerEvent::CodeUsed {
                code,
                task,
                refresh,
                ..
            } => match (task, refresh) {
                (Some(task), Some(refresh)) => self.begin_family(code, (task, refresh)),
                _ => drop(self.codes.remove(code)),
            },
            LedgerEvent::RefreshRotated { task, next } => {
                if let Some(family) = self.families.get_mut(task) {
                    family.used.insert(family.current);
                    family.current = *next;
                    self.refresh_tokens.insert(*next, task.clone());
                }
            }
            LedgerEvent::ClientRegistered { registration } => {
                self.registrations
                    .insert(registration.agent.clone(), registration.clone());
            }
            LedgerEvent::AgentSet { agent } => drop(self.registrations.remove(&agent.agent)),
            LedgerEvent::AgentRemoved { agent } => self.end(|of, _| of == agent),
            LedgerEvent::TaskCompleted { task, .. } => self.end_family(task),
            LedgerEvent::Revoked { revocation } => match &revocation.subject {
                Subject::Task(task) => self.end_family(task),
                Subject::Agent(agent) => self.end(|of, _| of == agent),
                Subject::Steward(steward) => {
                    self.sign_ins.retain(|_, it| it.steward != *steward);
                    self.end(|_, of| of == steward);
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn begin_family(&mut self, code: &Digest, (task, refresh): (&TaskId, &Digest)) {
        let Some(consent) = self.codes.remove(code) else {
            return;
        };
        // A task is opened once. Were it opened again, the tokens of the first would be no task's.
        self.end_family(task);
        let family = Family {
            agent: consent.agent,
            steward: consent.steward,
            current: *refresh,
            used: BTreeSet::from([*code]),
            in_detail: consent.in_detail,
            ends_at: consent.ends_at,
        };
        self.families.insert(task.clone(), family);
        self.refresh_tokens
            .extend([(*code, task.clone()), (*refresh, task.clone())]);
    }

    /// SECURITY: ended for good: a reinstatement brings back the agent or steward, and nothing that they held.
    fn end(&mut self, concerns: impl Fn(&AgentId, &StewardId) -> bool) {
        self.codes
            .retain(|_, consent| !concerns(&consent.agent, &consent.steward));
        self.families
            .retain(|_, family| !concerns(&family.agent, &family.steward));
        self.forget_tokens();
    }

    fn end_family(&mut self, task: &TaskId) {
        let Some(family) = self.families.remove(task) else {
            return;
        };
        for token in family.used.iter().chain([&family.current]) {
            self.refresh_tokens.remove(token);
        }
    }

    /// Forgets what has ended.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.sign_ins.retain(|_, it| it.expires_at > now);
        self.registrations.retain(|_, it| it.expires_at > now);
        self.families.retain(|_, family| family.ends_at > now);
        self.codes.retain(|_, consent| consent.expires_at > now);
        self.forget_tokens();
    }

    /// Derives what a snapshot leaves out.
    pub(crate) fn complete(&mut self) {
        let tokens = |(task, family): (&TaskId, &Family)| {
            let task = task.clone();
            family
                .used
                .iter()
                .chain([&family.current])
                .map(move |token| (*token, task.clone()))
                .collect::<Vec<_>>()
        };
        self.refresh_tokens = self.families.iter().flat_map(tokens).collect();
    }

    fn forget_tokens(&mut self) {
        let Self {
            families,
            refresh_tokens,
            ..
        } = self;
        refresh_tokens.retain(|_, task| families.contains_key(task));
    }
}
