//! Tasks of a service.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Templates, duration};
use crate::config::files::{join, project_folders};
use crate::config::yaml::{Node, Report, Span};
use crate::model::Task;

pub(super) fn task(node: &Node, path: &str, templates: &Templates<'_>, report: &mut Report) -> Option<Task> {
    // what is no mapping was told already
    let map = node.as_map()?;
    let run = node.texts("run");
    let words = map.get("run")?;
    if run.first().is_none_or(String::is_empty) {
        // what is wrong otherwise has left nothing behind
        if words.node.as_list().is_none() && report.told(words.key) {
            return None;
        }
        report.error_help(
            words.node.span,
            format!("{path}.run: the command is empty"),
            "write a program and its arguments, such as [\"npm\", \"run\", \"migrate\"]",
        );
        return None;
    }
    let given = |key: &str| map.contains_key(key).then(|| node.texts(key));
    let mut changed = BTreeMap::new();
    for item in node.get("when").map(|when| when.items("changed")).unwrap_or_default() {
        let Some(text) = item.as_text() else { continue };
        if let Some(at) = project_path(text, item.span, &format!("{path}.when.changed"), templates, report) {
            changed.insert(text.to_owned(), at);
        }
    }
    Some(Task {
        run,
        image: node.get_text("image").map(str::to_owned),
        after: given("after"),
        before: given("before"),
        changed,
        timeout: duration(node, "timeout").unwrap_or(Task::TIMEOUT),
    })
}

/// A file or folder that is there, in the project of the stack file.
fn project_path(text: &str, span: Span, path: &str, templates: &Templates<'_>, report: &mut Report) -> Option<PathBuf> {
    let Some(base) = templates.beside else {
        report.error_help(span, format!("{path}: a built-in stack has no files"), "remove it");
        return None;
    };
    let files = templates.files;
    let at = join(base, Path::new(text));
    let root = project_folders(base, files).pop().unwrap_or_else(|| base.to_owned());
    if text.trim().is_empty() || !at.starts_with(&root) {
        report.error_help(
            span,
            format!("{path}: `{text}` is not in the project of this file"),
            "name a file or folder of the project; its path counts from the folder of the stack file",
        );
        return None;
    }
    if !files.exists(&at) && !files.is_folder(&at) {
        report.error_help(
            span,
            format!("{path}: there is no file or folder `{text}`"),
            format!("it would be {}: the path counts from the folder of the stack file", at.display()),
        );
        return None;
    }
    Some(at)
}
