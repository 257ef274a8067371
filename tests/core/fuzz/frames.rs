//! Feed frames: any text, and frames with a changed payload that the feed key did sign.

use hallpass_core::{
    base::jws,
    token::{Call, PassToken},
    wire::document::{Frame, Subjects},
};
use hallpass_verify::Verifier;
use serde_json::{Value, json};

use crate::fuzz::{
    corpus,
    forge::{STRANGER, key},
    fuzz,
    input::Input,
};
use support::{ISSUER, Issuer, SERVER};

struct FrameTarget {
    issuer: Issuer,
    verifier: Verifier,
    seeds: Vec<Value>,
    /// One that is revoked at every verifier of this setup, from its first snapshot on.
    revoked: PassToken,
}

impl FrameTarget {
    fn new() -> Self {
        let issuer = Issuer::new();
        let text = std::fs::read_to_string(corpus::directory("tokens").join("plain")).unwrap();
        let mut setup = Self {
            verifier: issuer.silent_verifier(),
            issuer,
            seeds: corpus::json("frames"),
            revoked: PassToken::from_text(text),
        };
        setup.renew();
        setup
    }

    /// A verifier that knows the first seed, which revokes the task of the pass.
    fn renew(&mut self) {
        self.verifier = self.issuer.silent_verifier();
        self.verifier
            .accept_frame(&self.signed(&self.seeds[0]))
            .unwrap();
        assert!(self.verifier.verify(self.revoked.expose()).is_err());
    }

    fn signed(&self, payload: &Value) -> String {
        let feed = &self.issuer.feed;
        jws::sign(feed, Frame::TYP, Some(&feed.public().thumbprint()), payload).unwrap()
    }

    /// Everything that can be seen of a verifier.
    fn state(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let verifier = &self.verifier;
        (
            verifier.memory(),
            verifier.revocation_count(),
            verifier.manifest(),
            verifier.is_ready(),
            self.refused(),
        )
    }

    /// Why the revoked pass is refused, if it is.
    fn refused(&self) -> Option<&'static str> {
        let pass = self.verifier.verify(self.revoked.expose());
        let permit =
            pass.and_then(|pass| self.verifier.clear(&pass, &Call::tool("read_ledger", None)));
        permit.err().map(|denial| denial.code().as_str())
    }

    fn accepts(&self, text: &str) -> bool {
        let before = self.state();
        let accepted = self.verifier.accept_frame(text).is_ok();
        assert!(
            accepted || self.state() == before,
            "a refused frame left its mark: {before:?}, then {:?}",
            self.state()
        );
        accepted
    }
}

#[test]
fn the_seeds_are_good() {
    if corpus::is_to_be_written() {
        write_seeds();
    }
    let mut setup = FrameTarget::new();
    for seed in setup.seeds.clone() {
        setup.renew();
        assert!(setup.accepts(&setup.signed(&seed)), "{seed}");
    }
}

#[test]
fn a_frame_is_taken_whole_or_not_at_all_and_never_takes_the_verifier_back() {
    let seeds = corpus::files("frames").len();
    fuzz!(
        "frames",
        seeds,
        FrameTarget::new(),
        |setup: &mut FrameTarget, input: &mut Input<'_>| {
            setup.renew();
            let payload = input.json_seed(&setup.seeds);
            let by_stranger = jws::sign(&key(STRANGER), Frame::TYP, None, &payload).unwrap();
            assert!(!setup.accepts(&by_stranger), "nobody trusted signed it");
            let wrong_type =
                jws::sign(&setup.issuer.feed, "hallpass-keys+jwt", None, &payload).unwrap();
            assert!(!setup.accepts(&wrong_type), "a document of another kind");
            let text = setup.signed(&payload);
            let changed = input.seed(&[text.as_bytes()]);
            let changed = String::from_utf8_lossy(&changed);
            assert!(
                changed == text || !setup.accepts(&changed),
                "nobody signed {changed}"
            );
            assert!(!setup.accepts(&String::from_utf8_lossy(input.rest())));

            let before = setup.verifier.memory();
            if setup.accepts(&text) {
                let after = setup.verifier.memory();
                assert!(
                    (after.epoch, after.sequence) >= (before.epoch, before.sequence)
                        && after.signed_at >= before.signed_at
                );
                assert!(payload["iss"] == ISSUER && payload["aud"] == SERVER);
                // A delta only adds.
                let is_delta = payload.get("since").is_some_and(|since| !since.is_null());
                assert!(
                    !is_delta || setup.refused().is_some(),
                    "a delta brought a revoked pass back: {payload}"
                );
            }
            assert_eq!(setup.verifier.server().as_str(), SERVER);
        }
    );
}

/// Writes the seeds anew; the subjects are digests, which nobody writes by hand.
fn write_seeds() {
    let issuer = Issuer::new();
    let task = Subjects::task(&"tsk_00000000000000000000000000000001".parse().unwrap());
    let entry = |subject, cut_off: Value| json!({"subject": subject, "cut_off": cut_off, "expires_at": "2026-11-22T11:00:00Z"});
    let snapshot = || {
        let mut frame = serde_json::to_value(issuer.frame()).unwrap();
        frame["revocations"] = json!([entry(task, json!("2026-11-22T10:00:00Z"))]);
        frame
    };
    let other = Subjects::agent(&"helper".parse().unwrap());
    let delta = json!({"v": 1, "iss": ISSUER, "aud": SERVER, "epoch": 1, "since": 2, "sequence": 3, "at": "2026-11-22T10:00:01Z"});
    let with = |name: &str, value: Value| {
        let mut delta = delta.clone();
        delta[name] = value;
        delta
    };
    let mut manifest = serde_json::to_value(support::manifest()).unwrap();
    manifest["tools"]["new_tool"] = json!({"read_only": true});
    let seeds = [
        ("a_snapshot", snapshot()),
        ("delta_heartbeat", delta.clone()),
        (
            "delta_revokes",
            with("revocations", json!([entry(other, json!(null))])),
        ),
        ("delta_manifest", with("manifest", manifest)),
        ("delta_keys", with("keys", json!([]))),
        ("later_snapshot", {
            let mut later = snapshot();
            later["epoch"] = json!(2);
            later["revocations"] = json!([]);
            later
        }),
    ];
    std::fs::create_dir_all(corpus::directory("frames")).unwrap();
    for (name, seed) in seeds {
        let text = serde_json::to_string_pretty(&seed).unwrap();
        std::fs::write(
            corpus::directory("frames").join(format!("{name}.json")),
            text + "\n",
        )
        .unwrap();
    }
}
