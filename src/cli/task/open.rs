//! `hallpass task open`: what is asked for.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    api::{
        secret::Secret,
        tasks::{Credentials, OpenRequest},
    },
    cli::{
        access::{Either, public_key, token_argument},
        error::CliError,
        rights::Rights,
    },
};
use hallpass_core::{base::holder::HolderKey, token::RequestedDetail};

/// A task to be opened.
#[derive(Debug, Args)]
pub(super) struct Open {
    /// What the task is for, as the audit trail shows it.
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// How long the task lasts, such as 5m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    pub(super) rights: Rights,
    /// Take less than was asked for rather than nothing.
    #[arg(long)]
    allow_partial: bool,
    /// For whom: the agent's own steward.
    #[arg(long, value_name = "NAME")]
    steward: Option<String>,
    /// A person's ID token, or `-` to read it from stdin: the task is on that person's behalf.
    #[arg(long, value_name = "TOKEN")]
    subject_token: Option<String>,
    /// A value that grants may pin arguments to, such as patient_id=p-123; may be repeated.
    #[arg(long = "context", value_name = "NAME=VALUE", value_parser = context_value)]
    context: Vec<(String, Value)>,
    /// Bind the pass to the agent's own key: every use then needs a proof by it.
    #[arg(long, conflicts_with = "holder_key")]
    bound: bool,
    /// Bind the pass to the public key in this JWK file.
    #[arg(long, value_name = "JWKFILE")]
    holder_key: Option<PathBuf>,
    /// How often a bound pass may be handed on.
    #[arg(long, value_name = "TIMES")]
    max_delegations: Option<u8>,
    /// Get credentials for a stock OAuth client instead of a pass; they end with the task.
    #[arg(long)]
    pub(super) credentials: bool,
}

impl Open {
    /// The request for `details`, with the credentials of `who`.
    pub(super) fn into_request(
        self,
        details: Vec<RequestedDetail>,
        who: &Either,
    ) -> Result<OpenRequest, CliError> {
        let subject_token = match &self.subject_token {
            Some(token) => Some(Secret::new(&token_argument(token)?)),
            None => None,
        };
        let holder_key = match &self.holder_key {
            Some(path) => Some(public_key(path)?),
            None if self.bound => {
                let key = HolderKey::from_jwk(&who.agent_key()?.public_jwk());
                Some(key.ok_or_else(|| {
                    CliError::usage("a pass cannot be bound to this agent's key")
                        .hint("say --holder-key with an Ed25519 or P-256 key, or leave --bound out")
                })?)
            }
            None => None,
        };
        if self.max_delegations.is_some() && holder_key.is_none() {
            return Err(
                CliError::usage("--max-delegations needs --bound or --holder-key").hint(
                    "only the holder of a bound pass can be made to sign when it hands it on",
                ),
            );
        }
        Ok(OpenRequest {
            purpose: self.purpose,
            ttl_seconds: self.ttl.as_secs(),
            authorization_details: details,
            allow_partial: self.allow_partial,
            steward: self.steward,
            context: distinct(self.context)?,
            subject_token,
            holder_key,
            max_delegation_depth: self.max_delegations,
            credentials: self.credentials.then_some(Credentials::ClientSecret),
        })
    }
}

/// `patient_id=p-123`; a value that reads as an integer, true or false is one, in quotes it is text.
pub(in crate::cli) fn context_value(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("expected NAME=VALUE, such as patient_id=p-123")?;
    let value = match value {
        "true" | "false" => json!(value == "true"),
        quoted if quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"') => {
            json!(
                quoted
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
            )
        }
        other => other
            .parse::<i64>()
            .map_or_else(|_| json!(other), |number| json!(number)),
    };
    Ok((name.to_owned(), value))
}

/// The values by their names, of which each is given once.
pub(in crate::cli) fn distinct(
    context: Vec<(String, Value)>,
) -> Result<BTreeMap<String, Value>, CliError> {
    let mut members = BTreeMap::new();
    for (name, value) in context {
        if members.contains_key(&name) {
            return Err(CliError::usage(format!("--context names `{name}` twice")));
        }
        members.insert(name, value);
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_values_are_what_they_read_as() {
        let value = |text| context_value(text).unwrap().1;
        assert_eq!(value("a=p-123"), json!("p-123"));
        assert_eq!(value("a=17"), json!(17));
        assert_eq!(value("a=\"17\""), json!("17"));
        assert_eq!(value("a=true"), json!(true));
        assert_eq!(value("a=x=y"), json!("x=y"));
        assert!(context_value("a").is_err());
        assert!(distinct(vec![("a".into(), json!(1)), ("a".into(), json!(2))]).is_err());
    }
}
