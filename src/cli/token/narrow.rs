//! `hallpass token attenuate`, and with how much less a pass is handed on.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::cli::{
    access::pass_argument,
    error::CliError,
    output::{Output, View},
    rights::Rights,
    view::under,
};
use hallpass_core::{
    base::time::{Clock as _, SystemClock, Timestamp},
    token::{GrantedDetail, Narrowing, attenuate},
};

/// `hallpass token attenuate`.
#[derive(Debug, Args)]
pub(super) struct Attenuate {
    /// The token, or `-` to read it from stdin.
    token: String,
    #[command(flatten)]
    narrower: Narrower,
}

/// With how much less a pass is handed on.
#[derive(Debug, Args)]
pub(super) struct Narrower {
    /// How long the narrowed pass may still be used, such as 1m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "expires_at")]
    ttl: Option<Duration>,
    /// Or when it ends, such as 2026-11-22T10:05:00Z.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    #[command(flatten)]
    rights: Rights,
}

impl Narrower {
    pub(super) fn narrowing(&self) -> Result<Narrowing, CliError> {
        let mut narrowing = Narrowing::default();
        let now = SystemClock::default().now();
        narrowing.expires_at = self
            .expires_at
            .or_else(|| self.ttl.map(|ttl| now.plus(ttl).floor_second()));
        if self.rights.is_empty() {
            narrowing.read_only = self.rights.is_read_only();
        } else {
            let rights: Result<Vec<GrantedDetail>, _> =
                serde_json::to_value(self.rights.offline()?).and_then(serde_json::from_value);
            let rights = rights.map_err(|error| {
                CliError::usage(error)
                    .hint("a pass is narrowed to exact names: `hallpass token inspect` shows those it has")
            })?;
            narrowing.rights = Some(rights);
        }
        Ok(narrowing)
    }
}

impl Attenuate {
    pub(super) fn run(self, output: Output) -> Result<(), CliError> {
        let token = pass_argument(&self.token)?;
        let narrowed = attenuate(&token, &self.narrower.narrowing()?).map_err(CliError::usage)?;
        let mut fields = vec![("token", narrowed.token.expose().to_owned())];
        fields.extend(under(
            "revocation ids",
            narrowed.blocks.iter().map(ToString::to_string).collect(),
        ));
        output.note(
            "the holder of this token can do no more than it says; revoke its last id to end it alone",
        );
        output.show(
            &json!({"token": narrowed.token.expose(), "revocation_ids": narrowed.blocks}),
            View::Fields(fields),
        )
    }
}
