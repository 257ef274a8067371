//! Client URLs: ids of clients that describe themselves at the URL that is their id.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::base::{
    digest::Digest,
    ids::{AgentId, IdError, text_id},
    uri::{Authority, Uri},
};

text_id!(
    /// The URL of a client metadata document, which is the client's id.
    ///
    /// `https`, a lower-case host, a path, no `.` or `..` in it, no user, no query, no fragment.
    ClientUrl, "client URL", is_client_url,
    "https, a lower-case host, a path without `.` and `..`; no user, query or fragment; at most 512 bytes"
);

impl ClientUrl {
    /// Whether `client_id` has the form of a URL. Agent ids never do.
    #[must_use]
    pub fn is_meant(client_id: &str) -> bool {
        client_id.contains("://")
    }

    /// The host, with its port when it has one.
    #[must_use]
    pub fn host(&self) -> &str {
        Uri::split(&self.0)
            .and_then(|uri| uri.authority)
            .unwrap_or_default()
    }

    /// Whether `uri` is https and of the same origin (RFC 6454) as the document: its host in any case of letters, and
    /// its port or the default one. No user, no fragment, at most 512 bytes.
    #[must_use]
    pub fn is_origin_of(&self, uri: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        let Some(split) = Uri::split(uri).filter(|uri| uri.fragment.is_none()) else {
            return false;
        };
        let authority = split.authority.unwrap_or_default();
        let authority = authority.strip_suffix(":443").unwrap_or(authority);
        uri.len() <= MAX_URL_BYTES
            && uri.bytes().all(is_plain)
            && split.scheme.eq_ignore_ascii_case("https")
            && authority.eq_ignore_ascii_case(self.host())
    }

    /// The agent id of this client: its host, for people to recognise, and a digest of the whole URL,
    /// which makes it unique.
    #[must_use]
    pub fn agent(&self) -> Option<AgentId> {
        let host: String = self
            .host()
            .chars()
            .map(|c| if c == ':' { '-' } else { c })
            .take(MAX_HOST_SHOWN)
            .collect();
        let digest = Digest::of(self.0.as_bytes()).to_string();
        format!("{host}-{}", digest.get(..DIGITS)?).parse().ok()
    }
}

/// The agent that a client id refers to: the agent of that id, or the one derived from the URL.
#[must_use]
pub fn agent_of_client(client_id: &str) -> Option<AgentId> {
    if ClientUrl::is_meant(client_id) {
        return client_id.parse::<ClientUrl>().ok()?.agent();
    }
    client_id.parse().ok()
}

fn is_client_url(text: &str) -> bool {
    let Some(uri) = Uri::split(text) else {
        return false;
    };
    let has_named_host = |authority: Authority<'_>| {
        authority.is_canonical()
            && !authority.host.starts_with('[')
            && authority.port_number() != Some(443)
    };
    let is_segment = |segment: &str| {
        let is_path_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&byte);
        // Browsers read `%2e` as a dot, so encoded dots are refused.
        segment.bytes().all(is_path_byte)
            && segment != "."
            && segment != ".."
            && !segment.to_ascii_lowercase().contains("%2e")
    };
    let is_path = |path: &str| !path.is_empty() && path.split('/').all(is_segment);
    text.len() <= MAX_URL_BYTES
        && uri.scheme == "https"
        && uri.ends_with_path()
        && uri
            .authority
            .and_then(Authority::split)
            .is_some_and(has_named_host)
        && uri.path.strip_prefix('/').is_some_and(is_path)
}

const MAX_URL_BYTES: usize = 512;
const MAX_HOST_SHOWN: usize = 36;

/// 96 bits: finding a second URL with the same digits is infeasible.
const DIGITS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://app.example/oauth/client.json";

    #[test]
    fn a_client_url_has_one_reading() {
        for good in [
            URL,
            "https://app.example/x",
            "https://app.example:8443/a/b/",
            "https://app.example/a%20b",
        ] {
            assert!(good.parse::<ClientUrl>().is_ok(), "{good}");
        }
        for bad in [
            "http://app.example/x",
            "https://app.example",
            "https://app.example/",
            "https://App.example/x",
            "https://app.example:443/x",
            "https://app.example:08443/x",
            "https://user@app.example/x",
            "https://app.example/x?y",
            "https://app.example/x#y",
            "https://app.example/a/../x",
            "https://app.example/./x",
            "https://app.example/%2E%2e/x",
            "https://app.example/a\\b",
            "https://0x7f.1/x",
            "https:///x",
            "https://[::1]/x",
        ] {
            assert!(bad.parse::<ClientUrl>().is_err(), "{bad}");
        }
        assert!(
            format!("https://app.example/{}", "x".repeat(512))
                .parse::<ClientUrl>()
                .is_err()
        );
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let url: ClientUrl = URL.parse().unwrap();
        for same in [
            "https://app.example/jwks.json",
            "https://app.example",
            "HTTPS://APP.example:443/a?b=c",
        ] {
            assert!(url.is_origin_of(same), "{same}");
        }
        for other in [
            "http://app.example/jwks.json",
            "https://app.example:8443/jwks.json",
            "https://app.example.evil.example/jwks.json",
            "https://www.app.example/jwks.json",
            "https://app.example@evil.example/jwks.json",
            "https://user@app.example/jwks.json",
            "https://app.example\\@evil.example/jwks.json",
            "https://app.example:/jwks.json",
            "https://app.example./jwks.json",
            "https:///app.example/jwks.json",
            "https:app.example/jwks.json",
            "/jwks.json",
            "https://app.example/jwks.json#x",
            "https://app.example/jw ks.json",
            "",
        ] {
            assert!(!url.is_origin_of(other), "{other}");
        }
        let long = format!("https://app.example/{}", "x".repeat(512));
        assert!(!url.is_origin_of(&long));
        let ported: ClientUrl = "https://app.example:8443/x".parse().unwrap();
        assert!(ported.is_origin_of("https://app.example:8443/y"));
        assert!(!ported.is_origin_of("https://app.example/y"));
    }

    #[test]
    fn the_agent_id_of_a_client_depends_on_its_whole_url() {
        let agent = |url: &str| url.parse::<ClientUrl>().unwrap().agent().unwrap();
        assert!(agent(URL).as_str().starts_with("app.example-"));
        assert_ne!(agent(URL), agent("https://app.example/oauth/client2.json"));
        assert_ne!(
            agent("https://app.example:8443/x"),
            agent("https://app.example/x")
        );
        let long = format!(
            "https://{}.example/x",
            "a-".repeat(31).trim_end_matches('-')
        );
        assert!(agent(&long).as_str().len() <= 64);
    }
}
