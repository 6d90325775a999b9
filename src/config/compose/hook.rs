//! A program of a container that runs at some moment.

use super::{flag, string_map, text};
use crate::config::yaml::{Node, Report};
use crate::model::Hook;

/// A program to be run in the container; `place`: where it is written.
pub(super) fn hook(hook: &Node, place: &str, report: &mut Report) -> Option<Hook> {
    let command = hook.texts("command");
    if command.is_empty() {
        report.error_help(hook.span, format!("{place}: `command` is missing"), "name a program of the container");
        return None;
    }
    Some(Hook {
        command,
        user: text(hook, "user"),
        privileged: flag(hook, "privileged"),
        working_dir: text(hook, "working_dir"),
        environment: string_map(hook, "environment").into_iter().map(|(key, value)| format!("{key}={value}")).collect(),
    })
}
