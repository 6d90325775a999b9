use crate::model::DEFAULT_NAME;

/// A commented macula.yaml for `macula config init`: everything in it is a default or switched off,
/// so that it changes nothing before it is edited. `name`: of the platform, which must be right.
pub fn init_file(name: &str) -> String {
    include_str!("init.yaml").replacen(&format!("\nname: {DEFAULT_NAME}\n"), &format!("\nname: {name}\n"), 1)
}
