use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use insta::assert_snapshot;

use super::*;
use crate::host::Output;
use crate::host::fake::FakeHost;
use crate::model::AnyError;

const RECEIPT: &str = "/home/dev/.local/share/macula/host.d/receipt.json";
const FORWARD: &str = "net.ipv4.ip_forward";
const WATCHES: &str = "fs.inotify.max_user_watches";

fn done(stdout: &str) -> Result<Output, RunError> {
    Ok(Output { status: Some(0), stdout: stdout.into(), ..Output::default() })
}

/// A machine on which root's commands do what they do.
fn machine() -> FakeHost {
    let host = FakeHost::new().file("/proc/sys/kernel/random/boot_id", "first\n");
    with_root(host.setting(FORWARD, "0").setting(WATCHES, "8192"))
}

fn with_root(host: FakeHost) -> FakeHost {
    host.on("sudo sysctl -w *", |host, command| {
        for (name, value) in command.args.iter().filter_map(|word| word.split_once('=')) {
            host.set(name, value);
        }
        done("")
    })
    .on("sudo tee *", |host, command| {
        host.put(&command.args[0], command.stdin.clone().unwrap());
        done("")
    })
    .on("sudo rm -f *", |host, command| {
        futures_util::FutureExt::now_or_never(host.remove(Path::new(&command.args[1]))).unwrap().unwrap();
        done("")
    })
    .program("chmod")
}

fn forward() -> Change {
    Change::settings(&[(FORWARD, "1".to_owned())], false)
}

fn watches(value: u32) -> [Change; 2] {
    [Change::settings(&[(WATCHES, value.to_string())], true), Change::file(SYSCTL_FILE, format!("{WATCHES}={value}\n"))]
}

async fn make_all(host: &FakeHost, changes: impl IntoIterator<Item = Change>) {
    for change in changes {
        make(host, "a test", &change, &|_: &str| ()).await.unwrap();
    }
}

fn said(all: &[Undoing]) -> String {
    let line = |one: &Undoing| match &one.verdict {
        Verdict::Undone => format!("undone: {}", one.what),
        Verdict::Changed => format!("stays: {}", one.what),
        Verdict::ByHand(how) => format!("by hand: {}: {how}", one.what),
        Verdict::Failed(error) => format!("failed: {}: {error}", one.what),
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn value(host: &FakeHost, name: &str) -> String {
    host.sysctl(name).await.unwrap()
}

#[tokio::test]
async fn a_machine_is_as_it_was() {
    let host = machine();
    // a month lies between the two: the second one finds what the first one wrote
    make_all(&host, watches(524_288).into_iter().chain([forward()])).await;
    make_all(&host, watches(1_048_576)).await;
    assert_eq!(host.mode(RECEIPT), Some(0o600));
    assert_eq!(value(&host, FORWARD).await, "1");
    assert_eq!(host.text(SYSCTL_FILE).unwrap(), format!("{WATCHES}=1048576\n"));

    let journal = host.journal();
    let shown = said(&pending(&host).await.unwrap());
    assert_eq!(host.journal(), journal, "looking changes nothing");
    assert_eq!(said(&undo(&host).await.unwrap()), shown, "what was shown is what is done");
    assert_snapshot!(shown, @r"
    undone: /etc/sysctl.d/99-macula.conf gets the content that it had before
    undone: fs.inotify.max_user_watches is set back from 1048576 to 524288
    undone: net.ipv4.ip_forward is set back from 1 to 0
    undone: /etc/sysctl.d/99-macula.conf is removed
    undone: fs.inotify.max_user_watches is set back from 524288 to 8192
    ");
    assert_eq!((value(&host, FORWARD).await.as_str(), value(&host, WATCHES).await.as_str()), ("0", "8192"));
    assert_eq!(host.text(SYSCTL_FILE), None);
    assert!(!host.exists(Path::new(RECEIPT).parent().unwrap()).await);
    assert_eq!(said(&undo(&host).await.unwrap()), "");
}

#[tokio::test]
async fn what_somebody_changed_since_stays_and_is_named() {
    let host = machine();
    make_all(&host, watches(524_288).into_iter().chain([forward()])).await;
    host.set(WATCHES, "999999");
    host.set(FORWARD, "0");
    host.put(SYSCTL_FILE, "vm.swappiness=1\n");
    let shown = said(&pending(&host).await.unwrap());
    assert_eq!(said(&undo(&host).await.unwrap()), shown);
    assert_snapshot!(shown, @r"
    stays: /etc/sysctl.d/99-macula.conf was changed since, and stays as it is
    stays: fs.inotify.max_user_watches was changed since, from 524288 to 999999, and stays
    ");
    assert_eq!(host.text(SYSCTL_FILE).as_deref(), Some("vm.swappiness=1\n"));
    assert_eq!(value(&host, WATCHES).await, "999999");
    assert_eq!(said(&pending(&host).await.unwrap()), "", "told once: what is there now is the user's");
    // of a macula that wrote nothing down
    host.put(SYSCTL_FILE, format!("{WATCHES}=524288\n"));
    assert_snapshot!(said(&pending(&host).await.unwrap()), @"by hand: /etc/sysctl.d/99-macula.conf was written by an earlier macula: sudo rm /etc/sysctl.d/99-macula.conf");
}

#[tokio::test]
async fn another_boot_has_undone_what_does_not_last() {
    let host = machine().answer("sudo iptables *", 0, "", "");
    let rule = Change::rule(Some("nat"), "-A", &["POSTROUTING", "-s", "10.0.0.0/8", "-j", "MASQUERADE"]);
    make_all(&host, watches(524_288).into_iter().chain([forward(), rule])).await;
    assert_snapshot!(said(&pending(&host).await.unwrap()), @r"
    undone: the firewall's rule `POSTROUTING -s 10.0.0.0/8 -j MASQUERADE` is removed
    undone: net.ipv4.ip_forward is set back from 1 to 0
    undone: /etc/sysctl.d/99-macula.conf is removed
    undone: fs.inotify.max_user_watches is set back from 524288 to 8192
    ");
    // the engine forwards again since then, and that is not our doing
    host.put("/proc/sys/kernel/random/boot_id", "second\n");
    assert_snapshot!(said(&undo(&host).await.unwrap()), @r"
    undone: /etc/sysctl.d/99-macula.conf is removed
    undone: fs.inotify.max_user_watches is set back from 524288 to 8192
    ");
    assert_eq!(value(&host, FORWARD).await, "1");
    assert!(!host.exists(Path::new(RECEIPT)).await);
}

#[tokio::test]
async fn rules_and_addresses_go_where_they_are_still_there() {
    let addresses = "5: docker0    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0\n";
    let host = machine()
        .answer("sudo iptables *", 0, "", "")
        .answer("sudo ip addr *", 0, "", "")
        .answer("ip -4 -o addr show dev docker0", 0, addresses, "")
        .answer("ip -4 -o addr show dev br-1", 1, "", "Device \"br-1\" does not exist.\n")
        .answer("sudo iptables -C FORWARD -i br-1 -j ACCEPT", 1, "", "iptables: Bad rule\n");
    make_all(
        &host,
        [
            Change::rule(None, "-I", &["FORWARD", "-i", "br-1", "-j", "ACCEPT"]),
            Change::rule(None, "-I", &["DOCKER-USER", "!", "-i", "br-1", "-o", "br-1", "-j", "DROP"]),
            Change::address("docker0", "172.17.0.1/16"),
            Change::address("br-1", "10.222.7.1/24"),
        ],
    )
    .await;
    let before = host.journal().len();
    assert_snapshot!(said(&undo(&host).await.unwrap()), @r"
    undone: docker0 loses the address 172.17.0.1/16 again
    undone: the firewall's rule `DOCKER-USER ! -i br-1 -o br-1 -j DROP` is removed
    ");
    assert_snapshot!(host.journal()[before..].join("\n"), @r"
    ip -4 -o addr show dev br-1
    ip -4 -o addr show dev docker0
    sudo ip addr del 172.17.0.1/16 dev docker0
    sudo iptables -C DOCKER-USER '!' -i br-1 -o br-1 -j DROP
    sudo iptables -D DOCKER-USER '!' -i br-1 -o br-1 -j DROP
    sudo iptables -C FORWARD -i br-1 -j ACCEPT
    ");
}

/// Only iptables itself can say that a rule is not there.
#[tokio::test]
async fn a_rule_that_nobody_could_look_for_stays_in_the_list() {
    let rule = || Change::rule(None, "-I", &["FORWARD", "-i", "br-1", "-j", "ACCEPT"]);
    let undone = async |status: i32, stderr: &str| {
        let host = machine().answer("sudo iptables *", 0, "", "");
        make_all(&host, [rule()]).await;
        let host = host.answer("sudo iptables -C *", status, "", stderr);
        let shown = said(&pending(&host).await.unwrap());
        (shown, said(&undo(&host).await.unwrap()), host.exists(Path::new(RECEIPT)).await)
    };
    let is_removed = "undone: the firewall's rule `FORWARD -i br-1 -j ACCEPT` is removed".to_owned();
    let (shown, told, kept) = undone(4, "Another app is currently holding the xtables lock.\n").await;
    assert_eq!((shown, kept), (is_removed.clone(), true));
    assert_snapshot!(told, @"failed: the firewall's rule `FORWARD -i br-1 -j ACCEPT` may still be there: `sudo iptables -C FORWARD -i br-1 -j ACCEPT` ended with status 4: Another app is currently holding the xtables lock.");
    let (_, told, kept) = undone(1, "sudo: I would rather not\n").await;
    assert!(told.starts_with("failed: ") && kept, "{told}");
    for (status, stderr) in [
        (1, "iptables: Bad rule (does a matching rule exist in that chain?).\n"),
        (1, "sudo: unable to resolve host vm\niptables: Bad rule (does a matching rule exist in that chain?).\n"),
        (2, "iptables v1.8.9 (nf_tables): Chain 'FORWARD' does not exist\n"),
        (1, ""),
    ] {
        assert_eq!(undone(status, stderr).await, (String::new(), String::new(), false), "{stderr}");
    }
    assert_eq!(undone(0, "").await, (is_removed.clone(), is_removed, false));
}

#[tokio::test]
async fn without_root_nothing_is_written_down_and_nothing_forgotten() {
    let refuse = |_: &FakeHost, command: &Command| Err(RunError::Privilege { command: command.to_string() });
    let host = machine().on("sudo *", refuse);
    for change in [forward()].into_iter().chain(watches(524_288)) {
        let error = make(&host, "a test", &change, &|_: &str| ()).await.unwrap_err();
        assert!(matches!(error, ChangeError::Run(RunError::Privilege { .. })), "{error}");
    }
    assert!(!host.exists(Path::new(RECEIPT).parent().unwrap()).await);

    let host = machine();
    make_all(&host, watches(524_288)).await;
    make_all(&host, watches(1_048_576)).await;
    let powerless = host.clone().on("sudo *", refuse);
    assert_snapshot!(said(&undo(&powerless).await.unwrap()), @r"
    failed: /etc/sysctl.d/99-macula.conf is still there as macula wrote it: `sudo tee /etc/sysctl.d/99-macula.conf` needs root
    failed: fs.inotify.max_user_watches is still 1048576: `sudo sysctl -w fs.inotify.max_user_watches=524288` needs root
    ");
    // and then with root
    let host = with_root(powerless);
    assert_eq!(undo(&host).await.unwrap().len(), 4);
    assert_eq!((value(&host, WATCHES).await.as_str(), host.text(SYSCTL_FILE)), ("8192", None));
}

#[tokio::test]
async fn a_run_that_was_killed_on_the_way_is_undone() {
    for torn in [0, 5, 5000] {
        let host = machine().on("sudo tee *", move |host, command| {
            let content = command.stdin.clone().unwrap();
            host.put(&command.args[0], &content[..torn.min(content.len())]);
            Err(RunError::Io { command: command.to_string(), source: AnyError::said("killed") })
        });
        let [values, file] = watches(524_288);
        make_all(&host, [values]).await;
        make(&host, "a test", &file, &|_: &str| ()).await.unwrap_err();
        assert!(host.text(RECEIPT).unwrap().contains("\"done\": false"));
        let undone = said(&undo(&host).await.unwrap());
        insta::allow_duplicates! {
            assert_snapshot!(undone, @r"
            undone: /etc/sysctl.d/99-macula.conf is removed
            undone: fs.inotify.max_user_watches is set back from 524288 to 8192
            ");
        }
        assert_eq!(host.text(SYSCTL_FILE), None);
    }
}

#[tokio::test]
async fn packages_and_services_are_named_with_what_removes_them() {
    let packages = |names: &[&str]| Change {
        command: Command::new("apt-get", ["install", "-y"].iter().chain(names).copied()).privileged(),
        effect: Effect::Packages {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            query: ["dpkg-query", "-W", "-f", "${db:Status-Status}"].map(str::to_owned).into(),
            remove: ["apt-get", "remove"].map(str::to_owned).into(),
        },
    };
    let unit = Change {
        command: Command::new("systemctl", ["enable", "--now", "docker"]).privileged(),
        effect: Effect::Unit { name: "docker", user: false },
    };
    let member = |group: &str| Change {
        command: Command::new("usermod", ["-aG", group, "dev"]).privileged(),
        effect: Effect::Member { user: "dev".into(), group: group.into() },
    };
    let query = |name: &str| format!("dpkg-query -W -f '${{db:Status-Status}}' {name}");
    let host = machine()
        .answer("sudo *", 0, "", "")
        .answer("systemctl is-enabled docker", 1, "disabled\n", "")
        .answer(&query("iptables"), 0, "installed", "")
        .answer(&query("docker.io"), 0, "config-files", "")
        .answer(&query("cgroupfs-mount"), 1, "", "no packages found")
        .program("dockerd");
    make_all(&host, [packages(&["docker.io", "iptables", "cgroupfs-mount"]), packages(&["iptables"])]).await;
    make_all(&host, [unit, member("docker"), member("podman")]).await;
    let passing = Change::passing(Command::new("cgroupfs-mount", [""; 0]).privileged(), "the control groups");
    make_all(&host, [passing]).await;
    let pid = start(&host, "a test", &Command::new("dockerd", [""; 0]), Path::new("/home/dev/log")).await.unwrap();
    let host = host.answer(&query("docker.io"), 0, "installed", "");
    let shown = said(&undo(&host).await.unwrap());
    // the user's to undo, so that they are there the next time too
    assert_eq!(said(&pending(&host).await.unwrap()), shown);
    assert_snapshot!(shown.replace(&pid.to_string(), "<pid>"), @r"
    by hand: dockerd was started in the background: kill <pid>
    by hand: dev was put into the group podman: sudo gpasswd -d dev podman
    by hand: the service docker was started: sudo systemctl disable --now docker
    by hand: docker.io was installed: sudo apt-get remove docker.io
    ");
    // what was removed since is not named, nor is a number that is another program's by now
    let host = host.answer(&query("docker.io"), 0, "config-files", "").file(format!("/proc/{pid}/comm"), "bash\n");
    assert_snapshot!(said(&pending(&host).await.unwrap()), @r"
    by hand: dev was put into the group podman: sudo gpasswd -d dev podman
    by hand: the service docker was started: sudo systemctl disable --now docker
    ");
    // one that failed may have been done in part
    let host = with_root(FakeHost::new()).answer("sudo systemctl *", 1, "", "no");
    let podman = Change {
        command: Command::new("systemctl", ["enable", "--now", "podman.socket"]).privileged(),
        effect: Effect::Unit { name: "podman.socket", user: false },
    };
    make(&host, "a test", &podman, &|_: &str| ()).await.unwrap_err();
    assert_snapshot!(said(&pending(&host).await.unwrap()), @"by hand: the service podman.socket was started, or only in part: sudo systemctl disable --now podman.socket");
    // as root without sudo, which may not be there
    let root = machine().facts_with(|facts| facts.uid = 0).answer("sudo *", 0, "", "");
    make_all(&root, [packages(&["docker.io"])]).await;
    assert!(root.text(RECEIPT).unwrap().contains("\"remove\": \"apt-get remove\""));
}

#[tokio::test]
async fn a_receipt_that_cannot_be_read_stops_everything() {
    let asked = async |receipt: &str| {
        let host = machine().file(RECEIPT, receipt);
        let made = make(&host, "a test", &forward(), &|_: &str| ()).await.unwrap_err().to_string();
        assert_eq!(undo(&host).await.unwrap_err().to_string(), made);
        assert_eq!(pending(&host).await.unwrap_err().to_string(), made);
        assert_eq!((host.journal().len(), host.text(RECEIPT).as_deref()), (0, Some(receipt)));
        made.replace(RECEIPT, "<receipt>")
    };
    let host = machine();
    make_all(&host, watches(524_288)).await;
    let whole = host.text(RECEIPT).unwrap();
    let cut = asked(&whole[..whole.len() / 2]).await;
    assert!(cut.starts_with("<receipt> is not a valid receipt: EOF while parsing"), "{cut}");
    assert_eq!(asked("{}").await, "<receipt> is not a valid receipt: it names no format");
    assert_eq!(asked(r#"{"format": 2, "changes": []}"#).await, "<receipt> was written by a newer macula");
    // where nothing can be written down nothing is done
    let host = machine().read_only("/home/dev/.local/share/macula");
    make(&host, "a test", &forward(), &|_: &str| ()).await.unwrap_err();
    assert_eq!(host.journal().len(), 0);
}

#[tokio::test]
async fn a_lost_copy_is_no_reason_to_remove_a_file() {
    let host = machine().file(SYSCTL_FILE, "mine=1\n");
    make_all(&host, watches(524_288)).await;
    for name in host.paths().into_iter().filter(|path| path.to_string_lossy().contains("/kept-")) {
        host.remove(&name).await.unwrap();
    }
    assert_snapshot!(said(&undo(&host).await.unwrap()), @r"
    stays: /etc/sysctl.d/99-macula.conf stays as it is: the copy of what was there before is lost
    undone: fs.inotify.max_user_watches is set back from 524288 to 8192
    ");
    assert_eq!(host.text(SYSCTL_FILE).unwrap(), format!("{WATCHES}=524288\n"));
}

#[tokio::test]
async fn the_receipt_as_it_is_on_disk() {
    let host = machine();
    make_all(&host, watches(524_288).into_iter().take(1)).await;
    assert_snapshot!(host.text(RECEIPT).unwrap(), @r#"
    {
      "format": 1,
      "changes": [
        {
          "id": 1,
          "at": 1790000000,
          "boot": "first",
          "why": "a test",
          "command": "sudo sysctl -w fs.inotify.max_user_watches=524288",
          "done": true,
          "undo": {
            "kind": "settings",
            "values": [
              {
                "name": "fs.inotify.max_user_watches",
                "before": "8192",
                "after": "524288"
              }
            ],
            "lasting": true
          }
        }
      ]
    }
    "#);
}

#[tokio::test]
async fn a_busy_package_manager_is_waited_for() {
    let busy = AtomicU32::new(1);
    let host = FakeHost::new().on("sudo *", move |_, _| {
        let left = busy.load(Ordering::Relaxed);
        busy.store(left.saturating_sub(1), Ordering::Relaxed);
        let said = if left > 0 { "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7" } else { "" };
        Ok(Output { status: Some(if left > 0 { 100 } else { 0 }), stderr: said.into(), ..Output::default() })
    });
    run_when_free(&host, &Command::new("apt-get", ["update"]).privileged(), &|_: &str| ()).await.unwrap();
    assert_eq!(host.journal().len(), 2);
}
