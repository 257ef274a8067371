//! What one broker has recorded, the other decides by, without a notification before.

use crate::{
    BrokerError,
    domain::event::{LedgerEvent, Subject},
    ledger::memory::Step,
    several::cluster::{Cluster, agent, server, steward},
};
use hallpass_core::base::ids::KeyId;

/// A pass was minted and did not leave: the refusal is recorded after it.
fn is_held_back(events: &[LedgerEvent]) -> bool {
    let [.., minted, refused] = events else {
        return false;
    };
    matches!(minted, LedgerEvent::TokenIssued { .. })
        && matches!(refused, LedgerEvent::RequestRefused { .. })
}

#[tokio::test]
async fn what_one_broker_has_revoked_no_other_mints() {
    for subject in [
        Subject::Agent(agent()),
        Subject::Steward(steward()),
        Subject::Server(server()),
    ] {
        let cluster = Cluster::of(2).await;
        let [first, second] = &cluster.brokers[..] else {
            panic!()
        };
        let task = second.open().await.unwrap().task.task;
        first.revoke(subject.clone()).await.unwrap();
        for refused in [second.open().await, second.renew(&task).await] {
            assert!(
                matches!(refused, Err(BrokerError::Suspended(_))),
                "{subject:?}: {refused:?}"
            );
        }
        let minted = cluster
            .events()
            .into_iter()
            .filter(|event| matches!(event, LedgerEvent::TokenIssued { .. }));
        assert_eq!(minted.count(), 1, "{subject:?}");
        // What is reinstated here may be minted there.
        first.reinstate(subject).await.unwrap();
        second.open().await.unwrap();
        let states = cluster.states();
        assert_eq!(states[0], states[1]);
    }
}

#[tokio::test]
async fn a_task_that_one_broker_ended_is_renewed_by_no_other() {
    let cluster = Cluster::of(2).await;
    let [first, second] = &cluster.brokers[..] else {
        panic!()
    };
    let tasks = [
        first.open().await.unwrap(),
        first.open().await.unwrap(),
        second.open().await.unwrap(),
    ];
    let [completed, revoked, killed] = &tasks;
    second.complete(&completed.task.task).await.unwrap();
    second
        .revoke(Subject::Task(revoked.task.task.clone()))
        .await
        .unwrap();
    second
        .revoke(Subject::RevocationId(killed.record.revocation_id))
        .await
        .unwrap();
    for ended in &tasks {
        let refused = first.renew(&ended.task.task).await;
        assert!(
            matches!(refused, Err(BrokerError::TaskEnded(_))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_revocation_of_the_same_broker_that_comes_while_a_pass_is_recorded_holds_it_back() {
    let cluster = Cluster::of(1).await;
    let member = &cluster.brokers[0];
    // The revocation is appended first, though the mint decided before it.
    let slow = Step {
        yields_before: 3,
        ..Step::default()
    };
    member.ledger.plan([slow]);
    let (opened, revoked) = tokio::join!(member.open(), member.revoke(Subject::Agent(agent())));
    revoked.unwrap();
    assert!(
        matches!(opened, Err(BrokerError::Suspended(_))),
        "{opened:?}"
    );
    assert!(is_held_back(&cluster.events()));
}

#[tokio::test]
async fn two_renewals_at_once_do_not_pass_the_limit_of_a_task() {
    let cluster = Cluster::of(1).await;
    let member = &cluster.brokers[0];
    let opened = member.open().await.unwrap();
    let task = opened.task.task;
    {
        let mut state = member.state.write();
        let live = state.tasks.get_mut(&task).unwrap();
        live.tokens = vec![live.tokens[0].clone(); crate::domain::eligibility::MAX_PASSES - 1];
    }
    let slow = Step {
        yields_before: 3,
        ..Step::default()
    };
    member.ledger.plan([slow, slow]);
    let (one, other) = tokio::join!(member.renew(&task), member.renew(&task));
    let is_full =
        |refused: &Result<_, BrokerError>| matches!(refused, Err(BrokerError::Conflict(_)));
    // Whichever was recorded first.
    let one_left = (one.is_ok() && is_full(&other)) || (is_full(&one) && other.is_ok());
    assert!(one_left, "{one:?} {other:?}");
    assert!(is_held_back(&cluster.events()));
}

#[tokio::test]
async fn a_root_key_that_one_broker_revoked_signs_nowhere() {
    let cluster = Cluster::of(2).await;
    let [first, second] = &cluster.brokers[..] else {
        panic!()
    };
    let before = second.open().await.unwrap().record.key;
    first.rotate_root().await.unwrap();
    first.revoke(Subject::Key(before)).await.unwrap();
    let after = second.open().await.unwrap().record.key;
    assert_eq!((before, after), (KeyId(1), KeyId(2)));
}

#[tokio::test]
async fn a_pass_whose_key_is_revoked_while_it_is_recorded_is_held_back() {
    let cluster = Cluster::of(1).await;
    let member = &cluster.brokers[0];
    member.rotate_root().await.unwrap();
    let slow = Step {
        yields_before: 3,
        ..Step::default()
    };
    member.ledger.plan([slow]);
    let (opened, revoked) = tokio::join!(member.open(), member.revoke(Subject::Key(KeyId(1))));
    revoked.unwrap();
    assert!(
        matches!(&opened, Err(BrokerError::Suspended(why)) if why.contains("key")),
        "{opened:?}"
    );
    assert!(is_held_back(&cluster.events()));
}

#[tokio::test]
async fn an_assertion_that_one_broker_took_is_taken_by_no_other() {
    let cluster = Cluster::of(2).await;
    let [first, second] = &cluster.brokers[..] else {
        panic!()
    };
    first.open_with(1).await.unwrap();
    // The second has not heard of it, and finds out when it appends; then it knows.
    for _ in 0..2 {
        let replayed = second.open_with(1).await;
        assert!(matches!(replayed, Err(BrokerError::Replay)), "{replayed:?}");
    }
    second.ledger.follow();
    let replayed = second.open_with(1).await;
    assert!(matches!(replayed, Err(BrokerError::Replay)), "{replayed:?}");
    second.open_with(2).await.unwrap();
}
