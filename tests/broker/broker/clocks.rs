//! A machine's clock that is wrong for a while.

use hallpass_broker::{ClockFault, StartError};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_clock_that_is_an_hour_ahead_for_a_while_is_not_believed_and_leaves_no_trace() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let right = fixture.clock.now();
    fixture.clock.set(right.plus(HOUR));
    assert_eq!(broker.clock_fault(), Some(ClockFault::JumpedAhead(HOUR)));
    let meanwhile = open_task(&broker, &["read_ledger"]).await.unwrap();
    assert!(meanwhile.record.expires_at < right.plus(HOUR));
    fixture.clock.set(right);
    assert_eq!(broker.clock_fault(), None);
    assert_eq!(broker.now(), right);
    // A verifier with a clock that was right all the time takes the pass.
    assert_eq!(codes(&fixture.verifier(&broker), &meanwhile), []);
    drop(broker);
    let broker = fixture.open().await;
    assert_eq!(broker.now(), right);
}

#[tokio::test]
async fn what_was_recorded_ahead_of_time_is_said_at_the_next_start() {
    let fixture = BrokerFiles::new();
    let right = fixture.clock.now();
    fixture.clock.set(right.plus(HOUR));
    drop(fixture.with_registrations().await);
    fixture.clock.set(right);
    let broker = fixture.open().await;
    let fault = broker.clock_fault();
    assert_eq!(fault, Some(ClockFault::BehindRecords(HOUR)));
    fixture.clock.advance(HOUR);
    assert_eq!(broker.clock_fault(), None);
}

#[tokio::test]
async fn a_start_with_a_clock_that_is_years_ahead_is_refused_and_changes_nothing() {
    let fixture = BrokerFiles::new();
    drop(fixture.with_registrations().await);
    let right = fixture.clock.now();
    fixture.clock.set(right.plus(24 * 365 * HOUR));
    let refused = Broker::open(fixture.options(), fixture.clock.clone()).await;
    let error = refused.err().unwrap();
    assert!(
        matches!(error, StartError::Clock { last, .. } if last == right),
        "{error}"
    );
    fixture.clock.set(right);
    let broker = fixture.open().await;
    assert_eq!((broker.now(), broker.clock_fault()), (right, None));
    drop(broker);
    fixture.clock.set(right.plus(24 * 365 * HOUR));
    let options = Options {
        accept_clock: true,
        ..fixture.options()
    };
    let opened = Broker::open(options, fixture.clock.clone()).await.unwrap();
    assert_eq!(opened.broker.clock_fault(), None);
}
