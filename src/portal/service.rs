//! One service: its containers, what they need and are needed by, and their variables with the values hidden.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::app::Error;
use crate::model::{ContainerState, ObservedContainer, PlatformName, label};

use super::Shared;

impl Shared {
    /// What the engine knows of a service; `Value::Null`: it has no container.
    pub async fn service(&self, platform: &PlatformName, service: &str) -> Result<Value, Error> {
        let engine = self.session(platform).await.engine()?;
        let all = engine.labelled(&format!("{}={platform}", label::PLATFORM)).await?;
        let mut found = detail(&all, service);
        if let Some(container) = container(&all, service) {
            let variables = engine.environment(&container.name).await?;
            // the names alone: a value is shown only to who has the keys
            let names = variables.map(|variables| {
                let mut names: Vec<String> = variables.iter().map(|pair| pair_of(pair).0.to_owned()).collect();
                names.sort();
                names
            });
            found["variables"] = json!(names);
        }
        Ok(found)
    }

    /// The value of a variable.
    pub async fn reveal(
        &self,
        platform: &PlatformName,
        service: &str,
        variable: &str,
    ) -> Result<Option<String>, Error> {
        let engine = self.session(platform).await.engine()?;
        let all = engine.labelled(&format!("{}={platform}", label::PLATFORM)).await?;
        let Some(container) = container(&all, service) else { return Ok(None) };
        let variables = engine.environment(&container.name).await?.unwrap_or_default();
        let mut pairs = variables.iter().map(|pair| pair_of(pair));
        Ok(pairs.find(|(name, _)| *name == variable).map(|(_, value)| value.to_owned()))
    }
}

fn pair_of(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}

/// The first container of a service.
fn container<'a>(all: &'a [ObservedContainer], service: &str) -> Option<&'a ObservedContainer> {
    all.iter().filter(|found| found.label(label::SERVICE) == Some(service)).min_by_key(|found| found.name.clone())
}

fn needs(found: &ObservedContainer) -> impl Iterator<Item = &str> {
    found.label(label::DEPENDS_ON).unwrap_or_default().split(',').filter(|name| !name.is_empty())
}

fn detail(all: &[ObservedContainer], service: &str) -> Value {
    let own: Vec<&ObservedContainer> =
        all.iter().filter(|found| found.label(label::SERVICE) == Some(service)).collect();
    if own.is_empty() {
        return Value::Null;
    }
    let names = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| json!({"name": name, "state": state(all, name)})).collect::<Vec<_>>()
    };
    let users = all.iter().filter(|found| needs(found).any(|name| name == service));
    let containers = own.iter().map(|found| {
        json!({
            "name": found.name,
            "id": found.id.get(..12).unwrap_or(&found.id),
            "image": found.image,
            "state": found.state,
            "health": found.health,
            "exit_code": found.exit_code,
            "restarts": found.restart_count,
            "addresses": found.addresses,
            "volumes": found.writes.iter().chain(&found.reads).collect::<Vec<_>>(),
        })
    });
    json!({
        "service": service,
        "containers": containers.collect::<Vec<_>>(),
        "needs": names(own.iter().flat_map(|found| needs(found)).collect()),
        "needed_by": names(users.filter_map(|found| found.label(label::SERVICE)).collect()),
    })
}

/// How a service that another one needs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Running,
    Done,
    Down,
}

/// Whether a service runs; a job that has done its work is not one that failed.
fn state(all: &[ObservedContainer], service: &str) -> Standing {
    let own: Vec<_> = all.iter().filter(|found| found.label(label::SERVICE) == Some(service)).collect();
    let done = |found: &&ObservedContainer| {
        let job = found.label(label::ONE_SHOT) == Some("true");
        job && found.state == ContainerState::Exited && found.exit_code == Some(0)
    };
    match own.as_slice() {
        own if own.iter().any(|found| found.state == ContainerState::Running) => Standing::Running,
        [] => Standing::Down,
        own if own.iter().all(done) => Standing::Done,
        _ => Standing::Down,
    }
}

/// The services that run although something that they need does not, with what that is.
pub fn lacking(all: &[ObservedContainer]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for container in all.iter().filter(|container| container.state == ContainerState::Running) {
        let Some(service) = container.label(label::SERVICE) else { continue };
        // what was left out has no container, and nobody waits for it
        let there = |name: &str| all.iter().any(|found| found.label(label::SERVICE) == Some(name));
        let down = |name: &&str| there(name) && state(all, name) == Standing::Down;
        let missing: Vec<&str> = needs(container).filter(down).collect();
        if !missing.is_empty() {
            found.entry(service.to_owned()).or_default().extend(missing.into_iter().map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(service: &str, needs: &str, state: ContainerState) -> ObservedContainer {
        let labels = [(label::SERVICE, service), (label::DEPENDS_ON, needs)];
        ObservedContainer {
            name: format!("macula-{service}-1"),
            state,
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..ObservedContainer::default()
        }
    }

    #[test]
    fn dependencies_are_told_both_ways() {
        let all = [
            found("db", "", ContainerState::Exited),
            found("shop", "db", ContainerState::Running),
            found("cart", "db,shop", ContainerState::Running),
        ];
        let shop = detail(&all, "shop");
        assert_eq!(shop["needs"], json!([{"name": "db", "state": "down"}]));
        assert_eq!(shop["needed_by"], json!([{"name": "cart", "state": "running"}]));
        assert_eq!(detail(&all, "db")["needs"], json!([]));
        assert_eq!(detail(&all, "other"), Value::Null);
        assert_eq!(json!(lacking(&all)), json!({"cart": ["db"], "shop": ["db"]}));
        assert_eq!(pair_of("A=b=c"), ("A", "b=c"));
    }

    #[test]
    fn a_job_that_has_ended_well_is_done() {
        let job = |exit_code| {
            let mut job = found("init", "", ContainerState::Exited);
            job.labels.insert(label::ONE_SHOT.to_owned(), "true".to_owned());
            [ObservedContainer { exit_code: Some(exit_code), ..job }]
        };
        assert_eq!((state(&job(0), "init"), state(&job(1), "init")), (Standing::Done, Standing::Down));
        let server = ObservedContainer { exit_code: Some(0), ..found("web", "", ContainerState::Exited) };
        assert_eq!(state(&[server], "web"), Standing::Down, "one that is to go on running");
        assert_eq!(state(&[], "web"), Standing::Down);
    }
}
