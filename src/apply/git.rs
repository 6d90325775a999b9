//! Builds whose context is a Git repository: it is fetched into the cache, and built from there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::event::Progress;
use crate::host::{Command, Host, RunError};
use crate::model::{AnyError, Dockerfile, GitContext, ImageBuild};

use super::files::{dockerfile, file_error};
use super::scratch::{self, Turn, turn};
use super::{StepError, Tools};

/// A build whose context is on this machine.
pub(super) struct Fetched {
    pub image: ImageBuild,
    /// Nobody else changes the files until the build has read them.
    _turn: Turn,
}

/// The build with a folder of this machine as its context; `None`: it is no build from a repository.
pub(super) async fn fetched(
    tools: &Tools,
    image: &ImageBuild,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Option<Fetched>, StepError> {
    let Some(git) = &image.spec.git else { return Ok(None) };
    let host = &*tools.host;
    let base = scratch::folder(host, "git", &image.tag);
    let turn = turn(host, &base, progress).await?;
    let tree = base.join("tree");
    host.create_folder(&tree, 0o755).await.map_err(|error| file_error(&tree, error))?;
    let repository = Repository { host, base, address: Address::of(&git.url), limit: tools.image_timeout, progress };
    repository.fetch(git).await.map_err(|source| StepError::Prepare { reference: image.tag.clone(), source })?;
    let tree = host.resolved(&tree).await;
    let mut image = image.clone();
    image.spec.git = None;
    image.spec.context = Some(git.folder.as_ref().map_or_else(|| tree.clone(), |folder| tree.join(folder)));
    let dockerfile_of_it = image.spec.dockerfile_path().filter(|_| !names_a_place(image.spec.dockerfile.as_deref()));
    for path in image.spec.context.iter().chain(&dockerfile_of_it) {
        stays_inside(host, &tree, path).await?;
    }
    image.spec.syntax = Dockerfile::parse(&dockerfile(tools, &image).await?.0).syntax;
    Ok(Some(Fetched { image, _turn: turn }))
}

/// The user's own Dockerfile, wherever it is.
fn names_a_place(dockerfile: Option<&str>) -> bool {
    dockerfile.is_some_and(|path| Path::new(path).is_absolute())
}

/// Who writes the repository says where its links lead, and may read nothing else of this machine.
async fn stays_inside(host: &dyn Host, tree: &Path, path: &Path) -> Result<(), StepError> {
    match host.resolved(path).await.starts_with(tree) {
        true => Ok(()),
        false => Err(file_error(path, AnyError::said("it leads out of the repository"))),
    }
}

struct Repository<'a> {
    host: &'a dyn Host,
    base: PathBuf,
    address: Address,
    /// For each of Git's commands.
    limit: Duration,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Repository<'_> {
    async fn fetch(&self, git: &GitContext) -> Result<(), RunError> {
        self.git(&["init", "--quiet"]).await?;
        let (url, reference) = (self.address.url.as_str(), git.reference.as_deref().unwrap_or("HEAD"));
        let one = self.git(&["fetch", "--quiet", "--depth", "1", "--", url, reference]).await;
        let commit = match one {
            Ok(()) => "FETCH_HEAD",
            // not every server gives a commit by its number, and none by the beginning of it
            Err(_) if is_commit(reference) => {
                self.everything().await?;
                reference
            }
            Err(error) => return Err(error),
        };
        self.git(&["checkout", "--quiet", "--force", "--detach", commit]).await?;
        // of an earlier commit
        self.git(&["clean", "--quiet", "-ffdx"]).await?;
        self.git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1"]).await
    }

    /// All branches and tags, in a place of their own: Git fetches nothing into a branch that is checked out.
    async fn everything(&self) -> Result<(), RunError> {
        let mut words = vec!["fetch", "--quiet", "--prune", "--no-tags"];
        // an earlier fetch of one commit has left out what it follows
        if self.host.exists(&self.base.join("repository/shallow")).await {
            words.push("--unshallow");
        }
        words.extend(["--", self.address.url.as_str()]);
        words.extend(["+refs/heads/*:refs/fetched/heads/*", "+refs/tags/*:refs/fetched/tags/*"]);
        self.git(&words).await
    }

    /// Its own files lie beside the tree, as they are no part of the context.
    async fn git(&self, args: &[&str]) -> Result<(), RunError> {
        let (own, tree) = (self.base.join("repository"), self.base.join("tree"));
        let places = [format!("--git-dir={}", own.display()), format!("--work-tree={}", tree.display())];
        let command = Command::new("git", places.iter().map(String::as_str).chain(args.iter().copied()))
            .cwd(tree)
            // there is nobody to answer
            .env("GIT_TERMINAL_PROMPT", "0")
            .settings(self.address.settings(self.host.env(COUNT).as_deref()))
            .timeout(self.limit);
        (self.progress)(Progress::Line { text: format!("git {}", args.join(" ")) });
        let heard = |line: &str| {
            (self.progress)(Progress::Line { text: format!("git: {}", self.address.unnamed(line)) });
        };
        match self.host.run_watched(&command, &heard).await {
            Ok(_) => Ok(()),
            Err(RunError::Failed { command, status, output }) => {
                Err(RunError::Failed { command, status, output: self.address.unnamed(&output) })
            }
            Err(error) => Err(error),
        }
    }
}

/// How many settings Git gets by way of the environment.
const COUNT: &str = "GIT_CONFIG_COUNT";
/// What the helper hands to Git.
const PASSWORD: &str = "GIT_CONTEXT_PASSWORD";
/// Run by the shell, with what Git wants as its first argument.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'password=%s\n' "$GIT_CONTEXT_PASSWORD"; }; f"#;

/// Where a repository is, without who asks for it: arguments of programs are for everybody to see, and what is run is
/// shown.
struct Address {
    url: String,
    login: Option<Login>,
}

struct Login {
    /// `https://host`
    place: String,
    name: String,
    password: Option<String>,
    /// How Git may show it, as in a URL.
    shown: Vec<String>,
}

impl Address {
    fn of(url: &str) -> Self {
        Self::apart(url).unwrap_or_else(|| Self { url: url.to_owned(), login: None })
    }

    /// `None`: nobody is named, or it is no address of HTTP. The name in one of SSH is that of an account.
    fn apart(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme))?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, String::new()),
        };
        let (who, host) = authority.rsplit_once('@')?;
        let (name, password) = match who.split_once(':') {
            Some((name, password)) => (name, Some(password)),
            None => (who, None),
        };
        let place = format!("{scheme}://{host}");
        let login = Login {
            place: place.clone(),
            name: decoded(name),
            password: password.map(decoded),
            shown: [who, name].iter().map(|word| format!("//{word}@")).collect(),
        };
        Some(Self { url: format!("{place}{path}"), login: Some(login) })
    }

    /// Git's variables that say who asks. `given`: how many settings the environment has already.
    fn settings(&self, given: Option<&str>) -> BTreeMap<String, String> {
        let Some(login) = &self.login else { return BTreeMap::new() };
        let key = |what: &str| format!("credential.{}.{what}", login.place);
        let mut pairs = vec![(key("username"), login.name.clone())];
        let mut all = BTreeMap::new();
        if let Some(password) = &login.password {
            // an empty one takes away those that the user has: the address says more
            pairs.extend([(key("helper"), String::new()), (key("helper"), HELPER.to_owned())]);
            all.insert(PASSWORD.to_owned(), password.clone());
        }
        let given = given.and_then(|given| given.parse().ok()).unwrap_or(0_usize);
        all.insert(COUNT.to_owned(), (given + pairs.len()).to_string());
        for (number, (key, value)) in (given..).zip(pairs) {
            all.insert(format!("GIT_CONFIG_KEY_{number}"), key);
            all.insert(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        all
    }

    /// What Git says, without who asks.
    fn unnamed(&self, text: &str) -> String {
        let shown = self.login.iter().flat_map(|login| &login.shown);
        shown.fold(text.to_owned(), |text, shown| text.replace(shown, "//"))
    }
}

/// Percent-encoding undone.
fn decoded(part: &str) -> String {
    // what means something in a form alone stands for itself
    let form = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(form.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

fn is_commit(reference: &str) -> bool {
    (7..=64).contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::host::local::LocalHost;

    #[test]
    fn who_asks_is_in_no_argument() {
        for (url, clean, name, password) in [
            ("https://x:to%40ken+1@h.example:8443/a/b.git", "https://h.example:8443/a/b.git", "x", Some("to@ken+1")),
            ("https://token@h/a.git", "https://h/a.git", "token", None),
            ("http://me:@h", "http://h", "me", Some("")),
        ] {
            let address = Address::of(url);
            assert_eq!(address.url, clean);
            let login = address.login.unwrap();
            assert_eq!((login.name.as_str(), login.password.as_deref()), (name, password), "{url}");
        }
        for url in ["https://h/a@b.git", "git@h:a/b.git", "ssh://git@h/a/b", "git://h/b"] {
            let address = Address::of(url);
            assert!(address.url == url && address.settings(Some("3")).is_empty(), "{url}");
        }
        let address = Address::of("https://x:sesame@h/a.git");
        let said =
            "fatal: could not read Password for 'https://x@h'\nfatal: unable to access 'https://x:sesame@h/a.git/'";
        assert_eq!(
            address.unnamed(said),
            "fatal: could not read Password for 'https://h'\nfatal: unable to access 'https://h/a.git/'"
        );
        // settings that the environment has stay
        let settings = address.settings(Some("2"));
        assert_eq!(settings["GIT_CONFIG_COUNT"], "5");
        assert_eq!(settings["GIT_CONFIG_KEY_2"], "credential.https://h.username");
        assert!(!settings.contains_key("GIT_CONFIG_KEY_1") && settings.contains_key("GIT_CONFIG_VALUE_4"));
    }

    /// A machine whose user has no settings for Git; `None`: it has no Git.
    fn host_in(folder: &Path) -> Option<LocalHost> {
        let words = [("HOME", folder.display().to_string()), ("GIT_CONFIG_NOSYSTEM", "1".to_owned())];
        let host = LocalHost::with(words.map(|(name, value)| (name.to_owned(), value)).into(), None);
        if host.which("git").is_none() {
            crate::require::skipped("git", "this machine has no git");
            return None;
        }
        Some(host)
    }

    /// What Git would tell the server of `h.example:8443`.
    async fn filled(host: &LocalHost, url: &str) -> Result<String, RunError> {
        let command = Command::new("git", ["credential", "fill"])
            .env("GIT_TERMINAL_PROMPT", "0")
            .settings(Address::of(url).settings(None))
            .stdin("protocol=https\nhost=h.example:8443\n\n");
        assert!(!command.to_string().contains("sesame"), "{command}");
        host.run(&command).await.map(|output| output.stdout())
    }

    #[tokio::test]
    async fn git_gets_the_password_from_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let Some(host) = host_in(folder.path()) else { return };
        let said = filled(&host, "https://x:sesame%20%25%24HOME@h.example:8443/a.git").await.unwrap();
        assert!(said.contains("username=x\n") && said.contains("password=sesame %$HOME\n"), "{said}");
        assert!(filled(&host, "https://x:sesame@other.example/a.git").await.is_err(), "for its own place alone");
    }

    /// What is run, and how it ends.
    async fn git(host: &LocalHost, folder: &Path, line: &str) -> String {
        let who = ["-c", "user.name=me", "-c", "user.email=me@h.example", "-c", "init.defaultBranch=main"];
        let command = Command::new("git", who.into_iter().chain(line.split(' '))).cwd(folder);
        host.run(&command).await.unwrap().stdout().trim().to_owned()
    }

    #[tokio::test]
    async fn a_repository_is_fetched_at_a_branch_a_commit_and_the_beginning_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let Some(host) = host_in(folder.path()) else { return };
        let there = folder.path().join("there");
        std::fs::create_dir(&there).unwrap();
        git(&host, &there, "init --quiet").await;
        let mut commits = Vec::new();
        for content in ["1", "2", "3"] {
            std::fs::write(there.join("Dockerfile"), content).unwrap();
            git(&host, &there, "add Dockerfile").await;
            git(&host, &there, "commit --quiet --message x").await;
            commits.push(git(&host, &there, "rev-parse HEAD").await);
        }
        let told = Mutex::new(Vec::new());
        let progress = |progress: Progress| told.lock().unwrap().push(format!("{progress:?}"));
        let base = folder.path().join("cache");
        std::fs::create_dir_all(base.join("tree")).unwrap();
        let url = format!("file://{}", there.display());
        let repository = Repository {
            host: &host,
            base: base.clone(),
            address: Address::of(&url),
            limit: Duration::from_secs(60),
            progress: &progress,
        };
        let short = commits[0].get(..9).unwrap();
        // the second look at a clone finds one that lacks what lies behind its commit
        for (reference, content) in
            [(None, "3"), (Some(short), "1"), (Some("main"), "3"), (Some(commits[1].as_str()), "2"), (Some(short), "1")]
        {
            std::fs::write(base.join("tree/left"), "of the build before").unwrap();
            let wanted = GitContext { url: url.clone(), reference: reference.map(str::to_owned), folder: None };
            repository.fetch(&wanted).await.unwrap_or_else(|error| panic!("{reference:?}: {error}"));
            assert_eq!(std::fs::read_to_string(base.join("tree/Dockerfile")).unwrap(), content, "{reference:?}");
            assert!(!base.join("tree/left").exists());
        }
        let missing = GitContext { url, reference: Some("nowhere".into()), folder: None };
        assert!(matches!(repository.fetch(&missing).await, Err(RunError::Failed { .. })));
        assert!(told.lock().unwrap().iter().any(|line| line.contains("git fetch")), "{told:?}");
    }

    #[tokio::test]
    async fn a_link_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let host = LocalHost::with(BTreeMap::new(), Some(folder.path().to_owned()));
        let tree = folder.path().join("tree");
        std::fs::create_dir_all(tree.join("app")).unwrap();
        std::fs::write(folder.path().join("secret"), "x").unwrap();
        std::fs::write(tree.join("app/Dockerfile"), "FROM x\n").unwrap();
        for (name, to) in [("out", "../.."), ("in", "app"), ("file", "/etc/passwd")] {
            std::os::unix::fs::symlink(to, tree.join(name)).unwrap();
        }
        let tree = host.resolved(&tree).await;
        for (path, inside) in [
            ("app", true),
            ("in", true),
            ("in/Dockerfile", true),
            ("nowhere", true),
            ("out", false),
            ("file", false),
            ("app/../../secret", false),
        ] {
            let judged = stays_inside(&host, &tree, &tree.join(path)).await;
            assert_eq!(judged.is_ok(), inside, "{path}");
        }
        let error = stays_inside(&host, &tree, &tree.join("out")).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{}: it leads out of the repository", tree.join("out").display()));
        assert!(names_a_place(Some("/home/me/Dockerfile")) && !names_a_place(Some("sub/Dockerfile")));
    }
}
