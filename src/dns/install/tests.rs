use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::change::{BEGIN, END};
use super::*;
use crate::host::Output;
use crate::host::fake::FakeHost;
use crate::model::AnyError;

const FOLDER: &str = "/home/dev/.local/share/macula/dns/install";
/// Of a resolver that is a service of the system's.
const SERVED: &str = r#"{"format": 1, "rung": "system_service", "complete": true, "address": "127.0.0.9:53",
    "domains": [], "files": [], "folders": []}"#;
const RESOLV: &str = "# by hand\nsearch example.com\nnameserver 192.0.2.1\nnameserver 192.0.2.2";

fn folder() -> &'static Path {
    Path::new(FOLDER)
}

fn ours() -> IpAddr {
    [127, 0, 0, 9].into()
}

fn target(port: u16) -> Target {
    Target {
        address: (ours(), port).into(),
        domains: vec!["macula.local".into()],
        names: vec![("grafana.macula.local".into(), [127, 0, 0, 2].into()), ("ns.macula.local".into(), ours())],
        probes: vec![("ns.macula.local".into(), ours())],
        patience: Duration::ZERO,
    }
}

/// Does what the commands of root do to files; `alive` says whether the next command still happens,
/// and how many bytes a write that is the last gets done.
fn with_root(host: FakeHost, alive: impl Fn() -> Result<(), usize> + Send + Sync + 'static) -> FakeHost {
    let alive = Arc::new(alive);
    let dead = |command: &Command| RunError::Io { command: command.to_string(), source: AnyError::said("killed") };
    let done = || Ok(Output { status: Some(0), ..Output::default() });
    let (tee, rm, other) = (alive.clone(), alive.clone(), alive);
    host.on("sudo *", move |_, command| other().map_err(|_| dead(command)).and_then(|()| done()))
        .on("sudo tee *", move |host, command| {
            let content = command.stdin.clone().unwrap_or_default();
            let path = &command.args[0];
            match tee() {
                Ok(()) => host.put(path, &content),
                Err(torn) => {
                    host.put(path, &content[..torn.min(content.len())]);
                    return Err(dead(command));
                }
            }
            done()
        })
        .on("sudo rm -f *", move |host, command| {
            rm().map_err(|_| dead(command))?;
            let path = Path::new(&command.args[1]);
            futures_util::FutureExt::now_or_never(host.remove(path)).unwrap().unwrap();
            done()
        })
}

/// A machine on which our names resolve while `path` holds `word`.
fn resolving(host: FakeHost, path: &'static str, word: &'static str) -> FakeHost {
    let look = move |host: &FakeHost| {
        let there = host.text(path).is_some_and(|text| text.contains(word));
        host.clone().name("ns.macula.local", there.then(ours));
        Ok(Output { status: Some(0), ..Output::default() })
    };
    with_root(host, || Ok(()))
        .on("sudo tee *", move |host, command| {
            host.put(&command.args[0], command.stdin.clone().unwrap_or_default());
            look(host)
        })
        .on("sudo rm -f *", move |host, command| {
            futures_util::FutureExt::now_or_never(host.remove(Path::new(&command.args[1]))).unwrap().unwrap();
            look(host)
        })
}

fn plain() -> FakeHost {
    FakeHost::new().file("/etc/resolv.conf", RESOLV).file("/etc/hosts", "127.0.0.1 localhost\n")
}

fn etc(host: &FakeHost) -> Vec<(PathBuf, String)> {
    let below = host.paths().into_iter().filter(|path| path.starts_with("/etc"));
    below.map(|path| (path.clone(), host.text(&path).unwrap())).collect()
}

fn left(host: &FakeHost) -> Vec<PathBuf> {
    host.paths().into_iter().filter(|path| path.starts_with(FOLDER)).collect()
}

#[tokio::test]
async fn a_plain_resolv_conf_gets_our_server_first_and_is_put_back() {
    let host = resolving(plain(), "/etc/resolv.conf", "nameserver 127.0.0.9\n");
    let before = etc(&host);
    let installed = install(&host, folder(), &target(53), Method::Auto).await.unwrap();
    assert_eq!((installed.rung, installed.changed, installed.tried.len()), (Rung::ResolvConf, true, 0));
    insta::assert_snapshot!(host.text("/etc/resolv.conf").unwrap(), @r"
    # >>> macula dns: put here by `macula dns install`, taken out by `macula dns uninstall`
    nameserver 127.0.0.9
    # <<< macula dns
    # by hand
    search example.com
    nameserver 192.0.2.1
    nameserver 192.0.2.2
    ");
    let again = install(&host, folder(), &target(53), Method::Auto).await.unwrap();
    assert!(!again.changed);
    let present = present(&host, folder()).await.unwrap().unwrap();
    assert!(present.intact && !present.interrupted);
    assert_eq!(uninstall(&host, folder()).await.unwrap(), Some((Rung::ResolvConf, vec![])));
    assert_eq!(etc(&host), before);
    assert_eq!(left(&host), [] as [PathBuf; 0]);
    assert_eq!(uninstall(&host, folder()).await.unwrap(), None);
}

/// Its target comes when the network does: a link that leads nowhere yet is as good as any other.
#[tokio::test]
async fn a_link_that_leads_nowhere_stays() {
    let host = FakeHost::new()
        .folder("/run/r")
        .answer("readlink *", 1, "", "")
        .answer("readlink /etc/resolv.conf", 0, "../etc/there.conf\n", "")
        .answer("readlink /etc/../etc/there.conf", 0, "/run/r/resolv.conf\n", "");
    let host = resolving(host, "/run/r/resolv.conf", "nameserver 127.0.0.9\n");
    let installed = install(&host, folder(), &target(53), Method::Auto).await.unwrap();
    assert_eq!((installed.rung, installed.tried.len()), (Rung::ResolvConf, 0));
    assert_eq!(uninstall(&host, folder()).await.unwrap(), Some((Rung::ResolvConf, vec![])));
    assert_eq!(host.paths(), [] as [PathBuf; 0]);
    insta::assert_snapshot!(host.journal().join("\n"), @r"
    readlink /etc/resolv.conf
    readlink /etc/../etc/there.conf
    readlink /run/r/resolv.conf
    sudo tee /run/r/resolv.conf
    sudo chmod 644 /run/r/resolv.conf
    readlink -f /etc/resolv.conf
    sudo rm -f /run/r/resolv.conf
    ");
}

/// As 0.1 wrote it: the names of its keys are those of every later version.
#[tokio::test]
async fn a_receipt_of_an_older_version_is_read_and_undone() {
    use crate::host::kept::checksum;
    let ours = format!(
        "# >>> macula dns: put here by `macula dns install`, taken out by `macula dns uninstall`\nnameserver 127.0.0.9\n# <<< macula dns\n{RESOLV}"
    );
    let receipt = format!(
        r#"{{"format": 1, "rung": "resolv_conf", "complete": true, "address": "127.0.0.9:53", "domains": ["macula.local"],
            "files": [
              {{"path": "/etc/resolv.conf", "before": "{}", "after": "{}", "whole": false, "root": true}},
              {{"path": "/etc/new.conf", "before": null, "after": "{}", "whole": true, "root": true}}],
            "folders": []}}"#,
        checksum(RESOLV.as_bytes()),
        checksum(ours.as_bytes()),
        checksum(b"new\n"),
    );
    let host = resolving(plain(), "/nowhere", "x")
        .file("/etc/resolv.conf", &ours)
        .file("/etc/new.conf", "new\n")
        .file(folder().join("receipt.json"), receipt)
        .file(folder().join("resolv.conf.before"), RESOLV)
        .file(folder().join("resolv.conf.after"), &ours)
        .file(folder().join("new.conf.after"), "new\n");
    assert!(present(&host, folder()).await.unwrap().unwrap().intact);
    assert_eq!(uninstall(&host, folder()).await.unwrap(), Some((Rung::ResolvConf, vec![])));
    assert_eq!(etc(&host), etc(&plain()));
    assert_eq!(left(&host), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_lost_copy_is_no_reason_to_remove_a_file() {
    let host = resolving(plain(), "/etc/resolv.conf", "nameserver 127.0.0.9");
    install(&host, folder(), &target(53), Method::ResolvConf).await.unwrap();
    let written = host.text("/etc/resolv.conf");
    host.remove(&folder().join("resolv.conf.before")).await.unwrap();
    let (_, notes) = uninstall(&host, folder()).await.unwrap().unwrap();
    assert_eq!(notes, ["the copy of what /etc/resolv.conf was is lost; macula's part was taken out"]);
    assert_eq!(host.text("/etc/resolv.conf").as_deref(), Some(RESOLV));
    assert_ne!(written.as_deref(), Some(RESOLV));
}

/// What a run whose receipt is lost has left is ours already, also where nobody may write it.
#[tokio::test]
async fn what_stands_there_already_is_not_written_again() {
    let host = resolving(plain(), "/etc/resolv.conf", "nameserver 127.0.0.9\n");
    install(&host, folder(), &target(53), Method::Auto).await.unwrap();
    let written = host.text("/etc/resolv.conf").unwrap();

    let immutable = FakeHost::new().file("/etc/resolv.conf", written);
    immutable.clone().name("ns.macula.local", Some(ours()));
    let immutable =
        immutable.answer("sudo tee /etc/resolv.conf", 1, "", "tee: /etc/resolv.conf: Operation not permitted\n");
    let installed = install(&immutable, folder(), &target(53), Method::Auto).await.unwrap();
    assert_eq!((installed.rung, installed.tried.len()), (Rung::ResolvConf, 0));
}

#[tokio::test]
async fn servers_that_would_be_asked_beside_ours_are_put_out_of_force() {
    let text = "options rotate\nnameserver 192.0.2.1\n";
    let host = FakeHost::new().file("/etc/resolv.conf", text).file(folder().join("service/receipt.json"), SERVED);
    let host = resolving(host, "/etc/resolv.conf", "nameserver 127.0.0.9");
    install(&host, folder(), &target(53), Method::ResolvConf).await.unwrap();
    insta::assert_snapshot!(host.text("/etc/resolv.conf").unwrap(), @r"
    # >>> macula dns: put here by `macula dns install`, taken out by `macula dns uninstall`
    nameserver 127.0.0.9
    # <<< macula dns
    options rotate
    #macula# nameserver 192.0.2.1
    ");
    // the resolver asks these itself, from the copy
    assert_eq!(host.text(folder().join("resolv.conf.before")).as_deref(), Some(text));
    assert!(!is_alone(&host, folder()).await, "the system starts it again");
    let again = install(&host, folder(), &target(53), Method::Auto).await.unwrap();
    assert_eq!((again.rung, again.changed), (Rung::ResolvConf, false));
    // as an earlier version did it without a service
    host.remove(&folder().join("service/receipt.json")).await.unwrap();
    assert!(is_alone(&host, folder()).await);
    uninstall(&host, folder()).await.unwrap();
    assert_eq!(host.text("/etc/resolv.conf").as_deref(), Some(text));
    assert!(!is_alone(&host, folder()).await);
}

/// Without the resolver nothing at all would resolve there.
#[tokio::test]
async fn servers_are_not_put_out_of_force_for_a_resolver_that_comes_and_goes() {
    let text = "options rotate\nnameserver 192.0.2.1\n";
    let host = FakeHost::new().file("/etc/resolv.conf", text).file("/etc/hosts", "127.0.0.1 localhost\n");
    let host = resolving(host, "/etc/hosts", "127.0.0.9 ns.macula.local\n");
    let installed = install(&host, folder(), &target(53), Method::Auto).await.unwrap();
    assert_eq!((installed.rung, installed.tried.len()), (Rung::Hosts, 0));
    assert_eq!(host.text("/etc/resolv.conf").as_deref(), Some(text));
    let note = installed.notes.last().unwrap();
    assert!(
        note.ends_with("as a service of the system all names would resolve: `macula dns install --service system`")
    );
    // where nothing starts a service it says what is in the way
    let bare = FakeHost::new().file("/etc/resolv.conf", text).file("/etc/hosts", "127.0.0.1 localhost\n");
    let bare = resolving(bare.facts_with(|facts| facts.systemd = false), "/etc/hosts", "127.0.0.9 ns.macula.local\n");
    let installed = install(&bare, folder(), &target(53), Method::Auto).await.unwrap();
    assert_eq!(
        installed.notes.last().unwrap(),
        "/etc/resolv.conf was left as it is: its `options rotate` spreads questions over all servers; without `rotate` \
         all names would resolve"
    );
    // one that was put into the file all the same is replaced
    let muted = format!("{BEGIN}\nnameserver 127.0.0.9\n{END}\noptions rotate\n#macula# nameserver 192.0.2.1\n");
    let receipt = format!(
        r#"{{"format": 1, "rung": "resolv_conf", "complete": true, "address": "127.0.0.9:53", "domains": ["macula.local"],
            "files": [{{"path": "/etc/resolv.conf", "before": "{}", "after": "{}", "whole": false, "root": true}}],
            "folders": []}}"#,
        crate::host::kept::checksum(text.as_bytes()),
        crate::host::kept::checksum(muted.as_bytes()),
    );
    uninstall(&host, folder()).await.unwrap();
    host.put("/etc/resolv.conf", &muted);
    host.put(folder().join("receipt.json"), receipt);
    host.put(folder().join("resolv.conf.before"), text);
    host.put(folder().join("resolv.conf.after"), &muted);
    let installed = install(&host, folder(), &target(53), Method::Auto).await.unwrap();
    assert_eq!((installed.rung, installed.changed), (Rung::Hosts, true));
    assert_eq!(host.text("/etc/resolv.conf").as_deref(), Some(text));
}

#[tokio::test]
async fn what_cannot_be_written_down_as_done_is_undone() {
    let host = with_root(plain(), || Ok(())).on("sudo tee *", |host, command| {
        host.put(&command.args[0], command.stdin.clone().unwrap_or_default());
        // from now on there is no space for a receipt
        let _ = host.clone().name("ns.macula.local", [ours()]).full(FOLDER);
        Ok(Output { status: Some(0), ..Output::default() })
    });
    let before = etc(&host);
    let error = install(&host, folder(), &target(53), Method::Auto).await.unwrap_err();
    // what is kept could not be removed either, so that the next run does it again
    assert!(matches!(error, InstallError::NotUndone(_)), "{error}");
    assert_eq!(etc(&host), before);
    assert!(host.text(folder().join("receipt.json")).unwrap().contains("\"complete\": false"));
}

#[tokio::test]
async fn what_somebody_else_changed_stays_changed() {
    let host = resolving(plain(), "/etc/resolv.conf", "nameserver 127.0.0.9");
    install(&host, folder(), &target(53), Method::ResolvConf).await.unwrap();
    let changed = host.text("/etc/resolv.conf").unwrap().replace("example.com", "example.org");
    host.put("/etc/resolv.conf", changed);
    assert!(!present(&host, folder()).await.unwrap().unwrap().intact);
    let (_, notes) = uninstall(&host, folder()).await.unwrap().unwrap();
    assert_eq!(notes, ["/etc/resolv.conf was changed meanwhile; only our part of it was taken out"]);
    assert_eq!(host.text("/etc/resolv.conf").unwrap(), RESOLV.replace("example.com", "example.org"));

    install(&host, folder(), &target(53), Method::ResolvConf).await.unwrap();
    host.put("/etc/resolv.conf", "nameserver 192.0.2.77\n");
    let (_, notes) = uninstall(&host, folder()).await.unwrap().unwrap();
    assert_eq!(
        notes,
        ["/etc/resolv.conf has been rewritten in the meantime without macula's part, and is left as it is"]
    );
    assert_eq!(host.text("/etc/resolv.conf").as_deref(), Some("nameserver 192.0.2.77\n"));
}

#[tokio::test]
async fn a_rung_that_does_not_hold_is_left_and_the_next_one_tried() {
    let host = plain()
        .file("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\n")
        .file("/etc/systemd/resolved.conf", "")
        .program("ip")
        .program("resolvectl")
        .answer("resolvectl --version", 0, "systemd 257 (257.9)\n", "");
    let host = resolving(host, "/etc/hosts", "127.0.0.9 ns.macula.local\n");
    let before = etc(&host);
    let installed = install(&host, folder(), &target(5335), Method::Auto).await.unwrap();
    assert_eq!(installed.rung, Rung::Hosts);
    let reason = "the system says that ns.macula.local is , and not 127.0.0.9".to_owned();
    assert_eq!(installed.tried, [Tried { rung: Rung::ResolvedLink, reason }]);
    insta::assert_snapshot!(host.text("/etc/hosts").unwrap(), @r"
    127.0.0.1 localhost
    # >>> macula dns: put here by `macula dns install`, taken out by `macula dns uninstall`
    127.0.0.2 grafana.macula.local
    127.0.0.9 ns.macula.local
    # <<< macula dns
    ");
    insta::assert_snapshot!(installed.notes.join("\n"), @r"
    /etc/hosts knows no wildcard: names below *.macula.local, of applications in the cluster and of `dns add` do not resolve
    names that come later are there after another `macula dns install`
    ");
    assert_eq!(etc(&host).len(), before.len(), "the unit of the first rung is gone");
    insta::assert_snapshot!(host.journal().join("\n"), @r"
    resolvectl --version
    sudo mkdir -p -m755 /etc/systemd/system
    sudo tee /etc/systemd/system/macula-dns-link.service
    sudo chmod 644 /etc/systemd/system/macula-dns-link.service
    sudo systemctl daemon-reload
    sudo systemctl enable macula-dns-link.service
    sudo systemctl restart macula-dns-link.service
    sudo systemctl disable --now macula-dns-link.service
    sudo rm -f /etc/systemd/system/macula-dns-link.service
    sudo rmdir /etc/systemd/system
    sudo systemctl daemon-reload
    sudo tee /etc/hosts
    ");
    uninstall(&host, folder()).await.unwrap();
    assert_eq!(etc(&host), before);
}

#[tokio::test]
async fn nothing_holds() {
    let host = resolving(plain(), "/nowhere", "x");
    let before = etc(&host);
    let error = install(&host, folder(), &target(53), Method::Auto).await.unwrap_err();
    let InstallError::NotHeld { tried } = error else { panic!("{error}") };
    assert_eq!(tried.iter().map(|one| one.rung).collect::<Vec<_>>(), [Rung::ResolvConf, Rung::Hosts]);
    assert_eq!(etc(&host), before);
    assert_eq!(left(&host), [] as [PathBuf; 0]);
}

/// The names that the system knew, it knows again.
#[tokio::test]
async fn a_way_that_works_outlives_one_that_does_not() {
    let resolved = |host: FakeHost| {
        host.file("/run/systemd/resolve/resolv.conf", "").program("ip").program("resolvectl").answer(
            "resolvectl --version",
            0,
            "systemd 258 (258)\n",
            "",
        )
    };
    let host = resolving(resolved(plain()), "/etc/hosts", "127.0.0.9 ns.macula.local\n");
    install(&host, folder(), &target(5335), Method::Hosts).await.unwrap();
    let before = etc(&host);
    let error = install(&host, folder(), &target(5335), Method::Resolved).await.unwrap_err();
    let InstallError::NotHeld { tried } = error else { panic!("{error}") };
    assert_eq!(tried.iter().map(|one| one.rung).collect::<Vec<_>>(), [Rung::ResolvedDelegate, Rung::ResolvedLink]);
    assert_eq!(etc(&host), before);
    let found = present(&host, folder()).await.unwrap().unwrap();
    assert_eq!((found.rung, found.interrupted, found.intact), (Rung::Hosts, false, true));
    // one that does not fit is told before anything is done
    let done = host.journal().len();
    let error = install(&host, folder(), &target(5335), Method::NetworkManager).await.unwrap_err();
    assert!(matches!(error, InstallError::Unfit { .. }), "{error}");
    assert_eq!(host.journal()[done..], ["resolvectl --version"]);
    // and one that cannot be written again
    let host = host.on("sudo tee /etc/hosts", |host, command| {
        let content = command.stdin.clone().unwrap_or_default();
        let ours = String::from_utf8_lossy(&content).contains(BEGIN);
        host.put("/etc/hosts", content);
        host.clone().name("ns.macula.local", None::<IpAddr>);
        Ok(Output { status: Some(ours.into()), ..Output::default() })
    });
    let error = install(&host, folder(), &target(5335), Method::Resolved).await.unwrap_err();
    let InstallError::Lost { former, tried, .. } = error else { panic!("{error}") };
    assert_eq!((former, tried.len()), (Rung::Hosts, 2));
    assert_eq!(host.text("/etc/hosts").as_deref(), Some("127.0.0.1 localhost\n"));
}

#[tokio::test]
async fn without_root_nothing_is_begun() {
    let host = plain().on("sudo *", |_, command| Err(RunError::Privilege { command: command.to_string() }));
    let error = install(&host, folder(), &target(53), Method::Auto).await.unwrap_err();
    assert!(matches!(error, InstallError::Run(RunError::Privilege { .. })), "{error}");
    assert_eq!(left(&host), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn methods_say_why_they_do_not_fit() {
    let said = async |host: &FakeHost, method, port| {
        install(host, folder(), &target(port), method).await.unwrap_err().to_string()
    };
    let old = FakeHost::new().file("/run/systemd/resolve/resolv.conf", "").program("resolvectl").answer(
        "resolvectl --version",
        0,
        "systemd 245 (245.4)\n",
        "",
    );
    let alpine = plain().facts_with(|facts| {
        facts.distribution = Some("alpine".into());
        facts.systemd = false;
    });
    let all = [
        said(&plain(), Method::ResolvConf, 5335).await,
        said(&plain().facts_with(|facts| facts.systemd = false), Method::ResolvConf, 5335).await,
        said(&FakeHost::new().file("/etc/resolv.conf", "options rotate\n"), Method::ResolvConf, 53).await,
        said(&alpine, Method::ResolvConf, 53).await,
        said(&plain(), Method::Resolved, 53).await,
        said(&old, Method::Resolved, 53).await,
        said(&plain(), Method::NetworkManager, 53).await,
        said(&plain(), Method::Macos, 53).await,
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    resolv-conf does not fit this machine: /etc/resolv.conf knows no ports, and the resolver has 5335: `macula dns install --service system` starts it on port 53
    resolv-conf does not fit this machine: /etc/resolv.conf knows no ports, and the resolver has 5335: without systemd only one that root starts has port 53
    resolv-conf does not fit this machine: this machine asks all servers of /etc/resolv.conf, so that the others would have to be commented out, and no name would resolve while the resolver does not run; `macula dns install --service system` keeps it running
    resolv-conf does not fit this machine: this machine asks all servers of /etc/resolv.conf, so that the others would have to be commented out, and no name would resolve while the resolver does not run; without systemd nothing starts it with the machine
    resolved does not fit this machine: systemd-resolved does not run here
    resolved does not fit this machine: systemd 245 is too old; it takes 246
    networkmanager does not fit this machine: NetworkManager does not run a dnsmasq here (dns=dnsmasq in its configuration)
    macos does not fit this machine: this is not macOS
    ");
}

#[tokio::test]
async fn somebody_elses_file_is_no_place_for_ours() {
    let host = FakeHost::new()
        .file("/run/NetworkManager/resolv.conf", "")
        .file("/etc/NetworkManager/NetworkManager.conf", "[main]\ndns=dnsmasq\n")
        .file("/etc/NetworkManager/dnsmasq.d/macula.conf", "server=/x/1.2.3.4\n");
    let host = resolving(host, "/nowhere", "x");
    let error = install(&host, folder(), &target(53), Method::NetworkManager).await.unwrap_err();
    let InstallError::NotHeld { tried } = error else { panic!("{error}") };
    assert_eq!(tried[0].reason, "/etc/NetworkManager/dnsmasq.d/macula.conf is there already and is not ours");
    assert_eq!(host.text("/etc/NetworkManager/dnsmasq.d/macula.conf").as_deref(), Some("server=/x/1.2.3.4\n"));
}

#[tokio::test]
async fn every_rung_and_its_files() {
    let machine = Machine::default();
    let host = FakeHost::new().program("ip").program("resolvectl");
    let mut shown = String::new();
    for rung in [Rung::ResolvedDelegate, Rung::ResolvedLink, Rung::NetworkManager, Rung::Macos] {
        for file in rung.files(&host, &machine, &target(5335)) {
            let change::Content::Whole(text) = file.content else { panic!("{rung}") };
            shown.push_str(&format!("== {} ({rung})\n{text}", file.path.display()));
        }
    }
    insta::assert_snapshot!(shown, @r"
    == /etc/systemd/dns-delegate.d/macula.dns-delegate (systemd-resolved (a DNS delegate))
    # macula: written by `macula dns install`; `macula dns uninstall` removes this file
    [Delegate]
    DNS=127.0.0.9:5335
    Domains=~macula.local
    == /etc/systemd/system/macula-dns-link.service (systemd-resolved (a link of its own))
    # macula: written by `macula dns install`; `macula dns uninstall` removes this file
    [Unit]
    Description=Names below macula.local go to the resolver at 127.0.0.9:5335
    After=systemd-resolved.service
    PartOf=systemd-resolved.service

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStart=-/usr/bin/ip link add macula-dns type dummy
    ExecStart=/usr/bin/ip address replace 192.0.2.53/32 dev macula-dns
    ExecStart=/usr/bin/ip link set macula-dns up
    ExecStart=/usr/bin/resolvectl dns macula-dns 127.0.0.9:5335
    ExecStart=/usr/bin/resolvectl domain macula-dns ~macula.local
    ExecStart=/usr/bin/resolvectl default-route macula-dns no
    ExecStop=-/usr/bin/ip link delete macula-dns

    [Install]
    WantedBy=multi-user.target systemd-resolved.service
    == /etc/NetworkManager/dnsmasq.d/macula.conf (NetworkManager's dnsmasq)
    # macula: written by `macula dns install`; `macula dns uninstall` removes this file
    server=/macula.local/127.0.0.9#5335
    rebind-domain-ok=/macula.local/
    == /etc/resolver/macula.local (/etc/resolver)
    # macula: written by `macula dns install`; `macula dns uninstall` removes this file
    nameserver 127.0.0.9
    port 5335
    ");
}

#[tokio::test]
async fn the_units_of_the_service() {
    let host = FakeHost::new().env_var("XDG_DATA_HOME", "/data/100%");
    let mut shown = String::new();
    for rung in [Rung::SystemService, Rung::UserService, Rung::LaunchAgent] {
        let log = Path::new("/home/dev/.local/share/macula/dns/resolver.log");
        let file = service::file(&host, rung, Path::new("/opt/my tools/macula"), log);
        let change::Content::Whole(text) = file.content else { panic!("{rung}") };
        shown.push_str(&format!("== {}\n{text}", file.path.display()));
    }
    insta::assert_snapshot!(shown, @r#"
    == /etc/systemd/system/macula-dns.service
    # macula: written by `macula dns install`; `macula dns uninstall` removes this file
    [Unit]
    Description=The resolver of dev's platforms (macula)
    After=network.target
    StartLimitIntervalSec=0
    RequiresMountsFor="/home/dev"

    [Service]
    ExecStart="/opt/my tools/macula" dns serve --started-by=service
    Restart=always
    RestartSec=1
    Environment="HOME=/home/dev"
    Environment="XDG_DATA_HOME=/data/100%%"
    User=dev
    AmbientCapabilities=CAP_NET_BIND_SERVICE
    CapabilityBoundingSet=CAP_NET_BIND_SERVICE
    NoNewPrivileges=yes

    [Install]
    WantedBy=multi-user.target
    == /home/dev/.config/systemd/user/macula-dns.service
    # macula: written by `macula dns install`; `macula dns uninstall` removes this file
    [Unit]
    Description=The resolver of dev's platforms (macula)
    After=network.target
    StartLimitIntervalSec=0

    [Service]
    ExecStart="/opt/my tools/macula" dns serve --started-by=service
    Restart=always
    RestartSec=1
    Environment="HOME=/home/dev"
    Environment="XDG_DATA_HOME=/data/100%%"

    [Install]
    WantedBy=default.target
    == /home/dev/Library/LaunchAgents/dev.macula.dns.plist
    <?xml version="1.0" encoding="UTF-8"?>
    <!-- macula: written by `macula dns install`; `macula dns uninstall` removes this file -->
    <!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
    <plist version="1.0">
    <dict>
      <key>Label</key><string>dev.macula.dns</string>
      <key>ProgramArguments</key>
      <array>
        <string>/opt/my tools/macula</string><string>dns</string><string>serve</string><string>--started-by=service</string>
      </array>
      <key>EnvironmentVariables</key>
      <dict>
        <key>HOME</key><string>/home/dev</string>
        <key>XDG_DATA_HOME</key><string>/data/100%</string>
      </dict>
      <key>RunAtLoad</key><true/>
      <key>KeepAlive</key><true/>
      <key>StandardErrorPath</key><string>/home/dev/.local/share/macula/dns/resolver.log</string>
    </dict>
    </plist>
    "#);
}

/// A run that is killed at any moment, in the middle of a write too, is undone by the next one.
#[tokio::test]
async fn every_moment_to_be_killed_at() {
    let machines: [(fn() -> FakeHost, Method); 3] = [
        (plain, Method::ResolvConf),
        (|| FakeHost::new().file("/etc/hosts", "127.0.0.1 localhost"), Method::Hosts),
        (
            || {
                plain().file("/run/systemd/resolve/resolv.conf", "").program("resolvectl").answer(
                    "resolvectl --version",
                    0,
                    "systemd 258 (258)\n",
                    "",
                )
            },
            Method::Resolved,
        ),
    ];
    for (machine, method) in machines {
        for torn in [0, 1, 20, 5000] {
            let mut survived = false;
            for moment in 0..20 {
                let left_alive = Arc::new(AtomicUsize::new(moment));
                let counter = left_alive.clone();
                let host = with_root(machine(), move || {
                    let alive = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                    alive.map(drop).map_err(|_| torn)
                });
                let host = host.name("ns.macula.local", [ours()]);
                let before = etc(&host);
                survived = install(&host, folder(), &target(53), method).await.is_ok();
                if survived {
                    // killed while it is undone, then
                    left_alive.store(0, Ordering::SeqCst);
                    let _ = uninstall(&host, folder()).await;
                }
                left_alive.store(1000, Ordering::SeqCst);
                uninstall(&host, folder()).await.unwrap();
                assert_eq!(etc(&host), before, "{method}, killed at {moment} with {torn} bytes written");
                assert_eq!(left(&host), [] as [PathBuf; 0]);
                if survived {
                    break;
                }
            }
            assert!(survived, "{method}");
        }
    }
}
