//! Policy files as they lie in the directory: the only I/O of the room.

use std::{fs, io, path::Path};

use crate::policy::{Finding, PolicyErrors, SCHEMA};
use hallpass_core::base::digest::Digest;

/// A policy file: `.toml` holds grants, `.cedar` guardrails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// How answers and findings name it: `policy/research.toml`.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Reads every grant and guardrail file of `dir`. A file of another kind is pointed out, so that
/// a misspelt ending does not silently drop a guardrail.
pub(super) fn read_directory(dir: &Path) -> Result<(Vec<PolicyFile>, Vec<Finding>), PolicyErrors> {
    let label = dir
        .file_name()
        .map_or_else(|| "policy".into(), |name| name.to_string_lossy());
    let (mut files, mut warnings, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let entries = fs::read_dir(dir)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|error| {
            let reason = format!("cannot read the directory `{}`: {error}", dir.display());
            PolicyErrors::new(vec![Finding::new(&label, None, reason)])
        })?;
    for entry in entries {
        let file_name = entry.file_name();
        let name = format!("{label}/{}", file_name.to_string_lossy());
        let is_policy = POLICY_ENDINGS.iter().any(|ending| name.ends_with(ending));
        match (is_policy, read_text(&entry.path())) {
            _ if file_name.to_string_lossy().starts_with('.') => {}
            (true, Ok(text)) => files.push(PolicyFile { name, text }),
            (true, Err(reason)) => errors.push(Finding::new(&name, None, reason)),
            (false, Ok(text)) if name.ends_with(SCHEMA_ENDING) => {
                if text != SCHEMA {
                    let reason = "differs from the schema of this build, which is the one used";
                    warnings.push(Finding::new(&name, None, reason));
                }
            }
            (false, _) => {
                let reason = "is ignored; grants stand in .toml files, guardrails in .cedar files, side by side";
                warnings.push(Finding::new(&name, None, reason));
            }
        }
    }
    if errors.is_empty() {
        Ok((files, warnings))
    } else {
        Err(PolicyErrors::new(errors))
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path)
        .map_err(|error| format!("cannot be read: {error}"))?
        .len();
    if length > MAX_FILE_BYTES {
        return Err(format!("is longer than {MAX_FILE_BYTES} bytes; split it"));
    }
    fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

/// Digest over names, lengths and texts, so that no two sets of files share one.
pub(super) fn digest_of(files: &[PolicyFile]) -> Digest {
    let lengths: Vec<[[u8; 8]; 2]> = files
        .iter()
        .map(|file| {
            [&file.name, &file.text]
                .map(|text| u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes())
        })
        .collect();
    let parts: Vec<&[u8]> = files
        .iter()
        .zip(&lengths)
        .flat_map(|(file, [name, text])| {
            [
                &name[..],
                file.name.as_bytes(),
                &text[..],
                file.text.as_bytes(),
            ]
        })
        .collect();
    Digest::of_parts(&parts)
}

/// How the names of policy files end.
pub(crate) const POLICY_ENDINGS: [&str; 2] = [GRANT_ENDING, GUARDRAIL_ENDING];

const GRANT_ENDING: &str = ".toml";
pub(super) const GUARDRAIL_ENDING: &str = ".cedar";
const SCHEMA_ENDING: &str = ".cedarschema";

/// A policy file is at most this long.
const MAX_FILE_BYTES: u64 = 1 << 20;
