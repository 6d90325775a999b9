//! Files that the pages show are files that the program takes, without a warning.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use macula::config::{DiskFiles, Request, load};
use serde_json::Value;
use tempfile::TempDir;

use crate::pages::{Block, blocks};

/// What a block is.
#[derive(Clone, Copy)]
enum Shown {
    /// A macula.yaml, or a part of one.
    Settings,
    /// A Compose file; a service of which only a part is shown gets an image.
    Stack,
    /// Of another program: which.
    Foreign(&'static str),
}

use Shown::{Foreign, Settings, Stack};

/// Every block of YAML and JSON by its page and first line.
const SHOWN: [(&str, &str, Shown); 31] = [
    ("README.md", "processes:", Settings),
    ("README.md", "services:", Stack),
    ("docs/catalog.md", "services:", Stack),
    ("docs/ci.md", "jobs:", Foreign("GitHub")),
    ("docs/ci.md", "test:", Foreign("GitLab")),
    ("docs/ci.md", "steps:", Foreign("GitHub")),
    ("docs/ci.md", "{\"time\":\"2026-11-29T02:00:00.123456789Z\",\"event\":\"died\",", Foreign("output")),
    ("docs/ci.md", "{\"error\": {\"kind\": \"config\",", Foreign("output")),
    ("docs/ci.md", "lease: {time: 8h, idle: 30m}", Settings),
    ("docs/cluster-addons.md", "images:", Settings),
    ("docs/cluster-addons.md", "volumes: [{name: ca,", Foreign("a pod")),
    ("docs/cluster-addons.md", "prometheus.io/scrape:", Foreign("a pod")),
    ("docs/cluster.md", "cluster:", Settings),
    ("docs/dns.md", "services:", Stack),
    ("docs/dns.md", "dns:", Settings),
    ("docs/processes.md", "processes:", Settings),
    ("docs/processes.md", "stacks:", Settings),
    ("docs/reach.md", "services:", Stack),
    ("docs/reach.md", "# GitLab,", Foreign("GitLab")),
    ("docs/reach.md", "// .devcontainer/devcontainer.json", Foreign("an editor")),
    ("docs/stacks.md", "# macula.yaml", Settings),
    ("docs/stacks.md", "services:", Stack),
    ("docs/stacks.md", "services:", Stack),
    ("docs/stacks.md", "services:", Stack),
    ("docs/stacks.md", "services:", Settings),
    ("docs/stacks.md", "built_in:", Settings),
    ("docs/stacks.md", "services:", Settings),
    ("docs/stacks.md", "{\"registry-mirrors\":", Foreign("the engine")),
    ("docs/start.md", "services:", Stack),
    ("docs/troubleshooting.md", "images:", Settings),
    ("docs/watch.md", "services:", Stack),
];

fn shown() -> Vec<Block> {
    blocks().into_iter().filter(|block| ["yaml", "json"].contains(&block.language.as_str())).collect()
}

#[test]
fn every_file_has_its_place() {
    let found: Vec<Block> = shown();
    for (block, (page, begins, _)) in found.iter().zip(&SHOWN) {
        let place = format!("{}:{}", block.page, block.line);
        assert_eq!(block.page, *page, "{place} is not in its place in tests/pages/files.rs");
        assert!(block.text.trim_start().starts_with(begins), "{place} is not in its place in tests/pages/files.rs");
    }
    assert_eq!(found.len(), SHOWN.len(), "tests/pages/files.rs has to list all blocks of YAML and JSON");
}

/// What the samples speak of.
fn around(folder: &Path) {
    for (file, text) in [
        ("shop/compose.yaml", "services: {shop: {image: x}}\n"),
        ("project/tools/compose.yaml", "services: {tool: {image: x}}\n"),
        ("project/web/vite.config.ts", ""),
        ("project/.env.local", "A=b\n"),
        ("project/shop.conf.j2", "{{ name }}\n"),
        ("project/Dockerfile", "FROM scratch\n"),
        ("project/migrations/1.sql", "select 1;\n"),
        ("project/package-lock.json", "{}\n"),
    ] {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// A stack whose services all have an image.
fn completed(text: &str) -> String {
    let mut stack: Value = serde_yaml::from_str(text).unwrap();
    for (_, service) in stack["services"].as_object_mut().unwrap() {
        if service.get("image").is_none() && service.get("build").is_none() {
            service["image"] = "x".into();
        }
    }
    stack.to_string()
}

#[test]
fn files_are_taken_without_a_warning() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (block, (page, _, kind)) in shown().iter().zip(&SHOWN) {
        let place = format!("{page}:{}", block.line);
        let folder = TempDir::with_prefix("macula-pages-").unwrap();
        around(folder.path());
        let project = folder.path().join("project");
        let env: BTreeMap<String, String> = [("HOME".to_owned(), folder.path().display().to_string())].into();
        let mut request = Request { cwd: project.clone(), env, ..Request::default() };
        let (file, text) = match kind {
            Foreign(_) => continue,
            Settings => ("macula.yaml", block.text.clone()),
            Stack => {
                request.stacks = vec![project.join("compose.yaml")];
                ("compose.yaml", completed(&block.text))
            }
        };
        fs::write(project.join(file), text).unwrap();
        count += 1;
        match load(&request, &DiskFiles) {
            Ok(loaded) => wrong.extend(loaded.warnings.iter().map(|warning| format!("{place}: {warning:?}"))),
            Err(errors) => wrong.push(format!("{place}: {errors}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{count} files of the pages are taken");
}

#[test]
fn what_is_of_others_is_written_well() {
    for (block, (page, _, kind)) in shown().iter().zip(&SHOWN) {
        let Foreign(whose) = kind else { continue };
        // an editor's file may have remarks
        let text: String =
            block.text.lines().filter(|line| !line.starts_with("//")).map(|line| format!("{line}\n")).collect();
        let read: Result<Value, String> = match block.language.as_str() {
            "json" => serde_json::from_str(&text).map_err(|error| error.to_string()),
            _ => serde_yaml::from_str(&text).map_err(|error| error.to_string()),
        };
        assert!(read.is_ok_and(|value| value.is_object()), "{page}:{}: of {whose}", block.line);
    }
}
