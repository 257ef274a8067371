//! The structural profile: what no block may hold, refused before any of it runs.

use biscuit_auth::{
    BlockBuilder,
    builder::{Binary, Check, CheckKind, Expression, Op, Predicate, Rule, Scope, Term},
    format::schema,
};
use hallpass_core::{
    base::ReasonCode,
    token::{Narrowing, PassToken, attenuate},
};
use serde_json::json;

use super::{code, verified};
use support::{Issuer, raw, rights};

fn pass(issuer: &Issuer) -> PassToken {
    issuer.mint(vec![rights(json!({"tools": ["read_ledger", "transfer"]}))])
}

/// The rule that a first-party block of this text breaks.
fn rule(issuer: &Issuer, code: &str) -> Result<(), String> {
    raw::profile_rule(&raw::append(&pass(issuer), &issuer.root.public(), code))
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

#[test]
fn each_rule_of_the_profile_refuses() {
    let issuer = Issuer::new();
    let cases = [
        (
            "check if me($m), $m.matches(\"https://.*\");",
            "a regular expression",
        ),
        (
            "check if me($m), true && $m.matches(\".\");",
            "a regular expression",
        ),
        (
            "reject if read_only(false);",
            "a check that is neither `check if` nor `check all`",
        ),
        ("right($s) <- me($s);", "a rule"),
        (
            "check if read_only(true) trusting authority;",
            "a query scope",
        ),
        ("read_only(true);", "a fact in a first-party block"),
        (
            "check if me($m), me($n), me($o);",
            "too many predicates in a query",
        ),
        ("check if me($m), $m.extern::f();", "a foreign function"),
        ("check if me($m), $m.extern::f($m);", "a foreign function"),
        ("check if arg(\"/n\", $v), $v + 1 > 2;", "an addition"),
        (
            "check if arg(\"/n\", $v), true && $v + $v === \"xx\";",
            "an addition",
        ),
        (
            "check if (true || false).try_or(true);",
            "an operator that hides errors",
        ),
        (
            "check if [[1]].all($a -> $a.all($b -> $b > 0));",
            "a closure inside a closure",
        ),
    ];
    for (text, expected) in cases {
        let found = rule(&issuer, text).expect_err(text);
        assert_eq!(found, format!("block 1: {expected}"), "{text}");
    }
    // `BlockBuilder::code` drops this one silently.
    let scoped = BlockBuilder::new()
        .scope(Scope::Previous)
        .code("check if read_only(true);")
        .unwrap();
    let scoped = raw::append_block(&pass(&issuer), &issuer.root.public(), scoped);
    assert_eq!(
        raw::profile_rule(&scoped).unwrap_err(),
        "block 1: a block scope"
    );
}

#[test]
fn a_regular_expression_is_refused_even_from_the_broker() {
    // It means different things in different builds of biscuit-auth; without one anywhere, a
    // build with `regex-full` and one without decide alike.
    let issuer = Issuer::new();
    let token = raw::mint(
        &issuer,
        r#"hallpass(1); check if me($m), $m.matches("^https") && true;"#,
    );
    assert_eq!(
        raw::profile_rule(&token).unwrap_err(),
        "block 0: a regular expression"
    );
}

#[test]
fn the_limits_hold_at_the_limit_and_one_past() {
    let issuer = Issuer::new();
    let queries = |count| "check if read_only(true);\n".repeat(count);
    assert_eq!(rule(&issuer, &queries(32)), Ok(()));
    assert_eq!(
        rule(&issuer, &queries(33)).unwrap_err(),
        "block 1: too many queries"
    );
    let joined = |count| format!("check if {};", vec!["read_only(true)"; count].join(" or "));
    assert_eq!(rule(&issuer, &joined(32)), Ok(()));
    assert_eq!(
        rule(&issuer, &joined(33)).unwrap_err(),
        "block 1: too many queries"
    );
    // Two operations for a `true`, a negation and a negation: an odd count needs none.
    let operations = |count: usize| {
        let negations = (1..count).map(|_| Op::Unary(biscuit_auth::builder::Unary::Negate));
        let ops = std::iter::once(Op::Value(Term::Bool(true)))
            .chain(negations)
            .collect();
        raw::append_block(&pass(&issuer), &issuer.root.public(), block_of(ops))
    };
    assert_eq!(raw::profile_rule(&operations(256)), Ok(()));
    assert_eq!(
        raw::profile_rule(&operations(257)).unwrap_err(),
        "block 1: too many operations"
    );
    assert_eq!(rule(&issuer, "check if me($m), read_only(true);"), Ok(()));
    assert_eq!(
        rule(
            &issuer,
            "check if arg_names($a), $a.all($n -> $n.starts_with(\"/\"));"
        ),
        Ok(())
    );
}

#[test]
fn deep_closures_are_refused_and_exhaust_no_stack() {
    let issuer = Issuer::new();
    let nested = |depth: usize, params: &[&str]| {
        let innermost = vec![Op::Value(Term::Bool(true))];
        (0..depth).fold(innermost, |inner, level| {
            let params = params.iter().map(|name| format!("{name}{level}")).collect();
            vec![
                Op::Value(Term::Bool(true)),
                Op::Closure(params, inner),
                Op::Binary(Binary::LazyAnd),
            ]
        })
    };
    let token = |ops| raw::append_block(&pass(&issuer), &issuer.root.public(), block_of(ops));
    assert_eq!(
        raw::profile_rule(&token(nested(20, &[]))),
        Ok(()),
        "`a && (b && (c && …))` runs once"
    );
    assert_eq!(
        raw::profile_rule(&token(nested(2, &["p"]))).unwrap_err(),
        "block 1: a closure inside a closure"
    );
    let schema_op = |ops: Vec<schema::Op>| schema::Op {
        content: Some(schema::op::Content::Closure(schema::OpClosure {
            params: Vec::new(),
            ops,
        })),
    };
    let deep = (0..2_000).fold(Vec::new(), |inner, _| vec![schema_op(inner)]);
    let query = schema::Rule {
        head: schema::Predicate {
            name: 27,
            terms: Vec::new(),
        },
        body: Vec::new(),
        expressions: vec![schema::Expression { ops: deep }],
        scope: Vec::new(),
    };
    let check = schema::Check {
        queries: vec![query],
        kind: None,
    };
    let token = raw::append_by_hand(
        &pass(&issuer),
        &schema::Block {
            checks: vec![check],
            ..raw::empty_block()
        },
    );
    assert_eq!(
        verified(&issuer, &token).err(),
        Some(ReasonCode::TokenMalformed)
    );
}

#[test]
fn what_no_library_writes_is_refused_too() {
    let issuer = Issuer::new();
    let variable = schema::Term {
        content: Some(schema::term::Content::Variable(1)),
    };
    let empty = schema::Check {
        queries: Vec::new(),
        kind: None,
    };
    let head = |terms| schema::Predicate { name: 27, terms };
    let query = |terms, ops| schema::Rule {
        head: head(terms),
        body: Vec::new(),
        expressions: vec![schema::Expression { ops }],
        scope: Vec::new(),
    };
    let check = |query| schema::Check {
        queries: vec![query],
        kind: None,
    };
    let kind = schema::Check {
        kind: Some(9),
        ..check(query(Vec::new(), Vec::new()))
    };
    let binary = schema::op::Content::Binary(schema::OpBinary {
        kind: 99,
        ffi_name: None,
    });
    let cases = [
        (empty, "a check without a query"),
        (
            check(query(vec![variable], Vec::new())),
            "a check that derives something",
        ),
        (kind, "a check that is neither `check if` nor `check all`"),
        (
            check(query(Vec::new(), vec![schema::Op { content: None }])),
            "an empty operation",
        ),
        (
            check(query(
                Vec::new(),
                vec![schema::Op {
                    content: Some(binary),
                }],
            )),
            "a foreign function",
        ),
    ];
    for (check, expected) in cases {
        let block = schema::Block {
            checks: vec![check],
            ..raw::empty_block()
        };
        let token = raw::append_by_hand(&pass(&issuer), &block);
        assert_eq!(
            raw::profile_rule(&token).unwrap_err(),
            format!("block 1: {expected}")
        );
    }
    let unknown_symbol = query(Vec::new(), Vec::new());
    let unknown_symbol = schema::Rule {
        body: vec![schema::Predicate {
            name: 5_000,
            terms: Vec::new(),
        }],
        ..unknown_symbol
    };
    let block = schema::Block {
        checks: vec![check(unknown_symbol)],
        ..raw::empty_block()
    };
    let token = raw::append_by_hand(&pass(&issuer), &block);
    assert_eq!(
        code(&issuer.verifier(), &token, "read_ledger", &json!({})),
        Some(ReasonCode::TokenProfile)
    );
}

#[test]
fn a_third_party_says_two_things_only() {
    let issuer = Issuer::new();
    let root = issuer.root.public();
    let signer = raw::key_pair(9);
    let rule = |code: &str| {
        raw::profile_rule(&raw::append_third_party(
            &pass(&issuer),
            &root,
            &signer,
            code,
        ))
    };
    let approved = r#"approved("i","t","s","tool","n","d",2026-11-22T10:00:00Z,"w");"#;
    assert_eq!(
        rule(r#"delegate("helper", "ed25519/00"); check if read_only(true);"#),
        Ok(())
    );
    assert_eq!(rule(approved), Ok(()));
    let unknown = "block 1: a fact that the format does not define";
    for code in [
        r#"right("s", "tool", {"n"});"#,
        r#"delegate("helper");"#,
        r#"approved("i");"#,
        "time(2026-11-22T10:00:00Z);",
        r#"args_digest("d");"#,
    ] {
        assert_eq!(rule(code).unwrap_err(), unknown, "{code}");
    }
    let two = r#"delegate("a", "k"); delegate("b", "k");"#;
    assert_eq!(rule(two).unwrap_err(), "block 1: more than one delegation");
    let long = "x".repeat(257);
    for value in [
        format!("\"{long}\""),
        "{1, 2}".to_owned(),
        "[1]".to_owned(),
        "null".to_owned(),
    ] {
        let text = approved.replace("\"i\"", &value);
        assert_eq!(
            rule(&text).unwrap_err(),
            "block 1: a fact with a term that is not a short scalar",
            "{value}"
        );
    }
    let nine: String = (0..9)
        .map(|index| approved.replace("\"i\"", &format!("\"{index}\"")))
        .collect();
    assert_eq!(rule(&nine).unwrap_err(), "block 1: too many facts");
}

#[test]
fn what_would_keep_a_verifier_busy_is_refused_by_its_cost() {
    let issuer = Issuer::new();
    let set = |count: usize| {
        (0..count)
            .map(|value| value.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    // 64 times 64 ways to match, each with a thousand times a thousand comparisons.
    let join = format!(
        "check if arg($p, $v), arg($q, $w), {{{0}}}.all($x -> {{{0}}}.contains($x));",
        set(1_000)
    );
    let nested = format!(
        "check if {{{0}}}.all($x -> {{{0}}}.contains($x));",
        set(1_000)
    );
    let search = format!(
        "check if arg($p, $v), arg($q, $w), {};",
        vec!["$v.contains($w)"; 30].join(" && ")
    );
    let ones = |text: &str, count: usize| vec![text; count].join(", ");
    let types = format!(
        "check if arg($p, $v), arg($q, $w), {};",
        ones("$v.type() === $w.type()", 4)
    );
    let unions = format!(
        "check if arg($p, $v), {{{}}}{};",
        set(1_000),
        ".union({1})".repeat(20)
    );
    let unions = unions.replace("{1});", "{1}).length() > 0;");
    let segments = format!(
        "check if call_path($s), {};",
        ones("$s.all($x -> $s.length() > 0)", 20)
    );
    let long_searches = format!(
        "check if arg($p, $v), {};",
        ones("!$v.contains(\"ab\")", 20)
    );
    for text in [join, nested, search, types, unions, segments, long_searches] {
        let expected = "block 1: checks that take too long to evaluate";
        assert_eq!(
            rule(&issuer, &text).unwrap_err(),
            expected,
            "{}",
            &text[..60]
        );
    }
    // What people write by hand stays far below.
    for text in [
        "check all arg($p, $v), $p.starts_with(\"/\");".to_owned(),
        "check if arg_names($a), $a.all($n -> {\"/a\", \"/b\"}.contains($n));".to_owned(),
        format!("check if call($s, $k, $n), {{{}}}.contains($n);", set(500)),
        "check if right($s, $k, $set), call($s, $k, $n), $set.contains($n);".to_owned(),
    ] {
        assert_eq!(rule(&issuer, &text), Ok(()), "{text}");
    }
    // Facts that a holder signs itself are several, and count so.
    let approvals = |count: usize| {
        let fact = |index| {
            format!(r#"approved("{index}","t","s","tool","n","d",2026-11-22T10:00:00Z,"w");"#)
        };
        let facts: String = (0..count).map(fact).collect();
        let body = "approved($a,$b,$c,$d,$e,$f,$g,$h), approved($i,$j,$k,$l,$m,$n,$o,$p)";
        let code = format!("{facts} check if {body}, {};", ones("$a.contains($b)", 2));
        raw::profile_rule(&raw::append_third_party(
            &pass(&issuer),
            &issuer.root.public(),
            &raw::key_pair(9),
            &code,
        ))
    };
    assert_eq!(approvals(4), Ok(()));
    assert_eq!(
        approvals(8).unwrap_err(),
        "block 1: checks that take too long to evaluate"
    );
}

#[test]
fn what_hallpass_writes_fits_eight_times_over_with_room_to_spare() {
    let issuer = Issuer::new();
    let cost = |token: &PassToken| verified(&issuer, token).unwrap().cost();
    assert_eq!(
        cost(&pass(&issuer)),
        0,
        "what the broker writes is not counted"
    );
    // As many tools as eight blocks have room for, each time with everything else that a narrowing can say.
    let names: Vec<String> = (0..60).map(|index| format!("t{index}")).collect();
    let full = || rights(json!({"tools": names}));
    let mut narrowing = Narrowing::default();
    narrowing.expires_at = Some(issuer.now().plus(std::time::Duration::from_secs(60)));
    narrowing.rights = Some(vec![
        full(),
        rights(
            json!({"tools": ["read_ledger", "transfer"], "resources": ["file:///srv/data/a"], "prompts": ["summary"],
            "closed_arguments": ["transfer"], "constraints": {"transfer": {
                "/amount": {"min": 0, "max": 100}, "/path": {"under": "/srv/data"}, "/url": {"host": ["api.example.com"]},
            }}}),
        ),
    ]);
    let first = issuer.mint(vec![
        full(),
        rights(json!({"tools": ["read_ledger", "transfer"]})),
    ]);
    let longest = (0..8).fold(first, |token, _| {
        attenuate(&token, &narrowing).unwrap().token
    });
    assert!(
        (1_000..60_000).contains(&cost(&longest)),
        "{} units",
        cost(&longest)
    );
    // And more tools, kept to the read-only ones.
    let names: Vec<String> = (0..100).map(|index| format!("tool_{index}")).collect();
    let mut narrowing = Narrowing::default();
    narrowing.rights = Some(vec![rights(json!({"tools": names, "read_only": true}))]);
    let longest = (0..8).fold(pass(&issuer), |token, _| {
        attenuate(&token, &narrowing).unwrap().token
    });
    assert!(
        (1_000..50_000).contains(&cost(&longest)),
        "{} units",
        cost(&longest)
    );
}

#[test]
fn a_third_partys_block_is_translated_and_pays_for_it() {
    let issuer = Issuer::new();
    let root = issuer.root.public();
    // Everything it names is looked for among all symbols, one after the other, when it is loaded.
    let code = |count: usize| {
        let names: Vec<String> = (0..count).map(|index| format!("\"s{index:03}\"")).collect();
        let again = vec![format!("\"s{:03}\"", count - 1); count];
        format!(
            "check if me($m), [{}, {}].contains(1);",
            names.join(", "),
            again.join(", ")
        )
    };
    let third_party =
        |count| raw::append_third_party(&pass(&issuer), &root, &raw::key_pair(9), &code(count));
    let expected = "block 1: checks that take too long to evaluate";
    assert_eq!(raw::profile_rule(&third_party(850)).unwrap_err(), expected);
    assert_eq!(raw::profile_rule(&third_party(200)), Ok(()));
    // A first-party block's names need no translation.
    assert_eq!(rule(&issuer, &code(850)), Ok(()));
}

#[test]
fn a_foreign_check_of_the_rights_costs_what_block_0_holds_of_them() {
    let issuer = Issuer::new();
    let root = issuer.root.public();
    let tools = "check if right($s, $k, $set), call($s, $k, $n), $set.contains($n);";
    let trees = "check if call_path($seg), right_path($s, $k, $pre), $seg.starts_with($pre);";
    let cost = |pass: &PassToken, code: &str| {
        let longer = raw::append(pass, &root, code);
        verified(&issuer, &longer).unwrap().cost()
    };
    let names: Vec<String> = (0..200).map(|index| format!("t{index}")).collect();
    let full = issuer.mint(vec![rights(json!({"tools": names}))]);
    let paths: Vec<String> = (0..50)
        .map(|index| format!("file:///srv/{index}"))
        .collect();
    let wide = issuer.mint(vec![rights(json!({"resources": paths}))]);
    assert!(
        cost(&pass(&issuer), tools) < cost(&full, tools),
        "more names, more work"
    );
    assert!(cost(&full, tools) < 2_000, "{}", cost(&full, tools));
    assert!(
        (10_000..50_000).contains(&cost(&wide, trees)),
        "{}",
        cost(&wide, trees)
    );
    for (token, code) in [(&full, tools), (&wide, trees)] {
        let code = format!("{code}\n").repeat(2);
        assert_eq!(raw::profile_rule(&raw::append(token, &root, &code)), Ok(()));
    }
    // Nor is there a way to be asked for more than is counted: every right with every other.
    let joined = "check if right_path($a, $b, $c), right_path($d, $e, $f), $c === $f;";
    let refused = raw::profile_rule(&raw::append(&wide, &root, joined));
    assert_eq!(
        refused.unwrap_err(),
        "block 1: checks that take too long to evaluate"
    );
}

#[test]
fn a_search_costs_by_what_it_looks_for_and_a_set_by_its_elements() {
    let issuer = Issuer::new();
    let root = issuer.root.public();
    let cost = |expression: &str| {
        let code = format!("check if arg(\"/a\", $v), arg(\"/b\", $w), {expression};");
        verified(&issuer, &raw::append(&pass(&issuer), &root, &code))
            .unwrap()
            .cost()
    };
    let searches = |text: &str| cost(&format!("$v.contains({text})"));
    let long = "ab".repeat(1_000);
    assert!(searches("\"ab\"") + 400 < searches(&format!("\"{long}\"")));
    assert!(
        searches("\"ab\"") + 900 < searches("$w"),
        "whatever the argument holds"
    );
    assert!(cost("{\"a\", \"b\"}.contains($v)") + 150 < searches("\"ab\""));
    // One that is put together first could be anything.
    assert!(cost("({\"a\"}.union({\"b\"})).contains($v)") > searches("$w"));
}

#[test]
fn symbols_are_bounded_in_number_and_length() {
    let issuer = Issuer::new();
    let rule = |symbols: Vec<String>| {
        let block = schema::Block {
            symbols,
            ..raw::empty_block()
        };
        raw::profile_rule(&raw::append_by_hand(&pass(&issuer), &block))
    };
    assert_eq!(rule(vec!["x".repeat(4_096)]), Ok(()));
    assert_eq!(
        rule(vec!["x".repeat(4_097)]).unwrap_err(),
        "block 1: a symbol that is too long"
    );
    // Those of block 0 count too.
    let many = |count: usize| (0..count).map(|index| format!("s{index}")).collect();
    assert_eq!(rule(many(900)), Ok(()));
    assert_eq!(rule(many(1_024)).unwrap_err(), "block 1: too many symbols");
}

#[test]
fn a_text_that_is_named_a_thousand_times_is_too_much_text() {
    let issuer = Issuer::new();
    let long = "\u{1}".repeat(2_000);
    let named = |count: usize| {
        format!(
            "check if call_path($s), $s.starts_with([{}]);",
            vec![format!("\"{long}\""); count].join(", ")
        )
    };
    assert_eq!(rule(&issuer, &named(30)), Ok(()));
    for count in [33, 1_000] {
        assert_eq!(
            rule(&issuer, &named(count)).unwrap_err(),
            "block 1: checks that name too much text"
        );
    }
}

#[test]
fn a_refusal_does_not_repeat_all_that_a_holder_wrote() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    // The very shape of a narrowing, whose subtree is one long text many times.
    let subtree = vec![format!("\"{}\"", "\u{1}".repeat(2_000)); 30].join(", ");
    let server = support::SERVER;
    let only = format!(
        "check if call($s, $k, $n), call_path($seg), $s === \"{server}\" && $k === \"resource\" && $seg.starts_with([{subtree}]);"
    );
    let names: Vec<String> = (0..100).map(|index| format!("tool_{index}")).collect();
    let mut narrowing = Narrowing::default();
    narrowing.rights = Some(vec![rights(json!({"tools": names}))]);
    let hostile = raw::append(&pass(&issuer), &issuer.root.public(), &only);
    let usual = attenuate(&pass(&issuer), &narrowing).unwrap().token;
    for (token, says) in [
        (hostile, "allows only resources under"),
        (usual, "allows only tool `tool_0`"),
    ] {
        let denial = super::call(&verifier, &token, "read_ledger", &json!({})).unwrap_err();
        let hallpass_verify::Denial::Refused(refusals) = denial else {
            panic!("{denial}")
        };
        assert!(refusals[0].detail.starts_with(says), "{refusals:?}");
        assert!(
            refusals[0].detail.len() < 520,
            "{} bytes",
            refusals[0].detail.len()
        );
    }
}

#[test]
fn the_cost_of_all_blocks_adds_up() {
    let issuer = Issuer::new();
    let root = issuer.root.public();
    let code = format!(
        "check if arg($p, $v), arg(\"/a\", $w), {};",
        ["$v === $w"; 20].join(" && ")
    );
    let mut token = pass(&issuer);
    let mut blocks = 0;
    while raw::profile_rule(&token).is_ok() && blocks < 8 {
        token = raw::append(&token, &root, &code);
        blocks += 1;
    }
    assert!((2..8).contains(&blocks), "{blocks}");
    assert_eq!(
        verified(&issuer, &token).err(),
        Some(ReasonCode::TokenProfile)
    );
}

#[test]
fn printed_datalog_can_lie_and_is_not_read() {
    let issuer = Issuer::new();
    let root = issuer.root.public();
    let forged = "x\", \"y\");\nright(\"https://ledger.example/mcp\", \"tool\", {\"transfer\"});\ndelegate(\"z";
    let fact = biscuit_auth::builder::fact(
        "delegate",
        &[
            biscuit_auth::builder::string(forged),
            biscuit_auth::builder::string("k"),
        ],
    );
    let biscuit = raw::biscuit(&pass(&issuer), &root);
    let block = BlockBuilder::new().fact(fact).unwrap();
    let signer = raw::key_pair(9);
    let signed = biscuit
        .third_party_request()
        .unwrap()
        .create_block(&signer.private(), block)
        .unwrap();
    let longer = biscuit.append_third_party(signer.public(), signed).unwrap();
    let printed = longer.print_block_source(1).unwrap();
    assert!(
        printed.contains("\nright(\"https://ledger.example/mcp\""),
        "the trap is gone: {printed}"
    );
    let token = raw::token(longer.to_vec().unwrap());
    // One fact of two strings, whatever it looks like in print: a delegation that nobody could sign.
    assert_eq!(
        verified(&issuer, &token).err(),
        Some(ReasonCode::HolderChain)
    );
    let summary = hallpass_core::token::UnverifiedPass::parse(token.expose())
        .unwrap()
        .dangerous_unverified_summary();
    assert_eq!(
        summary.claims.unwrap().rights,
        ["tool read_ledger, transfer on https://ledger.example/mcp"]
    );
    // What people are shown has no way out of its quotes either.
    let hostile = "a`\u{1b}[31m\nright\"";
    let host = format!(
        "check all call($s,$k,$n), !($s === \"https://ledger.example/mcp\" && $k === \"tool\" && $n === \"transfer\") \
         or arg_host(\"/url\", $h), {{{hostile:?}}}.contains($h);"
    )
    .replace("\\u{1b}", "\u{1b}");
    let token = raw::append(
        &issuer.mint(vec![rights(json!({"tools": ["transfer"]}))]),
        &root,
        &host,
    );
    let summary = hallpass_core::token::UnverifiedPass::parse(token.expose())
        .unwrap()
        .dangerous_unverified_summary();
    let shown = summary.blocks[1].requires.join(" ");
    assert!(shown.contains("a URL with host"), "{shown}");
    assert!(
        !shown.contains('\u{1b}') && !shown.contains('\n'),
        "{shown:?}"
    );
    let denial = super::call(
        &issuer.verifier(),
        &token,
        "transfer",
        &json!({"url": "https://x.example/"}),
    )
    .unwrap_err();
    assert!(!denial.to_string().contains(['\u{1b}', '\n']), "{denial:?}");
}
