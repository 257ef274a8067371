//! OpenAPI schemas of the types that requests and responses are made of. Each is described once, here.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat,
        schema::{SchemaType, Type},
    },
};

use crate::{
    base::{
        ReasonCode, digest::Digest, holder::HolderKey, ids, key::PublicKey, time::Timestamp,
        trace::TraceParent,
    },
    token::{
        path::{Pointer, ResourceTree},
        rights::NamePattern,
    },
    wire::report::CalledName,
};

/// Describes a type that is one string in JSON.
#[macro_export]
#[doc(hidden)]
macro_rules! string_schema {
    ($($type:ty = $name:literal, $description:literal $(, pattern $pattern:literal)? $(, format $format:literal)?;)+) => {$(
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .description(Some($description))
                    $(.pattern(Some($pattern)))?
                    $(.format(Some(utoipa::openapi::SchemaFormat::Custom($format.to_owned()))))?
                    .into()
            }
        }

        impl utoipa::ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed($name)
            }
        }
    )+};
}

string_schema! {
    ids::AgentId = "AgentId", "An agent, a non-human identity.", pattern "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$";
    ids::GroupName = "GroupName", "A set of agents.", pattern "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$";
    ids::OperatorId = "OperatorId", "An operator.", pattern "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$";
    ids::ServerName = "ServerName", "A server's short name.", pattern "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$";
    ids::GrantId = "GrantId", "A grant.", pattern "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$";
    ids::StewardId = "StewardId", "A steward, opaque: never a person's name.", pattern "^stw_[0-9a-f]{32}$";
    ids::TaskId = "TaskId", "A task.", pattern "^tsk_[0-9a-f]{32}$";
    ids::RequestId = "RequestId", "A request.", pattern "^req_[0-9a-f]{32}$";
    ids::ReportId = "ReportId", "The unique id of a verifier's report: a report that is sent twice counts once.", pattern "^rpt_[0-9a-f]{32}$";
    ids::ToolName = "ToolName", "The exact name of a tool or prompt.", pattern "^[A-Za-z0-9_./-]{1,128}$";
    ids::ServerUri = "ServerUri", "A server's canonical resource URI.", format "uri";
    ids::IssuerUri = "IssuerUri", "A broker, by its issuer URI.", format "uri";
    ids::RevocationId = "RevocationId", "The id of a token's block, by which it can be revoked.", pattern "^[0-9a-f]{128}$";
    ids::RevocationIdPrefix = "RevocationIdPrefix", "The first digits of a revocation id.", pattern "^[0-9a-f]{12,127}$";
    Digest = "Digest", "A SHA-256 digest in hex.", pattern "^[0-9a-f]{64}$";
    Timestamp = "Timestamp", "A time in UTC (RFC 3339).", format "date-time";
    TraceParent = "TraceParent", "A W3C `traceparent`.";
    ReasonCode = "ReasonCode", "The stable code of a refusal.";
    Pointer = "Pointer", "A JSON pointer to an argument.", format "json-pointer";
    ResourceTree = "ResourceTree", "A resource URI and everything below it.";
    NamePattern = "NamePattern", "The name of a tool or prompt; `*` stands for any run of characters.";
    CalledName = "CalledName", "The name of what was called, or `sha256:` and its digest when it is too long to store.";
}

#[cfg(feature = "issuer")]
string_schema! {
    crate::base::redirect::RedirectUri = "RedirectUri", "Where an authorization code may be sent.", format "uri";
}

impl PartialSchema for ids::KeyId {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(0_u32))
            .description(Some("The number of a key."))
            .into()
    }
}

impl ToSchema for ids::KeyId {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("KeyId")
    }
}

/// Describes a type that is a public key in JSON (RFC 7517).
macro_rules! jwk_schema {
    ($($type:ty),+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(SchemaType::new(Type::Object))
                    .description(Some("A public key as a JWK (RFC 7517)."))
                    .into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed("Jwk")
            }
        }
    )+};
}

jwk_schema!(PublicKey, HolderKey);
