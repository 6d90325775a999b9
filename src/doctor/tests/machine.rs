//! The machine: disk, memory, clock, and what is left on it.

use super::*;
use crate::changes::Effect;
use crate::model::Health;

#[tokio::test]
async fn disk_space() {
    let disk = |available: u64| Disk { total: 100 << 30, available };
    let little = FakeHost::new().folder("/var/lib/docker").disk_of("/var", disk(3 << 30));
    assert_snapshot!(case(little).find("disk-space").await, @r"
    warning: disk-space: little space is left
      3 GiB free for the engine (/var/lib/docker), 4 GiB wanted
      100 GiB free for our files (/home/dev/.local/share/macula), 512 MiB wanted
      fix: `docker system df` shows what the engine keeps; `docker image prune` and `docker builder prune` free what is used by nothing
    ");
    let full = FakeHost::new().full("/home");
    assert_snapshot!(case(full).find("disk-space").await, @r"
    failed: disk-space: the disk is full
      0 bytes free for our files (/home/dev/.local/share/macula), 512 MiB wanted
      fix: free space on the disk of /home/dev/.local/share/macula (`du -xhd1 ~ | sort -h` shows what takes it), or set XDG_DATA_HOME to a folder on another one before the first `up`
    ");
    let enough = FakeHost::new().folder("/var/lib/docker");
    assert_snapshot!(case(enough).find("disk-space").await, @"ok: disk-space: 100 GiB free for the engine (/var/lib/docker), 4 GiB wanted; 100 GiB free for our files (/home/dev/.local/share/macula), 512 MiB wanted");
}

#[tokio::test]
async fn memory() {
    let small = || FakeHost::new().facts_with(|facts| facts.memory_available = (1 << 30) + (1 << 29));
    assert_snapshot!(case(small()).find("memory").await, @r"
    warning: memory: 1.5 GiB of memory are available, 2 GiB are wanted
      fix: close something, or leave services out: `services: {NAME: {enabled: false}}` in macula.yaml
    ");
    let running = vec![container("macula-nginx-1", ContainerState::Running, &[])];
    assert_snapshot!(Case { ours: running, ..case(small()) }.find("memory").await, @"ok: memory: 1.5 GiB available of 16 GiB, 2 GiB wanted");
    let machine = Facts { memory: 1 << 30, ..docker() };
    assert_snapshot!(Case { facts: Some(machine), ..case(FakeHost::new()) }.find("memory").await, @r"
    warning: memory: the engine has 1 GiB of memory, 2 GiB are wanted
      fix: give its virtual machine more, or leave services out: `services: {NAME: {enabled: false}}` in macula.yaml
    ");
    // an engine of this machine itself
    let server = || {
        let host =
            FakeHost::new().facts_with(|facts| (facts.memory_total, facts.memory_available) = (1 << 30, 1 << 29));
        Case { facts: Some(Facts { memory: 1 << 30, ..docker() }), ..case(host) }
    };
    assert_snapshot!(server().find("memory").await, @r"
    warning: memory: this machine has 1 GiB of memory in all, 2 GiB are wanted
      fix: leave services out: `services: {NAME: {enabled: false}}` in macula.yaml
    ");
    let running = vec![container("macula-nginx-1", ContainerState::Running, &[])];
    assert_snapshot!(Case { ours: running, ..server() }.find("memory").await, @"ok: memory: 512 MiB available of 1 GiB, 2 GiB wanted");
    // what is wanted is enough, be it of the engine or of the machine
    let exact = FakeHost::new().facts_with(|facts| facts.memory_available = 2 << 30);
    let exact = Case { facts: Some(Facts { memory: 2 << 30, ..docker() }), ..case(exact) };
    assert_snapshot!(exact.find("memory").await, @"ok: memory: 2 GiB available of 16 GiB, 2 GiB wanted");
    // an engine that does not say
    let quiet = Case { facts: Some(Facts { memory: 0, ..docker() }), ..case(FakeHost::new()) };
    assert_snapshot!(quiet.find("memory").await, @"ok: memory: 12 GiB available of 16 GiB, 2 GiB wanted");
    let nothing = Case { want: Needs { memory: 0, ..needs() }, ..case(small()) };
    assert_snapshot!(nothing.find("memory").await, @"ok: memory: 1.5 GiB available of 16 GiB");
    let elsewhere = || vec![attempt("tcp://192.0.2.7:2375", Source::DockerHost, Ok(()))];
    let remote = Case { attempts: elsewhere(), ..case(small()) };
    assert_snapshot!(remote.find("memory").await, @"skipped: memory: the engine is on another machine");
    // the same memory on another machine, or another system, is another's; a twentieth is what the kernel keeps
    let total: u64 = 20 << 26;
    let apart = |change: fn(&mut crate::host::HostFacts), engine: u64| {
        let host = FakeHost::new().facts_with(|facts| facts.memory_total = 20 << 26).facts_with(change);
        Case { facts: Some(Facts { memory: engine, ..docker() }), ..case(host) }
    };
    for (case, whose) in [
        (apart(|_| (), total - total / 20), "this machine has"),
        (apart(|_| (), total - total / 20 - 1), "the engine has"),
        (apart(|facts| facts.os = "macos".into(), total), "the engine has"),
        (Case { attempts: elsewhere(), ..apart(|_| (), total) }, "the engine has"),
    ] {
        let found = case.find("memory").await;
        assert!(found.starts_with(&format!("warning: memory: {whose} 1.")), "{found}");
    }
}

#[tokio::test]
async fn inotify() {
    let low = || FakeHost::new().setting("fs.inotify.max_user_instances", "128");
    assert_snapshot!(Case { want: cluster(37, false), ..case(low()) }.find("inotify").await, @r#"
    warning: inotify: too few file watches for a cluster: its pods would fail with "too many open files"
      fs.inotify.max_user_watches is 524288, a cluster wants 524288
      fs.inotify.max_user_instances is 128, a cluster wants 512
      fix: raise the limits, and keep them raised in /etc/sysctl.d/99-macula.conf
        sudo sysctl -w fs.inotify.max_user_instances=512
        printf '%s\n' fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512 | sudo tee /etc/sysctl.d/99-macula.conf >/dev/null
    "#);
    // all of the values, whichever are low now: the next boot knows only the file; and what else stands there stays
    let file = "/etc/sysctl.d/99-macula.conf";
    let once = low().file(file, "# mine\nvm.swappiness=1\nfs.inotify.max_user_watches = 1048576\n");
    let case_of_it = Case { want: cluster(37, false), ..case(once) };
    let finding = case_of_it.findings(Selection::named(&["inotify"]).unwrap()).await.remove(0);
    assert_snapshot!(finding.fix.unwrap().actions[1], @r"printf '%s\n' '# mine' vm.swappiness=1 fs.inotify.max_user_watches=1048576 fs.inotify.max_user_instances=512 | sudo tee /etc/sysctl.d/99-macula.conf >/dev/null");
    assert_snapshot!(case(low()).find("inotify").await, @r"
    ok: inotify: enough file watches without a cluster
      fs.inotify.max_user_watches is 524288, a cluster wants 524288
      fs.inotify.max_user_instances is 128, a cluster wants 512
    ");
    assert_snapshot!(Case { want: cluster(37, false), ..case(FakeHost::new()) }.find("inotify").await, @"ok: inotify: enough file watches for a cluster");
}

#[tokio::test]
async fn cgroup() {
    let first = |want: Needs| {
        let facts = Facts { cgroup_version: Some(1), ..docker() };
        Case { want, facts: Some(facts), ..case(FakeHost::new()) }
    };
    assert_snapshot!(first(cluster(37, false)).find("cgroup").await, @r"
    failed: cgroup: cgroup v1: the kubelet of Kubernetes 1.37 refuses to start
      fix: boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line, or take an older node (`cluster: {node_image: kindest/node:v1.34.11}` in macula.yaml), or none (`macula up --no-cluster`)
    ");
    assert_snapshot!(first(cluster(37, true)).find("cgroup").await, @"warning: cgroup: cgroup v1: the kubelet of Kubernetes 1.37 is told to put up with it");
    assert_snapshot!(first(cluster(34, false)).find("cgroup").await, @"ok: cgroup: cgroup v1, which Kubernetes 1.34 still takes");
    assert_snapshot!(first(needs()).find("cgroup").await, @"ok: cgroup: cgroup v1");
    assert_snapshot!(Case { want: cluster(37, false), ..case(FakeHost::new()) }.find("cgroup").await, @"ok: cgroup: cgroup v2");
    // an engine elsewhere that does not say: what this machine has is another's
    let quiet = Some(Facts { cgroup_version: None, ..docker() });
    assert_snapshot!(Case { facts: quiet.clone(), ..case(FakeHost::new()) }.find("cgroup").await, @"ok: cgroup: cgroup v2");
    let attempts = vec![attempt("tcp://192.0.2.7:2375", Source::DockerHost, Ok(()))];
    assert_snapshot!(Case { facts: quiet, attempts, ..case(FakeHost::new()) }.find("cgroup").await, @"skipped: cgroup: not to be seen from here");
}

#[tokio::test]
async fn clock() {
    let behind = FakeHost::new().at(1_790_000_000).file_of("/var/lib/dpkg/status", "", 1_790_000_000 + 3 * 86400);
    assert_snapshot!(case(behind).find("clock").await, @r"
    warning: clock: the clock is behind, by 3 days at least
      /var/lib/dpkg/status is from later than now
      certificates and signed package lists of the right time count as not yet valid
      fix: set the clock by the network, or by the machine's own
        sudo timedatectl set-ntp true
    ");
    let reset = FakeHost::new().at(0).facts_with(|facts| facts.systemd = false);
    assert_snapshot!(case(reset).find("clock").await, @r"
    warning: clock: the clock is behind, by 56 years at least
      this version of macula is from later than now
      certificates and signed package lists of the right time count as not yet valid
      fix: set it: `sudo date -s '2026-01-31 12:00'`
    ");
    let ahead = ObservedContainer {
        started_at: Some(1_790_000_000 + 7200),
        ..container("macula-nginx-1", ContainerState::Running, &[])
    };
    assert_snapshot!(Case { ours: vec![ahead], ..case(FakeHost::new()) }.find("clock").await, @r"
    warning: clock: the engine's clock is ahead of ours by 2 hours at least
      a virtual machine's clock drifts while the computer sleeps
      fix: restart the engine's virtual machine, or set the clock that is wrong
    ");
    let alone = FakeHost::new().answer("timedatectl *", 0, "no\n", "");
    assert_snapshot!(case(alone).find("clock").await, @"ok: clock: right, as far as this machine can tell; nothing keeps it so");
    let kept = || FakeHost::new().answer("timedatectl *", 0, "yes\n", "");
    assert_snapshot!(case(kept()).find("clock").await, @"ok: clock: right, and kept so by the network");
    let right = "ok: clock: right, as far as this machine can tell";
    assert_eq!(Case { thorough: false, ..case(kept()) }.find("clock").await, right);
    let none = kept().facts_with(|facts| facts.systemd = false);
    assert_eq!(case(none).find("clock").await, right);
    // a minute is rounding, of the files as of the engine
    for (seconds, well) in [(60, true), (61, false)] {
        let time = 1_790_000_000 + seconds;
        let behind = case(FakeHost::new().file_of("/etc/passwd", "", time)).find("clock").await;
        let started =
            ObservedContainer { started_at: Some(time), ..container("macula-nginx-1", ContainerState::Running, &[]) };
        let ahead = Case { ours: vec![started], ..case(FakeHost::new()) }.find("clock").await;
        let first = [&behind, &ahead].map(|found| found.lines().next().unwrap_or_default());
        let expected = match well {
            true => [right; 2],
            false => [
                "warning: clock: the clock is behind, by 61 seconds at least",
                "warning: clock: the engine's clock is ahead of ours by 61 seconds at least",
            ],
        };
        assert_eq!(first, expected);
    }
}

#[tokio::test]
async fn a_clock_is_set_by_the_network_or_by_the_machine_below() {
    let fix = async |wsl: bool, systemd: bool| {
        let host = FakeHost::new().at(0).facts_with(|facts| (facts.wsl, facts.systemd) = (wsl, systemd));
        case(host).findings(Selection::named(&["clock"]).unwrap()).await.remove(0).fix.unwrap()
    };
    let set = |words: &[&str], how: Option<&[&str]>| {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (what, lasting) = ("the clock was set".to_owned(), how.is_some());
        let effect = Effect::Other { what, how: how.map(owned), lasting };
        let command = Command::new(words[0], words[1..].to_vec()).privileged();
        vec![Action::Change(Change { command, effect })]
    };
    let by_network = set(&["timedatectl", "set-ntp", "true"], Some(&["timedatectl", "set-ntp", "false"]));
    assert_eq!(fix(false, true).await.actions, by_network);
    // there is nothing to take back of a clock that was set once
    let below = set(&["hwclock", "--hctosys"], None);
    assert_eq!(fix(true, true).await.actions, below);
    assert_eq!(fix(true, false).await.actions, below);
    assert!(fix(false, false).await.actions.is_empty());
}

#[tokio::test]
async fn leftovers() {
    let data = "/home/dev/.local/share/macula";
    let lock = |pid| serde_json::to_vec(&Held { pid: Some(pid), command: "macula up".into(), since: 1 }).unwrap();
    let host = FakeHost::new()
        .process(4711)
        .file(format!("{data}/macula/lock"), lock(99))
        .file(format!("{data}/pr-123/lock"), lock(98))
        .file(format!("{data}/busy/lock"), lock(4711))
        // not a platform's: the changes that were made to this machine
        .file(format!("{data}/host.d/receipt.json"), "{}")
        .file(format!("{data}/macula/secrets/{}", temporary_name("postgres", 99, 3)), "half")
        .file(format!("{data}/macula/{}", temporary_name("receipt.json", 4711, 0)), "being written");
    let ours = vec![
        container("macula-loki-1", ContainerState::Created, &[]),
        container("macula-nginx-1", ContainerState::Running, &[]),
    ];
    assert_snapshot!(Case { ours: ours.clone(), ..case(host) }.find("leftovers").await, @r"
    warning: leftovers: an interrupted run left something behind
      `macula up` (pid 99) on the platform macula ended in the middle
      `macula up` (pid 98) on the platform pr-123 ended in the middle
      one file half written in /home/dev/.local/share/macula
      never started or half removed: macula-loki-1
      fix: the same again, or `macula up`, takes up where it ended; the same again, or `macula --name pr-123 up`, takes up where it ended; remove what is half written; `macula up` brings them up
        rm /home/dev/.local/share/macula/macula/secrets/.postgres.99-3.macula-tmp
    ");
    // the user works on one platform by its name and its file, and what is said of another has neither
    let both =
        FakeHost::new().file(format!("{data}/shop/lock"), lock(99)).file(format!("{data}/macula/lock"), lock(98));
    let name = PlatformName::new("shop").unwrap();
    let invocation = Invocation { name: Some(name), file: Some("ci/macula.yaml".into()), ..Invocation::default() };
    let want = Needs { platform: "shop".into(), invocation, ..needs() };
    let found = Case { want, ..case(both) }.find("leftovers").await;
    assert!(found.contains("or `macula --name shop --file ci/macula.yaml up`, takes up"), "{found}");
    assert!(found.contains("or `macula --name macula up`, takes up"), "{found}");
    // what was never started waits for a job that has failed
    let labelled = |name: &str, state, exit_code, key: &str, value: &str| ObservedContainer {
        labels: [(key.to_owned(), value.to_owned())].into(),
        exit_code,
        ..container(name, state, &[])
    };
    let after = |code| {
        vec![
            labelled("macula-job-1", ContainerState::Exited, Some(code), label::SERVICE, "job"),
            labelled("macula-app-1", ContainerState::Created, None, label::DEPENDS_ON, "db,job"),
        ]
    };
    let failed = Case { ours: after(4), ..case(FakeHost::new()) }.find("leftovers").await;
    assert_snapshot!(failed, @"ok: leftovers: no leftovers of an interrupted run");
    let done = Case { ours: after(0), ..case(FakeHost::new()) }.find("leftovers").await;
    assert!(done.contains("never started or half removed: macula-app-1"), "{done}");
    // nor is it when what it waits for waits itself, or runs and is not well
    let behind = |job: ObservedContainer| {
        let waits = labelled("macula-api-1", ContainerState::Created, None, label::SERVICE, "api");
        let labels = waits.labels.into_iter().chain([(label::DEPENDS_ON.to_owned(), "job".to_owned())]).collect();
        let app = labelled("macula-app-1", ContainerState::Created, None, label::DEPENDS_ON, "db,api");
        vec![job, ObservedContainer { labels, ..waits }, app]
    };
    let job = |state, exit_code, health| {
        let job = labelled("macula-job-1", state, exit_code, label::SERVICE, "job");
        ObservedContainer { health, ..job }
    };
    for (job, is_left) in [
        (job(ContainerState::Exited, Some(4), Health::None), false),
        (job(ContainerState::Restarting, Some(4), Health::None), false),
        (job(ContainerState::Running, None, Health::Unhealthy), false),
        (job(ContainerState::Running, None, Health::Starting), false),
        (job(ContainerState::Running, None, Health::Healthy), true),
        (job(ContainerState::Exited, Some(0), Health::None), true),
    ] {
        let told = format!("{job:?}");
        let found = Case { ours: behind(job), ..case(FakeHost::new()) }.find("leftovers").await;
        assert_eq!(found.contains("never started or half removed: macula-api-1, macula-app-1"), is_left, "{told}");
        assert_eq!(found == "ok: leftovers: no leftovers of an interrupted run", !is_left, "{told}");
    }
    // somebody is at work: what is created will be started
    let busy = FakeHost::new().file(format!("{data}/macula/lock"), lock(1));
    assert_snapshot!(Case { ours, ..case(busy) }.find("leftovers").await, @"ok: leftovers: no leftovers of an interrupted run");
}

#[tokio::test]
async fn state_files() {
    let data = "/home/dev/.local/share/macula/macula";
    let with = |name: &str, text: &str| case(FakeHost::new().file(format!("{data}/{name}"), text));
    for case in [case(FakeHost::new()), with("platform.json", r#"{"format": 99}"#)] {
        assert_eq!(case.find("state-files").await, "ok: state-files: the files of the platform can be read");
    }
    assert_snapshot!(with("platform.json", r#"{"version":1,"trunc"#).find("state-files").await, @r"
    failed: state-files: a file of the platform cannot be read
      /home/dev/.local/share/macula/macula/platform.json: EOF while parsing a string at line 1 column 19
      fix: move it away: the next `up` writes it again, with other addresses perhaps
    ");
    assert_snapshot!(with("secrets/secrets.json", "{}").find("state-files").await, @r"
    failed: state-files: a file of the platform cannot be read
      /home/dev/.local/share/macula/macula/secrets/secrets.json: it names no format
      fix: restore it from a backup; without one nothing opens the data any more: move the file away, and `down --volumes` removes the data, too
    ");
    assert_snapshot!(with("engines.json", "").find("state-files").await, @r"
    failed: state-files: a file of the platform cannot be read
      /home/dev/.local/share/macula/macula/engines.json: EOF while parsing a value at line 1 column 0
      fix: it was edited by hand or copied incompletely: restore it from a backup, or move it away
    ");
}

#[tokio::test]
async fn what_was_never_started_and_what_is_half_written_is_counted() {
    let data = "/home/dev/.local/share/macula";
    let held = |pid| serde_json::to_vec(&Held { pid, command: "macula down".into(), since: 1 }).unwrap();
    let host = FakeHost::new()
        .file(format!("{data}/macula/lock"), held(None))
        // that somebody works on another one is no reason
        .file(format!("{data}/other/lock"), held(Some(1)))
        .file(format!("{data}/macula/{}", temporary_name("receipt.json", 99, 0)), "")
        .file(format!("{data}/macula/secrets/{}", temporary_name("db", 99, 0)), "")
        .file(format!("{data}/macula/a/b/{}", temporary_name("deep", 99, 0)), "")
        .file(format!("{data}/macula/a/b/c/{}", temporary_name("deeper", 99, 0)), "");
    let ours = [
        ContainerState::Created,
        ContainerState::Running,
        ContainerState::Paused,
        ContainerState::Restarting,
        ContainerState::Removing,
        ContainerState::Exited,
        ContainerState::Dead,
    ];
    let ours = ours.into_iter().map(|state| container(&format!("macula-{state:?}-1").to_lowercase(), state, &[]));
    let found = Case { ours: ours.collect(), ..case(host) }.find("leftovers").await;
    assert_snapshot!(found, @r"
    warning: leftovers: an interrupted run left something behind
      `macula down` on the platform macula ended in the middle
      3 files half written in /home/dev/.local/share/macula
      never started or half removed: macula-created-1, macula-removing-1, macula-dead-1
      fix: the same again, or `macula up`, takes up where it ended; remove what is half written; `macula up` brings them up
        rm /home/dev/.local/share/macula/macula/.receipt.json.99-0.macula-tmp
        rm /home/dev/.local/share/macula/macula/a/b/.deep.99-0.macula-tmp
        rm /home/dev/.local/share/macula/macula/secrets/.db.99-0.macula-tmp
    ");
}

#[tokio::test]
async fn files_of_a_platform_that_the_engine_does_not_know() {
    use crate::engine::{Engine, fake::FakeEngine};
    let data = "/home/dev/.local/share/macula";
    let host = FakeHost::new()
        .file(format!("{data}/macula/receipt.json"), "{}")
        .file(format!("{data}/gone/receipt.json"), "{}")
        .file(format!("{data}/there/receipt.json"), "{}")
        .file(format!("{data}/never/platform.json"), "{}")
        .file(format!("{data}/host.d/receipt.json"), "{}");
    let engine: std::sync::Arc<dyn Engine> =
        std::sync::Arc::new(FakeEngine::new().with_volume("there-data", &[(label::PLATFORM, "there")]));
    let want = needs();
    let mut all = Vec::new();
    for (engine, thorough) in [(Some(engine.clone()), true), (Some(engine), false), (None, true)] {
        let system = System {
            host: std::sync::Arc::new(host.clone()),
            engine,
            discovery: Discovery { attempts: used() },
            reach: std::sync::Arc::new(crate::system::OverNetwork),
        };
        let context = Context::new(&system, &want, thorough);
        all.extend(look(&context, &Selection::named(&["leftovers"]).unwrap(), &|_| ()).await);
    }
    let lines: Vec<String> = all.iter().map(Finding::to_string).collect();
    assert_snapshot!(lines.join("\n"), @r"
    warning: leftovers: an interrupted run left something behind
      the platform gone is gone from the engine, but its files are still on this machine
      fix: `macula --name gone down` removes them
    ok: leftovers: no leftovers of an interrupted run
    ok: leftovers: no leftovers of an interrupted run
    ");
}

#[tokio::test]
async fn home_writable() {
    assert_snapshot!(case(FakeHost::new().read_only("/home/dev/.local")).find("home-writable").await, @r"
    failed: home-writable: our own folders cannot be written
      cannot write /home/dev/.local/share/macula/.writable: permission denied
      fix: see that they belong to dev (`ls -ld /home/dev`), or name others with XDG_DATA_HOME and XDG_CACHE_HOME
    ");
    let host = FakeHost::new();
    assert_snapshot!(case(host.clone()).find("home-writable").await, @"ok: home-writable: /home/dev/.local/share/macula and /home/dev/.cache/macula can be written");
    assert_eq!(host.paths(), [""; 0].map(PathBuf::from));
}
