//! Constraints on arguments, paths, URLs and resources.

use hallpass_core::token::{PassToken, rights::Kind};
use serde_json::{Value, json};

use super::book::{Book, ELSEWHERE, call, resource, tool};

pub(super) fn write(book: &mut Book) {
    values(book);
    types(book);
    closed(book);
    paths(book);
    hosts(book);
    counts(book);
    names(book);
}

fn constrained(book: &Book, constraints: Value) -> PassToken {
    book.pass(
        json!({"tools": ["transfer", "read_ledger"], "constraints": {"transfer": constraints}}),
    )
}

const REFUSED: &[&str] = &["argument_constraint"];

fn values(book: &mut Book) {
    let all = json!({"/amount": {"min": 0, "max": 100}, "/owner": {"in": ["acme", "emca"]}, "/memo": {"prefix": "Q3 "},
        "/currency": {"equal": "EUR"}, "/path": {"under": "/srv/data"}, "/url": {"host": ["api.example.com"]}});
    let good = json!({"amount": 100, "owner": "acme", "memo": "Q3 plan", "currency": "EUR", "path": "/srv/data/a",
        "url": "https://api.example.com/x"});
    let pass = constrained(book, all);
    let transfer = |name: &str, value: Option<Value>| {
        let mut arguments = good.clone();
        match value {
            Some(value) => arguments[name] = value,
            None => drop(arguments.as_object_mut().unwrap().remove(name)),
        }
        tool("transfer", arguments)
    };
    book.allow(
        "A01 every constraint holds",
        "at the limit",
        &pass,
        transfer("amount", Some(json!(100))).allowed_anyway(),
    );
    book.allow(
        "A02 one more argument",
        "the list is not closed",
        &pass,
        transfer("note", Some(json!("x"))).allowed_anyway(),
    );
    book.allow(
        "A03 constraints of another tool",
        "bind that one",
        &pass,
        tool("read_ledger", json!({"amount": 999})),
    );
    for (name, argument, value) in [
        ("F11 not the one value", "currency", json!("USD")),
        ("F11a the value in lower case", "currency", json!("eur")),
        ("F12 not one of the values", "owner", json!("evil")),
        ("F12a two values in one text", "owner", json!("acme,emca")),
        ("F13 above the range", "amount", json!(101)),
        ("F13a below the range", "amount", json!(-1)),
        ("F13b the least integer there is", "amount", json!(i64::MIN)),
        (
            "F15 a line feed before the prefix",
            "memo",
            json!("\nQ3 plan"),
        ),
        ("F15a the prefix inside", "memo", json!("see Q3 plan")),
        (
            "F16 a line feed after the value",
            "currency",
            json!("EUR\n"),
        ),
        (
            "F16a a zero byte after the value",
            "currency",
            json!("EUR\u{0}"),
        ),
    ] {
        let ask = transfer(argument, Some(value)).refused_anyway();
        book.refuse_in((name, ""), &pass, ask, 0, REFUSED);
    }
    for argument in ["amount", "owner", "memo", "currency", "path", "url"] {
        let name = format!("F17 no argument `{argument}`");
        let absent = transfer(argument, None).refused_anyway();
        book.refuse_in(
            (&name, "one that is absent refuses"),
            &pass,
            absent,
            0,
            REFUSED,
        );
    }
    let none = call(Kind::Tool, "transfer", None);
    book.refuse_in(("F17a no arguments at all", ""), &pass, none, 0, REFUSED);
    let nothing = json!({"rights": [{"type": "mcp", "server": support::SERVER, "tools": ["transfer"],
        "constraints": {"transfer": {"/amount": {"max": 5}}}}]});
    let narrower = hallpass_core::token::attenuate(&pass, &super::book::narrowing(nothing))
        .unwrap()
        .token;
    book.allow(
        "A04 both blocks' constraints hold",
        "",
        &narrower,
        transfer("amount", Some(json!(5))),
    );
    let six = transfer("amount", Some(json!(6)));
    book.refuse_in(
        ("A05 the later block's does not", ""),
        &narrower,
        six,
        1,
        REFUSED,
    );
    let mut elsewhere = support::rights(
        json!({"tools": ["transfer"], "constraints": {"transfer": {"/amount": {"max": 1}}}}),
    );
    elsewhere.server = ELSEWHERE.parse().unwrap();
    let both = book.setup.issuer.mint(vec![
        support::rights(json!({"tools": ["transfer"]})),
        elsewhere,
    ]);
    book.allow(
        "A06 a constraint on another server's tool",
        "binds there",
        &both,
        tool("transfer", json!({"amount": 9})),
    );
    let there = tool("transfer", json!({"amount": 9})).server(ELSEWHERE);
    book.refuse_in(
        ("A07 a constraint on this server's tool", ""),
        &both,
        there,
        0,
        REFUSED,
    );
    // `check if` is existential: a holder who writes it gets what it says.
    let plain = book.plain();
    let some = book.appended(&plain, r#"check if arg($p, $v), $v === "acme";"#);
    let every = book.appended(&plain, r#"check all arg($p, $v), $v === "acme";"#);
    let mixed = || tool("transfer", json!({"a": "acme", "b": "evil"}));
    book.allow(
        "A08 one good argument is enough for `check if`",
        "",
        &some,
        mixed().allowed_anyway(),
    );
    book.refuse_in(
        ("A09 and not for `check all`", ""),
        &every,
        mixed().refused_anyway(),
        1,
        REFUSED,
    );
    let none = (
        "A10 `check all` of nothing",
        "is false when nothing matches",
    );
    book.refuse_in(
        none,
        &every,
        tool("transfer", json!({})).refused_anyway(),
        1,
        REFUSED,
    );
}

fn types(book: &mut Book) {
    let wrong: &[&str] = &["argument_type"];
    for (name, constraint, value, codes) in [
        (
            "F14 a text for a number",
            json!({"max": 5}),
            json!("3"),
            wrong,
        ),
        (
            "F14a a boolean for a number",
            json!({"max": 5}),
            json!(true),
            wrong,
        ),
        (
            "F14b a number for a text",
            json!({"equal": "3"}),
            json!(3),
            wrong,
        ),
        (
            "F14c a text for one of the numbers",
            json!({"in": [3]}),
            json!("3"),
            wrong,
        ),
        (
            "F14d a number for one of the texts",
            json!({"in": ["3"]}),
            json!(3),
            wrong,
        ),
        (
            "F14e a number for a boolean",
            json!({"equal": true}),
            json!(1),
            wrong,
        ),
        (
            "F14f a number for a prefix",
            json!({"prefix": "3"}),
            json!(31),
            wrong,
        ),
        ("F14g a fraction", json!({"max": 5}), json!(3.5), REFUSED),
        (
            "F14h a whole number written as a fraction",
            json!({"max": 5}),
            json!(3.0),
            REFUSED,
        ),
        (
            "F14i more than 64 bits",
            json!({"max": 5}),
            json!(18_446_744_073_709_551_615_u64),
            REFUSED,
        ),
        ("F14j null", json!({"max": 5}), json!(null), REFUSED),
        ("F14k a list of one", json!({"max": 5}), json!([3]), REFUSED),
        ("F14l an object", json!({"max": 5}), json!({"": 3}), REFUSED),
    ] {
        let pass = constrained(book, json!({"/v": constraint}));
        book.refuse_in(
            (name, "values have types"),
            &pass,
            tool("transfer", json!({"v": value})),
            0,
            codes,
        );
    }
}

fn closed(book: &mut Book) {
    let pass = book.pass(
        json!({"tools": ["transfer"], "closed_arguments": ["transfer"],
        "constraints": {"transfer": {"/o/x": {"max": 5}, "/a~1b": {"max": 5}}}}),
    );
    let good = json!({"o": {"x": 3}, "a/b": 1});
    book.allow(
        "F19 no argument but the constrained",
        "and those on the way to them",
        &pass,
        tool("transfer", good.clone()),
    );
    for (name, change) in [
        ("F19a one more beside", json!({"p": 1})),
        ("F19b one more that is null", json!({"p": null})),
        ("F19c one more that is empty", json!({"p": {}})),
        ("F19d one more within", json!({"o": {"x": 3, "y": 1}})),
        ("F19e one without a name", json!({"": 1})),
        ("F19f one whose name looks like the way", json!({"o/x": 3})),
    ] {
        let mut arguments = good.clone();
        arguments
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        book.refuse_in(
            (name, "the list is closed"),
            &pass,
            tool("transfer", arguments),
            0,
            &["argument_not_allowed"],
        );
    }
    let none = book.pass(json!({"tools": ["transfer"], "closed_arguments": ["transfer"]}));
    book.allow(
        "F19g closed over nothing, and nothing",
        "",
        &none,
        tool("transfer", json!({})),
    );
    for (index, arguments) in [json!(["a"]), json!("a"), json!(1), json!(null), json!([])]
        .into_iter()
        .enumerate()
    {
        let name = format!("F19h closed over nothing, and no object ({index})");
        let ask = tool("transfer", arguments);
        book.refuse_in(
            (&name, "the whole is one value that no pass names"),
            &none,
            ask,
            0,
            &["argument_not_allowed"],
        );
    }
}

const DOUBTFUL_PATHS: [(&str, &str); 20] = [
    ("P03", "/srv/database/x"),
    ("P04", "/srv/data/../secret"),
    ("P05", "/srv/data/./x"),
    ("P06", "/srv//data/x"),
    ("P07", "/srv/data/%2e%2e/x"),
    ("P08", "/srv/data\\..\\x"),
    ("P09", "srv/data/x"),
    ("P10", "/srv/data/..."),
    ("P11", "/srv/data/x\u{0}"),
    ("P12", "/srv/data/x/"),
    ("P13", "/srv/data/.. /x"),
    ("P14", "/srv/data/..\u{a0}/x"),
    ("P15", "/srv/data/..;a/x"),
    ("P16", "/srv/data/ x"),
    ("P17", "/srv/data\n/x"),
    ("P18", "/SRV/data/x"),
    ("P19", "/srv/data/..\u{feff}"),
    ("P22", ""),
    ("P23", "/srv"),
    ("P24", "file:///srv/data/x"),
];

fn paths(book: &mut Book) {
    let pass = book.pass(
        json!({"tools": ["transfer"], "resources": ["file:///srv/data"],
        "constraints": {"transfer": {"/path": {"under": "/srv/data"}}}}),
    );
    for (name, path) in [
        ("P01", "/srv/data/a.txt"),
        ("P02", "/srv/data"),
        ("P21", "/srv/data/…/ä b"),
    ] {
        let argument = tool("transfer", json!({"path": path}));
        book.allow(
            &format!("{name} the path {path:?}"),
            "at or under the subtree",
            &pass,
            argument.allowed_anyway(),
        );
        let uri = resource(&format!("file://{path}"));
        book.allow(
            &format!("{name}r the same as a resource"),
            "",
            &pass,
            uri.allowed_anyway(),
        );
    }
    for (name, path) in DOUBTFUL_PATHS {
        let argument = tool("transfer", json!({"path": path})).refused_anyway();
        book.refuse_in(
            (&format!("{name} the path {path:?}"), "outside, or in doubt"),
            &pass,
            argument,
            0,
            REFUSED,
        );
        let uri = resource(&format!("file://{path}")).refused_anyway();
        book.refuse_in(
            (&format!("{name}r the same as a resource"), ""),
            &pass,
            uri,
            0,
            &["not_granted"],
        );
    }
    for (index, value) in [
        json!(["/srv/data/a", "/etc/passwd"]),
        json!(["/srv/data/a"]),
        json!({"0": "/srv/data/a"}),
        json!(null),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("P20 several paths where one is looked for ({index})");
        let ask = tool("transfer", json!({"path": value}));
        book.refuse_in(
            (&name, "the good part of a bad value is no value"),
            &pass,
            ask,
            0,
            REFUSED,
        );
    }
    for (index, uri) in [
        "file:///srv/data?x",
        "file:///srv/data#x",
        "FILE:///srv/data",
        "file://localhost/srv/data",
        "file:/srv/data",
        "file:///srv/data/%00",
        "file://user@/srv/data",
        "",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("P25 a resource in another spelling ({index})");
        book.refuse_in(
            (&name, "what is in doubt is not named"),
            &pass,
            resource(uri).refused_anyway(),
            0,
            &["not_granted"],
        );
    }
    let many = format!("/srv/data{}", "/a".repeat(127));
    let ask = tool("transfer", json!({"path": many})).refused_anyway();
    book.refuse_in(("P26 more than 128 segments", ""), &pass, ask, 0, REFUSED);
    let deep = format!("/srv/data{}", "/a".repeat(126));
    book.allow(
        "P27 128 segments",
        "",
        &pass,
        tool("transfer", json!({"path": deep})),
    );
    let undeclared =
        book.pass(json!({"tools": ["read_ledger"], "constraints": {"read_ledger": {"/path": {"under": "/srv"}}}}));
    let ask = tool("read_ledger", json!({"path": "/srv/a"}));
    book.refuse_in(
        ("P28 a path that the manifest does not declare", ""),
        &undeclared,
        ask,
        0,
        REFUSED,
    );
}

fn hosts(book: &mut Book) {
    let pass = constrained(book, json!({"/url": {"host": ["api.example.com"]}}));
    for (index, url) in [
        "https://api.example.com",
        "https://api.example.com:8443/x?y=z#f",
        "http://api.example.com/ü",
    ]
    .iter()
    .enumerate()
    {
        let ask = tool("transfer", json!({"url": url})).allowed_anyway();
        book.allow(
            &format!("U01 the host, whatever else ({index})"),
            url,
            &pass,
            ask,
        );
    }
    for (index, url) in [
        "https://api.example.com.evil.example/",
        "https://evil.example/?https://api.example.com",
        "https://evil.example#@api.example.com",
        "https://api.example.com@evil.example/",
        "https://api.example.com\\@evil.example/",
        "https://api.example.com./",
        "https://API.example.com/",
        "https://api%2eexample.com/",
        "https:/api.example.com/",
        "//api.example.com/",
        "ftp://api.example.com/",
        " https://api.example.com/",
        "https://api.example.com\t/",
        "https://api。example.com/",
        "https://[::ffff:1.2.3.4]/",
        "api.example.com",
    ]
    .iter()
    .enumerate()
    {
        let ask = tool("transfer", json!({"url": url})).refused_anyway();
        book.refuse_in(
            (&format!("U02 another host, or one in doubt ({index})"), url),
            &pass,
            ask,
            0,
            REFUSED,
        );
    }
}

fn counts(book: &mut Book) {
    let many = |count: usize| -> Value {
        (0..count)
            .map(|index| (format!("a{index}"), json!(1)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let (plain, bound) = (book.plain(), constrained(book, json!({"/a0": {"max": 1}})));
    book.allow(
        "C01 64 arguments",
        "as many as are looked at",
        &bound,
        tool("transfer", many(64)),
    );
    let too_many = tool("transfer", many(65));
    book.refuse(
        "C02 65 arguments and a constraint",
        "none is looked at",
        &bound,
        too_many.clone(),
        "argument_count",
    );
    book.allow(
        "C03 65 arguments and no constraint",
        "nobody looks",
        &plain,
        too_many,
    );
    let long = json!({"memo": "Q3 ".repeat(2_000)});
    let memo = constrained(book, json!({"/memo": {"prefix": "Q3 "}}));
    let about = "it has a name and no value";
    book.refuse_in(
        ("C04 a text of more than 4096 bytes", about),
        &memo,
        tool("transfer", long.clone()),
        0,
        REFUSED,
    );
    let every = book.appended(&plain, r#"check all arg($p, $v), !$v.contains("Q4");"#);
    let hidden = (
        "C05 a long text and a check of every argument",
        "it hides from no check",
    );
    book.refuse_in(
        hidden,
        &every,
        tool("transfer", json!({"memo": long["memo"], "x": "y"})),
        None,
        REFUSED,
    );
    let name = json!({"n".repeat(1_022): {"a": 1}, "a0": 1});
    book.refuse(
        "C06 a name of more than 1024 bytes",
        "",
        &bound,
        tool("transfer", name),
        "argument_count",
    );
    let uri = format!("file:///srv/data/{}", "x".repeat(5_000));
    book.refuse_in(
        ("C07 a resource's name of more than 4096 bytes", ""),
        &plain,
        resource(&uri),
        0,
        &["not_granted"],
    );
}

fn names(book: &mut Book) {
    let pass = constrained(book, json!({"/amount": {"max": 100}}));
    for other in ["Amount", "AMOUNT", "amoUnt"] {
        let ask = tool("transfer", json!({"amount": 1, other: 1_000_000}));
        let name = format!("F18 `amount` beside `{other}`");
        book.refuse_in(
            (&name, "a server could take one for the other"),
            &pass,
            ask,
            0,
            REFUSED,
        );
    }
    for (name, arguments) in [
        (
            "F18a a name that looks like the pointer",
            json!({"/amount": 1}),
        ),
        ("F18b a name with a blank after it", json!({"amount ": 1})),
        ("F18c a name with a zero byte", json!({"amount\u{0}": 1})),
        (
            "F18d a name within a name",
            json!({"amount": {"amount": 1}}),
        ),
        ("F18e another case", json!({"Amount": 1})),
    ] {
        book.refuse_in(
            (name, "is another name"),
            &pass,
            tool("transfer", arguments),
            0,
            REFUSED,
        );
    }
    let every = book.appended(&book.plain(), "check all arg($p, $v), $v <= 5;");
    let ask = tool("transfer", json!({"a": 9, "A": 9, "b": 1}));
    book.refuse_in(
        (
            "F18f twins and a check of every argument",
            "it would not see them",
        ),
        &every,
        ask,
        None,
        REFUSED,
    );
}
