//! Who the command line is: an operator with a token, or an agent with a key.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    cli::{
        client::{Bearer, Client, Connection},
        error::CliError,
        help::GLOBAL,
        session::Session,
    },
    server::config::process_environment,
};
use hallpass_broker::{OPERATOR_TOKEN_FILE, identity::AgentKey};
use hallpass_core::{
    base::{
        holder::HolderKey,
        ids::{IssuerUri, ServerUri},
        json,
        secret_file::read_secret,
        time::{Clock as _, SystemClock},
    },
    token::PassToken,
    wire::{self, document::KeyDocument},
};

/// An operator's way to the broker.
#[derive(Debug, Clone, Args)]
pub(super) struct Operator {
    #[command(flatten)]
    pub(super) connection: Connection,
    /// The operator's token (mode 0600); else HALLPASS_OPERATOR_TOKEN, the token itself; else
    /// ./hallpass-data/operator.token.
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    operator_token_file: Option<PathBuf>,
}

impl Operator {
    /// A session with the operator's credential.
    pub(super) fn open(&self) -> Result<Session, CliError> {
        Ok(Session::new(self.connection.client()?, self.bearer()?))
    }

    pub(super) fn bearer(&self) -> Result<Bearer, CliError> {
        self.token().map(Bearer::new)
    }

    /// The operator's token.
    pub(super) fn token(&self) -> Result<Zeroizing<String>, CliError> {
        if let Some(path) = &self.operator_token_file {
            return token_in(path);
        }
        if let Some(token) = token_in_environment() {
            return Ok(token);
        }
        let path = Path::new(DATA_DIRECTORY).join(OPERATOR_TOKEN_FILE);
        if path.exists() {
            return token_in(&path);
        }
        Err(CliError::failed("no operator token was found").hint(format!(
            "run this where `{}` is, or say --operator-token-file FILE or HALLPASS_OPERATOR_TOKEN=TOKEN",
            path.display()
        )))
    }
}

/// An agent's way to the broker, or an operator's where either may ask.
#[derive(Debug, Clone, Args)]
pub(super) struct Either {
    #[command(flatten)]
    pub(super) operator: Operator,
    #[command(flatten)]
    pub(super) agent: MaybeAgent,
}

/// The key of the agent to be, if any.
#[derive(Debug, Clone, Args)]
pub(super) struct MaybeAgent {
    /// Act as the agent whose key file this is.
    #[arg(long = "as", global = true, value_name = "KEYFILE", help_heading = GLOBAL)]
    key_file: Option<PathBuf>,
    /// The issuer that the agent means; needed when the broker calls itself by another origin than --broker.
    #[arg(long, global = true, value_name = "URI", help_heading = GLOBAL)]
    issuer: Option<IssuerUri>,
}

impl Either {
    fn key_file(&self) -> Result<&Path, CliError> {
        self.agent.key_file.as_deref().ok_or_else(|| {
            CliError::usage("this is an agent's to do")
                .hint("say --as KEYFILE; `hallpass agent add … --key-out KEYFILE` makes one")
        })
    }

    /// The key of the agent named by `--as`.
    pub(super) fn agent_key(&self) -> Result<AgentKey, CliError> {
        AgentKey::read(self.key_file()?).map_err(CliError::failed)
    }

    /// A session with the credential of the agent named by `--as`, good for one request.
    pub(super) async fn as_agent(&self) -> Result<Session, CliError> {
        let path = self.key_file()?;
        let client = self.operator.connection.client()?;
        let bearer = assertion(&client, path, self.agent.issuer.as_ref()).await?;
        Ok(Session::new(client, bearer))
    }

    /// A session with the agent's credential when there is `--as`, else the operator's.
    pub(super) async fn open(&self) -> Result<Session, CliError> {
        if self.agent.key_file.is_some() {
            self.as_agent().await
        } else {
            self.operator.open()
        }
    }

    pub(super) const fn is_agent(&self) -> bool {
        self.agent.key_file.is_some()
    }
}

/// The broker whose word is taken for which keys sign passes.
#[derive(Debug, Args)]
pub(super) struct Signer {
    /// The broker's key document in a file, saved from its /v1/keys.json, to need no network.
    #[arg(long, value_name = "FILE")]
    key_document: Option<PathBuf>,
    /// The issuer that is meant; needed when the broker calls itself by another origin than --broker.
    #[arg(long, value_name = "URI")]
    issuer: Option<IssuerUri>,
    #[command(flatten)]
    connection: Connection,
}

impl Signer {
    /// The key document, from the file or else from the broker.
    pub(super) async fn key_document(&self) -> Result<KeyDocument, CliError> {
        let Some(path) = &self.key_document else {
            return key_document(&self.connection.client()?, self.issuer.as_ref()).await;
        };
        let document = read_key_document(json_file(path)?, path.display())?;
        match &self.issuer {
            Some(expected) if *expected != document.iss => Err(CliError::failed(format!(
                "`{}` is of the broker `{}`",
                path.display(),
                document.iss
            ))),
            _ => Ok(document),
        }
    }
}

fn read_key_document(value: Value, of: impl std::fmt::Display) -> Result<KeyDocument, CliError> {
    wire::read(value).map_err(|error| {
        let failed = CliError::failed(format!(
            "the key document of `{of}` cannot be read: {error}"
        ));
        if error.is_newer() {
            failed.hint("upgrade this hallpass: the broker is newer")
        } else {
            failed
        }
    })
}

/// The key document of the broker, which must call itself by its own origin or by `expected`.
///
/// SECURITY: an assertion is good at whichever issuer it names. A broker that could choose that name
/// freely would get an assertion for another one.
pub(super) async fn key_document(
    client: &Client,
    expected: Option<&IssuerUri>,
) -> Result<KeyDocument, CliError> {
    let value = client.get("/v1/keys.json", &[], &Bearer::NONE).await?;
    let document = read_key_document(value, client.base())?;
    let believed = match expected {
        Some(expected) => document.iss == *expected,
        None => client.has_origin_of(&document.iss),
    };
    if believed {
        return Ok(document);
    }
    Err(CliError::failed(format!(
        "the broker at {} calls itself `{}`",
        client.base(),
        document.iss
    ))
    .hint(format!(
        "if that is the broker you mean, say --issuer {}",
        document.iss
    )))
}

async fn assertion(
    client: &Client,
    path: &Path,
    issuer: Option<&IssuerUri>,
) -> Result<Bearer, CliError> {
    let key = AgentKey::read(path).map_err(CliError::failed)?;
    let issuer = key_document(client, issuer).await?.iss;
    let assertion = key.assertion(&issuer, SystemClock::default().now());
    assertion
        .map(|text| Bearer::new(Zeroizing::new(text)))
        .map_err(CliError::failed)
}

/// The canonical URI of the server that `text`, a URI or a registered name, means.
pub(super) async fn server_uri(
    client: &Client,
    text: &str,
    operator: &Operator,
) -> Result<ServerUri, CliError> {
    if text.contains("://") {
        return text
            .parse()
            .map_err(|error| CliError::usage(format!("--server: {error}")));
    }
    let bearer = operator.bearer().map_err(|_| {
        CliError::failed(format!(
            "`{text}` is a server's short name, which only operators can look up"
        ))
        .hint("give the server's URI, or an operator token beside the agent's key")
    })?;
    let session = Session::new(client.clone(), bearer);
    Ok(session.server(text).await?.read()?.manifest.server)
}

/// A token given as an argument, or read from stdin for `-`.
pub(super) fn token_argument(given: &str) -> Result<Zeroizing<String>, CliError> {
    if given != "-" {
        return Ok(Zeroizing::new(given.trim().to_owned()));
    }
    let text = read_limited(io::stdin().lock(), MAX_TOKEN_TEXT_BYTES)?;
    let text = Zeroizing::new(
        String::from_utf8(text).map_err(|_| CliError::usage("stdin holds no token"))?,
    );
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// A pass given as an argument, or read from stdin for `-`.
pub(super) fn pass_argument(given: &str) -> Result<PassToken, CliError> {
    Ok(PassToken::from_text(
        token_argument(given)?.as_str().to_owned(),
    ))
}

/// The text in `path`, or on stdin for `-`.
pub(super) fn text_file(path: &Path) -> Result<String, CliError> {
    let no_text = |_| CliError::usage(format!("`{}` is not UTF-8 text", path.display()));
    String::from_utf8(file(path)?).map_err(no_text)
}

fn file(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed =
        |error: io::Error| CliError::failed(format!("cannot read `{}`: {error}", path.display()));
    if path == Path::new("-") {
        read_limited(io::stdin().lock(), MAX_INPUT_BYTES)
    } else {
        read_limited(std::fs::File::open(path).map_err(failed)?, MAX_INPUT_BYTES)
    }
}

/// The JSON in `path`, or on stdin for `-`.
pub(super) fn json_file(path: &Path) -> Result<Value, CliError> {
    let bytes = file(path)?;
    json::parse(&bytes, MAX_INPUT_BYTES)
        .map_err(|error| CliError::usage(format!("`{}`: {error}", path.display())))
}

/// The public key in a JWK file.
pub(super) fn public_key(path: &Path) -> Result<HolderKey, CliError> {
    let jwk: Value = json_file(path)?;
    HolderKey::from_jwk(&jwk).ok_or_else(|| {
        CliError::usage(format!(
            "`{}` is no public JWK of Ed25519 or P-256",
            path.display()
        ))
        .hint("`hallpass agent key NAME --key-out FILE` makes a key and shows its public half")
    })
}

fn read_limited(source: impl io::Read, max_bytes: usize) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let one_more = u64::try_from(max_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    source
        .take(one_more)
        .read_to_end(&mut bytes)
        .map_err(CliError::failed)?;
    if bytes.len() > max_bytes {
        return Err(CliError::usage(format!(
            "the input is longer than {max_bytes} bytes"
        )));
    }
    Ok(bytes)
}

fn token_in(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let text = read_secret(path).map_err(CliError::failed)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// A flag would show the token to everybody who lists processes, so it comes by this way only.
fn token_in_environment() -> Option<Zeroizing<String>> {
    let text = process_environment("HALLPASS_OPERATOR_TOKEN").map(Zeroizing::new)?;
    let token = text.trim();
    (!token.is_empty()).then(|| Zeroizing::new(token.to_owned()))
}

/// Where a broker keeps its data by default.
pub(super) const DATA_DIRECTORY: &str = "./hallpass-data";

const MAX_TOKEN_TEXT_BYTES: usize = 64 * 1024;
pub(super) const MAX_INPUT_BYTES: usize = 1024 * 1024;
