//! Approvals: third-party blocks of a key that a check of block 0 trusts.
//!
//! No verifier of this version tells the digest of the arguments, so the broker of these vectors
//! wrote the one digest that it wants into its check.

use hallpass_core::token::PassToken;
use serde_json::json;

use super::book::{Book, read, tool};
use support::{Issuer, SERVER, raw};

const ONE: u8 = 41;
const TWO: u8 = 42;
const ATTACKER: u8 = 66;
const TASK: &str = "tsk_00000000000000000000000000000001";

/// Block 0 of a pass for all four tools, with one check more.
pub(super) fn block_0(check: &str) -> String {
    format!(
        r#"hallpass(1); issuer("https://broker.example"); task("{TASK}");
        agent("research-bot"); steward("stw_00000000000000000000000000000001");
        iat(2026-11-22T10:00:00Z); exp(2026-11-22T10:05:00Z); aud({{"{SERVER}"}});
        right("{SERVER}", "tool", {{"read_ledger", "transfer", "delete_ledger"}});
        check if time($t), $t >= 2026-11-22T09:59:55Z && $t < 2026-11-22T10:05:00Z;
        {check}"#
    )
}

fn needs(key: u8) -> String {
    let key = raw::key_pair(key).public();
    format!(
        r#"check if call($s, $k, $n), !($s === "{SERVER}" && $k === "tool" && {{"transfer", "delete_ledger"}}.contains($n))
        or call($s, $k, $n), approved($id, "{TASK}", $s, $k, $n, "d1", $until, $who), time($t), $t < $until trusting {key};"#
    )
}

fn approved(tool: &str) -> Approval<'_> {
    Approval {
        task: TASK,
        server: SERVER,
        kind: "tool",
        tool,
        digest: "d1",
        until: "10:04:00",
    }
}

struct Approval<'a> {
    task: &'a str,
    server: &'a str,
    kind: &'a str,
    tool: &'a str,
    digest: &'a str,
    until: &'a str,
}

impl Approval<'_> {
    fn text(&self) -> String {
        let Self {
            task,
            server,
            kind,
            tool,
            digest,
            until,
        } = self;
        format!(
            r#"approved("a1", "{task}", "{server}", "{kind}", "{tool}", "{digest}", 2026-11-22T{until}Z, "alice");"#
        )
    }
}

const DENIED: &[&str] = &["approval_required"];

pub(super) fn write(book: &mut Book) {
    let issuer = Issuer::new();
    let pass = raw::mint(&issuer, &block_0(&needs(ONE)));
    let transfer = || tool("transfer", json!({}));
    let refuse = |book: &mut Book, name: &str, about: &str, token: &PassToken| {
        let asked = transfer().refused_anyway();
        book.refuse_in((name, about), token, asked, 0, DENIED);
    };
    book.allow(
        "H00 a call that needs no approval",
        "",
        &pass,
        read().allowed_anyway(),
    );
    refuse(
        book,
        "H01 an approval is needed and there is none",
        "",
        &pass,
    );
    let genuine = book.signed(&pass, ONE, &approved("transfer").text());
    book.allow(
        "H02 approved by the key that block 0 trusts",
        "",
        &genuine,
        transfer().allowed_anyway(),
    );
    let by_holder = book.appended(&pass, &approved("transfer").text());
    let ask = transfer().refused_anyway();
    book.refuse(
        "H03 an approval that a holder wrote",
        "facts are for third-party blocks",
        &by_holder,
        ask,
        "token_profile",
    );
    refuse(
        book,
        "H04 an approval by another key",
        "",
        &book.signed(&pass, ATTACKER, &approved("transfer").text()),
    );
    let digest = Approval {
        digest: "d2",
        ..approved("transfer")
    };
    refuse(
        book,
        "H05 an approval of other arguments",
        "",
        &book.signed(&pass, ONE, &digest.text()),
    );
    let other = book.signed(&pass, ONE, &approved("delete_ledger").text());
    refuse(
        book,
        "H06 an approval for another tool with the same digest",
        "the check joins server, kind and name",
        &other,
    );
    let delete = tool("delete_ledger", json!({})).allowed_anyway();
    book.allow("H06a and for that tool it is one", "", &other, delete);
    let server = Approval {
        server: super::book::ELSEWHERE,
        ..approved("transfer")
    };
    refuse(
        book,
        "H06b an approval for the same tool of another server",
        "",
        &book.signed(&pass, ONE, &server.text()),
    );
    let kind = Approval {
        kind: "prompt",
        ..approved("transfer")
    };
    refuse(
        book,
        "H06c an approval for a prompt of that name",
        "",
        &book.signed(&pass, ONE, &kind.text()),
    );
    let task = Approval {
        task: "tsk_00000000000000000000000000000002",
        ..approved("transfer")
    };
    refuse(
        book,
        "H06d an approval for another task",
        "",
        &book.signed(&pass, ONE, &task.text()),
    );
    let late = transfer().at("10:04:00").refused_anyway();
    book.refuse_in(
        ("H07 an approval that has ended", ""),
        &genuine,
        late,
        0,
        DENIED,
    );
    quorum(book, &issuer);
    let sibling = raw::mint(&issuer, &block_0(&needs(ONE)));
    let mut wire = raw::wire(&genuine);
    wire.authority = raw::wire(&sibling).authority;
    let moved = raw::from_wire(&wire);
    book.refuse(
        "H11 an approval moved to a sibling",
        "it signs the block before it",
        &moved,
        transfer(),
        "token_signature",
    );
    let careless = needs(ONE).replace("or call($s, $k, $n), approved", "or approved");
    let careless = raw::mint(&issuer, &block_0(&careless));
    let careless = book.signed(&careless, ONE, &approved("delete_ledger").text());
    book.allow(
        "H12 variables do not cross `or`",
        "the trap itself: a check that forgets the join takes an approval for any tool; no broker writes it",
        &careless,
        transfer().allowed_anyway(),
    );
    let nine: String = (0..9)
        .map(|index| {
            approved("transfer")
                .text()
                .replace("a1", &format!("a{index}"))
        })
        .collect();
    let nine = book.signed(&pass, ONE, &nine);
    book.refuse(
        "H13 nine approvals in one block",
        "",
        &nine,
        transfer(),
        "token_profile",
    );
    let long = approved("transfer")
        .text()
        .replace("alice", &"x".repeat(257));
    let long = book.signed(&pass, ONE, &long);
    book.refuse(
        "H14 an approval with a long text",
        "",
        &long,
        transfer(),
        "token_profile",
    );
}

fn quorum(book: &mut Book, issuer: &Issuer) {
    let both = raw::mint(issuer, &block_0(&(needs(ONE) + &needs(TWO))));
    let text = approved("transfer").text();
    let (once, twice) = (
        book.signed(&both, ONE, &text),
        book.signed(&both, ONE, &text),
    );
    let twice = book.signed(&twice, ONE, &text.replace("a1", "a2"));
    let transfer = || tool("transfer", json!({}));
    let needs_two = "two checks, each trusting one key";
    book.refuse_in(
        ("H08 one of two approvals", needs_two),
        &once,
        transfer().refused_anyway(),
        0,
        DENIED,
    );
    book.refuse_in(
        ("H09 the same approver twice", needs_two),
        &twice,
        transfer().refused_anyway(),
        0,
        DENIED,
    );
    let two = book.signed(&once, TWO, &text);
    book.allow(
        "H10 both approvals",
        needs_two,
        &two,
        transfer().allowed_anyway(),
    );
}
