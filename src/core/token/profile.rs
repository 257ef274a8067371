//! The structural profile: the allowed structure of a token, checked on the wire form before any Datalog runs.
//!
//! biscuit-auth checks its run limits only between whole passes, so a small hostile block
//! could keep a verifier busy for seconds. A token inside this profile costs milliseconds at
//! worst; one outside it is refused here, before its signatures are checked.

use biscuit_auth::format::schema;
use prost::Message as _;

use crate::token::{
    ProfileError,
    cost::{self, Costs},
    datalog::DELEGATE,
    limits::{
        MAX_APPENDED_BLOCKS, MAX_CHECK_TEXT, MAX_COST, MAX_SYMBOLS, MAX_TEXT_BYTES, MAX_TOKEN_BYTES,
    },
    wire::Wire,
};

/// Decodes `bytes` once and checks it against the profile.
///
/// # Errors
///
/// The first rule that the token breaks.
pub(super) fn admit(bytes: &[u8]) -> Result<Wire, ProfileError> {
    if bytes.len() > MAX_TOKEN_BYTES {
        return Err(ProfileError::TooLarge);
    }
    let token = schema::Biscuit::decode(bytes).map_err(|_| ProfileError::Malformed)?;
    // The outer encoding is unsigned. With unknown fields, or another order, anyone could make other
    // texts of the same token, and each would be cached separately.
    if token.authority.block.is_empty() || token.encode_to_vec() != bytes {
        return Err(ProfileError::Malformed);
    }
    if token.blocks.len() > MAX_APPENDED_BLOCKS {
        return Err(ProfileError::TooManyBlocks);
    }
    let mut blocks = Vec::with_capacity(token.blocks.len().saturating_add(1));
    let mut symbols = 0_usize;
    for (index, signed) in std::iter::once(&token.authority)
        .chain(&token.blocks)
        .enumerate()
    {
        let refuse = |rule| ProfileError::Block { block: index, rule };
        admit_signature(signed).map_err(refuse)?;
        let block =
            schema::Block::decode(signed.block.as_slice()).map_err(|_| ProfileError::Malformed)?;
        let limits = if index == 0 { &AUTHORITY } else { &APPENDED };
        admit_block(&block, limits).map_err(refuse)?;
        symbols = symbols.saturating_add(block.symbols.len());
        if symbols > MAX_SYMBOLS {
            return Err(refuse("too many symbols"));
        }
        blocks.push(block);
    }
    let Some(wire) = Wire::new(token, blocks) else {
        return Err(ProfileError::Symbols);
    };
    let costs = Costs::of(&wire);
    let mut cost = 0_usize;
    let mut text = 0_usize;
    for index in 1..wire.block_count() {
        let refuse = |rule| ProfileError::Block { block: index, rule };
        admit_facts(&wire, index).map_err(refuse)?;
        cost = cost.saturating_add(costs.of_block(index));
        if cost > MAX_COST {
            return Err(refuse("checks that take too long to evaluate"));
        }
        text = text.saturating_add(cost::text_of_block(&wire, index));
        if text > MAX_CHECK_TEXT {
            return Err(refuse("checks that name too much text"));
        }
    }
    Ok(wire.with_cost(cost))
}

struct Limits {
    queries: usize,
    predicates: usize,
    operations: usize,
    scopes: bool,
}

/// Block 0 is the broker's; its bounds only limit its cost.
const AUTHORITY: Limits = Limits {
    queries: 1024,
    predicates: 6,
    operations: 16_384,
    scopes: true,
};
const APPENDED: Limits = Limits {
    queries: 32,
    predicates: 2,
    operations: 256,
    scopes: false,
};
/// The block versions of Datalog 3.0 to 3.3.
const DATALOG_VERSIONS: std::ops::RangeInclusive<u32> = 3..=6;
const MAX_THIRD_PARTY_FACTS: usize = 8;
const MAX_FACT_TEXT_BYTES: usize = 256;

fn admit_signature(signed: &schema::SignedBlock) -> Result<(), &'static str> {
    let is_ed25519 = |key: &schema::PublicKey| {
        schema::public_key::Algorithm::from_i32(key.algorithm)
            == Some(schema::public_key::Algorithm::Ed25519)
            && key.key.len() == 32
    };
    if !is_ed25519(&signed.next_key) {
        return Err("the next key is not Ed25519");
    }
    if signed.version != Some(1) {
        return Err("the signature payload is not version 1");
    }
    if signed.signature.len() != 64 {
        return Err("the signature is not 64 bytes");
    }
    match &signed.external_signature {
        Some(external) if !is_ed25519(&external.public_key) => {
            Err("the external key is not Ed25519")
        }
        Some(external) if external.signature.len() != 64 => {
            Err("the external signature is not 64 bytes")
        }
        _ => Ok(()),
    }
}

fn admit_block(block: &schema::Block, limits: &Limits) -> Result<(), &'static str> {
    if block
        .symbols
        .iter()
        .any(|symbol| symbol.len() > MAX_TEXT_BYTES)
    {
        return Err("a symbol that is too long");
    }
    if !block.rules.is_empty() {
        return Err("a rule");
    }
    if !block.scope.is_empty() {
        return Err("a block scope");
    }
    // Public keys are declared only for use in scopes.
    if !block.public_keys.is_empty() && !limits.scopes {
        return Err("a public key");
    }
    if !DATALOG_VERSIONS.contains(&block.version.unwrap_or(0)) {
        return Err("an unknown version of Datalog");
    }
    let mut queries = 0_usize;
    let mut operations = 0_usize;
    for check in &block.checks {
        if !matches!(check.kind, None | Some(0 | 1)) {
            return Err("a check that is neither `check if` nor `check all`");
        }
        if check.queries.is_empty() {
            return Err("a check without a query");
        }
        for query in &check.queries {
            queries = queries.saturating_add(1);
            // The engine would print an error about such a head to the process's standard output.
            if !query.head.terms.is_empty() {
                return Err("a check that derives something");
            }
            if query.body.len() > limits.predicates {
                return Err("too many predicates in a query");
            }
            if !query.scope.is_empty() && !limits.scopes {
                return Err("a query scope");
            }
            for expression in &query.expressions {
                operations =
                    operations.saturating_add(admit_operations(&expression.ops, 0)?.max(1));
            }
        }
    }
    if queries > limits.queries {
        return Err("too many queries");
    }
    if operations > limits.operations {
        return Err("too many operations");
    }
    Ok(())
}

/// Counts operations; refuses regular expressions, foreign functions, additions and nested closures.
///
/// A closure without parameters (the right side of `&&`) runs once and may nest; one with
/// parameters runs once per element, so one level is all there is.
fn admit_operations(ops: &[schema::Op], level: usize) -> Result<usize, &'static str> {
    use schema::{op::Content, op_binary, op_unary};

    let mut count = 0_usize;
    for op in ops {
        count = count.saturating_add(1);
        match &op.content {
            Some(Content::Closure(closure)) => {
                let level = if closure.params.is_empty() {
                    level
                } else {
                    level.saturating_add(1)
                };
                if level > 1 {
                    return Err("a closure inside a closure");
                }
                count = count.saturating_add(admit_operations(&closure.ops, level)?);
            }
            Some(Content::Binary(binary)) => match op_binary::Kind::from_i32(binary.kind) {
                // A regular expression means different things in different builds of biscuit-auth,
                // and one that cannot be built counts as "no match" instead of an error.
                Some(op_binary::Kind::Regex) => return Err("a regular expression"),
                Some(op_binary::Kind::Ffi) | None => return Err("a foreign function"),
                Some(op_binary::Kind::TryOr) => return Err("an operator that hides errors"),
                // On strings it concatenates, and the engine keeps every intermediate string: a
                // hundred additions to a large argument would fill the memory.
                Some(op_binary::Kind::Add) => return Err("an addition"),
                Some(_) => {}
            },
            Some(Content::Unary(unary)) => match op_unary::Kind::from_i32(unary.kind) {
                Some(op_unary::Kind::Ffi) | None => return Err("a foreign function"),
                Some(_) => {}
            },
            Some(Content::Value(_)) => {}
            None => return Err("an empty operation"),
        }
    }
    Ok(count)
}

fn admit_facts(wire: &Wire, index: usize) -> Result<(), &'static str> {
    let facts = wire.facts(index);
    if facts.is_empty() {
        return Ok(());
    }
    if wire.external_key_bytes(index).is_none() {
        return Err("a fact in a first-party block");
    }
    if facts.len() > MAX_THIRD_PARTY_FACTS {
        return Err("too many facts");
    }
    let mut delegations = 0_usize;
    for fact in facts {
        match (
            wire.symbol(index, fact.predicate.name),
            fact.predicate.terms.len(),
        ) {
            (Some(DELEGATE), 2) => delegations = delegations.saturating_add(1),
            (Some("approved"), 8) => {}
            _ => return Err("a fact that the format does not define"),
        }
        if !fact
            .predicate
            .terms
            .iter()
            .all(|term| is_short_scalar(wire, index, term))
        {
            return Err("a fact with a term that is not a short scalar");
        }
    }
    if delegations > 1 {
        Err("more than one delegation")
    } else {
        Ok(())
    }
}

/// A variable copies its value, so a fact that a holder writes must be small.
fn is_short_scalar(wire: &Wire, block: usize, term: &schema::Term) -> bool {
    use schema::term::Content;

    match &term.content {
        Some(Content::String(symbol)) => wire
            .symbol(block, *symbol)
            .is_some_and(|text| text.len() <= MAX_FACT_TEXT_BYTES),
        Some(Content::Bytes(bytes)) => bytes.len() <= MAX_FACT_TEXT_BYTES,
        Some(Content::Integer(_) | Content::Date(_) | Content::Bool(_)) => true,
        _ => false,
    }
}
