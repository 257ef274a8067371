//! An issuer of JWTs on loopback: its discovery document, its keys, and what it is made to answer.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "each test binary uses its own part of this, and helpers of tests fail tests"
)]

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

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
        let site = Self { url, state: Arc::default(), asked: Arc::default() };
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
        self.state.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    /// The paths that were asked for.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
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
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let reply = {
            let mut state = self.state.lock().unwrap();
            state.log.push(path.clone());
            state.heads.push(head);
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
                    stream.write_all(&[&b"1000\r\n"[..], &[b' '; 0x1000], b"\r\n"].concat()).await?;
                }
            }
            Some(Reply::Held(go, json)) => {
                go.notified().await;
                stream.write_all(&ok(&json)).await
            }
            Some(Reply::Silence) => std::future::pending().await,
            None => stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await,
        }
    }
}

pub fn ok(json: &Value) -> Vec<u8> {
    raw("200 OK", "content-type: application/json\r\n", &json.to_string())
}

pub fn raw(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

/// An issuer that publishes its keys at a site.
pub struct Idp {
    pub site: Site,
}

impl Idp {
    /// With these keys.
    pub async fn start(keys: &[&SigningKey]) -> Self {
        let idp = Self { site: Site::start().await };
        let document = json!({"issuer": idp.issuer(), "jwks_uri": idp.site.at("/keys")});
        idp.site.set("/.well-known/openid-configuration", Reply::Json(document));
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
        self.site.log().iter().filter(|path| *path == "/keys").count()
    }
}

pub fn jwks(keys: &[&SigningKey]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()})
}

/// A key that an issuer signs with.
pub struct SigningKey {
    pub algorithm: Algorithm,
    private: Private,
    pub jwk: Value,
    pub public: Vec<u8>,
}

enum Private {
    Library(EncodingKey),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    pub fn ed25519(kid: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(&public), "kid": kid});
        let private = Private::Library(EncodingKey::from_ed_der(pkcs8.as_ref()));
        Self { algorithm: Algorithm::EdDSA, private, jwk, public }
    }

    pub fn p256(kid: &str) -> Self {
        Self::ec(kid, Algorithm::ES256, ("P-256", 32), &signature::ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub fn p384(kid: &str) -> Self {
        Self::ec(kid, Algorithm::ES384, ("P-384", 48), &signature::ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ec(
        kid: &str,
        algorithm: Algorithm,
        (curve, length): (&str, usize),
        signing: &'static signature::EcdsaSigningAlgorithm,
    ) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref()).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let (x, y) = public[1..].split_at(length);
        let jwk = json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y), "kid": kid});
        Self { algorithm, private: Private::Library(EncodingKey::from_ec_der(pkcs8.as_ref())), jwk, public }
    }

    /// As identity providers publish them: with a use, an algorithm and a certificate.
    pub fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let parts = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let jwk = json!({
            "kty": "RSA", "n": b64(&parts.n), "e": b64(&parts.e), "kid": kid, "use": "sig", "alg": "RS256",
            "x5c": ["MIIB"], "x5t": "AAAA", "issuer": "whatever",
        });
        let public = pair.public_key().as_ref().to_vec();
        Self { algorithm: Algorithm::RS256, private: Private::Rsa(pair), jwk, public }
    }

    /// As [`Self::rsa`], with the other padding.
    pub fn rsa_pss(kid: &str) -> Self {
        let mut key = Self::rsa(kid);
        key.algorithm = Algorithm::PS256;
        key.jwk["alg"] = json!("PS256");
        key
    }

    pub fn kid(&self) -> &str {
        self.jwk["kid"].as_str().unwrap()
    }

    /// A JWT of `typ` with these claims.
    pub fn sign(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": format!("{:?}", self.algorithm), "kid": self.kid()});
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        self.sign_raw(&header.to_string(), &claims.to_string())
    }

    /// A signature over exactly these texts.
    pub fn sign_raw(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
        let signature = match &self.private {
            Private::Library(key) => jsonwebtoken::crypto::sign(signed.as_bytes(), key, self.algorithm).unwrap(),
            Private::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn signature::RsaEncoding = if self.algorithm == Algorithm::PS256 {
                    &signature::RSA_PSS_SHA256
                } else {
                    &signature::RSA_PKCS1_SHA256
                };
                pair.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
                b64(&signature)
            }
        };
        format!("{signed}.{signature}")
    }
}

pub fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
