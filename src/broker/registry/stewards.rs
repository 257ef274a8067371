//! Stewards: the people who answer for agents, on whose behalf tasks are, and who proved to be them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    BrokerError, DirectoryError, Identity, ObjectKind,
    broker::{Broker, Caller},
    domain::event::{Event, Subject, VerifiedBy},
    identity::issuer::Person,
    policy::Reason,
};
use hallpass_core::base::{ReasonCode, ids::StewardId};

/// A steward, as shown to operators.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StewardView {
    /// The opaque id.
    pub steward: StewardId,
    /// The name, unless it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The issuers that know the person: whose ID tokens are taken for this steward's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub identified_by: BTreeSet<String>,
    /// Whether it was revoked and not reinstated.
    pub suspended: bool,
}

/// A steward who proved to be that person, through an issuer that is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSteward {
    pub(crate) steward: StewardId,
    pub(crate) by: VerifiedBy,
}

impl VerifiedSteward {
    /// Who.
    #[must_use]
    pub const fn steward(&self) -> &StewardId {
        &self.steward
    }
}

impl Broker {
    /// Registers a steward under a name, or finds the one who has it, and links the identity to it if one
    /// is given.
    ///
    /// # Errors
    ///
    /// When the name is empty or too long, the identity is malformed or another steward's, or it cannot be
    /// written and recorded.
    pub async fn add_steward(
        &self,
        caller: &Caller,
        (name, identity): (&str, Option<Identity>),
    ) -> Result<StewardView, BrokerError> {
        let _changing = self.changes.lock().await;
        if let Some(identity) = &identity {
            identity.refuse_malformed()?;
        }
        let steward = self.ensure_steward(caller, name).await?;
        if let Some(identity) = identity {
            self.identify(caller, &steward, identity).await?;
        }
        Ok(self.view_steward(&steward))
    }

    /// Forgets by which issuers a steward is known: no ID token is taken for this steward's any more. Tasks
    /// that were opened stay; revoke the steward to end them.
    ///
    /// # Errors
    ///
    /// When none is known, the directory cannot be written, or it cannot be recorded: they are forgotten then all
    /// the same.
    pub async fn unidentify_steward(
        &self,
        caller: &Caller,
        steward: &StewardId,
    ) -> Result<(), BrokerError> {
        let _changing = self.changes.lock().await;
        if self.directory().identities(steward).is_empty() {
            return Err(BrokerError::not_found(ObjectKind::StewardIdentity, steward));
        }
        // SECURITY: the file first: a record of what a crash then left undone would be believed.
        self.directory()
            .unidentify(steward)
            .map_err(|error| BrokerError::Files(error.to_string()))?;
        let event = Event::StewardUnidentified {
            steward: steward.clone(),
        };
        self.record(caller, self.now(), vec![event]).await.map(drop)
    }

    /// Erases a steward's name and identities. The opaque id stays in passes and records, and every proof
    /// valid.
    ///
    /// # Errors
    ///
    /// When no name is known, it cannot be recorded, or the directory cannot be written: the record
    /// then tells of an attempt, and another one is in order.
    pub async fn erase_steward(
        &self,
        caller: &Caller,
        steward: &StewardId,
    ) -> Result<(), BrokerError> {
        let _changing = self.changes.lock().await;
        if self.directory().name(steward).is_none() {
            return Err(BrokerError::not_found(ObjectKind::StewardName, steward));
        }
        let event = Event::StewardErased {
            steward: steward.clone(),
        };
        self.record(caller, self.now(), vec![event]).await?;
        self.directory()
            .erase(steward)
            .map(drop)
            .map_err(|error| BrokerError::Files(error.to_string()))
    }

    /// Whom `text`, an id or a name, stands for.
    ///
    /// # Errors
    ///
    /// When no registered steward is meant.
    pub fn find_steward(&self, text: &str) -> Result<StewardId, BrokerError> {
        let found = self
            .directory()
            .find(text, |steward| self.state().stewards.contains(steward));
        found.ok_or_else(|| BrokerError::no_such(ObjectKind::Steward))
    }

    /// The steward's name, unless it was erased: for that person's own eyes.
    #[must_use]
    pub fn steward_name(&self, steward: &StewardId) -> Option<String> {
        self.directory().name(steward).map(str::to_owned)
    }

    /// The steward that `person` is.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Refused`] when the person is linked to no steward that is registered.
    pub fn steward_of(&self, person: &Person) -> Result<VerifiedSteward, BrokerError> {
        let identity = Identity {
            issuer: person.issuer.to_string(),
            subject: person.subject.clone(),
        };
        let known = self.directory().identified(&identity).cloned();
        let known = known.filter(|steward| self.state().stewards.contains(steward));
        let steward = known.ok_or_else(|| {
            let detail = "the person whose subject token it is, is not registered as a steward";
            BrokerError::Refused(vec![Reason::new(ReasonCode::SubjectToken, detail)])
        })?;
        Ok(VerifiedSteward {
            steward,
            by: VerifiedBy {
                issuer: identity.issuer,
                groups: person.groups.clone(),
            },
        })
    }

    /// Stewards in the order of their ids, those after `after`, at most `limit`.
    #[must_use]
    pub fn stewards(&self, after: Option<&StewardId>, limit: usize) -> Vec<StewardView> {
        let ids: Vec<StewardId> = {
            let state = self.state();
            let later = state
                .stewards
                .iter()
                .filter(|steward| after.is_none_or(|after| *steward > after));
            later.take(limit).cloned().collect()
        };
        ids.iter()
            .map(|steward| self.view_steward(steward))
            .collect()
    }

    /// The steward that `text` stands for, registered under that name when nobody has it.
    pub(crate) async fn ensure_steward(
        &self,
        caller: &Caller,
        text: &str,
    ) -> Result<StewardId, BrokerError> {
        if let Ok(steward) = self.find_steward(text) {
            return Ok(steward);
        }
        if text.parse::<StewardId>().is_ok() || text.starts_with("stw_") {
            return Err(BrokerError::invalid(
                "steward",
                "no steward with this id is registered",
            ));
        }
        if text.trim().is_empty()
            || text.len() > MAX_NAME_BYTES
            || text.chars().any(char::is_control)
        {
            return Err(BrokerError::invalid(
                "steward",
                format!("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters"),
            ));
        }
        let steward = StewardId::from_random(*uuid::Uuid::new_v4().as_bytes());
        // The name first: an id without a name would be nobody's, a name without a record is nobody yet.
        self.directory()
            .set(steward.clone(), text.to_owned())
            .map_err(not_written)?;
        let event = Event::StewardAdded {
            steward: steward.clone(),
        };
        let caller = caller.without_key();
        self.record(&caller, self.now(), vec![event]).await?;
        Ok(steward)
    }

    async fn identify(
        &self,
        caller: &Caller,
        steward: &StewardId,
        identity: Identity,
    ) -> Result<(), BrokerError> {
        let known = self.directory().identified(&identity).cloned();
        match known {
            Some(known) if known == *steward => return Ok(()),
            Some(_) => {
                return Err(BrokerError::Conflict(
                    "the identity is linked to another steward".to_owned(),
                ));
            }
            None => {}
        }
        if self.directory().name(steward).is_none() {
            return Err(BrokerError::Conflict(
                "the steward's name was erased: register the person anew".to_owned(),
            ));
        }
        if self.directory().identities(steward).len() >= MAX_IDENTITIES {
            return Err(BrokerError::Conflict(format!(
                "a steward has at most {MAX_IDENTITIES} identities"
            )));
        }
        // SECURITY: the record first: a link that nobody recorded would let somebody act unseen.
        let event = Event::StewardIdentified {
            steward: steward.clone(),
            issuer: identity.issuer.clone(),
        };
        let caller = caller.without_key();
        self.record(&caller, self.now(), vec![event]).await?;
        self.directory()
            .identify(steward, identity)
            .map_err(not_written)
    }

    fn view_steward(&self, steward: &StewardId) -> StewardView {
        let directory = self.directory();
        let (name, identities) = (
            directory.name(steward).map(str::to_owned),
            directory.identities(steward),
        );
        let identified_by = identities
            .iter()
            .map(|identity| identity.issuer.clone())
            .collect();
        drop(directory);
        let suspended = self
            .state()
            .is_suspended(&Subject::Steward(steward.clone()));
        StewardView {
            steward: steward.clone(),
            name,
            identified_by,
            suspended,
        }
    }
}

fn not_written(error: DirectoryError) -> BrokerError {
    match error {
        full @ DirectoryError::Full => BrokerError::Conflict(full.to_string()),
        other => BrokerError::Files(other.to_string()),
    }
}

const MAX_NAME_BYTES: usize = 128;
const MAX_IDENTITIES: usize = 8;
