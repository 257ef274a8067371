//! The catalogue: every registered server's manifest, found by URI, alias or name.

use std::{collections::BTreeMap, sync::Arc};

use hallpass_core::{
    base::ids::{ServerName, ServerUri, ToolName},
    token::{RequestedDetail, manifest::Manifest, rights::NamePattern},
};

/// The manifests of all registered servers. Cheap to clone; build a new one when a server changes.
///
/// INVARIANT: a URI, whether canonical or alias, and a name stand for one server at most, so that
/// a grant or a request never means two. [`Catalogue::new`] refuses anything else.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    servers: Arc<BTreeMap<ServerUri, Arc<Manifest>>>,
    aliases: Arc<BTreeMap<ServerUri, ServerUri>>,
    names: Arc<BTreeMap<ServerName, ServerUri>>,
}

/// Two servers that claim the same URI or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{claimed}` stands for both `{first}` and `{second}`; give one of them another name or alias"
)]
pub struct CatalogueError {
    claimed: String,
    first: ServerUri,
    second: ServerUri,
}

impl Catalogue {
    /// The catalogue of these servers.
    ///
    /// # Errors
    ///
    /// Refuses two servers with the same URI, alias or name.
    pub fn new(manifests: impl IntoIterator<Item = Arc<Manifest>>) -> Result<Self, CatalogueError> {
        let mut servers = BTreeMap::new();
        let mut claims: BTreeMap<ServerUri, ServerUri> = BTreeMap::new();
        let mut names: BTreeMap<ServerName, ServerUri> = BTreeMap::new();
        for manifest in manifests {
            let server = &manifest.server;
            if servers.contains_key(server) {
                return Err(conflict(server.as_str(), server, server));
            }
            for uri in manifest
                .aliases
                .iter()
                .filter(|alias| *alias != server)
                .chain([server])
            {
                if let Some(first) = claims.insert(uri.clone(), server.clone()) {
                    return Err(conflict(uri.as_str(), &first, server));
                }
            }
            if let Some(first) = names.insert(manifest.name.clone(), server.clone()) {
                return Err(conflict(manifest.name.as_str(), &first, server));
            }
            servers.insert(server.clone(), manifest);
        }
        claims.retain(|uri, server| uri != server);
        Ok(Self {
            servers: Arc::new(servers),
            aliases: Arc::new(claims),
            names: Arc::new(names),
        })
    }

    /// The server with this canonical URI or alias.
    #[must_use]
    pub fn get(&self, uri: &ServerUri) -> Option<&Arc<Manifest>> {
        self.servers.get(self.aliases.get(uri).unwrap_or(uri))
    }

    /// The canonical URI of the server with this URI or alias.
    #[must_use]
    pub fn canonical(&self, uri: &ServerUri) -> Option<&ServerUri> {
        self.get(uri).map(|manifest| &manifest.server)
    }

    /// The server with this name.
    #[must_use]
    pub fn named(&self, name: &ServerName) -> Option<&Arc<Manifest>> {
        self.servers.get(self.names.get(name)?)
    }

    /// How many rights these details come to when their patterns are expanded: what a decision costs.
    #[must_use]
    pub fn count_rights(&self, details: &[RequestedDetail]) -> usize {
        let count = |detail: &RequestedDetail| {
            let Some(manifest) = self.get(&detail.server) else {
                return 0;
            };
            let matching = |patterns: &[NamePattern],
                            names: &mut dyn Iterator<Item = &ToolName>| {
                names
                    .filter(|name| patterns.iter().any(|pattern| pattern.matches(name)))
                    .count()
            };
            let tools = matching(&detail.tools, &mut manifest.tools.keys());
            let prompts = matching(&detail.prompts, &mut manifest.prompts.keys());
            tools + prompts + detail.resources.len()
        };
        details.iter().map(count).sum()
    }

    /// Every server, by canonical URI.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Manifest>> {
        self.servers.values()
    }
}

fn conflict(claimed: &str, first: &ServerUri, second: &ServerUri) -> CatalogueError {
    CatalogueError {
        claimed: claimed.to_owned(),
        first: first.clone(),
        second: second.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(uri: &str, name: &str, aliases: &[&str]) -> Arc<Manifest> {
        let mut manifest = Manifest::new(uri.parse().unwrap(), name.parse().unwrap());
        manifest.aliases = aliases.iter().map(|alias| alias.parse().unwrap()).collect();
        Arc::new(manifest)
    }

    #[test]
    fn a_server_is_found_by_uri_alias_and_name() {
        let catalogue =
            Catalogue::new([server("https://a.example", "a", &["https://b.example"])]).unwrap();
        for uri in ["https://a.example", "https://b.example"] {
            assert_eq!(
                catalogue
                    .get(&uri.parse().unwrap())
                    .unwrap()
                    .server
                    .as_str(),
                "https://a.example"
            );
        }
        assert!(catalogue.named(&"a".parse().unwrap()).is_some());
        assert!(
            catalogue
                .get(&"https://c.example".parse().unwrap())
                .is_none()
        );
    }

    #[test]
    fn nothing_stands_for_two_servers() {
        let a = || server("https://a.example", "a", &["https://x.example"]);
        assert!(Catalogue::new([a(), server("https://a.example", "b", &[])]).is_err());
        assert!(Catalogue::new([a(), server("https://b.example", "a", &[])]).is_err());
        assert!(
            Catalogue::new([
                a(),
                server("https://b.example", "b", &["https://x.example"])
            ])
            .is_err()
        );
        assert!(Catalogue::new([a(), server("https://x.example", "b", &[])]).is_err());
        assert!(Catalogue::new([server("https://x.example", "b", &[]), a()]).is_err());
        assert!(Catalogue::new([a(), server("https://b.example", "b", &[])]).is_ok());
    }
}
