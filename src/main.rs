//! Parse, call `cli`, set the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    macula::cli::main(std::env::args_os())
}
