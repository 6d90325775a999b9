//! README.md and the pages below docs/, and the blocks in them.

use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A block between fences.
pub struct Block {
    /// Its page, by the path in the repository.
    pub page: String,
    /// The line of the page that its fence is on.
    pub line: usize,
    pub language: String,
    pub text: String,
}

/// Each page by its path, with its text.
pub fn pages() -> Vec<(String, String)> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|end| end == "md") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(&root().join("docs"), &mut files);
    files.sort();
    files.insert(0, root().join("README.md"));
    let named = |path: &PathBuf| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (named(path), fs::read_to_string(path).unwrap())).collect()
}

pub fn blocks() -> Vec<Block> {
    let mut all: Vec<Block> = Vec::new();
    for (page, text) in pages() {
        let mut open = false;
        for (event, range) in Parser::new(&text).into_offset_iter() {
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                    open = true;
                    let line = text[..range.start].lines().count() + usize::from(text[..range.start].ends_with('\n'));
                    let language = language.to_string();
                    all.push(Block { page: page.clone(), line: line.max(1), language, text: String::new() });
                }
                Event::Text(part) if open => all.last_mut().unwrap().text.push_str(&part),
                Event::End(TagEnd::CodeBlock) => open = false,
                _ => {}
            }
        }
    }
    all
}

impl Block {
    /// What is typed, line by line and without the remarks behind it.
    pub fn typed(&self) -> Vec<&str> {
        let lines = self.text.lines();
        match self.language.as_str() {
            "sh" => {
                lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(without_remark).collect()
            }
            _ => lines.filter_map(|line| line.strip_prefix("$ ")).map(without_remark).collect(),
        }
    }
}

/// A remark begins behind two blanks.
fn without_remark(line: &str) -> &str {
    line.split("  #").next().unwrap_or(line).trim()
}
