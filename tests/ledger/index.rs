//! The index and the audit trail: the same answers as the journal gives, however the index came to be.

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use hallpass_broker::{
    domain::{
        event::{Entry, LedgerEvent, Subject},
        subjects::Subjects,
    },
    ledger::{
        audit::{AuditEvent, Trail},
        file::{Journal, Options, Record},
        views::{Carried, Filter, Index, IndexError, Order, Trouble, Views, Window},
    },
};
use hallpass_core::base::{digest::Digest, time::Timestamp};
use proptest::prelude::*;
use tempfile::TempDir;

use support::records::AppendBlocking as _;
use support::records::{
    any_entry, at, block, delegated, id, issued, note, opened, refused, revoked,
};

/// Journal and index wired as the broker does it.
fn open(
    dir: &Path,
) -> (
    Journal,
    Arc<Index>,
    hallpass_broker::ledger::views::Recovery,
) {
    open_with(dir, Options::default())
}

fn open_with(
    dir: &Path,
    options: Options,
) -> (
    Journal,
    Arc<Index>,
    hallpass_broker::ledger::views::Recovery,
) {
    let (recovered, _) = <Journal>::open(dir, options, |_| {}).unwrap();
    let (index, recovery) = Index::open(dir, &recovered.reader()).unwrap();
    let index = Arc::new(index);
    let applied = Arc::clone(&index);
    let journal = recovered
        .start(Box::new(move |records| applied.apply(records).unwrap()))
        .unwrap();
    (journal, index, recovery)
}

fn segments_of(bytes: u64) -> Options {
    Options {
        segment_bytes: bytes,
        ..Options::default()
    }
}

fn window(order: Order, after: Option<u64>, limit: usize) -> Window {
    Window {
        order,
        after,
        limit,
    }
}

fn written(entries: Vec<Entry>) -> TempDir {
    let dir = TempDir::new().unwrap();
    let (journal, ..) = open(dir.path());
    journal.append_blocking(entries).unwrap();
    drop(journal);
    dir
}

/// As many records as a chunk of the index holds, and more.
fn long_story() -> Vec<Entry> {
    (0..300).map(note).collect()
}

fn story() -> Vec<Entry> {
    vec![
        opened(1, "bot", 1, "pay the bills"),
        Entry {
            idempotency: Some(Digest::of(b"key")),
            ..issued(1, 10, "https://a.example/mcp")
        },
        opened(2, "scout", 1, "look around"),
        issued(2, 20, "https://b.example/mcp"),
        delegated(1, &[10, 11], "helper"),
        Entry {
            at: at(50),
            ..revoked(Subject::RevocationId(block(11)))
        },
        issued(1, 12, "https://b.example/mcp"),
    ]
}

#[test]
fn events_are_found_by_what_they_are_about_even_when_they_only_name_a_token() {
    let dir = written(story());
    let (_journal, index, _) = open(dir.path());
    let find = |filter: Filter| {
        index
            .query(&filter, window(Order::OldestFirst, None, 100))
            .unwrap()
    };
    assert_eq!(find(Filter::default()), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(
        find(Filter {
            agent: "bot".parse().ok(),
            ..Filter::default()
        }),
        [1, 2, 5, 6, 7]
    );
    assert_eq!(
        find(Filter {
            steward: Some(id("stw", 1)),
            ..Filter::default()
        }),
        [1, 2, 3, 4, 5, 6, 7]
    );
    assert_eq!(
        find(Filter {
            task: Some(id("tsk", 2)),
            ..Filter::default()
        }),
        [3, 4]
    );
    let server = "https://b.example/mcp".parse().ok();
    assert_eq!(
        find(Filter {
            server: server.clone(),
            ..Filter::default()
        }),
        [4, 7]
    );
    assert_eq!(
        find(Filter {
            server,
            agent: "bot".parse().ok(),
            ..Filter::default()
        }),
        [7]
    );
    assert_eq!(
        find(Filter {
            from: Some(at(1)),
            ..Filter::default()
        }),
        [6]
    );
    assert_eq!(
        find(Filter {
            to: Some(at(50)),
            task: Some(id("tsk", 1)),
            ..Filter::default()
        }),
        [1, 2, 5, 7]
    );
    assert!(
        find(Filter {
            from: Some(at(9)),
            to: Some(at(9)),
            ..Filter::default()
        })
        .is_empty()
    );
    assert!(
        find(Filter {
            agent: "bo".parse().ok(),
            ..Filter::default()
        })
        .is_empty()
    );

    assert_eq!(index.token(&block(11)).unwrap(), Some((id("tsk", 1), 5)));
    assert_eq!(index.token(&block(99)).unwrap(), None);
    assert_eq!(
        index.idempotency(&Digest::of(b"key")).unwrap(),
        Some((2, Some(id("tsk", 1))))
    );
    let task = index.task(&id("tsk", 1)).unwrap().unwrap();
    assert_eq!((task.opened, task.agent.as_str()), (1, "bot"));
    assert_eq!(task.tokens, [(2, block(10)), (7, block(12))]);
    assert_eq!(index.task(&id("tsk", 9)).unwrap(), None);
}

#[test]
fn a_report_does_not_take_over_a_token_of_another_task() {
    let dir = written(vec![
        opened(1, "bot", 1, ""),
        issued(1, 10, "https://a.example/mcp"),
        opened(2, "scout", 2, ""),
        delegated(2, &[10], "thief"),
    ]);
    let (_journal, index, _) = open(dir.path());
    assert_eq!(index.token(&block(10)).unwrap(), Some((id("tsk", 1), 2)));
}

#[test]
fn a_deleted_index_is_rebuilt_to_the_same_answers() {
    let dir = written(story());
    let (journal, index, _) = open(dir.path());
    journal.append_blocking(vec![note(8)]).unwrap();
    let before = index.dump().unwrap();
    assert!(before.len() > 20, "{}", before.len());
    drop((journal, index));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (_journal, index, recovery) = open(dir.path());
    assert_eq!((recovery.caught_up, recovery.rebuilt), (8, None));
    assert_eq!(index.dump().unwrap(), before);
}

#[test]
fn an_index_that_is_behind_catches_up() {
    let dir = written(story());
    let (recovered, _) = <Journal>::open(dir.path(), Options::default(), |_| {}).unwrap();
    let journal = recovered.start(Box::new(|_| {})).unwrap();
    journal.append_blocking(vec![note(8), note(9)]).unwrap();
    drop(journal);
    let (_journal, index, recovery) = open(dir.path());
    assert_eq!((recovery.caught_up, recovery.rebuilt), (2, None));
    assert_eq!(index.applied().sequence, 9);
}

#[test]
fn an_index_of_another_history_is_moved_aside_and_rebuilt() {
    let (ours, theirs) = (written(story()), written((0..7).map(note).collect()));
    moved_aside_and_rebuilt(&ours, &theirs);
    let other = (0..300)
        .map(|n| opened(n, "scout", 1, "count the beans"))
        .collect();
    moved_aside_and_rebuilt(&written(other), &written(long_story()));
}

fn moved_aside_and_rebuilt(ours: &TempDir, theirs: &TempDir) {
    let expected = open(ours.path()).1.dump().unwrap();
    fs::remove_dir_all(ours.path().join("index")).unwrap();
    fs::rename(theirs.path().join("index"), ours.path().join("index")).unwrap();
    let (_journal, index, recovery) = open(ours.path());
    let (trouble, kept) = recovery.rebuilt.clone().unwrap();
    assert!(matches!(trouble, Trouble::OtherHistory { .. }), "{trouble}");
    assert!(kept.ends_with("index.broken-1") && kept.is_dir());
    assert_eq!(recovery.words().len(), 1);
    assert_eq!(index.dump().unwrap(), expected);
}

#[test]
fn what_is_forgotten_leaves_the_rest_to_be_found_and_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let (journal, index, _) = open_with(dir.path(), segments_of(8192));
    for n in 0..100_u64 {
        let idempotency = Some(Digest::of(&n.to_be_bytes()));
        journal
            .append_blocking(vec![Entry {
                idempotency,
                ..refused("scout", None, "no grant gives it")
            }])
            .unwrap();
    }
    let reader = journal.reader();
    let begins = reader.segments()[1].first;
    let all: Vec<Record> = reader
        .read_from(1, None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let forgotten = &all[..begins as usize - 1];
    let scout = Filter {
        agent: "scout".parse().ok(),
        ..Filter::default()
    };
    let refusals = || -> Vec<u64> {
        let found = all
            .iter()
            .filter(|record| matches!(record.entry.event, LedgerEvent::RequestRefused { .. }));
        found.map(|record| record.sequence).collect()
    };
    // In parts that end in the middle of a chunk.
    for part in forgotten.chunks(7) {
        index.forget(part).unwrap();
        let last = part.last().unwrap().sequence;
        let left: Vec<u64> = refusals()
            .into_iter()
            .filter(|sequence| *sequence > last)
            .collect();
        assert_eq!(
            index
                .query(&scout, window(Order::OldestFirst, None, 1000))
                .unwrap(),
            left
        );
        assert_eq!(index.place(last).unwrap(), None);
        assert!(index.place(last + 1).unwrap().is_some());
    }
    journal.retire(2, None).unwrap();
    let left = index.dump().unwrap();
    drop((journal, index));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    assert_eq!(open(dir.path()).1.dump().unwrap(), left);
}

#[test]
fn an_index_that_knows_more_than_the_journal_stops_the_start() {
    let dir = written(story());
    let path = dir.path().join("journal/000001.jsonl");
    let bytes = fs::read(&path).unwrap();
    let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    fs::write(&path, lines[..5].concat()).unwrap();
    let recovered = <Journal>::open(dir.path(), Options::default(), |_| {})
        .unwrap()
        .0;
    // However often it is tried.
    for _ in 0..2 {
        let refused = Index::open(dir.path(), &recovered.reader()).unwrap_err();
        let IndexError::Ahead { applied, head, .. } = &refused else {
            panic!("{refused}")
        };
        assert_eq!((applied.sequence, head.sequence), (7, 5));
    }
    // Whoever has nothing newer says so by deleting the index.
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (index, _) = Index::open(dir.path(), &recovered.reader()).unwrap();
    assert_eq!(index.applied().sequence, 5);
}

#[test]
fn a_damaged_index_is_rebuilt_to_the_same_answers() {
    let sound = written(long_story());
    let (journal, index, _) = open(sound.path());
    let expected = index.dump().unwrap();
    drop((journal, index));
    let files = |dir: &Path| -> Vec<_> {
        let files = fs::read_dir(dir.join("index/1"))
            .unwrap()
            .map(|file| file.unwrap().path());
        files.filter(|path| path.is_file()).collect()
    };
    for damage in 0..3 {
        let dir = TempDir::new().unwrap();
        fs::create_dir_all(dir.path().join("index/1")).unwrap();
        fs::create_dir(dir.path().join("journal")).unwrap();
        for name in ["000001.jsonl", "format"] {
            fs::copy(
                sound.path().join("journal").join(name),
                dir.path().join("journal").join(name),
            )
            .unwrap();
        }
        for file in files(sound.path()) {
            fs::copy(
                &file,
                dir.path().join("index/1").join(file.file_name().unwrap()),
            )
            .unwrap();
        }
        for file in files(dir.path()) {
            let mut bytes = fs::read(&file).unwrap();
            match damage {
                0 => bytes.truncate(bytes.len() / 2),
                1 => bytes.fill(0),
                _ => bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55),
            }
            fs::write(&file, bytes).unwrap();
        }
        let (_journal, index, recovery) = open(dir.path());
        assert!(
            matches!(recovery.rebuilt, Some((Trouble::Unreadable(_), _))),
            "damage {damage}: {recovery:?}"
        );
        assert_eq!(index.dump().unwrap(), expected, "damage {damage}");
    }
}

#[test]
fn an_index_that_missed_records_refuses_to_answer() {
    let dir = written(story());
    let (recovered, _) = <Journal>::open(dir.path(), Options::default(), |_| {}).unwrap();
    let (index, _) = Index::open(dir.path(), &recovered.reader()).unwrap();
    let last: Vec<Record> = recovered
        .reader()
        .read_from(7, None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(matches!(index.apply(&last), Err(IndexError::Behind)));
    assert!(matches!(
        index.query(&Filter::default(), window(Order::default(), None, 9)),
        Err(IndexError::Behind)
    ));
    assert!(matches!(index.token(&block(10)), Err(IndexError::Behind)));
    // Where records stand that were applied before is no answer for the whole.
    drop(index);
    let (index, _) = Index::open(dir.path(), &recovered.reader()).unwrap();
    assert!(matches!(index.apply(&last), Err(IndexError::Behind)));
    assert_eq!(index.place(7).unwrap(), Some(last[0].place));
}

#[test]
fn a_record_that_goes_while_it_is_looked_for_is_gone_and_no_damage() {
    let dir = written(story());
    let (journal, index, _) = open(dir.path());
    let reader = journal.reader();
    let sequence = |sequence| {
        index
            .record(&reader, sequence)
            .map(|record| record.map(|record| record.sequence))
    };
    assert_eq!(sequence(3).unwrap(), Some(3));
    let oldest: Vec<Record> = reader
        .read_from(1, None)
        .unwrap()
        .take(4)
        .map(Result::unwrap)
        .collect();
    // The index forgets before the segment goes.
    index.forget(&oldest).unwrap();
    assert_eq!(
        (sequence(4).unwrap(), sequence(5).unwrap()),
        (None, Some(5))
    );
    assert_eq!(
        Trail::new(&Views::new(Arc::clone(&index), reader.clone()))
            .event(4)
            .unwrap(),
        None
    );
    // One that was never there is another matter.
    assert!(matches!(sequence(8), Err(IndexError::Damaged)));
}

#[test]
fn an_index_whose_last_record_was_removed_is_rebuilt_and_not_taken_for_another_history() {
    let dir = TempDir::new().unwrap();
    let (journal, index, _) = open_with(dir.path(), segments_of(1024));
    journal.append_blocking(vec![note(0)]).unwrap();
    drop((journal, index));
    let (ours, old) = (dir.path().join("index"), dir.path().join("old"));
    fs::rename(&ours, &old).unwrap();
    let (journal, index, _) = open_with(dir.path(), segments_of(1024));
    for n in 1..10 {
        journal.append_blocking(vec![note(n)]).unwrap();
    }
    journal.retire(u32::MAX, None).unwrap();
    drop((journal, index));
    fs::remove_dir_all(&ours).unwrap();
    fs::rename(&old, &ours).unwrap();
    let (_journal, index, recovery) = open_with(dir.path(), segments_of(1024));
    let (trouble, _) = recovery.rebuilt.unwrap();
    assert!(
        matches!(trouble, Trouble::Outrun { applied, first } if applied.sequence == 1 && first > 1),
        "{trouble}"
    );
    assert!(
        !index
            .query(&Filter::default(), window(Order::OldestFirst, None, 9))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_token_that_was_carried_is_known_once_with_the_record_that_is_kept() {
    let dir = TempDir::new().unwrap();
    let (journal, index, _) = open_with(dir.path(), segments_of(1024));
    for n in 0..10 {
        journal.append_blocking(vec![note(n)]).unwrap();
    }
    let begins = journal.reader().segments().last().unwrap().number;
    let issued = vec![
        opened(50, "bot", 1, ""),
        issued(50, 500, "https://a.example/mcp"),
    ];
    let record = journal.append_blocking(issued).unwrap().sequence();
    journal.retire(begins, None).unwrap();
    let reader = journal.reader();
    assert!(reader.first() > 1 && reader.first() < record);
    drop((journal, index));
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let carried = Carried {
        task: id("tsk", 50),
        agent: "bot".parse().unwrap(),
        steward: id("stw", 1),
        tokens: vec![block(499), block(500)],
        appended: vec![],
    };
    let (index, _) = Index::open_with(dir.path(), &reader, &|| vec![carried.clone()]).unwrap();
    let task = index.task(&id("tsk", 50)).unwrap().unwrap();
    assert_eq!(task.tokens, [(0, block(499)), (record, block(500))]);
}

#[test]
fn pages_of_the_trail_join_to_the_whole() {
    let dir = written(story());
    let (journal, index, _) = open(dir.path());
    let reader = journal.reader();
    let views = Views::new(Arc::clone(&index), reader.clone());
    let trail = Trail::new(&views);
    let filter = Filter {
        agent: "bot".parse().ok(),
        ..Filter::default()
    };
    let (mut after, mut joined) = (None, Vec::new());
    loop {
        let page = trail
            .events(&filter, window(Order::NewestFirst, after, 2))
            .unwrap();
        joined.extend(page.events);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(
        joined.iter().map(|event| event.seq).collect::<Vec<_>>(),
        [7, 6, 5, 2, 1]
    );
    let revocation = &joined[1];
    assert_eq!(
        (revocation.event_type.as_str(), revocation.task.as_ref()),
        ("revoked", Some(&id("tsk", 1)))
    );
    assert_eq!(revocation.agent.as_ref().unwrap().as_str(), "bot");
    assert!(
        revocation.detail.ends_with(": lost laptop"),
        "{}",
        revocation.detail
    );
    assert_eq!(
        joined[0].servers,
        ["https://b.example/mcp".parse().unwrap()]
    );
}

#[test]
fn hostile_text_cannot_end_a_line_or_drive_a_terminal() {
    let hostile = "a\r\n{\"seq\":1}\u{1b}[2J\u{9b}31m\u{7f}\u{2028}\u{202e}\u{e0041}\u{0}\"\\";
    let dir = written(vec![refused("bot", None, hostile)]);
    let (journal, index, _) = open(dir.path());
    let event = Trail::new(&Views::new(Arc::clone(&index), journal.reader()))
        .event(1)
        .unwrap()
        .unwrap();
    let line = event.to_line();
    assert!(
        line.is_ascii() && !line.contains(|character: char| character.is_control()),
        "{line}"
    );
    assert_eq!(serde_json::from_str::<AuditEvent>(&line).unwrap(), event);
    assert!(event.detail.contains(hostile));
}

/// What the index should say of `records`, told one record after the other.
fn subjects_of(records: &[Record]) -> Vec<(u64, Timestamp, Subjects)> {
    let (mut owners, mut tasks) = (HashMap::new(), HashMap::new());
    let mut said = Vec::new();
    for Record {
        sequence, entry, ..
    } in records
    {
        match &entry.event {
            LedgerEvent::TaskOpened { task } => {
                owners.insert(
                    task.task.clone(),
                    (task.agent.clone(), task.steward.clone()),
                );
            }
            LedgerEvent::TokenIssued { task, token } => {
                tasks.insert(token.revocation_id, task.clone());
            }
            LedgerEvent::DelegationReported { task, blocks, .. } => {
                for block in blocks {
                    tasks.entry(*block).or_insert_with(|| task.clone());
                }
            }
            _ => {}
        }
        let mut subjects = Subjects::of(entry);
        if subjects.tasks.is_empty() {
            subjects.tasks.extend(
                subjects
                    .tokens
                    .iter()
                    .filter_map(|token| tasks.get(token))
                    .cloned(),
            );
        }
        for (agent, steward) in subjects.tasks.iter().filter_map(|task| owners.get(task)) {
            subjects.agents.insert(agent.clone());
            subjects.stewards.insert(steward.clone());
        }
        said.push((*sequence, entry.at, subjects));
    }
    said
}

fn matching(said: &[(u64, Timestamp, Subjects)], filter: &Filter) -> Vec<u64> {
    let is_wanted = |at: Timestamp, subjects: &Subjects| {
        filter.from.is_none_or(|from| at >= from)
            && filter.to.is_none_or(|to| at < to)
            && filter
                .agent
                .as_ref()
                .is_none_or(|agent| subjects.agents.contains(agent))
            && filter
                .steward
                .as_ref()
                .is_none_or(|steward| subjects.stewards.contains(steward))
            && filter
                .task
                .as_ref()
                .is_none_or(|task| subjects.tasks.contains(task))
            && filter
                .server
                .as_ref()
                .is_none_or(|server| subjects.servers.contains(server))
    };
    said.iter()
        .filter(|(_, at, subjects)| is_wanted(*at, subjects))
        .map(|(sequence, ..)| *sequence)
        .collect()
}

/// Filters of one, two and three members.
fn filters(from: u64, length: u64) -> Vec<Filter> {
    let time = Filter {
        from: Some(at(from)),
        to: Some(at(from + length)),
        ..Filter::default()
    };
    let agent = Filter {
        agent: "bot".parse().ok(),
        ..Filter::default()
    };
    let task = Filter {
        task: Some(id("tsk", 2)),
        ..Filter::default()
    };
    let server = Filter {
        server: "https://b.example/mcp".parse().ok(),
        ..Filter::default()
    };
    let steward = Filter {
        steward: Some(id("stw", 1)),
        agent: "scout".parse().ok(),
        ..Filter::default()
    };
    let all_three = Filter {
        agent: "bot".parse().ok(),
        task: Some(id("tsk", 1)),
        ..time.clone()
    };
    vec![
        Filter::default(),
        time,
        agent,
        task,
        server,
        steward,
        all_three,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn answers_do_not_depend_on_batches_or_segments_or_pages_or_restarts(
        // The longer ones fill a chunk of the index.
        entries in prop_oneof![prop::collection::vec(any_entry(), 1..60), prop::collection::vec(any_entry(), 200..600)],
        cuts in prop::collection::vec(1..30_usize, 60),
        restart in 0..30_usize,
        // The shorter ones end many chunks, the longest none.
        segment_bytes in prop::sample::select(vec![1024, 8192, 1024 * 1024]),
        from in 0..60_u64,
        length in 0..60_u64,
        page in 1..40_usize,
    ) {
        let dir = TempDir::new().unwrap();
        let options = segments_of(segment_bytes);
        let (mut journal, mut index, _) = open_with(dir.path(), options.clone());
        let mut rest = &entries[..];
        for (number, cut) in cuts.into_iter().enumerate() {
            if number == restart {
                drop((journal, index));
                (journal, index, _) = open_with(dir.path(), options.clone());
            }
            let (batch, after) = rest.split_at(cut.min(rest.len()));
            rest = after;
            if !batch.is_empty() {
                journal.append_blocking(batch.to_vec()).unwrap();
            }
        }
        if !rest.is_empty() {
            journal.append_blocking(rest.to_vec()).unwrap();
        }
        let dump = index.dump().unwrap();
        let records: Vec<Record> = journal.reader().read_from(1, None).unwrap().map(Result::unwrap).collect();
        prop_assert!(records.len() >= entries.len());
        for record in &records {
            prop_assert_eq!(index.place(record.sequence).unwrap(), Some(record.place));
        }
        let said = subjects_of(&records);
        for filter in filters(from, length) {
            let expected = matching(&said, &filter);
            for order in [Order::OldestFirst, Order::NewestFirst] {
                let (mut found, mut after) = (Vec::new(), None);
                loop {
                    let next = index.query(&filter, window(order, after, page)).unwrap();
                    after = next.last().copied();
                    found.extend_from_slice(&next);
                    if next.len() < page {
                        break;
                    }
                }
                if order == Order::NewestFirst {
                    found.reverse();
                }
                prop_assert_eq!(&found, &expected);
            }
        }
        drop((journal, index));
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        let (_journal, index, _) = open_with(dir.path(), options);
        prop_assert_eq!(index.dump().unwrap(), dump);
    }
}
