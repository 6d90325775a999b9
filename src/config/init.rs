/// A commented macula.yaml for `macula config init`: everything in it is a default or switched off,
/// so that it changes nothing before it is edited.
pub fn init_file() -> &'static str {
    include_str!("init.yaml")
}
