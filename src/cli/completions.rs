use clap_complete::Shell;

use super::context::Context;
use super::error::CliError;

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "macula", &mut script);
    context.print(&String::from_utf8_lossy(&script))
}
