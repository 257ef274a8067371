//! Erasure: a person's name goes, and every proof of what was recorded of the person stays.

use hallpass_broker::ledger::audit::{
    self, Anchor, Claims, ConsistencyEvidence, HeadEvidence, InclusionEvidence,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use test_broker::{TestBroker, body_of};

const NAME: &str = "alice";

/// What an auditor keeps of a broker, and checks without it.
struct Kept {
    head: HeadEvidence,
    inclusions: Vec<InclusionEvidence>,
    export: Vec<u8>,
}

impl Kept {
    /// The records of `sequences` among others, as the broker proves them now.
    async fn of(fixture: &TestBroker, sequences: &[u64]) -> Self {
        let mut inclusions = Vec::new();
        for sequence in sequences {
            let path = format!("/v1/audit/proofs/inclusion?sequence={sequence}");
            inclusions.push(serde_json::from_value(get(fixture, &path).await).unwrap());
        }
        let head = serde_json::from_value(get(fixture, "/v1/audit/head").await).unwrap();
        let export = fixture
            .operator(Method::GET, "/v1/audit/export")
            .send()
            .await
            .unwrap();
        Self {
            head,
            inclusions,
            export: export.bytes().await.unwrap().to_vec(),
        }
    }

    fn verify(&self, anchor: &Anchor) {
        let head = self.head.verify(Some(anchor), None).unwrap();
        for inclusion in &self.inclusions {
            inclusion.verify(Some(anchor), Some(&head)).unwrap();
        }
        let claims = Claims {
            anchor: Some(anchor.clone()),
            tree_head: Some(head),
            ..Claims::default()
        };
        audit::verify(&self.export[..], &claims).unwrap();
    }
}

async fn get(fixture: &TestBroker, path: &str) -> Value {
    let answer = fixture.operator(Method::GET, path).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    body_of(answer).await
}

/// The sequences of the records that name `steward`.
async fn records_of(fixture: &TestBroker, steward: &str) -> Vec<u64> {
    let found = get(fixture, &format!("/v1/audit?steward={steward}")).await;
    found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn proofs_of_what_names_a_steward_outlive_the_stewards_name() {
    let fixture = TestBroker::new().await;
    let document = body_of(
        fixture
            .request(Method::GET, "/v1/keys.json")
            .send()
            .await
            .unwrap(),
    )
    .await;
    let anchor = Anchor::document(&serde_json::from_value(document).unwrap()).unwrap();
    fixture.open_task().await;
    let stewards = get(&fixture, "/v1/stewards").await;
    let alice = stewards["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|steward| steward["name"] == NAME)
        .unwrap();
    let alice = alice["steward"].as_str().unwrap().to_owned();
    let sequences = records_of(&fixture, &alice).await;
    let before = Kept::of(&fixture, &sequences).await;
    assert!(
        before
            .inclusions
            .iter()
            .any(|proof| proof.record.contains(&alice)),
        "no record names the steward"
    );
    before.verify(&anchor);

    let erased = fixture
        .operator(Method::DELETE, &format!("/v1/stewards/{alice}/name"))
        .send()
        .await
        .unwrap();
    assert_eq!(erased.status(), StatusCode::NO_CONTENT);
    let fixture = fixture.restarted().await;
    let stewards = get(&fixture, "/v1/stewards").await;
    assert!(!stewards.to_string().contains(NAME), "{stewards}");
    let data = std::fs::read_dir(fixture.directory.path().join("data")).unwrap();
    for file in data
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
    {
        assert!(
            !String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains(NAME),
            "{}",
            file.display()
        );
    }

    // The same records, to the byte, in a journal that went on.
    let after = Kept::of(&fixture, &sequences).await;
    before.verify(&anchor);
    after.verify(&anchor);
    let lines = |kept: &Kept| {
        kept.inclusions
            .iter()
            .map(|proof| proof.record.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&before), lines(&after));
    assert!(!fixture.journal().contains(NAME));
    let early = before.head.verify(Some(&anchor), None).unwrap();
    let since = get(
        &fixture,
        &format!("/v1/audit/proofs/consistency?from={}", early.size),
    )
    .await;
    let since: ConsistencyEvidence = serde_json::from_value(since).unwrap();
    let (from, to) = since.verify(Some(&anchor), Some(&early)).unwrap();
    assert!(
        from == early && to.size > early.size,
        "the erasure is on the record"
    );
    let claims = Claims {
        anchor: Some(anchor),
        tree_head: Some(early),
        ..Claims::default()
    };
    audit::verify(&after.export[..], &claims).unwrap();
}
