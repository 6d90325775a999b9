//! Disk, memory, kernel, clock and home of this machine.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::changes::{Change, Effect, SYSCTL_FILE};
use crate::doctor::context::Context;
use crate::doctor::{Action, Fix, Verdict};
use crate::host::{Command, kept};
use crate::model::macula;
use crate::words;

/// Below this the engine can hardly start a container, and we cannot write our own files.
const NO_ROOM: u64 = 256 << 20;
/// What the images of the built-in services take, built or pulled.
const ROOM_FOR_IMAGES: u64 = 4 << 30;
/// Our own files are small, but a log may grow.
const ROOM_FOR_FILES: u64 = 512 << 20;

pub(in crate::doctor) async fn disk(context: &Context<'_>) -> Verdict {
    let data = context.host.folders().data;
    let ours = format!(
        "free space on the disk of {0} (`du -xhd1 ~ | sort -h` shows what takes it), or set XDG_DATA_HOME to a folder on \
         another one before the first `up`",
        data.display()
    );
    let mut places = vec![("our files", data, ROOM_FOR_FILES, ours)];
    if let Ok(facts) = context.facts().await
        && let Some(root) = facts.data_root.as_ref().filter(|_| !context.remote())
        && context.host.exists(Path::new(root)).await
    {
        let prune = "`docker system df` shows what the engine keeps; `docker image prune` and `docker builder prune` free \
                     what is used by nothing";
        places.insert(0, ("the engine", root.into(), context.want.disk.max(ROOM_FOR_IMAGES), prune.to_owned()));
    }
    let mut lines = Vec::new();
    let mut advice = Vec::new();
    let mut none = false;
    for (whose, path, needed, remedy) in places {
        match context.host.disk(&path).await {
            Ok(disk) => {
                none |= disk.available < NO_ROOM;
                advice.extend((disk.available < needed).then_some(remedy));
                let free = words::memory(disk.available);
                lines.push(format!("{free} free for {whose} ({}), {} wanted", path.display(), words::memory(needed)));
            }
            Err(error) => lines.push(error.to_string()),
        }
    }
    if advice.is_empty() {
        return Verdict::ok(lines.join("; "));
    }
    let verdict = if none { Verdict::failed("the disk is full") } else { Verdict::warning("little space is left") };
    verdict.detail(lines).fix(Fix::advice(advice.join("; ")))
}

const LEAVE_OUT: &str = "leave services out: `services: {NAME: {enabled: false}}` in macula.yaml";

pub(in crate::doctor) async fn memory(context: &Context<'_>) -> Verdict {
    let wanted = context.want.memory;
    let (total, available) = (context.machine.memory_total, context.machine.memory_available);
    if wanted == 0 {
        return Verdict::ok(format!("{} available of {}", words::memory(available), words::memory(total)));
    }
    // what already runs of ours has its memory
    let running = context.ours().await.as_ref().is_ok_and(|ours| !ours.is_empty());
    if let Ok(facts) = context.facts().await
        && facts.memory > 0
        && facts.memory < wanted
    {
        // an engine without a virtual machine tells the memory of this machine
        let here = context.machine.os == "linux" && !context.remote() && facts.memory.abs_diff(total) <= total / 20;
        let (has, wants) = (words::memory(facts.memory), words::memory(wanted));
        if !here {
            return Verdict::warning(format!("the engine has {has} of memory, {wants} are wanted"))
                .fix(Fix::advice(format!("give its virtual machine more, or {LEAVE_OUT}")));
        }
        if !running {
            return Verdict::warning(format!("this machine has {has} of memory in all, {wants} are wanted"))
                .fix(Fix::advice(LEAVE_OUT));
        }
    }
    if context.remote() {
        return Verdict::skipped("the engine is on another machine");
    }
    if available < wanted && !running {
        return Verdict::warning(format!(
            "{} of memory are available, {} are wanted",
            words::memory(available),
            words::memory(wanted)
        ))
        .fix(Fix::advice(format!("close something, or {LEAVE_OUT}")));
    }
    Verdict::ok(format!(
        "{} available of {}, {} wanted",
        words::memory(available),
        words::memory(total),
        words::memory(wanted)
    ))
}

/// What the nodes of a cluster and their log collectors need together (kind's known issues).
const WATCHES: u64 = 524_288;
const INSTANCES: u64 = 512;

pub(in crate::doctor) async fn inotify(context: &Context<'_>) -> Verdict {
    const SETTINGS: [(&str, u64); 2] =
        [("fs.inotify.max_user_watches", WATCHES), ("fs.inotify.max_user_instances", INSTANCES)];
    if context.machine.os != "linux" || context.remote() {
        return Verdict::skipped("the engine's kernel is not this machine's");
    }
    let mut lines = Vec::new();
    let mut low = Vec::new();
    let mut wanted_values = Vec::new();
    for (name, wanted) in SETTINGS {
        match context.host.sysctl(name).await.map(|value| value.parse::<u64>()) {
            Ok(Ok(value)) => {
                lines.push(format!("{name} is {value}, a cluster wants {wanted}"));
                wanted_values.push((name, value.max(wanted)));
                if value < wanted {
                    low.push((name, wanted.to_string()));
                }
            }
            Ok(Err(_)) => return Verdict::skipped(format!("{name} is not a number")),
            Err(error) => return Verdict::skipped(error.to_string()),
        }
    }
    if low.is_empty() {
        return Verdict::ok("enough file watches for a cluster");
    }
    if context.want.cluster.is_none() {
        return Verdict::ok("enough file watches without a cluster").detail(lines);
    }
    let verdict =
        Verdict::warning("too few file watches for a cluster: its pods would fail with \"too many open files\"");
    let there = match kept::read(context.host, Path::new(SYSCTL_FILE)).await {
        Ok(there) => String::from_utf8_lossy(&there.unwrap_or_default()).into_owned(),
        Err(error) => return verdict.detail(lines).detail([error.to_string()]),
    };
    let now = Action::Change(Change::settings(&low, true));
    let keep = Action::Change(Change::file(SYSCTL_FILE, with_values(&there, &wanted_values)));
    verdict.detail(lines).fix(Fix {
        text: format!("raise the limits, and keep them raised in {SYSCTL_FILE}"),
        actions: vec![now, keep],
        safe: true,
    })
}

/// The file of the kernel's values with these in it: all of them, whichever were low, since the file is what the next boot
/// sets. Other lines stay, and no value becomes lower than it was there.
fn with_values(there: &str, values: &[(&str, u64)]) -> String {
    let value_of = |line: &str, name: &str| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim().parse::<u64>().ok()).flatten()
    };
    let is_one = |line: &str| values.iter().any(|(name, _)| value_of(line, name).is_some());
    let others = there.lines().filter(|line| !is_one(line)).map(str::to_owned);
    let ours = values.iter().map(|(name, value)| {
        let before = there.lines().filter_map(|line| value_of(line, name)).max();
        format!("{name}={}", before.unwrap_or_default().max(*value))
    });
    others.chain(ours).fold(String::new(), |text, line| text + &line + "\n")
}

/// The first minor version of Kubernetes whose kubelet refuses cgroup v1 unless told otherwise.
const KUBELET_WITHOUT_CGROUP_V1: u32 = 35;

pub(in crate::doctor) async fn cgroup(context: &Context<'_>) -> Verdict {
    let engine = context.facts().await.as_ref().ok().and_then(|facts| facts.cgroup_version);
    let own = context.machine.cgroup_version.filter(|_| context.machine.os == "linux" && !context.remote());
    let Some(version) = engine.or(own) else { return Verdict::skipped("not to be seen from here") };
    let Some(cluster) = context.want.cluster.as_ref().filter(|_| version == 1) else {
        return Verdict::ok(format!("cgroup v{version}"));
    };
    if cluster.minor < KUBELET_WITHOUT_CGROUP_V1 {
        return Verdict::ok(format!("cgroup v1, which Kubernetes 1.{} still takes", cluster.minor));
    }
    if cluster.accepts_cgroup_v1 {
        return Verdict::warning(format!(
            "cgroup v1: the kubelet of Kubernetes 1.{} is told to put up with it",
            cluster.minor
        ));
    }
    Verdict::failed(format!("cgroup v1: the kubelet of Kubernetes 1.{} refuses to start", cluster.minor)).fix(
        Fix::advice(format!(
            "boot with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line, or take an older node \
             (`cluster: {{node_image: kindest/node:v1.34.11}}` in macula.yaml), or none (`{}`)",
            context.line(macula("up --no-cluster"))
        )),
    )
}

/// Files that the system writes now and then: a clock that is behind them is behind the truth.
const WITNESSES: [&str; 6] = [
    "/var/lib/dpkg/status",
    "/var/lib/apt/extended_states",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/pacman/local/ALPM_DB_VERSION",
    "/etc/resolv.conf",
    "/etc/passwd",
];
/// No machine on which this version runs lives before it was written: 1 January 2026.
const EARLIEST: i64 = 1_767_225_600;
/// Less than this is rounding, or a clock that is just being set.
const TOLERANCE: i64 = 60;

pub(in crate::doctor) async fn clock(context: &Context<'_>) -> Verdict {
    let now = context.host.now();
    let set = || {
        let command = if context.machine.wsl {
            Command::new("hwclock", ["--hctosys"])
        } else {
            Command::new("timedatectl", ["set-ntp", "true"])
        };
        let text = "set the clock by the network, or by the machine's own".to_owned();
        let known = context.machine.wsl || context.machine.systemd;
        let how = (!context.machine.wsl).then(|| ["timedatectl", "set-ntp", "false"].map(str::to_owned).into());
        let lasting = how.is_some();
        let effect = Effect::Other { what: "the clock was set".to_owned(), how, lasting };
        let change = Change { command: command.privileged(), effect };
        let actions = if known { vec![Action::Change(change)] } else { Vec::new() };
        let text = if known { text } else { "set it: `sudo date -s '2026-01-31 12:00'`".to_owned() };
        Fix { text, actions, safe: true }
    };
    let consequence = "certificates and signed package lists of the right time count as not yet valid";
    let mut latest = (EARLIEST, "this version of macula");
    for path in WITNESSES {
        if let Ok(time) = context.host.modified(Path::new(path)).await
            && time > latest.0
        {
            latest = (time, path);
        }
    }
    if latest.0 > now + TOLERANCE {
        return Verdict::warning(format!(
            "the clock is behind, by {} at least",
            words::span((latest.0 - now).unsigned_abs())
        ))
        .detail([format!("{} is from later than now", latest.1), consequence.to_owned()])
        .fix(set());
    }
    let started = context.ours().await.as_ref().map(Vec::as_slice).unwrap_or_default();
    if let Some(ahead) = started.iter().filter_map(|container| container.started_at).max()
        && ahead > now + TOLERANCE
    {
        return Verdict::warning(format!(
            "the engine's clock is ahead of ours by {} at least",
            words::span((ahead - now).unsigned_abs())
        ))
        .detail(["a virtual machine's clock drifts while the computer sleeps"])
        .fix(Fix::advice("restart the engine's virtual machine, or set the clock that is wrong"));
    }
    if context.thorough && context.machine.systemd {
        let ask = Command::new("timedatectl", ["show", "-p", "NTPSynchronized", "--value"])
            .timeout(Duration::from_secs(2))
            .may_fail();
        return match context.host.run(&ask).await.map(|output| output.stdout().trim().to_owned()).as_deref() {
            Ok("yes") => Verdict::ok("right, and kept so by the network"),
            Ok("no") => Verdict::ok("right, as far as this machine can tell; nothing keeps it so"),
            _ => Verdict::ok("right, as far as this machine can tell"),
        };
    }
    Verdict::ok("right, as far as this machine can tell")
}

pub(in crate::doctor) async fn home(context: &Context<'_>) -> Verdict {
    let folders = context.host.folders();
    let mut failed: Vec<String> = Vec::new();
    for folder in [&folders.data, &folders.cache] {
        let error = probe(context, folder).await.err().map(|error| error.to_string());
        // often both lie below the folder that is at fault
        failed.extend(error.filter(|error| !failed.contains(error)));
    }
    if failed.is_empty() {
        return Verdict::ok(format!("{} and {} can be written", folders.data.display(), folders.cache.display()));
    }
    let user = &context.machine.user;
    Verdict::failed("our own folders cannot be written").detail(failed).fix(Fix::advice(format!(
        "see that they belong to {user} (`ls -ld {}`), or name others with XDG_DATA_HOME and XDG_CACHE_HOME",
        folders.home.display()
    )))
}

async fn probe(context: &Context<'_>, folder: &Path) -> io::Result<()> {
    let file = folder.join(".writable");
    context.host.write(&file, b"", 0o600).await?;
    context.host.remove(&file).await
}
