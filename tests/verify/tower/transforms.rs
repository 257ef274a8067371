//! Changes to answers without HTTP: the list filter, and what the trait must carry later.

use std::sync::Arc;

use hallpass_core::base::ReasonCode;
use hallpass_verify::{
    Pass,
    mcp::{
        Change, ClientMessage, Decider, ErrorCode, EventStream, Exchange, ListFilter, Rejection,
        ResponseTransform, ServerMessage, transform_message,
    },
};
use serde_json::{Value, json};

use crate::tower::guarded::{call, message, strict};
use support::{Issuer, rights};

struct Setup {
    decider: Decider,
    pass: Pass,
}

impl Setup {
    fn new() -> Self {
        let issuer = Issuer::new();
        let decider = Decider::new(Arc::new(issuer.verifier()));
        let detail = rights(json!({"tools": ["read_ledger"]}));
        let token = issuer.mint(vec![detail]);
        let pass = decider.admit(token.expose(), None, None).unwrap();
        Self { decider, pass }
    }

    /// What the answer to `text`, which the pass allows, belongs to.
    fn asking(&self, text: &str) -> Exchange {
        let request = self.decider.message(text.as_bytes()).unwrap();
        let permit = self.decider.clear(&self.pass, &request, None).unwrap();
        self.decider
            .exchange(self.pass.clone())
            .of_request(&request, permit)
    }

    fn listing(&self) -> Exchange {
        self.asking(&message("tools/list", &json!({})))
    }
}

fn tools(names: &[&str]) -> Value {
    let tools: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
    json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}})
}

fn applied(
    transform: &dyn ResponseTransform,
    exchange: &Exchange,
    message: &Value,
) -> Result<Option<Value>, Rejection> {
    let bytes = message.to_string().into_bytes();
    let changed = transform_message(transform, exchange, &bytes, 10_000)?;
    Ok(changed.map(|bytes| strict(&bytes)))
}

/// Hides the year of everything that the tool answers, and forgets the text beside it.
#[derive(Debug)]
struct MaskYear;

impl ResponseTransform for MaskYear {
    fn concerns(&self, exchange: &Exchange) -> bool {
        exchange
            .permit()
            .is_some_and(|permit| permit.name() == "read_ledger")
    }

    fn transform(&self, _: &Exchange, message: &mut ServerMessage) -> Result<Change, Rejection> {
        let Some(result) = message.result_mut() else {
            return Ok(Change::Unchanged);
        };
        result.insert("content".to_owned(), json!([]));
        match result.get_mut("structuredContent") {
            Some(Value::Object(content)) => {
                content.insert("year".to_owned(), json!(0));
                Ok(Change::Changed)
            }
            _ => Err(Rejection::internal(
                "a mask is due, and there is nothing to mask",
            )),
        }
    }
}

/// Refuses results that are longer.
#[derive(Debug)]
struct AtMost(usize);

impl ResponseTransform for AtMost {
    fn concerns(&self, exchange: &Exchange) -> bool {
        exchange.permit().is_some()
    }

    fn transform(&self, _: &Exchange, message: &mut ServerMessage) -> Result<Change, Rejection> {
        if message.received_bytes() > self.0 {
            let (code, reason) = (ErrorCode::Refused, ReasonCode::MessageTooLarge);
            return Err(Rejection::new(code, reason, "the result is too long"));
        }
        Ok(Change::Unchanged)
    }
}

/// One after the other.
#[derive(Debug)]
struct Each(Vec<Box<dyn ResponseTransform>>);

impl ResponseTransform for Each {
    fn concerns(&self, exchange: &Exchange) -> bool {
        self.0.iter().any(|transform| transform.concerns(exchange))
    }

    fn transform(
        &self,
        exchange: &Exchange,
        message: &mut ServerMessage,
    ) -> Result<Change, Rejection> {
        let mut change = Change::Unchanged;
        for transform in self.0.iter().filter(|each| each.concerns(exchange)) {
            if transform.transform(exchange, message)? == Change::Changed {
                change = Change::Changed;
            }
        }
        Ok(change)
    }
}

#[test]
fn a_list_is_filtered_in_plain_json_and_in_events_alike() {
    let setup = Setup::new();
    let (exchange, list) = (setup.listing(), tools(&["read_ledger", "delete_ledger"]));
    let allowed = tools(&["read_ledger"]);
    assert_eq!(
        applied(&ListFilter::new(), &exchange, &list),
        Ok(Some(allowed.clone()))
    );
    let mut events = EventStream::new(Arc::new(ListFilter::new()), exchange, 10_000);
    let sent = events.push(format!(": beat\n\nid: 3\ndata: {list}\n\n").as_bytes());
    let expected = format!(": beat\n\nid: 3\ndata: {allowed}\n\n");
    assert_eq!(String::from_utf8(sent).unwrap(), expected);
    assert!(!events.is_over() && events.finish().is_empty());
}

#[test]
fn what_is_no_list_stays_byte_for_byte_as_it_came() {
    let setup = Setup::new();
    let exchange = setup.listing();
    let odd = b" {\"jsonrpc\" : \"2.0\", \"method\":\"notifications/progress\" , \"params\":{\"progress\":1e0}} ";
    assert_eq!(
        transform_message(&ListFilter::new(), &exchange, odd, 10_000),
        Ok(None)
    );
    let mut events = EventStream::new(Arc::new(ListFilter::new()), exchange, 10_000);
    let event = [b"data:".as_slice(), odd, b"\r\n\r\n"].concat();
    assert_eq!(events.push(&event), event);
}

#[test]
fn an_unreadable_list_becomes_an_error_to_its_request_and_ends_the_stream() {
    let setup = Setup::new();
    let exchange = setup.listing();
    for bad in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":1,"result":{"tools":[]}}"#,
        "[]",
    ] {
        let rejection =
            transform_message(&ListFilter::new(), &exchange, bad.as_bytes(), 10_000).unwrap_err();
        assert_eq!(
            (rejection.code(), rejection.id()),
            (ErrorCode::Internal, &json!(1))
        );
        let mut events = EventStream::new(Arc::new(ListFilter::new()), exchange.clone(), 10_000);
        let sent = events.push(format!("data: {bad}\n\ndata: {{}}\n\n").as_bytes());
        let expected = format!("data: {}\n\n", rejection.to_json());
        assert_eq!(String::from_utf8(sent).unwrap(), expected, "{bad}");
        assert!(events.is_over() && events.finish().is_empty());
    }
    // A stream that answers no known request has nothing to put the error to.
    let unasked = setup.decider.exchange(setup.pass.clone());
    assert!(ListFilter::new().concerns(&unasked));
    let mut events = EventStream::new(Arc::new(ListFilter::new()), unasked, 10_000);
    assert!(events.push(b"data: []\n\n").is_empty() && events.is_over());
}

#[test]
fn a_mask_and_a_limit_fit_the_trait_and_see_the_permit() {
    let setup = Setup::new();
    let exchange = setup.asking(&call("read_ledger", &json!({"year": 2026})));
    assert!(!ListFilter::new().concerns(&exchange));
    let both = Each(vec![
        Box::new(ListFilter::new()),
        Box::new(AtMost(200)),
        Box::new(MaskYear),
    ]);
    assert!(both.concerns(&exchange));
    let answer = |content: Value| json!({"jsonrpc": "2.0", "id": 1, "result": content});
    let result = json!({"structuredContent": {"year": 2026, "sum": 5}, "content": [{"type": "text", "text": "2026"}]});
    let masked = json!({"structuredContent": {"year": 0, "sum": 5}, "content": []});
    assert_eq!(
        applied(&both, &exchange, &answer(result)),
        Ok(Some(answer(masked)))
    );
    let long = answer(json!({"structuredContent": {"text": "x".repeat(200)}}));
    let refused = applied(&both, &exchange, &long).unwrap_err();
    assert_eq!(
        (refused.reason(), refused.id()),
        (ReasonCode::MessageTooLarge, &json!(1))
    );
    assert!(applied(&both, &exchange, &answer(json!({}))).is_err());
    // An error of the server has no result to mask.
    let error = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}});
    assert_eq!(applied(&both, &exchange, &error), Ok(None));
}

#[test]
fn without_http_a_pass_is_admitted_and_a_call_cleared_or_denied() {
    let setup = Setup::new();
    let read = |text: &str| setup.decider.message(text.as_bytes()).unwrap();
    let clear = |message: &ClientMessage| setup.decider.clear(&setup.pass, message, None);
    let permit = clear(&read(&call("read_ledger", &json!({})))).unwrap();
    assert_eq!(permit.unwrap().name(), "read_ledger");
    assert_eq!(clear(&read(&message("ping", &json!({})))), Ok(None));
    let denied = clear(&read(&call("delete_ledger", &json!({})))).unwrap_err();
    let rejection = Rejection::of_call(&denied);
    assert_eq!(
        (rejection.code(), rejection.reason()),
        (ErrorCode::Refused, ReasonCode::NotGranted)
    );
    let forged = setup.decider.admit("x", None, None).unwrap_err();
    assert_eq!(
        Rejection::of_pass(&forged).reason(),
        ReasonCode::TokenInvalid
    );
    // A message that makes no call still needs a pass that is in force.
    let issuer = Issuer::new();
    let decider = Decider::new(Arc::new(issuer.verifier()));
    let token = issuer.mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
    let pass = decider.admit(token.expose(), None, None).unwrap();
    issuer
        .clock
        .advance(std::time::Duration::from_secs(100_000));
    assert!(
        decider
            .clear(&pass, &read(&message("ping", &json!({}))), None)
            .is_err()
    );
}
