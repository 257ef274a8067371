//! Output: data to stdout, everything else to stderr; the only module that prints.
//!
//! SECURITY: what is printed was often written by others: agents' purposes, tool names, reasons. What
//! could drive a terminal, end a line or reorder the text is escaped here, for people and for
//! programs alike, so that no caller can forget it.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::{
    error::CliError,
    session::{Answer, List, document},
};
use hallpass_core::base::text::{escape, escape_json};

/// Where a command's words go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
    terminal: bool,
}

/// What people see in place of JSON.
#[derive(Debug)]
pub(super) enum View {
    /// Names and values, a line each: one thing.
    Fields(Vec<(&'static str, String)>),
    /// Rows under columns: many things. The text stands for no rows.
    Table {
        columns: &'static [&'static str],
        rows: Vec<Vec<String>>,
        empty: &'static str,
    },
    /// Lines as they are.
    Lines(Vec<String>),
}

/// The names above a table, and the text that stands for no rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    pub(super) columns: &'static [&'static str],
    pub(super) empty: &'static str,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// Whether programs read what is printed.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints an answer: `document` for programs, `view` for people.
    pub(super) fn show(&self, document: &Value, view: View) -> Result<(), CliError> {
        if self.json {
            return print(&escape_layout(&format!("{document:#}")));
        }
        match view {
            View::Fields(fields) => print(&fields_text(&fields)),
            View::Lines(lines) => print(
                &lines
                    .iter()
                    .map(|line| escape(line))
                    .collect::<Vec<_>>()
                    .join("\n"),
            ),
            View::Table { rows, empty, .. } if rows.is_empty() => {
                self.note(empty);
                Ok(())
            }
            View::Table { columns, rows, .. } => print(&self.table_text(columns, &rows)),
        }
    }

    /// Prints the broker's answer: as it was written for programs, and for people what `view` makes of it.
    pub(super) fn answer<T: DeserializeOwned>(
        &self,
        answer: &Answer<T>,
        view: impl FnOnce(T) -> View,
    ) -> Result<(), CliError> {
        if self.json {
            return self.show(answer.raw(), View::Lines(Vec::new()));
        }
        match answer.read() {
            Ok(known) => self.show(answer.raw(), view(known)),
            // What was asked for is done, and the answer may hold a secret that is never given again.
            Err(error) => {
                self.note(&format!(
                    "warning: {}; this is the whole answer:",
                    error.message()
                ));
                self.as_written(answer)
            }
        }
    }

    /// Prints the broker's answer as it was written, also for people.
    pub(super) fn as_written<T>(&self, answer: &Answer<T>) -> Result<(), CliError> {
        print(&escape_layout(&format!("{:#}", answer.raw())))
    }

    /// Prints a list of the broker's, a row for each item.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        list: &List<T>,
        table: Columns,
        row: impl Fn(T) -> Vec<String>,
    ) -> Result<(), CliError> {
        let view = self.rows(list, table, row)?;
        self.show(&document(list), view)
    }

    /// The rows of a list, for people; none for programs.
    pub(super) fn rows<T: DeserializeOwned>(
        &self,
        list: &[Answer<T>],
        Columns { columns, empty }: Columns,
        row: impl Fn(T) -> Vec<String>,
    ) -> Result<View, CliError> {
        let people = if self.json { &[] } else { list };
        let rows = people.iter().map(|item| item.read().map(&row));
        Ok(View::Table {
            columns,
            rows: rows.collect::<Result<_, _>>()?,
            empty,
        })
    }

    /// Prints one of many answers as it comes: one line of JSON, or one line of text.
    pub(super) fn stream(&self, document: &Value, text: &str) -> Result<(), CliError> {
        if self.json {
            print(&escape_json(&document.to_string()))
        } else {
            print(&escape(text))
        }
    }

    /// Prints text that was made for a file: a completion script, a manifest.
    pub(super) fn raw(text: &str) -> Result<(), CliError> {
        print(text.trim_end_matches('\n'))
    }

    /// Shows people a note beside the answer.
    #[expect(
        clippy::unused_self,
        reason = "every word goes through the one who knows where words go"
    )]
    pub(super) fn note(&self, text: &str) {
        // A note cannot be shown when stderr is gone.
        let _ = writeln!(anstream::stderr(), "{}", escape(text));
    }

    /// Shows why a command failed.
    pub(super) fn fail(&self, error: &CliError) {
        if self.json {
            if let Some(document) = error.document() {
                let _ = writeln!(anstream::stderr(), "{}", escape_json(&document.to_string()));
            }
            return;
        }
        error.lines().iter().for_each(|line| self.note(line));
    }

    /// A progress bar over `bytes` on stderr; unseen unless stderr is a terminal.
    pub(super) fn progress(&self, bytes: u64) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}")
            .map_or(bar.clone(), |style| bar.with_style(style))
    }

    fn table_text(&self, columns: &[&str], rows: &[Vec<String>]) -> String {
        let width = self.terminal.then(|| Table::new().width()).flatten();
        table_text(columns, rows, width)
    }
}

/// A table with borders where `width`, that of a terminal, has room for it, and else one without, which wraps nothing.
fn table_text(columns: &[&str], rows: &[Vec<String>], width: Option<u16>) -> String {
    let cells: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| escape(cell).into_owned()).collect())
        .collect();
    width
        .and_then(|width| bordered(columns, &cells, width))
        .unwrap_or_else(|| plain(columns, &cells))
}

/// Cells are wrapped between words only: an id in two lines cannot be copied. `None` when there is no room for that.
fn bordered(columns: &[&str], cells: &[Vec<String>], width: u16) -> Option<String> {
    let header = columns
        .iter()
        .map(|column| Cell::new(column).add_attribute(Attribute::Bold));
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header)
        .add_rows(cells);
    let mut least = BORDER;
    let words = longest_words(columns, cells);
    for (column, word) in table.column_iter_mut().zip(words) {
        let room = u16::try_from(word).ok()?.checked_add(PADDING)?;
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(room)));
        least = least.checked_add(room)?.checked_add(BORDER)?;
    }
    let fits = width >= LEAST_WIDTH && least <= width;
    fits.then(|| lines(&table).collect::<Vec<_>>().join("\n"))
}

fn plain(columns: &[&str], cells: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty();
    table
        .set_header(
            columns
                .iter()
                .map(|column| Cell::new(column.to_uppercase())),
        )
        .add_rows(cells);
    // Without borders every line still begins with the padding of a cell.
    let unpadded = |line: String| line.strip_prefix(' ').map(str::to_owned).unwrap_or(line);
    lines(&table).map(unpadded).collect::<Vec<_>>().join("\n")
}

fn lines(table: &Table) -> impl Iterator<Item = String> {
    table.lines().map(|line| line.trim_end().to_owned())
}

/// How many characters the longest word of each column has.
fn longest_words<'c>(
    columns: &'c [&str],
    cells: &'c [Vec<String>],
) -> impl Iterator<Item = usize> + 'c {
    columns.iter().enumerate().map(|(at, column)| {
        let cells = cells.iter().filter_map(move |row| row.get(at));
        let texts = std::iter::once(*column).chain(cells.map(String::as_str));
        let words = texts.flat_map(str::split_whitespace);
        words.map(|word| word.chars().count()).max().unwrap_or(0)
    })
}

/// A narrower terminal is one of unknown width.
const LEAST_WIDTH: u16 = 40;
const BORDER: u16 = 1;
/// Before and after the text of a cell.
const PADDING: u16 = 2;

fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = anstream::stdout();
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}

fn fields_text(fields: &[(&'static str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    // A name that is left empty continues the one above.
    let line = |(name, value): &(&str, String)| {
        format!("{name:width$}  {}", escape(value))
            .trim_end()
            .to_owned()
    };
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// JSON with layout: every line is escaped by itself, since serde_json writes no newline inside of a string.
fn escape_layout(json: &str) -> String {
    json.split('\n')
        .map(escape_json)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_drives_the_terminal() {
        let json = format!("{:#}", serde_json::json!({"a": "x\u{9b}y\u{202e}\n"}));
        assert_eq!(
            escape_layout(&json),
            "{\n  \"a\": \"x\\u009by\\u202e\\n\"\n}"
        );
    }

    #[test]
    fn tables_off_a_terminal_have_no_borders_and_no_trailing_blanks() {
        let row = ["bot", "a, b"].map(str::to_owned).to_vec();
        let text = table_text(&["agent", "groups"], &[row], None);
        assert_eq!(text, "AGENT  GROUPS\nbot    a, b");
    }

    #[test]
    fn no_id_is_cut_beside_a_name_either() {
        let steward = "alice (stw_236c3fdc375548a8a83cb0809dae94d4)";
        let row = ["research-bot", steward, "research, reviewers", "active"];
        let rows = [row.map(str::to_owned).to_vec()];
        for width in 0..200 {
            let text = table_text(&["agent", "steward", "groups", "state"], &rows, Some(width));
            assert!(
                text.contains("(stw_236c3fdc375548a8a83cb0809dae94d4)"),
                "{width}: {text}"
            );
            let has_border = text.contains('│');
            assert!(
                !has_border
                    || text
                        .lines()
                        .all(|line| line.chars().count() <= usize::from(width))
            );
        }
    }

    #[test]
    fn no_id_is_cut_however_narrow_a_terminal_is() {
        let id = "tsk_019aabbccddeeff00112233445566778";
        let purpose = "close the books of the third quarter, and look for what is missing";
        let rows = [vec![id.to_owned(), purpose.to_owned()]];
        let at = |width| table_text(&["task", "purpose"], &rows, Some(width));
        for width in [0, 1, 20, 39, 45] {
            assert_eq!(
                at(width),
                table_text(&["task", "purpose"], &rows, None),
                "{width}"
            );
        }
        for width in [60, 80, 200] {
            let text = at(width);
            assert!(text.contains(id) && text.contains('│'), "{width}: {text}");
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest.unwrap() <= usize::from(width), "{width}: {text}");
        }
    }
}
