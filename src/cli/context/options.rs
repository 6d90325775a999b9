//! Options that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::error::CliError;
use crate::cli::ui::{self, ColorChoice};
use crate::model::{ImagePolicy, PlatformName};

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Platform to work on; each has its own containers, volumes, addresses and names
    #[arg(long, global = true, env = "MACULA_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// macula.yaml to read (default: ./macula.yaml, then the one in the configuration folder)
    #[arg(long, global = true, env = "MACULA_FILE", value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Format of results on standard output
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Human, value_name = "FORM")]
    pub output: Output,
    /// How to show progress on standard error
    #[arg(long, global = true, value_enum, default_value_t = ui::Kind::Auto, value_name = "LOOK")]
    pub progress: ui::Kind,
    /// Answer yes to every question, including the installation of missing programs
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// Print more detail; twice: also every request to the engine
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use color
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub color: ColorChoice,
}

impl Global {
    /// The platform that `--name` or `MACULA_NAME` names.
    pub fn platform(&self) -> Result<Option<PlatformName>, CliError> {
        let checked = self.name.as_deref().map(PlatformName::new).transpose();
        let option = |word: std::ffi::OsString| word.to_string_lossy().starts_with("--name");
        checked.map_err(|error| {
            let from = if std::env::args_os().any(option) { "--name" } else { "MACULA_NAME" };
            CliError::config(format!("{from}: {error}")).hint(error.help)
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Human,
    Json,
}

/// Options of the commands that read stack files.
#[derive(Debug, Clone, Default, Args)]
pub struct StackOptions {
    /// Add a Compose file, or the folder of one, as a stack (repeatable)
    #[arg(long = "stack", value_name = "PATH")]
    pub stacks: Vec<PathBuf>,
    /// Activate a profile of the platform or of Compose (repeatable)
    #[arg(long = "profile", env = "MACULA_PROFILES", value_delimiter = ',', value_name = "PROFILE")]
    pub profiles: Vec<String>,
    /// Do not use the Compose file in this folder or above it as a stack
    #[arg(long)]
    pub no_discover: bool,
}

/// What of the choices of the last `up` counts for nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forgets {
    pub all: bool,
    /// Whether there is a cluster: the command line says it.
    pub cluster: bool,
}

/// Options of the commands that decide where images come from.
#[derive(Debug, Clone, Default, Args)]
pub struct ImageOptions {
    #[command(flatten)]
    pub stacks: StackOptions,
    /// Where images come from
    #[arg(long, value_enum, env = "MACULA_IMAGES", value_name = "POLICY")]
    pub images: Option<Images>,
}

/// What of the command line decides which platform is loaded.
pub trait LoadOptions {
    fn stacks(&self) -> &StackOptions;
    fn images(&self) -> Option<Images> {
        None
    }
    /// Published ports that somebody else has go elsewhere.
    fn remap(&self) -> bool {
        false
    }
}

impl LoadOptions for StackOptions {
    fn stacks(&self) -> &StackOptions {
        self
    }
}

impl LoadOptions for ImageOptions {
    fn stacks(&self) -> &StackOptions {
        &self.stacks
    }

    fn images(&self) -> Option<Images> {
        self.images
    }
}

/// The options of a command that can move ports.
#[derive(Debug, Clone, Copy)]
pub struct Remapping<'a> {
    pub options: &'a ImageOptions,
    pub remap: bool,
}

impl LoadOptions for Remapping<'_> {
    fn stacks(&self) -> &StackOptions {
        &self.options.stacks
    }

    fn images(&self) -> Option<Images> {
        self.options.images
    }

    fn remap(&self) -> bool {
        self.remap
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Images {
    /// Use the engine's images; pull what is missing, else build it
    Auto,
    /// Always pull, never build
    Pull,
    /// Build every image that can be built
    Build,
    /// Use only images that the engine already has
    Local,
}

impl From<Images> for ImagePolicy {
    fn from(images: Images) -> Self {
        match images {
            Images::Auto => Self::Auto,
            Images::Pull => Self::Pull,
            Images::Build => Self::Build,
            Images::Local => Self::Local,
        }
    }
}
