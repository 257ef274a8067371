//! Narrowing: what a person allowed, and what a client wants of it. Pure; the answer never holds more.

use std::collections::BTreeSet;

use crate::policy::Catalogue;
use hallpass_core::{
    base::ids::{ServerUri, ToolName},
    token::{
        GrantedDetail, RequestedDetail, path::ResourceTree, rights::NamePattern, scope::Scope,
    },
};

/// What was asked for, with canonical servers and the exact names that were granted: a pattern would
/// grow with its server, and what was allowed must not.
pub(crate) fn to_exact(
    asked: &[RequestedDetail],
    granted: &[GrantedDetail],
    servers: &Catalogue,
) -> Vec<RequestedDetail> {
    let exact = asked.iter().filter_map(|detail| {
        let server = servers.canonical(&detail.server)?.clone();
        let here: Vec<_> = granted
            .iter()
            .filter(|granted| granted.server == server)
            .collect();
        let names = |patterns: &[NamePattern],
                     of: fn(&GrantedDetail) -> &Vec<ToolName>|
         -> BTreeSet<ToolName> {
            let granted = here.iter().flat_map(|detail| of(detail));
            granted
                .filter(|name| patterns.iter().any(|pattern| pattern.matches(name)))
                .cloned()
                .collect()
        };
        let tools = names(&detail.tools, |granted| &granted.tools);
        let prompts = names(&detail.prompts, |granted| &granted.prompts);
        let mut exact = detail.clone();
        exact.server = server;
        exact
            .resources
            .retain(|tree| here.iter().any(|granted| granted.resources.contains(tree)));
        keep(&mut exact, tools, prompts);
        (!exact.names_nothing()).then_some(exact)
    });
    exact.collect()
}

/// The part of `allowed` that is about `servers`; `None` when it says nothing about one of them.
pub(crate) fn at(
    allowed: &[RequestedDetail],
    servers: &BTreeSet<ServerUri>,
) -> Option<Vec<RequestedDetail>> {
    let knows = |server: &ServerUri| allowed.iter().any(|detail| detail.server == *server);
    let here = allowed
        .iter()
        .filter(|detail| servers.contains(&detail.server))
        .cloned();
    servers.iter().all(knows).then(|| here.collect())
}

/// The part of `allowed`, whose names are exact, that `wanted` names; `None` when some name, pattern or
/// subtree in `wanted` is about nothing of it.
pub(crate) fn to_wanted(
    allowed: &[RequestedDetail],
    wanted: &Scope,
) -> Option<Vec<RequestedDetail>> {
    let meets = |pattern: &NamePattern, of: fn(&RequestedDetail) -> &Vec<NamePattern>| {
        allowed
            .iter()
            .flat_map(of)
            .filter_map(NamePattern::exact)
            .any(|name| pattern.matches(&name))
    };
    let holds = |tree: &ResourceTree| {
        allowed
            .iter()
            .flat_map(|detail| &detail.resources)
            .any(|it| it.contains(tree))
    };
    let is_met = wanted
        .tools
        .iter()
        .all(|pattern| meets(pattern, |it| &it.tools))
        && wanted
            .prompts
            .iter()
            .all(|pattern| meets(pattern, |it| &it.prompts))
        && wanted.resources.iter().all(holds);
    let narrowed = allowed.iter().map(|detail| {
        let named = |names: &[NamePattern], patterns: &[NamePattern]| -> BTreeSet<ToolName> {
            let wants = |name: &ToolName| patterns.iter().any(|pattern| pattern.matches(name));
            names
                .iter()
                .filter_map(NamePattern::exact)
                .filter(wants)
                .collect()
        };
        let (tools, prompts) = (
            named(&detail.tools, &wanted.tools),
            named(&detail.prompts, &wanted.prompts),
        );
        let within = |tree: &&ResourceTree| {
            detail
                .resources
                .iter()
                .any(|allowed| allowed.contains(tree))
        };
        let mut narrowed = detail.clone();
        narrowed.resources = wanted.resources.iter().filter(within).cloned().collect();
        keep(&mut narrowed, tools, prompts);
        narrowed
    });
    is_met.then(|| narrowed.filter(|detail| !detail.names_nothing()).collect())
}

/// Leaves `detail` with these names, and with what it demands of them.
fn keep(detail: &mut RequestedDetail, tools: BTreeSet<ToolName>, prompts: BTreeSet<ToolName>) {
    detail.retain_demands(|tool| tools.contains(tool));
    detail.tools = tools.into_iter().map(NamePattern::from).collect();
    detail.prompts = prompts.into_iter().map(NamePattern::from).collect();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use hallpass_core::token::manifest::Manifest;

    fn details(details: Value) -> Vec<RequestedDetail> {
        serde_json::from_value(details).unwrap()
    }

    fn on(server: &str, members: Value) -> Value {
        let mut detail = json!({"type": "mcp", "server": server});
        detail
            .as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        detail
    }

    const A: &str = "https://a.example/mcp";
    const B: &str = "https://b.example/mcp";

    fn servers() -> Catalogue {
        let mut manifest = Manifest::new(A.parse().unwrap(), "a".parse().unwrap());
        manifest
            .aliases
            .insert("https://alias.example/mcp".parse().unwrap());
        Catalogue::new([Arc::new(manifest)]).unwrap()
    }

    #[test]
    fn patterns_become_the_names_that_were_granted() {
        let asked = details(json!([
            on(
                "https://alias.example/mcp",
                json!({"tools": ["read_*", "drop"], "prompts": ["*"],
                "resources": ["file:///a", "file:///b"], "closed_arguments": ["drop"], "read_only": true})
            ),
            on(B, json!({"tools": ["*"]})),
        ]));
        let granted: Vec<GrantedDetail> = serde_json::from_value(json!([
            on(
                A,
                json!({"tools": ["read_x", "write"], "resources": ["file:///b"]})
            ),
            on(B, json!({"tools": ["other"]})),
        ]))
        .unwrap();
        let exact = to_exact(&asked, &granted, &servers());
        let expected = on(
            A,
            json!({"tools": ["read_x"], "resources": ["file:///b"], "read_only": true}),
        );
        assert_eq!(exact, details(json!([expected])));
    }

    #[test]
    fn less_is_given_and_more_is_refused() {
        let allowed = details(json!([
            on(
                A,
                json!({"tools": ["read", "write"], "closed_arguments": ["write"], "resources": ["file:///a"]})
            ),
            on(B, json!({"tools": ["read"]})),
        ]));
        let narrow = |wanted: &str| to_wanted(&allowed, &wanted.parse().unwrap());
        let reads = details(json!([
            on(A, json!({"tools": ["read"]})),
            on(B, json!({"tools": ["read"]}))
        ]));
        assert_eq!(narrow("tool:re*"), Some(reads));
        let write = on(
            A,
            json!({"tools": ["write"], "closed_arguments": ["write"], "resources": ["file:///a/b"]}),
        );
        assert_eq!(
            narrow("tool:write resource:file:///a/b"),
            Some(details(json!([write])))
        );
        assert_eq!(narrow("tool:* resource:file:///a").as_ref(), Some(&allowed));
        for more in [
            "tool:read tool:drop",
            "tool:read prompt:*",
            "tool:read resource:file:///",
        ] {
            assert_eq!(narrow(more), None, "{more}");
        }
        let server = |uri: &str| uri.parse::<ServerUri>().unwrap();
        assert_eq!(
            at(&allowed, &[server(B)].into()),
            Some(allowed[1..].to_vec())
        );
        assert_eq!(
            at(
                &allowed,
                &[server(B), server("https://c.example/mcp")].into()
            ),
            None
        );
    }
}
