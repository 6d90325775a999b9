//! `include`: other Compose files, each with its own folder and environment.

use std::path::{Path, PathBuf};

use super::interpolate::Variables;
use super::{Loader, finish, merge};
use crate::config::files::join;
use crate::config::yaml::{Entry, Map, Node, Value};
use crate::model::GitContext;

impl Loader<'_, '_> {
    /// Carries out every `include` of a file. `included` are the files on the way here.
    pub(super) fn include(
        &mut self,
        root: &mut Node,
        folder: &Path,
        variables: &Variables,
        included: &mut Vec<PathBuf>,
    ) {
        let Some(includes) = root.as_map_mut().and_then(|map| map.shift_remove("include")) else { return };
        for include in includes.node.as_list().unwrap_or_default() {
            let span = include.span;
            let texts = include.texts("path");
            let is_elsewhere = |text: &&String| GitContext::parse(text).is_some() || text.starts_with("oci://");
            if let Some(address) = texts.iter().find(is_elsewhere) {
                self.report.error_help(
                    span,
                    format!("include: `{address}` is not on this machine, and macula fetches no Compose files"),
                    "get it here first (`git clone`), and include it by its path",
                );
                continue;
            }
            let paths: Vec<PathBuf> = texts.iter().map(|path| join(folder, Path::new(path))).collect();
            let Some(main) = paths.first() else { continue };
            if let Some(start) = included.iter().position(|path| path == main) {
                let mut names: Vec<String> =
                    included.iter().skip(start).map(|path| path.display().to_string()).collect();
                names.push(main.display().to_string());
                self.report.error_help(
                    span,
                    format!("files include each other in a circle: {}", names.join(" -> ")),
                    "take one `include` away",
                );
                continue;
            }
            let project = match include.get_text("project_directory") {
                Some(path) => join(folder, Path::new(path)),
                None => main.parent().unwrap_or(folder).to_owned(),
            };
            let mut variables = variables.clone();
            let env_files = include.texts("env_file");
            if env_files.is_empty() {
                self.add_env_file(&project.join(".env"), &mut variables, None);
            } else {
                let mut own = Variables::new();
                for file in env_files {
                    let path = join(folder, Path::new(&file));
                    // of two files with the same variable, the later one counts
                    own = self.env_file(&path, &variables, own, Some(span));
                }
                for (name, value) in own {
                    variables.entry(name).or_insert(value);
                }
            }

            included.push(main.clone());
            let mut model: Option<Node> = None;
            for path in &paths {
                for node in self.parse(path, None, span) {
                    let resolved = self.resolve(node, path, &project, &variables, included);
                    model = match (model, resolved) {
                        (Some(base), Some(over)) => Some(merge::merge_files(base, over)),
                        (one, other) => one.or(other),
                    };
                }
            }
            included.pop();
            let Some(mut model) = model else { continue };
            merge::strip_resets(&mut model);
            finish::defaults(&mut model, &project);
            finish::environment(&mut model, &variables);
            self.import(root, model);
        }
    }

    fn import(&mut self, root: &mut Node, model: Node) {
        let (Some(target), Value::Map(mut source)) = (root.as_map_mut(), model.value) else { return };
        for section in ["services", "networks", "volumes", "secrets", "configs"] {
            let Some(Entry { key, node: Node { value: Value::Map(from), span, .. } }) = source.shift_remove(section)
            else {
                continue;
            };
            let entry = target
                .entry(section.to_owned())
                .or_insert_with(|| Entry { key, node: Node::new(Value::Map(Map::new()), span) });
            let Some(into) = entry.node.as_map_mut() else { continue };
            for (name, here, there) in merge::import(into, from) {
                let place = self.report.place(there.key);
                self.report.error_help(
                    here.key,
                    format!("{section}.{name} differs from what is included ({place})"),
                    "give one of the two another name, or put the change into a second path of the `include`",
                );
            }
        }
    }
}
