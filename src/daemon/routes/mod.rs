//! The routes themselves: who may have which name, and passing requests on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::own_socket::OwnSocket;
use super::passing::{HTTP2, connect, head, last_lines, proxied_host, relay, starting};
use super::{PORT, Reply, Route};
use crate::dns::{Client, ZoneEntry};
use crate::host::next_connection;
use crate::model::{Record, RecordData, View, Zone};

/// Longest line of a request for a route.
const MOST: u64 = 16 << 10;
/// For a client to read an answer before the connection ends.
const LINGER: Duration = Duration::from_secs(2);
/// For the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that are passed on at once.
const REQUESTS: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    #[error("making the socket {}", path.display())]
    Socket { path: PathBuf, source: io::Error },
}

/// The routes of this process. Dropped, they end.
pub struct Routes {
    socket: OwnSocket,
    shared: Arc<Shared>,
}

/// What all tasks share.
struct Shared {
    /// The resolver's control socket, for the names.
    resolver: PathBuf,
    port: u16,
    state: Mutex<State>,
    /// Held while a gateway is opened: of two who need it one listens, and the other finds that it is done.
    opening: tokio::sync::Mutex<()>,
    /// Held while the resolver is told of a name: its end must not overtake the next program's begin.
    naming: tokio::sync::Mutex<()>,
    requests: Arc<Semaphore>,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    /// By gateway and name: two platforms may not share a gateway.
    routes: BTreeMap<(Ipv4Addr, String), Route>,
    /// By gateway: the platform whose network it is.
    homes: BTreeMap<Ipv4Addr, Home>,
    /// By gateway: from where its ingress comes.
    networks: BTreeMap<Ipv4Addr, Vec<IpNet>>,
    listeners: BTreeMap<Ipv4Addr, Listening>,
    /// By gateway: where requests arrive in its place.
    places: BTreeMap<Ipv4Addr, Place>,
}

/// Where requests arrive if this machine does not have the gateway's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// An address of this process's own container.
    Address(Ipv4Addr),
    /// Somebody else listens, and brings them to the [`Entrance`].
    Relay,
}

/// The way in for those who listen elsewhere.
#[derive(Clone)]
pub struct Entrance(Arc<Shared>);

impl Entrance {
    /// Says where requests for this gateway arrive.
    pub(super) async fn lies(&self, gateway: Ipv4Addr, place: Place) {
        let needed = {
            let mut state = self.0.state();
            if state.places.insert(gateway, place) == Some(place) {
                return;
            }
            state.close(gateway);
            state.is_needed(gateway)
        };
        if needed && let Err(error) = self.0.open(gateway).await {
            tracing::debug!(%gateway, %error, "names of this machine are not reached");
        }
    }

    /// They arrive on the gateway again, which whoever needs it next listens on.
    pub(super) fn forget(&self, gateway: Ipv4Addr) {
        let mut state = self.0.state();
        state.places.remove(&gateway);
        state.close(gateway);
    }

    /// One connection of the ingress.
    pub(super) async fn take(&self, mut stream: impl AsyncRead + AsyncWrite + Send + Unpin, gateway: Ipv4Addr) {
        let Ok(_slot) = Arc::clone(&self.0.requests).try_acquire_owned() else { return };
        // either end may go away at any time
        let _ = self.0.pass(&mut stream, gateway).await;
        // a stream that goes before its other side has ended takes along what was written last
        let rest = async {
            stream.shutdown().await?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
        };
        let _ = timeout(LINGER, rest).await;
    }
}

impl State {
    /// Takes no more requests there.
    fn close(&mut self, gateway: Ipv4Addr) {
        if let Some(listener) = self.listeners.remove(&gateway) {
            listener.stop.cancel();
        }
    }

    /// Somebody waits for requests there.
    fn is_needed(&self, gateway: Ipv4Addr) -> bool {
        self.homes.contains_key(&gateway) || self.routes.keys().any(|(used, _)| *used == gateway)
    }

    /// Whether a connection that arrives there may be its ingress's. Whoever can send packets to the gateway can open
    /// one: containers of other networks, and machines that have this one as their router.
    fn admits(&self, gateway: Ipv4Addr, peer: IpAddr) -> bool {
        peer.is_loopback()
            || self.networks.get(&gateway).into_iter().flatten().any(|network| network.contains(&peer))
            // of a platform whose network is not known yet
            || self.routes.values().any(|route| route.gateway == gateway && peer == route.ingress_inside)
    }
}

/// A platform whose own names (its domain, and `home` below it) lead to its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    pub platform: String,
    pub domain: String,
    /// Where the page is.
    pub page: SocketAddr,
    /// Other names that lead to this process, and where: the receivers of telemetry.
    pub others: BTreeMap<String, SocketAddr>,
}

impl Home {
    fn has(&self, host: &str) -> bool {
        host == self.domain || host.strip_suffix(&self.domain) == Some("home.")
    }
}

/// A gateway on which requests are taken.
struct Listening {
    stop: CancellationToken,
    #[cfg(test)]
    address: SocketAddr,
}

impl Routes {
    /// Takes requests for routes on `socket`; names go to the resolver behind `resolver`.
    pub fn start(socket: &Path, resolver: &Path) -> Result<Self, RoutesError> {
        Self::start_with(socket, resolver, PORT)
    }

    /// Port 0: any that is free.
    fn start_with(socket: &Path, resolver: &Path, port: u16) -> Result<Self, RoutesError> {
        let fail = |source| RoutesError::Socket { path: socket.to_owned(), source };
        let (listener, socket) = OwnSocket::listen(socket).map_err(fail)?;
        let shared = Arc::new(Shared {
            resolver: resolver.to_owned(),
            port,
            state: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            naming: tokio::sync::Mutex::default(),
            requests: Arc::new(Semaphore::new(REQUESTS)),
            stop: CancellationToken::new(),
        });
        let routes = Self { socket, shared: Arc::clone(&shared) };
        tokio::spawn(async move {
            loop {
                let next = next_connection(|cx| listener.poll_accept(cx));
                let Some((stream, _)) = shared.stop.run_until_cancelled(next).await else { return };
                tokio::spawn(lease(Arc::clone(&shared), stream));
            }
        });
        Ok(routes)
    }

    /// Which platforms' own names lead to the page, by the gateways of their networks. A gateway that cannot be
    /// listened on yet is tried again with the next call: false, then.
    pub async fn keep_homes(&self, homes: BTreeMap<Ipv4Addr, Home>) -> bool {
        let gone: Vec<Ipv4Addr> = {
            let mut state = self.shared.state();
            let gone = state.homes.keys().filter(|gateway| !homes.contains_key(gateway)).copied().collect();
            state.homes.clone_from(&homes);
            gone
        };
        gone.into_iter().for_each(|gateway| self.shared.close(gateway));
        let mut all = true;
        for gateway in homes.into_keys() {
            // the network may be made later, or be that of a virtual machine
            if let Err(error) = self.shared.open(gateway).await {
                tracing::debug!(%gateway, %error, "the page's names do not lead to it");
                all = false;
            }
        }
        all
    }

    /// The networks of the platforms, by their gateways: nobody else's requests are taken there.
    pub fn keep_networks(&self, networks: BTreeMap<Ipv4Addr, Vec<IpNet>>) {
        self.shared.state().networks = networks;
    }

    /// Where requests come in that arrive elsewhere.
    pub fn entrance(&self) -> Entrance {
        Entrance(Arc::clone(&self.shared))
    }

    /// What tells the programs that have a name, for as long as the routes are there.
    pub fn names(&self) -> impl Fn() -> Vec<(String, u16)> + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || {
            let Some(shared) = shared.upgrade() else { return Vec::new() };
            let state = shared.state();
            state.routes.values().map(|route| (route.host.clone(), route.port)).collect()
        }
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        // while it is listened on: see `OwnSocket::remove`
        self.socket.remove();
        self.shared.stop.cancel();
    }
}

/// One `macula run`: its route is there until the connection ends.
async fn lease(shared: Arc<Shared>, stream: UnixStream) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let asked = timeout(PATIENCE, (&mut stream).take(MOST).read_until(b'\n', &mut line)).await;
    let Ok(Ok(_)) = asked else { return };
    let Ok(route) = serde_json::from_slice::<Route>(&line) else { return };
    let key = (route.gateway, route.host.clone());
    let reply = match shared.add(&route).await {
        Ok(true) => Reply::Routed,
        Ok(false) => Reply::Taken,
        Err(error) => Reply::Failed { reason: format!("{}:{}: {error}", route.gateway, shared.port) },
    };
    let routed = matches!(reply, Reply::Routed);
    if routed {
        shared.name(&route, true).await;
    }
    let said = serde_json::to_vec(&reply).map(|mut line| {
        line.push(b'\n');
        line
    });
    let told = match said {
        Ok(said) => stream.write_all(&said).await.is_ok(),
        Err(_) => false,
    };
    if routed && told {
        let mut rest = [0; 64];
        tokio::select! {
            () = async { while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {} } => {}
            () = shared.stop.cancelled() => {}
        }
    }
    if routed {
        shared.remove(&key);
        shared.name(&route, false).await;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: the name is taken.
    async fn add(self: &Arc<Self>, route: &Route) -> io::Result<bool> {
        if self.is_a_platforms(&route.host).await {
            return Ok(false);
        }
        let key = (route.gateway, route.host.clone());
        // first of all, so that nobody else gets it meanwhile, and nobody closes the gateway
        match self.state().routes.entry(key.clone()) {
            Entry::Occupied(_) => return Ok(false),
            Entry::Vacant(free) => free.insert(route.clone()),
        };
        let opened = self.open(route.gateway).await;
        if opened.is_err() {
            self.remove(&key);
        }
        opened.map(|()| true)
    }

    /// Whether a platform has it as its domain: `macula --name blog up` has `blog.macula.local`.
    async fn is_a_platforms(&self, host: &str) -> bool {
        let Ok(mut client) = Client::connect(&self.resolver).await else { return false };
        let status = client.status().await;
        status.is_ok_and(|status| status.zones.iter().any(|zone| zone.apex.eq_ignore_ascii_case(host)))
    }

    /// Takes requests on a gateway, unless that is done already.
    async fn open(self: &Arc<Self>, gateway: Ipv4Addr) -> io::Result<()> {
        let _turn = self.opening.lock().await;
        let address = {
            let state = self.state();
            match state.places.get(&gateway) {
                _ if state.listeners.contains_key(&gateway) => return Ok(()),
                Some(Place::Relay) => return Ok(()),
                Some(Place::Address(address)) => *address,
                None => gateway,
            }
        };
        let listener = TcpListener::bind((address, self.port)).await?;
        let stop = self.stop.child_token();
        let listening = Listening {
            stop: stop.clone(),
            #[cfg(test)]
            address: listener.local_addr()?,
        };
        self.state().listeners.insert(gateway, listening);
        tokio::spawn(Arc::clone(self).accept(listener, gateway, stop));
        Ok(())
    }

    /// Takes no more requests on a gateway that nobody needs.
    fn close(&self, gateway: Ipv4Addr) {
        let mut state = self.state();
        if !state.is_needed(gateway) {
            state.close(gateway);
        }
    }

    fn remove(&self, key: &(Ipv4Addr, String)) {
        self.state().routes.remove(key);
        self.close(key.0);
    }

    /// Tells the resolver of the name, which it lays over the platforms' zones: what covers it there (a wildcard that
    /// leads to the cluster) would lead elsewhere. Where no resolver runs, nobody asks for names.
    async fn name(&self, route: &Route, there: bool) {
        let _turn = self.naming.lock().await;
        // at its end another program may have the name: the next one, or one of another platform
        let has_it = || self.state().routes.values().find(|other| other.host == route.host).cloned();
        let holder = if there { Some(route.clone()) } else { has_it() };
        let Ok(mut client) = Client::connect(&self.resolver).await else { return };
        let done = if let Some(route) = holder {
            let mut zone = Zone::new(route.host.clone(), 1);
            let mut record = |address, view| {
                zone.records.push(Record::new(route.host.clone(), RecordData::A(address)).only(view));
            };
            record(route.ingress, View::Host);
            record(route.ingress_inside, View::Container);
            client.add(ZoneEntry::program(zone)).await
        } else {
            client.remove(&ZoneEntry::program_apex(&route.host)).await.map(drop)
        };
        if let Err(error) = done {
            tracing::warn!(name = %route.host, %error, "telling the resolver of a route");
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, gateway: Ipv4Addr, stop: CancellationToken) {
        loop {
            let next = next_connection(|cx| listener.poll_accept(cx));
            let Some((stream, peer)) = stop.run_until_cancelled(next).await else { return };
            // closed without a word, as for a name that is nobody's
            if !self.state().admits(gateway, peer.ip()) {
                continue;
            }
            let Ok(slot) = Arc::clone(&self.requests).try_acquire_owned() else { continue };
            let _ = stream.set_nodelay(true);
            let shared = Arc::clone(&self);
            tokio::spawn(async move {
                // either end may go away at any time
                let _ = shared.pass(stream, gateway).await;
                drop(slot);
            });
        }
    }

    /// One connection of the ingress, which opens one for each request or client, and says in front whom it is
    /// for; everything after that is the program's, whatever it is: HTTP/1, HTTP/2, a WebSocket. For a name that
    /// is nobody's the connection is closed without a word, which the ingress takes as "not here".
    async fn pass(&self, mut from: impl AsyncRead + AsyncWrite + Send + Unpin, gateway: Ipv4Addr) -> io::Result<()> {
        let Some(host) = timeout(PATIENCE, proxied_host(&mut from)).await?? else { return Ok(()) };
        let (route, home, other) = {
            let state = self.state();
            let home = state.homes.get(&gateway);
            let other = home.and_then(|home| home.others.get(&host)).copied();
            let home = home.filter(|home| home.has(&host)).cloned();
            (state.routes.get(&(gateway, host)).cloned(), home, other)
        };
        let route = match (route, home, other) {
            (Some(route), ..) => route,
            (None, Some(home), _) => return to_the_page(from, &home).await,
            (None, None, Some(address)) => {
                let mut to = TcpStream::connect(address).await?;
                let _ = to.set_nodelay(true);
                return tokio::io::copy_bidirectional(&mut from, &mut to).await.map(drop);
            }
            (None, None, None) => return Ok(()),
        };
        if let Ok(to) = connect(route.port).await {
            let _ = to.set_nodelay(true);
            relay(from, to, &route).await;
            return Ok(());
        }
        let head = timeout(PATIENCE, head(&mut from)).await??;
        if head.starts_with(HTTP2) {
            return Ok(());
        }
        let said = last_lines(&route).await;
        from.write_all(starting(&route, &said).as_bytes()).await?;
        from.shutdown().await?;
        // what it still sends must not reset the connection before the page has been read
        timeout(LINGER, tokio::io::copy(&mut from, &mut tokio::io::sink())).await?.map(drop)
    }
}

/// Sends a browser to the page, which is on a loopback address and nowhere else: whoever reaches the ingress from
/// elsewhere, a container for one, learns where it is and gets nothing of it. Other paths than `/` are nobody's.
async fn to_the_page(mut from: impl AsyncRead + AsyncWrite + Unpin, home: &Home) -> io::Result<()> {
    let head = timeout(PATIENCE, head(&mut from)).await??;
    let mut words = head.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let root = path.split(|byte| *byte == b'?').next() == Some(b"/");
    if !root || !matches!(method, b"GET" | b"HEAD") {
        return Ok(());
    }
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/?platform={}\r\nContent-Length: 0\r\nCache-Control: no-store\r\n\
         X-Macula: page\r\nConnection: close\r\n\r\n",
        home.page, home.platform
    );
    from.write_all(answer.as_bytes()).await?;
    from.shutdown().await
}

#[cfg(test)]
mod tests;
