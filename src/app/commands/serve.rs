//! The resolver's own process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::compile::RESOLVER;
use crate::dns::{
    Client, Config, ForwardSettings, Handle, Listen, Name, QueryLog, Server, ServerError, Sources, Upstreams,
    ZoneEntry, follow,
};
use crate::event::Events;
use crate::host::Host;
use crate::model::{Listener, Protocol, View};
use crate::system::OverNetwork;

use crate::app::error::ResolverError;
use crate::app::resolver::{FORMAT, Process, ResolverFiles, StartedBy};
use crate::app::state::write;
use crate::app::{Error, cluster, renewal};

/// Where port 53 is not to be had.
pub const DEFAULT_PORT: u16 = 5335;
/// Where the counters are shown.
pub const DEFAULT_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(RESOLVER), 9153);
/// How often an address that could not be had is tried again: the engine may come up after us.
const AGAIN: Duration = Duration::from_secs(2);

/// What `dns serve` is told.
#[derive(Clone, Default)]
pub struct ServeOptions {
    /// Empty: 127.0.0.9, port 53 where permitted, else 5335.
    pub listen: Vec<SocketAddr>,
    /// Empty: the machine's own, followed as they change.
    pub upstream: Vec<IpAddr>,
    /// Foreign domains whose names may lead to loopback addresses.
    pub rebind_allow: Vec<String>,
    /// None: nowhere.
    pub metrics: Option<SocketAddr>,
    pub started_by: StartedBy,
    /// Those of the command line that say all this, for a later `up` to compare.
    pub arguments: Vec<String>,
    pub query_log: Option<QueryLog>,
    pub version: &'static str,
}

/// A resolver in this process. Stops when dropped.
pub struct Serving {
    handle: Handle,
    tasks: Vec<JoinHandle<()>>,
    host: Arc<dyn Host>,
    files: ResolverFiles,
}

/// Starts answering: for every platform that is recorded, and for those that are added later.
pub async fn serve(host: Arc<dyn Host>, events: &Events, options: ServeOptions) -> Result<Serving, Error> {
    let files = ResolverFiles::of(&*host);
    if Client::connect(&files.control()).await.is_ok() {
        return Err(ResolverError::from(ServerError::AlreadyRunning { path: files.control() }).into());
    }
    let choices = choices(&*host, &options.listen);
    if options.listen.is_empty()
        && let Some(address) = another_users(&*host, &choices).await
    {
        return Err(ResolverError::AnotherUser { address }.into());
    }
    let mut tasks = Vec::new();
    let upstreams = if options.upstream.is_empty() {
        let own = choices.iter().flatten().copied().collect();
        let sources = Sources { own, former: vec![files.former_resolv_conf()] };
        let (receiver, task) = follow(Arc::clone(&host), sources).await;
        tasks.push(tokio::spawn(task));
        receiver
    } else {
        let default = options.upstream.iter().map(|address| (*address, 53).into()).collect();
        // a channel whose sender is gone keeps its value
        watch::channel(Upstreams { default, ..Upstreams::default() }).1
    };
    let setting = |value: &String| {
        Name::parse(value).map_err(|error| ResolverError::Setting { value: value.clone(), reason: error.to_string() })
    };
    let rebind_allow = options.rebind_allow.iter().map(setting).collect::<Result<Vec<_>, _>>()?;
    let metrics = match options.metrics {
        Some(address) if host.can_bind(address, Protocol::Tcp).await.is_err() => {
            events.warn(format!("{address} is not to be had: no metrics are shown"));
            None
        }
        wanted => wanted,
    };
    let control = files.control();
    let folder = files.folder().to_owned();
    host.create_folder(&folder, 0o700).await.map_err(|source| Error::Io { path: folder, source })?;
    let base = Config {
        upstreams: Some(upstreams),
        forward: ForwardSettings { rebind_allow, ..ForwardSettings::default() },
        metrics,
        control: Some(control),
        query_log: options.query_log,
        ..Config::default()
    };
    let handle = first(&choices, &base)?;

    for (platform, entry) in files.entries(&*host).await {
        // an address that cannot be had yet is tried again while it runs
        let added = handle.put(entry.clone()).or_else(|_| handle.put(ZoneEntry { listen: Vec::new(), ..entry }));
        if let Err(error) = added {
            events.warn(format!("the names of {platform} cannot be served: {error}"));
        }
    }
    tasks.push(tokio::spawn(renewal::follow(Arc::clone(&host), files.clone(), events.clone())));
    tasks.push(tokio::spawn(cluster::follow::follow(Arc::clone(&host), files.clone(), Arc::new(OverNetwork))));
    let process = Process {
        format: FORMAT,
        pid: std::process::id(),
        started: host.now(),
        version: options.version.to_owned(),
        started_by: options.started_by,
        arguments: options.arguments,
    };
    write(&*host, &files.process(), &process).await?;
    Ok(Serving { handle, tasks, host, files })
}

/// The addresses to answer on, the best first.
fn choices(host: &dyn Host, wanted: &[SocketAddr]) -> Vec<Vec<SocketAddr>> {
    if !wanted.is_empty() {
        return vec![wanted.to_vec()];
    }
    let mut all = vec![vec![(RESOLVER, 53).into()], vec![(RESOLVER, DEFAULT_PORT).into()]];
    if host.facts().os == "macos" {
        // other loopback addresses are there only where somebody made them
        all.push(vec![(Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()]);
    }
    all
}

/// A resolver of another user on one of the addresses: this user may not see whose it is. To take the
/// other port beside it would be to answer where nobody asks.
async fn another_users(host: &dyn Host, choices: &[Vec<SocketAddr>]) -> Option<SocketAddr> {
    let listeners = host.listeners().await.unwrap_or_default();
    let wanted = |listener: &Listener| {
        let at = SocketAddr::new(listener.address, listener.port);
        listener.protocol == Protocol::Udp
            && listener.address == RESOLVER
            && choices.iter().flatten().any(|one| *one == at)
    };
    let there = host.owners(listeners.into_iter().filter(wanted).collect()).await;
    let strange = there.into_iter().find(|listener| listener.pid.is_none() && listener.process.is_none())?;
    Some(SocketAddr::new(strange.address, strange.port))
}

fn first(choices: &[Vec<SocketAddr>], base: &Config) -> Result<Handle, ResolverError> {
    let mut last = None;
    for choice in choices {
        let listen = choice.iter().map(|address| Listen { address: *address, view: View::Host }).collect();
        match Server::start(Config { listen, ..base.clone() }) {
            Ok(handle) => return Ok(handle),
            Err(error @ ServerError::AlreadyRunning { .. }) => return Err(error.into()),
            Err(error) => last = Some(error),
        }
    }
    let nothing = || ServerError::Unspecified { address: (Ipv4Addr::UNSPECIFIED, 53).into() };
    Err(last.unwrap_or_else(nothing).into())
}

impl Serving {
    /// Where programs of this machine ask it.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let listen = self.handle.listen();
        listen.iter().filter(|listen| listen.view == View::Host).map(|listen| listen.address).collect()
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.handle.metrics_address()
    }

    /// Answers until it is asked to stop, over its control socket or by `cancel`.
    pub async fn run(self, cancel: &CancellationToken) {
        loop {
            tokio::select! {
                () = self.handle.stopped() => break,
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(AGAIN) => self.listen_again().await,
            }
        }
        // a file that stays names a process that is gone, which everybody looks at first
        let _ = self.host.remove(&self.files.process()).await;
    }

    /// A platform's network may be made after we were started.
    async fn listen_again(&self) {
        let (bound, shown) = (self.handle.listen(), self.handle.inner_metrics());
        let known: Vec<String> = self.handle.status().zones.into_iter().map(|zone| zone.apex).collect();
        for (_, entry) in self.files.entries(&*self.host).await {
            let metrics = entry.metrics.is_some_and(|address| !shown.contains(&address));
            let missing = metrics || entry.listen.iter().any(|listen| !bound.contains(listen));
            if missing && known.contains(&entry.zone.apex) {
                // the next time, then
                let _ = self.handle.put(entry);
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_resolver_of_another_user_is_noticed() {
        let found = async |host: FakeHost| {
            let choices = choices(&host, &[]);
            another_users(&host, &choices).await.map(|address| address.to_string())
        };
        let host = || FakeHost::new().listener("0.0.0.0:53", Protocol::Udp, None);
        assert_eq!(found(host()).await, None);
        let ours = host().listener("127.0.0.9:53", Protocol::Udp, Some((7, "macula")));
        assert_eq!(found(ours).await, None);
        let theirs = host().listener("127.0.0.9:5335", Protocol::Udp, None);
        assert_eq!(found(theirs).await.as_deref(), Some("127.0.0.9:5335"));
    }
}
