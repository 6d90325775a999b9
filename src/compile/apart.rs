//! Volumes of projects that take turns on a platform: what another project has written under the same key stays its own.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::{Observed, ObservedVolume, Origin, Platform, Stack, label};

/// A volume that a stack does not share although the key is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apart {
    pub stack: String,
    pub key: String,
    /// What another project has under the key.
    pub taken: String,
    pub by: String,
    /// The file of that project, where it is one of the user's.
    pub file: Option<PathBuf>,
    /// What the stack has in its place.
    pub own: String,
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stack, key, taken, by, file, own } = self;
        let folder = file.as_deref().and_then(Path::parent);
        let folder = folder.map(|folder| format!(" in {}", folder.display())).unwrap_or_default();
        write!(
            f,
            "{taken} has the data of the project {by}{folder}: {key} of {stack} is {own} (to share it: `volumes: {{{key}: \
             {{name: {taken}}}}}`)"
        )
    }
}

/// The names of volumes that keep a stack's data apart from what is there already. Stacks that are loaded together share
/// a key, and so does a stack with one of the same folder: it was renamed. Nothing is known of a volume that bears no
/// file and whose stack has no container: it stays whose it was. [`rename`] makes it so.
///
/// A volume that a stack has had by one of its two names stays with that name, whoever has come or gone meanwhile.
///
/// `written`: where what is built in is written for `docker compose`.
pub fn kept_apart(platform: &Platform, observed: &Observed, written: &Path) -> Vec<Apart> {
    let loaded: BTreeSet<&str> = platform.stacks.iter().map(|stack| stack.name.as_str()).collect();
    let users: BTreeSet<&str> =
        platform.stacks.iter().filter(|stack| is_users(stack)).map(|stack| stack.name.as_str()).collect();
    let of = |found: &ObservedVolume| {
        let ours = found.labels.get(label::PLATFORM).map(String::as_str) == Some(platform.name.as_str());
        found.labels.get(label::STACK).filter(|_| ours).cloned()
    };
    let owner = |name: &str| observed.volume(name).and_then(of);
    let mut all = Vec::new();
    for stack in &platform.stacks {
        for (key, volume) in &stack.volumes {
            let (plain, own) = (platform.name.volume(key), platform.name.stack_volume(&stack.name, key));
            if volume.external || volume.copy.is_some() || volume.name.as_ref().is_some_and(|name| *name != own) {
                continue;
            }
            let Some(by) = owner(&plain).filter(|by| *by != stack.name) else { continue };
            let file = file_of(platform, observed, &plain, &by).filter(|file| !file.starts_with(written));
            let had = owner(&own).as_deref() == Some(stack.name.as_str());
            let another = match is_users(stack) {
                // of the user's two, the one that is not at hand
                true => !loaded.contains(by.as_str()) && file.as_ref().is_some_and(|file| !shares_folder(stack, file)),
                // ours has come after the user's
                false => users.contains(by.as_str()) || file.is_some(),
            };
            if had || another {
                all.push(Apart { stack: stack.name.clone(), key: key.clone(), taken: plain, by, file, own });
            }
        }
    }
    all
}

/// Gives the volumes their names; a user's volume that was there before one of ours has its key keeps the plain one.
pub fn rename(platform: &mut Platform, observed: &Observed, apart: &[Apart]) {
    let name = platform.name.clone();
    for stack in &mut platform.stacks {
        for (key, volume) in &mut stack.volumes {
            let (plain, own) = (name.volume(key), name.stack_volume(&stack.name, key));
            if apart.iter().any(|one| one.stack == stack.name && one.key == *key) {
                volume.name = Some(own);
                continue;
            }
            let labels = observed.volume(&plain).map(|found| &found.labels);
            let of = |label: &str| labels.and_then(|labels| labels.get(label)).map(String::as_str);
            let mine = of(label::PLATFORM) == Some(name.as_str()) && of(label::STACK) == Some(stack.name.as_str());
            if mine && volume.name.as_ref() == Some(&own) {
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

/// The file that a project comes from, by its volume or by one of its containers.
fn file_of(platform: &Platform, observed: &Observed, volume: &str, stack: &str) -> Option<PathBuf> {
    let own = observed.volume(volume).and_then(|found| found.labels.get(label::CONFIG_FILES));
    let ours = observed.containers.iter().filter(|found| found.label(label::PLATFORM) == Some(platform.name.as_str()));
    let by_container = || {
        ours.filter(|found| found.label(label::STACK) == Some(stack))
            .find_map(|found| found.labels.get(label::CONFIG_FILES))
    };
    own.or_else(by_container).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::service_volumes;
    use crate::config::{MemoryFiles, Request, load};
    use crate::model::{ObservedContainer, Volume};

    const SHOP: &str = "/work/shop/compose.yaml";
    const WRITTEN: &str = "/data/macula/stacks";

    fn labels(stack: &str, file: Option<&str>) -> std::collections::BTreeMap<String, String> {
        let labels = [(label::PLATFORM, Some("macula")), (label::STACK, Some(stack)), (label::CONFIG_FILES, file)];
        labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
    }

    fn volume(name: &str, stack: &str, file: Option<&str>) -> ObservedVolume {
        ObservedVolume { name: name.into(), labels: labels(stack, file), made_at: None }
    }

    fn observed(volumes: impl Into<Vec<ObservedVolume>>) -> Observed {
        Observed { volumes: volumes.into(), ..Observed::default() }
    }

    /// The project blog in /work/blog, whose `db` has the volume `data`.
    fn blog(stacks: &[&str]) -> Platform {
        let file = |service: &str| {
            format!("services: {{{service}: {{image: 'x:1', volumes: ['data:/data']}}}}\nvolumes: {{data: {{}}}}\n")
        };
        let files = MemoryFiles::default().with("/work/blog/compose.yaml", file("db")).with(SHOP, file("store"));
        let stacks = stacks.iter().map(|stack| format!("/work/{stack}").into()).collect();
        let request = Request { cwd: "/work".into(), stacks, ..Request::default() };
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
        let by_container = Observed { containers: vec![container], ..observed([volume("macula-data", "shop", None)]) };
        for (seen, expected) in [
            (observed([]), "macula-data"),
            (observed([volume("macula-data", "blog", None)]), "macula-data"),
            (observed([shop()]), own),
            (by_container, own),
            // it was the first, and stays so when it is gone
            (observed([shop(), volume(own, "blog", None)]), own),
            // the same folder under another name
            (observed([volume("macula-data", "old", Some("/work/blog/app.yaml"))]), "macula-data"),
            // nobody knows where it comes from
            (observed([volume("macula-data", "old", None)]), "macula-data"),
            (observed([volume("macula-data", "old", Some("/data/macula/stacks/old.yaml"))]), "macula-data"),
            // another platform's is a conflict, which the plan tells
            (observed([ObservedVolume { name: "macula-data".into(), ..ObservedVolume::default() }]), "macula-data"),
        ] {
            assert_eq!(named(blog(&["blog"]), &seen), expected, "{:?}", seen.volumes);
        }
        assert_eq!(named(blog(&["blog", "shop"]), &observed([shop()])), "macula-data", "loaded together they share it");
        let apart = kept_apart(&blog(&["blog"]), &observed([shop()]), Path::new(WRITTEN));
        insta::assert_snapshot!(apart[0], @"macula-data has the data of the project shop in /work/shop: data of blog is macula-blog-data (to share it: `volumes: {data: {name: macula-data}}`)");
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
        // and goes again
        let both = [volume("macula-data", "cache", None), volume("macula-blog-data", "blog", None)];
        assert_eq!(names(with(false), &observed(both)), ["macula-blog-data"]);
    }
}
