//! `add` in a macula.yaml that somebody has written: the line is changed, the rest stays byte for byte.

use std::path::Path;

use crate::config::yaml::{self, Report};
use crate::render;

/// Why stacks cannot be put into the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    #[error("the catalog has no stack {name}")]
    Unknown { name: String, known: Vec<String> },
    #[error("`add` in the file is written in a form that macula does not change")]
    Form,
    #[error("the file is not valid YAML")]
    Yaml,
}

/// The names of the catalogue's stacks.
fn known() -> Vec<String> {
    render::catalog().iter().filter_map(|(file, _)| Some(file.strip_suffix(".yaml")?.to_owned())).collect()
}

/// The text of macula.yaml with these stacks in `add`, and those of them that were not there already.
pub fn with_added(text: &str, names: &[String]) -> Result<(String, Vec<String>), AddError> {
    let known = known();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        return Err(AddError::Unknown { name: name.clone(), known });
    }
    // editors of Windows put it there
    let (mark, plain) = match text.strip_prefix('\u{feff}') {
        Some(plain) => ("\u{feff}", plain),
        None => ("", text),
    };
    let there = names_in(plain)?;
    let mut new: Vec<String> = Vec::new();
    for name in names {
        if !there.contains(name) && !new.contains(name) {
            new.push(name.clone());
        }
    }
    if new.is_empty() {
        return Ok((text.to_owned(), new));
    }
    let changed = changed(plain, &new);
    // what the change has made is read again: a file is never left with less than was meant
    let wanted: Vec<&String> = there.iter().chain(&new).collect();
    match names_in(&changed) {
        Ok(now) if now.iter().collect::<Vec<_>>() == wanted => Ok((format!("{mark}{changed}"), new)),
        _ => Err(AddError::Form),
    }
}

/// `add` of the file as it is read.
fn names_in(text: &str) -> Result<Vec<String>, AddError> {
    let mut report = Report::new(Path::new("/"));
    let file = report.file(Path::new("macula.yaml"));
    let root = yaml::parse(text, file, &mut report);
    if report.has_errors() {
        return Err(AddError::Yaml);
    }
    let Some(add) = root.as_ref().and_then(|root| root.get("add")) else { return Ok(Vec::new()) };
    let items = add.as_list().unwrap_or(std::slice::from_ref(add)).iter();
    items.map(|item| item.as_text().map(str::to_owned).ok_or(AddError::Form)).collect()
}

fn changed(text: &str, new: &[String]) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let list = new.join(", ");
    let newline = if lines.first().is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" };
    let Some(at) = lines.iter().position(|line| line.starts_with("add:")) else {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { newline };
        return format!("{text}{end}add: [{list}]{newline}");
    };
    let (line, ending) = lines[at].split_at(lines[at].trim_end_matches(['\r', '\n']).len());
    let (value, comment) = match line.find(" #") {
        Some(from) => line.split_at(from),
        None => (line, ""),
    };
    let value = value.trim_start_matches("add:").trim();
    let mut out = lines[..at].concat();
    match value {
        "" => {
            // after the last item
            let is_item = |line: &&&str| line.trim_start().starts_with("- ");
            let items = lines[at + 1..].iter().take_while(is_item).count();
            let indent: String = match lines.get(at + 1).filter(|_| items > 0) {
                Some(first) => first.chars().take_while(|one| *one == ' ').collect(),
                None => "  ".to_owned(),
            };
            let kept = lines[at..=at + items].concat();
            out.push_str(&kept);
            if !kept.ends_with('\n') {
                out.push_str(newline);
            }
            out.extend(new.iter().map(|name| format!("{indent}- {name}{newline}")));
            out.push_str(&lines[at + 1 + items..].concat());
        }
        value => {
            let inside = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value).trim();
            let before = match inside {
                "" | "~" | "null" | "Null" | "NULL" => String::new(),
                inside => format!("{inside}, "),
            };
            out.push_str(&format!("add: [{before}{list}]{comment}{ending}"));
            out.push_str(&lines[at + 1..].concat());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str, names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        with_added(text, &names).map(|(text, _)| text).unwrap_or_else(|error| format!("{error}"))
    }

    #[test]
    fn the_rest_of_the_file_stays_as_it_is() {
        assert_eq!(added("", &["nats"]), "add: [nats]\n");
        assert_eq!(added("# mine\nname: shop", &["nats", "nats"]), "# mine\nname: shop\nadd: [nats]\n");
        assert_eq!(added("add: [valkey] # cache\nname: a\n", &["nats"]), "add: [valkey, nats] # cache\nname: a\n");
        assert_eq!(added("add: []\n", &["nats"]), "add: [nats]\n");
        assert_eq!(added("add: valkey\n", &["nats"]), "add: [valkey, nats]\n");
        assert_eq!(added("add:\n  # fast\n", &["nats"]), "add:\n  - nats\n  # fast\n",);
        assert_eq!(
            added("add:\n- valkey\n- mail\nname: a\n", &["nats", "valkey"]),
            "add:\n- valkey\n- mail\n- nats\nname: a\n"
        );
        assert_eq!(added("add: ~\n", &["nats"]), "add: [nats]\n");
        assert_eq!(added("add: null # none yet\n", &["nats"]), "add: [nats] # none yet\n");
        // as editors of Windows write it
        assert_eq!(added("\u{feff}name: a\r\n", &["nats"]), "\u{feff}name: a\r\nadd: [nats]\r\n");
        assert_eq!(added("\u{feff}add: [mail] # c\r\n", &["nats"]), "\u{feff}add: [mail, nats] # c\r\n");
        assert_eq!(added("name: a\r\nadd:\r\n  - mail", &["nats"]), "name: a\r\nadd:\r\n  - mail\r\n  - nats\r\n");
    }

    #[test]
    fn what_is_there_is_not_added_again() {
        let text = "add: [nats]\n";
        assert_eq!(with_added(text, &["nats".to_owned()]), Ok((text.to_owned(), Vec::new())));
    }

    #[test]
    fn a_form_that_is_not_understood_is_left_alone() {
        assert_eq!(with_added("add: [valkey,\n  mail]\n", &["nats".to_owned()]), Err(AddError::Form));
        assert_eq!(with_added("add: [~]\n", &["nats".to_owned()]), Err(AddError::Form));
        assert_eq!(with_added("a: [", &["nats".to_owned()]), Err(AddError::Yaml));
        assert!(matches!(with_added("", &["kafka".to_owned()]), Err(AddError::Unknown { .. })));
    }
}
