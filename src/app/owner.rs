//! Whose a platform is. What is on the engine is seen by all its users, the passwords lie in the data
//! folder of one: so everything that is made bears the id of that folder, and who that is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::host::{Host, Lock};
use crate::model::{Observed, PlatformName, label};

use super::Error;

/// The user and data folder that this program runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    id: String,
    text: String,
}

impl Owner {
    /// `None`: nothing was ever made with this data folder.
    pub async fn read(host: &dyn Host) -> Result<Option<Self>, Error> {
        let path = file(host);
        match host.read(&path).await {
            Ok(content) => {
                let id = String::from_utf8_lossy(&content).trim().to_owned();
                Ok((!id.is_empty()).then(|| Self { id, text: description(host) }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Given an id the first time that something is made.
    pub async fn ensure(host: &dyn Host) -> Result<Self, Error> {
        if let Some(known) = Self::read(host).await? {
            return Ok(known);
        }
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes)?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = file(host);
        let _lock =
            Lock::acquire(host, &path.with_extension("lock"), "the id of the data folder", None, |_| {}).await?;
        // two at once, each of which would disown what the other one makes
        if let Some(known) = Self::read(host).await? {
            return Ok(known);
        }
        host.write(&path, id.as_bytes(), 0o600).await.map_err(|source| Error::Io { path, source })?;
        Ok(Self { id, text: description(host) })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// For people.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is put on everything that is made.
    pub fn labels(&self) -> BTreeMap<String, String> {
        [(label::OWNER, &self.id), (label::OWNED_BY, &self.text)]
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .into()
    }
}

/// A name that no platform can have.
fn file(host: &dyn Host) -> PathBuf {
    host.folders().data.join(".owner")
}

fn description(host: &dyn Host) -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{} on {machine}, with the data folder {}", host.facts().user, host.folders().data.display())
}

/// Somebody else who made something of this platform. What bears no owner is from before there were
/// any.
pub fn other(own: Option<&Owner>, platform: &PlatformName, observed: &Observed) -> Option<String> {
    let containers = observed.containers.iter().chain(&observed.unfinished).map(|found| &found.labels);
    let networks = observed.networks.iter().map(|found| &found.labels);
    let volumes = observed.volumes.iter().map(|found| &found.labels);
    containers
        .chain(networks)
        .chain(volumes)
        .filter(|labels| labels.get(label::PLATFORM).is_some_and(|name| name == platform.as_str()))
        .find(|labels| labels.get(label::OWNER).is_some_and(|id| own.is_none_or(|own| own.id != *id)))
        .map(|labels| labels.get(label::OWNED_BY).cloned().unwrap_or_else(|| "somebody else".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;
    use crate::model::{ObservedContainer, ObservedNetwork, ObservedVolume};

    #[tokio::test]
    async fn an_owner_is_known_again_and_another_is_named() {
        let platform: PlatformName = PlatformName::new("macula").unwrap();
        let (host, stranger) = (FakeHost::new(), FakeHost::new());
        assert_eq!(Owner::read(&host).await.unwrap(), None);
        let owner = Owner::ensure(&host).await.unwrap();
        assert_eq!(Owner::ensure(&host).await.unwrap(), owner);
        assert_eq!(host.text("/home/dev/.local/share/macula/.owner").as_deref(), Some(owner.id()));
        let fresh = FakeHost::new();
        let (one, other_one) = tokio::join!(Owner::ensure(&fresh), Owner::ensure(&fresh));
        assert_eq!(one.unwrap(), other_one.unwrap(), "of two that are the first at once");
        let mut labels = owner.labels();
        labels.insert(label::PLATFORM.to_owned(), "macula".to_owned());
        let volumes = vec![ObservedVolume { name: "rows".into(), labels, ..ObservedVolume::default() }];
        let observed = Observed { volumes, ..Observed::default() };
        assert_eq!(other(Some(&owner), &platform, &observed), None);
        let someone = other(None, &platform, &observed).unwrap();
        assert!(someone.ends_with(", with the data folder /home/dev/.local/share/macula"), "{someone}");
        let another = Owner::ensure(&stranger).await.unwrap();
        assert!(other(Some(&another), &platform, &observed).is_some());
        // another platform of the same name's beginning is not asked about
        assert_eq!(other(None, &PlatformName::new("pr-1").unwrap(), &observed), None);
        // made by a version without owners
        let volumes = vec![ObservedVolume {
            name: "rows".into(),
            labels: [(label::PLATFORM.to_owned(), "macula".to_owned())].into(),
            ..ObservedVolume::default()
        }];
        assert_eq!(other(None, &platform, &Observed { volumes, ..Observed::default() }), None);
    }

    #[test]
    fn somebody_else_is_known_by_whatever_bears_the_id() {
        let platform = PlatformName::default();
        let own = Owner { id: "ours".into(), text: "ann on pc".into() };
        let labels = |id: &str, text: Option<&str>| -> BTreeMap<String, String> {
            let labels = [(label::PLATFORM, Some("macula")), (label::OWNER, Some(id)), (label::OWNED_BY, text)];
            labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
        };
        let container = |labels| ObservedContainer { labels, ..ObservedContainer::default() };
        let theirs = || labels("theirs", Some("bob on pc"));
        let network = ObservedNetwork { labels: theirs(), ..ObservedNetwork::default() };
        for observed in [
            Observed { containers: vec![container(theirs())], ..Observed::default() },
            Observed { unfinished: vec![container(theirs())], ..Observed::default() },
            Observed { networks: vec![network], ..Observed::default() },
            // the first of them
            Observed {
                containers: vec![container(labels("ours", None)), container(theirs())],
                unfinished: vec![container(labels("third", None))],
                ..Observed::default()
            },
        ] {
            assert_eq!(other(Some(&own), &platform, &observed).as_deref(), Some("bob on pc"));
        }
        let nameless = Observed { containers: vec![container(labels("theirs", None))], ..Observed::default() };
        assert_eq!(other(None, &platform, &nameless).as_deref(), Some("somebody else"));
        let ours = Observed { containers: vec![container(labels("ours", None))], ..Observed::default() };
        assert_eq!(other(Some(&own), &platform, &ours), None);
        let expected = [(label::OWNED_BY, "ann on pc"), (label::OWNER, "ours")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(own.labels(), BTreeMap::from(expected));
        assert_eq!(own.text(), "ann on pc");
    }

    #[tokio::test]
    async fn an_id_that_is_empty_is_none_and_one_that_cannot_be_read_an_error() {
        let path = FakeHost::new().folders().data.join(".owner");
        for (content, id) in [("", None), (" \n", None), ("0123\n", Some("0123"))] {
            let owner = Owner::read(&FakeHost::new().file(&path, content)).await.unwrap();
            assert_eq!(owner.as_ref().map(Owner::id), id);
        }
        let host = FakeHost::new().read_only("/home/dev/.local");
        assert!(Owner::ensure(&host).await.is_err());
    }
}
