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
