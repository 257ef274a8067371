//! The directory: which person an opaque steward id stands for. The only place that knows people's
//! names; it is a file of its own, so that a name can be erased and every proof stays valid.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};

use crate::BrokerError;
use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::base::{
    ids::StewardId,
    json, person_name,
    secret_file::{SecretFileError, read_secret_at_most, write_secret},
};

/// Names and identities of stewards, by opaque id.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    people: BTreeMap<StewardId, Known>,
    /// From the people.
    identified: HashMap<Identity, StewardId>,
}

/// The directory, shared by the use cases. No thread waits for it while it holds the state.
#[derive(Debug)]
pub(crate) struct SharedDirectory(Mutex<Directory>);

impl SharedDirectory {
    pub(crate) const fn new(directory: Directory) -> Self {
        Self(Mutex::new(directory))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Directory> {
        self.0.locked()
    }
}

/// What is known of a person.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
struct Known {
    name: String,
    identities: BTreeSet<Identity>,
}

/// As it is written: a name alone, unless there is more.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Name(String),
    More {
        name: String,
        identities: BTreeSet<Identity>,
    },
}

impl From<Stored> for Known {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Name(name) => Self {
                name,
                identities: BTreeSet::new(),
            },
            Stored::More { name, identities } => Self { name, identities },
        }
    }
}

impl From<Known> for Stored {
    fn from(Known { name, identities }: Known) -> Self {
        if identities.is_empty() {
            Self::Name(name)
        } else {
            Self::More { name, identities }
        }
    }
}

/// How an issuer names a person.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `sub`.
    pub subject: String,
}

impl Identity {
    pub(crate) fn refuse_malformed(&self) -> Result<(), BrokerError> {
        let is_plain = |text: &str| {
            (1..=MAX_IDENTITY_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
        };
        if is_plain(&self.issuer) && is_plain(&self.subject) {
            return Ok(());
        }
        let detail = format!(
            "issuer and subject have 1 to {MAX_IDENTITY_BYTES} bytes and no control characters"
        );
        Err(BrokerError::invalid("identity", detail))
    }
}

/// The subject names a person in no log.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity(at {})", self.issuer)
    }
}

/// Several stewards have a name that looks the same.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SeveralStewards(Vec<StewardId>);

impl From<SeveralStewards> for BrokerError {
    fn from(SeveralStewards(ids): SeveralStewards) -> Self {
        let ids: Vec<_> = ids.iter().map(StewardId::as_str).collect();
        Self::Conflict(format!(
            "several stewards have this name: {}; say which by its id",
            ids.join(", ")
        ))
    }
}

/// The directory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Its content.
    #[error("`{path}` is not a directory of stewards: {detail}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// It holds as many names as can be read again at the next start.
    #[error("the directory of stewards is full: erase names that are not needed any more")]
    Full,
}

impl Directory {
    pub(crate) fn open(path: PathBuf) -> Result<Self, DirectoryError> {
        let people = if path.exists() {
            let text = read_secret_at_most(
                &path,
                u64::try_from(MAX_DIRECTORY_BYTES).unwrap_or(u64::MAX),
            )?;
            let content = |detail: json::JsonError| DirectoryError::Content {
                path: path.display().to_string(),
                detail: detail.to_string(),
            };
            // A file that the broker alone may write: bounded by its length alone.
            json::parse_signed_as(text.as_bytes(), MAX_DIRECTORY_BYTES).map_err(content)?
        } else {
            BTreeMap::new()
        };
        let identified = identified(&people);
        Ok(Self {
            path,
            people,
            identified,
        })
    }

    pub(crate) fn name(&self, steward: &StewardId) -> Option<&str> {
        self.people.get(steward).map(|known| known.name.as_str())
    }

    /// By which identities the steward is known.
    pub(crate) fn identities(&self, steward: &StewardId) -> BTreeSet<Identity> {
        self.people
            .get(steward)
            .map(|known| known.identities.clone())
            .unwrap_or_default()
    }

    /// Whose identity this is.
    pub(crate) fn identified(&self, identity: &Identity) -> Option<&StewardId> {
        self.identified.get(identity)
    }

    /// Who of those that count is meant by `text`: an opaque id, or a person's name. A name may stand
    /// at an id that no record knows, when its record could not be written.
    ///
    /// # Errors
    ///
    /// When several have the name, as far as people can tell: all of them.
    pub(crate) fn find(
        &self,
        text: &str,
        counts: impl Fn(&StewardId) -> bool,
    ) -> Result<Option<StewardId>, SeveralStewards> {
        if let Ok(id) = text.parse() {
            return Ok(Some(id).filter(counts));
        }
        let wanted = person_name::canonical(text);
        // Names that were registered before may stand here in another form.
        let is_meant = |name: &str| name == wanted || person_name::canonical(name) == wanted;
        let named = self
            .people
            .iter()
            .filter(|(id, known)| is_meant(&known.name) && counts(id));
        let mut found: Vec<StewardId> = named.map(|(id, _)| id.clone()).collect();
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(SeveralStewards(found)),
        }
    }

    pub(crate) fn set(&mut self, steward: StewardId, name: String) -> Result<(), DirectoryError> {
        let mut people = self.people.clone();
        people.insert(
            steward,
            Known {
                name,
                identities: BTreeSet::new(),
            },
        );
        self.replace(people)
    }

    /// Links an identity, which no steward has, to a steward who has a name.
    pub(crate) fn identify(
        &mut self,
        steward: &StewardId,
        identity: Identity,
    ) -> Result<(), DirectoryError> {
        let mut people = self.people.clone();
        if let Some(known) = people.get_mut(steward) {
            known.identities.insert(identity);
        }
        self.replace(people)
    }

    pub(crate) fn unidentify(&mut self, steward: &StewardId) -> Result<(), DirectoryError> {
        let mut people = self.people.clone();
        if let Some(known) = people.get_mut(steward) {
            known.identities.clear();
        }
        self.replace(people)
    }

    pub(crate) fn erase(&mut self, steward: &StewardId) -> Result<bool, DirectoryError> {
        let mut people = self.people.clone();
        let known = people.remove(steward).is_some();
        if known {
            self.replace(people)?;
        }
        Ok(known)
    }

    fn replace(&mut self, people: BTreeMap<StewardId, Known>) -> Result<(), DirectoryError> {
        let content = |error: serde_json::Error| DirectoryError::Content {
            path: self.path.display().to_string(),
            detail: error.to_string(),
        };
        let text = serde_json::to_string_pretty(&people).map_err(content)?;
        if text.len() > MAX_DIRECTORY_BYTES {
            return Err(DirectoryError::Full);
        }
        write_secret(&self.path, &text)?;
        self.identified = identified(&people);
        self.people = people;
        Ok(())
    }
}

fn identified(people: &BTreeMap<StewardId, Known>) -> HashMap<Identity, StewardId> {
    let of = |(steward, known): (&StewardId, &Known)| {
        let steward = steward.clone();
        known
            .identities
            .iter()
            .map(move |identity| (identity.clone(), steward.clone()))
            .collect::<Vec<_>>()
    };
    people.iter().flat_map(of).collect()
}

/// The directory of stewards, in the data directory.
pub const STEWARDS_FILE: &str = "stewards.json";

/// Some ninety thousand stewards, even when every name is as long as a name may be.
const MAX_DIRECTORY_BYTES: usize = 16 * 1024 * 1024;

const MAX_IDENTITY_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn steward(number: u64) -> StewardId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        StewardId::from_random(bytes)
    }

    #[test]
    fn what_was_written_is_read_again_and_more_is_refused_before() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("stewards.json");
        let mut directory = Directory::open(path.clone()).unwrap();
        let known = |number| Known {
            name: format!("steward number {number}"),
            identities: BTreeSet::new(),
        };
        let many = (0..20_000)
            .map(|number| (steward(number), known(number)))
            .collect();
        directory.replace(many).unwrap();
        let mut again = Directory::open(path.clone()).unwrap();
        assert_eq!(again.name(&steward(19_999)), Some("steward number 19999"));
        let full = again.set(steward(20_000), "x".repeat(MAX_DIRECTORY_BYTES));
        assert!(matches!(full, Err(DirectoryError::Full)), "{full:?}");
        assert_eq!(Directory::open(path).unwrap().people.len(), 20_000);
    }

    #[test]
    fn a_name_at_an_id_that_does_not_count_hides_no_other() {
        let home = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(home.path().join("stewards.json")).unwrap();
        for number in [1, 2] {
            directory.set(steward(number), "alice".to_owned()).unwrap();
        }
        for number in [1, 2] {
            let found = directory.find("alice", |id| *id == steward(number));
            assert_eq!(found, Ok(Some(steward(number))));
        }
    }

    #[test]
    fn names_that_look_the_same_are_one_and_several_are_named() {
        let home = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(home.path().join("stewards.json")).unwrap();
        let (composed, decomposed) = ("Jos\u{e9}", "Jose\u{301}");
        // As it was written before names had one form.
        directory.set(steward(1), format!("{decomposed} ")).unwrap();
        for text in [composed, decomposed, " Jos\u{e9} "] {
            assert_eq!(directory.find(text, |_| true), Ok(Some(steward(1))));
        }
        directory.set(steward(2), composed.to_owned()).unwrap();
        let several = directory.find(composed, |_| true).unwrap_err();
        let message = BrokerError::from(several).to_string();
        assert!(message.contains(steward(1).as_str()) && message.contains(steward(2).as_str()));
        assert_eq!(directory.find("jos\u{e9}", |_| true), Ok(None));
    }

    #[test]
    fn identities_are_kept_beside_names_and_go_with_them() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("stewards.json");
        // As it was written before there were identities.
        write_secret(&path, &format!("{{\"{}\": \"alice\"}}", steward(1))).unwrap();
        let mut directory = Directory::open(path.clone()).unwrap();
        let identity = |subject: &str| Identity {
            issuer: "https://idp.example".to_owned(),
            subject: subject.to_owned(),
        };
        directory.set(steward(2), "bob".to_owned()).unwrap();
        directory.identify(&steward(1), identity("a1")).unwrap();
        let mut again = Directory::open(path.clone()).unwrap();
        assert_eq!(again.identified(&identity("a1")), Some(&steward(1)));
        assert_eq!(
            (again.name(&steward(1)), again.name(&steward(2))),
            (Some("alice"), Some("bob"))
        );
        assert_eq!(again.identified(&identity("A1")), None);
        again.unidentify(&steward(1)).unwrap();
        assert_eq!(again.identified(&identity("a1")), None);
        again.identify(&steward(1), identity("a1")).unwrap();
        again.erase(&steward(1)).unwrap();
        assert_eq!(
            Directory::open(path.clone())
                .unwrap()
                .identified(&identity("a1")),
            None
        );
        assert!(!std::fs::read_to_string(path).unwrap().contains("a1"));
    }
}
