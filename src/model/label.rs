//! The keys of every label that we put on what we make. Nothing without [`PLATFORM`] is ever
//! changed or removed.

use std::collections::BTreeMap;
use std::path::Path;

/// Before every label of Docker Compose's, by which its own and other tools find a project's containers. All
/// stacks of a platform are one project.
pub const COMPOSE: &str = "com.docker.compose.";

/// The project that a resource belongs to: for what is ours the platform.
pub const COMPOSE_PROJECT: &str = "com.docker.compose.project";

/// What Docker Compose calls a volume of a project, where the file does not say it.
pub fn compose_volume(project: &str, key: &str) -> String {
    format!("{project}_{key}")
}

/// The Compose file that a container or a volume comes from; of what is built in only containers have one.
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";

/// The folder is that of the Compose file which these labels name, or one above it: what lies there is source code.
pub fn has_project(folder: &Path, labels: &BTreeMap<String, String>) -> bool {
    let project = labels.get(CONFIG_FILES).and_then(|file| Path::new(file).parent());
    project.is_some_and(|project| project.starts_with(folder))
}

/// Whether a label only describes what bears it: this program's version or the project's folder. A change of it
/// is no reason to replace anything.
pub fn describes(key: &str) -> bool {
    key.starts_with("dev.macula.") || key.starts_with(COMPOSE)
}

/// The platform that owns the resource.
pub const PLATFORM: &str = "dev.macula.platform";
/// Who made the resource: an id that lies in the data folder of a user, where the passwords lie too.
pub const OWNER: &str = "dev.macula.owner";
/// The same for people: `root on ci-7, with the data folder /root/.local/share/macula`.
pub const OWNED_BY: &str = "dev.macula.owned-by";
/// On the volume that is a lock: who holds it, as JSON.
pub const LOCK: &str = "dev.macula.lock";
/// On the container through which a platform is reached where nothing that its engine publishes arrives.
pub const RELAY: &str = "dev.macula.relay";
/// On a container in which somebody runs one command with a service's image and settings: it is no part of the service.
pub const ONE_OFF: &str = "dev.macula.one-off";
/// The stack (one Compose file) that the resource comes from.
pub const STACK: &str = "dev.macula.stack";
/// On a volume: the other stacks, with commas, that declared it too when it was made.
pub const SHARED_BY: &str = "dev.macula.shared-by";
/// The Compose service that the container or volume belongs to.
pub const SERVICE: &str = "dev.macula.service";
/// Number of the container within its service, from 1.
pub const REPLICA: &str = "dev.macula.replica";
/// Hash of the create-time specification; see [`crate::model::Fingerprint`].
pub const FINGERPRINT: &str = "dev.macula.fingerprint";
/// `true` on a volume that holds nothing but files which macula copies in: it goes with its container.
pub const FILES: &str = "dev.macula.files";
/// On such a volume that stands for a bind mount: the folder of the user's machine.
pub const COPY_OF: &str = "dev.macula.copy-of";
/// Who wrote a data volume or built an image: service, major version, format, uid.
pub const PROVIDER: &str = "dev.macula.provider";
/// The version of macula that made the resource.
pub const VERSION: &str = "dev.macula.version";
/// The Compose name of a volume or network, before the platform's prefix.
pub const NAME: &str = "dev.macula.name";
/// `true` on the container of a service that does its work and ends: exit code 0 is its goal.
pub const ONE_SHOT: &str = "dev.macula.one-shot";
/// Short digests of the parts of the fingerprint, so that a plan can say what changed:
/// `env=1a2b3c4d,ports=...`.
pub const PARTS: &str = "dev.macula.parts";
/// The names that lead to the ingress inside the platform's network, with commas. Engines fix them when the
/// container is made, so that one more is needed for others; those that are not wanted any more do no harm.
pub const NAMES: &str = "dev.macula.names";
/// The addresses that the ingress publishes, with commas: `127.0.0.1:443>443`. Engines fix them, too.
pub const PORTS: &str = "dev.macula.ports";
/// Files of the container that a reload takes up, as a JSON list of paths: who looks ahead has no stack file to ask.
pub const RELOADED: &str = "dev.macula.reloaded";
/// Services that this one needs, by name with commas: `down` has no stack file to ask.
pub const DEPENDS_ON: &str = "dev.macula.depends-on";
/// What runs in the container after its start, as JSON: `start` has no stack file to ask.
pub const POST_START: &str = "dev.macula.post-start";
/// What runs in the container before it is stopped.
pub const PRE_STOP: &str = "dev.macula.pre-stop";
/// On the container of a task: what decided that it ran, as JSON.
pub const TASK: &str = "dev.macula.task";
/// The add-on of the cluster that an object belongs to.
pub const ADDON: &str = "dev.macula.addon";
/// Annotation: the object was in the cluster before us, and stays when the add-on goes.
pub const ADOPTED: &str = "dev.macula.adopted";
/// Annotation, never sent: the object is to be in each namespace with this label (`key=value`).
pub const EACH_NAMESPACE: &str = "dev.macula.each-namespace";
/// Platform that deployed an object to a swarm or a cluster. Not [`PLATFORM`]: what bears that one is the platform's own.
pub const DEPLOYED_BY: &str = "dev.macula.deployed-by";
/// Hash of the files and secrets of a pod: with other ones it is another pod.
pub const CONTENT: &str = "dev.macula.content";
/// Id of an image that a swarm of one node has from no registry: another one under the same name is another task.
pub const IMAGE: &str = "dev.macula.image";
