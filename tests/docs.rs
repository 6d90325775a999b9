//! The documents are true: docs/commands.md is the program's own help, and links lead somewhere.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "common/leaves.rs"]
mod leaves;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn generated_pages_are_as_the_program_has_them() {
    let pages = [
        ("docs/commands.md", macula::cli::reference::commands_page()),
        ("docs/reference/macula-yaml.md", macula::config::macula_yaml_reference()),
        ("docs/reference/x-macula.md", macula::config::extension_reference()),
        ("docs/reference/targets.md", macula::compile::targets::losses_page()),
        ("docs/reference/json.md", macula::cli::shapes::page()),
        ("docs/reference/json.schema.json", format!("{:#}\n", macula::cli::shapes::schemas())),
    ];
    for (name, page) in pages {
        let path = root().join(name);
        if std::env::var_os("MACULA_UPDATE_DOCS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &page).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let line = page.lines().zip(kept.lines()).position(|(a, b)| a != b);
        assert!(
            page == kept,
            "{name} differs from the program from line {:?} on; MACULA_UPDATE_DOCS=1 cargo test --test docs writes it again",
            line.map(|line| line + 1)
        );
    }
}

/// Commands whose output with `-o json` has no schema: only ever fewer.
const NO_SCHEMA: [&str; 16] = [
    // there is no output of its own, or it is not JSON
    "ci",
    "completions",
    "exec",
    "help",
    "man",
    "mcp",
    "rm",
    "watch",
    "run",
    // a schema or a file of somebody else's
    "cluster kubeconfig",
    "config schema",
    "stack config",
    // of the program itself
    "container-proof",
    "container-relay",
    "keep-processes",
    "s3 server",
];

#[test]
fn every_command_has_a_schema_or_stands_in_the_list() {
    let known: BTreeSet<&str> = macula::cli::shapes::OUTPUTS.iter().map(|output| output.command).collect();
    let all: BTreeSet<String> = leaves::leaves().into_iter().map(|(leaf, _)| leaf).collect();
    let without: BTreeSet<&str> = all.iter().map(String::as_str).filter(|leaf| !known.contains(leaf)).collect();
    assert_eq!(without, BTreeSet::from(NO_SCHEMA), "left: commands without a schema; right: those listed");
    // `lease` alone is `lease show`
    let gone: Vec<&&str> = known.iter().filter(|name| !all.contains(**name) && **name != "lease").collect();
    assert!(gone.is_empty(), "there are no such commands: {gone:?}");
    println!("{} of {} commands have a schema of what they print", all.len() - without.len(), all.len());
}

#[test]
fn every_key_says_what_it_means() {
    for page in [macula::config::macula_yaml_reference(), macula::config::extension_reference()] {
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(rows.len() > 30);
        let silent: Vec<&&str> = rows.iter().filter(|row| row.ends_with("|  |")).collect();
        assert!(silent.is_empty(), "{silent:#?}");
    }
}

/// Variables of ours that the program reads or sets, by the text of its sources.
fn variables() -> BTreeSet<String> {
    let mut sources = Vec::new();
    collect(&root().join("src"), "rs", &mut sources);
    let mut found = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(source).unwrap();
        for part in text.split("\"MACULA_").skip(1) {
            let name: String = part.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            if part[name.len()..].starts_with('"') {
                found.insert(format!("MACULA_{name}"));
            }
        }
    }
    found
}

#[test]
fn every_variable_is_on_its_page() {
    // of the build and of the tests, and a marker of a here-document
    let inner = ["MACULA_BUILD", "MACULA_RELEASES", "MACULA_TEST_KUBECONFIG", "MACULA_END", "MACULA_DNS_QUESTIONS"];
    let page = fs::read_to_string(root().join("docs/reference/environment.md")).unwrap();
    let read = variables();
    assert!(read.len() > 8, "{read:?}");
    let missing: Vec<&String> =
        read.iter().filter(|name| !inner.contains(&name.as_str()) && !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/reference/environment.md: {missing:?}");
    let words = page.split('`').filter(|word| word.starts_with("MACULA_"));
    let unknown: Vec<&str> = words.filter(|word| !read.contains(*word)).collect();
    assert!(unknown.is_empty(), "in docs/reference/environment.md, and not in the program: {unknown:?}");
}

#[test]
fn every_exit_code_is_on_its_page() {
    let page = fs::read_to_string(root().join("docs/reference/exit-codes.md")).unwrap();
    let listed: BTreeSet<u8> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
    let help = macula::cli::command().get_after_help().unwrap().to_string();
    let codes: BTreeSet<u8> = help
        .trim_start_matches("Exit codes: ")
        .split(", ")
        .filter_map(|code| code.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(listed, codes);
}

/// The addresses and ports that the built-in stacks publish, as CONTRIBUTING.md shows them.
fn addresses() -> String {
    let mut rows = Vec::new();
    let stacks = macula::render::stacks().into_iter().map(|(file, text)| (file.to_owned(), text));
    let catalog = macula::render::catalog().into_iter().map(|(file, text)| (format!("catalog/{file}"), text));
    for (file, text) in stacks.chain(catalog) {
        let stack: serde_json::Value = serde_yaml::from_str(text).unwrap();
        for (name, service) in stack["services"].as_object().unwrap() {
            let Some(address) = service["x-macula"]["address"].as_str() else { continue };
            let ports: Vec<&str> =
                service["ports"].as_array().into_iter().flatten().filter_map(|port| port.as_str()).collect();
            let published = ports.iter().map(|port| {
                let (outside, rest) = port.split_once(':').unwrap_or((port, ""));
                if rest.ends_with("/udp") { format!("{outside}/udp") } else { outside.to_owned() }
            });
            let published: Vec<String> = published.collect();
            let published = if published.is_empty() { "ingress only".to_owned() } else { published.join(", ") };
            let last: u8 = address.rsplit('.').next().unwrap().parse().unwrap();
            rows.push((last, format!("| {address} | {published} | {name} | stacks/{file} |\n")));
        }
    }
    rows.sort();
    let rows: String = rows.into_iter().map(|(_, row)| row).collect();
    format!("\n| address | ports | service | file |\n|---|---|---|---|\n{rows}\n")
}

#[test]
fn contributing_knows_the_addresses_in_use() {
    let path = root().join("CONTRIBUTING.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = ("<!-- addresses: generated -->", "<!-- addresses: end -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let wanted = format!("{before}{begin}\n{}{end}{after}", addresses());
    if std::env::var_os("MACULA_UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == wanted,
        "the table of addresses is old; MACULA_UPDATE_DOCS=1 cargo test --test docs writes it again"
    );
}

#[test]
fn links_lead_to_files() {
    let mut pages: Vec<PathBuf> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benches/README.md"].map(|page| root().join(page)).into();
    collect(&root().join("docs"), "md", &mut pages);
    let mut broken = Vec::new();
    let mut links = 0;
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.contains(' ') {
                continue;
            }
            links += 1;
            let folder = page.parent().unwrap_or(root());
            if !folder.join(file).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(links > 5, "only {links} links found: the look at them is broken");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The files below a folder whose names end in `.end`.
fn collect(folder: &Path, end: &str, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, end, files);
        } else if path.extension().is_some_and(|found| found == end) {
            files.push(path);
        }
    }
}
