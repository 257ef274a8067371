//! Sessions of MCP before 2026-07-28 belong to the agent that opened them, and to no narrower pass.

use bytes::Bytes;
use hallpass_core::{
    base::{holder::HolderKey, key::PrivateKey},
    token::{Holding, Narrowing, PassContent, PassToken, attenuate},
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::tower::guarded::{Guarded, json_response, message, request};
use support::rights;

fn in_session(token: &str, method: Method, session: &str) -> Request<Full<Bytes>> {
    let body = if method == Method::POST {
        message("ping", &json!({}))
    } else {
        String::new()
    };
    let mut request = request(token, body);
    *request.method_mut() = method;
    request
        .headers_mut()
        .append("mcp-session-id", session.parse().unwrap());
    request
}

fn opening(
    session: &'static str,
) -> impl Fn(&http::request::Parts) -> Response<Full<Bytes>> + Send + Sync + 'static {
    move |_| {
        let mut response = json_response(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
        response
            .headers_mut()
            .insert("mcp-session-id", session.parse().unwrap());
        response
    }
}

fn of_task(guarded: &Guarded, task: &str) -> String {
    of(guarded, |content| content.task = task.parse().unwrap())
}

fn of(guarded: &Guarded, change: impl FnOnce(&mut PassContent)) -> String {
    let mut content = guarded
        .issuer
        .content(vec![rights(json!({"tools": ["read_ledger"]}))]);
    change(&mut content);
    guarded.issuer.mint_content(&content).expose().to_owned()
}

/// A pass of the other task with these rights on the ledger.
fn allowing(guarded: &Guarded, members: Value) -> String {
    of(guarded, |content| {
        content.task = OTHER.parse().unwrap();
        content.rights = vec![rights(members)];
    })
}

const MINE: &str = "tsk_00000000000000000000000000000001";
const OTHER: &str = "tsk_00000000000000000000000000000002";

#[tokio::test]
async fn a_session_serves_the_agent_that_opened_it() {
    let guarded = Guarded::answering(opening("s-1"));
    let (mine, renewed) = (of_task(&guarded, MINE), of_task(&guarded, MINE));
    let other = of(&guarded, |content| {
        content.agent = "other-bot".parse().unwrap()
    });
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&PassToken::from_text(mine.clone()), &narrowing).unwrap();
    assert_eq!(
        guarded
            .send(request(&mine, message("initialize", &json!({}))))
            .await
            .status,
        StatusCode::OK
    );
    for token in [mine.as_str(), renewed.as_str()] {
        for method in [Method::POST, Method::GET] {
            assert_eq!(
                guarded.send(in_session(token, method, "s-1")).await.status,
                StatusCode::OK
            );
        }
    }
    guarded.reached();
    let mut twice = in_session(&mine, Method::POST, "s-1");
    twice
        .headers_mut()
        .append("mcp-session-id", "s-1".parse().unwrap());
    let stranger = |token: &str| {
        [Method::POST, Method::GET, Method::DELETE].map(|method| in_session(token, method, "s-1"))
    };
    // One that may do less could read what was answered to more.
    let strangers = [stranger(&other), stranger(narrowed.token.expose())]
        .into_iter()
        .flatten();
    let unknown = in_session(&mine, Method::POST, "s-2");
    for request in strangers.chain([twice, unknown]) {
        let answered = guarded.send(request).await;
        assert_eq!(
            (answered.status, answered.reason().as_str()),
            (StatusCode::NOT_FOUND, "not_found")
        );
    }
    assert!(guarded.reached().is_empty());
    assert_eq!(
        guarded
            .send(in_session(&mine, Method::DELETE, "s-1"))
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        guarded
            .send(in_session(&mine, Method::POST, "s-1"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_narrowed_pass_uses_its_own_session_and_so_may_its_parents() {
    let guarded = Guarded::answering(opening("s-1"));
    let (mine, renewed) = (of_task(&guarded, MINE), of_task(&guarded, MINE));
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrow = |token: &str| {
        attenuate(&PassToken::from_text(token.to_owned()), &narrowing)
            .unwrap()
            .token
    };
    let narrowed = narrow(&mine);
    let further = narrow(narrowed.expose());
    let sibling = narrow(&mine);
    assert_eq!(
        guarded
            .send(request(
                narrowed.expose(),
                message("initialize", &json!({}))
            ))
            .await
            .status,
        StatusCode::OK
    );
    for (token, status) in [
        (narrowed.expose(), StatusCode::OK),
        (&mine, StatusCode::OK),
        (&renewed, StatusCode::OK),
        (further.expose(), StatusCode::NOT_FOUND),
        (sibling.expose(), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(
            guarded
                .send(in_session(token, Method::GET, "s-1"))
                .await
                .status,
            status
        );
    }
}

#[tokio::test]
async fn only_initialize_opens_a_session() {
    let guarded = Guarded::answering(opening("s-1"));
    let mine = of_task(&guarded, MINE);
    assert_eq!(
        guarded
            .send(request(&mine, message("ping", &json!({}))))
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        guarded
            .send(in_session(&mine, Method::POST, "s-1"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

/// What an OAuth client gets when its token has ended, or when it stepped up, is of another task.
#[tokio::test]
async fn a_later_task_may_use_the_session_when_it_allows_no_less() {
    let guarded = Guarded::answering(opening("s-1"));
    let opener = json!({"tools": ["read_ledger", "transfer"], "resources": ["file:///srv/data/open"],
        "constraints": {"transfer": {"/amount": {"min": 0, "max": 100}, "/currency": {"in": ["EUR", "CHF"]}}}});
    let with = |name: &str, value: Value| {
        let mut members = opener.clone();
        members[name] = value;
        allowing(&guarded, members)
    };
    let opened = of(&guarded, |content| {
        content.rights = vec![rights(opener.clone())]
    });
    assert_eq!(
        guarded
            .send(request(&opened, message("initialize", &json!({}))))
            .await
            .status,
        StatusCode::OK
    );

    let again = allowing(&guarded, opener.clone());
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&PassToken::from_text(again.clone()), &narrowing)
        .unwrap()
        .token;
    let holder = Holding {
        key: HolderKey::Ed25519(PrivateKey::from_seed(&[11; 32]).public()),
        max_delegations: 0,
    };
    let changed = |change: fn(&mut PassContent)| {
        of(&guarded, |content| {
            content.task = OTHER.parse().unwrap();
            content.rights = vec![rights(opener.clone())];
            change(content);
        })
    };
    let bound = of(&guarded, |content| {
        content.task = OTHER.parse().unwrap();
        content.rights = vec![rights(opener.clone())];
        content.holder = Some(holder);
    });
    for (what, token, goes_on) in [
        ("the same", again.clone(), true),
        (
            "more tools",
            with("tools", json!(["read_ledger", "search_ledger", "transfer"])),
            true,
        ),
        (
            "a wider subtree",
            with("resources", json!(["file:///srv/data"])),
            true,
        ),
        ("no constraint", with("constraints", json!({})), true),
        ("a prompt more", with("prompts", json!(["summary"])), true),
        ("fewer tools", with("tools", json!(["transfer"])), false),
        (
            "a narrower subtree",
            with("resources", json!(["file:///srv/data/open/deep"])),
            false,
        ),
        ("no subtree", with("resources", json!([])), false),
        (
            "another constraint",
            with(
                "constraints",
                json!({"transfer": {"/amount": {"min": 0, "max": 99}}}),
            ),
            false,
        ),
        // Printed as Datalog, it reads like that of the two.
        (
            "one text for two",
            with(
                "constraints",
                json!({"transfer": {"/currency": {"in": ["CHF\", \"EUR"]}}}),
            ),
            false,
        ),
        (
            "closed arguments",
            with("closed_arguments", json!(["transfer"])),
            false,
        ),
        ("only reading", with("read_only", json!(true)), false),
        (
            "less of the same task",
            of(&guarded, |content| {
                content.rights = vec![rights(json!({"tools": ["transfer"]}))]
            }),
            false,
        ),
        (
            "narrowed by its holder",
            narrowed.expose().to_owned(),
            false,
        ),
        (
            "for another person",
            changed(|content| content.steward = OTHER_STEWARD.parse().unwrap()),
            false,
        ),
        (
            "of another agent",
            changed(|content| content.agent = "other-bot".parse().unwrap()),
            false,
        ),
        ("bound to a key", bound, false),
    ] {
        let answered = guarded.send(in_session(&token, Method::POST, "s-1")).await;
        let expected = match what {
            "bound to a key" => StatusCode::UNAUTHORIZED,
            _ if goes_on => StatusCode::OK,
            _ => StatusCode::NOT_FOUND,
        };
        assert_eq!(answered.status, expected, "{what}: {}", answered.text);
    }
}

const OTHER_STEWARD: &str = "stw_00000000000000000000000000000002";
