//! The table of clients in `docs/oauth.md`: every row is written by the run that it tells of.

use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::packages::shelf;

/// What one client got through, column by column.
#[derive(Debug)]
pub(crate) struct Row {
    client: String,
    version: String,
    cells: [Option<String>; COLUMNS.len()],
}

impl Row {
    /// Nothing yet; what a client lacks stays a dash.
    pub(crate) fn of(client: &str, version: &str) -> Self {
        Self {
            client: client.to_owned(),
            version: version.to_owned(),
            cells: Default::default(),
        }
    }

    /// Notes what came of `column`.
    pub(crate) fn note(&mut self, column: &str, outcome: impl Into<String>) {
        let at = COLUMNS
            .iter()
            .position(|known| *known == column)
            .unwrap_or_else(|| panic!("no column {column}"));
        self.cells[at] = Some(outcome.into());
    }

    /// Keeps the row beside the packages, and expects the documentation to have it, word for word.
    /// `UPDATE_DOCS=1` writes it there.
    pub(crate) fn conclude(&self) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let row = self.to_string();
        let rows = shelf().join("rows");
        fs::create_dir_all(&rows).unwrap();
        fs::write(
            rows.join(format!("{}.md", self.client.replace(['/', '`', ' '], "-"))),
            format!("{row}\n"),
        )
        .unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/oauth.md");
        let text = fs::read_to_string(&path).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(path, self.put_into(&text)).unwrap();
        } else {
            assert!(
                text.lines().any(|line| line == row),
                "docs/oauth.md differs (UPDATE_DOCS=1 rewrites it):\n{row}"
            );
        }
    }

    fn put_into(&self, text: &str) -> String {
        let mine = format!("| {} |", self.client);
        let put = |line: &str| {
            if line.starts_with(&mine) {
                self.to_string()
            } else {
                line.to_owned()
            }
        };
        text.lines().map(|line| put(line) + "\n").collect()
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cells = self.cells.iter().map(|cell| cell.as_deref().unwrap_or("–"));
        let all: Vec<_> = [self.client.as_str(), self.version.as_str()]
            .into_iter()
            .chain(cells)
            .collect();
        write!(f, "| {} |", all.join(" | "))
    }
}

fn rule() -> String {
    "|---".repeat(COLUMNS.len() + 2) + "|"
}

#[test]
fn the_documentation_has_the_table_with_these_columns_and_no_row_but_those_of_the_runs() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/oauth.md")).unwrap();
    let head = format!("| client | version | {} |", COLUMNS.join(" | "));
    let mut lines = text.lines().skip_while(|line| *line != head).skip(1);
    assert_eq!(
        lines.next(),
        Some(rule().as_str()),
        "no table headed\n{head}"
    );
    let clients: Vec<_> = lines
        .map_while(|line| line.strip_prefix("| ")?.split(" | ").next())
        .collect();
    assert_eq!(clients, CLIENTS);
}

/// What is asked of every client; a cell that works holds the revision of MCP that was spoken.
pub(crate) const COLUMNS: [&str; 10] = [
    "`client_secret_basic`",
    "`client_secret_post`",
    "`private_key_jwt`",
    "task client",
    "ID-JAG",
    "DPoP",
    "renewal",
    "step-up",
    "what a refused call says",
    "what a refused argument says",
];

/// The rows, in the documentation's order.
const CLIENTS: [&str; 6] = [
    "Python `mcp` 1",
    "Python `mcp` 2",
    "`fastmcp`",
    "`@modelcontextprotocol/sdk`",
    "`@modelcontextprotocol/client`",
    "`rmcp`",
];
