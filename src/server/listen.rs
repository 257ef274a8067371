//! The server: two listeners, from binding to the last answer.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum_server::{
    Handle,
    accept::{Accept, DefaultAcceptor},
};
use hyper_util::rt::TokioTimer;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use crate::server::{
    App, OAuthOptions, Observer, Rates, Times, TlsError, TlsFiles,
    agent_keys::AgentKeys,
    api::health,
    edge::{
        answers::Answers,
        connections::{Bounded, Connection, Peer, Places},
        limit::Limits,
        limited_stream::LimitedStreams,
        per_principal_limit::Shares,
        tls::{self, Certificate},
    },
    oauth::{
        authorize::{ConsentSessions, Documents},
        grammar::metadata::TOKEN,
    },
    openapi,
    outbound::{Fetcher, Trust},
    routes::main_router,
};
use hallpass_broker::{Broker, BrokerError};
use hallpass_core::{
    base::time::{Clock, SystemClock},
    possession::IssuingProofs,
};

/// How a server is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where agents, operators and verifiers come; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where health and metrics are; never to be reached from outside.
    pub admin_listen: SocketAddr,
    /// The certificate of the main listener, and of the other when that is not on loopback; `None`:
    /// plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How often a principal or a network may ask.
    pub rates: Rates,
    /// A request's body is at most this long, in bytes.
    pub max_body: usize,
    /// Connections to the main listener at once; more are closed.
    pub max_connections: usize,
    /// Requests under way at once; more are refused. One principal has an eighth of them at most, and
    /// an eighth more is kept for operators who may revoke.
    pub max_requests: usize,
    /// Streams (feed, audit) at once; more are refused. One operator has an eighth of them at most.
    pub max_streams: usize,
    /// How long the answer to an idempotency key is repeated; afterwards the key is refused.
    pub repeat_answers: Duration,
    /// How long things may take.
    pub times: Times,
    /// The issuers of whose people and workloads something is believed.
    pub trust: Arc<Trust>,
    /// The OAuth endpoints.
    pub oauth: OAuthOptions,
    /// Fetches the metadata documents of clients; `None`: there are no such clients.
    pub client_documents: Option<Arc<Fetcher>>,
}

impl Options {
    /// The figures that configuration begins with, for these listeners, without TLS.
    #[must_use]
    pub fn new(listen: SocketAddr, admin_listen: SocketAddr) -> Self {
        Self {
            listen,
            admin_listen,
            tls: None,
            rates: Rates::default(),
            max_body: 1024 * 1024,
            max_connections: 8192,
            max_requests: 512,
            max_streams: 4096,
            repeat_answers: Duration::from_secs(600),
            times: Times::default(),
            trust: Arc::default(),
            oauth: OAuthOptions::default(),
            client_documents: None,
        }
    }
}

/// Why a server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on `{address}`: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener failed.
    #[error("a listener failed: {0}")]
    Listener(#[source] io::Error),
    /// The broker had failed, or does not close.
    #[error("the broker stopped: {0}")]
    Close(#[from] BrokerError),
}

/// Two bound listeners that are not served yet: their addresses are known before the broker, whose
/// issuer may be one of them, is opened.
#[derive(Debug)]
pub struct Listeners {
    options: Options,
    main: TcpListener,
    admin: TcpListener,
    addresses: (SocketAddr, SocketAddr),
    certificate: Option<Certificate>,
}

impl Listeners {
    /// Binds both listeners and reads the certificate.
    ///
    /// # Errors
    ///
    /// When an address is taken or not this machine's, or the certificate cannot be used.
    pub async fn bind(options: Options) -> Result<Self, ServeError> {
        let certificate = match options.tls.clone() {
            Some(files) => Some(Certificate::load(files).await?),
            None => None,
        };
        let (main, main_address) = listen(options.listen)?;
        let (admin, admin_address) = listen(options.admin_listen)?;
        Ok(Self {
            options,
            main,
            admin,
            addresses: (main_address, admin_address),
            certificate,
        })
    }

    /// Where the main listener listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Where health and metrics are.
    #[must_use]
    pub const fn admin_addr(&self) -> SocketAddr {
        self.addresses.1
    }
}

/// A broker's HTTP server, bound and not serving yet.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    app: Arc<App>,
}

impl Server {
    /// Binds both listeners for `broker`.
    ///
    /// # Errors
    ///
    /// As [`Listeners::bind`].
    pub async fn bind(
        options: Options,
        broker: Arc<Broker>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, ServeError> {
        Ok(Self::new(Listeners::bind(options).await?, broker, observer))
    }

    /// A server for `broker` on listeners that are bound already.
    #[must_use]
    pub fn new(listeners: Listeners, broker: Arc<Broker>, observer: Arc<dyn Observer>) -> Self {
        let options = &listeners.options;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let endpoint = format!("{}{TOKEN}", broker.issuer());
        let issuing_proofs = IssuingProofs::new(&endpoint, broker.now());
        let places = Places::new(
            options.max_connections,
            Arc::clone(&observer),
            Arc::clone(&clock),
        );
        let app = App {
            broker,
            observer,
            places,
            clock: Arc::clone(&clock),
            times: options.times,
            max_body: options.max_body,
            limits: Limits::new(options.rates),
            answers: Answers::new(options.repeat_answers),
            agent_keys: AgentKeys::new(),
            requests: Arc::new(Semaphore::new(options.max_requests)),
            reserve: Arc::new(Semaphore::new(options.max_requests / RESERVE)),
            network_shares: Shares::eighths(options.max_requests),
            request_shares: Shares::eighths(options.max_requests),
            streams: Arc::new(Semaphore::new(options.max_streams)),
            stream_shares: Shares::eighths(options.max_streams),
            draining: watch::Sender::new(false),
            openapi: openapi().into(),
            trust: Arc::clone(&options.trust),
            oauth: options.oauth,
            consents: ConsentSessions::new(
                options
                    .client_documents
                    .clone()
                    .map(|fetcher| Documents::new(fetcher, clock)),
            ),
            issuing_proofs,
        };
        Self {
            listeners,
            app: Arc::new(app),
        }
    }

    /// Where the main listener listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.listeners.local_addr()
    }

    /// Where health and metrics are.
    #[must_use]
    pub const fn admin_addr(&self) -> SocketAddr {
        self.listeners.admin_addr()
    }

    #[cfg(test)]
    pub(super) const fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Serves until `shutdown` is ready or the journal has stopped, then drains: no connection is accepted any more, streams
    /// end, requests under way are finished as long as the options allow, and the broker is closed.
    ///
    /// On SIGHUP the certificate is read again; when it cannot be used, the old one stays.
    ///
    /// # Errors
    ///
    /// When a listener fails, or the broker had failed before it was closed.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let Self {
            listeners:
                Listeners {
                    options,
                    main,
                    admin,
                    certificate,
                    ..
                },
            app,
        } = self;
        let (main_handle, admin_handle) = (Handle::new(), Handle::new());
        let places = Arc::clone(&app.places);
        let service = main_router(&app).into_make_service_with_connect_info::<SocketAddr>();
        let mut main = spawn(
            Listening {
                listener: main,
                handle: main_handle.clone(),
                head: options.times.head,
                places,
                clock: Arc::clone(&app.clock),
            },
            certificate.clone(),
            service,
        );
        let admin_certificate = certificate
            .clone()
            .filter(|_| !options.admin_listen.ip().is_loopback());
        let places = Places::new(
            ADMIN_CONNECTIONS,
            Arc::clone(&app.observer),
            Arc::clone(&app.clock),
        );
        let service = health::router(&app).into_make_service_with_connect_info::<SocketAddr>();
        let mut admin = spawn(
            Listening {
                listener: admin,
                handle: admin_handle.clone(),
                head: options.times.head,
                places,
                clock: Arc::clone(&app.clock),
            },
            admin_certificate,
            service,
        );
        let maintenance = tokio::spawn(maintain(Arc::clone(&app)));
        let reloading = tokio::spawn(tls::reload_on_hangup(certificate));
        let address = self_address(&main_handle).await;
        tracing::info!(address, "serving");

        let failed = tokio::select! {
            () = shutdown => None,
            () = app.broker.stopped() => {
                tracing::error!("nothing can be recorded any more");
                None
            }
            ended = &mut main => Some(ended),
            ended = &mut admin => Some(ended),
        };
        tracing::info!("draining");
        app.draining.send_replace(true);
        app.broker.feed.end_subscriptions();
        main_handle.graceful_shutdown(Some(options.times.drain));
        if failed.is_none() {
            ended(main.await)?;
        }
        wait_for_requests(&app, &options).await;
        admin_handle.graceful_shutdown(Some(ADMIN_DRAIN));
        reloading.abort();
        maintenance.abort();
        // What it was doing is finished or was never acknowledged; either is as good as a crash.
        let _ = maintenance.await;
        app.broker.close().await?;
        failed.map_or(Ok(()), ended)
    }
}

struct Listening {
    listener: TcpListener,
    handle: Handle<Peer>,
    head: Duration,
    places: Arc<Places>,
    clock: Arc<dyn Clock>,
}

type Serving = JoinHandle<io::Result<()>>;
type Service =
    axum::extract::connect_info::IntoMakeServiceWithConnectInfo<axum::Router, SocketAddr>;

fn spawn(listening: Listening, certificate: Option<Certificate>, service: Service) -> Serving {
    let Listening {
        listener,
        handle,
        head,
        places,
        clock,
    } = listening;
    let listener = Bounded::new(listener, places);
    let server = axum_server::Server::<Peer>::from_listener(listener).handle(handle);
    match certificate {
        Some(certificate) => {
            let acceptor = axum_server::tls_rustls::RustlsAcceptor::new(certificate.config())
                .handshake_timeout(head);
            let acceptor = LimitedStreams::new(acceptor, head, clock);
            tokio::spawn(bounded(server.acceptor(acceptor), head).serve(service))
        }
        None => {
            let acceptor = LimitedStreams::new(DefaultAcceptor::new(), head, clock);
            tokio::spawn(bounded(server.acceptor(acceptor), head).serve(service))
        }
    }
}

/// SECURITY: a connection that sends its head slowly, or opens streams without end, holds memory.
fn bounded<A: Accept<Connection, axum::Router>>(
    mut server: axum_server::Server<Peer, A>,
    head: Duration,
) -> axum_server::Server<Peer, A> {
    let builder = server.http_builder();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .max_header_list_size(MAX_HTTP2_HEAD_BYTES)
        .keep_alive_interval(Some(head))
        .keep_alive_timeout(head);
    server
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Bind { address, source };
    let listener = listener(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// A listener whose queue of connections that are not accepted yet is as long as the system allows: when it is full,
/// honest clients begin again after a second.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As every listener of this kind: a restart need not wait for the connections of before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn self_address(handle: &Handle<Peer>) -> String {
    handle
        .listening()
        .await
        .map_or_else(|| "nothing".to_owned(), |Peer(address)| address.to_string())
}

/// Requests whose callers have hung up still run; the broker must not be closed under them.
async fn wait_for_requests(app: &App, options: &Options) {
    let permits = |permits: usize| u32::try_from(permits).unwrap_or(u32::MAX);
    let requests = app.requests.acquire_many(permits(options.max_requests));
    let reserve = app
        .reserve
        .acquire_many(permits(options.max_requests / RESERVE));
    if tokio::time::timeout(options.times.drain, async {
        (requests.await, reserve.await)
    })
    .await
    .is_err()
    {
        tracing::warn!("requests were still under way when the time to drain was over");
    }
}

async fn maintain(app: Arc<App>) {
    let mut ticks = tokio::time::interval(MAINTENANCE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut healthy = true;
    loop {
        ticks.tick().await;
        let done = app.broker.maintain().await;
        let broker = Arc::clone(&app.broker);
        let retired = tokio::task::spawn_blocking(move || broker.retire()).await;
        let done = done.and(retired.unwrap_or(Ok(())));
        if let Err(error) = &done
            && healthy
        {
            tracing::error!(error = %error, "maintenance fails");
        }
        healthy = done.is_ok();
        app.limits.forget();
        app.observer.followers(app.broker.feed.subscribers());
        app.observer.connections(app.places.taken());
    }
}

fn ended(ended: Result<io::Result<()>, tokio::task::JoinError>) -> Result<(), ServeError> {
    ended
        .map_err(io::Error::other)
        .and_then(|ended| ended)
        .map_err(ServeError::Listener)
}

/// The system has a limit of its own: `net.core.somaxconn`, usually 4096.
const BACKLOG: u32 = 4096;
/// One permit in this many is kept in reserve.
const RESERVE: usize = 8;

const MAINTENANCE: Duration = Duration::from_secs(1);
const ADMIN_CONNECTIONS: usize = 256;
const ADMIN_DRAIN: Duration = Duration::from_secs(1);
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HTTP2_HEAD_BYTES: u32 = 64 * 1024;
const MAX_HTTP2_STREAMS: u32 = 128;
