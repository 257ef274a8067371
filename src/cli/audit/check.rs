//! `hallpass audit verify`: from files alone.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use crate::cli::{
    access::DATA_DIRECTORY,
    error::CliError,
    output::{Output, View},
};
use hallpass_broker::ledger::{
    audit::{
        self, Anchor, Claims, Evidence, FileState, Signature, Signer, Standing, Summary, TreeHead,
        VerifyError,
    },
    file::{DIRECTORY, Head, segments_of},
};
use hallpass_core::{
    base::{error::chain, json, key::PublicKey, time::Timestamp},
    wire::{self, document::KeyDocument},
};

/// What is to be checked, and what is known.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A data directory, a directory of segments, one segment's file, an export, a head or a proof.
    #[arg(default_value = DATA_DIRECTORY)]
    path: PathBuf,
    /// The broker's checkpoint key: its thumbprint, or a file with the key (JWK) or a key document
    /// (/v1/keys.json). A signature by it is then asked for.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// A head that this journal is known to have had: SEQUENCE:HASH, or the file of a signed head.
    #[arg(long, value_name = "HEAD")]
    head: Option<String>,
    /// The head of the archived segments that this journal follows on.
    #[arg(long, value_name = "SEQUENCE:HASH")]
    follows: Option<Head>,
    /// No broker is writing to it: the last line must be whole.
    #[arg(long)]
    closed: bool,
}

impl Verify {
    pub(super) fn run(self, output: Output) -> Result<(), CliError> {
        let anchor = self.key.as_deref().map(read_anchor).transpose()?;
        let (head, tree_head) = match &self.head {
            None => (None, None),
            Some(text) => read_head(text, anchor.as_ref())?,
        };
        if is_evidence(&self.path)? {
            if head.is_some() {
                return Err(CliError::usage(
                    "--head: a proof is held against the file of a signed head",
                ));
            }
            return self.evidence(anchor.as_ref(), tree_head.as_ref(), output);
        }
        let inside = self.path.join(DIRECTORY);
        let path = if inside.is_dir() {
            inside
        } else {
            self.path.clone()
        };
        let segments = segments_of(&path).map_err(|error| unreadable(&path, &error))?;
        if segments.is_empty() {
            return Err(CliError::failed(format!(
                "`{}` holds no journal",
                path.display()
            )));
        }
        let mut files = Vec::with_capacity(segments.len());
        let mut bytes: u64 = 0;
        for (number, path) in &segments {
            let file = File::open(path).map_err(|error| unreadable(path, &error))?;
            bytes = bytes.saturating_add(
                file.metadata()
                    .map_err(|error| unreadable(path, &error))?
                    .len(),
            );
            files.push((*number, file));
        }
        let bar = output.progress(bytes);
        let file = if self.closed {
            FileState::Closed
        } else {
            FileState::Live
        };
        let reader = |file| BufReader::with_capacity(READ_BUFFER_BYTES, bar.wrap_read(file));
        let readers = files
            .into_iter()
            .map(|(number, file)| Ok((number, reader(file))));
        let claims = Claims {
            head,
            tree_head,
            follows: self.follows,
            anchor,
            file,
        };
        let verified = audit::verify_segments(readers, &claims);
        bar.finish_and_clear();
        match verified {
            Ok(summary) => sound(&path, &summary, output),
            Err(VerifyError::Damage(damage)) => {
                let damaged = segments
                    .iter()
                    .find(|(number, _)| *number == damage.segment);
                let path = damaged.map_or(&path, |(_, path)| path);
                Err(CliError::failed(format!("`{}` is damaged at {damage}", path.display()))
                    .hint("what stands before that place is sound; compare with a copy from elsewhere"))
            }
            Err(error) => Err(CliError::failed(format!(
                "`{}`: {}",
                path.display(),
                chain(&error)
            ))),
        }
    }

    fn evidence(
        &self,
        anchor: Option<&Anchor>,
        known: Option<&TreeHead>,
        output: Output,
    ) -> Result<(), CliError> {
        let bad = |error: audit::EvidenceError| {
            CliError::failed(format!("`{}`: {}", self.path.display(), chain(&error)))
        };
        let mut fields = vec![("file", self.path.display().to_string())];
        let evidence = evidence(&self.path)?;
        let signer = evidence.signed().map(|signed| signed.signer(anchor));
        let head = match evidence {
            Evidence::Head(head) => head.verify(anchor, known).map_err(bad)?,
            Evidence::Inclusion(inclusion) => {
                let head = inclusion.verify(anchor, known).map_err(bad)?;
                fields.push((
                    "proves",
                    format!("record {} is in the journal", inclusion.inclusion.sequence),
                ));
                fields.push(("line", inclusion.record));
                head
            }
            Evidence::Consistency(consistency) => {
                let (earlier, later) = consistency.verify(anchor, known).map_err(bad)?;
                let (from, at) = (earlier.size, earlier.at);
                fields.push((
                    "proves",
                    format!("records 1 to {from} are those of the head signed at {at}"),
                ));
                later
            }
        };
        fields.push((
            "signed",
            if anchor.is_some() { "yes" } else { UNANCHORED }.to_owned(),
        ));
        fields.extend(signer.as_ref().map(signer_field));
        fields.extend(head_fields(&head));
        let document = json!({"ok": true, "file": self.path.display().to_string(),
            "signature": if anchor.is_some() { "verified" } else { "unanchored" }, "signer": signer, "tree": head});
        output.show(&document, View::Fields(fields))
    }
}

/// Reads the evidence in a file.
pub(super) fn evidence(path: &Path) -> Result<Evidence, CliError> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    Evidence::read(&bytes)
        .map_err(|error| CliError::failed(format!("`{}`: {error}", path.display())))
}

/// Who stands for an export, in words.
pub(super) fn export_fields(summary: &Summary) -> Vec<(&'static str, String)> {
    let (word, export) = match &summary.signature {
        Signature::None => {
            return vec![(
                "signed",
                "no: a process that can write the file can write another sound one".to_owned(),
            )];
        }
        Signature::Unanchored(export) => (UNANCHORED, export),
        Signature::Verified(export) => ("yes", export),
    };
    let mut fields = vec![("signed", word.to_owned())];
    fields.extend(summary.signer.as_ref().map(signer_field));
    fields.push((
        "holds",
        format!(
            "records {} to {} of {}",
            export.from, export.to, export.head.size
        ),
    ));
    fields.extend(head_fields(&export.head));
    fields
}

fn signer_field(signer: &Signer) -> (&'static str, String) {
    let words = match signer.standing {
        Standing::Current => "the current checkpoint key",
        Standing::Earlier => {
            "signed by an earlier checkpoint key; a thief of that key can still sign: compare with what you kept \
             since before it was rotated"
        }
        Standing::Unlisted => {
            "a checkpoint key that the key document does not list: get the newest document; a key that is in none \
             was signed with an earlier one"
        }
        Standing::Unknown => {
            "whether that is the current checkpoint key, a key document says: --key KEYS.JSON"
        }
    };
    ("signed by", format!("{}; {words}", signer.key))
}

fn head_fields(head: &TreeHead) -> Vec<(&'static str, String)> {
    vec![
        ("signed for", head.iss.to_string()),
        ("signed at", head.at.to_string()),
        ("tree", format!("{} records, root {}", head.size, head.root)),
    ]
}

fn sound(path: &Path, summary: &Summary, output: Output) -> Result<(), CliError> {
    let head = format!("{}:{}", summary.head.sequence, summary.head.hash);
    let (signature, export) = match &summary.signature {
        Signature::None => ("none", None),
        Signature::Unanchored(export) => ("unanchored", Some(export)),
        Signature::Verified(export) => ("verified", Some(export)),
    };
    let document = json!({
        "ok": true, "file": path.display().to_string(), "records": summary.records, "from": summary.from,
        "first": summary.first, "last": summary.last,
        "head": {"sequence": summary.head.sequence, "hash": summary.head.hash},
        "in_flight": summary.in_flight, "signature": signature, "signer": summary.signer, "export": export,
    });
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let mut fields = vec![
        ("journal", path.display().to_string()),
        ("sound", "yes".to_owned()),
        ("records", summary.records.to_string()),
        ("first", time(summary.first)),
        ("last", time(summary.last)),
        ("head", head),
    ];
    if summary.from > 1 && summary.signature == Signature::None {
        fields.push((
            "begins",
            format!(
                "with record {}: those before it were archived",
                summary.from
            ),
        ));
    }
    if summary.in_flight {
        fields.push(("in flight", "a record is being written".to_owned()));
    }
    fields.extend(export_fields(summary));
    output.show(&document, View::Fields(fields))
}

/// Whether a file holds a head or a proof; a journal and an export have one record a line.
fn is_evidence(path: &Path) -> Result<bool, CliError> {
    if path.is_dir()
        || path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
    {
        return Ok(false);
    }
    let mut begin = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(RECORD.len().try_into().unwrap_or(0))
        .read_to_end(&mut begin)
        .map_err(|error| unreadable(path, &error))?;
    Ok(!begin.is_empty() && begin != RECORD)
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("cannot read `{}`: {error}", path.display())).hint(
        "name the broker's data directory, a directory of segments, one segment's file, an export, a head or a proof",
    )
}

/// A thumbprint, or a file with a key or a key document.
fn read_anchor(text: &str) -> Result<Anchor, CliError> {
    let path = Path::new(text);
    if !path.exists() {
        return Anchor::thumbprint(text).ok_or_else(|| {
            CliError::usage(format!(
                "--key: `{text}` is neither a file nor the thumbprint of a key"
            ))
            .hint("`hallpass keys show-pin` prints the thumbprint of the checkpoint key")
        });
    }
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    let value = json::parse(&bytes, MAX_KEY_BYTES)
        .map_err(|error| CliError::usage(format!("`{text}`: {error}")))?;
    let anchor = if value.get("kty").is_some() {
        serde_json::from_value::<PublicKey>(value)
            .ok()
            .map(|key| Anchor::key(&key))
    } else {
        wire::read::<KeyDocument>(value)
            .ok()
            .and_then(|document| Anchor::document(&document))
    };
    anchor.ok_or_else(|| {
        CliError::usage(format!(
            "`{text}` holds neither a public key (JWK) nor a key document with a checkpoint key"
        ))
    })
}

/// `SEQUENCE:HASH`, or the file of a signed head.
fn read_head(
    text: &str,
    anchor: Option<&Anchor>,
) -> Result<(Option<Head>, Option<TreeHead>), CliError> {
    let path = Path::new(text);
    if !path.exists() {
        return text
            .parse()
            .map(|head| (Some(head), None))
            .map_err(|error| CliError::usage(format!("--head: {error}")));
    }
    let Evidence::Head(head) = evidence(path)? else {
        return Err(CliError::usage(format!("--head: `{text}` is not a head")));
    };
    let head = head
        .verify(anchor, None)
        .map_err(|error| CliError::failed(format!("`{text}`: {}", chain(&error))))?;
    Ok((None, Some(head)))
}

/// How every record begins.
const RECORD: &[u8] = b"{\"seq\":";

const UNANCHORED: &str = "by a key that is not pinned: give --key";
const READ_BUFFER_BYTES: usize = 256 * 1024;
const MAX_KEY_BYTES: usize = 1024 * 1024;
