//! Blocks by which a holder tries to get more than it was given.
//!
//! Each is asked twice: of the verifier, whose profile refuses the block unread, and of Biscuit's
//! own authorizer with no profile, which must not be widened either.

use biscuit_auth::{BlockBuilder, builder::Scope};
use hallpass_core::token::PassToken;
use serde_json::json;

use super::{
    book::{Ask, Book, key_text, read, resource, tool},
    library::DIGEST,
};
use support::{Issuer, SERVER, raw};

/// The approver, whom the broker trusts, and an attacker.
const APPROVER: u8 = 41;
const ATTACKER: u8 = 66;

pub(super) fn write(book: &mut Book) {
    let pass = book.pass(json!({"tools": ["read_ledger", "transfer"], "resources": ["file:///srv/data"],
        "constraints": {"transfer": {"/owner": {"equal": "acme"}, "/path": {"under": "/srv/data"}}}}));
    let good = json!({"owner": "acme", "path": "/srv/data/a"});
    book.allow(
        "W00 a call that is granted",
        "a positive",
        &pass,
        read().allowed_anyway(),
    );
    book.allow(
        "W00a another one",
        "",
        &pass,
        tool("transfer", good).allowed_anyway(),
    );
    attempts(book, &pass);
    narrowings(book, &pass);
    scopes(book, &pass);
    approvers(book);
}

fn attempts(book: &mut Book, pass: &PassToken) {
    let delete = || tool("delete_ledger", json!({}));
    let transfer = || tool("transfer", json!({"owner": "evil", "path": "/etc/passwd"}));
    let elsewhere = || resource("file:///etc/passwd");
    let late = || read().at("23:00:00");
    let attacker = raw::key_pair(ATTACKER).public();
    let approver = raw::key_pair(APPROVER).public();
    let cases: Vec<(&str, String, Ask)> = vec![
        ("W01 a right", format!(r#"right("{SERVER}", "tool", {{"delete_ledger"}});"#), delete()),
        ("W01b a subtree", format!(r#"right_path("{SERVER}", "resource", ["file", ""]);"#), elsewhere()),
        ("W02 a rule that derives a right", r#"right($s, $k, {"delete_ledger"}) <- call($s, $k, $n);"#.to_owned(), delete()),
        (
            "W02b a rule that copies the broker's rights",
            "right($s, \"resource\", $set) <- right($s, $k, $set) trusting authority;".to_owned(),
            elsewhere(),
        ),
        (
            "W03 a rule that makes the call a granted one",
            r#"call($s, $k, "read_ledger") <- call($s, $k, $n);"#.to_owned(),
            delete(),
        ),
        ("W03b a second call", format!(r#"call("{SERVER}", "tool", "read_ledger");"#), delete()),
        ("W04 an argument", r#"arg("/owner", "acme"); arg_path("/path", ["file", "", "srv", "data"]);"#.to_owned(), transfer()),
        (
            "W04b a rule that rewrites arguments",
            r#"arg("/owner", "acme") <- call($s, $k, $n); arg_path("/path", ["file", "", "srv", "data"]) <- call($s, $k, $n);"#
                .to_owned(),
            transfer(),
        ),
        (
            "W05 what only a verifier says",
            r#"read_only(true); depth(0); used("c", 0); ctx("risk", "low"); call_proven(true);"#.to_owned(),
            delete(),
        ),
        (
            "W06 a rule that trusts all before it",
            "right($s, $k, {\"delete_ledger\"}) <- call($s, $k, $n), right($s, $k, $set) trusting previous;".to_owned(),
            delete(),
        ),
        (
            "W07 a rule that trusts an approver",
            format!(r#"right($s, $k, {{"delete_ledger"}}) <- call($s, $k, $n) trusting {approver};"#),
            delete(),
        ),
        (
            "W07b a rule that trusts its author",
            format!(r#"right($s, $k, {{"delete_ledger"}}) <- call($s, $k, $n) trusting {attacker}, authority;"#),
            delete(),
        ),
        ("W08 another identity", r#"agent("root"); task("tsk_ffffffffffffffffffffffffffffffff"); steward("x");"#.to_owned(), delete()),
        ("W09 the format, the server and the time", format!(r#"hallpass(1); me("{SERVER}"); time(2026-11-22T10:00:01Z);"#), late()),
        ("W09b a later end", "exp(2099-01-01T00:00:00Z); iat(2026-11-22T23:00:00Z);".to_owned(), late()),
        (
            "W09c a rule that sets the clock",
            "time(2026-11-22T10:00:01Z) <- time($t);".to_owned(),
            late(),
        ),
        ("W15 a holder's key", format!("cnf(\"{}\");", key_text(&book.setup.thief)), delete()),
        ("W16 a printed fact that ends its string", format!(r#"task("x\");\nright(\"{SERVER}\", \"tool\", {{\"delete_ledger\"}});\n//");"#), delete()),
    ];
    for (name, code, ask) in cases {
        let own = book.appended(pass, &code);
        let about = "in a block that any holder can append";
        book.refuse(
            name,
            about,
            &own,
            ask.clone().refused_anyway(),
            "token_profile",
        );
        let signed = book.signed(pass, ATTACKER, &code);
        let about = "in a block signed by an attacker's own key";
        book.refuse(
            &format!("{name}, signed"),
            about,
            &signed,
            ask.refused_anyway(),
            "token_profile",
        );
        // Nor does it spoil what is granted, for the one who is judged without the profile.
        let granted = read().allowed_anyway();
        book.refuse(
            &format!("{name}, and a granted call"),
            "the block is no part of the format",
            &own,
            granted,
            "token_profile",
        );
    }
}

/// Checks are all that a holder may add: they narrow, whatever they say.
fn narrowings(book: &mut Book, pass: &PassToken) {
    let delete = || tool("delete_ledger", json!({})).refused_anyway();
    for (name, code) in [
        (
            "W10 a check that holds for everything",
            "check if true;".to_owned(),
        ),
        (
            "W10b a check that names what is not granted",
            format!(r#"check if call("{SERVER}", "tool", "delete_ledger");"#),
        ),
        (
            "W10c a check that looks at the broker's rights",
            "check if right($s, $k, $set), call($s, $k, $n);".to_owned(),
        ),
        (
            "W10d an `or` with a truth",
            r#"check if call("x", "y", "z") or true;"#.to_owned(),
        ),
    ] {
        let token = book.appended(pass, &code);
        book.refuse_in(
            (name, "no check adds a right"),
            &token,
            delete(),
            0,
            &["not_granted"],
        );
    }
    let only = format!(r#"check if call("{SERVER}", "tool", "delete_ledger");"#);
    let none = book.appended(pass, &only);
    book.refuse_in(
        ("W10e and takes the granted ones away", ""),
        &none,
        read().refused_anyway(),
        1,
        &["attenuation"],
    );
    let harmless = book.appended(pass, "check if true;");
    book.allow(
        "W10f a check that holds",
        "takes nothing away",
        &harmless,
        read().allowed_anyway(),
    );
    let signed = book.signed(pass, ATTACKER, "check if true;");
    book.allow(
        "W10g a check that somebody signed",
        "says nothing about who holds it",
        &signed,
        read().allowed_anyway(),
    );
}

fn scopes(book: &mut Book, pass: &PassToken) {
    let delete = || tool("delete_ledger", json!({})).refused_anyway();
    let block = BlockBuilder::new()
        .scope(Scope::Previous)
        .code("check if read_only(true);")
        .unwrap();
    let scoped = raw::append_block(pass, &book.setup.root(), block);
    book.refuse(
        "W17 a block scope",
        "`BlockBuilder::code` would drop it",
        &scoped,
        delete(),
        "token_profile",
    );
    let approver = raw::key_pair(APPROVER).public();
    let block = BlockBuilder::new()
        .scope(Scope::PublicKey(approver))
        .code(r#"right($s, $k, {"delete_ledger"}) <- call($s, $k, $n);"#)
        .unwrap();
    let scoped = raw::append_block(pass, &book.setup.root(), block);
    book.refuse(
        "W17b a block scope that names an approver, and a rule",
        "",
        &scoped,
        delete(),
        "token_profile",
    );
    for (name, scope) in [("previous", "previous"), ("authority", "authority")] {
        let token = book.appended(pass, &format!("check if read_only(true) trusting {scope};"));
        let name = format!("W18 a check that trusts `{name}`");
        book.refuse(
            &name,
            "scopes are for block 0",
            &token,
            delete(),
            "token_profile",
        );
    }
}

/// A block 0 that asks for approvals the way the design says, with the digest of the arguments.
fn approvers(book: &mut Book) {
    let approver = raw::key_pair(APPROVER).public();
    let check = format!(
        r#"check if call($s, $k, $n), !($s === "{SERVER}" && $k === "tool" && {{"transfer", "delete_ledger"}}.contains($n))
        or call($s, $k, $n), approved($id, "tsk_00000000000000000000000000000001", $s, $k, $n, $digest, $until, $who),
           args_digest($digest), time($t), $t < $until trusting {approver};"#
    );
    let issuer = Issuer::new();
    let pass = raw::mint(&issuer, &super::approvals::block_0(&check));
    let approval = |name: &str, digest: &str| {
        format!(
            r#"approved("a1", "tsk_00000000000000000000000000000001", "{SERVER}", "tool", "{name}", "{digest}",
            2026-11-22T10:04:00Z, "alice");"#
        )
    };
    let transfer = || tool("transfer", json!({}));
    let denied = &["approval_required"][..];
    let genuine = book.signed(&pass, APPROVER, &approval("transfer", DIGEST));
    let known = (
        "W12a a genuine approval",
        "no verifier of this version tells digests, so it refuses; Biscuit alone would not",
    );
    book.refuse_in(known, &genuine, transfer(), 0, denied);
    let other = book.signed(&pass, APPROVER, &approval("delete_ledger", DIGEST));
    let laundered = book.appended(
        &other,
        &format!("{} check if true || false;", approval("transfer", DIGEST)),
    );
    book.refuse(
        "W11 a holder's approval after a genuine one for another tool",
        "",
        &laundered,
        transfer().refused_anyway(),
        "token_profile",
    );
    let rule = format!(
        r#"approved($i, $t, $s, $k, "transfer", $d, $u, $w) <- approved($i, $t, $s, $k, $n, $d, $u, $w) trusting {approver};"#
    );
    let rewritten = book.appended(&other, &rule);
    book.refuse(
        "W11b a rule that renames a genuine one",
        "",
        &rewritten,
        transfer().refused_anyway(),
        "token_profile",
    );
    let smuggled = book.signed(
        &pass,
        APPROVER,
        &format!(r#"right("{SERVER}", "tool", {{"search_ledger"}});"#),
    );
    let search = tool("search_ledger", json!({})).refused_anyway();
    book.refuse(
        "W12 an approver hands out rights",
        "an approver is no issuer",
        &smuggled,
        search,
        "token_profile",
    );
    let faked = approval("transfer", "other") + r#" args_digest("other");"#;
    let faked = book.signed(&pass, APPROVER, &faked);
    book.refuse(
        "W13d an approver says other predicates of the check that trusts it",
        "whom a check trusts can say every predicate of that check: the profile is what keeps this from widening",
        &faked,
        transfer().allowed_anyway(),
        "token_profile",
    );
    let attacker = book.signed(
        &pass,
        ATTACKER,
        &(approval("transfer", "other") + r#" args_digest("other");"#),
    );
    book.refuse(
        "W13t the same by an attacker",
        "whom no check trusts",
        &attacker,
        transfer().refused_anyway(),
        "token_profile",
    );
    let narrowed = book.appended(&pass, "check if true || false;");
    let after = book.signed(&narrowed, APPROVER, &approval("transfer", DIGEST));
    book.allow(
        "W14 a narrowing, then an approval",
        "calls that need none stay allowed",
        &after,
        read().allowed_anyway(),
    );
}
