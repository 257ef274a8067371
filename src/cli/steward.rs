//! `hallpass steward`: the humans who answer for agents.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{
    access::Operator,
    agent::state,
    client::{Bearer, Client, segment},
    error::CliError,
    output::{Output, View},
    view::text,
};

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
        after_help = "The code is good once, for ten minutes, and replaces the one before it. Whoever has it can act as\nthat person: hand it to nobody else."
    )]
    Code {
        /// A name, or a steward's id.
        steward: String,
    },
    /// Erase a steward's name for good; passes and records keep the opaque id.
    Erase {
        /// A name, or a steward's id.
        steward: String,
    },
    /// Allow minting again for the agents of a steward who was revoked; dead passes stay dead.
    Reinstate {
        /// A name, or a steward's id.
        steward: String,
    },
}

impl Stewards {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let (client, bearer) = self.operator.open()?;
        match self.command {
            Command::Add { name, identity } => {
                let mut body = json!({"name": name});
                if let Some([issuer, subject]) = identity.as_deref() {
                    body =
                        json!({"name": name, "identity": {"issuer": issuer, "subject": subject}});
                }
                let steward = client.post("/v1/stewards", &body, &bearer).await?;
                output.show(&steward, View::Fields(fields(&steward)))
            }
            Command::List => {
                let stewards = client
                    .list("/v1/stewards", (&[], usize::MAX), &bearer)
                    .await?;
                let row = |steward: &Value| {
                    vec![
                        text(steward, "/steward"),
                        text(steward, "/name"),
                        state(steward),
                    ]
                };
                let rows = stewards.iter().map(row).collect();
                let view = View::Table {
                    columns: &["steward", "name", "state"],
                    rows,
                    empty: "no stewards yet",
                };
                output.show(&json!({"items": stewards}), view)
            }
            Command::Code { steward } => {
                let id = find((&client, &bearer), &steward).await?;
                let made = client
                    .post(&format!("/v1/stewards/{id}/code"), &json!({}), &bearer)
                    .await?;
                output.show(
                    &made,
                    View::Fields(vec![
                        ("code", text(&made, "/code")),
                        ("good until", text(&made, "/expires_at")),
                    ]),
                )
            }
            Command::Unlink { steward } => {
                let id = find((&client, &bearer), &steward).await?;
                client
                    .delete(&format!("/v1/stewards/{id}/identities"), &bearer)
                    .await?;
                output.note(&format!("no ID token is taken for one of {id} any more"));
                Ok(())
            }
            Command::Erase { steward } => {
                let id = find((&client, &bearer), &steward).await?;
                client
                    .delete(&format!("/v1/stewards/{id}/name"), &bearer)
                    .await?;
                output.note(&format!("the name of {id} is erased"));
                Ok(())
            }
            Command::Reinstate { steward } => {
                let id = find((&client, &bearer), &steward).await?;
                client
                    .post(&format!("/v1/stewards/{id}/reinstate"), &json!({}), &bearer)
                    .await?;
                output.note(&format!("the agents of {id} can be minted for again"));
                Ok(())
            }
        }
    }
}

fn fields(steward: &Value) -> Vec<(&'static str, String)> {
    vec![
        ("steward", text(steward, "/steward")),
        ("name", text(steward, "/name")),
        ("state", state(steward)),
    ]
}

/// The id of the steward that `given`, an id or a name, means.
async fn find((client, bearer): (&Client, &Bearer), given: &str) -> Result<String, CliError> {
    if given.starts_with("stw_") {
        return Ok(segment(given));
    }
    let stewards = client
        .list("/v1/stewards", (&[], usize::MAX), bearer)
        .await?;
    let found = stewards
        .iter()
        .find(|steward| steward.get("name").and_then(Value::as_str) == Some(given));
    found
        .map(|steward| text(steward, "/steward"))
        .ok_or_else(|| {
            CliError::failed(format!("there is no steward called `{given}`"))
                .hint("`hallpass steward list` shows them")
        })
}
