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
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    const ID: &str = "0dc6041fcacba01d6b1075c6224e4fb6cd93d93d1504e4b52f6e6c472d46b6b5";

    fn of_group(host: &dyn Host, id: &str, own_network: bool, memory: u64) -> Option<Usage> {
        Group::find(host, id, own_network, memory)?.read(host)
    }

    #[tokio::test]
    async fn the_kernel_says_what_a_container_uses() {
        let gib = 1 << 30;
        let whole = 8 * gib;
        let at = |part: &str, file: &str| format!("/sys/fs/cgroup/{part}/{file}").replace("ID", ID);
        let new = |file| at("system.slice/docker-ID.scope", file);
        let version_2 = FakeHost::new()
            .file(new("cpu.stat"), "usage_usec 1750000\nuser_usec 1\n")
            .file(new("memory.current"), "5000\n")
            .file(new("memory.stat"), "anon 4000\ninactive_file 1000\n")
            .file(new("memory.max"), format!("{gib}\n"));
        let cpu = Duration::from_millis(1750);
        let limited = Usage { cpu, memory: 4000, memory_limit: gib, ..Usage::default() };
        assert_eq!(of_group(&version_2, ID, false, whole), Some(limited));
        let free = version_2.file(new("memory.max"), "max\n");
        assert_eq!(of_group(&free, ID, false, whole), Some(Usage { memory_limit: whole, ..limited }));
        // in a network of its own, and with a disk
        let more = free
            .file(new("io.stat"), "8:0 rbytes=100 wbytes=200 rios=1\n8:16 rbytes=1 wbytes=2\n")
            .file(new("cgroup.procs"), "77\n78\n")
            .file("/proc/77/net/dev", NET_DEV);
        let block = Some(Transferred { incoming: 101, outgoing: 202 });
        let network = Some(Transferred { incoming: 1011, outgoing: 2022 });
        assert_eq!(of_group(&more, ID, true, whole), Some(Usage { memory_limit: whole, block, network, ..limited }));
        assert_eq!(of_group(&more, ID, false, whole).unwrap().network, None, "the machine's own network");

        let old = |controller: &str, file| at(&format!("{controller}/docker/ID"), file);
        let version_1 = FakeHost::new()
            .file(old("cpu,cpuacct", "cpuacct.usage"), "1750000000\n")
            .file(old("memory", "memory.usage_in_bytes"), "5000\n")
            .file(old("memory", "memory.stat"), "inactive_file 7\ntotal_inactive_file 1000\n")
            .file(old("memory", "memory.limit_in_bytes"), "9223372036854771712\n")
            .file(old("blkio", "blkio.throttle.io_service_bytes"), "8:0 Read 5\n8:0 Write 6\n8:0 Total 11\nTotal 11\n");
        let block = Some(Transferred { incoming: 5, outgoing: 6 });
        assert_eq!(of_group(&version_1, ID, false, whole), Some(Usage { memory_limit: whole, block, ..limited }));
        // an engine elsewhere, and what is no id
        assert_eq!(of_group(&FakeHost::new(), ID, false, whole), None);
        assert_eq!(of_group(&version_1, "../../docker/x", false, whole), None);
    }

    const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9999 1 0 0 0 0 0 0 9999 1 0 0 0 0 0 0
  eth0: 1000 9 0 0 0 0 0 0 2000 8 0 0 0 0 0 0
eth1:11 1 0 0 0 0 0 0 22 1 0 0 0 0 0 0
";

    fn subject(name: &str) -> Subject {
        Subject::Service(name.to_owned())
    }

    fn at(begun: Instant, millis: u64, of: &[(&str, &str, Usage)]) -> Sample {
        let of = of.iter().map(|(id, name, usage)| ((*id).to_owned(), (subject(name), *usage))).collect();
        Sample { at: begun + Duration::from_millis(millis), of }
    }

    #[test]
    fn the_use_of_a_core_is_the_difference_of_two_looks() {
        let look = |cpu, at: Option<u64>| Usage {
            cpu: Duration::from_millis(cpu),
            at: at.map(Duration::from_millis),
            ..Usage::default()
        };
        let elapsed = Duration::from_millis(250);
        let percent = |first, second, elapsed| between(&first, &second, elapsed).cpu_percent;
        assert_eq!(percent(look(1000, None), look(1125, None), elapsed), 50.0);
        assert_eq!(percent(look(1000, Some(0)), look(1750, Some(500)), elapsed), 150.0);
        // a new container in its place
        assert_eq!(percent(look(1000, None), look(10, None), elapsed), 0.0);
        assert_eq!(percent(look(0, None), look(1, None), Duration::ZERO), 0.0);
        // an engine whose clock stands still or runs backwards has none
        for (before, after) in [(500, 500), (500, 400)] {
            assert_eq!(percent(look(0, Some(before)), look(125, Some(after)), elapsed), 50.0);
        }
        assert_eq!(percent(look(0, Some(500)), look(125, None), elapsed), 50.0);
    }

    #[test]
    fn the_containers_of_a_service_count_together_and_a_new_one_from_now_on() {
        let usage = |cpu, sent: Option<u64>| Usage {
            cpu: Duration::from_millis(cpu),
            memory: 100,
            memory_limit: 1000,
            network: sent.map(|sent| Transferred { incoming: 2 * sent, outgoing: sent }),
            ..Usage::default()
        };
        let begun = Instant::now();
        let before = at(
            begun,
            0,
            &[("a", "web", usage(1000, Some(500))), ("b", "web", usage(0, None)), ("c", "gone", usage(1, None))],
        );
        let after = at(
            begun,
            2000,
            &[
                ("a", "web", usage(1500, Some(4500))),
                ("b", "web", usage(100, None)),
                ("7", "api", usage(9000, Some(9))),
            ],
        );
        let all = rates(&before, &after);
        assert_eq!(all.keys().cloned().collect::<Vec<_>>(), ["api", "web"].map(subject));
        let web = all[&subject("web")];
        assert_eq!((web.cpu_percent, web.memory, web.memory_limit), (30.0, 200, 2000));
        assert_eq!((web.received_per_second, web.sent_per_second), (Some(4000), Some(2000)));
        assert_eq!((web.read_per_second, web.written_per_second), (None, None));
        let api = all[&subject("api")];
        assert_eq!((api.cpu_percent, api.sent_per_second, api.memory), (0.0, Some(0), 100));
    }

    #[test]
    fn what_is_not_counted_of_one_is_known_of_both_by_the_other() {
        let rates = |counted: [Option<u64>; 4]| {
            let [received_per_second, sent_per_second, read_per_second, written_per_second] = counted;
            let (cpu_percent, memory, memory_limit) = (25.0, 3, 9);
            Rates {
                cpu_percent,
                memory,
                memory_limit,
                received_per_second,
                sent_per_second,
                read_per_second,
                written_per_second,
            }
        };
        let mut sum = rates([Some(1), Some(2), None, None]);
        sum.add(&rates([Some(10), None, Some(20), None]));
        let expected =
            Rates { cpu_percent: 50.0, memory: 6, memory_limit: 18, ..rates([Some(11), Some(2), Some(20), None]) };
        assert_eq!(sum, expected);
    }

    #[test]
    fn disks_and_networks_are_summed_up() {
        let usage =
            |disk: u64| Usage { block: Some(Transferred { incoming: disk, outgoing: 10 * disk }), ..Usage::default() };
        let rates = between(&usage(100), &usage(160), Duration::from_millis(500));
        assert_eq!((rates.read_per_second, rates.written_per_second), (Some(120), Some(1200)));
        // it has begun again
        let rates = between(&usage(100), &usage(60), Duration::from_millis(500));
        assert_eq!((rates.read_per_second, rates.written_per_second), (Some(0), Some(0)));
        assert_eq!(net_dev(NET_DEV), Transferred { incoming: 1011, outgoing: 2022 });
        assert_eq!(net_dev("eth0: 1 2 3 4 5 6 7 8\n"), Transferred::default());
        assert_eq!(io_stat("8:0 rbytes=1 wbytes=2\n8:16 wbytes=4 rios=8\n"), Transferred { incoming: 1, outgoing: 6 });
        assert_eq!(
            io_service_bytes("8:0 Read 1\n8:0 Sync 9\n8:16 Read 2\n8:16 Write 4\nTotal 16\n"),
            Transferred { incoming: 3, outgoing: 4 }
        );
    }

    #[test]
    fn only_what_runs_is_looked_at() {
        let states = [
            ContainerState::Created,
            ContainerState::Running,
            ContainerState::Paused,
            ContainerState::Restarting,
            ContainerState::Removing,
            ContainerState::Exited,
            ContainerState::Dead,
        ];
        let found = states.map(|state| ObservedContainer { state, ..ObservedContainer::default() });
        let left: Vec<ContainerState> = running(found.into()).iter().map(|found| found.state).collect();
        assert_eq!(left, [ContainerState::Running]);
    }

    #[tokio::test]
    async fn a_container_that_was_started_again_has_another_first_process() {
        let at = |file: &str| format!("/sys/fs/cgroup/docker/{ID}/{file}");
        let host = FakeHost::new()
            .file(at("cpu.stat"), "usage_usec 5\n")
            .file(at("memory.current"), "5000\n")
            .file(at("memory.stat"), "inactive_file 1000\n")
            .file(at("cgroup.procs"), "77\n")
            .file("/proc/77/net/dev", NET_DEV);
        let addresses = [("net".to_owned(), std::net::Ipv4Addr::LOCALHOST)].into();
        let container = ObservedContainer { id: ID.into(), addresses, ..ObservedContainer::default() };
        let mut meter = Meter::new(&host);
        let network = Some(Transferred { incoming: 1011, outgoing: 2022 });
        assert_eq!(meter.of_container(&host, &container).unwrap().network, network);
        assert_eq!(meter.groups.len(), 1, "it need not be looked for again");
        host.remove(Path::new("/proc/77/net/dev")).await.unwrap();
        host.put(at("cgroup.procs"), b"78\n");
        host.put("/proc/78/net/dev", NET_DEV.as_bytes());
        assert_eq!(meter.of_container(&host, &container).unwrap().network, network);
        assert_eq!(meter.groups[ID].network, Some("/proc/78/net/dev".into()));
    }

    #[tokio::test]
    async fn a_program_counts_with_its_process_group() {
        assert_eq!(cpu_time("7 (a) b) S 1 8 9 0 -1 4194560 1 0 0 0 10 20 3 4 20 0"), Some(Duration::from_millis(370)));
        assert_eq!(cpu_time("7 (a) S 1 8 9"), None);
        assert_eq!(resident("Name:\tx\nVmRSS:\t     123 kB\n"), Some(123 * 1024));
        let family = Family { group: Some(7), ..Family::default() };
        assert_eq!(Meter::default().of_program(&FakeHost::new(), "api", &family), None);
        let stat = "7 (api) S 1 7 7 0 -1 4194560 1 0 0 0 10 20 3 4 20 0";
        let host = FakeHost::new()
            .file("/proc/7/stat", stat)
            .file("/proc/7/status", "VmRSS:\t     4 kB\n")
            .file("/proc/7/io", "rchar: 9\nread_bytes: 100\nwrite_bytes: 200\n")
            // of another user
            .file("/proc/8/stat", stat)
            .file("/proc/8/status", "VmRSS:\t     8 kB\n")
            .file("/proc/9/stat", stat)
            .file("/proc/9/io", "read_bytes: 1\n");
        // the last one has ended
        let mut meter = Meter { memory: 1 << 30, ..Meter::default() };
        meter.members.insert("api".to_owned(), vec![7, 8, 9, 10]);
        let expected = Usage {
            cpu: Duration::from_millis(3 * 370),
            memory: 12 << 10,
            memory_limit: 1 << 30,
            block: Some(Transferred { incoming: 101, outgoing: 200 }),
            ..Usage::default()
        };
        assert_eq!(meter.of_program(&host, "api", &family), Some(expected));
    }

    #[test]
    fn the_machine_is_busy_when_it_is_not_idle() {
        let meminfo = "MemTotal:       8000 kB\nMemFree:         100 kB\nMemAvailable:   2000 kB\n";
        let look =
            |user, idle| machine(&format!("cpu  {user} 0 0 {idle} 0 0 0 0 9 9\ncpu0 1\ncpu1 2\nintr 5\n"), meminfo);
        let (before, after) = (look(100, 1000).unwrap(), look(150, 1150).unwrap());
        assert_eq!(
            machine_usage(&before, &after),
            MachineUsage { cpus: 2, cpu_percent: 50.0, memory: 8000 * 1024, memory_used: 6000 * 1024 }
        );
        assert_eq!(machine_usage(&after, &after).cpu_percent, 0.0);
        // eight kinds of time, of which the fourth and the fifth are idle, and what guests have used is in the first two
        let stat = "cpu  1 2 4 8 16 32 64 128 256 512\ncpu0 1\ncpu1 2\ncpu2 3\nintr 5\ncpu3 4\n";
        let host = FakeHost::new().file("/proc/stat", stat);
        assert_eq!(machine_counters(&host), None);
        let counters =
            MachineCounters { cpus: 3, busy: 231, whole: 255, memory: 8000 * 1024, memory_used: 6000 * 1024 };
        assert_eq!(machine_counters(&host.file("/proc/meminfo", meminfo)), Some(counters));
        assert_eq!(machine("", meminfo), None);
        assert_eq!(machine("cpu  1 2 3 4 5\n", ""), None);
    }
}
