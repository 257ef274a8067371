//! Stewards: the people who answer for agents, on whose behalf tasks are, and who proved to be them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    BrokerError, Caller, DirectoryError, Identity, ObjectKind, Registry, VerifiedSteward,
    change::{Decided, Turn, View},
    domain::{
        event::{LedgerEvent, Subject},
        verified::VerifiedBy,
    },
    error::files,
    identity::issuer::Person,
    policy::Reason,
    registry::service::NewStewards,
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

impl Registry {
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
        let turn = self.changes.turn().await;
        if let Some(identity) = &identity {
            identity.refuse_malformed()?;
        }
        let caller = caller.without_key();
        let mut new = NewStewards::default();
        let ensure = |view: &View<'_>| {
            let (steward, added) = self.ensured_steward(view, name, &mut new)?;
            let events: Vec<_> = added.into_iter().collect();
            if events.is_empty() {
                return Ok(Decided::nothing(steward));
            }
            Ok::<_, BrokerError>(Decided::record(view.now(), events, steward))
        };
        let steward = turn.change(&caller, ensure).await?.value;
        if let Some(identity) = identity {
            self.identify(&turn, &caller, (&steward, identity)).await?;
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
        let turn = self.changes.turn().await;
        if self.directory.lock().identities(steward).is_empty() {
            return Err(BrokerError::not_found(ObjectKind::StewardIdentity, steward));
        }
        // SECURITY: the file first: a record of what a crash then left undone would be believed.
        self.directory.lock().unidentify(steward).map_err(files)?;
        let decide = |view: &View<'_>| {
            let steward = steward.clone();
            let events = vec![LedgerEvent::StewardUnidentified { steward }];
            Ok::<_, BrokerError>(Decided::record(view.now(), events, ()))
        };
        turn.change(caller, decide).await?;
        Ok(())
    }

    /// Erases a steward's name and identities. The opaque id stays in passes and records, and every proof
    /// valid.
    ///
    /// # Errors
    ///
    /// When no name is known, it cannot be recorded, or the directory cannot be written: the record
    /// then shows an attempt, and it may be called again.
    pub async fn erase_steward(
        &self,
        caller: &Caller,
        steward: &StewardId,
    ) -> Result<(), BrokerError> {
        let turn = self.changes.turn().await;
        let decide = |view: &View<'_>| {
            if self.directory.lock().name(steward).is_none() {
                return Err(BrokerError::not_found(ObjectKind::StewardName, steward));
            }
            let steward = steward.clone();
            let events = vec![LedgerEvent::StewardErased { steward }];
            Ok(Decided::record(view.now(), events, ()))
        };
        turn.change(caller, decide).await?;
        let erased = self.directory.lock().erase(steward);
        erased.map(drop).map_err(files)
    }

    /// Whom `text`, an id or a name, stands for.
    ///
    /// # Errors
    ///
    /// When no registered steward is meant.
    pub fn find_steward(&self, text: &str) -> Result<StewardId, BrokerError> {
        let found = self.directory.lock().find(text, |steward| {
            self.changes.state().stewards.contains(steward)
        });
        found.ok_or_else(|| BrokerError::no_such(ObjectKind::Steward))
    }

    /// The steward's name, unless it was erased: for that person's own eyes.
    #[must_use]
    pub fn steward_name(&self, steward: &StewardId) -> Option<String> {
        self.directory.lock().name(steward).map(str::to_owned)
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
        let known = self.directory.lock().identified(&identity).cloned();
        let known = known.filter(|steward| self.changes.state().stewards.contains(steward));
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
            let state = self.changes.state();
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

    /// The steward that `text` stands for; when none does, a new one of that name, with the event that registers it.
    pub(crate) fn ensured_steward(
        &self,
        view: &View<'_>,
        text: &str,
        new: &mut NewStewards,
    ) -> Result<(StewardId, Option<LedgerEvent>), BrokerError> {
        let is_known = |steward: &StewardId| view.state().stewards.contains(steward);
        if let Some(steward) = self.directory.lock().find(text, is_known) {
            return Ok((steward, None));
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
        let steward = match &new.0 {
            Some(steward) => steward.clone(),
            None => {
                let steward = StewardId::from_random(*uuid::Uuid::new_v4().as_bytes());
                // The name first: a record without a name could not be shown, and a name without a record is not registered yet.
                let name = text.to_owned();
                let mut directory = self.directory.lock();
                directory.set(steward.clone(), name).map_err(not_written)?;
                new.0.insert(steward).clone()
            }
        };
        let event = LedgerEvent::StewardAdded {
            steward: steward.clone(),
        };
        Ok((steward, Some(event)))
    }

    async fn identify(
        &self,
        turn: &Turn<'_>,
        caller: &Caller,
        (steward, identity): (&StewardId, Identity),
    ) -> Result<(), BrokerError> {
        // SECURITY: the record first: a link without a record would let a person act without a trace.
        let decide = |view: &View<'_>| {
            if !self.is_to_be_linked(steward, &identity)? {
                return Ok(Decided::nothing(false));
            }
            let event = LedgerEvent::StewardIdentified {
                steward: steward.clone(),
                issuer: identity.issuer.clone(),
            };
            Ok::<_, BrokerError>(Decided::record(view.now(), vec![event], true))
        };
        if turn.change(caller, decide).await?.value {
            let mut directory = self.directory.lock();
            directory.identify(steward, identity).map_err(not_written)?;
        }
        Ok(())
    }

    /// Whether the identity is not linked to the steward yet, and may be.
    fn is_to_be_linked(
        &self,
        steward: &StewardId,
        identity: &Identity,
    ) -> Result<bool, BrokerError> {
        let directory = self.directory.lock();
        let refusal = match directory.identified(identity) {
            Some(known) if known == steward => return Ok(false),
            Some(_) => "the identity is linked to another steward".to_owned(),
            None if directory.name(steward).is_none() => {
                "the steward's name was erased: register the person anew".to_owned()
            }
            None if directory.identities(steward).len() >= MAX_IDENTITIES => {
                format!("a steward has at most {MAX_IDENTITIES} identities")
            }
            None => return Ok(true),
        };
        Err(BrokerError::Conflict(refusal))
    }

    fn view_steward(&self, steward: &StewardId) -> StewardView {
        let directory = self.directory.lock();
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
            .changes
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
