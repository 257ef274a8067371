//! Blocks as a hostile holder could write them: every shape that the profile knows, at every size.

use biscuit_auth::format::schema::{
    self, check, op::Content as Op, op_binary::Kind as Binary, op_unary::Kind as Unary, term,
};

use crate::fuzz::input::Input;

/// A block, mostly inside the profile or just beyond it. `known` are the symbols that it need not
/// declare: those of the first-party blocks before it, and none for a third-party block.
pub(crate) fn any(input: &mut Input<'_>, known: &[String]) -> schema::Block {
    let version = if input.one_in(8) {
        3 + input.below(4) as u32
    } else {
        6
    };
    let mut block = schema::Block {
        version: Some(version),
        ..schema::Block::default()
    };
    let mut names = Names {
        known,
        declared: Vec::new(),
    };
    let most = if input.one_in(8) { 40 } else { 4 };
    let queries = 1 + input.below(most);
    let mut left = queries;
    while left > 0 {
        let count = 1 + input.below(left.min(3));
        left = left.saturating_sub(count);
        let queries = (0..count).map(|_| query(input, &mut names)).collect();
        let kind = if input.one_in(2) {
            check::Kind::One
        } else {
            check::Kind::All
        };
        block.checks.push(schema::Check {
            queries,
            kind: Some(kind as i32),
        });
    }
    if input.one_in(4) {
        let terms = vec![
            text(&mut names, "helper"),
            text(&mut names, KEYS[input.below(KEYS.len())]),
        ];
        let name = names.index("delegate");
        block.facts.push(schema::Fact {
            predicate: schema::Predicate { name, terms },
        });
    }
    block.symbols = names.declared;
    block
}

/// The symbols that a block can name: the library's, those that are known, and what it declares.
struct Names<'k> {
    known: &'k [String],
    declared: Vec<String>,
}

impl Names<'_> {
    fn index(&mut self, name: &str) -> u64 {
        if let Some(own) = LIBRARY.iter().position(|own| *own == name) {
            return own as u64;
        }
        let at = self
            .known
            .iter()
            .chain(&self.declared)
            .position(|known| known == name)
            .unwrap_or_else(|| {
                self.declared.push(name.to_owned());
                self.known.len() + self.declared.len() - 1
            });
        FIRST_DECLARED + at as u64
    }
}

/// Symbols that tokens declare are counted from here.
const FIRST_DECLARED: u64 = 1024;

fn query(input: &mut Input<'_>, names: &mut Names<'_>) -> schema::Rule {
    let body = (0..input.below(3))
        .map(|_| predicate(input, names))
        .collect();
    let size = if input.one_in(8) { 60 } else { 3 };
    let expressions = (0..input.below(3))
        .map(|_| schema::Expression {
            ops: boolean(input, names, 3, size),
        })
        .collect();
    schema::Rule {
        head: schema::Predicate {
            name: 27,
            terms: Vec::new(),
        },
        body,
        expressions,
        scope: Vec::new(),
    }
}

fn predicate(input: &mut Input<'_>, names: &mut Names<'_>) -> schema::Predicate {
    let (name, arity) = PREDICATES[input.below(PREDICATES.len())];
    let terms = (0..arity).map(|_| {
        if input.one_in(4) {
            literal(input, names, 3)
        } else {
            variable(input)
        }
    });
    let terms = terms.collect();
    schema::Predicate {
        name: names.index(name),
        terms,
    }
}

fn variable(input: &mut Input<'_>) -> schema::Term {
    // Names of variables are symbols as others are; these the library has.
    schema::Term {
        content: Some(term::Content::Variable(
            VARIABLES[input.below(VARIABLES.len())],
        )),
    }
}

fn text(names: &mut Names<'_>, text: &str) -> schema::Term {
    schema::Term {
        content: Some(term::Content::String(names.index(text))),
    }
}

fn literal(input: &mut Input<'_>, names: &mut Names<'_>, size: usize) -> schema::Term {
    let several = |input: &mut Input<'_>, names: &mut Names<'_>| {
        (0..input.below(size * 8))
            .map(|at| {
                if input.one_in(2) {
                    number(at as i64)
                } else {
                    text(names, TEXTS[at % TEXTS.len()])
                }
            })
            .collect::<Vec<_>>()
    };
    let content = match input.below(8) {
        0 => term::Content::Integer(i64::from(input.byte()) - 3),
        1 => return text(names, TEXTS[input.below(TEXTS.len())]),
        2 => term::Content::Date(1_795_341_600 + input.below(4_000) as u64),
        3 => term::Content::Bytes(vec![0; input.below(size * 16)]),
        4 => term::Content::Bool(input.one_in(2)),
        5 => {
            let mut set = several(input, names);
            set.dedup();
            term::Content::Set(schema::TermSet { set })
        }
        6 => term::Content::Array(schema::Array {
            array: several(input, names),
        }),
        _ => term::Content::Null(schema::Empty {}),
    };
    schema::Term {
        content: Some(content),
    }
}

fn number(value: i64) -> schema::Term {
    schema::Term {
        content: Some(term::Content::Integer(value)),
    }
}

/// Operations that leave one value, a boolean if all goes well.
fn boolean(
    input: &mut Input<'_>,
    names: &mut Names<'_>,
    depth: usize,
    size: usize,
) -> Vec<schema::Op> {
    let mut ops = operand(input, names, depth, size);
    for _ in 0..input.below(1 + size / 2) {
        match input.below(4) {
            0 => ops.push(unary(input)),
            1 => {
                // A closure on the right: over the elements of what is on the left, or lazily.
                let (kind, params) = match input.below(4) {
                    0 => (Binary::All, vec![VARIABLES[0]]),
                    1 => (Binary::Any, vec![VARIABLES[1]]),
                    2 => (Binary::LazyAnd, Vec::new()),
                    _ => (Binary::LazyOr, Vec::new()),
                };
                let inner = if depth == 0 {
                    operand(input, names, 0, 1)
                } else {
                    boolean(input, names, depth - 1, size / 2)
                };
                ops.push(op(Op::Closure(schema::OpClosure { params, ops: inner })));
                ops.push(binary(kind));
            }
            _ => {
                ops.extend(operand(input, names, depth, size));
                ops.push(binary(BINARIES[input.below(BINARIES.len())]));
            }
        }
    }
    ops
}

fn operand(
    input: &mut Input<'_>,
    names: &mut Names<'_>,
    depth: usize,
    size: usize,
) -> Vec<schema::Op> {
    let value = if input.one_in(2) {
        variable(input)
    } else {
        literal(input, names, size + depth)
    };
    let mut ops = vec![op(Op::Value(value))];
    if input.one_in(4) {
        ops.push(unary(input));
    }
    ops
}

fn op(content: Op) -> schema::Op {
    schema::Op {
        content: Some(content),
    }
}

fn binary(kind: Binary) -> schema::Op {
    op(Op::Binary(schema::OpBinary {
        kind: kind as i32,
        ffi_name: None,
    }))
}

fn unary(input: &mut Input<'_>) -> schema::Op {
    let kind = [Unary::Negate, Unary::Parens, Unary::Length, Unary::TypeOf][input.below(4)];
    op(Op::Unary(schema::OpUnary {
        kind: kind as i32,
        ffi_name: None,
    }))
}

/// What a verifier says of a call, and what block 0 and others may say.
const PREDICATES: &[(&str, usize)] = &[
    ("time", 1),
    ("me", 1),
    ("call", 3),
    ("read_only", 1),
    ("call_proven", 1),
    ("call_path", 1),
    ("depth", 1),
    ("arg", 2),
    ("arg_path", 2),
    ("arg_host", 2),
    ("arg_names", 1),
    ("right", 3),
    ("right_path", 3),
    ("aud", 1),
    ("approved", 8),
    ("nothing", 1),
];

/// Symbols of the library: `read`, `write`, `resource`, `operation`.
const VARIABLES: &[u32] = &[0, 1, 2, 3];

/// The library's symbols that stand for themselves; others are declared.
const LIBRARY: &[&str] = &[
    "read",
    "write",
    "resource",
    "operation",
    "right",
    "time",
    "role",
    "owner",
    "tenant",
    "namespace",
    "user",
    "team",
    "service",
    "admin",
    "email",
    "group",
    "member",
    "ip_address",
    "client",
    "client_ip",
    "domain",
    "path",
    "version",
    "cluster",
    "node",
    "hostname",
    "nonce",
    "query",
];

const TEXTS: &[&str] = &[
    "",
    "/",
    "/amount",
    "https://ledger.example/mcp",
    "tool",
    "transfer",
    "read_ledger",
    "string",
    "\u{1}\u{202e}",
    "srv",
];

const KEYS: &[&str] = &[
    "ed25519/0000000000000000000000000000000000000000000000000000000000000000",
    "ed25519/8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
    "secp256r1/00",
    "",
];

const BINARIES: &[Binary] = &[
    Binary::LessThan,
    Binary::GreaterOrEqual,
    Binary::Equal,
    Binary::HeterogeneousEqual,
    Binary::NotEqual,
    Binary::HeterogeneousNotEqual,
    Binary::Contains,
    Binary::Prefix,
    Binary::Suffix,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::And,
    Binary::Or,
    Binary::Intersection,
    Binary::Union,
    Binary::BitwiseXor,
    Binary::Get,
];
