//! The ways in which a system can be pointed at the resolver: what each writes and runs.

use std::fmt;
use std::path::{Path, PathBuf};

use super::change::{Content, HEADER, Receipt, Wanted};
use super::rung::Rung;
use super::{InstallError, Target};
use crate::host::{Command, Host};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
const DELEGATE: &str = "/etc/systemd/dns-delegate.d/macula.dns-delegate";
const LINK_UNIT: &str = "macula-dns-link.service";
/// A link of ours that only carries names. Its address is of TEST-NET-1 (RFC 5737): systemd-resolved
/// passes over links without one.
const LINK: &str = "macula-dns";
const LINK_ADDRESS: &str = "192.0.2.53/32";
const NETWORK_MANAGER: &str = "/etc/NetworkManager/dnsmasq.d/macula.conf";
/// Where a unit's programs are looked for.
const PROGRAMS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// What systemd-resolved keeps while it runs.
const RESOLVED_RUNS: &str = "/run/systemd/resolve/resolv.conf";

/// What a user asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Method {
    /// The first of the others that holds on this machine.
    #[default]
    Auto,
    Resolved,
    NetworkManager,
    ResolvConf,
    Hosts,
    Macos,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Resolved => "resolved",
            Self::NetworkManager => "networkmanager",
            Self::ResolvConf => "resolv-conf",
            Self::Hosts => "hosts",
            Self::Macos => "macos",
        })
    }
}

/// What decides which rungs there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    macos: bool,
    /// Version of systemd-resolved, where it runs.
    resolved: Option<u32>,
    /// NetworkManager hands names to a dnsmasq of its own.
    dnsmasq: bool,
    resolv_conf: String,
    /// It could start the resolver on port 53.
    systemd: bool,
    /// The C library asks all servers at once, and the first answer counts.
    musl: bool,
    /// The resolver is a service of the system's: it is there whenever the machine is.
    service: bool,
}

impl Machine {
    /// `folder`: where it is kept what was done.
    pub async fn look(host: &dyn Host, folder: &Path) -> Self {
        let facts = host.facts();
        let text = async |path: &Path| match host.read(path).await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        };
        let mut resolved = None;
        if host.which("resolvectl").is_some() && host.exists(Path::new(RESOLVED_RUNS)).await {
            let said = host.run(&Command::new("resolvectl", ["--version"]).may_fail()).await;
            resolved = said.ok().and_then(|output| systemd_version(&output.stdout()));
        }
        let mut dnsmasq = false;
        if host.exists(Path::new("/run/NetworkManager")).await {
            let mut files = vec![PathBuf::from("/etc/NetworkManager/NetworkManager.conf")];
            for folder in ["/usr/lib/NetworkManager/conf.d", "/etc/NetworkManager/conf.d"] {
                let folder = Path::new(folder);
                files.extend(host.list(folder).await.unwrap_or_default().iter().map(|name| folder.join(name)));
            }
            for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "conf")) {
                // the last one counts
                dnsmasq = dns_plugin(&text(file).await).map_or(dnsmasq, |plugin| plugin == "dnsmasq");
            }
        }
        Self {
            macos: facts.os == "macos",
            resolved,
            dnsmasq,
            resolv_conf: text(Path::new(RESOLV_CONF)).await,
            systemd: facts.systemd,
            musl: facts.distribution.as_deref() == Some("alpine"),
            service: Receipt::is_service(host, folder).await,
        }
    }

    /// Programs would ask the other servers of /etc/resolv.conf although ours answers, so that these have to be put out
    /// of force: then nothing resolves any more while ours does not run.
    fn mixes(&self) -> bool {
        self.musl || self.resolv_conf.lines().any(is_rotating)
    }

    /// The rungs to try for a method, in order, or why there is none.
    pub fn rungs(&self, method: Method, target: &Target) -> Result<Vec<Rung>, InstallError> {
        let no = |reason: &str| Err(InstallError::Unfit { method: method.to_string(), reason: reason.into() });
        let port = target.address.port();
        let of_resolved = match self.resolved {
            Some(258..) => vec![Rung::ResolvedDelegate, Rung::ResolvedLink],
            Some(246..) => vec![Rung::ResolvedLink],
            _ => Vec::new(),
        };
        match method {
            Method::Auto if self.macos => Ok(vec![Rung::Macos, Rung::Hosts]),
            Method::Auto => {
                let mut all = of_resolved;
                if self.dnsmasq {
                    all.push(Rung::NetworkManager);
                }
                // where a local resolver is in front, its own rung is the way
                if self.resolved.is_none() && !self.dnsmasq && port == 53 && (self.service || !self.mixes()) {
                    all.push(Rung::ResolvConf);
                }
                all.push(Rung::Hosts);
                Ok(all)
            }
            Method::Resolved if of_resolved.is_empty() => match self.resolved {
                Some(version) => no(&format!("systemd {version} is too old; it takes 246")),
                None => no("systemd-resolved does not run here"),
            },
            Method::Resolved => Ok(of_resolved),
            Method::NetworkManager if !self.dnsmasq => {
                no("NetworkManager does not run a dnsmasq here (dns=dnsmasq in its configuration)")
            }
            Method::NetworkManager => Ok(vec![Rung::NetworkManager]),
            Method::ResolvConf if port != 53 && self.systemd => no(&format!(
                "/etc/resolv.conf knows no ports, and the resolver has {port}: `macula dns install --service system` \
                 starts it on port 53"
            )),
            Method::ResolvConf if port != 53 => no(&format!(
                "/etc/resolv.conf knows no ports, and the resolver has {port}: without systemd only one that root \
                 starts has port 53"
            )),
            Method::ResolvConf if self.mixes() && !self.service => no(&format!(
                "this machine asks all servers of /etc/resolv.conf, so that the others would have to be commented out, \
                 and no name would resolve while the resolver does not run; {}",
                match self.systemd {
                    true => "`macula dns install --service system` keeps it running",
                    false => "without systemd nothing starts it with the machine",
                }
            )),
            Method::ResolvConf => Ok(vec![Rung::ResolvConf]),
            Method::Hosts => Ok(vec![Rung::Hosts]),
            Method::Macos if !self.macos => no("this is not macOS"),
            Method::Macos => Ok(vec![Rung::Macos]),
        }
    }

    /// Whether a rung can be used here again, or why it cannot.
    pub fn fits(&self, rung: Rung, target: &Target) -> Result<(), InstallError> {
        let method = match rung {
            Rung::ResolvedDelegate | Rung::ResolvedLink => Method::Resolved,
            Rung::NetworkManager => Method::NetworkManager,
            Rung::ResolvConf => Method::ResolvConf,
            Rung::Hosts => Method::Hosts,
            Rung::Macos => Method::Macos,
            Rung::SystemService | Rung::UserService | Rung::LaunchAgent => return Ok(()),
        };
        self.rungs(method, target).map(drop)
    }
}

impl Machine {
    /// A better way that was out of reach.
    pub fn better(&self, rung: Rung, target: &Target) -> Option<String> {
        let plain = !self.macos && self.resolved.is_none() && !self.dnsmasq;
        if rung != Rung::Hosts || !plain {
            return None;
        }
        let better = match (target.address.port(), self.systemd) {
            (53, _) if !self.mixes() || self.service => return None,
            (53, true) => {
                "with the resolver as a service of the system all names would resolve: `macula dns install --service system`"
            }
            // without systemd nothing starts it with the machine
            (53, false) if self.musl => {
                "/etc/resolv.conf was left as it is: this machine's C library (musl) asks all of its servers at once"
            }
            (53, false) => {
                "/etc/resolv.conf was left as it is: its `options rotate` spreads questions over all servers; without \
                 `rotate` all names would resolve"
            }
            (_, true) => {
                "with the resolver on port 53 all names would resolve: `macula dns install --service system` starts it there"
            }
            (_, false) => return None,
        };
        Some(better.to_owned())
    }
}

/// `systemd 257 (257.9-1~deb13u1)`
fn systemd_version(text: &str) -> Option<u32> {
    let number = text.lines().next()?.split_whitespace().nth(1)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// `dns=` of `[main]`.
fn dns_plugin(text: &str) -> Option<&str> {
    let (mut main, mut found) = (false, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            main = line == "[main]";
        } else if let (true, Some((key, value))) = (main, line.split_once('='))
            && key.trim() == "dns"
        {
            found = Some(value.trim());
        }
    }
    found
}

impl Rung {
    /// The files of this rung.
    pub fn files(self, host: &dyn Host, machine: &Machine, target: &Target) -> Vec<Wanted> {
        let root = |path: &str, content| Wanted { path: path.into(), content, root: true };
        let address = target.address;
        let routed = |prefix: &str| {
            target.domains.iter().map(|domain| format!("{prefix}{domain}")).collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::ResolvedDelegate => {
                let text = format!("# {HEADER}\n[Delegate]\nDNS={address}\nDomains={}\n", routed("~"));
                vec![root(DELEGATE, Content::Whole(text))]
            }
            Self::ResolvedLink => {
                // root runs these at every start of the machine: not what the user's PATH has first
                let program = |name: &str| {
                    let found = PROGRAMS.iter().find_map(|folder| host.which(&format!("{folder}/{name}")));
                    found.unwrap_or_else(|| Path::new("/usr/bin").join(name)).display().to_string()
                };
                let (ip, resolvectl) = (program("ip"), program("resolvectl"));
                let text = format!(
                    "# {HEADER}\n[Unit]\nDescription=Names below {} go to the resolver at {address}\n\
                     After=systemd-resolved.service\nPartOf=systemd-resolved.service\n\n\
                     [Service]\nType=oneshot\nRemainAfterExit=yes\n\
                     ExecStart=-{ip} link add {LINK} type dummy\n\
                     ExecStart={ip} address replace {LINK_ADDRESS} dev {LINK}\n\
                     ExecStart={ip} link set {LINK} up\n\
                     ExecStart={resolvectl} dns {LINK} {address}\n\
                     ExecStart={resolvectl} domain {LINK} {}\n\
                     ExecStart={resolvectl} default-route {LINK} no\n\
                     ExecStop=-{ip} link delete {LINK}\n\n\
                     [Install]\nWantedBy=multi-user.target systemd-resolved.service\n",
                    target.domains.join(" "),
                    routed("~"),
                );
                vec![root(&format!("/etc/systemd/system/{LINK_UNIT}"), Content::Whole(text))]
            }
            Self::NetworkManager => {
                let mut text = format!("# {HEADER}\n");
                for domain in &target.domains {
                    text.push_str(&format!("server=/{domain}/{}#{}\n", address.ip(), address.port()));
                    text.push_str(&format!("rebind-domain-ok=/{domain}/\n"));
                }
                vec![root(NETWORK_MANAGER, Content::Whole(text))]
            }
            Self::ResolvConf => {
                // The former servers stay behind ours: they take over should it be gone. Where they
                // would be asked although ours answers they are put out of force.
                let part = format!("nameserver {}\n", address.ip());
                vec![root(RESOLV_CONF, Content::First { part, mute: machine.mixes().then_some("nameserver") })]
            }
            Self::Hosts => {
                let line = |(name, address): &(String, std::net::IpAddr)| format!("{address} {name}\n");
                let part = target.names.iter().map(line).collect();
                vec![root(HOSTS, Content::Last { part })]
            }
            Self::Macos => {
                let of = |domain: &String| {
                    let text = format!("# {HEADER}\nnameserver {}\nport {}\n", address.ip(), address.port());
                    root(&format!("/etc/resolver/{domain}"), Content::Whole(text))
                };
                target.domains.iter().map(of).collect()
            }
            Self::SystemService | Self::UserService | Self::LaunchAgent => Vec::new(),
        }
    }

    /// What takes up the files once they are written.
    pub fn take_up(self, host: &dyn Host, files: &[PathBuf]) -> Vec<Command> {
        let run = |program: &str, args: &[&str]| Command::new(program, args.iter().copied()).privileged();
        let file = || files.first().map(|file| file.display().to_string()).unwrap_or_default();
        match self {
            Self::ResolvedDelegate => vec![run("systemctl", &["reload-or-restart", "systemd-resolved.service"])],
            Self::ResolvedLink => vec![
                run("systemctl", &["daemon-reload"]),
                run("systemctl", &["enable", LINK_UNIT]),
                run("systemctl", &["restart", LINK_UNIT]),
            ],
            Self::NetworkManager => vec![run("nmcli", &["general", "reload", "dns-full"])],
            Self::ResolvConf | Self::Hosts => forget_cached(host),
            Self::Macos => vec![
                run("dscacheutil", &["-flushcache"]).may_fail(),
                run("killall", &["-HUP", "mDNSResponder"]).may_fail(),
            ],
            Self::SystemService => {
                vec![run("systemctl", &["daemon-reload"]), run("systemctl", &["enable", "--now", super::service::UNIT])]
            }
            Self::UserService => vec![
                Command::new("systemctl", ["--user", "daemon-reload"]),
                Command::new("systemctl", ["--user", "enable", "--now", super::service::UNIT]),
            ],
            Self::LaunchAgent => {
                vec![Command::new("launchctl", ["bootstrap".to_owned(), format!("gui/{}", host.facts().uid), file()])]
            }
        }
    }

    /// What must be run while the files are still there. It may have been run before.
    pub fn before_undo(self, host: &dyn Host, files: &[PathBuf]) -> Vec<Command> {
        let stop = |user: &[&str], unit: &str| {
            let args = user.iter().copied().chain(["disable", "--now", unit]);
            Command::new("systemctl", args).may_fail()
        };
        match self {
            Self::ResolvedLink => vec![stop(&[], LINK_UNIT).privileged()],
            Self::SystemService => vec![stop(&[], super::service::UNIT).privileged()],
            Self::UserService => vec![stop(&["--user"], super::service::UNIT)],
            Self::LaunchAgent => {
                let file = files.first().map(|file| file.display().to_string()).unwrap_or_default();
                let domain = format!("gui/{}", host.facts().uid);
                vec![Command::new("launchctl", ["bootout".to_owned(), domain, file]).may_fail()]
            }
            _ => Vec::new(),
        }
    }

    /// What takes up that the files are gone.
    pub fn after_undo(self, host: &dyn Host) -> Vec<Command> {
        match self {
            Self::ResolvedLink | Self::SystemService => vec![Command::new("systemctl", ["daemon-reload"]).privileged()],
            Self::UserService => vec![Command::new("systemctl", ["--user", "daemon-reload"]).may_fail()],
            Self::LaunchAgent => Vec::new(),
            _ => self.take_up(host, &[]),
        }
    }

    /// What a user should know of it.
    pub fn notes(self, target: &Target) -> Vec<String> {
        match self {
            Self::Hosts => vec![
                format!(
                    "/etc/hosts knows no wildcard: names below *.{}, of applications in the cluster and of `dns add` do \
                     not resolve",
                    target.domains.first().map_or("the domain", String::as_str)
                ),
                "names that come later are there after another `macula dns install`".into(),
            ],
            _ => Vec::new(),
        }
    }
}

/// `options rotate` spreads questions over all servers.
fn is_rotating(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("options") && words.any(|word| word == "rotate")
}

/// nscd keeps what it was told, that a name does not exist as well.
fn forget_cached(host: &dyn Host) -> Vec<Command> {
    match host.which("nscd") {
        Some(_) => vec![Command::new("nscd", ["-i", "hosts"]).privileged().may_fail()],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dns::install::Service;
    use crate::host::fake::FakeHost;

    fn target(port: u16) -> Target {
        Target {
            address: ([127, 0, 0, 9], port).into(),
            domains: vec!["macula.local".into()],
            names: Vec::new(),
            probes: Vec::new(),
            patience: Duration::ZERO,
        }
    }

    const MACOS: fn(&mut crate::host::HostFacts) = |facts| facts.os = "macos".into();

    #[test]
    fn every_rung_and_its_commands() {
        let host = FakeHost::new().program("nscd").facts_with(|facts| facts.uid = 501);
        let lines = |commands: Vec<Command>| {
            let end = |command: &Command| if command.may_fail { " (or not)" } else { "" };
            let shown: Vec<String> = commands.iter().map(|command| format!("{command}{}", end(command))).collect();
            shown.join("; ")
        };
        let files = [PathBuf::from("/x/one.file"), PathBuf::from("/x/two")];
        let nscd = "sudo nscd -i hosts (or not)";
        let reload = "sudo systemctl daemon-reload";
        for (rung, taken_up, before, after) in [
            (
                Rung::ResolvedDelegate,
                "sudo systemctl reload-or-restart systemd-resolved.service",
                "",
                "sudo systemctl reload-or-restart systemd-resolved.service",
            ),
            (
                Rung::ResolvedLink,
                "sudo systemctl daemon-reload; sudo systemctl enable macula-dns-link.service; \
                 sudo systemctl restart macula-dns-link.service",
                "sudo systemctl disable --now macula-dns-link.service (or not)",
                reload,
            ),
            (Rung::NetworkManager, "sudo nmcli general reload dns-full", "", "sudo nmcli general reload dns-full"),
            (Rung::ResolvConf, nscd, "", nscd),
            (Rung::Hosts, nscd, "", nscd),
            (
                Rung::Macos,
                "sudo dscacheutil -flushcache (or not); sudo killall -HUP mDNSResponder (or not)",
                "",
                "sudo dscacheutil -flushcache (or not); sudo killall -HUP mDNSResponder (or not)",
            ),
            (
                Rung::SystemService,
                "sudo systemctl daemon-reload; sudo systemctl enable --now macula-dns.service",
                "sudo systemctl disable --now macula-dns.service (or not)",
                reload,
            ),
            (
                Rung::UserService,
                "systemctl --user daemon-reload; systemctl --user enable --now macula-dns.service",
                "systemctl --user disable --now macula-dns.service (or not)",
                "systemctl --user daemon-reload (or not)",
            ),
            (
                Rung::LaunchAgent,
                "launchctl bootstrap gui/501 /x/one.file",
                "launchctl bootout gui/501 /x/one.file (or not)",
                "",
            ),
        ] {
            let found = [rung.take_up(&host, &files), rung.before_undo(&host, &files), rung.after_undo(&host)];
            assert_eq!(found.map(lines), [taken_up, before, after], "{rung}");
        }
        // without nscd nobody has kept anything
        assert!(Rung::Hosts.take_up(&FakeHost::new(), &files).is_empty());
    }

    #[test]
    fn the_rungs_of_a_machine_in_their_order() {
        let machine = Machine { systemd: true, ..Machine::default() };
        let rungs = |machine: &Machine, port: u16| machine.rungs(Method::Auto, &target(port)).unwrap();
        let with = |resolved: u32| Machine { resolved: Some(resolved), ..machine.clone() };
        let (delegate, link, manager) = (Rung::ResolvedDelegate, Rung::ResolvedLink, Rung::NetworkManager);
        assert_eq!(rungs(&with(258), 53), [delegate, link, Rung::Hosts]);
        assert_eq!(rungs(&with(257), 53), [link, Rung::Hosts]);
        assert_eq!(rungs(&with(246), 53), [link, Rung::Hosts]);
        assert_eq!(rungs(&with(245), 53), [Rung::Hosts]);
        let dnsmasq = Machine { dnsmasq: true, ..machine.clone() };
        assert_eq!(rungs(&dnsmasq, 53), [manager, Rung::Hosts]);
        assert_eq!(rungs(&Machine { dnsmasq: true, ..with(246) }, 53), [link, manager, Rung::Hosts]);
        assert_eq!(rungs(&machine, 53), [Rung::ResolvConf, Rung::Hosts]);
        assert_eq!(rungs(&machine, 5335), [Rung::Hosts]);
        let musl = Machine { musl: true, ..machine.clone() };
        assert_eq!(rungs(&musl, 53), [Rung::Hosts]);
        assert_eq!(rungs(&Machine { service: true, ..musl }, 53), [Rung::ResolvConf, Rung::Hosts]);
        let macos = Machine { macos: true, ..Machine::default() };
        assert_eq!(rungs(&macos, 53), [Rung::Macos, Rung::Hosts]);
        // which of them a plain machine takes when it is told, and which again
        let taken = |machine: &Machine, port: u16| {
            let all = [delegate, link, manager, Rung::ResolvConf, Rung::Hosts, Rung::Macos, Rung::UserService];
            all.map(|rung| machine.fits(rung, &target(port)).is_ok())
        };
        assert_eq!(taken(&machine, 53), [false, false, false, true, true, false, true]);
        assert_eq!(taken(&machine, 5335), [false, false, false, false, true, false, true]);
        assert_eq!(taken(&with(246), 53), [true, true, false, true, true, false, true]);
        assert_eq!(taken(&dnsmasq, 53), [false, false, true, true, true, false, true]);
        assert_eq!(taken(&macos, 53), [false, false, false, true, true, true, true]);
        let methods = [Method::Resolved, Method::NetworkManager, Method::ResolvConf, Method::Macos];
        let named = |machine: &Machine| methods.map(|method| machine.rungs(method, &target(53)).ok());
        assert_eq!(
            named(&Machine { resolved: Some(258), dnsmasq: true, macos: true, ..machine.clone() }),
            [vec![delegate, link], vec![manager], vec![Rung::ResolvConf], vec![Rung::Macos]].map(Some)
        );
    }

    #[test]
    fn a_better_way_is_told_where_there_is_one() {
        let rotating = |systemd| Machine { systemd, resolv_conf: "options rotate\n".into(), ..Machine::default() };
        let musl = Machine { musl: true, ..Machine::default() };
        let plain = |systemd| Machine { systemd, ..Machine::default() };
        let served = Machine { service: true, ..rotating(true) };
        let starts = Some(
            "with the resolver on port 53 all names would resolve: `macula dns install --service system` starts it \
             there",
        );
        let keeps = Some(
            "with the resolver as a service of the system all names would resolve: `macula dns install --service \
             system`",
        );
        let rotate = Some(
            "/etc/resolv.conf was left as it is: its `options rotate` spreads questions over all servers; without \
             `rotate` all names would resolve",
        );
        let all =
            Some("/etc/resolv.conf was left as it is: this machine's C library (musl) asks all of its servers at once");
        for (machine, rung, port, better) in [
            (plain(true), Rung::Hosts, 5335, starts),
            (plain(false), Rung::Hosts, 5335, None),
            (plain(true), Rung::Hosts, 53, None),
            (rotating(true), Rung::Hosts, 53, keeps),
            (rotating(true), Rung::Hosts, 5335, starts),
            (rotating(false), Rung::Hosts, 53, rotate),
            (musl, Rung::Hosts, 53, all),
            (served, Rung::Hosts, 53, None),
            (plain(true), Rung::ResolvConf, 5335, None),
            (Machine { macos: true, ..plain(true) }, Rung::Hosts, 5335, None),
            (Machine { dnsmasq: true, ..plain(true) }, Rung::Hosts, 5335, None),
            (Machine { resolved: Some(258), ..plain(true) }, Rung::Hosts, 5335, None),
        ] {
            assert_eq!(machine.better(rung, &target(port)).as_deref(), better, "{machine:?} {rung} {port}");
        }
    }

    #[tokio::test]
    async fn what_decides_is_looked_at() {
        let folder = Path::new("/data/dns/install");
        let plain = Machine { systemd: true, ..Machine::default() };
        assert_eq!(Machine::look(&FakeHost::new(), folder).await, plain);
        // a program alone does not run, nor does what runs say its version without it
        let resolved =
            FakeHost::new().program("resolvectl").answer("resolvectl --version", 0, "systemd 257 (257)\n", "");
        assert_eq!(Machine::look(&resolved, folder).await, plain);
        let resolved = resolved.file(RESOLVED_RUNS, "");
        assert_eq!(Machine::look(&resolved, folder).await, Machine { resolved: Some(257), ..plain.clone() });
        assert_eq!(Machine::look(&FakeHost::new().file(RESOLVED_RUNS, ""), folder).await, plain);
        let other = FakeHost::new()
            .facts_with(|facts| (facts.systemd, facts.distribution) = (false, Some("alpine".into())))
            .file(RESOLV_CONF, "nameserver 192.0.2.1\n");
        let expected = Machine { musl: true, resolv_conf: "nameserver 192.0.2.1\n".into(), ..Machine::default() };
        assert_eq!(Machine::look(&other, folder).await, expected);
        let macos = Machine::look(&FakeHost::new().facts_with(MACOS), folder).await;
        assert_eq!(macos, Machine { macos: true, ..plain.clone() });
        // of NetworkManager's files the last one counts, and only while it runs
        let etc = "/etc/NetworkManager";
        let manager = FakeHost::new()
            .file(format!("{etc}/NetworkManager.conf"), "[main]\ndns=default\n")
            .file("/usr/lib/NetworkManager/conf.d/dns.conf", "[main]\ndns=dnsmasq\n")
            .file(format!("{etc}/conf.d/backup.conf~"), "[main]\ndns=none\n")
            .file(format!("{etc}/conf.d/wifi.conf"), "[device]\nwifi.scan-rand-mac-address=no\n");
        assert_eq!(Machine::look(&manager, folder).await, plain);
        let manager = manager.folder("/run/NetworkManager");
        assert_eq!(Machine::look(&manager, folder).await, Machine { dnsmasq: true, ..plain.clone() });
        let manager = manager.file(format!("{etc}/conf.d/z.conf"), "[main]\ndns=none\n");
        assert_eq!(Machine::look(&manager, folder).await, plain);
    }

    #[test]
    fn a_service_is_the_systems_or_the_users() {
        let said = |host: &FakeHost, service: Service| match service.rung(host) {
            Ok(rung) => rung.to_string(),
            Err(error) => error.to_string(),
        };
        let both = |host: &FakeHost| [Service::System, Service::User].map(|service| said(host, service));
        assert_eq!(both(&FakeHost::new()), ["a service of the system", "a service of the user"]);
        assert_eq!(
            both(&FakeHost::new().facts_with(MACOS)),
            ["service does not fit this machine: on macOS there is only `--service user`", "a launch agent"]
        );
        let without = "service does not fit this machine: systemd does not run here; `macula up` starts the resolver \
                       wherever there is none";
        assert_eq!(both(&FakeHost::new().facts_with(|facts| facts.systemd = false)), [without; 2]);
    }

    #[test]
    fn versions_and_plugins_are_read() {
        assert_eq!(systemd_version("systemd 257 (257.9-1~deb13u1)\n+PAM"), Some(257));
        assert_eq!(systemd_version("systemd 258~rc2 (x)"), Some(258));
        assert_eq!(systemd_version(""), None);
        assert_eq!(dns_plugin("[main]\nplugins=keyfile\n dns = dnsmasq\n[x]\ndns=none\n"), Some("dnsmasq"));
        assert_eq!(dns_plugin("[device]\ndns=dnsmasq\n"), None);
        assert!(is_rotating("options timeout:1 rotate") && !is_rotating("# options rotate"));
    }
}
