use crate::model::DEFAULT_NAME;

/// A commented macula.yaml for `macula config init`: everything in it is a default or switched off,
/// so that it changes nothing before it is edited. `name`: of the platform, which must be right.
/// `stack`: the Compose file beside it, which stays the project's.
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
