//! Programs of this machine that builds need: installed where they are missing, refused where they are too old.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::{Consent, Error, Session};
use crate::doctor;
use crate::host::{Command, Host};
use crate::model::PrepareStep;
use crate::plan::{Action, Plan};
use crate::words;

/// Package -> the program whose version counts, and the oldest that does what is asked of it here: esbuild's
/// and Excalidraw's packages want Node.js 18; mmdebstrap knows `--skip=cleanup/apt/lists` since 0.8.
const OLDEST: [(&str, &str, (u32, u32)); 2] = [("npm", "node", (18, 0)), ("mmdebstrap", "mmdebstrap", (0, 8))];

/// Programs of the host that the builds of this plan need and that are not here.
pub(super) async fn install_programs(session: &Session, plan: &Plan, consent: &dyn Consent) -> Result<(), Error> {
    let host = session.host();
    // program -> Debian's package
    let mut missing: BTreeMap<String, String> = BTreeMap::new();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut need = |program: &str, package: &str| {
        wanted.insert(package.to_owned());
        if host.which(program).is_none() {
            missing.insert(program.to_owned(), package.to_owned());
        }
    };
    for step in &plan.steps {
        match &step.action {
            Action::MakeBase(_) => need("mmdebstrap", "mmdebstrap"),
            Action::ObtainImage { spec, pull: false, .. } => {
                if spec.build.as_ref().is_some_and(|build| build.spec.git.is_some()) {
                    need("git", "git");
                }
                for prepare in spec.build.iter().flat_map(|build| &build.prepare) {
                    if let PrepareStep::Run { command, needs: Some(package) } = prepare
                        && let Some(program) = command.first()
                    {
                        need(program, package);
                    }
                }
            }
            _ => {}
        }
    }
    for (package, program, oldest) in OLDEST {
        if wanted.contains(package)
            && let Some(found) = words::version(&said(host, program).await)
            && found < oldest
        {
            return Err(too_old(host, program, found, oldest));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let programs = missing.keys().cloned().collect::<Vec<_>>().join(", ");
    let packages: Vec<&str> = missing.values().map(String::as_str).collect();
    let why = format!("building images needs {programs}");
    let Some(fix) = doctor::install::packages(host, &packages) else {
        return Err(Error::said(format!("{why}: install {} first", packages.join(", "))));
    };
    if !consent.install(&why, &fix).await? {
        return Err(Error::said(format!("{why}, and it is not installed")));
    }
    Ok(doctor::carry_out(host, &fix, &|action| session.events.info(action.to_string())).await?)
}

/// What a program says of its version; nothing where it is not there.
async fn said(host: &dyn Host, program: &str) -> String {
    let command = Command::new(program, ["--version"]).may_fail();
    host.run(&command).await.map(|output| output.stdout()).unwrap_or_default()
}

fn too_old(host: &dyn Host, program: &str, found: (u32, u32), oldest: (u32, u32)) -> Error {
    let place = host.which(program).map(|path| path.display().to_string()).unwrap_or_default();
    Error::TooOld {
        program: program.to_owned(),
        place,
        found: format!("{}.{}", found.0, found.1),
        oldest: format!("{}.{}", oldest.0, oldest.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{Agrees, session};
    use crate::engine::fake::FakeEngine;
    use crate::host::fake::FakeHost;
    use crate::model::{BaseImage, Build, Fingerprint, ImageBuild, ImageSpec, ResourceId, ResourceKind};
    use crate::plan::{Cause, Step};

    async fn with(says: &str) -> Result<(), Error> {
        let host = FakeHost::new().program("mmdebstrap").answer("mmdebstrap --version", 0, says, "");
        let session = session(host, &FakeEngine::new(), "macula up");
        let base = BaseImage { reference: "localhost/macula/base:trixie".into(), suite: "trixie".into() };
        let step = Step {
            id: "make base".into(),
            resource: ResourceId::new(ResourceKind::Image, "base"),
            group: "base".into(),
            action: Action::MakeBase(base),
            cause: Cause::Missing,
            after: Vec::new(),
            destructive: false,
            needs_privilege: true,
        };
        let plan = Plan { steps: vec![step], ..Plan::default() };
        install_programs(&session, &plan, &Agrees).await
    }

    #[tokio::test]
    async fn what_a_prepared_step_needs_is_installed_by_its_package() {
        let told = async |needs: Option<&str>| {
            let run = PrepareStep::Run { command: vec!["yarnpkg".into()], needs: needs.map(str::to_owned) };
            let build = ImageBuild {
                tag: "macula/web:1".into(),
                spec: Build::default(),
                prepare: vec![run],
                base: None,
                fingerprint: Fingerprint::of(&"web"),
                labels: BTreeMap::new(),
                also: None,
                alike: Vec::new(),
            };
            let spec = ImageSpec {
                reference: "macula/web:1".into(),
                pull: Vec::new(),
                locked: Vec::new(),
                build: Some(build),
                always_pull: false,
                platform: None,
                services: vec!["web".into()],
            };
            let step = Step {
                id: "image".into(),
                resource: ResourceId::new(ResourceKind::Image, "macula/web:1"),
                group: "web".into(),
                action: Action::ObtainImage { spec: Box::new(spec), pull: false, build: true },
                cause: Cause::Missing,
                after: Vec::new(),
                destructive: false,
                needs_privilege: false,
            };
            let host = FakeHost::new();
            let session = session(host.clone(), &FakeEngine::new(), "macula up");
            let plan = Plan { steps: vec![step], ..Plan::default() };
            let done = install_programs(&session, &plan, &Agrees).await.map_err(|error| error.to_string());
            format!("{done:?} {:?}", host.journal())
        };
        assert!(told(Some("node-yarn")).await.contains("node-yarn"));
        // the build itself says that it is not there
        assert_eq!(told(None).await, "Ok(()) []");
    }

    #[tokio::test]
    async fn presence_is_not_enough() {
        assert!(with("mmdebstrap 1.3.5\n").await.is_ok());
        // one that does not say is given the benefit of the doubt
        assert!(with("").await.is_ok());
        let old = with("mmdebstrap 0.7.5\n").await.unwrap_err().to_string();
        assert_eq!(old, "building images needs mmdebstrap 0.8 or later; /usr/bin/mmdebstrap is 0.7");
    }
}
