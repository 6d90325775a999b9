//! Which containers and programs are meant, and which of their lines.

use std::path::PathBuf;
use std::sync::Arc;

use crate::app::commands::run::program_log;
use crate::app::processes::keeping;
use crate::app::{Error, Session};
use crate::engine::Engine;
use crate::model::{ContainerState, ObservedContainer, PlatformName, label};
use crate::observe;
use crate::telemetry::levels::Levels;

/// One container that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub service: String,
    pub container: String,
    pub id: String,
    pub state: ContainerState,
    pub exit_code: Option<i64>,
    /// Where it writes to, if it is a program of this machine.
    pub program: Option<PathBuf>,
}

impl Source {
    /// A program of this machine, which has written here.
    pub fn of_program(name: &str, log: PathBuf) -> Self {
        Self {
            service: name.to_owned(),
            container: name.to_owned(),
            id: format!("program {name}"),
            state: ContainerState::Running,
            exit_code: None,
            program: Some(log),
        }
    }
}

/// Which lines are meant; by default all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// What they contain; an upper-case letter in it makes case matter.
    pub grep: Option<String>,
    /// The least severity that they name (1 to 24 as in OTLP); 0: lines that name none, too.
    pub severity: u32,
}

impl LogFilter {
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    pub fn has_text(&self, line: &str) -> bool {
        self.grep.as_deref().is_none_or(|wanted| holds(line, wanted))
    }
}

/// Takes the lines that are meant, each container's in their order.
#[derive(Debug)]
pub struct Sieve {
    pub(super) filter: LogFilter,
    levels: Levels,
}

impl Sieve {
    pub fn new(filter: LogFilter) -> Self {
        Self { levels: Levels::at_least(filter.severity), filter }
    }

    pub fn takes(&mut self, container: &str, line: &[u8]) -> bool {
        let line = String::from_utf8_lossy(line);
        // a stack trace goes with the line before it, whatever text is looked for
        let has_level = self.levels.keeps(container, &line);
        has_level && self.filter.has_text(&line)
    }
}

/// As `rg --smart-case`.
fn holds(line: &str, wanted: &str) -> bool {
    if wanted.chars().any(char::is_uppercase) { line.contains(wanted) } else { line.to_lowercase().contains(wanted) }
}

/// By label, so that the logs of a service that no stack names any more are there too.
pub async fn log_sources(
    session: &Session,
    platform: &PlatformName,
    services: &[String],
) -> Result<(Arc<dyn Engine>, Vec<Source>), Error> {
    let engine = session.engine()?;
    session.check_known(platform).await?;
    let observed = observe::ours(&*engine, platform).await?;
    let mut sources: Vec<Source> = observed.containers.iter().map(source).collect();
    sources.sort_by(|a, b| (&a.service, &a.container).cmp(&(&b.service, &b.container)));
    if services.is_empty() {
        return Ok((engine, sources));
    }
    let unknown: Vec<String> =
        services.iter().filter(|name| !sources.iter().any(|source| source.service == **name)).cloned().collect();
    if !unknown.is_empty() {
        let mut known: Vec<String> = sources.into_iter().map(|source| source.service).collect();
        known.dedup();
        return Err(Error::UnknownService { names: unknown, known });
    }
    sources.retain(|source| services.contains(&source.service));
    Ok((engine, sources))
}

pub(super) fn source(found: &ObservedContainer) -> Source {
    Source {
        service: found.label(label::SERVICE).unwrap_or(&found.name).to_owned(),
        container: found.name.clone(),
        id: found.id.clone(),
        state: found.state,
        exit_code: found.exit_code,
        program: None,
    }
}

/// [`log_sources`], with programs of this machine among them: those that are named and, where nobody is, the
/// processes of macula.yaml. The containers of a service go before a program that had the same name once.
pub async fn all_log_sources(
    session: &Session,
    platform: &PlatformName,
    names: &[String],
) -> Result<(Arc<dyn Engine>, Vec<Source>), Error> {
    let host = session.host();
    let (engine, mut sources) = log_sources(session, platform, &[]).await?;
    let called = |name: &String| sources.iter().any(|source| source.service == *name);
    let named: Vec<String> = match names {
        [] => keeping(host, platform).await.states.into_iter().map(|state| state.name).collect(),
        names => names.to_vec(),
    };
    let mut programs = Vec::new();
    for name in named.into_iter().filter(|name| !called(name)) {
        let Some(log) = program_log(host, platform, &name) else { continue };
        if host.exists(&log).await {
            programs.push(Source::of_program(&name, log));
        }
    }
    if !names.is_empty() {
        let other = |name: &&String| programs.iter().all(|program: &Source| program.service != **name);
        let services: Vec<String> = names.iter().filter(other).cloned().collect();
        sources = match services.is_empty() {
            true => Vec::new(),
            false => log_sources(session, platform, &services).await?.1,
        };
    }
    sources.extend(programs);
    Ok((engine, sources))
}
