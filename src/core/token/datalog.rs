//! The only file that writes Datalog: every fact and check of token format 1, from typed values.
//!
//! Nothing here is text: terms are bound as terms, so no value can end a string or start a rule.
//! Recognition (`shape`) calls the same functions and compares, so what is written and what is
//! recognised cannot drift apart. The forms are those of `docs/token-format.md`.

use std::collections::BTreeSet;

use biscuit_auth::builder::{
    Binary, Check, CheckKind, Expression, Fact, Op, Policy, PolicyKind, Predicate, Rule, Term,
    Unary,
};

use crate::{
    base::{ids::ServerUri, time::Timestamp},
    token::{
        constraint::{Constraint, Scalar},
        path::{Pointer, path_segments},
        rights::Kind,
    },
};

/// The format's number: the argument of `hallpass` in block 0.
pub(super) const FORMAT: i64 = 1;

/// The fact that a holder signs to delegate a pass.
pub(super) const DELEGATE: &str = "delegate";

// --- facts

pub(super) fn fact(name: &str, terms: impl Into<Vec<Term>>) -> Fact {
    Fact::new(name.to_owned(), terms)
}

pub(super) fn text(value: &str) -> Term {
    Term::Str(value.to_owned())
}

pub(super) fn date(at: Timestamp) -> Term {
    Term::Date(at.unix_seconds())
}

pub(super) fn scalar(value: &Scalar) -> Term {
    match value {
        Scalar::Bool(value) => Term::Bool(*value),
        Scalar::Int(value) => Term::Integer(*value),
        Scalar::Text(value) => text(value),
    }
}

pub(super) fn texts<'t>(values: impl IntoIterator<Item = &'t str>) -> Term {
    Term::Set(values.into_iter().map(text).collect())
}

pub(super) fn segments<'t>(values: impl IntoIterator<Item = &'t String>) -> Term {
    Term::Array(values.into_iter().map(|segment| text(segment)).collect())
}

/// The segments of a path as a URI's: `["file", "", "srv", "data"]`, so that paths and `file:`
/// resources compare alike.
pub(super) fn file_segments(path: &str) -> Option<Vec<String>> {
    let mut all = vec!["file".to_owned(), String::new()];
    all.extend(path_segments(path)?);
    Some(all)
}

// --- the calls that a check applies to

/// Named things of one kind on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) server: ServerUri,
    pub(super) kind: Kind,
    pub(super) names: BTreeSet<String>,
}

impl Target {
    pub(super) fn one(server: &ServerUri, kind: Kind, name: &str) -> Self {
        Self {
            server: server.clone(),
            kind,
            names: BTreeSet::from([name.to_owned()]),
        }
    }

    /// `$s === S && $k === K && $n === T`, or `{…}.contains($n)` for several names.
    fn condition(&self) -> Vec<Op> {
        let mut only = self.names.iter();
        let name = match (only.next(), only.next()) {
            (Some(one), None) => compare(Binary::Equal, var("n"), text(one)),
            _ => compare(
                Binary::Contains,
                texts(self.names.iter().map(String::as_str)),
                var("n"),
            ),
        };
        and(
            and(
                compare(Binary::Equal, var("s"), text(self.server.as_str())),
                compare(Binary::Equal, var("k"), text(self.kind.as_str())),
            ),
            name,
        )
    }

    /// The query "this is another call".
    fn is_another(&self) -> Rule {
        query(vec![call()], vec![not(self.condition())])
    }
}

// --- checks

/// `check if time($t), $t >= FROM && $t < UNTIL`.
///
/// The `&&` is deliberate where a comma would do: it is a Datalog 3.3 operator, and a block with
/// one is signed with the domain-separated payload (version 1) that the profile requires.
pub(super) fn time_window(from: Timestamp, until: Timestamp) -> Check {
    let window = and(
        compare(Binary::GreaterOrEqual, var("t"), date(from)),
        compare(Binary::LessThan, var("t"), date(until)),
    );
    check_if(vec![query(
        vec![pred("time", vec![var("t")])],
        vec![window],
    )])
}

/// `check if time($t), $t < UNTIL`: a narrowing in time.
pub(super) fn ends_at(until: Timestamp) -> Check {
    check_if(vec![query(
        vec![pred("time", vec![var("t")])],
        vec![compare(Binary::LessThan, var("t"), date(until))],
    )])
}

/// `check all call(…), !(target) or arg(pointer, $v), …`: the call is another one, or the
/// argument satisfies the constraint.
///
/// `check all` and not `check if`: the latter is satisfied by one good value among bad ones.
pub(super) fn constraint(
    target: &Target,
    pointer: &Pointer,
    constraint: &Constraint,
) -> Option<Check> {
    let at = text(pointer.as_str());
    let (fact, tests) = match constraint {
        Constraint::Range { min, max } => {
            let min = min.map(|min| compare(Binary::GreaterOrEqual, var("v"), Term::Integer(min)));
            let max = max.map(|max| compare(Binary::LessOrEqual, var("v"), Term::Integer(max)));
            (
                pred("arg", vec![at, var("v")]),
                min.into_iter().chain(max).collect(),
            )
        }
        Constraint::In(values) => {
            let set = Term::Set(values.iter().map(scalar).collect());
            (
                pred("arg", vec![at, var("v")]),
                vec![compare(Binary::Contains, set, var("v"))],
            )
        }
        Constraint::Prefix(prefix) => (
            pred("arg", vec![at, var("v")]),
            vec![compare(Binary::Prefix, var("v"), text(prefix))],
        ),
        Constraint::Equal(value) => (
            pred("arg", vec![at, var("v")]),
            vec![compare(Binary::Equal, var("v"), scalar(value))],
        ),
        Constraint::Under(path) => {
            let prefix = segments(&file_segments(path)?);
            (
                pred("arg_path", vec![at, var("seg")]),
                vec![compare(Binary::Prefix, var("seg"), prefix)],
            )
        }
        Constraint::Host(hosts) => {
            let hosts = texts(hosts.iter().map(String::as_str));
            (
                pred("arg_host", vec![at, var("h")]),
                vec![compare(Binary::Contains, hosts, var("h"))],
            )
        }
    };
    Some(Check {
        kind: CheckKind::All,
        queries: vec![target.is_another(), query(vec![fact], tests)],
    })
}

/// `check if call(…), !(target) or arg_names($a), {…}.contains($a)`: no other argument.
pub(super) fn closed_arguments<'t>(
    target: &Target,
    allowed: impl IntoIterator<Item = &'t str>,
) -> Check {
    let names = pred("arg_names", vec![var("a")]);
    let closed = query(
        vec![names],
        vec![compare(Binary::Contains, texts(allowed), var("a"))],
    );
    check_if(vec![target.is_another(), closed])
}

/// `check if read_only(true)`, for the calls of `target` or for all.
pub(super) fn read_only(target: Option<&Target>) -> Check {
    let read_only = query(vec![pred("read_only", vec![Term::Bool(true)])], Vec::new());
    check_if(
        target
            .map(Target::is_another)
            .into_iter()
            .chain([read_only])
            .collect(),
    )
}

/// `check if call_proven(true)`, for the calls of `target`: the holder signed for this very call.
pub(super) fn call_proven(target: &Target) -> Check {
    let proven = query(
        vec![pred("call_proven", vec![Term::Bool(true)])],
        Vec::new(),
    );
    check_if(vec![target.is_another(), proven])
}

/// `check if depth($d), $d <= N`: handed on at most N times.
pub(super) fn depth(at_most: u8) -> Check {
    let within = compare(
        Binary::LessOrEqual,
        var("d"),
        Term::Integer(i64::from(at_most)),
    );
    check_if(vec![query(
        vec![pred("depth", vec![var("d")])],
        vec![within],
    )])
}

/// `check if call(…), target or … or call_path(…), …`: only these.
pub(super) fn only(targets: &[Target], subtrees: &[(ServerUri, Vec<String>)]) -> Check {
    let named = targets
        .iter()
        .map(|target| query(vec![call()], vec![target.condition()]));
    let under = subtrees.iter().map(|(server, prefix)| {
        let here = and(
            compare(Binary::Equal, var("s"), text(server.as_str())),
            compare(Binary::Equal, var("k"), text(Kind::Resource.as_str())),
        );
        let inside = compare(Binary::Prefix, var("seg"), segments(prefix));
        query(
            vec![call(), pred("call_path", vec![var("seg")])],
            vec![and(here, inside)],
        )
    });
    let queries: Vec<Rule> = named.chain(under).collect();
    // Nothing is allowed. An empty check would not decode, so this is a check whose query cannot match.
    let nothing = || query(vec![pred("nothing", vec![Term::Bool(true)])], Vec::new());
    check_if(if queries.is_empty() {
        vec![nothing()]
    } else {
        queries
    })
}

/// `check if operation($o), {…}.contains($o)`: an operator's token narrowed to some operations.
pub(super) fn only_operations<'t>(operations: impl IntoIterator<Item = &'t str>) -> Check {
    let named = compare(Binary::Contains, texts(operations), var("o"));
    check_if(vec![query(
        vec![pred("operation", vec![var("o")])],
        vec![named],
    )])
}

// --- what the broker adds for an operator's token: constant, and never built from a request

/// The broker's policies for an operator's token: one of its roles is permitted here; otherwise refuse.
pub(super) fn operator_policies() -> [Policy; 2] {
    let roles = [
        pred("operator", vec![Term::Integer(FORMAT)]),
        pred("role", vec![var("r")]),
        pred("permits", vec![var("r")]),
    ];
    [
        policy(PolicyKind::Allow, query(roles.to_vec(), Vec::new())),
        deny(),
    ]
}

// --- grammar

fn deny() -> Policy {
    policy(
        PolicyKind::Deny,
        query(
            Vec::new(),
            vec![
                Expression {
                    ops: vec![Op::Value(Term::Bool(true))],
                }
                .ops,
            ],
        ),
    )
}

fn policy(kind: PolicyKind, query: Rule) -> Policy {
    Policy {
        queries: vec![query],
        kind,
    }
}

fn check_if(queries: Vec<Rule>) -> Check {
    Check {
        kind: CheckKind::One,
        queries,
    }
}

fn query(body: Vec<Predicate>, expressions: Vec<Vec<Op>>) -> Rule {
    let expressions = expressions
        .into_iter()
        .map(|ops| Expression { ops })
        .collect();
    Rule::new(pred("query", Vec::new()), body, expressions, Vec::new())
}

fn pred(name: &str, terms: Vec<Term>) -> Predicate {
    Predicate::new(name.to_owned(), terms)
}

fn call() -> Predicate {
    pred("call", vec![var("s"), var("k"), var("n")])
}

fn var(name: &str) -> Term {
    Term::Variable(name.to_owned())
}

fn compare(operator: Binary, left: Term, right: Term) -> Vec<Op> {
    vec![Op::Value(left), Op::Value(right), Op::Binary(operator)]
}

fn and(mut left: Vec<Op>, right: Vec<Op>) -> Vec<Op> {
    left.extend([Op::Closure(Vec::new(), right), Op::Binary(Binary::LazyAnd)]);
    left
}

fn not(mut operand: Vec<Op>) -> Vec<Op> {
    operand.extend([Op::Unary(Unary::Parens), Op::Unary(Unary::Negate)]);
    operand
}
