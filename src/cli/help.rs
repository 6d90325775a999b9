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

/// The pages, by the word that opens them, in the order of the site.
pub const PAGES: [(&str, &str); 27] = [
    ("five-minutes", include_str!("../../docs/start.md")),
    ("install", include_str!("../../docs/install.md")),
    ("stacks", include_str!("../../docs/stacks.md")),
    ("programs", include_str!("../../docs/run.md")),
    ("processes", include_str!("../../docs/processes.md")),
    ("dev-loop", include_str!("../../docs/watch.md")),
    ("terminal", include_str!("../../docs/terminal.md")),
    ("page", include_str!("../../docs/page.md")),
    ("agents", include_str!("../../docs/mcp.md")),
    ("scripts", include_str!("../../docs/ci.md")),
    ("reach", include_str!("../../docs/reach.md")),
    ("names", include_str!("../../docs/dns.md")),
    ("catalog", include_str!("../../docs/catalog.md")),
    ("data", include_str!("../../docs/data.md")),
    ("telemetry", include_str!("../../docs/telemetry.md")),
    ("clusters", include_str!("../../docs/cluster.md")),
    ("add-ons", include_str!("../../docs/cluster-addons.md")),
    ("targets", include_str!("../../docs/targets.md")),
    ("many-machines", include_str!("../../docs/scale.md")),
    ("troubleshooting", include_str!("../../docs/troubleshooting.md")),
    ("exit-codes", include_str!("../../docs/reference/exit-codes.md")),
    ("macula.yaml", include_str!("../../docs/reference/macula-yaml.md")),
    ("x-macula", include_str!("../../docs/reference/x-macula.md")),
    ("environment", include_str!("../../docs/reference/environment.md")),
    ("files", include_str!("../../docs/reference/files.md")),
    ("json", include_str!("../../docs/reference/json.md")),
    ("target-keys", include_str!("../../docs/reference/targets.md")),
];

/// Words that people look for, and the page that has them.
const ALSO: [(&str, &str); 8] = [
    ("backup", "data"),
    ("backups", "data"),
    ("restore", "data"),
    ("dump", "data"),
    ("github", "scripts"),
    ("gitlab", "scripts"),
    ("quickstart", "five-minutes"),
    ("tutorial", "five-minutes"),
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
    let page = ALSO.iter().find(|(word, _)| *word == topic).map_or(topic.as_str(), |(_, page)| page);
    match PAGES.iter().find(|(name, _)| *name == page) {
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

    #[test]
    fn words_that_people_look_for_lead_to_pages() {
        for (word, page) in ALSO {
            assert!(
                PAGES.iter().any(|(name, _)| *name == page) && PAGES.iter().all(|(name, _)| *name != word),
                "{word}"
            );
            assert!(find(&crate::cli::command(), &[word.to_owned()]).is_none(), "{word} is a command");
        }
    }

    /// Parts of the site that are about how the program is made.
    const NOT_FOR_USERS: [&str; 2] = ["How it works", "Contributing"];
    /// What the program says already: its list of commands, and what README.md has.
    const SAID: [&str; 2] = ["README.md", "docs/commands.md"];

    /// packaging/site/pages has the pages in the order of a reader: each page of docs/ once, and those for users are
    /// the ones that open in the terminal, in the same order.
    #[test]
    fn the_site_and_the_terminal_have_the_same_pages() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
        let list = read("packaging/site/pages");
        let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (mut users, mut all, mut part) = (Vec::new(), Vec::new(), "");
        for line in lines {
            match line.strip_prefix("= ") {
                Some(name) => part = name,
                None => {
                    let path = line.split(' ').next().unwrap_or_default();
                    assert!(path.ends_with("/*") || root.join(path).is_file(), "{path} is not there");
                    all.push(path);
                    if !NOT_FOR_USERS.contains(&part) && !SAID.contains(&path) {
                        users.push(path);
                    }
                }
            }
        }
        let opened: Vec<&str> = PAGES.iter().map(|(_, text)| *text).collect();
        let texts: Vec<String> = users.iter().map(|path| read(path)).collect();
        let titles =
            |texts: &[&str]| texts.iter().filter_map(|text| text.lines().next()).collect::<Vec<_>>().join("\n");
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(titles(&opened), titles(&texts), "left: PAGES; right: packaging/site/pages");
        assert!(opened == texts, "a page of another name");
        let mut missing = Vec::new();
        for folder in ["docs", "docs/reference", "docs/decisions"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let name = entry.unwrap().file_name().to_string_lossy().into_owned();
                let path = format!("{folder}/{name}");
                let times = all.iter().filter(|one| **one == path || **one == format!("{folder}/*")).count();
                if name.ends_with(".md") && times != 1 {
                    missing.push(format!("{path}: {times} times"));
                }
            }
        }
        assert!(missing.is_empty(), "not once in packaging/site/pages: {missing:?}");
    }
}
