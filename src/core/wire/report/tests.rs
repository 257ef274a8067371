//! Tests of `report`.

use crate::wire::report::*;

fn report() -> CallReport {
    CallReport {
        id: new_id(),
        at: Timestamp::EPOCH,
        server: "https://ledger.example/mcp".parse().unwrap(),
        decision: Decision::Allowed,
        call: Some(ReportedCall::of(&Call::tool(
            "read_ledger",
            Some(&serde_json::json!({"year": 2026})),
        ))),
        task: "tsk_00000000000000000000000000000001".parse().unwrap(),
        agent: "research-bot".parse().unwrap(),
        steward: "stw_00000000000000000000000000000001".parse().unwrap(),
        chain: vec![RevocationId::from_bytes([7; 64])],
        delegates: Vec::new(),
        holder: None,
        caused_by: None,
    }
}

fn hop(block: usize) -> ReportedHop {
    ReportedHop {
        block,
        agent: "scout".parse().unwrap(),
        key: Digest::of(b"key").to_base64url(),
    }
}

#[test]
fn a_report_is_read_back_and_holds_no_argument() {
    let report = Report::Call(Box::new(report()));
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(
        json::parse_as::<Report>(text.as_bytes(), 10_000).unwrap(),
        report
    );
    assert!(!text.contains("2026\"") && !text.contains("year"), "{text}");
    assert!(
        json::parse_as::<Report>(
            text.replace("\"task\"", "\"x\":1,\"task\"").as_bytes(),
            10_000
        )
        .is_err()
    );
    assert_eq!(report.check(), Ok(()));
}

#[test]
fn names_that_clients_send_are_bounded() {
    for odd in ["", "a\nb", &"x".repeat(1025)] {
        let name = CalledName::of(odd);
        assert_eq!(
            name.as_str(),
            format!("sha256:{}", Digest::of(odd.as_bytes()))
        );
        assert!(CalledName::try_from(odd.to_owned()).is_err());
    }
    assert_eq!(
        CalledName::of("file:///srv/data/a b").as_str(),
        "file:///srv/data/a b"
    );
}

#[test]
fn what_no_verifier_would_send_is_named() {
    let with = |change: fn(&mut CallReport)| {
        let mut report = report();
        change(&mut report);
        report.check().map_err(|(member, _)| member)
    };
    assert_eq!(
        with(|report| report.decision = Decision::Refused(Vec::new())),
        Err("decision")
    );
    assert_eq!(
        with(|report| report.decision = Decision::Refused(vec![ReasonCode::Expired; 200])),
        Err("decision")
    );
    assert_eq!(with(|report| report.call = None), Err("call"));
    assert_eq!(with(|report| report.chain.clear()), Err("chain"));
    assert_eq!(
        with(|report| report.chain = vec![RevocationId::from_bytes([7; 64]); 10]),
        Err("chain")
    );
    assert_eq!(
        with(|report| report.delegates = vec![hop(1)]),
        Err("delegates")
    );
    assert_eq!(
        with(|report| report.holder = Some("x".repeat(10_000))),
        Err("holder")
    );
    let handed_on = |blocks: [usize; 2]| {
        let mut report = report();
        report.chain = vec![RevocationId::from_bytes([7; 64]); 3];
        report.delegates = blocks.map(hop).to_vec();
        report.check().is_ok()
    };
    assert_eq!(
        [[1, 2], [2, 1], [1, 1], [0, 1], [2, 3]].map(handed_on),
        [true, false, false, false, false]
    );
}

#[test]
fn a_batch_is_read_by_the_rule_of_documents_and_a_report_alone_strictly() {
    let lost = LostReports::new(
        "https://ledger.example/mcp".parse().unwrap(),
        Some(3),
        (Timestamp::EPOCH, Timestamp::EPOCH),
    );
    let mut report = report();
    report.delegates = vec![hop(1)];
    let batch = ReportBatch {
        v: Format::One,
        reports: vec![Report::Call(Box::new(report)), Report::Lost(lost)],
    };
    let given = serde_json::to_value(&batch).unwrap();
    assert_eq!(given["v"], 1);
    assert_eq!(ReportBatch::read(given.clone()).unwrap(), batch);
    let objects = [
        "",
        "/reports/0",
        "/reports/0/call",
        "/reports/0/delegates/0",
        "/reports/1",
    ];
    for pointer in objects {
        let mut more = given.clone();
        let object = more.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.insert("more".into(), serde_json::json!([{"crit": []}]));
        assert_eq!(ReportBatch::read(more.clone()).unwrap(), batch, "{pointer}");
        let object = more.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.insert("crit".into(), serde_json::json!(["more"]));
        let path = pointer
            .trim_start_matches('/')
            .replace("/0", "[0]")
            .replace("/1", "[1]");
        let at = format!("{}.more", path.replace('/', "."));
        let at = at.trim_start_matches('.').to_owned();
        assert_eq!(
            ReportBatch::read(more).unwrap_err(),
            DocumentError::Critical { at }
        );
    }
    let mut known = given.clone();
    known["reports"][0]["crit"] = serde_json::json!(["type", "decision"]);
    assert_eq!(ReportBatch::read(known).unwrap(), batch);
    let mut old = given.clone();
    old.as_object_mut().unwrap().remove("v");
    assert_eq!(ReportBatch::read(old).unwrap(), batch);
    for kind in [serde_json::json!("later"), serde_json::json!(1)] {
        let mut other = given.clone();
        other["reports"][1]["type"] = kind;
        let error = ReportBatch::read(other).unwrap_err().to_string();
        assert!(error.starts_with("`reports[1].type`"), "{error}");
    }
}
