//! Names that are not ours: asked of the machine's own servers, kept as long as they say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::ResponseCode;
use ipnet::IpNet;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

mod address;
mod cache;
mod discover;
mod exchange;
mod parse;
mod upstream;

pub use address::Dropped;
pub use cache::Entry;
use cache::{Cache, Cached};
pub use discover::{Sources, discover, follow};
use exchange::leads_home;
pub use exchange::{Ask, ExchangeError};
pub use upstream::{Route, Upstreams};

use super::clock::Clock;
use super::fast::Common;
use super::metrics::{head, line};
use super::snapshot::Swap;
use super::wire::{FLAG_RA, NOERROR, NXDOMAIN, Name, SERVFAIL};

/// Until another server is tried beside the first, when nothing is known about it.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same, at least and at most, when its usual time is known.
const PATIENCE_RANGE: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(500));
/// For one question, all servers together.
const DEADLINE: Duration = Duration::from_secs(4);
/// A stale answer is given when upstream takes longer (RFC 8767 5).
const STALE_AFTER: Duration = Duration::from_millis(1800);
/// Seconds that upstream is left alone, per question, after it failed.
const RETRY: u32 = 5;
/// Seconds that a failure without a stale answer is kept (RFC 9520 3.2).
const FAILURE_TTL: u32 = 1;
/// Seconds that something is kept which may soon be otherwise: that an answer was not passed on, and that a name does
/// not exist where a server that goes before has not said so.
const SHORT_TTL: u32 = 30;
/// How long the denial of one server waits for those that go before it.
const DENIAL_WAITS: Duration = Duration::from_millis(1500);
/// A server that failed so often in a row is asked last, for so long.
const FAILURES: u32 = 3;
const DOWN: Duration = Duration::from_secs(15);
/// Different questions under way at once. More than a machine has, and little enough that a flood of
/// names for a dead upstream takes up no memory to speak of.
const IN_FLIGHT: usize = 1024;

/// So many questions at once are a flood.
const CROWD: usize = 256;

/// How the forwarder behaves.
#[derive(Debug, Clone)]
pub struct ForwardSettings {
    /// Bytes, roughly.
    pub cache: usize,
    /// How long expired answers are kept for when upstream is gone.
    pub stale: Duration,
    /// Domains whose names may lead to loopback addresses.
    pub rebind_allow: Vec<Name>,
    /// Random case in questions (0x20), against forged answers. Some home routers cannot take it.
    pub mix_case: bool,
    /// Sockets to upstream servers at once; a question waits for one.
    pub sockets: usize,
}

impl Default for ForwardSettings {
    fn default() -> Self {
        Self {
            cache: 4 << 20,
            stale: Duration::from_secs(86_400),
            rebind_allow: Vec::new(),
            mix_case: false,
            sockets: 256,
        }
    }
}

/// What is known about a server.
#[derive(Debug, Clone, Default)]
struct Health {
    /// Smoothed time to an answer.
    usual: Option<Duration>,
    failures: u32,
    down_until: Option<Instant>,
    asked: u64,
    failed: u64,
    /// Why it had no answer of use the last time.
    reason: Option<String>,
}

/// A server as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct UpstreamStatus {
    pub address: SocketAddr,
    /// The domain that it is asked for; none: everything.
    pub domain: Option<String>,
    pub healthy: bool,
    pub asked: u64,
    pub failed: u64,
    /// Its usual time to an answer.
    pub millis: Option<u64>,
}

type Outcome = Option<Arc<Entry>>;
/// The network that it is asked in, and its key in the cache.
type Question = (u64, Vec<u8>);

pub struct Forwarder {
    upstreams: watch::Receiver<Upstreams>,
    settings: ForwardSettings,
    cache: Cache,
    in_flight: Mutex<HashMap<Question, Vec<oneshot::Sender<Outcome>>>>,
    health: Mutex<HashMap<SocketAddr, Health>>,
    sockets: Semaphore,
    /// Answers that were not passed on, since they lead to this machine.
    kept_back: AtomicU64,
    /// The platforms' own networks, where no outside name may lead.
    pub inner: Swap<Vec<IpNet>>,
    /// Counts the networks that we have been in.
    network: AtomicU64,
    clock: Clock,
}

impl Forwarder {
    /// `clock`: the resolver's.
    pub fn new(upstreams: watch::Receiver<Upstreams>, settings: ForwardSettings, clock: Clock) -> Arc<Self> {
        let stale = u32::try_from(settings.stale.as_secs()).unwrap_or(u32::MAX);
        Arc::new(Self {
            upstreams,
            cache: Cache::new(settings.cache, stale),
            sockets: Semaphore::new(settings.sockets),
            settings,
            in_flight: Mutex::default(),
            health: Mutex::default(),
            kept_back: AtomicU64::new(0),
            inner: Swap::new(Vec::new()),
            network: AtomicU64::new(0),
            clock,
        })
    }

    fn now(&self) -> u32 {
        self.clock.now()
    }

    /// Answers from the cache, in the question's own buffer: its new length.
    #[inline]
    pub fn cached(&self, common: &mut Common, buffer: &mut [u8], now: u32) -> Option<usize> {
        let entry = match self.cache.get(common.cache_key(), now) {
            Cached::Fresh(entry) => {
                self.cache.hits.fetch_add(1, Ordering::Relaxed);
                entry
            }
            Cached::Stale(entry) if entry.retry_at.load(Ordering::Relaxed) > now => {
                self.cache.stale.fetch_add(1, Ordering::Relaxed);
                entry
            }
            Cached::Stale(_) | Cached::Nothing => return None,
        };
        let limit = common.limit.min(buffer.len()).checked_sub(common.opt_length())?;
        let end = entry.write(buffer, now, limit)?;
        common.seal(buffer, end, FLAG_RA | u16::from(entry.rcode), entry.counts)
    }

    /// Whether the cache could answer at once: for `trace`.
    pub fn knows(&self, ask: &Ask) -> Option<&'static str> {
        match self.cache.get(&ask.key(), self.now()) {
            Cached::Fresh(_) => Some("fresh"),
            Cached::Stale(_) => Some("stale"),
            Cached::Nothing => None,
        }
    }

    /// Whether the answer was kept back since it leads to this machine: for `trace`.
    pub fn was_rebound(&self, ask: &Ask) -> bool {
        matches!(self.cache.get(&ask.key(), self.now()), Cached::Fresh(entry) if entry.rebound)
    }

    /// How many answers were kept back for that; one that the cache has is not counted again.
    pub fn kept_back(&self) -> u64 {
        self.kept_back.load(Ordering::Relaxed)
    }

    /// The answer from cache or upstream; none when nobody has one.
    pub async fn resolve(self: &Arc<Self>, ask: &Ask) -> Outcome {
        let key = ask.key();
        let stale = match self.cache.get(&key, self.now()) {
            Cached::Fresh(entry) => {
                self.cache.hits.fetch_add(1, Ordering::Relaxed);
                return failure_is_none(entry);
            }
            Cached::Stale(entry) => Some(entry),
            Cached::Nothing => None,
        };
        if let Some(entry) = stale.as_ref().filter(|entry| entry.retry_at.load(Ordering::Relaxed) > self.now()) {
            self.cache.stale.fetch_add(1, Ordering::Relaxed);
            return Some(Arc::clone(entry));
        }
        self.cache.misses.fetch_add(1, Ordering::Relaxed);
        if !self.has_servers(&ask.name) {
            return stale;
        }
        // a flood is no reason to keep what is known
        let Some(answer) = self.join(ask, key) else { return stale };
        let Some(stale) = stale else { return answer.await.ok().flatten() };
        // after one failure nobody waits again: the answer is refreshed behind the client's back
        let patience = if stale.retry_at.load(Ordering::Relaxed) == 0 { STALE_AFTER } else { Duration::ZERO };
        match timeout(patience, answer).await {
            Ok(Ok(Some(entry))) => Some(entry),
            _ => {
                stale.retry_at.store(self.now() + RETRY, Ordering::Relaxed);
                self.cache.stale.fetch_add(1, Ordering::Relaxed);
                Some(stale)
            }
        }
    }

    /// Waits with those who asked the same, or asks. The asking goes on when its client gave up:
    /// others may wait, and the cache is filled.
    fn join(self: &Arc<Self>, ask: &Ask, key: Vec<u8>) -> Option<oneshot::Receiver<Outcome>> {
        let (sender, receiver) = oneshot::channel();
        // before the servers are looked up: those of a former network never pass for the present one's
        let question: Question = (self.network(), key);
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = in_flight.get_mut(&question) {
            waiting.push(sender);
            return Some(receiver);
        }
        if in_flight.len() >= IN_FLIGHT {
            return None;
        }
        in_flight.insert(question.clone(), vec![sender]);
        drop(in_flight);
        let (forwarder, ask) = (Arc::clone(self), ask.clone());
        tokio::spawn(async move {
            let outcome = forwarder.fetch(&ask).await;
            let (network, key) = &question;
            // what another network says may not be so in this one
            if *network == forwarder.network() {
                forwarder.keep(&ask, key, outcome.as_ref());
            }
            let waiting = forwarder.take_waiting(&question);
            for sender in waiting {
                // a client that gave up
                let _ = sender.send(outcome.clone());
            }
        });
        Some(receiver)
    }

    /// Those who wait for an answer; what they took up is given back when the last of a crowd goes.
    fn take_waiting(&self, question: &Question) -> Vec<oneshot::Sender<Outcome>> {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = in_flight.remove(question).unwrap_or_default();
        if in_flight.is_empty() && in_flight.capacity() > CROWD {
            in_flight.shrink_to_fit();
            drop(in_flight);
            super::socket::give_back_memory();
        }
        waiting
    }

    fn keep(&self, ask: &Ask, key: &[u8], outcome: Option<&Arc<Entry>>) {
        let now = self.now();
        if outcome.is_some_and(|entry| entry.rebound) {
            self.kept_back.fetch_add(1, Ordering::Relaxed);
        }
        match outcome {
            Some(entry) if entry.expires > now => self.cache.put(key, Arc::clone(entry)),
            Some(_) => {}
            None => match self.cache.get(key, now) {
                Cached::Stale(entry) => entry.retry_at.store(now + RETRY, Ordering::Relaxed),
                Cached::Fresh(_) => {}
                Cached::Nothing => {
                    let length = ask.name.wire().len();
                    self.cache.put(key, Arc::new(Entry::new(SERVFAIL, length, now, FAILURE_TTL)));
                }
            },
        }
    }

    /// Asks the servers of the name: the first that is well, the next after a short while beside
    /// it, until one answers. That there is no such name is taken from a later one only where those before it have no
    /// answer: a company's server knows names that no other one does.
    async fn fetch(&self, ask: &Ask) -> Outcome {
        let configured = self.upstreams.borrow().servers(&ask.name);
        let first = configured.first().copied();
        let servers = self.order(configured);
        timeout(DEADLINE, self.race(ask, &servers, first)).await.ok().flatten()
    }

    /// `first`: the server that is asked before the others while all are well.
    async fn race(&self, ask: &Ask, servers: &[SocketAddr], first: Option<SocketAddr>) -> Outcome {
        let mut attempts = FuturesUnordered::new();
        // each server twice: a datagram may have been lost
        let ranked = || servers.iter().copied().enumerate();
        let mut waiting = ranked().chain(ranked());
        // ranks of those who are being asked
        let mut asked: Vec<usize> = Vec::new();
        let mut denial: Option<Denial> = None;
        let mut next_at = Instant::now();
        loop {
            if Instant::now() >= next_at {
                // whoever comes behind a denial cannot make it another one
                let before = |rank: usize| denial.as_ref().is_none_or(|denial| rank < denial.rank);
                let patience = match waiting.find(|(rank, _)| before(*rank)) {
                    Some((rank, server)) => {
                        attempts.push(async move { (rank, self.attempt(ask, server).await) });
                        asked.push(rank);
                        self.patience(server)
                    }
                    None if attempts.is_empty() => return None,
                    None => DEADLINE,
                };
                next_at = Instant::now() + patience;
            }
            let wake_at = denial.as_ref().map_or(next_at, |denial| next_at.min(denial.until));
            tokio::select! {
                Some((rank, outcome)) = attempts.next() => {
                    if let Some(at) = asked.iter().position(|asked| *asked == rank) {
                        asked.swap_remove(at);
                    }
                    match outcome {
                        Some(entry) if !entry.denies => return Some(Arc::new(entry)),
                        Some(entry) if denial.as_ref().is_none_or(|known| rank < known.rank) => {
                            let until = denial.map_or_else(|| Instant::now() + DENIAL_WAITS, |known| known.until);
                            denial = Some(Denial { rank, entry, until });
                        }
                        Some(_) => {}
                        None => next_at = Instant::now(),
                    }
                }
                () = sleep(wake_at.saturating_duration_since(Instant::now())) => {}
            }
            let Some(Denial { rank, mut entry, until }) = denial.take() else { continue };
            let late = Instant::now() >= until;
            if late || asked.iter().all(|asked| *asked >= rank) {
                // the first one, which is down or slow, may know better
                if late || servers.get(rank).copied() != first {
                    entry.expires = entry.expires.min(self.now().saturating_add(SHORT_TTL));
                }
                return Some(Arc::new(entry));
            }
            denial = Some(Denial { rank, entry, until });
        }
    }

    /// One server; none when its answer is no use and another may do better.
    async fn attempt(&self, ask: &Ask, server: SocketAddr) -> Option<Entry> {
        let mut verdict = Verdict {
            forwarder: self,
            server,
            network: self.network(),
            began: Instant::now(),
            patience: self.patience(server),
            ended: None,
            reason: None,
        };
        let Ok(_socket) = self.sockets.acquire().await else { return None };
        let message = match ask.exchange(server, self.settings.mix_case).await {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(%server, name = %ask.name, %error, "asking upstream");
                verdict.ended = Some(false);
                verdict.reason = Some(match error {
                    ExchangeError::Io(source) => source.kind().to_string(),
                    other => other.to_string(),
                });
                return None;
            }
        };
        // a server that says that it cannot is there
        verdict.ended = Some(true);
        let rcode = message.get(3).map_or(SERVFAIL, |flags| flags & 0xF);
        if rcode != 0 && rcode != NXDOMAIN {
            verdict.reason = Some(format!("answers {}", ResponseCode::from(0, rcode)));
            return None;
        }
        let entry = ask.entry(&message, self.now())?;
        let allowed = || self.settings.rebind_allow.iter().any(|domain| ask.name.is_within(domain));
        if leads_home(&message, &self.inner.load()) && !allowed() {
            tracing::warn!(name = %ask.name, %server, "an outside name leads to this machine: no answer is passed on");
            // after a refusal a program asks its next server, and gets them there
            let mut nothing = Entry::new(NOERROR, entry.name_length, self.now(), SHORT_TTL);
            (nothing.denies, nothing.rebound) = (true, true);
            return Some(nothing);
        }
        Some(entry)
    }

    fn patience(&self, server: SocketAddr) -> Duration {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match health.get(&server).and_then(|health| health.usual) {
            None => PATIENCE,
            Some(usual) => (usual * 3).clamp(PATIENCE_RANGE.0, PATIENCE_RANGE.1),
        }
    }

    /// As configured, with those that do not answer at the end.
    fn order(&self, mut servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        servers.sort_by_key(|server| is_down(health.get(server), now));
        servers
    }

    fn judge(&self, server: SocketAddr, good: Option<Duration>, reason: Option<String>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let health = health.entry(server).or_default();
        health.asked += 1;
        health.reason = reason;
        match good {
            Some(time) => {
                health.failures = 0;
                health.down_until = None;
                health.usual = Some(health.usual.map_or(time, |usual| (usual * 7 + time) / 8));
            }
            None => {
                health.failed += 1;
                health.failures += 1;
                if health.failures >= FAILURES {
                    health.down_until = Some(Instant::now() + DOWN);
                }
            }
        }
    }

    /// Why a server had no answer of use the last time; none: it had one, or was not asked.
    pub fn reason(&self, server: SocketAddr) -> Option<String> {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.get(&server).and_then(|health| health.reason.clone())
    }

    /// It lost a race after this time. Names that it has to look up itself take longer than others: no failure.
    fn wait_longer(&self, server: SocketAddr, time: Duration) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let health = health.entry(server).or_default();
        health.asked += 1;
        health.usual = health.usual.max(Some(time));
    }

    /// Forgets all answers and what is known about servers: the network is another one.
    pub fn forget(&self) {
        self.network.fetch_add(1, Ordering::SeqCst);
        self.cache.clear();
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn network(&self) -> u64 {
        self.network.load(Ordering::SeqCst)
    }

    /// Whether anybody is known who could be asked for the name.
    pub fn has_servers(&self, name: &Name) -> bool {
        !self.upstreams.borrow().servers(name).is_empty()
    }

    /// The servers in use now.
    pub fn upstreams(&self) -> Upstreams {
        self.upstreams.borrow().clone()
    }

    /// Servers that the machine has and that cannot be asked, with the reason.
    pub fn dropped(&self) -> Vec<String> {
        self.upstreams.borrow().dropped.iter().map(ToString::to_string).collect()
    }

    /// Told when the servers change.
    pub fn changes(&self) -> watch::Receiver<Upstreams> {
        self.upstreams.clone()
    }

    pub fn status(&self) -> Vec<UpstreamStatus> {
        let upstreams = self.upstreams.borrow();
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let everything = upstreams.default.iter().map(|address| (address, None));
        let routes = upstreams
            .routes
            .iter()
            .flat_map(|route| route.servers.iter().map(|address| (address, Some(route.domain.to_string()))));
        everything
            .chain(routes)
            .map(|(address, domain)| {
                let known = health.get(address);
                UpstreamStatus {
                    address: *address,
                    domain,
                    healthy: !is_down(known, now),
                    asked: known.map_or(0, |health| health.asked),
                    failed: known.map_or(0, |health| health.failed),
                    millis: known.and_then(|health| health.usual).map(|usual| usual.as_millis() as u64),
                }
            })
            .collect()
    }

    /// Cache and servers, in the text format of Prometheus.
    pub fn metrics(&self, text: &mut String) {
        head(text, "macula_dns_cache_total", "counter", "Look-ups in the cache, by result");
        for (result, sum) in [("hit", &self.cache.hits), ("miss", &self.cache.misses), ("stale", &self.cache.stale)] {
            line(text, "macula_dns_cache_total", &[("result", result)], sum.load(Ordering::Relaxed));
        }
        head(text, "macula_dns_cache_entries", "gauge", "Answers in the cache");
        line(text, "macula_dns_cache_entries", &[], self.cache.entries() as u64);
        head(text, "macula_dns_cache_bytes", "gauge", "Size of the cache, roughly");
        line(text, "macula_dns_cache_bytes", &[], self.cache.bytes() as u64);
        let help = "Answers kept back since they lead to this machine or into a platform's network";
        head(text, "macula_dns_kept_back_total", "counter", help);
        line(text, "macula_dns_kept_back_total", &[], self.kept_back());
        let servers = self.status();
        for (name, kind, help, value) in [
            (
                "macula_dns_upstream_healthy",
                "gauge",
                "Whether an upstream server answers",
                (|server: &UpstreamStatus| u64::from(server.healthy)) as fn(&UpstreamStatus) -> u64,
            ),
            ("macula_dns_upstream_asked_total", "counter", "Questions to an upstream server", |server| server.asked),
            ("macula_dns_upstream_failed_total", "counter", "Questions that it did not answer", |server| server.failed),
        ] {
            head(text, name, kind, help);
            for server in &servers {
                let address = server.address.to_string();
                let domain = server.domain.as_deref().unwrap_or(".");
                line(text, name, &[("server", &address), ("domain", domain)], value(server));
            }
        }
    }
}

/// What a server says of a name that it does not have, while others are still asked.
struct Denial {
    /// Its place among the servers.
    rank: usize,
    entry: Entry,
    /// From then on it is taken, whoever is silent.
    until: Instant,
}

/// Hands in what became of an attempt, also when it is dropped half-way because another server was quicker: whoever only
/// took longer than it usually does is given more time, and whoever had all of it has failed.
struct Verdict<'a> {
    forwarder: &'a Forwarder,
    server: SocketAddr,
    network: u64,
    began: Instant,
    patience: Duration,
    /// Whether it answered, once that is known.
    ended: Option<bool>,
    /// Why the answer is of no use.
    reason: Option<String>,
}

impl Drop for Verdict<'_> {
    fn drop(&mut self) {
        if self.network != self.forwarder.network() {
            return;
        }
        let time = self.began.elapsed();
        match self.ended {
            Some(true) => self.forwarder.judge(self.server, Some(time), self.reason.take()),
            None if time < self.patience => {}
            None if time < PATIENCE_RANGE.1 => self.forwarder.wait_longer(self.server, time),
            Some(false) | None => {
                let reason = self.reason.take().unwrap_or_else(|| ExchangeError::Timeout.to_string());
                self.forwarder.judge(self.server, None, Some(reason));
            }
        }
    }
}

fn is_down(health: Option<&Health>, now: Instant) -> bool {
    health.and_then(|health| health.down_until).is_some_and(|until| until > now)
}

/// A failure that is kept for a second is still a failure.
fn failure_is_none(entry: Arc<Entry>) -> Outcome {
    if entry.rcode == SERVFAIL { None } else { Some(entry) }
}

#[cfg(test)]
mod tests {
    use super::super::cookie::Secret;
    use super::super::full::{Context, Transport};
    use super::*;

    const FIRST: ([u8; 4], u16) = ([192, 0, 2, 1], 53);
    const SECOND: ([u8; 4], u16) = ([192, 0, 2, 2], 53);

    /// With one server for everything and one for a domain. Nobody is asked.
    fn forwarder() -> Arc<Forwarder> {
        let routes = vec![Route { domain: Name::parse("corp.example").unwrap(), servers: vec![SECOND.into()] }];
        let upstreams = Upstreams { default: vec![FIRST.into()], routes, ..Upstreams::default() };
        Forwarder::new(watch::channel(upstreams).1, ForwardSettings::default(), Clock::start())
    }

    fn ask() -> Ask {
        let name = Name::parse("a").unwrap();
        Ask { name, qtype: 1, dnssec_ok: false, checking_disabled: false }
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_server_is_given_three_times_what_it_usually_takes() {
        let (forwarder, server) = (forwarder(), SocketAddr::from(FIRST));
        assert_eq!(forwarder.patience(server), PATIENCE);
        forwarder.judge(server, Some(millis(100)), None);
        assert_eq!(forwarder.patience(server), millis(300));
        // an eighth of the newest, seven of what was
        forwarder.judge(server, Some(millis(180)), None);
        assert_eq!((forwarder.patience(server), forwarder.status()[0].millis), (millis(330), Some(110)));
        // one that lost a race is waited for longer, and not less long
        forwarder.wait_longer(server, millis(50));
        assert_eq!(forwarder.patience(server), millis(330));
        forwarder.wait_longer(server, millis(150));
        assert_eq!(forwarder.patience(server), millis(450));
        assert_eq!((forwarder.status()[0].asked, forwarder.status()[0].failed), (4, 0));
        forwarder.wait_longer(server, millis(2000));
        assert_eq!(forwarder.patience(server), PATIENCE_RANGE.1);
        forwarder.judge(SECOND.into(), Some(millis(1)), None);
        assert_eq!(forwarder.patience(SECOND.into()), PATIENCE_RANGE.0);
    }

    #[test]
    fn a_server_that_fails_three_times_in_a_row_is_asked_last() {
        let (forwarder, first, second) = (forwarder(), SocketAddr::from(FIRST), SocketAddr::from(SECOND));
        let order = || forwarder.order(vec![first, second]);
        let fail = |times: u32| {
            for _ in 0..times {
                forwarder.judge(first, None, Some("answers nonsense".to_owned()));
            }
        };
        fail(2);
        // an answer counts them from the beginning
        forwarder.judge(first, Some(millis(10)), None);
        assert_eq!(forwarder.reason(first), None);
        fail(2);
        assert_eq!((order(), forwarder.reason(first).as_deref()), (vec![first, second], Some("answers nonsense")));
        fail(1);
        assert_eq!((order(), forwarder.reason(second)), (vec![second, first], None));
        let status = |address, domain: Option<&str>, healthy, asked, failed, millis| UpstreamStatus {
            address,
            domain: domain.map(str::to_owned),
            healthy,
            asked,
            failed,
            millis,
        };
        let expected =
            [status(first, None, false, 6, 5, Some(10)), status(second, Some("corp.example"), true, 0, 0, None)];
        assert_eq!(forwarder.status(), expected);
        let mut text = String::new();
        forwarder.metrics(&mut text);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"macula_dns_cache_total{result="hit"} 0"#,
                r#"macula_dns_cache_total{result="miss"} 0"#,
                r#"macula_dns_cache_total{result="stale"} 0"#,
                "macula_dns_cache_entries 0",
                "macula_dns_cache_bytes 0",
                "macula_dns_kept_back_total 0",
                r#"macula_dns_upstream_healthy{server="192.0.2.1:53",domain="."} 0"#,
                r#"macula_dns_upstream_healthy{server="192.0.2.2:53",domain="corp.example"} 1"#,
                r#"macula_dns_upstream_asked_total{server="192.0.2.1:53",domain="."} 6"#,
                r#"macula_dns_upstream_asked_total{server="192.0.2.2:53",domain="corp.example"} 0"#,
                r#"macula_dns_upstream_failed_total{server="192.0.2.1:53",domain="."} 5"#,
                r#"macula_dns_upstream_failed_total{server="192.0.2.2:53",domain="corp.example"} 0"#,
            ]
        );
        // another network: nothing is known of its servers
        let network = forwarder.network();
        forwarder.forget();
        assert_eq!((order(), forwarder.network()), (vec![first, second], network + 1));
        assert_eq!(forwarder.status()[0], status(first, None, true, 0, 0, None));
        // and one that is down is well again with its first answer
        fail(3);
        forwarder.judge(first, Some(millis(10)), None);
        assert_eq!(order(), [first, second]);
    }

    #[test]
    fn a_failure_is_kept_for_a_second_and_takes_no_answers_place() {
        let (forwarder, ask) = (forwarder(), ask());
        let key = ask.key();
        // what is over when it comes is not kept
        forwarder.keep(&ask, &key, Some(&Arc::new(Entry::new(NOERROR, 3, 0, 0))));
        assert_eq!((forwarder.cache.entries(), forwarder.knows(&ask)), (0, None));
        forwarder.keep(&ask, &key, None);
        let Cached::Fresh(failure) = forwarder.cache.get(&key, 0) else { panic!("it is not kept") };
        assert_eq!((failure.rcode, failure.name_length, failure.expires - failure.stored), (SERVFAIL, 3, FAILURE_TTL));
        assert!(failure_is_none(failure).is_none());

        let mut old = Entry::new(NOERROR, 3, 0, 0);
        old.keep_stale = true;
        let old = Arc::new(old);
        forwarder.cache.put(&key, Arc::clone(&old));
        assert_eq!(forwarder.knows(&ask), Some("stale"));
        forwarder.keep(&ask, &key, None);
        assert_eq!(forwarder.knows(&ask), Some("stale"));
        assert!((RETRY..RETRY + 60).contains(&old.retry_at.load(Ordering::Relaxed)));

        for rebound in [false, true] {
            let mut entry = Entry::new(NOERROR, 3, 0, 3600);
            entry.rebound = rebound;
            forwarder.keep(&ask, &key, Some(&Arc::new(entry)));
            assert_eq!((forwarder.was_rebound(&ask), forwarder.knows(&ask)), (rebound, Some("fresh")));
        }
        assert_eq!(forwarder.kept_back(), 1);
        forwarder.forget();
        assert!(!forwarder.was_rebound(&ask));
    }

    #[tokio::test]
    async fn in_a_flood_of_questions_what_is_known_is_given() {
        let (forwarder, ask) = (forwarder(), ask());
        let full = (0..IN_FLIGHT).map(|number| ((0, number.to_be_bytes().to_vec()), Vec::new()));
        forwarder.in_flight.lock().unwrap().extend(full);
        assert!(forwarder.resolve(&ask).await.is_none());
        let mut old = Entry::new(NOERROR, 3, 0, 0);
        old.keep_stale = true;
        forwarder.cache.put(&ask.key(), Arc::new(old));
        assert_eq!(forwarder.resolve(&ask).await.map(|entry| entry.rcode), Some(NOERROR));
    }

    #[test]
    fn a_stale_answer_is_given_at_once_while_upstream_is_left_alone() {
        let forwarder = forwarder();
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let secret = Secret([1; 16]);
        let context = Context { client, transport: Transport::Udp, now: 1, secret: &secret, recursion: true };
        let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        let mut entry = Entry::new(NXDOMAIN, 3, 100, 60);
        entry.keep_stale = true;
        entry.counts = [1, 0, 0];
        entry.tail = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01".as_slice().into();
        entry.ttls = [(6, 60)].into();
        let entry = Arc::new(entry);
        forwarder.cache.put(&ask().key(), Arc::clone(&entry));
        // flags, counts and TTL
        let cached = |now: u32, limit: usize| {
            let mut buffer = [0; 64];
            buffer[..question.len()].copy_from_slice(question);
            let mut common = Common::parse(&context, question).unwrap();
            common.limit = limit;
            let length = forwarder.cached(&mut common, &mut buffer, now)?;
            Some((length, buffer[..4].to_vec(), buffer[4..12].to_vec(), buffer[28]))
        };
        let answer = |ttl: u8| Some((35, vec![0x12, 0x34, 0x81, 0x83], vec![0, 1, 0, 1, 0, 0, 0, 0], ttl));
        let counted = || [&forwarder.cache.hits, &forwarder.cache.stale].map(|sum| sum.load(Ordering::Relaxed));
        assert_eq!((cached(110, 512), counted()), (answer(50), [1, 0]));
        assert_eq!((cached(110, 35), cached(110, 34)), (answer(50), None));
        assert_eq!((cached(160, 512), counted()[1]), (None, 0));
        entry.retry_at.store(165, Ordering::Relaxed);
        assert_eq!((cached(164, 512), counted()[1]), (answer(30), 1));
        assert_eq!((cached(165, 512), counted()[1]), (None, 1));
    }
}
