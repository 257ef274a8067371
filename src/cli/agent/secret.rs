//! `hallpass agent secret`: client secrets, for programs that know OAuth and no keys.

use clap::Subcommand;

use crate::{
    api::agents::AgentWithSecret,
    cli::{
        agent::view::{show, with_secret},
        error::CliError,
        output::Output,
        secret_out::{SECRET, SecretPlace},
        session::{Answer, Session},
    },
};
use hallpass_broker::domain::client::SecretId;
use hallpass_core::base::ids::AgentId;

#[derive(Debug, Subcommand)]
pub(super) enum Secrets {
    /// Make another secret, of two at most; the old one stays good until it is removed.
    #[command(
        after_help = "Example:\n  hallpass agent secret add build-bot --secret-out build-bot.secret"
    )]
    Add {
        /// The agent's id.
        agent: AgentId,
        #[command(flatten)]
        place: SecretPlace,
    },
    /// Remove a secret; passes that were given for it live on.
    #[command(after_help = "Example:\n  hallpass agent secret remove build-bot 0123456789abcdef")]
    Remove {
        /// The agent's id.
        agent: AgentId,
        /// The secret's id, as `hallpass agent show` lists it.
        secret: SecretId,
    },
}

impl Secrets {
    pub(super) async fn run(self, session: &Session, output: Output) -> Result<(), CliError> {
        match self {
            Self::Add { agent, place } => {
                let place = place.tried()?;
                let mut made = session.add_agent_secret(&agent).await?;
                let kept = place.keep(&SECRET, &mut made, output);
                match kept.and_then(|()| output.answer(&made, with_secret)) {
                    Ok(()) => Ok(()),
                    Err(error) => Err(take_back(session, &agent, (&made, error)).await),
                }
            }
            Self::Remove { agent, secret } => {
                output.answer(&session.remove_agent_secret(&agent, &secret).await?, show)
            }
        }
    }
}

/// Removes the secret that was just made and that no one has: it takes one of two places.
async fn take_back(
    session: &Session,
    agent: &AgentId,
    (made, error): (&Answer<AgentWithSecret>, CliError),
) -> CliError {
    let secrets = made.read().map(|made| made.agent.secrets);
    let newest = secrets
        .unwrap_or_default()
        .into_iter()
        .max_by_key(|secret| secret.added_at);
    let removed = match newest {
        Some(secret) => session
            .remove_agent_secret(agent, &secret.secret_id)
            .await
            .is_ok(),
        None => false,
    };
    let failed = CliError::failed(format!(
        "the secret could not be handed over: {}",
        error.message()
    ));
    failed.hint(if removed {
        "it was removed again: nothing was changed"
    } else {
        SECRET.lost
    })
}
