//! Signed delegation: each hop can do less, is signed by the holder before it, and is told apart.

use std::time::Duration;

use hallpass_core::{
    base::{ReasonCode, holder::HolderKey},
    possession::Presented,
    token::{
        DelegateError, Delegation, Narrowing, PassError, PassToken, UnverifiedPass, attenuate,
        delegate,
    },
    wire::document::{KeyDocument, RootKeyEntry},
};
use hallpass_verify::broker_side::verify_signatures;
use serde_json::json;

use support::raw;
use support::{
    Holders,
    holders::{code, hand, holder, summary, to, tools, verified},
    rights,
};

fn p256() -> HolderKey {
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"});
    HolderKey::from_jwk(&jwk).unwrap()
}

#[test]
fn a_chain_of_two_does_what_both_hops_leave_and_names_everybody() {
    let setup = Holders::new();
    let mut first = to("researcher", holder(&setup.researcher), 1);
    first.narrowing = tools(&["read_ledger", "search_ledger"]);
    let one = hand(&setup.pass(), &setup.planner, &first);
    let mut second = to("helper", holder(&setup.helper), 0);
    second.narrowing = tools(&["search_ledger", "transfer"]);
    let two = hand(&one.token, &setup.researcher, &second);
    let permit = setup
        .call_as(&setup.helper, &two.token, "search_ledger", json!({}))
        .unwrap();
    let names: Vec<_> = permit
        .delegates()
        .iter()
        .map(|hop| hop.agent.as_str())
        .collect();
    assert_eq!(
        (permit.agent().as_str(), names),
        ("research-bot", vec!["researcher", "helper"])
    );
    assert_eq!(
        (permit.holder(), permit.chain().len()),
        (Some(&holder(&setup.helper)), 3)
    );
    for (tool, block, hop) in [
        ("read_ledger", 2, ("researcher", "helper")),
        ("transfer", 1, ("research-bot", "researcher")),
    ] {
        let denial = setup
            .call_as(&setup.helper, &two.token, tool, json!({"amount": 1}))
            .unwrap_err();
        let hallpass_verify::Denial::Refused(refusals) = &denial else {
            panic!("{denial}")
        };
        let refusal = &refusals[0];
        let by = refusal
            .hop
            .as_ref()
            .map(|hop| (hop.from.as_str(), hop.to.as_str()));
        assert_eq!(
            (refusal.code, refusal.block, by),
            (ReasonCode::NotGranted, Some(block), Some(hop)),
            "{tool}"
        );
    }
    let denial = setup
        .call_as(&setup.helper, &two.token, "read_ledger", json!({}))
        .unwrap_err();
    assert_eq!(
        denial.to_string(),
        "refused: not_granted (block 2 (delegated by `researcher` to `helper`) allows only tool `search_ledger`, `transfer`)"
    );
}

#[test]
fn the_summary_says_who_gave_what_to_whom_and_what_is_left() {
    let setup = Holders::new();
    let mut first = to("researcher", holder(&setup.researcher), 1);
    first.narrowing = tools(&["read_ledger"]);
    first.narrowing.expires_at = Some(
        setup
            .issuer
            .now()
            .floor_second()
            .plus(Duration::from_secs(30)),
    );
    let one = hand(&setup.pass(), &setup.planner, &first);
    let shown = summary(&one.token);
    let hop = shown.blocks[1].delegation.as_ref().unwrap();
    assert_eq!(
        (hop.from.as_str(), hop.to.as_str()),
        ("research-bot", "researcher")
    );
    assert_eq!(hop.key, holder(&setup.researcher).thumbprint());
    let left = shown.left.unwrap();
    assert_eq!(
        left.rights,
        ["tool read_ledger on https://ledger.example/mcp"]
    );
    assert_eq!(
        (left.delegations, left.other_checks, left.read_only),
        (Some(1), 0, false)
    );
    assert_eq!(Some(left.expires_at), first.narrowing.expires_at);
    assert_eq!(summary(&setup.pass()).left.unwrap().delegations, Some(2));
}

#[test]
fn depth_ends_where_the_broker_or_any_hop_said() {
    let setup = Holders::new();
    let root = setup.root();
    // Nobody in the chain asked for less than the broker gave: two hops, not three.
    let one = hand(
        &setup.pass(),
        &setup.planner,
        &to("researcher", holder(&setup.researcher), 1),
    );
    let two = hand(
        &one.token,
        &setup.researcher,
        &to("helper", holder(&setup.helper), 0),
    );
    setup.read_as(&setup.helper, &two.token).unwrap();
    let third = to("third", holder(&setup.thief), 0);
    assert_eq!(
        delegate(&verified(&two.token), &setup.helper, &third),
        Err(DelegateError::TooDeep { left: 0, wanted: 1 })
    );
    assert_eq!(
        delegate(
            &verified(&setup.pass()),
            &setup.planner,
            &to("x", holder(&setup.helper), 2)
        ),
        Err(DelegateError::TooDeep { left: 2, wanted: 3 })
    );
    // Signed by hand instead, as nobody keeps a holder from doing.
    let block = format!("delegate(\"third\", \"{}\");", holder(&setup.thief));
    let deep = raw::append_third_party(&two.token, &root, &raw::key_pair(13), &block);
    assert_eq!(
        code(setup.read_as(&setup.thief, &deep)),
        ReasonCode::DelegationDepth
    );
    // One that may use and not hand on.
    let last = hand(
        &setup.pass(),
        &setup.planner,
        &to("researcher", holder(&setup.researcher), 0),
    );
    let block = format!("delegate(\"helper\", \"{}\");", holder(&setup.helper));
    let deep = raw::append_third_party(&last.token, &root, &raw::key_pair(12), &block);
    let denial = setup.read_as(&setup.helper, &deep).unwrap_err();
    assert_eq!(denial.codes(), [ReasonCode::DelegationDepth]);
    let says = denial.to_string();
    assert!(
        says.contains("may not be handed on") || says.contains("at most 1"),
        "{denial}"
    );
    // Nor is it let in for requests that call nothing.
    let (proof, token) = (setup.proof(&setup.helper, &deep), deep.expose());
    let verified = setup
        .verifier
        .verify_with_proof(token, &Presented::new(&proof, "POST"))
        .unwrap();
    assert_eq!(
        code(setup.verifier.admit(&verified)),
        ReasonCode::DelegationDepth
    );
}

#[test]
fn a_sealed_pass_can_be_used_and_neither_narrowed_nor_handed_on() {
    let setup = Holders::new();
    let mut sealed = to("researcher", holder(&setup.researcher), 0);
    sealed.use_only = true;
    let one = hand(&setup.pass(), &setup.planner, &sealed);
    setup.read_as(&setup.researcher, &one.token).unwrap();
    assert_eq!(summary(&one.token).left.unwrap().delegations, Some(0));
    let again = delegate(
        &verified(&one.token),
        &setup.researcher,
        &to("helper", holder(&setup.helper), 0),
    );
    assert!(again.unwrap_err().to_string().contains("sealed"));
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    assert!(attenuate(&one.token, &narrowing).is_err());
    sealed.may_delegate = 1;
    assert!(matches!(
        delegate(&verified(&setup.pass()), &setup.planner, &sealed),
        Err(DelegateError::CannotDelegate(_))
    ));
}

#[test]
fn only_the_holder_can_hand_a_pass_on() {
    let setup = Holders::new();
    let (pass, root) = (setup.pass(), setup.root());
    let onward = to("thief", holder(&setup.thief), 0);
    assert_eq!(
        delegate(&verified(&pass), &setup.thief, &onward),
        Err(DelegateError::NotHolder)
    );
    // By hand, signed with the thief's own key; then with the key of somebody who held it before.
    let block = format!("delegate(\"thief\", \"{}\");", holder(&setup.thief));
    let stolen = raw::append_third_party(&pass, &root, &raw::key_pair(66), &block);
    assert_eq!(
        code(setup.read_as(&setup.thief, &stolen)),
        ReasonCode::HolderChain
    );
    let one = hand(
        &pass,
        &setup.planner,
        &to("researcher", holder(&setup.researcher), 1),
    );
    let behind = raw::append_third_party(&one.token, &root, &raw::key_pair(11), &block);
    assert_eq!(
        code(setup.read_as(&setup.thief, &behind)),
        ReasonCode::HolderChain
    );
    assert_eq!(
        delegate(&verified(&one.token), &setup.planner, &onward),
        Err(DelegateError::NotHolder)
    );
    // In a first-party block, which anybody can append.
    let forged = raw::append_block(
        &pass,
        &root,
        biscuit_auth::BlockBuilder::new().code(&block).unwrap(),
    );
    assert_eq!(
        code(setup.read_as(&setup.thief, &forged)),
        ReasonCode::TokenProfile
    );
}

#[test]
fn eight_delegations_that_narrow_to_many_tools_fit_with_room_to_spare() {
    let setup = Holders::new();
    let names: Vec<String> = (0..50).map(|index| format!("tool_{index}")).collect();
    let pass = setup.bound_to(
        holder(&setup.planner),
        8,
        vec![rights(json!({"tools": names}))],
    );
    let mut narrowing = Narrowing::default();
    narrowing.expires_at = Some(setup.issuer.now().plus(Duration::from_secs(60)));
    narrowing.rights = Some(vec![rights(json!({"tools": names, "read_only": true}))]);
    let handed = (0..8).fold(pass, |token, hop| {
        let onward = Delegation {
            narrowing: narrowing.clone(),
            ..to("planner", holder(&setup.planner), 7 - hop)
        };
        hand(&token, &setup.planner, &onward).token
    });
    let cost = verified(&handed).cost();
    assert!((10_000..60_000).contains(&cost), "{cost} units");
}

#[test]
fn a_block_moved_to_another_pass_is_no_delegation_of_it() {
    let setup = Holders::new();
    let one = hand(
        &setup.pass(),
        &setup.planner,
        &to("researcher", holder(&setup.researcher), 0),
    );
    let (mut onto, from) = (raw::wire(&setup.pass()), raw::wire(&one.token));
    onto.blocks = from.blocks;
    onto.proof = from.proof;
    assert_eq!(
        code(setup.read_as(&setup.researcher, &raw::from_wire(&onto))),
        ReasonCode::TokenSignature
    );
}

#[test]
fn a_doctored_copy_of_the_holders_own_pass_is_not_signed_over() {
    let setup = Holders::new();
    let (pass, root) = (setup.pass(), setup.root());
    let mut wire = raw::wire(&pass);
    let named = wire
        .authority
        .block
        .windows(8)
        .position(|bytes| bytes == b"transfer")
        .unwrap();
    wire.authority.block[named..named + 8].copy_from_slice(b"look_on.");
    let doctored = raw::from_wire(&wire);
    assert_eq!(
        summary(&doctored).claims.unwrap().holder,
        summary(&pass).claims.unwrap().holder
    );
    // The trap: what a holder signs tells the block before by its signature, which is still the real one's.
    let code_text = format!("delegate(\"helper\", \"{}\");", holder(&setup.helper));
    let block = biscuit_auth::BlockBuilder::new().code(&code_text).unwrap();
    let unverified = biscuit_auth::UnverifiedBiscuit::from(raw::bytes(&doctored)).unwrap();
    let signed = unverified
        .third_party_request()
        .unwrap()
        .create_block(&raw::key_pair(11).private(), block)
        .unwrap();
    let moved = raw::biscuit(&pass, &root)
        .append_third_party(raw::key_pair(11).public(), signed)
        .unwrap();
    let moved = raw::token(moved.to_vec().unwrap());
    setup
        .call_as(&setup.helper, &moved, "transfer", json!({"amount": 1}))
        .expect("the trap is gone");
    // So nothing that was not verified can be handed on.
    let parsed = || UnverifiedPass::parse(doctored.expose()).unwrap();
    assert_eq!(parsed().verify(&root).err(), Some(PassError::Signature));
    let mut document = setup.issuer.key_document();
    document.keys.push(RootKeyEntry {
        id: setup.issuer.root.id(),
        key: root,
    });
    let refused = |document: &KeyDocument, token: &PassToken| {
        verify_signatures(document, token.expose())
            .err()
            .map(|denial| denial.code())
    };
    assert_eq!(
        refused(&document, &doctored),
        Some(ReasonCode::TokenSignature)
    );
    let genuine = verify_signatures(&document, pass.expose()).unwrap();
    let handed = delegate(
        &genuine,
        &setup.planner,
        &to("helper", holder(&setup.helper), 0),
    )
    .unwrap();
    setup.read_as(&setup.helper, &handed.token).unwrap();
    // Nor what another broker issued, or signed with a key that is published no more.
    let own = std::mem::replace(&mut document.iss, "https://other.example".parse().unwrap());
    assert_eq!(refused(&document, &pass), Some(ReasonCode::TokenIssuer));
    document.iss = own;
    document.keys.clear();
    assert_eq!(refused(&document, &pass), Some(ReasonCode::TokenKeyUnknown));
}

#[test]
fn a_delegate_that_is_no_agents_name_or_no_key_is_refused() {
    let setup = Holders::new();
    let (pass, root) = (setup.pass(), setup.root());
    let key = holder(&setup.thief).to_string();
    for block in [
        format!("delegate(\"not an id\", \"{key}\");"),
        format!("delegate(\"\", \"{key}\");"),
        "delegate(\"x\", \"ed25519/00\");".to_owned(),
        format!("delegate(\"x\", \"{}\");", key.to_uppercase()),
        format!("delegate(1, \"{key}\");"),
    ] {
        let longer = raw::append_third_party(&pass, &root, &raw::key_pair(11), &block);
        assert_eq!(
            code(setup.read_as(&setup.thief, &longer)),
            ReasonCode::HolderChain,
            "{block}"
        );
    }
}

#[test]
fn a_p256_delegate_can_use_and_not_hand_on() {
    let setup = Holders::new();
    assert!(
        delegate(
            &verified(&setup.pass()),
            &setup.planner,
            &to("browser", p256(), 0)
        )
        .is_ok()
    );
    let onward = delegate(
        &verified(&setup.pass()),
        &setup.planner,
        &to("browser", p256(), 1),
    );
    assert!(
        matches!(onward, Err(DelegateError::CannotDelegate(_))),
        "{onward:?}"
    );
}

#[test]
fn a_pass_without_a_key_cannot_be_delegated() {
    let setup = Holders::new();
    let plain = setup
        .issuer
        .mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
    let onward = to("researcher", holder(&setup.researcher), 0);
    assert_eq!(
        delegate(&verified(&plain), &setup.planner, &onward),
        Err(DelegateError::Unbound)
    );
    let block = format!("delegate(\"x\", \"{}\");", holder(&setup.planner));
    let forged = raw::append_third_party(&plain, &setup.root(), &raw::key_pair(11), &block);
    assert_eq!(
        code(setup.verifier.verify(forged.expose())),
        ReasonCode::HolderChain
    );
}

#[test]
fn a_narrowing_between_two_hops_binds_those_after_it() {
    let setup = Holders::new();
    let one = hand(
        &setup.pass(),
        &setup.planner,
        &to("researcher", holder(&setup.researcher), 1),
    );
    let narrowed = attenuate(&one.token, &tools(&["read_ledger"])).unwrap();
    let two = hand(
        &narrowed.token,
        &setup.researcher,
        &to("helper", holder(&setup.helper), 0),
    );
    setup.read_as(&setup.helper, &two.token).unwrap();
    let denial = setup
        .call_as(&setup.helper, &two.token, "search_ledger", json!({}))
        .unwrap_err();
    assert!(
        denial
            .to_string()
            .contains("block 2 (added by a holder) allows only tool `read_ledger`"),
        "{denial}"
    );
    // The narrowing took nothing from the one before.
    setup
        .call_as(&setup.researcher, &one.token, "search_ledger", json!({}))
        .unwrap();
}
