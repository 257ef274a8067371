//! Every reader of URIs against `vectors.json`: which texts it takes, and what it makes of them.
//!
//! A reader that is not in a row refuses the text. A text that ends in `*` and a number stands for one with so many
//! `x` at its end; there, `true` says that it is taken. The columns `origin` and `trusted` are read where their readers
//! are, in `verify::tower` and the broker's `identity`.

use serde_json::{Value, json};

use crate::{
    base::{
        client_url::ClientUrl,
        ids::{IssuerUri, ServerUri},
        redirect::RedirectUri,
        uri::{HttpUri, Uri, comparable_url},
    },
    token::path::{ResourceTree, resource_segments, url_host},
};

#[test]
fn every_reader_reads_every_uri_as_the_vectors_say() {
    let rows: Vec<Value> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    assert!(rows.len() > 200);
    let mut differ = Vec::new();
    for row in &rows {
        let given = row["text"].as_str().unwrap();
        let (text, is_long) = match given.split_once('*') {
            Some((start, number)) if number.parse::<usize>().is_ok() => (
                format!("{start}{}", "x".repeat(number.parse().unwrap())),
                true,
            ),
            _ => (given.to_owned(), false),
        };
        let mut compare = |reader: &str, read: Option<Value>| {
            let read = if is_long {
                read.map(|_| json!(true))
            } else {
                read
            };
            let read = if read == Some(json!(text)) {
                Some(json!(true))
            } else {
                read
            };
            if read.as_ref() != row.get(reader) {
                differ.push(format!(
                    "{given:?} {reader}: {read:?}, not {:?}",
                    row.get(reader)
                ));
            }
        };
        let server =
            HttpUri::split(&text).map(|uri| json!([uri.scheme, uri.host, uri.port, uri.path]));
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
        compare("server", server);
        let redirect = text.parse::<RedirectUri>().ok();
        compare(
            "redirect",
            redirect.map(|uri| json!([uri.authority(), uri.is_local(), uri.is_private_scheme()])),
        );
        let client = text.parse::<ClientUrl>().ok();
        compare("client", client.map(|url| json!(url.host())));
        compare(
            "resource",
            resource_segments(&text).map(|segments| json!(segments)),
        );
        let tree = text.parse::<ResourceTree>().ok();
        compare("tree", tree.map(|tree| json!(tree.as_str())));
        compare("argument", url_host(&text).map(|host| json!(host)));
        compare("target", comparable_url(&text).map(|url| json!(url)));
    }
    assert_eq!(differ, Vec::<String>::new());
}

#[test]
fn the_parts_of_a_uri_put_together_are_the_text() {
    let rows: Vec<Value> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    for row in &rows {
        let text = row["text"].as_str().unwrap();
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
