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
    use crate::model::ObservedVolume;

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
        let volumes = vec![ObservedVolume { name: "rows".into(), labels, made_at: None }];
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
            made_at: None,
            labels: [(label::PLATFORM.to_owned(), "macula".to_owned())].into(),
        }];
        assert_eq!(other(None, &platform, &Observed { volumes, ..Observed::default() }), None);
    }
}
