//! The small files of a broker: keys, names, the operator's token, policy.

use std::{collections::BTreeMap, fs, io, path::Path};

use zeroize::Zeroizing;

use crate::{
    KEYS_DIRECTORY, OPERATOR_TOKEN_FILE,
    backup::{
        BackupError,
        manifest::{DATA, POLICY},
    },
    keys::files::KEY_ENDING,
    policy::POLICY_ENDINGS,
    registry::directory::STEWARDS_FILE,
};

/// Files by their names in the backup.
pub(super) type SmallFiles = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Reads the small files once; `None` when one vanished meanwhile.
pub(super) fn read(data_dir: &Path, policy_dir: &Path) -> Result<Option<SmallFiles>, BackupError> {
    let mut files = SmallFiles::new();
    for name in [STEWARDS_FILE, OPERATOR_TOKEN_FILE] {
        if let Some(bytes) = read_file(&data_dir.join(name))? {
            files.insert(format!("{DATA}/{name}"), bytes);
        }
    }
    let directories = [
        (
            data_dir.join(KEYS_DIRECTORY),
            format!("{DATA}/{KEYS_DIRECTORY}"),
            &[KEY_ENDING][..],
        ),
        (policy_dir.to_owned(), POLICY.to_owned(), &POLICY_ENDINGS),
    ];
    for (directory, place, endings) in directories {
        for name in names(&directory, endings).map_err(failed(&directory))? {
            let Some(bytes) = read_file(&directory.join(&name))? else {
                return Ok(None);
            };
            files.insert(format!("{place}/{name}"), bytes);
        }
    }
    Ok(Some(files))
}

/// The names in `directory` that have one of `endings`, hidden files left out; none when there is no such directory.
pub(super) fn names(directory: &Path, endings: &[&str]) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if let Some(name) = name.to_str()
            && endings.iter().any(|ending| name.ends_with(ending))
            && !name.starts_with('.')
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn read_file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, BackupError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    }
}
