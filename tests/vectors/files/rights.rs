//! What a pass names, for whom and for how long.

use hallpass_core::{
    base::{ids::KeyId, key::PrivateKey},
    token::{PassContent, PassToken, RootKey, attenuate, rights::Kind},
    wire::document::RootKeyEntry,
};
use serde_json::json;

use super::book::{Book, ELSEWHERE, block_id, call, narrowing, read, resource, tool};
use support::{Issuer, raw, rights};

pub(super) fn write(book: &mut Book) {
    named(book);
    timed(book);
    narrowed(book);
    unheard_of(book);
    revoked(book);
    keys(book);
    shapes(book);
}

fn named(book: &mut Book) {
    let pass = book.pass(
        json!({"tools": ["read_ledger", "transfer"], "prompts": ["summary"],
        "resources": ["file:///srv/data"]}),
    );
    book.allow("F01 a tool that is named", "a positive", &pass, read());
    book.allow(
        "F01a another one",
        "names add up",
        &pass,
        tool("transfer", json!({"amount": 1})),
    );
    book.allow(
        "F01b a call without arguments",
        "none is as good as {}",
        &pass,
        call(Kind::Tool, "read_ledger", None),
    );
    book.allow(
        "F01c a prompt that is named",
        "a positive",
        &pass,
        call(Kind::Prompt, "summary", None),
    );
    book.allow(
        "F01d a resource under the subtree",
        "a positive",
        &pass,
        resource("file:///srv/data/a/b"),
    );
    let no = &["not_granted"][..];
    book.refuse_in(
        ("F02 names are exact", "no prefix, no pattern"),
        &pass,
        tool("search_ledger", json!({})),
        0,
        no,
    );
    book.refuse_in(
        ("F03 a tool that is not named", ""),
        &pass,
        tool("delete_ledger", json!({})),
        0,
        no,
    );
    let prompts = book.pass(json!({"prompts": ["read_ledger"]}));
    book.refuse_in(
        (
            "F04 the right name of the wrong kind",
            "a prompt is no tool",
        ),
        &prompts,
        read(),
        0,
        no,
    );
    book.refuse_in(
        ("F04a a tool's name as a resource", ""),
        &pass,
        resource("read_ledger"),
        0,
        no,
    );
    book.refuse_in(
        (
            "F05 presented at another server",
            "the audience names one only",
        ),
        &pass,
        read().server(ELSEWHERE),
        0,
        &["audience", "not_granted"],
    );
    let both = |here: &str, there: &str| {
        let mut elsewhere = rights(json!({"tools": [there]}));
        elsewhere.server = ELSEWHERE.parse().unwrap();
        book.setup
            .issuer
            .mint(vec![rights(json!({"tools": [here]})), elsewhere])
    };
    let both = both("transfer", "read_ledger");
    book.refuse_in(
        ("F06 named on another server", "of two in the audience"),
        &both,
        read(),
        0,
        no,
    );
    book.allow(
        "F06a named on this one of two",
        "",
        &both,
        tool("transfer", json!({})),
    );
    book.allow(
        "F06b named on that one of two",
        "",
        &both,
        read().server(ELSEWHERE),
    );
    let name = book.pass(json!({"tools": ["unheard_of"]}));
    book.refuse(
        "F26 a tool that the manifest does not know",
        "what is not pinned cannot be judged",
        &name,
        tool("unheard_of", json!({})),
        "not_in_manifest",
    );
}

fn timed(book: &mut Book) {
    let pass = book.plain();
    book.allow(
        "F07 a second before its end",
        "",
        &pass,
        read().at("10:04:59"),
    );
    book.refuse_in(
        ("F07a at its end", "the end is excluded"),
        &pass,
        read().at("10:05:00"),
        0,
        &["expired"],
    );
    book.refuse_in(
        ("F07b long after its end", ""),
        &pass,
        read().at("23:00:00"),
        0,
        &["expired"],
    );
    book.allow(
        "F08 five seconds early",
        "clocks differ",
        &pass,
        read().at("09:59:55"),
    );
    book.refuse_in(
        ("F08a six seconds early", ""),
        &pass,
        read().at("09:59:54"),
        0,
        &["not_yet_valid"],
    );
    let shorter = attenuate(
        &pass,
        &narrowing(json!({"expires_at": "2026-11-22T10:01:00Z"})),
    )
    .unwrap()
    .token;
    book.allow(
        "F09 a second before a narrower end",
        "",
        &shorter,
        read().at("10:00:59"),
    );
    book.refuse_in(
        ("F09a at a narrower end", ""),
        &shorter,
        read().at("10:01:00"),
        1,
        &["expired"],
    );
    let longer = attenuate(
        &pass,
        &narrowing(json!({"expires_at": "2026-11-23T10:00:00Z"})),
    )
    .unwrap()
    .token;
    let late = (
        "F09b a later end than the broker's",
        "a narrowing does not widen",
    );
    book.refuse_in(late, &longer, read().at("10:05:00"), 0, &["expired"]);
}

fn narrowed(book: &mut Book) {
    let pass = book.plain();
    let with = |members| attenuate(&pass, &narrowing(members)).unwrap().token;
    let detail = |tools: &[&str]| json!({"rights": [{"type": "mcp", "server": support::SERVER, "tools": tools}]});
    let only = with(detail(&["read_ledger", "delete_ledger"]));
    book.allow("N01 what pass and narrowing both name", "", &only, read());
    let transfer = || tool("transfer", json!({}));
    book.refuse_in(
        ("N02 what only the pass names", ""),
        &only,
        transfer(),
        1,
        &["not_granted"],
    );
    let delete = tool("delete_ledger", json!({}));
    book.refuse_in(
        ("N03 what only the narrowing names", ""),
        &only,
        delete,
        0,
        &["not_granted"],
    );
    let nothing = with(json!({"rights": []}));
    book.refuse_in(
        ("N04 narrowed to nothing", ""),
        &nothing,
        read(),
        1,
        &["not_granted"],
    );
    let reads = with(json!({"read_only": true}));
    book.allow("N05 read-only and the tool reads", "", &reads, read());
    book.refuse_in(
        ("N06 read-only and the tool writes", ""),
        &reads,
        transfer(),
        1,
        &["read_only"],
    );
    let twice = attenuate(
        &only,
        &narrowing(json!({"expires_at": "2026-11-22T10:01:00Z"})),
    )
    .unwrap()
    .token;
    let both = (
        "N07 two blocks, each with its reason",
        "all reasons are told, of the blocks in order",
    );
    book.refuse_in(
        both,
        &twice,
        transfer().at("10:02:00"),
        1,
        &["not_granted", "expired"],
    );
    let eight = (0..8).fold(pass.clone(), |token, _| {
        attenuate(&token, &narrowing(json!({"read_only": true})))
            .unwrap()
            .token
    });
    book.allow(
        "N08 eight blocks",
        "as many as there may be",
        &eight,
        read(),
    );
    book.allow(
        "N09 a sealed pass",
        "is used like any other",
        &raw::seal(&only, &book.setup.root()),
        read(),
    );
    let everything = book.pass(json!({"tools": ["read_ledger", "transfer"], "read_only": true}));
    book.allow("N10 rights that only read", "", &everything, read());
    book.refuse_in(
        ("N11 rights that only read, and a tool that writes", ""),
        &everything,
        transfer(),
        0,
        &["read_only"],
    );
}

/// Conditions on what no verifier of this version knows: no fact, no yes.
fn unheard_of(book: &mut Book) {
    let cases = [
        (
            "F10 a condition on context",
            r#"check if ctx("risk", $r), {"low"}.contains($r);"#,
            "context",
        ),
        (
            "F20 a budget that nobody counts",
            r#"check if used("c", $u), $u < 3;"#,
            "budget",
        ),
        (
            "F22 a mask that nobody applies",
            r#"check if will_mask($m), $m.contains("/ssn");"#,
            "mask",
        ),
        (
            "F24 a history that nobody keeps",
            r#"check if history($h), !$h.contains("S T");"#,
            "sequence",
        ),
        (
            "F27 a predicate that nobody knows",
            "check if weather($w), $w === \"fine\";",
            "attenuation",
        ),
        (
            "F28 a digest that nobody tells",
            "check if args_digest($d), $d === \"x\";",
            "argument_constraint",
        ),
    ];
    let pass = book.plain();
    for (name, code, reason) in cases {
        let token = book.appended(&pass, code);
        book.refuse_in(
            (name, "a fact that is absent fails closed"),
            &token,
            read(),
            1,
            &[reason],
        );
    }
    let mixed = book.appended(&pass, r#"check if me($m), $m > 5;"#);
    book.refuse(
        "F29 a comparison of what cannot be compared",
        "nothing is decided, and so it is refused",
        &mixed,
        read(),
        "evaluation",
    );
}

fn revoked(book: &mut Book) {
    let pass = book.plain();
    let id = block_id(&pass, 0);
    book.refuse_in(
        ("R10 its block is revoked", ""),
        &pass,
        read().revoked("token", &id),
        0,
        &["revoked_token"],
    );
    for (name, kind, subject, code) in [
        (
            "R11 its task is revoked",
            "task",
            "tsk_00000000000000000000000000000001",
            "revoked_task",
        ),
        (
            "R12 its agent is revoked",
            "agent",
            "research-bot",
            "revoked_agent",
        ),
        (
            "R13 its steward is revoked",
            "steward",
            "stw_00000000000000000000000000000001",
            "revoked_steward",
        ),
        (
            "R14 the server is revoked",
            "server",
            support::SERVER,
            "revoked_server",
        ),
        ("R15 the root key is revoked", "key", "1", "revoked_key"),
    ] {
        book.refuse(
            name,
            "whenever it was issued",
            &pass,
            read().revoked(kind, subject),
            code,
        );
        let at = read().revoked_until(kind, subject, "10:00:00");
        book.refuse(
            &format!("{name}, up to the second of issue"),
            "the cut-off is included",
            &pass,
            at,
            code,
        );
        let before = read().revoked_until(kind, subject, "09:59:59");
        book.allow(
            &format!("{name}, up to a second before"),
            "issued later",
            &pass,
            before,
        );
    }
    let others = read()
        .revoked("task", "tsk_00000000000000000000000000000002")
        .revoked("agent", "research-bot-2")
        .revoked("server", ELSEWHERE)
        .revoked("key", "2")
        .revoked("agent", "stw_00000000000000000000000000000001");
    book.allow(
        "R16 others are revoked",
        "subjects have kinds, and are compared whole",
        &pass,
        others,
    );
    let both = read()
        .revoked("task", "tsk_00000000000000000000000000000001")
        .revoked("agent", "research-bot");
    book.refuse_in(
        ("R17 two reasons", ""),
        &pass,
        both,
        None,
        &["revoked_task", "revoked_agent"],
    );
    let first = (
        "R18 revoked and expired",
        "revocation is looked at first, and alone",
    );
    book.refuse_in(
        first,
        &pass,
        read().at("11:00:00").revoked("token", &id),
        0,
        &["revoked_token"],
    );
}

fn keys(book: &mut Book) {
    let other = RootKey::new(KeyId(7), &PrivateKey::from_seed(&[7; 32])).unwrap();
    let entry = |id: u32, key: &PrivateKey| RootKeyEntry {
        id: KeyId(id),
        key: key.public(),
    };
    let (root, second) = (
        PrivateKey::from_seed(&[1; 32]),
        PrivateKey::from_seed(&[7; 32]),
    );
    let both = || vec![entry(1, &root), entry(7, &second)];
    let plain = book.plain();
    let numbered = |number: Option<u32>| {
        let mut wire = raw::wire(&plain);
        wire.root_key_id = number;
        raw::from_wire(&wire)
    };
    book.allow(
        "K01 the key that its number names",
        "of two",
        &plain,
        read().keys(both()),
    );
    let wrong = numbered(Some(7));
    book.refuse(
        "K02 the number of another key",
        "it is a hint",
        &wrong,
        read().keys(both()),
        "token_signature",
    );
    book.refuse(
        "K03 the number of no key",
        "",
        &numbered(Some(99)),
        read().keys(both()),
        "token_key_unknown",
    );
    book.refuse(
        "K04 no number",
        "no key is tried in turn",
        &numbered(None),
        read().keys(both()),
        "token_key_unknown",
    );
    let same = read().keys(vec![entry(9, &root)]);
    book.allow(
        "K05 the number is unsigned",
        "the same key under another number",
        &numbered(Some(9)),
        same,
    );
    book.refuse(
        "K06 the broker withdrew the key",
        "",
        &plain,
        read().keys(vec![entry(7, &second)]),
        "token_key_unknown",
    );
    book.refuse(
        "K07 there are no keys",
        "",
        &plain,
        read().keys(Vec::new()),
        "token_key_unknown",
    );
    let content = book
        .setup
        .issuer
        .content(vec![rights(json!({"tools": ["read_ledger"]}))]);
    let by_other = minted(&other, &content);
    book.allow(
        "K08 signed by the second key",
        "",
        &by_other,
        read().keys(both()),
    );
    book.refuse(
        "K09 signed by a key that nobody knows",
        "",
        &by_other,
        read(),
        "token_key_unknown",
    );
    let mut claimed = raw::wire(&by_other);
    claimed.root_key_id = Some(1);
    let claimed = raw::from_wire(&claimed);
    book.refuse(
        "S08 signed by another root under this one's number",
        "",
        &claimed,
        read(),
        "token_signature",
    );
    let foreign = PassContent {
        issuer: "https://other.example".parse().unwrap(),
        ..content
    };
    let foreign = minted(&book.setup.issuer.root, &foreign);
    book.refuse(
        "K10 another broker's name under this one's key",
        "",
        &foreign,
        read(),
        "token_issuer",
    );
}

fn minted(root: &RootKey, content: &PassContent) -> PassToken {
    hallpass_core::token::mint(root, content).unwrap().token
}

/// Signed by the broker's key, and yet no pass of format 1.
fn shapes(book: &mut Book) {
    let mint = |code: &str| raw::mint(&Issuer::new(), code);
    book.allow(
        "T00 a pass in the format's own words",
        "the others differ by one line",
        &mint(&text("", "")),
        read(),
    );
    for (name, from, to) in [
        ("T01 another format", "hallpass(1);", "hallpass(2);"),
        ("T02 no format", "hallpass(1);", ""),
        ("T03 no issuer", "issuer(\"https://broker.example\");", ""),
        (
            "T04 two agents",
            "agent(\"research-bot\");",
            "agent(\"research-bot\"); agent(\"root\");",
        ),
        ("T05 no end", "exp(2026-11-22T10:05:00Z);", ""),
        (
            "T06 an end that is no date",
            "exp(2026-11-22T10:05:00Z);",
            "exp(\"never\");",
        ),
        (
            "T07 no audience",
            "aud({\"https://ledger.example/mcp\"});",
            "",
        ),
        (
            "T08 an audience that is no set",
            "aud({\"https://ledger.example/mcp\"});",
            "aud(\"https://ledger.example/mcp\");",
        ),
        (
            "T09 a server that is not canonical",
            "aud({\"https://ledger.example/mcp\"});",
            "aud({\"https://Ledger.example/mcp/\"});",
        ),
        (
            "T10 an operator's token too",
            "hallpass(1);",
            "hallpass(1); operator(1);",
        ),
        (
            "T11 a fact of a request",
            "hallpass(1);",
            "hallpass(1); call_proven(true);",
        ),
        ("T12 a right of an unknown kind", "\"tool\"", "\"tools\""),
        (
            "T13 a holder that is no key",
            "hallpass(1);",
            "hallpass(1); cnf(\"everybody\");",
        ),
        (
            "T14 a task that is none",
            "task(\"tsk_00000000000000000000000000000001\");",
            "task(\"all\");",
        ),
    ] {
        let token = mint(&text(from, to));
        book.refuse(
            name,
            "block 0 says neither more nor less than the format",
            &token,
            read(),
            "token_format",
        );
    }
    let operator = mint(
        r#"operator(1); issuer("https://broker.example"); check if time($t), $t > 2020-01-01T00:00:00Z && true;"#,
    );
    book.refuse(
        "T15 an operator's token",
        "another root key, and another kind",
        &operator,
        read(),
        "token_format",
    );
    let eternal = text(
        "check if time($t), $t >= 2026-11-22T09:59:55Z && $t < 2026-11-22T10:05:00Z;",
        "check if true && true;",
    );
    book.refuse_in(
        ("T16 an end that no check repeats", "the fact is enough"),
        &mint(&eternal),
        read().at("10:05:00"),
        0,
        &["expired"],
    );
}

fn text(from: &str, to: &str) -> String {
    let all = r#"hallpass(1); issuer("https://broker.example"); task("tsk_00000000000000000000000000000001");
        agent("research-bot"); steward("stw_00000000000000000000000000000001");
        iat(2026-11-22T10:00:00Z); exp(2026-11-22T10:05:00Z); aud({"https://ledger.example/mcp"});
        right("https://ledger.example/mcp", "tool", {"read_ledger"});
        check if time($t), $t >= 2026-11-22T09:59:55Z && $t < 2026-11-22T10:05:00Z;"#;
    assert!(all.contains(from), "{from}");
    if from.is_empty() {
        all.to_owned()
    } else {
        all.replace(from, to)
    }
}
