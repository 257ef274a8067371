//! The house rules of `docs/ARCHITECTURE.md`, held by reading the source: floors, who may name
//! what, and how long a file may be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The crates and where their sources lie. The compiler keeps the floors between crates; this test keeps those inside.
const CRATES: [(&str, &str); 4] = [
    ("core", "src/core"),
    ("verify", "src/verify"),
    ("broker", "src/broker"),
    ("app", "src"),
];

/// The rooms of each crate and their floors. A room uses rooms on lower floors of its crate, and itself.
const FLOORS: &[(&str, &str, u8)] = &[
    ("core", "base", 0),
    ("core", "net", 1),
    ("core", "token", 1),
    ("core", "possession", 2),
    ("core", "wire", 2),
    ("core", "schema", 3),
    ("verify", "verifier", 0),
    ("verify", "broker_side", 1),
    ("verify", "feed", 1),
    ("verify", "holder", 1),
    ("verify", "mcp", 1),
    ("verify", "tower", 2),
    ("broker", "identity", 0),
    ("broker", "policy", 0),
    ("broker", "domain", 1),
    ("broker", "ledger", 2),
    ("broker", "use cases", 3),
    ("app", "api", 0),
    ("app", "server", 1),
    ("app", "cli", 2),
];

/// Files and folders that together are one room.
const ROOM_OF: &[(&str, &str, &[&str])] = &[
    (
        "verify",
        "verifier",
        &[
            "builder",
            "genuine",
            "key_document",
            "permit",
            "reporting",
            "revocations",
            "state",
            "verifier",
            "with_proof",
        ],
    ),
    (
        "broker",
        "use cases",
        &[
            "backup",
            "broker",
            "caller",
            "change",
            "disk",
            "error",
            "feed",
            "issuing",
            "keys",
            "open",
            "options",
            "policy_store",
            "registry",
            "several",
            "start_error",
            "wall_clock",
            "trail",
        ],
    ),
];

/// Rooms that use a room of their own floor or a higher one all the same, with the reason.
const EXCEPTIONS: &[(&str, &str, &str, &str)] = &[
    (
        "broker",
        "domain",
        "ledger",
        "the state folds records, which the ledger numbers and chains",
    ),
    (
        "broker",
        "domain",
        "use cases",
        "eligibility refuses in the words of the broker's errors",
    ),
];

/// Text that may stand only in some places, with the reason.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    (
        "biscuit_auth",
        &["core/token/"],
        "one room speaks Biscuit, so that the format can be read in one place",
    ),
    (
        "of_durable_records",
        &["broker/ledger/"],
        "a receipt is the ledger's word that a record is durable",
    ),
    (
        "mint(",
        &[
            "core/token/",
            "broker/issuing/",
            "broker/registry/operators.rs",
        ],
        "what is minted is wrapped in a draft at once, so that it is released with its record only",
    ),
    (
        "sled::",
        &["broker/ledger/views/"],
        "sled holds the views and nothing else",
    ),
    (
        "ct_merkle",
        &["broker/ledger/tree/merkle.rs"],
        "one file speaks of the tree's shape",
    ),
    (
        "csv::",
        &["broker/ledger/audit/"],
        "one room writes tables for other programs",
    ),
    ("cedar_policy", &["broker/policy/"], "one room speaks Cedar"),
    (
        "http::",
        &["server/", "cli/serve.rs", "verify/tower/"],
        "MCP messages and decisions know no transport",
    ),
    ("axum::", &["server/"], "one room answers HTTP"),
    ("hyper::", &["server/"], "one room answers HTTP"),
    (
        "fs::",
        &[
            "core/base/private_file.rs",
            "core/base/secret_file.rs",
            "verify/feed/",
            "broker/policy/source.rs",
            "broker/ledger/",
            "broker/backup/",
            "broker/disk/",
            "broker/issuing/codes.rs",
            "broker/keys/files.rs",
            "broker/registry/directory.rs",
            "broker/open.rs",
            "broker/policy_store.rs",
            "server/edge/tls.rs",
            "server/config/",
            "cli/",
        ],
        "tokens and decisions read no files: the policy directory is read in `policy/source.rs` alone",
    ),
    (
        "LinePlace",
        &[
            "broker/ledger/",
            "cli/",
            "core/token/request.rs",
            "server/api/",
            "server/edge/stream.rs",
        ],
        "where a record stands is between a ledger and its views (other rooms have places of their own)",
    ),
    (
        "segment_name",
        &["broker/ledger/"],
        "nothing above the ledger knows its files",
    ),
    (
        "rand::",
        &["core/base/random.rs"],
        "randomness makes keys and names, and decides nothing",
    ),
    (
        "clap::",
        &["cli/", "main.rs"],
        "the command line is the outermost floor",
    ),
    (
        "reqwest::",
        &["core/net.rs", "server/", "cli/", "main.rs", "verify/feed"],
        "decisions make no requests",
    ),
    (
        "println!",
        &["cli/", "main.rs"],
        "a library does not write to the terminal",
    ),
    (
        "print!",
        &["cli/", "main.rs"],
        "a library does not write to the terminal",
    ),
    ("dbg!", &[], "left over from debugging"),
    (
        "SystemTime::now",
        &["core/base/time.rs"],
        "decisions are given a clock",
    ),
    (
        "Instant::now",
        &["core/base/time.rs"],
        "decisions are given a clock",
    ),
    ("todo!", &[], "nothing is half-built"),
    ("unimplemented!", &[], "nothing is half-built"),
];

/// Files of more than [`LONG`] lines, with the reason why they are not two.
const LONG_FILES: &[(&str, &str)] = &[(
    "broker/domain/state/mod.rs",
    "one fold over every event there is, arm by arm",
)];

/// A soft limit: a file is cut by responsibility, and a longer one says why it is not.
const LONG: usize = 600;

/// No file is longer.
const TOO_LONG: usize = 1000;

struct Source {
    /// Below `src`, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
        let mut sources = Vec::new();
        walk(&root, &mut |path| {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .replace('\\', "/");
                sources.push(Self {
                    path: relative,
                    text: fs::read_to_string(path).unwrap(),
                });
            }
        });
        assert!(sources.len() > 20, "the source was not found");
        sources
    }

    /// The crate that the file belongs to.
    fn member(&self) -> &'static str {
        let below = |member: &&(&'static str, &str)| {
            member.0 != "app" && self.path.starts_with(&format!("{}/", member.0))
        };
        CRATES.iter().find(below).map_or("app", |member| member.0)
    }

    /// The room that the file is in; `None` for the root file of a crate.
    fn room(&self) -> Option<&str> {
        let own = self.member();
        let path = if own == "app" {
            &self.path[..]
        } else {
            &self.path[own.len() + 1..]
        };
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!rest.is_empty() || !matches!(name, "lib" | "main")).then(|| room_of(own, name))
    }

    /// The code with its line numbers: without comments and what strings say.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, without_strings_and_comment(line)))
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
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, visit)
        } else {
            visit(&path)
        }
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
    let name: String = text
        .trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
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

fn floor(member: &str, room: &str) -> Option<u8> {
    let is_it = |entry: &&(&str, &str, u8)| entry.0 == member && entry.1 == room;
    FLOORS.iter().find(is_it).map(|(_, _, floor)| *floor)
}

/// The room that a top-level file, folder or name of a crate belongs to.
fn room_of<'n>(member: &str, name: &'n str) -> &'n str {
    let holds =
        |entry: &&(&str, &'static str, &[&str])| entry.0 == member && entry.2.contains(&name);
    ROOM_OF.iter().find(holds).map_or(name, |entry| entry.1)
}

#[test]
fn every_room_has_a_floor() {
    for source in Source::all() {
        if let Some(room) = source.room() {
            let known = floor(source.member(), room).is_some();
            assert!(
                known,
                "src/{}: `{room}` is in no row of the floor table",
                source.path
            );
        }
    }
}

#[test]
fn a_floor_uses_only_floors_below() {
    let sources = Source::all();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in &sources {
        let member = source.member();
        let Some((room, own)) = source
            .room()
            .and_then(|room| Some((room, floor(member, room)?)))
        else {
            continue;
        };
        for used in source.uses() {
            let used = room_of(member, &used);
            // Macros and items of the crate's root are no rooms.
            let Some(other) = floor(member, used) else {
                continue;
            };
            seen += 1;
            let excepted = EXCEPTIONS
                .iter()
                .any(|(of, from, to, _)| (*of, *from, *to) == (member, room, used));
            if used != room && other >= own && !excepted {
                wrong.push(format!(
                    "src/{} (floor {own}) uses `{used}` (floor {other})",
                    source.path
                ));
            }
        }
    }
    assert!(
        seen > 50,
        "only {seen} uses were found: is the search broken?"
    );
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
                let named =
                    named || (text.starts_with("print") && code.contains(&format!("e{text}")));
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
        assert!(
            *lines <= TOO_LONG,
            "src/{path} has {lines} lines; {TOO_LONG} are the limit"
        );
        assert!(
            LONG_FILES.iter().any(|(listed, _)| listed == path),
            "src/{path} has {lines} lines: split it, or list it with a reason"
        );
    }
    for (listed, _) in LONG_FILES {
        assert!(
            long.iter().any(|(_, path)| path == listed),
            "src/{listed} is not long any more: take it off the list"
        );
    }
}

#[test]
fn no_test_or_example_is_too_long() {
    let mut seen = 0;
    for directory in ["tests", "examples", "load-tests"] {
        walk(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("..")
                .join(directory),
            &mut |path| {
                if path.extension().is_some_and(|extension| extension == "rs") {
                    let lines = fs::read_to_string(path).unwrap().lines().count();
                    assert!(
                        lines <= TOO_LONG,
                        "{} has {lines} lines; {TOO_LONG} are the limit",
                        path.display()
                    );
                    seen += 1;
                }
            },
        );
    }
    assert!(seen > 20, "the tests were not found");
}

#[test]
fn every_file_says_what_it_is_for() {
    for source in Source::all() {
        assert!(
            source.text.starts_with("//! "),
            "src/{} does not begin with a `//!` line",
            source.path
        );
    }
}

#[test]
fn the_search_itself_finds_what_it_should() {
    let source = Source {
        path: "core/token/x.rs".to_owned(),
        text: "use crate::{\n    base::{ids::A, time},\n    verify::B, // crate::http\n};\nlet x = crate::cli::run(\"crate::audit\");\n"
            .to_owned(),
    };
    assert_eq!(
        source.uses(),
        ["base", "cli", "verify"].map(str::to_owned).into()
    );
    assert_eq!(source.room(), Some("token"));
    assert_eq!(
        without_strings_and_comment(r#"a("b // \" c", '"') // d"#),
        "a(, ') "
    );
}

/// The path of a module or item, from the root of its crate.
type ItemPath = Vec<String>;

/// The modules of one crate, and what each imports.
struct Modules {
    /// Module path to file, relative to the crate.
    files: BTreeMap<ItemPath, String>,
    /// Module path to its code without tests.
    code: BTreeMap<ItemPath, String>,
    /// What a module re-exports under which name.
    exports: BTreeMap<ItemPath, Vec<ItemPath>>,
}

impl Modules {
    fn of(member: &str, sources: &[Source]) -> Self {
        let mut modules = Self {
            files: BTreeMap::new(),
            code: BTreeMap::new(),
            exports: BTreeMap::new(),
        };
        for source in sources.iter().filter(|source| source.member() == member) {
            let file = match member {
                "app" => source.path.as_str(),
                _ => &source.path[member.len() + 1..],
            };
            let mut module: ItemPath = file
                .trim_end_matches(".rs")
                .split('/')
                .map(str::to_owned)
                .collect();
            match module.last().map(String::as_str) {
                Some("tests" | "main") => continue,
                Some("mod" | "lib") => drop(module.pop()),
                _ => {}
            }
            let code: String = source.code().map(|(_, line)| line + "\n").collect();
            let code = code.split("\nmod tests {").next().unwrap().to_owned();
            let exported = statements(&code, "use ")
                .filter(|(before, _)| before.contains("pub"))
                .flat_map(|(_, tree)| expanded(tree, &[]));
            modules.exports.insert(module.clone(), exported.collect());
            modules.files.insert(module.clone(), file.to_owned());
            modules.code.insert(module, code);
        }
        modules
    }

    /// Every other module of the crate whose items the module names.
    fn imports(&self, module: &ItemPath) -> BTreeSet<ItemPath> {
        let code = &self.code[module];
        let imported = statements(code, "use ").flat_map(|(_, tree)| expanded(tree, &[]));
        let below = self
            .files
            .keys()
            .filter(|file| file.len() == module.len() + 1 && file.starts_with(module));
        let below = below.filter_map(|file| Some(format!("{}::", file.last()?)));
        let roots: Vec<String> = ["crate::", "super::"]
            .into_iter()
            .map(str::to_owned)
            .chain(below)
            .collect();
        let inline = roots.iter().flat_map(|root| {
            let starts = code.match_indices(root.as_str()).filter(|(at, _)| {
                let before = &code[..*at];
                let is_inside = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                // `pub(in …)` says who may name an item, and names none.
                !before.ends_with(is_inside) && !before.ends_with("(in ")
            });
            let starts = starts.map(|(at, _)| &code[at..]);
            starts.filter_map(|text| {
                let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                let path = text.split(|c| !is_path(c)).next()?;
                // The start of a tree of imports, which was read above.
                let is_tree = text[path.len()..].starts_with(['{', '*']);
                (!is_tree).then(|| path.split("::").map(str::to_owned).collect())
            })
        });
        let paths: Vec<ItemPath> = imported.chain(inline).collect();
        let resolved = paths
            .iter()
            .filter_map(|path| self.resolved(&self.absolute(module, path)?, 0));
        resolved.filter(|other| other != module).collect()
    }

    /// `path`, as it is written in `module`, from the root of the crate; `None` for another crate's.
    fn absolute(&self, module: &ItemPath, path: &[String]) -> Option<ItemPath> {
        let (first, rest) = path.split_first()?;
        let mut start = module.clone();
        match first.as_str() {
            "crate" => start.clear(),
            "self" => {}
            "super" => drop(start.pop()),
            _ => {
                start.push(first.clone());
                self.files.contains_key(&start).then_some(())?;
            }
        }
        if rest.first().is_some_and(|next| next == "super") {
            return self.absolute(&start, rest);
        }
        start.extend(rest.iter().filter(|name| *name != "self").cloned());
        Some(start)
    }

    /// The module that declares the item at `path`, through re-exports.
    fn resolved(&self, path: &[String], depth: usize) -> Option<ItemPath> {
        assert!(depth < 20, "a re-export leads to itself: {path:?}");
        let length = (0..=path.len())
            .rev()
            .find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, item) = path.split_at(length);
        let module = module.to_vec();
        let Some((name, rest)) = item.split_first() else {
            return Some(module);
        };
        let exported = self.exports[&module]
            .iter()
            .find(|export| export.last() == Some(name));
        let through = exported.and_then(|export| self.absolute(&module, export));
        match through {
            Some(mut through) if through != path => {
                through.extend(rest.iter().cloned());
                self.resolved(&through, depth + 1)
            }
            _ => Some(module),
        }
    }

    /// The sets of files of which each reaches each by imports.
    fn circles(&self) -> Vec<BTreeSet<&str>> {
        let imports: BTreeMap<_, _> = self
            .files
            .keys()
            .map(|module| (module, self.imports(module)))
            .collect();
        let reached = |from: &ItemPath| {
            let mut seen = BTreeSet::new();
            let mut next: Vec<&ItemPath> = imports[from].iter().collect();
            while let Some(module) = next.pop() {
                if seen.insert(module) {
                    next.extend(&imports[module]);
                }
            }
            seen
        };
        let reach: BTreeMap<_, _> = self
            .files
            .keys()
            .map(|module| (module, reached(module)))
            .collect();
        let circles: BTreeSet<BTreeSet<&str>> = reach
            .iter()
            .filter(|(module, reached)| reached.contains(*module))
            .map(|(module, reached)| {
                let back = reached
                    .iter()
                    .filter(|other| reach[*other].contains(module));
                back.map(|other| self.files[*other].as_str()).collect()
            })
            .collect();
        circles.into_iter().collect()
    }
}

/// Every statement in `code` that `keyword` begins, up to its semicolon, and what stands before it on its line.
fn statements<'c>(code: &'c str, keyword: &'c str) -> impl Iterator<Item = (&'c str, &'c str)> {
    code.match_indices(keyword).filter_map(move |(at, _)| {
        let before = code[..at].rsplit('\n').next()?;
        let is_start = before.trim().is_empty() || before.trim().starts_with("pub");
        let statement = code[at + keyword.len()..].split(';').next()?;
        is_start.then_some((before, statement))
    })
}

/// The paths of a `use` tree.
fn expanded(tree: &str, prefix: &[String]) -> Vec<ItemPath> {
    let tree = tree.trim();
    if let Some(list) = tree.strip_prefix('{') {
        let list = list.strip_suffix('}').unwrap_or(list);
        let mut depth = 0;
        let parts = list.split(|c| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            c == ',' && depth == 0
        });
        return parts
            .filter(|part| !part.trim().is_empty())
            .flat_map(|part| expanded(part, prefix))
            .collect();
    }
    let mut path = prefix.to_vec();
    match tree.split_once("::") {
        Some((name, rest)) => {
            path.push(name.trim().to_owned());
            expanded(rest, &path)
        }
        None => {
            path.extend(identifier(tree));
            vec![path]
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = Source::all();
    for (member, _) in CRATES {
        let modules = Modules::of(member, &sources);
        assert!(
            modules.files.len() > 10,
            "the files of {member} were not found"
        );
        assert_eq!(modules.circles(), Vec::<BTreeSet<&str>>::new(), "{member}");
    }
}

#[test]
fn the_search_for_circles_finds_one_through_a_re_export() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let sources = [
        source("core/lib.rs", "pub mod a;\npub mod b;\n"),
        source(
            "core/a/mod.rs",
            "mod low;\npub use self::low::{Low, Other as High};\n",
        ),
        source("core/a/low.rs", "use crate::{b::{self, B}, c};\n"),
        source("core/b.rs", "fn f() -> crate::a::Low {}\n"),
        source(
            "core/c.rs",
            "mod tests;\n#[cfg(test)]\nmod tests {\n    use crate::a::Low;\n}\n",
        ),
    ];
    let circles = Modules::of("core", &sources);
    assert_eq!(circles.circles(), [BTreeSet::from(["a/low.rs", "b.rs"])]);
    let imports = circles.imports(&vec!["a".to_owned(), "low".to_owned()]);
    assert_eq!(
        imports,
        BTreeSet::from([vec!["b".to_owned()], vec!["c".to_owned()]])
    );
}
