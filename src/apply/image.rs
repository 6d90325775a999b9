//! Getting an image: pulls in order, then the build; and the Debian base of our own builds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compile::cannot_build;
use crate::engine::{BuildRequest, EngineError, ImageError, SecretBytes};
use crate::event::{Event, Progress};
use crate::host::{Command, Host};
use crate::model::{BaseImage, BuildSecret, ImageBuild, ImageSpec, PrepareStep, label, proxy};
use crate::plan::{ImageSource, Step};

use super::build_log::Said;
use super::files::{dockerfile, file_error};
use super::git;
use super::pull::{Pull, Unpulled};
use super::scratch::{self, turn};
use super::{Run, StepError, Tools};

/// Tries every open source in order. The reference under which the image is now in the engine.
pub(super) async fn obtain(
    run: &Run,
    spec: &ImageSpec,
    pull: bool,
    build: bool,
    of: &Step,
) -> Result<(String, ImageSource), StepError> {
    let (tools, step) = (&run.tools, of.id.as_str());
    let progress = |progress: Progress| tools.events.emit(Event::StepProgress { id: step.to_owned(), progress });
    let mut attempts = Vec::new();
    let mut foreign = None;
    if pull {
        let sources = Pull {
            engine: &*tools.engine,
            platform: spec.platform.as_deref(),
            architecture: &tools.facts.architecture,
            timeout: tools.image_timeout,
            progress: &progress,
        };
        match sources.first_of(&spec.pull).await {
            Ok(reference) => return kept(tools, spec, reference).await,
            Err(Unpulled::Engine(error)) => return Err(error.into()),
            Err(Unpulled::Refused { attempts: said, foreign: other }) => (attempts, foreign) = (said, other),
        }
    }
    match &spec.build {
        Some(image) if build => {
            if let Some(foreign) = foreign {
                // under this name it would be taken the next time
                tools.engine.remove_image(&foreign).await?;
            }
            if let Some((what, reason)) = cannot_build(&image.spec, &tools.facts, true) {
                return Err(StepError::CannotBuild { reference: image.tag.clone(), what, reason });
            }
            let fetched = git::fetched(tools, image, &progress).await?;
            let image = fetched.as_ref().map_or(image, |fetched| &fetched.image);
            let (dockerfile, _) = dockerfile(tools, image).await?;
            if let Some(base) = image.base.clone().or_else(|| BaseImage::named_in(&dockerfile)) {
                let _one = run.base.lock().await;
                if !has_base(tools, &base).await? {
                    let folder = tools.host.folders().cache.join("base");
                    let turn = turn(&*tools.host, &folder, &progress).await?;
                    if !turn.waited || !has_base(tools, &base).await? {
                        make_base(tools, &base, step).await?;
                    }
                }
            }
            let _place = run.build_place(step).await;
            let said = Said::default();
            let heard = |progress: Progress| {
                said.hear(&progress);
                tools.events.emit(Event::StepProgress { id: step.to_owned(), progress });
            };
            if let Err(error) = build_image(tools, image, dockerfile, &heard).await {
                return Err(said.failed(tools, &of.group, image, error).await);
            }
            Ok((image.tag.clone(), ImageSource::Build))
        }
        _ => match foreign {
            Some(foreign) => {
                let why = attempts.iter().find(|error| matches!(error, ImageError::OtherPlatform { .. }));
                let why = why.map(ToString::to_string).unwrap_or_default();
                tools.events.warn(format!("{why}: it runs only with emulation"));
                kept(tools, spec, foreign).await
            }
            None => Err(StepError::NoImage { reference: spec.reference.clone(), attempts }),
        },
    }
}

/// Whether the base is there; where it is under another of its names, it gets the one that is asked for.
async fn has_base(tools: &Tools, base: &BaseImage) -> Result<bool, StepError> {
    for name in base.names() {
        if tools.engine.image(&name).await?.is_some() {
            if name != base.reference {
                tools.engine.tag(&name, &base.reference).await?;
            }
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives what was pulled the stack file's own name, so that it is found next time.
async fn kept(tools: &Tools, spec: &ImageSpec, reference: String) -> Result<(String, ImageSource), StepError> {
    let name = spec.kept_as();
    if reference != name {
        tools.engine.tag(&reference, &name).await?;
    }
    Ok((reference, ImageSource::Image))
}

async fn build_image(
    tools: &Tools,
    image: &ImageBuild,
    dockerfile: String,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), StepError> {
    let scratch = scratch::folder(&*tools.host, "build", &image.tag);
    // what we ship is built alike for all platforms, so that another run's image does as well
    let ours = image.spec.context.is_none();
    let turn = if ours { Some(turn(&*tools.host, &scratch, progress).await?) } else { None };
    let made_meanwhile =
        turn.as_ref().is_some_and(|turn| turn.waited) && tools.engine.image(&image.tag).await?.is_some();
    if !made_meanwhile {
        pack_and_build(tools, image, dockerfile, &scratch, progress).await?;
    }
    for tag in image.spec.tags.iter().chain(&image.also).chain(&image.alike) {
        tools.engine.tag(&image.tag, tag).await?;
    }
    if !image.prepare.is_empty() {
        // the image holds what came of it; a scratch folder of node_modules is of no more use
        let _ = tools.host.remove_folder(&scratch).await;
    }
    Ok(())
}

async fn pack_and_build(
    tools: &Tools,
    image: &ImageBuild,
    dockerfile: String,
    scratch: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), StepError> {
    let mut context = prepare(tools, image, scratch, progress).await?;
    if let Some(folder) = &image.spec.context {
        context.insert(0, (folder.clone(), String::new()));
    }
    let facts = &tools.facts;
    let own_format = image.spec.unmet(facts).is_none();
    // where no registry is reached there is often a proxy or a mirror that only the host sees
    let network = image.spec.network.clone().unwrap_or_else(|| "host".into());
    let here = network == "host" && facts.container_addresses;
    let mut args = proxy::of_a_build(&|name| tools.host.env(name), &image.spec.args, &tools.domain, here);
    args.extend(image.spec.args.clone());
    let request = BuildRequest {
        tag: image.tag.clone(),
        dockerfile,
        context,
        args,
        labels: image.labels.clone(),
        target: image.spec.target.clone(),
        network: Some(network),
        no_cache: image.spec.no_cache,
        // what is made here is in no registry
        pull: image.spec.pull && image.base.is_none(),
        cache_from: image.spec.cache_from.clone(),
        shm_size: image.spec.shm_size,
        platform: image.spec.platforms.first().cloned(),
        extra_hosts: image.spec.extra_hosts.clone(),
        ulimits: image.spec.ulimits.clone(),
        ignore: ignore(tools, image).await?,
        // as Compose does it; what we ship needs nothing of it, and is built alike by every engine
        buildkit: image.spec.context.is_some(),
        needs_buildkit: !image.spec.needs.is_empty(),
        syntax: image.spec.syntax.clone().map(|syntax| (syntax, own_format)),
        contexts: image.spec.contexts.clone(),
        secrets: secrets(tools, image).await?,
        ssh: agents(tools, image)?,
    };
    // to drop it ends the build
    match tokio::time::timeout(tools.image_timeout, tools.engine.build(&request, progress)).await {
        Ok(built) => built.map(drop).map_err(StepError::from),
        Err(_) => Err(too_long(&image.tag, tools.image_timeout).into()),
    }
}

fn too_long(tag: &str, limit: Duration) -> EngineError {
    let message = format!("it took longer than {} s (`timeouts.image` in macula.yaml)", limit.as_secs());
    let source = ImageError::BuildFailed { reference: tag.to_owned(), message, log_tail: Vec::new() };
    EngineError::Image { operation: format!("building {tag}"), source }
}

/// `shop/Dockerfile.dev.dockerignore` stands in for the context's own.
async fn ignore(tools: &Tools, image: &ImageBuild) -> Result<Option<String>, StepError> {
    let Some(path) = image.spec.ignore_file() else { return Ok(None) };
    match tools.host.read(&path).await {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(&path, error)),
    }
}

async fn secrets(tools: &Tools, image: &ImageBuild) -> Result<BTreeMap<String, SecretBytes>, StepError> {
    let mut secrets = BTreeMap::new();
    for (id, secret) in &image.spec.secrets {
        let content = match secret {
            BuildSecret::Value(value) => value.clone().into_bytes(),
            BuildSecret::File(path) => tools.host.read(path).await.map_err(|error| file_error(path, error))?,
        };
        secrets.insert(id.clone(), SecretBytes(content));
    }
    Ok(secrets)
}

fn agents(tools: &Tools, image: &ImageBuild) -> Result<BTreeMap<String, PathBuf>, StepError> {
    let agent = |(id, path): (&String, &String)| {
        let socket = if path.is_empty() { tools.host.env("SSH_AUTH_SOCK") } else { Some(path.clone()) };
        match socket {
            Some(socket) => Ok((id.clone(), PathBuf::from(socket))),
            None => Err(StepError::NoAgent { reference: image.tag.clone() }),
        }
    };
    image.spec.ssh.iter().map(agent).collect()
}

/// Runs the steps on the host and returns the folders that go into the context.
async fn prepare(
    tools: &Tools,
    image: &ImageBuild,
    scratch: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Vec<(PathBuf, String)>, StepError> {
    let mut context = Vec::new();
    if image.prepare.is_empty() {
        return Ok(context);
    }
    tools.host.create_folder(scratch, 0o755).await.map_err(|error| file_error(scratch, error))?;
    for step in &image.prepare {
        match step {
            PrepareStep::Write { path, content } => {
                let path = scratch.join(path);
                tools.host.write(&path, content.as_bytes(), 0o644).await.map_err(|error| file_error(&path, error))?;
            }
            PrepareStep::Run { command, .. } => {
                let Some((program, args)) = command.split_first() else { continue };
                let command = Command::new(program, args).cwd(scratch).timeout(tools.image_timeout);
                progress(Progress::Line { text: command.to_string() });
                tools
                    .host
                    .run_watched(&command, &|line| progress(Progress::Line { text: format!("{program}: {line}") }))
                    .await
                    .map_err(|source| StepError::Prepare { reference: image.tag.clone(), source })?;
            }
            PrepareStep::Copy { from, to } => {
                let made = scratch.join(from);
                // what no step has made is the user's own
                let own = image.spec.context.as_ref().map(|folder| folder.join(from));
                let path = match own {
                    Some(own) if !tools.host.exists(&made).await => own,
                    _ => made,
                };
                context.push((path, to.clone()));
            }
            PrepareStep::Program { to } => context.push((program(tools, image, scratch, to).await?, String::new())),
        }
    }
    Ok(context)
}

/// A folder that holds nothing but this program, in the place where the build wants it.
async fn program(tools: &Tools, image: &ImageBuild, scratch: &Path, to: &str) -> Result<PathBuf, StepError> {
    let os = tools.host.facts().os;
    if os != "linux" {
        return Err(StepError::Program { reference: image.tag.clone(), os });
    }
    let content = tools.host.read(&tools.program).await.map_err(|error| file_error(&tools.program, error))?;
    let folder = scratch.join("program");
    let path = folder.join(to);
    tools.host.write(&path, &content, 0o755).await.map_err(|error| file_error(&path, error))?;
    Ok(folder)
}

/// A minimal Debian from the machine's own mirror, without a registry.
pub(super) async fn make_base(tools: &Tools, base: &BaseImage, step: &str) -> Result<(), StepError> {
    let progress = |progress: Progress| tools.events.emit(Event::StepProgress { id: step.to_owned(), progress });
    let folder = tools.host.folders().cache.join("base");
    tools.host.create_folder(&folder, 0o700).await.map_err(|error| file_error(&folder, error))?;
    // another run may make it at this moment, and a killed one has left its own
    for name in tools.host.list(&folder).await.unwrap_or_default() {
        let pid = name.strip_suffix(".tar").and_then(|name| name.rsplit_once('-')?.1.parse().ok());
        if pid.is_none_or(|pid| !tools.host.alive(pid)) {
            let _ = tools.host.remove(&folder.join(name)).await;
        }
    }
    let tar = folder.join(format!("{}-{}.tar", base.suite, std::process::id()));
    let command = base_command(&base.suite, &tar, &mirrors(&*tools.host, &base.suite).await);
    progress(Progress::Line {
        text: format!("mmdebstrap {}: a minimal Debian from this machine's mirror", base.suite),
    });
    let made = tools.host.run_watched(&command, &|line| progress(Progress::Line { text: line.to_owned() })).await;
    made.map_err(|source| StepError::Base { reference: base.reference.clone(), source })?;
    let labels = [(label::SERVICE.to_owned(), "base".to_owned())].into();
    let imported = tools.engine.import(&tar, &base.reference, &labels).await;
    let _ = tools.host.remove(&tar).await;
    imported?;
    Ok(())
}

/// What builds call: with the lists of the base, or with new ones where a package of an old base is
/// gone from the mirror.
const INSTALL_PACKAGES: &str = r#"--customize-hook=rm -f "$1"/var/cache/apt/*.bin
cat > "$1/usr/local/bin/install-packages" <<'END'
#!/bin/sh
install() { apt-get install -y --no-install-recommends "$@"; }
install "$@" || { apt-get update && install "$@"; }
END
chmod 755 "$1/usr/local/bin/install-packages""#;

/// `mirrors`: lines of an apt source list; empty: mmdebstrap's own default for the suite.
fn base_command(suite: &str, tar: &Path, mirrors: &[String]) -> Command {
    let mut args: Vec<String> = [
        // what apt and dpkg say, and not one line for half a minute
        "--verbose",
        "--variant=minbase",
        "--include=ca-certificates",
        "--aptopt=Acquire::Languages \"none\"",
        "--aptopt=APT::Install-Recommends \"false\"",
        // the result is packed at once: a crash means to begin again anyway
        "--dpkgopt=force-unsafe-io",
        // packages that start a service when they are installed have nothing to start here
        "--customize-hook=printf '#!/bin/sh\nexit 101\n' > \"$1/usr/sbin/policy-rc.d\" && chmod 755 \"$1/usr/sbin/policy-rc.d\"",
        "--customize-hook=echo 'APT::Keep-Downloaded-Packages \"false\"; Dir::Cache::pkgcache \"\"; Dir::Cache::srcpkgcache \"\";' > \"$1/etc/apt/apt.conf.d/50macula\"",
        // the lists are fetched once here, and not by each of ten builds
        "--skip=cleanup/apt/lists",
        "--aptopt=Acquire::GzipIndexes \"true\"",
        INSTALL_PACKAGES,
    ]
    .map(str::to_owned)
    .into();
    for folder in ["doc", "man", "info", "locale", "lintian"] {
        args.push(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    args.extend([suite.to_owned(), tar.display().to_string()]);
    args.extend(mirrors.iter().cloned());
    Command::new("mmdebstrap", args).privileged().timeout(Duration::from_secs(900))
}

/// The machine's own mirrors, for another suite: a network without registries often has no way to
/// the default mirror either.
async fn mirrors(host: &dyn Host, suite: &str) -> Vec<String> {
    if host.facts().distribution.as_deref() != Some("debian") {
        return Vec::new();
    }
    let folder = Path::new("/etc/apt/sources.list.d");
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(host.list(folder).await.unwrap_or_default().into_iter().map(|name| folder.join(name)));
    let mut text = String::new();
    for file in files {
        let content = host.read(&file).await.unwrap_or_default();
        text.push_str(&String::from_utf8_lossy(&content));
        text.push_str("\n\n");
    }
    source_lines(&text, suite)
}

/// One-line sources of the main archive and of the security archive that apt's files name, in
/// either of its formats (sources.list(5)).
fn source_lines(text: &str, suite: &str) -> Vec<String> {
    let mut main = None;
    let mut security = None;
    let addresses = text.lines().flat_map(|line| {
        let line = line.trim();
        let listed = line.strip_prefix("URIs:").or_else(|| line.strip_prefix("deb ")).unwrap_or_default();
        listed.split_whitespace().filter(|word| word.starts_with("http")).map(|word| word.trim_end_matches('/'))
    });
    for address in addresses {
        if address.ends_with("/debian-security") {
            security.get_or_insert(address.to_owned());
        } else if address.ends_with("/debian") {
            main.get_or_insert(address.to_owned());
        }
    }
    let Some(main) = main else { return Vec::new() };
    let mut lines = vec![format!("deb {main} {suite} main")];
    if let Some(security) = security {
        lines.push(format!("deb {security} {suite}-security main"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_mirrors_serve_the_base() {
        let deb822 = "Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\nSuites: bookworm\n\n\
                      Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n";
        assert_eq!(
            source_lines(deb822, "trixie"),
            [
                "deb http://mirror.example/debian trixie main",
                "deb http://mirror.example/debian-security trixie-security main"
            ]
        );
        let one_line =
            "deb [arch=amd64] https://mirror.example/debian bookworm main\ndeb https://apt.example/docker x stable\n";
        assert_eq!(source_lines(one_line, "trixie"), ["deb https://mirror.example/debian trixie main"]);
        assert_eq!(source_lines("deb https://apt.example/tools x main", "trixie"), Vec::<String>::new());
    }
}
