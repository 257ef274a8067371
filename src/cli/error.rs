//! How a command ends: an exit code, and for people what went wrong and what to do next.

use std::{fmt, io};

use serde_json::{Value, json};

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

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) struct CliError {
    exit: Exit,
    /// `None`: whatever there was to say stands on stdout already.
    message: Option<String>,
    reasons: Vec<String>,
    hint: Option<String>,
    /// The broker's own problem document, when it sent one.
    problem: Option<Value>,
}

impl CliError {
    pub(super) fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(super) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The command answered on stdout; only its exit code is left to give.
    pub(super) const fn answered(exit: Exit) -> Self {
        Self { exit, message: None, reasons: Vec::new(), hint: None, problem: None }
    }

    /// An answer of the broker other than a success.
    pub(super) fn problem(status: u16, problem: Value) -> Self {
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let detail = text("detail").or_else(|| text("title")).unwrap_or_else(|| "no reason given".to_owned());
        let message = match text("field") {
            Some(field) => format!("`{field}`: {detail}"),
            None => detail,
        };
        let listed = |name: &str| problem.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut reasons: Vec<String> = listed("reasons").iter().map(reason_words).collect();
        reasons.extend(listed("errors").iter().map(plain_words));
        let (exit, hint) = match status {
            403 => (Exit::Refused, None),
            401 => (Exit::Failed, Some(UNAUTHENTICATED)),
            _ => (Exit::Failed, None),
        };
        let hint = hint.map(str::to_owned);
        Self { exit, message: Some(message), reasons, hint, problem: Some(problem) }
    }

    fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: Some(message.to_string()), reasons: Vec::new(), hint: None, problem: None }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(super) fn because(mut self, reasons: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        self.reasons.extend(reasons.into_iter().map(|reason| reason.to_string()));
        self
    }

    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }

    /// The broker's reason code, when it gave one.
    pub(super) fn code(&self) -> Option<&str> {
        self.problem.as_ref()?.get("code")?.as_str()
    }

    /// What to tell people, a line each; nothing when everything was said.
    pub(super) fn lines(&self) -> Vec<String> {
        let Some(message) = &self.message else { return Vec::new() };
        let word = if self.exit == Exit::Refused { "refused" } else { "error" };
        let mut lines = vec![format!("{word}: {message}")];
        lines.extend(self.reasons.iter().map(|reason| format!("  - {reason}")));
        lines.extend(self.hint.iter().map(|hint| format!("hint: {hint}")));
        let request = self.problem.as_ref().and_then(|problem| problem.get("request_id")).and_then(Value::as_str);
        lines.extend(request.map(|request| format!("request id: {request}")));
        lines
    }

    /// The same for programs: the broker's problem document, or one in its shape.
    pub(super) fn document(&self) -> Option<Value> {
        let message = self.message.as_ref()?;
        let own = || {
            let code = match self.exit {
                Exit::Done | Exit::Failed => "failed",
                Exit::Usage => "usage",
                Exit::Refused => "refused",
            };
            let mut own = json!({"code": code, "detail": message});
            if let Some(own) = own.as_object_mut() {
                own.extend((!self.reasons.is_empty()).then(|| ("errors".to_owned(), json!(self.reasons))));
                own.extend(self.hint.as_ref().map(|hint| ("hint".to_owned(), json!(hint))));
            }
            own
        };
        Some(self.problem.clone().unwrap_or_else(own))
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        // Whoever reads our output has had enough, as in `hallpass audit tail | head`.
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::answered(Exit::Done);
        }
        Self::failed(error)
    }
}

/// One reason of a problem: `no_grant: nothing gives it (tool transfer on …; guardrail x in policy/x.cedar)`.
pub(super) fn reason_words(reason: &Value) -> String {
    let text = |pointer: &str| reason.pointer(pointer).and_then(Value::as_str);
    let mut words = [text("/code"), text("/detail")].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let right = match reason.get("right") {
        Some(Value::String(right)) => Some(right.clone()),
        Some(right @ Value::Object(_)) => Some(super::view::right_words(right)),
        _ => None,
    };
    let file = text("/decided_by/file").map(|file| format!(" in {file}")).unwrap_or_default();
    let decided = text("/decided_by/name").map(|name| format!("decided by {name}{file}"));
    let more: Vec<_> = [right, decided].into_iter().flatten().collect();
    if !more.is_empty() {
        words.push_str(&format!(" ({})", more.join("; ")));
    }
    words
}

fn plain_words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

const UNAUTHENTICATED: &str = "operators: is this the broker's own token? `hallpass operator recover` makes a new one; \
                               agents: does the key file belong to a registered agent, and is this machine's clock right?";
