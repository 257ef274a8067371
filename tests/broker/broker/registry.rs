//! Servers, stewards, grants and keys: changed whole, on the record, and with the policy in mind.

use hallpass_broker::policy::Grant;
use hallpass_core::token::manifest::Manifest;

use super::{refusals::recorded, *};

#[tokio::test]
async fn an_erased_name_is_on_the_record_and_on_whose_word() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let steward = broker.registry.find_steward("alice").unwrap();
    broker
        .registry
        .erase_steward(&admin(), &steward)
        .await
        .unwrap();
    assert_eq!(recorded(&broker, "steward_erased"), 1);
    assert_eq!(
        broker.registry.find_steward("alice").unwrap_err().code(),
        ReasonCode::NotFound
    );
    assert_eq!(
        broker
            .registry
            .erase_steward(&admin(), &steward)
            .await
            .unwrap_err()
            .code(),
        ReasonCode::NotFound
    );
    assert_eq!(recorded(&broker, "steward_erased"), 1);
}

#[tokio::test]
async fn of_two_that_register_a_server_at_once_one_is_refused() {
    let fixture = BrokerFiles::new();
    let broker = fixture.open().await;
    let admin = admin();
    let add = || broker.registry.add_server(&admin, support::manifest());
    let (one, other) = tokio::join!(add(), add());
    let refused: Vec<_> = [one, other]
        .into_iter()
        .filter_map(Result::err)
        .map(|error| error.code())
        .collect();
    assert_eq!(refused, [ReasonCode::Conflict]);
    assert_eq!(recorded(&broker, "server_set"), 1);
}

#[tokio::test]
async fn a_manifest_that_silences_a_guardrail_is_refused_and_the_start_after_it_works() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let guardrail = format!(
        "@id(\"quiet\")\nforbid (principal, action, resource in Server::\"{}\");\n",
        support::SERVER
    );
    std::fs::write(
        fixture.directory.path().join("policy/quiet.cedar"),
        guardrail,
    )
    .unwrap();
    broker
        .policy
        .reload_policy(&admin())
        .await
        .unwrap()
        .unwrap();
    let mut renamed = serde_json::to_value(support::manifest()).unwrap();
    renamed["server"] = json!("https://books.example/mcp");
    renamed["aliases"] = json!([support::SERVER]);
    let renamed: Manifest = serde_json::from_value(renamed).unwrap();
    broker
        .registry
        .remove_server(&admin(), support::SERVER)
        .await
        .unwrap();
    let error = broker
        .registry
        .set_server(&admin(), renamed)
        .await
        .unwrap_err();
    assert!(
        error.code() == ReasonCode::Conflict && error.to_string().contains("quiet"),
        "{error}"
    );
    broker.close().await.unwrap();
    drop(broker);
    fixture.open().await;
}

#[tokio::test]
async fn a_grant_that_could_not_be_recorded_leaves_no_file() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    broker.close().await.unwrap();
    let mut grant = Grant::new(
        "late".parse().unwrap(),
        "ledger".parse().unwrap(),
        Duration::from_secs(60),
    );
    grant.agents = vec!["*".parse().unwrap()];
    grant.tools = vec!["read_*".parse().unwrap()];
    let error = broker
        .policy
        .write_grant(&admin(), &grant)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ReasonCode::Unavailable);
    assert!(!fixture.directory.path().join("policy/late.toml").exists());
}

#[tokio::test]
async fn no_workload_to_which_codes_are_sent_is_without_key_and_secret() {
    let fixture = BrokerFiles::new();
    let workloads = ["ci-bot".parse().unwrap(), "app-bot".parse().unwrap()].into();
    let options = Options {
        workloads,
        ..fixture.options()
    };
    let broker = Broker::open(options, fixture.clock.clone())
        .await
        .unwrap()
        .broker;
    let redirect_uris = || vec!["http://127.0.0.1/cb".parse().unwrap()];
    let bare = |agent: &str| NewAgent {
        keys: Vec::new(),
        ..new_agent(agent)
    };
    broker
        .registry
        .add_agent(&admin(), bare("ci-bot"))
        .await
        .unwrap();
    let refused = broker
        .registry
        .change_agent(
            &admin(),
            NewAgent {
                redirect_uris: redirect_uris(),
                ..bare("ci-bot")
            },
        )
        .await;
    assert_eq!(refused.unwrap_err().code(), ReasonCode::InvalidRequest);
    let app = NewAgent {
        redirect_uris: redirect_uris(),
        ..bare("app-bot")
    };
    assert_eq!(
        broker
            .registry
            .add_agent(&admin(), app.clone())
            .await
            .unwrap_err()
            .code(),
        ReasonCode::InvalidRequest
    );
    let (view, _) = broker
        .registry
        .add_agent_with_secret(&admin(), app.clone())
        .await
        .unwrap();
    let secret = &view.secrets[0].secret_id;
    let refused = broker
        .registry
        .remove_secret(&admin(), &app.agent, secret)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), ReasonCode::Conflict);
    // Without them its platform's word is enough.
    broker
        .registry
        .change_agent(&admin(), bare("app-bot"))
        .await
        .unwrap();
    broker
        .registry
        .remove_secret(&admin(), &app.agent, secret)
        .await
        .unwrap();
}
