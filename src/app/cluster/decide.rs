//! Whether a cluster can be had on this machine, before anything is done: the cheap questions first,
//! so that an `up` on a machine without one is not held up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::survey::Survey;
use crate::app::{Error, Session};
use crate::cluster::ClusterError;
use crate::cluster::kind::{self, Asset, Kind};
use crate::compile::{
    ClusterSite, choose_cluster_subnets, cluster, cluster_ports, ingress_address, mirrored, node_images,
};
use crate::doctor::{self, ClusterNeeds, Fix, Needs, Selection, Status, WantedPort};
use crate::engine::{ImageError, Query};
use crate::host::Command;
use crate::model::{ClusterSpec, ImagePolicy, Platform, PortBinding, macula, split_registry};
use crate::observe;
use crate::plan::ClusterAction;

use super::content::{Content, content};

/// Starting a container that ends at once, of an image that is there.
const TRIAL: Duration = Duration::from_secs(30);

/// How the provider's program is got.
#[derive(Debug, Clone, PartialEq)]
pub enum Obtain {
    /// Its checksum is known.
    Fetch(Asset),
    /// The system's packages have it.
    Install(Fix),
}

impl Obtain {
    /// What the user is asked.
    pub fn fix(&self) -> Fix {
        match self {
            Self::Fetch(asset) => Fix {
                text: format!("fetch kind {} from {} (its checksum is known)", kind::PINNED_VERSION, asset.url),
                actions: Vec::new(),
                safe: true,
            },
            Self::Install(fix) => fix.clone(),
        }
    }
}

/// Everything known of the cluster before the first change.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub spec: ClusterSpec,
    /// Of pods and of services.
    pub subnets: (ipnet::Ipv4Net, ipnet::Ipv4Net),
    /// `None`: it is to be got first, or not needed since the cluster stands.
    pub program: Option<PathBuf>,
    pub obtain: Option<Obtain>,
    /// The image of the load balancer before several control planes, and where it can be pulled.
    pub balancer: Option<(String, Vec<String>)>,
    /// What is to be done about the registry settings of nodes that stand.
    pub registries: Option<ClusterAction>,
    pub content: Content,
}

/// The cluster's specification, with what it takes. An error of [`Error::Cluster`] says that none can be
/// had here.
pub async fn decide(session: &Session, survey: &Survey, may_fetch: bool) -> Result<Decision, Error> {
    let platform = &survey.platform;
    let look = &survey.cluster;
    let stands = look.observed.is_some() && look.record.as_ref().is_some_and(|record| record.complete);
    if look.foreign {
        return Err(ClusterError::Exists { name: platform.cluster_name() }.into());
    }
    let mut program = kind::find(session.host(), platform.cluster.program.as_deref()).await;
    // one that is chosen is taken at its word
    if !stands
        && platform.cluster.program.is_none()
        && let Some(found) = &program
        && let Some(said) = kind::too_old(session.host(), found).await
    {
        session.events.info(format!("{} ({said}) is too old to make a cluster", found.display()));
        program = kind::fetched(session.host()).await;
    }
    let mut obtain = None;
    let mut node_image = None;
    let mut balancer = None;
    if !stands {
        // of what may be missing, to look for the program among the system's packages takes longest
        let image = image_here(session, survey).await;
        if program.is_none() && (image.is_ok() || !may_fetch) {
            obtain = Some(obtainable(session, platform, may_fetch).await?);
        }
        node_image = image?;
        let client = Kind::client(&survey.facts);
        if session.host().which(client).is_none() {
            return Err(ClusterError::NoClient { program: "kind".into(), client: client.into() }.into());
        }
        if platform.cluster.control_planes > 1 {
            balancer = Some(balancer_here(session, survey, program.as_deref()).await?);
        }
        allowed(session, survey, node_image.as_deref()).await?;
    }
    let subnets = match look.record.as_ref().filter(|_| stands) {
        Some(record) => recorded(record),
        None => {
            let mut taken = observe::taken_subnets(&*survey.engine, session.host()).await?;
            taken.networks.push(survey.subnet);
            choose_cluster_subnets(&taken)
        }
    };
    let subnets = subnets.ok_or(Error::NoSubnet)?;
    let folder = survey.state.folder().to_owned();
    let site = ClusterSite {
        block: survey.block,
        subnet: survey.subnet,
        subnets,
        folder: &folder,
        cgroup_version: survey.facts.cgroup_version,
        node_image: node_image.as_deref(),
    };
    let spec = cluster(platform, &site).map_err(|error| Error::Compile(vec![error]))?;
    let registries = if stands { registries(session, &spec, survey.subnet).await } else { None };
    let content = content(session, survey, false).await?;
    Ok(Decision { spec, subnets, program, obtain, balancer, registries, content })
}

/// How the registry settings that the nodes have mounted differ from those that they are to have: profiles, the domain
/// or the registry may be other ones since the nodes were made.
async fn registries(session: &Session, spec: &ClusterSpec, subnet: ipnet::Ipv4Net) -> Option<ClusterAction> {
    let (host, folder) = (session.host(), &spec.registries_folder);
    let mut files = BTreeMap::new();
    for (name, content) in &spec.registries {
        let found = host.read(&folder.join(name)).await.ok();
        if found.as_deref() != Some(content.as_bytes()) {
            files.insert(name.clone(), content.clone());
        }
    }
    let named: BTreeSet<&str> = spec.registries.keys().filter_map(|name| name.split('/').next()).collect();
    // others may have put settings there, too: ours lead to the platform's ingress
    let ours = format!("[host.\"http://{}:", ingress_address(subnet));
    let mut gone = Vec::new();
    for name in host.list(folder).await.unwrap_or_default() {
        if named.contains(name.as_str()) {
            continue;
        }
        let content = host.read(&folder.join(&name).join("hosts.toml")).await.unwrap_or_default();
        if String::from_utf8_lossy(&content).contains(&ours) {
            gone.push(name);
        }
    }
    let differs = !files.is_empty() || !gone.is_empty();
    differs.then(|| ClusterAction::Registries { folder: folder.clone(), files, gone })
}

fn recorded(record: &crate::model::ClusterRecord) -> Option<(ipnet::Ipv4Net, ipnet::Ipv4Net)> {
    Some((record.pod_subnet.parse().ok()?, record.service_subnet.parse().ok()?))
}

/// Where the program would come from.
async fn obtainable(session: &Session, platform: &Platform, may_fetch: bool) -> Result<Obtain, Error> {
    let host = session.host();
    let none = |program: &str, reason: &str| {
        let (program, reason) = (program.to_owned(), Some(reason.to_owned()));
        Error::from(ClusterError::NoProgram { program, reason, fetched: !may_fetch })
    };
    if let Some(chosen) = &platform.cluster.program {
        let reason = Some("it was chosen by `cluster.program` in macula.yaml or MACULA_KIND".to_owned());
        return Err(ClusterError::NoProgram { program: chosen.clone(), reason, fetched: false }.into());
    }
    if !may_fetch {
        let create = session.line(macula("cluster create"));
        return Err(none("kind", &format!("it is downloaded only after you agree (`{create}`)")));
    }
    let facts = host.facts();
    let asset = kind::asset(&facts.os, &facts.arch);
    if let Some(asset) = asset
        && observe::reaches(host, "github.com").await
    {
        return Ok(Obtain::Fetch(asset));
    }
    if facts.os == "linux"
        && packaged(session).await
        && let Some(fix) = doctor::install::packages(host, &["kind"])
    {
        return Ok(Obtain::Install(fix));
    }
    let reason = match asset {
        Some(_) => "github.com does not answer, and the system's packages do not have it",
        None => "there is no published program for this machine, nor a package",
    };
    Err(none("kind", reason))
}

/// Debian has it since 13; of other systems only the installation itself can tell.
async fn packaged(session: &Session) -> bool {
    let host = session.host();
    if host.which("apt-cache").is_none() {
        return ["pacman", "apk", "zypper"].iter().any(|manager| host.which(manager).is_some());
    }
    let ask = Command::new("apt-cache", ["policy", "kind"]).may_fail().timeout(super::SHORT);
    let said = host.run(&ask).await.map(|output| output.stdout()).unwrap_or_default();
    said.lines().any(|line| line.trim().strip_prefix("Candidate:").is_some_and(|version| version.trim() != "(none)"))
}

/// What the node image is called in the engine; `None`: it is not there, and can be pulled.
async fn image_here(session: &Session, survey: &Survey) -> Result<Option<String>, Error> {
    let (here, pull) = node_images(&survey.platform);
    let reference = here.first().cloned().unwrap_or_default();
    let found = can_be_had(session, survey, &here, &pull).await?;
    found.map_err(|attempts| ClusterError::NodeImage { reference, attempts }.into())
}

/// The load balancer's image, which kind would look for only when nodes are there already.
async fn balancer_here(
    session: &Session,
    survey: &Survey,
    program: Option<&Path>,
) -> Result<(String, Vec<String>), Error> {
    let image = kind::balancer_image(session.host(), program).await.to_owned();
    let pull = mirrored(&survey.platform, &image);
    match can_be_had(session, survey, std::slice::from_ref(&image), &pull).await? {
        Ok(_) => Ok((image, pull)),
        Err(attempts) => Err(ClusterError::BalancerImage { reference: image, attempts }.into()),
    }
}

/// The first of these names that the engine knows; `None`: it can be pulled. The inner error: neither, and why.
async fn can_be_had(
    session: &Session,
    survey: &Survey,
    here: &[String],
    pull: &[String],
) -> Result<Result<Option<String>, Vec<ImageError>>, Error> {
    let found = survey.engine.find(&Query { images: here.to_vec(), ..Query::default() }).await?.images;
    if let Some(name) = here.iter().find(|name| found.contains_key(*name)) {
        return Ok(Ok(Some(name.clone())));
    }
    let reference = here.first().cloned().unwrap_or_default();
    if survey.platform.images.policy == ImagePolicy::Local {
        let message = "it is not in the engine, and images are not pulled (--images local)".to_owned();
        return Ok(Err(vec![ImageError::Other { reference, message }]));
    }
    let hosts: std::collections::BTreeSet<&str> = pull.iter().map(|reference| split_registry(reference).0).collect();
    let answers = futures_util::future::join_all(hosts.iter().map(|registry| async move {
        let known = survey.observed.registries.get(*registry).copied();
        match known {
            Some(answer) => answer,
            None => observe::reaches(session.host(), registry).await,
        }
    }));
    if answers.await.into_iter().any(|answer| answer) {
        return Ok(Ok(None));
    }
    let attempts = hosts.iter().map(|registry| ImageError::Unreachable {
        reference: reference.clone(),
        message: format!("it is not in the engine, and {registry} does not answer"),
    });
    Ok(Err(attempts.collect()))
}

/// Whether the engine could run nodes, and whether their ports are free.
async fn allowed(session: &Session, survey: &Survey, node_image: Option<&str>) -> Result<(), Error> {
    let ports = cluster_ports(&survey.platform, survey.block);
    // half a cluster of a run that was killed holds its own ports, and goes before another is made
    let nodes = survey.cluster.observed.iter().flat_map(|cluster| &cluster.nodes);
    let held: Vec<_> = nodes.flat_map(|node| &node.ports).collect();
    let own = |wanted: &PortBinding| {
        held.iter().any(|port| {
            (port.host_ip, port.host_port, port.protocol) == (wanted.host_ip, wanted.host_port, wanted.protocol)
        })
    };
    let ports = ports.into_iter().filter(|port| !own(port)).filter_map(|port| {
        let number = port.host_port?;
        let (address, protocol, service) = (port.host_ip, port.protocol, "cluster".to_owned());
        Some(WantedPort { address, port: number, protocol, service, passed_on: false })
    });
    let needs = Needs {
        platform: survey.platform.name.to_string(),
        ports: ports.collect(),
        // that one is wanted is all that these checks ask
        cluster: Some(ClusterNeeds::default()),
        invocation: session.invocation.clone(),
        ..Needs::default()
    };
    let checks = Selection::named(&["privileged", "ports"]).map_err(Error::other)?;
    for finding in doctor::run(&session.system, &needs, checks).await {
        match (finding.check, finding.status) {
            ("ports", Status::Failed) => return Err(ClusterError::PortTaken { lines: finding.detail }.into()),
            ("privileged", Status::Warning) if !tried(session, survey, node_image).await => {
                return Err(ClusterError::NotPrivileged { message: finding.summary }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// A privileged container of the node image, which ends at once: rights that the engine lacks matter only
/// where its runtime asks for them. Without the image there is nothing to try it with.
async fn tried(session: &Session, survey: &Survey, node_image: Option<&str>) -> bool {
    let Some(image) = node_image else { return false };
    let client = Kind::client(&survey.facts);
    let args = ["run", "--rm", "--privileged", "--network", "none", "--pull", "never", "--entrypoint", "true", image];
    let mut command = Command::new(client, args).timeout(TRIAL);
    if let Some(endpoint) = session.endpoint() {
        command = command.env("DOCKER_HOST", &endpoint);
    }
    session.host().run(&command).await.is_ok()
}

/// Whether this means that no cluster can be had on this machine, whatever one does with macula: then
/// an `up` that was not told to have one goes on without.
pub fn cannot_be_had(error: &ClusterError) -> bool {
    match error {
        ClusterError::NoProgram { .. }
        | ClusterError::NoClient { .. }
        | ClusterError::NotPrivileged { .. }
        | ClusterError::Fetch { .. }
        | ClusterError::PortTaken { .. }
        | ClusterError::Exists { .. }
        | ClusterError::CgroupV1 => true,
        ClusterError::NodeImage { attempts, .. } | ClusterError::BalancerImage { attempts, .. } => {
            let other = |attempt: &ImageError| {
                matches!(attempt, ImageError::Unreachable { .. } | ImageError::Other { .. }) || attempt.may_pass()
            };
            attempts.iter().all(other)
        }
        _ => false,
    }
}
