//! Who answers for an agent on somebody else's behalf: revoking them ends its passes, whatever became of the agent.

use std::collections::BTreeSet;

use hallpass_broker::{Ask, CodeError, Handed, PersonsClient, Redemption, Refresh, SignedIn};
use hallpass_core::base::{digest::Digest, ids::StewardId};

use super::{
    children::{helper, with_helpers},
    exchanges::{exchange, of},
    *,
};

fn app() -> AgentId {
    "desk-app".parse().unwrap()
}

/// The helpers' broker with an app for which alice answers.
async fn with_app(fixture: &BrokerFiles) -> Arc<Broker> {
    let broker = with_helpers(fixture).await;
    let new = NewAgent {
        keys: Vec::new(),
        redirect_uris: vec!["http://127.0.0.1/cb".parse().unwrap()],
        ..new_agent("desk-app")
    };
    broker.registry.add_agent(&admin(), new).await.unwrap();
    broker
}

/// A pass of the app on behalf of `steward`, who consented.
async fn consented(broker: &Broker, steward: &str) -> Handed {
    let steward = broker
        .registry
        .add_steward(&admin(), (steward, None))
        .await
        .unwrap()
        .steward;
    let ask = Ask {
        client: PersonsClient::Known(app()),
        redirect_uri: None,
        challenge: Digest::of(b"verifier"),
        holder: None,
        in_detail: false,
        details: wants(&["read_ledger"]).details,
    };
    let code = broker
        .consents
        .consent(
            &Caller::broker(),
            broker
                .consents
                .offer(SignedIn::with_code(steward.clone()), ask)
                .unwrap(),
        )
        .await
        .unwrap();
    let (code, verifier) = (code.expose(), Digest::of(b"verifier"));
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
        .unwrap()
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

fn steward(broker: &Broker, name: &str) -> StewardId {
    broker.registry.find_steward(name).unwrap()
}

/// The tasks whose passes could read the ledger now.
fn reaching(broker: &Broker) -> BTreeSet<String> {
    let what = (support::server(), "read_ledger".parse().unwrap());
    let rows = broker
        .history
        .reach(what, broker.now(), (None, 100))
        .unwrap();
    rows.into_iter().map(|row| row.task.to_string()).collect()
}

#[tokio::test]
async fn who_answers_for_an_app_ends_its_passes_also_once_it_was_removed_or_is_anothers() {
    for what in ["kept", "removed", "moved"] {
        let fixture = BrokerFiles::new();
        let broker = with_app(&fixture).await;
        let handed = consented(&broker, "carol").await;
        let child = exchange(&broker, &helper(), of(&handed.issued.token))
            .await
            .unwrap();
        let verifier = fixture.verifier(&broker);
        for alive in [&handed.issued, &child] {
            assert_eq!(codes(&verifier, alive), [], "{what}");
        }
        assert_eq!(reaching(&broker).len(), 2, "{what}");
        match what {
            "removed" => broker
                .registry
                .remove_agent(&admin(), &app())
                .await
                .unwrap(),
            "moved" => {
                let redirect_uris = vec!["http://127.0.0.1/cb".parse().unwrap()];
                let moved = NewAgent {
                    keys: Vec::new(),
                    redirect_uris,
                    steward: "dora".to_owned(),
                    ..new_agent("desk-app")
                };
                drop(broker.registry.change_agent(&admin(), moved).await.unwrap());
            }
            _ => {}
        }
        broker
            .revocations
            .revoke(
                &admin(),
                revoke(Subject::Steward(steward(&broker, "alice"))),
            )
            .await
            .unwrap();
        fixture.tell(&broker, &verifier);
        for dead in [&handed.issued, &child] {
            assert!(!codes(&verifier, dead).is_empty(), "{what}");
        }
        assert!(
            reaching(&broker).is_empty(),
            "{what}: {:?}",
            reaching(&broker)
        );
        let rows = broker.history.live(None, (None, 100)).await.unwrap();
        assert!(
            rows.iter().all(|row| row.live_passes == 0),
            "{what}: {rows:?}"
        );
        refresh(&broker, handed.refresh.expose()).await.unwrap_err();
        let (caller, actor) = helper();
        broker
            .issuance
            .issue_again(&caller, &actor, (&child.task.task, IssueAgain::default()))
            .await
            .unwrap_err();
        // A reinstatement revives nothing, and a start from the records knows the same.
        broker
            .revocations
            .reinstate(&admin(), Subject::Steward(steward(&broker, "alice")))
            .await
            .unwrap();
        broker.close().await.unwrap();
        drop(broker);
        let broker = fixture.open().await;
        let verifier = fixture.verifier(&broker);
        for dead in [&handed.issued, &child] {
            assert!(!codes(&verifier, dead).is_empty(), "{what}");
        }
    }
}

#[tokio::test]
async fn whoever_answers_for_an_app_now_ends_the_passes_that_it_had_before() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    let handed = consented(&broker, "carol").await;
    let child = exchange(&broker, &helper(), of(&handed.issued.token))
        .await
        .unwrap();
    let redirect_uris = vec!["http://127.0.0.1/cb".parse().unwrap()];
    let moved = NewAgent {
        keys: Vec::new(),
        redirect_uris,
        steward: "dora".to_owned(),
        ..new_agent("desk-app")
    };
    broker.registry.change_agent(&admin(), moved).await.unwrap();
    let verifier = fixture.verifier(&broker);
    assert_eq!(codes(&verifier, &handed.issued), []);
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Steward(steward(&broker, "dora"))))
        .await
        .unwrap();
    fixture.tell(&broker, &verifier);
    for dead in [&handed.issued, &child] {
        assert!(!codes(&verifier, dead).is_empty());
    }
}

#[tokio::test]
async fn access_is_judged_by_whom_each_task_is_for() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    consented(&broker, "carol").await;
    consented(&broker, "dora").await;
    let of_app = async || {
        let rows = broker.history.live(None, (None, 100)).await.unwrap();
        let row = rows.into_iter().find(|row| row.agent == app()).unwrap();
        (row.live_passes, row.suspended)
    };
    assert_eq!(of_app().await, (2, false));
    broker
        .revocations
        .revoke(
            &admin(),
            revoke(Subject::Steward(steward(&broker, "carol"))),
        )
        .await
        .unwrap();
    assert_eq!(of_app().await, (1, false));
    broker
        .revocations
        .revoke(
            &admin(),
            revoke(Subject::Steward(steward(&broker, "alice"))),
        )
        .await
        .unwrap();
    assert_eq!(of_app().await, (0, true));
}

#[tokio::test]
async fn a_child_of_what_a_person_allowed_is_renewed_by_its_agent() {
    let fixture = BrokerFiles::new();
    let broker = with_app(&fixture).await;
    let handed = consented(&broker, "carol").await;
    let child = exchange(&broker, &helper(), of(&handed.issued.token))
        .await
        .unwrap();
    let (caller, actor) = helper();
    let renewed = broker
        .issuance
        .issue_again(&caller, &actor, (&child.task.task, IssueAgain::default()))
        .await
        .unwrap();
    assert_eq!(codes(&fixture.verifier(&broker), &renewed), []);
    let own = broker
        .issuance
        .issue_again(
            &Caller::broker(),
            &app(),
            (&handed.issued.task.task, IssueAgain::default()),
        )
        .await;
    assert_eq!(own.unwrap_err().code(), ReasonCode::Conflict);
}
