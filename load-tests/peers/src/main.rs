//! hallpass beside V, one bare strict Ed25519 verification over 600 bytes, and beside Tenuo: what it
//! costs to verify a pass with its proof of possession and to clear one call, cold and warm, handed on
//! 0, 1, 2 and 4 times.
//!
//! A proof is good once, so proofs are signed before the clock runs.

#[path = "../../lean/mod.rs"]
mod lean;

use std::{collections::HashMap, hint::black_box, rc::Rc, time::Duration};

use ed25519_dalek::{Signer as _, SigningKey};
use hallpass_core::{base::{holder::HolderKey, key::PrivateKey}, token::{Delegation, Narrowing, PassToken, UnverifiedPass, delegate}, possession::{Presented, ProofContent, sign_proof}};
use hallpass_verify::{Call, Verifier};
use lean::{Operation, SERVER, median, now, pass, root, verifier};
use serde_json::{Value, json};
use tenuo::{Authorizer, ConstraintSet, ConstraintValue, Exact, Pattern, Range, SigningKey as TenuoKey, Warrant, wire};

/// How often each operation runs in a round.
const COUNT: usize = 100;

fn bare() -> Operation {
    let key = SigningKey::from_bytes(&[3; 32]);
    let (public, message) = (key.verifying_key(), [0x5a; 600]);
    let signature = key.sign(&message);
    Operation::plain("V: bare strict verify, 600 B", move || {
        public.verify_strict(black_box(&message), &signature).unwrap();
    })
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_seed(&[10 + number; 32])
}

/// The pass after `hops` delegations.
fn handed_on(hops: u8) -> PassToken {
    (0..hops).fold(pass(Some(&key(0))), |token, hop| {
        let delegation = Delegation {
            agent: format!("helper-{hop}").parse().unwrap(),
            key: HolderKey::Ed25519(key(hop + 1).public()),
            narrowing: Narrowing::default(),
            may_delegate: 3 - hop,
            use_only: false,
        };
        let pass = UnverifiedPass::parse(token.expose()).unwrap().verify(&root().public()).unwrap();
        delegate(&pass, &key(hop), &delegation).unwrap().token
    })
}

fn hallpass(name: String, verifier: Rc<Verifier>, token: PassToken, holder: PrivateKey) -> Operation {
    let arguments: Rc<Value> = Rc::new(json!({"amount": 42, "currency": "EUR", "memo": "crash on start"}));
    let prepare = move |count: usize| {
        let content =
            ProofContent { token: token.expose(), method: "POST", url: SERVER, now: now(), nonce: None, call: None };
        let proofs: Vec<String> = (0..count).map(|_| sign_proof(&holder, &content).unwrap()).collect();
        let (verifier, token, arguments) = (Rc::clone(&verifier), token.clone(), Rc::clone(&arguments));
        let all = move || {
            for proof in &proofs {
                let presented = Presented::new(black_box(proof), "POST");
                let pass = verifier.verify_with_proof(black_box(token.expose()), &presented).unwrap();
                black_box(verifier.clear(&pass, &Call::tool("transfer", Some(&arguments))).unwrap());
            }
        };
        Box::new(all) as Box<dyn FnMut()>
    };
    Operation { name, prepare: Box::new(prepare) }
}

/// A warrant that says about as much, after `hops` delegations; decoded and authorised with its proof.
fn tenuo(hops: usize) -> Operation {
    let keys: Vec<TenuoKey> = (0..=hops + 1).map(|_| TenuoKey::generate()).collect();
    let constraints = ConstraintSet::from_iter([
        ("amount".to_owned(), Range::new(Some(0.0), Some(100.0)).unwrap().into()),
        ("currency".to_owned(), Exact::new("EUR").into()),
        ("memo".to_owned(), Pattern::new("*").unwrap().into()),
    ]);
    let first = Warrant::builder()
        .capability("transfer", constraints)
        .capability("read_ledger", ConstraintSet::new())
        .capability("create_issue", ConstraintSet::new())
        .capability("list_issues", ConstraintSet::new())
        .session_id("tsk_00000000000000000000000000000001")
        .agent_id("research-bot")
        .ttl(Duration::from_secs(3_600))
        .holder(keys[1].public_key())
        .build(&keys[0])
        .unwrap();
    let mut chain = vec![first];
    for hop in 0..hops {
        let next =
            chain[hop].attenuate().inherit_all().holder(keys[hop + 2].public_key()).build(&keys[hop + 1]).unwrap();
        chain.push(next);
    }
    let encoded: Vec<String> = chain.iter().map(|warrant| wire::encode_base64(warrant).unwrap()).collect();
    let authorizer = Rc::new(Authorizer::new().with_trusted_root(keys[0].public_key()));
    let arguments: HashMap<String, ConstraintValue> = HashMap::from([
        ("amount".to_owned(), ConstraintValue::Integer(42)),
        ("currency".to_owned(), ConstraintValue::String("EUR".to_owned())),
        ("memo".to_owned(), ConstraintValue::String("crash on start".to_owned())),
    ]);
    let prepare = move |count: usize| {
        let proof = chain[hops].sign(&keys[hops + 1], "transfer", &arguments).unwrap();
        let (encoded, authorizer, arguments) = (encoded.clone(), Rc::clone(&authorizer), arguments.clone());
        let all = move || {
            for _ in 0..count {
                let decoded: Vec<Warrant> =
                    encoded.iter().map(|text| wire::decode_base64(black_box(text)).unwrap()).collect();
                black_box(authorizer.check_chain(&decoded, "transfer", &arguments, Some(&proof), &[]).unwrap());
            }
        };
        Box::new(all) as Box<dyn FnMut()>
    };
    Operation { name: format!("tenuo, cold with proof, {hops} hops"), prepare: Box::new(prepare) }
}

fn main() {
    let (cold, warm) = (Rc::new(verifier(0)), Rc::new(verifier(1_024)));
    let mut operations = vec![bare()];
    for hops in [0, 1, 2, 4] {
        let (token, holder) = (handed_on(hops), key(hops));
        println!("pass handed on {hops} times: {} characters", token.expose().len());
        let name = |how: &str| format!("hallpass, {how} with proof, {hops} hops");
        operations.push(hallpass(
            name("cold"),
            Rc::clone(&cold),
            token.clone(),
            PrivateKey::from_seed(&[10 + hops; 32]),
        ));
        operations.push(hallpass(name("warm"), Rc::clone(&warm), token, holder));
        operations.push(tenuo(usize::from(hops)));
    }
    let counts = vec![COUNT; operations.len()];
    let measured = lean::rounds(&mut operations, &counts);
    println!("{:<36} {:>9} {:>10} {:>8} {:>8}", "operation", "min us", "median us", "x V", "min x V");
    for ((times, ratios), operation) in measured.iter().zip(&operations) {
        let (minimum, base) = (times[0], measured[0].0[0]);
        println!(
            "{:<36} {minimum:>9.1} {:>10.1} {:>8.2} {:>8.2}",
            operation.name,
            median(times),
            median(ratios),
            minimum / base
        );
    }
    let cold = |hops: usize| &measured[1 + 3 * hops];
    for (index, hops) in [(1, 1.0), (2, 2.0), (3, 4.0)] {
        let each = (median(&cold(index).1) - median(&cold(0).1)) / hops;
        let least = (cold(index).0[0] - cold(0).0[0]) / hops / measured[0].0[0];
        println!("each of {hops} hops: {each:.2} V, by minima {least:.2} V");
    }
}
