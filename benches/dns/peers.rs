//! The other servers: their configuration, their processes, what they use.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::SERVER_CORE;

/// For answers of their own, and from a cache.
pub const LOCAL: [&str; 9] = ["macula", "echo", "knot", "nsd", "unbound", "dnsmasq", "bind", "pdns", "hickory"];
pub const CACHED: [&str; 3] = ["macula", "unbound", "dnsmasq"];

pub struct Setup {
    pub names: usize,
    /// The port to forward to; none: the servers answer by themselves.
    pub upstream: Option<u16>,
    pub folder: PathBuf,
}

/// A running server; killed when dropped.
pub struct Peer {
    pub name: &'static str,
    pub port: u16,
    child: Child,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // the whole group: some start processes of their own
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Peer {
    /// The processes of its group.
    fn processes(&self) -> Vec<PathBuf> {
        let group = self.child.id().to_string();
        let folders = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        folders
            .filter_map(|folder| {
                let stat = fs::read_to_string(folder.join("stat")).ok()?;
                // the name, in parentheses, may hold anything
                (stat.rsplit_once(')')?.1.split_whitespace().nth(2)? == group).then_some(folder)
            })
            .collect()
    }

    /// Seconds of processor time of all threads, as the scheduler counts it (to the nanosecond,
    /// where the usual counters have steps of ten milliseconds).
    pub fn processor_time(&self) -> f64 {
        let threads = self.processes().into_iter().flat_map(|folder| fs::read_dir(folder.join("task"))).flatten();
        let nanos: f64 = threads
            .flatten()
            .filter_map(|thread| {
                let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
                text.split_whitespace().next()?.parse::<f64>().ok()
            })
            .sum();
        nanos / 1e9
    }

    /// Bytes in memory, shared pages counted by share.
    pub fn memory(&self) -> u64 {
        let rollups =
            self.processes().into_iter().filter_map(|folder| fs::read_to_string(folder.join("smaps_rollup")).ok());
        rollups
            .filter_map(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
                line.trim().trim_end_matches(" kB").parse::<u64>().ok()
            })
            .sum::<u64>()
            * 1024
    }
}

/// A server that is this program.
pub fn role(name: &'static str, port: u16, more: &[&str], upstream: Option<u16>) -> Result<Peer, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut arguments = vec!["--role".to_owned(), name.to_owned(), "--port".to_owned(), port.to_string()];
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    if let Some(upstream) = upstream {
        arguments.extend(["--upstream".to_owned(), upstream.to_string()]);
    }
    spawn(name, port, &program, &arguments, &std::env::temp_dir())
}

pub fn start(name: &'static str, setup: &Setup, port: u16) -> Result<Peer, String> {
    let folder = setup.folder.join(name);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let names = setup.names.to_string();
    let at = folder.display();
    let (program, arguments): (&str, Vec<String>) = match name {
        "macula" | "echo" | "hickory" => return role(name, port, &["--names", &names], setup.upstream),
        "knot" => {
            write_zone(&folder, setup.names)?;
            let text = format!(
                "server:\n  listen: 127.0.0.1@{port}\n  rundir: {at}\n  udp-workers: 1\n  tcp-workers: 1\n  \
                 background-workers: 1\ndatabase:\n  storage: {at}/db\nzone:\n  - domain: bench.example\n    \
                 file: {at}/zone\n    journal-content: none\n    zonefile-load: whole\n"
            );
            write_file(&folder, "conf", &text)?;
            ("knotd", vec!["-c".into(), format!("{at}/conf")])
        }
        "nsd" => {
            write_zone(&folder, setup.names)?;
            let text = format!(
                "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  server-count: 1\n  \
                 database: \"\"\n  pidfile: \"{at}/pid\"\n  zonesdir: \"{at}\"\n  xfrdfile: \"{at}/xfrd\"\n  \
                 zonelistfile: \"{at}/zonelist\"\n  xfrdir: \"{at}\"\n  tcp-count: 100\n  tcp-query-count: 0\n  \
                 rrl-ratelimit: 0\nremote-control:\n  control-enable: no\nzone:\n  name: bench.example\n  \
                 zonefile: {at}/zone\n"
            );
            write_file(&folder, "conf", &text)?;
            ("nsd", vec!["-d".into(), "-c".into(), format!("{at}/conf")])
        }
        "unbound" => {
            let mut text = format!(
                "server:\n  interface: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{at}\"\n  \
                 pidfile: \"{at}/pid\"\n  use-syslog: no\n  num-threads: 1\n  do-daemonize: no\n  \
                 module-config: \"iterator\"\n  do-not-query-localhost: no\n  incoming-num-tcp: 100\n  \
                 msg-cache-size: 16m\n  rrset-cache-size: 16m\n"
            );
            match setup.upstream {
                Some(upstream) => {
                    let _ = write!(text, "forward-zone:\n  name: \".\"\n  forward-addr: 127.0.0.1@{upstream}\n");
                }
                None => {
                    text.push_str("  local-zone: \"bench.example.\" static\n");
                    let soa = "bench.example. 30 IN SOA ns.bench.example. hostmaster.bench.example. 1 60 10 3600 30";
                    let _ = writeln!(text, "  local-data: \"{soa}\"");
                    text.push_str("  local-zone: \"wild.bench.example.\" redirect\n");
                    text.push_str("  local-data: \"wild.bench.example. 30 IN A 127.0.0.10\"\n");
                    for number in 0..setup.names {
                        let _ = writeln!(text, "  local-data: \"{}\"", record(number));
                    }
                }
            }
            text.push_str("remote-control:\n  control-enable: no\n");
            write_file(&folder, "conf", &text)?;
            ("unbound", vec!["-d".into(), "-c".into(), format!("{at}/conf")])
        }
        "dnsmasq" => {
            let mut text = format!(
                "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nno-daemon\nuser=root\n\
                 cache-size=10000\ndns-forward-max=1000\npid-file={at}/pid\n"
            );
            match setup.upstream {
                Some(upstream) => {
                    let _ = writeln!(text, "server=127.0.0.1#{upstream}");
                }
                None => {
                    text.push_str("local=/bench.example/\naddress=/wild.bench.example/127.0.0.10\n");
                    for number in 0..setup.names {
                        let [_, _, high, low] = address(number).octets();
                        let _ = writeln!(text, "host-record=n{number}.bench.example,127.1.{high}.{low}");
                    }
                }
            }
            write_file(&folder, "conf", &text)?;
            ("dnsmasq", vec!["-k".into(), "-C".into(), format!("{at}/conf")])
        }
        "bind" => {
            write_zone(&folder, setup.names)?;
            let text = format!(
                "options {{ directory \"{at}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
                 pid-file \"{at}/pid\"; session-keyfile \"{at}/key\"; recursion no; dnssec-validation no; \
                 minimal-responses yes; }};\ncontrols {{ }};\n\
                 zone \"bench.example\" {{ type primary; file \"{at}/zone\"; }};\n"
            );
            write_file(&folder, "conf", &text)?;
            ("named", vec!["-f".into(), "-n".into(), "1".into(), "-c".into(), format!("{at}/conf")])
        }
        "pdns" => {
            write_zone(&folder, setup.names)?;
            write_file(
                &folder,
                "bind.conf",
                &format!("zone \"bench.example\" {{ type master; file \"{at}/zone\"; }};\n"),
            )?;
            let text = format!(
                "launch=bind\nbind-config={at}/bind.conf\nlocal-address=127.0.0.1\nlocal-port={port}\nsocket-dir={at}\n\
                 receiver-threads=1\ndistributor-threads=1\nguardian=no\ndaemon=no\nsetuid=\nsetgid=\nloglevel=0\n"
            );
            write_file(&folder, "pdns.conf", &text)?;
            ("pdns_server", vec![format!("--config-dir={at}")])
        }
        other => return Err(format!("no server {other}")),
    };
    let path = find(program).ok_or_else(|| format!("{program} is absent"))?;
    spawn(name, port, &path, &arguments, &folder)
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, (number >> 8) as u8, number as u8)
}

fn record(number: usize) -> String {
    format!("n{number}.bench.example. 30 IN A {}", address(number))
}

fn write_zone(folder: &Path, names: usize) -> Result<(), String> {
    let mut text = String::from(
        "$ORIGIN bench.example.\n$TTL 30\n@ IN SOA ns hostmaster 1 60 10 3600 30\n@ IN NS ns\nns IN A 127.0.0.1\n\
         *.wild IN A 127.0.0.10\n",
    );
    for number in 0..names {
        let _ = writeln!(text, "{}", record(number));
    }
    write_file(folder, "zone", &text)
}

fn write_file(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    fs::write(folder.join(name), text).map_err(|error| error.to_string())
}

fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let known = std::env::split_paths(&folders).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    known.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Starts a server on its core and waits until it answers.
fn spawn(name: &'static str, port: u16, program: &Path, arguments: &[String], folder: &Path) -> Result<Peer, String> {
    let mut command = match find("taskset") {
        Some(taskset) => {
            let mut command = Command::new(taskset);
            command.args(["-c", &SERVER_CORE.to_string()]).arg(program);
            command
        }
        None => Command::new(program),
    };
    let log = fs::File::create(folder.join(format!("{name}-{port}.log"))).map_err(|error| error.to_string())?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    command.args(arguments).stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    let child = command.spawn().map_err(|error| error.to_string())?;
    let mut peer = Peer { name, port, child };
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if peer.child.try_wait().is_ok_and(|status| status.is_some()) {
            break;
        }
        if answers(port).unwrap_or(false) {
            return Ok(peer);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = fs::read_to_string(folder.join(format!("{name}-{port}.log"))).unwrap_or_default();
    let last: Vec<&str> = log.lines().rev().take(2).collect();
    Err(format!("it does not answer: {}", last.join(" / ")))
}

fn answers(port: u16) -> io::Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.connect((Ipv4Addr::LOCALHOST, port))?;
    socket.send(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x02n1\x05bench\x07example\0\0\x01\0\x01")?;
    let mut buffer = [0; 1500];
    Ok(socket.recv(&mut buffer).is_ok_and(|length| length >= 12))
}
