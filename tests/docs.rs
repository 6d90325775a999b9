//! The documents are true: docs/commands.md is the program's own help, and links lead somewhere.

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
        "docs/commands.md differs from the help from line {:?} on; MACULA_UPDATE_DOCS=1 cargo test --test docs writes it anew",
        line.map(|line| line + 1)
    );
}

#[test]
fn links_lead_to_files() {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md"), root().join("benches/README.md")];
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
