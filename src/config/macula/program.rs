//! What processes and tasks of macula.yaml have in common: a program of this machine, where it is run, and with what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::files::Files;
use crate::config::yaml::{Entry, Node, Report, Shaper, Span, Value};

pub(super) struct Program {
    pub(super) command: Vec<String>,
    pub(super) folder: PathBuf,
    /// Null takes a variable away.
    pub(super) environment: BTreeMap<String, Option<String>>,
    pub(super) env_files: Vec<PathBuf>,
}

impl Program {
    /// Of an entry called `path` in messages; `command`: its key for what is run. `base`: the folder of macula.yaml.
    pub(super) fn read(
        entry: &Entry,
        (path, command): (&str, &str),
        base: &Path,
        files: &dyn Files,
        report: &mut Report,
    ) -> Self {
        let node = &entry.node;
        let words = node.texts(command);
        if let Some(written) = node.get(command)
            && words.last().is_none_or(|word| word.trim().is_empty())
        {
            report.error_help(
                written.span,
                format!("{path}.{command}: there is nothing to run"),
                format!("for example `{command}: npm run dev`"),
            );
        }
        let folder = node.get_text("cwd").map_or_else(|| base.to_owned(), PathBuf::from);
        if let Some(written) = node.get("cwd")
            && !files.is_folder(&folder)
        {
            report.error_help(
                written.span,
                format!("{path}.cwd: there is no folder {}", folder.display()),
                "a relative path counts from the folder of macula.yaml",
            );
        }
        for file in node.items("env_file") {
            let name = file.as_text().unwrap_or_default();
            if !files.exists(Path::new(name)) {
                report.error_help(
                    file.span,
                    format!("{path}.env_file: there is no file {name}"),
                    "a relative path counts from the folder of macula.yaml",
                );
            }
        }
        Self {
            command: words,
            folder,
            environment: node
                .entries("env")
                .map(|(name, entry)| (name.to_owned(), entry.node.as_text().map(str::to_owned)))
                .collect(),
            env_files: node.texts("env_file").into_iter().map(PathBuf::from).collect(),
        }
    }
}

/// As a person would type it: the shell takes it apart.
pub(super) fn shell_line(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    Some(match node.value {
        Value::Text(line) => {
            let words = ["sh".to_owned(), "-c".to_owned(), line];
            Node::new(Value::List(words.into_iter().map(|word| Node::text(word, span)).collect()), span)
        }
        _ => node,
    })
}

/// Where the items of a list stand.
pub(super) fn spans(node: &Node, key: &str) -> Vec<Span> {
    node.items(key).iter().map(|item| item.span).collect()
}
