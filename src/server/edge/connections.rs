//! Connections: a bounded number at once, since each holds memory and a file descriptor.
//!
//! One network has half of the places, so that one address cannot shut out all others. An eighth is kept for networks
//! from which an operator or a verifier proved itself lately: a flood of strangers keeps neither from revoking nor from
//! following the feed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::extract::connect_info::Connected;
use axum_server::{AddrListener, Address};
use moka::sync::Cache;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::server::{
    edge::{
        limit::network,
        per_principal_limit::{Share, Shares},
    },
    observer::Observer,
};
use hallpass_core::base::{sync::MutexExt as _, time::Clock};

/// The places of one listener.
#[derive(Debug)]
pub(crate) struct Places {
    all: usize,
    open: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    shares: Arc<Shares>,
    /// Networks that an operator proved itself from lately.
    known: Cache<IpAddr, ()>,
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    /// When the log was warned last, by the monotonic clock.
    warned: Mutex<Option<Duration>>,
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

impl Places {
    /// Places for `all` connections at once.
    pub(crate) fn new(all: usize, observer: Arc<dyn Observer>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let reserved = all / RESERVED_PART;
        Arc::new(Self {
            all,
            open: Arc::new(Semaphore::new(all.saturating_sub(reserved))),
            reserved: Arc::new(Semaphore::new(reserved)),
            shares: Shares::halves(all),
            known: Cache::builder()
                .max_capacity(MAX_KNOWN)
                .time_to_live(KNOWN_FOR)
                .build(),
            observer,
            clock,
            warned: Mutex::default(),
        })
    }

    /// Notes that an operator proved itself from `peer`.
    pub(crate) fn note_known(&self, peer: IpAddr) {
        self.known.insert(network(peer), ());
    }

    /// How many connections there are.
    pub(crate) fn taken(&self) -> usize {
        let left = self.open.available_permits() + self.reserved.available_permits();
        self.all.saturating_sub(left)
    }

    fn take(&self, peer: IpAddr) -> Option<Place> {
        let network = network(peer);
        let share = self.shares.take(&network.to_string())?;
        let permit = Arc::clone(&self.open)
            .try_acquire_owned()
            .ok()
            .or_else(|| {
                self.known.get(&network)?;
                Arc::clone(&self.reserved).try_acquire_owned().ok()
            })?;
        Some(Place {
            _permit: permit,
            _share: share,
        })
    }

    /// The place of a connection from `peer`; `None` when it is to be closed.
    fn admit(&self, peer: IpAddr) -> Option<Place> {
        let place = self.take(peer);
        if place.is_none() {
            self.observer.connection_refused();
            if self.may_warn() {
                tracing::warn!(
                    taken = self.taken(),
                    limit = self.all,
                    peer = %peer,
                    "connections are closed: there are too many, or too many of one network"
                );
            }
        }
        place
    }

    /// Whether a warning is due: at most one a minute.
    fn may_warn(&self) -> bool {
        let now = self.clock.monotonic();
        let mut warned = self.warned.locked();
        let is_due = warned.is_none_or(|last| now.saturating_sub(last) >= WARN_EVERY);
        if is_due {
            *warned = Some(now);
        }
        is_due
    }
}

/// The address of a peer, for a listener that bounds connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Address for Peer {
    type Stream = Connection;
    type Listener = Bounded;
}

impl Connected<Peer> for SocketAddr {
    fn connect_info(peer: Peer) -> Self {
        peer.0
    }
}

/// A listener that closes what has no place.
#[derive(Debug)]
pub(crate) struct Bounded {
    listener: TcpListener,
    places: Arc<Places>,
}

impl Bounded {
    pub(crate) const fn new(listener: TcpListener, places: Arc<Places>) -> Self {
        Self { listener, places }
    }
}

impl AddrListener<Connection, Peer> for Bounded {
    async fn bind_to(_: Peer) -> io::Result<Self> {
        Err(io::Error::other(
            "the listener is bound before its places are known",
        ))
    }

    async fn accept_stream(&self) -> io::Result<(Connection, Peer)> {
        loop {
            let (stream, peer) = self.listener.accept().await.inspect_err(|error| {
                // The caller waits and tries again, silently.
                if self.places.may_warn() {
                    tracing::error!(error = %error, "a connection cannot be accepted: is the limit of open files reached?");
                }
            })?;
            let Some(place) = self.places.admit(peer.ip()) else {
                continue;
            };
            // Answers are written whole, so waiting for more to send only delays them.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(error = %error, "TCP_NODELAY");
            }
            let connection = Connection {
                stream,
                _place: place,
            };
            return Ok((connection, Peer(peer)));
        }
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        self.listener.local_addr().map(Peer)
    }
}

/// A connection in its place.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    _place: Place,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// One place in this many is kept for known networks.
const RESERVED_PART: usize = 8;
const MAX_KNOWN: u64 = 10_000;
const KNOWN_FOR: Duration = Duration::from_secs(3600);
const WARN_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Seen;
    use hallpass_core::base::time::SystemClock;

    #[derive(Debug, Default)]
    struct Refused(std::sync::atomic::AtomicUsize);

    impl Observer for Refused {
        fn answered(&self, _: &Seen<'_>) {}

        fn connection_refused(&self) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }

        fn panicked(&self) {}

        fn render(&self) -> String {
            String::new()
        }
    }

    fn places(observer: Arc<Refused>) -> Arc<Places> {
        Places::new(16, observer, Arc::new(SystemClock::default()))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_network_has_half_of_the_places() {
        let places = places(Arc::new(Refused::default()));
        let held: Vec<_> = (0..9).map(|_| places.admit(address("192.0.2.1"))).collect();
        assert_eq!(held.iter().flatten().count(), 8);
        assert!(places.admit(address("192.0.2.2")).is_some());
        assert_eq!(places.taken(), 8);
        drop(held);
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn networks_of_operators_have_places_that_strangers_cannot_take() {
        let refused = Arc::new(Refused::default());
        let places = places(Arc::clone(&refused));
        let held: Vec<_> = (1..=15)
            .map(|last| places.admit(address(&format!("192.0.2.{last}"))))
            .collect();
        assert_eq!(held.iter().flatten().count(), 14);
        let operator = address("198.51.100.1");
        assert!(places.admit(operator).is_none());
        places.note_known(operator);
        let own = [places.admit(operator), places.admit(operator)];
        assert!(own.iter().all(Option::is_some));
        assert!(places.admit(operator).is_none());
        assert_eq!(refused.0.load(std::sync::atomic::Ordering::SeqCst), 3);
    }
}
