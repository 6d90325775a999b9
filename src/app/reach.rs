//! Which way leads to the platform's addresses: the cheapest that a proof shows to work. What the engine publishes
//! arrives here, or this process's own container joins the platform's network, or a relay in it dials for us.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compile::{arrivals_address, gateway};
use crate::daemon::reach::Table;
use crate::doctor::proof::{self, Record, Unproved};
use crate::engine::{Engine, everybody};
use crate::host::Host;
use crate::model::{
    ContainerOptions, ContainerSpec, ContainerState, EngineKind, Facts, Fingerprint, Forward, NetworkAttachment,
    NetworkSpec, Observed, ObservedContainer, Platform, PlatformName, ReachSetting, Restart, Role, Service, Way, label,
    relay_name,
};
use crate::plan::{self, Action, Plan, REACH_GROUP};
use crate::system::OwnImage;

use super::apart::MOUNTS;
use super::survey::Survey;
use super::{Error, Session};

/// Says which way is used, whatever the files say.
const VARIABLE: &str = "MACULA_REACH";
/// Who has no rights on any machine.
const NOBODY: &str = "65534:65534";
const CGROUP: &str = "/proc/self/cgroup";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// Files that engines bring into each container from a folder that has its id.
const BROUGHT_IN: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// What was found of an engine as it was started last.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Proof {
    engine: Record,
    arrives: bool,
}

fn proof_file(host: &dyn Host) -> PathBuf {
    host.folders().cache.join("reach.json")
}

/// What is asked for: the variable comes before the file.
fn setting(host: &dyn Host, platform: &Platform) -> Result<ReachSetting, Error> {
    match host.env(VARIABLE).filter(|value| !value.is_empty()) {
        Some(value) => ReachSetting::parse(&value).ok_or(Error::NoSuchWay { value }),
        None => Ok(platform.reach),
    }
}

/// A way, and this process's own container if the way leads through it.
struct Chosen {
    way: Way,
    home: String,
}

/// The way of the next `up`. `prove`: a container is asked what arrives, where that is not known yet; otherwise
/// nothing is decided then.
async fn decide(
    session: &Session,
    platform: &Platform,
    known: Option<&Table>,
    prove: bool,
) -> Result<Option<Chosen>, Error> {
    let host = session.host();
    // containers are not made anew because a neighbor has gone
    let stays = known.is_some_and(|known| known.way == Way::Relay);
    let engine = session.engine()?;
    let facts = engine.facts().await?;
    let setting = setting(host, platform)?;
    let home = match setting {
        ReachSetting::Auto if facts.container_addresses => None,
        ReachSetting::Only(Way::Published | Way::Relay) => None,
        _ => home(&*engine, host).await,
    };
    let way = match setting {
        ReachSetting::Only(Way::Direct) if home.is_none() => return Err(Error::NotInside),
        ReachSetting::Only(way) => way,
        ReachSetting::Auto if facts.container_addresses => Way::Published,
        // before the proof: what the engine publishes on its own machine does not arrive in one of its containers
        ReachSetting::Auto if is_inside(&*engine, home.as_deref()).await => Way::Direct,
        ReachSetting::Auto if !facts.published => Way::Relay,
        ReachSetting::Auto => match arrives(&*engine, host, &facts, prove).await {
            Some(true) if gives_each_number_once(&facts) && (stays || clashes(&*engine, platform).await?) => Way::Relay,
            Some(true) => Way::Published,
            Some(false) => Way::Relay,
            None => return Ok(None),
        },
    };
    Ok(Some(Chosen { way, home: home.filter(|_| way == Way::Direct).unwrap_or_default() }))
}

/// The way of the next `up`, which is recorded for all other commands; whether it is the first record there is.
pub(super) async fn choose(session: &Session, platform: &Platform) -> Result<bool, Error> {
    let host = session.host();
    let folder = session.state(&platform.name).folder().to_owned();
    let known = Table::read(host, &folder).await;
    let Some(Chosen { way, home }) = decide(session, platform, known.as_ref(), true).await? else { return Ok(false) };
    let facts = session.engine()?.facts().await?;
    let used = session.system.discovery.used().filter(|_| way != Way::Published);
    let variables = used.map(|used| used.variables(host)).unwrap_or_default();
    let wanted = match &known {
        Some(known) if (known.way, &known.home) == (way, &home) => Table { engine: variables, ..known.clone() },
        _ => Table {
            home,
            engine: variables,
            // the background process listens on these until it is told otherwise
            forwards: known.as_ref().map(|known| known.forwards.clone()).unwrap_or_default(),
            ..Table::new(way, platform.name.network())
        },
    };
    // nothing is written for the way that needs nothing
    let needless = way == Way::Published && facts.published && known.is_none();
    if known.as_ref() == Some(&wanted) || needless {
        return Ok(false);
    }
    keep(host, &folder, &wanted).await?;
    Ok(known.is_none())
}

/// What `up` would write down, for somebody who only looks; nothing where that is what the last one wrote.
pub(super) async fn ahead(session: &Session, platform: &Platform) -> Result<Option<Table>, Error> {
    let host = session.host();
    let known = Table::read(host, session.state(&platform.name).folder()).await;
    // the first `up` asks the engine for a proof
    if known.is_none() && setting(host, platform)? == ReachSetting::Auto {
        return Ok(None);
    }
    let Some(Chosen { way, home }) = decide(session, platform, known.as_ref(), false).await? else { return Ok(None) };
    let same = known.is_some_and(|known| (known.way, &known.home) == (way, &home));
    Ok((!same).then(|| Table { home, ..Table::new(way, platform.name.network()) }))
}

/// Docker without root gives a number of a port away once, whatever the addresses: each of them leads to 127.0.0.1 in a
/// network of its own (rootlesskit's port drivers), where the second finds it taken.
fn gives_each_number_once(facts: &Facts) -> bool {
    facts.rootless && facts.engine_kind == EngineKind::Docker
}

/// Whether two want the same number at different addresses, both in the platform or one in it. Who wants the same address,
/// too, is in the way of every other way as well.
async fn clashes(engine: &dyn Engine, platform: &Platform) -> Result<bool, Error> {
    let is_ingress = |service: &Service| service.extension.role == Some(Role::Ingress);
    let services = || platform.services().map(|(_, service)| service);
    // the ingress has its numbers at the address of each service
    if services().any(is_ingress)
        && services().any(|service| !is_ingress(service) && service.extension.address.is_some())
    {
        return Ok(true);
    }
    let mut numbers = BTreeMap::new();
    for service in services() {
        let fixed = service.ports.iter().filter_map(|port| Some((port.host_ip, port.published?, port.protocol)));
        for (address, number, protocol) in fixed.collect::<BTreeSet<_>>() {
            if numbers.insert((number, protocol), address).is_some() {
                return Ok(true);
            }
        }
    }
    let others = everybody(engine).await?.into_iter().filter(|found| {
        found.state == ContainerState::Running && found.label(label::PLATFORM) != Some(platform.name.as_str())
    });
    let mut taken = others.flat_map(|found| found.ports);
    Ok(taken.any(|port| {
        let wanted = port.host_port.and_then(|number| numbers.get(&(number, port.protocol)));
        wanted.is_some_and(|address| *address != Some(port.host_ip))
    }))
}

/// This process's container has a network of its own.
async fn is_inside(engine: &dyn Engine, home: Option<&str>) -> bool {
    match home {
        Some(home) => attached(engine, home).await.is_ok_and(|networks| !networks.is_empty()),
        None => false,
    }
}

/// Whether what the engine publishes arrives here, by a container that is asked, once for each start of the
/// engine. `None`: nobody has asked yet, and `prove` is false.
async fn arrives(engine: &dyn Engine, host: &dyn Host, facts: &Facts, prove: bool) -> Option<bool> {
    let now = Record::now(engine, host, facts).await;
    let known = host.read(&proof_file(host)).await.ok().and_then(|text| serde_json::from_slice::<Proof>(&text).ok());
    if let Some(known) = known.filter(|known| known.engine == now) {
        return Some(known.arrives);
    }
    if !prove {
        return None;
    }
    // a proof that cannot be made says nothing against the engine
    let arrives = !matches!(proof::prove(engine, host, facts).await, Err(Unproved::Unreached { .. }));
    if let Ok(text) = serde_json::to_vec_pretty(&Proof { engine: now, arrives }) {
        // without it the proof is made again
        let _ = host.write(&proof_file(host), &text, 0o600).await;
    }
    Some(arrives)
}

pub(super) async fn keep(host: &dyn Host, folder: &Path, table: &Table) -> Result<(), Error> {
    let path = Table::file(folder);
    let mut text = serde_json::to_vec_pretty(table).map_err(Error::other)?;
    text.push(b'\n');
    host.write(&path, &text, 0o600).await.map_err(|source| Error::Io { path, source })
}

/// The steps that open the way.
pub(super) async fn extend(session: &Session, survey: &Survey, plan: &mut Plan) -> Result<(), Error> {
    let host = session.host();
    let Some(table) = &survey.reach else { return Ok(()) };
    let engine = &*survey.engine;
    let networks = &survey.resources.networks;
    match table.way {
        Way::Published => {}
        Way::Direct => {
            let attached = attached(engine, &table.home).await?;
            let found = (survey.platform.name.network(), arrivals_address(survey.subnet));
            let networks = there(networks, &survey.observed, plan);
            plan::leave(plan, &table.home, &attached);
            plan::join(plan, &table.home, &attached, &networks, (&found.0, found.1));
        }
        Way::Relay => {
            let image = OwnImage::of(host, &survey.facts).await?;
            let networks = there(networks, &survey.observed, plan);
            let spec =
                relay(&survey.platform.name, &image, &networks, arrivals_address(survey.subnet), session.version);
            plan::relay(plan, &spec, &survey.observed);
        }
    }
    Ok(())
}

/// The networks of our own that are there, or will be.
fn there(networks: &[NetworkSpec], observed: &Observed, plan: &Plan) -> Vec<NetworkSpec> {
    let made = |name: &str| {
        plan.steps.iter().any(|step| matches!(&step.action, Action::CreateNetwork(spec) if spec.name == name))
    };
    let there = |spec: &&NetworkSpec| observed.network(&spec.name).is_some() || made(&spec.name);
    networks.iter().filter(|spec| !spec.external && spec.driver == "bridge").filter(there).cloned().collect()
}

/// The container that dials for us, and listens for us on `address`: this program, without published ports, rights or
/// root.
fn relay(
    platform: &PlatformName,
    image: &OwnImage,
    networks: &[NetworkSpec],
    address: Ipv4Addr,
    version: &str,
) -> ContainerSpec {
    let labels = [
        (label::PLATFORM, platform.to_string()),
        (label::SERVICE, REACH_GROUP.to_owned()),
        (label::VERSION, version.to_owned()),
        // how its program is started once more
        (label::RELAY, image.entrypoint.join(" ")),
    ];
    let attach = |spec: &NetworkSpec| NetworkAttachment {
        network: spec.name.clone(),
        aliases: Vec::new(),
        links: Vec::new(),
        ipv4: Some(address).filter(|_| spec.name == platform.network()),
        ipv6: None,
    };
    let mut spec = ContainerSpec {
        name: relay_name(platform),
        service: REACH_GROUP.to_owned(),
        replica: 1,
        image: image.reference.clone(),
        entrypoint: Some(image.entrypoint.clone()),
        command: Some(vec!["container-relay".to_owned()]),
        networks: networks.iter().map(attach).collect(),
        stop_grace_ms: Some(1000),
        options: ContainerOptions {
            user: Some(NOBODY.to_owned()),
            restart: Restart::UnlessStopped,
            read_only: true,
            cap_drop: vec!["ALL".to_owned()],
            security_opt: vec!["no-new-privileges".to_owned()],
            ..ContainerOptions::default()
        },
        labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        ..ContainerSpec::default()
    };
    spec.fingerprint = Some(Fingerprint::of(&spec));
    spec
}

/// Our own container leaves the networks that `down` removes.
pub(super) async fn leave(session: &Session, engine: &dyn Engine, plan: &mut Plan) {
    let Some(home) = home(engine, session.host()).await else { return };
    if let Ok(attached) = attached(engine, &home).await {
        plan::leave(plan, &home, &attached);
    }
}

async fn attached(engine: &dyn Engine, container: &str) -> Result<BTreeSet<String>, Error> {
    Ok(engine.inspect(container).await?.addresses.into_keys().collect())
}

/// The way by which a platform was brought up, where its file is gone: then nobody passes anything on.
pub(super) async fn lost(session: &Session, survey: &Survey) -> Option<Way> {
    // what others have written down is in their own folder
    if survey.reach.is_some() || survey.foreign.is_some() {
        return None;
    }
    let (observed, platform) = (&survey.observed, &survey.platform.name);
    let relay = observed.container(&relay_name(platform));
    if relay.is_some_and(|found| found.label(label::PLATFORM) == Some(platform.as_str())) {
        return Some(Way::Relay);
    }
    let specs = survey.resources.containers.iter().filter(|spec| !spec.ports.is_empty() || !spec.forwards.is_empty());
    let found = specs.filter_map(|spec| observed.container(&spec.name));
    let running: Vec<&ObservedContainer> = found.filter(|found| found.state == ContainerState::Running).collect();
    if running.is_empty() || running.iter().any(|found| !found.ports.is_empty()) {
        return None;
    }
    let home = home(&*survey.engine, session.host()).await?;
    let joined = attached(&*survey.engine, &home).await.ok()?;
    joined.contains(&platform.network()).then_some(Way::Direct)
}

/// What is passed on for a platform that was looked at.
pub(super) fn table(survey: &Survey) -> Option<Table> {
    let table = survey.reach.as_ref().filter(|table| table.way != Way::Published)?;
    let same = |one: &Forward, other: &Forward| (one.listen, one.protocol) == (other.listen, other.protocol);
    // the address of who is not there is free for other programs
    let is_there = |own: &&Forward| survey.observed.container(&own.container).is_some();
    let own = survey.resources.containers.iter().flat_map(|spec| &spec.forwards);
    let mut forwards: Vec<Forward> = own.filter(is_there).cloned().collect();
    for (forward, _) in kept(survey) {
        if forwards.iter().all(|other| !same(other, forward)) {
            forwards.push(forward.clone());
        }
    }
    Some(Table {
        gateway: gateway(survey.subnet),
        arrivals: arrivals_address(survey.subnet),
        relay: if table.way == Way::Relay { relay_name(&survey.platform.name) } else { String::new() },
        forwards,
        ..table.clone()
    })
}

/// What is passed on to containers of ours that no stack of this run has: they stay, and so do their ports.
pub(super) fn kept(survey: &Survey) -> impl Iterator<Item = (&Forward, &ObservedContainer)> {
    let known = survey.reach.iter().filter(|table| table.way != Way::Published).flat_map(|table| &table.forwards);
    known.filter_map(move |forward| {
        let found = survey.observed.container(&forward.container)?;
        let ours = found.label(label::PLATFORM) == Some(survey.platform.name.as_str());
        let wanted = survey.resources.containers.iter().any(|spec| spec.name == found.name);
        (ours && !wanted).then_some((forward, found))
    })
}

/// The container of this engine that this process runs in. Its id is guessed from what engines leave in a
/// container, and proved: a file that is written here is read there.
pub(super) async fn home(engine: &dyn Engine, host: &dyn Host) -> Option<String> {
    if !host.facts().container {
        return None;
    }
    let text =
        async |path: &str| String::from_utf8_lossy(&host.read(Path::new(path)).await.unwrap_or_default()).into_owned();
    let (mounts, cgroup, name) = (text(MOUNTS).await, text(CGROUP).await, text(HOST_NAME).await);
    let candidates = candidates(&mounts, &cgroup, name.trim());
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).ok()?;
    let nonce = crate::words::hex(nonce);
    let folders = host.folders();
    // an engine does not see into a tmpfs, so that more than one place is tried
    for folder in [PathBuf::from("/tmp"), folders.cache, folders.data, PathBuf::from("/")] {
        let path = folder.join(format!(".macula-{}", nonce.get(..12).unwrap_or_default()));
        if host.write(&path, nonce.as_bytes(), 0o600).await.is_err() {
            continue;
        }
        let mut found = None;
        for id in &candidates {
            let seen = engine.read_file(id, &path.to_string_lossy()).await;
            if seen.is_ok_and(|seen| seen.as_deref() == Some(nonce.as_bytes())) {
                found = Some(id.clone());
                break;
            }
        }
        let _ = host.remove(&path).await;
        if found.is_some() {
            return found;
        }
    }
    None
}

/// What may be the id of this process's container, the likeliest first.
fn candidates(mounts: &str, cgroup: &str, name: &str) -> Vec<String> {
    let ids = |line: &str| -> Vec<String> {
        let words = line.split(|letter: char| !letter.is_ascii_hexdigit());
        words.filter(|word| word.len() == 64).map(str::to_owned).collect()
    };
    let brought_in = |line: &&str| line.split(' ').nth(4).is_some_and(|at| BROUGHT_IN.contains(&at));
    let mut all: Vec<String> = mounts.lines().filter(brought_in).flat_map(ids).collect();
    all.extend(cgroup.lines().flat_map(ids));
    // the name that an engine gives where nobody asks for another
    if name.len() >= 12 && name.chars().all(|letter| letter.is_ascii_hexdigit()) {
        all.push(name.to_owned());
    }
    let mut seen = BTreeSet::new();
    all.retain(|id| seen.insert(id.clone()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    const ID: &str = "8f1c4a5b6c7d8e9f0a1b2c3d4e5f60718293a4b5c6d7e8f901234567890abcde";

    #[test]
    fn an_id_is_found_where_engines_leave_it() {
        let mounts = format!(
            "602 600 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/vda1 rw\n\
             603 600 254:1 /home/ann /home/ann rw - ext4 /dev/vda1 rw\n"
        );
        assert_eq!(candidates(&mounts, "", "build-7"), [ID]);
        let podman =
            format!("9 8 0:30 /containers/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs t rw\n");
        assert_eq!(candidates(&podman, "", ""), [ID]);
        assert_eq!(candidates("", &format!("12:pids:/docker/{ID}\n0::/system.slice/docker-{ID}.scope\n"), ""), [ID]);
        assert_eq!(candidates("", "0::/\n", "8f1c4a5b6c7d"), ["8f1c4a5b6c7d"]);
        // another container's files, in a machine that sees them
        let other = format!("1 2 0:3 /x /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n");
        assert!(candidates(&other, "0::/user.slice\n", "laptop").is_empty());
    }

    #[tokio::test]
    async fn an_id_alone_proves_nothing() {
        let host = FakeHost::new().file(HOST_NAME, "8f1c4a5b6c7d\n");
        let found = crate::model::ObservedContainer { name: "8f1c4a5b6c7d".into(), ..Default::default() };
        let engine = FakeEngine::new().with_container(found);
        assert_eq!(home(&engine, &host).await, None);
    }

    #[tokio::test]
    async fn two_that_want_one_number_are_found() {
        use crate::config::{MemoryFiles, Request, load};
        use crate::model::{ObservedContainer, PortBinding, Protocol};
        let platform = |services: &str| {
            let files = MemoryFiles::default().with("/p/compose.yaml", format!("services: {services}\n"));
            let request = Request { cwd: "/p".into(), stacks: vec!["/p".into()], only_own: true, ..Request::default() };
            load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform
        };
        let one = platform(
            "{a: {image: a, ports: ['127.0.0.2:80:80', '443:443', '53:53/udp']}, b: {image: b, ports: ['8080']}}",
        );
        let two = platform("{a: {image: a, ports: ['127.0.0.2:80:80']}, b: {image: b, ports: ['127.0.0.3:80:80']}}");
        let both = platform("{a: {image: a, ports: ['127.0.0.2:80:80', '127.0.0.3:80:80']}}");
        let engine = FakeEngine::new();
        assert!(!clashes(&engine, &one).await.unwrap());
        assert!(clashes(&engine, &both).await.unwrap());
        let names = |more: &str| {
            platform(&format!(
                "{{gate: {{image: a, x-macula: {{role: ingress}}}}, b: {{image: b, x-macula: {{{more}}}}}}}"
            ))
        };
        assert!(!clashes(&engine, &names("ingress: {port: 80}")).await.unwrap());
        assert!(clashes(&engine, &names("ingress: {port: 80}, address: 127.0.0.7")).await.unwrap());
        assert!(clashes(&engine, &two).await.unwrap());
        let beside = |name: &str, port, protocol| {
            let bound =
                PortBinding { host_ip: [127, 0, 0, 9].into(), host_port: Some(port), container_port: 1, protocol };
            let labels = [(label::PLATFORM.to_owned(), name.to_owned())].into();
            let state = ContainerState::Running;
            let found = ObservedContainer { name: "x".into(), state, labels, ports: vec![bound], ..Default::default() };
            FakeEngine::new().with_container(found)
        };
        assert!(clashes(&beside("other", 443, Protocol::Tcp), &one).await.unwrap());
        assert!(!clashes(&beside("other", 53, Protocol::Tcp), &one).await.unwrap());
        // that one is told with its container
        let same = platform("{a: {image: a, ports: ['127.0.0.9:80:80']}}");
        assert!(!clashes(&beside("other", 80, Protocol::Tcp), &same).await.unwrap());
        assert!(!clashes(&beside(one.name.as_str(), 443, Protocol::Tcp), &one).await.unwrap());
    }

    #[test]
    fn only_bridges_of_our_own_that_are_there_or_will_be_are_joined() {
        use crate::model::{ObservedNetwork, ResourceId, ResourceKind};
        use crate::plan::{Cause, Step};
        let spec = |name: &str, driver: &str, external| NetworkSpec {
            name: name.into(),
            external,
            driver: driver.into(),
            driver_opts: Default::default(),
            internal: false,
            attachable: false,
            enable_ipv6: false,
            ipam: Vec::new(),
            subnet: None,
            labels: Default::default(),
        };
        let wanted = [
            spec("there", "bridge", false),
            spec("made", "bridge", false),
            spec("neither", "bridge", false),
            spec("theirs", "bridge", true),
            spec("lan", "macvlan", false),
        ];
        let found = |name: &str| ObservedNetwork { name: name.into(), ..ObservedNetwork::default() };
        let observed = Observed { networks: ["there", "theirs", "lan"].map(found).into(), ..Observed::default() };
        let make = Step {
            id: "make".into(),
            resource: ResourceId::new(ResourceKind::Network, "made"),
            group: "network".into(),
            action: Action::CreateNetwork(wanted[1].clone()),
            cause: Cause::Missing,
            after: Vec::new(),
            destructive: false,
            needs_privilege: false,
        };
        let plan = Plan { steps: vec![make], ..Plan::default() };
        let joined = there(&wanted, &observed, &plan);
        assert_eq!(joined.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), ["there", "made"]);
    }

    #[test]
    fn a_relay_has_no_rights_and_no_ports() {
        let image = OwnImage { reference: "localhost/x:1".into(), entrypoint: vec!["/macula".into()] };
        let address = Ipv4Addr::new(10, 222, 7, 9);
        let spec = relay(&PlatformName::default(), &image, &[], address, "0.1.0");
        assert!(spec.ports.is_empty() && spec.mounts.is_empty());
        assert_eq!(
            (spec.options.cap_drop.as_slice(), spec.options.user.as_deref()),
            (&["ALL".to_owned()][..], Some(NOBODY))
        );
        let other = OwnImage { reference: "localhost/x:2".into(), ..image };
        assert_ne!(relay(&PlatformName::default(), &other, &[], address, "0.1.0").fingerprint, spec.fingerprint);
    }
}
