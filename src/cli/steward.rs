//! `hallpass steward`: the humans who answer for agents.

use clap::{Args, Subcommand};

use crate::{
    api::stewards::{IdentityRequest, StewardRequest},
    cli::{
        access::Operator,
        error::{CliError, Exit},
        output::{Columns, Output, View},
        session::{Answer, Session},
        view::{or_dash, state},
    },
};
use hallpass_broker::StewardView;
use hallpass_core::base::{ids::StewardId, person_name::canonical};

/// The humans who answer for agents.
#[derive(Debug, Args)]
pub(super) struct Stewards {
    #[command(flatten)]
    operator: Operator,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register a steward; `agent add --steward NAME` does so too.
    #[command(after_help = "\
With an identity, the person's ID token makes a task one on that person's behalf; the issuer is one of
`[[oauth.issuer]]` in the broker's settings.

Examples:
  hallpass steward add \"Alice Example\"
  hallpass steward add \"Alice Example\" --identity https://idp.example 00u1a2b3c4")]
    Add {
        /// The name, kept in the erasable directory only.
        name: String,
        /// How a trusted issuer names the person: its URL, and the `sub` of the person's ID tokens.
        #[arg(long, num_args = 2, value_names = ["ISSUER", "SUB"])]
        identity: Option<Vec<String>>,
    },
    /// Unlink a steward from every identity; tasks stay, unless the steward is revoked.
    Unlink {
        /// A name, or a steward's id.
        steward: String,
    },
    /// List the stewards.
    List,
    /// Make a code with which a steward signs in once, where a program asks to act for them.
    #[command(
        after_help = "The code is good once, for ten minutes, and replaces the one before it. It lets its holder act as\nthat person: give it to that person only."
    )]
    Code {
        /// A name, or a steward's id.
        steward: String,
    },
    /// Erase a steward's name for good; passes and records keep the opaque id.
    Erase {
        /// A name, or a steward's id.
        steward: String,
        /// Do it: an erased name cannot be brought back.
        #[arg(long)]
        yes: bool,
    },
    /// Allow minting again for the agents of a steward who was revoked; dead passes stay dead.
    Reinstate {
        /// A name, or a steward's id.
        steward: String,
    },
}

impl Stewards {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let session = self.operator.open()?;
        match self.command {
            Command::Add { name, identity } => {
                let identity = match identity.as_deref() {
                    Some([issuer, subject]) => Some(IdentityRequest {
                        issuer: issuer.clone(),
                        subject: subject.clone(),
                    }),
                    _ => None,
                };
                let steward = session
                    .add_steward(&StewardRequest { name, identity })
                    .await?;
                output.answer(&steward, |steward| View::Fields(fields(&steward)))
            }
            Command::List => {
                let table = Columns {
                    columns: &["steward", "name", "state"],
                    empty: "no stewards yet",
                };
                output.list(&session.stewards().await?, table, |steward| {
                    fields(&steward)
                        .into_iter()
                        .map(|(_, value)| value)
                        .collect()
                })
            }
            Command::Code { steward } => {
                let id = find(&session, &steward).await?;
                output.answer(&session.sign_in_code(&id).await?, |made| {
                    View::Fields(vec![
                        ("code", made.code.expose().to_owned()),
                        ("good until", made.expires_at.to_string()),
                    ])
                })
            }
            Command::Unlink { steward } => {
                let id = find(&session, &steward).await?;
                session.unlink_steward(&id).await?;
                output.note(&format!("no ID token is taken for one of {id} any more"));
                Ok(())
            }
            Command::Erase { steward, yes } => {
                let id = find(&session, &steward).await?;
                if !yes {
                    return Err(CliError::usage(format!(
                        "the name of {id} would be erased for good: passes and records keep the id alone"
                    ))
                    .hint("say --yes to erase it"));
                }
                session.erase_steward(&id).await?;
                output.note(&format!("the name of {id} is erased"));
                Ok(())
            }
            Command::Reinstate { steward } => {
                let id = find(&session, &steward).await?;
                session.reinstate_steward(&id).await?;
                output.note(&format!("the agents of {id} can be minted for again"));
                Ok(())
            }
        }
    }
}

fn fields(steward: &StewardView) -> Vec<(&'static str, String)> {
    vec![
        ("steward", steward.steward.to_string()),
        ("name", or_dash(steward.name.as_ref())),
        (
            "state",
            if steward.name.is_none() {
                "erased".to_owned()
            } else {
                state(steward.suspended)
            },
        ),
    ]
}

/// The id of the steward that `given`, an id or a name, means.
async fn find(session: &Session, given: &str) -> Result<StewardId, CliError> {
    if given.starts_with("stw_") {
        return given.parse().map_err(CliError::usage);
    }
    let all = all(session).await?;
    match called(&all, given).as_slice() {
        [one] => Ok(one.steward.clone()),
        [] => Err(
            CliError::failed(format!("there is no steward called `{given}`"))
                .hint("`hallpass steward list` shows them"),
        ),
        several => {
            let ids: Vec<_> = several
                .iter()
                .map(|steward| steward.steward.as_str())
                .collect();
            Err(
                CliError::failed(format!("several stewards are called `{given}`"))
                    .because(ids)
                    .hint("say which by its id"),
            )
        }
    }
}

async fn all(session: &Session) -> Result<Vec<StewardView>, CliError> {
    session.stewards().await?.iter().map(Answer::read).collect()
}

/// Those whose name is `name`, in whatever form either is written.
fn called<'s>(all: &'s [StewardView], name: &str) -> Vec<&'s StewardView> {
    let wanted = canonical(name);
    let has_name = |steward: &&StewardView| {
        let own = steward.name.as_deref().map(canonical);
        own.as_ref() == Some(&wanted)
    };
    all.iter().filter(has_name).collect()
}

/// Whether a new person may be registered under `name`, who may be a known steward with a typing error; who is new is said.
///
/// An operator who may not read stewards is not asked.
pub(super) async fn ask_about_new(
    session: &Session,
    name: &str,
    output: Output,
) -> Result<(), CliError> {
    if name.starts_with("stw_") {
        return Ok(());
    }
    let all = match all(session).await {
        Ok(all) => all,
        Err(error) if error.exit() == Exit::Refused => return Ok(()),
        Err(error) => return Err(error),
    };
    if !called(&all, name).is_empty() {
        return Ok(());
    }
    let names = all.iter().filter_map(|steward| steward.name.as_deref());
    let similar: Vec<_> = names.filter(|known| is_similar(known, name)).collect();
    if similar.is_empty() {
        output.note(&format!("note: steward {name} is new here"));
        return Ok(());
    }
    Err(CliError::usage(format!(
        "no steward is called `{name}`, and some nearly are"
    ))
    .because(similar)
    .hint("say --steward with one of these names, or --new-steward for another person"))
}

/// Two letters of a long name, one of a short one, and any difference of case.
fn is_similar(known: &str, name: &str) -> bool {
    let (known, name) = (
        canonical(known).to_lowercase(),
        canonical(name).to_lowercase(),
    );
    let far = if name.chars().count() < 5 { 1 } else { 2 };
    strsim::damerau_levenshtein(&known, &name) <= far
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_similar_and_another_name_is_not() {
        for (known, name) in [
            ("alice", "alcie"),
            ("Alice", "alice"),
            ("bob", "bo"),
            ("Jose\u{301}", "josé"),
        ] {
            assert!(is_similar(known, name), "{known} {name}");
        }
        for (known, name) in [
            ("alice", "bob"),
            ("bob", "eve"),
            ("carol", "mallory"),
            ("ann", "bob"),
        ] {
            assert!(!is_similar(known, name), "{known} {name}");
        }
    }
}
