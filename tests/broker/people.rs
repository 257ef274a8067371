//! Consents in time: how long codes, refresh tokens and unused clients live, and what a snapshot keeps.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hallpass::{
    base::{
        client_url::ClientUrl,
        digest::Digest,
        ids::{AgentId, StewardId},
    },
    broker::{
        Ask, Broker, BrokerError, CODE_LIVES, Caller, CodeError, CodeReason, Handed, NewAgent, NewClient,
        PersonsClient, Redemption, Refresh, Retention, Revoke, SIGN_IN_LIVES, UNUSED_LIVES,
    },
    journal::event::Subject,
    verify::Call,
};
use serde_json::json;

use super::{House, admin, new_agent, support};

const APP: &str = "desk-app";

fn app() -> AgentId {
    APP.parse().unwrap()
}

async fn with_app(house: &House) -> Arc<Broker> {
    let broker = house.furnished().await;
    let (keys, redirect_uris) = (Vec::new(), vec!["http://127.0.0.1/cb".parse().unwrap()]);
    broker.add_agent(&admin(), NewAgent { keys, redirect_uris, ..new_agent(APP) }).await.unwrap();
    broker
}

async fn bob(broker: &Broker) -> StewardId {
    broker.add_steward(&admin(), ("bob", None)).await.unwrap().steward
}

fn ask() -> Ask {
    let detail = json!({"type": "mcp", "server": support::SERVER, "tools": ["*"]});
    Ask {
        client: PersonsClient::Known(app()),
        redirect_uri: None,
        challenge: Digest::of(b"verifier"),
        holder: None,
        in_detail: false,
        details: vec![serde_json::from_value(detail).unwrap()],
    }
}

/// A code that bob allowed.
async fn code(broker: &Broker) -> String {
    let offer = broker.offer(&bob(broker).await, ask()).unwrap();
    broker.consent(&Caller::broker(), offer).await.unwrap().expose().to_owned()
}

async fn redeem(broker: &Broker, code: &str) -> Result<Handed, CodeError> {
    let verifier = Digest::of(b"verifier");
    let redemption = Redemption { code, redirect_uri: None, verifier, servers: BTreeSet::new(), holder: None };
    broker.redeem_code(&Caller::broker(), &app(), redemption).await
}

async fn refresh(broker: &Broker, token: &str) -> Result<Handed, CodeError> {
    let refresh = Refresh { token, servers: BTreeSet::new(), scope: None, holder: None };
    broker.refresh(&Caller::broker(), &app(), refresh).await
}

fn reason(result: Result<Handed, CodeError>) -> CodeReason {
    match result.unwrap_err() {
        CodeError::Refused(reason) => reason,
        other => panic!("{other}"),
    }
}

/// Forgets what has ended, by the time of a record that is made now.
async fn forget(broker: &Broker) {
    broker.make_sign_in_code(&admin(), &bob(broker).await).await.unwrap();
    broker.maintain().await.unwrap();
}

#[tokio::test]
async fn a_code_lives_a_minute_and_no_longer() {
    let house = House::new();
    let broker = with_app(&house).await;
    let (late, in_time) = (code(&broker).await, code(&broker).await);
    house.clock.advance(CODE_LIVES - Duration::from_millis(1));
    redeem(&broker, &in_time).await.unwrap();
    house.clock.advance(Duration::from_millis(1));
    assert_eq!(reason(redeem(&broker, &late).await), CodeReason::Ended);
    forget(&broker).await;
    assert_eq!(reason(redeem(&broker, &late).await), CodeReason::Unknown);
    // A code that was used is known for as long as what came of it lives.
    house.clock.advance(Duration::from_secs(3600));
    forget(&broker).await;
    assert_eq!(reason(redeem(&broker, &in_time).await), CodeReason::UsedTwice);
}

#[tokio::test]
async fn a_refresh_token_lives_as_long_as_its_task_and_no_pass_outlives_that() {
    let house = House::new();
    let broker = with_app(&house).await;
    let mut handed = redeem(&broker, &code(&broker).await).await.unwrap();
    let ends_at = handed.issued.task.ends_at;
    assert_eq!(ends_at.since(handed.issued.task.opened_at), Duration::from_secs(8 * 3600));
    for _ in 0..8 {
        house.clock.advance(Duration::from_secs(3590));
        handed = refresh(&broker, handed.refresh.expose()).await.unwrap();
        assert!(handed.issued.record.expires_at <= ends_at);
    }
    house.clock.advance(Duration::from_secs(79));
    let last = refresh(&broker, handed.refresh.expose()).await.unwrap();
    assert_eq!(last.issued.record.expires_at, ends_at);
    house.clock.advance(Duration::from_secs(1));
    assert_eq!(reason(refresh(&broker, last.refresh.expose()).await), CodeReason::Ended);
    forget(&broker).await;
    assert_eq!(reason(refresh(&broker, last.refresh.expose()).await), CodeReason::Unknown);
}

#[tokio::test]
async fn a_sign_in_code_lives_ten_minutes_and_is_bound_to_its_steward() {
    let house = House::new();
    let broker = with_app(&house).await;
    let bob = bob(&broker).await;
    let (code, expires_at) = broker.make_sign_in_code(&admin(), &bob).await.unwrap();
    assert_eq!(expires_at.since(broker.now()), SIGN_IN_LIVES);
    house.clock.advance(SIGN_IN_LIVES);
    let late = broker.sign_in(&Caller::broker(), code.expose()).await;
    assert!(matches!(late, Err(BrokerError::NotFound(_))), "{late:?}");
    let (code, _) = broker.make_sign_in_code(&admin(), &bob).await.unwrap();
    house.clock.advance(SIGN_IN_LIVES - Duration::from_millis(1));
    assert_eq!(broker.sign_in(&Caller::broker(), code.expose()).await.unwrap(), bob);
    let again = broker.sign_in(&Caller::broker(), code.expose()).await;
    assert!(matches!(again, Err(BrokerError::NotFound(_))), "{again:?}");
    let nobody = "stw_00000000000000000000000000000009".parse().unwrap();
    assert!(matches!(broker.make_sign_in_code(&admin(), &nobody).await, Err(BrokerError::NotFound(_))));
}

#[tokio::test]
async fn a_client_that_nobody_consented_to_is_forgotten() {
    let house = House::new();
    let broker = with_app(&house).await;
    let new = || NewClient {
        name: Some("Desk".to_owned()),
        redirect_uris: vec!["http://127.0.0.1/cb".parse().unwrap()],
        with_secret: true,
    };
    let made = broker.register_client(&Caller::broker(), new()).await.unwrap();
    house.clock.advance(UNUSED_LIVES - Duration::from_millis(1));
    assert!(broker.unused_client(&made.agent).is_some());
    house.clock.advance(Duration::from_millis(1));
    assert!(broker.unused_client(&made.agent).is_none());
    let ask = Ask { client: PersonsClient::Known(made.agent), ..ask() };
    let offer = broker.offer(&bob(&broker).await, ask);
    assert!(matches!(offer, Err(BrokerError::NotFound(_))), "{offer:?}");
    for _ in 0..hallpass::broker::MAX_UNUSED {
        broker.register_client(&Caller::broker(), new()).await.unwrap();
    }
    let full = broker.register_client(&Caller::broker(), new()).await;
    assert!(matches!(full, Err(BrokerError::Busy)), "{full:?}");
}

#[tokio::test]
async fn a_client_gives_its_refresh_token_back_and_nobody_elses() {
    let house = House::new();
    let broker = with_app(&house).await;
    let first = redeem(&broker, &code(&broker).await).await.unwrap();
    let second = refresh(&broker, first.refresh.expose()).await.unwrap();
    let (caller, other) = (Caller::broker(), "research-bot".parse().unwrap());
    assert!(!broker.revoke_refresh_token(&caller, &other, second.refresh.expose()).await.unwrap());
    assert!(!broker.revoke_refresh_token(&caller, &app(), "hpr_unknown").await.unwrap());
    let third = refresh(&broker, second.refresh.expose()).await.unwrap();
    // An old one too: whoever gives it back wants the end of all.
    assert!(broker.revoke_refresh_token(&caller, &app(), first.refresh.expose()).await.unwrap());
    assert_eq!(reason(refresh(&broker, third.refresh.expose()).await), CodeReason::Unknown);
    assert_eq!(broker.task(&first.issued.task.task, None).unwrap().state, "completed");
}

#[tokio::test]
async fn what_starts_from_a_snapshot_knows_every_code_and_token() {
    let house = House::new();
    let retention = Retention { segment_bytes: 1, ..Retention::default() };
    drop(with_app(&house).await);
    let broker = house.open_keeping(retention.clone()).await;
    let unused = code(&broker).await;
    let used = code(&broker).await;
    let first = redeem(&broker, &used).await.unwrap();
    let second = refresh(&broker, first.refresh.expose()).await.unwrap();
    broker.close().await.unwrap();
    drop(broker);
    let broker = house.open_keeping(retention).await;
    redeem(&broker, &unused).await.unwrap();
    let third = refresh(&broker, second.refresh.expose()).await.unwrap();
    assert_eq!(reason(refresh(&broker, first.refresh.expose()).await), CodeReason::UsedTwice);
    assert_eq!(reason(refresh(&broker, third.refresh.expose()).await), CodeReason::Unknown);
}

#[tokio::test]
async fn who_consented_first_to_a_client_takes_nobody_elses_passes_along() {
    let house = House::new();
    let grant = "[[grant]]\nid = \"c\"\nagents = [\"group:client-documents\"]\nserver = \"ledger\"\ntools = [\"read_*\"]\n\
                 max_ttl = \"10m\"\n";
    std::fs::write(house.directory.path().join("policy/clients.toml"), grant).unwrap();
    let broker = with_app(&house).await;
    let url: ClientUrl = "https://app.example/client.json".parse().unwrap();
    let agent = url.agent().unwrap();
    let client =
        PersonsClient::Document { url, redirect_uris: vec!["http://127.0.0.1/cb".parse().unwrap()], keys: Vec::new() };
    let mut passes = Vec::new();
    let mut people = Vec::new();
    for name in ["bob", "carol"] {
        let steward = broker.add_steward(&admin(), (name, None)).await.unwrap().steward;
        let offer = broker.offer(&steward, Ask { client: client.clone(), ..ask() }).unwrap();
        let code = broker.consent(&Caller::broker(), offer).await.unwrap();
        let verifier = Digest::of(b"verifier");
        let redemption =
            Redemption { code: code.expose(), redirect_uri: None, verifier, servers: BTreeSet::new(), holder: None };
        passes.push(broker.redeem_code(&Caller::broker(), &agent, redemption).await.unwrap());
        people.push(steward);
    }
    assert_eq!(broker.agent(&agent).unwrap().steward, people[0]);
    let verifier = house.verifier(&broker);
    let clears = |handed: &Handed| {
        let call = Call::tool("read_ledger", None);
        verifier.verify(handed.issued.token.expose()).and_then(|pass| verifier.clear(&pass, &call).map(drop)).is_ok()
    };
    assert!(passes.iter().all(clears));
    let revoke =
        Revoke { subject: Subject::Steward(people[0].clone()), only_token: false, reason: Some("left".to_owned()) };
    broker.revoke(&admin(), revoke).await.unwrap();
    house.tell(&broker, &verifier);
    assert_eq!(passes.iter().map(clears).collect::<Vec<_>>(), [false, true]);
}
