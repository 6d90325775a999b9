//! One voice: phrases of a dialect that native speakers stumble over do not come back into what users read: the strings
//! of the program, the help, README, docs and CHANGELOG. docs/style.md has the rules and what to write instead.

#![allow(clippy::disallowed_methods, reason = "tests look at their own surroundings")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each with what to write.
const BANNED: &[(&str, &str)] = &[
    ("can be had", "is available"),
    ("could be had", "was available"),
    ("to be had", "available"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("anew", "again, from scratch"),
    ("beside", "next to, in addition to"),
    ("a way to registries", "access to registries"),
    ("takes away", "removes"),
    ("taken away", "removed"),
    ("takes it away", "removes it"),
    ("lies about", "is left over"),
    ("broken off", "interrupted"),
    ("in the place of", "instead of"),
    ("stands above", "overrides"),
    ("nobody listens", "nothing is listening"),
    ("goes on from here", "continues"),
    ("for ever", "forever"),
    ("colour", "color"),
    ("colours", "colors"),
    ("neighbour", "neighbor"),
    ("behaviour", "behavior"),
];

/// Files that still have some of them, with how many: only ever fewer.
const ALLOWED: &[(&str, usize)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, out);
        } else if path.extension().is_some_and(|end| end == ending) {
            out.push(path);
        }
    }
}

/// The text that users read of a source file, with its lines: string literals and, with `help`, doc comments.
fn read_by_users(source: &str, help: bool) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let chars: Vec<char> = source.chars().collect();
    let (mut at, mut line) = (0, 1);
    let text = |from: usize, to: usize| chars[from.min(chars.len())..to.min(chars.len())].iter().collect::<String>();
    let starts = |at: usize, with: &str| with.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    while at < chars.len() {
        let begin = at;
        if starts(at, "//") {
            at += chars[at..].iter().take_while(|c| **c != '\n').count();
            if help && starts(begin, "///") {
                out.push((line, text(begin + 3, at)));
            }
        } else if chars[at] == 'r' && (starts(at, "r\"") || starts(at, "r#")) && !(at > 0 && is_word(chars[at - 1])) {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if chars.get(at + 1 + hashes) != Some(&'"') {
                at += 1;
                continue;
            }
            let end = format!("\"{}", "#".repeat(hashes));
            at += 2 + hashes;
            let inside = at;
            while at < chars.len() && !starts(at, &end) {
                at += 1;
            }
            out.push((line, text(inside, at)));
            at += end.len();
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            out.push((line, text(begin + 1, at)));
            at += 1;
        } else if chars[at] == '\'' && (chars.get(at + 2) == Some(&'\'') || starts(at + 1, "\\")) {
            at += 2;
            while at < chars.len() && chars[at] != '\'' {
                at += 1;
            }
            at += 1;
        } else {
            at += 1;
        }
        line += chars[begin..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The banned phrases of a text.
fn offences(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase().replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let whole = |at: usize, length: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + length..].chars().next();
        !before.is_some_and(|c| is_word(c) || c == '-' || c == '/')
            && !after.is_some_and(|c| is_word(c) || c == '=' || c == '_')
    };
    let mut found: Vec<&str> = Vec::new();
    for (phrase, _) in BANNED {
        found.extend(text.match_indices(phrase).filter(|(at, _)| whole(*at, phrase.len())).map(|_| *phrase));
    }
    // `x is no port`; but `there is no port` is English
    for (at, _) in text.match_indices(" is no ") {
        let before = text[..at].rsplit(' ').next().unwrap_or_default();
        let after = &text[at + " is no ".len()..];
        if before != "there" && !["longer", "more", "reason", "need"].iter().any(|word| after.starts_with(word)) {
            found.push("is no");
        }
    }
    found
}

/// File, line, what.
fn all() -> Vec<(String, usize, &'static str)> {
    let mut found = Vec::new();
    let shown = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    let mut sources = Vec::new();
    files(&root().join("src"), "rs", &mut sources);
    for path in sources.iter().filter(|path| !shown(path).contains("test") && !shown(path).contains("/fake")) {
        let source = fs::read_to_string(path).unwrap();
        let end = source.find("#[cfg(test)]\nmod tests {").unwrap_or(source.len());
        let help = shown(path).starts_with("src/cli/");
        for (line, text) in read_by_users(&source[..end], help) {
            found.extend(offences(&text).into_iter().map(|what| (shown(path), line, what)));
        }
    }
    let mut pages = vec![root().join("CHANGELOG.md"), root().join("CONTRIBUTING.md"), root().join("docs/commands.md")];
    pages.push(root().join("src/config/macula/init.yaml"));
    for path in pages {
        for (at, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            found.extend(offences(line).into_iter().map(|what| (shown(&path), at + 1, what)));
        }
    }
    found
}

#[test]
fn the_program_has_one_voice() {
    let found = all();
    let mut wrong = Vec::new();
    let mut names: Vec<&String> = found.iter().map(|(file, ..)| file).collect();
    names.dedup();
    for name in names {
        let own: Vec<_> = found.iter().filter(|(file, ..)| file == name).collect();
        let allowed = ALLOWED.iter().find(|(file, _)| file == name).map_or(0, |(_, count)| *count);
        if own.len() > allowed {
            wrong.extend(own.iter().map(|(file, line, what)| {
                let better =
                    BANNED.iter().find(|(phrase, _)| phrase == what).map_or("is not a valid", |(_, better)| better);
                format!("{file}:{line}: \"{what}\": write \"{better}\"")
            }));
        }
    }
    for (file, count) in ALLOWED {
        let now = found.iter().filter(|(other, ..)| other == file).count();
        if now < *count {
            wrong.push(format!("{file} has only {now} now: lower it in ALLOWED"));
        }
    }
    assert!(wrong.is_empty(), "{} (see docs/style.md):\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn only_what_users_read_is_looked_at() {
    let source =
        "// mend\nlet a = \"mend\\\"\"; // x\nlet b = r#\"an \"anew\" b\"#; let c = '\"';\n/// help\nfn d() { \"e\" }";
    let texts: Vec<String> = read_by_users(source, true).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["mend\\\"", "an \"anew\" b", " help", "e"]);
    assert_eq!(read_by_users(source, false).len(), 3);
}

#[test]
fn phrases_are_found_as_words() {
    assert_eq!(offences("it was mended, or recommended"), ["mended"]);
    assert_eq!(offences("`x` is no port"), ["is no"]);
    assert!(offences("there is no port; it is no longer there").is_empty());
    assert_eq!(offences("made\n  anew"), ["anew"]);
}
