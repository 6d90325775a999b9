//! Which files are read: macula.yaml, the project's Compose file and the stacks, and what the platform is called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::compose::{self, ProjectEnv};
use super::files::{self, Files};
use super::macula;
use super::macula::file::Settings;
use super::yaml::{ConfigErrors, Diagnostic, Report, Span, listed, project_name};
use super::{Request, discover};
use crate::model::{Origin, PlatformName};
use crate::words;

/// What macula reads as its own: the first one that is there.
pub const MACULA_FILES: [&str; 2] = ["macula.yaml", "macula.yml"];

/// The platform's name alone, from `--name`, macula.yaml or the worktree: for commands that need nothing else of the
/// files. The errors are those of macula.yaml, in spite of which its name counts where it can be made out.
pub fn platform_name(request: &Request, files: &dyn Files) -> (PlatformName, Vec<Diagnostic>) {
    if let Some(name) = &request.name {
        return (name.clone(), Vec::new());
    }
    let mut report = Report::new(&request.cwd);
    let home = request.env.get("HOME").map(String::as_str);
    let Some(path) = find_config_file(request, files, &mut report) else {
        return (unnamed(request, files), report.finish().0);
    };
    let settings = macula::file::load(&path, home, files, &mut report);
    let written = || {
        let text = files.read(&path, files::MAX_TEXT).ok()?;
        String::from_utf8_lossy(&text).lines().find_map(|line| {
            let value = line.strip_prefix("name:")?.split(" #").next()?.trim();
            macula::file::named(value.trim_matches(['"', '\'']))
        })
    };
    let name = settings.name.or_else(written).unwrap_or_else(|| unnamed(request, files));
    (name, report.finish().0)
}

/// The platform's name where nobody gives it one: each linked worktree of a repository has a platform of its own on this
/// machine. What runs elsewhere is one thing for all of them.
fn unnamed(request: &Request, files: &dyn Files) -> PlatformName {
    let worktree = if request.orchestrated { None } else { files::linked_worktree(&request.cwd, files) };
    worktree.and_then(|name| PlatformName::near(&name)).unwrap_or_default()
}

/// The macula.yaml that is read for this request, if there is one. Errors: one is named that is not there.
pub fn config_file(request: &Request, files: &dyn Files) -> Result<Option<PathBuf>, ConfigErrors> {
    let mut report = Report::new(&request.cwd);
    let found = find_config_file(request, files, &mut report);
    match report.finish().0 {
        errors if errors.is_empty() => Ok(found),
        errors => Err(ConfigErrors(errors)),
    }
}

/// The project's Compose file, found from the folder of the request.
pub fn project_compose_file(request: &Request, files: &dyn Files) -> Option<PathBuf> {
    discover::compose_file(&request.cwd, &request.env, files)
}

/// The same as it is called from that folder: `../compose.yaml`.
pub fn project_compose_name(request: &Request, files: &dyn Files) -> Option<String> {
    let path = project_compose_file(request, files)?;
    let up = request.cwd.ancestors().position(|folder| Some(folder) == path.parent())?;
    Some(format!("{}{}", "../".repeat(up), path.file_name()?.to_string_lossy()))
}

/// A word on the Compose files in the folder of the request whose names nobody looks for, and the first of them. None
/// where the project has one that is found.
pub fn passed_over(request: &Request, files: &dyn Files) -> Option<(String, String)> {
    if project_compose_file(request, files).is_some() {
        return None;
    }
    let names = discover::other_files(&request.cwd, files);
    let first = names.first()?.clone();
    let more = names.len().saturating_sub(3);
    let shown = names.iter().take(3).cloned().chain((more > 0).then(|| format!("{more} more")));
    let what = if names.len() == 1 { "that name" } else { "those names" };
    Some((format!("{}: Compose does not look for {what} by itself", words::list(shown)), first))
}

/// `--file`, `./macula.yaml`, then the one in the configuration folder.
pub(super) fn find_config_file(request: &Request, files: &dyn Files, report: &mut Report) -> Option<PathBuf> {
    if let Some(given) = &request.file {
        let path = files::join(&request.cwd, given);
        if files.exists(&path) {
            return Some(path);
        }
        let file = report.file(&path);
        report.error_help(
            Span::whole(file),
            "there is no such file",
            "check --file; without it ./macula.yaml is taken if it is there",
        );
        return None;
    }
    discover::nearest(&MACULA_FILES, &request.cwd, files).or_else(|| {
        let folder = request.config_folder.as_ref()?;
        MACULA_FILES.map(|name| folder.join(name)).into_iter().find(|path| files.exists(path))
    })
}

/// The project's Compose file, if nobody names the stacks: a macula.yaml in the project does, unless it says
/// `discover: true`.
pub(super) fn discovered(
    request: &Request,
    settings: &Settings,
    config_file: Option<&Path>,
    files: &dyn Files,
) -> Option<PathBuf> {
    let general = |file: &Path| request.config_folder.as_deref() == file.parent();
    let wanted = settings.discover.unwrap_or_else(|| config_file.is_none_or(general));
    if !request.discover || !wanted || request.only_built_in {
        return None;
    }
    let last = || request.project.clone().filter(|project| files.exists(project));
    let found = project_compose_file(request, files).or_else(last)?;
    // a file that is named is a stack like any other, unless the file asks for both
    if settings.discover == Some(true) {
        return Some(found);
    }
    let is_named = |path: PathBuf| path == found || Some(path.as_path()) == found.parent();
    let named = settings.stacks.iter().map(|(path, _)| path.clone());
    let given = request.stacks.iter().map(|path| files::join(&request.cwd, path));
    (!named.chain(given).any(is_named)).then_some(found)
}

/// Two files in one folder that both could be its stack, unless they say the same.
fn warn_of_another(taken: &Path, other: &Path, files: &dyn Files, report: &mut Report) {
    let text = |path: &Path| files.read(path, files::MAX_TEXT).ok();
    if text(taken) == text(other) {
        return;
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (taken, left) = (name(taken), name(other));
    let span = Span::whole(report.file(other));
    report.warn(
        span,
        format!("{left} is not read: {taken} lies in the same folder and goes before it"),
        format!("remove one of them, or name the one you mean: `stacks: [{left}]` in macula.yaml, or `COMPOSE_FILE={left}` in .env"),
    );
}

/// The name and the zone of the platform.
pub(super) fn identity(request: &Request, settings: &Settings, files: &dyn Files) -> (PlatformName, String) {
    let in_file = settings.name.clone().unwrap_or_default();
    let name = request.name.clone().or_else(|| settings.name.clone()).unwrap_or_else(|| unnamed(request, files));
    let domain = match &settings.domain {
        // a second platform from the same file needs a zone of its own
        Some(domain) if name != in_file => name.domain_below(domain),
        Some(domain) => domain.clone(),
        None => name.domain(),
    };
    (name, domain)
}

/// All stacks in their order: the built-in ones, those of macula.yaml, those of the command line.
pub(super) fn sources<'a>(
    request: &Request,
    settings: &Settings,
    variables: &BTreeMap<String, String>,
    files: &dyn Files,
    built_in: &[(&'a str, &'a str)],
    project: Option<&Path>,
    report: &mut Report,
) -> Vec<compose::Source<'a>> {
    let mut out: Vec<compose::Source<'a>> = Vec::new();
    for (file, text) in built_in {
        out.push(built_in_source(request, variables, files, file, text, report));
    }
    let command_line = report.file(Path::new("--stack"));
    let given = settings
        .stacks
        .iter()
        .map(|(path, span)| (path.clone(), *span))
        .chain(request.stacks.iter().map(|path| (files::join(&request.cwd, path), Span::whole(command_line))))
        .chain(project.and_then(Path::parent).map(|folder| (folder.to_owned(), Span::whole(command_line))));
    for (path, span) in given.filter(|_| !request.only_built_in) {
        let folder = if files.is_folder(&path) { path.clone() } else { path.parent().unwrap_or(&path).to_owned() };
        let mut env = ProjectEnv::read(&folder, &request.cwd, variables, files, report);
        let paths = if files.exists(&path) {
            // a file that is named stands for itself
            env.paths.clear();
            vec![path.clone()]
        } else if !env.paths.is_empty() {
            env.paths.clone()
        } else if files.is_folder(&path) {
            let mut there =
                compose::FILE_NAMES.map(|name| path.join(name)).into_iter().filter(|path| files.exists(path));
            match there.next() {
                Some(file) => {
                    there.for_each(|other| warn_of_another(&file, &other, files, report));
                    vec![file]
                }
                None => {
                    report.error_help(
                        span,
                        format!("there is no Compose file in {}", path.display()),
                        format!("it should have one of {}", listed(compose::FILE_NAMES, "or")),
                    );
                    continue;
                }
            }
        } else {
            report.error_help(
                span,
                format!("there is no stack at {}", path.display()),
                "name a Compose file, or a folder with a compose.yaml",
            );
            continue;
        };
        if out.iter().any(|source| source.paths == paths) {
            continue;
        }
        // as in Compose: of several files, paths count from the folder of the first
        let Some(file) = paths.first().cloned() else { continue };
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        let folder_name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = match project_name(folder_name) {
            name if name.is_empty() => "stack".to_owned(),
            name => name,
        };
        out.push(compose::Source { origin: Origin::File(file), paths, text: None, folder, name, env });
    }
    out
}

/// A built-in stack, or the one that the user's configuration folder has in its place.
pub(super) fn built_in_source<'a>(
    request: &Request,
    variables: &BTreeMap<String, String>,
    files: &dyn Files,
    file: &str,
    text: &'a str,
    report: &mut Report,
) -> compose::Source<'a> {
    let name = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or(file).to_owned();
    let own = request.config_folder.as_ref().and_then(|folder| {
        ["yaml", "yml"]
            .map(|ending| folder.join("stacks").join(format!("{name}.{ending}")))
            .into_iter()
            .find(|path| files.exists(path))
    });
    match own {
        Some(path) => {
            let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
            let env = ProjectEnv::read(&folder, &request.cwd, variables, files, report);
            let env = ProjectEnv { name: None, ..env };
            compose::Source { origin: Origin::File(path.clone()), paths: vec![path], text: None, folder, name, env }
        }
        None => compose::Source {
            paths: vec![PathBuf::from(format!("built-in:{file}"))],
            text: Some(text),
            folder: PathBuf::from("/"),
            name,
            origin: Origin::BuiltIn,
            // it has no folder in which the user could say anything
            env: ProjectEnv { variables: variables.clone(), ..ProjectEnv::default() },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, load_with};

    const WEB: &str = "services: {web: {image: x}}\n";

    fn request(cwd: &str) -> Request {
        Request { cwd: cwd.into(), config_folder: Some("/home/u/.config/macula".into()), ..Request::default() }
    }

    #[test]
    fn files_that_nobody_looks_for_are_named() {
        let word = |names: &[&str]| {
            let with = |all: MemoryFiles, name: &&str| all.with(format!("/p/{name}"), "services:\n");
            let files = names.iter().fold(MemoryFiles::default(), with);
            passed_over(&request("/p"), &files).map(|(word, first)| format!("{first}; {word}"))
        };
        assert_eq!(word(&[]), None);
        assert_eq!(word(&["dev.compose.yaml", "compose.yaml"]), None);
        let one = "a.compose.yml; a.compose.yml: Compose does not look for that name by itself";
        assert_eq!(word(&["a.compose.yml", "notes.yml"]).as_deref(), Some(one));
        let all = ["a.compose.yml", "b.compose.yml", "c.compose.yml", "d.compose.yml", "e.compose.yml"];
        for (count, listed) in [
            (2, "a.compose.yml and b.compose.yml"),
            (3, "a.compose.yml, b.compose.yml and c.compose.yml"),
            (4, "a.compose.yml, b.compose.yml, c.compose.yml and 1 more"),
            (5, "a.compose.yml, b.compose.yml, c.compose.yml and 2 more"),
        ] {
            let expected = format!("a.compose.yml; {listed}: Compose does not look for those names by itself");
            assert_eq!(word(&all[..count]), Some(expected));
        }
    }

    #[test]
    fn the_projects_file_is_called_as_from_the_folder_of_the_request() {
        let files = MemoryFiles::default().with("/p/.git/HEAD", "").with("/p/compose.yaml", WEB);
        for (cwd, name) in [
            ("/p", Some("compose.yaml")),
            ("/p/a", Some("../compose.yaml")),
            ("/p/a/b", Some("../../compose.yaml")),
            ("/q", None),
        ] {
            assert_eq!(project_compose_name(&request(cwd), &files).as_deref(), name, "{cwd}");
        }
    }

    #[test]
    fn the_projects_file_is_a_stack_unless_a_file_says_otherwise() {
        let stacks = |request: Request, macula: &[(&str, &str)]| {
            let files = MemoryFiles::default().with("/shop/.git/HEAD", "").with("/shop/compose.yaml", WEB);
            let files = macula.iter().fold(files, |files, (path, text)| files.with(path, *text));
            let loaded = load_with(&request, &files, &[]).unwrap_or_else(|errors| panic!("{errors}"));
            loaded.platform.stacks.len()
        };
        let asked = || Request { discover: true, ..request("/shop/web") };
        let (own, general) = ("/shop/macula.yaml", "/home/u/.config/macula/macula.yaml");
        assert_eq!(stacks(asked(), &[]), 1);
        assert_eq!(stacks(request("/shop"), &[]), 0);
        assert_eq!(stacks(Request { only_built_in: true, ..asked() }, &[]), 0);
        assert_eq!(stacks(asked(), &[(own, "name: x\n")]), 0);
        assert_eq!(stacks(asked(), &[(own, "discover: true\n")]), 1);
        assert_eq!(stacks(asked(), &[(general, "domain: dev.test\n")]), 1);
        assert_eq!(stacks(asked(), &[(general, "discover: false\n")]), 0);
        // one that is named, as a file or by its folder, is there once
        assert_eq!(stacks(asked(), &[(general, "stacks: [/shop]\n")]), 1);
        assert_eq!(stacks(asked(), &[(general, "stacks: [/shop/compose.yaml]\n")]), 1);
        // elsewhere the one of the last `up`, as long as it is there
        let last = |file: &str| Request { project: Some(file.into()), discover: true, ..request("/elsewhere") };
        assert_eq!(stacks(last("/shop/compose.yaml"), &[]), 1);
        assert_eq!(stacks(last("/gone/compose.yaml"), &[]), 0);
    }

    #[test]
    fn of_two_files_in_a_folder_the_one_that_is_not_read_is_told() {
        let told = |other: &str| {
            let files = MemoryFiles::default().with("/p/compose.yaml", WEB).with("/p/docker-compose.yml", other);
            let request = Request { stacks: vec!["/p".into()], ..request("/p") };
            let loaded = load_with(&request, &files, &[]).unwrap_or_else(|errors| panic!("{errors}"));
            let warnings = loaded.warnings.iter();
            warnings.map(|one| format!("{}: {}", one.file.display(), one.message)).collect::<Vec<_>>()
        };
        assert_eq!(told(WEB), [""; 0]);
        let expected = "docker-compose.yml: docker-compose.yml is not read: compose.yaml lies in the same folder and \
                        goes before it";
        assert_eq!(told("services: {api: {image: y}}\n"), [expected]);
    }
}
