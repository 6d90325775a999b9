//! What the last `up` was told beside the files: it holds for the other commands of the platform until the
//! next `up` says otherwise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Files, Loaded, Request, Scale, config_file, project_compose_file};
use crate::model::{ImagePolicy, Moves, Origin};
use crate::words;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choices {
    /// The folder that `up` was run in.
    pub folder: Option<PathBuf>,
    /// The macula.yaml that was read.
    pub file: Option<PathBuf>,
    /// The project's Compose file that was found.
    pub project: Option<PathBuf>,
    /// `--stack`, absolute.
    pub stacks: Vec<PathBuf>,
    /// `--profile`
    pub profiles: Vec<String>,
    /// Compose profiles of services that were named.
    pub profiles_of_named: Vec<String>,
    /// `--images`
    pub images: Option<ImagePolicy>,
    /// `--no-cluster`
    pub no_cluster: bool,
    /// `--no-discover`
    pub no_discover: bool,
    /// `--remap`
    pub remap: bool,
    /// `--scale`, by service.
    pub scale: BTreeMap<String, u32>,
    /// Of those services that belong to one project alone, the file that brings them in: its Compose file, or the
    /// macula.yaml that lists them.
    pub scale_files: BTreeMap<String, PathBuf>,
    /// `--scale` of the other projects on the platform, by that file.
    pub scale_elsewhere: BTreeMap<PathBuf, BTreeMap<String, u32>>,
    /// Published ports that somebody else had, and where they went.
    pub moves: Moves,
    /// Optional services whose image every source refused. They are not tried again until somebody asks for it.
    pub refused: BTreeMap<String, Refused>,
    /// Optional services that were left out since no registry of their image answered. Where a proxy is set, no
    /// registry can be asked: then they stay left out until somebody asks for them.
    pub out_of_reach: BTreeMap<String, Refused>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Another image is tried.
    pub image: String,
    pub reason: String,
    /// Its registries, where none of them could be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// What came of putting the command line and the last `up` together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// What is in force now: the next `up` keeps it.
    pub choices: Choices,
    /// In words, what the command line did not say and the last `up` did.
    pub from_last: Vec<String>,
    /// Stacks of the last `up` that are not there any more.
    pub gone: Vec<PathBuf>,
    /// The command line would have left out the project that the last `up` took in.
    pub project_stays: bool,
}

impl Choices {
    /// [`Choices::apply`] for a command that joins the platform as the last `up` made it: what its command line says comes
    /// on top, so that nothing which runs loses its route, and the choices stay as they were.
    pub fn join(self, request: &mut Request, files: &dyn Files) -> Applied {
        if self.folder.is_none() {
            return self.apply(request, files);
        }
        let project_stays = !request.discover && self.project.is_some();
        request.discover |= project_stays;
        if !request.stacks.is_empty() {
            let own: Vec<PathBuf> = request.stacks.iter().map(|path| request.cwd.join(path)).collect();
            let there = self.stacks.iter().filter(|path| is_there(files, path)).cloned();
            request.stacks = words::unique(there.chain(own));
        }
        if !request.profiles.iter().all(String::is_empty) {
            let kept = self.profiles.iter().filter(|name| !request.profiles.contains(name));
            request.kept_profiles = kept.cloned().collect();
            request.profiles = words::unique(self.profiles.iter().chain(&request.profiles).cloned());
        }
        Applied { choices: self.clone(), project_stays, ..self.apply(request, files) }
    }

    /// Puts into a request what the command line did not say.
    pub fn apply(mut self, request: &mut Request, files: &dyn Files) -> Applied {
        let mut applied = Applied::default();
        let here = || ["macula.yaml", "macula.yml"].iter().any(|name| files.exists(&request.cwd.join(name)));
        if request.file.is_none() && !here() {
            let asked = &*request;
            let last = self.file.clone().filter(|file| files.exists(file) && !self.is_of_another(file, asked, files));
            // the one in the configuration folder counts everywhere
            let is_told = |file: &&PathBuf| {
                let folder = file.parent();
                folder != asked.config_folder.as_deref() && folder.is_some_and(|folder| !asked.cwd.starts_with(folder))
            };
            let told = last.as_ref().filter(is_told);
            applied.from_last.extend(told.map(|file| format!("file {}", file.display())));
            request.file = last;
        }
        self.part_numbers(request, files);
        request.project = self.project;
        if request.stacks.is_empty() {
            let (there, gone): (Vec<PathBuf>, Vec<PathBuf>) =
                self.stacks.into_iter().partition(|path| is_there(files, path));
            applied.from_last.extend(there.iter().map(|path| format!("stack {}", path.display())));
            (request.stacks, applied.gone) = (there, gone);
        }
        if request.profiles.iter().all(String::is_empty) {
            applied.from_last.extend(self.profiles.iter().map(|profile| format!("profile {profile}")));
            request.kept_profiles.clone_from(&self.profiles);
            request.profiles = self.profiles;
            applied.from_last.extend(self.profiles_of_named.iter().map(|profile| format!("profile {profile}")));
            request.profiles_of_named = self.profiles_of_named;
        }
        if request.images.is_none() {
            applied.from_last.extend(self.images.map(|policy| format!("images {}", word(policy))));
            request.images = self.images;
        }
        if self.no_cluster {
            applied.from_last.push("no cluster".to_owned());
        }
        if self.no_discover && request.discover {
            applied.from_last.push("not the project's Compose file".to_owned());
            request.discover = false;
        }
        if self.remap && !request.remap {
            applied.from_last.push("ports that are taken move".to_owned());
            request.remap = true;
        }
        let mut scale = self.scale;
        for (service, said) in &request.scale {
            match said {
                Scale::Asked(count) | Scale::Kept(count) => scale.insert(service.clone(), *count),
                Scale::Back => scale.remove(service),
            };
        }
        for (service, count) in &scale {
            if !request.scale.contains_key(service) {
                applied.from_last.push(format!("scale {service}={count}"));
                request.scale.insert(service.clone(), Scale::Kept(*count));
            }
        }
        request.moves = self.moves;
        applied.choices = Self {
            folder: Some(request.cwd.clone()),
            file: request.file.as_ref().map(|file| request.cwd.join(file)),
            project: None,
            stacks: request.stacks.iter().map(|path| request.cwd.join(path)).collect(),
            profiles: request.profiles.iter().filter(|profile| !profile.is_empty()).cloned().collect(),
            profiles_of_named: request.profiles_of_named.clone(),
            images: request.images,
            no_cluster: self.no_cluster,
            no_discover: !request.discover,
            remap: request.remap,
            scale,
            scale_files: self.scale_files,
            scale_elsewhere: self.scale_elsewhere,
            moves: request.moves.clone(),
            refused: self.refused,
            out_of_reach: self.out_of_reach,
        };
        applied
    }
}

impl Choices {
    /// This macula.yaml is not that of the project in whose folder the command is run: it lies elsewhere, and the last
    /// `up` was run in another project.
    fn is_of_another(&self, file: &Path, request: &Request, files: &dyn Files) -> bool {
        let project = |folder: &Path| {
            let there = Request { cwd: folder.to_owned(), env: request.env.clone(), ..Request::default() };
            project_compose_file(&there, files)
        };
        let is_near = file.parent().is_some_and(|folder| request.cwd.starts_with(folder));
        if is_near || self.no_discover || !request.discover {
            return false;
        }
        let (Some(own), Some(last)) = (project(&request.cwd), self.folder.as_deref()) else { return false };
        if let Some(other) = project(last) {
            return own != other;
        }
        // where that folder has no project, a file that was found by itself is what it has instead of one; a file
        // that was named holds for whoever has none
        let general = request.config_folder.as_deref();
        let has_own = || config_file(request, files).ok().flatten().is_some_and(|found| found.parent() != general);
        file.parent().is_none_or(|place| last.starts_with(place) || Some(place) == general) || has_own()
    }

    /// Numbers of containers hold in the project that they were said in: those of another one are set aside, and those
    /// of this one count again.
    fn part_numbers(&mut self, request: &Request, files: &dyn Files) {
        let discovers = request.discover && !self.no_discover;
        let project = || project_compose_file(request, files).or_else(|| self.project.clone());
        let settings = config_file(request, files).ok().flatten();
        let own: Vec<PathBuf> = settings.into_iter().chain(discovers.then(project).flatten()).collect();
        let (here, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.scale_files).into_iter().partition(|(_, file)| own.contains(file));
        self.scale_files = here;
        for (service, file) in others {
            if let Some(count) = self.scale.remove(&service) {
                self.scale_elsewhere.entry(file).or_default().insert(service, count);
            }
        }
        for file in own {
            for (service, count) in self.scale_elsewhere.remove(&file).unwrap_or_default() {
                self.scale_files.insert(service.clone(), file.clone());
                self.scale.insert(service, count);
            }
        }
    }

    /// With what is known only now that the files are read.
    pub fn read_from(mut self, loaded: &Loaded) -> Self {
        let file_of = |service: &String| {
            // it may wait for a profile
            let Some((stack, _)) = loaded.platform.service(service) else {
                return self.scale_files.get(service).cloned();
            };
            let Origin::File(path) = &stack.origin else { return None };
            if let Some(project) = loaded.discovered.as_ref().filter(|project| project.parent() == path.parent()) {
                return Some(project.clone());
            }
            // `--stack` holds for every project
            let is_for_all = self.stacks.iter().any(|given| path.starts_with(given));
            loaded.config_file.clone().filter(|_| !is_for_all)
        };
        let files = self.scale.keys().filter_map(|service| Some((service.clone(), file_of(service)?))).collect();
        self.scale_files = files;
        (self.file, self.project) = (loaded.config_file.clone(), loaded.discovered.clone());
        self
    }
}

/// A Compose file, or the folder of one.
fn is_there(files: &dyn Files, path: &Path) -> bool {
    files.exists(path) || files.is_folder(path)
}

fn word(policy: ImagePolicy) -> &'static str {
    match policy {
        ImagePolicy::Auto => "auto",
        ImagePolicy::Pull => "pull",
        ImagePolicy::Build => "build",
        ImagePolicy::Local => "local",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, load};

    fn last() -> Choices {
        Choices {
            stacks: vec!["/p/a".into(), "/gone/b.yaml".into()],
            profiles: vec!["core".into()],
            images: Some(ImagePolicy::Local),
            file: Some("/p/macula.yaml".into()),
            ..Choices::default()
        }
    }

    fn files() -> MemoryFiles {
        MemoryFiles::default().with("/p/a/compose.yaml", "").with("/p/macula.yaml", "")
    }

    #[test]
    fn what_nobody_says_is_as_the_last_up_had_it() {
        let mut request = Request { cwd: "/elsewhere".into(), ..Request::default() };
        let applied = last().apply(&mut request, &files());
        assert_eq!(applied.from_last, ["file /p/macula.yaml", "stack /p/a", "profile core", "images local"]);
        assert_eq!(applied.gone, [PathBuf::from("/gone/b.yaml")]);
        assert_eq!(request.file.as_deref(), Some(Path::new("/p/macula.yaml")));
        assert_eq!((&request.profiles, &request.kept_profiles), (&vec!["core".to_owned()], &vec!["core".to_owned()]));
        assert_eq!(request.stacks, [PathBuf::from("/p/a")]);
        assert_eq!(request.images, Some(ImagePolicy::Local));
    }

    #[test]
    fn a_macula_yaml_is_not_taken_to_another_project() {
        let files = files()
            .with("/p/compose.yaml", "")
            .with("/q/compose.yaml", "")
            .with("/ci/macula.yaml", "")
            .with("/s/macula.yaml", "")
            .with("/r/notes", "");
        let taken = |file: &str, folder: &str, cwd: &str| {
            let last = Choices { file: Some(file.into()), folder: Some(folder.into()), ..Choices::default() };
            let mut request = Request { cwd: cwd.into(), discover: true, ..Request::default() };
            let from_last = last.apply(&mut request, &files).from_last;
            (request.file.is_some(), !from_last.is_empty())
        };
        let rows = [
            ("/p/macula.yaml", "/p", "/q", (false, false)),
            ("/p/macula.yaml", "/p", "/p/src", (true, false)),
            ("/p/macula.yaml", "/p", "/r", (true, true)),
            // one that was named, for the project in the folder
            ("/ci/macula.yaml", "/q", "/q", (true, true)),
            ("/ci/macula.yaml", "/q", "/p/a", (false, false)),
            // the same where the last folder had no project; one that was found there is that folder's
            ("/ci/macula.yaml", "/r", "/q", (true, true)),
            ("/s/macula.yaml", "/s", "/q", (false, false)),
        ];
        for (file, folder, cwd, expected) in rows {
            assert_eq!(taken(file, folder, cwd), expected, "{file} of {folder} in {cwd}");
        }
    }

    #[test]
    fn the_command_line_stands_above_it_kind_by_kind() {
        let mut request = Request {
            cwd: "/p".into(),
            stacks: vec!["a".into()],
            profiles: vec!["debug".into()],
            ..Request::default()
        };
        let applied = last().apply(&mut request, &files());
        assert_eq!(applied.from_last, ["images local"]);
        assert_eq!((applied.choices.stacks, applied.choices.profiles), (vec!["/p/a".into()], vec!["debug".to_owned()]));
        assert_eq!(request.kept_profiles, [""; 0]);
        assert_eq!(request.file, None, "the folder has a macula.yaml of its own");
    }

    #[test]
    fn what_joins_takes_nothing_away_and_keeps_no_choice() {
        let up = Choices { folder: Some("/p".into()), project: Some("/p/compose.yaml".into()), ..last() };
        let mut request = Request {
            cwd: "/elsewhere".into(),
            stacks: vec!["/p/a".into(), "c".into()],
            profiles: vec!["debug".into(), "core".into()],
            discover: false,
            ..Request::default()
        };
        let applied = up.clone().join(&mut request, &files());
        assert_eq!(request.stacks, [PathBuf::from("/p/a"), "/elsewhere/c".into()]);
        assert_eq!(request.profiles, ["core", "debug"]);
        assert_eq!(request.kept_profiles, [""; 0], "both were said");
        assert!(request.discover && applied.project_stays);
        assert_eq!(applied.choices, up);
        // nothing was up before
        let mut first = Request { cwd: "/p".into(), profiles: vec!["debug".into()], ..Request::default() };
        let applied = Choices::default().join(&mut first, &files());
        assert!(!first.discover && !applied.project_stays && applied.choices.no_discover);
        assert_eq!(applied.choices.profiles, ["debug"]);
    }

    #[test]
    fn ports_that_have_moved_stay_where_they_are() {
        let moves: Moves =
            [("web".to_owned(), crate::model::Move { address: [127, 0, 0, 20].into(), ports: [(8080, 8080)].into() })]
                .into();
        let last = Choices { remap: true, moves: moves.clone(), ..Choices::default() };
        let mut request = Request { cwd: "/p".into(), ..Request::default() };
        let applied = last.apply(&mut request, &files());
        assert_eq!(applied.from_last, ["ports that are taken move"]);
        assert!(request.remap && applied.choices.remap);
        assert_eq!((&request.moves, &applied.choices.moves), (&moves, &moves));
        // said again, it is nothing that the last `up` is needed for
        let mut again = Request { cwd: "/p".into(), remap: true, ..Request::default() };
        assert!(applied.choices.apply(&mut again, &files()).from_last.is_empty());
    }

    #[test]
    fn numbers_of_containers_are_kept_service_by_service() {
        let request = |scale: &[(&str, Scale)]| Request {
            cwd: "/p".into(),
            scale: scale.iter().map(|(name, scale)| ((*name).to_owned(), *scale)).collect(),
            ..Request::default()
        };
        let mut first = request(&[("web", Scale::Asked(3)), ("db", Scale::Asked(2))]);
        let applied = Choices::default().apply(&mut first, &files());
        assert_eq!(applied.from_last, [""; 0]);
        let mut later = request(&[("db", Scale::Back), ("api", Scale::Asked(0))]);
        let applied = applied.choices.apply(&mut later, &files());
        assert_eq!(applied.from_last, ["scale web=3"]);
        let last = request(&[("api", Scale::Asked(0)), ("db", Scale::Back), ("web", Scale::Kept(3))]);
        assert_eq!(later.scale, last.scale);
        assert_eq!(applied.choices.scale, BTreeMap::from([("api".to_owned(), 0), ("web".to_owned(), 3)]));
    }

    #[test]
    fn numbers_of_containers_stay_in_their_project() {
        let project = |image: &str| format!("services: {{web: {{image: {image}}}}}");
        let files = MemoryFiles::default()
            .with("/p/compose.yaml", project("p"))
            .with("/q/compose.yaml", project("q"))
            .with("/common/compose.yaml", "services: {api: {image: a}}")
            .with("/r/notes", "");
        let up = |last: Choices, cwd: &str, scale: &[(&str, Scale)]| {
            let scale = scale.iter().map(|(name, scale)| ((*name).to_owned(), *scale)).collect();
            let stacks = vec!["/common".into()];
            let mut request =
                Request { cwd: cwd.into(), discover: true, only_own: true, scale, stacks, ..Request::default() };
            let applied = last.apply(&mut request, &files);
            let loaded = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
            let number = |name: &str| loaded.platform.service(name).map(|(_, service)| service.replicas);
            let numbers = (number("web"), number("api"));
            (applied.choices.read_from(&loaded), applied.from_last.join(", "), numbers)
        };
        let first = [("web", Scale::Asked(3)), ("api", Scale::Asked(2))];
        let (last, _, numbers) = up(Choices::default(), "/p", &first);
        assert_eq!(numbers, (Some(3), Some(2)));
        let (last, told, numbers) = up(last, "/q", &[]);
        assert_eq!((told.as_str(), numbers), ("scale api=2", (Some(1), Some(2))), "the stack is that of both");
        // both have one of their own
        let (last, _, numbers) = up(last, "/q", &[("web", Scale::Asked(5))]);
        assert_eq!(numbers, (Some(5), Some(2)));
        let (last, told, numbers) = up(last, "/p", &[]);
        assert_eq!((told.as_str(), numbers), ("scale api=2, scale web=3", (Some(3), Some(2))));
        // a folder without a project has the last one's
        let (last, _, numbers) = up(last, "/r", &[("web", Scale::Back)]);
        assert_eq!(numbers, (Some(1), Some(2)));
        let (last, _, numbers) = up(last, "/p", &[]);
        assert_eq!(numbers, (Some(1), Some(2)));
        assert_eq!(up(last, "/q", &[]).2, (Some(5), Some(2)));
    }

    #[test]
    fn all_of_it_is_told_and_kept() {
        let refused = |image: &str| Refused { image: image.into(), reason: "denied".into(), hosts: Vec::new() };
        let up = Choices {
            folder: Some("/p".into()),
            project: Some("/p/compose.yaml".into()),
            profiles_of_named: vec!["debug".into()],
            no_cluster: true,
            no_discover: true,
            remap: true,
            scale: [("web".to_owned(), 3)].into(),
            refused: [("chart".to_owned(), refused("chart:1"))].into(),
            out_of_reach: [("mail".to_owned(), refused("mail:1"))].into(),
            ..last()
        };
        // an empty profile is none
        let mut request =
            Request { cwd: "/elsewhere".into(), discover: true, profiles: vec![String::new()], ..Request::default() };
        let applied = up.clone().apply(&mut request, &files());
        let from_last = [
            "file /p/macula.yaml",
            "stack /p/a",
            "profile core",
            "profile debug",
            "images local",
            "no cluster",
            "not the project's Compose file",
            "ports that are taken move",
            "scale web=3",
        ];
        assert_eq!(applied.from_last, from_last);
        assert_eq!(request.project.as_deref(), Some(Path::new("/p/compose.yaml")));
        assert_eq!(request.profiles_of_named, ["debug"]);
        let kept = Choices { folder: Some("/elsewhere".into()), project: None, stacks: vec!["/p/a".into()], ..up };
        assert_eq!(applied.choices, kept);
        assert_eq!((applied.gone, applied.project_stays), (vec![PathBuf::from("/gone/b.yaml")], false));
        // a profile that is said stands in the place of all of them
        let mut one = Request { cwd: "/p".into(), profiles: vec!["a".into(), String::new()], ..Request::default() };
        let applied = kept.apply(&mut one, &files());
        assert_eq!((applied.choices.profiles, applied.choices.profiles_of_named), (vec!["a".to_owned()], Vec::new()));
        let words = [ImagePolicy::Auto, ImagePolicy::Pull, ImagePolicy::Build, ImagePolicy::Local].map(word);
        assert_eq!(words, ["auto", "pull", "build", "local"]);
    }

    #[test]
    fn a_project_that_was_left_out_stays_out() {
        let first = || Request { cwd: "/p".into(), discover: true, ..Request::default() };
        let mut without = Request { discover: false, ..first() };
        let applied = Choices::default().apply(&mut without, &files());
        assert!(applied.choices.no_discover && applied.from_last.is_empty());
        let mut later = first();
        let applied = applied.choices.apply(&mut later, &files());
        assert!(!later.discover && applied.choices.no_discover);
        assert_eq!(applied.from_last, ["not the project's Compose file"]);
        let mut reset = first();
        assert!(!Choices::default().apply(&mut reset, &files()).choices.no_discover && reset.discover);
    }
}
