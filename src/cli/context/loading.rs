//! What the user's files say, as each command needs them.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::app::{self, Choices, Condition, Session, State};
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::excerpt::{annotated, place};
use crate::config::{self, DiskFiles, Loaded};
use crate::model::{Origin, Platform, PlatformName, macula};
use crate::words;

use super::options::{Forgets, LoadOptions, StackOptions};
use super::{Context, LookAhead};

/// What a platform is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To see what came of the last `up`.
    Look,
    /// To bring it up: what the command line says is kept.
    Up,
    /// To run something next to what the last `up` brought up.
    Join,
}

/// The folder that the command was typed in.
pub fn current_folder() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CliError::usage("the current folder has been removed or moved away")
            .hint("change to a folder that is there (`cd`), and try again"),
        _ => CliError::io("find the current folder", &error),
    })
}

impl Context {
    /// What is looked at meanwhile for who asks how services are.
    pub fn services_of(&self, options: &impl LoadOptions) -> LookAhead {
        self.request(options).map_or(LookAhead::Lists, |request| LookAhead::Services(Box::new(request)))
    }

    /// What the command line says of the files that are to be read.
    pub fn request(&self, options: &impl LoadOptions) -> Result<config::Request, CliError> {
        let folder = current_folder()?;
        let mut env = self.host.environment();
        // a shell may have come here through links, and its word may be of another folder
        let is_here = |pwd: &String| Path::new(pwd).canonicalize().is_ok_and(|real| real == folder);
        if !env.get("PWD").is_some_and(is_here) {
            env.remove("PWD");
        }
        Ok(config::Request {
            cwd: folder,
            config_folder: Some(self.host.folders().config),
            env,
            file: self.global.file.clone(),
            name: self.name.clone(),
            stacks: options.stacks().stacks.clone(),
            profiles: options.stacks().profiles.clone(),
            kept_profiles: Vec::new(),
            profiles_of_named: Vec::new(),
            images: options.images().map(Into::into),
            only_own: false,
            only_built_in: false,
            discover: !options.stacks().no_discover,
            project: None,
            remap: options.remap(),
            moves: Default::default(),
            scale: options.scale(),
            orchestrated: false,
        })
    }

    /// Everything that the user's files say, for Swarm or Kubernetes: what an engine has no use for counts there.
    pub fn load_orchestrated(&self, options: &impl LoadOptions) -> Result<Loaded, CliError> {
        let mut request = self.request(options)?;
        // the choices are those made in this worktree
        let here = config::platform_name(&request, &DiskFiles).0;
        request.orchestrated = true;
        let name = config::platform_name(&request, &DiskFiles).0;
        State::new(&self.host.folders().data, &here).remembered(&DiskFiles).apply(&mut request, &DiskFiles);
        let request = config::Request { name: request.name.or(Some(name)), ..request };
        let loaded =
            config::load(&request, &DiskFiles).map_err(|errors| config_error(&errors.0, self.excerpt_room()))?;
        for warning in &loaded.warnings {
            self.events().warn(warning.to_string());
        }
        Ok(loaded)
    }

    /// Everything that the user's files say, read with the choices of the last `up` where the command line says
    /// nothing.
    pub fn load(&self, options: &impl LoadOptions) -> Result<Loaded, CliError> {
        Ok(self.load_with_choices(options, Forgets::default(), Purpose::Look)?.0)
    }

    /// The same with these choices, which `up` keeps, and with a word on where they come from.
    pub fn load_for_up(&self, options: &impl LoadOptions, forgets: Forgets) -> Result<(Loaded, Choices), CliError> {
        self.load_with_choices(options, forgets, Purpose::Up)
    }

    /// The same for a command that joins the platform as the last `up` made it, and leaves the choices alone. What it
    /// brings up is what that `up` has built: the contexts of all builds are read, too.
    pub async fn load_to_join(&self, options: &impl LoadOptions) -> Result<(Loaded, Choices), CliError> {
        let (mut loaded, choices) = self.load_with_choices(options, Forgets::default(), Purpose::Join)?;
        app::look_at_contexts(&mut loaded.platform, &self.host.folders().cache).await;
        Ok((loaded, choices))
    }

    /// Where the choices come from is told where they are made; a look at what came of them tells only what is new.
    fn load_with_choices(
        &self,
        options: &impl LoadOptions,
        forgets: Forgets,
        purpose: Purpose,
    ) -> Result<(Loaded, Choices), CliError> {
        let told = purpose != Purpose::Look || self.global.verbose > 0;
        let mut request = self.request(options)?;
        let name = config::platform_name(&request, &DiskFiles).0;
        let state = State::new(&self.host.folders().data, &name);
        let mut remembered = match forgets.all {
            true => Choices::default(),
            false => state.remembered(&DiskFiles),
        };
        if let Some(file) = state.damaged_choices(&DiskFiles).filter(|_| !forgets.all) {
            let file = file.display();
            self.events().warn(format!("the options of the last `up` cannot be read ({file}): going on without them"));
        }
        remembered.no_cluster &= !forgets.cluster;
        let (last_project, kept) = (remembered.project.clone(), remembered.folder.is_some());
        let applied = match purpose {
            Purpose::Join => remembered.join(&mut request, &DiskFiles),
            Purpose::Look | Purpose::Up => remembered.apply(&mut request, &DiskFiles),
        };
        request.name.get_or_insert(name);
        if told && !applied.from_last.is_empty() {
            let what = applied.from_last.join(", ");
            let reset = self.line(macula("up --reset"));
            self.events().info(format!("options of the last `up` still apply: {what} (`{reset}` clears them)"));
        }
        if applied.project_stays {
            let without = self.line(macula("up --no-discover"));
            self.events()
                .warn(format!("the project's stack stays, since the last `up` took it in (`{without}` leaves it out)"));
        }
        for path in &applied.gone {
            self.events().warn(format!("the last `up` had the stack {}, which no longer exists", path.display()));
        }
        let read = |request: &config::Request| {
            config::load(request, &DiskFiles).map_err(|errors| config_error(&errors.0, self.excerpt_room()))
        };
        let mut loaded = read(&request)?;
        let mut choices = applied.choices;
        let asked = loaded.profiles_of(options.services());
        if !asked.is_empty() {
            let noun = if asked.len() == 1 { "profile" } else { "profiles" };
            let mut turned = format!("turning on the {noun} {} of what you named", words::list(&asked));
            request.profiles_of_named = words::unique(request.profiles_of_named.into_iter().chain(asked));
            loaded = read(&request)?;
            // who runs something once changes nothing for the next `up`
            if purpose == Purpose::Up {
                turned.push_str(&format!(", which stays on (`{}` turns it off)", self.line(macula("up --reset"))));
                choices.profiles_of_named = request.profiles_of_named.clone();
            }
            self.events().info(turned);
        }
        // once for each platform: from then on it is as it was
        let is_new = |project: &&PathBuf| last_project.as_ref() != Some(*project) || self.global.verbose > 0;
        if let Some(project) = loaded.discovered.as_ref().filter(is_new)
            && !self.project_told.swap(true, Ordering::Relaxed)
        {
            let file = project.display();
            self.events().info(format!("the project's stack is {file} (`--no-discover` leaves it out)"));
        }
        let general = |file: &PathBuf| file.parent() == request.config_folder.as_deref();
        if purpose == Purpose::Up
            && request.discover
            && loaded.config_file.as_ref().is_none_or(general)
            && loaded.platform.stacks.iter().all(|stack| stack.origin == Origin::BuiltIn)
            && let Some((word, first)) = config::passed_over(&request, &DiskFiles)
        {
            let with = self.line(macula("up --stack").arg(&first));
            self.events()
                .warn(format!("{word}; `COMPOSE_FILE={first}` in .env makes it the project's, and `{with}` starts it"));
        }
        for warning in &loaded.warnings {
            self.events().warn_at(place(warning), warning.to_string());
        }
        if purpose != Purpose::Join || !kept {
            choices = choices.read_from(&loaded);
        }
        Ok((loaded, choices))
    }

    /// [`Context::load`] for commands that compare what would be built with what there is: the contexts
    /// of all builds are read, too.
    pub async fn load_with_builds(&self, options: &impl LoadOptions) -> Result<Loaded, CliError> {
        let mut loaded = self.load(options)?;
        app::look_at_contexts(&mut loaded.platform, &self.host.folders().cache).await;
        Ok(loaded)
    }

    /// The macula.yaml that is read for this request, if there is one; an error where one is named that is not there.
    pub fn config_file(&self, request: &config::Request) -> Result<Option<PathBuf>, CliError> {
        config::config_file(request, &DiskFiles).map_err(|errors| config_error(&errors.0, self.excerpt_room()))
    }

    /// The name of the platform for commands that need no file. Trouble in macula.yaml is only worth a word.
    pub fn platform_name(&self) -> Result<PlatformName, CliError> {
        // a folder that is gone says nothing about a platform that was named
        if let (Some(name), Err(_)) = (&self.name, current_folder()) {
            return Ok(name.clone());
        }
        self.name_for(self.request(&StackOptions::default())?)
    }

    /// The same for what was deployed to a swarm or a cluster.
    pub fn name_of_deployed(&self) -> Result<PlatformName, CliError> {
        self.name_for(config::Request { orchestrated: true, ..self.request(&StackOptions::default())? })
    }

    fn name_for(&self, request: config::Request) -> Result<PlatformName, CliError> {
        // of a file that is not there nobody knows which platform it means: no other one is to be touched for it
        if request.name.is_none() {
            self.config_file(&request)?;
        }
        let (name, trouble) = config::platform_name(&request, &DiskFiles);
        if !trouble.is_empty() {
            self.events().warn(format!("macula.yaml has errors; going on with the platform {name}: {}", trouble[0]));
        }
        Ok(name)
    }

    /// The platform and its files, for commands that work by labels: trouble in the files is only worth a word.
    pub fn load_or_name(&self, options: &StackOptions) -> Result<(PlatformName, Option<Loaded>), CliError> {
        match self.load(options) {
            Ok(loaded) => Ok((loaded.platform.name.clone(), Some(loaded))),
            Err(error) => {
                let name = self.platform_name()?;
                self.events().warn(going_by_what_runs(&error));
                Ok((name, None))
            }
        }
    }

    /// Everything that the user's files say or, where they have errors, what is known without them: trouble in them
    /// is only worth a word then.
    async fn load_or_built_in(&self, options: &impl LoadOptions) -> Result<Loaded, CliError> {
        let error = match self.load_with_builds(options).await {
            Err(error) if error.kind == ErrorKind::Config => error,
            loaded => return loaded,
        };
        let mut request = self.request(options)?;
        // as in `platform_name`
        if request.name.is_none() {
            self.config_file(&request)?;
        }
        let name = config::platform_name(&request, &DiskFiles).0;
        State::new(&self.host.folders().data, &name).remembered(&DiskFiles).apply(&mut request, &DiskFiles);
        request.name.get_or_insert(name);
        let request = config::Request { only_built_in: true, ..request };
        // a choice that only these files can explain: their errors say more
        let Ok(loaded) = config::load(&request, &DiskFiles) else { return Err(error) };
        self.events().warn(going_by_what_runs(&error));
        Ok(loaded)
    }

    /// What commands begin with that show what runs: what the files say, as far as they can be read, and the machine.
    /// A platform that the user named has to be there; of `services` host names are made services.
    pub async fn begin_to_look(
        &self,
        command: &str,
        options: &impl LoadOptions,
        services: &mut [String],
    ) -> Result<(Loaded, Session), CliError> {
        let session = self.session_ahead(command, self.services_of(options));
        let loaded = self.load_or_built_in(options).await?;
        let session = session.await;
        if let Some(name) = &self.name {
            app::must_be_known(&session, name).await?;
        }
        self.revive(&session, &loaded.platform.name).await;
        self.services_meant(&loaded.platform, services);
        Ok((loaded, session))
    }

    /// Nobody is to sit in front of names and a page that are dead without a word: where the background process was
    /// killed, it is started again.
    pub async fn revive(&self, session: &Session, platform: &PlatformName) {
        match app::revive(session, platform).await {
            Ok(false) => {}
            Ok(true) => {
                self.events().warn("the background process (names, page) was gone; macula has started it again")
            }
            Err(error) => {
                self.events().warn(format!("the background process (names, page) is gone and does not start: {error}"));
            }
        }
    }

    /// Host names given instead of services, such as `draw` for draw.macula.local, are made services.
    pub fn services_meant(&self, platform: &Platform, services: &mut [String]) {
        for service in services.iter_mut().filter(|service| platform.service(service).is_none()) {
            if let Some(meant) = platform.service_of_host(service) {
                *service = meant.name.clone();
            }
        }
    }

    /// The service that answers to a host name; nothing where the user's files cannot be read.
    pub fn service_of_host(&self, host: &str) -> Option<String> {
        let loaded = self.load(&StackOptions::default()).ok()?;
        loaded.platform.service_of_host(host).map(|service| service.name.clone())
    }

    /// Why a service that is asked for has no container: the stacks know whether there is one of that
    /// name. Near names are looked for among all of them.
    pub async fn absent(&self, session: &Session, error: app::Error) -> CliError {
        let app::Error::UnknownService { names, known } = error else { return error.into() };
        let Ok(loaded) = self.load(&StackOptions::default()) else {
            return app::Error::UnknownService { names, known }.into();
        };
        let platform = &loaded.platform;
        let stands = |name: &&String| platform.service(name).is_some() || platform.processes.contains_key(*name);
        if let Some(name) = names.iter().find(stands) {
            // nothing of the platform is there
            if known.is_empty() {
                return match State::new(&self.host.folders().data, &platform.name).was_up(&DiskFiles) {
                    true => CliError::usage(format!("{name} is not running: the platform {} is down", platform.name))
                        .suggest(macula("up").why("to start all of it"))
                        .suggest(macula("up").arg(name)),
                    false => {
                        CliError::usage(format!("{name} has not been started yet")).suggest(macula("up").arg(name))
                    }
                };
            }
            return match why_left_out(session, &loaded, name).await {
                Some(reason) => CliError::usage(format!("{name} is left out: {reason}"))
                    .suggest(macula("up").arg(name).why("to try its image again")),
                None => CliError::usage(format!("{name} is not running here"))
                    .suggest(macula("status").arg(name).why("to see why"))
                    .suggest(macula("up").arg(name)),
            };
        }
        let known = words::unique(platform.service_names().into_iter().chain(known));
        app::Error::UnknownService { names, known }.into()
    }
}

/// Why an optional service is not there, in the words of `status`; nothing where it was not left out, or nobody can tell.
pub async fn why_left_out(session: &Session, loaded: &Loaded, service: &str) -> Option<String> {
    let rows = app::status(session, loaded).await.map(|status| status.services).unwrap_or_default();
    let row = rows.into_iter().find(|row| row.name == service && row.condition == Condition::LeftOut);
    row.and_then(|row| row.reason)
}

fn going_by_what_runs(error: &CliError) -> String {
    let errors: Vec<&str> = std::iter::once(&error.message).chain(&error.details).map(String::as_str).collect();
    format!("going by the labels of what runs, since the files have errors: {}", errors.join("\n"))
}

/// `room`: see [`annotated`].
fn config_error(errors: &[config::Diagnostic], room: usize) -> CliError {
    let mut all: Vec<String> = errors.iter().map(|error| annotated(error, room)).collect();
    // a single one is the headline itself
    let mut error = match all.as_slice() {
        [_] => CliError::new(ErrorKind::Config, all.remove(0)),
        several => {
            let mut error = CliError::new(ErrorKind::Config, format!("the configuration has {} errors", several.len()));
            error.details = all;
            error
        }
    };
    let text = |wrong: &config::Diagnostic| match &wrong.help {
        Some(help) => format!("{}\n{help}", wrong.message),
        None => wrong.message.clone(),
    };
    error.places = errors.iter().filter_map(|wrong| Some((place(wrong)?, text(wrong)))).collect();
    error
}
