//! Tests of `ids`.

use crate::base::ids::*;

#[test]
fn one_spelling_of_a_server_uri_is_accepted() {
    for good in [
        "https://ledger.example/mcp",
        "https://ledger.example",
        "https://ledger.example:8443/a/b",
        "http://127.0.0.1:7400/mcp",
        "http://localhost/mcp",
        "http://[::1]:9/mcp",
        "https://[2001:db8::1]/mcp",
    ] {
        assert!(good.parse::<ServerUri>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "ledger.example/mcp",
        "https://",
        "https:///mcp",
        "HTTPS://ledger.example/mcp",
        "https://Ledger.example/mcp",
        "https://ledger.example/",
        "https://ledger.example/mcp/",
        "https://ledger.example//mcp",
        "https://ledger.example/./mcp",
        "https://ledger.example/../mcp",
        "https://ledger.example/m%63p",
        "https://ledger.example/mcp?x",
        "https://ledger.example/mcp#x",
        "https://user@ledger.example/mcp",
        "https://ledger.example:443/mcp",
        "https://ledger.example:0443/mcp",
        "https://ledger.example:/mcp",
        "https://ledger.example./mcp",
        "http://ledger.example/mcp",
        "http://127.1/mcp",
        "https://0x7f000001/mcp",
        "https://127.0.0.01/mcp",
        "https://[::0001]/mcp",
        "https://bücher.example/mcp",
        "ftp://ledger.example/mcp",
    ] {
        assert!(bad.parse::<ServerUri>().is_err(), "{bad}");
    }
}

#[test]
fn agents_cannot_differ_by_case_or_space() {
    assert!("research-bot".parse::<AgentId>().is_ok());
    for bad in [
        "Research-bot",
        "research-bot ",
        "",
        "-a",
        "a-",
        "a\u{200b}b",
        &"a".repeat(65),
    ] {
        assert!(bad.parse::<AgentId>().is_err(), "{bad:?}");
    }
    assert!("a".repeat(64).parse::<AgentId>().is_ok());
}
