//! `hallpass backup` and `hallpass restore`: from the files of this machine, without asking the broker.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use crate::cli::{
    config_file::ConfigFile,
    error::CliError,
    output::{Output, View},
};
use hallpass_broker::backup::{
    Backup, BackupError, BackupManifest, BackupSource, CONFIGURATION, Progress, RestoreError,
    RestoreTo, back_up,
};
use hallpass_core::base::{error::chain, time::SystemClock};

/// Copy all that this machine's broker needs, while it runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Copies journal, decisions, keys, names, the operator's token, policy and the configuration file. The broker
may run meanwhile: the copy is what a crash at that moment would have left. It is checked as a start checks
it. The directory holds private keys, and its files are its owner's alone (0600).

Examples:
  hallpass backup /backup/2026-11-22
  hallpass backup /backup/2026-11-22 --config /etc/hallpass.toml --json")]
pub(super) struct BackUp {
    /// Where to: a directory that does not exist, or is empty.
    directory: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
}

/// Put a backup into an empty data directory.
#[derive(Debug, Args)]
#[command(after_help = "\
Checks every file and the chain of records before it writes anything, and overwrites nothing. The
configuration file is left in the backup. Revocations since the backup are not in it: repeat them before
the broker serves (docs/operations.md, \"After a restore\").

Examples:
  hallpass restore /backup/2026-11-22
  hallpass restore /backup/2026-11-22 --config /etc/hallpass.toml --data-dir /var/lib/hallpass-restored")]
pub(super) struct Restore {
    /// The backup.
    directory: PathBuf,
    #[command(flatten)]
    config: ConfigFile,
}

impl BackUp {
    pub(super) fn run(self, output: Output) -> Result<(), CliError> {
        let config = self.config.load()?;
        let source = BackupSource {
            data_dir: config.data_dir.clone(),
            policy_dir: config.policy_dir.clone(),
            configuration: self.config.path(),
            issuer: config.configured_issuer().cloned(),
        };
        let bar = output.progress(0);
        let report = |progress| show(&bar, progress);
        let made = back_up(&source, &self.directory, &SystemClock::default(), &report);
        bar.finish_and_clear();
        let made = made.map_err(|error| {
            let failed = CliError::failed(chain(&error));
            match error {
                BackupError::NoJournal(_) => failed.hint(
                    "say where it is with --config or --data-dir, on the machine of the broker",
                ),
                BackupError::NoIssuer => failed.hint("say --issuer, as the broker has it"),
                BackupError::KeyMissing(_) => failed
                    .hint("find the key file in an older backup, or rotate and revoke that key"),
                _ => failed,
            }
        })?;
        for warning in &made.warnings {
            output.note(&format!("warning: {warning}"));
        }
        output.note(if made.manifest.keys_encrypted {
            "the key files are encrypted, and what they are encrypted under is not in the backup: keep it elsewhere"
        } else {
            "the backup holds private keys in the clear: keep it as safe as the keys (`hallpass keys encrypt`)"
        });
        let directory = self.directory.display().to_string();
        let document = json!({
            "backup": directory, "made_at": made.manifest.made_at, "issuer": made.manifest.issuer,
            "head": head(&made.manifest), "last_record_at": made.manifest.journal.at,
            "keys_encrypted": made.manifest.keys_encrypted, "files": made.manifest.files.len(),
            "bytes": bytes(&made.manifest), "warnings": made.warnings,
        });
        let mut fields = vec![("backup", directory)];
        fields.extend(what(&made.manifest));
        output.show(&document, View::Fields(fields))
    }
}

impl Restore {
    pub(super) fn run(self, output: Output) -> Result<(), CliError> {
        let config = self.config.load()?;
        let backup = Backup::open(&self.directory).map_err(not_restored)?;
        let to = RestoreTo {
            data_dir: config.data_dir.clone(),
            policy_dir: config.policy_dir.clone(),
            issuer: config.configured_issuer().cloned(),
        };
        let bar = output.progress(0);
        let restored = backup.restore(&to, &|progress| show(&bar, progress));
        bar.finish_and_clear();
        let warnings = restored.map_err(not_restored)?;
        for warning in &warnings {
            output.note(&format!("warning: {warning}"));
        }
        let manifest = backup.manifest();
        let own = config.issuer(config.listen).ok();
        let next = Next {
            backup: &self.directory,
            manifest,
            sets_issuer: own.as_ref() != Some(&manifest.issuer),
        };
        let (next, configuration) = (next.lines(), next.configuration());
        let place = |path: &Path| path.display().to_string();
        let document = json!({
            "data_dir": place(&to.data_dir), "policy_dir": place(&to.policy_dir),
            "configuration": configuration, "issuer": manifest.issuer, "made_at": manifest.made_at,
            "head": head(manifest), "last_record_at": manifest.journal.at,
            "keys_encrypted": manifest.keys_encrypted, "warnings": warnings, "next": next,
        });
        let mut fields = vec![
            ("data directory", place(&to.data_dir)),
            ("policy directory", place(&to.policy_dir)),
        ];
        fields.extend(what(manifest));
        for (at, line) in next.into_iter().enumerate() {
            fields.push((if at == 0 { "next" } else { "" }, line));
        }
        output.show(&document, View::Fields(fields))
    }
}

/// What is to be done before the restored broker serves.
struct Next<'b> {
    backup: &'b Path,
    manifest: &'b BackupManifest,
    /// Whether a start with this configuration would go on as another issuer.
    sets_issuer: bool,
}

impl Next<'_> {
    /// The configuration file in the backup.
    fn configuration(&self) -> Option<String> {
        let has_one = self.manifest.files.contains_key(CONFIGURATION);
        has_one.then(|| self.backup.join(CONFIGURATION).display().to_string())
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            "make sure that the broker of which this is a copy does not run any more, here or elsewhere"
                .to_owned(),
        ];
        lines.extend(self.configuration().map(|path| {
            format!("compare the configuration with `{path}`, which was not put in place")
        }));
        if self.sets_issuer {
            lines.push(format!(
                "set `issuer = \"{}\"` in the configuration: the start is refused without it",
                self.manifest.issuer
            ));
        }
        if self.manifest.keys_encrypted {
            lines.push(
                "give the start what the key files are encrypted under: `keys.passphrase_file` or HALLPASS_KEY_ENCRYPTION_KEY, as of the backup"
                    .to_owned(),
            );
        }
        let at = self.manifest.journal.at;
        let since = at.map_or_else(String::new, |at| format!(" since {at}"));
        lines.extend([
            format!("list what was revoked{since}: that is not in the backup"),
            "start with the newest head that you kept, `hallpass serve --expect-head SEQUENCE:HASH`: it is refused when the backup is older".to_owned(),
            "if it is, start without --expect-head and repeat those revocations first; see docs/operations.md, \"After a restore\"".to_owned(),
        ]);
        lines
    }
}

fn what(manifest: &BackupManifest) -> Vec<(&'static str, String)> {
    let at = manifest.journal.at;
    vec![
        ("made at", manifest.made_at.to_string()),
        ("issuer", manifest.issuer.to_string()),
        (
            "last record",
            at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
        ),
        ("head", head(manifest)),
        (
            "keys",
            if manifest.keys_encrypted {
                "encrypted"
            } else {
                "in the clear"
            }
            .to_owned(),
        ),
        ("files", manifest.files.len().to_string()),
        ("bytes", bytes(manifest).to_string()),
    ]
}

/// As `--expect-head` and `audit verify --head` take it.
fn head(manifest: &BackupManifest) -> String {
    let head = manifest.journal.head();
    format!("{}:{}", head.sequence, head.hash)
}

fn bytes(manifest: &BackupManifest) -> u64 {
    let sizes = manifest.files.values().map(|file| file.bytes);
    sizes.fold(0, u64::saturating_add)
}

fn not_restored(error: RestoreError) -> CliError {
    let failed = CliError::failed(chain(&error));
    match error {
        RestoreError::Damaged { files, .. } => failed
            .because(files)
            .hint("restore another backup, or get an undamaged copy of this one"),
        _ => failed,
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}
