//! The broker's JSON as people read it.

use serde_json::Value;

/// The value at `pointer` in words; `-` when there is none.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map_or_else(|| "-".to_owned(), words)
}

/// A value in words: lists with commas, truths as yes and no.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(_) => value.to_string(),
    }
}

/// The items of an array; none when it is not one.
pub(super) fn items<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Secrets, a line each: `0123456789abcdef since 2026-11-22T10:00:00Z`.
pub(super) fn secrets_words(secrets: &[Value]) -> Vec<String> {
    secrets
        .iter()
        .map(|secret| {
            format!(
                "{} since {}",
                text(secret, "/secret_id"),
                text(secret, "/added_at")
            )
        })
        .collect()
}

/// Authorization details, a line each: `tools a, b on https://…, read-only, /amount of transfer {"max":100}`.
pub(super) fn details_words(details: &[Value]) -> Vec<String> {
    details.iter().map(detail_words).collect()
}

fn detail_words(detail: &Value) -> String {
    let named = ["tools", "resources", "prompts"].iter().filter_map(|kind| {
        let names = items(detail, &format!("/{kind}"));
        (!names.is_empty()).then(|| {
            format!(
                "{kind} {}",
                names.iter().map(words).collect::<Vec<_>>().join(", ")
            )
        })
    });
    let mut line = format!(
        "{} on {}",
        named.collect::<Vec<_>>().join("; "),
        text(detail, "/server")
    );
    if detail.get("read_only") == Some(&Value::Bool(true)) {
        line.push_str("; read-only");
    }
    for (tool, arguments) in detail
        .get("constraints")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for (pointer, constraint) in arguments.as_object().into_iter().flatten() {
            line.push_str(&format!("; {tool} {pointer} {constraint}"));
        }
    }
    let closed = items(detail, "/closed_arguments");
    if !closed.is_empty() {
        let closed = closed.iter().map(words).collect::<Vec<_>>().join(", ");
        line.push_str(&format!("; no other arguments for {closed}"));
    }
    line
}

/// `values` under one name: the first beside it, the others below.
pub(super) fn under(name: &'static str, values: Vec<String>) -> Vec<(&'static str, String)> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    if values.is_empty() {
        vec![(name, "-".to_owned())]
    } else {
        names.zip(values).collect()
    }
}
