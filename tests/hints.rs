//! What the program tells people to type: every command of macula's in a hint can be parsed, no
//! command is hidden in a sentence, and none reads what somebody else would have fed it.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

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
fn texts() -> Vec<(String, String)> {
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

/// The string literal that begins at or after the start of `text`, if only blanks are before it.
fn literal(text: &str) -> Option<&str> {
    let rest = text.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = rest.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    })?;
    Some(&rest[..end.0])
}

/// How many `.arg(` follow in the same chain of calls.
fn arguments(mut rest: &str) -> usize {
    let mut count = 0;
    loop {
        rest = rest.trim_start();
        let Some(call) = rest.strip_prefix('.') else { return count };
        let Some((name, inside)) = call.split_once('(') else { return count };
        count += usize::from(name == "arg");
        let mut depth = 1;
        let end = inside.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0
        });
        let Some((end, _)) = end else { return count };
        rest = &inside[end + 1..];
    }
}

/// Each command of the hints, as the words after `macula`, with where it stands.
fn commands() -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for (file, text) in texts() {
        for (at, _) in text.match_indices("macula(") {
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') || text[..at].ends_with("fn ") {
                continue;
            }
            let inside = &text[at + "macula(".len()..];
            let Some(words) = literal(inside) else { continue };
            let after = inside.split_once(')').map(|(_, rest)| rest).unwrap_or_default();
            let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            words.extend((0..arguments(after)).map(|_| "web".to_owned()));
            let line = text[..at].lines().count();
            all.push((format!("{file}:{line}"), words));
        }
    }
    all
}

#[test]
fn every_command_in_a_hint_can_be_typed() {
    let all = commands();
    assert!(all.len() > 60, "only {} commands found: the look at them is broken", all.len());
    let mut wrong = Vec::new();
    for (place, words) in &all {
        let line = std::iter::once("macula").chain(words.iter().map(String::as_str));
        if let Err(error) = macula::cli::command().try_get_matches_from(line) {
            wrong.push(format!("{place}: macula {}: {error}", words.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} commands in hints, all of them parse", all.len());
}

/// A command in a sentence would not carry the options of the run.
#[test]
fn no_sentence_of_a_hint_hides_a_command() {
    let mut wrong = Vec::new();
    for (file, text) in texts() {
        for opening in [".hint(", "Remedy::say("] {
            for (at, _) in text.match_indices(opening) {
                let inside = text[at + opening.len()..].trim_start();
                let inside = inside.strip_prefix("format!(").unwrap_or(inside);
                let Some(sentence) = literal(inside) else { continue };
                if sentence.contains("macula ") && sentence.contains('`') && sentence.contains("`macula ") {
                    wrong.push(format!("{file}:{}: {sentence}", text[..at].lines().count()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `sudo tee /etc/hosts`, typed as it stands, empties the file.
#[test]
fn no_hint_needs_input_that_nobody_sees() {
    let readers = ["tee", "dd", "cat", "sh", "bash", "xargs", "patch", "tar", "cpio", "install"];
    let mut wrong = Vec::new();
    for (file, text) in texts() {
        for opening in [".shell([", "Remedy::shell(["] {
            for (at, _) in text.match_indices(opening) {
                let inside = text[at + opening.len()..].split(']').next().unwrap_or_default();
                let words: Vec<&str> = inside.split('"').skip(1).step_by(2).collect();
                let program = words.iter().find(|word| **word != "sudo");
                if program.is_some_and(|program| readers.contains(program)) {
                    wrong.push(format!("{file}:{}: {}", text[..at].lines().count(), words.join(" ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A harmless word never leads to a harmful command.
#[test]
fn no_hint_removes_anything_that_was_not_asked_about() {
    let harmful = ["--volumes", "--any-owner", "--force", "delete", "prune", "rm"];
    let wrong: Vec<String> = commands()
        .into_iter()
        .filter(|(_, words)| words.iter().any(|word| harmful.contains(&word.as_str())) || words[0] == "uninstall")
        .filter(|(_, words)| !words.contains(&"--dry-run".to_owned()))
        .map(|(place, words)| format!("{place}: macula {}", words.join(" ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
