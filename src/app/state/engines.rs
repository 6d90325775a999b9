//! On which engines a platform may have data, and how its last `up` found the one that it was brought up on: the
//! background process has the environment of whoever started it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::app::error::Error;
use crate::engine::discover::{Attempt, VARIABLES};
use crate::host::Host;

use super::State;
use super::files::{FORMAT, read, write};

#[derive(Debug, Default, Serialize, Deserialize)]
struct EnginesFile {
    format: u64,
    /// Their endpoints.
    engines: BTreeSet<String>,
    /// The last `up` found its engine by these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, String>,
}

impl State {
    pub(super) fn engines_file(&self) -> PathBuf {
        self.folder.join("engines.json")
    }

    async fn kept_engines(&self, host: &dyn Host) -> Result<EnginesFile, Error> {
        Ok(read::<EnginesFile>(host, &self.engines_file()).await?.unwrap_or_default())
    }

    async fn write_engines(&self, host: &dyn Host, kept: EnginesFile) -> Result<(), Error> {
        write(host, &self.engines_file(), &EnginesFile { format: FORMAT, ..kept }).await
    }

    /// The engines that may have data of the platform, by their endpoints; empty where nobody has written them down.
    pub(in crate::app) async fn engines(&self, host: &dyn Host) -> Result<BTreeSet<String>, Error> {
        Ok(self.kept_engines(host).await?.engines)
    }

    /// Whether the platform may have been brought up on this one, as far as that was written down.
    pub(in crate::app) async fn is_on(&self, host: &dyn Host, endpoint: &str) -> Result<bool, Error> {
        let engines = self.engines(host).await?;
        Ok(engines.is_empty() || engines.contains(&engine_at(host, endpoint).await))
    }

    /// With these variables in place of its own, another process finds the engine that the platform was brought up on
    /// last; empty where nobody has written them down. No other variable can be set by the file.
    pub async fn engine_variables(&self, host: &dyn Host) -> BTreeMap<String, String> {
        let mut variables = self.kept_engines(host).await.unwrap_or_default().variables;
        variables.retain(|name, _| VARIABLES.contains(&name.as_str()));
        variables
    }

    /// Records that the platform is brought up on this one: its passwords are needed there until its data is removed.
    pub async fn keep_engine(&self, host: &dyn Host, used: &Attempt) -> Result<(), Error> {
        let mut kept = self.kept_engines(host).await?;
        let variables = used.variables(host);
        let new = kept.engines.insert(engine_at(host, &used.endpoint).await);
        if !new && kept.variables == variables {
            return Ok(());
        }
        self.write_engines(host, EnginesFile { variables, ..kept }).await
    }

    /// There is no data on this one any more.
    pub(in crate::app) async fn forget_engine(&self, host: &dyn Host, endpoint: &str) -> Result<(), Error> {
        let mut kept = self.kept_engines(host).await?;
        match kept.engines.remove(&engine_at(host, endpoint).await) {
            true => self.write_engines(host, kept).await,
            false => Ok(()),
        }
    }
}

/// An engine by its endpoint. A socket may be a link, as /var/run is, and then the engine is the one that it leads to.
pub(in crate::app) async fn engine_at(host: &dyn Host, endpoint: &str) -> String {
    match endpoint.strip_prefix("unix://") {
        Some(path) => format!("unix://{}", host.resolved(Path::new(path)).await.display()),
        None => endpoint.to_owned(),
    }
}
