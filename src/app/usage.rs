//! What containers use: the kernel's own counters where they can be read, else the engine's. Docker 20.10
//! gives its counters once a second to whoever waits for them, the kernel at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;

use crate::engine::{Containers, Usage};
use crate::host::Host;
use crate::model::ObservedContainer;

/// Where the control group of a container lies, by its id: Docker with either driver, Podman.
const SCOPES: [&str; 4] = [
    "docker/ID",
    "system.slice/docker-ID.scope",
    "machine.slice/libpod-ID.scope/container",
    "machine.slice/libpod-ID.scope",
];
const ROOT: &str = "/sys/fs/cgroup";

/// One look at each, in their order, all at once. One that ends meanwhile has no figures, and that is no
/// failure of the look.
pub(super) async fn counters(
    engine: &dyn Containers,
    host: &dyn Host,
    running: &[ObservedContainer],
) -> Vec<Option<Usage>> {
    let look = |container: &ObservedContainer| {
        let (id, name) = (container.id.clone(), container.name.clone());
        async move {
            match of_group(host, &id).await {
                Some(usage) => Some(usage),
                None => engine.usage(&name).await.ok(),
            }
        }
    };
    join_all(running.iter().map(look)).await
}

/// From the container's control group, where the engine runs on this machine.
async fn of_group(host: &dyn Host, id: &str) -> Option<Usage> {
    // a name in a path: nothing but an id may get there
    if id.len() < 12 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for scope in SCOPES.map(|scope| scope.replace("ID", id)) {
        if let Some(usage) = version_2(host, &Path::new(ROOT).join(&scope)).await {
            return Some(usage);
        }
        if let Some(usage) = version_1(host, &scope).await {
            return Some(usage);
        }
    }
    None
}

async fn text(host: &dyn Host, path: PathBuf) -> Option<String> {
    String::from_utf8(host.read(&path).await.ok()?).ok()
}

async fn number(host: &dyn Host, path: PathBuf) -> Option<u64> {
    text(host, path).await?.trim().parse().ok()
}

/// `key 123`, a line each.
fn line(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// <https://docs.kernel.org/admin-guide/cgroup-v2.html>
async fn version_2(host: &dyn Host, group: &Path) -> Option<Usage> {
    let cpu = Duration::from_micros(line(&text(host, group.join("cpu.stat")).await?, "usage_usec")?);
    let used = number(host, group.join("memory.current")).await?;
    let cache = line(&text(host, group.join("memory.stat")).await?, "inactive_file");
    // `max`: none
    let limit = number(host, group.join("memory.max")).await;
    Some(usage(host, cpu, used, cache, limit))
}

/// <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>
async fn version_1(host: &dyn Host, scope: &str) -> Option<Usage> {
    let root = Path::new(ROOT);
    let cpu = match number(host, root.join("cpuacct").join(scope).join("cpuacct.usage")).await {
        Some(nanos) => nanos,
        None => number(host, root.join("cpu,cpuacct").join(scope).join("cpuacct.usage")).await?,
    };
    let group = root.join("memory").join(scope);
    let used = number(host, group.join("memory.usage_in_bytes")).await?;
    let cache = line(&text(host, group.join("memory.stat")).await?, "total_inactive_file");
    let limit = number(host, group.join("memory.limit_in_bytes")).await;
    Some(usage(host, Duration::from_nanos(cpu), used, cache, limit))
}

/// Without the engine's clock: the looks are as far apart as they are made.
fn usage(host: &dyn Host, cpu: Duration, used: u64, cache: Option<u64>, limit: Option<u64>) -> Usage {
    let whole = host.facts().memory_total;
    // version 1 writes a number near the largest one for no limit
    let memory_limit = limit.map_or(whole, |limit| limit.min(whole));
    Usage { cpu, at: None, memory: used.saturating_sub(cache.unwrap_or_default()), memory_limit }
}

/// 100 is one core. `elapsed` stands in for the engine's clock where it does not say when it looked.
pub(super) fn cpu_percent(first: &Usage, second: &Usage, elapsed: Duration) -> f64 {
    let between = match (first.at, second.at) {
        (Some(before), Some(after)) if after > before => after - before,
        _ => elapsed,
    };
    if between.is_zero() {
        return 0.0;
    }
    second.cpu.saturating_sub(first.cpu).as_secs_f64() / between.as_secs_f64() * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;

    const ID: &str = "0dc6041fcacba01d6b1075c6224e4fb6cd93d93d1504e4b52f6e6c472d46b6b5";

    #[tokio::test]
    async fn the_kernel_says_what_a_container_uses() {
        let gib = 1 << 30;
        let host = || FakeHost::new().facts_with(|facts| facts.memory_total = 8 << 30);
        let at = |part: &str, file: &str| format!("/sys/fs/cgroup/{part}/{file}").replace("ID", ID);
        let new = |file| at("system.slice/docker-ID.scope", file);
        let version_2 = host()
            .file(new("cpu.stat"), "usage_usec 1750000\nuser_usec 1\n")
            .file(new("memory.current"), "5000\n")
            .file(new("memory.stat"), "anon 4000\ninactive_file 1000\n")
            .file(new("memory.max"), format!("{gib}\n"));
        let cpu = Duration::from_millis(1750);
        let limited = Usage { cpu, at: None, memory: 4000, memory_limit: gib };
        assert_eq!(of_group(&version_2, ID).await, Some(limited));
        let free = version_2.file(new("memory.max"), "max\n");
        assert_eq!(of_group(&free, ID).await, Some(Usage { memory_limit: 8 * gib, ..limited }));

        let old = |controller: &str, file| at(&format!("{controller}/docker/ID"), file);
        let version_1 = host()
            .file(old("cpu,cpuacct", "cpuacct.usage"), "1750000000\n")
            .file(old("memory", "memory.usage_in_bytes"), "5000\n")
            .file(old("memory", "memory.stat"), "inactive_file 7\ntotal_inactive_file 1000\n")
            .file(old("memory", "memory.limit_in_bytes"), "9223372036854771712\n");
        assert_eq!(of_group(&version_1, ID).await, Some(Usage { memory_limit: 8 * gib, ..limited }));
        // an engine elsewhere, and what is no id
        assert_eq!(of_group(&host(), ID).await, None);
        assert_eq!(of_group(&version_1, "../../docker/x").await, None);
    }

    #[test]
    fn the_use_of_a_core_is_the_difference_of_two_looks() {
        let look = |cpu, at: Option<u64>| Usage {
            cpu: Duration::from_millis(cpu),
            at: at.map(Duration::from_millis),
            ..Usage::default()
        };
        let elapsed = Duration::from_millis(250);
        assert_eq!(cpu_percent(&look(1000, None), &look(1125, None), elapsed), 50.0);
        assert_eq!(cpu_percent(&look(1000, Some(0)), &look(1750, Some(500)), elapsed), 150.0);
        // a new container in its place
        assert_eq!(cpu_percent(&look(1000, None), &look(10, None), elapsed), 0.0);
        assert_eq!(cpu_percent(&look(0, None), &look(1, None), Duration::ZERO), 0.0);
    }
}
