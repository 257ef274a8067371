//! Rows as CSV (RFC 4180), for spreadsheets.

use std::{borrow::Cow, iter};

use unicode_normalization::UnicodeNormalization as _;

use hallpass_core::base::text::escape_json;

/// Writes lines of CSV: one for each row of cells.
///
/// SECURITY: cells hold words of agents and operators. A spreadsheet takes a cell that begins with
/// `=`, `+`, `-`, `@`, a tab or a carriage return for a formula, so such a cell gets a `'` before it.
/// One whose list separator is `;` also begins a cell after each of those, quoted or not by RFC 4180:
/// so does what follows a `;`. What could end a line or drive a terminal is escaped: one row is one line.
#[must_use]
pub fn csv(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::new());
    for row in rows {
        // Writing to memory does not fail, and rows may differ in length.
        let _ = writer.write_record(row.iter().map(|cell| guarded(cell).into_owned()));
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn guarded(cell: &str) -> Cow<'_, str> {
    if !cell.split(';').any(|piece| formula(piece).is_some()) {
        return escape_json(cell);
    }
    let guard = |piece| match formula(piece) {
        Some((before, formula)) => format!("{before}'{formula}"),
        None => piece.to_owned(),
    };
    let guarded: Vec<_> = cell.split(';').map(guard).collect();
    Cow::Owned(escape_json(&guarded.join(";")).into_owned())
}

/// A piece that may be taken for a formula, from where it begins; before it stand blanks, and quotes,
/// which a reader drops that splits inside them.
fn formula(piece: &str) -> Option<(&str, &str)> {
    let dropped = |character: char| {
        character == '"' || (character.is_whitespace() && !FORMULA.contains(&character))
    };
    let formula = piece.trim_start_matches(dropped);
    formula
        .starts_with(begins_formula)
        .then(|| piece.split_at(piece.len().saturating_sub(formula.len())))
}

/// Also in another width or size (Unicode NFKC), which some programs take for the plain character.
fn begins_formula(character: char) -> bool {
    iter::once(character)
        .nfkc()
        .any(|plain| FORMULA.contains(&plain))
}

/// How formulas begin.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_no_row_more_than_a_line() {
        let cells = [
            "=1+1",
            "+1",
            "-1",
            "@x",
            "\tx",
            "\rx",
            "\u{ff1d}1+1",
            "\u{fe66}1",
            " \u{ff20}x",
            "a=1",
            "",
            "a,\"b\"",
            "x\ny\u{2028}z\u{1b}[31m",
            "'=1",
        ];
        let text = csv([cells.map(str::to_owned).to_vec()]);
        assert_eq!(
            text,
            "'=1+1,'+1,'-1,'@x,'\\u0009x,'\\u000dx,'\u{ff1d}1+1,'\u{fe66}1, '\u{ff20}x,a=1,,\"a,\"\"b\"\"\",x\\u000ay\\u2028z\\u001b[31m,'=1\n"
        );
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn nothing_after_a_semicolon_is_a_formula() {
        let cells = [
            ("x;=HYPERLINK(1)", "x;'=HYPERLINK(1)"),
            ("x; \u{a0}+1;-2", "x; \u{a0}'+1;'-2"),
            ("=1;;@x", "'=1;;'@x"),
            ("x;\t=1", "x;'\\u0009=1"),
            ("x;\n=1", "x;\\u000a'=1"),
            ("x;\"=1\"", "\"x;\"\"'=1\"\"\""),
            ("a; b=c;d", "a; b=c;d"),
            (";", ";"),
        ];
        for (cell, written) in cells {
            let text = csv([vec!["first".to_owned(), cell.to_owned()]]);
            assert_eq!(text, format!("first,{written}\n"), "{cell:?}");
            // However such a reader treats quotes: no piece of it is a formula.
            let pieces = text
                .trim_end()
                .split(';')
                .map(|piece| piece.trim_start_matches(['"', ' ', '\u{a0}']));
            assert!(
                pieces.clone().all(|piece| !piece.starts_with(FORMULA)),
                "{text}"
            );
            assert_eq!(text.lines().count(), 1);
        }
    }
}
