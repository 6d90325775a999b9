//! The names from inside the platform's network: asked by a container that is there already, with
//! the tools that its image has, or by one that lives for a moment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::engine::{self, Engine, EngineError};
use crate::model::{ContainerSpec, NetworkAttachment, ObservedContainer, label};

use super::evidence::InsideSeen;
use super::targets::Target;

/// For all names, which are asked side by side.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks for `name kind port path`, four words each, side by side; one line each:
/// `name|addresses|status line or open|error`. Ends with 127 where the image lacks the tools.
const SCRIPT: &str = r#"
command -v getent >/dev/null || exit 127
if command -v bash >/dev/null; then
  try() {
    exec 2>&1; bash -c 'exec 3<>"/dev/tcp/$1/$3" || exit 1
    [ "$2" = web ] || { echo open; exit 0; }
    printf "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: macula\r\nConnection: close\r\n\r\n" "$4" "$1" >&3
    IFS= read -r -t 8 line <&3; echo "$line"' - "$@"
  }
elif command -v nc >/dev/null; then
  try() {
    if [ "$2" = web ]; then
      printf 'GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: macula\r\nConnection: close\r\n\r\n' "$4" "$1" |
        nc -w 8 "$1" "$3" 2>&1 | head -n 1
    else
      nc -w 3 "$1" "$3" </dev/null >/dev/null 2>&1 && echo open || echo 'connection refused'
    fi
  }
else
  exit 127
fi
one() {
  found=$( { getent ahostsv4 "$1" || getent hosts "$1"; } 2>/dev/null |
    while read -r address kind rest; do case $kind in DGRAM|RAW) ;; *) printf '%s,' "$address" ;; esac; done)
  said=; [ -z "$found" ] || said=$(try "$@" | tr -d '\r|' | tail -n 1)
  echo "$1|$found|$said"
}
while [ $# -ge 4 ]; do one "$1" "$2" "$3" "$4" & shift 4; done
wait
"#;

/// The words to run in a container.
pub fn command(targets: &[&Target]) -> Vec<String> {
    let mut words: Vec<String> = ["/bin/sh", "-c", SCRIPT, "sh"].map(str::to_owned).to_vec();
    for target in targets {
        let (kind, port, path) = match (&target.web, target.ports.first()) {
            // inside, the ingress always listens on 80
            (Some(web), _) => ("web", 80, web.path.as_str()),
            (None, port) => ("port", port.copied().unwrap_or(80), "/"),
        };
        words.extend([target.asked.clone(), kind.to_owned(), port.to_string(), path.to_owned()]);
    }
    words
}

/// Asks for all of them. The first value is the container that did, or why none could.
pub async fn look(
    engine: &dyn Engine,
    network: &str,
    platform: &str,
    containers: &[ObservedContainer],
    ingress: Option<&str>,
    targets: &[&Target],
) -> (Result<String, String>, BTreeMap<String, InsideSeen>) {
    let words = command(targets);
    let mut able: Vec<&ObservedContainer> = containers
        .iter()
        .filter(|found| found.state == crate::model::ContainerState::Running && found.addresses.contains_key(network))
        .collect();
    // the ingress asking itself would say little
    able.sort_by_key(|found| (Some(found.name.as_str()) == ingress, found.name.clone()));
    for found in &able {
        match engine.exec(&found.name, &words, PATIENCE).await {
            Ok(output) if output.exit_code == 0 => return (Ok(found.name.clone()), read(&output.stdout)),
            Err(error @ (EngineError::Gone { .. } | EngineError::Unreachable { .. })) => {
                return (Err(error.to_string()), BTreeMap::new());
            }
            // it has the tools, and they wait in vain: so would those of the others
            Err(EngineError::Timeout { after, .. }) => {
                let reason = format!("{} got no answers inside within {} s", found.name, after.as_secs());
                return (Err(reason), BTreeMap::new());
            }
            // no shell, no tools, or it ended meanwhile: the next one may do
            _ => {}
        }
    }
    // an image that has a shell, though no container of it runs
    let images = containers.iter().filter(|found| !able.iter().any(|other| other.image_id == found.image_id));
    let mut images: Vec<&ObservedContainer> = images.filter(|found| found.label(label::PLATFORM).is_some()).collect();
    images.sort_by_key(|found| Some(found.name.as_str()) != ingress);
    images.dedup_by_key(|found| found.image_id.clone());
    for found in images.into_iter().take(3) {
        match for_a_moment(engine, network, platform, &found.image_id, &words).await {
            Ok(Some(text)) => return (Ok(format!("a container of {}", found.image)), read(&text)),
            Ok(None) => {}
            Err(error) => return (Err(error.to_string()), BTreeMap::new()),
        }
    }
    let reason = match able.is_empty() {
        true => "no container of the platform runs",
        false => "no container of the platform has a shell with getent and bash or nc",
    };
    (Err(reason.to_owned()), BTreeMap::new())
}

/// Runs the words in a container that is removed again. None: the image lacks the tools.
async fn for_a_moment(
    engine: &dyn Engine,
    network: &str,
    platform: &str,
    image: &str,
    words: &[String],
) -> Result<Option<Vec<u8>>, EngineError> {
    let (program, arguments) = words.split_at(1);
    let labels = BTreeMap::from([(label::PLATFORM.to_owned(), platform.to_owned())]);
    let spec = ContainerSpec {
        name: format!("{network}-validate-{}", std::process::id()),
        service: "validate".into(),
        image: image.to_owned(),
        entrypoint: Some(program.to_vec()),
        command: Some(arguments.to_vec()),
        networks: vec![NetworkAttachment {
            network: network.to_owned(),
            aliases: Vec::new(),
            links: Vec::new(),
            ipv4: None,
            ipv6: None,
        }],
        labels,
        ..ContainerSpec::default()
    };
    // one that has the tools, and they wait in vain, says it for all others
    engine::for_a_moment(engine, &spec, image, PATIENCE).await
}

fn read(text: &[u8]) -> BTreeMap<String, InsideSeen> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<(String, InsideSeen)> {
    let mut fields = line.splitn(3, '|');
    let (name, addresses, said) = (fields.next()?, fields.next()?, fields.next()?.trim());
    let mut addresses: Vec<IpAddr> = addresses.split(',').filter_map(|word| word.parse().ok()).collect();
    addresses.sort();
    addresses.dedup();
    let status = said.strip_prefix("HTTP/").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let answer = match said {
        _ if addresses.is_empty() => Err("the name is not found".to_owned()),
        "open" => Ok(None),
        "" => Err("no answer".to_owned()),
        _ if status.is_some() => Ok(status),
        // bash: `bash: connect: Connection refused`
        said => Err(said.rsplit(": ").next().unwrap_or(said).to_lowercase()),
    };
    Some((name.to_owned(), InsideSeen { addresses, answer }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_script_are_read() {
        let text = "a|10.222.7.2,10.222.7.2,|HTTP/1.1 302 Found\nb|10.222.7.2,|open\nc||\nd|10.222.7.2,|bash: line 1: \
                    /dev/tcp/d/80: Connection refused\n/bin/sh: noise\n";
        let found = read(text.as_bytes());
        let seen = |name: &str| found.get(name).cloned().unwrap();
        let there: Vec<IpAddr> = vec!["10.222.7.2".parse().unwrap()];
        assert_eq!(seen("a"), InsideSeen { addresses: there.clone(), answer: Ok(Some(302)) });
        assert_eq!(seen("b"), InsideSeen { addresses: there, answer: Ok(None) });
        assert_eq!(seen("c").answer, Err("the name is not found".into()));
        assert_eq!(seen("d").answer, Err("connection refused".into()));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn the_script_runs_in_a_plain_shell() {
        use std::process::Command;
        // the words that a container gets; /etc/hosts has this name everywhere
        let target = Target { asked: "localhost".into(), ports: vec![1], ..Target::default() };
        let words = command(&[&target]);
        let Ok(output) = Command::new(&words[0]).args(&words[1..]).output() else {
            crate::require::skipped("sh", "there is no /bin/sh");
            return;
        };
        if output.status.code() == Some(127) {
            crate::require::skipped("getent", "there is neither getent nor bash nor nc");
            return;
        }
        let found = read(&output.stdout);
        let seen = found.get("localhost").unwrap_or_else(|| panic!("{output:?}"));
        assert!(seen.addresses.contains(&"127.0.0.1".parse().unwrap()), "{seen:?}");
        assert_eq!(seen.answer, Err("connection refused".into()));
    }
}
