//! `develop.watch`.

use super::hook::hook;
use super::{flag, text};
use crate::config::yaml::{Node, Report};
use crate::model::{WatchAction, WatchRule};

pub(super) fn rules(service: &Node, name: &str, report: &mut Report) -> Vec<WatchRule> {
    let Some(develop) = service.get("develop") else { return Vec::new() };
    let mut all = Vec::new();
    for rule in develop.items("watch") {
        let action = match rule.get_text("action") {
            Some("sync") => WatchAction::Sync,
            Some("sync+restart") => WatchAction::SyncRestart,
            Some("sync+exec") => WatchAction::SyncExec,
            Some("restart") => WatchAction::Restart,
            Some("rebuild") => WatchAction::Rebuild,
            _ => continue,
        };
        let Some(path) = text(rule, "path") else { continue };
        let target = text(rule, "target").filter(|target| !target.is_empty());
        let place = format!("services.{name}.develop.watch");
        match &target {
            None if action.copies() => {
                let help = "write the path in the container, as `target: /app`";
                report.error_help(rule.span, format!("{place}: `target` is missing: files are copied"), help);
                continue;
            }
            Some(target) if action.copies() && !target.starts_with('/') => {
                let help = "write the whole path in the container";
                report.error_help(rule.span, format!("{place}: the target `{target}` does not begin with /"), help);
                continue;
            }
            _ => {}
        }
        let exec = rule.get("exec").filter(|exec| !exec.is_null());
        if action == WatchAction::SyncExec && exec.is_none() {
            let help = "write `exec: {command: [...]}`, or the action sync";
            report.error_help(rule.span, format!("{place}: `exec` is missing: a command is run"), help);
            continue;
        }
        all.push(WatchRule {
            path: path.into(),
            action,
            target,
            exec: exec.and_then(|exec| hook(exec, &format!("{place}.exec"), report)),
            include: rule.texts("include"),
            ignore: rule.texts("ignore"),
            initial_sync: flag(rule, "initial_sync"),
        });
    }
    all
}
