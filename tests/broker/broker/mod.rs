//! The broker's use cases, without HTTP.

mod answering;
mod backups;
mod children;
mod clocks;
mod doors;
mod entitlements;
mod exchanges;
mod keys;
mod limits;
mod people;
mod proofs;
mod refusals;
mod registry;
mod retention;
mod revocations;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hallpass_broker::{
    Broker, BrokerError, Caller, IssueAgain, Issued, KeysAtRest, NewAgent, OpenTask, Options,
    Retention, Revoke,
    domain::event::{Actor, KeyPurpose, Subject},
    ledger::views::{Filter, Order, Window},
};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{AgentId, KeyId},
        time::{Clock as _, ManualClock},
    },
    token::{Call, PassToken},
};
use hallpass_verify::Verifier;
use serde_json::json;

struct BrokerFiles {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl BrokerFiles {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
        let policy = directory.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        std::fs::write(policy.join("reads.toml"), GRANT).unwrap();
        Self { directory, clock }
    }

    fn options(&self) -> Options {
        Options {
            rotation_overlap: Duration::from_secs(90),
            ..Options::new(
                support::ISSUER.parse().unwrap(),
                self.directory.path().join("data"),
                self.directory.path().join("policy"),
            )
        }
    }

    async fn open(&self) -> Arc<Broker> {
        self.open_keeping(Retention::default()).await
    }

    async fn open_keeping(&self, retention: Retention) -> Arc<Broker> {
        let options = Options {
            retention,
            ..self.options()
        };
        Broker::open(options, self.clock.clone())
            .await
            .unwrap()
            .broker
    }

    /// A broker with the ledger and one agent registered.
    async fn with_registrations(&self) -> Arc<Broker> {
        let broker = self.open().await;
        broker
            .registry
            .set_server(&admin(), support::manifest())
            .await
            .unwrap();
        broker
            .registry
            .add_agent(&admin(), new_agent("research-bot"))
            .await
            .unwrap();
        broker
    }

    fn verifier(&self, broker: &Broker) -> Verifier {
        let document = broker.feed.key_document().unwrap();
        let verifier = Verifier::builder(
            broker.issuer().clone(),
            document.feed_key.thumbprint(),
            support::manifest(),
        )
        .clock(self.clock.clone())
        .build();
        verifier.accept_key_document(&document.into()).unwrap();
        self.tell(broker, &verifier);
        verifier
    }

    fn tell(&self, broker: &Broker, verifier: &Verifier) {
        verifier
            .accept_frame(
                &broker
                    .feed
                    .feed_frame(&support::server(), None)
                    .unwrap()
                    .text,
            )
            .unwrap();
    }
}

fn new_agent(agent: &str) -> NewAgent {
    NewAgent {
        agent: agent.parse().unwrap(),
        steward: "alice".to_owned(),
        groups: ["research".parse().unwrap()].into(),
        keys: vec![
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        ],
        default_details: Vec::new(),
        redirect_uris: Vec::new(),
    }
}

fn admin() -> Caller {
    Caller {
        actor: Actor::Operator("admin".parse().unwrap()),
        ..Caller::broker()
    }
}

fn bot() -> (Caller, AgentId) {
    let agent: AgentId = "research-bot".parse().unwrap();
    (
        Caller {
            actor: Actor::Agent(agent.clone()),
            ..Caller::broker()
        },
        agent,
    )
}

fn wants(tools: &[&str]) -> OpenTask {
    let detail = json!({"type": "mcp", "server": support::SERVER, "tools": tools});
    OpenTask {
        purpose: "close the Q3 books".to_owned(),
        ttl: Duration::from_secs(300),
        details: vec![serde_json::from_value(detail).unwrap()],
        fixed_rights: false,
        allow_partial: false,
        steward: None,
        verified: None,
        context: BTreeMap::new(),
        holder: None,
    }
}

async fn open_task(broker: &Broker, tools: &[&str]) -> Result<Issued, BrokerError> {
    let (caller, agent) = bot();
    broker
        .issuance
        .open_task(&caller, &agent, wants(tools))
        .await
}

fn codes(verifier: &Verifier, issued: &Issued) -> Vec<ReasonCode> {
    codes_of(verifier, &issued.token)
}

fn codes_of(verifier: &Verifier, token: &PassToken) -> Vec<ReasonCode> {
    let answer = verifier.verify(token.expose()).and_then(|pass| {
        verifier
            .clear(&pass, &Call::tool("read_ledger", None))
            .map(drop)
    });
    answer
        .err()
        .map(|denial| denial.codes())
        .unwrap_or_default()
}

fn revoke(subject: Subject) -> Revoke {
    Revoke {
        subject,
        only_token: false,
        reason: Some("laptop lost".to_owned()),
    }
}

#[tokio::test]
async fn a_granted_task_gives_a_pass_that_the_server_accepts() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let issued = open_task(&broker, &["read_*"]).await.unwrap();
    assert_eq!(issued.record.decided_by[0].grant.as_str(), "research-reads");
    assert_eq!(
        issued.record.rights[0]
            .tools
            .iter()
            .map(|tool| tool.as_str())
            .collect::<Vec<_>>(),
        ["read_ledger"]
    );
    assert_eq!(codes(&fixture.verifier(&broker), &issued), []);
    let refused = open_task(&broker, &["delete_ledger"]).await.unwrap_err();
    assert_eq!(refused.code(), ReasonCode::NoGrant);
}

#[tokio::test]
async fn a_clock_that_is_set_back_misdates_no_record_and_reopens_no_task() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (caller, agent) = bot();
    let ended = open_task(&broker, &["read_ledger"]).await.unwrap();
    fixture.clock.advance(Duration::from_secs(301));
    broker
        .policy
        .reload_policy(&admin())
        .await
        .unwrap()
        .unwrap();
    let last = broker.now();

    fixture.clock.set("2026-11-22T09:00:00Z".parse().unwrap());
    assert_eq!(broker.now(), last);
    let again = broker
        .issuance
        .issue_again(&caller, &agent, (&ended.task.task, IssueAgain::default()))
        .await
        .unwrap_err();
    assert_eq!(again.code(), ReasonCode::TaskEnded);
    let later = open_task(&broker, &["read_ledger"]).await.unwrap();
    assert!(later.record.issued_at >= last.floor_second() && later.record.expires_at > last);
    drop(broker);

    let broker = fixture.open().await;
    assert!(broker.now() >= last, "the journal remembers, too");
    let window = Window {
        order: Order::OldestFirst,
        after: None,
        limit: 1000,
    };
    let events = broker
        .history
        .trail()
        .events(&Filter::default(), window)
        .unwrap()
        .events;
    assert!(
        events.iter().filter(|event| event.at >= last).count() >= 3
            && events.is_sorted_by_key(|event| event.at)
    );
}

#[tokio::test]
async fn every_subject_can_be_revoked_and_its_passes_die() {
    for kind in ["revocation id", "task", "agent", "steward", "server", "key"] {
        let fixture = BrokerFiles::new();
        let broker = fixture.with_registrations().await;
        let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
        let (subject, code) = match kind {
            "revocation id" => (
                Subject::RevocationId(issued.record.revocation_id),
                ReasonCode::RevokedToken,
            ),
            "task" => (
                Subject::Task(issued.task.task.clone()),
                ReasonCode::RevokedTask,
            ),
            "agent" => (
                Subject::Agent(issued.task.agent.clone()),
                ReasonCode::RevokedAgent,
            ),
            "steward" => (
                Subject::Steward(issued.task.steward.clone()),
                ReasonCode::RevokedSteward,
            ),
            "server" => (
                Subject::Server(support::server()),
                ReasonCode::RevokedServer,
            ),
            _ => {
                let only = broker
                    .revocations
                    .revoke(&admin(), revoke(Subject::Key(issued.record.key)))
                    .await
                    .unwrap_err();
                assert_eq!(only.code(), ReasonCode::Conflict);
                broker
                    .keys
                    .rotate_key(&admin(), KeyPurpose::Root)
                    .await
                    .unwrap();
                (Subject::Key(issued.record.key), ReasonCode::TokenKeyUnknown)
            }
        };
        let verifier = fixture.verifier(&broker);
        assert_eq!(codes(&verifier, &issued), [], "{kind}");
        let revoked = broker
            .revocations
            .revoke(&admin(), revoke(subject))
            .await
            .unwrap();
        fixture.tell(&broker, &verifier);
        assert_eq!(codes(&verifier, &issued), [code], "{kind}");
        assert!(
            broker
                .feed
                .feed_frame(&support::server(), None)
                .unwrap()
                .sequence
                >= revoked.sequence
        );
    }
}

#[tokio::test]
async fn a_revoked_agent_gets_nothing_until_it_is_reinstated_and_old_passes_stay_dead() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let old = open_task(&broker, &["read_ledger"]).await.unwrap();
    let subject = Subject::Agent(old.task.agent.clone());
    broker
        .revocations
        .revoke(&admin(), revoke(subject.clone()))
        .await
        .unwrap();
    assert_eq!(
        open_task(&broker, &["read_ledger"])
            .await
            .unwrap_err()
            .code(),
        ReasonCode::Suspended
    );
    broker
        .revocations
        .reinstate(&admin(), subject)
        .await
        .unwrap();
    // In the very second of the revocation, so that only the later `iat` tells the two apart.
    let new = open_task(&broker, &["read_ledger"]).await.unwrap();
    let verifier = fixture.verifier(&broker);
    assert_eq!(codes(&verifier, &old), [ReasonCode::RevokedAgent]);
    assert_eq!(codes(&verifier, &new), []);
}

#[tokio::test]
async fn a_task_ends_when_it_is_completed_or_its_first_block_is_revoked() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (caller, agent) = bot();
    let again = |task| {
        broker
            .issuance
            .issue_again(&caller, &agent, (task, IssueAgain::default()))
    };

    let completed = open_task(&broker, &["read_ledger"]).await.unwrap();
    again(&completed.task.task).await.unwrap();
    broker
        .tasks
        .complete_task(&caller, &agent, &completed.task.task)
        .await
        .unwrap();
    assert_eq!(
        again(&completed.task.task).await.unwrap_err().code(),
        ReasonCode::TaskEnded
    );

    let revoked = open_task(&broker, &["read_ledger"]).await.unwrap();
    broker
        .revocations
        .revoke(
            &admin(),
            revoke(Subject::RevocationId(revoked.record.revocation_id)),
        )
        .await
        .unwrap();
    assert_eq!(
        again(&revoked.task.task).await.unwrap_err().code(),
        ReasonCode::TaskEnded
    );

    let renewed = open_task(&broker, &["read_ledger"]).await.unwrap();
    let only_token = Revoke {
        only_token: true,
        ..revoke(Subject::RevocationId(renewed.record.revocation_id))
    };
    broker
        .revocations
        .revoke(&admin(), only_token)
        .await
        .unwrap();
    let next = again(&renewed.task.task).await.unwrap();
    assert!(next.record.expires_at <= renewed.task.ends_at);

    let verifier = fixture.verifier(&broker);
    assert_eq!(codes(&verifier, &completed), [ReasonCode::RevokedTask]);
    assert_eq!(codes(&verifier, &renewed), [ReasonCode::RevokedToken]);
    assert_eq!(codes(&verifier, &next), []);
    fixture.clock.advance(Duration::from_secs(301));
    assert_eq!(
        again(&renewed.task.task).await.unwrap_err().code(),
        ReasonCode::TaskEnded
    );
}

#[tokio::test]
async fn a_restart_ends_in_the_same_state() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let kept = open_task(&broker, &["read_ledger"]).await.unwrap();
    let gone = open_task(&broker, &["read_ledger"]).await.unwrap();
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Task(gone.task.task.clone())))
        .await
        .unwrap();
    let tasks = serde_json::to_value(broker.tasks.tasks(None, None, 10)).unwrap();
    let epoch = broker.state().epoch();
    broker.close().await.unwrap();
    drop(broker);
    std::fs::remove_dir_all(fixture.directory.path().join("data/index")).unwrap();

    let broker = fixture.open().await;
    assert_eq!(
        serde_json::to_value(broker.tasks.tasks(None, None, 10)).unwrap(),
        tasks
    );
    assert_eq!(broker.state().epoch(), epoch);
    let verifier = fixture.verifier(&broker);
    assert_eq!(codes(&verifier, &kept), []);
    assert_eq!(codes(&verifier, &gone), [ReasonCode::RevokedTask]);
}

#[tokio::test]
async fn a_second_broker_on_one_directory_is_refused() {
    let fixture = BrokerFiles::new();
    let broker = fixture.open().await;
    let options = broker.options().clone();
    let error = Broker::open(options, fixture.clock.clone())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("in use by another hallpass"),
        "{error}"
    );
}

#[tokio::test]
async fn a_rotated_root_key_signs_after_the_overlap_and_old_passes_live_on() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let verifier = fixture.verifier(&broker);
    let old = open_task(&broker, &["read_ledger"]).await.unwrap();
    broker
        .keys
        .rotate_key(&admin(), KeyPurpose::Root)
        .await
        .unwrap();
    broker
        .keys
        .rotate_key(&admin(), KeyPurpose::Feed)
        .await
        .unwrap();
    assert_eq!(
        open_task(&broker, &["read_ledger"])
            .await
            .unwrap()
            .record
            .key,
        old.record.key
    );
    // The verifier hears of the pending keys, then of what they sign.
    fixture.tell(&broker, &verifier);
    fixture.clock.advance(Duration::from_secs(91));
    broker.maintain().await.unwrap();
    let new = open_task(&broker, &["read_ledger"]).await.unwrap();
    assert_ne!(new.record.key, old.record.key);
    fixture.tell(&broker, &verifier);
    assert_eq!(codes(&verifier, &old), []);
    assert_eq!(codes(&verifier, &new), []);
    // Once the last old pass is over, the old key is revoked.
    fixture.clock.advance(Duration::from_secs(1000));
    broker.maintain().await.unwrap();
    fixture.tell(&broker, &verifier);
    assert_eq!(codes(&verifier, &old), [ReasonCode::TokenKeyUnknown]);
}

#[tokio::test]
async fn a_key_file_that_others_can_read_stops_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let fixture = BrokerFiles::new();
    let broker = fixture.open().await;
    let options = broker.options().clone();
    broker.close().await.unwrap();
    drop(broker);
    let key = fixture.directory.path().join("data/keys/root-1.key");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o604)).unwrap();
    let error = Broker::open(options, fixture.clock.clone())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn the_feed_pushes_a_revocation_to_its_subscriber() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let verifier = fixture.verifier(&broker);
    let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
    let mut subscription = broker.feed.subscribe(&support::server(), None).unwrap();
    verifier.accept_frame(&subscription.first.text).unwrap();
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Task(issued.task.task.clone())))
        .await
        .unwrap();
    let frame = tokio::time::timeout(Duration::from_secs(5), subscription.next())
        .await
        .unwrap()
        .unwrap();
    verifier.accept_frame(&frame.text).unwrap();
    assert_eq!(codes(&verifier, &issued), [ReasonCode::RevokedTask]);
}

#[tokio::test]
async fn a_snapshot_of_many_revocations_is_accepted() {
    let issuer = support::Issuer::new();
    let verifier = issuer.silent_verifier();
    let mut frame = issuer.frame();
    let expires_at = issuer.now().plus(Duration::from_secs(600));
    let entry = |number: u32| hallpass_core::wire::document::RevocationEntry {
        subject: hallpass_core::base::digest::SubjectDigest::new("task", &number.to_string()),
        cut_off: None,
        expires_at,
    };
    frame.revocations = (0..20_000).map(entry).collect();
    issuer.tell(&verifier, frame);
    assert_eq!(verifier.revocation_count(), 20_000);
}

const GRANT: &str = r#"
[[grant]]
id = "research-reads"
agents = ["group:research"]
server = "ledger"
tools = ["read_*", "search_*"]
max_ttl = "10m"
"#;

#[tokio::test]
async fn an_agent_that_a_platform_proves_needs_no_key() {
    let fixture = BrokerFiles::new();
    let workloads = ["deploy-bot".parse().unwrap()].into();
    let broker = Broker::open(
        Options {
            workloads,
            ..fixture.options()
        },
        fixture.clock.clone(),
    )
    .await
    .unwrap()
    .broker;
    let without = |agent: &str| NewAgent {
        keys: Vec::new(),
        ..new_agent(agent)
    };
    let refused = broker
        .registry
        .add_agent(&admin(), without("other-bot"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ReasonCode::InvalidRequest);
    broker
        .registry
        .add_agent(&admin(), without("deploy-bot"))
        .await
        .unwrap();
    broker
        .registry
        .change_agent(&admin(), without("deploy-bot"))
        .await
        .unwrap();
    let (view, secret) = broker
        .registry
        .add_secret(&admin(), &"deploy-bot".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(view.secrets.len(), 1);
    assert_eq!(
        broker
            .registry
            .remove_secret(
                &admin(),
                &view.agent,
                &secret.recorded(view.registered_at).id()
            )
            .await
            .unwrap()
            .secrets
            .len(),
        0
    );
}
