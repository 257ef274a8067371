//! Secrets that are told once, and the files they go to: a name is tried before there is anything to lose.

use std::{fs, path::Path};

use serde_json::Value;

use crate::cli::{error::CliError, output::Output};
use hallpass_core::base::secret_file::create_secret;

/// A secret in an answer.
pub(super) struct Told {
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

    /// `view` as it is to be shown: with the secret that was just made, or without it when that is in its file.
    pub(super) fn keep(
        &self,
        told: &Told,
        mut view: Value,
        output: Output,
    ) -> Result<Value, CliError> {
        let Some(file) = self.0 else {
            if view.get(told.member).is_some() {
                output.note(told.shown);
            }
            return Ok(view);
        };
        let secret = view
            .as_object_mut()
            .and_then(|view| view.remove(told.member));
        let Some(Value::String(secret)) = secret else {
            return Err(CliError::failed(format!(
                "the broker made no {}: nothing was written",
                told.noun
            )));
        };
        create_secret(file, &secret).map_err(|error| CliError::failed(error).hint(told.lost))?;
        output.note(&format!(
            "the {} is in `{}` (mode 0600)",
            told.noun,
            file.display()
        ));
        Ok(view)
    }
}
