//! JWTs of trusted issuers: which are believed, and every way in which others are refused.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hallpass::server::outbound::{KeyError, Trust, TrustError};
use hallpass_broker::identity::issuer::{
    IdJag, IssuerSettings, JwtReason, MAX_GROUPS, MAX_JWT_BYTES, Person, TrustedIssuer, Workload,
};
use hallpass_core::base::{
    ids::IssuerUri,
    time::{Clock, ManualClock, Timestamp},
};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Notify;

use crate::outbound::here;
use support::foreign::b64;
use support::idp::{self, Idp, Reply, SigningKey};

const OWN: &str = "https://broker.example";
const NOW: u64 = 1_795_341_900;
const KINDS: [&str; 3] = ["id_token", "workload", "id_jag"];

/// An issuer of everything, and a broker that trusts it.
struct Setup {
    idp: Idp,
    key: SigningKey,
    trust: Trust,
}

impl Setup {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut IssuerSettings)) -> Self {
        let key = SigningKey::ed25519("one");
        let idp = Idp::start(&[&key]).await;
        let mut settings = settings(idp.issuer());
        change(&mut settings);
        Self {
            trust: trust([settings]),
            idp,
            key,
        }
    }

    /// The claims of a good token, with `changes`; `null` takes a claim away.
    fn claims(&self, changes: Value) -> Value {
        let mut claims = json!({
            "iss": self.idp.issuer(), "sub": "ns:prod:bot", "aud": OWN, "iat": NOW, "exp": NOW + 300, "jti": "one",
            "client_id": "bot", "resource": "https://ledger.example/mcp",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        claims
    }

    fn token(&self, changes: Value) -> String {
        self.key.sign(Some("JWT"), &self.claims(changes))
    }

    fn jag(&self, changes: Value) -> String {
        self.key
            .sign(Some("oauth-id-jag+jwt"), &self.claims(changes))
    }

    async fn workload(&self, text: &str) -> Result<Workload, TrustError> {
        self.trust.workload(text, (&own(), now)).await
    }

    async fn id_token(&self, text: &str) -> Result<Person, TrustError> {
        self.trust.id_token(text, now).await
    }

    async fn id_jag(&self, text: &str) -> Result<IdJag, TrustError> {
        self.trust.id_jag(text, (&own(), now)).await
    }
}

#[tokio::test]
async fn every_algorithm_is_verified_by_its_own_kind_of_key() {
    let keys = [
        SigningKey::ed25519("a"),
        SigningKey::p256("b"),
        SigningKey::p384("c"),
        SigningKey::rsa("d"),
        SigningKey::rsa_pss("e"),
    ];
    let idp = Idp::start(&keys.iter().collect::<Vec<_>>()).await;
    let trust = trust([settings(idp.issuer())]);
    let claims = json!({"iss": idp.issuer(), "sub": "ns:prod:bot", "aud": [OWN], "exp": NOW + 60});
    for (at, key) in keys.iter().enumerate() {
        let workload = trust
            .workload(&key.sign(None, &claims), (&own(), now))
            .await
            .unwrap();
        assert_eq!(workload.agent.as_str(), "bot");
        // Without a `kid`, whichever key of that algorithm made it.
        let header = json!({"alg": format!("{:?}", key.algorithm()), "x5t": "AAAA"}).to_string();
        let nameless = key.sign_raw(&header, &claims.to_string());
        assert!(trust.workload(&nameless, (&own(), now)).await.is_ok());
        // By another key's name, the right signature is none.
        let other = keys[(at + 1) % keys.len()].kid();
        let misnamed = json!({"alg": format!("{:?}", key.algorithm()), "kid": other}).to_string();
        let misnamed = key.sign_raw(&misnamed, &claims.to_string());
        assert_eq!(
            trust.workload(&misnamed, (&own(), now)).await,
            refused(JwtReason::Signature)
        );
    }
    assert_eq!(idp.fetches(), 1);
}

#[tokio::test]
async fn nobody_chooses_the_algorithm_by_a_header() {
    let (rsa, ec) = (SigningKey::rsa("rsa"), SigningKey::p256("ec"));
    let idp = Idp::start(&[&rsa, &ec]).await;
    let trust = trust([settings(idp.issuer())]);
    let claims =
        json!({"iss": idp.issuer(), "sub": "ns:prod:bot", "aud": OWN, "exp": NOW + 60}).to_string();
    for key in [&rsa, &ec] {
        // The public key, in every form in which somebody might have it, as the secret of an HMAC.
        let jwk = key.jwk.to_string();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            b64(key.public())
        );
        for secret in [
            key.public(),
            jwk.as_bytes(),
            pem.as_bytes(),
            pem.trim().as_bytes(),
            b"",
        ] {
            for algorithm in ["HS256", "hs256", "RS256", "ES256"] {
                let header = json!({"alg": algorithm, "kid": key.kid()}).to_string();
                let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
                let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
                mac.update(signed.as_bytes());
                let token = format!("{signed}.{}", b64(&mac.finalize().into_bytes()));
                let reason = if algorithm.starts_with(['H', 'h']) {
                    JwtReason::Algorithm
                } else {
                    JwtReason::Signature
                };
                assert_eq!(
                    trust.workload(&token, (&own(), now)).await,
                    refused(reason),
                    "{algorithm}"
                );
            }
        }
        for algorithm in [
            "none", "None", "NONE", "nOnE", "", "RSA", "ES256K", "RS1", "HS512", "RS256 ",
        ] {
            let header = json!({"alg": algorithm, "kid": key.kid()}).to_string();
            let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
            for token in [
                format!("{signed}."),
                format!("{signed}.AAAA"),
                key.sign_raw(&header, &claims),
            ] {
                assert_eq!(
                    trust.workload(&token, (&own(), now)).await,
                    refused(JwtReason::Algorithm),
                    "{algorithm}"
                );
            }
        }
    }
    // An RSA key whose `alg` is RS256 verifies nothing by PS256.
    let mut other_padding = SigningKey::rsa_pss("rsa");
    other_padding.jwk["alg"] = json!("RS256");
    idp.publish(&[&other_padding]);
    let fresh = crate::outbound::trust::trust([settings(idp.issuer())]);
    let claims: Value = serde_json::from_str(&claims).unwrap();
    assert_eq!(
        fresh
            .workload(&other_padding.sign(None, &claims), (&own(), now))
            .await,
        refused(JwtReason::Signature)
    );
}

#[tokio::test]
async fn settings_narrow_the_algorithms() {
    let setup =
        Setup::with(|settings| settings.algorithms = Some(["RS256".to_owned()].into())).await;
    let listed = SigningKey::rsa("two");
    setup.idp.publish(&[&setup.key, &listed]);
    assert_eq!(
        setup.workload(&setup.token(json!({}))).await,
        refused(JwtReason::Algorithm)
    );
    setup
        .workload(&listed.sign(Some("JWT"), &setup.claims(json!({}))))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_header_is_closed() {
    let setup = Setup::new().await;
    let claims = setup.claims(json!({})).to_string();
    for member in [
        json!({"crit": ["exp"]}),
        json!({"jku": "https://evil.example/keys"}),
        json!({"jwk": setup.key.jwk}),
        json!({"x5u": "https://evil.example/cert"}),
        json!({"x5c": ["MIIB"]}),
        json!({"b64": false}),
        json!({"zip": "DEF"}),
        json!({"cty": "JWT"}),
        json!({"kid": 1}),
        json!({"typ": ["JWT"]}),
        json!({"alg": ["EdDSA"]}),
        json!({"alg": null}),
    ] {
        let mut header = json!({"alg": "EdDSA", "kid": "one"});
        header
            .as_object_mut()
            .unwrap()
            .extend(member.as_object().unwrap().clone());
        let token = setup.key.sign_raw(&header.to_string(), &claims);
        assert_eq!(
            setup.workload(&token).await,
            refused(JwtReason::Header),
            "{header}"
        );
    }
    for header in [
        r#"{"alg":"EdDSA","kid":"two","kid":"one"}"#,
        r#"{"alg":"none","alg":"EdDSA"}"#,
        "[]",
        "",
        "{}",
    ] {
        assert_eq!(
            setup.workload(&setup.key.sign_raw(header, &claims)).await,
            refused(JwtReason::Header),
            "{header}"
        );
    }
}

#[tokio::test]
async fn one_kind_of_token_never_passes_for_another() {
    let setup = Setup::new().await;
    let claims = setup.claims(json!({"aud": "web-app"}));
    for typ in [
        "oauth-id-jag+jwt",
        "at+jwt",
        "client-authentication+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "",
        "JWT ",
    ] {
        let text = setup.key.sign(Some(typ), &claims);
        assert_eq!(
            setup.workload(&text).await,
            refused(JwtReason::Type),
            "{typ}"
        );
        assert_eq!(
            setup.id_token(&text).await,
            refused(JwtReason::Type),
            "{typ}"
        );
    }
    for typ in [
        None,
        Some("JWT"),
        Some("jwt"),
        Some("at+jwt"),
        Some("OAUTH-ID-JAG+JWT"),
        Some("oauth-id-jag"),
    ] {
        assert_eq!(
            setup
                .id_jag(&setup.key.sign(typ, &setup.claims(json!({}))))
                .await,
            refused(JwtReason::Type),
            "{typ:?}"
        );
    }
    // What the settings do not say is not believed, and nobody is asked for keys.
    for kind in KINDS {
        let only = Setup::with(|settings| keep_only(settings, kind)).await;
        let believed = async |asked: &str| match asked {
            "id_token" => only
                .id_token(&only.token(json!({"aud": "web-app"})))
                .await
                .is_ok(),
            "workload" => only.workload(&only.token(json!({}))).await.is_ok(),
            _ => only.id_jag(&only.jag(json!({}))).await.is_ok(),
        };
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            assert!(!believed(other).await, "{other} of an issuer of {kind}");
        }
        assert!(only.idp.site.log().is_empty(), "{kind}");
        assert!(believed(kind).await, "{kind}");
    }
}

#[tokio::test]
async fn only_who_is_trusted_is_asked_for_keys() {
    let setup = Setup::new().await;
    let stranger = Idp::start(&[&setup.key]).await;
    for issuer in [
        json!(stranger.issuer()),
        json!(format!("{}/", setup.idp.issuer())),
        json!(setup.idp.issuer().to_uppercase()),
        json!(format!(" {}", setup.idp.issuer())),
        json!(""),
    ] {
        assert_eq!(
            setup.workload(&setup.token(json!({"iss": issuer}))).await,
            refused(JwtReason::Issuer),
            "{issuer}"
        );
    }
    for issuer in [json!([setup.idp.issuer()]), json!(null), json!(1)] {
        assert_eq!(
            setup.workload(&setup.token(json!({"iss": issuer}))).await,
            refused(JwtReason::Claim("iss"))
        );
    }
    assert_eq!(
        (setup.idp.site.log().len(), stranger.site.log().len()),
        (0, 0)
    );
    // A key of the one issuer makes no token of the other, whatever its name.
    let (left, right) = (SigningKey::ed25519("same"), SigningKey::ed25519("same"));
    let (ours, theirs) = (Idp::start(&[&left]).await, Idp::start(&[&right]).await);
    let both = trust([settings(ours.issuer()), settings(theirs.issuer())]);
    let claims = json!({"iss": ours.issuer(), "sub": "ns:prod:bot", "aud": OWN, "exp": NOW + 60});
    assert!(
        both.workload(&left.sign(None, &claims), (&own(), now))
            .await
            .is_ok()
    );
    assert_eq!(
        both.workload(&right.sign(None, &claims), (&own(), now))
            .await,
        refused(JwtReason::Signature)
    );
    let unknown = SigningKey::ed25519("unknown");
    let answer = both
        .workload(&unknown.sign(None, &claims), (&own(), now))
        .await;
    assert_eq!(answer, Err(TrustError::Keys(KeyError::Unknown)));
}

#[tokio::test]
async fn times_are_numbers_of_seconds_and_hold_now() {
    let setup = Setup::with(|settings| settings.max_lifetime = Some("10m".to_owned())).await;
    for good in [
        json!({"exp": NOW + 600}),
        json!({"exp": f64::from(u32::try_from(NOW).unwrap()) + 60.75}),
        json!({"exp": NOW - 9, "iat": NOW - 60}),
        json!({"nbf": NOW + 10, "iat": NOW + 10}),
    ] {
        assert!(
            setup.workload(&setup.token(good.clone())).await.is_ok(),
            "{good}"
        );
        assert!(
            setup.id_jag(&setup.jag(good.clone())).await.is_ok(),
            "{good}"
        );
    }
    for (bad, reason) in [
        (json!({"exp": null}), JwtReason::Claim("exp")),
        (json!({"exp": NOW - 10}), JwtReason::Expired),
        (json!({"exp": 0}), JwtReason::Expired),
        (json!({"exp": NOW + 611}), JwtReason::TooLongLived),
        (
            json!({"exp": NOW + 100, "iat": NOW - 511}),
            JwtReason::TooLongLived,
        ),
        (json!({"exp": 253_402_300_799_u64}), JwtReason::TooLongLived),
        (json!({"exp": 253_402_300_800_u64}), JwtReason::Claim("exp")),
        (json!({"iat": NOW + 11}), JwtReason::NotYetValid),
        (json!({"nbf": NOW + 11}), JwtReason::NotYetValid),
    ] {
        assert_eq!(
            setup.workload(&setup.token(bad.clone())).await,
            refused(reason),
            "{bad}"
        );
        assert_eq!(
            setup.id_token(&setup.token(with_audience(&bad))).await,
            refused(reason),
            "{bad}"
        );
        assert_eq!(
            setup.id_jag(&setup.jag(bad.clone())).await,
            refused(reason),
            "{bad}"
        );
    }
    // How old a token is that does not say it counts where it is a platform's alone.
    let (ageless, lasting) = (json!({"iat": null}), json!({"iat": null, "exp": NOW + 611}));
    assert!(setup.workload(&setup.token(ageless.clone())).await.is_ok());
    assert_eq!(
        setup.workload(&setup.token(lasting)).await,
        refused(JwtReason::TooLongLived)
    );
    assert_eq!(
        setup.id_token(&setup.token(with_audience(&ageless))).await,
        refused(JwtReason::Claim("iat"))
    );
    assert_eq!(
        setup.id_jag(&setup.jag(ageless)).await,
        refused(JwtReason::Claim("iat"))
    );
    for name in ["exp", "nbf", "iat"] {
        for value in [
            "\"1795341960\"",
            "-1",
            "null",
            "[1795341960]",
            "{}",
            "true",
            "18446744073709551616",
        ] {
            let mut claims = setup.claims(json!({}));
            claims[name] = json!("PLACE");
            let text = claims.to_string().replace("\"PLACE\"", value);
            let token = setup.key.sign_raw(r#"{"alg":"EdDSA","kid":"one"}"#, &text);
            assert_eq!(
                setup.workload(&token).await,
                refused(JwtReason::Claim(name)),
                "{name}: {value}"
            );
        }
    }
}

#[tokio::test]
async fn an_audience_is_the_only_one_and_to_the_letter() {
    let setup = Setup::new().await;
    for good in [json!(OWN), json!([OWN]), json!(format!("{OWN}/"))] {
        assert!(
            setup
                .workload(&setup.token(json!({"aud": good})))
                .await
                .is_ok()
        );
        assert!(setup.id_jag(&setup.jag(json!({"aud": good}))).await.is_ok());
    }
    for bad in [
        json!(format!("{OWN}//")),
        json!(format!("{OWN}/oauth/token")),
        json!("https://broker.exampl"),
        json!("https://BROKER.example"),
        json!("web-app"),
        json!([OWN, "https://other.example"]),
        json!([OWN, OWN]),
        json!([]),
    ] {
        assert_eq!(
            setup.workload(&setup.token(json!({"aud": bad}))).await,
            refused(JwtReason::Audience),
            "{bad}"
        );
        assert_eq!(
            setup.id_jag(&setup.jag(json!({"aud": bad}))).await,
            refused(JwtReason::Audience),
            "{bad}"
        );
    }
    for bad in [
        json!(null),
        json!(""),
        json!({}),
        json!([[OWN]]),
        json!(["", OWN]),
        json!(true),
    ] {
        assert_eq!(
            setup.workload(&setup.token(json!({"aud": bad}))).await,
            refused(JwtReason::Claim("aud")),
            "{bad}"
        );
    }
    let other = Setup::with(|settings| settings.audience = Some("sts.example".to_owned())).await;
    assert!(
        other
            .workload(&other.token(json!({"aud": "sts.example"})))
            .await
            .is_ok()
    );
    assert_eq!(
        other.workload(&other.token(json!({}))).await,
        refused(JwtReason::Audience)
    );
}

#[tokio::test]
async fn a_workload_is_one_agent_or_nobody() {
    let setup = Setup::with(|settings| {
        settings
            .subjects
            .insert("ns:*:worker".to_owned(), "worker".parse().unwrap());
        settings
            .subjects
            .insert("ns:dev:*".to_owned(), "dev".parse().unwrap());
    })
    .await;
    let agent = async |sub: &str| {
        setup
            .workload(&setup.token(json!({"sub": sub})))
            .await
            .map(|found| found.agent.to_string())
    };
    assert_eq!(agent("ns:prod:bot").await, Ok("bot".to_owned()));
    assert_eq!(agent("ns:prod:worker").await, Ok("worker".to_owned()));
    assert_eq!(agent("ns:dev:x").await, Ok("dev".to_owned()));
    for nobody in [
        "ns:dev:worker",
        "ns:prod:other",
        "ns:prod:bot:x",
        "NS:prod:bot",
        "bot",
    ] {
        assert_eq!(agent(nobody).await, refused(JwtReason::Subject), "{nobody}");
    }
    for bad in [
        json!(null),
        json!(""),
        json!(["ns:prod:bot"]),
        json!("ns:prod:bot\n"),
        json!("x".repeat(256)),
    ] {
        assert_eq!(
            setup.workload(&setup.token(json!({"sub": bad}))).await,
            refused(JwtReason::Claim("sub")),
            "{bad}"
        );
    }
    let bound = setup.token(json!({"cnf": {"jkt": "x"}}));
    assert_eq!(
        setup.workload(&bound).await,
        refused(JwtReason::Narrowed("cnf"))
    );
    let once = Setup::with(|settings| settings.single_use = true).await;
    assert!(
        once.workload(&once.token(json!({})))
            .await
            .unwrap()
            .once
            .is_some()
    );
    assert_eq!(
        once.workload(&once.token(json!({"jti": null}))).await,
        refused(JwtReason::Claim("jti"))
    );
}

#[tokio::test]
async fn an_id_token_is_of_a_known_client_and_says_who() {
    let setup = Setup::new().await;
    let ask = async |changes: Value| setup.id_token(&setup.token(with_audience(&changes))).await;
    let person = ask(json!({"sub": "00u1", "groups": ["finance", "Ops Team"], "azp": "web-app"}))
        .await
        .unwrap();
    assert_eq!(
        (&*person.issuer, person.subject.as_str()),
        (setup.idp.issuer(), "00u1")
    );
    assert_eq!(
        person.groups,
        ["Ops Team", "finance"].map(str::to_owned).into()
    );
    assert!(!format!("{person:?}").contains("00u1"));
    assert!(ask(json!({"aud": ["web-app", "cli"]})).await.is_ok());
    assert!(ask(json!({"groups": vec!["g"; MAX_GROUPS]})).await.is_ok());
    let only = ask(json!({"groups": "finance"})).await.unwrap();
    assert_eq!(only.groups, ["finance".to_owned()].into());
    assert!(
        ask(json!({"groups": null}))
            .await
            .unwrap()
            .groups
            .is_empty()
    );
    for (bad, reason) in [
        (json!({"aud": OWN}), JwtReason::Audience),
        (json!({"aud": ["web-app", "other"]}), JwtReason::Audience),
        (json!({"aud": []}), JwtReason::Audience),
        (json!({"azp": "other"}), JwtReason::Audience),
        (json!({"azp": ["web-app"]}), JwtReason::Claim("azp")),
        (json!({"cnf": {"jkt": "x"}}), JwtReason::Narrowed("cnf")),
        (json!({"sub": ""}), JwtReason::Claim("sub")),
        (json!({"groups": {"a": 1}}), JwtReason::Claim("groups")),
        (json!({"hasgroups": true}), JwtReason::Claim("groups")),
        (
            json!({"_claim_names": {"groups": "src1"}}),
            JwtReason::Claim("groups"),
        ),
        (json!({"groups": ["a", 1]}), JwtReason::Claim("groups")),
        (json!({"groups": [""]}), JwtReason::Claim("groups")),
        (
            json!({"groups": ["x".repeat(129)]}),
            JwtReason::Claim("groups"),
        ),
        (
            json!({"groups": vec!["g"; MAX_GROUPS + 1]}),
            JwtReason::Claim("groups"),
        ),
    ] {
        assert_eq!(ask(bad.clone()).await, refused(reason), "{bad}");
    }
}

#[tokio::test]
async fn an_id_jag_says_for_which_client_and_servers() {
    let setup = Setup::new().await;
    let jag = setup
        .id_jag(&setup.jag(json!({"scope": "tool:read", "cnf": {"jkt": "thumb"}})))
        .await
        .unwrap();
    assert_eq!(
        (
            jag.client_id.as_str(),
            jag.scope.as_deref(),
            jag.holder.as_deref()
        ),
        ("bot", Some("tool:read"), Some("thumb"))
    );
    assert_eq!(jag.resources, ["https://ledger.example/mcp"]);
    assert_eq!(jag.expires_at, now().plus(Duration::from_secs(310)));
    for (bad, reason) in [
        (json!({"client_id": null}), JwtReason::Claim("client_id")),
        (json!({"client_id": ["bot"]}), JwtReason::Claim("client_id")),
        (json!({"jti": null}), JwtReason::Claim("jti")),
        (json!({"jti": ""}), JwtReason::Claim("jti")),
        (json!({"jti": "x".repeat(129)}), JwtReason::Claim("jti")),
        (json!({"resource": null}), JwtReason::Claim("resource")),
        (json!({"resource": ""}), JwtReason::Claim("resource")),
        (json!({"resource": []}), JwtReason::Claim("resource")),
        (json!({"resource": {"a": 1}}), JwtReason::Claim("resource")),
        (
            json!({"resource": vec!["https://a.example"; 17]}),
            JwtReason::Claim("resource"),
        ),
        (json!({"scope": ["tool:read"]}), JwtReason::Claim("scope")),
        (json!({"scope": ""}), JwtReason::Claim("scope")),
        (
            json!({"authorization_details": []}),
            JwtReason::Narrowed("authorization_details"),
        ),
        (
            json!({"cnf": {"x5t#S256": "x"}}),
            JwtReason::Narrowed("cnf"),
        ),
        (
            json!({"cnf": {"jkt": "a", "jwk": {}}}),
            JwtReason::Narrowed("cnf"),
        ),
        (json!({"cnf": "x"}), JwtReason::Narrowed("cnf")),
    ] {
        assert_eq!(
            setup.id_jag(&setup.jag(bad.clone())).await,
            refused(reason),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn bytes_that_are_no_jwt_are_refused() {
    let setup = Setup::new().await;
    let good = setup.token(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!()
    };
    let mut flipped = signature.to_owned();
    flipped.replace_range(..1, if signature.starts_with('A') { "B" } else { "A" });
    for (bad, reason) in [
        (String::new(), JwtReason::Malformed),
        (" ".to_owned(), JwtReason::Malformed),
        (format!("{header}.{payload}"), JwtReason::Malformed),
        (format!("{good}.{signature}"), JwtReason::Malformed),
        (
            format!("{good}.{signature}.{signature}"),
            JwtReason::Malformed,
        ),
        (format!("{good}="), JwtReason::Malformed),
        (format!(" {good}"), JwtReason::Malformed),
        (format!("{good}\n"), JwtReason::Malformed),
        (format!("{header}.{payload}."), JwtReason::Signature),
        (
            format!("{header}.{payload}.{flipped}"),
            JwtReason::Signature,
        ),
        (
            format!("{header}.{}.{signature}", b64(b"{}")),
            JwtReason::Claim("iss"),
        ),
        (
            format!("{header}.{}.{signature}", b64(b"[]")),
            JwtReason::Payload,
        ),
        (
            setup
                .key
                .sign_raw(r#"{"alg":"EdDSA"}"#, r#"{"iss":"a","iss":"b"}"#),
            JwtReason::Payload,
        ),
        (
            setup
                .key
                .sign_raw(r#"{"alg":"EdDSA"}"#, "{\"iss\":\"a\"} x"),
            JwtReason::Payload,
        ),
        (
            setup.token(json!({"pad": "x".repeat(MAX_JWT_BYTES)})),
            JwtReason::TooLong,
        ),
    ] {
        assert_eq!(setup.workload(&bad).await, refused(reason), "{bad}");
    }
    assert!(setup.workload(&good).await.is_ok());
}

#[tokio::test]
async fn a_jwt_that_ends_while_the_keys_are_fetched_is_refused() {
    let setup = Setup::new().await;
    let go = Arc::new(Notify::new());
    setup.idp.site.set(
        "/keys",
        Reply::Held(Arc::clone(&go), idp::jwks(&[&setup.key])),
    );
    let clock = ManualClock::new(now());
    let (text, own) = (setup.token(json!({})), own());
    let waiting = setup.trust.workload(&text, (&own, || clock.now()));
    let meanwhile = async {
        while setup.idp.fetches() == 0 {
            setup.idp.site.asked.notified().await;
        }
        clock.advance(Duration::from_secs(310));
        go.notify_one();
    };
    assert_eq!(
        tokio::join!(waiting, meanwhile).0,
        refused(JwtReason::Expired)
    );
}

#[test]
fn settings_that_contradict_themselves_are_refused() {
    let check = |change: &dyn Fn(&mut IssuerSettings)| {
        let mut settings = settings("https://idp.example");
        change(&mut settings);
        TrustedIssuer::new(settings).err()
    };
    assert_eq!(check(&|_| {}), None);
    let cases: [(&dyn Fn(&mut IssuerSettings), &str); 16] = [
        (&|s| s.kinds.clear(), "`kinds`"),
        (&|s| s.client_ids.clear(), "`client_ids`"),
        (&|s| s.subjects.clear(), "`subjects`"),
        (&|s| keep_kinds(s, "id_jag"), "`client_ids`"),
        (&|s| s.issuer = "idp.example".to_owned(), "`issuer`"),
        (
            &|s| s.issuer = "https://idp.example?x".to_owned(),
            "`issuer`",
        ),
        (
            &|s| s.issuer = "https://u@idp.example".to_owned(),
            "`issuer`",
        ),
        (
            &|s| s.jwks_uri = Some("file:///keys".to_owned()),
            "`jwks_uri`",
        ),
        (
            &|s| s.algorithms = Some(["HS256".to_owned()].into()),
            "`algorithms`",
        ),
        (&|s| s.algorithms = Some(Default::default()), "`algorithms`"),
        (&|s| s.audience = Some(String::new()), "`audience`"),
        (&|s| s.audience = Some("web-app".to_owned()), "`audience`"),
        (
            &|s| s.max_lifetime = Some("2days".to_owned()),
            "`max_lifetime`",
        ),
        (
            &|s| s.max_lifetime = Some("1s".to_owned()),
            "`max_lifetime`",
        ),
        (
            &|s| s.networks = ["10.0.0.0/40".to_owned()].into(),
            "`networks`",
        ),
        (
            &|s| drop(s.subjects.insert("a**".to_owned(), "bot".parse().unwrap())),
            "`subjects`",
        ),
    ];
    for (at, (change, key)) in cases.iter().enumerate() {
        let error = check(change);
        assert!(
            error.as_ref().is_some_and(|error| error.starts_with(key)),
            "{at}: {error:?}"
        );
    }
}

fn settings(issuer: &str) -> IssuerSettings {
    IssuerSettings {
        issuer: issuer.to_owned(),
        kinds: KINDS
            .map(|kind| serde_json::from_value(json!(kind)).unwrap())
            .into(),
        jwks_uri: None,
        algorithms: None,
        audience: None,
        client_ids: ["web-app", "cli"].map(str::to_owned).into(),
        sign_in_client_id: None,
        sign_in_secret_file: None,
        sign_in_scopes: None,
        subjects: BTreeMap::from([("ns:prod:bot".to_owned(), "bot".parse().unwrap())]),
        single_use: false,
        max_lifetime: None,
        networks: Default::default(),
        root_certificates: None,
    }
}

fn keep_kinds(settings: &mut IssuerSettings, kind: &str) {
    settings.kinds = [serde_json::from_value(json!(kind)).unwrap()].into();
}

fn keep_only(settings: &mut IssuerSettings, kind: &str) {
    keep_kinds(settings, kind);
    if kind != "id_token" {
        settings.client_ids.clear();
    }
    if kind != "workload" {
        settings.subjects.clear();
    }
}

fn trust(settings: impl IntoIterator<Item = IssuerSettings>) -> Trust {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(now()));
    Trust::new(
        settings
            .into_iter()
            .map(|settings| (TrustedIssuer::new(settings).unwrap(), here())),
        Default::default(),
        &clock,
    )
}

/// The changes, and the audience of an ID token unless they have one.
fn with_audience(changes: &Value) -> Value {
    let mut changes = changes.clone();
    if changes.get("aud").is_none() {
        changes["aud"] = json!("web-app");
    }
    changes
}

fn refused<T>(reason: JwtReason) -> Result<T, TrustError> {
    Err(TrustError::Refused(reason))
}

fn own() -> IssuerUri {
    OWN.parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW)
}
