//! What is said and asked before something is done: what a plan comes to, and an engine that is missing.

use std::time::Duration;

use async_trait::async_trait;

use crate::app::{self, Consent, Prepared, Session};
use crate::config::Loaded;
use crate::doctor::{self, Finding, Fix, Needs, Selection, Status};
use crate::model::{Again, Platform, macula};
use crate::plan::forecast::Forecast;
use crate::plan::{Action, Cause, Plan, REACH_GROUP, Step};
use crate::words;

use super::context::Context;
use super::engine_error::no_engine;
use super::error::{CliError, ErrorKind};
use super::ui::text;

/// The engine, installed and started first where there is none and the user agrees.
pub(super) async fn with_engine(context: &Context, loaded: &Loaded) -> Result<Session, CliError> {
    with_engine_of(context, loaded, context.session("up").await).await
}

/// The same for a session that is there already.
pub(super) async fn with_engine_of(
    context: &Context,
    loaded: &Loaded,
    mut session: Session,
) -> Result<Session, CliError> {
    if session.system.engine.is_some() {
        return Ok(session);
    }
    let needs = Needs { platform: loaded.platform.name.to_string(), ..Needs::default() };
    let Some((finding, fix)) = missing_engine(&session, &needs).await? else {
        return Err(no_engine(&session.system.discovery));
    };
    let (finding, fix) = (&finding, &fix);
    let services = loaded.platform.services().count();
    context.events().info(format!(
        "{} starts up to {services} services in containers, which takes an engine.",
        loaded.platform.name
    ));
    if !context.agreed(&sentences(&finding.summary, &fix.text), &explain(fix)).await? {
        return Err(no_engine(&session.system.discovery).again(Again::Agreed));
    }
    let fixed = doctor::fix(&session.system, &needs, finding, &context.events()).await.map_err(|error| {
        CliError::new(ErrorKind::NoEngine, fix.text.clone()).because(&error).suggest(macula("doctor"))
    })?;
    session.system = fixed.system;
    if session.system.engine.is_none() {
        return Err(no_engine(&session.system.discovery));
    }
    Ok(session)
}

/// Why there is no engine, and how there comes to be one; nothing where that is beyond us.
pub(super) async fn missing_engine(session: &Session, needs: &Needs) -> Result<Option<(Finding, Fix)>, CliError> {
    let checks = Selection::named(&["engine-installed", "engine-running"]).map_err(CliError::fault)?;
    let findings = doctor::run(&session.system, needs, checks).await;
    let finding = findings.into_iter().find(|finding| finding.status == Status::Failed && has_actions(finding));
    Ok(finding.and_then(|finding| {
        let fix = finding.fix.clone()?;
        Some((finding, fix))
    }))
}

/// A finding and its fix as two sentences; the second becomes the question.
pub(super) fn sentences(finding: &str, fix: &str) -> String {
    format!("{}. {}", capital(finding), capital(fix))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn has_actions(finding: &Finding) -> bool {
    finding.fix.as_ref().is_some_and(|fix| !fix.actions.is_empty())
}

/// What a fix would run, a line each.
pub(super) fn explain(fix: &Fix) -> String {
    fix.actions.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(super) struct Asker<'a> {
    pub context: &'a Context,
}

#[async_trait]
impl Consent for Asker<'_> {
    async fn planned(&self, prepared: &Prepared, findings: &[Finding], forecast: &Forecast) {
        let events = self.context.events();
        if let Some(opening) = opening(prepared, forecast) {
            events.info(opening);
        }
        let orphans = orphans(&prepared.plan, &prepared.survey.platform);
        if !orphans.is_empty() {
            let names = orphans.join(", ");
            events
                .info(format!("removing what is no longer in any stack or active profile (volumes are kept): {names}"));
        }
        for note in prepared.apart_notes() {
            events.warn(note);
        }
        if let Some(drift) = prepared.cluster_drift() {
            events.warn(drift);
        }
        for finding in findings.iter().filter(|finding| matches!(finding.status, Status::Warning | Status::Failed)) {
            let fix = finding.fix.as_ref().map(|fix| format!(" ({})", fix.text)).unwrap_or_default();
            events.warn(format!("{}: {}{fix}", finding.check, finding.summary));
        }
        if self.context.global.verbose > 0 {
            for step in &prepared.plan.steps {
                events.info(step.to_string());
            }
        }
    }

    async fn install(&self, why: &str, fix: &Fix) -> Result<bool, app::Error> {
        self.context
            .agreed(&sentences(why, &fix.text), &explain(fix))
            .await
            .map_err(|error| app::Error::Other(error.into()))
    }
}

/// Services that go with all of their containers, each once: one of which only some are too many is in its stack still.
fn orphans<'a>(plan: &'a Plan, platform: &Platform) -> Vec<&'a str> {
    let goes = |step: &&Step| step.cause == Cause::Orphaned && matches!(step.action, Action::RemoveContainer { .. });
    let groups = plan.steps.iter().filter(goes).map(|step| step.group.as_str());
    words::unique(groups.filter(|name| *name != REACH_GROUP && platform.service(name).is_none()))
}

/// What is going to happen, how long it takes and how much is fetched, where that is worth a line.
pub(super) fn opening(prepared: &Prepared, forecast: &Forecast) -> Option<String> {
    if forecast.builds + forecast.pulls == 0 && forecast.time < Duration::from_secs(8) {
        return None;
    }
    let mut what = Vec::new();
    let silent: Vec<&str> = prepared
        .survey
        .observed
        .registries
        .iter()
        .filter(|(_, answers)| !**answers)
        .map(|(registry, _)| registry.as_str())
        .collect();
    if forecast.builds > 0 {
        let why = match silent.as_slice() {
            // what has only a build is not built for lack of something better
            _ if !prepared.plan.steps.iter().any(stands_in) => String::new(),
            [] => String::new(),
            [one] => format!(" here, since {one} cannot be reached"),
            _ => " here, since their registries cannot be reached".to_owned(),
        };
        what.push(format!("{} to build{why}", text::count(forecast.builds, "image")));
    }
    if forecast.pulls > 0 {
        what.push(format!("{} to pull", text::count(forecast.pulls, "image")));
    }
    let mut out = String::new();
    if !what.is_empty() {
        out = format!("{}. ", what.join(", "));
    }
    if forecast.pulls == 0 && forecast.unknown > 0 && forecast.unknown == forecast.builds {
        // what was never made here takes as long as it takes
        return Some(out.trim_end().to_owned());
    }
    out.push_str(&capital(&text::roughly(forecast.time)));
    if forecast.bytes > 0 {
        out.push_str(&format!(" and some {} to fetch", text::bytes_roughly(forecast.bytes)));
    }
    if !what.is_empty() && !forecast.remembered {
        out.push_str("; later starts take seconds");
    }
    out.push('.');
    Some(out)
}

/// A build in place of an image that could not be pulled.
fn stands_in(step: &Step) -> bool {
    matches!(&step.action, Action::ObtainImage { spec, pull: false, .. } if !spec.pull.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, MemoryFiles, Request};
    use crate::model::{ResourceId, ResourceKind};

    #[test]
    fn who_goes_for_good_is_named_once() {
        let files = MemoryFiles::default()
            .with("/p/macula.yaml", "stacks: [all.yaml]\n")
            .with("/p/all.yaml", "services: {web: {image: 'acme/web:1'}}");
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let platform = config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform;
        let step = |name: &str, cause| {
            let container = format!("macula-{name}-1");
            Step {
                id: format!("remove container {container}"),
                resource: ResourceId::new(ResourceKind::Container, &container),
                group: name.to_owned(),
                action: Action::RemoveContainer { container },
                cause,
                after: Vec::new(),
                destructive: false,
                needs_privilege: false,
            }
        };
        // `web` has a replica less, and `new` gets another container
        let steps = ["old", "web", "old", REACH_GROUP].map(|name| step(name, Cause::Orphaned)).into_iter();
        let steps = steps.chain([step("new", Cause::Requested)]).collect();
        assert_eq!(orphans(&Plan { steps, ..Plan::default() }, &platform), ["old"]);
    }
}
