//! DPoP at the token endpoint: whoever sends a good proof gets a pass that is bound to its key.

use hallpass_core::base::{
    holder::HolderKey,
    key::PrivateKey,
    time::{Clock as _, SystemClock},
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::oauth::client::{TOKEN, ask, basic, ledger, refused, register, token};
use support::ISSUER;
use support::foreign::{Foreign, b64};
use test_broker::TestBroker;

/// A proof as a stock client makes it, with `header` and `claims` over what is usual.
pub fn proof(key: &PrivateKey, header: Value, claims: Value) -> String {
    let holder = HolderKey::Ed25519(key.public()).to_jwk();
    let usual = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": holder});
    let (header, claims) = parts(usual, header, claims);
    let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
    format!("{signed}.{}", b64(&key.sign(signed.as_bytes())))
}

/// The texts of a proof: its header, and the usual claims with changed ones.
fn parts(header: Value, changed: Value, claims: Value) -> (String, String) {
    let jti = b64(PrivateKey::generate().public().as_bytes());
    let usual = json!({"jti": jti, "htm": "POST", "htu": format!("{ISSUER}{TOKEN}"), "iat": now()});
    let merged = |mut usual: Value, changed: Value| {
        usual
            .as_object_mut()
            .unwrap()
            .extend(changed.as_object().unwrap().clone());
        usual
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        usual.to_string()
    };
    (merged(header, changed), merged(usual, claims))
}

fn now() -> u64 {
    SystemClock::default().now().unix_seconds()
}

struct Bot<'h> {
    fixture: &'h TestBroker,
    secret: String,
}

impl Bot<'_> {
    fn ask(&self) -> RequestBuilder {
        ask(self.fixture, &[]).header("authorization", basic("build-bot", &self.secret))
    }
}

#[tokio::test]
async fn a_proof_binds_the_pass_to_its_key() {
    let fixture = TestBroker::new().await;
    let bot = Bot {
        fixture: &fixture,
        secret: register(&fixture, "build-bot", ledger(&["read_ledger"])).await,
    };
    let key = PrivateKey::from_seed(&[7; 32]);
    let browser = Foreign::p256();
    let (header, claims) = parts(
        json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": browser.jwk}),
        json!({}),
        json!({}),
    );
    let in_browser = browser.sign(&header, &claims);
    for (proof, holder) in [
        (
            proof(&key, json!({}), json!({})),
            HolderKey::Ed25519(key.public()),
        ),
        (in_browser, HolderKey::from_jwk(&browser.jwk).unwrap()),
    ] {
        let answer = token(bot.ask().header("dpop", &proof)).await;
        assert_eq!(answer["token_type"], "DPoP");
        let state = fixture.broker.state();
        let bound = state
            .tasks()
            .find(|task| task.tokens[0].holder == Some(holder.thumbprint()))
            .unwrap();
        assert_eq!(bound.record.holder.as_ref().unwrap().max_delegations, 0);
    }
}

#[tokio::test]
async fn a_proof_that_is_no_good_gets_no_pass_not_even_a_bearer_one() {
    let fixture = TestBroker::new().await;
    let bot = Bot {
        fixture: &fixture,
        secret: register(&fixture, "build-bot", ledger(&["read_ledger"])).await,
    };
    let (key, other) = (
        PrivateKey::from_seed(&[7; 32]),
        PrivateKey::from_seed(&[8; 32]),
    );
    let good = || proof(&key, json!({}), json!({}));
    let used = good();
    token(bot.ask().header("dpop", &used)).await;
    let before = fixture.records();
    let foreign = HolderKey::Ed25519(other.public()).to_jwk();
    let mut private = HolderKey::Ed25519(key.public()).to_jwk();
    private["d"] = json!("AA");
    let cut = good();
    let bad = [
        used,
        String::new(),
        "a.b.c".to_owned(),
        cut[..cut.len() - 4].to_owned(),
        proof(&key, json!({"jwk": foreign}), json!({})),
        proof(&key, json!({"jwk": private}), json!({})),
        proof(
            &key,
            json!({"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}),
            json!({}),
        ),
        proof(&key, json!({"jwk": null}), json!({})),
        proof(&key, json!({"alg": "none"}), json!({})),
        proof(&key, json!({"alg": "HS256"}), json!({})),
        proof(&key, json!({"alg": "ES256"}), json!({})),
        proof(&key, json!({"typ": "JWT"}), json!({})),
        proof(&key, json!({"crit": ["b64"]}), json!({})),
        proof(&key, json!({}), json!({"htm": "GET"})),
        proof(&key, json!({}), json!({"htu": ISSUER})),
        proof(
            &key,
            json!({}),
            json!({"htu": "https://other.example/oauth/token"}),
        ),
        proof(&key, json!({}), json!({"iat": now() - 120})),
        proof(&key, json!({}), json!({"iat": now() + 120})),
        proof(&key, json!({}), json!({"iat": null})),
        proof(&key, json!({}), json!({"jti": null})),
        proof(&key, json!({}), json!({"jti": ""})),
    ];
    for (at, proof) in bad.iter().enumerate() {
        assert_eq!(
            refused(bot.ask().header("dpop", proof)).await,
            (400, "invalid_dpop_proof".to_owned()),
            "{at}"
        );
    }
    let two = bot.ask().header("dpop", good()).header("dpop", good());
    assert_eq!(refused(two).await.1, "invalid_dpop_proof");
    assert_eq!(fixture.records(), before);
}

#[tokio::test]
async fn one_of_twenty_requests_with_one_proof_is_served() {
    let fixture = TestBroker::new().await;
    let bot = Bot {
        fixture: &fixture,
        secret: register(&fixture, "build-bot", ledger(&["read_ledger"])).await,
    };
    let proof = proof(&PrivateKey::from_seed(&[7; 32]), json!({}), json!({}));
    let sent = (0..20).map(|_| bot.ask().header("dpop", &proof).send());
    let answers = futures_util::future::join_all(sent).await;
    let served = answers
        .iter()
        .filter(|answer| answer.as_ref().unwrap().status() == StatusCode::OK);
    assert_eq!(served.count(), 1);
}

#[tokio::test]
async fn what_a_grant_gives_to_bound_passes_only_needs_a_proof() {
    let fixture = TestBroker::new().await;
    let secret = register(&fixture, "build-bot", ledger(&["delete_ledger"])).await;
    let grant = json!({"id": "deletes", "agents": ["group:research"], "server": "ledger", "tools": ["delete_ledger"],
        "max_ttl": "10m", "require_proof": true});
    let granted = fixture
        .operator(Method::POST, "/v1/policy/grants")
        .json(&grant)
        .send()
        .await
        .unwrap();
    assert_eq!(granted.status(), StatusCode::CREATED);
    let bot = Bot {
        fixture: &fixture,
        secret,
    };
    assert_eq!(
        refused(bot.ask()).await,
        (400, "unauthorized_client".to_owned())
    );
    let proof = proof(&PrivateKey::from_seed(&[7; 32]), json!({}), json!({}));
    assert_eq!(
        token(bot.ask().header("dpop", &proof)).await["scope"],
        "tool:delete_ledger"
    );
}
