//! What the program tells people to type: every command of macula's in a hint can be parsed, no
//! command is hidden in a sentence, and none reads what somebody else would have fed it.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/hints.rs"]
mod hints;

use hints::{commands, literal, texts};

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
        // builds once more, and removes nothing
        .filter(|(_, words)| !words.starts_with(&["images".to_owned(), "build".to_owned()]))
        .filter(|(_, words)| !words.contains(&"--dry-run".to_owned()))
        .map(|(place, words)| format!("{place}: macula {}", words.join(" ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
