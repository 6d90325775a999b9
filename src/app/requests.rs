//! How many requests the ingress passes on to each service: by its own counters, which Prometheus reads, too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::compile::{Block, INGRESS_COUNTERS, counted};
use crate::host::Host;
use crate::model::{ContainerSpec, ContainerState, Facts, ObservedContainer, Platform, label};
use crate::probe::outside_address;

const COUNTER: &str = "haproxy_server_http_responses_total";
/// An ingress that does not know the filter gives all that it counts of servers.
const PATH: &str = "/metrics?scope=server&metrics=haproxy_server_http_responses_total";
/// Whoever waits for the figures has those of the kernel already.
const PATIENCE: Duration = Duration::from_millis(500);

/// What had been passed on at one moment.
#[derive(Debug, Clone)]
pub(super) struct Passed {
    pub at: Instant,
    /// Answers by the container of the ingress, the backend and the server.
    of: BTreeMap<(String, (String, String)), u64>,
}

/// Whoever passes requests on, and to whom.
#[derive(Debug)]
pub(super) struct Ingress {
    /// Services: the ingress, and that of the platform's own network.
    services: Vec<String>,
    /// Services by backend and server.
    owners: BTreeMap<(String, String), String>,
}

impl Ingress {
    /// `None`: nothing is passed on to anybody.
    pub fn of(platform: &Platform, block: Block) -> Option<Self> {
        let passes = platform.services().map(|(_, service)| service).filter(|service| service.extension.role.is_some());
        let services: Vec<String> = passes.map(|service| service.name.clone()).collect();
        let owners = counted(platform, block);
        (!services.is_empty() && !owners.is_empty()).then_some(Self { services, owners })
    }

    /// `None`: none of them runs, or one cannot be asked from here or does not answer.
    pub async fn passed(
        &self,
        host: &dyn Host,
        facts: &Facts,
        specs: &[ContainerSpec],
        containers: &[ObservedContainer],
    ) -> Option<Passed> {
        let passes = |found: &&ObservedContainer| {
            let service = found.label(label::SERVICE);
            let known = self.services.iter().any(|name| service == Some(name.as_str()));
            known && found.state == ContainerState::Running
        };
        let asked: Vec<&ObservedContainer> = containers.iter().filter(passes).collect();
        let ask = async |found: &ObservedContainer| {
            // one more ingress may have come since the specifications were made
            let service = found.label(label::SERVICE)?;
            let spec = specs.iter().find(|spec| spec.service == service)?;
            let address = outside_address(host, facts, spec, found, INGRESS_COUNTERS).await?;
            let answer = host.http_get(address, &spec.service, PATH, PATIENCE).await.ok()?;
            let places = (answer.status == 200).then(|| answers(&String::from_utf8_lossy(&answer.body)))?;
            Some(places.into_iter().map(|(place, number)| ((found.id.clone(), place), number)).collect::<Vec<_>>())
        };
        let told: Option<Vec<_>> = join_all(asked.iter().map(|found| ask(found))).await.into_iter().collect();
        let of = told?.into_iter().flatten().collect();
        (!asked.is_empty()).then(|| Passed { at: Instant::now(), of })
    }

    /// Requests a second of each service that has a way through the ingress. Pure.
    pub fn rates(&self, before: &Passed, after: &Passed) -> BTreeMap<String, f64> {
        let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
        let mut all: BTreeMap<String, f64> = self.owners.values().map(|service| (service.clone(), 0.0)).collect();
        for (key, now) in &after.of {
            // one that has begun again gives nothing in this reading, and so does another container
            let more = now.saturating_sub(before.of.get(key).copied().unwrap_or(*now));
            if let Some(rate) = self.owners.get(&key.1).and_then(|service| all.get_mut(service)) {
                *rate += more as f64;
            }
        }
        let tenths = |number: f64| if seconds > 0.0 { (number / seconds * 10.0).round() / 10.0 } else { 0.0 };
        all.into_iter().map(|(service, number)| (service, tenths(number))).collect()
    }
}

/// `haproxy_server_http_responses_total{proxy="a",server="b",code="2xx"} 7`, all codes together.
fn answers(text: &str) -> BTreeMap<(String, String), u64> {
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let counter = line.strip_prefix(COUNTER).and_then(|rest| rest.strip_prefix('{')?.split_once("} "));
        let Some((labels, number)) = counter else { continue };
        let named = |name: &str| {
            let mut labels = labels.split(',');
            labels.find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
        };
        let number = number.trim().parse::<u64>().unwrap_or_default();
        if let (Some(backend), Some(server)) = (named("proxy"), named("server")) {
            *all.entry((backend.to_owned(), server.to_owned())).or_default() += number;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request, load};
    use crate::host::fake::FakeHost;
    use crate::model::EngineKind;

    const STACK: &str = "services:\n  web: {image: 'x:1', deploy: {replicas: 2}, x-macula: {ingress: {port: 80}}}\n  \
                         api: {image: 'x:1', x-macula: {ingress: {port: 80}}}\n";

    fn platform(only_own: bool) -> Platform {
        let files = MemoryFiles::default()
            .with("/w/macula.yaml", "stacks: [app.yaml]\ncluster: {enabled: false}\n")
            .with("/w/app.yaml", STACK);
        let request = Request { cwd: "/w".into(), only_own, ..Request::default() };
        load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform
    }

    fn ingress() -> (ContainerSpec, ObservedContainer) {
        let spec = ContainerSpec { name: "macula-ingress-1".into(), service: "ingress".into(), ..Default::default() };
        let found = ObservedContainer {
            id: "1".into(),
            name: spec.name.clone(),
            state: ContainerState::Running,
            labels: [(label::SERVICE.to_owned(), "ingress".to_owned())].into(),
            addresses: [("macula".to_owned(), [10, 222, 7, 2].into())].into(),
            ..Default::default()
        };
        (spec, found)
    }

    fn metrics(web: u64, api: u64) -> String {
        format!(
            "# TYPE {COUNTER} counter\n{COUNTER}{{proxy=\"web.macula.local\",server=\"web-1\",code=\"2xx\"}} {web}\n\
             {COUNTER}{{proxy=\"web.macula.local\",server=\"web-2\",code=\"5xx\"}} 1\n\
             {COUNTER}{{proxy=\"api.macula.local\",server=\"api\",code=\"2xx\"}} {api}\n\
             {COUNTER}{{proxy=\"no-route\",server=\"programs\",code=\"2xx\"}} 9\nhaproxy_server_status{{proxy=\"x\"}} 1\n"
        )
    }

    async fn asked(ingress_of: &Ingress, text: &str) -> Option<Passed> {
        let (spec, found) = ingress();
        let facts = Facts { container_addresses: true, ..Facts::of("Docker 28.2.2", EngineKind::Docker) };
        let host = FakeHost::new().http(([10, 222, 7, 2], INGRESS_COUNTERS).into(), PATH, 200, text);
        ingress_of.passed(&host, &facts, &[spec], &[found]).await
    }

    #[tokio::test]
    async fn a_service_has_the_answers_of_all_its_servers() {
        let counting = Ingress::of(&platform(false), Block::DEFAULT).unwrap();
        let before = asked(&counting, &metrics(100, 50)).await.unwrap();
        let mut after = asked(&counting, &metrics(110, 50)).await.unwrap();
        after.at = before.at + Duration::from_secs(4);
        let rates = counting.rates(&before, &after);
        assert_eq!((rates["web"], rates["api"]), (2.5, 0.0));
        assert!(!rates.contains_key("programs"), "{rates:?}");
        // a reload begins again, and two looks at once say nothing
        let mut again = asked(&counting, &metrics(3, 2)).await.unwrap();
        again.at = after.at + Duration::from_secs(1);
        assert_eq!(counting.rates(&after, &again)["web"], 0.0);
        assert_eq!(counting.rates(&after, &after)["web"], 0.0);
    }

    #[tokio::test]
    async fn nothing_is_said_of_an_ingress_that_cannot_be_asked() {
        let counting = Ingress::of(&platform(false), Block::DEFAULT).unwrap();
        let (spec, found) = ingress();
        let (specs, running) = ([spec], [found]);
        let far = Facts::of("Docker 28.2.2", EngineKind::Docker);
        let near = Facts { container_addresses: true, ..far.clone() };
        let mute = FakeHost::new();
        for facts in [&far, &near] {
            let passed = counting.passed(&mute, facts, &specs, &running).await;
            assert!(passed.is_none(), "{passed:?}");
        }
        assert!(counting.passed(&mute, &near, &specs, &[]).await.is_none());
        assert!(Ingress::of(&platform(true), Block::DEFAULT).is_none());
    }
}
