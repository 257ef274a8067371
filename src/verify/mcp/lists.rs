//! Filtered lists: a holder sees only entries for which a call could be cleared.
//!
//! This helps the model behind the client and is not protection: every call is cleared, whether its
//! name is listed or hidden. So the cost of filtering one list is bounded, and entries beyond the
//! bound are hidden.

use std::{cell::Cell, time::Duration};

use serde_json::{Map, Value};

use crate::mcp::{Change, Exchange, Purpose, Rejection, ResponseTransform, ServerMessage};
use hallpass_core::token::{NamedRight, path::resource_segments, rights::Kind};

/// Hides the tools, prompts, resources and templates of a list that the pass does not allow.
///
/// It also removes the capability `tasks` from the answers to `initialize` and `server/discover`: no pass allows the
/// methods of tasks.
///
/// It filters the responses to lists, and every message of a stream that may repeat such a response.
/// A filtered list is marked as private to its client, and stale after ten seconds.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ListFilter;

impl ListFilter {
    /// The filter.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl ResponseTransform for ListFilter {
    fn concerns(&self, exchange: &Exchange) -> bool {
        exchange
            .purpose()
            .is_none_or(|purpose| *purpose == Purpose::Lists)
            || tells_capabilities(exchange)
    }

    fn transform(
        &self,
        exchange: &Exchange,
        message: &mut ServerMessage,
    ) -> Result<Change, Rejection> {
        let Some(result) = message.result_mut() else {
            return Ok(Change::Unchanged);
        };
        if exchange.purpose().is_none() || tells_capabilities(exchange) {
            let has_tasks = remove_tasks(result);
            if tells_capabilities(exchange) || (has_tasks && !is_list(result)) {
                return Ok(if has_tasks {
                    Change::Changed
                } else {
                    Change::Unchanged
                });
            }
        }
        if !filter(exchange, result)? {
            return Ok(Change::Unchanged);
        }
        keep_private(exchange, result);
        Ok(Change::Changed)
    }

    /// SECURITY: a list that cannot be read is not sent unfiltered.
    fn unreadable(&self) -> Rejection {
        unfilterable()
    }
}

/// Whether the response tells what the server offers.
fn tells_capabilities(exchange: &Exchange) -> bool {
    exchange.purpose() == Some(&Purpose::Initializes)
        || exchange.method() == Some("server/discover")
}

/// Removes the capability `tasks`, whose methods no pass allows, from what a server tells of itself.
fn remove_tasks(result: &mut Map<String, Value>) -> bool {
    let Some(capabilities) = result
        .get_mut("capabilities")
        .and_then(Value::as_object_mut)
    else {
        return false;
    };
    let extension = capabilities
        .get_mut("extensions")
        .and_then(Value::as_object_mut)
        .and_then(|extensions| extensions.remove(TASKS_EXTENSION));
    capabilities.remove("tasks").is_some() || extension.is_some()
}

fn is_list(result: &Map<String, Value>) -> bool {
    LISTS.iter().any(|(member, _)| result.contains_key(*member))
}

/// Tasks since MCP 2026-07-28.
const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

fn unfilterable() -> Rejection {
    Rejection::internal("the server's list cannot be filtered, so it is not sent")
}

/// Filters every list in a result. Returns whether it had one.
fn filter(exchange: &Exchange, result: &mut Map<String, Value>) -> Result<bool, Rejection> {
    let mut is_list = false;
    let viewing = Viewing {
        exchange,
        left: Cell::new(MAX_LIST_COST),
    };
    for (member, shows) in LISTS {
        let Some(list) = result.get_mut(*member) else {
            continue;
        };
        list.as_array_mut()
            .ok_or_else(unfilterable)?
            .retain(|entry| shows(&viewing, entry));
        is_list = true;
    }
    Ok(is_list)
}

/// Marks a list as private to one holder and soon stale, so that it is not cached for others.
fn keep_private(exchange: &Exchange, result: &mut Map<String, Value>) {
    if let Some(scope) = result.get_mut("cacheScope") {
        *scope = "private".into();
    }
    if let Some(ttl) = result.get_mut("ttlMs") {
        let longest = exchange.remaining().unwrap_or_default().min(MAX_LIST_TTL);
        let longest = u64::try_from(longest.as_millis()).unwrap_or(0);
        *ttl = ttl.as_u64().unwrap_or(0).min(longest).into();
    }
}

/// One message that is being filtered, and the remaining cost budget.
struct Viewing<'e> {
    exchange: &'e Exchange,
    left: Cell<usize>,
}

impl Viewing<'_> {
    fn shows(&self, kind: Kind, name: Option<&Value>) -> bool {
        name.and_then(Value::as_str)
            .is_some_and(|name| self.may_show(kind, name))
    }

    fn may_show(&self, kind: Kind, name: &str) -> bool {
        let (verifier, pass) = (self.exchange.verifier(), self.exchange.pass());
        self.spend(NAMING)
            && verifier.names(pass, kind, name)
            && self.spend(pass.verified().cost().saturating_add(ASKING))
            && verifier.may_show(pass, kind, name)
    }

    fn spend(&self, cost: usize) -> bool {
        let left = self.left.get().checked_sub(cost);
        self.left.set(left.unwrap_or(0));
        left.is_some()
    }

    /// Whether some resource that matches the template could be read. Decided by its fixed prefix:
    /// either the prefix lies in a readable subtree, or a subtree of the pass lies under the prefix.
    fn shows_template(&self, template: Option<&Value>) -> bool {
        let Some(template) = template.and_then(Value::as_str) else {
            return false;
        };
        let fixed = template.split('{').next().unwrap_or_default();
        let directory = fixed
            .rfind('/')
            .and_then(|end| fixed.get(..end))
            .unwrap_or_default();
        let Some(beginning) = resource_segments(directory) else {
            return false;
        };
        let (verifier, pass) = (self.exchange.verifier(), self.exchange.pass());
        let inside = pass
            .verified()
            .claims()
            .rights
            .iter()
            .filter_map(|right| match right {
                NamedRight::Subtree { server, segments } if server == verifier.server() => {
                    Some(segments)
                }
                _ => None,
            });
        self.may_show(Kind::Resource, directory)
            || inside
                .filter(|segments| segments.starts_with(&beginning))
                .filter_map(|segments| uri_of(segments))
                .any(|uri| self.may_show(Kind::Resource, &uri))
    }
}

fn uri_of(segments: &[String]) -> Option<String> {
    let (scheme, rest) = segments.split_first()?;
    Some(format!("{scheme}://{}", rest.join("/")))
}

type Shows = fn(&Viewing<'_>, &Value) -> bool;

/// The list members of a result, with the filter for the entries of each.
const LISTS: &[(&str, Shows)] = &[
    ("tools", |viewing, entry| {
        viewing.shows(Kind::Tool, entry.get("name"))
    }),
    ("prompts", |viewing, entry| {
        viewing.shows(Kind::Prompt, entry.get("name"))
    }),
    ("resources", |viewing, entry| {
        viewing.shows(Kind::Resource, entry.get("uri"))
    }),
    ("resourceTemplates", |viewing, entry| {
        viewing.shows_template(entry.get("uriTemplate"))
    }),
];

/// A filtered list is stale at the latest after this: the pass may have been narrowed or revoked.
const MAX_LIST_TTL: Duration = Duration::from_secs(10);

/// The cost budget for all entries of a message, in the profile's units: ten thousand of
/// a usual pass, some eighty of one that is as slow as the profile allows.
const MAX_LIST_COST: usize = 8_000_000;

/// The cost of a look-up in the rights of a pass.
const NAMING: usize = 100;

/// The cost of the checks of block 0.
const ASKING: usize = 500;
