use crate::model::DEFAULT_NAME;

/// A commented macula.yaml for `macula config init`: everything in it is a default or switched off,
/// so that it changes nothing before it is edited. `name`: of the platform, which must be right.
/// `stack`: the project's Compose file, as it is called from there; it stays the project's.
pub fn init_file(name: &str, stack: Option<&str>) -> String {
    let text =
        include_str!("init.yaml").replacen(&format!("\nname: {DEFAULT_NAME}\n"), &format!("\nname: {name}\n"), 1);
    match stack {
        Some(file) => text.replacen("\n# discover: true\n", &format!("\ndiscover: true # {file}\n"), 1),
        None => text,
    }
}

/// The schema that the file names, beside it.
pub const SCHEMA_FILE: &str = "macula.schema.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::macula::file::MACULA;
    use crate::config::yaml::{Kind, Object};

    /// A mapping whose keys are ours; of `processes` and `services`, the names are the user's.
    fn inside(kind: &Kind) -> Option<&'static Object> {
        match kind {
            Kind::Object(object) => Some(*object),
            Kind::Nullable(inner) | Kind::Short(_, inner) => inside(inner),
            _ => None,
        }
    }

    #[test]
    fn every_key_is_in_it() {
        let text = init_file(DEFAULT_NAME, None);
        // of a key with its value, also where it is switched off
        let key = |line: &str| line.strip_prefix("# ").unwrap_or(line).to_owned();
        let mut missing = Vec::new();
        for field in MACULA.fields {
            let head = format!("{}:", field.name);
            let mut lines = text.lines().skip_while(|line| !key(line).starts_with(&head));
            let Some(first) = lines.next() else {
                missing.push(field.name.to_owned());
                continue;
            };
            // up to the empty line below it
            let part: Vec<&str> = std::iter::once(first).chain(lines.take_while(|line| !line.is_empty())).collect();
            for inner in inside(&field.kind).into_iter().flat_map(|object| object.fields) {
                let head = format!("{}:", inner.name);
                let words = || part.iter().flat_map(|line| line.split([' ', '{', '#']));
                if !words().any(|word| word == head) {
                    missing.push(format!("{}.{}", field.name, inner.name));
                }
            }
        }
        assert!(missing.is_empty(), "not in init.yaml: {missing:?}");
    }
}
