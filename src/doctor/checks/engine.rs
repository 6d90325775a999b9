//! Is there an engine, does it answer, and whose is it?

use std::time::Duration;

use crate::doctor::context::{Context, is_remote};
use crate::doctor::proof::{self, Answer, Proved, Unproved};
use crate::doctor::{Action, Fix, Verdict, install};
use crate::engine::discover::{Attempt, Refusal, Source};
use crate::model::{EngineKind, Facts, NameServer};

/// Programs that are an engine or bring one.
const DOCKER: &str = "dockerd";
const PODMAN: &str = "podman";
/// Those of macOS bring an engine in a virtual machine.
const APPLICATIONS: [&str; 3] = ["orb", "colima", "docker"];

fn refused(context: &Context<'_>, which: impl Fn(&Refusal) -> bool) -> Option<Attempt> {
    let found = |attempt: &&Attempt| attempt.outcome.as_ref().is_err_and(&which) && !closed_to_users(attempt);
    context.discovery.attempts.iter().find(found).cloned()
}

/// Podman keeps the folder of the system's socket closed to users, whether there is one or not; a
/// user has a socket of her own.
fn closed_to_users(attempt: &Attempt) -> bool {
    attempt.source == Source::PodmanRootful && matches!(attempt.outcome, Err(Refusal::PermissionDenied { .. }))
}

/// An engine program of this machine, by its name.
fn program(context: &Context<'_>) -> Option<&'static str> {
    let here = |program: &&str| context.host.which(program).is_some();
    let wanted: &[&str] = if context.machine.os == "macos" { &APPLICATIONS } else { &[DOCKER] };
    wanted.iter().copied().find(here).or_else(|| Some(PODMAN).filter(here))
}

/// The user has named an engine, which is then the only one that was tried.
fn named<'a>(context: &'a Context<'_>) -> Option<&'a Attempt> {
    let named = |attempt: &&Attempt| matches!(attempt.source, Source::DockerHost | Source::Context(_));
    context.discovery.attempts.iter().find(named)
}

/// `DOCKER_HOST names tcp://192.0.2.7:2375`
fn naming(attempt: &Attempt) -> String {
    match attempt.endpoint.as_str() {
        "" => format!("{} names no endpoint of use", origin(&attempt.source)),
        endpoint => format!("{} names {endpoint}", origin(&attempt.source)),
    }
}

fn name(context: &Context<'_>, look: &Result<crate::model::Facts, String>) -> String {
    match look {
        Ok(facts) => facts.engine.clone(),
        Err(_) => {
            context.endpoint().map_or("the engine".to_owned(), |attempt| format!("the engine at {}", attempt.endpoint))
        }
    }
}

pub(in crate::doctor) async fn installed(context: &Context<'_>) -> Verdict {
    if context.endpoint().is_some() {
        return Verdict::ok(name(context, context.facts().await));
    }
    if let Some(attempt) = named(context) {
        return Verdict::skipped(format!("{}, so none is looked for", naming(attempt)));
    }
    // a socket that is there has been put there by an engine
    if let Some(attempt) = refused(context, |refusal| *refusal != Refusal::Absent) {
        return Verdict::ok(format!("an engine has its socket at {}", attempt.endpoint));
    }
    match program(context) {
        Some(program) => Verdict::ok(format!("{program} is installed")),
        None => Verdict::failed("no container engine is installed").fix(install::engine(context.host).await),
    }
}

pub(in crate::doctor) async fn running(context: &Context<'_>) -> Verdict {
    if let Some(used) = context.endpoint() {
        return match context.facts().await {
            Ok(facts) => Verdict::ok(format!("{} answers", facts.engine)),
            Err(reason) => Verdict::failed("the engine is there but does not answer")
                .detail([reason])
                .fix(Fix::advice(restart(context, used))),
        };
    }
    if refused(context, |refusal| matches!(refusal, Refusal::PermissionDenied { .. })).is_some() {
        return Verdict::skipped("its socket may not be opened: see socket-permission");
    }
    if refused(context, |refusal| matches!(refusal, Refusal::TooOld { .. })).is_some() {
        return Verdict::ok("an engine answers: see engine-version");
    }
    if let Some(attempt) = refused(context, |refusal| matches!(refusal, Refusal::Silent(_))) {
        let why = attempt.outcome.as_ref().err().map(reason).unwrap_or_default();
        return Verdict::failed(format!("the engine at {} is there but does not answer", attempt.endpoint))
            .detail([why, "it is overloaded or hangs; its log may say why".to_owned()])
            .fix(Fix::advice(restart(context, &attempt)));
    }
    if let Some(attempt) = named(context) {
        return Verdict::skipped(format!("{}: see docker-context", naming(attempt)));
    }
    let tried = context.discovery.attempts.iter().map(|attempt| {
        let why = attempt.outcome.as_ref().err().map(reason).unwrap_or_default();
        format!("{} ({}): {why}", attempt.endpoint, origin(&attempt.source))
    });
    match program(context) {
        None if refused(context, |refusal| *refusal != Refusal::Absent).is_none() => {
            Verdict::skipped("none is installed").detail(tried)
        }
        Some(PODMAN) => Verdict::failed("Podman is installed, but does not listen")
            .detail(tried)
            .fix(install::start_podman(context.host).await),
        _ => Verdict::failed("Docker is installed but not running")
            .detail(tried)
            .fix(install::start_docker(context.host).await),
    }
}

/// How the engine at an endpoint is restarted: with the command where its socket tells whose unit of systemd it is.
fn restart(context: &Context<'_>, attempt: &Attempt) -> String {
    if let Source::Application(name) = &attempt.source {
        return format!("restart {name}");
    }
    let socket = attempt.endpoint.strip_prefix("unix://").unwrap_or_default();
    let of_user = socket.starts_with("/run/user/");
    let command = match socket.strip_prefix("/var").unwrap_or(socket) {
        "/run/docker.sock" => Some("sudo systemctl restart docker"),
        "/run/podman/podman.sock" => Some("sudo systemctl restart podman.socket podman.service"),
        own if of_user && own.ends_with("/podman/podman.sock") => {
            Some("systemctl --user restart podman.socket podman.service")
        }
        own if of_user && own.ends_with("/docker.sock") => Some("systemctl --user restart docker"),
        _ => None,
    };
    match command.filter(|_| context.machine.systemd) {
        Some(command) => format!("restart it: `{command}`"),
        None => "restart it".to_owned(),
    }
}

fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Absent => "no such socket".to_owned(),
        Refusal::PermissionDenied { .. } => "permission denied".to_owned(),
        Refusal::NotListening => "nothing is listening".to_owned(),
        Refusal::TooOld { api } => format!("speaks only API {api}"),
        Refusal::Silent(message) | Refusal::Unsupported(message) | Refusal::Other(message) => message.clone(),
    }
}

fn origin(source: &Source) -> String {
    match source {
        Source::DockerHost => "DOCKER_HOST".to_owned(),
        Source::Context(name) => format!("Docker context {name}"),
        Source::DockerSocket => "Docker".to_owned(),
        Source::RootlessDocker => "rootless Docker".to_owned(),
        Source::Application(name) => (*name).to_owned(),
        Source::PodmanRootful => "Podman of the system".to_owned(),
        Source::PodmanRootless => "Podman of this user".to_owned(),
    }
}

pub(in crate::doctor) async fn permission(context: &Context<'_>) -> Verdict {
    let denied = refused(context, |refusal| matches!(refusal, Refusal::PermissionDenied { .. }));
    let Some(attempt) = denied else {
        return match context.endpoint() {
            Some(attempt) => Verdict::ok(format!("{} may be used", attempt.endpoint)),
            None => Verdict::skipped("there is no socket"),
        };
    };
    if let Some(used) = context.endpoint() {
        return Verdict::ok(format!("{} may not be opened, {} is used", attempt.endpoint, used.endpoint));
    }
    let user = &context.machine.user;
    let group = match &attempt.outcome {
        Err(Refusal::PermissionDenied { group: Some(group) }) => group.as_str(),
        _ => "docker",
    };
    let failed = Verdict::failed(format!("{user} may not open {}", attempt.endpoint));
    if group == "root" {
        let advice = "use an engine of your own (rootless Docker or Podman), or let the engine's socket belong to a group \
                      that you are in";
        return failed.detail(["only root may".to_owned()]).fix(Fix::advice(advice));
    }
    let again = format!("`newgrp {group}` in this shell, or log out and in again; then run the same command");
    if context.machine.login_groups.iter().any(|one| one == group) {
        return failed
            .detail([format!(
                "{user} is in the group {group}, but this shell was started before and does not have it yet"
            )])
            .fix(Fix::advice(again));
    }
    let join = install::allow(user, group);
    failed
        .detail([
            format!("the group {group} may, and {user} is not in it"),
            format!("members of {group} can become root through the engine"),
        ])
        .fix(Fix {
            text: format!("put {user} into the group {group}; after that: {again}"),
            actions: vec![Action::Change(join)],
            safe: false,
        })
}

/// The first time an image is made for it.
const ENOUGH: Duration = Duration::from_secs(60);
/// Where others have taken the processors, and there is other work to go on with.
const ENOUGH_IN_PASSING: Duration = Duration::from_secs(15);

/// See [`proof`].
pub(in crate::doctor) async fn container_runs(context: &Context<'_>) -> Verdict {
    let (Some(engine), Ok(facts)) = (context.engine(), context.facts().await) else {
        return Verdict::skipped("there is no engine to ask");
    };
    let host = context.host;
    let mut proving = Box::pin(proof::prove(engine, host, facts));
    let mut proved = tokio::time::timeout(ENOUGH_IN_PASSING, &mut proving).await;
    if proved.is_err() {
        if context.want.in_passing
            && !context.remote()
            && let Some(load) = proof::busy(host)
        {
            drop(proving);
            proof::abandon(engine, host).await;
            let waited = ENOUGH_IN_PASSING.as_secs();
            return Verdict::skipped(format!("not known within {waited} s: this machine is busy ({load})"));
        }
        proved = tokio::time::timeout(ENOUGH - ENOUGH_IN_PASSING, &mut proving).await;
    }
    match proved {
        Ok(Ok(proved)) => proof_of(proved, facts),
        Ok(Err(error)) => no_proof(error, facts),
        Err(_) => {
            drop(proving);
            proof::abandon(engine, host).await;
            Verdict::warning(format!("no result within {} s", ENOUGH.as_secs()))
        }
    }
}

fn proof_of(proved: Proved, facts: &Facts) -> Verdict {
    let Some(Answer { dns, gateway, servers }) = proved.answer else {
        return Verdict::ok("a container starts; what it publishes is not reached from here");
    };
    match (dns, gateway) {
        (Ok(()), Ok(())) if servers.len() > 1 => {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            Verdict::warning("containers are given other name servers next to the engine's own")
                .detail([
                    format!("they ask {}", servers.join(", ")),
                    "images of Alpine take whichever answers first, and find no other container where that is not the engine"
                        .to_owned(),
                ])
                .fix(Fix::advice("upgrade Podman: 5.4 gives the engine's own alone"))
        }
        (Ok(()), Ok(())) => Verdict::ok("a container starts, is reached, resolves names and reaches this machine"),
        (Err(reason), _) => {
            Verdict::warning("a container runs, but the engine's DNS does not resolve the names of others")
                .detail([reason])
                .fix(Fix::advice(match facts.engine_kind {
                    EngineKind::Podman => NO_AARDVARK,
                    EngineKind::Docker => {
                        "let containers send to port 53 of their network (a firewall of this machine may forbid it)"
                    }
                }))
        }
        (_, Err(reason)) => Verdict::warning(
            "a container runs, but does not reach this machine at its network's gateway",
        )
        .detail([reason, "the resolver and the ingress of a cluster are not reached by containers".to_owned()])
        .fix(Fix::advice(
            "let packets from the engine's bridges in: with ufw, `sudo ufw allow in on br-+`; with firewalld, put the \
                 bridges into the zone docker or trusted",
        )),
    }
}

fn no_proof(error: Unproved, facts: &Facts) -> Verdict {
    let text = error.to_string();
    match error {
        Unproved::NotHere(reason) => Verdict::skipped(reason),
        Unproved::NoRoom(_) => Verdict::warning(text),
        Unproved::Engine(_) => Verdict::warning("a trial container could not be made").detail([text]),
        Unproved::Ended { log, .. } => Verdict::failed(text).detail(log).fix(Fix::advice(WHERE_IT_SAYS_MORE)),
        Unproved::Unreached { .. } => Verdict::warning(text).fix(Fix::advice(
            "see what stands between: `iptables -S` and `nft list ruleset` as root, and `userland-proxy` in the engine's settings",
        )),
        Unproved::NotStarted(_) if facts.engine_kind == EngineKind::Podman && text.contains("cgroup") => {
            Verdict::failed(text).fix(Fix::advice(
                "choose another runtime (`runtime = \"runc\"` below [engine] in /etc/containers/containers.conf), or start this \
                 machine with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1)",
            ))
        }
        // of pasta and of slirp4netns, which make the networks of engines without root
        Unproved::NotStarted(_) if text.contains(TUN) => {
            let advice = match text.contains("denied") {
                true => "let everybody open it, as it usually is: `sudo chmod 666 /dev/net/tun`, until the next start of this machine",
                false => "load the kernel's module for it: `sudo modprobe tun`",
            };
            Verdict::failed(text).fix(Fix::advice(advice))
        }
        Unproved::NotStarted(_) => Verdict::failed(text).fix(Fix::advice(WHERE_IT_SAYS_MORE)),
    }
}

const TUN: &str = "/dev/net/tun";
const WHERE_IT_SAYS_MORE: &str = "the engine's own log says more: `journalctl -u docker` or `journalctl -u podman`";

pub(in crate::doctor) async fn version(context: &Context<'_>) -> Verdict {
    if context.endpoint().is_some() {
        return match context.facts().await {
            Ok(facts) => Verdict::ok(format!("{} speaks API {}", facts.engine, facts.api_version)),
            Err(reason) => Verdict::skipped(reason.clone()),
        };
    }
    let old = refused(context, |refusal| matches!(refusal, Refusal::TooOld { .. }));
    match old.map(|attempt| (attempt.endpoint, attempt.outcome)) {
        Some((endpoint, Err(Refusal::TooOld { api }))) => {
            Verdict::failed(format!("the engine at {endpoint} speaks only API {api}; 1.41 is needed"))
                .fix(Fix::advice("upgrade it: Docker 20.10 (December 2020) and Podman 4 are the oldest that will do"))
        }
        _ => Verdict::skipped("no engine answers"),
    }
}

/// What a platform builds on and engines do in different ways, in one sentence.
pub(in crate::doctor) async fn traits(context: &Context<'_>) -> Verdict {
    let facts = match context.facts().await {
        Ok(facts) => facts,
        Err(reason) => return Verdict::skipped(reason.clone()),
    };
    let traits = &facts.traits;
    if traits.names == NameServer::Nobody {
        return Verdict::failed(format!(
            "{} has no aardvark-dns: containers do not find each other by name",
            facts.engine
        ))
        .fix(Fix::advice(NO_AARDVARK));
    }
    let names = match traits.names {
        NameServer::InContainer => "names are answered at 127.0.0.11 in each container",
        _ => "names are answered at port 53 of each network's gateway",
    };
    let health = match traits.health_checks {
        true => "it runs health checks",
        false => "it runs no health checks (no systemd here), macula does",
    };
    let images = match (traits.containerd_images, &facts.storage_driver) {
        (true, _) => "images lie in containerd's store".to_owned(),
        (false, Some(driver)) => format!("images lie in {driver}"),
        (false, None) => "images lie where it does not say".to_owned(),
    };
    let builds = match facts.dockerfile {
        Some((major, minor)) => format!("BuildKit reads Dockerfile {major}.{minor}"),
        None => "it has no BuildKit".to_owned(),
    };
    let addresses = match (facts.container_addresses, facts.published) {
        (true, _) => "containers are reached at their own addresses",
        (false, true) => "containers are reached by published ports alone",
        (false, false) => "containers are not reached from here",
    };
    let product = traits.product.iter().map(|product| format!("behind the socket is {product}"));
    let all = [names.to_owned(), health.to_owned(), images, builds, addresses.to_owned()];
    Verdict::ok(all.into_iter().chain(product).collect::<Vec<_>>().join("; "))
}

const NO_AARDVARK: &str = "install aardvark-dns, then remove the networks that were made without it";

pub(in crate::doctor) async fn context(context: &Context<'_>) -> Verdict {
    if let (Some(used), Ok(facts)) = (context.endpoint(), context.facts().await)
        && !facts.published
        && !is_remote(used)
    {
        return Verdict::ok("this process is in a container of its own network, and the engine is outside of it").detail([
            "the platform's addresses (127.0.0.2 and so on) are listened on here, and passed on: see `macula help reach`",
        ]);
    }
    let Some(attempt) = named(context) else {
        return match context.endpoint() {
            Some(used) => Verdict::ok(format!("{} ({}) is on this machine", used.endpoint, origin(&used.source))),
            None => Verdict::skipped("no engine is named, and none answers"),
        };
    };
    let back = match &attempt.source {
        Source::DockerHost => "unset DOCKER_HOST",
        _ if context.host.env("DOCKER_CONTEXT").is_some_and(|name| !name.is_empty()) => "unset DOCKER_CONTEXT",
        _ => "docker context use default",
    };
    match &attempt.outcome {
        Ok(()) if is_remote(attempt) => Verdict::ok(format!("{}, which is another machine", naming(attempt))).detail([
            "the platform's addresses (127.0.0.2 and so on) lead there through a relay: see `macula help reach`",
        ]),
        Ok(()) => Verdict::ok(format!("{}, on this machine", naming(attempt))),
        Err(Refusal::PermissionDenied { .. } | Refusal::TooOld { .. }) => Verdict::ok(naming(attempt)),
        Err(refusal @ Refusal::Unsupported(_)) => Verdict::failed(format!("{}: {}", naming(attempt), reason(refusal)))
            .fix(Fix::advice(refusal.ways_round().join("; or "))),
        // it is there: a certificate, a key or what it answers is not as it should be
        Err(refusal @ Refusal::Other(_)) => Verdict::failed(format!("{}: {}", naming(attempt), reason(refusal)))
            .fix(Fix::advice(format!("correct what it says, or go back to the engine of this machine with `{back}`"))),
        Err(refusal) => Verdict::failed(format!("{}: {}", naming(attempt), reason(refusal)))
            .fix(Fix::advice(format!("start it, or go back to the engine of this machine with `{back}`"))),
    }
}

pub(in crate::doctor) async fn podman(context: &Context<'_>) -> Verdict {
    if context.endpoint().is_some() {
        return match context.facts().await {
            Ok(facts) if facts.engine_kind == EngineKind::Podman => {
                let endpoint = context.endpoint().map_or("its socket", |attempt| attempt.endpoint.as_str());
                Verdict::ok(format!("{} listens on {endpoint}", facts.engine))
            }
            Ok(facts) => Verdict::skipped(format!("{} is the engine", facts.engine)),
            Err(reason) => Verdict::skipped(reason.clone()),
        };
    }
    if let Some(attempt) = named(context) {
        return Verdict::skipped(format!("{}: see docker-context", naming(attempt)));
    }
    if context.host.which(PODMAN).is_none() {
        return Verdict::skipped("Podman is not installed");
    }
    if context.machine.os != "macos" && context.host.which(DOCKER).is_some() {
        return Verdict::skipped("Docker is installed too, and goes first");
    }
    let listens = |attempt: &Attempt| {
        let podman = matches!(attempt.source, Source::PodmanRootful | Source::PodmanRootless);
        podman && !closed_to_users(attempt) && !matches!(attempt.outcome, Err(Refusal::Absent | Refusal::NotListening))
    };
    if let Some(attempt) = context.discovery.attempts.iter().find(|attempt| listens(attempt)) {
        let why = attempt.outcome.as_ref().err().map(reason).unwrap_or_default();
        return Verdict::failed(format!("Podman's socket {}: {why}", attempt.endpoint));
    }
    Verdict::failed("Podman is installed, but its socket is not there").fix(install::start_podman(context.host).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineError;

    #[test]
    fn a_gateway_that_does_not_answer_is_behind_a_firewall() {
        let answer = Answer { dns: Ok(()), gateway: Err("timed out".into()), servers: Vec::new() };
        let verdict = proof_of(Proved { answer: Some(answer) }, &Facts::of("Docker 28.2.2", EngineKind::Docker));
        assert_eq!(
            verdict.fix.unwrap().text,
            "let packets from the engine's bridges in: with ufw, `sudo ufw allow in on br-+`; with firewalld, put the \
             bridges into the zone docker or trusted"
        );
    }

    #[test]
    fn each_end_of_the_proof_has_its_status_and_its_advice() {
        use crate::doctor::Status;
        use crate::model::AnyError;
        let docker = || Facts::of("Docker 28.2.2", EngineKind::Docker);
        let podman = || Facts::of("Podman 5.4.2", EngineKind::Podman);
        let check = |verdict: Verdict, status: Status, summary: &str, advice: &str| {
            assert_eq!((verdict.status, verdict.summary.as_str()), (status, summary));
            let told = verdict.fix.map(|fix| fix.text).unwrap_or_default();
            assert!(told.contains(advice) && told.is_empty() == advice.is_empty(), "{summary}: {told}");
        };
        let answer = |dns: Result<(), String>, servers: u8| {
            let servers = (1..=servers).map(|last| std::net::IpAddr::from([10, 89, 0, last])).collect();
            Proved { answer: Some(Answer { dns, gateway: Ok(()), servers }) }
        };
        let well = "a container starts, is reached, resolves names and reaches this machine";
        let unknown = "a container runs, but the engine's DNS does not resolve the names of others";
        let fails = || Err("timed out".to_owned());
        for (proved, facts, status, summary, advice) in [
            (
                Proved { answer: None },
                docker(),
                Status::Ok,
                "a container starts; what it publishes is not reached from here",
                "",
            ),
            (answer(Ok(()), 1), docker(), Status::Ok, well, ""),
            (
                answer(Ok(()), 2),
                podman(),
                Status::Warning,
                "containers are given other name servers next to the engine's own",
                "upgrade Podman",
            ),
            (answer(fails(), 1), docker(), Status::Warning, unknown, "port 53 of their network"),
            (answer(fails(), 1), podman(), Status::Warning, unknown, "install aardvark-dns"),
        ] {
            check(proof_of(proved, &facts), status, summary, advice);
        }
        let said = |message: &str| EngineError::Other { operation: "starting x".into(), message: message.into() };
        let address = "127.0.0.2:48120".parse().unwrap();
        let unreached = Unproved::Unreached { address, source: AnyError::said("refused") };
        let not_started = "containers do not start: starting x: runc: cgroup";
        for (error, facts, status, summary, advice) in [
            (Unproved::NotHere("not tried".into()), docker(), Status::Skipped, "not tried", ""),
            (
                Unproved::NoRoom(AnyError::said("subnets")),
                docker(),
                Status::Warning,
                "no free network or port for a trial container: subnets",
                "",
            ),
            (Unproved::Engine(said("no")), docker(), Status::Warning, "a trial container could not be made", ""),
            (
                Unproved::Ended { code: 127, log: Vec::new() },
                docker(),
                Status::Failed,
                "a container ended right after its start (exit code 127)",
                WHERE_IT_SAYS_MORE,
            ),
            (
                unreached,
                docker(),
                Status::Warning,
                "a container runs, and its port on 127.0.0.2:48120 does not answer: refused",
                "userland-proxy",
            ),
            // only Podman chooses its runtime by such a file
            (Unproved::NotStarted(said("runc: cgroup")), docker(), Status::Failed, not_started, WHERE_IT_SAYS_MORE),
            (Unproved::NotStarted(said("runc: cgroup")), podman(), Status::Failed, not_started, "another runtime"),
        ] {
            check(no_proof(error, &facts), status, summary, advice);
        }
    }

    #[test]
    fn without_a_tap_device_an_engine_without_root_makes_no_network() {
        let podman = Facts::of("Podman 5.4.2", EngineKind::Podman);
        let advice = |message: &str| {
            let error = EngineError::Other { operation: "starting x".into(), message: message.into() };
            no_proof(Unproved::NotStarted(error), &podman).fix.unwrap().text
        };
        let denied = "setting up Pasta: Failed to open() /dev/net/tun: Permission denied";
        assert!(advice(denied).contains("chmod 666 /dev/net/tun"), "{}", advice(denied));
        let missing = "setting up Pasta: Failed to open() /dev/net/tun: No such file or directory";
        assert!(advice(missing).contains("modprobe tun"), "{}", advice(missing));
        assert_eq!(advice("runc: exec failed"), WHERE_IT_SAYS_MORE);
    }
}
