//! Grants against the registered servers: what contradicts a manifest, and what merely does nothing yet.

use std::collections::BTreeMap;

use crate::policy::{
    Catalogue, Finding, ServerSelector,
    fit::{arguments_are_unknown, constraint_fits, tools_given},
    grant_file::{PlacedGrant, Spot},
};
use hallpass_core::{base::ids::GrantId, token::manifest::Manifest};

/// What was found: errors stop the start and refuse a reload, warnings do not.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

pub(super) fn check_grants(grants: &[PlacedGrant], catalogue: &Catalogue) -> Findings {
    let mut findings = Findings::default();
    let mut ids: BTreeMap<&GrantId, &PlacedGrant> = BTreeMap::new();
    for placed in grants {
        if let Some(first) = ids.get(&placed.grant.id) {
            let reason = format!("the same id stands at {}:{}", first.file, first.line);
            findings.errors.push(placed.finding(&Spot::Names, reason));
        } else {
            ids.insert(&placed.grant.id, placed);
        }
        if let Some(manifest) = registered(placed, catalogue, &mut findings.warnings) {
            check_names(placed, manifest, &mut findings.warnings);
            check_demands(placed, manifest, &mut findings.errors);
            check_pins(placed, manifest, &mut findings);
        }
    }
    findings
}

fn registered<'c>(
    placed: &PlacedGrant,
    catalogue: &'c Catalogue,
    warnings: &mut Vec<Finding>,
) -> Option<&'c Manifest> {
    let selector = &placed.grant.server;
    let found = match selector {
        ServerSelector::Uri(uri) => catalogue.get(uri),
        ServerSelector::Name(name) => catalogue.named(name),
    };
    let reason = match (found, selector) {
        (None, _) => {
            format!("server `{selector}` is not registered; the grant does nothing until it is")
        }
        (Some(manifest), ServerSelector::Uri(uri)) if manifest.server != *uri => {
            format!(
                "`{uri}` is an alias, so the grant does nothing; write `{}`",
                manifest.server
            )
        }
        (Some(manifest), _) => return Some(manifest),
    };
    warnings.push(placed.finding(&Spot::Server, reason));
    None
}

fn check_names(placed: &PlacedGrant, manifest: &Manifest, warnings: &mut Vec<Finding>) {
    let mut warn = |reason: String| warnings.push(placed.finding(&Spot::Names, reason));
    for pattern in &placed.grant.tools {
        if !manifest.tools.keys().any(|name| pattern.matches(name)) {
            warn(format!(
                "no tool of `{}` matches `{pattern}`",
                manifest.server
            ));
        }
    }
    for pattern in &placed.grant.prompts {
        if !manifest.prompts.keys().any(|name| pattern.matches(name)) {
            warn(format!(
                "no prompt of `{}` matches `{pattern}`",
                manifest.server
            ));
        }
    }
    for tree in &placed.grant.resources {
        if !manifest
            .resources
            .iter()
            .any(|root| root.uri.contains(tree) || tree.contains(&root.uri))
        {
            warn(format!(
                "`{tree}` meets no registered root of `{}`",
                manifest.server
            ));
        }
    }
    let mut given = tools_given(placed, manifest).peekable();
    if placed.grant.read_only && given.peek().is_some() && !given.any(|(_, tool)| tool.read_only) {
        warn("it is read-only, and none of its tools is".to_owned());
    }
}

fn check_demands(placed: &PlacedGrant, manifest: &Manifest, errors: &mut Vec<Finding>) {
    for (pattern, arguments) in &placed.grant.constraints {
        let tools: Vec<_> = tools_given(placed, manifest)
            .filter(|(name, _)| pattern.matches(name))
            .collect();
        if tools.is_empty() {
            let reason = format!(
                "it constrains `{pattern}`, and gives no such tool of `{}`",
                manifest.server
            );
            errors.push(placed.finding(&Spot::Tool(pattern.clone()), reason));
        }
        for (pointer, constraint) in arguments {
            for (name, tool) in &tools {
                if let Err(reason) = constraint_fits(tool, pointer, constraint) {
                    let spot = Spot::Constraint(pattern.clone(), pointer.clone());
                    errors.push(placed.finding(
                        &spot,
                        format!("tool `{name}` of `{}`: {reason}", manifest.server),
                    ));
                }
            }
        }
    }
    for pattern in &placed.grant.closed_arguments {
        if !tools_given(placed, manifest).any(|(name, _)| pattern.matches(name)) {
            let reason = format!(
                "it closes the arguments of `{pattern}`, and gives no such tool of `{}`",
                manifest.server
            );
            errors.push(placed.finding(&Spot::Closed(pattern.clone()), reason));
        }
    }
}

fn check_pins(placed: &PlacedGrant, manifest: &Manifest, findings: &mut Findings) {
    let Some(first) = placed.grant.pin.first() else {
        return;
    };
    let unknown: Vec<_> = tools_given(placed, manifest)
        .filter(|(_, tool)| arguments_are_unknown(tool))
        .map(|(name, _)| name)
        .collect();
    for name in &unknown {
        let reason = format!(
            "the manifest of `{}` does not list the arguments of `{name}`, so it cannot be pinned and is refused",
            manifest.server
        );
        findings
            .warnings
            .push(placed.finding(&Spot::Pin(first.clone()), reason));
    }
    let some_are_known =
        tools_given(placed, manifest).any(|(_, tool)| !arguments_are_unknown(tool));
    for pointer in placed
        .grant
        .pin
        .iter()
        .filter(|_| some_are_known && unknown.is_empty())
    {
        if !tools_given(placed, manifest).any(|(_, tool)| tool.arguments.contains(pointer)) {
            let reason = format!(
                "none of its tools on `{}` takes `{pointer}`",
                manifest.server
            );
            findings
                .errors
                .push(placed.finding(&Spot::Pin(pointer.clone()), reason));
        }
    }
}
