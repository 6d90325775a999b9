//! A new file in an embedded folder means a new binary; the macro that embeds them does not notice.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "that is how build scripts talk to cargo")]

fn main() {
    for folder in ["kind", "stacks", "templates"] {
        println!("cargo::rerun-if-changed=../{folder}");
    }
}
