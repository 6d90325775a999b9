//! Options that several commands share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::app::Error;
use crate::cli::error::CliError;
use crate::cli::ui::{self, ColorChoice};
use crate::config::Scale;
use crate::model::{ImagePolicy, MaculaCommand, Platform, PlatformName};

/// The flags that were given, as they are typed.
pub fn given(flags: impl IntoIterator<Item = (bool, &'static str)>) -> impl Iterator<Item = String> {
    flags.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag.to_owned())
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Platform to work on; each has its own containers, volumes, addresses and names
    #[arg(long, global = true, env = "MACULA_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// macula.yaml to read (default: of the project, the last `up`, or the configuration folder)
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

/// The option of the commands that bring services up.
#[derive(Debug, Clone, Default, Args)]
pub struct ScaleOptions {
    /// Number of containers of a service (repeatable); later commands keep it, until `--scale SERVICE=` or `--reset`
    #[arg(long, value_name = "SERVICE=N", value_parser = typed_scale)]
    pub scale: Vec<(String, Scale)>,
}

impl ScaleOptions {
    /// The services of which something is said.
    pub fn services(&self) -> impl Iterator<Item = String> {
        self.scale.iter().map(|(service, _)| service.clone())
    }

    /// A number that is given back is that of the file: a service that stands in none cannot be brought up with it.
    /// Whoever does not ask for that forgets the number.
    pub fn check_given_back(&self, platform: &Platform, services: &[String]) -> Result<(), CliError> {
        let stands = |name: &String| {
            platform.service(name).is_some()
                || platform.tasks.contains_key(name)
                || platform.processes.contains_key(name)
        };
        let mut back = self.scale.iter().filter(|(_, scale)| *scale == Scale::Back).map(|(name, _)| name);
        let Some(name) = back.find(|name| services.contains(name) && !stands(name)) else { return Ok(()) };
        let error = Error::UnknownService { names: vec![name.clone()], known: platform.service_names() };
        let forget = MaculaCommand::of(["up".to_owned(), "--scale".to_owned(), format!("{name}=")]);
        let forget = forget.why("to forget the number that the last `up` gave it");
        Err(CliError::from(error).suggest(forget))
    }

    /// As they are typed.
    pub fn words(&self) -> impl Iterator<Item = String> {
        self.scale.iter().map(|(service, scale)| match scale {
            Scale::Asked(count) | Scale::Kept(count) => format!("{service}={count}"),
            Scale::Back => format!("{service}="),
        })
    }
}

/// `web=3`; `web=` for the number of its file.
pub fn typed_scale(text: &str) -> Result<(String, Scale), String> {
    const FORM: &str = "write SERVICE=N, such as web=3";
    let (name, number) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(FORM)?;
    let scale = match number {
        "" => Scale::Back,
        // each is a container: no engine runs more than that
        _ => number
            .parse::<u16>()
            .map(|count| Scale::Asked(count.into()))
            .map_err(|_| format!("`{number}` is not a number of containers"))?,
    };
    Ok((name.to_owned(), scale))
}

/// What of the command line decides which platform is loaded.
pub trait LoadOptions {
    fn stacks(&self) -> &StackOptions;
    fn images(&self) -> Option<Images> {
        None
    }
    /// Numbers of containers, of two for one service the last.
    fn scale(&self) -> BTreeMap<String, Scale> {
        BTreeMap::new()
    }
    /// Published ports that somebody else has go elsewhere.
    fn remap(&self) -> bool {
        false
    }
    /// The services that are named: their profiles count as asked for.
    fn services(&self) -> &[String] {
        &[]
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

/// The options of a command that brings the platform up, or shows what that would do.
#[derive(Debug, Clone, Copy)]
pub struct Upping<'a> {
    pub options: &'a ImageOptions,
    pub scale: &'a ScaleOptions,
    pub remap: bool,
    pub services: &'a [String],
}

impl Upping<'_> {
    /// As they are typed, without the services.
    pub fn words(&self) -> Vec<String> {
        let StackOptions { stacks, profiles, no_discover } = &self.options.stacks;
        let images = self.options.images.and_then(|images| images.to_possible_value());
        let stacks = stacks.iter().map(|path| ("--stack", path.to_string_lossy().into_owned()));
        // an empty variable asks for nothing
        let profiles = profiles.iter().filter(|name| !name.is_empty()).map(|name| ("--profile", name.clone()));
        let images = images.map(|value| ("--images", value.get_name().to_owned()));
        let scale = self.scale.words().map(|words| ("--scale", words));
        let valued = stacks.chain(profiles).chain(images).chain(scale);
        let flags = [(*no_discover, "--no-discover"), (self.remap, "--remap")];
        valued.flat_map(|(option, value)| [option.to_owned(), value]).chain(given(flags)).collect()
    }
}

impl LoadOptions for Upping<'_> {
    fn stacks(&self) -> &StackOptions {
        &self.options.stacks
    }

    fn images(&self) -> Option<Images> {
        self.options.images
    }

    fn scale(&self) -> BTreeMap<String, Scale> {
        self.scale.scale.iter().cloned().collect()
    }

    fn remap(&self) -> bool {
        self.remap
    }

    fn services(&self) -> &[String] {
        self.services
    }
}

/// For a command that runs something of one service.
#[derive(Debug, Default)]
pub struct OfServices<'a> {
    pub stacks: StackOptions,
    pub services: &'a [String],
}

impl LoadOptions for OfServices<'_> {
    fn stacks(&self) -> &StackOptions {
        &self.stacks
    }

    fn services(&self) -> &[String] {
        self.services
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::tests::shown;
    use crate::model::{Origin, Service, Stack};

    #[test]
    fn a_number_of_a_service_that_is_gone_has_the_command_that_forgets_it() {
        let scale = vec![("wbe".to_owned(), Scale::Back), ("gone".to_owned(), Scale::Asked(2))];
        let stack = Stack {
            scoped: false,
            name: "s".into(),
            origin: Origin::BuiltIn,
            services: [("web".to_owned(), Service { name: "web".into(), ..Service::default() })].into(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
        };
        let (scale, platform) = (ScaleOptions { scale }, Platform::new(PlatformName::default(), vec![stack]));
        let check = |services: &[&str]| {
            let services: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
            scale.check_given_back(&platform, &services)
        };
        insta::assert_snapshot!(shown(check(&["gone", "wbe"]).unwrap_err()), @r"
        error: no service is named wbe
          hint: did you mean web?
          try: macula up --scale wbe=  (to forget the number that the last `up` gave it)
        exit 2
        ");
        // whoever brings up all the rest gives it back
        assert!(check(&["gone"]).is_ok() && check(&[]).is_ok());
    }
}
