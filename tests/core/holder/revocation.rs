//! Revocation along a chain: a hop and all below it, no sibling; a delegate by its registered key.

use hallpass_core::{base::ReasonCode, wire::document::Subjects};

use support::{
    Holders,
    holders::{code, hand, holder, to},
};

#[test]
fn revoking_a_middle_hop_ends_what_is_below_it_and_no_sibling() {
    let scene = Holders::new();
    let pass = scene.pass();
    let researcher = hand(
        &pass,
        &scene.planner,
        &to("researcher", holder(&scene.researcher), 1),
    );
    let below = hand(
        &researcher.token,
        &scene.researcher,
        &to("helper", holder(&scene.helper), 0),
    );
    let sibling = hand(
        &pass,
        &scene.planner,
        &to("sibling", holder(&scene.helper), 0),
    );
    scene.revoke(Subjects::token(&researcher.blocks[1]), false);
    assert_eq!(
        code(scene.read_as(&scene.researcher, &researcher.token)),
        ReasonCode::RevokedToken
    );
    assert_eq!(
        code(scene.read_as(&scene.helper, &below.token)),
        ReasonCode::RevokedToken
    );
    scene.read_as(&scene.helper, &sibling.token).unwrap();
    scene.read_as(&scene.planner, &pass).unwrap();
    // What the dead delegate makes anew from what it was given is dead too.
    let again = hand(
        &researcher.token,
        &scene.researcher,
        &to("again", holder(&scene.helper), 0),
    );
    assert_eq!(
        code(scene.read_as(&scene.helper, &again.token)),
        ReasonCode::RevokedToken
    );
}

#[test]
fn revoking_the_leaf_ends_it_alone() {
    let scene = Holders::new();
    let researcher = hand(
        &scene.pass(),
        &scene.planner,
        &to("researcher", holder(&scene.researcher), 1),
    );
    let below = hand(
        &researcher.token,
        &scene.researcher,
        &to("helper", holder(&scene.helper), 0),
    );
    scene.revoke(Subjects::token(&below.blocks[2]), false);
    assert_eq!(
        code(scene.read_as(&scene.helper, &below.token)),
        ReasonCode::RevokedToken
    );
    scene.read_as(&scene.researcher, &researcher.token).unwrap();
}

#[test]
fn a_revoked_agents_key_ends_the_passes_that_it_was_handed() {
    let scene = Holders::new();
    let pass = scene.pass();
    let researcher = hand(
        &pass,
        &scene.planner,
        &to("any-name", holder(&scene.researcher), 1),
    );
    let below = hand(
        &researcher.token,
        &scene.researcher,
        &to("helper", holder(&scene.helper), 0),
    );
    scene.revoke(Subjects::holder(&holder(&scene.researcher)), true);
    for (key, token) in [
        (&scene.researcher, &researcher.token),
        (&scene.helper, &below.token),
    ] {
        assert_eq!(code(scene.read_as(key, token)), ReasonCode::RevokedAgent);
    }
    scene.read_as(&scene.planner, &pass).unwrap();
}

#[test]
fn a_suspended_agents_key_holds_no_pass_whenever_that_was_issued_until_it_is_reinstated() {
    let scene = Holders::new();
    let suspended = |keys: Vec<hallpass_core::base::digest::SubjectDigest>| {
        let mut frame = scene.issuer.frame();
        frame.suspended_holders = Some(keys);
        scene.issuer.tell(&scene.verifier, frame);
    };
    suspended(vec![Subjects::holder(&holder(&scene.researcher))]);
    scene.after(2);
    let pass = scene.pass();
    let handed = hand(
        &pass,
        &scene.planner,
        &to("any-name", holder(&scene.researcher), 1),
    );
    let below = hand(
        &handed.token,
        &scene.researcher,
        &to("helper", holder(&scene.helper), 0),
    );
    for (key, token) in [
        (&scene.researcher, &handed.token),
        (&scene.helper, &below.token),
    ] {
        assert_eq!(code(scene.read_as(key, token)), ReasonCode::RevokedAgent);
    }
    scene.read_as(&scene.planner, &pass).unwrap();
    // A frame that says nothing of it changes nothing; one that names nobody ends it.
    scene.after(1);
    assert_eq!(
        code(scene.read_as(&scene.researcher, &handed.token)),
        ReasonCode::RevokedAgent
    );
    suspended(Vec::new());
    scene.read_as(&scene.researcher, &handed.token).unwrap();
}
