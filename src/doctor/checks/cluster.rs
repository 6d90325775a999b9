//! What only a cluster needs. Nothing here fails unless one is wanted at once: the platform comes up
//! without.

use crate::cluster::kind::{PINNED_VERSION, asset, find, too_old};
use crate::doctor::context::Context;
use crate::doctor::{Fix, Verdict, install};
use crate::model::{EngineKind, macula};

/// Where the dockerd of a system writes its pid to, and where it listens.
const PID_FILE: &str = "/run/docker.pid";
const SOCKETS: [&str; 2] = ["/run/docker.sock", "/var/run/docker.sock"];

/// A privileged container gets every capability that the kernel knows. An engine that lacks one itself
/// (in a container, in a sandbox) cannot give it.
pub(in crate::doctor) async fn privileged(context: &Context<'_>) -> Verdict {
    if context.want.cluster.is_none() {
        return Verdict::skipped("no cluster is wanted");
    }
    if context.remote() || context.machine.os != "linux" {
        return Verdict::skipped("the engine's machine cannot be seen from here");
    }
    match context.facts().await {
        Ok(facts) if facts.engine_kind == EngineKind::Podman || facts.rootless => {
            return Verdict::skipped("only trying would tell with a rootless engine or Podman");
        }
        // another engine beside the system's has its own process, which this file is not about
        Ok(facts) if facts.socket.as_deref().is_some_and(|socket| !SOCKETS.contains(&socket)) => {
            return Verdict::skipped("the engine's process is not known");
        }
        Ok(_) => {}
        Err(reason) => return Verdict::skipped(reason.clone()),
    }
    let text = |path: String| async move {
        context.host.read(path.as_ref()).await.ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let pid = text(PID_FILE.to_owned()).await.and_then(|pid| pid.trim().parse::<u32>().ok());
    let Some(pid) = pid else { return Verdict::skipped("the engine's process is not known") };
    let status = text(format!("/proc/{pid}/status")).await.unwrap_or_default();
    let last = text("/proc/sys/kernel/cap_last_cap".to_owned()).await.and_then(|last| last.trim().parse::<u32>().ok());
    let bounding = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
    let (Some(last), Some(bounding)) = (last.filter(|last| *last < 64), bounding) else {
        return Verdict::skipped("the engine's rights cannot be read");
    };
    let missing: Vec<String> = (0..=last).filter(|number| bounding >> number & 1 == 0).map(capability).collect();
    if missing.is_empty() {
        return Verdict::ok("the engine has every right that it would give");
    }
    let summary = format!(
        "the engine lacks {}: it runs privileged containers only if its runtime asks for fewer rights",
        missing.join(", ")
    );
    Verdict::warning(summary).fix(Fix::advice(
        "run the engine outside the container or sandbox that drops it, or do without a cluster: \
         `cluster: {enabled: false}` in macula.yaml",
    ))
}

/// capabilities(7), by number.
fn capability(number: u32) -> String {
    const NAMES: [&str; 41] = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let known = usize::try_from(number).ok().and_then(|number| NAMES.get(number));
    known.map_or_else(|| format!("capability {number}"), |name| format!("CAP_{name}"))
}

pub(in crate::doctor) async fn program(context: &Context<'_>) -> Verdict {
    let Some(cluster) = &context.want.cluster else { return Verdict::skipped("no cluster is wanted") };
    let create = context.line(macula("cluster create --yes"));
    let fetches = format!("`{create}` fetches kind {PINNED_VERSION} and checks it");
    if let Some(found) = find(context.host, cluster.program.as_deref()).await {
        if let Some(said) = too_old(context.host, &found).await {
            return Verdict::warning(format!("{} ({said}) is too old to make a cluster", found.display()))
                .fix(Fix::advice(fetches));
        }
        return Verdict::ok(found.display().to_string());
    }
    if let Some(chosen) = &cluster.program {
        return Verdict::warning(format!("{chosen} was not found; macula.yaml or MACULA_KIND names it"))
            .fix(Fix::advice("name another one, or none: kind is looked for on the PATH then"));
    }
    let verdict = Verdict::warning("kind was not found; clusters need it");
    if asset(&context.machine.os, &context.machine.arch).is_some() {
        return verdict.fix(Fix::advice(format!("{fetches}; or install it yourself")));
    }
    verdict.fix(install::packages(context.host, &["kind"]))
}

pub(in crate::doctor) async fn ingress(context: &Context<'_>) -> Verdict {
    match context.want.cluster.as_ref().map(|cluster| cluster.ingress.as_str()) {
        None => Verdict::skipped("no cluster is wanted"),
        Some("nginx") => Verdict::ok("ingress-nginx, which gets no more releases").detail([
            "its makers have ended it in March 2026; what there is goes on working",
            "`cluster: {ingress: traefik}` in macula.yaml takes Traefik",
        ]),
        Some(other) => Verdict::ok(other.to_owned()),
    }
}
