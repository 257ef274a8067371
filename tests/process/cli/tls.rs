//! TLS from the command line: a broker behind a private certificate, renewed without a restart.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use support::workspace::Workspace;

/// A new certificate for this machine in `NAME.pem`, its key in `tls.key`, where the broker reads both.
fn certify(home: &Workspace, name: &str) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    home.write("tls.key", &made.signing_key.serialize_pem());
    fs::set_permissions(home.path("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
    home.write("tls.pem", &made.cert.pem());
    home.write(&format!("{name}.pem"), &made.cert.pem());
}

#[test]
fn a_renewed_certificate_is_served_after_a_hang_up_and_a_bad_one_is_not() {
    let mut home = Workspace::new();
    certify(&home, "first");
    home.start_with(&[
        "--tls-certificate",
        "tls.pem",
        "--tls-private-key",
        "tls.key",
    ]);
    assert!(home.url().starts_with("https://"), "{}", home.url());
    let trusts = |certificate: &str| {
        home.run(&["agent", "list", "--json", "--ca-file", certificate])
            .code
            == 0
    };
    assert!(trusts("first.pem"));
    assert_ne!(
        home.run(&["agent", "list"]).code,
        0,
        "nobody vouches for it"
    );

    home.write("tls.pem", "no certificate");
    home.hang_up();
    assert!(
        trusts("first.pem"),
        "the old one stays while the new one cannot be used"
    );
    certify(&home, "second");
    home.hang_up();
    let deadline = Instant::now() + Duration::from_secs(20);
    // Nothing tells from outside that a certificate was taken over but the next connection.
    while !trusts("second.pem") {
        assert!(
            Instant::now() < deadline,
            "the new certificate is not served"
        );
    }
    assert!(!trusts("first.pem"));
}
