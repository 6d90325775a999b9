use clap::Command;

use super::context::Context;
use super::error::CliError;
use super::near::near;
use super::ui::{page, text};

/// Show the help of a command, or a page of the documentation
///
/// The pages are those of docs/, in the program itself: they need no network and fit this version. `macula help` lists them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A command such as `up` or `dns add`, or the name of a page
    #[arg(value_name = "COMMAND|PAGE")]
    words: Vec<String>,
}

/// The pages, by the word that opens them.
pub const PAGES: [(&str, &str); 23] = [
    ("stacks", include_str!("../../docs/stacks.md")),
    ("catalog", include_str!("../../docs/catalog.md")),
    ("programs", include_str!("../../docs/run.md")),
    ("processes", include_str!("../../docs/processes.md")),
    ("dev-loop", include_str!("../../docs/watch.md")),
    ("scripts", include_str!("../../docs/ci.md")),
    ("terminal", include_str!("../../docs/terminal.md")),
    ("page", include_str!("../../docs/page.md")),
    ("agents", include_str!("../../docs/mcp.md")),
    ("telemetry", include_str!("../../docs/telemetry.md")),
    ("reach", include_str!("../../docs/reach.md")),
    ("names", include_str!("../../docs/dns.md")),
    ("clusters", include_str!("../../docs/cluster.md")),
    ("add-ons", include_str!("../../docs/cluster-addons.md")),
    ("targets", include_str!("../../docs/targets.md")),
    ("scale", include_str!("../../docs/scale.md")),
    ("troubleshooting", include_str!("../../docs/troubleshooting.md")),
    ("macula.yaml", include_str!("../../docs/reference/macula-yaml.md")),
    ("x-macula", include_str!("../../docs/reference/x-macula.md")),
    ("environment", include_str!("../../docs/reference/environment.md")),
    ("exit-codes", include_str!("../../docs/reference/exit-codes.md")),
    ("files", include_str!("../../docs/reference/files.md")),
    ("target-keys", include_str!("../../docs/reference/targets.md")),
];

pub fn run(context: &Context, args: &Args) -> Result<(), CliError> {
    let mut root = super::command();
    root.build();
    let topic = args.words.join(" ");
    if topic.is_empty() {
        let pages: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
        let pages = text::wrap(&format!("Pages: {}", pages.join(", ")), context.terminal.width.min(WIDEST));
        return context.print(&format!("{}\n{}\n", root.render_long_help(), pages.join("\n")));
    }
    if let Some(command) = find(&root, &args.words) {
        let name = format!("macula {topic}");
        return context.print(&command.bin_name(name).render_long_help().to_string());
    }
    match PAGES.iter().find(|(name, _)| *name == topic) {
        Some((_, markdown)) => {
            context.print(&page::render(markdown, context.terminal.width.min(WIDEST), context.out_style()))
        }
        None => Err(unknown(&topic, &root)),
    }
}

/// Longer lines are hard to read.
const WIDEST: usize = 100;

fn find(root: &Command, words: &[String]) -> Option<Command> {
    let mut here = root;
    for word in words {
        here = here.find_subcommand(word)?;
    }
    Some(here.clone())
}

fn unknown(topic: &str, root: &Command) -> CliError {
    let commands = root.get_subcommands().filter(|command| !command.is_hide_set()).map(|command| command.get_name());
    let known: Vec<String> = PAGES.iter().map(|(name, _)| *name).chain(commands).map(str::to_owned).collect();
    let error = CliError::usage(format!("there is no command and no page called `{topic}`"));
    match near(topic, &known).first() {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("pages: {}", text::some(&known, PAGES.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_is_called_as_a_command() {
        let root = crate::cli::command();
        for (name, markdown) in PAGES {
            assert!(root.find_subcommand(name).is_none(), "{name}");
            assert!(markdown.starts_with("# "), "{name}");
        }
        assert!(find(&root, &["dns".into(), "add".into()]).is_some());
        assert!(find(&root, &["dns".into(), "stacks".into()]).is_none());
    }

    /// About how the program is made, and what `--help` says already.
    const NOT_FOR_USERS: [&str; 5] = ["architecture.md", "benchmarks.md", "commands.md", "style.md", "testing.md"];

    #[test]
    fn every_page_that_users_read_is_one() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let mut missing = Vec::new();
        for folder in [docs.clone(), docs.join("reference")] {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.extension().is_none_or(|end| end != "md") || NOT_FOR_USERS.contains(&name.as_str()) {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                if !PAGES.iter().any(|(_, page)| *page == text) {
                    missing.push(path);
                }
            }
        }
        assert!(missing.is_empty(), "not in PAGES: {missing:?}");
    }
}
