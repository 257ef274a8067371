//! `hallpass audit head`, `prove` and `export`: what to keep, and where to show it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use crate::cli::{
    access::Operator,
    audit::{
        check::{evidence, export_fields},
        filter::given,
    },
    error::CliError,
    output::{Output, View},
    session::{Query, Session},
};
use hallpass_broker::ledger::audit::{
    self, Claims, ConsistencyEvidence, Evidence, FileState, InclusionEvidence,
};
use hallpass_core::base::error::chain;

/// The signed head.
#[derive(Debug, Args)]
pub(super) struct Head {
    #[command(flatten)]
    operator: Operator,
}

impl Head {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let answer = self.operator.open()?.audit_head().await?;
        let head = answer.read_whole()?;
        head.verify(None, None)
            .map_err(|error| bad_answer(&error))?;
        let fields = vec![
            ("records", head.sequence.to_string()),
            ("head", format!("{}:{}", head.sequence, head.hash)),
            ("root", head.root.to_string()),
            ("signed at", head.at.clone()),
            ("signed by", head.signed.checkpoint_key.thumbprint()),
        ];
        output.show(answer.raw(), View::Fields(fields))
    }
}

/// What is to be proven.
#[derive(Debug, Args)]
pub(super) struct Prove {
    #[command(flatten)]
    operator: Operator,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// That this record is in the journal.
    #[arg(long, value_name = "NUMBER")]
    sequence: Option<u64>,
    /// That the journal begins with the records of this head, unchanged.
    #[arg(long, value_name = "HEADFILE")]
    since: Option<PathBuf>,
}

impl Prove {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let session = self.operator.open()?;
        // Shown only if it holds: a proof that does not is no answer.
        match (self.what.sequence, &self.what.since) {
            (Some(sequence), _) => {
                let answer = session.prove_inclusion(sequence).await?;
                let fields = included(answer.read_whole()?)?;
                output.show(answer.raw(), View::Fields(fields))
            }
            (None, Some(path)) => {
                let Evidence::Head(head) = evidence(path)? else {
                    return Err(
                        CliError::usage(format!("`{}` is not a head", path.display()))
                            .hint("`hallpass audit head --json` prints one"),
                    );
                };
                let mut answer = session.prove_consistency(head.sequence).await?;
                let earlier = serde_json::to_value(head.signed).map_err(CliError::failed)?;
                if let Some(members) = answer.raw_mut().as_object_mut() {
                    members.insert("earlier".to_owned(), earlier);
                }
                let fields = unchanged(&answer.read_whole()?)?;
                output.show(answer.raw(), View::Fields(fields))
            }
            (None, None) => Err(CliError::usage("say --sequence or --since")),
        }
    }
}

fn included(evidence: InclusionEvidence) -> Result<Vec<(&'static str, String)>, CliError> {
    let head = evidence
        .verify(None, None)
        .map_err(|error| bad_answer(&error))?;
    Ok(vec![
        ("record", evidence.inclusion.sequence.to_string()),
        ("is among", format!("{} records", head.size)),
        ("root", head.root.to_string()),
        ("line", evidence.record),
    ])
}

fn unchanged(evidence: &ConsistencyEvidence) -> Result<Vec<(&'static str, String)>, CliError> {
    let (earlier, later) = evidence
        .verify(None, None)
        .map_err(|error| bad_answer(&error))?;
    Ok(vec![
        ("unchanged", format!("records 1 to {}", earlier.size)),
        ("are among", format!("{} records", later.size)),
        ("root", later.root.to_string()),
    ])
}

/// An export.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    operator: Operator,
    /// Where to write it (mode 0600); must not exist.
    file: PathBuf,
    /// From this record on, rather than the first.
    #[arg(long, value_name = "NUMBER")]
    first: Option<u64>,
    /// Up to this record, rather than the last.
    #[arg(long, value_name = "NUMBER")]
    last: Option<u64>,
}

impl Export {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let session = self.operator.open()?;
        let text = |number: Option<u64>| number.map(|number| number.to_string());
        let query = given([("from", text(self.first)), ("to", text(self.last))]);
        if self.file.exists() {
            return Err(self
                .failed(&io::ErrorKind::AlreadyExists.into())
                .hint("choose another name, or move it away"));
        }
        // Under another name until it is whole, so that a part is not taken for the whole.
        let part = partial(&self.file);
        let open = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part);
        let file = open.map_err(|error| {
            CliError::failed(format!("cannot write `{}`: {error}", part.display()))
        })?;
        let written = self.write((file, &part), &session, &query).await;
        let summary = written.inspect_err(|_| {
            // What is left over is no export; that it stays behind is no second failure.
            let _ = fs::remove_file(&part);
        })?;
        fs::rename(&part, &self.file).map_err(|error| self.failed(&error))?;
        let file = self.file.display().to_string();
        let document = json!({"file": file, "records": summary.records, "from": summary.from,
            "head": {"sequence": summary.head.sequence, "hash": summary.head.hash}});
        let mut fields = vec![("file", file), ("records", summary.records.to_string())];
        fields.extend(export_fields(&summary));
        output.show(&document, View::Fields(fields))
    }

    async fn write(
        &self,
        (mut file, part): (File, &Path),
        session: &Session,
        query: Query<'_>,
    ) -> Result<audit::Summary, CliError> {
        let mut response = session.export(query).await?;
        let failed = |error: io::Error| self.failed(&error);
        let broke = |error: reqwest::Error| {
            CliError::failed(format!("the export broke off: {}", chain(&error)))
        };
        while let Some(piece) = response.chunk().await.map_err(broke)? {
            file.write_all(&piece).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        let claims = Claims {
            file: FileState::Closed,
            ..Claims::default()
        };
        let reader = io::BufReader::new(File::open(part).map_err(failed)?);
        let summary = audit::verify(reader, &claims).map_err(|error| {
            CliError::failed(format!(
                "what the broker sent is no export: {}",
                chain(&error)
            ))
        })?;
        if summary.signature == audit::Signature::None {
            return Err(CliError::failed(
                "what the broker sent is no export: it has no seal",
            ));
        }
        Ok(summary)
    }

    fn failed(&self, error: &io::Error) -> CliError {
        CliError::failed(format!("cannot write `{}`: {error}", self.file.display()))
    }
}

fn partial(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    file.with_file_name(name)
}

fn bad_answer(error: &dyn std::error::Error) -> CliError {
    CliError::failed(format!(
        "the broker's answer proves nothing: {}",
        chain(error)
    ))
}
