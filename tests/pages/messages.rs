//! Messages that the pages quote are the program's own.

use crate::pages::pages;
use crate::sources::texts;

/// Quoted in a sentence, not in a table.
const IN_SENTENCES: [&str; 1] = ["web did not end at its stop signal within 10 s and was killed"];

/// How much of a quoted message has to be the text of the source.
const SHARE: f64 = 0.45;

/// What stands under `it says` in the tables of the pages.
fn quoted() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (page, text) in pages() {
        let mut inside = false;
        for line in text.lines() {
            inside = line.starts_with("| it says |") || inside && line.starts_with('|');
            let cell = line.split('|').nth(1).map(str::trim).unwrap_or_default();
            if inside && cell != "it says" && !cell.starts_with("---") {
                all.push((page.clone(), cell.trim_end_matches("...").trim().to_owned()));
            }
        }
    }
    all
}

/// The fixed parts of every text of the source that is long enough to say something, in their order.
fn literals() -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for (_, text) in texts() {
        let mut chars = text.chars().peekable();
        let mut before = ' ';
        while let Some(c) = chars.next() {
            // a quotation mark alone, as a letter, begins nothing
            if c == '"' && before != '\'' {
                let parts = literal(&mut chars);
                if parts.iter().map(String::len).sum::<usize>() > 8 {
                    all.push(parts);
                }
            }
            before = c;
        }
    }
    all
}

/// Up to the quotation mark that ends it.
fn literal(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut inside = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                // the text goes on in the next line, without its indentation
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some('"') => parts.last_mut().unwrap().push('"'),
                _ => {}
            },
            '{' => {
                inside = true;
                parts.push(String::new());
            }
            '}' => inside = false,
            c if !inside => parts.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    parts
}

/// Whether the message is made of this text of the source, or of a part of it that ends with a sentence.
fn made_of(message: &str, parts: &[String]) -> bool {
    if parts.iter().any(|part| part.contains(message)) {
        return true;
    }
    // what stands before the first placeholder and behind the last one may be missing on the page
    (0..parts.len()).any(|from| {
        let mut fixed = 0;
        let mut at = 0;
        for (number, part) in parts[from..].iter().enumerate() {
            let part = if number == 0 { part.trim_start_matches([':', ' ', ',']) } else { part };
            let whole = message[at..].find(part).map(|found| (found, part.len()));
            // the message may end where a clause does
            let clauses = part.match_indices([';', ':', ',']).map(|(end, _)| end).rev();
            let mut ends = std::iter::once(part.trim_end().len()).chain(clauses).filter(|end| *end > 0);
            let cut = || {
                let end = ends.find(|end| message[at..].ends_with(&part[..*end]))?;
                Some((message.len() - at - end, end))
            };
            let Some((found, length)) = whole.or_else(cut) else { break };
            fixed += length;
            at += found + length;
            if whole.is_none() {
                break;
            }
        }
        fixed as f64 >= SHARE * message.len() as f64
    })
}

#[test]
fn quoted_messages_are_in_the_source() {
    let quoted = quoted();
    assert!(quoted.len() >= 20, "only {} messages found: the look at them is broken", quoted.len());
    let literals = literals();
    let sentences = IN_SENTENCES.map(|message| ("docs/troubleshooting.md".to_owned(), message.to_owned()));
    for (page, message) in &sentences {
        let text = pages().into_iter().find(|(name, _)| name == page).unwrap().1;
        assert!(text.contains(message), "{page} no longer quotes `{message}`");
    }
    let all: Vec<(String, String)> = quoted.into_iter().chain(sentences).collect();
    let missing: Vec<_> =
        all.iter().filter(|(_, message)| !literals.iter().any(|parts| made_of(message, parts))).collect();
    assert!(missing.is_empty(), "the program does not say so: {missing:#?}");
    println!("{} quoted messages, all of them in the source", all.len());
}

#[test]
fn a_message_is_told_from_another() {
    let parts = |text: &str| literal(&mut format!("{text}\"").chars().peekable());
    let said = parts("the system asks {server} first, which does not know the name: {said}");
    assert!(made_of("the system asks 192.0.2.1 first, which does not know the name", &said));
    assert!(!made_of("the system asks nobody, and knows the name", &said));
    assert!(made_of(
        "nginx listens on 127.0.0.1:443 instead of the ingress",
        &parts("{} listens on {at} instead of the ingress")
    ));
    assert!(!made_of("nginx is not the ingress, and stops", &parts("{} listens on {at} instead of the ingress")));
}
