//! Whether services of the cluster can be reached from inside it. Add-ons whose pods run say nothing of that:
//! a kube-proxy that cannot write its rules leaves every pod ready and every service address dead.

use std::time::Duration;

use crate::engine::Streams;
use crate::kubernetes::KubernetesError;
use crate::model::{ClusterRecord, ContainerState, NodeRole, ObservedCluster};
use crate::system::Inside;

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

fn command(record: &ClusterRecord) -> Option<Vec<String>> {
    let services: ipnet::Ipv4Net = record.service_subnet.parse().ok()?;
    let nth = |number: u32| std::net::Ipv4Addr::from(u32::from(services.network()).saturating_add(number)).to_string();
    // the first is the API server's; kubeadm gives the tenth to the DNS
    Some(words(&nth(1), API, &nth(10), DNS))
}

fn words(api: &str, api_port: u16, dns: &str, dns_port: u16) -> Vec<String> {
    let ports = (api_port.to_string(), dns_port.to_string());
    ["bash", "-c", SCRIPT, "bash", api, &ports.0, dns, &ports.1].map(str::to_owned).into()
}

/// What does not work; nothing where it cannot be asked.
pub async fn problems(
    engine: &dyn Streams,
    inside: &dyn Inside,
    cluster: &ObservedCluster,
    record: &ClusterRecord,
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
    type Said = Result<Vec<String>, KubernetesError>;
    let (mut found, apis, records): (Vec<String>, Said, Said) =
        tokio::join!(of_services, inside.unavailable(), inside.records_behind());
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

    #[test]
    fn the_addresses_follow_the_service_subnet() {
        let record = ClusterRecord { service_subnet: "10.97.0.0/16".into(), ..ClusterRecord::default() };
        assert_eq!(command(&record).unwrap()[4..], ["10.97.0.1", "443", "10.97.0.10", "53"]);
        assert_eq!(command(&ClusterRecord::default()), None);
    }
}
