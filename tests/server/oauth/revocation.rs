//! Revocation: a client gives back what it was given, and nobody else does.

use hallpass_core::token::{Narrowing, PassToken, attenuate};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::oauth::{
    client::{ASSERTION_TYPE, ask, basic, exchange, ledger, pass_of, refused, register, token},
    introspection::{secret, told},
    task_clients::{credential, open},
};
use test_broker::{TestBroker, assertion};

fn give_back(fixture: &TestBroker, pass: &str) -> RequestBuilder {
    fixture
        .request(Method::POST, "/oauth/revoke")
        .form(&[("token", pass), ("token_type_hint", "access_token")])
}

async fn done(request: RequestBuilder) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        (
            &answer.headers()["cache-control"],
            &answer.headers()["pragma"]
        ),
        (&"no-store".parse().unwrap(), &"no-cache".parse().unwrap())
    );
    assert_eq!(answer.text().await.unwrap(), "");
}

#[tokio::test]
async fn a_client_ends_its_own_pass_and_no_other() {
    let fixture = TestBroker::new().await;
    let asking = secret(&fixture, "ledger").await;
    let [one, other] = [
        register(&fixture, "build-bot", ledger(&["read_ledger"])).await,
        register(&fixture, "other-bot", ledger(&["read_ledger"])).await,
    ];
    let by_one =
        |request: RequestBuilder| request.header("authorization", basic("build-bot", &one));
    let [pass, kept] = [
        pass_of(&token(by_one(ask(&fixture, &[]))).await),
        pass_of(&token(by_one(ask(&fixture, &[]))).await),
    ];
    let active =
        async |pass: &str| told(&fixture, ("ledger", &asking), pass).await["active"] == true;
    let foreign = give_back(&fixture, &pass).header("authorization", basic("other-bot", &other));
    assert_eq!(refused(foreign).await, (400, "invalid_grant".to_owned()));
    assert!(active(&pass).await);
    let before = fixture.records();
    done(by_one(give_back(&fixture, &pass))).await;
    assert!(!active(&pass).await && active(&kept).await);
    // Again, and what is none: nothing to do, and nothing on the record.
    let revoked = fixture.records();
    assert_eq!(
        revoked["revoked"] - before.get("revoked").copied().unwrap_or(0),
        1
    );
    for nothing in [&pass, "x", "a.b.c", &fixture.admin] {
        done(by_one(give_back(&fixture, nothing))).await;
    }
    assert_eq!(fixture.records(), revoked);
    let unknown_hint = fixture
        .request(Method::POST, "/oauth/revoke")
        .form(&[("token", &kept), ("token_type_hint", &"saml".to_owned())]);
    done(by_one(unknown_hint)).await;
    assert!(!active(&kept).await);
}

#[tokio::test]
async fn a_narrowed_pass_is_given_back_alone() {
    let fixture = TestBroker::new().await;
    let asking = secret(&fixture, "ledger").await;
    let whole = fixture.open_task().await["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&PassToken::from_text(whole.clone()), &narrowing)
        .unwrap()
        .token;
    let form = [
        ("token", narrowed.expose()),
        ("client_assertion", &assertion(&fixture.bot)),
        ("client_assertion_type", ASSERTION_TYPE),
    ];
    done(fixture.request(Method::POST, "/oauth/revoke").form(&form)).await;
    let active =
        async |pass: &str| told(&fixture, ("ledger", &asking), pass).await["active"] == true;
    assert!(active(&whole).await && !active(narrowed.expose()).await);
}

#[tokio::test]
async fn a_tasks_client_gives_back_its_pass_and_may_ask_again() {
    let fixture = TestBroker::new().await;
    let asking = secret(&fixture, "ledger").await;
    let (opened, other) = (open(&fixture).await, open(&fixture).await);
    let ask_as = |opened: &Value| ask(&fixture, &[]).header("authorization", credential(opened));
    let pass = pass_of(&token(ask_as(&opened)).await);
    let foreign = give_back(&fixture, &pass).header("authorization", credential(&other));
    assert_eq!(refused(foreign).await, (400, "invalid_grant".to_owned()));
    done(give_back(&fixture, &pass).header("authorization", credential(&opened))).await;
    assert_eq!(
        told(&fixture, ("ledger", &asking), &pass).await,
        json!({"active": false})
    );
    token(ask_as(&opened)).await;
}

#[tokio::test]
async fn whoever_does_not_prove_itself_revokes_nothing() {
    let fixture = TestBroker::new().await;
    let asking = secret(&fixture, "ledger").await;
    let pass = fixture.open_task().await["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = fixture.records();
    let headers = [
        None,
        Some(basic("research-bot", "x")),
        Some(format!("Bearer {}", fixture.admin)),
        Some(basic("ledger", &asking)),
    ];
    for header in headers {
        let request = give_back(&fixture, &pass);
        let request = match &header {
            Some(header) => request.header("authorization", header),
            None => request,
        };
        assert_eq!(
            refused(request).await,
            (401, "invalid_client".to_owned()),
            "{header:?}"
        );
    }
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let empty = fixture
        .request(Method::POST, "/oauth/revoke")
        .header("authorization", basic("build-bot", &secret));
    assert_eq!(
        refused(empty.form(&[("token", "")])).await,
        (400, "invalid_request".to_owned())
    );
    assert_eq!(fixture.records().get("revoked"), before.get("revoked"));
}

#[tokio::test]
async fn what_came_of_a_pass_by_exchange_dies_when_it_is_given_back() {
    let fixture = TestBroker::new().await;
    let asking = secret(&fixture, "ledger").await;
    let [build, helper] = [
        register(&fixture, "build-bot", ledger(&["read_ledger"])).await,
        register(&fixture, "helper-bot", json!([])).await,
    ];
    let by_build =
        |request: RequestBuilder| request.header("authorization", basic("build-bot", &build));
    let [pass, kept] = [
        pass_of(&token(by_build(ask(&fixture, &[]))).await),
        pass_of(&token(by_build(ask(&fixture, &[]))).await),
    ];
    let child = async |of: &str| {
        pass_of(
            &token(exchange(
                &fixture,
                ("helper-bot", &helper),
                (of, "access_token"),
                &[],
            ))
            .await,
        )
    };
    let (dying, living) = (child(&pass).await, child(&kept).await);
    done(by_build(give_back(&fixture, &pass))).await;
    let active =
        async |pass: &str| told(&fixture, ("ledger", &asking), pass).await["active"] == true;
    assert!(!active(&dying).await && active(&living).await);
    // The helper gives back its own, and its parent's lives on.
    done(give_back(&fixture, &living).header("authorization", basic("helper-bot", &helper))).await;
    assert!(!active(&living).await && active(&kept).await);
}
