//! `add` in a macula.yaml that somebody has written: the line is changed, the rest stays byte for byte.

use std::path::Path;

use crate::config::yaml::{self, Node, Report};
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
    let there = names_in(text).ok_or(AddError::Yaml)?;
    let mut new: Vec<String> = Vec::new();
    for name in names {
        if !there.contains(name) && !new.contains(name) {
            new.push(name.clone());
        }
    }
    if new.is_empty() {
        return Ok((text.to_owned(), new));
    }
    let changed = changed(text, &new);
    // what the change has made is read again: a file is never left with less than was meant
    let wanted: Vec<&String> = there.iter().chain(&new).collect();
    match names_in(&changed) {
        Some(now) if now.iter().collect::<Vec<_>>() == wanted => Ok((changed, new)),
        _ => Err(AddError::Form),
    }
}

/// `add` of the file as it is read.
fn names_in(text: &str) -> Option<Vec<String>> {
    let mut report = Report::new(Path::new("/"));
    let file = report.file(Path::new("macula.yaml"));
    let root = yaml::parse(text, file, &mut report);
    if report.has_errors() {
        return None;
    }
    let add = root.as_ref().and_then(|root| root.get("add"));
    Some(match add.map(Node::as_text) {
        Some(Some(one)) => vec![one.to_owned()],
        _ => root.as_ref().map(|root| root.texts("add")).unwrap_or_default(),
    })
}

fn changed(text: &str, new: &[String]) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let list = new.join(", ");
    let Some(at) = lines.iter().position(|line| line.starts_with("add:")) else {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return format!("{text}{end}add: [{list}]\n");
    };
    let (line, ending) = match lines[at].strip_suffix('\n') {
        Some(line) => (line, "\n"),
        None => (lines[at], ""),
    };
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
                out.push('\n');
            }
            out.extend(new.iter().map(|name| format!("{indent}- {name}\n")));
            out.push_str(&lines[at + 1 + items..].concat());
        }
        value => {
            let inside = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value).trim();
            let before = if inside.is_empty() { String::new() } else { format!("{inside}, ") };
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
    }

    #[test]
    fn what_is_there_is_not_added_again() {
        let text = "add: [nats]\n";
        assert_eq!(with_added(text, &["nats".to_owned()]), Ok((text.to_owned(), Vec::new())));
    }

    #[test]
    fn a_form_that_is_not_understood_is_left_alone() {
        assert_eq!(with_added("add: [valkey,\n  mail]\n", &["nats".to_owned()]), Err(AddError::Form));
        assert_eq!(with_added("a: [", &["nats".to_owned()]), Err(AddError::Yaml));
        assert!(matches!(with_added("", &["kafka".to_owned()]), Err(AddError::Unknown { .. })));
    }
}
