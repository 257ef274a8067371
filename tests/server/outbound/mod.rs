//! What the broker fetches because of what somebody sent: where it may go, how much it takes, how often it asks.

mod trust;

use std::{
    io,
    net::IpAddr,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use hallpass::server::outbound::{
    Addresses, COOL_DOWN, FRESH_FOR, FetchError, FetchOptions, Fetched, Fetcher, KEPT_FOR,
    KeyError, KeySource, Names, RETRY_AFTER, Reach,
};
use hallpass_broker::identity::JwkError;
use hallpass_core::base::time::{Clock, ManualClock};
use serde_json::json;
use tokio::sync::Notify;

use crate::log::Log;
use support::{
    foreign::b64,
    idp::{self, Idp, Reply, SigningKey, Site, raw},
    tls,
};

const MAX: usize = 1024;

/// What takes this long does not happen.
const LONG: Duration = Duration::from_secs(20);

#[test]
fn only_public_addresses_may_be_dialled() {
    let public = Reach::public();
    for refused in REFUSED {
        let address: IpAddr = refused.parse().unwrap();
        assert!(!public.admits(address), "{refused}");
        assert!(!public.admits_plain_http(address), "{refused}");
    }
    for admitted in ADMITTED {
        let address: IpAddr = admitted.parse().unwrap();
        assert!(public.admits(address), "{admitted}");
        assert!(!public.admits_plain_http(address), "{admitted}");
    }
}

#[test]
fn what_is_admitted_explicitly_is_admitted_in_its_own_form_only() {
    let here = Reach::with_loopback();
    for loopback in ["127.0.0.1", "127.255.255.254", "::1"] {
        assert!(
            here.admits(loopback.parse().unwrap())
                && here.admits_plain_http(loopback.parse().unwrap())
        );
    }
    for other in [
        "10.0.0.1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "169.254.169.254",
    ] {
        assert!(!here.admits(other.parse().unwrap()), "{other}");
    }
    let cluster = Reach::public().and(["10.96.0.0/12".parse().unwrap()]);
    assert!(
        cluster.admits("10.96.0.1".parse().unwrap())
            && !cluster.admits("10.112.0.1".parse().unwrap())
    );
    assert!(
        !cluster.admits_plain_http("10.96.0.1".parse().unwrap())
            && !cluster.admits("127.0.0.1".parse().unwrap())
    );
}

#[tokio::test]
async fn urls_that_mean_another_place_are_refused_before_anything_is_dialled() {
    let names = FakeNames::of(&["93.184.216.34"]);
    let fetcher = Fetcher::new(FetchOptions {
        names: names.clone(),
        ..FetchOptions::new(Reach::public())
    })
    .unwrap();
    for url in [
        "http://public.example/",
        "http://127.0.0.1/",
        "http://localhost/",
        "ftp://public.example/",
        "file:///etc/passwd",
        "data:application/json,{}",
        "https://",
        "https:///x",
        "public.example",
        "",
        "https://user@public.example/",
        "https://user:word@public.example/",
        "https://public.example/#fragment",
        "https://public.example\\@internal.example/",
        "https://public.example/a b",
        "https://public.example/a\tb",
        "https://public.example/\n",
        " https://public.example/",
        "https://pub\u{131}ic.example/",
        &format!("https://public.example/{}", "x".repeat(3000)),
    ] {
        assert_eq!(
            fetcher.json(url, MAX).await,
            Err(FetchError::Url),
            "{url:?}"
        );
    }
    for url in [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://2130706433/",
        "https://127.0.0.1./",
        "https://0/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1:8443/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::a00:1]/",
        "https://[fd00:ec2::254]/",
    ] {
        assert_eq!(
            fetcher.json(url, MAX).await,
            Err(FetchError::Address),
            "{url}"
        );
    }
    assert_eq!(names.asked(), 0);
}

#[tokio::test]
async fn a_name_is_dialled_at_the_addresses_that_were_checked() {
    for private in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "fd00::1",
        "::ffff:127.0.0.1",
    ] {
        let names = FakeNames::of(&[private]);
        let fetcher = Fetcher::new(FetchOptions {
            names,
            ..FetchOptions::new(Reach::public())
        })
        .unwrap();
        assert_eq!(
            fetcher.json("https://rebinding.example/", MAX).await,
            Err(FetchError::Address),
            "{private}"
        );
        assert_eq!(
            fetcher.json("https://rebinding.example./", MAX).await,
            Err(FetchError::Address),
            "{private}"
        );
    }
    // A name that meant an admitted address a moment ago is looked up, and checked, again.
    let site = TlsSite::start().await;
    let names = FakeNames::of(&["127.0.0.1"]);
    let options = FetchOptions {
        names: names.clone(),
        ..site.options()
    };
    let fetcher = Fetcher::new(options).unwrap();
    assert_eq!(
        fetcher.json(&site.url, MAX).await.unwrap().json,
        json!({"tls": true})
    );
    names.set(&["10.0.0.1"]);
    assert_eq!(fetcher.json(&site.url, MAX).await, Err(FetchError::Address));
    assert_eq!(names.asked(), 2);
}

#[tokio::test]
async fn of_several_addresses_those_that_are_not_admitted_are_not_dialled() {
    let site = TlsSite::start().await;
    let other = std::net::TcpListener::bind(("127.0.0.2", site.port)).unwrap();
    other.set_nonblocking(true).unwrap();
    let names = FakeNames::of(&["127.0.0.2", "127.0.0.1"]);
    let options = |network: &str| {
        let reach = Reach::public().and([network.parse().unwrap()]);
        Fetcher::new(FetchOptions {
            names: names.clone(),
            reach,
            ..site.options()
        })
        .unwrap()
    };
    assert_eq!(
        options("127.0.0.1/32")
            .json(&site.url, MAX)
            .await
            .unwrap()
            .json,
        json!({"tls": true})
    );
    assert_eq!(
        other.accept().unwrap_err().kind(),
        io::ErrorKind::WouldBlock,
        "nobody came"
    );
    // Which it would have been, as the first of the two.
    drop(options("127.0.0.0/8").json(&site.url, MAX).await);
    other.accept().unwrap();
}

#[tokio::test]
async fn a_server_proves_its_name() {
    let site = TlsSite::start().await;
    let names: Arc<FakeNames> = FakeNames::of(&["127.0.0.1"]);
    let other_name = site.url.replace("idp.example", "other.example");
    let fetcher = Fetcher::new(FetchOptions {
        names: names.clone(),
        ..site.options()
    })
    .unwrap();
    let answer = fetcher.json(&other_name, MAX).await;
    assert!(is_not_certified(&answer), "{answer:?}");
    let stranger = TlsSite::start().await;
    let fetcher = Fetcher::new(FetchOptions {
        names,
        ..stranger.options()
    })
    .unwrap();
    let answer = fetcher.json(&site.url, MAX).await;
    assert!(is_not_certified(&answer), "{answer:?}");
    let wrong = FetchOptions {
        root_certificates: Some(b"not PEM".to_vec()),
        ..site.options()
    };
    assert_eq!(
        Fetcher::new(wrong).unwrap_err(),
        FetchError::RootCertificates
    );
}

/// Whether it was the certificate that kept a server from being believed.
fn is_not_certified(answer: &Result<Fetched, FetchError>) -> bool {
    matches!(answer, Err(FetchError::Unreachable(reason)) if reason.contains("certificate"))
}

#[tokio::test]
async fn redirects_are_not_followed_and_nothing_is_sent_along() {
    let (site, fetcher) = (Site::start().await, here());
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let location = format!("location: {}\r\nset-cookie: a=b\r\n", site.at("/target"));
        site.set("/from", Reply::Raw(raw(status, &location, "{}")));
        let code = status[..3].parse().unwrap();
        assert_eq!(
            fetcher.json(&site.at("/from"), MAX).await,
            Err(FetchError::Redirect(code))
        );
    }
    assert!(
        site.log().iter().all(|path| path == "/from"),
        "{:?}",
        site.log()
    );
    for head in site.heads() {
        let head = head.to_ascii_lowercase();
        assert!(
            !head.contains("cookie")
                && !head.contains("authorization")
                && !head.contains("accept-encoding"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn what_is_not_json_of_a_bounded_length_is_refused() {
    let site = Site::start().await;
    let exactly = format!("\"{}\"", "x".repeat(MAX - 2));
    site.set("/exactly", Reply::Raw(raw("200 OK", JSON, &exactly)));
    site.set(
        "/more",
        Reply::Raw(raw("200 OK", JSON, &format!("{exactly} "))),
    );
    site.set("/flood", Reply::Flood);
    assert!(here().json(&site.at("/exactly"), MAX).await.is_ok());
    assert_eq!(
        here().json(&site.at("/more"), MAX).await,
        Err(FetchError::TooLarge(MAX))
    );
    assert_eq!(
        here().json(&site.at("/flood"), MAX).await,
        Err(FetchError::TooLarge(MAX))
    );
    for accepted in [
        "application/jwk-set+json",
        "Application/JSON; charset=utf-8",
    ] {
        site.set(
            "/type",
            Reply::Raw(raw(
                "200 OK",
                &format!("content-type: {accepted}\r\n"),
                "{}",
            )),
        );
        assert!(
            here().json(&site.at("/type"), MAX).await.is_ok(),
            "{accepted}"
        );
    }
    for refused in [
        "",
        "content-type: text/html\r\n",
        "content-type: text/json\r\n",
        "content-type: application/jsonp\r\n",
    ] {
        site.set("/type", Reply::Raw(raw("200 OK", refused, "{}")));
        assert_eq!(
            here().json(&site.at("/type"), MAX).await,
            Err(FetchError::ContentType),
            "{refused}"
        );
    }
    for status in [201_u16, 204, 206, 401, 404, 429, 500] {
        site.set("/status", Reply::Raw(raw(&format!("{status} X"), JSON, "")));
        assert_eq!(
            here().json(&site.at("/status"), MAX).await,
            Err(FetchError::Status(status))
        );
    }
    for body in ["", "{", "{\"a\":1,\"a\":2}", "NaN", "{} {}", "\u{feff}{}"] {
        site.set("/body", Reply::Raw(raw("200 OK", JSON, body)));
        assert!(
            matches!(
                here().json(&site.at("/body"), MAX).await,
                Err(FetchError::Json(_))
            ),
            "{body:?}"
        );
    }
    // An encoded body is not decoded, whatever it would become.
    let head =
        format!("HTTP/1.1 200 OK\r\n{JSON}content-encoding: gzip\r\nconnection: close\r\n\r\n");
    site.set(
        "/gzip",
        Reply::Raw([head.as_bytes(), GZIPPED_OBJECT].concat()),
    );
    assert!(matches!(
        here().json(&site.at("/gzip"), MAX).await,
        Err(FetchError::Json(_))
    ));
}

#[tokio::test]
async fn key_sets_are_asked_for_by_their_own_type_too() {
    let site = Site::start().await;
    site.set("/keys", Reply::Json(json!({"keys": []})));
    assert!(here().json(&site.at("/keys"), MAX).await.is_ok());
    let heads = site.heads().concat().to_ascii_lowercase();
    assert!(
        heads.contains("\r\naccept: application/json, application/jwk-set+json\r\n"),
        "{heads}"
    );
}

#[tokio::test]
async fn a_server_says_how_long_its_document_may_be_kept() {
    let site = Site::start().await;
    for (directives, expected) in [
        ("max-age=600", Some(600)),
        ("public, MAX-AGE=5", Some(5)),
        ("max-age=600, no-store", Some(0)),
        ("no-cache", Some(0)),
        ("private", None),
        ("max-age=-1", None),
        ("max-age=600\r\ncache-control: no-store", Some(0)),
        ("private\r\ncache-control: max-age=600", Some(600)),
    ] {
        site.set(
            "/kept",
            Reply::Raw(raw(
                "200 OK",
                &format!("{JSON}cache-control: {directives}\r\n"),
                "{}",
            )),
        );
        let fetched = here().json(&site.at("/kept"), MAX).await.unwrap();
        assert_eq!(
            fetched.fresh_for,
            expected.map(Duration::from_secs),
            "{directives}"
        );
    }
}

#[tokio::test]
async fn a_whole_exchange_has_one_deadline() {
    let site = Site::start().await;
    site.set("/drip", Reply::Drip);
    site.set("/silence", Reply::Silence);
    let hasty = || FetchOptions {
        deadline: Duration::from_millis(300),
        ..FetchOptions::new(Reach::with_loopback())
    };
    let began = Instant::now();
    for path in ["/drip", "/silence"] {
        assert_eq!(
            Fetcher::new(hasty())
                .unwrap()
                .json(&site.at(path), MAX)
                .await,
            Err(FetchError::TimedOut),
            "{path}"
        );
    }
    // A resolver that never answers counts too.
    let mute = Fetcher::new(FetchOptions {
        names: Arc::new(Mute),
        ..hasty()
    })
    .unwrap();
    assert_eq!(
        mute.json("https://mute.example/", MAX).await,
        Err(FetchError::TimedOut)
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

/// In a process of its own, since the environment is read once and belongs to all tests.
#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    if let Ok(url) = std::env::var(CHILD) {
        return assert_eq!(
            here().json(&url, MAX).await.unwrap().json,
            json!({"direct": true})
        );
    }
    let (site, proxy) = (Site::start().await, Site::start().await);
    site.set("/", Reply::Json(json!({"direct": true})));
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "outbound::proxies_of_the_environment_are_not_used",
        ])
        .env(CHILD, site.at("/"));
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        child.env(name, &proxy.url);
    }
    child.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = tokio::task::spawn_blocking(move || child.output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!((site.log().len(), proxy.log().len()), (1, 0));
}

#[tokio::test]
async fn unknown_key_ids_cause_no_storm() {
    let key = SigningKey::ed25519("one");
    let idp = Idp::start(&[&key]).await;
    let (source, clock) = source(&idp);
    // Those who ask at once share one fetch.
    let all = join_all((0..200).map(|_| source.keys(Some("one")))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(idp.fetches(), 1);
    for number in 0..500 {
        assert_eq!(
            source
                .keys(Some(&format!("made-up-{number}")))
                .await
                .unwrap_err(),
            KeyError::Unknown
        );
    }
    assert_eq!(idp.fetches(), 1);
    clock.advance(COOL_DOWN);
    let made_up: Vec<_> = (0..200).map(|number| format!("again-{number}")).collect();
    let go = Arc::new(Notify::new());
    idp.site
        .set("/keys", Reply::Held(Arc::clone(&go), idp::jwks(&[&key])));
    let known = async {
        until(|| idp.fetches() == 2, &idp.site).await;
        // Whoever has a key that is known does not wait for those.
        assert!(source.keys(Some("one")).await.is_ok());
        go.notify_one();
    };
    let all = join_all(made_up.iter().map(|kid| source.keys(Some(kid))));
    let (all, ()) = tokio::time::timeout(LONG, async { tokio::join!(all, known) })
        .await
        .unwrap();
    assert!(
        all.iter()
            .all(|keys| keys.as_ref().unwrap_err() == &KeyError::Unknown)
    );
    assert_eq!(idp.fetches(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_forgotten() {
    let (old, new) = (SigningKey::ed25519("old"), SigningKey::p256("new"));
    let idp = Idp::start(&[&old]).await;
    let (source, clock) = source(&idp);
    assert!(source.keys(Some("old")).await.is_ok());
    idp.publish(&[&new]);
    clock.advance(COOL_DOWN);
    assert!(source.keys(Some("new")).await.unwrap().has("new"));
    assert_eq!(
        source.keys(Some("old")).await.unwrap_err(),
        KeyError::Unknown
    );
    // And without anybody naming a new one, once the set is not fresh any more.
    idp.publish(&[&old]);
    clock.advance(FRESH_FOR + Duration::from_millis(1));
    let before = idp.fetches();
    assert_eq!(
        source.keys(Some("new")).await.unwrap_err(),
        KeyError::Unknown
    );
    assert!(source.keys(Some("old")).await.is_ok());
    assert_eq!(idp.fetches(), before + 1);
}

#[tokio::test]
async fn a_key_that_is_left_out_is_logged_with_its_reason_and_told_apart_from_one_that_is_not_there()
 {
    let log = Log::of_this_process();
    let (good, odd) = (
        SigningKey::ed25519("good"),
        SigningKey::rsa("x\u{1b}[2J-odd"),
    );
    let idp = Idp::start(&[&good, &odd]).await;
    // .NET writes a leading zero byte.
    let modulus = [
        b"\0",
        &*URL_SAFE_NO_PAD
            .decode(odd.jwk["n"].as_str().unwrap())
            .unwrap(),
    ]
    .concat();
    let mut zero = odd.jwk.clone();
    zero["n"] = json!(b64(&modulus));
    let encrypts =
        json!({"kty": "RSA", "kid": "left-out-enc", "use": "enc", "n": odd.jwk["n"], "e": "AQAB"});
    let wide = json!({"kty": "EC", "crv": "P-521", "kid": "left-out-521", "x": "AA", "y": "AA"});
    let nameless = json!({"kty": "oct", "k": "AA"});
    let set = json!({"keys": [good.jwk, zero, encrypts, wide, nameless]});
    idp.site.set("/keys", Reply::Json(set));
    let (source, clock) = source(&idp);
    assert!(source.keys(Some("good")).await.is_ok());
    for (kid, why) in [
        (odd.kid(), JwkError::Encoding("n")),
        ("left-out-enc", JwkError::Purpose("use")),
        ("left-out-521", JwkError::Kind),
    ] {
        let refused = source.keys(Some(kid)).await.unwrap_err();
        assert_eq!(refused, KeyError::Unusable(why));
        assert!(
            refused
                .to_string()
                .contains("the issuer has it, and it cannot be used"),
            "{refused}"
        );
    }
    assert_eq!(
        source.keys(Some("unheard")).await.unwrap_err(),
        KeyError::Unknown
    );
    // Once for each fetch, however many ask.
    let of_this = |text: &str| {
        let mut lines = log.lines_with(idp.issuer());
        lines.retain(|line| line.contains(text) && line.contains(" INFO "));
        lines
    };
    for (kid, why) in [
        ("x\\u{1b}[2J-odd", "unpadded base64url"),
        ("left-out-enc", "`use` names another purpose"),
        ("left-out-521", "none of OKP"),
        ("no kid", "private member `k`"),
    ] {
        let lines = of_this(kid);
        assert!(lines.len() == 1 && lines[0].contains(why), "{lines:?}");
    }
    clock.advance(FRESH_FOR + COOL_DOWN);
    assert!(source.keys(Some("good")).await.is_ok());
    assert_eq!(of_this("left-out-enc").len(), 2);
    assert!(!of_this("").iter().any(|line| line.contains('\u{1b}')));
    // One that is repaired is used, without a restart.
    idp.publish(&[&good, &odd]);
    clock.advance(COOL_DOWN);
    assert!(source.keys(Some(odd.kid())).await.is_ok());
}

#[tokio::test]
async fn an_issuer_that_is_down_stops_nobody_for_a_bounded_time() {
    let key = SigningKey::ed25519("one");
    let idp = Idp::start(&[&key]).await;
    let (source, clock) = source(&idp);
    assert!(source.keys(Some("one")).await.is_ok());
    idp.site.set(
        "/.well-known/openid-configuration",
        Reply::Raw(raw("500 X", JSON, "")),
    );
    clock.advance(KEPT_FOR);
    let discoveries = || {
        idp.site
            .log()
            .iter()
            .filter(|path| path.contains("well-known"))
            .count()
    };
    for _ in 0..100 {
        assert!(source.keys(Some("one")).await.is_ok());
    }
    until(|| discoveries() == 2, &idp.site).await;
    clock.advance(Duration::from_millis(1));
    // From here on keys of that age are not used, and the issuer is asked again once it rested.
    assert_eq!(
        source.keys(Some("one")).await.unwrap_err(),
        KeyError::Unavailable
    );
    assert_eq!(discoveries(), 2);
    let document = json!({"issuer": idp.issuer(), "jwks_uri": idp.site.at("/keys")});
    idp.site
        .set("/.well-known/openid-configuration", Reply::Json(document));
    clock.advance(RETRY_AFTER);
    assert!(source.keys(Some("one")).await.is_ok());
}

#[tokio::test]
async fn who_hangs_up_does_not_stop_the_fetch() {
    let key = SigningKey::ed25519("one");
    let idp = Idp::start(&[&key]).await;
    let go = Arc::new(Notify::new());
    idp.site
        .set("/keys", Reply::Held(Arc::clone(&go), idp::jwks(&[&key])));
    let (source, _) = source(&idp);
    let impatient = {
        let source = source.clone();
        tokio::spawn(async move { source.keys(Some("one")).await.map(drop) })
    };
    until(|| idp.fetches() == 1, &idp.site).await;
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    go.notify_one();
    assert!(source.keys(Some("one")).await.is_ok());
    assert_eq!(idp.fetches(), 1);
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_not_believed() {
    let key = SigningKey::ed25519("one");
    let idp = Idp::start(&[&key]).await;
    let keys = idp.site.at("/keys");
    for document in [
        json!({"issuer": "https://other.example", "jwks_uri": keys}),
        json!({"issuer": format!("{}/", idp.issuer()), "jwks_uri": keys}),
        json!({"issuer": [idp.issuer()], "jwks_uri": keys}),
        json!({"jwks_uri": keys}),
        json!({"issuer": idp.issuer()}),
        json!({"issuer": idp.issuer(), "jwks_uri": "file:///etc/passwd"}),
        json!({"issuer": idp.issuer(), "jwks_uri": "https://169.254.169.254/keys"}),
        json!([]),
    ] {
        idp.site.set(
            "/.well-known/openid-configuration",
            Reply::Json(document.clone()),
        );
        let (source, _) = source(&idp);
        assert_eq!(
            source.keys(None).await.unwrap_err(),
            KeyError::Unavailable,
            "{document}"
        );
    }
    assert_eq!(idp.fetches(), 0);
}

fn source(idp: &Idp) -> (KeySource, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
    let shared: Arc<dyn Clock> = clock.clone();
    (KeySource::new((idp.issuer(), None), here(), shared), clock)
}

/// A client that may ask this machine.
fn here() -> Fetcher {
    Fetcher::new(FetchOptions::new(Reach::with_loopback())).unwrap()
}

/// Waits until what the site was asked for makes `done` true.
async fn until(done: impl Fn() -> bool, site: &Site) {
    let waited = async {
        while !done() {
            site.asked.notified().await;
        }
    };
    tokio::time::timeout(LONG, waited)
        .await
        .expect("nobody asked for it");
}

/// A resolver that knows one answer.
#[derive(Debug)]
struct FakeNames {
    addresses: Mutex<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl FakeNames {
    fn of(addresses: &[&str]) -> Arc<Self> {
        let names = Self {
            addresses: Mutex::default(),
            asked: AtomicUsize::new(0),
        };
        names.set(addresses);
        Arc::new(names)
    }

    fn set(&self, addresses: &[&str]) {
        *self.addresses.lock().unwrap() = addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Names for FakeNames {
    fn addresses(&self, _: String) -> Addresses {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let addresses = self.addresses.lock().unwrap().clone();
        Box::pin(async move { Ok::<_, io::Error>(addresses) })
    }
}

#[derive(Debug)]
struct Mute;

impl Names for Mute {
    fn addresses(&self, _: String) -> Addresses {
        Box::pin(std::future::pending())
    }
}

/// `idp.example` with a certificate of its own, at a port of this machine.
struct TlsSite {
    url: String,
    port: u16,
    certificate: String,
}

impl TlsSite {
    async fn start() -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["idp.example".to_owned()]).unwrap();
        let router = axum::Router::new().route(
            "/",
            axum::routing::get(async || axum::Json(json!({"tls": true}))),
        );
        let (address, served) = tls::serve(&certified, router);
        tokio::spawn(served);
        let url = format!("https://idp.example:{}/", address.port());
        Self {
            url,
            port: address.port(),
            certificate: certified.cert.pem(),
        }
    }

    fn options(&self) -> FetchOptions {
        let root_certificates = Some(self.certificate.clone().into_bytes());
        FetchOptions {
            root_certificates,
            ..FetchOptions::new(Reach::with_loopback())
        }
    }
}

/// `{}`, by gzip.
const GZIPPED_OBJECT: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 174, 5, 0, 67, 191, 166, 163, 2, 0, 0, 0,
];

const JSON: &str = "content-type: application/json\r\n";
const CHILD: &str = "HALLPASS_TEST_DIRECT_URL";

const ADMITTED: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "198.17.255.255",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    "2001:4860:4860::8888",
];

const REFUSED: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::7f00:1",
    "::8.8.8.8",
    "::ffff:0.0.0.0",
    "::ffff:8.8.8.8",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "64:ff9b:1:ffff::a00:1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:1::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2002:808:808::1",
    "2002:a00:1::1",
    "2002:7f00:1::",
    "3fff::1",
    "3fff:fff:ffff::1",
    "5f00::1",
    "2606:4700::5efe:a00:1",
    "2606:4700::200:5efe:a00:1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
];
