//! Cost: an upper bound of the work that a holder's checks ask of a verifier, known before any runs.
//!
//! The engine looks at its clock only between queries, and a query over two `arg` facts with a
//! closure over two literal sets has billions of steps inside one. So the product is taken here,
//! from the wire form: how many facts a query can match, times what its expressions do for each.
//!
//! A unit is about one operation on a scalar: some 20 to 50 ns on a slow core.

use biscuit_auth::format::schema::{self, op::Content, op_binary::Kind as Binary, op_unary::Kind as Unary};

use super::{mint::MAX_RIGHTS, path::MAX_SEGMENTS, profile::MAX_THIRD_PARTY_FACTS, request::MAX_ARGUMENTS, wire::Wire};

/// All appended blocks of a token together may cost this much: about ten to twenty milliseconds.
pub(super) const MAX_COST: usize = 250_000;

/// The names and texts in the checks of all appended blocks together may be this long, each counted
/// as often as it is named: a check is spelled out when it is loaded, and when a refusal names it.
pub(super) const MAX_CHECK_TEXT: usize = 64 * 1024;

/// The cost of one block's checks, in units.
pub(super) fn of_block(wire: &Wire, block: usize) -> usize {
    queries(wire, block).map(|query| of_query(wire, block, query)).fold(0, usize::saturating_add)
}

/// How long the names and texts in one block's checks are, each as often as it is named.
pub(super) fn text_of_block(wire: &Wire, block: usize) -> usize {
    let mut bytes = 0_usize;
    let mut count = |symbol: u64| {
        bytes = bytes.saturating_add(wire.symbol(block, symbol).map_or(0, str::len));
    };
    for query in queries(wire, block) {
        for predicate in &query.body {
            count(predicate.name);
            predicate.terms.iter().for_each(|term| symbols_of_term(term, &mut count));
        }
        query.expressions.iter().for_each(|expression| symbols_of(&expression.ops, &mut count));
    }
    bytes
}

fn queries(wire: &Wire, block: usize) -> impl Iterator<Item = &schema::Rule> {
    wire.checks(block).iter().flat_map(|check| &check.queries)
}

fn of_query(wire: &Wire, block: usize, query: &schema::Rule) -> usize {
    let mut bindings = 1_usize;
    let mut cost = 0_usize;
    let mut variables = Variables::default();
    for predicate in &query.body {
        // Every fact is looked at once for each way in which the predicates before matched.
        cost = cost.saturating_add(bindings.saturating_mul(SCAN));
        let name = wire.symbol(block, predicate.name);
        bindings = bindings.saturating_mul(matches(name, predicate));
        variables.bind(name, predicate);
    }
    // Each match is a copy of every variable.
    let expressions = query.expressions.iter().map(|expression| {
        let elements = size_of(&expression.ops, &variables);
        of_operations(&expression.ops, &variables, elements)
    });
    let each = expressions.fold(variables.size().saturating_add(MATCH), usize::saturating_add);
    cost.saturating_add(bindings.saturating_mul(each))
}

/// How many facts a predicate can match.
fn matches(name: Option<&str>, predicate: &schema::Predicate) -> usize {
    use schema::term::Content;

    let is_literal = |term: &schema::Term| !matches!(term.content, None | Some(Content::Variable(_)));
    match name {
        // One pointer has one fact of each kind.
        Some("arg" | "arg_path" | "arg_host") if predicate.terms.first().is_some_and(is_literal) => 1,
        Some("arg" | "arg_path" | "arg_host" | "used" | "ctx") => MAX_ARGUMENTS,
        Some("right" | "right_path") | None => MAX_RIGHTS,
        Some("approved") => MAX_THIRD_PARTY_FACTS,
        Some(_) => 1,
    }
}

/// The variables that a query binds, and how many elements each can hold.
#[derive(Default)]
struct Variables(Vec<(u32, usize)>);

impl Variables {
    fn bind(&mut self, name: Option<&str>, predicate: &schema::Predicate) {
        for (position, term) in predicate.terms.iter().enumerate() {
            if let Some(schema::term::Content::Variable(variable)) = term.content {
                self.0.push((variable, elements_at(name, position)));
            }
        }
    }

    /// A closure's own parameter is one element of what the closure runs over, and all of them
    /// together are no more than that.
    fn of(&self, variable: u32) -> usize {
        let bound = self.0.iter().filter(|(bound, _)| *bound == variable);
        bound.map(|(_, elements)| *elements).max().unwrap_or(1)
    }

    fn size(&self) -> usize {
        self.0.iter().map(|(_, elements)| *elements).fold(0, usize::saturating_add)
    }
}

/// How many elements the verifier's fact, or that of block 0, can hold at this place.
fn elements_at(name: Option<&str>, position: usize) -> usize {
    match (name, position) {
        (Some("call_path"), 0) | (Some("arg_path"), 1) => MAX_SEGMENTS + SCHEME_AND_AUTHORITY,
        (Some("arg_names"), 0) => MAX_ARGUMENTS,
        (Some("aud"), 0) | (Some("right" | "right_path"), 2) | (Some("history" | "will_mask") | None, _) => MAX_RIGHTS,
        _ => 1,
    }
}

/// What the operations cost; `elements` is the size of the whole expression that they are part of.
fn of_operations(ops: &[schema::Op], variables: &Variables, elements: usize) -> usize {
    let each = ops.iter().map(|op| match &op.content {
        Some(Content::Value(value)) => elements_of(value, variables),
        Some(Content::Unary(unary)) => match Unary::from_i32(unary.kind) {
            Some(Unary::TypeOf) => LOOK_UP,
            _ => 1,
        },
        Some(Content::Binary(binary)) => match Binary::from_i32(binary.kind) {
            Some(Binary::Contains) => SEARCH,
            Some(Binary::Prefix | Binary::Suffix) => COMPARE,
            // A set is built anew, of all that went into it before.
            Some(Binary::Union | Binary::Intersection) => elements,
            // The engine copies every variable before it looks at a closure.
            Some(Binary::LazyAnd | Binary::LazyOr | Binary::All | Binary::Any) => variables.size().saturating_add(1),
            _ => 1,
        },
        Some(Content::Closure(closure)) => {
            // The engine copies a closure before it runs it, each time.
            let copied = size_of(&closure.ops, &Variables::default());
            let once = of_operations(&closure.ops, variables, elements).saturating_add(copied);
            once.saturating_mul(if closure.params.is_empty() { 1 } else { elements })
        }
        None => 1,
    });
    each.fold(0, usize::saturating_add)
}

/// The operations in `ops` and the elements of their literals and variables: at least as many as
/// a closure over one of these has rounds.
fn size_of(ops: &[schema::Op], variables: &Variables) -> usize {
    let each = ops.iter().map(|op| match &op.content {
        Some(Content::Value(value)) => elements_of(value, variables),
        Some(Content::Closure(closure)) => size_of(&closure.ops, variables).saturating_add(1),
        _ => 1,
    });
    each.fold(0, usize::saturating_add)
}

fn elements_of(term: &schema::Term, variables: &Variables) -> usize {
    use schema::term::Content;

    let of = |term: &schema::Term| elements_of(term, variables);
    let inside = |terms: &[schema::Term]| terms.iter().map(of).fold(1, usize::saturating_add);
    match &term.content {
        Some(Content::Variable(variable)) => variables.of(*variable),
        Some(Content::Set(set)) => inside(&set.set),
        Some(Content::Array(array)) => inside(&array.array),
        Some(Content::Map(map)) => {
            map.entries.iter().map(|entry| of(&entry.value).saturating_add(1)).fold(1, usize::saturating_add)
        }
        Some(Content::Bytes(bytes)) => bytes.len().saturating_add(1),
        _ => 1,
    }
}

fn symbols_of(ops: &[schema::Op], found: &mut impl FnMut(u64)) {
    for op in ops {
        match &op.content {
            Some(Content::Value(value)) => symbols_of_term(value, found),
            Some(Content::Closure(closure)) => {
                closure.params.iter().for_each(|param| found(u64::from(*param)));
                symbols_of(&closure.ops, found);
            }
            _ => {}
        }
    }
}

fn symbols_of_term(term: &schema::Term, found: &mut impl FnMut(u64)) {
    use schema::{map_key, term::Content};

    match &term.content {
        Some(Content::Variable(symbol)) => found(u64::from(*symbol)),
        Some(Content::String(symbol)) => found(*symbol),
        Some(Content::Set(set)) => set.set.iter().for_each(|term| symbols_of_term(term, found)),
        Some(Content::Array(array)) => array.array.iter().for_each(|term| symbols_of_term(term, found)),
        Some(Content::Map(map)) => {
            for entry in &map.entries {
                if let Some(map_key::Content::String(symbol)) = entry.key.content {
                    found(symbol);
                }
                symbols_of_term(&entry.value, found);
            }
        }
        _ => {}
    }
}

/// Looking at all facts once: some hundreds, a few nanoseconds each.
const SCAN: usize = 128;

/// Making one match of a query into variables.
const MATCH: usize = 8;

/// One `contains`: the longest text that is told or declared, searched for another.
const SEARCH: usize = super::profile::MAX_TEXT_BYTES / 16;

/// One `starts_with` or `ends_with` of such texts.
const COMPARE: usize = SEARCH / 16;

/// One `type()`: the engine looks for the type's name in all symbols, one after the other.
const LOOK_UP: usize = super::profile::MAX_SYMBOLS / 4;

/// What a resource's segments begin with.
const SCHEME_AND_AUTHORITY: usize = 2;
