//! The MCP server of the examples, guarded by hallpass.

use axum::Router;
use hallpass_verify::tower::HallpassLayer;

#[path = "../../examples/support/ledger.rs"]
mod example;

/// The ledger at `/mcp` behind `layer`.
pub fn router(layer: HallpassLayer) -> Router {
    example::router(layer, &[])
}
