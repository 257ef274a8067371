//! Answers: what was asked for, as JSON; and pages of lists.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    api::Page,
    server::edge::{cursor::ListId, problem::Problem},
};

/// A JSON answer, written once. It may hold a secret, so its bytes are wiped when the last one
/// who has it is done.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: StatusCode,
    body: Arc<Zeroizing<Vec<u8>>>,
}

impl Answer {
    pub(crate) fn ok(value: &impl Serialize) -> Result<Self, Problem> {
        Self::new(StatusCode::OK, value)
    }

    pub(crate) fn created(value: &impl Serialize) -> Result<Self, Problem> {
        Self::new(StatusCode::CREATED, value)
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// It is done and there is nothing to say.
    pub(crate) fn done() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: Arc::default(),
        }
    }

    fn new(status: StatusCode, value: &impl Serialize) -> Result<Self, Problem> {
        // Room for a pass, so that growing does not leave copies of it behind.
        let mut body = Zeroizing::new(Vec::with_capacity(USUAL_BYTES));
        serde_json::to_writer(&mut *body, value)
            .map_err(|error| Problem::internal(error.to_string()))?;
        // An answer may be remembered for minutes: it holds no room that it does not use.
        let body = Zeroizing::new(body.as_slice().to_vec());
        Ok(Self {
            status,
            body: Arc::new(body),
        })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        if self.status == StatusCode::NO_CONTENT {
            return self.status.into_response();
        }
        let mut response = Response::new(Body::from(Bytes::from_owner(Shared(self.body))));
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response
    }
}

struct Shared(Arc<Zeroizing<Vec<u8>>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<T: Serialize> Page<T> {
    /// The page of at most `limit` of `items`, of which one more than that was fetched to know
    /// whether there is a next page.
    pub(crate) fn answer<P: ToString>(
        list: &ListId,
        mut items: Vec<T>,
        limit: usize,
        position: impl Fn(&T) -> P,
    ) -> Result<Answer, Problem> {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items
            .last()
            .filter(|_| more)
            .map(|last| list.cursor(&position(last)));
        Answer::ok(&Self { items, next })
    }
}

const USUAL_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_no_room_that_it_does_not_use() {
        let answer = Answer::ok(&"x".repeat(100)).unwrap();
        assert_eq!((answer.body.len(), answer.body.capacity()), (102, 102));
    }
}
