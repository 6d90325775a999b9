//! The resolver is the one process of ours that runs all the time: what the cluster is to have in every
//! namespace with a label, it puts there when the namespace comes, not only with the next `up`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::app::resolver::ResolverFiles;
use crate::app::{Error, State};
use crate::cluster::{ClusterError, Entry};
use crate::host::{Host, SELDOM, Word};
use crate::model::{ClusterRecord, PlatformName};
use crate::system::{Inside, Reach};

/// How long one look at a cluster goes on; then the files are read again, and what somebody took away is
/// put back.
const WATCH: Duration = Duration::from_secs(15);
/// Between two looks; where there is no cluster, it is heard of that one comes.
const PAUSE: Duration = Duration::from_secs(3);

/// Looks after the clusters of all platforms that the resolver knows, for ever.
pub async fn follow(host: Arc<dyn Host>, files: ResolverFiles, mut word: Word, reach: Arc<dyn Reach>) {
    loop {
        let mut platforms = Vec::new();
        for (platform, _) in files.entries(&*host).await {
            // a file that cannot be read is `up`'s to tell
            if let Ok(Some(_)) = State::new(&host.folders().data, &platform).followed(&*host).await {
                platforms.push(platform);
            }
        }
        if platforms.is_empty() {
            word.wait(PAUSE, SELDOM).await;
            continue;
        }
        let looks = platforms.iter().map(|platform| watch(&*host, &*reach, platform, WATCH));
        for (outcome, platform) in join_all(looks).await.into_iter().zip(&platforms) {
            // a cluster that is stopped, deleted, or not up yet: it is `up` that tells somebody
            if let Err(error) = outcome {
                tracing::debug!(%error, %platform, "namespaces are not looked after");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One look at the cluster of a platform, if it has one.
pub(in crate::app) async fn watch(
    host: &dyn Host,
    reach: &dyn Reach,
    platform: &PlatformName,
    for_so_long: Duration,
) -> Result<(), Error> {
    let state = State::new(&host.folders().data, platform);
    let Some(addon) = state.followed(host).await? else { return Ok(()) };
    let Some(record) = state.cluster(host).await? else { return Ok(()) };
    let inside = connect(host, reach, &state, &record).await?;
    inside.follow_namespaces(&addon, for_so_long).await.map_err(Error::other)
}

/// The API server of a platform's cluster, for who has no session.
pub(in crate::app) async fn connect(
    host: &dyn Host,
    reach: &dyn Reach,
    state: &State,
    record: &ClusterRecord,
) -> Result<Arc<dyn Inside>, Error> {
    let path = state.cluster_folder().join("kubeconfig");
    let text = host.read(&path).await.map_err(|source| Error::Io { path, source })?;
    let entry = Entry::of_provider(&String::from_utf8_lossy(&text), &record.context).map_err(ClusterError::from)?;
    reach.connect(&entry.alone(), &record.context).await.map_err(Error::other)
}
