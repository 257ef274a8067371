//! What a token request asks for, whatever grant it comes with: `resource` (RFC 8707), `scope`
//! (RFC 6749), `authorization_details` (RFC 9396), become the broker's authorization details.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use crate::server::oauth::grammar::{Form, OAuthError};
use hallpass_broker::policy::Catalogue;
use hallpass_core::{
    base::{ids::ServerUri, json},
    token::{RequestedDetail, manifest::Manifest, scope::Scope},
};

/// What a token request asks for, well-formed; whether there are such servers is not known yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The servers that the token is for.
    pub resources: BTreeSet<ServerUri>,
    /// The rights in words.
    pub scope: Option<Scope>,
    /// The rights in full.
    pub details: Option<Vec<RequestedDetail>>,
}

impl Asked {
    /// Reads the three parameters.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidTarget`] for a resource that cannot be a server's URI, [`OAuthError::InvalidScope`] for a
    /// scope outside the vocabulary, [`OAuthError::InvalidAuthorizationDetails`] for details that are not a strict JSON
    /// array of known types and members.
    pub fn read(form: &Form) -> Result<Self, OAuthError> {
        let Self { resources, .. } = Self::read_resources(form)?;
        let scope = form
            .text("scope")
            .and_then(of_ours)
            .map(|text| text.parse().map_err(|_| OAuthError::InvalidScope))
            .transpose()?;
        let details = form.text("authorization_details").map(|text| {
            // SECURITY: read before the client is known.
            let details =
                json::parse_within(text.as_bytes(), MAX_DETAILS_BYTES, MAX_DETAILS_ENTRIES).ok();
            let details: Option<Vec<RequestedDetail>> =
                details.and_then(|details| serde_json::from_value(details).ok());
            details
                .filter(|details| !details.is_empty())
                .ok_or(OAuthError::InvalidAuthorizationDetails)
        });
        Ok(Self {
            resources,
            scope,
            details: details.transpose()?,
        })
    }

    /// Reads `resource` alone.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidTarget`] for a resource that cannot be a server's URI.
    pub fn read_resources(form: &Form) -> Result<Self, OAuthError> {
        let resources = form
            .all("resource")
            .map(server)
            .collect::<Option<_>>()
            .ok_or(OAuthError::InvalidTarget)?;
        Ok(Self {
            resources,
            ..Self::default()
        })
    }

    /// The authorization details to ask the policy for: `defaults` stand where neither scope nor details were
    /// sent, and never add to either.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidTarget`] for a server that is not in `catalogue`, for details at a server that `resource`
    /// does not name, and when nothing names a server; [`OAuthError::InvalidScope`] when nothing is left to ask for.
    pub fn resolve(
        &self,
        catalogue: &Catalogue,
        defaults: &[RequestedDetail],
    ) -> Result<Vec<RequestedDetail>, OAuthError> {
        let named = self.named(catalogue)?;
        let is_named = |server: &ServerUri| {
            named.is_empty()
                || catalogue
                    .canonical(server)
                    .is_some_and(|at| named.contains(at))
        };
        let details = match (&self.details, &self.scope) {
            (Some(details), scope) => {
                let mut asked = Vec::new();
                for detail in details {
                    let manifest = catalogue
                        .get(&detail.server)
                        .ok_or(OAuthError::InvalidTarget)?;
                    if !is_named(&detail.server) {
                        return Err(OAuthError::InvalidTarget);
                    }
                    asked.extend(match scope {
                        Some(scope) => scope.narrow(detail, manifest),
                        None => Some(detail.clone()),
                    });
                }
                asked
            }
            (None, Some(scope)) => {
                let by_default = defaults
                    .iter()
                    .filter_map(|detail| catalogue.canonical(&detail.server).cloned());
                let servers = if named.is_empty() {
                    by_default.collect()
                } else {
                    named
                };
                if servers.is_empty() {
                    return Err(OAuthError::InvalidTarget);
                }
                servers.iter().map(|server| scope.at(server)).collect()
            }
            (None, None) if defaults.is_empty() => return Err(OAuthError::InvalidScope),
            (None, None) => {
                let here: Vec<_> = defaults
                    .iter()
                    .filter(|detail| is_named(&detail.server))
                    .cloned()
                    .collect();
                return if here.is_empty() {
                    Err(OAuthError::InvalidTarget)
                } else {
                    Ok(here)
                };
            }
        };
        if details.is_empty() {
            Err(OAuthError::InvalidScope)
        } else {
            Ok(details)
        }
    }

    /// The servers that `resource` names, as `catalogue` spells them.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidTarget`] for one that is not in `catalogue`.
    pub fn named(&self, catalogue: &Catalogue) -> Result<BTreeSet<ServerUri>, OAuthError> {
        let named = self
            .resources
            .iter()
            .map(|server| catalogue.canonical(server).cloned());
        named
            .collect::<Option<_>>()
            .ok_or(OAuthError::InvalidTarget)
    }

    /// Whether a scope was sent, so that a refusal of everything is one of the scope.
    #[must_use]
    pub const fn names_scope(&self) -> bool {
        self.scope.is_some()
    }
}

/// A scope without the words of OpenID Connect, which many clients send whatever is advertised; `None` when nothing is
/// left. The answer says which scope was given (RFC 6749 section 3.3).
fn of_ours(scope: &str) -> Option<String> {
    let words = scope.split(' ').filter(|word| !word.is_empty());
    let ours: Vec<_> = words.filter(|word| !OF_OPENID.contains(word)).collect();
    (!ours.is_empty()).then(|| ours.join(" "))
}

/// OpenID Connect Core 1.0 sections 5.4 and 11.
const OF_OPENID: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "offline_access",
];

/// The server that `resource` names, as outsiders spell it: stock clients write the root of a host with a slash, as
/// URL libraries do. `None` for what can be no server's URI.
#[must_use]
pub fn server(resource: &str) -> Option<ServerUri> {
    let resource = &plainly_spelled(resource);
    let of_host = resource
        .strip_suffix('/')
        .filter(|rest| rest.matches('/').count() == SLASHES_OF_AN_ORIGIN);
    of_host.unwrap_or(resource).parse().ok()
}

/// The URI with its scheme and host in lower case and without the default port, which say the same (RFC 3986 section
/// 6.2.3). The path stays as it is.
fn plainly_spelled(uri: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.into();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return uri.into(),
    };
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    format!("{scheme}://{authority}{path}").into()
}

/// The server of `catalogue` that `text` names: by its URI as outsiders spell it, or by its short name.
#[must_use]
pub fn known<'c>(catalogue: &'c Catalogue, text: &str) -> Option<&'c Arc<Manifest>> {
    server(text).map_or_else(
        || catalogue.named(&text.parse().ok()?),
        |server| catalogue.get(&server),
    )
}

/// Some hundred rights with their constraints.
const MAX_DETAILS_ENTRIES: usize = 2_000;
/// Details are at most this long, in bytes.
const MAX_DETAILS_BYTES: usize = 64 * 1024;

const SLASHES_OF_AN_ORIGIN: usize = 2;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn catalogue() -> Catalogue {
        let manifest = |server: &str, name: &str| {
            let manifest =
                json!({"server": server, "name": name, "tools": {"read": {}, "write": {}}});
            Arc::new(serde_json::from_value(manifest).unwrap())
        };
        Catalogue::new([
            manifest("https://a.example/mcp", "a"),
            manifest("https://b.example", "b"),
        ])
        .unwrap()
    }

    fn detail(server: &str, tool: &str) -> RequestedDetail {
        serde_json::from_value(json!({"type": "mcp", "server": server, "tools": [tool]})).unwrap()
    }

    fn ask(body: &str, defaults: &[RequestedDetail]) -> Result<Vec<RequestedDetail>, OAuthError> {
        Asked::read(&Form::parse(body.as_bytes()).unwrap())?.resolve(&catalogue(), defaults)
    }

    const A: &str = "https://a.example/mcp";
    const B: &str = "https://b.example";

    #[test]
    fn a_scope_is_asked_for_where_the_resource_says_and_else_where_the_defaults_are() {
        let defaults = [detail(A, "write")];
        assert_eq!(
            ask(&format!("resource={A}&scope=tool:read"), &[]),
            Ok(vec![detail(A, "read")])
        );
        assert_eq!(
            ask("resource=https://b.example/&scope=tool:read", &defaults),
            Ok(vec![detail(B, "read")])
        );
        assert_eq!(
            ask("scope=tool:read", &defaults),
            Ok(vec![detail(A, "read")])
        );
        let both = ask(
            &format!("resource={A}&resource={B}&scope=tool:read"),
            &defaults,
        );
        assert_eq!(both, Ok(vec![detail(A, "read"), detail(B, "read")]));
        assert_eq!(ask("scope=tool:read", &[]), Err(OAuthError::InvalidTarget));
        for unknown in [
            "https://c.example",
            "https://a.example",
            "nonsense",
            "https://a.example/mcp/",
            "https://a.example/mcp%23x",
        ] {
            let asked = ask(
                &format!("resource={unknown}&resource={A}&scope=tool:read"),
                &defaults,
            );
            assert_eq!(asked, Err(OAuthError::InvalidTarget), "{unknown}");
        }
    }

    #[test]
    fn a_server_is_known_as_outsiders_spell_it_and_by_its_name() {
        let catalogue = catalogue();
        let known =
            |text: &str| known(&catalogue, text).map(|manifest| manifest.server.to_string());
        for text in [
            B,
            "https://b.example/",
            "b",
            "HTTPS://B.Example",
            "https://b.example:443/",
        ] {
            assert_eq!(known(text).as_deref(), Some(B), "{text}");
        }
        for text in [
            "https://c.example/",
            "https://a.example/mcp/",
            "c",
            "",
            "https://b.example//",
        ] {
            assert_eq!(known(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_is_taken_to_the_letter_and_other_ports_are_others() {
        let server = |text: &str| server(text).map(|uri| uri.to_string());
        assert_eq!(server("HTTPS://A.example:443/mcp").as_deref(), Some(A));
        for other in [
            "https://a.example/MCP",
            "https://a.example:8443/mcp",
            "https://a.example:80/mcp",
            "http://a.example:443/mcp",
        ] {
            assert_ne!(server(other).as_deref(), Some(A), "{other}");
        }
    }

    #[test]
    fn words_of_openid_connect_ask_for_nothing() {
        let defaults = [detail(A, "write")];
        assert_eq!(
            ask("scope=openid+tool:read+offline_access", &defaults),
            Ok(vec![detail(A, "read")])
        );
        assert_eq!(
            ask("scope=openid+profile++email", &defaults),
            Ok(defaults.to_vec())
        );
        for unknown in [
            "scope=openid+admin",
            "scope=tools:read",
            "scope=openid+tool:",
        ] {
            assert_eq!(
                ask(unknown, &defaults),
                Err(OAuthError::InvalidScope),
                "{unknown}"
            );
        }
    }

    #[test]
    fn without_a_scope_the_defaults_stand_and_no_more() {
        let defaults = [detail(A, "read"), detail(B, "write")];
        assert_eq!(ask("", &defaults), Ok(defaults.to_vec()));
        assert_eq!(
            ask(&format!("resource={B}"), &defaults),
            Ok(vec![detail(B, "write")])
        );
        assert_eq!(
            ask(&format!("resource={B}"), &[detail(A, "read")]),
            Err(OAuthError::InvalidTarget)
        );
        assert_eq!(
            ask(&format!("resource={A}"), &[]),
            Err(OAuthError::InvalidScope)
        );
        assert_eq!(ask("", &[]), Err(OAuthError::InvalidScope));
    }

    #[test]
    fn details_are_strict_and_a_scope_beside_them_narrows() {
        let details = |text: &str| {
            format!(
                "authorization_details={}",
                text.replace('"', "%22").replace('&', "%26")
            )
        };
        let one = format!(r#"[{{"type":"mcp","server":"{A}","tools":["read","write"]}}]"#);
        let asked = ask(
            &format!("{}&scope=tool:read", details(&one)),
            &[detail(B, "write")],
        );
        assert_eq!(asked, Ok(vec![detail(A, "read")]));
        assert_eq!(
            ask(&format!("{}&scope=tool:other", details(&one)), &[]),
            Err(OAuthError::InvalidScope)
        );
        assert_eq!(
            ask(&format!("{}&resource={B}", details(&one)), &[]),
            Err(OAuthError::InvalidTarget)
        );
        let foreign = one.replace("a.example", "c.example");
        assert_eq!(ask(&details(&foreign), &[]), Err(OAuthError::InvalidTarget));
        for bad in [
            "[]",
            "{}",
            "null",
            "[1]",
            r#"[{"type":"http","server":"https://a.example/mcp","tools":["read"]}]"#,
            r#"[{"type":"mcp","server":"https://a.example/mcp","tools":["read"],"extra":1}]"#,
            r#"[{"type":"mcp","type":"mcp","server":"https://a.example/mcp","tools":["read"]}]"#,
            r#"[{"server":"https://a.example/mcp","tools":["read"]}]"#,
        ] {
            assert_eq!(
                ask(&details(bad), &[]),
                Err(OAuthError::InvalidAuthorizationDetails),
                "{bad}"
            );
        }
    }
}
