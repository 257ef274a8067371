//! Revocation along a chain: a hop and all below it, no sibling; a delegate by its registered key.

use std::time::Duration;

use hallpass::{
    base::ReasonCode,
    verify::document::{RevocationEntry, Subjects},
};

use super::{Scene, code, hand, holder, to};

impl Scene {
    fn revoke(&self, subject: hallpass::base::digest::SubjectDigest, cut_off: bool) {
        let expires_at = self.issuer.now().plus(Duration::from_secs(600));
        let cut_off = cut_off.then(|| self.issuer.now());
        self.issuer.revoke(&self.verifier, RevocationEntry { subject, cut_off, expires_at });
    }
}

#[test]
fn revoking_a_middle_hop_ends_what_is_below_it_and_no_sibling() {
    let scene = Scene::new();
    let pass = scene.pass();
    let researcher = hand(&pass, &scene.planner, &to("researcher", holder(&scene.researcher), 1));
    let below = hand(&researcher.token, &scene.researcher, &to("helper", holder(&scene.helper), 0));
    let sibling = hand(&pass, &scene.planner, &to("sibling", holder(&scene.helper), 0));
    scene.revoke(Subjects::token(&researcher.blocks[1]), false);
    assert_eq!(code(scene.read_as(&scene.researcher, &researcher.token)), ReasonCode::RevokedToken);
    assert_eq!(code(scene.read_as(&scene.helper, &below.token)), ReasonCode::RevokedToken);
    scene.read_as(&scene.helper, &sibling.token).unwrap();
    scene.read_as(&scene.planner, &pass).unwrap();
    // What the dead delegate makes anew from what it was given is dead too.
    let again = hand(&researcher.token, &scene.researcher, &to("again", holder(&scene.helper), 0));
    assert_eq!(code(scene.read_as(&scene.helper, &again.token)), ReasonCode::RevokedToken);
}

#[test]
fn revoking_the_leaf_ends_it_alone() {
    let scene = Scene::new();
    let researcher = hand(&scene.pass(), &scene.planner, &to("researcher", holder(&scene.researcher), 1));
    let below = hand(&researcher.token, &scene.researcher, &to("helper", holder(&scene.helper), 0));
    scene.revoke(Subjects::token(&below.blocks[2]), false);
    assert_eq!(code(scene.read_as(&scene.helper, &below.token)), ReasonCode::RevokedToken);
    scene.read_as(&scene.researcher, &researcher.token).unwrap();
}

#[test]
fn a_revoked_agents_key_ends_the_passes_that_it_was_handed() {
    let scene = Scene::new();
    let pass = scene.pass();
    let researcher = hand(&pass, &scene.planner, &to("any-name", holder(&scene.researcher), 1));
    let below = hand(&researcher.token, &scene.researcher, &to("helper", holder(&scene.helper), 0));
    scene.revoke(Subjects::holder(&holder(&scene.researcher)), true);
    for (key, token) in [(&scene.researcher, &researcher.token), (&scene.helper, &below.token)] {
        assert_eq!(code(scene.read_as(key, token)), ReasonCode::RevokedAgent);
    }
    scene.read_as(&scene.planner, &pass).unwrap();
    // Passes that were issued later are of the time after a reinstatement.
    scene.after(2);
    let later = hand(&scene.pass(), &scene.planner, &to("any-name", holder(&scene.researcher), 0));
    scene.read_as(&scene.researcher, &later.token).unwrap();
}
