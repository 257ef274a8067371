//! A small ledger as an MCP server, guarded by hallpass: the server side of the examples.
//!
//! Nothing in the tools knows of tokens. The layer has verified the pass and cleared the call
//! before a tool runs; who is calling, and for which task, is in the request's [`Permit`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, http::request::Parts};
use hallpass_verify::{Permit, tower::HallpassLayer};
use rmcp::{
    ErrorData, ServerHandler,
    handler::server::{router::tool::ToolRouter, tool::Extension, wrapper::Parameters},
    model::{CallToolResult, ContentBlock, Implementation, ServerCapabilities, ServerConfig},
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The MCP server at `/mcp`, behind the layer, and its OAuth metadata at the well-known path.
/// `hosts` are the names under which clients reach it, beside those of this machine.
pub(crate) fn router(layer: HallpassLayer, hosts: &[String]) -> Router {
    let ledger = Ledger::new();
    let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(local.into_iter().chain(hosts.iter().cloned()));
    let service = StreamableHttpService::new(
        move || Ok(ledger.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    Router::new().route_service("/mcp", service).layer(layer)
}

/// Accounts per year, in cents.
type Books = BTreeMap<u16, BTreeMap<String, i64>>;

#[derive(Clone)]
struct Ledger {
    books: Arc<Mutex<Books>>,
    tool_router: ToolRouter<Self>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Year {
    /// The year whose books are read.
    year: u16,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Part of an account's name.
    text: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Transfer {
    /// The amount in cents.
    amount: i64,
    /// The account that gets it.
    account: String,
}

#[tool_router]
impl Ledger {
    fn new() -> Self {
        let accounts = |amount: i64| {
            BTreeMap::from([
                ("rent".to_owned(), amount),
                ("travel".to_owned(), 2 * amount),
            ])
        };
        let books = Books::from([(2025, accounts(120_000)), (2026, accounts(150_000))]);
        Self {
            books: Arc::new(Mutex::new(books)),
            tool_router: Self::tool_router(),
        }
    }

    #[tool(description = "Read all accounts of a year")]
    fn read_ledger(&self, Parameters(Year { year }): Parameters<Year>) -> CallToolResult {
        self.with_books(|books| match books.get(&year) {
            Some(accounts) => text(format!("{year}: {accounts:?}")),
            None => failure(format!("no books for {year}")),
        })
    }

    #[tool(description = "Find accounts by part of their name")]
    fn search_ledger(
        &self,
        Parameters(Search { text: part }): Parameters<Search>,
    ) -> CallToolResult {
        self.with_books(|books| {
            let found = books
                .iter()
                .flat_map(|(year, accounts)| accounts.keys().map(move |name| (year, name)));
            let found: Vec<_> = found.filter(|(_, name)| name.contains(&part)).collect();
            text(format!("{found:?}"))
        })
    }

    #[tool(description = "Transfer an amount in cents to an account, in the books of 2026")]
    fn transfer(
        &self,
        Parameters(Transfer { amount, account }): Parameters<Transfer>,
        Extension(parts): Extension<Parts>,
    ) -> Result<CallToolResult, ErrorData> {
        // The layer put it there; a server that is mounted without the layer must not transfer anything.
        let Some(permit) = parts.extensions.get::<Permit>() else {
            return Err(ErrorData::internal_error("the server is not guarded", None));
        };
        let (agent, task) = (permit.agent(), permit.task());
        Ok(self.with_books(|books| {
            let balance = books
                .entry(2026)
                .or_default()
                .entry(account.clone())
                .or_default();
            match balance.checked_add(amount) {
                Some(sum) => {
                    *balance = sum;
                    text(format!(
                        "{account} now has {sum}; booked by {agent} for {task}"
                    ))
                }
                None => failure("the account cannot hold that much".to_owned()),
            }
        }))
    }

    #[tool(description = "Delete the whole ledger")]
    fn delete_ledger(&self) -> CallToolResult {
        self.with_books(|books| {
            books.clear();
            text("the ledger is empty now".to_owned())
        })
    }

    fn with_books(&self, work: impl FnOnce(&mut Books) -> CallToolResult) -> CallToolResult {
        work(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Ledger {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("ledger", "1.0.0"))
    }
}

fn text(text: String) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn failure(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}
