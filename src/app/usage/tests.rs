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
        &[("a", "web", usage(1500, Some(4500))), ("b", "web", usage(100, None)), ("7", "api", usage(9000, Some(9)))],
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
    let look = |user, idle| machine(&format!("cpu  {user} 0 0 {idle} 0 0 0 0 9 9\ncpu0 1\ncpu1 2\nintr 5\n"), meminfo);
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
    let counters = MachineCounters { cpus: 3, busy: 231, whole: 255, memory: 8000 * 1024, memory_used: 6000 * 1024 };
    assert_eq!(machine_counters(&host.file("/proc/meminfo", meminfo)), Some(counters));
    assert_eq!(machine("", meminfo), None);
    assert_eq!(machine("cpu  1 2 3 4 5\n", ""), None);
}
