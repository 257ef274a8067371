//! Blocks that no verifier should evaluate: slow, deep, ambiguous or lying.

use biscuit_auth::{
    BlockBuilder,
    builder::{Binary, Check, CheckKind, Expression, Op, Predicate, Rule, Term, Unary},
    format::schema,
};
use hallpass_core::token::PassToken;
use serde_json::json;

use super::book::{Book, read, tool};
use support::{Issuer, SERVER, raw};

pub(super) fn write(book: &mut Book) {
    let pass = book.plain();
    forbidden(book, &pass);
    limits(book, &pass);
    depths(book, &pass);
    costs(book, &pass);
    third_parties(book, &pass);
    printed(book, &pass);
}

fn forbidden(book: &mut Book, pass: &PassToken) {
    for (name, code) in [
        (
            "X01 a regular expression",
            r#"check if me($m), $m.matches("https://.*");"#,
        ),
        (
            "X01a a regular expression after `&&`",
            r#"check if me($m), true && $m.matches(".");"#,
        ),
        (
            "X01b one that cannot be built",
            r#"check if me($m), !$m.matches("(");"#,
        ),
        ("X02 `reject if`", "reject if read_only(false);"),
        (
            "X02a `reject if` with an `or`, which Biscuit 6.0 gets wrong",
            "reject if read_only(true) or read_only(false);",
        ),
        (
            "X03 three predicates in a query",
            "check if me($m), me($n), me($o);",
        ),
        ("X04 a foreign function", "check if me($m), $m.extern::f();"),
        (
            "X04a a foreign function of two",
            "check if me($m), $m.extern::f($m);",
        ),
        ("X05 an addition", "check if arg(\"/n\", $v), $v + 1 > 2;"),
        (
            "X05a an addition of texts after `&&`",
            "check if arg(\"/n\", $v), true && $v + $v === \"xx\";",
        ),
        ("X06 `try_or`", "check if (true || false).try_or(true);"),
        (
            "X07 a closure inside a closure",
            "check if [[1]].all($a -> $a.all($b -> $b > 0));",
        ),
        ("X08 a fact", "read_only(true);"),
        ("X09 a rule", "right($s) <- me($s);"),
    ] {
        let token = book.appended(pass, code);
        book.refuse(
            name,
            "not part of the format",
            &token,
            read(),
            "token_profile",
        );
    }
    let broker = raw::mint(
        &Issuer::new(),
        r#"hallpass(1); check if me($m), $m.matches("^https") && true;"#,
    );
    book.refuse(
        "X01c a regular expression of the broker's",
        "builds differ in what it means",
        &broker,
        read(),
        "token_profile",
    );
}

fn block_of(expression: Vec<Op>) -> BlockBuilder {
    let time = Predicate::new("time".to_owned(), vec![Term::Variable("t".to_owned())]);
    let query = Predicate::new("query".to_owned(), Vec::<Term>::new());
    let query = Rule::new(
        query,
        vec![time],
        vec![Expression { ops: expression }],
        Vec::new(),
    );
    BlockBuilder::new()
        .check(Check {
            kind: CheckKind::One,
            queries: vec![query],
        })
        .unwrap()
}

fn limits(book: &mut Book, pass: &PassToken) {
    let queries = |count| "check if read_only(true);\n".repeat(count);
    book.allow(
        "L01 32 queries",
        "as many as a block may have",
        &book.appended(pass, &queries(32)),
        read(),
    );
    book.refuse(
        "L02 33 queries",
        "",
        &book.appended(pass, &queries(33)),
        read(),
        "token_profile",
    );
    let joined = |count| format!("check if {};", vec!["read_only(true)"; count].join(" or "));
    book.allow(
        "L03 one check of 32 queries",
        "",
        &book.appended(pass, &joined(32)),
        read(),
    );
    book.refuse(
        "L04 one check of 33 queries",
        "",
        &book.appended(pass, &joined(33)),
        read(),
        "token_profile",
    );
    let operations = |count: usize| {
        let negations = (1..count).map(|_| Op::Unary(Unary::Negate));
        let ops = std::iter::once(Op::Value(Term::Bool(count % 2 == 1)))
            .chain(negations)
            .collect();
        raw::append_block(pass, &book.setup.root(), block_of(ops))
    };
    let (most, more) = (operations(256), operations(257));
    book.allow(
        "L05 256 operations",
        "as many as a block may have",
        &most,
        read(),
    );
    book.refuse("L06 257 operations", "", &more, read(), "token_profile");
    let eight = (0..8).fold(pass.clone(), |token, _| {
        book.appended(&token, "check if read_only(true);")
    });
    book.allow("L07 eight appended blocks", "", &eight, read());
    let nine = book.appended(&eight, "check if read_only(true);");
    book.refuse(
        "L08 nine appended blocks",
        "",
        &nine,
        read(),
        "token_profile",
    );
}

fn depths(book: &mut Book, pass: &PassToken) {
    let nested = |depth: usize, params: &[&str]| {
        let ops = (0..depth).fold(vec![Op::Value(Term::Bool(true))], |inner, level| {
            let params = params.iter().map(|name| format!("{name}{level}")).collect();
            vec![
                Op::Value(Term::Bool(true)),
                Op::Closure(params, inner),
                Op::Binary(Binary::LazyAnd),
            ]
        });
        raw::append_block(pass, &book.setup.root(), block_of(ops))
    };
    let (ands, params) = (nested(20, &[]), nested(2, &["p"]));
    book.allow(
        "G01 `a && (b && (c && …))` twenty deep",
        "what runs once may nest",
        &ands,
        read(),
    );
    book.refuse(
        "G02 a closure with parameters in another",
        "",
        &params,
        read(),
        "token_profile",
    );
    let deep = (0..2_000).fold(Vec::new(), |ops, _| {
        let closure = schema::OpClosure {
            params: Vec::new(),
            ops,
        };
        vec![schema::Op {
            content: Some(schema::op::Content::Closure(closure)),
        }]
    });
    let by_hand = |ops: Vec<schema::Op>, terms: Vec<schema::Term>, kind| {
        let head = schema::Predicate { name: 27, terms };
        let expressions = vec![schema::Expression { ops }];
        let query = schema::Rule {
            head,
            body: Vec::new(),
            expressions,
            scope: Vec::new(),
        };
        let check = schema::Check {
            queries: vec![query],
            kind,
        };
        raw::append_by_hand(
            pass,
            &schema::Block {
                checks: vec![check],
                ..raw::empty_block()
            },
        )
    };
    let about = "no stack is deep enough for everybody";
    book.refuse(
        "G03 closures 2000 deep",
        about,
        &by_hand(deep, Vec::new(), None),
        read(),
        "token_malformed",
    );
    let parentheses = std::iter::once(Op::Value(Term::Bool(true)))
        .chain((0..300).map(|_| Op::Unary(Unary::Parens)))
        .collect();
    let parentheses = raw::append_block(pass, &book.setup.root(), block_of(parentheses));
    book.refuse(
        "G04 300 parentheses",
        "printed and read again they end a process",
        &parentheses,
        read(),
        "token_profile",
    );
    let variable = schema::Term {
        content: Some(schema::term::Content::Variable(1)),
    };
    for (name, token) in [
        (
            "G05 a check that derives something",
            by_hand(Vec::new(), vec![variable], None),
        ),
        (
            "G06 a check of no known kind",
            by_hand(Vec::new(), Vec::new(), Some(9)),
        ),
        (
            "G07 an empty operation",
            by_hand(vec![schema::Op { content: None }], Vec::new(), None),
        ),
    ] {
        book.refuse(
            name,
            "what no library writes",
            &token,
            read(),
            "token_profile",
        );
    }
    let empty = schema::Check {
        queries: Vec::new(),
        kind: None,
    };
    let empty = raw::append_by_hand(
        pass,
        &schema::Block {
            checks: vec![empty],
            ..raw::empty_block()
        },
    );
    book.refuse(
        "G08 a check without a query",
        "",
        &empty,
        read(),
        "token_profile",
    );
}

fn costs(book: &mut Book, pass: &PassToken) {
    let set = |count: usize| {
        (0..count)
            .map(|value| value.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let ones = |text: &str, count: usize| vec![text; count].join(", ");
    let long = format!("\"{}\"", "\u{1}".repeat(2_000));
    for (name, code) in [
        (
            "Z01 two arguments joined",
            format!(
                "check if arg($p, $v), arg($q, $w), {{{0}}}.all($x -> {{{0}}}.contains($x));",
                set(400)
            ),
        ),
        (
            "Z02 a set searched for each of its elements",
            format!(
                "check if {{{0}}}.all($x -> {{{0}}}.contains($x));",
                set(1_000)
            ),
        ),
        (
            "Z03 text searched in text",
            format!(
                "check if arg($p, $v), arg($q, $w), {};",
                vec!["$v.contains($w)"; 30].join(" && ")
            ),
        ),
        (
            "Z04 types of every pair",
            format!(
                "check if arg($p, $v), arg($q, $w), {};",
                ones("$v.type() === $w.type()", 4)
            ),
        ),
        (
            "Z05 sets built anew",
            format!(
                "check if arg($p, $v), {{{}}}{}.length() > 0;",
                set(1_000),
                ".union({1})".repeat(20)
            ),
        ),
        (
            "Z06 segments for each segment",
            format!(
                "check if call_path($s), {};",
                ones("$s.all($x -> $s.length() > 0)", 20)
            ),
        ),
        (
            "Z07 long searches",
            format!(
                "check if arg($p, $v), {};",
                ones("!$v.contains(\"ab\")", 20)
            ),
        ),
        (
            "Z08 one text a hundred times",
            format!(
                "check if call_path($s), $s.starts_with([{}]);",
                ones(&long, 100)
            ),
        ),
    ] {
        let token = book.appended(pass, &code);
        book.refuse(
            name,
            "run limits are looked at between queries only",
            &token,
            read(),
            "token_profile",
        );
    }
    let cheap = book.appended(
        pass,
        &format!("check if call($s, $k, $n), !{{{}}}.contains($n);", set(500)),
    );
    book.allow("Z09 a large set that is searched once", "", &cheap, read());
    let every = book.appended(
        pass,
        "check if arg_names($a), $a.all($n -> {\"/a\", \"/b\"}.contains($n));",
    );
    book.allow(
        "Z10 a look at every argument's name",
        "",
        &every,
        tool("read_ledger", json!({"a": 1})),
    );
    let other = tool("read_ledger", json!({"c": 1}));
    book.refuse_in(
        ("Z11 a name that it does not allow", ""),
        &every,
        other,
        1,
        &["argument_constraint"],
    );
    let code = format!(
        "check if arg($p, $v), arg($q, $w), {};",
        ["$v === $w"; 5].join(" && ")
    );
    let eight = (0..8).fold(pass.clone(), |token, _| book.appended(&token, &code));
    book.refuse(
        "Z12 blocks that are cheap one by one",
        "the cost of all adds up",
        &eight,
        read(),
        "token_profile",
    );
}

fn third_parties(book: &mut Book, pass: &PassToken) {
    let approved = r#"approved("i","t","s","tool","n","d",2026-11-22T10:00:00Z,"w");"#;
    let signed = |code: &str| book.signed(pass, 9, code);
    let allowed = signed(approved);
    let refused: Vec<(String, PassToken)> = [
        r#"right("s", "tool", {"n"});"#,
        r#"delegate("helper");"#,
        r#"approved("i");"#,
        "time(2026-11-22T10:00:00Z);",
        r#"args_digest("d");"#,
        r#"delegate("a", "k"); delegate("b", "k");"#,
        r#"approved({1, 2},"t","s","tool","n","d",2026-11-22T10:00:00Z,"w");"#,
        r#"approved(null,"t","s","tool","n","d",2026-11-22T10:00:00Z,"w");"#,
    ]
    .into_iter()
    .map(|code| (format!("Y02 a third party says {code}"), signed(code)))
    .collect();
    book.allow(
        "Y01 a third party approves something",
        "nobody asked",
        &allowed,
        read(),
    );
    for (name, token) in refused {
        book.refuse(
            &name,
            "a third party says two things only",
            &token,
            read(),
            "token_profile",
        );
    }
}

/// Printed Datalog can lie; the wire form cannot.
fn printed(book: &mut Book, pass: &PassToken) {
    let forged = format!(
        "x\", \"y\");\nright(\"{SERVER}\", \"tool\", {{\"delete_ledger\"}});\ndelegate(\"z"
    );
    let string = biscuit_auth::builder::string;
    let fact = biscuit_auth::builder::fact("delegate", &[string(&forged), string("k")]);
    let biscuit = raw::biscuit(pass, &book.setup.root());
    let signer = raw::key_pair(9);
    let block = BlockBuilder::new().fact(fact).unwrap();
    let signed = biscuit
        .third_party_request()
        .unwrap()
        .create_block(&signer.private(), block)
        .unwrap();
    let longer = biscuit.append_third_party(signer.public(), signed).unwrap();
    assert!(
        longer.print_block_source(1).unwrap().contains("\nright("),
        "the trap is gone"
    );
    let token = raw::token(longer.to_vec().unwrap());
    let about = "printed, the delegate's name is a right";
    book.refuse(
        "D10 a forged printed fact",
        about,
        &token,
        tool("delete_ledger", json!({})),
        "holder_chain",
    );
}
