//! Filtered lists, and streams that end with the pass.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hallpass_core::{
    token::PassToken,
    wire::document::{RevocationEntry, Subjects},
};
use hallpass_verify::tower::HallpassLayer;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::tower::guarded::{Guarded, call, json_response, message, request, response, strict};
use support::{Issuer, raw};

fn everything() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": {
        "tools": [{"name": "read_ledger", "inputSchema": {"type": "object"}}, {"name": "delete_ledger"}, {"name": "transfer"},
                  {"name": "unknown"}, {"name": 7}, {}, "delete_ledger"],
        "prompts": [{"name": "summary"}, {"name": "other"}],
        "resources": [{"uri": "file:///srv/data/open/a"}, {"uri": "file:///srv/data/shut"}, {"uri": "FILE:///srv/data/open/a"}],
        "resourceTemplates": [
            {"uriTemplate": "file:///srv/data/open/{name}"}, {"uriTemplate": "file:///srv/{path}"}, {"uriTemplate": "file:///etc/{name}"},
            {"uriTemplate": "{scheme}://x"},
        ],
        "nextCursor": "n", "cacheScope": "public", "ttlMs": 3_600_000, "_meta": {"a": 1},
    }})
}

/// What the holder of the usual pass may see of it.
fn allowed() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": {
        "tools": [{"name": "read_ledger", "inputSchema": {"type": "object"}}, {"name": "transfer"}],
        "prompts": [{"name": "summary"}],
        "resources": [{"uri": "file:///srv/data/open/a"}],
        "resourceTemplates": [{"uriTemplate": "file:///srv/data/open/{name}"}, {"uriTemplate": "file:///srv/{path}"}],
        "nextCursor": "n", "cacheScope": "private", "ttlMs": 10_000, "_meta": {"a": 1},
    }})
}

const LISTS: [&str; 4] = [
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
];

#[tokio::test]
async fn json_lists_show_what_may_be_called() {
    let guarded = Guarded::answering(|_| {
        let mut response = json_response(&everything());
        response
            .headers_mut()
            .insert("etag", "\"all\"".parse().unwrap());
        response
            .headers_mut()
            .insert("content-length", "9".parse().unwrap());
        response
    });
    for method in LISTS {
        let answered = guarded.post(message(method, &json!({}))).await;
        assert_eq!(
            (answered.status, answered.json()),
            (StatusCode::OK, allowed()),
            "{method}"
        );
        assert_eq!(
            (answered.header("etag"), answered.header("cache-control")),
            ("", "no-store")
        );
    }
    // The time to live never exceeds that of the pass.
    guarded.issuer.clock.advance(Duration::from_secs(296));
    guarded
        .issuer
        .tell(&guarded.verifier, guarded.issuer.frame());
    let old = guarded
        .issuer
        .content(vec![])
        .issued_at
        .minus(Duration::from_secs(296));
    let mut content = guarded
        .issuer
        .content(vec![support::rights(json!({"tools": ["read_ledger"]}))]);
    (content.issued_at, content.expires_at) = (old, old.plus(Duration::from_secs(300)));
    let pass = guarded.issuer.mint_content(&content);
    let answered = guarded
        .send(request(pass.expose(), message("tools/list", &json!({}))))
        .await;
    assert_eq!(answered.json()["result"]["ttlMs"], 4_000);
}

#[tokio::test]
async fn the_cost_of_filtering_a_list_for_a_slow_pass_is_bounded() {
    let hidden = (0..1_000).map(|index| json!({"uri": format!("file:///etc/{index}")}));
    let listed = (0..200).map(|index| json!({"uri": format!("file:///srv/data/open/{index}")}));
    let list: Vec<Value> = hidden.chain(listed).collect();
    let guarded = Guarded::answering(move |_| {
        json_response(&json!({"jsonrpc": "2.0", "id": 1, "result": {"resources": list}}))
    });
    let set = (0..140)
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let code = format!("check if {{{set}}}.all($x -> {{{set}}}.contains($x));");
    let plain = PassToken::from_text(guarded.pass());
    let slow = raw::append(&plain, &guarded.issuer.root.public(), &code);
    let mut shown = Vec::new();
    for pass in [plain, slow] {
        let answered = guarded
            .send(request(
                pass.expose(),
                message("resources/list", &json!({})),
            ))
            .await;
        shown.push(
            answered.json()["result"]["resources"]
                .as_array()
                .unwrap()
                .len(),
        );
    }
    assert_eq!(shown[0], 200);
    assert!((70..100).contains(&shown[1]), "{shown:?}");
}

#[tokio::test]
async fn an_error_and_an_answer_without_a_list_are_sent_on() {
    for body in [
        json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no"}}),
        json!({"jsonrpc": "2.0", "id": 1, "result": {"other": ["delete_ledger"]}}),
    ] {
        let sent = body.clone();
        let guarded = Guarded::answering(move |_| json_response(&sent));
        assert_eq!(
            guarded.post(message("tools/list", &json!({}))).await.json(),
            body
        );
    }
    let guarded = Guarded::answering(|_| {
        let mut response = response("text/plain", "no session");
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    });
    let answered = guarded.post(message("tools/list", &json!({}))).await;
    assert_eq!(
        (answered.status, answered.text.as_str()),
        (StatusCode::NOT_FOUND, "no session")
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_not_sent() {
    let secret = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"delete_ledger"}]"#;
    let unreadable = [
        ("application/json", format!("{secret}}}")),
        ("application/json", format!("{secret},\"tools\":[]}}}}")),
        ("application/json", format!("[{secret}}}}}]")),
        ("application/json", format!("\u{feff}{secret}}}}}")),
        (
            "application/json",
            r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{"name":"delete_ledger"}}}"#.to_owned(),
        ),
        ("text/html", format!("{secret}}}}}")),
        ("application/json-seq", format!("{secret}}}}}")),
        ("text/event-stream", format!("data: {secret}\n\n")),
        ("text/event-stream", format!("data: {secret}")),
        (
            "text/event-stream",
            format!("\u{feff}data: {secret},\"tools\":[]}}}}\r\n\r\n"),
        ),
    ];
    for (content_type, body) in unreadable {
        let sent = body.clone();
        let guarded = Guarded::answering(move |_| response(content_type, sent.clone()));
        let answered = guarded.post(message("tools/list", &json!({}))).await;
        assert!(
            !answered.text.contains("delete_ledger"),
            "{content_type} {body}: {}",
            answered.text
        );
        let error = strict(
            answered
                .text
                .trim_start_matches("data: ")
                .trim_end()
                .as_bytes(),
        );
        assert_eq!(
            (&error["id"], &error["error"]["code"]),
            (&json!(1), &json!(-32603)),
            "{body}"
        );
    }
    let guarded = Guarded::answering(|_| {
        let mut response = json_response(&everything());
        response
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        response
    });
    assert_eq!(
        guarded.post(message("tools/list", &json!({}))).await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    // And none was asked for.
    let mut asking = request(&guarded.pass(), message("tools/list", &json!({})));
    asking
        .headers_mut()
        .insert("accept-encoding", "gzip".parse().unwrap());
    guarded.reached();
    guarded.send(asking).await;
    assert!(
        !guarded.reached()[0]
            .0
            .headers
            .contains_key("accept-encoding")
    );
}

#[tokio::test]
async fn a_list_longer_than_the_cap_is_not_sent() {
    let issuer = Issuer::new();
    let verifier = Arc::new(issuer.verifier());
    let length = everything().to_string().len();
    for content_type in ["application/json", "text/event-stream"] {
        for (cap, is_sent) in [(length + 16, true), (length - 1, false)] {
            let layer = HallpassLayer::builder(verifier.clone())
                .max_list_bytes(cap)
                .build();
            let guarded = Guarded::with_layer(Issuer::new(), layer, verifier.clone(), move |_| {
                match content_type {
                    "application/json" => json_response(&everything()),
                    _ => response(content_type, format!("data: {}\n\n", everything())),
                }
            });
            let answered = guarded.post(message("tools/list", &json!({}))).await;
            assert_eq!(
                answered.text.contains("read_ledger"),
                is_sent,
                "{cap} {}",
                answered.text
            );
            assert_eq!(answered.text.contains("-32603"), !is_sent);
        }
    }
}

/// A body that comes in these pieces.
struct Pieces(VecDeque<Bytes>, Box<dyn FnMut(usize) + Send>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let left = self.0.len();
        (self.1)(left);
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// Sends `request` to a guarded server that streams `text` in pieces of `size` bytes.
async fn streamed(
    layer: &HallpassLayer,
    request: Request<Full<Bytes>>,
    (text, size): (String, usize),
    before: impl Fn(usize) + Clone + Send + Sync + 'static,
) -> String {
    let server = service_fn(move |_: Request<Full<Bytes>>| {
        let pieces = text
            .as_bytes()
            .chunks(size)
            .map(Bytes::copy_from_slice)
            .collect();
        let body = Pieces(pieces, Box::new(before.clone()));
        async move {
            Ok::<_, std::convert::Infallible>(
                Response::builder()
                    .header("content-type", "text/event-stream")
                    .body(body)
                    .unwrap(),
            )
        }
    });
    let response = layer.layer(server).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

#[tokio::test]
async fn event_streams_are_filtered_however_they_are_cut() {
    let guarded = Guarded::new();
    let list = everything().to_string();
    let (first, second) = list.split_at(list.find(",\"result\"").unwrap() + 1);
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;
    for end in ["\n", "\r\n", "\r"] {
        let events = format!(
            "\u{feff}: keep-alive{end}{end}id: 1{end}retry: 3000{end}data:{end}{end}data: {notice}{end}{end}\
             id: 2{end}data: {first}{end}: in between{end}data:{second}{end}event: message{end}{end}"
        );
        let expected = format!(
            ": keep-alive{end}{end}id: 1{end}retry: 3000{end}data:{end}{end}data: {notice}{end}{end}\
             id: 2\n: in between\nevent: message\ndata: {}\n\n",
            allowed()
        );
        for size in [1, 2, 7, 64, 100_000] {
            let asking = request(&guarded.pass(), message("tools/list", &json!({})));
            let answered = streamed(&guarded.layer, asking, (events.clone(), size), |_| {}).await;
            assert_eq!(answered, expected, "{end:?} {size}");
        }
    }
}

#[tokio::test]
async fn a_long_event_in_small_pieces_is_looked_at_once() {
    let guarded = Guarded::new();
    let long = "x".repeat(1024 * 1024);
    let event = json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": [], "long": long}});
    let begun = std::time::Instant::now();
    let asking = request(&guarded.pass(), message("tools/list", &json!({})));
    let answered = streamed(
        &guarded.layer,
        asking,
        (format!("data: {event}\n\n"), 16),
        |_| {},
    )
    .await;
    assert_eq!(
        strict(answered.trim_start_matches("data: ").trim_end().as_bytes()),
        event
    );
    // Looked at anew with every piece it would be thirty thousand million bytes.
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_get_stream_repeats_no_list_unfiltered_and_no_unreadable_event() {
    let guarded = Guarded::new();
    let events = format!(
        "data: {}\n\ndata: {{\"result\": nonsense delete_ledger\n\ndata: {{}}\n\n",
        everything()
    );
    let mut get = request(&guarded.pass(), "");
    *get.method_mut() = Method::GET;
    get.headers_mut()
        .insert("last-event-id", "1".parse().unwrap());
    let answered = streamed(&guarded.layer, get, (events, 50), |_| {}).await;
    assert_eq!(answered, format!("data: {}\n\n", allowed()));
}

#[tokio::test]
async fn the_stream_of_a_call_is_sent_on_as_it_is() {
    let guarded = Guarded::new();
    let events = format!("data: {}\n\nnot: json\r\rdata: }}{{", everything());
    let asking = request(&guarded.pass(), call("read_ledger", &json!({})));
    assert_eq!(
        streamed(&guarded.layer, asking, (events.clone(), 10), |_| {}).await,
        events
    );
}

#[tokio::test]
async fn a_stream_ends_when_its_pass_is_revoked_or_over() {
    for method in ["tools/call", "tools/list"] {
        for end in ["revoked", "expired", "stale"] {
            let guarded = Guarded::new();
            let issuer = &guarded.issuer;
            let events = "data: {}\n\n".repeat(10);
            let subject = Subjects::task(&issuer.content(vec![]).task);
            let entry = RevocationEntry {
                subject,
                cut_off: None,
                expires_at: issuer.now().plus(Duration::from_secs(900)),
            };
            let mut frame = issuer.frame();
            let seconds = if end == "expired" { 301 } else { 0 };
            frame.at = frame.at.plus(Duration::from_secs(seconds));
            if end == "revoked" {
                frame.revocations.push(entry);
            }
            let (frame, clock, verifier) = (
                frame.sign(&issuer.feed).unwrap(),
                issuer.clock.clone(),
                guarded.verifier.clone(),
            );
            let asking = request(
                &guarded.pass(),
                message(method, &json!({"name": "read_ledger"})),
            );
            let after_three = move |left: usize| match left {
                7 if end == "stale" => clock.advance(Duration::from_secs(61)),
                7 => {
                    clock.advance(Duration::from_secs(seconds));
                    verifier.accept_frame(&frame).unwrap();
                }
                _ => {}
            };
            let answered = streamed(&guarded.layer, asking, (events, 10), after_three).await;
            let kept = "data: {}\n\n".repeat(3);
            let after = answered.strip_prefix(&kept).unwrap();
            let error = strict(after.strip_prefix("data: ").unwrap().trim_end().as_bytes());
            let reason = match end {
                "revoked" => "revoked_task",
                "stale" => "feed_stale",
                _ => "expired",
            };
            assert_eq!(
                (&error["id"], error["error"]["data"]["reason"].as_str()),
                (&json!(1), Some(reason)),
                "{method} {end}"
            );
        }
    }
}

#[tokio::test]
async fn the_answer_of_a_cleared_call_outlives_its_pass_unless_it_is_revoked() {
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#;
    let question = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#;
    let other = r#"{"jsonrpc":"2.0","id":2,"result":{"other":true}}"#;
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"done":true}}"#;
    let again = r#"{"jsonrpc":"2.0","id":1,"result":{"again":true}}"#;
    let event = |text: &str| format!("data: {text:<92}\n\n");
    let events = [notice, notice, question, other, answer, again].map(event);
    assert!(events.iter().all(|event| event.len() == 100));
    for (end, size, error) in [
        ("expired", 100, None),
        ("expired", 20, None),
        ("revoked before", 100, Some("revoked_task")),
        ("revoked after", 100, Some("revoked_task")),
        ("a snapshot later", 100, Some("expired")),
        ("long ago", 100, Some("expired")),
    ] {
        let guarded = Guarded::new();
        let issuer = &guarded.issuer;
        let revocation = RevocationEntry {
            subject: Subjects::task(&issuer.content(vec![]).task),
            cut_off: None,
            // As early as a revocation may expire: with its pass.
            expires_at: issuer.now().plus(Duration::from_secs(300)),
        };
        let after = Duration::from_secs(if end == "long ago" { 3901 } else { 301 });
        let mut first = issuer.frame();
        let mut later = issuer.frame();
        later.at = later.at.plus(after);
        if end != "a snapshot later" {
            later.since = Some(first.sequence);
        }
        match end {
            "revoked before" => first.revocations.push(revocation),
            "revoked after" => later.revocations.push(revocation),
            _ => {}
        }
        let [first, later] = [first, later].map(|frame| frame.sign(&issuer.feed).unwrap());
        let (clock, verifier) = (issuer.clock.clone(), guarded.verifier.clone());
        let asking = request(&guarded.pass(), call("read_ledger", &json!({})));
        let seventh = 500 / size;
        let before = move |left: usize| {
            if left == seventh {
                verifier.accept_frame(&first).unwrap();
                clock.advance(after);
                verifier.accept_frame(&later).unwrap();
            }
        };
        let answered = streamed(&guarded.layer, asking, (events.concat(), size), before).await;
        let rest = answered.strip_prefix(&events[0]).unwrap();
        let Some(reason) = error else {
            assert_eq!(rest, events[4], "{end} {size}");
            continue;
        };
        let told = strict(rest.strip_prefix("data: ").unwrap().trim_end().as_bytes());
        assert_eq!(
            (&told["id"], told["error"]["data"]["reason"].as_str()),
            (&json!(1), Some(reason)),
            "{end}"
        );
    }
}

#[tokio::test]
async fn a_json_answer_is_sent_after_the_end_of_its_pass_and_not_after_a_revocation() {
    for is_revoked in [false, true] {
        let issuer = Issuer::new();
        let verifier = Arc::new(issuer.verifier());
        let first = issuer.frame();
        let mut later = issuer.frame();
        later.since = Some(first.sequence);
        later.at = later.at.plus(Duration::from_secs(301));
        if is_revoked {
            later.revocations.push(RevocationEntry {
                subject: Subjects::task(&issuer.content(vec![]).task),
                cut_off: None,
                expires_at: issuer.now().plus(Duration::from_secs(900)),
            });
        }
        let [first, later] = [first, later].map(|frame| frame.sign(&issuer.feed).unwrap());
        let (clock, shared) = (issuer.clock.clone(), Arc::clone(&verifier));
        let layer = HallpassLayer::new(Arc::clone(&verifier));
        let guarded = Guarded::with_layer(issuer, layer, verifier, move |_| {
            shared.accept_frame(&first).unwrap();
            clock.advance(Duration::from_secs(301));
            shared.accept_frame(&later).unwrap();
            json_response(&json!({"jsonrpc": "2.0", "id": 1, "result": {"done": true}}))
        });
        let answered = guarded.post(call("read_ledger", &json!({}))).await;
        assert_eq!(answered.json()["id"], 1);
        if is_revoked {
            assert_eq!(answered.reason(), "revoked_task");
        } else {
            assert_eq!(answered.json()["result"], json!({"done": true}));
        }
    }
}
