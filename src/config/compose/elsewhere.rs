//! `x-macula` in an included or extended file: its paths count from the folder of that file, as all others there do.

use std::path::{Path, PathBuf};

use super::Loader;
use crate::config::files::join;
use crate::config::yaml::{Node, Value};

fn at<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    node.as_map_mut()?.get_mut(key).map(|entry| &mut entry.node)
}

/// Replaces a text, or each one of a list; those stay of which nothing comes.
fn replace(node: &mut Node, by: &dyn Fn(&str) -> Option<String>) {
    match &mut node.value {
        Value::Text(text) => {
            if let Some(other) = by(text) {
                *text = other;
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| replace(item, by)),
        _ => {}
    }
}

impl Loader<'_, '_> {
    /// What counts from `folder` in a service's `x-macula` counts from the project's folder then.
    pub(super) fn count_from_project(&self, service: &mut Node, folder: &Path) {
        if folder == self.folder {
            return;
        }
        let Some(own) = at(service, "x-macula") else { return };
        let moved = |text: &str| {
            let path = join(folder, Path::new(text));
            let path = match path.strip_prefix(self.folder) {
                Ok(below) if below.as_os_str().is_empty() => PathBuf::from("."),
                Ok(below) => below.to_owned(),
                Err(_) => path,
            };
            path.to_string_lossy().into_owned()
        };
        let changed = |text: &str| (!text.trim().is_empty()).then(|| moved(text));
        // others are the user's own or built in
        let template = |text: &str| self.files.exists(&join(folder, Path::new(text))).then(|| moved(text));
        if let Some(tasks) = at(own, "tasks").and_then(Node::as_map_mut) {
            for task in tasks.values_mut() {
                if let Some(paths) = at(&mut task.node, "when").and_then(|when| at(when, "changed")) {
                    replace(paths, &changed);
                }
            }
        }
        if let Some(configs) = at(own, "configs").and_then(Node::as_map_mut) {
            for config in configs.values_mut() {
                match at(&mut config.node, "template") {
                    Some(name) => replace(name, &template),
                    None => replace(&mut config.node, &template),
                }
            }
        }
        let steps = at(own, "build").and_then(|build| at(build, "prepare"));
        if let Some(Node { value: Value::List(steps), .. }) = steps {
            for step in steps {
                if let Some(name) = at(step, "write").and_then(|write| at(write, "file")) {
                    replace(name, &template);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{MemoryFiles, Request, load_with};
    use crate::model::PrepareStep;

    #[test]
    fn paths_of_x_macula_count_from_the_folder_of_their_file() {
        let own = "services:
  a:
    image: x
    x-macula:
      configs: {/etc/a: a.j2, /etc/b: {template: ./a.j2}}
      tasks: {m: {run: [a], when: {changed: [./mig, .]}}, n: {run: [a], when: {changed: mig}}}
      build: {prepare: [{write: {path: w, file: a.j2}}]}
";
        for main in ["include: [sub/a.yaml]\n", "services: {a: {extends: {file: sub/a.yaml, service: a}}}\n"] {
            let files = MemoryFiles::default()
                .with("/p/compose.yaml", main)
                .with("/p/sub/a.yaml", own)
                .with("/p/sub/mig/1.sql", "x")
                .with("/p/sub/a.j2", "right")
                // not meant
                .with("/p/mig/1.sql", "x")
                .with("/p/a.j2", "wrong");
            let request = Request { cwd: "/".into(), stacks: vec!["/p".into()], ..Request::default() };
            let loaded = load_with(&request, &files, &[]).unwrap_or_else(|errors| panic!("{errors}"));
            let own = &loaded.platform.service("a").unwrap().1.extension;
            let changed = |task: &str| {
                let all = own.tasks[task].changed.iter();
                all.map(|(text, path)| format!("{text} {}", path.display())).collect::<Vec<_>>()
            };
            assert_eq!(changed("m"), ["sub /p/sub", "sub/mig /p/sub/mig"], "{main}");
            assert_eq!(changed("n"), ["sub/mig /p/sub/mig"], "{main}");
            let sources: Vec<&str> = own.configs.values().map(|config| config.source.as_str()).collect();
            assert_eq!(sources, ["right", "right"], "{main}");
            assert_eq!(own.prepare, [PrepareStep::Write { path: "w".into(), content: "right".into() }], "{main}");
        }
    }
}
