//! A server on this machine that answers over TLS.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use axum_server::tls_rustls::RustlsConfig;
use rcgen::{CertifiedKey, KeyPair};

/// Where `router` answers with this certificate, and what answers: to be spawned.
pub fn serve(
    certified: &CertifiedKey<KeyPair>,
    router: axum::Router,
) -> (SocketAddr, impl Future<Output = ()> + Send + use<>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let key = certified.signing_key.serialize_der().try_into().unwrap();
    let chain = vec![certified.cert.der().clone()];
    let config = config
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = RustlsConfig::from_config(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let served = async move {
        axum_server::from_tcp_rustls(listener, config)
            .unwrap()
            .serve(router.into_make_service())
            .await
            .unwrap();
    };
    (address, served)
}
