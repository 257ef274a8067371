//! Redirect URIs, to which a browser is sent with an authorization code; matched exactly (RFC 9700 section 4.1.3).
//!
//! Three kinds: https; plain http to this machine, whose port may differ from the registered one
//! since native apps listen on any free port (RFC 8252 section 7.3); and the private scheme of an app.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::base::{
    ids::IdError,
    uri::{Authority, Uri, is_loopback_host},
};

/// A redirect URI, as registered or as requested.
///
/// Narrower than RFC 3986, so that no browser reads another host in it than the person is shown:
/// visible ASCII without quotes, backslash or angle brackets, no user, no fragment, a lower-case host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedirectUri {
    text: Box<str>,
    kind: Kind,
}

/// The lengths of the URI's parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    /// `https` to another machine, or this one.
    Https { authority: usize },
    /// `http` to this machine.
    Loopback { host: usize, authority: usize },
    /// The private scheme of an app.
    Private { scheme: usize },
}

impl RedirectUri {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a request may use `asked` when `self` is registered: the same text, or the same except
    /// for the port when both are plain http to the same loopback name.
    #[must_use]
    pub fn admits(&self, asked: &Self) -> bool {
        let without_port = |uri: &Self| match uri.kind {
            Kind::Loopback { host, authority } => {
                let (host, rest) = (uri.text.get(..host)?, uri.text.get(authority..)?);
                Some(format!("{host}{rest}"))
            }
            _ => None,
        };
        self.text == asked.text
            || without_port(self).is_some_and(|own| without_port(asked) == Some(own))
    }

    /// Whether the code is delivered to a program on the browser's own machine, which cannot be identified.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match &self.kind {
            Kind::Https { .. } => Uri::split(&self.text)
                .and_then(|uri| Authority::split(uri.authority?))
                .is_some_and(|authority| is_loopback_host(authority.host)),
            Kind::Loopback { .. } | Kind::Private { .. } => true,
        }
    }

    /// The recipient of the code, as the consent page shows it: scheme and host, or the scheme of an app.
    #[must_use]
    pub fn authority(&self) -> &str {
        let end = match &self.kind {
            Kind::Https { authority } | Kind::Loopback { authority, .. } => *authority,
            Kind::Private { scheme } => scheme.saturating_add(1),
        };
        self.text.get(..end).unwrap_or_default()
    }

    /// Whether it uses the private scheme of an app.
    #[must_use]
    pub const fn is_private_scheme(&self) -> bool {
        matches!(self.kind, Kind::Private { .. })
    }

    /// The URI with `parameters` appended to its query.
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        let separator = match self.text.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        format!("{}{separator}{}", self.text, query.finish())
    }
}

impl FromStr for RedirectUri {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let kind = kind_of(text).filter(|_| !has_our_parameters(text));
        kind.map(|kind| Self {
            text: text.into(),
            kind,
        })
        .ok_or_else(|| IdError::new("redirect URI", text, EXPECTED))
    }
}

impl TryFrom<String> for RedirectUri {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<RedirectUri> for String {
    fn from(uri: RedirectUri) -> Self {
        uri.text.into()
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn kind_of(text: &str) -> Option<Kind> {
    // SECURITY: browsers read a backslash as a slash and this parser does not; `#` would hide the code from the server
    // and keep what follows; quotes and brackets are unsafe in a header or a page.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !br#""'<>\^`{|}#"#.contains(&byte);
    if text.len() > MAX_BYTES || !text.bytes().all(is_plain) {
        return None;
    }
    let uri = Uri::split(text)?;
    let scheme = uri.scheme.len();
    if uri.scheme != "https" && uri.scheme != "http" {
        let has_more = text.len() > scheme.saturating_add(1);
        return (has_more && is_private_scheme(&uri)).then_some(Kind::Private { scheme });
    }
    let authority = Authority::split(uri.authority?).filter(Authority::is_canonical)?;
    let start = scheme.checked_add("://".len())?;
    let end = start.checked_add(uri.authority?.len())?;
    match uri.scheme {
        "https" => Some(Kind::Https { authority: end }),
        _ if is_loopback_host(authority.host) => Some(Kind::Loopback {
            host: start.checked_add(authority.host.len())?,
            authority: end,
        }),
        _ => None,
    }
}

/// Whether an app may use the scheme: not one that a browser or an operating system handles itself.
fn is_private_scheme(uri: &Uri<'_>) -> bool {
    uri.has_canonical_scheme()
        && !uri.authority.is_some_and(|it| it.contains('@'))
        && !TAKEN_SCHEMES.contains(&uri.scheme)
        && !TAKEN_FAMILIES
            .iter()
            .any(|family| uri.scheme.starts_with(family))
}

/// Whether the query has a parameter of the authorization response, which would then be duplicated.
fn has_our_parameters(text: &str) -> bool {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| ANSWERED.contains(&&*name))
}

/// The parameters of an authorization response (RFC 6749 section 4.1.2, RFC 9207).
const ANSWERED: [&str; 6] = [
    "code",
    "state",
    "iss",
    "error",
    "error_description",
    "error_uri",
];

const TAKEN_SCHEMES: [&str; 74] = [
    "about",
    "afp",
    "android-app",
    "applescript",
    "blob",
    "callto",
    "chrome",
    "chrome-extension",
    "cifs",
    "content",
    "data",
    "dav",
    "davs",
    "dict",
    "facetime",
    "facetime-audio",
    "file",
    "filesystem",
    "fish",
    "ftp",
    "ftps",
    "geo",
    "git",
    "gopher",
    "hcp",
    "help",
    "intent",
    "irc",
    "ircs",
    "itms",
    "itms-apps",
    "itms-services",
    "jar",
    "javascript",
    "ldap",
    "ldaps",
    "local",
    "macappstores",
    "mailto",
    "market",
    "mms",
    "moz-extension",
    "news",
    "nfs",
    "nntp",
    "onenote",
    "prefs",
    "rdp",
    "res",
    "resource",
    "rtsp",
    "search",
    "search-ms",
    "sftp",
    "shell",
    "shortcuts",
    "sip",
    "sips",
    "skype",
    "smb",
    "sms",
    "ssh",
    "svn",
    "tel",
    "telnet",
    "vbscript",
    "view-source",
    "vnc",
    "wais",
    "webcal",
    "ws",
    "wss",
    "x-help-action",
    "x-man-page",
];

/// Schemes that start so open settings and tools of an operating system: `ms-msdt:` ran what its address said.
const TAKEN_FAMILIES: [&str; 3] = ["ms-", "microsoft-", "x-apple"];

const MAX_BYTES: usize = 1024;

const EXPECTED: &str = "https, http to a loopback name, or a scheme of an app's own; lower-case host, no user, no \
    fragment, no parameter that the answer has, at most 1024 visible characters";

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> RedirectUri {
        text.parse().unwrap()
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_redirect_uri() {
        for bad in [
            "",
            "/callback",
            "https:",
            "https://",
            "https:///x",
            "https:/a.example/x",
            "https://a.example/x#y",
            "https://a.example#",
            "https://user@a.example/x",
            "https://user:secret@a.example/x",
            "https://a.example:443@b.example/x",
            "https://a.example\\@b.example/x",
            "https://a.example/x y",
            "https://a.example/\u{e4}",
            "https://A.example/x",
            "https://a.example:0/x",
            "https://a.example:08/x",
            "https://a.example:99999/x",
            "https://a.example/x?code=1",
            "https://a.example/x?y=1&st%61te=2",
            "https://a.example/\"><script>",
            "http://a.example/x",
            "http://127.0.0.1.a.example/x",
            "http://localhost.a.example/x",
            "http://2130706433/x",
            "http://0x7f.1/x",
            "HTTPS://a.example/x",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "wss://a.example/x",
            "ms-msdt:/id",
            "ms-settings:x",
            "microsoft-edge:x",
            "search-ms:query=x",
            "search:query=x",
            "x-apple.systempreferences:x",
            "x-help-action://x",
            "shell:x",
            "smb://a.example/x",
            "ssh://a.example/x",
            "ldap://a.example/x",
            "com.example.app:",
            "Com.example.app:/x",
            "com.example.app://user@x/y",
            "1app:/x",
        ] {
            assert!(bad.parse::<RedirectUri>().is_err(), "{bad:?}");
        }
        assert!(
            format!("https://a.example/{}", "x".repeat(1024))
                .parse::<RedirectUri>()
                .is_err()
        );
    }

    #[test]
    fn only_the_port_of_loopback_may_differ() {
        for (registered, asked, admitted) in [
            ("https://a.example/cb", "https://a.example/cb", true),
            ("https://a.example/cb", "https://a.example/cb/", false),
            ("https://a.example/cb", "https://a.example:8443/cb", false),
            ("https://a.example/cb", "https://a.example/cb?x=1", false),
            ("https://a.example/cb", "https://b.example/cb", false),
            ("https://localhost/cb", "https://localhost:1/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:43210/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:43210/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", true),
            ("http://[::1]:1/cb?a=b", "http://[::1]:2/cb?a=b", true),
            ("http://localhost/cb", "http://localhost:9/cb", true),
            ("http://localhost/cb", "http://127.0.0.1:9/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:9/cb2", false),
            ("http://127.0.0.1/cb", "https://127.0.0.1/cb", false),
            ("cursor://a.app/cb", "cursor://a.app/cb", true),
            ("cursor://a.app/cb", "cursor://a.app/cb?x", false),
            ("com.example.app:/cb", "com.example.app:/cb/x", false),
        ] {
            assert_eq!(
                uri(registered).admits(&uri(asked)),
                admitted,
                "{registered} {asked}"
            );
        }
    }

    #[test]
    fn a_person_is_shown_where_the_code_goes() {
        for (text, authority, local) in [
            (
                "https://a.example:8443/cb?x=1",
                "https://a.example:8443",
                false,
            ),
            ("https://localhost/cb", "https://localhost", true),
            ("http://127.0.0.1:43210/cb", "http://127.0.0.1:43210", true),
            ("http://[::1]/cb", "http://[::1]", true),
            ("com.example.app:/cb", "com.example.app:", true),
        ] {
            assert_eq!(
                (uri(text).authority(), uri(text).is_local()),
                (authority, local),
                "{text}"
            );
        }
    }

    #[test]
    fn an_answer_is_appended_encoded() {
        let answer = [("code", "a b&c"), ("state", "x=\"y\"\r\n")];
        let query = "code=a+b%26c&state=x%3D%22y%22%0D%0A";
        assert_eq!(
            uri("https://a.example/cb").with(&answer),
            format!("https://a.example/cb?{query}")
        );
        assert_eq!(
            uri("https://a.example/cb?x=1").with(&answer),
            format!("https://a.example/cb?x=1&{query}")
        );
        assert_eq!(
            uri("https://a.example/cb?").with(&answer),
            format!("https://a.example/cb?{query}")
        );
        assert_eq!(
            uri("com.example.app:/cb").with(&answer),
            format!("com.example.app:/cb?{query}")
        );
    }
}
