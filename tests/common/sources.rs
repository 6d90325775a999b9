//! The program's own source.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|end| end == "rs") {
            out.push(path);
        }
    }
}

/// Each source file with its text, without its tests.
pub fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let shown = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    files
        .iter()
        .filter(|path| !path.to_string_lossy().contains("test"))
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
            (shown(path), text[..end].to_owned())
        })
        .collect()
}
