//! What benches need that build nothing but `verify`: passes written as Datalog, which a broker would
//! mint, a verifier that has heard from that broker, and rounds.
//!
//! The pass is that of `verify.rs`: 12 facts, 3 checks, 6 request facts.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each bench uses its own part of this"
)]

use std::{sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use biscuit_auth::{Algorithm, BiscuitBuilder, BlockBuilder, KeyPair};
use hallpass_core::{
    base::{
        holder::HolderKey,
        ids::KeyId,
        key::{PrivateKey, PublicKey},
        time::{ManualClock, Timestamp},
    },
    token::{PassToken, RootKey},
    wire::document::{Frame, KeyDocument, RootKeyEntry},
};
use hallpass_verify::Verifier;
use serde_json::json;

pub const ISSUER: &str = "https://broker.example";
pub const SERVER: &str = "https://ledger.example/mcp";

pub fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

pub fn root() -> RootKey {
    RootKey::new(KeyId(1), &PrivateKey::from_seed(&[1; 32])).unwrap()
}

/// The pass, bound to `holder` when there is one, which may hand it on four times.
pub fn pass(holder: Option<&PrivateKey>) -> PassToken {
    let key = |key: &PrivateKey| HolderKey::Ed25519(key.public()).to_string();
    let bound = holder.map_or(String::new(), |holder| {
        format!("cnf(\"{}\"); check if depth($d), $d <= 4;", key(holder))
    });
    let this =
        format!(r#"call($s, $k, $n), !($s === "{SERVER}" && $k === "tool" && $n === "transfer")"#);
    let code = format!(
        r#"hallpass(1); issuer("{ISSUER}"); task("tsk_00000000000000000000000000000001"); agent("research-bot");
        steward("stw_00000000000000000000000000000001"); iat(2026-11-22T10:00:00Z); exp(2026-11-22T10:05:00Z);
        aud({{"{SERVER}", "https://tickets.example/mcp"}});
        right("{SERVER}", "tool", {{"read_ledger", "transfer"}}); right("{SERVER}", "prompt", {{"summary"}});
        right_path("{SERVER}", "resource", ["file", "", "srv", "ledger"]);
        right("https://tickets.example/mcp", "tool", {{"create_issue", "list_issues"}});
        check if time($t), $t >= 2026-11-22T09:59:55Z && $t < 2026-11-22T10:05:00Z; {bound}
        check all {this} or arg("/amount", $v), $v >= 0, $v <= 100;
        check all {this} or arg("/currency", $v), {{"EUR", "CHF"}}.contains($v);"#
    );
    let pair =
        KeyPair::from(&biscuit_auth::PrivateKey::from_bytes(&[1; 32], Algorithm::Ed25519).unwrap());
    let biscuit = BiscuitBuilder::new()
        .root_key_id(1)
        .code(code)
        .unwrap()
        .build(&pair)
        .unwrap();
    PassToken::from_text(URL_SAFE_NO_PAD.encode(biscuit.to_vec().unwrap()))
}

/// The token with one more block of this Datalog, as any holder can write it.
pub fn append(pass: &PassToken, root: &PublicKey, code: &str) -> PassToken {
    let key = biscuit_auth::PublicKey::from_bytes(root.as_bytes(), Algorithm::Ed25519).unwrap();
    let biscuit =
        biscuit_auth::Biscuit::from(URL_SAFE_NO_PAD.decode(pass.expose()).unwrap(), key).unwrap();
    let longer = biscuit
        .append(BlockBuilder::new().code(code).unwrap())
        .unwrap();
    PassToken::from_text(URL_SAFE_NO_PAD.encode(longer.to_vec().unwrap()))
}

/// A verifier of the ledger that remembers this many checked tokens.
pub fn verifier(cached_signatures: usize) -> Verifier {
    let (feed, root) = (PrivateKey::from_seed(&[2; 32]), root());
    let manifest = serde_json::from_value(json!({
        "server": SERVER, "name": "ledger",
        "tools": {"transfer": {"irreversible": true, "path_arguments": ["/path"]}, "read_ledger": {"read_only": true}},
    }));
    let verifier = Verifier::builder(
        ISSUER.parse().unwrap(),
        feed.public().thumbprint(),
        manifest.unwrap(),
    )
    .clock(Arc::new(ManualClock::new(now())))
    .cached_signatures(cached_signatures)
    .build();
    let iss = verifier.issuer().clone();
    let document = KeyDocument {
        v: hallpass_core::base::format::Format::One,
        iss: iss.clone(),
        at: now(),
        keys: Vec::new(),
        feed_key: feed.public(),
        feed_key_chain: Vec::new(),
        checkpoint_key: None,
        checkpoint_key_chain: Vec::new(),
    };
    verifier.accept_key_document(&document.into()).unwrap();
    let frame = Frame {
        v: hallpass_core::base::format::Format::One,
        iss,
        aud: SERVER.parse().unwrap(),
        epoch: 1,
        since: None,
        sequence: 1,
        at: now(),
        keys: Some(vec![RootKeyEntry {
            id: root.id(),
            key: root.public(),
        }]),
        feed_keys: None,
        manifest: None,
        revocations: Vec::new(),
        suspended_holders: None,
    };
    verifier.accept_frame(&frame.sign(&feed).unwrap()).unwrap();
    verifier
}

/// One thing to measure: made ready `count` times, then run as often, of which only the second is timed.
pub struct Operation {
    pub name: String,
    pub prepare: Box<dyn FnMut(usize) -> Box<dyn FnMut()>>,
}

impl Operation {
    /// One that needs no making ready.
    pub fn plain(name: &str, run: impl Fn() + 'static) -> Self {
        let run = std::rc::Rc::new(run);
        let prepare = move |count: usize| {
            let run = std::rc::Rc::clone(&run);
            let all = move || (0..count).for_each(|_| run());
            Box::new(all) as Box<dyn FnMut()>
        };
        Self {
            name: name.to_owned(),
            prepare: Box::new(prepare),
        }
    }
}

/// Runs every operation in turn, round after round, so that a noisy machine disturbs all alike. Returns,
/// for each, its times in microseconds and its ratios to the first within a round, both in order.
pub fn rounds(operations: &mut [Operation], counts: &[usize]) -> Vec<(Vec<f64>, Vec<f64>)> {
    let rounds = std::env::var("HALLPASS_BENCH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(31_usize);
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); operations.len()];
    for _ in 0..rounds {
        for ((operation, count), times) in operations.iter_mut().zip(counts).zip(&mut times) {
            let mut run = (operation.prepare)(*count);
            let started = Instant::now();
            run();
            times.push(started.elapsed().as_secs_f64() * 1e6 / *count as f64);
        }
    }
    let sorted = |mut list: Vec<f64>| {
        list.sort_by(f64::total_cmp);
        list
    };
    let ratios = |own: &Vec<f64>| {
        sorted(
            own.iter()
                .zip(&times[0])
                .map(|(own, base)| own / base)
                .collect(),
        )
    };
    times
        .iter()
        .map(|own| (sorted(own.clone()), ratios(own)))
        .collect()
}

pub fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
