//! What a token costs is counted before any of it runs, and is bounded whatever the token holds.

use biscuit_auth::format::schema::{self, op::Content as Op};
use hallpass_core::{
    base::ReasonCode,
    token::{MAX_APPENDED_BLOCKS, MAX_TOKEN_BYTES, PassToken, ProfileError, UnverifiedPass},
};
use prost::Message as _;
use serde_json::json;

use crate::fuzz::{
    blocks,
    forge::{self, DELEGATE, HOLDER, Part, STRANGER},
    fuzz,
    input::Input,
    tokens::MAX_COST,
};
use support::{
    Issuer,
    hostile::{self, Kind},
    raw, rights,
};

/// The profile's bounds as `docs/token-format.md` states them.
const MAX_SYMBOLS: usize = 1_024;
const MAX_SYMBOL_BYTES: usize = 4_096;
const MAX_QUERIES: usize = 32;
const MAX_PREDICATES: usize = 2;
const MAX_OPERATIONS: usize = 256;
const MAX_FACTS: usize = 8;

/// What a token asks for, counted once more from its wire form.
fn is_within_bounds(token: &PassToken) {
    let bytes = raw::bytes(token);
    let wire = raw::wire(token);
    assert!(bytes.len() <= MAX_TOKEN_BYTES && wire.blocks.len() <= MAX_APPENDED_BLOCKS);
    let mut symbols = 0;
    for (number, signed) in std::iter::once(&wire.authority)
        .chain(&wire.blocks)
        .enumerate()
    {
        let block = schema::Block::decode(signed.block.as_slice()).unwrap();
        symbols += block.symbols.len();
        assert!(
            block
                .symbols
                .iter()
                .all(|symbol| symbol.len() <= MAX_SYMBOL_BYTES)
                && block.rules.is_empty()
        );
        if number == 0 {
            continue;
        }
        assert!(
            block.facts.len() <= MAX_FACTS
                && (block.facts.is_empty() || signed.external_signature.is_some())
        );
        let queries: Vec<_> = block
            .checks
            .iter()
            .flat_map(|check| &check.queries)
            .collect();
        assert!(queries.len() <= MAX_QUERIES);
        assert!(
            queries
                .iter()
                .all(|query| query.body.len() <= MAX_PREDICATES)
        );
        let expressions = queries.iter().flat_map(|query| &query.expressions);
        assert!(
            expressions
                .map(|expression| operations(&expression.ops))
                .sum::<usize>()
                <= MAX_OPERATIONS
        );
    }
    assert!(symbols <= MAX_SYMBOLS, "{symbols} symbols");
}

fn operations(ops: &[schema::Op]) -> usize {
    let inner = |op: &schema::Op| match &op.content {
        Some(Op::Closure(closure)) => operations(&closure.ops),
        _ => 0,
    };
    ops.iter().map(|op| 1 + inner(op)).sum()
}

/// The same token with signatures that nobody made.
fn unsigned(token: &PassToken) -> PassToken {
    let mut wire = raw::wire(token);
    for block in std::iter::once(&mut wire.authority).chain(&mut wire.blocks) {
        block.signature = vec![0; 64];
    }
    raw::from_wire(&wire)
}

#[test]
fn a_token_with_any_blocks_is_within_the_bounds_or_refused_before_its_signatures() {
    let issuer = Issuer::new();
    let base =
        forge::parts(&issuer.mint(vec![rights(json!({"tools": ["read_ledger", "transfer"]}))]));
    let state = (base, issuer.root.public());
    fuzz!(
        "cost",
        1,
        state,
        |(base, root): &mut (Vec<Part>, _), input: &mut Input<'_>| {
            let mut parts = base.clone();
            let mut cost = 0;
            for _ in 0..=input.below(10) {
                let signer =
                    [None, None, Some(HOLDER), Some(DELEGATE), Some(STRANGER)][input.below(5)];
                let data = forge::encoded(&blocks::any(input, &forge::known_to(&parts, signer)));
                parts.push(Part { data, signer });
                let token = forge::token(&parts);
                let parsed = UnverifiedPass::parse(token.expose());
                let verdict = |parsed: &Result<_, ProfileError>| {
                    parsed.as_ref().map(|_| ()).map_err(ProfileError::code)
                };
                assert_eq!(
                    verdict(&parsed),
                    verdict(&UnverifiedPass::parse(unsigned(&token).expose())),
                    "the signatures are looked at before the profile"
                );
                let Ok(parsed) = parsed else { break };
                is_within_bounds(&token);
                if let Ok(pass) = parsed.verify(root) {
                    assert!(
                        (cost..=MAX_COST).contains(&pass.cost()),
                        "{} after {cost}",
                        pass.cost()
                    );
                    cost = pass.cost();
                }
            }
        }
    );
}

#[test]
fn each_kind_of_work_grows_to_the_limit_and_no_further() {
    let issuer = Issuer::new();
    let root = issuer.root.public();
    let pass = issuer.mint(vec![rights(json!({"tools": ["read_ledger", "transfer"]}))]);
    for kind in hostile::KINDS {
        let Kind { name, .. } = kind;
        let (dearest, refused) = kind.grown(&pass, &root);
        is_within_bounds(&dearest);
        let cost = UnverifiedPass::parse(dearest.expose())
            .unwrap()
            .verify(&root)
            .unwrap()
            .cost();
        assert!((1..=MAX_COST).contains(&cost), "{name} costs {cost}");
        // It is refused as it is and by whatever signatures: they are not looked at.
        for refused in [unsigned(&refused), refused] {
            let code = UnverifiedPass::parse(refused.expose())
                .err()
                .map(|error| error.code());
            assert!(
                matches!(
                    code,
                    Some(ReasonCode::TokenProfile | ReasonCode::TokenTooLarge)
                ),
                "{name}: {code:?}"
            );
        }
        let unsigned = UnverifiedPass::parse(unsigned(&dearest).expose()).unwrap();
        assert_eq!(
            unsigned.verify(&root).err().map(|error| error.code()),
            Some(ReasonCode::TokenSignature),
            "{name}"
        );
        println!(
            "{cost:>8} units, {:>6} bytes: {name}",
            raw::bytes(&dearest).len()
        );
    }
}

#[test]
fn sixteen_kibibytes_of_anything_are_decoded_once_and_a_byte_more_not_at_all() {
    let issuer = Issuer::new();
    let pass = issuer.mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
    let of_length = |bytes: usize| {
        let mut block = raw::empty_block();
        let mut token = pass.clone();
        while raw::bytes(&token).len() < bytes {
            let missing = bytes - raw::bytes(&token).len();
            // In the context, a text that nothing looks at.
            let length = block.context.as_ref().map_or(0, String::len);
            block.context =
                Some("x".repeat(length + missing.div_ceil(if length == 0 { 2 } else { 1 }).max(1)));
            token = raw::append_by_hand(&pass, &block);
        }
        token
    };
    let longest = of_length(MAX_TOKEN_BYTES);
    assert_eq!(raw::bytes(&longest).len(), MAX_TOKEN_BYTES);
    assert!(UnverifiedPass::parse(longest.expose()).is_ok());
    let longer = of_length(MAX_TOKEN_BYTES + 1);
    assert_eq!(
        UnverifiedPass::parse(longer.expose()).err(),
        Some(ProfileError::TooLarge)
    );
    // Nor is anything that long decoded from base64.
    assert_eq!(
        UnverifiedPass::parse(&"_".repeat(1 << 20)).err(),
        Some(ProfileError::TooLarge)
    );
}
