//! `creds` and `env`: what is needed to use the services.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::compile::addons::SCRAPE_SECRETS;
use crate::compile::{Block, Site, kept_apart, published_on, rename_apart, written_volumes};
use crate::config::Loaded;
use crate::model::{EngineKind, Facts, Observed, Platform, PlatformName, SecretSource, Secrets, Service};
use crate::observe;
use crate::pki::Authority;
use crate::plan::without;

use crate::app::certificate;
use crate::app::exports::{render_exports, unclear};
use crate::app::owner::{self, Owner};
use crate::app::resolver::ResolverFiles;
use crate::app::survey::left_out;
use crate::app::{Error, Session, State};
use crate::words;

use super::addresses::urls;

/// What programs that speak OpenTelemetry read.
pub(super) const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// What Node.js adds to its own list of authorities. The variables of others name a list that replaces theirs: only who
/// starts a program (`macula run`) can make one that has both.
const NODE_ROOTS: &str = "NODE_EXTRA_CA_CERTS";

/// One secret of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Credential {
    pub service: String,
    pub variable: String,
    pub value: String,
    /// Where the service listens on this machine; none: only other services reach it.
    pub address: Option<String>,
    /// That, or the service's page, or who reaches it otherwise.
    #[serde(skip)]
    pub reach: Option<String>,
    /// Nothing that a person types.
    #[serde(skip)]
    pub internal: bool,
}

/// Whoever's containers run under this name, the passwords recorded here are not theirs. What there is of the platform;
/// nothing is said where no engine can be asked.
async fn must_be_own(session: &Session, platform: &PlatformName) -> Result<Option<Observed>, Error> {
    let Some(engine) = session.system.engine.as_deref() else { return Ok(None) };
    let Ok(observed) = observe::ours(engine, platform).await else { return Ok(None) };
    match owner::other(Owner::read(session.host()).await?.as_ref(), platform, &observed) {
        Some(owner) => Err(Error::Foreign { platform: platform.clone(), owner }),
        None => Ok(Some(observed)),
    }
}

/// Where none is recorded, and there is data that was made with one, as `up` says it.
fn check_lost(state: &State, platform: &Platform, secrets: &Secrets, observed: &Observed) -> Result<(), Error> {
    let mut platform = platform.clone();
    let apart = kept_apart(&platform, observed, &state.stacks_folder());
    rename_apart(&mut platform, observed, &apart);
    state.check_lost(&platform, secrets, observed, &|service| written_volumes(&platform, service))
}

/// Recorded secrets; none before the first `up`.
pub async fn credentials(session: &Session, loaded: &Loaded) -> Result<Vec<Credential>, Error> {
    let observed = must_be_own(session, &loaded.platform.name).await?;
    let state = session.state(&loaded.platform.name);
    let (secrets, block) = tokio::join!(state.secrets(session.host()), state.block(session.host(), &loaded.platform));
    let (secrets, block) = (secrets?, block?);
    let platform = &loaded.platform;
    if let Some(observed) = observed.filter(|_| secrets.0.is_empty()) {
        check_lost(&state, platform, &secrets, &observed)?;
    }
    let tls = certificate::current(session, platform).await?.is_ok();
    let internal = internal(platform, &secrets);
    let reached = |service: &Service| {
        address_of(platform, &service.name, block).is_some() || !urls(platform, service, tls).is_empty()
    };
    let mut all = Vec::new();
    // what Prometheus reads the cluster with is nothing that a person types
    for (service, variables) in secrets.0.iter().filter(|(service, _)| *service != SCRAPE_SECRETS) {
        let address = address_of(platform, service, block);
        let known = platform.service(service).map(|(_, service)| service);
        let page = known.and_then(|service| urls(platform, service, tls).into_iter().next());
        let others = known.filter(|service| !platform.is_job(service));
        let others = others.map(|_| format!("no port on this machine; other services reach it as {service}"));
        let reach = address.clone().or(page.clone()).or(others);
        let shown = known.is_some_and(reached);
        for (variable, value) in variables {
            let shown = shown || is_its_own(platform, service, variable, &reached);
            all.push(Credential {
                service: service.clone(),
                variable: variable.clone(),
                value: value.clone(),
                address: address.clone(),
                reach: reach.clone(),
                internal: !shown || internal.contains(value.as_str()),
            });
        }
    }
    Ok(all)
}

/// Made for the service itself: what others have of it is shown with them, where those are `reached`.
fn is_its_own(platform: &Platform, service: &str, variable: &str, reached: &dyn Fn(&Service) -> bool) -> bool {
    let Some((_, made)) = platform.service(service) else { return false };
    let generated = matches!(made.extension.secrets.get(variable), Some(SecretSource::Generate(_)));
    let taken = |source: &SecretSource| matches!(source, SecretSource::From { service: of, key } if of == service && key == variable);
    let shown = |other: &Service| reached(other) && other.extension.secrets.values().any(taken);
    generated && (!platform.is_job(made) || !platform.services().any(|(_, other)| shown(other)))
}

/// The values that only programs need; whoever else has one of them by `from` has it for the same reason.
fn internal<'a>(platform: &Platform, secrets: &'a Secrets) -> BTreeSet<&'a str> {
    let all = platform.services().flat_map(|(_, service)| {
        let own = service.extension.secrets.iter();
        let own = own.filter(|(_, source)| matches!(source, SecretSource::Generate(made) if made.internal));
        own.filter_map(move |(variable, _)| secrets.get(&service.name, variable))
    });
    all.collect()
}

/// The first port that a service publishes.
fn address_of(platform: &Platform, service: &str, block: Block) -> Option<String> {
    let (_, service) = platform.services().find(|(_, known)| known.name == service)?;
    let (given, number) = service.ports.iter().find_map(|port| Some((port.host_ip, port.published?)))?;
    Some(std::net::SocketAddr::new(published_on(block, service, given), number).to_string())
}

/// The `exports` of all services, rendered. Where two services export the same variable the later stack has it. With the
/// platform's authority for Node.js, which goes by no store of this machine.
pub async fn exports(session: &Session, loaded: &Loaded) -> Result<BTreeMap<String, String>, Error> {
    let mut all = exports_of(session, loaded, &[]).await?;
    add_authority(session, &loaded.platform, &mut all).await;
    Ok(all)
}

/// A list that is set already, such as a company's, is left as it is.
async fn add_authority(session: &Session, platform: &Platform, all: &mut BTreeMap<String, String>) {
    let (host, folder) = (session.host(), certificate::authorities(session));
    let domain = certificate::authority_domain(platform);
    // there is none before the first `up`, which also tells what is wrong with one
    let Ok(Some(authority)) = Authority::load(host, &folder, domain, host.now()).await else { return };
    let root = authority.root_path(&folder).display().to_string();
    if host.env(NODE_ROOTS).is_none_or(|set| set.is_empty() || set == root) {
        all.entry(NODE_ROOTS.to_owned()).or_insert(root);
    }
}

/// What these services export, and nothing else.
pub async fn exports_for(
    session: &Session,
    loaded: &Loaded,
    services: &[String],
) -> Result<BTreeMap<String, String>, Error> {
    let platform = &loaded.platform;
    let names: Vec<String> = services.iter().filter(|name| platform.service(name).is_none()).cloned().collect();
    match names.is_empty() {
        true => rendered(session, loaded, services).await,
        false => Err(Error::UnknownService { names, known: platform.service_names() }),
    }
}

/// Those of these services; of all, where none is named. With where programs send their telemetry, and where other
/// names than services' mean nothing.
pub(super) async fn exports_of(
    session: &Session,
    loaded: &Loaded,
    only: &[String],
) -> Result<BTreeMap<String, String>, Error> {
    let mut all = rendered(session, loaded, only).await?;
    add_receiver(session, &loaded.platform.name, &mut all).await;
    Ok(all)
}

async fn rendered(session: &Session, loaded: &Loaded, only: &[String]) -> Result<BTreeMap<String, String>, Error> {
    must_be_own(session, &loaded.platform.name).await?;
    let state = session.state(&loaded.platform.name);
    let secrets: Secrets = state.secrets(session.host()).await?;
    let wants_secrets = |service: &Service| !service.extension.secrets.is_empty();
    if secrets.0.is_empty() && loaded.platform.services().any(|(_, service)| wants_secrets(service)) {
        return Err(Error::NoSecrets);
    }
    let block = state.block(session.host(), &loaded.platform).await?;
    // exports name hosts, ports and secrets; nothing of the engine or the network
    let facts = Facts::of(String::new(), EngineKind::Docker);
    let subnet = ipnet::Ipv4Net::default();
    let site = Site {
        facts: &facts,
        subnet,
        block,
        secrets: &secrets,
        certificate: None,
        version: session.version,
        resolver: false,
        held: &[],
    };
    let left_out = left_out(session, &loaded.platform).await;
    let platform = without(&loaded.platform, &left_out.iter().map(String::as_str).collect());
    let unclear = unclear(&platform, only);
    let all = render_exports(&platform, &site, only, &unclear).map_err(Error::Compile)?;
    if !unclear.is_empty() {
        session.events.info(format!(
            "left out, since several services mean different things by them: {} (a service named after `env`, or with `--needs`, chooses)",
            words::list(unclear)
        ));
    }
    Ok(all)
}

/// Where nobody of the platform takes OTLP and the background process does, programs are told so.
pub async fn add_receiver(session: &Session, platform: &PlatformName, all: &mut BTreeMap<String, String>) {
    let host = session.host();
    let receiving = ResolverFiles::of(host).receiving_of(host, platform).await;
    if let Some(address) = receiving.and_then(|receiving| receiving.otlp) {
        all.entry(OTLP_ENDPOINT.to_owned()).or_insert_with(|| format!("http://{address}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{session, shop};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::label;

    /// What is told of a platform with this stack and these secrets: service, variable and value.
    async fn told(stack: &str, recorded: &[(&str, &str, &str)]) -> Vec<Credential> {
        let loaded = shop(&FakeHost::new(), "", stack);
        let session = session(FakeHost::new(), &FakeEngine::new(), "macula creds");
        let mut secrets = Secrets::default();
        for (service, variable, value) in recorded {
            secrets.set(service, variable, (*value).to_owned());
        }
        session.state(&loaded.platform.name).keep_secrets(session.host(), &secrets).await.unwrap();
        credentials(&session, &loaded).await.unwrap()
    }

    #[tokio::test]
    async fn what_services_export_is_rendered() {
        let stack = "services: {web: {image: x, x-macula: {exports: {SHOP_URL: 'http://{{ domain }}'}}}}\n";
        let loaded = shop(&FakeHost::new(), "", stack);
        let session = session(FakeHost::new(), &FakeEngine::new(), "macula env");
        let all = exports(&session, &loaded).await.unwrap();
        assert_eq!(all.get("SHOP_URL").map(String::as_str), Some("http://shop.macula.local"), "{all:?}");
    }

    #[tokio::test]
    async fn node_is_told_of_the_authority_unless_it_has_another_one() {
        let loaded = shop(&FakeHost::new(), "", "services: {web: {image: x}}\n");
        let host = FakeHost::new().at(1_790_000_000);
        let session = session(host.clone(), &FakeEngine::new(), "macula env");
        let told = async || exports(&session, &loaded).await.unwrap().remove(NODE_ROOTS);
        assert_eq!(told().await, None);
        let (folder, domain) = (certificate::authorities(&session), certificate::authority_domain(&loaded.platform));
        let made = Authority::load_or_create(&host, &folder, domain, 1_790_000_000).await.unwrap();
        let root = made.root_path(&folder).display().to_string();
        assert_eq!(told().await.as_ref(), Some(&root));
        let host = host.env_var(NODE_ROOTS, &root);
        assert_eq!(told().await, Some(root));
        let _host = host.env_var(NODE_ROOTS, "/company.pem");
        assert_eq!(told().await, None);
    }

    #[tokio::test]
    async fn passwords_that_data_was_made_with_are_lost_and_not_still_to_be_made() {
        let stack = "services: {db: {image: x, volumes: ['rows:/rows'], x-macula: {secrets: {KEY: {generate: 24}}}}}\n\
                     volumes: {rows: {}}\n";
        let loaded = shop(&FakeHost::new(), "", stack);
        for (engine, lost) in [
            (FakeEngine::new(), false),
            (FakeEngine::new().with_volume("macula-shop-rows", &[(label::PLATFORM, "shop")]), true),
        ] {
            let session = session(FakeHost::new(), &engine, "macula creds");
            match credentials(&session, &loaded).await {
                Ok(none) => assert!(none.is_empty() && !lost, "{none:?}"),
                Err(Error::SecretsLost { volume, .. }) => {
                    assert_eq!((volume.as_str(), lost), ("macula-shop-rows", true))
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn what_only_programs_need_is_known() {
        let stack = "services:\n  web: {image: x, x-macula: {secrets: {KEY: {generate: 20}, COOKIE: {generate: 20, internal: true}}}}\n  \
                     job: {image: x, x-macula: {secrets: {COOKIE: {from: web.COOKIE}}}}\n";
        let all = told(stack, &[("web", "KEY", "k"), ("web", "COOKIE", "c"), ("job", "COOKIE", "c")]).await;
        let internal: Vec<_> = all.iter().filter(|one| one.internal).map(|one| one.service.as_str()).collect();
        assert_eq!((all.len(), internal), (3, vec!["job", "web"]));
    }

    #[tokio::test]
    async fn a_secret_is_shown_with_the_way_to_its_service() {
        let stack = "services:
  admin: {image: x, x-macula: {ingress: {host: admin, port: 80}, secrets: {PASSWORD: {generate: 20}}}}
  queue: {image: x, x-macula: {secrets: {PASSWORD: {generate: 20}}}}
  users:
    image: x
    restart: 'no'
    x-macula: {once: true, secrets: {FOR_APP: {generate: 20}, FOR_WORKER: {generate: 20}, ADMIN: {generate: 20}}}
  app: {image: x, ports: ['127.0.0.20:8080:80'], x-macula: {secrets: {PASSWORD: {from: users.FOR_APP}}}}
  worker: {image: x, x-macula: {secrets: {PASSWORD: {from: users.FOR_WORKER}}}}
  plain: {image: x, x-macula: {secrets: {PASSWORD: {from: queue.PASSWORD}}}}
";
        let secrets = [
            ("admin", "PASSWORD", "a"),
            ("queue", "PASSWORD", "q"),
            ("users", "FOR_APP", "f"),
            ("users", "FOR_WORKER", "w"),
            ("worker", "PASSWORD", "w"),
            ("users", "ADMIN", "u"),
            ("app", "PASSWORD", "f"),
            ("plain", "PASSWORD", "q"),
        ];
        let all = told(stack, &secrets).await;
        let shown: Vec<String> = all
            .iter()
            .filter(|one| !one.internal)
            .map(|one| format!("{} {}: {}", one.service, one.variable, one.reach.as_deref().unwrap_or("-")))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        admin PASSWORD: https://admin.shop.macula.local
        app PASSWORD: 127.0.0.20:8080
        queue PASSWORD: no port on this machine; other services reach it as queue
        users ADMIN: -
        users FOR_WORKER: -
        ");
    }
}
