//! What the engine, its registries and other programs refuse, as the user sees it: what to type about each.

use crate::engine::discover::{Discovery, Refusal, Source};
use crate::engine::{EngineError, ImageError};
use crate::host::RunError;
use crate::model::{Again, is_on_loopback, macula, split_registry};

use super::error::{CliError, ErrorKind};
use super::start_error::missing_program;

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        let new = |kind| Self::of(kind, &error);
        match &error {
            EngineError::Unreachable { .. } => new(ErrorKind::NoEngine)
                .suggest(macula("doctor --fix").why("to find out what is missing, and install or start an engine")),
            EngineError::NotFound { .. } => new(ErrorKind::Unexpected)
                .hint("something else may have removed it in the meantime")
                .again(Again::AsItIs),
            EngineError::Conflict { operation, .. } if makes(operation) => new(ErrorKind::Conflict)
                .hint("it does not belong to this platform, so macula leaves it alone: rename or remove it yourself")
                .hint("or give this platform another name with `--name`: everything it makes is named after it"),
            // the state that one of ours is in: of another command, or of an engine that was killed
            EngineError::Conflict { .. } => new(ErrorKind::Unexpected).again(Again::AsItIs),
            EngineError::Attached { network, containers, .. } => {
                let leave = |new: Self, name: &String| new.shell(["docker", "network", "disconnect", network, name]);
                containers.iter().fold(new(ErrorKind::Conflict), leave).again(Again::AsItIs)
            }
            EngineError::Held { .. } => new(ErrorKind::Unexpected)
                .hint("restart the engine, which frees it (containers stop meanwhile)")
                .hint("nothing is in its way: the next `up` takes the network as it is")
                .again(Again::AsItIs),
            EngineError::SubnetTaken { .. } => new(ErrorKind::Conflict)
                .hint("another network has this subnet: set another one, or leave the choice to macula")
                .suggest(macula("doctor subnet").why("to see which network it is")),
            EngineError::PortTaken { .. } => new(ErrorKind::Conflict)
                .hint("stop the program that holds the port")
                .hint("or give this platform another name with `--name`: it then uses other addresses")
                .suggest(macula("doctor ports").why("to see which program holds it")),
            EngineError::Image { source, .. } => with_image_hints(new(ErrorKind::Image), source),
            EngineError::DiskFull { .. } => new(ErrorKind::Unexpected)
                .hint("everything made so far is kept: free some space, then run the same command again to continue")
                .shell(["docker", "system", "df"]),
            EngineError::Timeout { .. } => new(ErrorKind::Unexpected)
                .hint("the engine may be busy or hang; everything made so far is kept, and the same command continues")
                .suggest(macula("doctor")),
            EngineError::Gone { .. } => new(ErrorKind::NoEngine)
                .hint("everything made so far is kept: start the engine, then run the same command again to continue")
                .suggest(macula("doctor --fix")),
            EngineError::NoLeader { .. } => new(ErrorKind::Cluster)
                .hint("more than half of its managers have to answer: start the engines of the others")
                .shell(["docker", "node", "ls"]),
            EngineError::Other { message, .. } if message.contains("container-init binary not found") => {
                new(ErrorKind::Unexpected).hint("install catatonit, which Podman needs for services with `init: true`")
            }
            // of rootlesskit and rootlessport
            EngineError::Other { message, .. } if message.contains("cannot expose privileged port") => {
                new(ErrorKind::Privilege)
                    .hint("an engine without root publishes ports below 1024 only if every user may use them")
                    .hint("or publish it as a port from 1024 on")
                    .suggest(macula("doctor low-ports --fix").why("to let every user, until the next boot"))
            }
            EngineError::Other { message, .. } => match missing_program(message) {
                Some(program) => new(ErrorKind::Unexpected).hint(format!(
                    "the image has no program `{program}`: check `command` and `entrypoint` of the service, or its image"
                )),
                None => new(ErrorKind::Unexpected),
            },
            EngineError::Local { .. } => new(ErrorKind::Unexpected),
        }
    }
}

/// It gives a name to something, and a conflict means that somebody else has that name.
fn makes(operation: &str) -> bool {
    ["creating ", "naming ", "locking "].iter().any(|verb| operation.starts_with(verb))
}

/// What to do about an image that is not available.
pub(super) fn with_image_hints(error: CliError, image: &ImageError) -> CliError {
    match image {
        ImageError::NotFound { reference } if is_on_loopback(split_registry(reference).0) => {
            error.hint("push it to this machine's registry first").shell(["docker", "push", reference])
        }
        ImageError::NotFound { reference } => error.hint(format!(
            "check its name and tag; if the image has moved, give its new name in macula.yaml:\n\
                 images: {{overrides: {{\"{reference}\": \"<another image>\"}}}}"
        )),
        ImageError::Denied { reference, .. } => error
            .hint("registries return the same error for images that do not exist: check the name too")
            .shell(login(reference)),
        ImageError::RateLimited { reference, .. } => error
            .hint("logging in raises the limit; a mirror under `images.sources` in macula.yaml avoids it")
            .hint("or save the images on a machine that has them, and load the file here")
            .shell(login(reference))
            .suggest(macula("images load FILE")),
        ImageError::Unreachable { reference, message } if speaks_no_tls(message) => {
            let registry = split_registry(reference).0;
            // a name without its port stands for all of them
            let place = if is_on_loopback(registry) { registry.split(':').next().unwrap_or(registry) } else { registry };
            error
                .hint(format!(
                    "the registry speaks plain HTTP, which Podman has to be told in /etc/containers/registries.conf:\n\
                     [[registry]]\n\
                     location = \"{place}\"\n\
                     insecure = true"
                ))
                .hint(format!("Docker takes it under `insecure-registries` in /etc/docker/daemon.json: [\"{registry}\"]"))
        }
        ImageError::Unreachable { reference, .. } if is_on_loopback(split_registry(reference).0) => error.hint(
            "start that registry, if it is not up; an engine without root, in a virtual machine or on another one has a \
             loopback of its own: name the registry by an address that the engine reaches",
        ),
        ImageError::Unreachable { .. } => error
            .hint("check the network and the engine's proxy variables")
            .hint("without access to a registry, build the images, or save them on another machine and load the file here")
            .suggest(macula("doctor"))
            .suggest(macula("up --images build"))
            .suggest(macula("images load FILE")),
        ImageError::ServerFault { .. } | ImageError::BrokeOff { .. } => error
            .hint("the same command tries again, and keeps the layers that are complete; a mirror goes under `images.sources` in macula.yaml"),
        ImageError::Untrusted { reference, .. } => error
            .hint(format!(
                "Docker and Podman read the certificate of the registry's authority from /etc/docker/certs.d/{}/ca.crt",
                split_registry(reference).0
            ))
            .hint(
                "if your network inspects TLS, install its authority on the engine's machine and restart the engine, which \
                 reads the authorities of its machine when it starts",
            ),
        ImageError::WrongDigest { .. } => error
            .hint("somebody may have changed the registry: find out who before you take what it has today")
            .suggest(macula("images lock")),
        ImageError::OtherPlatform { .. } => error.hint(
            "`platform: linux/arm64` (or another) of the service takes an image for another machine, which runs with emulation only",
        ),
        ImageError::BuildFailed { log_tail, .. } => {
            let mut error = error;
            if !log_tail.is_empty() {
                error.push_cause(format!("the end of its log:\n{}", log_tail.join("\n")));
            }
            error.hint("the next build continues from the last good layer; `-v` shows the whole log")
        }
        ImageError::Other { .. } => error,
    }
}

/// In the words of Go, with which both engines are written.
fn speaks_no_tls(message: &str) -> bool {
    ["server gave HTTP response to HTTPS client", "first record does not look like a TLS handshake"]
        .iter()
        .any(|words| message.contains(words))
}

/// The command that logs in to the registry of an image. Docker Hub needs no name. The first part of
/// a reference is a host when it has a dot or a port, or is `localhost`
/// (<https://pkg.go.dev/github.com/distribution/reference>).
fn login(reference: &str) -> Vec<&str> {
    let host = match reference.split_once('/') {
        Some(("docker.io", _)) | None => None,
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => Some(host),
        Some(_) => None,
    };
    ["docker", "login"].into_iter().chain(host).collect()
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        let new = |kind| Self::of(kind, &error);
        match &error {
            RunError::Missing { program, .. } => new(ErrorKind::Unexpected)
                .hint(format!("install `{program}`"))
                .suggest(macula("doctor --fix").why("to install what is missing, where macula can")),
            // never the command itself: it may read what we would have fed it
            RunError::Privilege { .. } => new(ErrorKind::Privilege)
                .hint("sudo would have to ask for a password: let it ask first, then run the command again")
                .again(Again::AfterSudo),
            RunError::Timeout { .. } => new(ErrorKind::Unexpected)
                .hint("run it yourself to see what it is waiting for (a prompt, a lock, the network)"),
            RunError::Failed { .. } | RunError::Io { .. } => new(ErrorKind::Unexpected),
        }
    }
}

/// No engine: the attempt that came closest says what to do.
pub(super) fn no_engine(discovery: &Discovery) -> CliError {
    let mut new = CliError::new(ErrorKind::NoEngine, "could not connect to a container engine");
    for attempt in &discovery.attempts {
        let Err(refusal) = &attempt.outcome else { continue };
        let text = match refusal {
            Refusal::Absent => continue,
            Refusal::PermissionDenied { group: Some(group) } => {
                format!("{}: permission denied (members of the group {group} may open it)", attempt.endpoint)
            }
            Refusal::PermissionDenied { group: None } => format!("{}: permission denied", attempt.endpoint),
            Refusal::NotListening if attempt.source == Source::DockerHost => {
                format!("DOCKER_HOST names {}, and nothing is listening there", attempt.endpoint)
            }
            Refusal::NotListening => format!("{}: the socket exists, but nothing is listening on it", attempt.endpoint),
            Refusal::TooOld { api } => {
                format!("{}: it supports API {api}; 1.41 or later is required", attempt.endpoint)
            }
            Refusal::Silent(text) | Refusal::Unsupported(text) | Refusal::Other(text)
                if attempt.endpoint.is_empty() =>
            {
                text.clone()
            }
            Refusal::Silent(text) | Refusal::Unsupported(text) | Refusal::Other(text) => {
                format!("{}: {text}", attempt.endpoint)
            }
        };
        new.causes.push(text);
        new = refusal.ways_round().iter().fold(new, |new, way| new.hint(*way));
    }
    if new.causes.is_empty() {
        let tried: Vec<&str> = discovery.attempts.iter().map(|attempt| attempt.endpoint.as_str()).collect();
        if discovery.attempts.iter().any(|attempt| attempt.source == Source::DockerHost) {
            new.causes.push(format!("DOCKER_HOST names {}, which does not exist", tried.join(", ")));
            return new.suggest(macula("doctor")).shell(["unset", "DOCKER_HOST"]);
        }
        new.message = "macula needs Docker or Podman, and neither is running here".to_owned();
        new = new
            .suggest(macula("up --yes").why("to start Docker, installed first where it is not"))
            .suggest(macula("doctor -v").why("to see the sockets that were tried"));
    }
    new.suggest(macula("doctor"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use insta::assert_snapshot;

    use super::*;
    use crate::cli::error::tests::shown;
    use crate::engine::Wait;
    use crate::model::AnyError;

    fn image(source: ImageError) -> EngineError {
        EngineError::Image { operation: "pull".into(), source }
    }

    #[test]
    fn each_engine_error_says_what_to_do() {
        let op = || "creating container macula-web-1".to_owned();
        let errors = [
            EngineError::Unreachable { tried: "unix:///var/run/docker.sock: no such socket".into() },
            EngineError::NotFound { operation: op(), what: "network macula".into() },
            EngineError::Conflict { operation: op(), message: "the name is in use".into() },
            EngineError::Conflict {
                operation: "stopping container macula-web-1".into(),
                message: "removal is already in progress".into(),
            },
            EngineError::Conflict {
                operation: "starting container macula-web-1".into(),
                message: "task 0123: already exists".into(),
            },
            EngineError::Attached {
                operation: "removing network macula".into(),
                network: "macula".into(),
                containers: vec!["job-7".into()],
            },
            EngineError::Held { operation: "removing network macula".into(), network: "macula".into() },
            EngineError::PortTaken { operation: op(), address: "127.0.0.1:80".into() },
            EngineError::DiskFull { operation: op(), message: "write /var/lib: ENOSPC".into() },
            EngineError::Timeout { operation: op(), after: Duration::from_secs(60) },
            EngineError::Gone { operation: op(), source: AnyError::said("connection reset") },
            EngineError::NoLeader { operation: "asking the swarm".into() },
            EngineError::Other { operation: op(), message: "500: boom".into() },
            EngineError::Other { operation: op(), message: "container-init binary not found on the host".into() },
            EngineError::Other { operation: op(), message: "rootlessport cannot expose privileged port 80".into() },
        ];
        assert_snapshot!(errors.map(shown).join("\n\n"), @r"
        error: no container engine answers (unix:///var/run/docker.sock: no such socket)
          try: macula doctor --fix  (to find out what is missing, and install or start an engine)
        exit 4

        error: creating container macula-web-1: no such network macula
          hint: something else may have removed it in the meantime
          try: macula up
        exit 1

        error: creating container macula-web-1: the name is in use
          hint: it does not belong to this platform, so macula leaves it alone: rename or remove it yourself
          hint: or give this platform another name with `--name`: everything it makes is named after it
        exit 5

        error: stopping container macula-web-1: removal is already in progress
          try: macula up
        exit 1

        error: starting container macula-web-1: task 0123: already exists
          try: macula up
        exit 1

        error: removing network macula: job-7 is still attached to it
          try: docker network disconnect macula job-7
          try: macula up
        exit 5

        error: removing network macula: the engine holds it for a container that is gone
          hint: restart the engine, which frees it (containers stop meanwhile)
          hint: nothing is in its way: the next `up` takes the network as it is
          try: macula up
        exit 1

        error: creating container macula-web-1: 127.0.0.1:80 is taken
          hint: stop the program that holds the port
          hint: or give this platform another name with `--name`: it then uses other addresses
          try: macula doctor ports  (to see which program holds it)
        exit 5

        error: creating container macula-web-1: no space left on the engine's disk: write /var/lib: ENOSPC
          hint: everything made so far is kept: free some space, then run the same command again to continue
          try: docker system df
        exit 1

        error: creating container macula-web-1: no answer within 60 s
          hint: the engine may be busy or hang; everything made so far is kept, and the same command continues
          try: macula doctor
        exit 1

        error: creating container macula-web-1: the engine went away: connection reset
          hint: everything made so far is kept: start the engine, then run the same command again to continue
          try: macula doctor --fix
        exit 4

        error: asking the swarm: the swarm has no leader
          hint: more than half of its managers have to answer: start the engines of the others
          try: docker node ls
        exit 9

        error: creating container macula-web-1: 500: boom
        exit 1

        error: creating container macula-web-1: container-init binary not found on the host
          hint: install catatonit, which Podman needs for services with `init: true`
        exit 1

        error: creating container macula-web-1: rootlessport cannot expose privileged port 80
          hint: an engine without root publishes ports below 1024 only if every user may use them
          hint: or publish it as a port from 1024 on
          try: macula doctor low-ports --fix  (to let every user, until the next boot)
        exit 8
        ");
    }

    #[test]
    fn each_trouble_with_an_image_has_its_own_remedy() {
        let reference = || "ghcr.io/acme/web:1".to_owned();
        let errors = [
            ImageError::NotFound { reference: reference() },
            ImageError::NotFound { reference: "127.0.0.1:5001/web:1".into() },
            ImageError::Denied { reference: reference(), message: "unauthorized".into() },
            ImageError::RateLimited { reference: "grafana/grafana:12".into(), retry_after: Some(Wait::In(30)) },
            ImageError::Unreachable { reference: reference(), message: "connection timed out".into() },
            ImageError::Unreachable {
                reference: "127.0.0.1:5001/web:1".into(),
                message: "http: server gave HTTP response to HTTPS client".into(),
            },
            ImageError::BuildFailed {
                reference: reference(),
                message: "step 3 ended with 100".into(),
                log_tail: vec!["E: Unable to locate package x".into(), "exit 100".into()],
            },
            ImageError::ServerFault { reference: reference(), message: "500 Internal Server Error".into() },
            ImageError::BrokeOff { reference: reference(), message: "nothing came for 60 s".into() },
            ImageError::Untrusted { reference: reference(), message: "x509: unknown authority".into() },
            ImageError::WrongDigest { reference: reference(), message: "sha256:0123".into() },
            ImageError::OtherPlatform {
                reference: reference(),
                message: "no matching manifest for linux/amd64".into(),
            },
            ImageError::Other { reference: reference(), message: "odd".into() },
        ];
        assert_snapshot!(errors.map(|error| shown(image(error))).join("\n\n"), @r#"
        error: pull: ghcr.io/acme/web:1 does not exist in its registry (gone, or never there)
          hint: check its name and tag; if the image has moved, give its new name in macula.yaml:
            images: {overrides: {"ghcr.io/acme/web:1": "<another image>"}}
        exit 6

        error: pull: 127.0.0.1:5001/web:1 does not exist in its registry (gone, or never there)
          hint: push it to this machine's registry first
          try: docker push 127.0.0.1:5001/web:1
        exit 6

        error: pull: ghcr.io/acme/web:1 was refused: unauthorized
          hint: registries return the same error for images that do not exist: check the name too
          try: docker login ghcr.io
        exit 6

        error: pull: the registry limits pulls of grafana/grafana:12; try again in 30 s
          hint: logging in raises the limit; a mirror under `images.sources` in macula.yaml avoids it
          hint: or save the images on a machine that has them, and load the file here
          try: docker login
          try: macula images load FILE
        exit 6

        error: pull: cannot reach the registry of ghcr.io/acme/web:1: connection timed out
          hint: check the network and the engine's proxy variables
          hint: without access to a registry, build the images, or save them on another machine and load the file here
          try: macula doctor
          try: macula up --images build
          try: macula images load FILE
        exit 6

        error: pull: cannot reach the registry of 127.0.0.1:5001/web:1: http: server gave HTTP response to HTTPS client
          hint: the registry speaks plain HTTP, which Podman has to be told in /etc/containers/registries.conf:
            [[registry]]
            location = "127.0.0.1"
            insecure = true
          hint: Docker takes it under `insecure-registries` in /etc/docker/daemon.json: ["127.0.0.1:5001"]
        exit 6

        error: pull: ghcr.io/acme/web:1: step 3 ended with 100
          caused by: the end of its log:
            E: Unable to locate package x
            exit 100
          hint: the next build continues from the last good layer; `-v` shows the whole log
        exit 6

        error: pull: the registry of ghcr.io/acme/web:1 answers with an error of its own: 500 Internal Server Error
          hint: the same command tries again, and keeps the layers that are complete; a mirror goes under `images.sources` in macula.yaml
        exit 6

        error: pull: the download of ghcr.io/acme/web:1 broke off: nothing came for 60 s
          hint: the same command tries again, and keeps the layers that are complete; a mirror goes under `images.sources` in macula.yaml
        exit 6

        error: pull: the engine does not trust the registry of ghcr.io/acme/web:1: x509: unknown authority
          hint: Docker and Podman read the certificate of the registry's authority from /etc/docker/certs.d/ghcr.io/ca.crt
          hint: if your network inspects TLS, install its authority on the engine's machine and restart the engine, which reads the authorities of its machine when it starts
        exit 6

        error: pull: the registry sent something other than the digest of ghcr.io/acme/web:1 names (sha256:0123)
          hint: somebody may have changed the registry: find out who before you take what it has today
          try: macula images lock
        exit 6

        error: pull: ghcr.io/acme/web:1 does not fit this machine: no matching manifest for linux/amd64
          hint: `platform: linux/arm64` (or another) of the service takes an image for another machine, which runs with emulation only
        exit 6

        error: pull: ghcr.io/acme/web:1: odd
        exit 6
        "#);
    }

    #[test]
    fn each_failure_of_a_program_can_be_repeated() {
        let command = || "apt-get install -y docker.io".to_owned();
        let errors = [
            RunError::Missing { command: command(), program: "apt-get".into() },
            RunError::Failed {
                command: command(),
                status: "exit code 100".into(),
                output: "E: no network\nE: bye".into(),
            },
            RunError::Timeout { command: command(), after: Duration::from_secs(60) },
            RunError::Privilege { command: command() },
            RunError::Io { command: command(), source: AnyError::said("too many open files") },
        ];
        assert_snapshot!(errors.map(shown).join("\n\n"), @r"
        error: `apt-get install -y docker.io`: apt-get is not installed
          hint: install `apt-get`
          try: macula doctor --fix  (to install what is missing, where macula can)
        exit 1

        error: `apt-get install -y docker.io` ended with exit code 100: E: no network
          E: bye
        exit 1

        error: `apt-get install -y docker.io` took longer than 60 s
          hint: run it yourself to see what it is waiting for (a prompt, a lock, the network)
        exit 1

        error: `apt-get install -y docker.io` needs root
          hint: sudo would have to ask for a password: let it ask first, then run the command again
          try: sudo -v && macula up
        exit 8

        error: `apt-get install -y docker.io`: too many open files
        exit 1
        ");
    }

    #[test]
    fn the_host_to_log_in_to() {
        let hosts = [
            "nginx",
            "grafana/grafana:12",
            "docker.io/library/nginx",
            "quay.io/x/y",
            "127.0.0.1:5001/x",
            "localhost/x",
        ];
        let lines = hosts.map(|reference| login(reference).join(" "));
        let login = "docker login";
        let with = |host: &str| format!("{login} {host}");
        assert_eq!(
            lines,
            [login.into(), login.into(), login.into(), with("quay.io"), with("127.0.0.1:5001"), with("localhost")]
        );
    }
}
