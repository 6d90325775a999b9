//! Lines that the pages show, as the program reads them.

use std::collections::BTreeSet;

use clap::error::ErrorKind;
use pulldown_cmark::{Event, Parser};
use regex::Regex;

use crate::pages::{blocks, pages, root};
use crate::typed::{TYPED, Way};

/// Whatever stands between fences says what it is.
const LANGUAGES: [&str; 6] = ["sh", "console", "text", "yaml", "json", "toml"];

/// What stands for something of the reader's in a command on a page.
const PLACEHOLDERS: [(&str, &str); 7] = [
    ("NAME", "web"),
    ("SERVICE", "web"),
    ("SERVICE...", "web"),
    ("TOPIC", "dns"),
    ("PID", "1"),
    ("ID", "5b8efff798"),
    ("TIME", "1h"),
];

/// Shown as what is not a command.
const NO_COMMANDS: [&str; 3] = ["macula COMMAND --help", "macula passwords", "macula stats"];

/// Options of other programs.
const OF_OTHERS: [&str; 3] = ["--allowed-unsafe-sysctls", "--link", "--network"];

#[test]
fn every_line_has_its_place() {
    let mut shown: Vec<(String, Vec<String>)> = Vec::new();
    for block in blocks() {
        let (page, line) = (&block.page, block.line);
        assert!(LANGUAGES.contains(&block.language.as_str()), "{page}:{line}: say what this block is: {LANGUAGES:?}");
        for line in block.typed() {
            match shown.last_mut().filter(|(last, _)| last == page) {
                Some((_, lines)) => lines.push(line.to_owned()),
                None => shown.push((page.clone(), vec![line.to_owned()])),
            }
        }
    }
    assert!(shown.iter().map(|(_, lines)| lines.len()).sum::<usize>() > 90, "the look at the pages is broken");
    let listed: Vec<(String, Vec<String>)> = TYPED
        .iter()
        .map(|(page, lines)| ((*page).to_owned(), lines.iter().map(|(line, _)| (*line).to_owned()).collect()))
        .collect();
    let place = "tests/common/typed.rs has to list what the pages show, in their order";
    for (page, lines) in &shown {
        let known = listed.iter().find(|(name, _)| name == page).map(|(_, lines)| lines);
        assert_eq!(Some(lines), known, "{page}: {place}");
    }
    let pages = |all: &[(String, Vec<String>)]| all.iter().map(|(page, _)| page.clone()).collect::<BTreeSet<_>>();
    assert_eq!(pages(&shown), pages(&listed), "{place}");
}

/// The command lines of macula's in a line of a shell, each as its words.
fn commands_in(line: &str) -> Vec<Vec<String>> {
    let line = line.replace("cargo run --release -- ", "macula ");
    let mut all = Vec::new();
    for (at, name) in line.match_indices("macula ") {
        let before = &line[..at];
        if before.is_empty() || before.ends_with(['(', '`']) || before.ends_with("&& ") {
            all.push(words(&line[at + name.len()..]));
        }
    }
    all
}

/// Up to what ends a command in a shell.
fn words(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let (mut word, mut quote) = (None::<String>, None::<char>);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => all.extend(word.take()),
            (None, '|' | '&' | ';' | '<' | '>' | ')' | '`') => break,
            (None, '#') if word.is_none() => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

fn read(words: &[String]) -> Result<(), clap::Error> {
    let line = std::iter::once("macula").chain(words.iter().map(String::as_str));
    macula::cli::command().try_get_matches_from(line).map(drop)
}

#[test]
fn lines_are_split_as_a_shell_does() {
    let one = |line: &str| commands_in(line).into_iter().map(|words| words.join("|")).collect::<Vec<_>>();
    assert_eq!(one("macula dns add '*.shop' MX \"10 mail\"  # why"), ["dns|add|*.shop|MX|10 mail"]);
    assert_eq!(one("cd x && macula up &"), ["up"]);
    assert_eq!(one("eval \"$(macula env --format shell)\" && psql"), ["env|--format|shell"]);
    assert_eq!(one("macula env >> \"$GITHUB_ENV\""), ["env"]);
    assert_eq!(one("macula stop && macula start"), ["stop", "start"]);
    assert_eq!(one("kubectl --context macula get pods"), [""; 0]);
}

#[test]
fn every_command_of_a_block_can_be_typed() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (page, lines) in TYPED {
        for (line, way) in *lines {
            let all = commands_in(line);
            match way {
                Way::Foreign(why) => assert!(all.is_empty() && !why.is_empty(), "{page}: `{line}` is one of macula's"),
                Way::Read(why) => assert!(!all.is_empty() && !why.is_empty(), "{page}: `{line}` is none of macula's"),
                _ => {}
            }
            count += all.len();
            wrong.extend(all.iter().filter_map(|words| Some(format!("{page}: {line}: {}", read(words).err()?))));
        }
    }
    // remarks name commands as well
    for block in blocks() {
        for (_, remark) in block.text.lines().filter_map(|line| line.split_once("  # ")) {
            for words in commands_in(remark).iter().filter(|_| block.language == "sh") {
                count += 1;
                wrong.extend(read(words).err().map(|error| format!("{}: {remark}: {error}", block.page)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{count} commands in blocks, all of them parse");
}

#[test]
fn every_page_that_takes_an_engine_is_read_by_the_scenarios() {
    let scenarios = std::fs::read_to_string(root().join("tests/scenarios/pages.rs")).unwrap();
    for (page, lines) in TYPED {
        for (line, way) in *lines {
            let wanted = match way {
                Way::Engine(code, says) => format!("exit code {code} and `{says}`"),
                Way::Until(says) => format!("`{says}`"),
                _ => continue,
            };
            let read = scenarios.contains(&format!("\"{page}\""));
            assert!(read, "{page}: {line}: tests/scenarios/pages.rs looks for no {wanted}");
        }
    }
}

/// Pieces of text between backticks, with their pages.
fn spans() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (page, text) in pages() {
        let codes = Parser::new(&text).filter_map(|event| match event {
            Event::Code(code) => Some(code.to_string()),
            _ => None,
        });
        all.extend(codes.map(|code| (page.clone(), code)));
    }
    all
}

#[test]
fn every_command_in_a_sentence_can_be_typed() {
    let placeholder = |word: &String| {
        let found = PLACEHOLDERS.iter().find(|(name, _)| name == word);
        found.map_or_else(|| word.clone(), |(_, value)| (*value).to_owned())
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    for (page, span) in spans() {
        if NO_COMMANDS.contains(&span.as_str()) {
            continue;
        }
        for words in commands_in(&span) {
            count += 1;
            let words: Vec<String> = words.iter().map(placeholder).collect();
            // a sentence may name a command without what it needs
            let partly = |error: &clap::Error| {
                matches!(
                    error.kind(),
                    ErrorKind::MissingRequiredArgument
                        | ErrorKind::MissingSubcommand
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        | ErrorKind::DisplayHelp
                        | ErrorKind::DisplayVersion
                )
            };
            if let Some(error) = read(&words).err().filter(|error| !partly(error)) {
                wrong.push(format!("{page}: `{span}`: {error}"));
            }
        }
    }
    assert!(count > 150, "only {count} commands found: the look at them is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{count} commands in sentences, all of them parse");
}

#[test]
fn every_option_in_a_sentence_is_there() {
    fn longs(command: &clap::Command, all: &mut BTreeSet<String>) {
        all.extend(command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))));
        command.get_subcommands().for_each(|child| longs(child, all));
    }
    let mut known: BTreeSet<String> = OF_OTHERS.map(str::to_owned).into();
    // clap's own, which it adds at last
    known.extend(["--help", "--version"].map(str::to_owned));
    longs(&macula::cli::command(), &mut known);
    let option = Regex::new("^--[a-z][a-z-]*").unwrap();
    let mut count = 0;
    let mut wrong = Vec::new();
    for (page, span) in spans() {
        if let Some(found) = option.find(&span) {
            count += 1;
            if !known.contains(found.as_str()) {
                wrong.push(format!("{page}: `{span}`"));
            }
        }
    }
    assert!(count > 60, "only {count} options found: the look at them is broken");
    assert!(wrong.is_empty(), "options that no command has: {}", wrong.join(", "));
}

#[test]
fn every_example_of_the_help_can_be_typed() {
    fn walk(command: &clap::Command, wrong: &mut Vec<String>, count: &mut usize) {
        let help = command.clone().render_long_help().to_string();
        for line in help.lines().filter(|line| line.starts_with("  macula ") || line.starts_with("  eval ")) {
            let line = line.trim().split("  ").next().unwrap_or_default();
            for words in commands_in(line) {
                *count += 1;
                wrong.extend(read(&words).err().map(|error| format!("{line}: {error}")));
            }
        }
        command.get_subcommands().for_each(|child| walk(child, wrong, count));
    }
    let (mut wrong, mut count) = (Vec::new(), 0);
    walk(&macula::cli::command(), &mut wrong, &mut count);
    assert!(count > 15, "only {count} examples found: the look at them is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{count} examples in the help, all of them parse");
}

#[test]
fn every_path_of_the_repository_is_there() {
    let path =
        Regex::new(r"^(src|tests|docs|stacks|templates|kind|packaging|benches|examples|fuzz|\.ci|\.github)/[\w./-]*$");
    let path = path.unwrap();
    let text = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let contributing = Parser::new(&text).filter_map(|event| match event {
        Event::Code(code) => Some(("CONTRIBUTING.md".to_owned(), code.to_string())),
        _ => None,
    });
    let all: Vec<(String, String)> = spans().into_iter().chain(contributing.collect::<Vec<_>>()).collect();
    let paths: Vec<_> = all.iter().filter(|(_, span)| path.is_match(span) && !span.contains("NAME")).collect();
    assert!(paths.len() > 80, "only {} paths found: the look at them is broken", paths.len());
    let missing: Vec<_> = paths.iter().filter(|(_, path)| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    println!("{} paths, all of them lead somewhere", paths.len());
}
