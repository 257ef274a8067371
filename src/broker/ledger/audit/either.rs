//! An event of either chain: a file is checked without knowing which one it holds.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use crate::domain::{
    decision::DecisionEvent,
    event::{ChainEvent, LedgerEvent},
    subjects::Subjects,
};
use hallpass_core::base::{digest::Digest, ids::RevocationId};

/// An event of the journal or of the chain of decisions.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum EitherEvent {
    Ledger(Box<LedgerEvent>),
    Decision(Box<DecisionEvent>),
}

impl<'de> Deserialize<'de> for EitherEvent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let event = Value::deserialize(from)?;
        let is_decision = matches!(
            event.get("type").and_then(Value::as_str),
            Some("call_decided" | "reports_lost")
        );
        // What begins a segment is the same in both.
        let read = if is_decision {
            serde_json::from_value(event).map(Self::Decision)
        } else {
            serde_json::from_value(event).map(Self::Ledger)
        };
        read.map_err(D::Error::custom)
    }
}

impl ChainEvent for EitherEvent {
    fn segment_begun(snapshot: Option<Digest>) -> Self {
        Self::Ledger(Box::new(LedgerEvent::segment_begun(snapshot)))
    }

    fn begins_segment(&self) -> bool {
        match self {
            Self::Ledger(event) => event.begins_segment(),
            Self::Decision(event) => event.begins_segment(),
        }
    }

    fn snapshot(&self) -> Option<Digest> {
        match self {
            Self::Ledger(event) => event.snapshot(),
            Self::Decision(event) => event.snapshot(),
        }
    }

    fn made_token(&self) -> Option<RevocationId> {
        match self {
            Self::Ledger(event) => event.made_token(),
            Self::Decision(event) => event.made_token(),
        }
    }

    fn name_subjects(&self, subjects: &mut Subjects) {
        match self {
            Self::Ledger(event) => event.name_subjects(subjects),
            Self::Decision(event) => event.name_subjects(subjects),
        }
    }
}
