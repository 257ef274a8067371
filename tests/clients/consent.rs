//! A person at the consent page, by script: signs in, allows, and follows the browser back to the client.

use regex::Regex;
use reqwest::{Client, Response, redirect::Policy};

use crate::broker_and_server::BrokerAndServer;

/// Opens `url` as alice, and allows what the page asks.
pub(crate) async fn allow(fixture: &BrokerAndServer, url: &str) {
    let browser = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .build()
        .unwrap();
    let code = fixture.sign_in_code("alice");
    let endpoint = format!("{}/oauth/authorize", fixture.issuer());
    let post = async |form: &[(&str, &str)]| {
        browser
            .post(&endpoint)
            .header("origin", fixture.issuer())
            .form(form)
            .send()
            .await
            .unwrap()
    };
    let request = hidden(browser.get(url).send().await.unwrap(), "request").await;
    let signed_in = post(&[("step", "sign_in"), ("request", &request), ("code", &code)]).await;
    let form = hidden(signed_in, "form").await;
    let decided = post(&[("step", "allow"), ("form", &form)]).await;
    assert_eq!(decided.status(), 200);
    let back = found(
        decided,
        r#"<meta http-equiv="refresh" content="0; url=([^"]*)">"#,
    )
    .await;
    // The client's own page, whatever it shows.
    browser.get(back).send().await.unwrap();
}

/// The value of a hidden field of a page.
async fn hidden(page: Response, name: &str) -> String {
    found(page, &format!(r#"name="{name}" value="([^"]*)""#)).await
}

/// The attribute's value in a page that `pattern` captures.
async fn found(page: Response, pattern: &str) -> String {
    let (status, html) = (page.status(), page.text().await.unwrap());
    let found = Regex::new(pattern)
        .unwrap()
        .captures(&html)
        .unwrap_or_else(|| panic!("no {pattern}: {status}: {html}"));
    found[1]
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}
