//! A command in a container of its own, with the image, settings, files and volumes of a service and none of its names
//! and ports.

use crate::app::owner::Owner;
use crate::app::survey::{Survey, survey};
use crate::app::{Choices, Consent, Error, Session, UpOptions, Wanted};
use crate::config::Loaded;
use crate::engine::AttachedExec;
use crate::model::{ContainerSpec, PlatformName, Restart, label};
use crate::plan::Choice;

use super::up::up;

/// Brings up what the service needs, runs the command (none: a shell) and removes the container. The exit code of
/// the command. `choices`: what the `up` of it keeps; `ready`: called before the command has the terminal.
pub async fn one_off(
    session: &Session,
    loaded: &Loaded,
    choices: Choices,
    service: &str,
    request: &AttachedExec,
    consent: &dyn Consent,
    ready: &(dyn Fn() + Sync),
) -> Result<i64, Error> {
    let named = vec![service.to_owned()];
    let wanted =
        Wanted { services: named.clone(), needed: named, apart: Some(service.to_owned()), ..Wanted::default() };
    up(session, loaded, &UpOptions { wanted, choices, no_dns: None }, consent).await?;
    let survey = survey(session, loaded).await?;
    let spec = survey.resources.containers.iter().find(|spec| spec.service == service);
    let (Some(spec), Some(reference)) = (spec, image_of(&survey, service)) else {
        return Err(Error::NoContainer { service: service.to_owned() });
    };
    let mut number = [0; 4];
    getrandom::fill(&mut number)?;
    let own = apart(spec, &loaded.platform.name, request, u32::from_le_bytes(number));
    let mut labels = own.labels.clone();
    labels.extend(Owner::ensure(session.host()).await?.labels());
    if session.cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let engine = &survey.engine;
    engine.create_container(&own, &reference, &labels).await?;
    ready();
    let ended = engine.run_attached(&own.name, request).await;
    let removed = engine.discard_container(&own.name).await;
    let code = ended?;
    // the command has ended as it has
    if let Err(error) = removed {
        session.events.warn(format!("{} stays, which the next `up` removes: {error}", own.name));
    }
    Ok(code)
}

/// What the service's image is called in the engine. One that is got again at each look has just been got.
fn image_of(survey: &Survey, service: &str) -> Option<String> {
    match survey.supply.choices.get(service)? {
        Choice::Present { reference, .. } => Some(reference.clone()),
        Choice::Obtain { spec, pull, .. } => {
            let pulled = spec.present(&survey.observed).filter(|_| *pull).map(|(reference, _)| reference);
            let built = spec.build.as_ref().map(|build| build.tag.clone());
            pulled.or_else(|| built.filter(|tag| survey.observed.images.contains_key(tag)))
        }
    }
}

/// The better one of the shells that most images have.
pub fn shell() -> Vec<String> {
    ["sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi"].map(str::to_owned).to_vec()
}

/// The service's container as it is for one command. `number`: so that several may run at once; not the process's, which is
/// the same one in each container that macula runs in.
fn apart(spec: &ContainerSpec, platform: &PlatformName, request: &AttachedExec, number: u32) -> ContainerSpec {
    let mut own = spec.clone();
    own.name = platform.container(&format!("{}-run", spec.service), number);
    // it is never the one that somebody else has made with this name
    own.fingerprint = None;
    own.ports.clear();
    own.forwards.clear();
    own.guarded.clear();
    for network in &mut own.networks {
        network.aliases.clear();
        (network.ipv4, network.ipv6) = (None, None);
    }
    own.healthcheck = None;
    own.labels.retain(|key, _| [label::PLATFORM, label::VERSION].contains(&key.as_str()));
    own.labels.insert(label::ONE_OFF.to_owned(), spec.service.clone());
    match request.command.as_slice() {
        // as `exec` opens one, whatever the image starts otherwise
        [] => (own.entrypoint, own.command) = (Some(shell()), Some(Vec::new())),
        command => own.command = Some(command.to_vec()),
    }
    own.env.retain(|before| {
        let name = before.split('=').next();
        !request.env.iter().any(|given| given.split('=').next() == name)
    });
    own.env.extend(request.env.iter().cloned());
    own.env.sort();
    let options = &mut own.options;
    options.restart = Restart::No;
    options.tty = request.tty;
    options.stdin_open = request.stdin;
    options.privileged |= request.privileged;
    options.mac_address = None;
    if request.user.is_some() {
        options.user.clone_from(&request.user);
    }
    if request.workdir.is_some() {
        options.working_dir.clone_from(&request.workdir);
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{Agrees, session, shop};
    use crate::app::{DownOptions, down, prepare, status};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;

    fn request(words: &[&str]) -> AttachedExec {
        AttachedExec { command: words.iter().map(|&word| word.to_owned()).collect(), ..AttachedExec::default() }
    }

    #[tokio::test]
    async fn it_has_the_settings_of_the_service_and_none_of_its_names_and_ports() {
        let stack = "services:\n  web:\n    image: 'acme/web:1'\n    entrypoint: [serve]\n    command: [all]\n    user: app\n    \
                     restart: always\n    ports: ['8000:80']\n    environment: {A: one, B: two}\n    volumes: ['data:/data']\n    \
                     healthcheck: {test: ['CMD', 'true']}\nvolumes: {data: {}}\n";
        // behind a proxy nothing can be known of a registry beforehand
        let host = FakeHost::new().env_var("HTTPS_PROXY", "http://proxy:3128");
        let loaded = shop(&host, "", stack);
        let session = session(host, &FakeEngine::new().pullable("acme/web:1"), "macula exec");
        let prepared = prepare(&session, &loaded, &Wanted::default()).await.unwrap();
        let spec = &prepared.survey.resources.containers[0];
        let typed = AttachedExec {
            tty: true,
            stdin: true,
            env: vec!["B=three".into()],
            user: Some("root".into()),
            workdir: Some("/w".into()),
            ..request(&["migrate", "--all"])
        };
        let own = apart(spec, &loaded.platform.name, &typed, 7);
        assert_eq!((own.name.as_str(), &own.fingerprint), ("macula-shop-web-run-7", &None));
        assert_eq!(own.entrypoint.as_deref(), Some(&["serve".to_owned()][..]));
        assert_eq!(own.command.as_deref(), Some(&["migrate".to_owned(), "--all".to_owned()][..]));
        let ours = |env: &[String]| env.iter().filter(|one| one.len() < 8).cloned().collect::<Vec<_>>();
        assert_eq!(ours(&own.env), ["A=one", "B=three"]);
        assert_eq!(own.mounts, spec.mounts);
        assert!(own.ports.is_empty() && own.healthcheck.is_none());
        assert!(own.networks.iter().all(|network| network.aliases.is_empty() && network.ipv4.is_none()));
        let labels: Vec<&str> = own.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, [label::ONE_OFF, label::PLATFORM, label::VERSION]);
        let options = &own.options;
        assert_eq!((&options.restart, options.tty, options.stdin_open), (&Restart::No, true, true));
        assert_eq!((options.user.as_deref(), options.working_dir.as_deref()), (Some("root"), Some("/w")));
        let plain = apart(spec, &loaded.platform.name, &request(&[]), 8);
        let shell = ["sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi"];
        let (shell, user) = (shell.map(str::to_owned).to_vec(), Some("app".to_owned()));
        assert_eq!((plain.entrypoint, plain.command, plain.options.user), (Some(shell), Some(vec![]), user));
    }

    #[tokio::test]
    async fn what_it_needs_runs_and_the_service_does_not() {
        let stack = "services:\n  web: {image: 'acme/web:1', depends_on: [db]}\n  db: {image: 'acme/db:1'}\n";
        // behind a proxy nothing can be known of a registry beforehand
        let host = FakeHost::new().env_var("HTTPS_PROXY", "http://proxy:3128");
        let loaded = shop(&host, "", stack);
        let engine = FakeEngine::new().pullable("acme/web:1").pullable("acme/db:1");
        let session = session(host, &engine, "macula exec");
        let typed = request(&["true"]);
        let run = one_off(&session, &loaded, Choices::default(), "web", &typed, &Agrees, &|| {});
        assert_eq!(Box::pin(run).await.unwrap(), 0);
        assert_eq!(engine.containers(), ["macula-shop-db-1"], "its own was removed");
        let now = status(&session, &loaded).await.unwrap();
        let names: Vec<_> = now.services.iter().map(|row| (row.name.as_str(), row.condition.runs())).collect();
        assert_eq!(names, [("db", true), ("web", false)]);
        down(&session, &loaded.platform.name, DownOptions::default()).await.unwrap();
        assert_eq!(engine.containers(), [""; 0]);
    }
}
