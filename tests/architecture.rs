//! The house rules of `docs/ARCHITECTURE.md`, held by reading the source: floors, who may name
//! what, and how long a file may be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Every room and the floor it is on. A room uses rooms on lower floors only, and itself.
const FLOORS: [(&str, u8); 15] = [
    ("base", 0),
    ("token", 1),
    ("verify", 2),
    ("policy", 2),
    ("journal", 3),
    ("index", 3),
    ("audit", 3),
    ("broker", 4),
    ("identity", 4),
    ("oauth", 4),
    ("outbound", 4),
    ("http", 5),
    ("telemetry", 5),
    ("config", 5),
    ("cli", 6),
];

/// Rooms of one floor that may look at each other all the same, with the reason.
const NEIGHBOURS: [(&str, &str, &str); 6] = [
    ("index", "journal", "the index is derived from the journal's records"),
    ("audit", "journal", "the audit trail is a view of the journal"),
    ("telemetry", "config", "what is measured, and where it goes, is configured"),
    ("audit", "index", "and finds its records through the index"),
    ("broker", "identity", "who a person proved to be is what makes a task one on that person's behalf"),
    ("outbound", "identity", "what is fetched are the keys of issuers, and identity knows what they sign"),
];

/// Text that may stand only in some places, with the reason.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("biscuit_auth", &["token/"], "one room speaks Biscuit, so that the format can be read in one place"),
    ("of_durable_records", &["journal/"], "a receipt is the journal's word that a record is durable"),
    ("sled::", &["index/"], "the index is the only thing that is kept in sled"),
    ("ct_merkle", &["audit/merkle.rs"], "one file speaks of the tree's shape"),
    ("csv::", &["audit/"], "one room writes tables for other programs"),
    ("cedar_policy", &["policy/"], "one room speaks Cedar"),
    ("axum::", &["http/"], "one room answers HTTP, and everybody else knows none"),
    ("hyper::", &["http/"], "one room answers HTTP, and everybody else knows none"),
    (
        "fs::",
        &[
            "base/secret_file.rs",
            "verify/feed/",
            "policy/source.rs",
            "journal/",
            "index/",
            "audit/",
            "broker/",
            "http/tls.rs",
            "config/",
            "cli/",
        ],
        "tokens and decisions read no files: where the policy lies is read in `policy/source.rs` alone",
    ),
    ("rand::", &["base/random.rs"], "chance makes keys and names, and decides nothing"),
    ("clap::", &["cli/", "cli.rs", "main.rs"], "the command line is the outermost floor"),
    (
        "reqwest::",
        &["http/", "cli/", "telemetry/", "config/", "main.rs", "verify/feed", "outbound/"],
        "decisions make no requests",
    ),
    ("println!", &["cli/", "main.rs"], "a library does not talk to the terminal"),
    ("print!", &["cli/", "main.rs"], "a library does not talk to the terminal"),
    ("dbg!", &[], "left over from looking for a mistake"),
    ("SystemTime::now", &["base/time.rs"], "whoever decides is given a clock"),
    ("Instant::now", &["base/time.rs"], "whoever decides is given a clock"),
    ("todo!", &[], "nothing is half-built"),
    ("unimplemented!", &[], "nothing is half-built"),
];

/// Files of more than [`LONG`] lines, with the reason why they are not two.
const LONG_FILES: &[(&str, &str)] = &[
    ("journal/event.rs", "the catalogue of everything that can happen, with what each kind keeps"),
    ("http/schema.rs", "what every answer looks like as JSON, shape by shape"),
    ("broker/state.rs", "one fold over every event there is, arm by arm"),
];

const LONG: usize = 400;
const TOO_LONG: usize = 600;

struct Source {
    /// Below `src`, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources = Vec::new();
        walk(&root, &mut |path| {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
                sources.push(Self { path: relative, text: fs::read_to_string(path).unwrap() });
            }
        });
        assert!(sources.len() > 20, "the source was not found");
        sources
    }

    /// The room that the file is in; `None` for `lib.rs` and `main.rs`.
    fn room(&self) -> Option<&str> {
        let (first, rest) = self.path.split_once('/').unwrap_or((&self.path, ""));
        let room = first.strip_suffix(".rs").unwrap_or(first);
        (!rest.is_empty() || !matches!(room, "lib" | "main")).then_some(room)
    }

    /// The code with its line numbers: without comments and what strings say.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, without_strings_and_comment(line)))
    }

    /// Every room that the file names through `crate::`.
    fn uses(&self) -> BTreeSet<String> {
        let code: String = self.code().map(|(_, line)| line + "\n").collect();
        let mut rooms = BTreeSet::new();
        for (at, _) in code.match_indices("crate::") {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|character| character.is_alphanumeric() || character == '_') {
                continue;
            }
            let rest = &code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(list) => rooms.extend(members(list)),
                None => rooms.extend(identifier(rest)),
            }
        }
        rooms
    }
}

fn walk(directory: &Path, visit: &mut impl FnMut(&Path)) {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}

fn without_strings_and_comment(line: &str) -> String {
    let mut code = String::new();
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => drop(characters.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if in_string => {}
            // A quote as a character literal begins no string.
            '\'' if characters.peek() == Some(&'"') => drop(characters.next()),
            other => code.push(other),
        }
    }
    code
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first identifiers of a brace list, its inner lists left out.
fn members(list: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    let mut start = 0;
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.extend(identifier(&list[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.extend(identifier(&list[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

#[test]
fn every_room_has_a_floor() {
    for source in Source::all() {
        if let Some(room) = source.room() {
            assert!(floor(room).is_some(), "src/{} is in no room of the floor table", source.path);
        }
    }
}

#[test]
fn a_floor_uses_only_floors_below() {
    let sources = Source::all();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in &sources {
        let Some((room, own)) = source.room().and_then(|room| floor(room).map(|floor| (room, floor))) else { continue };
        for used in source.uses() {
            // Macros and items of the crate's root are no rooms.
            let Some(other) = floor(&used) else { continue };
            seen += 1;
            let neighbour = NEIGHBOURS.iter().any(|(from, to, _)| (*from, *to) == (room, used.as_str()));
            if used != room && other >= own && !neighbour {
                wrong.push(format!("src/{} (floor {own}) uses `{used}` (floor {other})", source.path));
            }
        }
    }
    assert!(seen > 50, "only {seen} uses were found: is the search broken?");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn what_may_be_named_in_one_place_is_named_there_only() {
    let mut wrong = Vec::new();
    for source in Source::all() {
        for (line, code) in source.code() {
            for (text, places, reason) in ONLY_IN {
                let named = code.match_indices(text).any(|(at, _)| {
                    let before = code[..at].chars().next_back();
                    !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
                });
                // `eprintln!` is `println!` with a letter before it.
                let named = named || (text.starts_with("print") && code.contains(&format!("e{text}")));
                if named && !places.iter().any(|place| source.path.starts_with(place)) {
                    wrong.push(format!("src/{}:{line}: `{text}` ({reason})", source.path));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<_> = Source::all()
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > LONG)
        .collect();
    for (lines, path) in &long {
        assert!(*lines <= TOO_LONG, "src/{path} has {lines} lines; {TOO_LONG} are the limit");
        assert!(
            LONG_FILES.iter().any(|(listed, _)| listed == path),
            "src/{path} has {lines} lines: split it, or list it with a reason"
        );
    }
    for (listed, _) in LONG_FILES {
        assert!(long.iter().any(|(_, path)| path == listed), "src/{listed} is not long any more: take it off the list");
    }
}

#[test]
fn no_test_or_example_is_too_long() {
    let mut seen = 0;
    for directory in ["tests", "examples", "load-tests"] {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut |path| {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = fs::read_to_string(path).unwrap().lines().count();
                assert!(lines <= TOO_LONG, "{} has {lines} lines; {TOO_LONG} are the limit", path.display());
                seen += 1;
            }
        });
    }
    assert!(seen > 20, "the tests were not found");
}

#[test]
fn every_file_says_what_it_is_for() {
    for source in Source::all() {
        assert!(source.text.starts_with("//! "), "src/{} does not begin with a `//!` line", source.path);
    }
}

#[test]
fn the_search_itself_finds_what_it_should() {
    let source = Source {
        path: "token/x.rs".to_owned(),
        text: "use crate::{\n    base::{ids::A, time},\n    verify::B, // crate::http\n};\nlet x = crate::cli::run(\"crate::audit\");\n"
            .to_owned(),
    };
    assert_eq!(source.uses(), ["base", "cli", "verify"].map(str::to_owned).into());
    assert_eq!(source.room(), Some("token"));
    assert_eq!(without_strings_and_comment(r#"a("b // \" c", '"') // d"#), "a(, ') ");
}
