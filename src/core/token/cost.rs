//! Cost: an upper bound of the work that a holder's checks cause at a verifier, computed before any runs.
//!
//! The engine looks at its clock only between queries, and a query over two `arg` facts with a
//! closure over two literal sets has billions of steps inside one. So the product is computed here,
//! from the wire form: how many facts a query can match, times what its expressions do for each.
//!
//! A unit is 20 to 35 ns of a slow core in the most expensive kinds of work, which `load-tests/hostile.rs`
//! measures, and less in others.

use std::collections::{HashMap, HashSet};

use biscuit_auth::{
    datalog::SymbolTable,
    format::schema::{self, op::Content, op_binary::Kind as Binary, op_unary::Kind as Unary},
};

use crate::token::{
    limits::{MAX_ARGUMENTS, MAX_RIGHTS, MAX_SEGMENTS, MAX_SYMBOLS, MAX_TEXT_BYTES},
    wire::Wire,
};

/// Computes the cost of the checks of one token's appended blocks, block by block, in units.
pub(super) struct Costs<'w> {
    wire: &'w Wire,
    /// The facts of block 0 by name: their number, and the size of the largest.
    stated: HashMap<&'w str, (usize, usize)>,
    /// How many different symbols all blocks declare.
    symbols: usize,
}

impl<'w> Costs<'w> {
    pub(super) fn of(wire: &'w Wire) -> Self {
        let mut stated: HashMap<&str, (usize, usize)> = HashMap::new();
        for predicate in wire.facts(0).iter().map(|fact| &fact.predicate) {
            let Some(name) = wire.symbol(0, predicate.name) else {
                continue;
            };
            let (count, largest) = stated.entry(name).or_default();
            *count = count.saturating_add(1);
            let sizes = predicate
                .terms
                .iter()
                .map(|term| elements_of(term, &Variables::default()));
            *largest = sizes.fold(*largest, usize::max);
        }
        let own = (1..wire.block_count()).filter_map(|block| wire.own_symbols(block));
        let symbols: HashSet<String> = std::iter::once(wire.symbols())
            .chain(own)
            .flat_map(SymbolTable::strings)
            .collect();
        Self {
            wire,
            stated,
            symbols: symbols.len(),
        }
    }

    /// The cost of one block's checks, and of the symbols that it declares.
    pub(super) fn of_block(&self, block: usize) -> usize {
        let symbols = self
            .wire
            .declares(block)
            .saturating_mul(SYMBOL)
            .saturating_add(self.of_translation(block));
        queries(self.wire, block)
            .map(|query| self.of_query(block, query))
            .fold(symbols, usize::saturating_add)
    }

    /// A third-party block has its own symbols. Each use of a name is searched among the symbols of
    /// the other blocks when the block is loaded.
    fn of_translation(&self, block: usize) -> usize {
        if !self.wire.is_third_party(block) {
            return 0;
        }
        let mut named = 0_usize;
        symbols_of_block(self.wire, block, |_| named = named.saturating_add(1));
        named.saturating_mul(self.symbols / SYMBOLS_PASSED)
    }

    fn of_query(&self, block: usize, query: &schema::Rule) -> usize {
        let mut bindings = 1_usize;
        let mut cost = LOAD;
        let mut variables = Variables::default();
        for predicate in &query.body {
            // Every fact is visited once for each match of the predicates before.
            cost = cost.saturating_add(bindings.saturating_mul(SCAN));
            bindings = bindings.saturating_mul(self.matches(block, predicate));
            let name = self.wire.symbol(block, predicate.name);
            variables.bind(predicate, |position| self.collection_at(name, position));
        }
        let code = Code {
            wire: self.wire,
            block,
            variables: &variables,
        };
        let mut each = variables.copied().saturating_add(MATCH);
        for expression in &query.expressions {
            each = each.saturating_add(code.of_expression(&expression.ops));
            cost = cost.saturating_add(literals_of(&expression.ops).saturating_mul(LITERAL));
        }
        cost.saturating_add(bindings.saturating_mul(each))
    }

    /// How many facts a predicate can match.
    fn matches(&self, block: usize, predicate: &schema::Predicate) -> usize {
        use schema::term::Content;

        let name = self.wire.symbol(block, predicate.name);
        let is_literal =
            |term: &schema::Term| !matches!(term.content, None | Some(Content::Variable(_)));
        let told = match name {
            // One pointer has one fact of each kind.
            Some("arg" | "arg_path" | "arg_host")
                if predicate.terms.first().is_some_and(is_literal) =>
            {
                1
            }
            Some("arg" | "arg_path" | "arg_host" | "used" | "ctx") | None => MAX_ARGUMENTS,
            Some(_) => 1,
        };
        let stated = name
            .and_then(|name| self.stated.get(name))
            .map_or(0, |(count, _)| *count);
        let own = self
            .wire
            .facts(block)
            .iter()
            .filter(|fact| fact.predicate.name == predicate.name)
            .count();
        told.max(stated.saturating_add(own))
    }

    /// The largest number of elements in this term of the verifier's fact, or that of block 0; `None` for a scalar.
    fn collection_at(&self, name: Option<&str>, position: usize) -> Option<usize> {
        match (name, position) {
            (Some("call_path"), 0) | (Some("arg_path"), 1) => {
                Some(MAX_SEGMENTS + SCHEME_AND_AUTHORITY)
            }
            (Some("arg_names"), 0) => Some(MAX_ARGUMENTS),
            (Some(name @ "aud"), 0) | (Some(name @ ("right" | "right_path")), 2) => {
                Some(self.stated.get(name).map_or(1, |(_, largest)| *largest))
            }
            (Some("history" | "will_mask") | None, _) => Some(MAX_RIGHTS),
            _ => None,
        }
    }
}

/// The total length of the names and texts in one block's checks, counting every use.
pub(super) fn text_of_block(wire: &Wire, block: usize) -> usize {
    let mut bytes = 0_usize;
    symbols_of_block(wire, block, |symbol| {
        bytes = bytes.saturating_add(wire.symbol(block, symbol).map_or(0, str::len));
    });
    bytes
}

/// Every name and text in one block's checks, with repetitions.
fn symbols_of_block(wire: &Wire, block: usize, mut found: impl FnMut(u64)) {
    for query in queries(wire, block) {
        for predicate in &query.body {
            found(predicate.name);
            predicate
                .terms
                .iter()
                .for_each(|term| symbols_of_term(term, &mut found));
        }
        query
            .expressions
            .iter()
            .for_each(|expression| symbols_of(&expression.ops, &mut found));
    }
}

fn queries(wire: &Wire, block: usize) -> impl Iterator<Item = &schema::Rule> {
    wire.checks(block).iter().flat_map(|check| &check.queries)
}

/// The variables that a query binds, and how many elements each can hold; `None` for a scalar.
#[derive(Default)]
struct Variables {
    bound: HashMap<u32, Option<usize>>,
    /// How often one is bound, and the elements of all.
    count: usize,
    size: usize,
}

impl Variables {
    fn bind(
        &mut self,
        predicate: &schema::Predicate,
        collection_at: impl Fn(usize) -> Option<usize>,
    ) {
        for (position, term) in predicate.terms.iter().enumerate() {
            let Some(schema::term::Content::Variable(variable)) = term.content else {
                continue;
            };
            let elements = collection_at(position);
            self.count = self.count.saturating_add(1);
            self.size = self.size.saturating_add(elements.unwrap_or(1));
            // Bound twice, it matches where both are equal, and a scalar never equals a set.
            let bound = self.bound.entry(variable).or_insert(elements);
            *bound = bound.and_then(|largest| elements.map(|elements| largest.max(elements)));
        }
    }

    /// A closure's parameter is one element of the collection that the closure runs over, and all of
    /// them together are no larger than the collection.
    fn of(&self, variable: u32) -> usize {
        self.bound.get(&variable).copied().flatten().unwrap_or(1)
    }

    /// Whether it is a set or an array, where `contains` is no text search.
    fn is_collection(&self, variable: u32) -> bool {
        self.bound.get(&variable).is_some_and(Option::is_some)
    }

    /// The cost of binding them from matching facts: each is inserted into a table twice.
    fn copied(&self) -> usize {
        self.size.saturating_add(self.count.saturating_mul(BIND))
    }
}

/// The expressions of one query.
struct Code<'c> {
    wire: &'c Wire,
    block: usize,
    variables: &'c Variables,
}

impl Code<'_> {
    fn of_expression(&self, ops: &[schema::Op]) -> usize {
        self.of_operations(ops, size_of(ops, self.variables))
            .saturating_add(START)
    }

    /// The cost of the operations; `elements` is the size of the whole expression that they are part of.
    fn of_operations(&self, ops: &[schema::Op], elements: usize) -> usize {
        let each = ops.iter().enumerate().map(|(at, op)| match &op.content {
            Some(Content::Value(value)) => elements_of(value, self.variables),
            Some(Content::Unary(unary)) => match Unary::from_i32(unary.kind) {
                Some(Unary::TypeOf) => LOOK_UP,
                _ => 1,
            },
            Some(Content::Binary(binary)) => match Binary::from_i32(binary.kind) {
                Some(Binary::Contains) => self.of_search(ops.get(..at).unwrap_or_default()),
                Some(Binary::Prefix | Binary::Suffix) => COMPARE,
                // A set is rebuilt from all its elements.
                Some(Binary::Union | Binary::Intersection) => elements,
                // The engine copies every variable before it evaluates a closure.
                Some(Binary::LazyAnd | Binary::LazyOr | Binary::All | Binary::Any) => {
                    self.variables.size.saturating_add(1)
                }
                _ => 1,
            },
            Some(Content::Closure(closure)) => {
                // The engine copies a closure when it meets it, and once more each time it runs it.
                let copied = size_of(&closure.ops, &Variables::default());
                let once = self
                    .of_operations(&closure.ops, elements)
                    .saturating_add(copied)
                    .saturating_add(START);
                let rounds = if closure.params.is_empty() {
                    1
                } else {
                    elements
                };
                once.saturating_mul(rounds).saturating_add(copied)
            }
            None => 1,
        });
        each.fold(0, usize::saturating_add)
    }

    /// One `contains` on the results of the operations before it: membership in a set or an array,
    /// whose elements are counted where they occur; or a search of one text in another.
    fn of_search(&self, before: &[schema::Op]) -> usize {
        use schema::term::Content as Term;

        let value = |op: &schema::Op| match &op.content {
            Some(Content::Value(value)) => value.content.clone(),
            _ => None,
        };
        let (searched, sought) = match before {
            // If both operands are plain values, they are the two operations before it.
            [.., searched, sought] if value(sought).is_some() => (value(searched), value(sought)),
            _ => (None, None),
        };
        match searched {
            Some(Term::Set(_) | Term::Array(_) | Term::Map(_)) => return COMPARE,
            Some(Term::Variable(variable)) if self.variables.is_collection(variable) => {
                return COMPARE;
            }
            _ => {}
        }
        let longest = match sought {
            Some(Term::String(symbol)) => self
                .wire
                .symbol(self.block, symbol)
                .map_or(MAX_TEXT_BYTES, str::len),
            _ => MAX_TEXT_BYTES,
        };
        SEARCH.saturating_add(longest / SOUGHT_BYTES)
    }
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

/// The literals in `ops`, with all that is in them.
fn literals_of(ops: &[schema::Op]) -> usize {
    let is_variable =
        |value: &schema::Term| matches!(value.content, Some(schema::term::Content::Variable(_)));
    let each = ops.iter().map(|op| match &op.content {
        Some(Content::Value(value)) if !is_variable(value) => {
            elements_of(value, &Variables::default())
        }
        Some(Content::Closure(closure)) => literals_of(&closure.ops),
        _ => 0,
    });
    each.fold(0, usize::saturating_add)
}

fn elements_of(term: &schema::Term, variables: &Variables) -> usize {
    use schema::term::Content;

    let of = |term: &schema::Term| elements_of(term, variables);
    let inside =
        |terms: &[schema::Term]| terms.iter().map(of).fold(COLLECTION, usize::saturating_add);
    match &term.content {
        Some(Content::Variable(variable)) => variables.of(*variable),
        Some(Content::Set(set)) => inside(&set.set),
        Some(Content::Array(array)) => inside(&array.array),
        Some(Content::Map(map)) => map
            .entries
            .iter()
            .map(|entry| of(&entry.value).saturating_add(1))
            .fold(COLLECTION, usize::saturating_add),
        Some(Content::Bytes(bytes)) => (bytes.len() / BYTES).saturating_add(1),
        _ => 1,
    }
}

fn symbols_of(ops: &[schema::Op], found: &mut impl FnMut(u64)) {
    for op in ops {
        match &op.content {
            Some(Content::Value(value)) => symbols_of_term(value, found),
            Some(Content::Closure(closure)) => {
                closure
                    .params
                    .iter()
                    .for_each(|param| found(u64::from(*param)));
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
        Some(Content::Array(array)) => array
            .array
            .iter()
            .for_each(|term| symbols_of_term(term, found)),
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

/// Reading one query when the token is verified, and printing it when it refuses.
const LOAD: usize = 128;

/// Reading and printing one literal, or one element of it.
const LITERAL: usize = 12;

/// One more symbol: every text that is read or added is searched among all of them.
const SYMBOL: usize = 16;

/// The number of symbols that a search visits for one unit.
const SYMBOLS_PASSED: usize = 8;

/// Visiting all facts once: some hundreds, some nanoseconds each.
const SCAN: usize = 128;

/// One match of a query, without its variables.
const MATCH: usize = 2;

/// One variable of a match.
const BIND: usize = 2;

/// The overhead of evaluating an expression or a closure.
const START: usize = 3;

/// One `contains`: a search in the longest text that is added or declared.
const SEARCH: usize = MAX_TEXT_BYTES / 16;

/// The number of bytes of the searched pattern for one unit: the engine first analyses its
/// repetitions.
const SOUGHT_BYTES: usize = 4;

/// A set, an array or a map, even an empty one.
const COLLECTION: usize = 2;

/// The number of bytes of a literal for one unit.
const BYTES: usize = 16;

/// One `starts_with` or `ends_with` of such texts, or one look-up in a set.
const COMPARE: usize = SEARCH / 16;

/// One `type()`: the engine searches all symbols for the type's name.
const LOOK_UP: usize = MAX_SYMBOLS / SYMBOLS_PASSED;

/// The segments before a resource's path: scheme and authority.
const SCHEME_AND_AUTHORITY: usize = 2;
