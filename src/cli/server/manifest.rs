//! Manifests in files.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{
    access::{MAX_INPUT_BYTES, json_file},
    error::CliError,
};
use hallpass_core::{
    base::ids::{ServerName, ServerUri},
    token::manifest::Manifest,
};

/// The manifest in a .toml or .json file; `server` and `name` fill in what it leaves out.
pub(in crate::cli) fn read_manifest(
    path: &Path,
    server: Option<&ServerUri>,
    name: Option<&ServerName>,
) -> Result<Manifest, CliError> {
    let wrong =
        |reason: &dyn std::fmt::Display| CliError::usage(format!("`{}`: {reason}", path.display()));
    let mut value = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => {
            let size = std::fs::metadata(path).map(|metadata| metadata.len());
            if size.is_ok_and(|size| usize::try_from(size).is_ok_and(|size| size > MAX_INPUT_BYTES))
            {
                return Err(wrong(&format_args!("longer than {MAX_INPUT_BYTES} bytes")));
            }
            let text = std::fs::read_to_string(path).map_err(|error| {
                CliError::failed(format!("cannot read `{}`: {error}", path.display()))
            })?;
            toml::from_str::<Value>(&text).map_err(|error| wrong(&error))?
        }
        Some("json") => json_file(path)?,
        _ => return Err(wrong(&"a manifest is a .toml or a .json file")),
    };
    let members = value
        .as_object_mut()
        .ok_or_else(|| wrong(&"a manifest is a table of members"))?;
    let given = [
        ("server", server.map(|server| json!(server))),
        ("name", name.map(|name| json!(name))),
    ];
    for (member, given) in given
        .into_iter()
        .filter_map(|(member, given)| Some((member, given?)))
    {
        let stands = members.entry(member).or_insert_with(|| given.clone());
        if *stands != given {
            return Err(wrong(&format_args!(
                "`{member}` is {stands} there and {given} on the command line"
            )));
        }
    }
    serde_json::from_value(value).map_err(|error| wrong(&error))
}
