//! The commands that hints show, read from the source.

#[path = "sources.rs"]
mod sources;

pub use sources::texts;

/// The string literal that begins at or after the start of `text`, if only blanks are before it.
pub fn literal(text: &str) -> Option<&str> {
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
pub fn commands() -> Vec<(String, Vec<String>)> {
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
