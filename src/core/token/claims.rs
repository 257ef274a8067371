//! Claims: the content of block 0 of a pass, read from the wire form.

use std::collections::BTreeSet;

use crate::{
    base::{
        holder::HolderKey,
        ids::{AgentId, IssuerUri, ServerUri, StewardId, TaskId},
        time::Timestamp,
    },
    token::{
        ClaimsError,
        datalog::FORMAT,
        rights::Kind,
        wire::{Terms, Wire},
    },
};

/// The content of block 0 of a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassClaims {
    /// The broker that issued it.
    pub issuer: IssuerUri,
    /// The task it is for.
    pub task: TaskId,
    /// The agent it was issued to.
    pub agent: AgentId,
    /// The person for whom the agent acts: its steward, or the proven subject of the task.
    pub steward: StewardId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The servers it is for.
    pub audience: BTreeSet<ServerUri>,
    /// The key that the broker bound it to, if any.
    pub holder: Option<HolderKey>,
    /// The rights.
    pub rights: Vec<NamedRight>,
}

/// One right of a pass.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NamedRight {
    /// Tools or prompts by name.
    Names {
        /// The server.
        server: ServerUri,
        /// The kind.
        kind: Kind,
        /// The names.
        names: BTreeSet<String>,
    },
    /// A resource subtree: scheme, authority, segments.
    Subtree {
        /// The server.
        server: ServerUri,
        /// The subtree.
        segments: Vec<String>,
    },
}

impl NamedRight {
    /// The server.
    #[must_use]
    pub const fn server(&self) -> &ServerUri {
        match self {
            Self::Names { server, .. } | Self::Subtree { server, .. } => server,
        }
    }

    /// Whether it includes everything in `other`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Names {
                    server,
                    kind,
                    names,
                },
                Self::Names {
                    server: on,
                    kind: of,
                    names: others,
                },
            ) => server == on && kind == of && names.is_superset(others),
            (
                Self::Subtree { server, segments },
                Self::Subtree {
                    server: on,
                    segments: others,
                },
            ) => server == on && others.starts_with(segments),
            _ => false,
        }
    }
}

impl PassClaims {
    pub(super) fn read(wire: &Wire) -> Result<Self, ClaimsError> {
        let facts = Facts { wire };
        facts.refuse_unknown(&KNOWN)?;
        if facts.one("hallpass", |terms| terms.integer(0))? != FORMAT {
            return Err(ClaimsError::Fact("hallpass"));
        }
        Ok(Self {
            issuer: facts.one("issuer", |terms| terms.text(0)?.parse().ok())?,
            task: facts.one("task", |terms| terms.text(0)?.parse().ok())?,
            agent: facts.one("agent", |terms| terms.text(0)?.parse().ok())?,
            steward: facts.one("steward", |terms| terms.text(0)?.parse().ok())?,
            issued_at: facts.one("iat", |terms| {
                terms.date(0).map(Timestamp::from_unix_seconds)
            })?,
            expires_at: facts.one("exp", |terms| {
                terms.date(0).map(Timestamp::from_unix_seconds)
            })?,
            audience: facts.one("aud", |terms| {
                terms
                    .text_set(0)?
                    .into_iter()
                    .map(|uri| uri.parse().ok())
                    .collect()
            })?,
            holder: facts.at_most_one("cnf", |terms| terms.text(0)?.parse().ok())?,
            rights: facts.rights()?,
        })
    }
}

pub(super) struct Facts<'w> {
    pub(super) wire: &'w Wire,
}

impl<'w> Facts<'w> {
    fn named(&self, name: &str) -> impl Iterator<Item = Terms<'w>> {
        let wire = self.wire;
        wire.facts(0)
            .iter()
            .filter(move |fact| wire.symbol(0, fact.predicate.name) == Some(name))
            .map(move |fact| Terms::of(wire, 0, fact))
    }

    pub(super) fn at_most_one<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Terms<'w>) -> Option<T>,
    ) -> Result<Option<T>, ClaimsError> {
        let mut all = self.named(name);
        match (all.next(), all.next()) {
            (None, _) => Ok(None),
            (Some(terms), None) if terms.len() == 1 => {
                read(&terms).map(Some).ok_or(ClaimsError::Fact(name))
            }
            _ => Err(ClaimsError::Fact(name)),
        }
    }

    pub(super) fn one<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Terms<'w>) -> Option<T>,
    ) -> Result<T, ClaimsError> {
        self.at_most_one(name, read)?.ok_or(ClaimsError::Fact(name))
    }

    pub(super) fn each<T>(
        &self,
        name: &'static str,
        read: impl Fn(&Terms<'w>) -> Option<T>,
    ) -> Result<Vec<T>, ClaimsError> {
        self.named(name)
            .map(|terms| read(&terms).ok_or(ClaimsError::Fact(name)))
            .collect()
    }

    fn rights(&self) -> Result<Vec<NamedRight>, ClaimsError> {
        let mut rights = self.each("right", |terms| {
            let kind = match terms.text(1)? {
                "tool" => Kind::Tool,
                "prompt" => Kind::Prompt,
                _ => return None,
            };
            let names = terms.text_set(2)?.into_iter().map(str::to_owned).collect();
            (terms.len() == 3).then_some(NamedRight::Names {
                server: terms.text(0)?.parse().ok()?,
                kind,
                names,
            })
        })?;
        rights.extend(self.each("right_path", |terms| {
            let segments: Vec<String> = terms
                .text_array(2)?
                .into_iter()
                .map(str::to_owned)
                .collect();
            let valid = terms.len() == 3 && terms.text(1)? == "resource" && segments.len() >= 2;
            valid.then_some(NamedRight::Subtree {
                server: terms.text(0)?.parse().ok()?,
                segments,
            })
        })?);
        Ok(rights)
    }

    /// Refuses unknown facts, so that no token can be of two kinds.
    pub(super) fn refuse_unknown(&self, known: &[&str]) -> Result<(), ClaimsError> {
        let mut names = self
            .wire
            .facts(0)
            .iter()
            .map(|fact| self.wire.symbol(0, fact.predicate.name));
        if names.all(|name| name.is_some_and(|name| known.contains(&name))) {
            Ok(())
        } else {
            Err(ClaimsError::Unknown)
        }
    }
}

const KNOWN: [&str; 11] = [
    "hallpass",
    "issuer",
    "task",
    "agent",
    "steward",
    "iat",
    "exp",
    "aud",
    "cnf",
    "right",
    "right_path",
];
