//! What a run that was killed has left behind. None of it hinders the next `up`, which converges.

use std::path::{Path, PathBuf};

use super::some_of;
use crate::doctor::context::Context;
use crate::doctor::{Action, Fix, Verdict};
use crate::host::{Held, temporary_writer};
use crate::model::{ContainerState, Health, Invocation, MaculaCommand, ObservedContainer, PlatformName, label, macula};

/// How deep our own folders go: `<name>/secrets/<file>`.
const DEPTH: usize = 4;
/// Containers that are named one by one.
const SHOWN: usize = 3;

pub(in crate::doctor) async fn leftovers(context: &Context<'_>) -> Verdict {
    let data = context.host.folders().data;
    let mut platforms = context.host.list(&data).await.unwrap_or_default();
    // `host.d` and its like are not platforms
    platforms.retain(|name| PlatformName::new(name).is_ok());
    let mut lines = Vec::new();
    let mut advice: Vec<String> = Vec::new();
    let mut advise = |line: String| {
        if !advice.contains(&line) {
            advice.push(line);
        }
    };
    let mut at_work = false;
    for name in &platforms {
        let Ok(content) = context.host.read(&data.join(name).join("lock")).await else { continue };
        let Some(held) = Held::parse(&content) else { continue };
        if held.pid.is_some_and(|pid| context.host.alive(pid)) {
            at_work |= *name == context.want.platform;
        } else {
            let pid = held.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            lines.push(format!("{held}{pid} on the platform {name} ended in the middle"));
            let up = line(context, macula("up"), name);
            advise(format!("the same again, or `{up}`, takes up where it ended"));
        }
    }

    let mut files = Vec::new();
    temporary_files(context, data.clone(), DEPTH, &mut files).await;
    if !files.is_empty() {
        let count = if files.len() == 1 { "one file".to_owned() } else { format!("{} files", files.len()) };
        lines.push(format!("{count} half written in {}", data.display()));
        advise("remove what is half written".to_owned());
    }

    // between create and start a container is `created`: only of interest when nobody is at work
    if !at_work {
        let ours = context.ours().await.as_ref().map(Vec::as_slice).unwrap_or_default();
        let stuck = |container: &&ObservedContainer| match container.state {
            ContainerState::Created => !waits_for_failed(container, ours),
            state => matches!(state, ContainerState::Dead | ContainerState::Removing),
        };
        let names: Vec<String> = ours.iter().filter(stuck).map(|container| container.name.clone()).collect();
        if !names.is_empty() {
            lines.push(format!("never started or half removed: {}", some_of(&names, SHOWN)));
            advise(format!("`{}` brings them up", context.line(macula("up"))));
        }
    }

    if context.thorough {
        for name in platforms.iter().filter(|name| **name != context.want.platform) {
            if context.host.exists(&data.join(name).join("receipt.json")).await && context.knows_nothing_of(name).await
            {
                lines.push(format!(
                    "the platform {name} is gone from the engine, but its files are still on this machine"
                ));
                advise(format!("`{}` removes them", line(context, macula("down"), name)));
            }
        }
    }

    if lines.is_empty() {
        return Verdict::ok("no leftovers of an interrupted run");
    }
    let actions = files.into_iter().map(Action::Remove).collect();
    Verdict::warning("an interrupted run left something behind").detail(lines).fix(Fix {
        text: advice.join("; "),
        actions,
        safe: true,
    })
}

/// It was not started, since something that it depends on, be it through others, has failed or is not well yet: that is
/// no work of an interrupted run.
fn waits_for_failed(container: &ObservedContainer, ours: &[ObservedContainer]) -> bool {
    let mut needs = depends_on(container);
    let mut at = 0;
    while let Some(&service) = needs.get(at) {
        for other in ours.iter().filter(|other| other.label(label::SERVICE) == Some(service)) {
            match other.state {
                ContainerState::Exited if other.exit_code.is_some_and(|code| code != 0) => return true,
                ContainerState::Restarting => return true,
                ContainerState::Running if matches!(other.health, Health::Starting | Health::Unhealthy) => return true,
                // what it waits for itself keeps back both
                ContainerState::Created => {
                    let more: Vec<&str> = depends_on(other).into_iter().filter(|name| !needs.contains(name)).collect();
                    needs.extend(more);
                }
                _ => {}
            }
        }
        at += 1;
    }
    false
}

fn depends_on(container: &ObservedContainer) -> Vec<&str> {
    container.label(label::DEPENDS_ON).unwrap_or_default().split(',').filter(|name| !name.is_empty()).collect()
}

/// Those of writers that are dead.
async fn temporary_files(context: &Context<'_>, folder: PathBuf, depth: usize, found: &mut Vec<PathBuf>) {
    let mut folders = vec![(folder, depth)];
    while let Some((folder, depth)) = folders.pop() {
        // a file is a folder that cannot be listed
        for name in context.host.list(&folder).await.unwrap_or_default() {
            let path = folder.join(&name);
            match temporary_writer(&name) {
                Some(pid) if !context.host.alive(pid) => found.push(path),
                Some(_) => {}
                None if depth > 1 && Path::new(&name).extension().is_none() => folders.push((path, depth - 1)),
                None => {}
            }
        }
    }
    found.sort();
}

/// A command for a platform, be it the one that is looked at or another one.
fn line(context: &Context<'_>, command: MaculaCommand, platform: &str) -> String {
    if platform == context.want.platform {
        return context.line(command);
    }
    command.line(&Invocation { name: PlatformName::new(platform).ok(), ..Invocation::default() })
}
