//! Whether services of the cluster can be reached from inside it. Add-ons whose pods run say nothing of that:
//! a kube-proxy that cannot write its rules leaves every pod ready and every service address dead.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::dns;
use crate::engine::Streams;
use crate::kubernetes::KubernetesError;
use crate::model::{ClusterRecord, ContainerState, NodeRole, ObservedCluster};
use crate::system::Inside;
use crate::words;

use super::content::Leads;

/// For all that a node asks.
const PATIENCE: Duration = Duration::from_secs(12);
const API: u16 = 443;
const DNS: u16 = 53;

/// Connects to the two services that each cluster has, and asks the second for the first one's name (RFC 1035,
/// over TCP). One line for each thing that is wrong. Bash, which the node images have.
const SCRIPT: &str = r#"
reach() { timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null; }
reach "$1" "$2" || echo "a pod cannot reach the API server's service ($1:$2)"
reach "$3" "$4" || { echo "a pod cannot reach the cluster's DNS ($3:$4)"; exit 0; }
name='\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00'
said=$(timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"; printf "\x00\x36\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00$2\x00\x01\x00\x01" >&3
  head -c 14 <&3 | od -An -v -tu1' "$3" "$4" "$name" 2>/dev/null)
set -- $said
[ $(( ${9:-0} * 256 + ${10:-0} )) -gt 0 ] || echo "the cluster's DNS does not answer for kubernetes.default.svc.cluster.local"
"#;

/// Asks for `name question`, two words each, of the cluster's DNS, side by side. One line each: `name answer`, the
/// answer in hexadecimal. Pods have this server in their resolv.conf, and nodes reach it in the same way.
const LOOK_UP: &str = r#"
one() {
  said=$(timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1" || exit; printf "$2" >&3
    set -- $(head -c 2 <&3 | od -An -v -tu1); head -c $(( ${1:-0} * 256 + ${2:-0} )) <&3 | od -An -v -tx1 | tr -d " \n"' "$@" 2>/dev/null)
  echo "$name $said"
}
dns=$1 port=$2; shift 2
while [ $# -ge 2 ]; do name=$1; one "$dns" "$port" "$2" & shift 2; done
wait
"#;

/// Connects to `address port`, two words each, side by side, and names those that nobody can.
const CONNECT: &str = r#"
one() { timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$@" 2>/dev/null || echo "$1"; }
while [ $# -ge 2 ]; do one "$1" "$2" & shift 2; done
wait
"#;

/// Names that are asked for at once.
const MOST: usize = 200;

/// Where the cluster has its own services.
struct Site {
    services: Ipv4Net,
    dns_port: u16,
    web_port: u16,
}

impl Site {
    fn of(record: &ClusterRecord) -> Option<Self> {
        Some(Self { services: record.service_subnet.parse().ok()?, dns_port: DNS, web_port: 80 })
    }

    fn nth(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.services.network()).saturating_add(number))
    }

    /// Kubeadm gives it the tenth address.
    fn dns(&self) -> Ipv4Addr {
        self.nth(10)
    }
}

fn command(record: &ClusterRecord) -> Option<Vec<String>> {
    let site = Site::of(record)?;
    // the first is the API server's
    Some(words(&site.nth(1).to_string(), API, &site.dns().to_string(), DNS))
}

fn words(api: &str, api_port: u16, dns: &str, dns_port: u16) -> Vec<String> {
    let ports = (api_port.to_string(), dns_port.to_string());
    ["bash", "-c", SCRIPT, "bash", api, &ports.0, dns, &ports.1].map(str::to_owned).into()
}

fn look_up(site: &Site, names: &BTreeMap<String, Leads>) -> Vec<String> {
    let mut words = ["bash", "-c", LOOK_UP, "bash"].map(str::to_owned).to_vec();
    words.extend([site.dns().to_string(), site.dns_port.to_string()]);
    for name in names.keys().take(MOST) {
        let Ok(question) = dns::question([0x12, 0x34], &name.replacen('*', "macula-validate", 1), 1) else { continue };
        let length = u16::try_from(question.len()).unwrap_or(u16::MAX).to_be_bytes();
        let escaped: String = length.iter().chain(&question).map(|byte| format!("\\x{byte:02x}")).collect();
        words.extend([name.clone(), escaped]);
    }
    words
}

/// The lines of [`LOOK_UP`]: where each name leads; `None`: nowhere.
fn found(text: &str) -> BTreeMap<String, Option<Ipv4Addr>> {
    let line = |line: &str| {
        let (name, answer) = line.split_once(' ')?;
        let bytes: Option<Vec<u8>> =
            (0..answer.len() / 2).map(|at| u8::from_str_radix(answer.get(at * 2..at * 2 + 2)?, 16).ok()).collect();
        let addresses = dns::addresses(&bytes?).unwrap_or_default();
        let first = addresses.into_iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        Some((name.to_owned(), first))
    };
    text.lines().filter_map(line).collect()
}

/// `a`, or `a, b, c and 4 more`.
fn some(names: &[&str]) -> String {
    match names.len() {
        0..=4 => words::list(names),
        all => format!("{} and {} more", names.iter().take(3).copied().collect::<Vec<_>>().join(", "), all - 3),
    }
}

/// Names that lead nowhere or elsewhere.
fn astray(site: &Site, wanted: &BTreeMap<String, Leads>, found: &BTreeMap<String, Option<Ipv4Addr>>) -> Vec<String> {
    let mut lost = Vec::new();
    let mut elsewhere: BTreeMap<(Ipv4Addr, String), Vec<&str>> = BTreeMap::new();
    for (name, at) in found {
        let Some(expected) = wanted.get(name) else { continue };
        match (at, expected) {
            (None, _) => lost.push(name.as_str()),
            (Some(at), Leads::Platform(expected) | Leads::Elsewhere(expected)) if at != expected => {
                elsewhere.entry((*at, expected.to_string())).or_default().push(name);
            }
            (Some(at), Leads::Cluster) if !site.services.contains(at) => {
                elsewhere.entry((*at, "the cluster's ingress".to_owned())).or_default().push(name);
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    if !lost.is_empty() {
        all.push(format!("a pod does not find {}", some(&lost)));
    }
    let elsewhere = elsewhere.into_iter();
    all.extend(
        elsewhere.map(|((at, expected), names)| format!("a pod finds {} at {at}, not at {expected}", some(&names))),
    );
    all
}

/// Asks for the names as a pod does, and connects to where they lead: to the platform's ingress and the cluster's.
/// What listens where names of people lead is theirs to know.
async fn of_names(engine: &dyn Streams, node: &str, site: &Site, names: &BTreeMap<String, Leads>) -> Vec<String> {
    let run = async |words: Vec<String>| match engine.exec(node, &words, PATIENCE).await {
        Ok(output) if output.exit_code == 0 => String::from_utf8(output.stdout).ok(),
        // without an answer nothing is known
        _ => None,
    };
    let Some(said) = run(look_up(site, names)).await else { return Vec::new() };
    let found = found(&said);
    let mut problems = astray(site, names, &found);
    let mut led: BTreeMap<Ipv4Addr, Vec<&str>> = BTreeMap::new();
    for (name, at) in &found {
        if let (Some(at), Some(Leads::Platform(_) | Leads::Cluster)) = (at, names.get(name)) {
            led.entry(*at).or_default().push(name);
        }
    }
    let mut words = ["bash", "-c", CONNECT, "bash"].map(str::to_owned).to_vec();
    for at in led.keys() {
        words.extend([at.to_string(), site.web_port.to_string()]);
    }
    let dead = run(words).await.unwrap_or_default();
    for (at, names) in dead.lines().filter_map(|line| led.get_key_value(&line.parse().ok()?)) {
        problems.push(format!("a pod cannot reach {at}:{}, where {} lead", site.web_port, some(names)));
    }
    problems
}

/// What does not work; nothing where it cannot be asked.
pub async fn problems(
    engine: &dyn Streams,
    inside: &dyn Inside,
    cluster: &ObservedCluster,
    record: &ClusterRecord,
    names: &BTreeMap<String, Leads>,
) -> Vec<String> {
    let plane =
        cluster.nodes.iter().find(|node| node.role == NodeRole::ControlPlane && node.state == ContainerState::Running);
    let of_services = async {
        let (Some(plane), Some(command)) = (plane, command(record)) else { return Vec::new() };
        match engine.exec(&plane.name, &command, PATIENCE).await {
            Ok(output) if output.exit_code == 0 => {
                String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
            }
            // without an answer nothing is known
            _ => Vec::new(),
        }
    };
    let of_names = async {
        match (plane, Site::of(record)) {
            (Some(plane), Some(site)) => of_names(engine, &plane.name, &site, names).await,
            _ => Vec::new(),
        }
    };
    type Said = Result<Vec<String>, KubernetesError>;
    let (mut found, names, apis, records): (Vec<String>, Vec<String>, Said, Said) =
        tokio::join!(of_services, of_names, inside.unavailable(), inside.records_behind());
    // without the cluster's DNS no name is found, and that is said already
    if found.is_empty() {
        found.extend(names);
    }
    found.extend(apis.unwrap_or_default());
    found.extend(records.unwrap_or_default());
    found
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;

    fn run(words: &[String]) -> Option<String> {
        let output = Command::new(&words[0]).args(&words[1..]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Answers one question after a mere connection, with so many records.
    fn server(records: u8) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(3) {
                let mut stream = stream.unwrap();
                let mut question = [0; 56];
                if stream.read_exact(&mut question).is_ok() {
                    assert_eq!(&question[14..25], b"\x0akubernetes");
                    let answer = [0, 12, 0x12, 0x34, 0x81, 0x80, 0, 1, 0, records, 0, 0, 0, 0];
                    let _ = stream.write_all(&answer);
                }
            }
        });
        port
    }

    #[test]
    fn the_script_tells_what_does_not_answer() {
        let dead = "127.255.255.254";
        let Some(said) = run(&words(dead, 1, dead, 1)) else {
            crate::require::skipped("bash", "there is no bash");
            return;
        };
        let of_both = "a pod cannot reach the API server's service (127.255.255.254:1)\na pod cannot reach the cluster's DNS (127.255.255.254:1)\n";
        assert_eq!(said, of_both);
        let good = server(1);
        assert_eq!(run(&words("127.0.0.1", good, "127.0.0.1", good)).unwrap(), "");
        let empty = server(0);
        let said = run(&words("127.0.0.1", empty, "127.0.0.1", empty)).unwrap();
        assert_eq!(said, "the cluster's DNS does not answer for kubernetes.default.svc.cluster.local\n");
    }

    /// Answers each question over TCP by what `known` has.
    fn name_server(known: &'static [(&'static str, [u8; 4])]) -> u16 {
        let listener = TcpListener::bind("127.0.0.10:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).unwrap();
                let asked = |name: &str| dns::question([0x12, 0x34], name, 1).unwrap()[12..] == question[12..];
                let found = known.iter().find(|(name, _)| asked(name));
                let mut answer = question.clone();
                answer[2] = 0x81;
                match found {
                    Some((_, address)) => {
                        answer[7] = 1;
                        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                        answer.extend(address);
                    }
                    None => answer[3] = 3,
                }
                stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                // a server may take its time between two segments
                std::thread::sleep(Duration::from_millis(20));
                stream.write_all(&answer).unwrap();
            }
        });
        port
    }

    #[test]
    fn names_are_asked_as_a_pod_does() {
        let dns_port = name_server(&[
            ("grafana.macula.local", [10, 222, 7, 2]),
            ("macula-validate.s3.macula.local", [10, 222, 7, 2]),
            ("hello.macula.local", [127, 0, 0, 99]),
            ("shop.macula.local", [10, 1, 1, 1]),
        ]);
        let site = Site { services: "127.0.0.0/24".parse().unwrap(), dns_port, web_port: 80 };
        let ours = Leads::Platform(Ipv4Addr::new(10, 222, 7, 2));
        let wanted: BTreeMap<String, Leads> = [
            ("grafana.macula.local", ours),
            ("*.s3.macula.local", ours),
            ("loki.macula.local", ours),
            ("hello.macula.local", Leads::Cluster),
            ("shop.macula.local", Leads::Cluster),
        ]
        .map(|(name, leads)| (name.to_owned(), leads))
        .into();
        let Some(said) = run(&look_up(&site, &wanted)) else {
            crate::require::skipped("bash", "there is no bash");
            return;
        };
        let found = found(&said);
        assert_eq!(found.len(), 5, "{said}");
        assert_eq!(found["*.s3.macula.local"], Some(Ipv4Addr::new(10, 222, 7, 2)));
        assert_eq!(
            astray(&site, &wanted, &found),
            [
                "a pod does not find loki.macula.local",
                "a pod finds shop.macula.local at 10.1.1.1, not at the cluster's ingress"
            ]
        );
        let moved = wanted.keys().map(|name| (name.clone(), Leads::Elsewhere(Ipv4Addr::new(10, 0, 0, 1)))).collect();
        let said = astray(&site, &moved, &found);
        let both = "a pod finds *.s3.macula.local and grafana.macula.local at 10.222.7.2, not at 10.0.0.1";
        assert!(said.iter().any(|line| line == both), "{said:?}");
        // a server that says nothing finds none of them
        let silent = Site { dns_port: 1, ..site };
        let said = run(&look_up(&silent, &wanted)).unwrap();
        assert_eq!(
            astray(&silent, &wanted, &super::found(&said)),
            ["a pod does not find *.s3.macula.local, grafana.macula.local, hello.macula.local and 2 more"]
        );
    }

    #[test]
    fn connections_that_nobody_takes_are_named() {
        let port = server(0).to_string();
        let words = ["bash", "-c", CONNECT, "bash", "127.0.0.1", &port, "127.255.255.254", "1"].map(str::to_owned);
        match run(&words) {
            Some(said) => assert_eq!(said, "127.255.255.254\n"),
            None => crate::require::skipped("bash", "there is no bash"),
        }
    }

    #[test]
    fn the_addresses_follow_the_service_subnet() {
        let record = ClusterRecord { service_subnet: "10.97.0.0/16".into(), ..ClusterRecord::default() };
        assert_eq!(command(&record).unwrap()[4..], ["10.97.0.1", "443", "10.97.0.10", "53"]);
        assert_eq!(command(&ClusterRecord::default()), None);
    }
}
