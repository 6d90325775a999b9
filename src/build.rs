//! A new file in an embedded folder means a new binary; the macro that embeds them does not notice.

fn main() {
    for folder in ["kind", "stacks", "templates"] {
        println!("cargo::rerun-if-changed=../{folder}");
    }
}
