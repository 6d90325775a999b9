use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory;

use super::Cli;

/// Write the manual pages, for packages
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder, which is created
    folder: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let doing = || format!("write manual pages to {}", args.folder.display());
    std::fs::create_dir_all(&args.folder).with_context(doing)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    pages(&command, &args.folder).with_context(doing)
}

/// One page a command, named as it is typed.
fn pages(command: &clap::Command, folder: &std::path::Path) -> std::io::Result<()> {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    for inner in shown {
        pages(inner, folder)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name.to_uppercase()).render(&mut page)?;
    std::fs::write(folder.join(format!("{name}.1")), page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        run(&Args { folder: folder.path().join("man") }).unwrap();
        let page = |name: &str| std::fs::read_to_string(folder.path().join("man").join(name));
        assert!(page("macula.1").unwrap().contains("A whole platform"));
        assert!(page("macula-dns-serve.1").unwrap().contains("\\-\\-listen"));
        assert!(page("macula-s3-server.1").is_err());
    }
}
