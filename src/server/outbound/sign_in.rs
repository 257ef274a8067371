//! Signing in with an issuer: the broker as its client (OpenID Connect Core section 3.1, RFC 6749 section 4.1).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Url;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::server::outbound::{
    FetchError, Fetcher, Posted, PostedForm,
    discovery::{DiscoveryError, MAX_DOCUMENT_BYTES, discover},
};
use hallpass_broker::identity::issuer::SignInClient;
use hallpass_core::base::{sync::MutexExt as _, text::excerpt, time::Clock};

/// An issuer that people sign in with.
pub struct SignInProvider {
    issuer: Box<str>,
    client: SignInClient,
    secret: Option<Zeroizing<String>>,
    fetcher: Arc<Fetcher>,
    clock: Arc<dyn Clock>,
    /// With the monotonic time when they were fetched.
    endpoints: Mutex<Option<(Arc<Endpoints>, Duration)>>,
}

/// Where an issuer is asked, as its discovery document says.
#[derive(Debug)]
struct Endpoints {
    authorization: Url,
    token: String,
    /// Whether the client's secret goes into the body, because the header is not among what the issuer takes.
    secret_in_body: bool,
    /// Whether it names itself in its answers (RFC 9207).
    says_who_answers: bool,
}

/// What one sign-in asks with.
#[derive(Debug, Clone, Copy)]
pub struct SignInRequest<'r> {
    /// To find it again when the person comes back.
    pub state: &'r str,
    /// What the ID token must contain.
    pub nonce: &'r str,
    /// The SHA-256 of the verifier, in base64url (RFC 7636).
    pub challenge: &'r str,
    /// Where the person comes back to.
    pub redirect_uri: &'r str,
}

/// What came back with a person.
#[derive(Debug, Clone, Copy)]
pub struct SignInAnswer<'r> {
    /// The authorization code.
    pub code: &'r str,
    /// The issuer that the answer names (RFC 9207).
    pub issuer: Option<&'r str>,
    /// The verifier of the challenge.
    pub verifier: &'r str,
    /// As in the request.
    pub redirect_uri: &'r str,
}

/// Why people cannot sign in with an issuer: for the log.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Its discovery document.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// It lacks something.
    #[error("its discovery document has no usable `{0}`")]
    Missing(&'static str),
    /// The answer names another issuer, or none where this issuer always names itself: it may be the answer to another
    /// issuer's client.
    #[error("the answer does not name this issuer")]
    MixUp,
    /// The token endpoint.
    #[error("its token endpoint {0}")]
    Token(FetchError),
    /// The token endpoint refused, in these words.
    #[error("its token endpoint answered {0}: {1}")]
    Refused(u16, String),
    /// It gave no ID token.
    #[error("its token endpoint gave no ID token: is `openid` a scope that it gives this client?")]
    NoIdToken,
}

impl SignInProvider {
    /// As the client `client`, whose secret file was read already.
    #[must_use]
    pub fn new(
        issuer: &str,
        client: SignInClient,
        secret: Option<Zeroizing<String>>,
        fetcher: Arc<Fetcher>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            client,
            secret,
            fetcher,
            clock,
            endpoints: Mutex::default(),
        }
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where a person is sent to sign in.
    ///
    /// # Errors
    ///
    /// When the issuer does not say where that is.
    pub async fn authorization_url(
        &self,
        request: SignInRequest<'_>,
    ) -> Result<String, SignInError> {
        let endpoints = self.endpoints().await?;
        let mut url = endpoints.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client.client_id)
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("scope", &self.client.scope)
            .append_pair("state", request.state)
            .append_pair("nonce", request.nonce)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// The ID token that the issuer gives for the code; nothing of it is verified yet.
    ///
    /// # Errors
    ///
    /// When the answer is another issuer's, or this one gives none.
    pub async fn redeem(&self, answer: SignInAnswer<'_>) -> Result<Zeroizing<String>, SignInError> {
        let endpoints = self.endpoints().await?;
        // SECURITY: the code of one issuer must not be sent to another (RFC 9207 section 2.4).
        match answer.issuer {
            Some(issuer) if *issuer != *self.issuer => return Err(SignInError::MixUp),
            None if endpoints.says_who_answers => return Err(SignInError::MixUp),
            _ => {}
        }
        let client_id = self.client.client_id.as_str();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", answer.code),
            ("redirect_uri", answer.redirect_uri),
            ("code_verifier", answer.verifier),
        ];
        let secret = self.secret.as_deref().map(String::as_str);
        let basic = match secret {
            Some(secret) if endpoints.secret_in_body => {
                form.extend([("client_id", client_id), ("client_secret", secret)]);
                None
            }
            Some(secret) => Some((client_id, secret)),
            None => {
                form.push(("client_id", client_id));
                None
            }
        };
        let posted_form = PostedForm { form: &form, basic };
        let posted = self
            .fetcher
            .post_form(&endpoints.token, posted_form, MAX_DOCUMENT_BYTES);
        let Posted { status, json } = posted.await.map_err(SignInError::Token)?;
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        if status != 200 {
            let words = [text("error"), text("error_description")];
            let words = words.into_iter().flatten().map(excerpt).collect::<Vec<_>>();
            return Err(SignInError::Refused(status, words.join(": ")));
        }
        let id_token = text("id_token").ok_or(SignInError::NoIdToken)?;
        Ok(Zeroizing::new(id_token.to_owned()))
    }

    async fn endpoints(&self) -> Result<Arc<Endpoints>, SignInError> {
        let now = self.clock.monotonic();
        let held = self.endpoints.locked().clone();
        if let Some((endpoints, since)) = held
            && now.saturating_sub(since) <= FRESH_FOR
        {
            return Ok(endpoints);
        }
        let endpoints = Arc::new(self.discovered().await?);
        *self.endpoints.locked() = Some((Arc::clone(&endpoints), now));
        Ok(endpoints)
    }

    async fn discovered(&self) -> Result<Endpoints, SignInError> {
        let document = discover(&self.fetcher, &self.issuer).await?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let authorization = text("authorization_endpoint")
            .and_then(|url| self.fetcher.admitted(url).ok())
            .ok_or(SignInError::Missing("authorization_endpoint"))?;
        let token = text("token_endpoint").ok_or(SignInError::Missing("token_endpoint"))?;
        let methods = document.get("token_endpoint_auth_methods_supported");
        let takes = |method: &str| {
            let methods = methods.and_then(Value::as_array);
            methods.is_some_and(|methods| methods.iter().any(|known| known == method))
        };
        let says = document.get("authorization_response_iss_parameter_supported");
        Ok(Endpoints {
            authorization,
            token: token.to_owned(),
            // Without the member it is the header alone (RFC 8414 section 2).
            secret_in_body: takes("client_secret_post") && !takes("client_secret_basic"),
            says_who_answers: says.and_then(Value::as_bool).unwrap_or_default(),
        })
    }
}

/// Never the secret.
impl std::fmt::Debug for SignInProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignInProvider")
            .field("issuer", &self.issuer)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// A discovery document this old is asked for again.
const FRESH_FOR: Duration = Duration::from_secs(300);
