//! Bytes: what is not exactly the token that was signed.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use biscuit_auth::{Algorithm, KeyPair, format::schema};
use hallpass_core::{
    base::{ReasonCode, ids::KeyId, key::PrivateKey},
    token::{AttenuateError, Narrowing, PassToken, RootKey, UnverifiedPass, attenuate},
    wire::document::RootKeyEntry,
};
use prost::Message as _;
use serde_json::json;

use super::{code, verified};
use support::{Issuer, raw, rights};

fn pass(issuer: &Issuer) -> PassToken {
    issuer.mint(vec![rights(json!({"tools": ["read_ledger"]}))])
}

fn read_only() -> Narrowing {
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    narrowing
}

fn chain(issuer: &Issuer, blocks: usize) -> PassToken {
    (0..blocks).fold(pass(issuer), |token, _| {
        attenuate(&token, &read_only()).unwrap().token
    })
}

#[test]
fn only_base64url_without_padding_is_a_token() {
    let issuer = Issuer::new();
    // A length that needs padding, so that the padded spelling differs.
    let named = |name: &str| issuer.mint(vec![rights(json!({"tools": [name]}))]);
    let token = ["a", "ab", "abc"]
        .map(named)
        .into_iter()
        .find(|token| !raw::bytes(token).len().is_multiple_of(3))
        .unwrap();
    let bytes = raw::bytes(&token);
    assert!(UnverifiedPass::parse(token.expose()).is_ok());
    let mut spellings = vec![URL_SAFE.encode(&bytes), STANDARD.encode(&bytes)];
    spellings.extend(
        [STANDARD_NO_PAD.encode(&bytes)]
            .into_iter()
            .filter(|text| text != token.expose()),
    );
    for space in [" ", "\n", "\t", "\u{a0}", "\0"] {
        spellings.push(format!("{}{space}", token.expose()));
        spellings.push(format!("{space}{}", token.expose()));
        spellings.push(format!(
            "{}{space}{}",
            &token.expose()[..40],
            &token.expose()[40..]
        ));
    }
    // The unused bits of the last character are zero, or two texts would be one token.
    let mut text = token.expose().to_owned();
    let last = text.pop().unwrap();
    let next = char::from_u32(u32::from(last) + 1).unwrap();
    spellings.push(format!("{text}{next}"));
    for spelling in spellings {
        let error = UnverifiedPass::parse(&spelling).unwrap_err();
        assert_eq!(error.code(), ReasonCode::TokenMalformed, "{spelling}");
    }
}

#[test]
fn the_size_is_capped_at_the_limit_and_one_past() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let padded = |length: usize| {
        // Symbols that nothing names, each at its own place in the alphabet.
        let block = |last: usize| {
            let mut symbols: Vec<String> =
                ["a", "b", "c"].map(|letter| letter.repeat(4_000)).to_vec();
            symbols.push("d".repeat(last));
            raw::append_by_hand(
                &pass(&issuer),
                &schema::Block {
                    symbols,
                    ..raw::empty_block()
                },
            )
        };
        block(2_000 + length - raw::bytes(&block(2_000)).len())
    };
    assert_eq!(raw::bytes(&padded(16 * 1024)).len(), 16 * 1024);
    assert_eq!(
        code(&verifier, &padded(16 * 1024), "read_ledger", &json!({})),
        None
    );
    assert_eq!(
        code(&verifier, &padded(16 * 1024 + 1), "read_ledger", &json!({})),
        Some(ReasonCode::TokenTooLarge)
    );
    let text = PassToken::from_text("A".repeat(10_000_000));
    assert_eq!(
        code(&verifier, &text, "read_ledger", &json!({})),
        Some(ReasonCode::TokenTooLarge)
    );
}

#[test]
fn a_token_has_one_encoding() {
    let issuer = Issuer::new();
    let bytes = raw::bytes(&chain(&issuer, 1));
    let unknown_field = [bytes.as_slice(), &[0x7a, 0]].concat();
    // The key's number is the first field, and its order is free in protobuf.
    let (number, rest) = bytes.split_at(2);
    let moved = [rest, number].concat();
    for other in [unknown_field, moved] {
        assert!(schema::Biscuit::decode(other.as_slice()).is_ok());
        let error = UnverifiedPass::parse(raw::token(other).expose()).unwrap_err();
        assert_eq!(error.code(), ReasonCode::TokenMalformed);
    }
}

#[test]
fn a_token_cut_short_anywhere_is_none() {
    let issuer = Issuer::new();
    let bytes = raw::bytes(&chain(&issuer, 1));
    for length in 0..bytes.len() {
        let result = verified(&issuer, &raw::token(&bytes[..length]));
        assert!(result.is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn no_flipped_bit_changes_what_a_token_says() {
    let issuer = Issuer::new();
    let token = pass(&issuer);
    let original = verified(&issuer, &token).unwrap();
    let bytes = raw::bytes(&token);
    let mut unsigned = 0;
    // Every bit of the head, where the structure is; after that one of each byte, since each costs
    // a signature check.
    for bit in (0..64 * 8).chain((64..bytes.len()).map(|byte| byte * 8 + byte % 8)) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(pass) = verified(&issuer, &raw::token(flipped)) {
            assert_eq!(
                (pass.blocks(), pass.claims()),
                (original.blocks(), original.claims()),
                "bit {bit}"
            );
            unsigned += 1;
        }
    }
    // The key's number: a tag and one byte.
    assert!(unsigned <= 16, "{unsigned} bits do not matter");
}

#[test]
fn the_number_of_the_key_is_a_hint_and_no_more() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let other = RootKey::new(KeyId(7), &PrivateKey::from_seed(&[7; 32])).unwrap();
    let mut frame = issuer.frame();
    frame.keys.as_mut().unwrap().push(RootKeyEntry {
        id: other.id(),
        key: other.public(),
    });
    issuer.tell(&verifier, frame);
    let with_number = |number| {
        let mut wire = raw::wire(&pass(&issuer));
        wire.root_key_id = number;
        code(&verifier, &raw::from_wire(&wire), "read_ledger", &json!({}))
    };
    assert_eq!(with_number(Some(1)), None);
    assert_eq!(with_number(Some(7)), Some(ReasonCode::TokenSignature));
    assert_eq!(with_number(Some(99)), Some(ReasonCode::TokenKeyUnknown));
    assert_eq!(with_number(None), Some(ReasonCode::TokenKeyUnknown));
    // A key that the broker withdrew is unknown, however often it was seen before.
    let mut frame = issuer.frame();
    frame.keys = Some(vec![RootKeyEntry {
        id: other.id(),
        key: other.public(),
    }]);
    issuer.tell(&verifier, frame);
    assert_eq!(with_number(Some(1)), Some(ReasonCode::TokenKeyUnknown));
}

#[test]
fn blocks_cannot_be_taken_out_moved_or_grafted() {
    let issuer = Issuer::new();
    let token = chain(&issuer, 3);
    let other = chain(&issuer, 3);
    let changes: [(&str, fn(&mut schema::Biscuit, &schema::Biscuit)); 8] = [
        ("the last stripped", |wire, _| drop(wire.blocks.pop())),
        ("the middle dropped", |wire, _| drop(wire.blocks.remove(1))),
        ("two swapped", |wire, _| wire.blocks.swap(0, 1)),
        ("one twice", |wire, _| {
            wire.blocks.push(wire.blocks[2].clone())
        }),
        ("one of another token", |wire, other| {
            wire.blocks[1] = other.blocks[1].clone()
        }),
        ("another token's block 0", |wire, other| {
            wire.authority = other.authority.clone()
        }),
        ("all stripped", |wire, _| wire.blocks.clear()),
        ("another proof", |wire, other| {
            wire.proof = other.proof.clone()
        }),
    ];
    for (name, change) in changes {
        let mut wire = raw::wire(&token);
        change(&mut wire, &raw::wire(&other));
        assert_eq!(
            verified(&issuer, &raw::from_wire(&wire)).err(),
            Some(ReasonCode::TokenSignature),
            "{name}"
        );
    }
}

#[test]
fn the_proof_is_no_place_for_another_secret() {
    let issuer = Issuer::new();
    let mut wire = raw::wire(&pass(&issuer));
    wire.proof.content = Some(schema::proof::Content::NextSecret(vec![5; 32]));
    assert_eq!(
        verified(&issuer, &raw::from_wire(&wire)).err(),
        Some(ReasonCode::TokenSignature)
    );
    wire.proof.content = Some(schema::proof::Content::FinalSignature(vec![5; 64]));
    assert_eq!(
        verified(&issuer, &raw::from_wire(&wire)).err(),
        Some(ReasonCode::TokenSignature)
    );
    wire.proof.content = None;
    assert_eq!(
        verified(&issuer, &raw::from_wire(&wire)).err(),
        Some(ReasonCode::TokenSignature)
    );
}

#[test]
fn a_sealed_token_is_used_but_not_narrowed() {
    let issuer = Issuer::new();
    let sealed = raw::seal(&chain(&issuer, 1), &issuer.root.public());
    assert_eq!(
        code(&issuer.verifier(), &sealed, "read_ledger", &json!({})),
        None
    );
    assert_eq!(
        attenuate(&sealed, &read_only()).unwrap_err(),
        AttenuateError::Sealed
    );
    let mut wire = raw::wire(&sealed);
    wire.blocks.clear();
    assert_eq!(
        verified(&issuer, &raw::from_wire(&wire)).err(),
        Some(ReasonCode::TokenSignature)
    );
}

#[test]
fn eight_blocks_are_appended_and_no_ninth() {
    let issuer = Issuer::new();
    let eight = chain(&issuer, 8);
    assert_eq!(verified(&issuer, &eight).unwrap().blocks().len(), 9);
    assert!(matches!(
        attenuate(&eight, &read_only()),
        Err(AttenuateError::Profile(_))
    ));
    let nine = raw::append(&eight, &issuer.root.public(), "check if read_only(true);");
    assert_eq!(
        raw::profile_rule(&nine).unwrap_err(),
        "more than 8 appended blocks"
    );
}

#[test]
fn no_key_but_ed25519_is_anywhere() {
    let issuer = Issuer::new();
    let token = pass(&issuer);
    // With secp256r1 a holder could make another valid signature, and so another revocation id.
    let other = KeyPair::new_with_algorithm(Algorithm::Secp256r1);
    let next = schema::PublicKey {
        algorithm: 1,
        key: other.public().to_bytes(),
    };
    let block = raw::append_signed(
        &token,
        &raw::empty_block(),
        next,
        &other.private().to_bytes(),
    );
    assert_eq!(
        raw::profile_rule(&block).unwrap_err(),
        "block 1: the next key is not Ed25519"
    );
    let third = raw::append_third_party(
        &token,
        &issuer.root.public(),
        &other,
        "check if read_only(true);",
    );
    assert_eq!(
        raw::profile_rule(&third).unwrap_err(),
        "block 1: the external key is not Ed25519"
    );
}

#[test]
fn the_old_signature_payload_is_not_taken() {
    let issuer = Issuer::new();
    let old = raw::mint(&issuer, "hallpass(1);");
    assert_eq!(raw::wire(&old).authority.version, None);
    assert_eq!(
        raw::profile_rule(&old).unwrap_err(),
        "block 0: the signature payload is not version 1"
    );
    for version in [None, Some(0), Some(2)] {
        let mut wire = raw::wire(&pass(&issuer));
        wire.authority.version = version;
        let rule = raw::profile_rule(&raw::from_wire(&wire)).unwrap_err();
        assert_eq!(
            rule, "block 0: the signature payload is not version 1",
            "{version:?}"
        );
    }
}

#[test]
fn a_block_that_a_holder_signs_by_hand_is_what_it_is() {
    let issuer = Issuer::new();
    let token = raw::append_by_hand(&pass(&issuer), &raw::empty_block());
    assert_eq!(verified(&issuer, &token).unwrap().blocks().len(), 2);
    assert_eq!(
        code(&issuer.verifier(), &token, "read_ledger", &json!({})),
        None
    );
}

#[test]
fn symbols_are_not_declared_twice_nor_keys_at_all() {
    let issuer = Issuer::new();
    let rule = |block: schema::Block| {
        raw::profile_rule(&raw::append_by_hand(&pass(&issuer), &block)).unwrap_err()
    };
    // A symbol of block 0, one that every token has from the start, and one twice in one block: a
    // check that names the second of them would look at nothing.
    for symbols in [
        &["read_ledger"][..],
        &["read"],
        &["evil", "evil"],
        &["", ""],
    ] {
        let block = schema::Block {
            symbols: symbols.iter().map(ToString::to_string).collect(),
            ..raw::empty_block()
        };
        assert_eq!(rule(block), "a symbol is declared twice", "{symbols:?}");
    }
    let key = raw::ed25519(&PrivateKey::from_seed(&[3; 32]).public());
    let public_keys = vec![key];
    assert_eq!(
        rule(schema::Block {
            public_keys,
            ..raw::empty_block()
        }),
        "block 1: a public key"
    );
    for version in [None, Some(2), Some(7)] {
        assert_eq!(
            rule(schema::Block {
                version,
                ..schema::Block::default()
            }),
            "block 1: an unknown version of Datalog"
        );
    }
}

#[test]
fn an_external_signature_moves_nowhere() {
    let issuer = Issuer::new();
    let root = issuer.root.public();
    let approver = PrivateKey::from_seed(&[9; 32]);
    let signed = raw::append_third_party(
        &pass(&issuer),
        &root,
        &raw::key_pair(9),
        "check if read_only(true);",
    );
    let external = raw::wire(&signed).blocks[0]
        .external_signature
        .clone()
        .unwrap();
    // Onto a holder's own block, onto block 0, or under another key's name.
    let mut first_party = raw::wire(&chain(&issuer, 1));
    first_party.blocks[0].external_signature = Some(external.clone());
    let mut renamed = raw::wire(&signed);
    renamed.blocks[0]
        .external_signature
        .as_mut()
        .unwrap()
        .public_key = raw::ed25519(&root);
    let mut bare = raw::wire(&signed);
    bare.blocks[0].external_signature = None;
    for wire in [first_party, renamed, bare] {
        assert_eq!(
            verified(&issuer, &raw::from_wire(&wire)).err(),
            Some(ReasonCode::TokenSignature)
        );
    }
    let mut on_block_0 = raw::wire(&pass(&issuer));
    on_block_0.authority.external_signature =
        Some(raw::external(&approver.public(), &external.signature));
    assert_eq!(
        verified(&issuer, &raw::from_wire(&on_block_0)).err(),
        Some(ReasonCode::TokenSignature)
    );
}

#[test]
fn text_and_bytes_agree() {
    let token = pass(&Issuer::new());
    assert_eq!(URL_SAFE_NO_PAD.encode(raw::bytes(&token)), token.expose());
    assert!(
        token
            .expose()
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    );
    assert_eq!(format!("{token:?}"), "PassToken(…)");
}
