//! Consents in time: how long codes, refresh tokens and unused clients live, and what a snapshot keeps.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hallpass_broker::{
    Ask, Broker, BrokerError, CODE_LIVES, Caller, CodeError, CodeReason, GivenBack, Handed,
    NewAgent, NewClient, PersonsClient, REPEATED_FOR, Redemption, Refresh, Retention, Revoke,
    SIGN_IN_LIVES, SignedIn, UNUSED_LIVES, domain::event::Subject,
};
use hallpass_core::{
    base::{
        client_url::ClientUrl,
        digest::Digest,
        ids::{AgentId, StewardId},
    },
    token::Call,
};
use serde_json::json;

use super::{BrokerFiles, admin, new_agent};

const APP: &str = "desk-app";

fn app() -> AgentId {
    APP.parse().unwrap()
}

async fn with_app(fixture: &BrokerFiles) -> Arc<Broker> {
    let broker = fixture.with_registrations().await;
    let (keys, redirect_uris) = (Vec::new(), vec!["http://127.0.0.1/cb".parse().unwrap()]);
    broker
        .registry
        .add_agent(
            &admin(),
            NewAgent {
                keys,
                redirect_uris,
                ..new_agent(APP)
            },
        )
        .await
        .unwrap();
    broker
}

async fn bob(broker: &Broker) -> StewardId {
    broker
        .registry
        .add_steward(&admin(), ("bob", None))
        .await
        .unwrap()
        .steward
}

fn with_code(steward: &StewardId) -> SignedIn {
    SignedIn::with_code(steward.clone())
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
    let offer = broker
        .consents
        .offer(with_code(&bob(broker).await), ask())
        .unwrap();
    broker
        .consents
        .consent(&Caller::broker(), offer)
        .await
        .unwrap()
        .expose()
        .to_owned()
}

async fn redeem(broker: &Broker, code: &str) -> Result<Handed, CodeError> {
    let verifier = Digest::of(b"verifier");
    let redemption = Redemption {
        code,
        redirect_uri: None,
        verifier,
        servers: BTreeSet::new(),
        holder: None,
    };
    broker
        .codes
        .redeem_code(&Caller::broker(), &app(), redemption)
        .await
}

async fn refresh(broker: &Broker, token: &str) -> Result<Arc<Handed>, CodeError> {
    let refresh = Refresh {
        token,
        servers: BTreeSet::new(),
        scope: None,
        holder: None,
    };
    broker
        .codes
        .refresh(&Caller::broker(), &app(), refresh)
        .await
        .map(|refreshed| refreshed.handed)
}

fn reason(result: Result<impl std::fmt::Debug, CodeError>) -> CodeReason {
    match result.unwrap_err() {
        CodeError::Refused(reason) => reason,
        other => panic!("{other}"),
    }
}

/// Forgets what has ended, by the time of a record that is made now.
async fn forget(broker: &Broker) {
    broker
        .registry
        .make_sign_in_code(&admin(), &bob(broker).await)
        .await
        .unwrap();
    broker.maintain().await.unwrap();
}

#[tokio::test]
async fn a_code_lives_a_minute_and_no_longer() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    let (late, in_time) = (code(&broker).await, code(&broker).await);
    fixture.clock.advance(CODE_LIVES - Duration::from_millis(1));
    redeem(&broker, &in_time).await.unwrap();
    fixture.clock.advance(Duration::from_millis(1));
    assert_eq!(reason(redeem(&broker, &late).await), CodeReason::Ended);
    forget(&broker).await;
    assert_eq!(reason(redeem(&broker, &late).await), CodeReason::Unknown);
    // A code that was used is known for as long as what came of it lives.
    fixture.clock.advance(Duration::from_secs(3600));
    forget(&broker).await;
    assert_eq!(
        reason(redeem(&broker, &in_time).await),
        CodeReason::UsedTwice
    );
}

#[tokio::test]
async fn a_refresh_token_lives_as_long_as_its_task_and_no_pass_outlives_that() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    let mut handed = Arc::new(redeem(&broker, &code(&broker).await).await.unwrap());
    let ends_at = handed.issued.task.ends_at;
    assert_eq!(
        ends_at.since(handed.issued.task.opened_at),
        Duration::from_secs(8 * 3600)
    );
    for _ in 0..8 {
        fixture.clock.advance(Duration::from_secs(3590));
        handed = refresh(&broker, handed.refresh.expose()).await.unwrap();
        assert!(handed.issued.record.expires_at <= ends_at);
    }
    fixture.clock.advance(Duration::from_secs(79));
    let last = refresh(&broker, handed.refresh.expose()).await.unwrap();
    assert_eq!(last.issued.record.expires_at, ends_at);
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(
        reason(refresh(&broker, last.refresh.expose()).await),
        CodeReason::Ended
    );
    forget(&broker).await;
    assert_eq!(
        reason(refresh(&broker, last.refresh.expose()).await),
        CodeReason::Unknown
    );
}

#[tokio::test]
async fn a_sign_in_code_lives_ten_minutes_and_is_bound_to_its_steward() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    let bob = bob(&broker).await;
    let (code, expires_at) = broker
        .registry
        .make_sign_in_code(&admin(), &bob)
        .await
        .unwrap();
    assert_eq!(expires_at.since(broker.now()), SIGN_IN_LIVES);
    fixture.clock.advance(SIGN_IN_LIVES);
    let late = broker
        .registry
        .sign_in(&Caller::broker(), code.expose())
        .await;
    assert!(matches!(late, Err(BrokerError::NotFound(_))), "{late:?}");
    let (code, _) = broker
        .registry
        .make_sign_in_code(&admin(), &bob)
        .await
        .unwrap();
    fixture
        .clock
        .advance(SIGN_IN_LIVES - Duration::from_millis(1));
    assert_eq!(
        broker
            .registry
            .sign_in(&Caller::broker(), code.expose())
            .await
            .unwrap(),
        bob
    );
    let again = broker
        .registry
        .sign_in(&Caller::broker(), code.expose())
        .await;
    assert!(matches!(again, Err(BrokerError::NotFound(_))), "{again:?}");
    let nobody = "stw_00000000000000000000000000000009".parse().unwrap();
    assert!(matches!(
        broker.registry.make_sign_in_code(&admin(), &nobody).await,
        Err(BrokerError::NotFound(_))
    ));
}

#[tokio::test]
async fn a_client_that_nobody_consented_to_is_forgotten() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    let new = || NewClient {
        name: Some("Desk".to_owned()),
        redirect_uris: vec!["http://127.0.0.1/cb".parse().unwrap()],
        with_secret: true,
    };
    let made = broker
        .registry
        .register_client(&Caller::broker(), new())
        .await
        .unwrap();
    fixture
        .clock
        .advance(UNUSED_LIVES - Duration::from_millis(1));
    assert!(broker.registry.unused_client(&made.agent).is_some());
    fixture.clock.advance(Duration::from_millis(1));
    assert!(broker.registry.unused_client(&made.agent).is_none());
    let ask = Ask {
        client: PersonsClient::Known(made.agent),
        ..ask()
    };
    let offer = broker.consents.offer(with_code(&bob(&broker).await), ask);
    assert!(matches!(offer, Err(BrokerError::NotFound(_))), "{offer:?}");
    for _ in 0..hallpass_broker::MAX_UNUSED {
        broker
            .registry
            .register_client(&Caller::broker(), new())
            .await
            .unwrap();
    }
    let full = broker
        .registry
        .register_client(&Caller::broker(), new())
        .await;
    assert!(matches!(full, Err(BrokerError::Full(_))), "{full:?}");
}

#[tokio::test]
async fn the_same_refresh_gets_the_same_answer_for_ten_seconds_and_is_a_replay_then() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    let handed = redeem(&broker, &code(&broker).await).await.unwrap();
    let first = handed.refresh.expose();
    let second = refresh(&broker, first).await.unwrap();
    fixture.clock.advance(REPEATED_FOR);
    let before = broker.state().last_sequence();
    let again = refresh(&broker, first).await.unwrap();
    assert_eq!(again.refresh.expose(), second.refresh.expose());
    assert_eq!(again.issued.token.expose(), second.issued.token.expose());
    assert_eq!(broker.state().last_sequence(), before, "nothing was made");
    // What was given again is good, and good once: the one before it is not repeated any more.
    fixture.clock.advance(Duration::from_millis(1));
    let third = refresh(&broker, again.refresh.expose()).await.unwrap();
    assert_eq!(
        refresh(&broker, second.refresh.expose())
            .await
            .unwrap()
            .refresh
            .expose(),
        third.refresh.expose()
    );
    fixture
        .clock
        .advance(REPEATED_FOR + Duration::from_millis(1));
    assert_eq!(
        reason(refresh(&broker, second.refresh.expose()).await),
        CodeReason::UsedTwice
    );
    assert_eq!(
        reason(refresh(&broker, third.refresh.expose()).await),
        CodeReason::Unknown,
        "the task has ended"
    );
}

/// Ways in which a token comes again within ten seconds and is a replay all the same.
#[tokio::test]
async fn only_the_last_token_is_repeated_and_only_to_the_same_request() {
    let twice = |last: bool| async move {
        let fixture = BrokerFiles::new();
        let broker = with_app(&fixture).await;
        let handed = redeem(&broker, &code(&broker).await).await.unwrap();
        let second = refresh(&broker, handed.refresh.expose()).await.unwrap();
        if !last {
            refresh(&broker, second.refresh.expose()).await.unwrap();
        }
        (fixture, broker, handed, second)
    };
    // The next token was used: whoever has this one is behind.
    let (_fixture, broker, handed, _) = twice(false).await;
    assert_eq!(
        reason(refresh(&broker, handed.refresh.expose()).await),
        CodeReason::UsedTwice
    );
    // Another client, other rights.
    let servers = BTreeSet::from([support::server()]);
    let scope = "tool:read_ledger".parse().unwrap();
    let other = "research-bot".parse().unwrap();
    for (client, servers, scope, found) in [
        (other, BTreeSet::new(), None, CodeReason::UsedTwice),
        (app(), servers, None, CodeReason::UsedTwice),
        (app(), BTreeSet::new(), Some(&scope), CodeReason::UsedTwice),
    ] {
        let (_fixture, broker, handed, second) = twice(true).await;
        let asked = Refresh {
            token: handed.refresh.expose(),
            servers,
            scope,
            holder: None,
        };
        let caller = Caller::broker();
        let refused = broker.codes.refresh(&caller, &client, asked).await;
        assert_eq!(reason(refused), found);
        assert_eq!(
            reason(refresh(&broker, second.refresh.expose()).await),
            CodeReason::Unknown
        );
    }
    // The task has ended: nothing of it is given again.
    let (_fixture, broker, handed, second) = twice(true).await;
    let revoke = Revoke {
        subject: Subject::Task(second.issued.task.task.clone()),
        only_token: false,
        reason: None,
    };
    broker.revocations.revoke(&admin(), revoke).await.unwrap();
    assert_eq!(
        reason(refresh(&broker, handed.refresh.expose()).await),
        CodeReason::Unknown
    );
    // A restart forgets what was handed out.
    let (fixture, broker, handed, _) = twice(true).await;
    broker.close().await.unwrap();
    drop(broker);
    let broker = fixture.open().await;
    assert_eq!(
        reason(refresh(&broker, handed.refresh.expose()).await),
        CodeReason::UsedTwice
    );
}

#[tokio::test]
async fn a_client_gives_its_refresh_token_back_and_nobody_elses() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    let first = redeem(&broker, &code(&broker).await).await.unwrap();
    let second = refresh(&broker, first.refresh.expose()).await.unwrap();
    let (caller, other) = (Caller::broker(), "research-bot".parse().unwrap());
    let not_theirs = broker
        .codes
        .revoke_refresh_token(&caller, &other, second.refresh.expose())
        .await
        .unwrap();
    assert_eq!(not_theirs, GivenBack::NotYours);
    let none = broker
        .codes
        .revoke_refresh_token(&caller, &app(), "hpr_unknown")
        .await
        .unwrap();
    assert_eq!(none, GivenBack::Nothing);
    let third = refresh(&broker, second.refresh.expose()).await.unwrap();
    // An old one too: whoever gives it back wants the end of all.
    let ended = broker
        .codes
        .revoke_refresh_token(&caller, &app(), first.refresh.expose())
        .await
        .unwrap();
    assert!(
        matches!(ended, GivenBack::Revoked(Subject::Task(_))),
        "{ended:?}"
    );
    assert_eq!(
        reason(refresh(&broker, third.refresh.expose()).await),
        CodeReason::Unknown
    );
    assert_eq!(
        broker
            .tasks
            .task(&first.issued.task.task, None)
            .unwrap()
            .state,
        "completed"
    );
}

#[tokio::test]
async fn what_starts_from_a_snapshot_knows_every_code_and_token() {
    let fixture = BrokerFiles::new();
    let retention = Retention {
        segment_bytes: 1,
        ..Retention::default()
    };
    drop(with_app(&fixture).await);
    let broker = fixture.open_keeping(retention.clone()).await;
    let unused = code(&broker).await;
    let used = code(&broker).await;
    let first = redeem(&broker, &used).await.unwrap();
    let second = refresh(&broker, first.refresh.expose()).await.unwrap();
    broker.close().await.unwrap();
    drop(broker);
    let broker = fixture.open_keeping(retention).await;
    redeem(&broker, &unused).await.unwrap();
    let third = refresh(&broker, second.refresh.expose()).await.unwrap();
    assert_eq!(
        reason(refresh(&broker, first.refresh.expose()).await),
        CodeReason::UsedTwice
    );
    assert_eq!(
        reason(refresh(&broker, third.refresh.expose()).await),
        CodeReason::Unknown
    );
}

#[tokio::test]
async fn who_consented_first_to_a_client_takes_nobody_elses_passes_along() {
    let fixture = BrokerFiles::new();
    let grant = "[[grant]]\nid = \"c\"\nagents = [\"group:client-documents\"]\nserver = \"ledger\"\ntools = [\"read_*\"]\n\
                 max_ttl = \"10m\"\n";
    std::fs::write(fixture.directory.path().join("policy/clients.toml"), grant).unwrap();
    let broker = with_app(&fixture).await;
    let url: ClientUrl = "https://app.example/client.json".parse().unwrap();
    let agent = url.agent().unwrap();
    let client = PersonsClient::Document {
        url,
        redirect_uris: vec!["http://127.0.0.1/cb".parse().unwrap()],
        keys: Vec::new(),
        published_keys: None,
    };
    let mut passes = Vec::new();
    let mut people = Vec::new();
    for name in ["bob", "carol"] {
        let steward = broker
            .registry
            .add_steward(&admin(), (name, None))
            .await
            .unwrap()
            .steward;
        let offer = broker
            .consents
            .offer(
                with_code(&steward),
                Ask {
                    client: client.clone(),
                    ..ask()
                },
            )
            .unwrap();
        let code = broker
            .consents
            .consent(&Caller::broker(), offer)
            .await
            .unwrap();
        let verifier = Digest::of(b"verifier");
        let redemption = Redemption {
            code: code.expose(),
            redirect_uri: None,
            verifier,
            servers: BTreeSet::new(),
            holder: None,
        };
        passes.push(
            broker
                .codes
                .redeem_code(&Caller::broker(), &agent, redemption)
                .await
                .unwrap(),
        );
        people.push(steward);
    }
    assert_eq!(broker.registry.agent(&agent).unwrap().steward, people[0]);
    let verifier = fixture.verifier(&broker);
    let clears = |handed: &Handed| {
        let call = Call::tool("read_ledger", None);
        verifier
            .verify(handed.issued.token.expose())
            .and_then(|pass| verifier.clear(&pass, &call).map(drop))
            .is_ok()
    };
    assert!(passes.iter().all(clears));
    let revoke = Revoke {
        subject: Subject::Steward(people[0].clone()),
        only_token: false,
        reason: Some("left".to_owned()),
    };
    broker.revocations.revoke(&admin(), revoke).await.unwrap();
    fixture.tell(&broker, &verifier);
    assert_eq!(passes.iter().map(clears).collect::<Vec<_>>(), [false, true]);
}

fn document(key: serde_json::Value) -> PersonsClient {
    PersonsClient::Document {
        url: "https://app.example/client.json".parse().unwrap(),
        redirect_uris: vec!["http://127.0.0.1/cb".parse().unwrap()],
        keys: vec![key],
        published_keys: None,
    }
}

#[tokio::test]
async fn an_old_page_undoes_nothing_that_changed_since_it_was_made() {
    let fixture = BrokerFiles::new();
    let grant = "[[grant]]\nid = \"c\"\nagents = [\"group:client-documents\"]\nserver = \"ledger\"\ntools = [\"read_*\"]\n\
                 max_ttl = \"10m\"\n";
    std::fs::write(fixture.directory.path().join("policy/clients.toml"), grant).unwrap();
    let broker = with_app(&fixture).await;
    let (bob, caller) = (bob(&broker).await, Caller::broker());
    let is_gone =
        |result: Result<_, BrokerError>| matches!(result.map(drop), Err(BrokerError::NotFound(_)));
    // An operator takes the redirect URI away.
    let old = broker.consents.offer(with_code(&bob), ask()).unwrap();
    let redirect_uris = vec!["http://127.0.0.1/other".parse().unwrap()];
    let moved = NewAgent {
        keys: Vec::new(),
        redirect_uris,
        ..new_agent(APP)
    };
    broker.registry.change_agent(&admin(), moved).await.unwrap();
    assert!(is_gone(broker.consents.consent(&caller, old).await));
    // A client's document has another key by now, with which somebody consented.
    let [old, new] = [
        json!({"kty": "OKP", "old": 1}),
        json!({"kty": "OKP", "new": 1}),
    ];
    let offer = |key: &serde_json::Value| {
        broker
            .consents
            .offer(
                with_code(&bob),
                Ask {
                    client: document(key.clone()),
                    ..ask()
                },
            )
            .unwrap()
    };
    broker.consents.consent(&caller, offer(&old)).await.unwrap();
    let (with_old, with_new) = (offer(&old), offer(&new));
    broker.consents.consent(&caller, with_new).await.unwrap();
    assert!(is_gone(broker.consents.consent(&caller, with_old).await));
    let agents = broker.registry.agents(None, 100);
    assert_eq!(
        agents
            .iter()
            .find(|agent| agent.client_document.is_some())
            .unwrap()
            .keys,
        [new]
    );
}

#[tokio::test]
async fn nobody_is_shown_what_cannot_be_minted() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    let bob = bob(&broker).await;
    broker.consents.offer(with_code(&bob), ask()).unwrap();
    let subject = Subject::Server(support::server());
    broker
        .revocations
        .revoke(
            &admin(),
            Revoke {
                subject: subject.clone(),
                only_token: false,
                reason: None,
            },
        )
        .await
        .unwrap();
    for holder in [None, Some("thumbprint".to_owned())] {
        let refused = broker
            .consents
            .offer(with_code(&bob), Ask { holder, ..ask() });
        assert!(
            matches!(refused, Err(BrokerError::Suspended(_))),
            "{refused:?}"
        );
    }
    broker
        .revocations
        .reinstate(&admin(), subject)
        .await
        .unwrap();
    broker.consents.offer(with_code(&bob), ask()).unwrap();
    // More names than fit into one pass.
    let tools: serde_json::Map<_, _> = (0..201)
        .map(|n| (format!("read_{n}"), json!({"read_only": true})))
        .collect();
    let mut manifest = serde_json::to_value(support::manifest()).unwrap();
    manifest["tools"] = tools.into();
    broker
        .registry
        .set_server(&admin(), serde_json::from_value(manifest).unwrap())
        .await
        .unwrap();
    let grant = "[[grant]]\nid = \"all\"\nagents = [\"*\"]\nserver = \"ledger\"\ntools = [\"read_*\"]\nmax_ttl = \"10m\"\n";
    std::fs::write(fixture.directory.path().join("policy/all.toml"), grant).unwrap();
    broker
        .policy
        .reload_policy(&admin())
        .await
        .unwrap()
        .unwrap();
    let refused = broker.consents.offer(with_code(&bob), ask()).unwrap_err();
    assert_eq!(
        refused.code(),
        hallpass_core::base::ReasonCode::PassTooLarge,
        "{refused}"
    );
}
