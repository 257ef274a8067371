//! Changes: retried on a conflict, by the state as it is then, and given up after too many.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{
    BrokerError, Caller,
    change::{Decided, View},
    domain::event::{LedgerEvent, Subject},
    ledger::{Ledger as _, memory::Step},
    several::cluster::{Cluster, agent},
};
use hallpass_core::base::ids::StewardId;

const CONFLICT: Step = Step {
    yields_before: 0,
    conflicts: true,
    yields_after: 0,
};

fn steward(number: u64) -> LedgerEvent {
    let steward: StewardId = format!("stw_{number:032x}").parse().unwrap();
    LedgerEvent::StewardAdded { steward }
}

#[tokio::test]
async fn a_change_that_another_broker_overtook_decides_again_by_the_state_as_it_is_then() {
    let cluster = Cluster::of(2).await;
    let [first, second] = &cluster.brokers[..] else {
        panic!()
    };
    let caller = Caller::broker();
    let added =
        |view: &View<'_>| Ok::<_, BrokerError>(Decided::record(view.now(), vec![steward(2)], ()));
    first.changes.in_turn(&caller, added).await.unwrap();
    // The second broker has not seen it, and is not notified before it appends.
    let mut seen = Vec::new();
    let decide = |view: &View<'_>| {
        let known = view.state().stewards.len();
        seen.push((known, view.state().last_sequence()));
        let number = u64::try_from(known).unwrap();
        Ok::<_, BrokerError>(Decided::record(
            view.now(),
            vec![steward(10 + number)],
            known,
        ))
    };
    let done = second.changes.in_turn(&caller, decide).await.unwrap();
    let head = first.ledger.head().sequence;
    assert_eq!((done.value, seen), (2, vec![(1, head - 2), (2, head - 1)]));
    assert_eq!(cluster.events().last(), Some(&steward(12)));
    assert_eq!(done.receipt.unwrap().sequence(), head);
    let states = cluster.states();
    assert_eq!(states[0], states[1]);
}

#[tokio::test]
async fn a_change_is_given_up_when_others_are_first_time_after_time() {
    let cluster = Cluster::of(1).await;
    let member = &cluster.brokers[0];
    let (decided, before) = (AtomicUsize::new(0), cluster.events().len());
    let decide = |view: &View<'_>| {
        decided.fetch_add(1, Ordering::SeqCst);
        Ok::<_, BrokerError>(Decided::record(view.now(), vec![steward(3)], ()))
    };
    member.ledger.plan([CONFLICT; 15]);
    let caller = Caller::broker();
    member.changes.in_turn(&caller, decide).await.unwrap();
    assert_eq!(decided.swap(0, Ordering::SeqCst), 16);
    member.ledger.plan([CONFLICT; 16]);
    let refused = member.changes.beside_others(&caller, decide).await;
    assert!(matches!(refused, Err(BrokerError::Contended)));
    assert_eq!(decided.load(Ordering::SeqCst), 16);
    assert_eq!(cluster.events().len(), before + 1);
}

#[tokio::test]
async fn a_decision_that_refuses_after_a_conflict_records_nothing() {
    let cluster = Cluster::of(1).await;
    let member = &cluster.brokers[0];
    let before = cluster.events().len();
    member.ledger.plan([CONFLICT]);
    let mut is_first = true;
    let decide = |view: &View<'_>| {
        if std::mem::replace(&mut is_first, false) {
            return Ok(Decided::record(view.now(), vec![steward(3)], ()));
        }
        Err(BrokerError::Conflict("no more".to_owned()))
    };
    let refused = member.changes.in_turn(&Caller::broker(), decide).await;
    assert!(matches!(refused, Err(BrokerError::Conflict(_))));
    assert_eq!(cluster.events().len(), before);
}

#[tokio::test]
async fn appends_of_one_broker_do_not_conflict_with_one_another() {
    let cluster = Cluster::of(1).await;
    let member = &cluster.brokers[0];
    let slow = Step {
        yields_before: 3,
        ..Step::default()
    };
    member.ledger.plan([slow, Step::default()]);
    let decided = AtomicUsize::new(0);
    let change = async |number: u64| {
        let decide = |view: &View<'_>| {
            decided.fetch_add(1, Ordering::SeqCst);
            Ok::<_, BrokerError>(Decided::record(view.now(), vec![steward(number)], ()))
        };
        let caller = Caller::broker();
        let done = member.changes.beside_others(&caller, decide).await;
        done.unwrap();
    };
    tokio::join!(change(5), change(6));
    assert_eq!(decided.load(Ordering::SeqCst), 2);
    let events = cluster.events();
    assert_eq!(events[events.len() - 2..], [steward(6), steward(5)]);
}

#[tokio::test]
async fn changes_in_turn_see_one_another_and_those_beside_others_do_not_wait() {
    let cluster = Cluster::of(1).await;
    let member = &cluster.brokers[0];
    let slow = Step {
        yields_before: 5,
        ..Step::default()
    };
    member.ledger.plan([slow; 3]);
    let known = |view: &View<'_>| view.state().stewards.len();
    let in_turn = async |number: u64| {
        let decide = |view: &View<'_>| {
            let known = known(view);
            Ok::<_, BrokerError>(Decided::record(view.now(), vec![steward(number)], known))
        };
        let done = member.changes.in_turn(&Caller::broker(), decide).await;
        done.unwrap().value
    };
    let beside = async {
        let look = |view: &View<'_>| {
            let known = known(view);
            Ok::<_, BrokerError>(Decided::record(view.now(), vec![steward(9)], known))
        };
        let done = member.changes.beside_others(&Caller::broker(), look).await;
        done.unwrap().value
    };
    assert_eq!(tokio::join!(in_turn(7), in_turn(8), beside), (1, 3, 1));
}

#[tokio::test]
async fn a_revocation_is_before_all_other_changes_that_wait_for_their_turn() {
    let cluster = Cluster::of(1).await;
    let member = &cluster.brokers[0];
    let before = cluster.events().len();
    let slow = Step {
        yields_before: 3,
        ..Step::default()
    };
    member.ledger.plan([slow; 8]);
    let add = async |number: u64| {
        let decide = |view: &View<'_>| {
            Ok::<_, BrokerError>(Decided::record(view.now(), vec![steward(number)], ()))
        };
        let caller = Caller::broker();
        let done = member.changes.in_turn(&caller, decide).await;
        done.unwrap();
    };
    let revoke = async { member.revoke(Subject::Agent(agent())).await.unwrap() };
    tokio::join!(add(20), add(21), add(22), add(23), add(24), revoke);
    let events = cluster.events();
    let at = events[before..]
        .iter()
        .position(|event| matches!(event, LedgerEvent::Revoked { .. }));
    // After the one that had the turn, and one that stood for it.
    assert!(at.is_some_and(|at| at <= 2), "{at:?}");
    assert_eq!(events.len() - before, 6);
}
