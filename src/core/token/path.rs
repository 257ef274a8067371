//! Paths, hosts and pointers in canonical form, or not at all.
//!
//! A constraint must compare the path that the server will open. A spelling that two programs could
//! read differently therefore has no canonical form, and text without one is refused.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization as _;

use crate::{
    base::{
        ids::IdError,
        text::is_unsafe_char,
        uri::{Authority, Uri, is_canonical_host},
    },
    token::limits::MAX_SEGMENTS,
};

/// A JSON pointer (RFC 6901) to an argument: `/amount`, `/customer/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer(Box<str>);

impl Pointer {
    /// The pointer's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This pointer and its ancestors: `/a/b` gives `/a` and `/a/b`.
    pub fn with_ancestors(&self) -> impl Iterator<Item = &str> {
        let ends = self
            .0
            .match_indices('/')
            .map(|(at, _)| at)
            .filter(|at| *at > 0)
            .chain([self.0.len()]);
        ends.filter_map(|end| self.0.get(..end))
    }

    /// The value it points to in `arguments`.
    #[must_use]
    pub fn find<'v>(&self, arguments: &'v Value) -> Option<&'v Value> {
        arguments.pointer(&self.0)
    }
}

impl FromStr for Pointer {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let escapes_are_valid = text
            .split('~')
            .skip(1)
            .all(|after| after.starts_with('0') || after.starts_with('1'));
        let valid = text.starts_with('/')
            && text.len() <= MAX_POINTER_BYTES
            && escapes_are_valid
            && !text.chars().any(char::is_control);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(IdError::new(
                "JSON pointer",
                text,
                "a pointer such as /amount (RFC 6901)",
            ))
        }
    }
}

impl TryFrom<String> for Pointer {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.0.into()
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Appends one member name or index to a pointer's text, escaped.
pub(super) fn push_pointer_segment(pointer: &mut String, segment: &str) {
    pointer.push('/');
    for character in segment.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// The segments of an absolute path in canonical form: `/srv/data` gives `srv`, `data`.
///
/// `None` for an ambiguous path: not absolute; an empty, `.`, `..` or dots-only segment, also one
/// that is so before a `;`; a blank at either end of a segment; a control character, backslash or `%`; longer than 4096 bytes or 128 segments. `/` itself is the empty list.
#[must_use]
pub fn path_segments(path: &str) -> Option<Vec<String>> {
    if path.len() > MAX_PATH_BYTES {
        return None;
    }
    let inside = path.strip_prefix('/')?;
    if inside.is_empty() {
        return Some(Vec::new());
    }
    if inside.split('/').count() > MAX_SEGMENTS {
        return None;
    }
    inside
        .split('/')
        .map(|segment| is_plain_segment(segment).then(|| segment.to_owned()))
        .collect()
}

/// The segments of a resource URI: scheme, authority, then the path's segments.
///
/// `None` for an ambiguous path, as in [`path_segments`], or a query, a fragment, a user, an
/// upper-case scheme or host.
#[must_use]
pub fn resource_segments(uri: &str) -> Option<Vec<String>> {
    if uri.len() > MAX_PATH_BYTES {
        return None;
    }
    let uri = Uri::split(uri)?;
    let authority = uri.authority?;
    // A host in brackets is refused: no tree is rooted at an IPv6 address.
    let has_named_host =
        |authority: Authority<'_>| authority.is_canonical() && is_canonical_host(authority.host);
    let is_canonical = uri.has_canonical_scheme()
        && uri.ends_with_path()
        && (authority.is_empty() || Authority::split(authority).is_some_and(has_named_host));
    if !is_canonical {
        return None;
    }
    let mut segments = vec![uri.scheme.to_owned(), authority.to_owned()];
    if !uri.path.is_empty() {
        segments.extend(path_segments(uri.path)?);
    }
    Some(segments)
}

/// The host of a URL argument in canonical form.
///
/// `None` for an ambiguous URL: no `scheme://`, a user, a host that is not lower-case ASCII
/// (internationalised names in A-label form), a trailing dot, a backslash, blank or control
/// character anywhere.
#[must_use]
pub fn url_host(url: &str) -> Option<&str> {
    let doubtful = url.len() > MAX_PATH_BYTES
        || url.contains(['\\', '@', '['])
        || url.chars().any(|c| c.is_control() || c.is_whitespace());
    if doubtful {
        return None;
    }
    let uri = Uri::split(url)?;
    if !matches!(uri.scheme, "http" | "https") {
        return None;
    }
    let authority = Authority::split(uri.authority?)?;
    let port_is_valid = authority.port.is_none() || authority.port_number().is_some();
    (port_is_valid && is_canonical_host(authority.host)).then_some(authority.host)
}

/// A resource subtree: every resource whose URI lies at or under it, by whole segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceTree {
    uri: Box<str>,
    segments: Vec<String>,
}

impl ResourceTree {
    /// The subtree's URI, without a trailing slash after a path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// Scheme, authority, then the path's segments.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// Whether `other` lies at or under this subtree.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.segments.starts_with(&self.segments)
    }

    /// The intersection of `ours` and `theirs`: of each pair where one contains the other, the inner.
    #[must_use]
    pub fn intersection(ours: &[Self], theirs: &[Self]) -> Vec<Self> {
        let mut found = BTreeSet::new();
        for (our, their) in ours
            .iter()
            .flat_map(|our| theirs.iter().map(move |their| (our, their)))
        {
            if their.contains(our) {
                found.insert(our.clone());
            } else if our.contains(their) {
                found.insert(their.clone());
            }
        }
        found.into_iter().collect()
    }
}

impl FromStr for ResourceTree {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // One trailing slash marks a subtree for people; it is not part of the canonical form.
        let trimmed = text
            .strip_suffix('/')
            .filter(|trimmed| !trimmed.ends_with('/'))
            .unwrap_or(text);
        let segments = resource_segments(trimmed)
            .or_else(|| resource_segments(text))
            .ok_or_else(|| {
                IdError::new(
                    "resource subtree",
                    text,
                    "a canonical URI such as file:///srv/data/",
                )
            })?;
        let mut uri = format!(
            "{}://{}",
            segments.first().map_or("", String::as_str),
            segments.get(1).map_or("", String::as_str)
        );
        for segment in segments.iter().skip(2) {
            uri.push('/');
            uri.push_str(segment);
        }
        Ok(Self {
            uri: uri.into(),
            segments,
        })
    }
}

impl TryFrom<String> for ResourceTree {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<ResourceTree> for String {
    fn from(tree: ResourceTree) -> Self {
        tree.uri.into()
    }
}

impl fmt::Display for ResourceTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

/// No blanks at either end, which URL parsers and other programs trim; a character besides dots and blanks before a `;`,
/// where some servers truncate; and nothing that looks like another segment, or like several.
fn is_plain_segment(segment: &str) -> bool {
    is_plain_as_written(segment) && (segment.is_ascii() || is_plain_when_normalised(segment))
}

/// SECURITY: file systems and servers normalise names (Unicode NFKC, the "best fit" of Windows), and drop what is not
/// seen: `．．` becomes `..`, and `..／etc` two segments.
fn is_plain_when_normalised(segment: &str) -> bool {
    let normalised: String = segment
        .nfkc()
        .filter(|character| !is_unsafe_char(*character))
        .collect();
    !normalised.contains('/') && !segment.contains(LIKE_SLASHES) && is_plain_as_written(&normalised)
}

fn is_plain_as_written(segment: &str) -> bool {
    let is_blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    let name = segment.split(';').next().unwrap_or_default();
    !name.chars().all(|c| c == '.' || is_blank(c))
        && !segment.starts_with(is_blank)
        && !segment.ends_with(is_blank)
        && !segment
            .chars()
            .any(|c| c.is_control() || matches!(c, '\\' | '%'))
}

/// Slashes and backslashes of mathematics, which NFKC leaves and best-fit tables turn into the plain ones.
const LIKE_SLASHES: [char; 5] = ['\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}'];

const MAX_POINTER_BYTES: usize = 256;
const MAX_PATH_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubtful_paths_have_no_form() {
        assert_eq!(
            path_segments("/srv/data/a.txt").unwrap(),
            ["srv", "data", "a.txt"]
        );
        assert_eq!(
            path_segments("/srv/a b;c/.d").unwrap(),
            ["srv", "a b;c", ".d"]
        );
        assert_eq!(path_segments("/").unwrap(), Vec::<String>::new());
        for bad in [
            "",
            "srv",
            "/srv/",
            "//srv",
            "/srv//x",
            "/srv/./x",
            "/srv/../x",
            "/srv/...",
            "/srv/%2e%2e/x",
            "/srv\\x",
            "/srv/\0",
            "/srv/\n",
            "/srv/.. ",
            "/srv/ ..",
            "/srv/. .",
            "/srv/..\u{a0}",
            "/srv/..\u{3000}/x",
            "/srv/..\u{feff}",
            "/srv/x ",
            "/srv/..;a/x",
            "/srv/;a/x",
            "/srv/..;",
            // What NFKC turns into dots, slashes and backslashes.
            "/srv/\u{ff0e}\u{ff0e}/x",
            "/srv/\u{2025}/x",
            "/srv/\u{2024}\u{2024}/x",
            "/srv/\u{fe52}./x",
            "/srv/\u{fe30}",
            "/srv/..\u{ff0f}etc",
            "/srv/a\u{ff0f}b",
            "/srv/a\u{2100}",
            "/srv/a\u{ff3c}b",
            "/srv/a\u{fe68}b",
            "/srv/\u{ff05}2e",
            "/srv/.\u{200b}.",
            "/srv/\u{2060}",
            "/srv/a\u{2044}b",
            "/srv/a\u{2215}b",
            "/srv/a\u{29f5}b",
        ] {
            assert_eq!(path_segments(bad), None, "{bad:?}");
        }
    }

    #[cfg(feature = "issuer")]
    #[test]
    fn uris_are_read_as_the_vectors_of_uris_say() {
        use serde_json::json;

        for row in crate::base::uri::tests::Row::all() {
            let text = &row.text;
            row.compare("resource", resource_segments(text).map(|all| json!(all)));
            let tree = text.parse::<ResourceTree>().ok();
            row.compare("tree", tree.map(|tree| json!(tree.as_str())));
            row.compare("argument", url_host(text).map(|host| json!(host)));
        }
    }

    #[test]
    fn a_path_of_very_many_segments_has_no_form() {
        let path = |segments: usize| "/a".repeat(segments);
        assert!(path_segments(&path(MAX_SEGMENTS)).is_some());
        assert_eq!(path_segments(&path(MAX_SEGMENTS + 1)), None);
        assert_eq!(
            resource_segments(&format!("file://{}", path(MAX_SEGMENTS + 1))),
            None
        );
    }

    #[test]
    fn doubtful_hosts_have_no_form() {
        assert_eq!(
            url_host("https://api.example.com/x?y#z"),
            Some("api.example.com")
        );
        assert_eq!(
            url_host("https://api.example.com:8443"),
            Some("api.example.com")
        );
        for bad in [
            "api.example.com",
            "https://API.example.com",
            "https://api.example.com.",
            "https://u@api.example.com",
            "https:\\\\api.example.com",
            "https://api.example.com\\@evil.example",
            "https://",
            "javascript://api.example.com",
            "https://api.example.com:x/",
            "https://bücher.example",
            "https://[::1]/",
            "https:// api.example.com",
            "https://0x7f.1/",
        ] {
            assert_eq!(url_host(bad), None, "{bad}");
        }
    }

    #[test]
    fn subtrees_contain_whole_segments() {
        let tree: ResourceTree = "file:///srv/data/".parse().unwrap();
        assert_eq!(tree.as_str(), "file:///srv/data");
        assert_eq!(tree.segments(), ["file", "", "srv", "data"]);
        assert!(tree.contains(&"file:///srv/data/x".parse().unwrap()));
        assert!(!tree.contains(&"file:///srv/database".parse().unwrap()));
        for bad in [
            "/srv/data",
            "file:///srv/../x",
            "FILE:///srv",
            "file:///srv//",
            "https://u@h/x",
            "https://h/x?y",
        ] {
            assert!(bad.parse::<ResourceTree>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pointer_knows_its_ancestors() {
        let pointer: Pointer = "/a/b~1c/d".parse().unwrap();
        assert_eq!(
            pointer.with_ancestors().collect::<Vec<_>>(),
            ["/a", "/a/b~1c", "/a/b~1c/d"]
        );
        assert!("a".parse::<Pointer>().is_err());
        assert!("/a~2".parse::<Pointer>().is_err());
        assert!("".parse::<Pointer>().is_err());
    }
}
