//! The OpenAPI document's frame, and what every operation in it shares.

#![expect(
    dead_code,
    reason = "some of these types describe JSON and are never made"
)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use utoipa::{
    IntoParams, IntoResponses, Modify, ToSchema,
    openapi::{
        Object, OpenApi, RefOr, Schema,
        schema::{AdditionalProperties, ArrayItems},
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::api::problem::{OAuthErrorBody, ProblemBody};

/// The document, without its routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "hallpass",
        description = "Just-in-time credential broker for AI agents.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&Security),
    tags(
        (name = "tasks", description = "Agents open tasks and get passes"),
        (name = "revocations", description = "Ending what was handed out"),
        (name = "registry", description = "Agents, servers, stewards and operators"),
        (name = "keys", description = "The broker's keys"),
        (name = "policy", description = "What decides"),
        (name = "oauth", description = "The OAuth 2.1 endpoints"),
        (name = "audit", description = "What happened"),
        (name = "feed", description = "What verifiers follow"),
    ),
)]
pub(crate) struct Document;

/// Who may call, and that anything may go wrong.
pub(crate) struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut OpenApi) {
        let agent = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("An agent's assertion (RFC 7523 shape), used once"))
            .build();
        let operator = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("Biscuit")
            .description(Some("An operator's token, maybe attenuated"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("agent", SecurityScheme::Http(agent));
        components.add_security_scheme("operator", SecurityScheme::Http(operator));
        let client = Http::builder()
            .scheme(HttpAuthScheme::Basic)
            .description(Some(
                "An agent's id and secret; or both in the body, or a client assertion (RFC 7523)",
            ))
            .build();
        components.add_security_scheme("client", SecurityScheme::Http(client));
        let none: [&str; 0] = [];
        let either = ["agent", "operator"].map(|name| SecurityRequirement::new(name, none));
        document.security = Some(either.into());
    }
}

/// What may go wrong with any request.
#[derive(IntoResponses)]
pub(crate) enum Problems {
    /// A problem with the request.
    #[response(status = "4XX", content_type = "application/problem+json")]
    Theirs(#[to_schema] ProblemBody),
    /// A problem of the broker's.
    #[response(status = "5XX", content_type = "application/problem+json")]
    Ours(#[to_schema] ProblemBody),
}

/// What may go wrong with a request to an OAuth endpoint (RFC 6749 section 5.2).
#[derive(IntoResponses)]
pub(crate) enum OAuthProblems {
    /// A problem with the request.
    #[response(status = "4XX", content_type = "application/json")]
    Theirs(#[to_schema] OAuthErrorBody),
    /// A problem of the broker's.
    #[response(status = "5XX", content_type = "application/json")]
    Ours(#[to_schema] OAuthErrorBody),
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// 1 to 200 items; 50 when absent.
    limit: Option<u8>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// This very document.
#[derive(ToSchema)]
pub(crate) struct OpenApiDocument {
    /// `3.1.0`.
    openapi: String,
}

/// Writes a schema that is put together of several, because its type flattens members, as the one object that it is.
pub(crate) struct Flatten;

impl Modify for Flatten {
    fn modify(&self, document: &mut OpenApi) {
        let Some(components) = &mut document.components else {
            return;
        };
        let all = components.schemas.clone();
        for schema in components.schemas.values_mut() {
            flatten(schema, &all);
        }
        // What only others were put together of is named by none any more.
        let text = document.to_json().unwrap_or_default();
        let is_part = |name: &String| {
            let reference = format!("#/components/schemas/{name}");
            all.values()
                .any(|schema| is_put_together_of(schema, &reference))
                && !text.contains(&format!("\"{reference}\""))
        };
        if let Some(components) = &mut document.components {
            components.schemas.retain(|name, _| !is_part(name));
        }
    }
}

/// Lets every document grow whose readers ignore members that they do not know (docs/wire.md): answers, and what
/// verifiers report. A client made from a schema that names all members could not read the answers of a newer broker.
pub(crate) struct Growing;

impl Modify for Growing {
    fn modify(&self, document: &mut OpenApi) {
        let whole = serde_json::to_value(&*document).unwrap_or_default();
        let paths = whole.get("paths").and_then(Value::as_object);
        let paths = paths.into_iter().flatten();
        let operations = paths.filter_map(|(_, path)| path.as_object()).flatten();
        let mut growing = BTreeSet::from(REPORTS.map(str::to_owned));
        for (_, operation) in operations {
            if let Some(responses) = operation.get("responses") {
                note_references(responses, &whole, &mut growing);
            }
        }
        let Some(components) = &mut document.components else {
            return;
        };
        for (name, schema) in &mut components.schemas {
            if growing.contains(name) && !EVIDENCE.contains(&name.as_str()) {
                let_grow(schema);
            }
        }
    }
}

/// Adds the schemas that `part` of the document `whole` names to `found`, with those that they name.
fn note_references(part: &Value, whole: &Value, found: &mut BTreeSet<String>) {
    match part {
        Value::Object(members) => {
            let reference = members.get("$ref").and_then(Value::as_str);
            let name = reference.and_then(|text| text.strip_prefix("#/components/schemas/"));
            if let Some(name) = name
                && found.insert(name.to_owned())
                && let Some(schema) = whole.pointer(&format!("/components/schemas/{name}"))
            {
                note_references(schema, whole, found);
            }
            for member in members.values() {
                note_references(member, whole, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                note_references(item, whole, found);
            }
        }
        _ => {}
    }
}

fn let_grow(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            if matches!(
                object.additional_properties.as_deref(),
                Some(AdditionalProperties::FreeForm(false))
            ) {
                object.additional_properties = None;
            }
            object.properties.values_mut().for_each(let_grow);
        }
        RefOr::T(Schema::OneOf(choices)) => choices.items.iter_mut().for_each(let_grow),
        RefOr::T(Schema::AllOf(parts)) => parts.items.iter_mut().for_each(let_grow),
        RefOr::T(Schema::Array(array)) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                let_grow(items);
            }
        }
        RefOr::T(_) | RefOr::Ref(_) => {}
    }
}

fn is_put_together_of(schema: &RefOr<Schema>, reference: &str) -> bool {
    let names = |part: &RefOr<Schema>| match part {
        RefOr::Ref(part) => part.ref_location == reference,
        RefOr::T(Schema::OneOf(choices)) => choices
            .items
            .iter()
            .any(|choice| matches!(choice, RefOr::Ref(choice) if choice.ref_location == reference)),
        RefOr::T(_) => false,
    };
    matches!(schema, RefOr::T(Schema::AllOf(parts)) if parts.items.iter().any(names))
}

fn flatten(schema: &mut RefOr<Schema>, all: &Schemas) {
    let RefOr::T(schema) = schema else {
        return;
    };
    if let Schema::AllOf(parts) = schema
        && let Some(mut object) = flattened(&parts.items, all)
    {
        object.description = parts.description.clone();
        *schema = Schema::Object(object);
    }
    match schema {
        Schema::Object(object) => object
            .properties
            .values_mut()
            .for_each(|member| flatten(member, all)),
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                flatten(items, all);
            }
        }
        _ => {}
    }
}

/// The object with the members of all `parts`; `None` when one of them is no object.
fn flattened(parts: &[RefOr<Schema>], all: &Schemas) -> Option<Object> {
    let mut whole = Object::new();
    for part in parts {
        let object = match resolved(part, all)? {
            Schema::Object(object) => object.clone(),
            Schema::AllOf(parts) => flattened(&parts.items, all)?,
            // A part that may be absent: none of its members is required.
            Schema::OneOf(choices) => {
                let object =
                    choices
                        .items
                        .iter()
                        .find_map(|choice| match resolved(choice, all) {
                            Some(Schema::Object(object)) if !object.properties.is_empty() => {
                                Some(object)
                            }
                            _ => None,
                        })?;
                let mut object = object.clone();
                object.required.clear();
                object
            }
            _ => return None,
        };
        whole.properties.extend(object.properties);
        whole.required.extend(object.required);
    }
    Some(whole)
}

fn resolved<'s>(schema: &'s RefOr<Schema>, all: &'s Schemas) -> Option<&'s Schema> {
    match schema {
        RefOr::T(schema) => Some(schema),
        RefOr::Ref(reference) => {
            let name = reference.ref_location.rsplit('/').next()?;
            match all.get(name)? {
                RefOr::T(schema) => Some(schema),
                RefOr::Ref(_) => None,
            }
        }
    }
}

/// What verifiers report: the broker ignores members of a newer verifier.
const REPORTS: [&str; 4] = ["CallReport", "LostReports", "ReportedCall", "ReportedHop"];

/// What is unsigned in evidence: a member that is not known is not checked, so that it is refused.
const EVIDENCE: [&str; 6] = [
    "AuditHead",
    "Consistency",
    "ConsistencyEvidence",
    "Inclusion",
    "InclusionEvidence",
    "Signed",
];

type Schemas = BTreeMap<String, RefOr<Schema>>;
