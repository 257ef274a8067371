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

#[test]
fn a_revocation_id_begins_with_its_own_digits_only() {
    let id: RevocationId = "7cc3a1f09b2e".repeat(11)[..128].parse().unwrap();
    for (prefix, begins) in [
        ("7cc3a1f09b2e", true),
        ("7cc3a1f09b2e7", true),
        ("7cc3a1f09b2e8", false),
        ("7cc3a1f09b2f", false),
        ("0cc3a1f09b2e", false),
    ] {
        assert_eq!(
            prefix.parse::<RevocationIdPrefix>().unwrap().begins(&id),
            begins,
            "{prefix}"
        );
    }
    for bad in [
        "7cc3a1f09b2",
        "7CC3A1F09B2E",
        "7cc3a1f09b2g",
        &id.to_string(),
    ] {
        assert!(bad.parse::<RevocationIdPrefix>().is_err(), "{bad}");
    }
}
