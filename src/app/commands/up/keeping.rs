//! What is written down of an `up`, for other commands and the next run.

use std::collections::BTreeSet;

use super::{OVERTAKEN, UpOptions};
use crate::app::choices::Choices;
use crate::app::mounts::may_hold_data;
use crate::app::survey::Survey;
use crate::app::{Error, Prepared, Session, prepare};
use crate::config::{Loaded, canonical};
use crate::host::Host;
use crate::model::{ContainerSpec, ContainerState, MountSpec, Origin, Platform, Stack, TaskInputs, TaskRun, label};
use crate::plan::LeftOut;

/// Records what holds for other commands, and for the next run, from now on. `gone`: services whose image was
/// refused just now.
pub(super) async fn keep(
    session: &Session,
    loaded: &Loaded,
    prepared: &Prepared,
    options: &UpOptions,
    no_dns: bool,
    gone: &[LeftOut],
) -> Result<(), Error> {
    let (host, survey) = (session.host(), &prepared.survey);
    survey.state.keep_block(host, survey.block, true).await?;
    survey.state.keep_no_dns(host, no_dns).await?;
    // whose data takes the passwords that are made now
    if let Some(used) = session.system.discovery.used() {
        survey.state.keep_engine(host, used).await?;
    }
    let choices = Choices {
        no_cluster: options.wanted.no_cluster.unwrap_or(options.choices.no_cluster),
        refused: survey.refusals(&loaded.platform, gone),
        out_of_reach: survey.out_of_reach(&loaded.platform),
        moves: loaded.moves.clone(),
        ..options.choices.clone()
    };
    survey.state.keep_choices(host, &choices).await?;
    survey.state.note_outside(host, outside(survey)).await?;
    note_tasks(host, survey).await?;
    write_stacks(session, loaded, &survey.platform, prepared.plan.is_empty()).await;
    Ok(())
}

/// Good ends of tasks that nobody waited for: without a note they run again once their containers are gone.
async fn note_tasks(host: &dyn Host, survey: &Survey) -> Result<(), Error> {
    for spec in &survey.resources.containers {
        let (Some(task), Some(found)) = (&spec.task, survey.observed.container(&spec.name)) else { continue };
        let ours = found.label(label::PLATFORM) == Some(survey.platform.name.as_str());
        let ended = found.state == ContainerState::Exited && found.exit_code == Some(0);
        let same = |inputs: &TaskInputs| task.inputs.since(inputs).is_empty();
        let noted = survey.observed.tasks.get(&spec.service).is_some_and(|run| same(&run.inputs));
        let did_the_same = found.label(label::TASK).and_then(TaskInputs::parse).is_some_and(|tried| same(&tried));
        let Some(finished) = found.finished_at.or(found.made_at).filter(|_| ours && ended && did_the_same) else {
            continue;
        };
        if !noted && !task.otherwise {
            let path = TaskRun::file(survey.state.folder(), &spec.service);
            let run = serde_json::to_vec(&TaskRun::new(task.inputs.clone(), finished)).map_err(Error::other)?;
            host.write(&path, &run, 0o600).await.map_err(|source| Error::Io { path, source })?;
        }
    }
    Ok(())
}

/// Services with passwords whose data `down --volumes` leaves alone: it is in no volume of the platform's.
fn outside(survey: &Survey) -> BTreeSet<String> {
    let external = |name: &String| survey.resources.volumes.iter().any(|spec| spec.name == *name && spec.external);
    let writes = |spec: &ContainerSpec| {
        spec.mounts.iter().any(|mount| match mount {
            MountSpec::Bind { source, read_only, .. } => !read_only && may_hold_data(source, &spec.labels),
            MountSpec::Volume { source, read_only, .. } => !read_only && external(source),
            MountSpec::Tmpfs { .. } | MountSpec::Image { .. } => false,
        })
    };
    let with_passwords = |service: &String| survey.secrets.0.contains_key(service);
    let specs = survey.resources.containers.iter();
    let specs = specs.filter(|spec| with_passwords(&spec.service) && writes(spec));
    specs.map(|spec| spec.service.clone()).collect()
}

/// `docker compose ls` and graphical tools want a file for each service; what is built in has none of the user's. Where
/// nothing is to be done, those that are there are as the containers were made.
async fn write_stacks(session: &Session, loaded: &Loaded, platform: &Platform, unchanged: bool) {
    let host = session.host();
    let all = loaded.platform.stacks.iter().zip(&loaded.projects);
    let taking_part = |stack: &Stack| stack.origin == Origin::BuiltIn && !stack.services.is_empty();
    for (stack, project) in all.filter(|(stack, _)| taking_part(stack)) {
        let Some(path) = platform.file_of(stack) else { continue };
        if unchanged && host.exists(&path).await {
            continue;
        }
        let text = format!("# Written by `macula up`; a change here has no effect.\n{}", canonical(project));
        if host.read(&path).await.is_ok_and(|there| there == text.as_bytes()) {
            continue;
        }
        // other programs look for it; a platform comes up without it, as on a full disk
        if let Err(error) = host.write(&path, text.as_bytes(), 0o600).await {
            tracing::debug!(%error, "a built-in stack was not written");
        }
    }
}

/// Records the addresses that were chosen; where another platform has taken them since, plans again with
/// others.
pub(super) async fn keep_addresses(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    prepared: &mut Prepared,
) -> Result<(), Error> {
    let fixed = loaded.platform.addresses.block.is_some();
    for _ in 0..OVERTAKEN {
        if prepared.survey.state.keep_block(session.host(), prepared.survey.block, fixed).await? {
            return Ok(());
        }
        *prepared = prepare(session, loaded, &options.wanted).await?;
    }
    Err(Error::NoBlock { name: loaded.platform.name.to_string() })
}

/// What this run starts is no longer stopped by the user.
pub(super) async fn keep_stopped(session: &Session, prepared: &Prepared, apart: Option<&String>) -> Result<(), Error> {
    let mut stopped = prepared.survey.state.stopped(session.host()).await?;
    if stopped.is_empty() {
        return Ok(());
    }
    let left = |service: &String| Some(service) == apart;
    stopped.retain(|service| left(service) || prepared.plan.steps.iter().all(|step| step.group != *service));
    prepared.survey.state.keep_stopped(session.host(), stopped).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{session, shop};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    #[tokio::test]
    async fn a_built_in_stack_lies_where_its_containers_say() {
        let host = FakeHost::new();
        let mut loaded = shop(&host, "", "services: {web: {image: 'acme/web:1'}}");
        let session = session(host.clone(), &FakeEngine::new(), "macula up");
        let mut platform = loaded.platform.clone();
        platform.written = Some("/written".into());
        let at = loaded.platform.stacks.iter().position(|stack| stack.services.contains_key("web")).unwrap();
        let path = format!("/written/{}.yaml", loaded.platform.stacks[at].name);
        let wrote = async |loaded: &Loaded, platform: &Platform, unchanged: bool, before: Option<&str>| {
            host.remove(std::path::Path::new(&path)).await.unwrap();
            if let Some(before) = before {
                host.put(&path, before);
            }
            write_stacks(&session, loaded, platform, unchanged).await;
            host.text(&path)
        };
        // the user's own lies elsewhere
        assert_eq!(wrote(&loaded, &platform, false, None).await, None);
        loaded.platform.stacks[at].origin = Origin::BuiltIn;
        let text =
            format!("# Written by `macula up`; a change here has no effect.\n{}", canonical(&loaded.projects[at]));
        for (unchanged, before, after) in [
            (false, None, text.as_str()),
            (true, None, text.as_str()),
            (true, Some("old"), "old"),
            (false, Some("old"), text.as_str()),
        ] {
            assert_eq!(wrote(&loaded, &platform, unchanged, before).await.as_deref(), Some(after));
        }
        assert_eq!(host.mode(&path), Some(0o600));
        let mut empty = loaded.clone();
        empty.platform.stacks[at].services.clear();
        assert_eq!(wrote(&empty, &platform, false, None).await, None);
        // nobody has said where
        platform.written = None;
        assert_eq!(wrote(&loaded, &platform, false, None).await, None);
    }
}
