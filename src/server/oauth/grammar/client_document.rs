//! What a client says of itself: a metadata document at the URL that is its id, or a registration
//! (RFC 7591). Nothing of it is proof of anything; a person is shown where the code would go.

use serde_json::{Map, Value};

use hallpass_broker::{
    domain::client::PublishedKeys,
    identity::{
        issuer::{KeySet, LeftOut},
        jwk::KeyAlgorithm,
    },
};
use hallpass_core::base::{client_url::ClientUrl, redirect::RedirectUri, text::is_unsafe_char};

/// How a client will authenticate at the token endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientKeys {
    /// It cannot keep a secret: it says its id.
    Public,
    /// It signs assertions with one of these keys: JWKs that can be registered, from the document itself.
    PrivateKeyJwt(Vec<Value>),
    /// It signs assertions with a key that it publishes elsewhere.
    Published(PublishedKeys),
    /// It wants a secret made for it.
    Secret,
}

/// What a client says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMetadata {
    /// What it calls itself, without characters that would hide or reorder text.
    pub name: Option<String>,
    /// Where codes may be sent.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it authenticates.
    pub keys: ClientKeys,
    /// The keys of its document that cannot be used.
    pub left_out: Vec<LeftOut>,
    /// `token_endpoint_auth_method`, as it will be.
    pub auth_method: String,
    /// `application_type`, when it said one.
    pub application_type: Option<String>,
}

impl ClientMetadata {
    /// Reads the metadata `document`, strict JSON of at most [`MAX_DOCUMENT_BYTES`], that was fetched from `url`.
    ///
    /// # Errors
    ///
    /// Refuses what is not an object, a `client_id`
    /// other than `url` to the letter, a secret or a method that needs one, `private_key_jwt` without
    /// a key that can be used in `jwks` or a `jwks_uri` of the same origin, or with both, no or too many redirect
    /// URIs or one that is not sound, and grant or response types that
    /// leave the code out. Unknown members are ignored, and members that are `null` are absent.
    pub fn of_document(url: &ClientUrl, document: &Value) -> Result<Self, MetadataError> {
        let document = &present(document)?;
        // SECURITY: to the letter; otherwise a document could be served under another's name.
        if document.get("client_id").and_then(Value::as_str) != Some(url.as_str()) {
            return Err(MetadataError::ClientId);
        }
        // A public page cannot hold a shared secret.
        if ["client_secret", "client_secret_expires_at"]
            .iter()
            .any(|name| document.contains_key(*name))
        {
            return Err(MetadataError::Secret);
        }
        let mut left_out = Vec::new();
        let authentication = match text(document, "token_endpoint_auth_method")? {
            None | Some(NONE) => (ClientKeys::Public, NONE),
            Some(PRIVATE_KEY_JWT) => (keys(url, document, &mut left_out)?, PRIVATE_KEY_JWT),
            Some(_) => return Err(MetadataError::AuthMethod),
        };
        let read = Self::read(document, authentication)?;
        Ok(Self { left_out, ..read })
    }

    /// Reads the registration `request` (RFC 7591 section 2).
    ///
    /// # Errors
    ///
    /// As [`Self::of_document`], but that there is no `client_id`, and that `client_secret_basic` and
    /// `client_secret_post` may be asked for while `private_key_jwt` may not.
    pub fn of_registration(request: &Value) -> Result<Self, MetadataError> {
        let request = &present(request)?;
        let authentication = match text(request, "token_endpoint_auth_method")? {
            // RFC 7591 would make an absent one `client_secret_basic`: a secret that the client does
            // not know it has to keep. The answer says what it got.
            None | Some(NONE) => (ClientKeys::Public, NONE),
            Some(method @ ("client_secret_basic" | "client_secret_post")) => {
                (ClientKeys::Secret, method)
            }
            // A client that gets `private_key_jwt` without having asked for it gives up.
            Some(_) => return Err(MetadataError::AuthMethod),
        };
        Self::read(request, authentication)
    }

    fn read(
        members: &Map<String, Value>,
        (keys, method): (ClientKeys, &str),
    ) -> Result<Self, MetadataError> {
        let redirect_uris = redirect_uris(members)?;
        let application_type = text(members, "application_type")?;
        match application_type {
            None | Some("native") => {}
            // OpenID Connect Registration section 2: what is on the web is reached by https.
            Some("web")
                if redirect_uris
                    .iter()
                    .any(|uri| !uri.as_str().starts_with("https:")) =>
            {
                return Err(MetadataError::RedirectUri);
            }
            Some("web") => {}
            Some(_) => return Err(MetadataError::Member("application_type")),
        }
        must_hold(members, "grant_types", "authorization_code")?;
        must_hold(members, "response_types", "code")?;
        Ok(Self {
            name: text(members, "client_name")?.and_then(shown_name),
            redirect_uris,
            auth_method: method.to_owned(),
            application_type: application_type.map(str::to_owned),
            keys,
            left_out: Vec::new(),
        })
    }
}

/// What a client says of itself that was refused. Its text, for the log, repeats nothing of it but the ids of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No object.
    #[error("not a JSON object")]
    Json,
    /// Served at one URL, speaking of another.
    #[error("`client_id` is not, to the letter, the URL that the document was fetched from")]
    ClientId,
    /// A secret for everybody to read.
    #[error("a document holds no secret")]
    Secret,
    /// A way of authenticating that it cannot have.
    #[error("`token_endpoint_auth_method` is none that it may have here")]
    AuthMethod,
    /// No keys for a method that needs them, or two places for them.
    #[error("`private_key_jwt` needs either `jwks`, a set of keys, or `jwks_uri`")]
    Keys,
    /// Keys, and none to verify with.
    #[error("`jwks` has no key that can be used: {}", words(.0))]
    NoUsableKey(Vec<LeftOut>),
    /// Keys at another place.
    #[error("`jwks_uri` is not an https URL of the document's own origin")]
    JwksUri,
    /// Another algorithm.
    #[error("`token_endpoint_auth_signing_alg` is none of {}", KeyAlgorithm::NAMES.join(", "))]
    SigningAlgorithm,
    /// A redirect URI.
    #[error("`redirect_uris` must be 1 to {MAX_REDIRECT_URIS} sound redirect URIs")]
    RedirectUri,
    /// Another member.
    #[error("`{0}` is of the wrong type, or leaves out what is needed")]
    Member(&'static str),
}

fn text<'a>(
    members: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, MetadataError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(MetadataError::Member(name)),
    }
}

fn redirect_uris(members: &Map<String, Value>) -> Result<Vec<RedirectUri>, MetadataError> {
    let listed = members
        .get("redirect_uris")
        .and_then(Value::as_array)
        .ok_or(MetadataError::RedirectUri)?;
    if listed.is_empty() || listed.len() > MAX_REDIRECT_URIS {
        return Err(MetadataError::RedirectUri);
    }
    let parsed = listed.iter().map(|uri| uri.as_str()?.parse().ok());
    parsed
        .collect::<Option<_>>()
        .ok_or(MetadataError::RedirectUri)
}

/// By which keys the client at `url` signs, and which of them are left out.
fn keys(
    url: &ClientUrl,
    document: &Map<String, Value>,
    left_out: &mut Vec<LeftOut>,
) -> Result<ClientKeys, MetadataError> {
    let named = text(document, "token_endpoint_auth_signing_alg")?;
    let algorithm =
        named.map(|alg| KeyAlgorithm::from_alg(alg).ok_or(MetadataError::SigningAlgorithm));
    let algorithm = algorithm.transpose()?;
    match (document.get("jwks"), text(document, "jwks_uri")?) {
        (Some(jwks), None) => {
            let set = KeySet::from_json(jwks).map_err(|_| MetadataError::Keys)?;
            let (keys, unused) = set.registrable(algorithm);
            if keys.is_empty() {
                return Err(MetadataError::NoUsableKey(unused));
            }
            *left_out = unused;
            let jwks = keys.iter().map(|key| key.jwk().clone());
            Ok(ClientKeys::PrivateKeyJwt(jwks.collect()))
        }
        (None, Some(uri)) => {
            // SECURITY: who may write the document's path at its host need not be who may write at another.
            if !url.is_origin_of(uri) {
                return Err(MetadataError::JwksUri);
            }
            Ok(ClientKeys::Published(PublishedKeys {
                jwks_uri: uri.to_owned(),
                signing_algorithm: algorithm.map(|algorithm| algorithm.as_str().to_owned()),
            }))
        }
        _ => Err(MetadataError::Keys),
    }
}

/// The members of an object; some libraries write every member that there is, and `null` for those that it does not have.
fn present(metadata: &Value) -> Result<Map<String, Value>, MetadataError> {
    let mut members = metadata.as_object().ok_or(MetadataError::Json)?.clone();
    members.retain(|_, value| !value.is_null());
    Ok(members)
}

fn words(left_out: &[LeftOut]) -> String {
    if left_out.is_empty() {
        return "it has none".to_owned();
    }
    let words: Vec<_> = left_out.iter().map(ToString::to_string).collect();
    words.join("; ")
}

/// A list that is given must hold `needed`; one that is absent stands for just that.
fn must_hold(
    members: &Map<String, Value>,
    name: &'static str,
    needed: &str,
) -> Result<(), MetadataError> {
    match members.get(name) {
        None => Ok(()),
        Some(Value::Array(listed)) if listed.iter().any(|item| item == needed) => Ok(()),
        Some(_) => Err(MetadataError::Member(name)),
    }
}

/// `name` as a person may be shown it: without what hides or reorders text, and not long.
fn shown_name(name: &str) -> Option<String> {
    let shown: String = name
        .chars()
        .filter(|character| !is_unsafe_char(*character))
        .take(MAX_NAME_CHARS)
        .collect();
    let shown = shown.trim();
    (!shown.is_empty()).then(|| shown.to_owned())
}

const NONE: &str = "none";
const PRIVATE_KEY_JWT: &str = "private_key_jwt";

/// A metadata document is at most this long, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 5 * 1024;

const MAX_REDIRECT_URIS: usize = 16;
const MAX_NAME_CHARS: usize = 60;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use hallpass_broker::identity::JwkError;

    const URL: &str = "https://app.example/oauth/client.json";

    fn document(change: impl FnOnce(&mut Value)) -> Result<ClientMetadata, MetadataError> {
        let mut document = json!({
            "client_id": URL, "client_name": "App", "redirect_uris": ["http://127.0.0.1/cb", "https://app.example/cb"],
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "token_endpoint_auth_method": "none", "logo_uri": "https://app.example/logo.png",
        });
        change(&mut document);
        ClientMetadata::of_document(&URL.parse().unwrap(), &document)
    }

    #[test]
    fn a_document_is_read() {
        let read = document(|_| {}).unwrap();
        assert_eq!(
            (read.name.as_deref(), &read.keys, read.redirect_uris.len()),
            (Some("App"), &ClientKeys::Public, 2)
        );
        for name in ["client_name", "jwks", "grant_types", "application_type"] {
            let read = document(|document| document[name] = Value::Null).unwrap();
            assert_eq!(read.keys, ClientKeys::Public, "{name}");
        }
    }

    /// Of RFC 8037 appendix A.2.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn with_keys(change: impl FnOnce(&mut Value)) -> Result<ClientMetadata, MetadataError> {
        document(|document| {
            document["token_endpoint_auth_method"] = json!("private_key_jwt");
            change(document);
        })
    }

    #[test]
    fn a_key_that_cannot_be_used_is_left_out_and_none_is_a_refusal() {
        let good = json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "good", "x5c": ["MIIB"], "iat": 1, "use": null});
        let odd = [
            json!({"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"}),
            json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "wide"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "again"}),
            json!("text"),
        ];
        let all: Vec<_> = [good].iter().chain(&odd).cloned().collect();
        let read = with_keys(|document| document["jwks"] = json!({"keys": all})).unwrap();
        let registered = json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "good"});
        assert_eq!(read.keys, ClientKeys::PrivateKeyJwt(vec![registered]));
        let left_out: Vec<_> = read
            .left_out
            .iter()
            .map(|key| (key.kid.as_deref(), key.why))
            .collect();
        assert_eq!(
            left_out,
            [
                (Some("enc"), JwkError::Purpose("use")),
                (Some("wide"), JwkError::Kind),
                (None, JwkError::NotAnObject),
                (Some("again"), JwkError::Duplicate),
            ]
        );
        let none = with_keys(|document| document["jwks"] = json!({"keys": odd[..2]})).unwrap_err();
        let text = none.to_string();
        assert!(
            text.contains("\"enc\"") && text.contains("\"wide\"") && text.contains("none of OKP"),
            "{text}"
        );
        let empty = with_keys(|document| document["jwks"] = json!({"keys": []})).unwrap_err();
        assert_eq!(empty, MetadataError::NoUsableKey(Vec::new()));
    }

    #[test]
    fn the_signing_algorithm_of_a_document_is_the_only_one_of_its_keys() {
        let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "ed"});
        let with = |alg: &str| {
            with_keys(|document| {
                document["jwks"] = json!({"keys": [ed]});
                document["token_endpoint_auth_signing_alg"] = json!(alg);
            })
        };
        assert!(with("EdDSA").is_ok() && with("Ed25519").is_ok());
        assert!(matches!(
            with("ES256").unwrap_err(),
            MetadataError::NoUsableKey(left_out) if left_out[0].why == JwkError::Algorithm
        ));
        for alg in ["HS256", "none", ""] {
            assert_eq!(with(alg).unwrap_err(), MetadataError::SigningAlgorithm);
        }
    }

    #[test]
    fn keys_elsewhere_are_at_the_documents_own_origin() {
        let at = |uri: Value, alg: Value| {
            with_keys(|document| {
                document["jwks_uri"] = uri;
                document["token_endpoint_auth_signing_alg"] = alg;
            })
        };
        let uri = "https://app.example/oauth/jwks.json";
        for (alg, kept) in [(Value::Null, None), (json!("RS256"), Some("RS256"))] {
            let published = PublishedKeys {
                jwks_uri: uri.to_owned(),
                signing_algorithm: kept.map(str::to_owned),
            };
            assert_eq!(
                at(json!(uri), alg).unwrap().keys,
                ClientKeys::Published(published)
            );
        }
        for other in [
            "https://keys.example/jwks.json",
            "http://app.example/jwks.json",
            "https://app.example:8443/jwks.json",
            "https://app.example@evil.example/jwks.json",
            "/jwks.json",
        ] {
            let refused = at(json!(other), Value::Null).unwrap_err();
            assert_eq!(refused, MetadataError::JwksUri, "{other}");
        }
        assert_eq!(
            at(json!(uri), json!("RS512")).unwrap_err(),
            MetadataError::SigningAlgorithm
        );
        let both = with_keys(|document| {
            document["jwks_uri"] = json!(uri);
            document["jwks"] = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": X}]});
        });
        assert_eq!(both.unwrap_err(), MetadataError::Keys);
    }

    #[test]
    fn a_document_that_speaks_of_another_or_shares_a_secret_is_refused() {
        for (name, value, refused) in [
            (
                "client_id",
                json!("https://app.example/oauth/client.json/"),
                MetadataError::ClientId,
            ),
            (
                "client_id",
                json!("https://APP.example/oauth/client.json"),
                MetadataError::ClientId,
            ),
            ("client_id", json!(null), MetadataError::ClientId),
            ("client_secret", json!("x"), MetadataError::Secret),
            ("client_secret_expires_at", json!(0), MetadataError::Secret),
            (
                "token_endpoint_auth_method",
                json!("client_secret_basic"),
                MetadataError::AuthMethod,
            ),
            (
                "token_endpoint_auth_method",
                json!("client_secret_jwt"),
                MetadataError::AuthMethod,
            ),
            (
                "token_endpoint_auth_method",
                json!("private_key_jwt"),
                MetadataError::Keys,
            ),
            (
                "token_endpoint_auth_method",
                json!(1),
                MetadataError::Member("token_endpoint_auth_method"),
            ),
            ("redirect_uris", json!([]), MetadataError::RedirectUri),
            (
                "redirect_uris",
                json!("https://app.example/cb"),
                MetadataError::RedirectUri,
            ),
            (
                "redirect_uris",
                json!(["https://app.example/cb", 1]),
                MetadataError::RedirectUri,
            ),
            (
                "redirect_uris",
                json!(["http://app.example/cb"]),
                MetadataError::RedirectUri,
            ),
            (
                "redirect_uris",
                json!(vec!["https://app.example/cb"; 17]),
                MetadataError::RedirectUri,
            ),
            ("application_type", json!("web"), MetadataError::RedirectUri),
            (
                "application_type",
                json!("service"),
                MetadataError::Member("application_type"),
            ),
            (
                "grant_types",
                json!(["client_credentials"]),
                MetadataError::Member("grant_types"),
            ),
            (
                "response_types",
                json!(["token"]),
                MetadataError::Member("response_types"),
            ),
            (
                "client_name",
                json!(["x"]),
                MetadataError::Member("client_name"),
            ),
        ] {
            assert_eq!(
                document(|document| document[name] = value.clone()).unwrap_err(),
                refused,
                "{name} {value}"
            );
        }
        let url = URL.parse().unwrap();
        assert_eq!(
            ClientMetadata::of_document(&url, &json!([URL])).unwrap_err(),
            MetadataError::Json
        );
    }

    #[test]
    fn a_registration_gets_what_a_client_can_do_with_it() {
        let register = |method: Option<&str>| {
            let mut request =
                json!({"redirect_uris": ["http://localhost/cb"], "application_type": "native"});
            if let Some(method) = method {
                request["token_endpoint_auth_method"] = json!(method);
            }
            ClientMetadata::of_registration(&request)
        };
        assert_eq!(register(None).unwrap().auth_method, "none");
        assert_eq!(register(Some("none")).unwrap().keys, ClientKeys::Public);
        let post = register(Some("client_secret_post")).unwrap();
        assert_eq!(
            (post.keys, &*post.auth_method),
            (ClientKeys::Secret, "client_secret_post")
        );
        for method in [
            "private_key_jwt",
            "client_secret_jwt",
            "tls_client_auth",
            "",
        ] {
            assert_eq!(
                register(Some(method)).unwrap_err(),
                MetadataError::AuthMethod,
                "{method}"
            );
        }
        assert_eq!(
            ClientMetadata::of_registration(&json!([])).unwrap_err(),
            MetadataError::Json
        );
    }

    #[test]
    fn names_neither_hide_nor_reorder_nor_flood() {
        let name = |name: &str| {
            document(|document| document["client_name"] = json!(name))
                .unwrap()
                .name
        };
        assert_eq!(
            name(" Good\u{202e}live\u{200b}\u{7}\n ").as_deref(),
            Some("Goodlive")
        );
        assert_eq!(name("\u{200b} \u{202e}"), None);
        assert_eq!(name(&"x".repeat(1000)).unwrap().len(), MAX_NAME_CHARS);
        // What is markup stays text; the page escapes it.
        assert_eq!(name("<b>").as_deref(), Some("<b>"));
    }
}
