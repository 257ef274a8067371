//! Tokens that cost as much as their kind can: each kind of work that a holder's checks can ask for,
//! grown until the profile refuses it.

use hallpass_core::{
    base::key::PublicKey,
    token::{PassToken, UnverifiedPass},
};

use super::raw;

/// One kind of work: a check that fails, for which everything had to be looked at. It comes as the
/// Datalog of a block that asks for it `size` times over.
pub struct Kind {
    pub name: &'static str,
    pub code: fn(usize) -> String,
}

pub const KINDS: &[Kind] = &[
    Kind {
        name: "comparing every argument with every other",
        code: |size| vec!["check if arg($p, $v), arg($q, $w), $v == 1;"; size].join("\n"),
    },
    Kind {
        name: "searching every argument for another",
        code: |size| each("arg($p, $v), arg(\"/a\", $w)", "!$v.contains($w)", size),
    },
    Kind {
        name: "beginnings of every argument",
        code: |size| each("arg($p, $v)", "!$p.starts_with($v)", size),
    },
    Kind {
        name: "types of every argument",
        code: |size| each("arg($p, $v)", "$v.type() === \"string\"", size),
    },
    Kind {
        name: "searching every argument for a text",
        code: |size| each("arg($p, $v)", "!$v.contains(\"zz\")", size),
    },
    Kind {
        name: "searching every argument for a long text",
        code: |size| {
            each(
                "arg($p, $v)",
                &format!("!$v.contains(\"{}\")", hard_to_find(3_990)),
                size,
            )
        },
    },
    Kind {
        name: "going through a literal set",
        code: |size| format!("check if !{{{}}}.all($x -> $x >= 0);", numbers(size * 16)),
    },
    Kind {
        name: "searching a set for each of its elements",
        code: |size| {
            format!(
                "check if !{{{0}}}.all($x -> {{{0}}}.contains($x));",
                numbers(size * 4)
            )
        },
    },
    Kind {
        name: "a set for every argument",
        code: |size| {
            format!(
                "check if arg($p, $v), {{{}}}.contains(-1);",
                numbers(size * 16)
            )
        },
    },
    Kind {
        name: "unions of a set",
        code: |size| {
            format!(
                "check if arg($p, $v), {{{}}}{}.length() < 0;",
                numbers(size * 4),
                ".union({1})".repeat(size)
            )
        },
    },
    Kind {
        name: "a closure over a path's segments",
        code: |size| {
            each(
                "arg_path(\"/path\", $s)",
                "$s.all($x -> $s.length() > 0)",
                size,
            )
        },
    },
    Kind {
        name: "a closure over the names of all arguments",
        code: |size| each("arg_names($a)", "$a.all($n -> !$n.contains(\"zz\"))", size),
    },
    Kind {
        name: "the rights of block 0",
        code: |size| {
            each(
                "right($s, $k, $set), call($s, $k, $n)",
                "$set.contains($n) || true",
                size,
            )
        },
    },
    Kind {
        name: "lazy operators in one another",
        code: |size| {
            let nested = format!("{}$v != 1{}", "true && (".repeat(10), ")".repeat(10));
            each("arg($p, $v), arg(\"/a\", $w)", &nested, size)
        },
    },
    Kind {
        name: "nothing but ways to match",
        code: |size| "check all arg($p, $v), arg(\"/a\", $w);\n".repeat(size),
    },
    Kind {
        name: "a closure for every argument",
        code: |size| each("arg($p, $v), arg_names($a)", "$a.all($n -> true)", size),
    },
    Kind {
        name: "many small sets for every argument",
        code: |size| {
            format!(
                "check if arg($p, $v), [{}].contains(-1);",
                vec!["{1}"; size].join(", ")
            )
        },
    },
    Kind {
        name: "many queries",
        code: |size| vec!["check if arg($p, $v), $v == 1;"; size].join("\n"),
    },
    Kind {
        name: "one query with many ways",
        code: |size| {
            format!(
                "check if {};",
                vec!["arg($p, $v), $v == 1"; size].join(" or ")
            )
        },
    },
    Kind {
        name: "a long text named many times",
        code: |size| {
            let text = format!("\"{}\"", "\u{1}".repeat(2_000));
            format!(
                "check if arg_path(\"/path\", $s), $s.starts_with([{}]);",
                vec![text; size].join(", ")
            )
        },
    },
    Kind {
        name: "many symbols",
        code: |size| {
            let names: Vec<String> = (0..size * 16)
                .map(|index| format!("\"symbol {index}\""))
                .collect();
            format!("check if me($m), {{{}}}.contains($m);", names.join(", "))
        },
    },
];

/// Checks that allow one subtree, each naming it three times: what remains of the pass is that subtree, once.
pub const SUBTREE_THRICE: Kind = Kind {
    name: "one subtree named again and again",
    code: |size| {
        let under = r#"call($s, $k, $n), call_path($seg), $s === "https://ledger.example/mcp" && $k === "resource"
            && $seg.starts_with(["file", "", "srv", "ledger"])"#;
        format!("check if {under} or {under} or {under};\n").repeat(size)
    },
};

/// A text of this many bytes that is dear to search for: Fibonacci's word, which repeats itself at every length.
pub fn hard_to_find(bytes: usize) -> String {
    let (mut shorter, mut longer) = ("a".to_owned(), "ab".to_owned());
    while longer.len() < bytes {
        (shorter, longer) = (longer.clone(), longer + &shorter);
    }
    longer[..bytes].to_owned()
}

fn numbers(count: usize) -> String {
    (0..count.max(1))
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn each(body: &str, expression: &str, size: usize) -> String {
    format!(
        "check if {body}, {}, 1 > 2;",
        vec![expression; size].join(", ")
    )
}

impl Kind {
    /// The dearest token of this kind that is inside the profile, and the first that is not: more
    /// of the kind in one block, then more such blocks, then more in the block after.
    pub fn grown(&self, pass: &PassToken, root: &PublicKey) -> (PassToken, PassToken) {
        let (mut token, mut refused) = (pass.clone(), None);
        loop {
            let longer = |size: usize| raw::append(&token, root, &(self.code)(size));
            let is_inside = |size: &usize| UnverifiedPass::parse(longer(*size).expose()).is_ok();
            // The sizes that are inside are all those up to one: a search by halves finds it.
            let (mut inside, mut outside) = (0, 1);
            while is_inside(&outside) {
                (inside, outside) = (outside, outside * 2);
            }
            while outside - inside > 1 {
                let middle = usize::midpoint(inside, outside);
                if is_inside(&middle) {
                    inside = middle
                } else {
                    outside = middle
                }
            }
            if inside == 0 {
                // A smaller one of this kind does not fit any more.
                return (token.clone(), refused.unwrap_or_else(|| longer(1)));
            }
            refused = Some(longer(outside));
            token = longer(inside);
        }
    }
}
