//! Sessions of MCP before 2026-07-28 belong to the task that opened them, and to no narrower pass.

use bytes::Bytes;
use hallpass::token::{Narrowing, PassToken, attenuate};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::{
    guarded::{Guarded, json_response, message, request},
    support::rights,
};

fn in_session(token: &str, method: Method, session: &str) -> Request<Full<Bytes>> {
    let body = if method == Method::POST { message("ping", &json!({})) } else { String::new() };
    let mut request = request(token, body);
    *request.method_mut() = method;
    request.headers_mut().append("mcp-session-id", session.parse().unwrap());
    request
}

fn opening(session: &'static str) -> impl Fn(&http::request::Parts) -> Response<Full<Bytes>> + Send + Sync + 'static {
    move |_| {
        let mut response = json_response(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
        response.headers_mut().insert("mcp-session-id", session.parse().unwrap());
        response
    }
}

fn of_task(guarded: &Guarded, task: &str) -> String {
    let mut content = guarded.issuer.content(vec![rights(json!({"tools": ["read_ledger"]}))]);
    content.task = task.parse().unwrap();
    guarded.issuer.mint_content(&content).expose().to_owned()
}

const MINE: &str = "tsk_00000000000000000000000000000001";
const OTHER: &str = "tsk_00000000000000000000000000000002";

#[tokio::test]
async fn a_session_serves_the_task_that_opened_it() {
    let guarded = Guarded::answering(opening("s-1"));
    let (mine, renewed, other) = (of_task(&guarded, MINE), of_task(&guarded, MINE), of_task(&guarded, OTHER));
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&PassToken::from_text(mine.clone()), &narrowing).unwrap();
    assert_eq!(guarded.send(request(&mine, message("initialize", &json!({})))).await.status, StatusCode::OK);
    for token in [mine.as_str(), renewed.as_str()] {
        for method in [Method::POST, Method::GET] {
            assert_eq!(guarded.send(in_session(token, method, "s-1")).await.status, StatusCode::OK);
        }
    }
    guarded.reached();
    let mut twice = in_session(&mine, Method::POST, "s-1");
    twice.headers_mut().append("mcp-session-id", "s-1".parse().unwrap());
    let stranger =
        |token: &str| [Method::POST, Method::GET, Method::DELETE].map(|method| in_session(token, method, "s-1"));
    // One that may do less could read what was answered to more.
    let strangers = [stranger(&other), stranger(narrowed.token.expose())].into_iter().flatten();
    let unknown = in_session(&mine, Method::POST, "s-2");
    for request in strangers.chain([twice, unknown]) {
        let answered = guarded.send(request).await;
        assert_eq!((answered.status, answered.reason().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    }
    assert!(guarded.reached().is_empty());
    assert_eq!(guarded.send(in_session(&mine, Method::DELETE, "s-1")).await.status, StatusCode::OK);
    assert_eq!(guarded.send(in_session(&mine, Method::POST, "s-1")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_narrowed_pass_goes_on_with_its_own_session_and_its_parents_join_in() {
    let guarded = Guarded::answering(opening("s-1"));
    let (mine, renewed) = (of_task(&guarded, MINE), of_task(&guarded, MINE));
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrow = |token: &str| attenuate(&PassToken::from_text(token.to_owned()), &narrowing).unwrap().token;
    let narrowed = narrow(&mine);
    let further = narrow(narrowed.expose());
    let sibling = narrow(&mine);
    assert_eq!(
        guarded.send(request(narrowed.expose(), message("initialize", &json!({})))).await.status,
        StatusCode::OK
    );
    for (token, status) in [
        (narrowed.expose(), StatusCode::OK),
        (&mine, StatusCode::OK),
        (&renewed, StatusCode::OK),
        (further.expose(), StatusCode::NOT_FOUND),
        (sibling.expose(), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(guarded.send(in_session(token, Method::GET, "s-1")).await.status, status);
    }
}

#[tokio::test]
async fn only_initialize_opens_a_session() {
    let guarded = Guarded::answering(opening("s-1"));
    let mine = of_task(&guarded, MINE);
    assert_eq!(guarded.send(request(&mine, message("ping", &json!({})))).await.status, StatusCode::OK);
    assert_eq!(guarded.send(in_session(&mine, Method::POST, "s-1")).await.status, StatusCode::NOT_FOUND);
}
