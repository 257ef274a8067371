//! Any interleaving of what two brokers do on one ledger, with conflicts at any time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::{
    BrokerError, Issued, State,
    domain::{
        eligibility::{refuse_suspended, subjects},
        event::{KeyPurpose, KeyState, LedgerEvent, Subject},
    },
    ledger::memory::Step,
    several::cluster::{Cluster, Member, agent, server, steward},
};
use hallpass_core::base::ids::{KeyId, RevocationId, TaskId};

/// Something that one of the brokers is asked to do.
#[derive(Debug, Clone)]
enum Do {
    Open,
    /// With assertion number so many, which may have been used.
    Prove(usize),
    RotateRoot,
    Renew(usize),
    Complete(usize),
    Revoke(What),
    Reinstate(What),
}

#[derive(Debug, Clone, Copy)]
enum What {
    Agent,
    Steward,
    Server,
    Task(usize),
    Token(usize),
    RootKey(u32),
}

/// What became of it.
#[derive(Debug)]
enum Became {
    Issued(Box<Issued>),
    Recorded,
    Refused(BrokerError),
}

/// What was minted so far, to be named by number.
#[derive(Debug, Default)]
struct Known {
    tasks: Vec<TaskId>,
    tokens: Vec<RevocationId>,
}

impl What {
    fn subject(self, known: &Known) -> Option<Subject> {
        let pick = |at: usize, count: usize| at.checked_rem(count);
        Some(match self {
            Self::Agent => Subject::Agent(agent()),
            Self::Steward => Subject::Steward(steward()),
            Self::Server => Subject::Server(server()),
            Self::Task(at) => Subject::Task(known.tasks[pick(at, known.tasks.len())?].clone()),
            Self::Token(at) => Subject::RevocationId(known.tokens[pick(at, known.tokens.len())?]),
            Self::RootKey(id) => Subject::Key(KeyId(id)),
        })
    }
}

async fn perform(member: &Member, work: &Do, known: &Known) -> Option<Became> {
    let task = |at: usize| Some(&known.tasks[at.checked_rem(known.tasks.len())?]);
    let issued = |issued: Result<Issued, BrokerError>| match issued {
        Ok(issued) => Became::Issued(Box::new(issued)),
        Err(error) => Became::Refused(error),
    };
    let recorded = |done: Result<(), BrokerError>| match done {
        Ok(()) => Became::Recorded,
        Err(error) => Became::Refused(error),
    };
    Some(match work {
        Do::Open => issued(member.open().await),
        Do::Prove(number) => issued(member.open_with(*number).await),
        Do::RotateRoot => recorded(member.rotate_root().await),
        Do::Renew(at) => issued(member.renew(task(*at)?).await),
        Do::Complete(at) => recorded(member.complete(task(*at)?).await),
        Do::Revoke(what) => recorded(member.revoke(what.subject(known)?).await),
        Do::Reinstate(what) => recorded(member.reinstate(what.subject(known)?).await),
    })
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        Just(What::Agent),
        Just(What::Steward),
        Just(What::Server),
        (0..8_usize).prop_map(What::Task),
        (0..8_usize).prop_map(What::Token),
        (1..5_u32).prop_map(What::RootKey),
    ]
}

fn work() -> impl Strategy<Value = Do> {
    let suspended = prop_oneof![Just(What::Agent), Just(What::Steward), Just(What::Server)];
    prop_oneof![
        4 => Just(Do::Open),
        2 => (0..3_usize).prop_map(Do::Prove),
        3 => (0..8_usize).prop_map(Do::Renew),
        2 => (0..3_usize).prop_map(Do::Complete),
        1 => Just(Do::RotateRoot),
        2 => what().prop_map(Do::Revoke),
        3 => suspended.prop_map(Do::Reinstate),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    (0..4_u8, prop::bool::weighted(0.2), 0..4_u8).prop_map(
        |(yields_before, conflicts, yields_after)| Step {
            yields_before,
            conflicts,
            yields_after,
        },
    )
}

/// What is done at once: each by one of the two brokers.
fn round() -> impl Strategy<Value = Vec<(usize, Do)>> {
    prop::collection::vec((0..2_usize, work()), 1..4)
}

async fn all_at_once(cluster: &Cluster, round: &[(usize, Do)], known: &Known) -> Vec<Became> {
    let mut jobs: Vec<_> = round
        .iter()
        .map(|(by, work)| {
            // One broker makes keys. Two would write different keys under one name, of which the store keeps the last.
            let by = if matches!(work, Do::RotateRoot) {
                0
            } else {
                *by
            };
            Box::pin(perform(&cluster.brokers[by], work, known))
        })
        .collect();
    let mut done: Vec<Option<Option<Became>>> = jobs.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (job, done) in jobs.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(became) = job.as_mut().poll(context)
            {
                *done = Some(became);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().flatten().collect()
}

/// Whether a refusal can have a cause among these: what was suspended, ended, unknown to that broker or not revoked.
fn is_right(refused: &BrokerError) -> bool {
    matches!(
        refused,
        BrokerError::Suspended(_)
            | BrokerError::TaskEnded(_)
            | BrokerError::NotFound(_)
            | BrokerError::Conflict(_)
            | BrokerError::Replay
    )
}

/// No pass left that was dead where it stands among the records, and each that left is reached by what came later.
fn check_passes(cluster: &Cluster, released: &BTreeMap<RevocationId, Issued>) {
    let mut state = State::default();
    let mut minted: BTreeMap<RevocationId, u64> = BTreeMap::new();
    for record in cluster.log.records() {
        if let LedgerEvent::TokenIssued { task, token } = &record.entry.event {
            assert!(
                minted
                    .insert(token.revocation_id, record.sequence)
                    .is_none(),
                "a pass was recorded twice"
            );
            if let Some(issued) = released.get(&token.revocation_id) {
                assert!(
                    state.may_sign(KeyPurpose::Root, token.key),
                    "a pass left by a key that was revoked"
                );
                let live = state.task(task).unwrap();
                assert_eq!(live.end, None, "a pass left in a task that had ended");
                let agent = state.agent(&agent()).unwrap();
                for subject in subjects(agent, &issued.task, &token.rights) {
                    refuse_suspended(&state, &subject).unwrap();
                    let cut_off = state.cut_off(&subject);
                    assert!(
                        cut_off.is_none_or(|cut_off| token.issued_at > cut_off),
                        "a pass left that a cut-off had killed"
                    );
                }
            }
        }
        if let LedgerEvent::Revoked { revocation } = &record.entry.event {
            let _ = state.apply(&record);
            let reaches_all = matches!(
                revocation.subject,
                Subject::Agent(_) | Subject::Steward(_) | Subject::Server(_)
            );
            for issued in released.values().filter(|_| reaches_all) {
                if minted.contains_key(&issued.record.revocation_id) {
                    let cut_off = state.cut_off(&revocation.subject).unwrap();
                    assert!(
                        issued.record.issued_at <= cut_off,
                        "a pass survived a revocation that was recorded after it"
                    );
                }
            }
            continue;
        }
        let _ = state.apply(&record);
    }
    for id in released.keys() {
        assert!(minted.contains_key(id), "a pass left without a record");
    }
}

/// Everything that was answered was recorded once, and nothing else.
fn check_records(cluster: &Cluster, became: &[Became]) {
    let events = cluster.events();
    let count = |of: fn(&LedgerEvent) -> bool| events.iter().filter(|event| of(event)).count();
    let opened: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            LedgerEvent::TaskOpened { task } => Some(task.task.clone()),
            _ => None,
        })
        .collect();
    let distinct: BTreeSet<_> = opened.iter().collect();
    assert_eq!(distinct.len(), opened.len(), "a task was opened twice");
    let completed: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            LedgerEvent::TaskCompleted { task, .. } => Some(task.clone()),
            _ => None,
        })
        .collect();
    let distinct: BTreeSet<_> = completed.iter().collect();
    assert_eq!(
        distinct.len(),
        completed.len(),
        "a task was completed twice"
    );
    let used: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            LedgerEvent::AssertionUsed { jti, .. } => Some(*jti),
            _ => None,
        })
        .collect();
    let distinct: BTreeSet<_> = used.iter().collect();
    assert_eq!(distinct.len(), used.len(), "an assertion was used twice");
    let issued = became
        .iter()
        .filter(|became| matches!(became, Became::Issued(_)))
        .count();
    let minted = count(|event| matches!(event, LedgerEvent::TokenIssued { .. }));
    let refused = count(|event| matches!(event, LedgerEvent::RequestRefused { .. }));
    // A pass that was held back is followed by its refusal.
    assert!((issued..=issued + refused).contains(&minted));
    let recorded = became
        .iter()
        .filter(|became| matches!(became, Became::Recorded))
        .count();
    let revoked = count(|event| matches!(event, LedgerEvent::Revoked { .. }));
    let rotated = count(|event| {
        matches!(
            event,
            LedgerEvent::KeyChanged {
                state: KeyState::Pending,
                ..
            }
        )
    });
    let reinstated = count(|event| matches!(event, LedgerEvent::Reinstated { .. }));
    // Completing twice is completing once.
    assert!(recorded >= revoked + reinstated + completed.len() + rotated);
}

async fn interleave(rounds: &[Vec<(usize, Do)>], steps: &[Vec<Step>; 2]) {
    let cluster = Cluster::of(2).await;
    for (member, steps) in cluster.brokers.iter().zip(steps) {
        member.ledger.plan(steps.iter().copied());
    }
    let (mut known, mut all) = (Known::default(), Vec::new());
    let mut released = BTreeMap::new();
    for round in rounds {
        let became = all_at_once(&cluster, round, &known).await;
        for became in &became {
            match became {
                Became::Issued(issued) => {
                    if !known.tasks.contains(&issued.task.task) {
                        known.tasks.push(issued.task.task.clone());
                    }
                    known.tokens.push(issued.record.revocation_id);
                }
                Became::Recorded => {}
                Became::Refused(error) => assert!(is_right(error), "{error:?}"),
            }
        }
        all.extend(became);
        cluster.clock.advance(std::time::Duration::from_millis(300));
    }
    check_records(&cluster, &all);
    for became in all {
        if let Became::Issued(issued) = became {
            let before = released.insert(issued.record.revocation_id, *issued);
            assert!(before.is_none(), "a pass left twice");
        }
    }
    check_passes(&cluster, &released);
    let states = cluster.states();
    assert_eq!(states[0], states[1], "the states of the brokers differ");
    let mut folded = State::default();
    for record in cluster.log.records() {
        let _ = folded.apply(&record);
    }
    assert_eq!(serde_json::to_value(&folded).unwrap(), states[0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_brokers_of_one_ledger_agree_and_neither_mints_what_the_other_revoked(
        rounds in prop::collection::vec(round(), 1..12),
        first in prop::collection::vec(step(), 0..60),
        second in prop::collection::vec(step(), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(interleave(&rounds, &[first, second]));
    }
}
