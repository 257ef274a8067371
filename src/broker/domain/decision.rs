//! Decisions: what verifiers report, in a chain of its own.

use serde::{Deserialize, Serialize};

use crate::domain::{event::ChainEvent, subjects::Subjects};
use hallpass_core::{
    base::digest::Digest,
    wire::report::{CallReport, LostReports},
};

/// What a verifier reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
pub enum DecisionEvent {
    /// A segment of the chain begins here; the first record of every segment but the first.
    SegmentBegun {
        /// Digest over a snapshot; none is taken of this chain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<Digest>,
    },
    /// A verifier reported a call that it decided.
    CallDecided {
        /// What it reported.
        call: Box<CallReport>,
        /// Whether that agrees with what the broker has recorded.
        attribution: Attribution,
    },
    /// A verifier reported that reports were lost before they were sent.
    ReportsLost {
        /// What it reported.
        lost: LostReports,
    },
}

impl ChainEvent for DecisionEvent {
    fn segment_begun(snapshot: Option<Digest>) -> Self {
        Self::SegmentBegun { snapshot }
    }

    fn begins_segment(&self) -> bool {
        matches!(self, Self::SegmentBegun { .. })
    }

    fn snapshot(&self) -> Option<Digest> {
        match self {
            Self::SegmentBegun { snapshot } => *snapshot,
            Self::CallDecided { .. } | Self::ReportsLost { .. } => None,
        }
    }

    fn name_subjects(&self, subjects: &mut Subjects) {
        match self {
            Self::SegmentBegun { .. } => {}
            Self::CallDecided { call, .. } => {
                subjects.add_task(&call.task);
                subjects.add_agent(&call.agent);
                subjects.add_steward(&call.steward);
                subjects.add_server(&call.server);
                subjects.tokens.extend(call.chain.iter().copied());
            }
            Self::ReportsLost { lost } => subjects.add_server(&lost.server),
        }
    }
}

/// Whether a reported call agrees with the broker's own records. What does not is kept as it was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Attribution {
    /// The task, its agent, its steward and the pass are as recorded.
    Confirmed,
    /// No such task was opened here.
    UnknownTask,
    /// The task is another agent's.
    OtherAgent,
    /// The task is for another steward.
    OtherSteward,
    /// The task has no such pass.
    OtherPass,
    /// Allowed, by a pass that has no rights at this server.
    OtherServer,
}

impl Attribution {
    /// As records spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::UnknownTask => "unknown_task",
            Self::OtherAgent => "other_agent",
            Self::OtherSteward => "other_steward",
            Self::OtherPass => "other_pass",
            Self::OtherServer => "other_server",
        }
    }
}
