//! Every reader of URIs against `vectors.json`: which texts it takes, and what it makes of them.
//!
//! A reader that is not in a row refuses the text. A text that ends in `*` and a number stands for one with so many
//! `x` at its end; there, `true` says that it is taken. Each column is tested where its reader
//! is: `resource`, `tree` and `argument` in `token::path`, `origin` in `verify::tower`, `trusted` in the broker's
//! `identity`, the others here.

use serde_json::{Value, json};

use crate::base::{
    client_url::ClientUrl,
    ids::{IssuerUri, ServerUri},
    redirect::RedirectUri,
    uri::{HttpUri, Uri, comparable_url},
};

/// A row of `vectors.json`.
pub(crate) struct Row {
    /// The text that is read.
    pub(crate) text: String,
    is_long: bool,
    row: Value,
}

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let rows: Vec<Value> = serde_json::from_str(include_str!("vectors.json")).unwrap();
        assert!(rows.len() > 200);
        let row = |row: Value| {
            let given = row["text"].as_str().unwrap();
            let (start, length) = given.split_once('*').unwrap_or((given, ""));
            let (text, is_long) = match length.parse() {
                Ok(length) => (format!("{start}{}", "x".repeat(length)), true),
                Err(_) => (given.to_owned(), false),
            };
            Self { text, is_long, row }
        };
        rows.into_iter().map(row).collect()
    }

    /// Holds what `reader` made of the text against the row.
    pub(crate) fn compare(&self, reader: &str, read: Option<Value>) {
        let read = read.map(|read| {
            let is_all = self.is_long || read == json!(self.text);
            if is_all { json!(true) } else { read }
        });
        assert_eq!(
            read.as_ref(),
            self.row.get(reader),
            "{reader} of {:?}",
            self.text
        );
    }
}

#[test]
fn every_reader_reads_every_uri_as_the_vectors_say() {
    for row in Row::all() {
        let text = &row.text;
        let server =
            HttpUri::split(text).map(|uri| json!([uri.scheme, uri.host, uri.port, uri.path]));
        assert_eq!(
            text.parse::<ServerUri>().is_ok(),
            server.is_some(),
            "{text}"
        );
        assert_eq!(
            text.parse::<IssuerUri>().is_ok(),
            server.is_some(),
            "{text}"
        );
        row.compare("server", server);
        let redirect = text.parse::<RedirectUri>().ok();
        row.compare(
            "redirect",
            redirect.map(|uri| json!([uri.authority(), uri.is_local(), uri.is_private_scheme()])),
        );
        let client = text.parse::<ClientUrl>().ok();
        row.compare("client", client.map(|url| json!(url.host())));
        row.compare("target", comparable_url(text).map(|url| json!(url)));
    }
}

#[test]
fn the_parts_of_a_uri_put_together_are_the_text() {
    for row in Row::all() {
        let text = row.text.as_str();
        let Some(uri) = Uri::split(text) else {
            continue;
        };
        let part = |mark: &str, part: Option<&str>| part.map(|part| format!("{mark}{part}"));
        let whole = [
            Some(format!("{}:", uri.scheme)),
            part("//", uri.authority),
            Some(uri.path.to_owned()),
            part("?", uri.query),
            part("#", uri.fragment),
        ];
        assert_eq!(whole.into_iter().flatten().collect::<String>(), text);
        if let Some(uri) = HttpUri::split(text) {
            assert_eq!(format!("{}{}", uri.origin, uri.path), text);
        }
    }
}

#[test]
fn urls_are_compared_without_what_does_not_matter() {
    let same = |one: &str, two: &str| {
        comparable_url(one).is_some() && comparable_url(one) == comparable_url(two)
    };
    assert!(same(
        "HTTPS://Ledger.Example:443/mcp?x=1#y",
        "https://ledger.example/mcp"
    ));
    assert!(same("http://127.0.0.1:80", "http://127.0.0.1/"));
    assert!(same("http://[::1]:8080/mcp", "http://[::1]:8080/mcp"));
    assert!(!same(
        "https://ledger.example/mcp",
        "https://ledger.example/MCP"
    ));
    assert!(!same(
        "https://ledger.example/mcp",
        "https://ledger.example/mcp/"
    ));
    assert!(!same(
        "https://ledger.example/mcp",
        "http://ledger.example/mcp"
    ));
    assert!(!same(
        "https://ledger.example:444/mcp",
        "https://ledger.example/mcp"
    ));
    for no_url in [
        "",
        "ledger.example/mcp",
        "ftp://x/",
        "https://",
        "https://u@ledger.example/mcp",
        "https:///mcp",
    ] {
        assert_eq!(comparable_url(no_url), None, "{no_url}");
    }
}
