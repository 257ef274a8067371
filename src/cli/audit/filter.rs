//! What a question about the trail is about, as options and as a query.

use clap::Args;

use hallpass_core::base::{
    ids::{AgentId, TaskId},
    time::Timestamp,
};

/// Which records are wanted: those that satisfy every option that is given.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only what is about this agent.
    #[arg(long)]
    agent: Option<AgentId>,
    /// Only what is about this steward, by name or id.
    #[arg(long, value_name = "NAME")]
    steward: Option<String>,
    /// Only what is about this task.
    #[arg(long)]
    task: Option<TaskId>,
    /// Only what is about this server, by name or URI.
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    #[command(flatten)]
    times: Times,
}

/// From when and till when.
#[derive(Debug, Args)]
pub(super) struct Times {
    /// Only what was decided from then on; calls by the verifiers' clocks.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only what was decided before then.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
}

impl Filter {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = given([
            ("agent", self.agent.as_ref().map(ToString::to_string)),
            ("steward", self.steward.clone()),
            ("task", self.task.as_ref().map(ToString::to_string)),
            ("server", self.server.clone()),
        ]);
        query.extend(self.times.query());
        query
    }
}

impl Times {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        given([
            ("from", self.from.map(|at| at.to_string())),
            ("to", self.to.map(|at| at.to_string())),
        ])
    }
}

/// The members that have a value.
pub(super) fn given<const N: usize>(
    members: [(&'static str, Option<String>); N],
) -> Vec<(&'static str, String)> {
    members
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}
