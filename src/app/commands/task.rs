//! `task`: the tasks of the user's stacks, when they last ran, and one of them run now.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use serde::Serialize;

use crate::app::survey::{Survey, survey};
use crate::app::{Error, Session};
use crate::config::Loaded;
use crate::engine::LogOptions;
use crate::model::{ContainerState, ObservedContainer, Platform, TaskInputs, label};
use crate::plan::{Action, Plan};

use super::membership::log_of;

/// A task as `macula task` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRow {
    pub name: String,
    /// The service that it belongs to, as its stack calls it; none: it runs on this machine.
    pub service: Option<String>,
    pub stack: Option<String>,
    /// The job that it is in the platform: what `logs` takes.
    pub job: String,
    pub state: TaskState,
    /// Seconds since its last run ended.
    pub ended: Option<u64>,
    pub exit_code: Option<i64>,
    /// Why the next `up` runs it; none: it has nothing to do.
    pub due: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    Never,
    Running,
    Done,
    Failed,
}

impl TaskState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// All tasks of services that take part, in the order of their names.
pub async fn tasks(session: &Session, loaded: &Loaded) -> Result<Vec<TaskRow>, Error> {
    let survey = survey(session, loaded).await?;
    let plan = match survey.foreign {
        Some(_) => None,
        None => survey.reconcile(None, &BTreeSet::new(), false).ok().map(|(plan, _)| plan),
    };
    Ok(task_rows(&loaded.platform, &survey, plan.as_ref(), session.host().now()))
}

/// The same from a look and what an `up` would do now, where that is known.
pub(super) fn task_rows(platform: &Platform, survey: &Survey, plan: Option<&Plan>, now: i64) -> Vec<TaskRow> {
    let mut rows = Vec::new();
    for (stack, service) in platform.services() {
        let Some(job) = &service.extension.task else { continue };
        let steps = plan.into_iter().flat_map(|plan| &plan.steps);
        let mut made =
            steps.filter(|step| step.group == service.name && matches!(step.action, Action::CreateContainer { .. }));
        let (state, ended, exit_code) = last_run(survey, &service.name, now);
        rows.push(TaskRow {
            name: job.name.clone(),
            service: Some(job.service.clone()),
            stack: Some(stack.name.clone()),
            job: service.name.clone(),
            state,
            ended,
            exit_code,
            due: made.next().map(|step| step.cause.to_string()),
        });
    }
    for name in platform.tasks.keys() {
        let mut steps = plan.into_iter().flat_map(|plan| &plan.steps);
        let due = steps.find(|step| matches!(&step.action, Action::RunTask { spec } if spec.name == *name));
        let last = survey.observed.tasks.get(name);
        let (state, exit_code) = match last.map(|run| run.failed) {
            None => (TaskState::Never, None),
            Some(None) => (TaskState::Done, Some(0)),
            Some(Some(code)) => (TaskState::Failed, Some(code)),
        };
        rows.push(TaskRow {
            name: name.clone(),
            service: None,
            stack: None,
            job: name.clone(),
            state,
            ended: last.and_then(|run| u64::try_from(now - run.finished).ok()),
            exit_code,
            due: due.map(|step| step.cause.to_string()),
        });
    }
    rows.sort_by(|a, b| (&a.name, &a.stack).cmp(&(&b.name, &b.stack)));
    rows
}

/// By its container, or by what was noted when it was done and its container is gone.
fn last_run(survey: &Survey, job: &str, now: i64) -> (TaskState, Option<u64>, Option<i64>) {
    let ago = |then: i64| u64::try_from(now - then).ok();
    let recorded = survey.observed.tasks.get(job);
    let ours = |found: &&ObservedContainer| found.label(label::SERVICE) == Some(job);
    let found = survey.observed.containers.iter().find(ours);
    match found.map(|found| (found, found.state)) {
        Some((_, ContainerState::Running | ContainerState::Restarting)) => (TaskState::Running, None, None),
        Some((found, ContainerState::Exited | ContainerState::Dead)) => {
            let good = found.exit_code == Some(0);
            // the list of an engine has no time of its own for one that ended well
            let same = recorded.filter(|run| {
                good && found.label(label::TASK).and_then(TaskInputs::parse).as_ref() == Some(&run.inputs)
            });
            let ended = found.finished_at.and_then(ago).or(found.state_for).or(same.and_then(|run| ago(run.finished)));
            (if good { TaskState::Done } else { TaskState::Failed }, ended, found.exit_code)
        }
        // what was noted is of an earlier run
        Some((found, ContainerState::Created)) if found.never_ran() => (TaskState::Failed, None, found.exit_code),
        _ => match recorded {
            Some(run) => (TaskState::Done, ago(run.finished), Some(0)),
            None => (TaskState::Never, None, None),
        },
    }
}

/// The jobs of the tasks with this name, by the name in the file or by that of the job.
pub fn jobs_of_task(platform: &Platform, typed: &str) -> Vec<String> {
    let named = |wanted: &dyn Fn(&str, &str) -> bool| -> Vec<String> {
        let all = platform.services();
        let all = all.filter_map(|(_, service)| Some((&service.name, &service.extension.task.as_ref()?.name)));
        let here = platform.tasks.keys().map(|name| (name, name));
        all.chain(here).filter(|(job, task)| wanted(job, task)).map(|(job, _)| job.clone()).collect()
    };
    // a task of several stacks has its plain name in one of them only
    match named(&|_, task| task == typed) {
        found if found.is_empty() => named(&|job, _| job == typed),
        found => found,
    }
}

/// Further arguments for one run of a task, which then says nothing of the task itself.
pub fn with_arguments(platform: &mut Platform, job: &str, arguments: &[String]) {
    let services = platform.stacks.iter_mut().flat_map(|stack| stack.services.values_mut());
    for service in services.filter(|service| service.name == job && !arguments.is_empty()) {
        service.command.get_or_insert_default().extend_from_slice(arguments);
        if let Some(task) = &mut service.extension.task {
            task.otherwise = true;
        }
    }
    if let Some(task) = platform.tasks.get_mut(job).filter(|_| !arguments.is_empty()) {
        // a line for the shell takes them as its own
        if let [shell, flag, line] = task.command.as_mut_slice()
            && (shell.as_str(), flag.as_str()) == ("sh", "-c")
        {
            line.push_str(" \"$@\"");
            task.command.push("sh".to_owned());
        }
        task.command.extend_from_slice(arguments);
        task.otherwise = true;
    }
}

/// All that the last run of a task has written.
pub async fn task_output(session: &Session, platform: &Platform, job: &str) -> Result<Vec<u8>, Error> {
    if platform.tasks.contains_key(job) {
        let path = log_of(session.host(), &platform.name, job);
        return session.host().read(&path).await.map_err(|source| Error::Io { path, source });
    }
    let engine = session.engine()?;
    let mut lines = engine.logs(&platform.name.container(job, 1), &LogOptions::default()).await?;
    let mut text = Vec::new();
    while let Some(line) = lines.next().await {
        text.extend(line?.bytes);
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{session, shop};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::TaskRun;

    #[tokio::test]
    async fn a_task_whose_container_is_gone_is_told_by_its_note() {
        let (host, engine) = (FakeHost::new(), FakeEngine::new().with_image("acme/web:1"));
        let loaded = shop(&host, "", "services: {web: {image: 'acme/web:1'}}\n");
        let mut survey = survey(&session(host, &engine, "macula task"), &loaded).await.unwrap();
        survey.observed.tasks.insert("migrate".to_owned(), TaskRun::new(TaskInputs::default(), 910));
        assert_eq!(last_run(&survey, "migrate", 1000), (TaskState::Done, Some(90), Some(0)));
        assert_eq!(last_run(&survey, "seed", 1000), (TaskState::Never, None, None));
        // its next run could not be started
        let labels = [(label::SERVICE.to_owned(), "migrate".to_owned())].into();
        let mut created = ObservedContainer { labels, state: ContainerState::Created, ..ObservedContainer::default() };
        survey.observed.containers.push(created.clone());
        assert_eq!(last_run(&survey, "migrate", 1000), (TaskState::Done, Some(90), Some(0)));
        created.error = "no such program".to_owned();
        survey.observed.containers = vec![created];
        assert_eq!(last_run(&survey, "migrate", 1000), (TaskState::Failed, None, None));
    }

    #[test]
    fn further_arguments_are_of_one_run() {
        let settings = "tasks: {migrate: {run: [migrate], after: db, before: web}}\n";
        let stack = "services: {db: {image: 'acme/db:1'}, web: {image: 'acme/web:1'}}\n";
        let with = |command: &[&str], arguments: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
            let mut platform = shop(&FakeHost::new(), settings, stack).platform;
            platform.tasks.get_mut("migrate").unwrap().command = owned(command);
            with_arguments(&mut platform, "migrate", &owned(arguments));
            let task = &platform.tasks["migrate"];
            (task.command.join(" | "), task.otherwise)
        };
        assert_eq!(with(&["migrate"], &[]), ("migrate".to_owned(), false));
        assert_eq!(with(&["migrate"], &["--all"]), ("migrate | --all".to_owned(), true));
        let line = with(&["sh", "-c", "migrate >log"], &["--all"]);
        assert_eq!(line, ("sh | -c | migrate >log \"$@\" | sh | --all".to_owned(), true));
    }
}
