//! What a pass costs: to mint, to verify cold, to clear a call warm, to narrow; each beside V, one
//! bare strict Ed25519 verification over 600 bytes in the same process.
//!
//! Criterion's figures come second. First every operation runs in turn, round after round, so that
//! a noisy machine disturbs all of them alike, and the median of the ratios within a round is
//! printed: that is the figure to quote (`load-tests/README.md`).

#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group};
use ed25519_dalek::{Signer as _, SigningKey};
use hallpass_core::{
    base::{
        ids::{KeyId, ServerUri},
        key::PrivateKey,
        time::{Clock as _, ManualClock, Timestamp},
    },
    token::{
        Arguments, Call, Evaluation, GrantedDetail, Narrowing, PassContent, PassToken,
        RequestFacts, RootKey, UnverifiedPass, attenuate,
        manifest::{Manifest, Tool},
        mint,
        rights::Kind,
    },
    wire::document::{Frame, KeyDocument, RootKeyEntry},
};
use hallpass_verify::Verifier;
use serde_json::{Value, json};

const ISSUER: &str = "https://broker.example";
const SERVER: &str = "https://ledger.example/mcp";

/// 12 facts (8 of identity, 4 of rights), 3 checks (the time and 2 constraints), 6 request facts
/// (the time, the verifier, the call and 3 arguments).
struct Fixture {
    root: RootKey,
    content: PassContent,
    token: PassToken,
    tool: Tool,
    arguments: Value,
    server: ServerUri,
    now: Timestamp,
    verifier: Verifier,
    narrowing: Narrowing,
}

impl Fixture {
    fn new() -> Self {
        let root = RootKey::new(KeyId(1), &PrivateKey::from_seed(&[1; 32])).unwrap();
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let content = content(now);
        let token = mint(&root, &content).unwrap().token;
        let manifest: Manifest = serde_json::from_value(json!({
            "server": SERVER, "name": "ledger",
            "tools": {"transfer": {"irreversible": true}, "read_ledger": {"read_only": true}},
        }))
        .unwrap();
        let verifier = verifier(&root, now, manifest.clone());
        let mut narrowing = Narrowing::default();
        narrowing.read_only = true;
        narrowing.expires_at = Some(now.plus(Duration::from_secs(60)));
        Self {
            root,
            content,
            token,
            tool: manifest.tools[&"transfer".parse().unwrap()].clone(),
            arguments: json!({"amount": 42, "currency": "EUR", "memo": "crash on start"}),
            server: SERVER.parse().unwrap(),
            now,
            verifier,
            narrowing,
        }
    }

    fn cold(&self, token: &PassToken) {
        let pass = UnverifiedPass::parse(black_box(token.expose()))
            .unwrap()
            .verify(&self.root.public())
            .unwrap();
        let arguments = Arguments::flatten(Some(black_box(&self.arguments)), Some(&self.tool));
        let request = RequestFacts {
            time: self.now,
            me: &self.server,
            kind: Kind::Tool,
            name: "transfer",
            arguments: &arguments,
            read_only: true,
            call_proven: false,
        };
        assert_eq!(
            hallpass_core::token::evaluate(
                &pass,
                hallpass_core::token::MAX_EVALUATION_TIME,
                &request
            ),
            Evaluation::Allowed
        );
    }

    fn warm(&self) {
        let pass = self
            .verifier
            .verify(black_box(self.token.expose()))
            .unwrap();
        black_box(
            self.verifier
                .clear(&pass, &Call::tool("transfer", Some(&self.arguments)))
                .unwrap(),
        );
    }
}

fn content(now: Timestamp) -> PassContent {
    let details = json!([
        {"type": "mcp", "server": SERVER, "tools": ["read_ledger", "transfer"], "prompts": ["summary"],
         "resources": ["file:///srv/ledger"],
         "constraints": {"transfer": {"/amount": {"min": 0, "max": 100}, "/currency": {"in": ["EUR", "CHF"]}}}},
        {"type": "mcp", "server": "https://tickets.example/mcp", "tools": ["create_issue", "list_issues"]},
    ]);
    let rights: Vec<GrantedDetail> = serde_json::from_value(details).unwrap();
    PassContent {
        issuer: ISSUER.parse().unwrap(),
        task: "tsk_00000000000000000000000000000001".parse().unwrap(),
        agent: "research-bot".parse().unwrap(),
        steward: "stw_00000000000000000000000000000001".parse().unwrap(),
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(300)),
        holder: None,
        rights,
    }
}

fn verifier(root: &RootKey, now: Timestamp, manifest: Manifest) -> Verifier {
    let feed = PrivateKey::from_seed(&[2; 32]);
    let clock = Arc::new(ManualClock::new(now));
    let verifier = Verifier::builder(
        ISSUER.parse().unwrap(),
        feed.public().thumbprint(),
        manifest,
    )
    .clock(clock.clone())
    .build();
    let keys = vec![RootKeyEntry {
        id: root.id(),
        key: root.public(),
    }];
    let iss = verifier.issuer().clone();
    let document = KeyDocument {
        v: hallpass_core::base::format::Format::One,
        iss: iss.clone(),
        at: clock.now(),
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
        at: clock.now(),
        keys: Some(keys),
        feed_keys: None,
        manifest: None,
        revocations: Vec::new(),
        suspended_holders: None,
    };
    verifier.accept_frame(&frame.sign(&feed).unwrap()).unwrap();
    verifier
}

type Operation = (&'static str, Option<f64>, Box<dyn FnMut()>);

/// Every operation with its target in V; the first is V itself.
fn operations() -> Vec<Operation> {
    let fixture = Arc::new(Fixture::new());
    let key = SigningKey::from_bytes(&[3; 32]);
    let (public, message) = (key.verifying_key(), [0x5a; 600]);
    let signature = key.sign(&message);
    let mut longer = vec![fixture.token.clone()];
    for _ in 0..3 {
        longer.push(
            attenuate(&longer[longer.len() - 1], &fixture.narrowing)
                .unwrap()
                .token,
        );
    }
    println!(
        "token: {} bytes; with 3 narrowings {}",
        longer[0].expose().len(),
        longer[3].expose().len()
    );
    let with = |run: fn(&Fixture)| {
        let fixture = Arc::clone(&fixture);
        Box::new(move || run(&fixture))
    };
    let cold = |token: &PassToken| {
        let (fixture, token) = (Arc::clone(&fixture), token.clone());
        Box::new(move || fixture.cold(&token))
    };
    vec![
        (
            "V: bare strict verify, 600 B",
            None,
            Box::new(move || {
                public
                    .verify_strict(black_box(&message), &signature)
                    .unwrap()
            }),
        ),
        (
            "verify cold, 1 block, to decision",
            Some(2.75),
            cold(&longer[0]),
        ),
        ("verify cold, 2 blocks", None, cold(&longer[1])),
        ("verify cold, 4 blocks", None, cold(&longer[3])),
        ("clear, signature cached", Some(0.6), with(Fixture::warm)),
        (
            "mint, to a draft",
            Some(1.55),
            with(|fixture| drop(black_box(mint(&fixture.root, &fixture.content).unwrap()))),
        ),
        (
            "attenuate",
            None,
            with(|fixture| {
                drop(black_box(
                    attenuate(&fixture.token, &fixture.narrowing).unwrap(),
                ))
            }),
        ),
    ]
}

fn per_call(run: &mut dyn FnMut(), slice: Duration) -> f64 {
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < slice {
        for _ in 0..8 {
            run();
        }
        count += 8;
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(count)
}

fn rounds() {
    let rounds = std::env::var("HALLPASS_BENCH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(31_usize);
    let mut operations = operations();
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); operations.len()];
    for _ in 0..rounds {
        for ((_, _, run), times) in operations.iter_mut().zip(&mut times) {
            times.push(per_call(run, Duration::from_millis(20)));
        }
    }
    println!(
        "{:<36} {:>9} {:>9} {:>8} {:>8}",
        "operation", "min us", "median us", "x V", "target"
    );
    for ((name, target, _), own) in operations.iter().zip(&times) {
        let mut ratios: Vec<f64> = own
            .iter()
            .zip(&times[0])
            .map(|(own, base)| own / base)
            .collect();
        let mut own = own.clone();
        for list in [&mut ratios, &mut own] {
            list.sort_by(f64::total_cmp);
        }
        let target = target.map_or(String::new(), |target| format!("{target:.2}"));
        println!(
            "{name:<36} {:>9.1} {:>9.1} {:>8.2} {target:>8}",
            own[0],
            own[rounds / 2],
            ratios[rounds / 2]
        );
    }
}

fn tokens(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token");
    for (name, _, mut run) in operations() {
        group.bench_function(name, |bencher| bencher.iter(&mut run));
    }
    group.finish();
}

criterion_group!(benches, tokens);

fn main() {
    if !std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        rounds();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
