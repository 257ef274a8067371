//! Secrets that are returned once, and the files they go to: a name is tried before there is anything to lose.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;

use crate::cli::{error::CliError, output::Output, session::Answer};
use hallpass_core::base::secret_file::create_secret;

/// A secret in an answer.
pub(super) struct SecretKind {
    /// The member that holds it.
    pub(super) member: &'static str,
    /// What people call it.
    pub(super) noun: &'static str,
    /// What to do with it when it is shown.
    pub(super) shown: &'static str,
    /// What to do when it could not be written.
    pub(super) lost: &'static str,
}

/// Where a secret goes: to a file whose name was free and could be written, or to the screen.
pub(super) struct Place<'p>(Option<&'p Path>);

impl<'p> Place<'p> {
    /// Tries the file, if one is named.
    pub(super) fn tried(file: Option<&'p Path>) -> Result<Self, CliError> {
        if let Some(file) = file {
            create_secret(file, "").map_err(CliError::failed)?;
            fs::remove_file(file).map_err(CliError::failed)?;
        }
        Ok(Self(file))
    }

    /// Whether the secret goes to a file.
    pub(super) const fn is_file(&self) -> bool {
        self.0.is_some()
    }

    /// Leaves in `answer` the secret that was just made, when it is to be shown, or puts it in its file.
    pub(super) fn keep<T>(
        &self,
        kind: &SecretKind,
        answer: &mut Answer<T>,
        output: Output,
    ) -> Result<(), CliError> {
        let Some(file) = self.0 else {
            if answer.raw().get(kind.member).is_some() {
                output.note(kind.shown);
            }
            return Ok(());
        };
        let members = answer.raw_mut().as_object_mut();
        let Some(Value::String(secret)) = members.and_then(|members| members.remove(kind.member))
        else {
            return Err(CliError::failed(format!(
                "the broker made no {}: nothing was written",
                kind.noun
            )));
        };
        create_secret(file, &secret).map_err(|error| CliError::failed(error).hint(kind.lost))?;
        output.note(&format!(
            "the {} is in `{}` (mode 0600)",
            kind.noun,
            file.display()
        ));
        Ok(())
    }
}

/// Where a secret goes.
#[derive(Debug, Args)]
pub(super) struct SecretPlace {
    /// Write the secret here, mode 0600, instead of showing it; an existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    secret_out: Option<PathBuf>,
}

impl SecretPlace {
    pub(super) const fn is_named(&self) -> bool {
        self.secret_out.is_some()
    }

    /// Tries the file, before the secret is made.
    pub(super) fn tried(&self) -> Result<Place<'_>, CliError> {
        Place::tried(self.secret_out.as_deref())
    }
}

/// A client secret.
pub(super) const SECRET: SecretKind = SecretKind {
    member: "client_secret",
    noun: "secret",
    shown: "the secret is shown only once: store it now, and give it to its owner only",
    lost: "the secret was made and is lost: add another, and remove it",
};
