//! The `hallpass` command as people and scripts run it: the built binary, a real broker, a real MCP server.

mod backups;
mod clients;
mod finding;
mod holder;
mod import;
mod issuers;
mod keys;
mod ledger;
mod offline;
mod operations;
mod proofs;
mod tls;
mod transcript;
mod usage;
