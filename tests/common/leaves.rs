//! The commands of the program, for tests that walk all of them.

/// Each command at the end of clap's tree, hidden ones too, and the same with arguments that it takes.
pub fn leaves() -> Vec<(String, String)> {
    fn walk(command: &clap::Command, path: &str, out: &mut Vec<String>) {
        let children: Vec<&clap::Command> = command.get_subcommands().collect();
        if children.is_empty() {
            out.push(path.trim().to_owned());
        }
        for child in children {
            walk(child, &format!("{path} {}", child.get_name()), out);
        }
    }
    let arguments = [
        ("exec", "web true"),
        ("cp", "web:/x x"),
        ("port", "web"),
        ("scale", "web=2"),
        ("stop", "web"),
        ("start", "web"),
        ("run", "-- true"),
        ("ci", "-- true"),
        ("wait", "web --timeout 1s"),
        ("dns add", "x A 192.0.2.1"),
        ("dns remove", "x"),
        ("dns query", "x.macula.local"),
        ("dns trace", "x.macula.local"),
        ("dns serve", "--listen 127.0.0.1:bad"),
        ("cluster load", "x:1"),
        ("images save", "x.bundle"),
        ("images load", "x.bundle"),
        ("completions", "bash"),
        ("man", "man"),
        ("s3 server", "data --address bad"),
        ("container-proof", "127.0.0.1:bad x 127.0.0.1:1"),
        ("container-relay", "--ask bad"),
        ("report", "--to report.tar"),
        ("doctor", "docker-context"),
        ("open", "--print"),
    ];
    let mut all = Vec::new();
    walk(&macula::cli::command(), "", &mut all);
    let with = |leaf: String| {
        let more = arguments.iter().find(|(name, _)| *name == leaf).map_or("", |(_, more)| more);
        let words = format!("{leaf} {more}").trim().to_owned();
        (leaf, words)
    };
    all.into_iter().map(with).collect()
}
