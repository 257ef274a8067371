//! Rows as CSV (RFC 4180), for spreadsheets.

use std::borrow::Cow;

/// Writes lines of CSV: one for each row of cells.
///
/// SECURITY: cells hold words of agents and operators. A spreadsheet takes a cell that begins with
/// `=`, `+`, `-`, `@`, a tab or a carriage return for a formula, so such a cell gets a `'` before it.
/// What could end a line or drive a terminal is escaped before: one row is one line.
#[must_use]
pub fn csv(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in rows {
        // Writing to memory does not fail, and rows may differ in length.
        let _ = writer.write_record(row.iter().map(|cell| guarded(cell).into_owned()));
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn guarded(cell: &str) -> Cow<'_, str> {
    let escaped = super::view::escape(cell);
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { Cow::Owned(format!("'{escaped}")) } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_no_row_more_than_a_line() {
        let cells = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "a=1", "", "a,\"b\"", "x\ny\u{2028}z\u{1b}[31m", "'=1"];
        let text = csv([cells.map(str::to_owned).to_vec()]);
        assert_eq!(
            text,
            "'=1+1,'+1,'-1,'@x,'\\u0009x,'\\u000dx,a=1,,\"a,\"\"b\"\"\",x\\u000ay\\u2028z\\u001b[31m,'=1\n"
        );
        assert_eq!(text.lines().count(), 1);
    }
}
