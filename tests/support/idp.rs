//! An issuer of JWTs on loopback: its discovery document, its keys, and what it is made to answer.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::foreign::Foreign;

/// A server of documents on loopback, over plain http, that notes what it was asked for.
#[derive(Clone)]
pub struct Site {
    pub url: String,
    state: Arc<Mutex<State>>,
    /// Told when a request came in.
    pub asked: Arc<Notify>,
}

#[derive(Default)]
struct State {
    replies: HashMap<String, Reply>,
    log: Vec<String>,
    bodies: Vec<String>,
    heads: Vec<String>,
}

/// What is answered at a path.
#[derive(Clone)]
pub enum Reply {
    /// 200 with this JSON.
    Json(Value),
    /// These bytes, and the end.
    Raw(Vec<u8>),
    /// The head, then one byte after another, without end.
    Drip,
    /// The head, then as much as the other side takes.
    Flood,
    /// Nothing until it is told to go on; then this.
    Held(Arc<Notify>, Value),
    /// Nothing at all.
    Silence,
}

impl Site {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let site = Self {
            url,
            state: Arc::default(),
            asked: Arc::default(),
        };
        let here = site.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let here = here.clone();
                // Who hangs up early breaks the pipe, which is no failure of the site.
                tokio::spawn(async move { here.serve(stream).await.ok() });
            }
        });
        site
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub fn set(&self, path: &str, reply: Reply) {
        self.state
            .lock()
            .unwrap()
            .replies
            .insert(path.to_owned(), reply);
    }

    /// The paths that were asked for.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    /// The requests' bodies, as they came.
    pub fn bodies(&self) -> Vec<String> {
        self.state.lock().unwrap().bodies.clone()
    }

    /// The requests' heads, as they came.
    pub fn heads(&self) -> Vec<String> {
        self.state.lock().unwrap().heads.clone()
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let lower = head.to_ascii_lowercase();
        let length = lower.split("\r\ncontent-length: ").nth(1);
        let length = length.and_then(|rest| rest.split('\r').next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let reply = {
            let mut state = self.state.lock().unwrap();
            state.log.push(path.clone());
            state.heads.push(head);
            state.bodies.push(String::from_utf8(body).unwrap());
            state.replies.get(&path).cloned()
        };
        self.asked.notify_one();
        match reply {
            Some(Reply::Json(json)) => stream.write_all(&ok(&json)).await,
            Some(Reply::Raw(bytes)) => stream.write_all(&bytes).await,
            Some(Reply::Drip) => {
                stream.write_all(ENDLESS).await?;
                loop {
                    stream.write_all(b"1\r\n[\r\n").await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Some(Reply::Flood) => {
                stream.write_all(ENDLESS).await?;
                loop {
                    stream
                        .write_all(&[&b"1000\r\n"[..], &[b' '; 0x1000], b"\r\n"].concat())
                        .await?;
                }
            }
            Some(Reply::Held(go, json)) => {
                go.notified().await;
                stream.write_all(&ok(&json)).await
            }
            Some(Reply::Silence) => std::future::pending().await,
            None => {
                stream
                    .write_all(
                        b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    )
                    .await
            }
        }
    }
}

pub fn ok(json: &Value) -> Vec<u8> {
    raw(
        "200 OK",
        "content-type: application/json\r\n",
        &json.to_string(),
    )
}

pub fn raw(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

const ENDLESS: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

/// An issuer that publishes its keys at a site.
pub struct Idp {
    pub site: Site,
}

impl Idp {
    /// With these keys.
    pub async fn start(keys: &[&SigningKey]) -> Self {
        let idp = Self {
            site: Site::start().await,
        };
        let document = json!({"issuer": idp.issuer(), "jwks_uri": idp.site.at("/keys")});
        idp.site
            .set("/.well-known/openid-configuration", Reply::Json(document));
        idp.publish(keys);
        idp
    }

    pub fn issuer(&self) -> &str {
        &self.site.url
    }

    pub fn publish(&self, keys: &[&SigningKey]) {
        self.site.set("/keys", Reply::Json(jwks(keys)));
    }

    /// How often its keys were asked for.
    pub fn fetches(&self) -> usize {
        self.site
            .log()
            .iter()
            .filter(|path| *path == "/keys")
            .count()
    }
}

pub fn jwks(keys: &[&SigningKey]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()})
}

/// A key that an issuer signs with, and as it publishes it.
pub struct SigningKey {
    key: Foreign,
    pub jwk: Value,
}

impl SigningKey {
    fn new(kid: &str, key: Foreign) -> Self {
        let mut jwk = key.jwk.clone();
        jwk["kid"] = json!(kid);
        Self { key, jwk }
    }

    pub fn ed25519(kid: &str) -> Self {
        Self::new(kid, Foreign::ed25519())
    }

    pub fn p256(kid: &str) -> Self {
        Self::new(kid, Foreign::p256())
    }

    pub fn p384(kid: &str) -> Self {
        Self::new(kid, Foreign::p384())
    }

    /// As identity providers publish them: with a use, an algorithm and a certificate.
    pub fn rsa(kid: &str) -> Self {
        let mut key = Self::new(kid, Foreign::rsa());
        let usual = json!({"use": "sig", "alg": "RS256", "x5c": ["MIIB"], "x5t": "AAAA", "issuer": "whatever"});
        key.jwk
            .as_object_mut()
            .unwrap()
            .extend(usual.as_object().unwrap().clone());
        key
    }

    /// With the other padding.
    pub fn rsa_pss(kid: &str) -> Self {
        Self::new(kid, Foreign::pss())
    }

    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm
    }

    pub fn public(&self) -> &[u8] {
        &self.key.public_der
    }

    pub fn kid(&self) -> &str {
        self.jwk["kid"].as_str().unwrap()
    }

    /// A JWT of `typ` with these claims.
    pub fn sign(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": format!("{:?}", self.algorithm()), "kid": self.kid()});
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        self.sign_raw(&header.to_string(), &claims.to_string())
    }

    /// A signature over exactly these texts.
    pub fn sign_raw(&self, header: &str, claims: &str) -> String {
        self.key.sign(header, claims)
    }
}
