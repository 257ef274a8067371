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
