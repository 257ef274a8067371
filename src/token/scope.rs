//! Scopes: how rights are spelled where a client can send words only (RFC 6749 section 3.3).

use super::{path::resource_segments, rights::Kind};
use crate::base::ids::ToolName;

/// The scope of one right: `tool:NAME`, `prompt:NAME` or `resource:URI`.
///
/// `None` when the name cannot be one, so that nobody asks for what no broker grants.
#[must_use]
pub fn scope_token(kind: Kind, name: &str) -> Option<String> {
    let is_nameable = match kind {
        Kind::Tool | Kind::Prompt => name.parse::<ToolName>().is_ok(),
        Kind::Resource => name.len() <= MAX_SCOPE_BYTES && resource_segments(name).is_some(),
    };
    // RFC 6749 scope characters without `=`, so that no client's pattern finds a parameter in a name.
    let is_scope = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'='));
    (is_nameable && is_scope).then(|| format!("{kind}:{name}"))
}

/// A resource URI longer than this is no scope: some clients cap header lines, where challenges stand.
pub const MAX_SCOPE_BYTES: usize = 512;
