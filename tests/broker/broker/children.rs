//! Child tasks: a pass that was exchanged gives no more than it had, and nothing once it has ended.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hallpass_broker::{DelegationReport, ExchangeError};
use hallpass_core::{
    base::{holder::HolderKey, ids::TaskId, key::PrivateKey},
    token::{Delegation, Narrowing, attenuate, delegate},
    wire::document::KeyDocument,
};
use hallpass_verify::broker_side::verify_signatures;

use super::{
    exchanges::{Of, exchange, named, of},
    *,
};
use support::raw;

pub(super) fn helper() -> (Caller, AgentId) {
    named("helper-bot")
}

/// A broker with two more agents, of another steward, that may read and transfer.
pub(super) async fn with_helpers(fixture: &BrokerFiles) -> Arc<Broker> {
    let broker = fixture.with_registrations().await;
    for (agent, seed) in [("helper-bot", 21), ("third-bot", 22)] {
        let key = HolderKey::Ed25519(PrivateKey::from_seed(&[seed; 32]).public());
        let new = NewAgent {
            steward: "bob".to_owned(),
            keys: vec![key.to_jwk()],
            ..new_agent(agent)
        };
        broker.registry.add_agent(&admin(), new).await.unwrap();
    }
    std::fs::write(
        fixture.directory.path().join("policy/transfers.toml"),
        TRANSFERS,
    )
    .unwrap();
    broker
        .policy
        .reload_policy(&admin())
        .await
        .unwrap()
        .unwrap();
    broker
}

/// The helper may set the currency, which the parent's pass never allowed.
const TRANSFERS: &str = r#"
[[grant]]
id = "transfers"
agents = ["research-bot"]
server = "ledger"
tools = ["transfer"]
max_ttl = "10m"

[[grant]]
id = "helpers-transfer"
agents = ["helper-bot", "third-bot"]
server = "ledger"
tools = ["transfer"]
max_ttl = "10m"

[grant.constraints.transfer]
"/currency" = { in = ["EUR", "CHF"] }
"#;

async fn child_of(broker: &Broker, token: &PassToken) -> Issued {
    exchange(broker, &helper(), of(token)).await.unwrap()
}

async fn refused(broker: &Broker, of: Of<'_>) -> ExchangeError {
    exchange(broker, &helper(), of).await.unwrap_err()
}

fn asked(members: serde_json::Value) -> Option<Vec<hallpass_core::token::RequestedDetail>> {
    let mut detail = json!({"type": "mcp", "server": support::SERVER});
    detail
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    Some(vec![serde_json::from_value(detail).unwrap()])
}

fn codes_of_call(
    verifier: &Verifier,
    issued: &Issued,
    tool: &str,
    arguments: serde_json::Value,
) -> Vec<ReasonCode> {
    let answer = verifier.verify(issued.token.expose()).and_then(|pass| {
        verifier
            .clear(&pass, &Call::tool(tool, Some(&arguments)))
            .map(drop)
    });
    answer
        .err()
        .map(|denial| denial.codes())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_child_has_what_is_left_of_its_parent_and_is_the_actors() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let parent = open_task(&broker, &["read_*", "search_*"]).await.unwrap();
    let mut narrowing = Narrowing::default();
    narrowing.rights = Some(vec![support::rights(json!({"tools": ["read_ledger"]}))]);
    narrowing.expires_at = Some(broker.now().floor_second().plus(Duration::from_secs(60)));
    let narrowed = attenuate(&parent.token, &narrowing).unwrap();
    let child = child_of(&broker, &narrowed.token).await;
    assert_eq!(child.task.agent.as_str(), "helper-bot");
    assert_ne!(child.task.steward, parent.task.steward);
    let link = child.task.parent.as_ref().unwrap();
    assert_eq!(
        (&link.task, &link.agent, &link.blocks),
        (&parent.task.task, &parent.task.agent, &narrowed.blocks)
    );
    assert_eq!(child.record.expires_at, narrowing.expires_at.unwrap());
    let verifier = fixture.verifier(&broker);
    assert_eq!(codes(&verifier, &child), []);
    assert!(
        codes_of_call(&verifier, &child, "search_ledger", json!({}))
            .contains(&ReasonCode::NotGranted)
    );
    // The trail tells of it under both tasks.
    for task in [&parent.task.task, &child.task.task] {
        let filter = Filter {
            task: Some(task.clone()),
            ..Filter::default()
        };
        let window = Window {
            order: Order::OldestFirst,
            after: None,
            limit: 100,
        };
        let events = broker
            .history
            .trail()
            .events(&filter, window)
            .unwrap()
            .events;
        let opened = events
            .iter()
            .find(|event| event.detail.contains("in the place of agent research-bot"));
        assert_eq!(opened.unwrap().task.as_ref(), Some(&child.task.task));
    }
    let view = serde_json::to_value(broker.tasks.task(&parent.task.task, None).unwrap()).unwrap();
    assert_eq!(view["children"], json!([child.task.task]));
    let view = serde_json::to_value(broker.tasks.task(&child.task.task, None).unwrap()).unwrap();
    assert_eq!(
        view["parent"],
        json!({"task_id": parent.task.task, "agent": "research-bot"})
    );
}

#[tokio::test]
async fn a_grant_to_the_actor_opens_nothing_that_the_parent_closed() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let (caller, agent) = bot();
    let wanted = asked(
        json!({"tools": ["transfer", "read_ledger"], "closed_arguments": ["transfer"],
        "constraints": {"transfer": {"/amount": {"max": 100}}}}),
    );
    let request = OpenTask {
        details: wanted.unwrap(),
        ..wants(&[])
    };
    let parent = broker
        .issuance
        .open_task(&caller, &agent, request)
        .await
        .unwrap();
    let child = child_of(&broker, &parent.token).await;
    let verifier = fixture.verifier(&broker);
    let codes = |arguments| codes_of_call(&verifier, &child, "transfer", arguments);
    // The grant demands a currency and the parent takes no argument but the amount: nothing satisfies both.
    assert_eq!(
        codes(json!({"amount": 5})),
        [ReasonCode::ArgumentConstraint]
    );
    assert!(
        codes(json!({"amount": 5, "currency": "EUR"})).contains(&ReasonCode::ArgumentNotAllowed)
    );
    assert!(
        codes(json!({"amount": 500, "currency": "EUR"})).contains(&ReasonCode::ArgumentConstraint)
    );
    assert_eq!(
        codes_of_call(&verifier, &child, "read_ledger", json!({})),
        []
    );
    // Nor does asking for another pass in the child's task.
    let (caller, actor) = helper();
    let wider = IssueAgain {
        details: asked(json!({"tools": ["search_ledger"]})),
    };
    let error = broker
        .issuance
        .issue_again(&caller, &actor, (&child.task.task, wider))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ReasonCode::InvalidRequest);
    let again = broker
        .issuance
        .issue_again(&caller, &actor, (&child.task.task, IssueAgain::default()))
        .await
        .unwrap();
    assert!(
        codes_of_call(
            &verifier,
            &again,
            "transfer",
            json!({"amount": 5, "currency": "EUR"})
        )
        .contains(&ReasonCode::ArgumentNotAllowed)
    );
}

#[tokio::test]
async fn what_is_asked_for_is_narrowed_to_what_is_left() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let parent = open_task(&broker, &["read_ledger"]).await.unwrap();
    let all = Of {
        asked: asked(json!({"tools": ["*"]})),
        ..of(&parent.token)
    };
    let child = exchange(&broker, &helper(), all).await.unwrap();
    assert_eq!(child.record.rights.len(), 1);
    assert_eq!(
        child.record.rights[0]
            .tools
            .iter()
            .map(|tool| tool.as_str())
            .collect::<Vec<_>>(),
        ["read_ledger"]
    );
    let more = Of {
        asked: asked(json!({"tools": ["search_ledger"]})),
        ..of(&parent.token)
    };
    assert!(matches!(
        refused(&broker, more).await,
        ExchangeError::NothingLeft
    ));
    for elsewhere in ["https://archive.example/mcp", "https://nowhere.example/mcp"] {
        let mut wanted = asked(json!({"tools": ["read_ledger"]})).unwrap();
        wanted[0].server = elsewhere.parse().unwrap();
        let elsewhere = Of {
            asked: Some(wanted),
            ..of(&parent.token)
        };
        assert!(matches!(
            refused(&broker, elsewhere).await,
            ExchangeError::Target
        ));
    }
    // What policy does not give the actor is refused, whatever the parent has.
    std::fs::write(
        fixture.directory.path().join("policy/reads.toml"),
        GRANT.replace("group:research", "research-bot"),
    )
    .unwrap();
    broker
        .policy
        .reload_policy(&admin())
        .await
        .unwrap()
        .unwrap();
    let error = refused(&broker, of(&parent.token)).await;
    assert!(
        matches!(&error, ExchangeError::Broker(error) if error.code() == ReasonCode::NoGrant),
        "{error}"
    );
}

/// How a parent ends.
const ENDS: [&str; 8] = [
    "completed",
    "task",
    "only the pass",
    "pass and task",
    "appended block",
    "agent",
    "steward",
    "key",
];

async fn end_parent(
    broker: &Broker,
    how: &str,
    parent: &Issued,
    appended: hallpass_core::base::ids::RevocationId,
) {
    let (caller, agent) = bot();
    let first = parent.record.revocation_id;
    let what = match how {
        "completed" => {
            return drop(
                broker
                    .tasks
                    .complete_task(&caller, &agent, &parent.task.task)
                    .await
                    .unwrap(),
            );
        }
        "task" => revoke(Subject::Task(parent.task.task.clone())),
        "only the pass" => Revoke {
            only_token: true,
            ..revoke(Subject::RevocationId(first))
        },
        "pass and task" => revoke(Subject::RevocationId(first)),
        "appended block" => revoke(Subject::RevocationId(appended)),
        "agent" => revoke(Subject::Agent(agent)),
        "steward" => revoke(Subject::Steward(parent.task.steward.clone())),
        _ => revoke(Subject::Key(parent.record.key)),
    };
    broker.revocations.revoke(&admin(), what).await.unwrap();
}

/// What is minted from now on outlives what was signed before.
async fn sign_with_another_key(fixture: &BrokerFiles, broker: &Broker) {
    broker
        .keys
        .rotate_key(&admin(), KeyPurpose::Root)
        .await
        .unwrap();
    fixture.clock.advance(Duration::from_secs(91));
    broker.maintain().await.unwrap();
}

#[tokio::test]
async fn whatever_ends_the_parent_ends_its_child_and_its_childs_child_at_once_and_for_good() {
    for how in ENDS {
        let fixture = BrokerFiles::new();
        let broker = with_helpers(&fixture).await;
        let parent = open_task(&broker, &["read_ledger"]).await.unwrap();
        let mut narrowing = Narrowing::default();
        narrowing.read_only = true;
        let narrowed = attenuate(&parent.token, &narrowing).unwrap();
        if how == "key" {
            sign_with_another_key(&fixture, &broker).await;
        }
        let child = child_of(&broker, &narrowed.token).await;
        let grandchild = exchange(&broker, &named("third-bot"), of(&child.token))
            .await
            .unwrap();
        // One that came of another pass lives on, unless all of the agent's end.
        let other = open_task(&broker, &["read_ledger"]).await.unwrap();
        let bystander = child_of(&broker, &other.token).await;
        let verifier = fixture.verifier(&broker);
        for alive in [&child, &grandchild, &bystander] {
            assert_eq!(codes(&verifier, alive), [], "{how}");
        }
        let before = broker.state().last_sequence();
        end_parent(&broker, how, &parent, narrowed.blocks[1]).await;
        let records = broker.state().last_sequence() - before;
        assert!(records <= 4, "{how}: {records} records");
        fixture.tell(&broker, &verifier);
        for dead in [&child, &grandchild] {
            assert!(
                codes(&verifier, dead).contains(&ReasonCode::RevokedTask),
                "{how}: {:?}",
                codes(&verifier, dead)
            );
        }
        let all_end = matches!(how, "agent" | "steward");
        assert_eq!(codes(&verifier, &bystander).is_empty(), !all_end, "{how}");
        let (caller, actor) = helper();
        let renewed = broker
            .issuance
            .issue_again(&caller, &actor, (&child.task.task, IssueAgain::default()))
            .await;
        assert_eq!(renewed.unwrap_err().code(), ReasonCode::TaskEnded, "{how}");
        assert!(
            matches!(
                refused(&broker, of(&child.token)).await,
                ExchangeError::Subject(_)
            ),
            "{how}"
        );
        // A reinstatement revives nothing, and a start from the records knows the same.
        if matches!(how, "agent") {
            broker
                .revocations
                .reinstate(&admin(), Subject::Agent(parent.task.agent.clone()))
                .await
                .unwrap();
        }
        if !matches!(how, "completed" | "appended block" | "agent") {
            continue;
        }
        broker.close().await.unwrap();
        drop(broker);
        let broker = fixture.open().await;
        let verifier = fixture.verifier(&broker);
        for dead in [&child, &grandchild] {
            assert!(
                codes(&verifier, dead).contains(&ReasonCode::RevokedTask),
                "{how}"
            );
        }
        let renewed = broker
            .issuance
            .issue_again(&caller, &actor, (&child.task.task, IssueAgain::default()))
            .await;
        assert_eq!(renewed.unwrap_err().code(), ReasonCode::TaskEnded, "{how}");
    }
}

#[tokio::test]
async fn no_child_that_races_the_end_of_its_parent_outlives_it() {
    for how in ["completed", "only the pass", "appended block", "agent"] {
        let fixture = BrokerFiles::new();
        let broker = with_helpers(&fixture).await;
        let parent = open_task(&broker, &["read_ledger"]).await.unwrap();
        let mut narrowing = Narrowing::default();
        narrowing.read_only = true;
        let narrowed = attenuate(&parent.token, &narrowing).unwrap();
        let (caller, actor) = helper();
        let child = async || exchange(&broker, &helper(), of(&narrowed.token)).await;
        let mut early: FuturesUnordered<_> = (0..8).map(|_| child()).collect();
        let late = futures_util::future::join_all((0..8).map(|_| child()));
        // One is there when the end begins, the others are on their way.
        let first = early.next().await.unwrap().unwrap();
        let end = end_parent(&broker, how, &parent, narrowed.blocks[1]);
        let (early, (), late) = tokio::join!(early.collect::<Vec<_>>(), end, late);
        let verifier = fixture.verifier(&broker);
        for child in early.into_iter().chain(late).flatten().chain([first]) {
            assert!(!codes(&verifier, &child).is_empty(), "{how}");
            let renewed = broker
                .issuance
                .issue_again(&caller, &actor, (&child.task.task, IssueAgain::default()))
                .await;
            assert_eq!(renewed.unwrap_err().code(), ReasonCode::TaskEnded, "{how}");
        }
        assert!(
            exchange(&broker, &helper(), of(&narrowed.token))
                .await
                .is_err(),
            "{how}"
        );
    }
}

#[tokio::test]
async fn what_is_dead_forged_or_narrowed_beyond_words_is_not_exchanged() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let parent = open_task(&broker, &["read_ledger"]).await.unwrap();
    let root = root_key(&broker.feed.key_document().unwrap());
    let foreign = raw::append(
        &parent.token,
        &root,
        r#"check if call($s, $k, "read_ledger");"#,
    );
    let later = raw::append(
        &parent.token,
        &root,
        r#"check if time($t), $t >= 2026-11-22T10:04:00Z && $t < 2026-11-22T10:05:00Z;"#,
    );
    let sealed = raw::token(
        raw::biscuit(&parent.token, &root)
            .seal()
            .unwrap()
            .to_vec()
            .unwrap(),
    );
    let own = support::Issuer::new();
    let strange = own.mint(vec![support::rights(json!({"tools": ["read_ledger"]}))]);
    let garbage = PassToken::from_text("AAAA".to_owned());
    let before = broker.state().last_sequence();
    for (name, token) in [
        ("foreign", &foreign),
        ("later", &later),
        ("sealed", &sealed),
        ("strange", &strange),
        ("garbage", &garbage),
    ] {
        let error = refused(&broker, of(token)).await;
        assert!(
            matches!(error, ExchangeError::Subject(_)),
            "{name}: {error}"
        );
    }
    assert_eq!(
        broker.state().last_sequence(),
        before,
        "nothing is recorded of them"
    );
    fixture.clock.advance(Duration::from_secs(300));
    assert!(matches!(
        refused(&broker, of(&parent.token)).await,
        ExchangeError::Subject(_)
    ));
}

fn root_key(document: &KeyDocument) -> hallpass_core::base::key::PublicKey {
    document.keys[0].key
}

#[tokio::test]
async fn a_bound_pass_needs_its_holders_proof_and_leave_to_be_handed_on() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let (caller, agent) = bot();
    let (planner, actor_key) = (
        PrivateKey::from_seed(&[7; 32]),
        PrivateKey::from_seed(&[21; 32]),
    );
    let key = |key: &PrivateKey| HolderKey::Ed25519(key.public());
    let holding = |times| {
        Some(hallpass_core::token::Holding {
            key: key(&planner),
            max_delegations: times,
        })
    };
    let request = |times| OpenTask {
        holder: holding(times),
        ..wants(&["read_ledger"])
    };
    let once = broker
        .issuance
        .open_task(&caller, &agent, request(1))
        .await
        .unwrap();
    let never = broker
        .issuance
        .open_task(&caller, &agent, request(0))
        .await
        .unwrap();
    assert!(matches!(
        refused(&broker, of(&once.token)).await,
        ExchangeError::Proof
    ));
    let by_actor = Of {
        proven: Some(key(&actor_key)),
        ..of(&once.token)
    };
    assert!(
        matches!(refused(&broker, by_actor).await, ExchangeError::Proof),
        "not the holder's key"
    );
    let by_holder = |token| Of {
        proven: Some(key(&planner)),
        ..of(token)
    };
    assert!(matches!(
        refused(&broker, by_holder(&never.token)).await,
        ExchangeError::Subject(_)
    ));
    let child = exchange(&broker, &helper(), by_holder(&once.token))
        .await
        .unwrap();
    assert_eq!(
        child.record.holder,
        Some(key(&planner).thumbprint()),
        "as bound as its parent"
    );
    // Handed on to the actor with the holder's signature, it is the actor's to exchange, and no further.
    let document = broker.feed.key_document().unwrap();
    let to = Delegation {
        agent: "helper-bot".parse().unwrap(),
        key: key(&actor_key),
        narrowing: Narrowing::default(),
        may_delegate: 0,
        use_only: false,
    };
    let handed = delegate(
        &verify_signatures(&document, once.token.expose()).unwrap(),
        &planner,
        &to,
    )
    .unwrap();
    let proven = Of {
        proven: Some(key(&actor_key)),
        ..of(&handed.token)
    };
    let error = exchange(&broker, &named("third-bot"), proven.clone())
        .await
        .unwrap_err();
    assert!(matches!(error, ExchangeError::Subject(_)), "{error}");
    let child = exchange(&broker, &helper(), proven).await.unwrap();
    assert_eq!(child.record.holder, Some(key(&actor_key).thumbprint()));
}

#[tokio::test]
async fn a_child_ends_with_a_delegate_through_whom_its_parent_went() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let (caller, agent) = bot();
    let [planner, helpers, thirds] = [7, 21, 22].map(|seed| PrivateKey::from_seed(&[seed; 32]));
    let key = |key: &PrivateKey| HolderKey::Ed25519(key.public());
    let holder = Some(hallpass_core::token::Holding {
        key: key(&planner),
        max_delegations: 2,
    });
    let parent = broker
        .issuance
        .open_task(
            &caller,
            &agent,
            OpenTask {
                holder,
                ..wants(&["read_ledger"])
            },
        )
        .await
        .unwrap();
    let document = broker.feed.key_document().unwrap();
    let mut token = parent.token;
    for (from, to, name, may_delegate) in [
        (&planner, &helpers, "helper-bot", 1),
        (&helpers, &thirds, "third-bot", 0),
    ] {
        let (agent, narrowing) = (name.parse().unwrap(), Narrowing::default());
        let to = Delegation {
            agent,
            key: key(to),
            narrowing,
            may_delegate,
            use_only: false,
        };
        token = delegate(
            &verify_signatures(&document, token.expose()).unwrap(),
            from,
            &to,
        )
        .unwrap()
        .token;
    }
    let third = named("third-bot");
    let proven = || Of {
        proven: Some(key(&thirds)),
        ..of(&token)
    };
    let child = exchange(&broker, &third, proven()).await.unwrap();
    broker
        .revocations
        .revoke(
            &admin(),
            revoke(Subject::Agent("helper-bot".parse().unwrap())),
        )
        .await
        .unwrap();
    assert_eq!(
        broker.tasks.task(&child.task.task, None).unwrap().state,
        "revoked"
    );
    exchange(&broker, &third, proven()).await.unwrap_err();
    broker
        .issuance
        .issue_again(
            &third.0,
            &third.1,
            (&child.task.task, IssueAgain::default()),
        )
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_pass_comes_of_so_many_exchanges_and_no_more() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let mut token = open_task(&broker, &["read_ledger"]).await.unwrap().token;
    let mut generations = 0;
    let error = loop {
        let actor = if generations % 2 == 0 {
            helper()
        } else {
            named("third-bot")
        };
        match exchange(&broker, &actor, of(&token)).await {
            Ok(child) => token = child.token,
            Err(error) => break error,
        }
        generations += 1;
        assert!(generations < 20);
    };
    assert!(matches!(error, ExchangeError::Subject(_)), "{error}");
    assert_eq!(generations, 8);
}

#[tokio::test]
async fn a_childs_delegation_is_its_own() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let parent = open_task(&broker, &["read_ledger"]).await.unwrap();
    let child = child_of(&broker, &parent.token).await;
    let (caller, agent) = bot();
    // The parent's agent is told nothing of the child's task, and ends it by ending its own.
    let task: &TaskId = &child.task.task;
    assert_eq!(
        broker.tasks.task(task, Some(&agent)).unwrap_err().code(),
        ReasonCode::NotFound
    );
    assert_eq!(
        broker
            .tasks
            .complete_task(&caller, &agent, task)
            .await
            .unwrap_err()
            .code(),
        ReasonCode::NotFound
    );
    let report = DelegationReport {
        blocks: vec![child.record.revocation_id, parent.record.revocation_id],
        ..DelegationReport::default()
    };
    assert_eq!(
        broker
            .tasks
            .report_delegation(&caller, &agent, (task, report))
            .await
            .unwrap_err()
            .code(),
        ReasonCode::NotFound
    );
}

#[tokio::test]
async fn a_child_that_was_over_before_its_parent_ended_is_not_revoked() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let (caller, agent) = bot();
    let long = OpenTask {
        ttl: Duration::from_secs(600),
        ..wants(&["read_ledger"])
    };
    let parent = broker
        .issuance
        .open_task(&caller, &agent, long)
        .await
        .unwrap();
    let child = child_of(&broker, &parent.token).await;
    fixture.clock.advance(Duration::from_secs(300));
    broker
        .tasks
        .complete_task(&caller, &agent, &parent.task.task)
        .await
        .unwrap();
    assert_eq!(
        broker.tasks.task(&child.task.task, None).unwrap().state,
        "over"
    );
}

#[tokio::test]
async fn the_restrictions_of_a_parent_do_not_count_as_more_rights() {
    let fixture = BrokerFiles::new();
    let broker = with_helpers(&fixture).await;
    let tools: serde_json::Map<_, _> = (0..101)
        .map(|n| (format!("read_{n}"), json!({"read_only": true})))
        .collect();
    let mut manifest = serde_json::to_value(support::manifest()).unwrap();
    manifest["tools"] = tools.into();
    let policy = fixture.directory.path().join("policy");
    std::fs::remove_file(policy.join("transfers.toml")).unwrap();
    let grant = "[[grant]]\nid = \"all\"\nagents = [\"*\"]\nserver = \"ledger\"\ntools = [\"read_*\"]\nmax_ttl = \"10m\"\n";
    std::fs::write(policy.join("reads.toml"), grant).unwrap();
    broker
        .policy
        .reload_policy(&admin())
        .await
        .unwrap()
        .unwrap();
    broker
        .registry
        .set_server(&admin(), serde_json::from_value(manifest).unwrap())
        .await
        .unwrap();
    let (caller, agent) = bot();
    let details = asked(json!({"tools": ["read_*"], "read_only": true})).unwrap();
    let parent = broker
        .issuance
        .open_task(
            &caller,
            &agent,
            OpenTask {
                details,
                ..wants(&[])
            },
        )
        .await
        .unwrap();
    let child = child_of(&broker, &parent.token).await;
    assert_eq!(
        child
            .record
            .rights
            .iter()
            .map(|right| right.tools.len())
            .sum::<usize>(),
        202
    );
}
