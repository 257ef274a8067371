//! What is refused: recorded each time, bounded, and explained as it would be decided.

use hallpass_broker::{
    UsedAssertion,
    ledger::views::{Filter, Order, Window},
    policy::Decision,
};
use hallpass_core::base::digest::Digest;

use super::*;

/// How many records of `kind` the trail has.
pub(super) fn recorded(broker: &Broker, kind: &str) -> usize {
    let window = Window {
        order: Order::OldestFirst,
        after: None,
        limit: 10_000,
    };
    let page = broker
        .history
        .trail()
        .events(&Filter::default(), window)
        .unwrap();
    page.events
        .iter()
        .filter(|event| event.event_type == kind)
        .count()
}

#[tokio::test]
async fn whatever_is_refused_is_in_the_trail() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (caller, agent) = bot();
    let refused = || recorded(&broker, "request_refused");
    let other = OpenTask {
        steward: Some("mallory".to_owned()),
        ..wants(&["read_ledger"])
    };
    let error = broker
        .issuance
        .open_task(&caller, &agent, other)
        .await
        .unwrap_err();
    assert_eq!((error.code(), refused()), (ReasonCode::StewardMismatch, 1));

    let ended = open_task(&broker, &["read_ledger"]).await.unwrap();
    broker
        .tasks
        .complete_task(&caller, &agent, &ended.task.task)
        .await
        .unwrap();
    let renewal = (&ended.task.task, IssueAgain::default());
    let error = broker
        .issuance
        .issue_again(&caller, &agent, renewal.clone())
        .await
        .unwrap_err();
    assert_eq!((error.code(), refused()), (ReasonCode::TaskEnded, 2));

    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Agent(agent.clone())))
        .await
        .unwrap();
    let error = open_task(&broker, &["read_ledger"]).await.unwrap_err();
    assert_eq!((error.code(), refused()), (ReasonCode::Suspended, 3));
    let error = broker
        .issuance
        .issue_again(&caller, &agent, renewal)
        .await
        .unwrap_err();
    assert_eq!((error.code(), refused()), (ReasonCode::Suspended, 4));
}

#[tokio::test]
async fn an_explanation_is_what_the_request_would_be_answered() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (_, agent) = bot();
    let explained = || {
        broker
            .issuance
            .explain(&agent, wants(&["read_ledger"]))
            .unwrap()
    };
    let code = |decision: Decision| match decision {
        Decision::Granted(_) => None,
        Decision::Refused(reasons) => Some(reasons[0].code),
    };
    assert_eq!(code(explained()), None);
    let other = OpenTask {
        steward: Some("mallory".to_owned()),
        ..wants(&["read_ledger"])
    };
    assert_eq!(
        code(broker.issuance.explain(&agent, other).unwrap()),
        Some(ReasonCode::StewardMismatch)
    );
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Agent(agent.clone())))
        .await
        .unwrap();
    assert_eq!(code(explained()), Some(ReasonCode::Suspended));
    assert_eq!(
        (
            recorded(&broker, "task_opened"),
            recorded(&broker, "request_refused")
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_refused_request_records_its_assertion_once() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (caller, agent) = bot();
    let expires_at = broker.now().plus(Duration::from_secs(60));
    let used = UsedAssertion {
        agent: agent.clone(),
        jti: Digest::of(b"one"),
        expires_at,
    };
    broker.use_assertion(&used).unwrap();
    let caller = Caller {
        assertion: Some(used),
        ..caller
    };
    broker
        .issuance
        .open_task(&caller, &agent, wants(&["delete_ledger"]))
        .await
        .unwrap_err();
    broker.note(&caller).await.unwrap();
    assert_eq!(
        (
            recorded(&broker, "request_refused"),
            recorded(&broker, "assertion_used")
        ),
        (1, 1)
    );
}

fn tools(count: usize, length: usize) -> OpenTask {
    let names: Vec<_> = (0..count)
        .map(|number| format!("{number:0>length$}"))
        .collect();
    wants(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_request_names_no_more_than_is_worth_recording() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (caller, agent) = bot();
    for (request, code) in [
        (tools(400, 3), ReasonCode::NotInManifest),
        (tools(401, 3), ReasonCode::InvalidRequest),
        (tools(300, 120), ReasonCode::InvalidRequest),
    ] {
        let before = broker.state().last_sequence();
        let error = broker
            .issuance
            .open_task(&caller, &agent, request)
            .await
            .unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        let recorded = broker.state().last_sequence() - before;
        assert_eq!(recorded, u64::from(code != ReasonCode::InvalidRequest));
    }
    let window = Window {
        order: Order::NewestFirst,
        after: None,
        limit: 1,
    };
    let page = broker
        .history
        .trail()
        .events(&Filter::default(), window)
        .unwrap();
    let refusal = serde_json::to_string(&page.events[0]).unwrap();
    assert!(refusal.contains("and 384 more reasons"), "{refusal}");
}
