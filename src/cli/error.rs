//! How a command ends: an exit code, and for people what went wrong and what to do next.

use std::{fmt, io};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    api::{problem::ReasonBody, shape},
    cli::view::reasons_words,
};

/// How a command ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Failed,
    Usage,
    Refused,
}

impl Exit {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
        }
    }
}

/// Why a command did not do what it was asked. Boxed, since every command may return one.
#[derive(Debug)]
pub(super) struct CliError(Box<Failure>);

#[derive(Debug)]
struct Failure {
    exit: Exit,
    /// `None`: whatever there was to say stands on stdout already.
    message: Option<String>,
    reasons: Vec<String>,
    hints: Vec<String>,
    /// The broker's own problem document, when it sent one.
    problem: Option<Value>,
    /// The problem's code.
    code: Option<String>,
    /// The request, as the broker's log knows it.
    request_id: Option<String>,
}

/// What is shown of a problem document.
struct ProblemBody {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    request_id: Option<String>,
    field: Option<String>,
    reasons: Vec<ReasonBody>,
    errors: Vec<String>,
}

impl ProblemBody {
    /// Member by member: a proxy before the broker has problems of its own, and one member of another shape must not hide
    /// the others.
    fn of(document: &Value) -> Self {
        Self {
            title: member(document, "title"),
            detail: member(document, "detail"),
            code: member(document, "code"),
            request_id: member(document, "request_id"),
            field: member(document, "field"),
            reasons: items(document, "reasons"),
            errors: items(document, "errors"),
        }
    }
}

fn member<T: DeserializeOwned>(document: &Value, name: &str) -> Option<T> {
    shape::read_known(document.get(name)?.clone()).ok()
}

/// The items of a list that can be read.
fn items<T: DeserializeOwned>(document: &Value, name: &str) -> Vec<T> {
    let items = document.get(name).and_then(Value::as_array);
    let items = items.into_iter().flatten().cloned();
    items
        .filter_map(|item| shape::read_known(item).ok())
        .collect()
}

impl CliError {
    pub(super) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, Some(message.to_string()))
    }

    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, Some(message.to_string()))
    }

    /// A no to what was asked, not to how.
    pub(super) fn refused(message: impl fmt::Display) -> Self {
        Self::new(Exit::Refused, Some(message.to_string()))
    }

    /// The command answered on stdout; only its exit code is left to give.
    pub(super) fn answered(exit: Exit) -> Self {
        Self::new(exit, None)
    }

    /// An answer of the broker other than a success.
    pub(super) fn problem(status: u16, document: Value) -> Self {
        let body = ProblemBody::of(&document);
        let detail = body.detail.or(body.title);
        let detail = detail.unwrap_or_else(|| "no reason given".to_owned());
        let message = match &body.field {
            // The reasons follow, so there is nothing else to say here.
            _ if document.get("reasons").is_some() => "nothing is given".to_owned(),
            Some(field) => format!("`{field}`: {detail}"),
            None => detail,
        };
        let exit = if status == 403 {
            Exit::Refused
        } else {
            Exit::Failed
        };
        let mut error = Self::new(exit, Some(message));
        error.0.reasons = reasons_words(&body.reasons);
        error.0.reasons.extend(body.errors);
        error.0.code = body.code;
        error.0.request_id = body.request_id;
        if status == 401 {
            error = error.hint(UNAUTHENTICATED);
        }
        error.0.problem = Some(document);
        error
    }

    fn new(exit: Exit, message: Option<String>) -> Self {
        Self(Box::new(Failure {
            exit,
            message,
            reasons: Vec::new(),
            hints: Vec::new(),
            problem: None,
            code: None,
            request_id: None,
        }))
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    #[must_use]
    pub(super) fn because(mut self, reasons: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        self.0
            .reasons
            .extend(reasons.into_iter().map(|reason| reason.to_string()));
        self
    }

    pub(super) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The broker's reason code, when it gave one.
    pub(super) fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What is wrong, without what to do about it.
    pub(super) fn message(&self) -> &str {
        self.0.message.as_deref().unwrap_or_default()
    }

    /// What to do about it.
    pub(super) fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// The lines for people; none when everything was shown already.
    pub(super) fn lines(&self) -> Vec<String> {
        let failure = &self.0;
        let Some(message) = &failure.message else {
            return Vec::new();
        };
        let word = if failure.exit == Exit::Refused {
            "refused"
        } else {
            "error"
        };
        let mut lines = vec![format!("{word}: {message}")];
        lines.extend(failure.reasons.iter().map(|reason| format!("  - {reason}")));
        lines.extend(failure.hints.iter().map(|hint| format!("hint: {hint}")));
        let request = failure.request_id.as_ref();
        lines.extend(request.map(|request| format!("request id: {request}")));
        lines
    }

    /// The same for programs: the broker's problem document, or one in its shape.
    pub(super) fn document(&self) -> Option<Value> {
        let failure = &self.0;
        let message = failure.message.as_ref()?;
        if let Some(problem) = &failure.problem {
            return Some(problem.clone());
        }
        let code = match failure.exit {
            Exit::Done | Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
        };
        let mut document = json!({"code": code, "detail": message, "errors": failure.reasons, "hints": failure.hints});
        if let Some(members) = document.as_object_mut() {
            members.retain(|_, value| !value.as_array().is_some_and(Vec::is_empty));
        }
        Some(document)
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        // The reader of our output has closed it, as in `hallpass audit tail | head`.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::answered(Exit::Done);
        }
        Self::failed(error)
    }
}

const UNAUTHENTICATED: &str = "operators: is this the broker's own token? `hallpass operator recover` makes a new one; \
                               agents: does the key file belong to a registered agent, and is this machine's clock right?";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_another_shape_hides_no_other() {
        let problem = json!({"title": 5, "detail": "too long", "code": "invalid_request", "request_id": "req_1",
            "reasons": [{"code": "no_grant"}, 7], "errors": {"name": ["too long"]}});
        let error = CliError::problem(400, problem);
        assert_eq!(error.code(), Some("invalid_request"));
        assert!(error.lines().contains(&"request id: req_1".to_owned()));
        let plain = CliError::problem(400, json!({"detail": "too long", "errors": {"name": []}}));
        assert_eq!(plain.message(), "too long");
    }
}
