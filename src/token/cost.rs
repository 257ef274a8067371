//! Cost: an upper bound of the work that a holder's checks ask of a verifier, known before any runs.
//!
//! The engine looks at its clock only between queries, and a query over two `arg` facts with a
//! closure over two literal sets has billions of steps inside one. So the product is taken here,
//! from the wire form: how many facts a query can match, times what its expressions do for each.
//!
//! A unit is about one operation on a scalar: some 20 to 50 ns on a slow core.

use biscuit_auth::format::schema;

use super::{mint::MAX_RIGHTS, request::MAX_ARGUMENTS, wire::Wire};

/// All appended blocks of a token together may cost this much: about ten milliseconds.
pub(super) const MAX_COST: usize = 250_000;

/// The cost of one block's checks, in units.
pub(super) fn of_block(wire: &Wire, block: usize) -> usize {
    let queries = wire.checks(block).iter().flat_map(|check| &check.queries);
    queries.map(|query| of_query(wire, block, query)).fold(0, usize::saturating_add)
}

fn of_query(wire: &Wire, block: usize, query: &schema::Rule) -> usize {
    let mut bindings = 1_usize;
    let mut cost = 0_usize;
    let mut holds_collections = false;
    for predicate in &query.body {
        // Every fact is looked at once for each way in which the predicates before matched.
        cost = cost.saturating_add(bindings.saturating_mul(SCAN));
        let name = wire.symbol(block, predicate.name);
        bindings = bindings.saturating_mul(matches(name, predicate));
        holds_collections |= name.is_none_or(|name| COLLECTIONS.contains(&name));
    }
    let variable = if holds_collections { MAX_RIGHTS } else { 1 };
    let expressions = query.expressions.iter().map(|expression| {
        let elements = size_of(&expression.ops).max(variable);
        of_operations(&expression.ops, variable, elements)
    });
    let each = expressions.fold(1, usize::saturating_add);
    cost.saturating_add(bindings.saturating_mul(each))
}

/// How many facts a predicate can match.
fn matches(name: Option<&str>, predicate: &schema::Predicate) -> usize {
    let is_literal = |term: &schema::Term| !matches!(term.content, None | Some(schema::term::Content::Variable(_)));
    match name {
        // One pointer has one fact of each kind.
        Some("arg" | "arg_path" | "arg_host") if predicate.terms.first().is_some_and(is_literal) => 1,
        Some("arg" | "arg_path" | "arg_host" | "used" | "ctx") => MAX_ARGUMENTS,
        Some("right" | "right_path") | None => MAX_RIGHTS,
        Some(_) => 1,
    }
}

fn of_operations(ops: &[schema::Op], variable: usize, elements: usize) -> usize {
    use schema::{op::Content, op_binary, term};

    let each = ops.iter().map(|op| match &op.content {
        Some(Content::Value(value)) => match &value.content {
            Some(term::Content::Variable(_)) => variable,
            _ => elements_of(value),
        },
        // Text is searched for text: as long as the argument is.
        Some(Content::Binary(binary)) if op_binary::Kind::from_i32(binary.kind) == Some(op_binary::Kind::Contains) => {
            SEARCH
        }
        Some(Content::Closure(closure)) => {
            // The engine copies a closure before it runs it, each time.
            let copied = size_of(&closure.ops);
            let once = of_operations(&closure.ops, variable, elements).saturating_add(copied);
            once.saturating_mul(if closure.params.is_empty() { 1 } else { elements })
        }
        _ => 1,
    });
    each.fold(0, usize::saturating_add)
}

/// The operations in `ops` and the elements of their literals: at least as many as a closure over
/// one of these literals has rounds.
fn size_of(ops: &[schema::Op]) -> usize {
    let each = ops.iter().map(|op| match &op.content {
        Some(schema::op::Content::Value(value)) => elements_of(value),
        Some(schema::op::Content::Closure(closure)) => size_of(&closure.ops).saturating_add(1),
        _ => 1,
    });
    each.fold(0, usize::saturating_add)
}

fn elements_of(term: &schema::Term) -> usize {
    use schema::term::Content;

    let inside = |terms: &[schema::Term]| terms.iter().map(elements_of).fold(1, usize::saturating_add);
    match &term.content {
        Some(Content::Set(set)) => inside(&set.set),
        Some(Content::Array(array)) => inside(&array.array),
        Some(Content::Map(map)) => {
            map.entries.iter().map(|entry| elements_of(&entry.value).saturating_add(1)).fold(1, usize::saturating_add)
        }
        Some(Content::Bytes(bytes)) => bytes.len().saturating_add(1),
        _ => 1,
    }
}

/// Facts that hold a set or an array, which a variable copies whole.
const COLLECTIONS: [&str; 9] =
    ["aud", "right", "right_path", "call_path", "arg_path", "arg_names", "history", "will_mask", "approved"];

/// Looking at all facts once: some hundreds, a few nanoseconds each.
const SCAN: usize = 128;

/// One `contains`.
const SEARCH: usize = 64;
