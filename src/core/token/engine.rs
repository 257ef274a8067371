//! Evaluation: a token's checks, loaded once and evaluated for every call.
//!
//! biscuit-auth's authorizer translates a whole token for each call. Here its checks are loaded
//! when the token is verified, and a call adds the few facts that some check mentions. Matching
//! and expressions are the library's own; this module replaces the authorizer around
//! them, for tokens inside the profile: no rules, so nothing is derived, and no scopes but in
//! block 0, so that a query sees the facts of block 0, of its own block, and the verifier's.
//! A test compares the results with those of the library's authorizer.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use biscuit_auth::{
    builder::{self, CheckKind, Convert as _},
    datalog::{Check, Fact, FactSet, Origin, Rule, SymbolTable, Term, TrustedOrigins},
    error,
    format::convert::{proto_check_to_token_check, proto_fact_to_token_fact},
};

use crate::{
    base::time::{Clock as _, SystemClock},
    token::wire::Wire,
};

/// A check, by its block and its index there.
pub(super) type At = (usize, usize);

/// The checks of a verified token and those of its facts that they mention.
pub(super) struct Engine {
    symbols: SymbolTable,
    facts: FactSet,
    checks: Vec<Loaded>,
    mentioned: BTreeSet<u64>,
    looks_at_any_argument: bool,
}

struct Loaded {
    at: At,
    kind: CheckKind,
    queries: Vec<(Rule, TrustedOrigins)>,
}

/// The result of a token's checks for one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Checks that do not hold.
    pub(super) failed: Vec<At>,
    /// Checks that could not be evaluated, such as comparisons of values of two types.
    pub(super) erred: Vec<At>,
}

/// The evaluation took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfTime;

impl Engine {
    /// Loads the checks of every block, and the facts that they mention.
    pub(super) fn load(wire: &Wire) -> Result<Self, error::Format> {
        let mut engine = Self {
            symbols: wire.symbols().clone(),
            facts: FactSet::default(),
            checks: Vec::new(),
            mentioned: BTreeSet::new(),
            looks_at_any_argument: false,
        };
        let keys = wire.blocks_by_scope_key();
        for block in 0..wire.block_count() {
            for (index, check) in wire.checks(block).iter().enumerate() {
                let check = proto_check_to_token_check(check, wire.version(block))?;
                let check = engine.in_own_symbols(wire, block, check)?;
                engine.add((block, index), check, &keys);
            }
        }
        for block in 0..wire.block_count() {
            let mut origin = Origin::default();
            origin.insert(block);
            for fact in wire.facts(block) {
                let mut fact = proto_fact_to_token_fact(fact)?;
                if let Some(own) = wire.own_symbols(block) {
                    fact = builder::Fact::convert_from(&fact, own)?.convert(&mut engine.symbols);
                }
                if engine.mentioned.contains(&fact.predicate.name) {
                    engine.facts.insert(&origin, fact);
                }
            }
        }
        Ok(engine)
    }

    /// A third-party block has symbols of its own; a holder's block could name symbols that do not
    /// exist, which a later string could then come to stand for.
    fn in_own_symbols(
        &mut self,
        wire: &Wire,
        block: usize,
        check: Check,
    ) -> Result<Check, error::Format> {
        match wire.own_symbols(block) {
            Some(own) => Ok(builder::Check::convert_from(&check, own)?.convert(&mut self.symbols)),
            None if block == 0 => Ok(check),
            None => builder::Check::convert_from(&check, wire.symbols()).map(|_| check),
        }
    }

    fn add(&mut self, at: At, check: Check, keys: &HashMap<usize, Vec<usize>>) {
        let predicates = check.queries.iter().flat_map(|query| &query.body);
        for predicate in predicates {
            self.mentioned.insert(predicate.name);
            let is_argument = matches!(
                self.symbols.get_symbol(predicate.name),
                Some("arg" | "arg_path" | "arg_host")
            );
            self.looks_at_any_argument |=
                is_argument && matches!(predicate.terms.first(), Some(Term::Variable(_)));
        }
        let scoped = |query: Rule| {
            let trusted =
                TrustedOrigins::from_scopes(&query.scopes, &TrustedOrigins::default(), at.0, keys);
            (query, trusted)
        };
        let queries = check.queries.into_iter().map(scoped).collect();
        self.checks.push(Loaded {
            at,
            kind: check.kind,
            queries,
        });
    }

    /// Whether some check mentions a fact whose name begins with `prefix`.
    pub(super) fn mentions(&self, prefix: &str) -> bool {
        self.mentioned.iter().any(|name| {
            self.symbols
                .get_symbol(*name)
                .is_some_and(|name| name.starts_with(prefix))
        })
    }

    /// Whether some check examines all arguments instead of the one at a given pointer.
    pub(super) const fn looks_at_any_argument(&self) -> bool {
        self.looks_at_any_argument
    }

    /// Evaluates every check; `tell` adds the verifier's facts about the call. `max_time` is checked
    /// between checks.
    pub(super) fn ask(
        &self,
        max_time: Duration,
        tell: impl FnOnce(&mut Telling<'_>),
    ) -> Result<Answer, OutOfTime> {
        self.ask_those(|_| true, max_time, tell)
    }

    /// Evaluates the checks that `is_asked` selects.
    pub(super) fn ask_those(
        &self,
        is_asked: impl Fn(At) -> bool,
        max_time: Duration,
        tell: impl FnOnce(&mut Telling<'_>),
    ) -> Result<Answer, OutOfTime> {
        let mut told = Telling {
            mentioned: &self.mentioned,
            symbols: self.symbols.clone(),
            facts: self.facts.clone(),
            verifier: std::iter::once(usize::MAX).collect(),
        };
        tell(&mut told);
        let clock = SystemClock::default();
        let mut answer = Answer::default();
        for check in self.checks.iter().filter(|check| is_asked(check.at)) {
            match check.holds(&told) {
                Ok(true) => {}
                Ok(false) => answer.failed.push(check.at),
                Err(_) => answer.erred.push(check.at),
            }
            if clock.monotonic() >= max_time {
                return Err(OutOfTime);
            }
        }
        Ok(answer)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("checks", &self.checks.len())
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// A check holds when any of its queries does.
    fn holds(&self, told: &Telling<'_>) -> Result<bool, error::Execution> {
        let none = HashMap::new();
        for (query, trusted) in &self.queries {
            let holds = match self.kind {
                CheckKind::One => {
                    query.find_match(&told.facts, self.at.0, trusted, &told.symbols, &none)?
                }
                CheckKind::All => {
                    query.check_match_all(&told.facts, trusted, &told.symbols, &none)?
                }
                // INVARIANT: the profile refuses it; here it never holds.
                CheckKind::Reject => false,
            };
            if holds {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The verifier's facts about one call.
pub(super) struct Telling<'e> {
    mentioned: &'e BTreeSet<u64>,
    symbols: SymbolTable,
    facts: FactSet,
    verifier: Origin,
}

impl Telling<'_> {
    /// Adds a fact of the verifier's, when some check mentions one of that name.
    pub(super) fn fact(&mut self, name: &str, terms: impl FnOnce(&mut Strings<'_>) -> Vec<Term>) {
        let Some(name) = self
            .symbols
            .get(name)
            .filter(|name| self.mentioned.contains(name))
        else {
            return;
        };
        let terms = terms(&mut Strings(&mut self.symbols));
        self.facts.insert(&self.verifier, Fact::new(name, &terms));
    }
}

/// Turns text into terms of the engine.
pub(super) struct Strings<'s>(&'s mut SymbolTable);

impl Strings<'_> {
    pub(super) fn text(&mut self, text: &str) -> Term {
        self.0.add(text)
    }

    pub(super) fn set<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) -> Term {
        Term::Set(texts.into_iter().map(|text| self.0.add(text)).collect())
    }

    pub(super) fn array<'t>(&mut self, texts: impl IntoIterator<Item = &'t str>) -> Term {
        Term::Array(texts.into_iter().map(|text| self.0.add(text)).collect())
    }
}
