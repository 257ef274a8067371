//! Revocation along a chain: a hop and all below it, no sibling; a delegate by its registered key.

use hallpass_core::{base::ReasonCode, wire::document::Subjects};

use support::{
    Holders,
    holders::{code, hand, holder, to},
};

#[test]
fn revoking_a_middle_hop_ends_what_is_below_it_and_no_sibling() {
    let setup = Holders::new();
    let pass = setup.pass();
    let researcher = hand(
        &pass,
        &setup.planner,
        &to("researcher", holder(&setup.researcher), 1),
    );
    let below = hand(
        &researcher.token,
        &setup.researcher,
        &to("helper", holder(&setup.helper), 0),
    );
    let sibling = hand(
        &pass,
        &setup.planner,
        &to("sibling", holder(&setup.helper), 0),
    );
    setup.revoke(Subjects::token(&researcher.blocks[1]), false);
    assert_eq!(
        code(setup.read_as(&setup.researcher, &researcher.token)),
        ReasonCode::RevokedToken
    );
    assert_eq!(
        code(setup.read_as(&setup.helper, &below.token)),
        ReasonCode::RevokedToken
    );
    setup.read_as(&setup.helper, &sibling.token).unwrap();
    setup.read_as(&setup.planner, &pass).unwrap();
    // What the dead delegate makes anew from what it was given is dead too.
    let again = hand(
        &researcher.token,
        &setup.researcher,
        &to("again", holder(&setup.helper), 0),
    );
    assert_eq!(
        code(setup.read_as(&setup.helper, &again.token)),
        ReasonCode::RevokedToken
    );
}

#[test]
fn revoking_the_leaf_ends_it_alone() {
    let setup = Holders::new();
    let researcher = hand(
        &setup.pass(),
        &setup.planner,
        &to("researcher", holder(&setup.researcher), 1),
    );
    let below = hand(
        &researcher.token,
        &setup.researcher,
        &to("helper", holder(&setup.helper), 0),
    );
    setup.revoke(Subjects::token(&below.blocks[2]), false);
    assert_eq!(
        code(setup.read_as(&setup.helper, &below.token)),
        ReasonCode::RevokedToken
    );
    setup.read_as(&setup.researcher, &researcher.token).unwrap();
}

#[test]
fn a_revoked_agents_key_ends_the_passes_that_it_was_handed() {
    let setup = Holders::new();
    let pass = setup.pass();
    let researcher = hand(
        &pass,
        &setup.planner,
        &to("any-name", holder(&setup.researcher), 1),
    );
    let below = hand(
        &researcher.token,
        &setup.researcher,
        &to("helper", holder(&setup.helper), 0),
    );
    setup.revoke(Subjects::holder(&holder(&setup.researcher)), true);
    for (key, token) in [
        (&setup.researcher, &researcher.token),
        (&setup.helper, &below.token),
    ] {
        assert_eq!(code(setup.read_as(key, token)), ReasonCode::RevokedAgent);
    }
    setup.read_as(&setup.planner, &pass).unwrap();
}

#[test]
fn a_suspended_agents_key_holds_no_pass_whenever_that_was_issued_until_it_is_reinstated() {
    let setup = Holders::new();
    let suspended = |keys: Vec<hallpass_core::base::digest::SubjectDigest>| {
        let mut frame = setup.issuer.frame();
        frame.suspended_holders = Some(keys);
        setup.issuer.tell(&setup.verifier, frame);
    };
    suspended(vec![Subjects::holder(&holder(&setup.researcher))]);
    setup.after(2);
    let pass = setup.pass();
    let handed = hand(
        &pass,
        &setup.planner,
        &to("any-name", holder(&setup.researcher), 1),
    );
    let below = hand(
        &handed.token,
        &setup.researcher,
        &to("helper", holder(&setup.helper), 0),
    );
    for (key, token) in [
        (&setup.researcher, &handed.token),
        (&setup.helper, &below.token),
    ] {
        assert_eq!(code(setup.read_as(key, token)), ReasonCode::RevokedAgent);
    }
    setup.read_as(&setup.planner, &pass).unwrap();
    // A frame that says nothing of it changes nothing; one that names nobody ends it.
    setup.after(1);
    assert_eq!(
        code(setup.read_as(&setup.researcher, &handed.token)),
        ReasonCode::RevokedAgent
    );
    suspended(Vec::new());
    setup.read_as(&setup.researcher, &handed.token).unwrap();
}
