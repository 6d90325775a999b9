//! Whether an engine can build what a Dockerfile says.

use crate::model::{Build, Facts};

/// Why it cannot; `None`: it can. A front end that the Dockerfile names knows what the engine's own does
/// not; `frontend`: it can be had.
pub fn cannot_build(build: &Build, facts: &Facts, frontend: bool) -> Option<(String, String)> {
    let need = build.unmet(facts)?;
    let (major, minor) = need.version;
    let engine = &facts.engine;
    let reason = match (facts.dockerfile, &build.syntax) {
        (Some(_), Some(_)) if frontend => return None,
        (Some((own, its)), Some(syntax)) => format!(
            "needs version {major}.{minor} of the Dockerfile format; {engine} reads {own}.{its} by itself, and the registry \
             of {syntax} cannot be reached"
        ),
        (Some((own, its)), None) => format!(
            "needs version {major}.{minor} of the Dockerfile format, and {engine} reads {own}.{its}; update Docker, or put \
             `# syntax=docker/dockerfile:1` in the first line"
        ),
        (None, _) => format!("needs BuildKit, which {engine} does not have"),
    };
    Some((need.what.clone(), reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BuildNeed, EngineKind, FormatVersion};

    #[test]
    fn what_an_engine_cannot_build_is_told_with_its_place() {
        let need = |by_key| BuildNeed { what: "Dockerfile:2:1: `COPY --link`".into(), version: (1, 4), by_key };
        let build = |syntax: Option<&str>, by_key| Build {
            syntax: syntax.map(str::to_owned),
            needs: vec![need(by_key)],
            ..Build::default()
        };
        let (docker, podman) = (EngineKind::Docker, EngineKind::Podman);
        let why = |build: &Build, facts: &Facts, frontend| {
            cannot_build(build, facts, frontend).map(|(what, reason)| format!("{what} {reason}"))
        };
        assert_eq!(why(&build(None, false), &facts(docker, Some((1, 4))), false), None);
        assert_eq!(why(&build(None, false), &facts(podman, None), false), None);
        assert_eq!(
            why(&build(None, true), &facts(podman, None), false).unwrap(),
            "Dockerfile:2:1: `COPY --link` needs BuildKit, which E 1 does not have"
        );
        assert_eq!(
            why(&build(None, false), &facts(docker, Some((1, 2))), false).unwrap(),
            "Dockerfile:2:1: `COPY --link` needs version 1.4 of the Dockerfile format, and E 1 reads 1.2; update Docker, or \
             put `# syntax=docker/dockerfile:1` in the first line"
        );
        let named = build(Some("docker/dockerfile:1"), false);
        assert_eq!(why(&named, &facts(docker, Some((1, 2))), true), None);
        assert_eq!(
            why(&named, &facts(docker, Some((1, 2))), false).unwrap(),
            "Dockerfile:2:1: `COPY --link` needs version 1.4 of the Dockerfile format; E 1 reads 1.2 by itself, and the \
             registry of docker/dockerfile:1 cannot be reached"
        );
    }

    fn facts(engine_kind: EngineKind, dockerfile: Option<FormatVersion>) -> Facts {
        Facts { dockerfile, ..Facts::of("E 1", engine_kind) }
    }
}
