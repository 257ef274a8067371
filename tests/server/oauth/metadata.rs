//! Metadata: at every place where a client looks, with everything that stock clients insist on.

use std::sync::Arc;

use hallpass::server::Server;
use hallpass_broker::{Broker, Options};
use hallpass_core::base::time::SystemClock;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use support::ISSUER;
use test_broker::{Recorder, TestBroker};

#[tokio::test]
async fn the_document_has_what_stock_clients_insist_on() {
    let fixture = TestBroker::new().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let request = fixture
            .request(Method::GET, path)
            .header("origin", "https://page.example");
        let response = request
            .header("mcp-protocol-version", "2025-11-25")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert!(
            response.headers()["cache-control"]
                .to_str()
                .unwrap()
                .contains("max-age")
        );
        let document: Value = response.json().await.unwrap();
        assert_eq!(document["issuer"], ISSUER);
        for (endpoint, at) in [
            ("authorization_endpoint", "/oauth/authorize"),
            ("token_endpoint", "/oauth/token"),
        ] {
            assert_eq!(document[endpoint], format!("{ISSUER}{at}"));
        }
        assert_eq!(document["response_types_supported"], json!(["code"]));
        assert_eq!(
            document["code_challenge_methods_supported"],
            json!(["S256"])
        );
        assert_eq!(
            document["authorization_response_iss_parameter_supported"],
            true
        );
        let lists =
            |name: &str, item: &str| document[name].as_array().unwrap().contains(&json!(item));
        assert!(lists("grant_types_supported", "client_credentials"));
        for method in [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ] {
            assert!(
                lists("token_endpoint_auth_methods_supported", method),
                "{method}"
            );
        }
        for algorithm in ["RS256", "ES256", "EdDSA"] {
            assert!(
                lists(
                    "token_endpoint_auth_signing_alg_values_supported",
                    algorithm
                ),
                "{algorithm}"
            );
        }
        if path.ends_with("openid-configuration") {
            for name in [
                "jwks_uri",
                "subject_types_supported",
                "id_token_signing_alg_values_supported",
            ] {
                assert!(document.get(name).is_some(), "{name}");
            }
        }
        // Some clients ask for all scopes that they find here.
        assert!(document.get("scopes_supported").is_none());
    }
}

#[tokio::test]
async fn the_key_set_is_there_and_holds_no_key_that_signs_something_else() {
    let fixture = TestBroker::new().await;
    let answer = fixture
        .request(Method::GET, "/oauth/jwks.json")
        .header("origin", "https://page.example")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.status(), answer.json::<Value>().await.unwrap()),
        (StatusCode::OK, json!({"keys": []}))
    );
}

#[tokio::test]
async fn an_issuer_with_a_path_has_it_at_every_form_of_the_well_known_path() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = "https://broker.example/at/work";
    let path = |name: &str| directory.path().join(name);
    let options = Options::new(issuer.parse().unwrap(), path("data"), path("policy"));
    let broker = Broker::open(options, Arc::new(SystemClock::default()))
        .await
        .unwrap()
        .broker;
    let server = Server::bind(
        test_broker::options(),
        broker,
        Arc::new(Recorder::default()),
    )
    .await
    .unwrap();
    let address = server.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(server.serve(async { drop(stopped.await) }));
    let client = Client::builder().no_proxy().build().unwrap();
    let get = async |path: &str| {
        let response = client
            .get(format!("http://{address}{path}"))
            .send()
            .await
            .unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    for name in ["oauth-authorization-server", "openid-configuration"] {
        for path in [
            format!("/.well-known/{name}/at/work"),
            format!("/at/work/.well-known/{name}"),
            // A proxy that takes the path off leaves this.
            format!("/.well-known/{name}"),
        ] {
            let (status, document) = get(&path).await;
            assert_eq!(
                (status, &document["issuer"]),
                (200, &json!(issuer)),
                "{path}"
            );
            assert_eq!(document["token_endpoint"], format!("{issuer}/oauth/token"));
        }
        assert_eq!(get(&format!("/.well-known/{name}/at")).await.0, 404);
    }
    for path in ["/oauth/token", "/at/work/oauth/token"] {
        let answer = client
            .post(format!("http://{address}{path}"))
            .form(&[("a", "b")])
            .send()
            .await
            .unwrap();
        assert_eq!(
            answer.json::<Value>().await.unwrap()["error"],
            "invalid_request",
            "{path}"
        );
    }
    drop(client);
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn browsers_may_come_to_the_oauth_door_and_to_no_other() {
    let fixture = TestBroker::new().await;
    let from_page = |method: Method, path: &str| {
        fixture
            .request(method, path)
            .header("origin", "https://page.example")
    };
    for (path, methods) in [
        ("/oauth/token", "POST"),
        ("/.well-known/oauth-authorization-server", "GET"),
    ] {
        let asked =
            from_page(Method::OPTIONS, path).header("access-control-request-method", methods);
        let asked = asked.header(
            "access-control-request-headers",
            "authorization,mcp-protocol-version,dpop",
        );
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        let allowed = |name: &str| {
            answer.headers()[name]
                .to_str()
                .unwrap()
                .to_ascii_lowercase()
        };
        assert!(allowed("access-control-allow-methods").contains(&methods.to_ascii_lowercase()));
        for header in ["authorization", "mcp-protocol-version", "dpop"] {
            assert!(
                allowed("access-control-allow-headers").contains(header),
                "{header}"
            );
        }
        assert!(
            answer
                .headers()
                .get("access-control-allow-credentials")
                .is_none()
        );
    }
    let refused = from_page(Method::POST, "/oauth/token")
        .form(&[("a", "b")])
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            refused.status().as_u16(),
            &refused.headers()["access-control-allow-origin"]
        ),
        (400, &"*".parse().unwrap())
    );
    for (method, path) in [
        (Method::OPTIONS, "/v1/tasks"),
        (Method::GET, "/v1/keys.json"),
        (Method::POST, "/v1/tasks"),
    ] {
        let answer = from_page(method, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
        assert!(
            answer
                .headers()
                .get("access-control-allow-origin")
                .is_none(),
            "{path}"
        );
    }
}
