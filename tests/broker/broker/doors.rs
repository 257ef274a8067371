//! What the OAuth doors stand before: tasks with a client of their own, introspection, giving passes back.

use std::fs;

use hallpass_broker::{
    ExchangeError, GivenBack, Introspected, OpenedForClient, PassOwner, TaskClient,
};
use hallpass_core::{
    base::{holder::HolderKey, key::PrivateKey},
    token::{Holding, Narrowing, RootKey, attenuate},
};

use super::{
    exchanges::{Of, exchange, named, of},
    *,
};
use support::raw;

async fn opened_for_client(broker: &Broker) -> OpenedForClient {
    let (caller, agent) = bot();
    broker
        .issuance
        .open_task_for_client(&caller, &agent, wants(&["read_*"]))
        .await
        .unwrap()
}

fn by_client(opened: &OpenedForClient) -> Caller {
    Caller {
        actor: Actor::TaskClient(opened.task.task.clone()),
        ..Caller::broker()
    }
}

fn client_of(broker: &Broker, opened: &OpenedForClient) -> Option<TaskClient> {
    broker
        .issuance
        .authenticate_task_client(&opened.task.task, opened.secret.expose())
}

#[tokio::test]
async fn a_tasks_client_gets_exactly_its_passes_and_only_by_its_secret() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let opened = opened_for_client(&broker).await;
    assert!(
        broker
            .tasks
            .task(&opened.task.task, None)
            .unwrap()
            .passes
            .is_empty(),
        "no pass before it is asked for"
    );
    assert_eq!(opened.secret.expose().len(), 43);
    let client = client_of(&broker, &opened).unwrap();
    let issued = broker
        .issuance
        .issue_to_task_client(&by_client(&opened), &client, None)
        .await
        .unwrap();
    assert_eq!(issued.record.rights, opened.rights);
    assert_eq!(issued.task.task, opened.task.task);
    assert_eq!(codes(&fixture.verifier(&broker), &issued), []);
    let other = opened_for_client(&broker).await;
    let plain = open_task(&broker, &["read_ledger"]).await.unwrap();
    let unknown = "tsk_00000000000000000000000000000001".parse().unwrap();
    let secret = opened.secret.expose();
    for (task, secret) in [
        (&opened.task.task, &secret[1..]),
        (&opened.task.task, ""),
        (&other.task.task, secret),
        (&plain.task.task, secret),
        (&plain.task.task, ""),
        (&unknown, secret),
    ] {
        assert!(
            broker
                .issuance
                .authenticate_task_client(task, secret)
                .is_none(),
            "{task}"
        );
    }
    // Who did it is on the record, and the secret is in no file.
    let filter = Filter {
        task: Some(opened.task.task.clone()),
        ..Filter::default()
    };
    let window = Window {
        order: Order::OldestFirst,
        after: None,
        limit: 10,
    };
    let events = broker
        .history
        .trail()
        .events(&filter, window)
        .unwrap()
        .events;
    let by: Vec<_> = events
        .iter()
        .map(|event| (event.event_type.as_str(), event.actor.clone()))
        .collect();
    let client = format!("client of {}", opened.task.task);
    assert_eq!(
        by,
        [
            ("task_opened", "agent research-bot".to_owned()),
            ("token_issued", client)
        ]
    );
    assert!(!format!("{opened:?}").contains(secret));
    let kept = fs::read_dir(fixture.directory.path().join("data/journal")).unwrap();
    for file in kept.map(|entry| fs::read(entry.unwrap().path()).unwrap()) {
        assert!(!String::from_utf8_lossy(&file).contains(secret));
    }
    let broker = {
        broker.close().await.unwrap();
        drop(broker);
        fixture.open().await
    };
    assert!(client_of(&broker, &opened).is_some(), "over a restart");
}

#[tokio::test]
async fn what_policy_refuses_is_refused_when_the_client_is_made() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (caller, agent) = bot();
    let error = broker
        .issuance
        .open_task_for_client(&caller, &agent, wants(&["read_ledger", "delete_ledger"]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ReasonCode::NoGrant);
    assert!(broker.tasks.tasks(None, None, 10).is_empty());
}

#[tokio::test]
async fn a_tasks_client_ends_with_its_task_and_gets_nothing_while_somebody_is_suspended() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (caller, agent) = bot();
    let completed = opened_for_client(&broker).await;
    let early = client_of(&broker, &completed).unwrap();
    broker
        .tasks
        .complete_task(&caller, &agent, &completed.task.task)
        .await
        .unwrap();
    let revoked = opened_for_client(&broker).await;
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Task(revoked.task.task.clone())))
        .await
        .unwrap();
    let over = opened_for_client(&broker).await;
    for opened in [&completed, &revoked] {
        assert!(client_of(&broker, opened).is_none());
    }
    // One that was authenticated a moment ago gets nothing either.
    let error = broker
        .issuance
        .issue_to_task_client(&by_client(&completed), &early, None)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ReasonCode::TaskEnded);
    for subject in [
        Subject::Agent(agent),
        Subject::Steward(over.task.steward.clone()),
        Subject::Server(support::server()),
    ] {
        let client = client_of(&broker, &over).unwrap();
        broker
            .revocations
            .revoke(&admin(), revoke(subject.clone()))
            .await
            .unwrap();
        let error = broker
            .issuance
            .issue_to_task_client(&by_client(&over), &client, None)
            .await
            .unwrap_err();
        assert_eq!(error.code(), ReasonCode::Suspended, "{subject:?}");
        broker
            .revocations
            .reinstate(&admin(), subject)
            .await
            .unwrap();
    }
    fixture.clock.advance(Duration::from_secs(300));
    assert!(client_of(&broker, &over).is_none());
}

#[tokio::test]
async fn a_client_that_proves_a_key_gets_bound_passes_and_no_other_key_will_do() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let [one, two] =
        [31, 32].map(|seed| HolderKey::Ed25519(PrivateKey::from_seed(&[seed; 32]).public()));
    let opened = opened_for_client(&broker).await;
    let client = client_of(&broker, &opened).unwrap();
    let caller = by_client(&opened);
    let issue = |key| broker.issuance.issue_to_task_client(&caller, &client, key);
    let bound = issue(Some(one.clone())).await.unwrap();
    assert_eq!(bound.record.holder, Some(one.thumbprint()));
    assert_eq!(issue(None).await.unwrap().record.holder, None);
    let (caller, agent) = bot();
    let holder = Some(Holding {
        key: one.clone(),
        max_delegations: 0,
    });
    let request = OpenTask {
        holder,
        ..wants(&["read_ledger"])
    };
    let opened = broker
        .issuance
        .open_task_for_client(&caller, &agent, request)
        .await
        .unwrap();
    let client = client_of(&broker, &opened).unwrap();
    let bound = broker
        .issuance
        .issue_to_task_client(&by_client(&opened), &client, None)
        .await
        .unwrap();
    assert_eq!(bound.record.holder, Some(one.thumbprint()));
    let error = broker
        .issuance
        .issue_to_task_client(&by_client(&opened), &client, Some(two))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ReasonCode::InvalidRequest);
}

fn seen(broker: &Broker, token: &PassToken) -> Option<Introspected> {
    broker
        .verifiers
        .introspect(&support::server(), token.expose())
        .unwrap()
}

fn plain_tools(introspected: &Introspected) -> Vec<&str> {
    introspected
        .plain
        .tools
        .iter()
        .map(|tool| tool.as_str())
        .collect()
}

/// Grants the bot everything at the ledger.
async fn with_everything(fixture: &BrokerFiles) -> Arc<Broker> {
    let broker = fixture.with_registrations().await;
    let grant = GRANT.replace(
        "tools = [\"read_*\", \"search_*\"]",
        "tools = [\"*\"]\nprompts = [\"*\"]\nresources = [\"file:///srv/data\"]",
    );
    fs::write(fixture.directory.path().join("policy/reads.toml"), grant).unwrap();
    broker
        .policy
        .reload_policy(&admin())
        .await
        .unwrap()
        .unwrap();
    broker
}

#[tokio::test]
async fn introspection_shows_as_plain_only_what_names_can_say() {
    let fixture = BrokerFiles::new();
    let broker = with_everything(&fixture).await;
    let (caller, agent) = bot();
    let detail = json!({"type": "mcp", "server": support::SERVER,
        "tools": ["read_ledger", "search_ledger", "transfer", "delete_ledger"], "prompts": ["summary"],
        "resources": ["file:///srv/data/q3"], "closed_arguments": ["search_ledger"],
        "constraints": {"transfer": {"/amount": {"max": 100}}}});
    let request = OpenTask {
        details: vec![serde_json::from_value(detail).unwrap()],
        ..wants(&[])
    };
    let issued = broker
        .issuance
        .open_task(&caller, &agent, request)
        .await
        .unwrap();
    let whole = seen(&broker, &issued.token).unwrap();
    assert_eq!(plain_tools(&whole), ["delete_ledger", "read_ledger"]);
    assert_eq!(
        (whole.plain.prompts.len(), whole.plain.resources.len()),
        (1, 1)
    );
    let named: Vec<_> = whole
        .rights
        .iter()
        .flat_map(|detail| &detail.tools)
        .collect();
    assert!(
        named.iter().any(|tool| tool.as_str() == "transfer"),
        "the details tell of it, with its constraint"
    );
    assert_eq!(
        (whole.agent.as_str(), whole.expires_at),
        ("research-bot", issued.record.expires_at)
    );
    assert_eq!((whole.holder, whole.on_behalf_of), (None, Vec::new()));
    // Narrowed: fewer names, an earlier end.
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    narrowing.expires_at = Some(broker.now().floor_second().plus(Duration::from_secs(30)));
    let narrowed = attenuate(&issued.token, &narrowing).unwrap();
    let less = seen(&broker, &narrowed.token).unwrap();
    assert_eq!(
        (plain_tools(&less), less.expires_at),
        (vec!["read_ledger"], narrowing.expires_at.unwrap())
    );
    // What a stranger wrote may mean anything: no name is plain any more.
    let root = broker.feed.key_document().unwrap().keys[0].key;
    let foreign = raw::append(
        &issued.token,
        &root,
        r#"check if call($s, $k, $n), $n != "read_ledger";"#,
    );
    let foreign = seen(&broker, &foreign).unwrap();
    assert!(foreign.plain.names_nothing() && !foreign.rights.is_empty());
    // Nor is a tool that the manifest has no more.
    let mut manifest = support::manifest();
    manifest.tools.remove(&"delete_ledger".parse().unwrap());
    broker
        .registry
        .set_server(&admin(), manifest)
        .await
        .unwrap();
    assert_eq!(
        plain_tools(&seen(&broker, &issued.token).unwrap()),
        ["read_ledger"]
    );
}

#[tokio::test]
async fn introspection_is_relative_to_the_server_and_up_to_date() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let mut manifest = serde_json::to_value(support::manifest()).unwrap();
    (manifest["server"], manifest["name"]) =
        (json!("https://archive.example/mcp"), json!("archive"));
    broker
        .registry
        .set_server(&admin(), serde_json::from_value(manifest).unwrap())
        .await
        .unwrap();
    let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
    assert!(seen(&broker, &issued.token).is_some());
    let archive = "https://archive.example/mcp".parse().unwrap();
    assert_eq!(
        broker
            .verifiers
            .introspect(&archive, issued.token.expose())
            .unwrap(),
        None,
        "another audience"
    );
    let nowhere = "https://nowhere.example/mcp".parse().unwrap();
    assert_eq!(
        broker
            .verifiers
            .introspect(&nowhere, issued.token.expose())
            .unwrap(),
        None
    );
    assert_eq!(
        broker
            .verifiers
            .introspect(&support::server(), "AAAA")
            .unwrap(),
        None
    );
    let strange =
        support::Issuer::new().mint(vec![support::rights(json!({"tools": ["read_ledger"]}))]);
    assert_eq!(seen(&broker, &strange), None);
    for subject in [
        Subject::Server(support::server()),
        Subject::Task(issued.task.task.clone()),
    ] {
        let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
        let subject = if matches!(subject, Subject::Task(_)) {
            Subject::Task(issued.task.task.clone())
        } else {
            subject
        };
        assert!(seen(&broker, &issued.token).is_some());
        broker
            .revocations
            .revoke(&admin(), revoke(subject.clone()))
            .await
            .unwrap();
        assert_eq!(seen(&broker, &issued.token), None, "{subject:?}");
        if matches!(subject, Subject::Server(_)) {
            broker
                .revocations
                .reinstate(&admin(), subject)
                .await
                .unwrap();
            fixture.clock.advance(Duration::from_secs(2));
        }
    }
    // Feed keys rotate while nobody asks.
    let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
    for _ in 0..2 {
        broker
            .keys
            .rotate_key(&admin(), KeyPurpose::Feed)
            .await
            .unwrap();
        fixture.clock.advance(Duration::from_secs(91));
        broker.maintain().await.unwrap();
    }
    assert!(seen(&broker, &issued.token).is_some());
    fixture.clock.advance(Duration::from_secs(300));
    assert_eq!(seen(&broker, &issued.token), None, "it has ended");
}

#[tokio::test]
async fn a_pass_that_a_thief_of_the_root_key_made_is_worth_nothing_here() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
    let file = fs::read_to_string(fixture.directory.path().join("data/keys/root-1.key")).unwrap();
    let jwk: serde_json::Value = serde_json::from_str(&file).unwrap();
    let seed = base64_of(jwk["d"].as_str().unwrap());
    let root = RootKey::new(issued.record.key, &PrivateKey::from_seed(&seed)).unwrap();
    let now = broker.now().floor_second();
    let content = hallpass_core::token::PassContent {
        issuer: broker.issuer().clone(),
        task: issued.task.task.clone(),
        agent: issued.task.agent.clone(),
        steward: issued.task.steward.clone(),
        issued_at: now,
        expires_at: now.plus(Duration::from_secs(100)),
        holder: None,
        rights: vec![support::rights(json!({"tools": ["read_ledger"]}))],
    };
    let forged = hallpass_core::token::mint(&root, &content).unwrap().token;
    assert!(
        fixture.verifier(&broker).verify(forged.expose()).is_ok(),
        "its signature holds"
    );
    assert_eq!(seen(&broker, &forged), None);
    let answer = exchange(&broker, &bot(), of(&forged)).await;
    assert!(
        matches!(answer, Err(ExchangeError::Subject(_))),
        "{answer:?}"
    );
}

fn base64_of(text: &str) -> [u8; 32] {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
        .try_into()
        .unwrap()
}

#[tokio::test]
async fn introspection_names_in_whose_place_a_child_acts_and_to_which_key_it_is_bound() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    for agent in ["helper-bot", "third-bot"] {
        broker
            .registry
            .add_agent(&admin(), new_agent(agent))
            .await
            .unwrap();
    }
    let mut token = open_task(&broker, &["read_ledger"]).await.unwrap().token;
    let key = HolderKey::Ed25519(PrivateKey::from_seed(&[31; 32]).public());
    for agent in ["helper-bot", "third-bot"] {
        let proven = (agent == "third-bot").then(|| key.clone());
        token = exchange(
            &broker,
            &named(agent),
            Of {
                proven,
                ..of(&token)
            },
        )
        .await
        .unwrap()
        .token;
    }
    let seen = seen(&broker, &token).unwrap();
    let behalf: Vec<_> = seen.on_behalf_of.iter().map(AgentId::as_str).collect();
    assert_eq!(
        (seen.agent.as_str(), behalf),
        ("third-bot", vec!["helper-bot", "research-bot"])
    );
    assert_eq!(seen.holder, Some(key.thumbprint()));
}

#[tokio::test]
async fn a_pass_is_given_back_by_its_owner_alone_and_its_task_stays_open() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    broker
        .registry
        .add_agent(&admin(), new_agent("other-bot"))
        .await
        .unwrap();
    let (caller, agent) = bot();
    let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
    let verifier = fixture.verifier(&broker);
    let back = async |owner: &PassOwner, token: &PassToken| {
        broker
            .token_revocations
            .revoke_token(&caller, owner, token.expose())
            .await
            .unwrap()
    };
    let other = PassOwner::Agent("other-bot".parse().unwrap());
    assert_eq!(back(&other, &issued.token).await, GivenBack::NotYours);
    let opened = opened_for_client(&broker).await;
    let strange_client = PassOwner::TaskClient(client_of(&broker, &opened).unwrap());
    assert_eq!(
        back(&strange_client, &issued.token).await,
        GivenBack::NotYours
    );
    fixture.tell(&broker, &verifier);
    assert_eq!(codes(&verifier, &issued), []);
    // Narrowed first: what was appended last dies, and no more.
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&issued.token, &narrowing).unwrap();
    let owner = PassOwner::Agent(agent.clone());
    assert_eq!(
        back(&owner, &narrowed.token).await,
        GivenBack::Revoked(Subject::RevocationId(narrowed.blocks[1]))
    );
    fixture.tell(&broker, &verifier);
    assert_eq!(
        codes_of(&verifier, &narrowed.token),
        [ReasonCode::RevokedToken]
    );
    assert_eq!(codes(&verifier, &issued), []);
    assert!(
        !broker.state().is_revoked_block(&narrowed.blocks[1]),
        "it is remembered with its task, and no longer"
    );
    assert_eq!(
        back(&owner, &issued.token).await,
        GivenBack::Revoked(Subject::RevocationId(issued.record.revocation_id))
    );
    fixture.tell(&broker, &verifier);
    assert_eq!(codes(&verifier, &issued), [ReasonCode::RevokedToken]);
    let again = broker
        .issuance
        .issue_again(&caller, &agent, (&issued.task.task, IssueAgain::default()))
        .await
        .unwrap();
    assert_eq!(codes(&verifier, &again), []);
    // What is dead, foreign or nothing at all leaves no record.
    let before = broker.state().last_sequence();
    let strange =
        support::Issuer::new().mint(vec![support::rights(json!({"tools": ["read_ledger"]}))]);
    for token in [
        &issued.token,
        &narrowed.token,
        &strange,
        &PassToken::from_text("x.y.z".to_owned()),
    ] {
        assert_eq!(back(&owner, token).await, GivenBack::Nothing);
    }
    assert_eq!(broker.state().last_sequence(), before);
    broker.close().await.unwrap();
    drop(broker);
    let broker = fixture.open().await;
    let verifier = fixture.verifier(&broker);
    for dead in [&issued.token, &narrowed.token] {
        assert!(
            codes_of(&verifier, dead).contains(&ReasonCode::RevokedToken),
            "over a restart"
        );
    }
}

#[tokio::test]
async fn a_tasks_client_gives_its_own_pass_back() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let opened = opened_for_client(&broker).await;
    let client = client_of(&broker, &opened).unwrap();
    let issued = broker
        .issuance
        .issue_to_task_client(&by_client(&opened), &client, None)
        .await
        .unwrap();
    let owner = PassOwner::TaskClient(client.clone());
    let given = broker
        .token_revocations
        .revoke_token(&by_client(&opened), &owner, issued.token.expose())
        .await
        .unwrap();
    assert_eq!(
        given,
        GivenBack::Revoked(Subject::RevocationId(issued.record.revocation_id))
    );
    assert_eq!(
        codes(&fixture.verifier(&broker), &issued),
        [ReasonCode::RevokedToken]
    );
    assert!(
        broker
            .issuance
            .issue_to_task_client(&by_client(&opened), &client, None)
            .await
            .is_ok(),
        "the task stays open"
    );
}
