//! Tokens cut up, sewn together and signed by others.

use biscuit_auth::{Algorithm, KeyPair, format::schema};
use hallpass_core::{
    base::key::PrivateKey,
    token::{PassToken, attenuate},
};

use super::book::{Book, narrowing, read};
use support::{Issuer, raw};

fn chain(token: PassToken, blocks: usize) -> PassToken {
    (0..blocks).fold(token, |token, block| {
        let until = format!("2026-11-22T10:04:{:02}Z", 50 - block);
        attenuate(&token, &narrowing(serde_json::json!({"expires_at": until})))
            .unwrap()
            .token
    })
}

pub(super) fn write(book: &mut Book) {
    let token = chain(book.plain(), 3);
    book.allow("S00 three blocks, untouched", "", &token, read());
    surgery(book, &token);
    bits(book);
    cuts(book, &token);
    external(book);
    algorithms(book);
    symbols(book);
}

fn surgery(book: &mut Book, token: &PassToken) {
    let other = chain(book.plain(), 3);
    let foreign_seal = raw::wire(&raw::seal(&other, &book.setup.root()));
    let other = raw::wire(&other);
    let sealed = raw::wire(&raw::seal(token, &book.setup.root()));
    type Change<'c> = Box<dyn Fn(&mut schema::Biscuit) + 'c>;
    let changes: Vec<(&str, Change<'_>)> = vec![
        (
            "S01 the last block stripped",
            Box::new(|wire| drop(wire.blocks.pop())),
        ),
        (
            "S01a all blocks stripped",
            Box::new(|wire| wire.blocks.clear()),
        ),
        (
            "S02 two blocks swapped",
            Box::new(|wire| wire.blocks.swap(0, 1)),
        ),
        (
            "S03 the middle block dropped",
            Box::new(|wire| drop(wire.blocks.remove(1))),
        ),
        (
            "S03a one block twice",
            Box::new(|wire| wire.blocks.push(wire.blocks[2].clone())),
        ),
        (
            "S05 a block of another token",
            Box::new(|wire| wire.blocks[1] = other.blocks[1].clone()),
        ),
        (
            "S05a another token's last block and proof",
            Box::new(|wire| {
                wire.blocks[2] = other.blocks[2].clone();
                wire.proof = other.proof.clone();
            }),
        ),
        (
            "S05b another token's block 0",
            Box::new(|wire| wire.authority = other.authority.clone()),
        ),
        (
            "S05c another token's proof",
            Box::new(|wire| wire.proof = other.proof.clone()),
        ),
        (
            "S05d another signature",
            Box::new(|wire| wire.blocks[0].signature = other.blocks[0].signature.clone()),
        ),
        (
            "S05e another next key",
            Box::new(|wire| wire.blocks[0].next_key = other.blocks[0].next_key.clone()),
        ),
        (
            "S06 a block stripped from a sealed token",
            Box::new(|wire| {
                *wire = sealed.clone();
                wire.blocks.pop();
            }),
        ),
        (
            "S06a a seal for another secret",
            Box::new(|wire| wire.proof = foreign_seal.proof.clone()),
        ),
        ("S06b no proof", Box::new(|wire| wire.proof.content = None)),
        (
            "S06c a secret of nobody",
            Box::new(|wire| {
                wire.proof.content = Some(schema::proof::Content::NextSecret(vec![5; 32]));
            }),
        ),
        (
            "S06d a seal of nobody",
            Box::new(|wire| {
                wire.proof.content = Some(schema::proof::Content::FinalSignature(vec![5; 64]));
            }),
        ),
    ];
    for (name, change) in changes {
        let mut wire = raw::wire(token);
        change(&mut wire);
        // Where the same bytes come out, the change was none.
        let changed = raw::from_wire(&wire);
        assert_ne!(changed, *token, "{name}");
        let about = "every block signs the one before, and the proof the last";
        book.refuse(name, about, &changed, read(), "token_signature");
    }
}

fn bits(book: &mut Book) {
    let token = chain(book.plain(), 1);
    let spots: [(&str, fn(&mut schema::Biscuit)); 5] = [
        ("S04 a bit of block 0's last byte", |wire| {
            *wire.authority.block.last_mut().unwrap() ^= 1
        }),
        ("S04a a bit of block 0's signature", |wire| {
            wire.authority.signature[40] ^= 1
        }),
        ("S04b a bit of block 1's signature", |wire| {
            wire.blocks[0].signature[0] ^= 0x80
        }),
        ("S04c a bit of block 0's next key", |wire| {
            wire.authority.next_key.key[0] ^= 1
        }),
        ("S04d the group order added to a signature", |wire| {
            add_order(&mut wire.authority.signature[32..])
        }),
    ];
    for (name, flip) in spots {
        let mut wire = raw::wire(&token);
        flip(&mut wire);
        let flipped = raw::from_wire(&wire);
        book.refuse(
            name,
            "signatures are strict, or a holder could change revocation ids",
            &flipped,
            read(),
            "token_signature",
        );
    }
}

/// `s + L`, which a lax verifier takes for `s`.
fn add_order(s: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0_u16;
    for (byte, order) in s.iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}

fn cuts(book: &mut Book, token: &PassToken) {
    let bytes = raw::bytes(token);
    for (index, length) in [0, 1, 2, bytes.len() / 4, bytes.len() / 2, bytes.len() - 1]
        .into_iter()
        .enumerate()
    {
        let name = format!("S11 cut short ({index})");
        book.refuse(
            &name,
            "",
            &raw::token(&bytes[..length]),
            read(),
            "token_malformed",
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    book.refuse(
        "S12 a byte more",
        "",
        &raw::token(longer),
        read(),
        "token_malformed",
    );
    let twice = [bytes.as_slice(), bytes.as_slice()].concat();
    book.refuse(
        "S13 the same twice",
        "protobuf would merge them",
        &raw::token(twice),
        read(),
        "token_malformed",
    );
}

fn external(book: &mut Book) {
    let signed = book.signed(&book.plain(), 9, "check if read_only(true);");
    book.allow("S07 a block that a third party signed", "", &signed, read());
    let external = raw::wire(&signed).blocks[0]
        .external_signature
        .clone()
        .unwrap();
    let mut on_block_0 = raw::wire(&book.plain());
    on_block_0.authority.external_signature = Some(external.clone());
    let mut first_party = raw::wire(&chain(book.plain(), 1));
    first_party.blocks[0].external_signature = Some(external);
    let mut renamed = raw::wire(&signed);
    let key = raw::ed25519(&PrivateKey::from_seed(&[41; 32]).public());
    renamed.blocks[0]
        .external_signature
        .as_mut()
        .unwrap()
        .public_key = key;
    let mut bare = raw::wire(&signed);
    bare.blocks[0].external_signature = None;
    for (name, wire) in [
        ("S07a an external signature on block 0", on_block_0),
        (
            "S07b an external signature on a holder's block",
            first_party,
        ),
        ("S10 another key's name over a signature", renamed),
        ("S10a an external signature taken off", bare),
    ] {
        book.refuse(
            name,
            "it signs this block after that one",
            &raw::from_wire(&wire),
            read(),
            "token_signature",
        );
    }
}

fn algorithms(book: &mut Book) {
    let plain = book.plain();
    let mut old = raw::wire(&book.signed(&plain, 9, "check if read_only(true);"));
    old.blocks[0].version = None;
    let about = "the old payload does not cover all that it should";
    book.refuse(
        "S09 a third-party block of the old payload",
        about,
        &raw::from_wire(&old),
        read(),
        "token_profile",
    );
    for version in [None, Some(0), Some(2)] {
        let mut wire = raw::wire(&plain);
        wire.authority.version = version;
        let name = format!("S09a block 0 of payload version {version:?}");
        book.refuse(
            &name,
            about,
            &raw::from_wire(&wire),
            read(),
            "token_profile",
        );
    }
    let old = raw::mint(&Issuer::new(), "hallpass(1);");
    book.refuse(
        "S09b signed over the old payload",
        about,
        &old,
        read(),
        "token_profile",
    );
    let other = KeyPair::new_with_algorithm(Algorithm::Secp256r1);
    let next = schema::PublicKey {
        algorithm: 1,
        key: other.public().to_bytes(),
    };
    let about = "with P-256 a holder could change a block's signature, and so its revocation id";
    let holder = raw::append_signed(
        &plain,
        &raw::empty_block(),
        next,
        &other.private().to_bytes(),
    );
    book.refuse(
        "M03 a P-256 next key",
        about,
        &holder,
        read(),
        "token_profile",
    );
    let third = raw::append_third_party(
        &plain,
        &book.setup.root(),
        &other,
        "check if read_only(true);",
    );
    book.refuse(
        "M04 a P-256 external key",
        about,
        &third,
        read(),
        "token_profile",
    );
    let by_hand = raw::append_by_hand(&plain, &raw::empty_block());
    book.allow(
        "M05 a block that a holder signed by hand",
        "it is what it is",
        &by_hand,
        read(),
    );
}

fn symbols(book: &mut Book) {
    let plain = book.plain();
    let block = |symbols: &[&str]| schema::Block {
        symbols: symbols.iter().map(ToString::to_string).collect(),
        ..raw::empty_block()
    };
    for (name, symbols) in [
        ("E01 a symbol of block 0 again", &["read_ledger"][..]),
        ("E02 a symbol that every token has", &["read"]),
        ("E02a a symbol twice in one block", &["evil", "evil"]),
        ("E02b the empty symbol twice", &["", ""]),
    ] {
        let token = raw::append_by_hand(&plain, &block(symbols));
        book.refuse(
            name,
            "a symbol has one place",
            &token,
            read(),
            "token_profile",
        );
    }
    let public_keys = vec![raw::ed25519(&PrivateKey::from_seed(&[3; 32]).public())];
    let keys = raw::append_by_hand(
        &plain,
        &schema::Block {
            public_keys,
            ..raw::empty_block()
        },
    );
    book.refuse(
        "E03 a holder's block declares a key",
        "keys are for scopes to name",
        &keys,
        read(),
        "token_profile",
    );
    let query = schema::Rule {
        head: schema::Predicate {
            name: 27,
            terms: Vec::new(),
        },
        body: vec![schema::Predicate {
            name: 5_000,
            terms: Vec::new(),
        }],
        expressions: Vec::new(),
        scope: Vec::new(),
    };
    let check = schema::Check {
        queries: vec![query],
        kind: None,
    };
    let unknown = raw::append_by_hand(
        &plain,
        &schema::Block {
            checks: vec![check],
            ..raw::empty_block()
        },
    );
    let about = "a text that comes later could be taken for it";
    book.refuse(
        "E04 a check that names a symbol nobody declared",
        about,
        &unknown,
        read(),
        "token_profile",
    );
    let many: Vec<String> = (0..1_100).map(|index| format!("s{index}")).collect();
    let many = raw::append_by_hand(
        &plain,
        &schema::Block {
            symbols: many,
            ..raw::empty_block()
        },
    );
    book.refuse(
        "E05 more than 1024 symbols",
        "",
        &many,
        read(),
        "token_profile",
    );
    let long = raw::append_by_hand(&plain, &block(&[&"x".repeat(4_097)]));
    book.refuse(
        "E06 a symbol of more than 4096 bytes",
        "",
        &long,
        read(),
        "token_profile",
    );
    for version in [None, Some(2), Some(7)] {
        let token = raw::append_by_hand(
            &plain,
            &schema::Block {
                version,
                ..schema::Block::default()
            },
        );
        let name = format!("E07 Datalog version {version:?}");
        book.refuse(
            &name,
            "3.0 to 3.3 are 3 to 6",
            &token,
            read(),
            "token_profile",
        );
    }
}
