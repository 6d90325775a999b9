//! An error keeps the one below it as its source. Where its text is taken instead, that is the end of its way: a row
//! of a table, an event, an answer of a server. These places are counted, and their number only goes down.

#[path = "common/sources.rs"]
mod sources;

/// Room -> how many lines turn an error into its text, and where that text goes.
const PLACES: &[(&str, usize, &str)] = &[
    (
        "app",
        29,
        "events, warnings, reasons in rows and reports; what a registry said of a name, as `ImageError` has it, or an engine of a path",
    ),
    ("apply", 2, "events, and the note on a program that was to run before a stop"),
    ("changes", 1, "what came of undoing one, a row"),
    ("cli", 6, "what is printed"),
    ("config", 1, "a diagnostic has a place in a file and words"),
    ("daemon", 2, "the state of a way, as the page and `status` show it"),
    ("dns", 3, "the methods that `dns install` tried, and notes on what it undid"),
    ("doctor", 11, "findings; facts are read once, and each check that needs one that failed says so"),
    ("engine", 6, "why an endpoint was not taken, a row of `doctor`; statuses of gRPC, which have a text only"),
    ("kubernetes", 2, "why a workload is not ready, a row"),
    ("model", 1, "`chain` itself"),
    ("pki", 1, "the state of a trust store, a row"),
    ("portal", 12, "answers of the page's server"),
    ("probe", 2, "the answer of a probe"),
    ("render", 1, "see `RenderError`"),
    ("validate", 5, "evidence, which is compared and printed"),
];

/// `error.to_string()`, `format!("{error}")` and `map_err(|any| any.to_string())` in a line.
fn becomes_text(line: &str) -> bool {
    const NAMES: [&str; 3] = ["e", "err", "error"];
    let line = line.split("//").next().unwrap_or_default();
    let called = |name: &str| {
        let call = format!("{name}.to_string()");
        let own = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        line.match_indices(&call).any(|(at, _)| own(at)) || line.contains(&format!("format!(\"{{{name}}}\")"))
    };
    let mapped = line.split_once("map_err(|").and_then(|(_, rest)| {
        let (name, rest) = rest.split_once('|')?;
        Some(rest.trim_start().starts_with(&format!("{name}.to_string()")))
    });
    NAMES.iter().any(|name| called(name)) || mapped == Some(true) || line.contains("map_err(ToString::to_string)")
}

/// `src/app/state.rs`: `app`.
fn room(file: &str) -> &str {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    inner.split(['/', '.']).next().unwrap_or(inner)
}

#[test]
fn errors_keep_their_sources() {
    let mut found: Vec<(String, String)> = Vec::new();
    for (file, text) in sources::texts().into_iter().filter(|(file, _)| !file.contains("fake")) {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| becomes_text(line)) {
            found.push((room(&file).to_owned(), format!("{file}:{}: {}", number + 1, line.trim())));
        }
    }
    let mut wrong = Vec::new();
    let rooms: std::collections::BTreeSet<&str> =
        found.iter().map(|(room, _)| room.as_str()).chain(PLACES.iter().map(|(room, ..)| *room)).collect();
    for room in rooms {
        let lines: Vec<&str> = found.iter().filter(|(one, _)| one == room).map(|(_, line)| line.as_str()).collect();
        let most = PLACES.iter().find(|(one, ..)| *one == room).map_or(0, |(_, most, _)| *most);
        match lines.len() {
            count if count > most => wrong.push(format!(
                "{room}: {count} lines make text of an error, and {most} may: keep it as the source (`model::AnyError`)\n  {}",
                lines.join("\n  ")
            )),
            count if count < most => wrong.push(format!("{room}: {most} are allowed and {count} are left: lower the number")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_makes_text_of_an_error_is_found() {
    for line in [
        "let other = |error: io::Error| Error::Io(error.to_string());",
        "message: err.to_string(),",
        "Err(e) => Err(format!(\"{e}\")),",
        "parse(text).map_err(|problem| problem.to_string())?;",
        "found.map_err(ToString::to_string)",
    ] {
        assert!(becomes_text(line), "{line}");
    }
    for line in [
        "let name = type.to_string();",
        "// error.to_string()",
        "format!(\"{error:#}\")",
        "map_err(|error| Error::Io(error))",
    ] {
        assert!(!becomes_text(line), "{line}");
    }
    assert_eq!((room("src/app/state.rs"), room("src/probe.rs")), ("app", "probe"));
}
