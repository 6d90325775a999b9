//! What containers and programs use: the kernel's own counters where they can be read, else the engine's. Docker 20.10
//! gives its counters once a second to whoever waits for them, the kernel at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;

use crate::engine::{Containers, Transferred, Usage};
use crate::host::{Family, Host};
use crate::model::{ContainerState, ObservedContainer, label};

/// Where the control group of a container lies, by its id: Docker with either driver, Podman.
const SCOPES: [&str; 4] = [
    "docker/ID",
    "system.slice/docker-ID.scope",
    "machine.slice/libpod-ID.scope/container",
    "machine.slice/libpod-ID.scope",
];
const ROOT: &str = "/sys/fs/cgroup";
/// In which the kernel counts the time of programs, on all architectures that macula is built for: times(2).
const TICK: Duration = Duration::from_millis(10);

/// The counters of everything that runs, at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub at: Instant,
    /// By the container's id, or the program's pid: another one in its place has counters of its own.
    of: BTreeMap<String, (Subject, Usage)>,
}

/// Whose the use is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Service(String),
    /// Of this machine.
    Program(String),
}

/// What a service uses, all of its containers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rates {
    /// 100 is one core.
    pub cpu_percent: f64,
    /// Bytes, without the page cache.
    pub memory: u64,
    /// Bytes; the machine's memory where no limit is set.
    pub memory_limit: u64,
    /// Bytes a second; nothing where they are not counted.
    pub received_per_second: Option<u64>,
    pub sent_per_second: Option<u64>,
    /// From and to disks.
    pub read_per_second: Option<u64>,
    pub written_per_second: Option<u64>,
}

impl Rates {
    /// Both together.
    pub(super) fn add(&mut self, other: &Self) {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        self.cpu_percent += other.cpu_percent;
        self.memory = self.memory.saturating_add(other.memory);
        self.memory_limit = self.memory_limit.saturating_add(other.memory_limit);
        self.received_per_second = sum(self.received_per_second, other.received_per_second);
        self.sent_per_second = sum(self.sent_per_second, other.sent_per_second);
        self.read_per_second = sum(self.read_per_second, other.read_per_second);
        self.written_per_second = sum(self.written_per_second, other.written_per_second);
    }
}

/// Of all containers, those that run.
pub(super) fn running(found: Vec<ObservedContainer>) -> Vec<ObservedContainer> {
    found.into_iter().filter(|found| found.state == ContainerState::Running).collect()
}

/// Reads counters again and again: it knows where they are once it has found them.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// All that the machine has.
    memory: u64,
    /// By the container's id.
    groups: BTreeMap<String, Group>,
    /// By the program's name, the processes that it consists of.
    members: BTreeMap<String, Vec<u32>>,
    /// Readings since these were looked for.
    readings: u32,
}

/// Readings after which it is looked for what programs have started meanwhile: all processes are gone through for it.
const MEMBERS: u32 = 5;

impl Meter {
    pub fn new(host: &dyn Host) -> Self {
        Self { memory: host.facts().memory_total, ..Self::default() }
    }

    /// Everything is looked for again: containers have come or gone, or have other limits.
    pub fn forget(&mut self) {
        self.groups.clear();
        self.members.clear();
    }

    /// One look at the counters of containers that run, and of programs by name and what belongs to them. One that ends
    /// meanwhile has no figures, and that is no failure of the look.
    pub async fn sample(
        &mut self,
        engine: &dyn Containers,
        host: &dyn Host,
        running: &[ObservedContainer],
        programs: &[(String, Family)],
    ) -> Sample {
        let mut of = BTreeMap::new();
        let mut elsewhere = Vec::new();
        for container in running {
            let Some(service) = container.label(label::SERVICE) else { continue };
            let subject = Subject::Service(service.to_owned());
            match self.of_container(host, container) {
                Some(usage) => drop(of.insert(container.id.clone(), (subject, usage))),
                None => elsewhere.push((container, subject)),
            }
        }
        let asked = elsewhere.into_iter().map(|(container, subject)| async move {
            Some((container.id.clone(), (subject, engine.usage(&container.name).await.ok()?)))
        });
        of.extend(join_all(asked).await.into_iter().flatten());
        self.readings += 1;
        if self.readings >= MEMBERS {
            self.readings = 0;
            self.members.clear();
        }
        for (name, family) in programs {
            if let Some(usage) = self.of_program(host, name, family) {
                of.insert(format!("program {name}"), (Subject::Program(name.clone()), usage));
            }
        }
        Sample { at: Instant::now(), of }
    }

    fn of_container(&mut self, host: &dyn Host, container: &ObservedContainer) -> Option<Usage> {
        if let Some(usage) = self.groups.get(&container.id).and_then(|group| group.read(host)) {
            return Some(usage);
        }
        // one in the network of the machine would have the traffic of all the others
        let own_network = !container.addresses.is_empty();
        let group = Group::find(host, &container.id, own_network, self.memory)?;
        let usage = group.read(host);
        self.groups.insert(container.id.clone(), group);
        usage
    }

    /// Of a program with everything that belongs to it. Only Linux says so.
    fn of_program(&mut self, host: &dyn Host, name: &str, family: &Family) -> Option<Usage> {
        let members = self.members.entry(name.to_owned()).or_insert_with(|| host.members(family));
        let mut sum = Usage { memory_limit: self.memory, ..Usage::default() };
        let mut any = false;
        for pid in members {
            let of = |file: &str| PathBuf::from(format!("/proc/{pid}/{file}"));
            // it may have ended meanwhile
            let Some(cpu) = host.read_kernel(&of("stat")).as_deref().and_then(cpu_time) else { continue };
            any = true;
            sum.cpu += cpu;
            let resident = host.read_kernel(&of("status")).as_deref().and_then(resident);
            sum.memory = sum.memory.saturating_add(resident.unwrap_or_default());
            // only of processes of this user
            if let Some(io) = host.read_kernel(&of("io")) {
                let counted = |key| line(&io, key).unwrap_or_default();
                let so_far = sum.block.unwrap_or_default();
                sum.block = Some(Transferred {
                    incoming: so_far.incoming.saturating_add(counted("read_bytes:")),
                    outgoing: so_far.outgoing.saturating_add(counted("write_bytes:")),
                });
            }
        }
        any.then_some(sum)
    }
}

/// What was used between two looks. Pure.
pub(super) fn rates(before: &Sample, after: &Sample) -> BTreeMap<Subject, Rates> {
    let elapsed = after.at.saturating_duration_since(before.at);
    let mut all: BTreeMap<Subject, Rates> = BTreeMap::new();
    for (id, (subject, now)) in &after.of {
        let first = before.of.get(id).map_or(now, |(_, first)| first);
        all.entry(subject.clone()).or_default().add(&between(first, now, elapsed));
    }
    all
}

/// `elapsed` stands in for the engine's clock where it does not say when it looked.
fn between(first: &Usage, second: &Usage, elapsed: Duration) -> Rates {
    let time = match (first.at, second.at) {
        (Some(before), Some(after)) if after > before => after - before,
        _ => elapsed,
    };
    let seconds = time.as_secs_f64();
    // nothing can be said of no time, and nothing was used of what has begun again
    let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let rate = |of: fn(&Usage) -> Option<Transferred>, part: fn(&Transferred) -> u64| {
        let now = part(&of(second)?);
        let more = now.saturating_sub(of(first).as_ref().map_or(now, part));
        Some(per_second(more as f64).round() as u64)
    };
    Rates {
        cpu_percent: per_second(second.cpu.saturating_sub(first.cpu).as_secs_f64()) * 100.0,
        memory: second.memory,
        memory_limit: second.memory_limit,
        received_per_second: rate(|usage| usage.network, |both| both.incoming),
        sent_per_second: rate(|usage| usage.network, |both| both.outgoing),
        read_per_second: rate(|usage| usage.block, |both| both.incoming),
        written_per_second: rate(|usage| usage.block, |both| both.outgoing),
    }
}

/// Where the kernel counts for a container, if its engine runs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    /// Of version 2 one folder; of version 1 those for the processor, memory and disks.
    cpu: PathBuf,
    memory: PathBuf,
    disks: PathBuf,
    unified: bool,
    /// Bytes; those of the machine where there is no limit.
    limit: u64,
    /// Of the interfaces that it sees, if they are its own.
    network: Option<PathBuf>,
}

impl Group {
    /// `memory`: all that there is.
    fn find(host: &dyn Host, id: &str, own_network: bool, memory: u64) -> Option<Self> {
        // a name in a path: nothing but an id may get there
        if id.len() < 12 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let found = SCOPES.iter().find_map(|scope| {
            let scope = scope.replace("ID", id);
            Self::unified(host, &scope).or_else(|| Self::apart(host, &scope))
        });
        let mut group = found?;
        let limit = group.memory.join(if group.unified { "memory.max" } else { "memory.limit_in_bytes" });
        // `max`: none; version 1 writes a number near the largest one for that
        group.limit = number(host, &limit).map_or(memory, |limit| limit.min(memory));
        if own_network {
            // a number of this machine's
            let processes = host.read_kernel(&group.memory.join("cgroup.procs"));
            let first = processes.and_then(|processes| processes.lines().next()?.trim().parse::<u32>().ok());
            let network = first.map(|first| PathBuf::from(format!("/proc/{first}/net/dev")));
            group.network = network.filter(|path| host.read_kernel(path).is_some());
        }
        Some(group)
    }

    /// <https://docs.kernel.org/admin-guide/cgroup-v2.html>
    fn unified(host: &dyn Host, scope: &str) -> Option<Self> {
        let group = Path::new(ROOT).join(scope);
        host.read_kernel(&group.join("cpu.stat"))?;
        Some(Self {
            cpu: group.join("cpu.stat"),
            disks: group.join("io.stat"),
            memory: group,
            unified: true,
            limit: 0,
            network: None,
        })
    }

    /// <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>
    fn apart(host: &dyn Host, scope: &str) -> Option<Self> {
        let root = Path::new(ROOT);
        let places = ["cpuacct", "cpu,cpuacct"].map(|place| root.join(place).join(scope).join("cpuacct.usage"));
        let cpu = places.into_iter().find(|place| host.read_kernel(place).is_some())?;
        Some(Self {
            cpu,
            memory: root.join("memory").join(scope),
            disks: root.join("blkio").join(scope).join("blkio.throttle.io_service_bytes"),
            unified: false,
            limit: 0,
            network: None,
        })
    }

    /// Without the engine's clock: the looks are as far apart as they are made. Nothing where it has gone, or has
    /// another first process.
    fn read(&self, host: &dyn Host) -> Option<Usage> {
        let cpu = match self.unified {
            true => Duration::from_micros(line(&host.read_kernel(&self.cpu)?, "usage_usec")?),
            false => Duration::from_nanos(number(host, &self.cpu)?),
        };
        let (used, inactive) = match self.unified {
            true => ("memory.current", "inactive_file"),
            false => ("memory.usage_in_bytes", "total_inactive_file"),
        };
        let used = number(host, &self.memory.join(used))?;
        let cache = line(&host.read_kernel(&self.memory.join("memory.stat"))?, inactive).unwrap_or_default();
        let disks = if self.unified { io_stat } else { io_service_bytes };
        let network = match &self.network {
            Some(path) => Some(net_dev(&host.read_kernel(path)?)),
            None => None,
        };
        Some(Usage {
            cpu,
            memory: used.saturating_sub(cache),
            memory_limit: self.limit,
            network,
            block: host.read_kernel(&self.disks).map(|text| disks(&text)),
            ..Usage::default()
        })
    }
}

fn number(host: &dyn Host, path: &Path) -> Option<u64> {
    host.read_kernel(path)?.trim().parse().ok()
}

/// `key 123`, a line each.
fn line(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 ...`, a line for each disk.
fn io_stat(text: &str) -> Transferred {
    let of = |key: &str| {
        let all = text.split_whitespace().filter_map(|field| field.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        all.fold(0u64, u64::saturating_add)
    };
    Transferred { incoming: of("rbytes"), outgoing: of("wbytes") }
}

/// `8:0 Read 1`, a line for each disk and what was done.
fn io_service_bytes(text: &str) -> Transferred {
    let of = |wanted: &str| {
        let all = text.lines().filter_map(|line| line.split_once(' ')?.1.strip_prefix(wanted)?.trim().parse().ok());
        all.fold(0u64, u64::saturating_add)
    };
    Transferred { incoming: of("Read "), outgoing: of("Write ") }
}

/// proc_pid_net(5): bytes received are the first of sixteen numbers, bytes sent the ninth.
fn net_dev(text: &str) -> Transferred {
    let mut sum = Transferred::default();
    for (interface, numbers) in text.lines().filter_map(|line| line.split_once(':')) {
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        if let ([incoming, ..], Some(outgoing)) = (numbers.as_slice(), numbers.get(8))
            && interface.trim() != "lo"
        {
            sum.incoming = sum.incoming.saturating_add(*incoming);
            sum.outgoing = sum.outgoing.saturating_add(*outgoing);
        }
    }
    sum
}

/// Of proc_pid_stat(5), with that of its children that have ended.
fn cpu_time(stat: &str) -> Option<Duration> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    let ticks = (ticks.len() == 4).then(|| ticks.iter().fold(0u64, |sum, ticks| sum.saturating_add(*ticks)))?;
    Some(TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)))
}

/// `VmRSS:  123 kB`
fn resident(status: &str) -> Option<u64> {
    let text = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    text.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the whole machine has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MachineCounters {
    cpus: usize,
    /// In units that need not be known: only their relation counts.
    busy: u64,
    whole: u64,
    memory: u64,
    memory_used: u64,
}

/// The machine that macula runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct MachineUsage {
    pub cpus: usize,
    /// 100 is one core.
    pub cpu_percent: f64,
    /// Bytes.
    pub memory: u64,
    /// Bytes that cannot be had without swapping.
    pub memory_used: u64,
}

/// Nothing where the kernel does not say.
pub(super) fn machine_counters(host: &dyn Host) -> Option<MachineCounters> {
    let (stat, memory) = (host.read_kernel(Path::new("/proc/stat"))?, host.read_kernel(Path::new("/proc/meminfo"))?);
    machine(&stat, &memory)
}

/// proc_stat(5) and proc_meminfo(5).
fn machine(stat: &str, meminfo: &str) -> Option<MachineCounters> {
    let times: Vec<u64> =
        stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().filter_map(|time| time.parse().ok()).collect();
    // what guests have used is counted as the user's already
    let whole = times.iter().take(8).fold(0u64, |sum, time| sum.saturating_add(*time));
    // idle, and waiting for a disk
    let idle = times.iter().skip(3).take(2).fold(0u64, |sum, time| sum.saturating_add(*time));
    let cpus = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count();
    let kib = |key: &str| {
        let text = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        text.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let memory = kib("MemTotal:")?;
    let memory_used = memory.saturating_sub(kib("MemAvailable:")?);
    Some(MachineCounters { cpus, busy: whole.saturating_sub(idle), whole, memory, memory_used })
}

/// Pure.
pub(super) fn machine_usage(before: &MachineCounters, after: &MachineCounters) -> MachineUsage {
    let (busy, whole) = (after.busy.saturating_sub(before.busy), after.whole.saturating_sub(before.whole));
    let share = if whole == 0 { 0.0 } else { busy as f64 / whole as f64 };
    MachineUsage {
        cpus: after.cpus,
        cpu_percent: share * after.cpus as f64 * 100.0,
        memory: after.memory,
        memory_used: after.memory_used,
    }
}

#[cfg(test)]
mod tests;
