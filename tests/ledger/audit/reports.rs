//! Reports: what is folded from records, and that no text in them passes for anything else.

use std::collections::BTreeSet;

use hallpass_broker::{
    domain::{
        event::{Entry, LedgerEvent, RecordedGrant, RecordedReason, Subject},
        parent::ParentPass,
        subjects::Subjects,
    },
    ledger::{
        audit::{self, AuditEvent, LiveRow, Reach, Refusals},
        file::{LinePlace, Record},
    },
};
use hallpass_core::base::{ReasonCode, time::Timestamp};
use proptest::prelude::*;
use serde_json::Value;

use support::records::{at, block, delegated, entry, id, issued, opened, refused, revoked};

const SERVER: &str = "https://a.example/mcp";

fn record(sequence: u64, second: u64, mut entry: Entry) -> Record {
    entry.at = at(second);
    let [prev, hash] =
        [sequence - 1, sequence].map(|n| hallpass_core::base::digest::Digest::of(&n.to_be_bytes()));
    Record {
        sequence,
        prev,
        hash,
        place: LinePlace {
            segment: 1,
            offset: 0,
        },
        entry,
    }
}

/// As the index would tell: tasks below 10 are the bot's, for the steward of the task's number.
fn subjects(entry: &Entry) -> Subjects {
    let mut subjects = Subjects::of(entry);
    let tasks: Vec<_> = subjects.tasks.iter().cloned().collect();
    for task in (1..10).filter(|task| tasks.contains(&id("tsk", *task))) {
        subjects.agents.insert("bot".parse().unwrap());
        subjects.stewards.insert(id("stw", task));
    }
    subjects
}

fn granted(task: u64, token: u64, server: &str, grants: &[(&str, &str)]) -> Entry {
    let mut entry = issued(task, token, server);
    if let LedgerEvent::TokenIssued { token, .. } = &mut entry.event {
        token.decided_by = grants
            .iter()
            .map(|(right, grant)| RecordedGrant {
                right: (*right).to_owned(),
                server: server.parse().unwrap(),
                grant: grant.parse().unwrap(),
                file: "a.toml".to_owned(),
            })
            .collect();
    }
    entry
}

fn pass(task: u64, token: u64) -> Entry {
    granted(task, token, SERVER, &[("tool read_ledger", "reads")])
}

#[test]
fn activity_names_the_grant_of_each_right_the_reason_of_each_refusal_and_each_hop() {
    let rows = |entry: Entry| audit::activity(&record(7, 5, entry.clone()), &subjects(&entry));
    let issued = rows(granted(
        3,
        9,
        SERVER,
        &[("tool read_ledger", "reads"), ("prompt summary", "prompts")],
    ));
    let told: Vec<_> = issued
        .iter()
        .map(|row| {
            (
                row.right.as_deref().unwrap(),
                row.grant.as_ref().unwrap().as_str(),
                row.server.as_ref().unwrap().as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("tool read_ledger", "reads", SERVER),
            ("prompt summary", "prompts", SERVER)
        ]
    );
    for row in &issued {
        assert_eq!(
            (row.seq, row.at, row.event.as_str()),
            (7, at(5), "token_issued")
        );
        assert_eq!(
            (row.agent.as_ref().unwrap().as_str(), &row.steward),
            ("bot", &Some(id("stw", 3)))
        );
        assert_eq!(row.token, Some(block(9)));
    }
    let mut refusal = refused("bot", Some(3), "no grant");
    if let LedgerEvent::RequestRefused { reasons, .. } = &mut refusal.event {
        reasons.push(RecordedReason {
            code: ReasonCode::Suspended,
            detail: "the steward".to_owned(),
        });
    }
    let details: Vec<_> = rows(refusal).into_iter().map(|row| row.detail).collect();
    assert_eq!(details, ["no_grant: no grant", "suspended: the steward"]);
    let hop = rows(delegated(3, &[9, 10], "scout"));
    assert_eq!(
        (hop[0].delegate.as_deref(), hop[0].token),
        (Some("scout"), Some(block(10)))
    );
    assert_eq!(rows(opened(3, "bot", 3, "count")).len(), 1);
}

/// The tokens that reach the tool at `second`, after these entries, one a second.
fn reaching(second: u64, entries: &[Entry]) -> Vec<u64> {
    let mut reach = Reach::new(
        SERVER.parse().unwrap(),
        "read_ledger".parse().unwrap(),
        at(second),
    );
    for (number, entry) in (1..).zip(entries) {
        let record = record(number, number, entry.clone());
        reach.take(&record, &subjects(&record.entry));
    }
    let last = |token: &hallpass_core::base::ids::RevocationId| {
        u64::from(*token.as_bytes().last().unwrap())
    };
    reach.rows().map(|row| last(&row.token)).collect()
}

#[test]
fn reach_is_what_was_issued_alive_and_not_revoked_at_that_time() {
    let passes = [
        pass(1, 1),
        pass(2, 2),
        granted(1, 3, "https://b.example/mcp", &[]),
    ];
    assert_eq!(reaching(10, &passes), [1, 2]);
    assert_eq!(reaching(1, &passes), [1], "the second was issued later");
    assert_eq!(reaching(0, &passes), [0; 0]);
    assert_eq!(reaching(600, &passes), [0; 0], "they end then");
    assert_eq!(reaching(599, &passes), [1, 2]);
    let completed = entry(LedgerEvent::TaskCompleted {
        task: id("tsk", 1),
        passes_end: at(600),
    });
    for (end, left) in [
        (revoked(Subject::RevocationId(block(1))), vec![2]),
        (revoked(Subject::RevocationId(block(99))), vec![1, 2]),
        (revoked(Subject::Task(id("tsk", 2))), vec![1]),
        (revoked(Subject::Agent("bot".parse().unwrap())), vec![]),
        (
            revoked(Subject::Agent("scout".parse().unwrap())),
            vec![1, 2],
        ),
        (revoked(Subject::Steward(id("stw", 1))), vec![2]),
        (revoked(Subject::Server(SERVER.parse().unwrap())), vec![]),
        (
            revoked(Subject::Server("https://b.example/mcp".parse().unwrap())),
            vec![1, 2],
        ),
        (
            revoked(Subject::Key(hallpass_core::base::ids::KeyId(1))),
            vec![],
        ),
        (
            revoked(Subject::Key(hallpass_core::base::ids::KeyId(2))),
            vec![1, 2],
        ),
        (completed, vec![2]),
    ] {
        let entries = [&passes[..], std::slice::from_ref(&end)].concat();
        assert_eq!(reaching(10, &entries), left, "{end:?}");
        assert_eq!(reaching(3, &entries), [1, 2], "before it was recorded");
        let again = [&entries[..], &[pass(5, 5)]].concat();
        assert_eq!(
            reaching(10, &again),
            [&left[..], &[5]].concat(),
            "what is issued later is not reached"
        );
    }
}

#[test]
fn what_came_of_a_pass_by_exchange_is_reached_as_long_as_the_pass_lives() {
    let child = |task: u64, parent: u64| {
        let mut opened = opened(task, "helper", 2, "help");
        let LedgerEvent::TaskOpened { task } = &mut opened.event else {
            panic!("{opened:?}")
        };
        task.parent = Some(ParentPass {
            task: id("tsk", parent),
            agent: "bot".parse().unwrap(),
            steward: id("stw", 1),
            key: hallpass_core::base::ids::KeyId(7),
            holders: Vec::new(),
            delegates: BTreeSet::from(["courier".parse().unwrap()]),
            answered_for_by: BTreeSet::from([id("stw", 8)]),
            blocks: vec![block(parent), block(90 + parent)],
            limits: Vec::new(),
        });
        opened
    };
    // Pass 3 came of task 1, and 4 of that; pass 5 of task 2.
    let passes = [
        pass(1, 1),
        pass(2, 2),
        child(3, 1),
        pass(3, 3),
        child(4, 3),
        pass(4, 4),
        child(5, 2),
        pass(5, 5),
    ];
    assert_eq!(reaching(20, &passes), [1, 2, 3, 4, 5]);
    for (end, left) in [
        (
            entry(LedgerEvent::TaskCompleted {
                task: id("tsk", 1),
                passes_end: at(600),
            }),
            vec![2, 5],
        ),
        (
            entry(LedgerEvent::TaskCompleted {
                task: id("tsk", 3),
                passes_end: at(600),
            }),
            vec![1, 2, 5],
        ),
        (revoked(Subject::RevocationId(block(1))), vec![2, 5]),
        (revoked(Subject::RevocationId(block(91))), vec![1, 2, 5]),
        (revoked(Subject::Task(id("tsk", 2))), vec![1, 3, 4]),
        (
            revoked(Subject::Key(hallpass_core::base::ids::KeyId(7))),
            vec![1, 2],
        ),
        // Through whom the passes went, and who answered for those.
        (
            revoked(Subject::Agent("courier".parse().unwrap())),
            vec![1, 2],
        ),
        (revoked(Subject::Steward(id("stw", 8))), vec![1, 2]),
        (
            revoked(Subject::RevocationId(block(99))),
            vec![1, 2, 3, 4, 5],
        ),
    ] {
        let entries = [&passes[..], std::slice::from_ref(&end)].concat();
        assert_eq!(reaching(20, &entries), left, "{end:?}");
    }
}

#[test]
fn a_pass_on_anothers_behalf_is_reached_until_who_answers_for_its_agent_is_revoked() {
    let mut opened = opened(1, "bot", 1, "help");
    let LedgerEvent::TaskOpened { task } = &mut opened.event else {
        panic!("{opened:?}")
    };
    task.answered_for_by = Some(id("stw", 8));
    let entries = [opened, pass(1, 1), pass(2, 2)];
    assert_eq!(reaching(20, &entries), [1, 2]);
    let end = revoked(Subject::Steward(id("stw", 8)));
    assert_eq!(reaching(20, &[&entries[..], &[end]].concat()), [2]);
}

#[test]
fn reach_tells_of_delegates_until_their_block_is_revoked() {
    let entries = [
        pass(1, 1),
        delegated(1, &[1, 7], "scout"),
        delegated(1, &[1, 8], "helper"),
    ];
    let delegates = |entries: &[Entry]| {
        let mut reach = Reach::new(
            SERVER.parse().unwrap(),
            "read_ledger".parse().unwrap(),
            at(100),
        );
        for (number, entry) in (1..).zip(entries) {
            reach.take(&record(number, number, entry.clone()), &subjects(entry));
        }
        let row = reach.rows().next().unwrap();
        assert_eq!(
            (row.grant.unwrap().as_str(), row.agent.unwrap().as_str()),
            ("reads", "bot")
        );
        row.delegates
    };
    assert_eq!(delegates(&entries), ["helper", "scout"]);
    let entries = [&entries[..], &[revoked(Subject::RevocationId(block(7)))]].concat();
    assert_eq!(delegates(&entries), ["helper"]);
}

#[test]
fn refusals_are_counted_by_reason_and_agent() {
    let mut refusals = Refusals::default();
    let mut twice = refused("bot", None, "first");
    if let LedgerEvent::RequestRefused { reasons, .. } = &mut twice.event {
        reasons.push(RecordedReason {
            code: ReasonCode::NoGrant,
            detail: "second".to_owned(),
        });
    }
    for (number, entry) in (1..).zip([
        twice,
        pass(1, 1),
        refused("scout", None, "x"),
        refused("bot", None, "third"),
    ]) {
        refusals.take(&record(number, number, entry));
    }
    let rows: Vec<_> = refusals
        .rows()
        .map(|row| {
            (
                row.agent.to_string(),
                row.count,
                row.first,
                row.last,
                row.detail,
            )
        })
        .collect();
    let told = |agent: &str, count, first, last, detail: &str| {
        (
            agent.to_owned(),
            count,
            at(first),
            at(last),
            detail.to_owned(),
        )
    };
    assert_eq!(
        rows,
        [told("bot", 2, 1, 4, "third"), told("scout", 1, 3, 3, "x")]
    );
}

#[test]
fn access_is_what_live_passes_allow() {
    let LedgerEvent::AgentSet { agent } = support::records::agent_entry(Value::Null).event else {
        panic!()
    };
    let tokens: Vec<_> = [
        pass(1, 1),
        granted(
            1,
            2,
            SERVER,
            &[("tool read_ledger", "reads"), ("tool transfer", "pays")],
        ),
    ]
    .into_iter()
    .map(|entry| {
        if let LedgerEvent::TokenIssued { token, .. } = entry.event {
            token
        } else {
            panic!()
        }
    })
    .collect();
    let row = LiveRow::new(&agent, &tokens);
    assert_eq!(
        (row.live_passes, row.passes_end, row.last_issued),
        (2, Some(at(600)), Some(at(0)))
    );
    assert_eq!(
        row.rights,
        [
            format!("tool read_ledger on {SERVER}"),
            format!("tool transfer on {SERVER}")
        ]
    );
    assert_eq!(
        row.grants
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["pays", "reads"]
    );
    let none = LiveRow::new(&agent, []);
    assert_eq!((none.live_passes, none.last_issued), (0, None::<Timestamp>));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn one_event_is_one_line_whatever_it_holds(text in hostile()) {
        let record = record(1, 1, opened(1, "bot", 1, &text));
        let event = AuditEvent::new(&record, &subjects(&record.entry));
        let line = event.to_line();
        prop_assert_eq!(line.lines().count(), 1);
        prop_assert!(!line.contains(is_unsafe), "{line:?}");
        let read: AuditEvent = serde_json::from_str(&line).unwrap();
        prop_assert!(read.detail.starts_with(&text) && read == event);
        let rows = audit::activity(&record, &subjects(&record.entry));
        let sheet = audit::csv(rows.iter().map(|row| vec![row.detail.clone(), text.clone()]));
        prop_assert_eq!(sheet.lines().count(), 1);
        prop_assert!(!sheet.trim_end_matches('\n').contains(is_unsafe), "{sheet:?}");
        let mut cells = csv::ReaderBuilder::new().has_headers(false).from_reader(sheet.as_bytes());
        for cell in cells.records().flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>()) {
            prop_assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell:?}");
        }
    }
}

/// Texts as somebody would write them who wants to be taken for something else.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r\n",
        "\n{\"seq\":9}",
        "\u{2028}",
        "\u{2029}",
        "\u{85}",
        "\u{1b}[2J\u{1b}[31m",
        "\u{9b}31m",
        "\u{202e}txt.exe",
        "\u{feff}",
        "\u{200b}",
        "\0",
        "\"",
        "\\",
        "\\ud800",
        ",",
        "until",
        "\u{e0041}",
        "é",
        "\u{10ffff}",
    ]);
    prop_oneof![
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat()),
        any::<String>()
    ]
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{feff}' | '\u{200b}'
        )
}

#[test]
fn a_lone_surrogate_never_enters() {
    for text in [r#"{"purpose":"\ud800"}"#, r#"{"purpose":"a\udc00b"}"#] {
        assert!(
            hallpass_core::base::json::parse(text.as_bytes(), 1000).is_err(),
            "{text}"
        );
    }
}
