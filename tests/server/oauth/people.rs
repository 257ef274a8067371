//! People's clients: consent, codes and refresh tokens, and everything that must not work.

use hallpass_core::{
    base::{holder::HolderKey, key::PrivateKey},
    token::UnverifiedPass,
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

use crate::oauth::{
    browser::{
        APP, Browser, CALLBACK, VERIFIER, fixture, query, redeem, refresh, register_app,
        sign_in_code, steward, task_of,
    },
    client::{ask, ledger, refused, register, token},
    proofs::proof,
};
use support::{ISSUER, SERVER};
use test_broker::operator::ARCHIVE;
use test_broker::{GRANT, TestBroker};

/// A code that bob allowed.
async fn code(fixture: &TestBroker) -> String {
    Browser::new(fixture).allow(&query(&[]), "bob").await.told()["code"].clone()
}

fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

#[tokio::test]
async fn a_person_allows_what_is_shown_and_the_client_renews_it() {
    let fixture = fixture().await;
    let browser = Browser::new(&fixture);
    let first = browser.open(&query(&[("scope", "tool:read_*")])).await;
    assert_eq!(first.status, 200);
    for shown in [APP, "http://127.0.0.1:43210", SERVER, "read_*"] {
        assert!(first.html.contains(shown), "{shown}: {}", first.html);
    }
    let second = browser
        .sign_in(&query(&[("scope", "tool:read_*")]), "bob")
        .await;
    for shown in ["read_ledger", "reads only", "8h", "10m"] {
        assert!(second.html.contains(shown), "{shown}: {}", second.html);
    }
    let sent = browser
        .post(&[("step", "allow"), ("form", &second.hidden("form"))])
        .await;
    assert!(
        sent.location
            .as_ref()
            .unwrap()
            .starts_with(&format!("{CALLBACK}?"))
    );
    let told = sent.told();
    assert_eq!(
        (&*told["state"], &*told["iss"]),
        ("af0ifj&sl=dkj #", ISSUER)
    );
    assert_eq!(told.keys().collect::<Vec<_>>(), ["code", "iss", "state"]);

    let answer = token(redeem(&fixture, &told["code"], &[("resource", SERVER)])).await;
    assert_eq!(
        (&answer["token_type"], &answer["scope"]),
        (&json!("Bearer"), &json!("tool:read_ledger"))
    );
    UnverifiedPass::parse(answer["access_token"].as_str().unwrap()).unwrap();
    let task = task_of(&fixture, APP).await;
    // For bob, who consented, though alice answers for the client.
    assert_eq!(task["steward"], steward(&fixture, "bob").await);
    let renewed = token(refresh(
        &fixture,
        answer["refresh_token"].as_str().unwrap(),
        &[],
    ))
    .await;
    assert_eq!(
        (&renewed["scope"], renewed.get("authorization_details")),
        (&json!("tool:read_ledger"), None)
    );
    assert_ne!(renewed["refresh_token"], answer["refresh_token"]);
    let task = task_of(&fixture, APP).await;
    assert_eq!(
        (&task["state"], task["passes"].as_array().unwrap().len()),
        (&json!("open"), 2)
    );
}

#[tokio::test]
async fn without_a_scope_everything_that_policy_allows_is_shown_and_given() {
    let fixture = fixture().await;
    let browser = Browser::new(&fixture);
    for resource in [SERVER, ""] {
        let second = browser
            .sign_in(&query(&[("resource", resource)]), "bob")
            .await;
        assert!(
            second.html.contains("read_ledger") && second.html.contains("search_ledger"),
            "{}",
            second.html
        );
        assert!(!second.html.contains("delete_ledger"), "{}", second.html);
        let told = browser
            .post(&[("step", "allow"), ("form", &second.hidden("form"))])
            .await
            .told();
        let answer = token(redeem(&fixture, &told["code"], &[])).await;
        assert_eq!(answer["scope"], "tool:read_ledger tool:search_ledger");
        // Less by scope, and no more.
        let less = refresh(
            &fixture,
            answer["refresh_token"].as_str().unwrap(),
            &[("scope", "tool:search_*")],
        );
        let less = token(less).await;
        assert_eq!(less["scope"], "tool:search_ledger");
        let next = less["refresh_token"].as_str().unwrap();
        let more = refused(refresh(&fixture, next, &[("scope", "tool:delete_ledger")])).await;
        assert_eq!(more, (400, "invalid_scope".to_owned()));
        let elsewhere = refused(refresh(
            &fixture,
            next,
            &[("resource", "https://other.example")],
        ))
        .await;
        assert_eq!(elsewhere, (400, "invalid_target".to_owned()));
        assert_eq!(
            token(refresh(&fixture, next, &[])).await["scope"],
            "tool:read_ledger tool:search_ledger"
        );
    }
}

#[tokio::test]
async fn rights_that_were_asked_for_in_full_are_told_in_full() {
    let fixture = fixture().await;
    let details = ledger(&["read_*", "delete_ledger"]).to_string();
    let asked = query(&[("authorization_details", &details)]);
    let code = Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let answer = token(redeem(&fixture, &code, &[])).await;
    assert_eq!(answer["authorization_details"], ledger(&["read_ledger"]));
    let renewed = token(refresh(
        &fixture,
        answer["refresh_token"].as_str().unwrap(),
        &[],
    ))
    .await;
    assert_eq!(renewed["authorization_details"], ledger(&["read_ledger"]));
}

#[tokio::test]
async fn a_code_that_comes_again_ends_what_came_of_it() {
    let fixture = fixture().await;
    let code = code(&fixture).await;
    let answer = token(redeem(&fixture, &code, &[])).await;
    assert_eq!(refused(redeem(&fixture, &code, &[])).await, invalid_grant());
    assert_eq!(task_of(&fixture, APP).await["state"], "revoked");
    let renewed = refused(refresh(
        &fixture,
        answer["refresh_token"].as_str().unwrap(),
        &[],
    ))
    .await;
    assert_eq!(renewed, invalid_grant());
    assert_eq!(refused(redeem(&fixture, &code, &[])).await, invalid_grant());
}

#[tokio::test]
async fn a_code_is_good_for_its_client_its_place_and_its_verifier_only() {
    let fixture = fixture().await;
    register_app(&fixture, "other-app", &["http://127.0.0.1/callback"]).await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let other_verifier = "x".repeat(43);
    let wrong: [&[(&str, &str)]; 6] = [
        &[("client_id", "other-app")],
        &[("client_id", "build-bot"), ("client_secret", &secret)],
        &[("redirect_uri", "http://127.0.0.1:43211/callback")],
        &[("redirect_uri", "https://desk.example/cb")],
        &[("redirect_uri", "")],
        &[("code_verifier", &other_verifier)],
    ];
    for more in wrong {
        let code = code(&fixture).await;
        assert_eq!(
            refused(redeem(&fixture, &code, more)).await,
            invalid_grant(),
            "{more:?}"
        );
        // It came from where it should not have been: nobody gets anything for it any more.
        assert_eq!(
            refused(redeem(&fixture, &code, &[])).await,
            invalid_grant(),
            "{more:?}"
        );
    }
    let code = code(&fixture).await;
    for more in [
        [("code_verifier", "")],
        [("code_verifier", "short")],
        [("code", "")],
    ] {
        let without = refused(redeem(&fixture, &code, &more)).await;
        assert_eq!(without, (400, "invalid_request".to_owned()), "{more:?}");
    }
    for more in [
        [("client_id", "unknown")],
        [("client_id", "build-bot")],
        [("client_id", "")],
    ] {
        let unproven = refused(redeem(&fixture, &code, &more)).await;
        assert_eq!(unproven, (401, "invalid_client".to_owned()), "{more:?}");
    }
    assert_eq!(
        refused(redeem(&fixture, "hpc_unknown", &[])).await,
        invalid_grant()
    );
    let elsewhere = refused(redeem(
        &fixture,
        &code,
        &[("resource", "https://other.example")],
    ))
    .await;
    assert_eq!(elsewhere, (400, "invalid_target".to_owned()));
    let details = refused(redeem(
        &fixture,
        &code,
        &[("authorization_details", &ledger(&["*"]).to_string())],
    ))
    .await;
    assert_eq!(details, (400, "invalid_authorization_details".to_owned()));
    // None of that was the code's fault.
    token(redeem(&fixture, &code, &[])).await;
}

#[tokio::test]
async fn a_client_with_a_secret_shows_it_for_its_code() {
    let fixture = fixture().await;
    let secret = register(&fixture, "web-app", json!([])).await;
    let change = json!({"steward": "alice", "groups": ["research"], "redirect_uris": ["https://desk.example/cb"]});
    let changed = fixture
        .operator(Method::PUT, "/v1/agents/web-app")
        .json(&change)
        .send()
        .await
        .unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
    let place = ("redirect_uri", "https://desk.example/cb");
    let asked = query(&[("client_id", "web-app"), place]);
    let code = Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let as_app = ("client_id", "web-app");
    let without = refused(redeem(&fixture, &code, &[as_app, place])).await;
    assert_eq!(without, (401, "invalid_client".to_owned()));
    let answer = token(redeem(
        &fixture,
        &code,
        &[as_app, place, ("client_secret", &secret)],
    ))
    .await;
    let next = answer["refresh_token"].as_str().unwrap();
    assert_eq!(
        refused(refresh(&fixture, next, &[as_app])).await,
        (401, "invalid_client".to_owned())
    );
    token(refresh(
        &fixture,
        next,
        &[as_app, ("client_secret", &secret)],
    ))
    .await;
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_ends_its_family() {
    let fixture = fixture().await;
    let answer = token(redeem(&fixture, &code(&fixture).await, &[])).await;
    let first = answer["refresh_token"].as_str().unwrap();
    let second = token(refresh(&fixture, first, &[])).await;
    let third = token(refresh(
        &fixture,
        second["refresh_token"].as_str().unwrap(),
        &[],
    ))
    .await;
    assert_eq!(
        refused(refresh(&fixture, first, &[])).await,
        invalid_grant()
    );
    assert_eq!(task_of(&fixture, APP).await["state"], "revoked");
    assert_eq!(
        refused(refresh(
            &fixture,
            third["refresh_token"].as_str().unwrap(),
            &[]
        ))
        .await,
        invalid_grant()
    );
}

#[tokio::test]
async fn a_refresh_token_that_is_given_back_ends_what_the_person_allowed() {
    let fixture = fixture().await;
    register_app(&fixture, "other-app", &["http://127.0.0.1/callback"]).await;
    let answer = token(redeem(&fixture, &code(&fixture).await, &[])).await;
    let given_back = answer["refresh_token"].as_str().unwrap();
    let give_back = async |client: &str, status: u16| {
        let form = [
            ("client_id", client),
            ("token", given_back),
            ("token_type_hint", "refresh_token"),
        ];
        let response = fixture
            .request(Method::POST, "/oauth/revoke")
            .form(&form)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status);
    };
    give_back("nobody", 401).await;
    give_back("other-app", 400).await;
    assert_eq!(task_of(&fixture, APP).await["state"], "open");
    for _ in 0..2 {
        give_back(APP, 200).await;
        assert_eq!(task_of(&fixture, APP).await["state"], "completed");
    }
    assert_eq!(
        refused(refresh(&fixture, given_back, &[])).await,
        invalid_grant()
    );
}

#[tokio::test]
async fn a_refresh_token_of_another_client_ends_its_family() {
    let fixture = fixture().await;
    register_app(&fixture, "other-app", &["http://127.0.0.1/callback"]).await;
    let answer = token(redeem(&fixture, &code(&fixture).await, &[])).await;
    let stolen = answer["refresh_token"].as_str().unwrap();
    assert_eq!(
        refused(refresh(&fixture, stolen, &[("client_id", "other-app")])).await,
        invalid_grant()
    );
    assert_eq!(
        refused(refresh(&fixture, stolen, &[])).await,
        invalid_grant()
    );
    assert_eq!(task_of(&fixture, APP).await["state"], "revoked");
}

#[tokio::test]
async fn two_refreshes_at_once_get_one_answer_and_the_task_goes_on() {
    let fixture = fixture().await;
    for _ in 0..5 {
        let answer = token(redeem(&fixture, &code(&fixture).await, &[])).await;
        let first = answer["refresh_token"].as_str().unwrap();
        let (one, other) = tokio::join!(
            token(refresh(&fixture, first, &[])),
            token(refresh(&fixture, first, &[]))
        );
        for name in ["refresh_token", "access_token", "scope"] {
            assert_eq!(one[name], other[name], "{name}");
        }
        assert_ne!(one["refresh_token"], first);
        token(refresh(
            &fixture,
            one["refresh_token"].as_str().unwrap(),
            &[],
        ))
        .await;
    }
    let tasks = fixture.tasks_of(APP).await;
    for task in &tasks {
        let passes = task["passes"].as_array().unwrap().len();
        assert_eq!((&task["state"], passes), (&json!("open"), 3));
    }
}

#[tokio::test]
async fn another_request_with_a_used_refresh_token_ends_its_family_at_once() {
    let fixture = fixture().await;
    register_app(&fixture, "other-app", &["http://127.0.0.1/callback"]).await;
    for more in [
        ("client_id", "other-app"),
        ("scope", "tool:read_ledger"),
        ("resource", SERVER),
    ] {
        let answer = token(redeem(&fixture, &code(&fixture).await, &[])).await;
        let first = answer["refresh_token"].as_str().unwrap();
        let second = token(refresh(&fixture, first, &[])).await;
        let again = refused(refresh(&fixture, first, &[more])).await;
        assert_eq!(again, invalid_grant(), "{more:?}");
        let next = second["refresh_token"].as_str().unwrap();
        assert_eq!(
            refused(refresh(&fixture, next, &[])).await,
            invalid_grant(),
            "{more:?}"
        );
    }
}

#[tokio::test]
async fn of_two_redemptions_at_once_one_wins_and_the_task_ends() {
    let fixture = fixture().await;
    let code = code(&fixture).await;
    let (one, other) = tokio::join!(
        redeem(&fixture, &code, &[]).send(),
        redeem(&fixture, &code, &[]).send()
    );
    let mut statuses = [
        one.unwrap().status().as_u16(),
        other.unwrap().status().as_u16(),
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    assert_eq!(task_of(&fixture, APP).await["state"], "revoked");
}

#[tokio::test]
async fn a_restart_forgets_no_code_and_no_family() {
    let fixture = fixture().await;
    let (unused, used) = (code(&fixture).await, code(&fixture).await);
    let answer = token(redeem(&fixture, &used, &[])).await;
    let first = answer["refresh_token"].as_str().unwrap();
    let second = token(refresh(&fixture, first, &[])).await;
    let sign_in = sign_in_code(&fixture, "carol").await;

    let fixture = fixture.restarted().await;
    let browser = Browser::new(&fixture);
    let request = browser.open(&query(&[])).await.hidden("request");
    let signed_in = browser
        .post(&[
            ("step", "sign_in"),
            ("request", &request),
            ("code", &sign_in),
        ])
        .await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.html);
    token(redeem(&fixture, &unused, &[])).await;
    let third = token(refresh(
        &fixture,
        second["refresh_token"].as_str().unwrap(),
        &[],
    ))
    .await;

    let fixture = fixture.restarted().await;
    // The second page is the process's own.
    let late = Browser::new(&fixture)
        .post(&[("step", "allow"), ("form", &signed_in.hidden("form"))])
        .await;
    assert_eq!(late.status, 409);
    assert_eq!(
        refused(refresh(&fixture, first, &[])).await,
        invalid_grant()
    );
    assert_eq!(
        refused(refresh(
            &fixture,
            third["refresh_token"].as_str().unwrap(),
            &[]
        ))
        .await,
        invalid_grant()
    );
    assert_eq!(
        refused(redeem(&fixture, &unused, &[])).await,
        invalid_grant()
    );
}

#[tokio::test]
async fn revoking_the_person_the_client_or_the_task_ends_the_family_for_good() {
    for subject in ["steward", "agent", "task"] {
        let fixture = fixture().await;
        let bob = steward(&fixture, "bob").await;
        let answer = token(redeem(&fixture, &code(&fixture).await, &[])).await;
        let pending = code(&fixture).await;
        let id = match subject {
            "steward" => bob.clone(),
            "agent" => APP.to_owned(),
            _ => task_of(&fixture, APP).await["task_id"]
                .as_str()
                .unwrap()
                .to_owned(),
        };
        fixture.revoke(json!({ subject: id })).await;
        let next = answer["refresh_token"].as_str().unwrap();
        assert_eq!(
            refused(refresh(&fixture, next, &[])).await,
            invalid_grant(),
            "{subject}"
        );
        if subject == "task" {
            token(redeem(&fixture, &pending, &[])).await;
            continue;
        }
        let path = format!("/v1/{subject}s/{id}/reinstate");
        let reinstated = fixture
            .operator(Method::POST, &path)
            .json(&json!({}))
            .send()
            .await
            .unwrap();
        assert!(reinstated.status().is_success());
        assert_eq!(
            refused(refresh(&fixture, next, &[])).await,
            invalid_grant(),
            "{subject}"
        );
        assert_eq!(
            refused(redeem(&fixture, &pending, &[])).await,
            invalid_grant(),
            "{subject}"
        );
    }
}

#[tokio::test]
async fn whoever_answers_for_a_client_can_stop_it_and_let_it_go_on() {
    let fixture = fixture().await;
    let answer = token(redeem(&fixture, &code(&fixture).await, &[])).await;
    let alice = steward(&fixture, "alice").await;
    fixture.revoke(json!({"steward": alice})).await;
    let next = answer["refresh_token"].as_str().unwrap();
    assert_eq!(
        refused(refresh(&fixture, next, &[])).await,
        (400, "unauthorized_client".to_owned())
    );
    let path = format!("/v1/stewards/{alice}/reinstate");
    assert!(
        fixture
            .operator(Method::POST, &path)
            .json(&json!({}))
            .send()
            .await
            .unwrap()
            .status()
            .is_success()
    );
    // What bob allowed was never alice's to end.
    token(refresh(&fixture, next, &[])).await;
}

#[tokio::test]
async fn policy_is_asked_again_at_every_renewal() {
    let fixture = fixture().await;
    let answer = token(redeem(&fixture, &code(&fixture).await, &[])).await;
    fixture
        .set_grants(&GRANT.replace(", \"search_*\"", ""))
        .await;
    let less = token(refresh(
        &fixture,
        answer["refresh_token"].as_str().unwrap(),
        &[],
    ))
    .await;
    assert_eq!(less["scope"], "tool:read_ledger");
    fixture.set_grants("").await;
    let next = less["refresh_token"].as_str().unwrap();
    assert_eq!(
        refused(refresh(&fixture, next, &[])).await,
        (400, "unauthorized_client".to_owned())
    );
    // A no of the policy uses nothing up.
    fixture.set_grants(GRANT).await;
    token(refresh(&fixture, next, &[])).await;
}

#[tokio::test]
async fn a_client_takes_its_pass_for_some_of_the_servers_that_were_allowed() {
    let fixture = fixture().await;
    fixture.add_archive().await;
    // One `resource` more than the usual one.
    let asked = format!("{}&resource={ARCHIVE}&scope=tool:read*", query(&[]));
    let code = Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let answer = token(redeem(&fixture, &code, &[("resource", ARCHIVE)])).await;
    assert_eq!(answer["scope"], "tool:read");
    let next = answer["refresh_token"].as_str().unwrap();
    let other = token(refresh(&fixture, next, &[("resource", SERVER)])).await;
    assert_eq!(other["scope"], "tool:read_ledger");
    let both = token(refresh(
        &fixture,
        other["refresh_token"].as_str().unwrap(),
        &[],
    ))
    .await;
    assert_eq!(both["scope"], "tool:read tool:read_ledger");
}

#[tokio::test]
async fn what_a_person_allowed_is_renewed_by_its_refresh_tokens_alone() {
    let fixture = TestBroker::new().await;
    let change = json!({"steward": "alice", "groups": ["research"], "keys": [fixture.bot.public_jwk()],
        "redirect_uris": [CALLBACK]});
    let changed = fixture
        .operator(Method::PUT, "/v1/agents/research-bot")
        .json(&change)
        .send()
        .await
        .unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
    let asked = query(&[("client_id", "research-bot"), ("scope", "tool:read_ledger")]);
    let code = Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let assertion = test_broker::assertion(&fixture.bot);
    let proof = [
        ("client_id", ""),
        ("client_assertion", &*assertion),
        (
            "client_assertion_type",
            crate::oauth::client::ASSERTION_TYPE,
        ),
    ];
    token(redeem(&fixture, &code, &proof)).await;
    let task = task_of(&fixture, "research-bot").await;
    let path = format!("/v1/tasks/{}/tokens", task["task_id"].as_str().unwrap());
    let wide = json!({"authorization_details": ledger(&["*"])});
    let answer = fixture
        .agent(Method::POST, &path)
        .json(&wide)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert_eq!(
        task_of(&fixture, "research-bot").await["passes"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn no_secret_of_a_person_reaches_the_records() {
    let fixture = fixture().await;
    let browser = Browser::new(&fixture);
    let sign_in = sign_in_code(&fixture, "bob").await;
    let request = browser.open(&query(&[])).await.hidden("request");
    let second = browser
        .post(&[
            ("step", "sign_in"),
            ("request", &request),
            ("code", &sign_in),
        ])
        .await;
    let form = second.hidden("form");
    let code = browser
        .post(&[("step", "allow"), ("form", &form)])
        .await
        .told()["code"]
        .clone();
    let answer = token(redeem(&fixture, &code, &[])).await;
    let next = answer["refresh_token"].as_str().unwrap();
    token(refresh(&fixture, next, &[])).await;
    let journal = fixture.journal();
    for kind in [
        "sign_in_code_made",
        "signed_in",
        "consent_given",
        "code_used",
        "refresh_rotated",
    ] {
        assert!(journal.contains(kind), "{kind}");
    }
    for secret in [
        &*sign_in,
        &form,
        &code,
        next,
        VERIFIER,
        answer["access_token"].as_str().unwrap(),
        "bob",
    ] {
        assert!(!journal.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn what_people_allowed_gives_their_client_nothing_of_its_own() {
    let fixture = fixture().await;
    // A public client has nothing to prove itself by.
    assert_eq!(
        refused(ask(&fixture, &[("client_id", APP)])).await,
        (401, "invalid_client".to_owned())
    );
}

#[tokio::test]
async fn a_code_that_is_bound_to_a_key_needs_its_proof_and_so_does_every_renewal() {
    let fixture = fixture().await;
    let [holder, thief] = [7, 8].map(|seed| PrivateKey::from_seed(&[seed; 32]));
    let asked = query(&[(
        "dpop_jkt",
        &HolderKey::Ed25519(holder.public()).thumbprint(),
    )]);
    let code = async || Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let by = |key: &PrivateKey, request: RequestBuilder| {
        request.header("dpop", proof(key, json!({}), json!({})))
    };
    for is_proven in [true, false] {
        let code = code().await;
        let wrong = redeem(&fixture, &code, &[]);
        let wrong = if is_proven { by(&thief, wrong) } else { wrong };
        assert_eq!(refused(wrong).await, invalid_grant(), "proven: {is_proven}");
        // Somebody else has it: nobody gets anything for it any more.
        assert_eq!(
            refused(by(&holder, redeem(&fixture, &code, &[]))).await,
            invalid_grant(),
            "proven: {is_proven}"
        );
    }
    assert!(!fixture.records().contains_key("token_issued"));
    let answer = token(by(&holder, redeem(&fixture, &code().await, &[]))).await;
    assert_eq!(answer["token_type"], "DPoP");
    let next = answer["refresh_token"].as_str().unwrap();
    assert_eq!(refused(refresh(&fixture, next, &[])).await, invalid_grant());
    assert_eq!(
        refused(by(&thief, refresh(&fixture, next, &[]))).await,
        invalid_grant()
    );
    // Who has the token and not the key ends nothing.
    assert_eq!(task_of(&fixture, APP).await["state"], "open");
    let renewed = token(by(&holder, refresh(&fixture, next, &[]))).await;
    assert_eq!(renewed["token_type"], "DPoP");
    // A client that lost the answer asks again, with a proof of its own.
    let again = token(by(&holder, refresh(&fixture, next, &[]))).await;
    assert_eq!(again["refresh_token"], renewed["refresh_token"]);
    let stolen = refused(by(&thief, refresh(&fixture, next, &[]))).await;
    assert_eq!(stolen, invalid_grant());
    assert_eq!(task_of(&fixture, APP).await["state"], "revoked");
}

#[tokio::test]
async fn a_server_that_grows_gives_the_client_nothing_new() {
    let fixture = fixture().await;
    let asked = query(&[("scope", "tool:read_*")]);
    let code = Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let answer = token(redeem(&fixture, &code, &[])).await;
    let mut manifest = serde_json::to_value(support::manifest()).unwrap();
    manifest["tools"]["read_more"] = json!({"read_only": true});
    let set = fixture
        .operator(Method::PUT, "/v1/servers")
        .json(&manifest)
        .send()
        .await
        .unwrap();
    assert_eq!(set.status(), StatusCode::OK);
    let renewed = token(refresh(
        &fixture,
        answer["refresh_token"].as_str().unwrap(),
        &[],
    ))
    .await;
    assert_eq!(renewed["scope"], "tool:read_ledger");
    // A person who is asked now is shown it, and can allow it.
    let second = Browser::new(&fixture).sign_in(&asked, "bob").await;
    assert!(second.html.contains("read_more"), "{}", second.html);
}
