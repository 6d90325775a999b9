//! The documents are true: docs/commands.md is the program's own help, and links lead somewhere.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn commands_md_is_the_help() {
    let path = root().join("docs/commands.md");
    let page = macula::cli::reference::commands_page();
    if std::env::var_os("MACULA_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let line = page.lines().zip(kept.lines()).position(|(a, b)| a != b);
    assert!(
        page == kept,
        "docs/commands.md differs from the help from line {:?} on; MACULA_UPDATE_DOCS=1 cargo test --test docs writes it again",
        line.map(|line| line + 1)
    );
}

/// The addresses and ports that the built-in stacks publish, as CONTRIBUTING.md shows them.
fn addresses() -> String {
    let mut rows = Vec::new();
    for (file, text) in macula::render::stacks() {
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
    markdown(&root().join("docs"), &mut pages);
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

fn markdown(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown(&path, pages);
        } else if path.extension().is_some_and(|end| end == "md") {
            pages.push(path);
        }
    }
}
