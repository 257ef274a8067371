//! What clients say of themselves: any document. One that is taken speaks for its own URL alone, and sends codes
//! nowhere but where another reader of URLs sees them going, too.

use std::net::Ipv4Addr;

use hallpass::server::oauth::grammar::client_document::{ClientKeys, ClientMetadata};
use reqwest::Url;
use serde_json::Value;

use crate::fuzz::{corpus, fuzz, input::Input};

const OWN: &str = "https://app.example/client.json";

fn read(document: &Value) -> Option<ClientMetadata> {
    ClientMetadata::of_document(&OWN.parse().unwrap(), document).ok()
}

#[test]
fn the_seeds_are_good() {
    for (name, seed) in corpus::files("clients") {
        assert!(
            read(&serde_json::from_slice(&seed).unwrap()).is_some(),
            "{name}"
        );
    }
}

#[test]
fn a_client_describes_itself_and_codes_go_where_everybody_sees() {
    let seeds = corpus::files("clients").len();
    fuzz!(
        "clients",
        seeds,
        corpus::json("clients"),
        |seeds: &mut Vec<Value>, input: &mut Input<'_>| {
            let mut document = input.json_seed(seeds);
            // A change within a text, where a structure hardly ever is a URI.
            if let Some(Value::String(uri)) = document.pointer_mut("/redirect_uris/0")
                && let Ok(changed) = String::from_utf8(input.seed(&[uri.as_bytes()]))
            {
                *uri = changed;
            }
            let Some(client) = read(&document) else {
                return;
            };
            assert_eq!(document["client_id"], OWN);
            assert!(
                document.get("client_secret").is_none(),
                "a secret for everybody to read"
            );
            assert_ne!(client.keys, ClientKeys::Secret);
            let listed = document["redirect_uris"].as_array().unwrap();
            assert!((1..=16).contains(&listed.len()) && listed.len() == client.redirect_uris.len());
            assert!(
                client
                    .name
                    .is_none_or(|name| !name.chars().any(|c| c.is_control() || c == '\u{202e}'))
            );
            for (uri, listed) in client.redirect_uris.iter().zip(listed) {
                assert_eq!(listed, uri.as_str());
                goes_where_it_says(
                    uri.as_str(),
                    uri.authority(),
                    &uri.with(&[("code", "c&d"), ("iss", OWN)]),
                );
            }
            for (own, asked) in client
                .redirect_uris
                .iter()
                .flat_map(|own| client.redirect_uris.iter().map(move |it| (own, it)))
            {
                if own.admits(asked) && own != asked {
                    assert!(
                        is_loopback(own.as_str())
                            && without_port(own.as_str()) == without_port(asked.as_str())
                    );
                }
            }
        }
    );
}

/// Whether a browser that is sent to `uri`, and to `sent` with an answer, goes to the place that a person is shown.
fn goes_where_it_says(uri: &str, shown: &str, sent: &str) {
    http::HeaderValue::from_str(sent).unwrap();
    let (scheme, _) = uri.split_once(':').unwrap();
    if !matches!(scheme, "http" | "https") {
        // An app's own: what follows is for the app to read, and none of what browsers or systems act on themselves.
        let browsers = [
            "javascript",
            "data",
            "vbscript",
            "file",
            "blob",
            "about",
            "view-source",
            "ws",
            "wss",
            "ftp",
        ];
        assert!(
            shown == format!("{scheme}:") && sent.starts_with(uri) && !browsers.contains(&scheme),
            "{uri}"
        );
        return;
    }
    let url = Url::parse(uri).unwrap_or_else(|error| panic!("{uri}: {error}"));
    assert!(
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none(),
        "{uri}"
    );
    assert!(scheme == "https" || is_loopback(uri), "{uri}");
    assert_eq!(Url::parse(shown).unwrap().origin(), url.origin(), "{uri}");
    let sent = Url::parse(sent).unwrap();
    assert_eq!(
        (sent.origin(), sent.path()),
        (url.origin(), url.path()),
        "{uri}"
    );
    let told: Vec<_> = sent.query_pairs().collect();
    let answer = [("code", "c&d"), ("iss", OWN)].map(|(name, value)| (name.into(), value.into()));
    assert!(told.ends_with(&answer), "{sent}");
    let ours = |name: &str| ["code", "state", "iss", "error"].contains(&name);
    assert_eq!(
        told.iter().filter(|(name, _)| ours(name)).count(),
        answer.len(),
        "told twice: {sent}"
    );
}

fn is_loopback(uri: &str) -> bool {
    let host = Url::parse(uri).unwrap().host_str().map(str::to_owned);
    let address = host.as_deref().and_then(|host| host.parse().ok());
    address.is_some_and(|address: Ipv4Addr| address.is_loopback())
        || matches!(host.as_deref(), Some("[::1]" | "localhost"))
}

fn without_port(uri: &str) -> Url {
    let mut url = Url::parse(uri).unwrap();
    url.set_port(None).unwrap();
    url
}
