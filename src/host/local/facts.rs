//! What kind of machine this is.

use std::collections::BTreeMap;
use std::path::Path;

use crate::host::HostFacts;
use crate::host::holder::user_name;

pub(super) fn read(environment: &BTreeMap<String, String>) -> HostFacts {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = os_release(&text("/etc/os-release"));
    let uid = rustix::process::geteuid().as_raw();
    let user = user_name(&text("/etc/passwd"), uid)
        .or_else(|| environment.get("USER").cloned())
        .unwrap_or_else(|| uid.to_string());
    let group_file = text("/etc/group");
    let mut gids: Vec<u32> = rustix::process::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()).collect();
    gids.push(rustix::process::getegid().as_raw());
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    let (memory_total, memory_available) = memory();
    HostFacts {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        distribution: release.get("ID").cloned(),
        codename: release.get("VERSION_CODENAME").cloned(),
        wsl: kernel.to_ascii_lowercase().contains("microsoft"),
        kernel,
        uid,
        groups: group_names(&group_file, &gids),
        login_groups: login_groups(&group_file, &user),
        user,
        // the folder is systemd's own sign that it runs the system (sd_booted(3))
        systemd: Path::new("/run/systemd/system").is_dir(),
        container: ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
            || environment.get("container").is_some_and(|kind| !kind.is_empty()),
        memory_total,
        memory_available,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        cgroup_version: cgroup_version(Path::new("/sys/fs/cgroup")),
    }
}

/// os-release(5): shell-like assignments.
fn os_release(text: &str) -> BTreeMap<String, String> {
    let assignments = text.lines().filter_map(|line| line.trim().split_once('='));
    assignments.map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned())).collect()
}

/// group(5): `name:password:gid:member,member`
fn group_lines(groups: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default()))
    })
}

/// Numbers stand for groups that the file does not name.
fn group_names(groups: &str, gids: &[u32]) -> Vec<String> {
    let name = |gid: &u32| group_lines(groups).find(|(_, id, _)| id == gid).map(|(name, ..)| name.to_owned());
    let mut names: Vec<String> = gids.iter().map(|gid| name(gid).unwrap_or_else(|| gid.to_string())).collect();
    names.sort();
    names.dedup();
    names
}

fn login_groups(groups: &str, user: &str) -> Vec<String> {
    let member = |members: &str| members.split(',').any(|member| member.trim() == user);
    let mut names: Vec<String> =
        group_lines(groups).filter(|(.., members)| member(members)).map(|(name, ..)| name.to_owned()).collect();
    names.sort();
    names
}

/// Total and available bytes.
#[cfg(not(target_os = "macos"))]
fn memory() -> (u64, u64) {
    meminfo(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

/// What is available is not asked for: macOS has no number that means it.
#[cfg(target_os = "macos")]
fn memory() -> (u64, u64) {
    let said = std::process::Command::new("/usr/sbin/sysctl").args(["-n", "hw.memsize"]).output();
    let total = said.ok().and_then(|said| String::from_utf8_lossy(&said.stdout).trim().parse().ok()).unwrap_or(0);
    (total, total)
}

#[cfg(any(test, not(target_os = "macos")))]
fn meminfo(text: &str) -> (u64, u64) {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    (bytes("MemTotal"), bytes("MemAvailable"))
}

/// cgroups(7): the unified hierarchy has its list of controllers at the root.
fn cgroup_version(root: &Path) -> Option<u8> {
    if root.join("cgroup.controllers").exists() {
        return Some(2);
    }
    ["memory", "cpu", "unified", "systemd"].iter().any(|name| root.join(name).is_dir()).then_some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_with_and_without_quotes() {
        let release =
            os_release("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n# a comment\nVERSION_CODENAME='bookworm'\n");
        assert_eq!(release["ID"], "debian");
        assert_eq!(release["VERSION_CODENAME"], "bookworm");
    }

    #[test]
    fn groups_of_the_process_and_of_the_next_login() {
        let file = "root:x:0:\nsudo:x:27:dev,other\ndocker:x:999:other, dev\nbroken\n";
        assert_eq!(group_names(file, &[27, 0, 4242, 27]), ["4242", "root", "sudo"]);
        assert_eq!(login_groups(file, "dev"), ["docker", "sudo"]);
        assert_eq!(login_groups(file, "nobody"), [""; 0]);
    }

    #[test]
    fn the_name_belongs_to_the_whole_uid() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\ndev:x:1000:1000::/home/dev:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("dev"));
        assert_eq!(user_name(passwd, 100), None);
    }

    #[test]
    fn memory_in_bytes() {
        assert_eq!(meminfo("MemTotal:       16 kB\nMemFree: 1 kB\nMemAvailable:    8 kB\n"), (16384, 8192));
        assert_eq!(meminfo(""), (0, 0));
    }

    #[test]
    fn cgroup_by_what_is_mounted() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(cgroup_version(root.path()), None);
        std::fs::create_dir_all(root.path().join("memory")).unwrap();
        std::fs::create_dir_all(root.path().join("unified")).unwrap();
        assert_eq!(cgroup_version(root.path()), Some(1));
        std::fs::write(root.path().join("cgroup.controllers"), "cpu memory").unwrap();
        assert_eq!(cgroup_version(root.path()), Some(2));
    }
}
