//! `report`: what somebody else needs to see where a platform goes wrong, in files without secrets.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::app::cluster::join::doctor_needs;
use crate::app::prepare::{Wanted, prepare};
use crate::app::survey::survey;
use crate::app::{Error, Session};
use crate::config::{Loaded, in_force};
use crate::doctor::{self, Needs, Selection};
use crate::engine::LogOptions;
use crate::model::{PlatformName, label};
use crate::validate::{Hop, State};

use super::changes::changes;
use super::processes::own_variables;
use super::redact::{Redactor, tells_a_secret};
use super::run::ci_log;
use super::status::status;
use super::validate::validate;

/// Lines of each log.
const LINES: u64 = 2000;
/// For each part: what does not answer must not hold up the rest.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of the output of a command.
const LONGEST: usize = 1 << 20;
const CONFIGURATION: &str = "configuration.yaml";
/// What stands instead of a secret, as of one that the redactor finds.
const HIDDEN: &str = "[hidden]";

/// A file of the report, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    pub name: String,
    pub text: String,
}

/// Everything that can be looked at. What cannot be has a file that says why. `loaded`: the configuration, or its
/// errors as they are told.
pub async fn report(session: &Session, name: &PlatformName, loaded: Result<&Loaded, String>) -> Vec<ReportFile> {
    let mut parts: Vec<(String, Result<String, String>)> = vec![("versions.json".to_owned(), versions(session).await)];
    match &loaded {
        Ok(loaded) => {
            parts.push(("services.json".to_owned(), services(loaded)));
            parts.push(("plan.json".to_owned(), patiently(plan(session, loaded)).await));
            parts.push(("status.json".to_owned(), patiently(status_text(session, loaded)).await));
            parts.push(("doctor.json".to_owned(), patiently(findings(session, loaded)).await));
            parts.push(("validate.txt".to_owned(), patiently(names(session, loaded)).await));
        }
        Err(errors) => parts.push((CONFIGURATION.to_owned(), Err(errors.clone()))),
    }
    match patiently(logs(session, name)).await {
        Ok(logs) => parts.extend(logs.into_iter().map(|(service, log)| (format!("logs/{service}.log"), Ok(log)))),
        Err(reason) => parts.push(("logs".to_owned(), Err(reason))),
    }
    if let Ok(output) = session.host().read(&ci_log(session.host(), name)).await {
        let from = output.len().saturating_sub(LONGEST);
        let text = String::from_utf8_lossy(output.get(from..).unwrap_or_default()).into_owned();
        parts.push(("logs/command-of-macula-ci.log".to_owned(), Ok(text)));
    }
    let loaded = loaded.ok();
    let redactor = Redactor::new(secrets(session, name, loaded).await);
    let file = |(name, text): (String, Result<String, String>)| match text {
        Ok(text) => ReportFile { name, text: redactor.text(&text) },
        Err(reason) => ReportFile { name: format!("{name}.error.txt"), text: redactor.text(&format!("{reason}\n")) },
    };
    let mut files: Vec<ReportFile> = parts.into_iter().map(file).collect();
    if let Some(loaded) = loaded {
        // behind the versions
        files.insert(1, configuration(loaded, &redactor));
    }
    files
}

/// The settings in force. Each value is looked at by itself: what has gone from it already must not look like a secret
/// that stands behind its name.
fn configuration(loaded: &Loaded, redactor: &Redactor) -> ReportFile {
    let yaml = serde_yaml::to_string(&hidden(in_force(loaded), false, redactor)).map_err(|error| error.to_string());
    match yaml {
        Ok(text) => ReportFile { name: CONFIGURATION.to_owned(), text },
        Err(reason) => ReportFile { name: format!("{CONFIGURATION}.error.txt"), text: format!("{reason}\n") },
    }
}

/// Without secrets: what the redactor finds and, however short, the value of a variable whose name says that it is one.
/// `variables`: the keys are names of variables.
fn hidden(value: Value, variables: bool, redactor: &Redactor) -> Value {
    match value {
        Value::String(text) => Value::String(redactor.text(&text)),
        Value::Array(all) => Value::Array(all.into_iter().map(|one| hidden(one, false, redactor)).collect()),
        Value::Object(map) => {
            let entry = |(key, value): (String, Value)| {
                let below = ["env", "environment"].contains(&key.as_str());
                let value = match value {
                    Value::String(_) if variables && tells_a_secret(&key) => Value::String(HIDDEN.to_owned()),
                    value => hidden(value, below, redactor),
                };
                (redactor.text(&key), value)
            };
            Value::Object(map.into_iter().map(entry).collect())
        }
        other => other,
    }
}

async fn patiently<T>(part: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, part).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn with_causes(error: &Error) -> String {
    let mut text = match error {
        Error::Compile(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Error::Conflicts(conflicts) => conflicts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    };
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&format!("\ncaused by: {cause}"));
        next = cause.source();
    }
    text
}

fn pretty(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value).map_err(Error::other)
}

/// Of this program, the machine and the engine.
async fn versions(session: &Session) -> Result<String, String> {
    let host = session.host().facts();
    let engine = match &session.system.engine {
        Some(engine) => engine.facts().await.map_err(|error| error.to_string()).map(Some)?,
        None => None,
    };
    let tried: Vec<&str> = session.system.discovery.attempts.iter().map(|attempt| attempt.endpoint.as_str()).collect();
    let all = json!({
        "macula": session.version,
        "machine": {
            "os": host.os, "arch": host.arch, "distribution": host.distribution, "codename": host.codename,
            "kernel": host.kernel, "systemd": host.systemd, "wsl": host.wsl, "container": host.container,
            "memory_total": host.memory_total, "memory_available": host.memory_available, "cpus": host.cpus,
            "cgroup_version": host.cgroup_version,
        },
        "engine": engine,
        "engines_tried": tried,
    });
    pretty(&all).map_err(|error| error.to_string())
}

/// What each service is made of, without its environment.
fn services(loaded: &Loaded) -> Result<String, String> {
    let services = loaded.platform.services().map(|(stack, service)| {
        json!({
            "name": service.name, "stack": stack.name, "image": service.image, "built": service.build.is_some(),
            "command": service.command, "ports": service.ports, "replicas": service.replicas,
            "environment": service.environment.keys().collect::<Vec<_>>(),
            "depends_on": service.depends_on.keys().collect::<Vec<_>>(),
        })
    });
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    let all = json!({ "services": services.collect::<Vec<_>>(), "warnings": warnings });
    pretty(&all).map_err(|error| error.to_string())
}

async fn plan(session: &Session, loaded: &Loaded) -> Result<String, Error> {
    let prepared = prepare(session, loaded, &Wanted::default()).await?;
    let left_out: Vec<_> = prepared.plan.left_out.iter().map(|left| json!([left.service, left.reason])).collect();
    let steps: Vec<String> =
        prepared.plan.steps.iter().map(|step| format!("{}: {} ({})", step.group, step.id, step.cause)).collect();
    pretty(&json!({ "changes": changes(&prepared).await, "left_out": left_out, "steps": steps }))
}

async fn status_text(session: &Session, loaded: &Loaded) -> Result<String, Error> {
    pretty(&status(session, loaded).await?)
}

async fn findings(session: &Session, loaded: &Loaded) -> Result<String, Error> {
    let mut needs = match survey(session, loaded).await {
        Ok(seen) => Needs {
            passed_on: seen.observed.passed_on.clone(),
            ..Needs::of(&seen.platform, &seen.resources, doctor_needs(&loaded.platform))
        },
        Err(_) => Needs {
            platform: loaded.platform.name.to_string(),
            domain: loaded.platform.domain.clone(),
            network: loaded.platform.name.network(),
            cluster: doctor_needs(&loaded.platform),
            ..Needs::default()
        },
    };
    needs.invocation = session.invocation.clone();
    pretty(&doctor::run(&session.system, &needs, Selection::All).await)
}

/// A line for each name, and one for each thing that is broken.
async fn names(session: &Session, loaded: &Loaded) -> Result<String, Error> {
    let (_, verdict, _) = validate(session, loaded, None).await?;
    let state = |state: &State| match state {
        State::Ok => "ok",
        State::Broken => "FAILED",
        State::Unknown => "?",
        State::None => "-",
    };
    let mut out = String::new();
    for row in &verdict.rows {
        let hops = Hop::ALL.iter().zip(&row.hops).map(|(hop, found)| format!("{}={}", hop.name(), state(found)));
        out.push_str(&format!("{}  {}\n", row.name, hops.collect::<Vec<_>>().join(" ")));
    }
    for fault in &verdict.faults {
        out.push_str(&format!("\n{}: {}\n", fault.cause.hop().name(), fault.cause));
        if !fault.names.is_empty() {
            out.push_str(&format!("  {}\n", fault.names.join(", ")));
        }
    }
    Ok(out)
}

/// By service.
async fn logs(session: &Session, name: &PlatformName) -> Result<BTreeMap<String, String>, Error> {
    let engine = session.engine()?;
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let options = LogOptions { tail: Some(LINES), timestamps: true, ..LogOptions::default() };
    for found in engine.labelled(&format!("{}={name}", label::PLATFORM)).await? {
        let service = found.label(label::SERVICE).unwrap_or(&found.name).to_owned();
        let log = all.entry(service).or_default();
        match engine.logs(&found.id, &options).await {
            Ok(mut lines) => {
                while let Some(line) = lines.next().await {
                    match line {
                        Ok(line) => log.push_str(&format!("{}\n", String::from_utf8_lossy(&line.bytes))),
                        Err(error) => {
                            log.push_str(&format!("[{error}]\n"));
                            break;
                        }
                    }
                }
            }
            Err(error) => log.push_str(&format!("[{error}]\n")),
        }
    }
    Ok(all)
}

/// Every secret that is known: those that were made, and what the files set under names that say so.
async fn secrets(session: &Session, name: &PlatformName, loaded: Option<&Loaded>) -> Vec<String> {
    let kept = session.state(name).secrets(session.host()).await.unwrap_or_default();
    let mut all: Vec<String> = kept.0.into_values().flat_map(|variables| variables.into_values()).collect();
    let Some(loaded) = loaded else { return all };
    let platform = &loaded.platform;
    let secret = |name: &str| tells_a_secret(name) || name.to_ascii_lowercase().contains("auth");
    for (_, service) in platform.services() {
        all.extend(service.environment.iter().filter(|(name, _)| secret(name)).map(|(_, value)| value.clone()));
    }
    let processes = platform.processes.values().map(|process| (&process.environment, &process.env_files));
    let tasks = platform.tasks.values().map(|task| (&task.environment, &task.env_files));
    for (environment, files) in processes.chain(tasks) {
        let set = environment.iter().filter(|(name, _)| secret(name));
        all.extend(set.filter_map(|(_, value)| value.clone()));
        // one that cannot be read keeps nothing of the others back
        for file in files.chunks(1) {
            all.extend(secrets_of_files(session, file, &secret).await);
        }
    }
    all
}

/// Those in files of variables.
async fn secrets_of_files(session: &Session, files: &[PathBuf], secret: &(dyn Fn(&str) -> bool + Sync)) -> Vec<String> {
    let read = own_variables(session.host(), files, &BTreeMap::new()).await.unwrap_or_default();
    read.into_iter().filter(|(name, _)| secret(name)).filter_map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{session, shop};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    const SETTINGS: &str = "services: {db: {environment: {MYSQL_PWD: abc, LEVEL: debug}}}
processes:
  web:
    command: ./web --token=t-12345678
    env: {DB_PASS: hunter22-prod, MODE: test, OLD_KEY: null}
    env_file: all.yaml
tasks:
  migrate: {run: [migrate], env: {API_KEY: k-123456}}
";

    fn loaded(host: &FakeHost) -> Loaded {
        shop(host, SETTINGS, "services: {db: {image: 'db:1'}}")
    }

    #[test]
    fn settings_are_reported_without_values_of_secret_variables() {
        let found = configuration(&loaded(&FakeHost::new()), &Redactor::new([]));
        assert_eq!(found.name, CONFIGURATION);
        for gone in ["hunter22", "k-123456", "abc", "t-12345678"] {
            assert!(!found.text.contains(gone), "{gone} is in\n{}", found.text);
        }
        for there in [
            "MYSQL_PWD: '[hidden]'\n",
            "DB_PASS: '[hidden]'\n",
            "API_KEY: '[hidden]'\n",
            "--token=[hidden]\n",
            "LEVEL: debug\n",
            "MODE: test\n",
            // it has no value
            "OLD_KEY: null\n",
        ] {
            assert!(found.text.contains(there), "{there} is not in\n{}", found.text);
        }
    }

    #[test]
    fn services_are_reported_with_the_names_of_their_variables() {
        let stack = "services:
  db: {image: 'db:1', environment: {B: hunter22, A: hunter23}, deploy: {replicas: 2}}
  web: {image: 'web:1', command: [run, it], depends_on: [db], ports: ['8080:80']}
";
        let loaded = shop(&FakeHost::new(), "", stack);
        let (stack, web) = loaded.platform.service("web").unwrap();
        let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        let found: serde_json::Value = serde_json::from_str(&services(&loaded).unwrap()).unwrap();
        let expected = json!({
            "services": [
                {
                    "name": "db", "stack": stack.name, "image": "db:1", "built": false, "command": null, "ports": [],
                    "replicas": 2, "environment": ["A", "B"], "depends_on": [],
                },
                {
                    "name": "web", "stack": stack.name, "image": "web:1", "built": false, "command": ["run", "it"],
                    "ports": web.ports, "replicas": 1, "environment": [], "depends_on": ["db"],
                },
            ],
            "warnings": warnings,
        });
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn secrets_of_processes_tasks_and_their_files_are_known() {
        // the files that are loaded are not those of the host
        let variables = "SMTP_PASS=from-a-file\nLEVEL=debugging\nPROXY_AUTH=me-and-you\n";
        let host = FakeHost::new().file("/p/all.yaml", variables);
        let loaded = loaded(&host);
        let session = session(host, &FakeEngine::new(), "macula report");
        let mut found = secrets(&session, &loaded.platform.name, Some(&loaded)).await;
        found.sort();
        assert_eq!(found, ["abc", "from-a-file", "hunter22-prod", "k-123456", "me-and-you"]);
    }
}
