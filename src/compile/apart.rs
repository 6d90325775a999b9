//! Volumes of projects that take turns on a platform: what another project has written under the same key stays its own.

use std::path::{Path, PathBuf};

use crate::model::{Observed, Origin, Platform, Stack, label};

/// A volume that does not have the name of its key alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apart {
    pub stack: String,
    pub key: String,
    /// Its name in the engine.
    pub own: String,
    /// Who has the other name; `None`: the stack has had this one before.
    pub other: Option<Other>,
}

/// A project that has written under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    pub volume: String,
    pub project: String,
    /// Of one of the user's.
    pub file: Option<PathBuf>,
}

impl Apart {
    /// What is said when it is made.
    pub fn note(&self) -> Option<String> {
        let Self { stack, key, own, other } = self;
        let Other { volume, project, file } = other.as_ref()?;
        let folder = file.as_deref().and_then(Path::parent);
        let folder = folder.map(|folder| format!(" in {}", folder.display())).unwrap_or_default();
        Some(format!(
            "{volume} has the data of the project {project}{folder}: {key} of {stack} is {own} (to share it: `volumes: {{{key}: \
             {{name: {volume}}}}}`)"
        ))
    }
}

/// The names of volumes that keep a stack's data apart from what is there already. Stacks that are loaded together share
/// a key, and so does a stack with one of the same folder: it was renamed. Nothing is known of a volume that bears no
/// file and whose stack has no container: it stays whose it was. [`rename`] makes it so.
///
/// A volume that a stack has had stays its own, whoever has come or gone meanwhile.
///
/// `written`: where what is built in is written for `docker compose`.
pub fn kept_apart(platform: &Platform, observed: &Observed, written: &Path) -> Vec<Apart> {
    let seen = Seen { platform, observed, written };
    let mut all = Vec::new();
    for stack in &platform.stacks {
        for key in stack.volumes.keys().filter(|key| has_no_name(platform, stack, key)) {
            let apart = match is_users(stack) {
                true => seen.of_a_project(stack, key),
                false => seen.of_ours(stack, key),
            };
            let new = |(own, other)| Apart { stack: stack.name.clone(), key: key.clone(), own, other };
            all.extend(apart.map(new));
        }
    }
    all
}

/// Its file gives the volume none, and it may have either.
fn has_no_name(platform: &Platform, stack: &Stack, key: &str) -> bool {
    let own = platform.name.stack_volume(&stack.name, key);
    stack.volumes.get(key).is_some_and(|volume| {
        !volume.external && volume.copy.is_none() && volume.name.as_ref().is_none_or(|name| *name == own)
    })
}

/// The volumes that there are, and whose.
struct Seen<'a> {
    platform: &'a Platform,
    observed: &'a Observed,
    written: &'a Path,
}

impl Seen<'_> {
    fn of_a_project(&self, stack: &Stack, key: &str) -> Option<(String, Option<Other>)> {
        let plain = self.platform.name.volume(key);
        let owner = self.owner(&plain);
        if owner == Some(&stack.name) || self.mounts(stack, &plain) || self.is_shared(stack, &plain) {
            return None;
        }
        // those that are loaded together and share it
        let together: Vec<&Stack> = self.platform.stacks.iter().filter(|one| is_users(one)).collect();
        let together: Vec<&Stack> = together.into_iter().filter(|one| has_no_name(self.platform, one, key)).collect();
        let shared = together.iter().any(|one| owner == Some(&one.name));
        let sharers = if shared { vec![stack] } else { together };
        let own = |one: &Stack| self.platform.name.stack_volume(&one.name, key);
        let had = sharers.iter().find(|one| self.owner(&own(one)) == Some(&one.name));
        if let Some(had) = had.map(|one| own(one)).or_else(|| self.under_another_name(stack, key)) {
            return Some((had, None));
        }
        let owner = owner.filter(|owner| self.platform.stacks.iter().all(|one| one.name != **owner))?;
        let other = self.other(&plain, owner);
        let file = other.file.as_ref()?;
        let is_another = !sharers.iter().any(|one| shares_folder(one, file));
        is_another.then(|| (own(sharers.first().unwrap_or(&stack)), Some(other)))
    }

    /// A server of ours comes after the user's data.
    fn of_ours(&self, stack: &Stack, key: &str) -> Option<(String, Option<Other>)> {
        let (plain, own) = (self.platform.name.volume(key), self.platform.name.stack_volume(&stack.name, key));
        let owner = self.owner(&plain).filter(|owner| **owner != stack.name);
        if self.owner(&own) == Some(&stack.name) {
            return Some((own, None));
        }
        let owner = owner?;
        let other = self.other(&plain, owner);
        let is_users =
            other.file.is_some() || self.platform.stacks.iter().any(|one| is_users(one) && one.name == *owner);
        // a project that has another by now has left it
        let left = self.owner(&self.platform.name.stack_volume(owner, key)) == Some(owner);
        (is_users && !left).then_some((own, Some(other)))
    }

    /// The stack that a volume of this platform was made for.
    fn owner(&self, volume: &str) -> Option<&String> {
        let labels = &self.observed.volume(volume)?.labels;
        let ours = labels.get(label::PLATFORM).map(String::as_str) == Some(self.platform.name.as_str());
        labels.get(label::STACK).filter(|_| ours)
    }

    /// One of its containers has it.
    fn mounts(&self, stack: &Stack, volume: &str) -> bool {
        self.observed.containers.iter().any(|found| {
            found.label(label::PLATFORM) == Some(self.platform.name.as_str())
                && found.label(label::STACK) == Some(stack.name.as_str())
                && found.writes.iter().chain(&found.reads).any(|name| name == volume)
        })
    }

    /// They were loaded together when it was made.
    fn is_shared(&self, stack: &Stack, volume: &str) -> bool {
        let sharers = self.observed.volume(volume).and_then(|found| found.labels.get(label::SHARED_BY));
        sharers.is_some_and(|sharers| sharers.split(',').any(|sharer| sharer == stack.name))
    }

    /// What a stack of the same folder had, which is not loaded: it was renamed. The same of one that it was loaded with.
    fn under_another_name(&self, stack: &Stack, key: &str) -> Option<String> {
        let found = self.observed.volumes.iter().find(|found| {
            let Some(before) = self.owner(&found.name) else { return false };
            found.name == self.platform.name.stack_volume(before, key)
                && self.platform.stacks.iter().all(|one| one.name != *before)
                && (self.is_shared(stack, &found.name)
                    || found.labels.get(label::CONFIG_FILES).is_some_and(|file| shares_folder(stack, Path::new(file))))
        });
        found.map(|found| found.name.clone())
    }

    fn other(&self, volume: &str, project: &str) -> Other {
        let file =
            file_of(self.platform, self.observed, volume, project).filter(|file| !file.starts_with(self.written));
        Other { volume: volume.to_owned(), project: project.to_owned(), file }
    }
}

/// Gives the volumes their names; a user's volume that was there before one of ours has its key keeps the plain one.
pub fn rename(platform: &mut Platform, observed: &Observed, apart: &[Apart]) {
    let name = platform.name.clone();
    for stack in &mut platform.stacks {
        for (key, volume) in &mut stack.volumes {
            if let Some(one) = apart.iter().find(|one| one.stack == stack.name && one.key == *key) {
                volume.name = Some(one.own.clone());
                continue;
            }
            let (plain, own) = (name.volume(key), name.stack_volume(&stack.name, key));
            let labels = observed.volume(&plain).map(|found| &found.labels);
            let of = |label: &str| labels.and_then(|labels| labels.get(label)).map(String::as_str);
            let mine = of(label::PLATFORM) == Some(name.as_str()) && of(label::STACK) == Some(stack.name.as_str());
            if mine && volume.name.as_ref() == Some(&own) && observed.volume(&own).is_none() {
                volume.name = None;
            }
        }
    }
}

fn is_users(stack: &Stack) -> bool {
    stack.origin != Origin::BuiltIn
}

fn shares_folder(stack: &Stack, file: &Path) -> bool {
    stack.origin.folder().is_some_and(|folder| Some(folder) == file.parent())
}

/// The file that a project comes from: by one of its containers, which is as young as the volume at least, or by the volume.
fn file_of(platform: &Platform, observed: &Observed, volume: &str, stack: &str) -> Option<PathBuf> {
    let ours = observed.containers.iter().filter(|found| found.label(label::PLATFORM) == Some(platform.name.as_str()));
    let mut of_stack = ours.filter(|found| found.label(label::STACK) == Some(stack));
    let by_container = of_stack.find_map(|found| found.labels.get(label::CONFIG_FILES));
    let by_volume = observed.volume(volume).and_then(|found| found.labels.get(label::CONFIG_FILES));
    by_container.or(by_volume).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::service_volumes;
    use crate::config::{MemoryFiles, Request, load};
    use crate::model::{ObservedContainer, ObservedVolume, Volume};

    const SHOP: &str = "/w/shop/compose.yaml";
    const WRITTEN: &str = "/data/macula/stacks";

    fn labels(stack: &str, file: Option<&str>) -> std::collections::BTreeMap<String, String> {
        let labels = [(label::PLATFORM, Some("macula")), (label::STACK, Some(stack)), (label::CONFIG_FILES, file)];
        labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
    }

    fn volume(name: &str, stack: &str, file: Option<&str>) -> ObservedVolume {
        ObservedVolume { name: name.into(), labels: labels(stack, file), ..ObservedVolume::default() }
    }

    fn observed(volumes: impl Into<Vec<ObservedVolume>>) -> Observed {
        Observed { volumes: volumes.into(), ..Observed::default() }
    }

    /// The project blog in /w/blog, whose `db` has the volume `data`.
    fn blog(stacks: &[&str]) -> Platform {
        let file = |service: &str| {
            format!("services: {{{service}: {{image: 'x:1', volumes: ['data:/data']}}}}\nvolumes: {{data: {{}}}}\n")
        };
        let files = MemoryFiles::default().with("/w/blog/compose.yaml", file("db")).with(SHOP, file("store"));
        let stacks = stacks.iter().map(|stack| format!("/w/{stack}").into()).collect();
        let request = Request { cwd: "/w".into(), stacks, ..Request::default() };
        load(&request, &files).unwrap_or_else(|errors| panic!("{errors}")).platform
    }

    /// The name in the engine of what `db` has.
    fn named(mut platform: Platform, observed: &Observed) -> String {
        let apart = kept_apart(&platform, observed, Path::new(WRITTEN));
        rename(&mut platform, observed, &apart);
        let (_, service) = platform.service("db").unwrap();
        service_volumes(&platform, service).concat()
    }

    #[test]
    fn a_project_has_its_own_data_whoever_was_there_before() {
        let own = "macula-blog-data";
        let shop = || volume("macula-data", "shop", Some(SHOP));
        let container = ObservedContainer { labels: labels("shop", Some(SHOP)), ..ObservedContainer::default() };
        let has_it = ObservedContainer {
            labels: labels("blog", None),
            writes: vec!["macula-data".into()],
            ..ObservedContainer::default()
        };
        let has_it = Observed { containers: vec![has_it], ..observed([shop()]) };
        let by_container = Observed { containers: vec![container], ..observed([volume("macula-data", "shop", None)]) };
        let shared = |name: &str, stack: &str, file: &str| {
            let mut made = volume(name, stack, Some(file));
            made.labels.insert(label::SHARED_BY.to_owned(), "wiki,blog".to_owned());
            made
        };
        for (seen, expected) in [
            (observed([]), "macula-data"),
            (observed([volume("macula-data", "blog", None)]), "macula-data"),
            (observed([shop()]), own),
            (by_container, own),
            // what it has had stays its own, whoever comes or goes
            (observed([shop(), volume(own, "blog", None)]), own),
            (observed([volume(own, "blog", None)]), own),
            // also where its folder has another name by now
            (
                observed([shop(), volume("macula-journal-data", "journal", Some("/w/blog/compose.yaml"))]),
                "macula-journal-data",
            ),
            // they were loaded together
            (has_it, "macula-data"),
            (observed([shared("macula-data", "shop", SHOP)]), "macula-data"),
            (observed([shared("macula-blogs-data", "blogs", "/w/blogs/compose.yaml"), shop()]), "macula-blogs-data"),
            // the same folder under another name
            (observed([volume("macula-data", "old", Some("/w/blog/app.yaml"))]), "macula-data"),
            // nobody knows where it comes from
            (observed([volume("macula-data", "old", None)]), "macula-data"),
            (observed([volume("macula-data", "old", Some("/data/macula/stacks/old.yaml"))]), "macula-data"),
            // another platform's is a conflict, which the plan tells
            (observed([ObservedVolume { name: "macula-data".into(), ..ObservedVolume::default() }]), "macula-data"),
        ] {
            assert_eq!(named(blog(&["blog"]), &seen), expected, "{:?}", seen.volumes);
        }
        assert_eq!(named(blog(&["blog", "shop"]), &observed([shop()])), "macula-data", "loaded together they share it");
        let third = observed([volume("macula-data", "wiki", Some("/w/wiki/compose.yaml"))]);
        let mut two = blog(&["blog", "shop"]);
        let apart = kept_apart(&two, &third, Path::new(WRITTEN));
        rename(&mut two, &third, &apart);
        let names = two.stacks.iter().filter_map(|stack| stack.volumes.get("data")?.name.clone());
        assert_eq!(names.collect::<Vec<_>>(), [own, own], "also apart from a third one");
        let apart = kept_apart(&blog(&["blog"]), &observed([shop()]), Path::new(WRITTEN));
        insta::assert_snapshot!(apart[0].note().unwrap(), @"macula-data has the data of the project shop in /w/shop: data of blog is macula-blog-data (to share it: `volumes: {data: {name: macula-data}}`)");
    }

    #[test]
    fn a_server_of_the_catalog_takes_nobodys_volume() {
        let with = |catalog: bool| {
            let mut platform = blog(&["blog"]);
            if catalog {
                let ours = platform.stacks.iter().find(|stack| !is_users(stack)).unwrap();
                let data = [("data".to_owned(), Volume::default())].into();
                let ours = Stack { name: "cache".into(), volumes: data, services: Default::default(), ..ours.clone() };
                platform.stacks.insert(0, ours);
                // as the scopes of stacks have it
                let blog = platform.stacks.last_mut().unwrap();
                blog.volumes.get_mut("data").unwrap().name = Some("macula-blog-data".into());
            }
            platform
        };
        let names = |mut platform: Platform, seen: &Observed| {
            let apart = kept_apart(&platform, seen, Path::new(WRITTEN));
            rename(&mut platform, seen, &apart);
            let name = |stack: &Stack| stack.volumes.get("data").map(|volume| volume.name.clone());
            platform.stacks.iter().filter_map(name).flatten().collect::<Vec<_>>()
        };
        assert_eq!(names(with(true), &observed([])), ["macula-blog-data"]);
        // it comes after the user's
        assert_eq!(names(with(true), &observed([volume("macula-data", "blog", None)])), ["macula-cache-data"]);
        // where each has its own already, each keeps it
        let both = [volume("macula-data", "blog", None), volume("macula-blog-data", "blog", None)];
        assert_eq!(names(with(true), &observed(both)), ["macula-blog-data"]);
        // and goes again
        let both = [volume("macula-data", "cache", None), volume("macula-blog-data", "blog", None)];
        assert_eq!(names(with(false), &observed(both)), ["macula-blog-data"]);
    }
}
