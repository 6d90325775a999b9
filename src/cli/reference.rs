//! docs/commands.md, made from the commands themselves.

use clap::Command;

/// The whole page. A test holds docs/commands.md to it.
pub fn commands_page() -> String {
    let mut root = super::command().term_width(100);
    root.build();
    let mut out = String::from(
        "# Commands\n\nGenerated from the program's own help; `cargo test --test docs` holds it to that.\n",
    );
    section(&root, &[], &mut out);
    out
}

fn section(command: &Command, parents: &[&str], out: &mut String) {
    let mut path = parents.to_vec();
    path.push(command.get_name());
    let depth = "#".repeat(path.len().min(3) + 1);
    let help = command.clone().bin_name(path.join(" ")).render_long_help().to_string();
    let text: Vec<&str> = help.lines().map(str::trim_end).collect();
    out.push_str(&format!("\n{depth} {}\n\n```text\n{}\n```\n", path.join(" "), text.join("\n").trim()));
    // `help` of a group only repeats what stands here
    let shown = |child: &&Command| !child.is_hide_set() && (child.get_name() != "help" || parents.is_empty());
    for child in command.get_subcommands().filter(shown) {
        section(child, &path, out);
    }
}
