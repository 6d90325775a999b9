//! Images that are unavailable, and data that another version wrote: those of one cause together.

use super::error::{CliError, ErrorKind};
use super::ui::text;
use crate::model::macula;
use crate::plan::SupplyProblem;
use crate::words;

/// Problems of one cause.
pub(super) struct Together<'a> {
    /// What is said of all of them.
    pub text: String,
    pub problems: Vec<&'a SupplyProblem>,
}

/// Services that are named where many have the same trouble.
const NAMED: usize = 5;

/// In the order of the first of each cause: an image that many services run is missing once.
pub(super) fn together(problems: &[SupplyProblem]) -> Vec<Together<'_>> {
    let mut groups: Vec<Vec<&SupplyProblem>> = Vec::new();
    for problem in problems {
        let same = |group: &&mut Vec<&SupplyProblem>| {
            problem.reason().is_some() && group.first().is_some_and(|first| first.reason() == problem.reason())
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(problem),
            None => groups.push(vec![problem]),
        }
    }
    groups.into_iter().map(told).collect()
}

fn told(problems: Vec<&SupplyProblem>) -> Together<'_> {
    let text = match problems.as_slice() {
        [first, _, ..] => {
            let names: Vec<String> = problems.iter().map(|problem| problem.service().to_owned()).collect();
            let names = if names.len() > NAMED { text::some(&names, NAMED - 1) } else { words::list(names) };
            format!("services {names}: {}", first.reason().map(ToString::to_string).unwrap_or_default())
        }
        few => few.iter().map(ToString::to_string).collect(),
    };
    Together { text, problems }
}

/// `image`: one that the engine lacks and another one could stand for.
pub(super) fn supply(problems: &[SupplyProblem], image: Option<&str>) -> CliError {
    let other = problems.iter().all(|problem| matches!(problem, SupplyProblem::OtherProvider { .. }));
    let too_old = problems.iter().all(|problem| matches!(problem, SupplyProblem::TooOld { .. }));
    let kept = problems.iter().all(|problem| matches!(problem, SupplyProblem::NotPulled { .. }));
    let (kind, what) = match (other, too_old) {
        (true, _) => {
            (ErrorKind::Conflict, "the data of some services was written by another version, and is left as it is")
        }
        (_, true) => (ErrorKind::Config, "this engine is too old for some services; nothing was changed"),
        _ => (ErrorKind::Image, "some images are unavailable; nothing was changed"),
    };
    let mut new = CliError::new(kind, what);
    new.details = together(problems).into_iter().map(|group| group.text).collect();
    if other {
        return new
            .hint("dump the data with the service's own tools and restore it into the new one, or go back to the image that wrote it (remove `services.NAME.image`, or its line of `images.overrides`, from macula.yaml)")
            .hint("--images build|local|auto selects where images come from")
            .suggest(macula("images list").why("to see which images are available"));
    }
    if too_old {
        return new.hint("update the engine, or remove these settings from the stack");
    }
    if kept {
        return new.hint("the engine keeps the images that it has").suggest(macula("images list"));
    }
    let mut unbuilt = problems.iter().filter(|problem| matches!(problem, SupplyProblem::NotBuilt { .. })).peekable();
    if unbuilt.peek().is_some() {
        let build = unbuilt.fold(macula("build"), |build, problem| build.arg(problem.service()));
        return new
            .suggest(build.why("to build what is missing; the data stays as it is"))
            .suggest(macula("up --images auto").why("to have images built and pulled again from now on"))
            .suggest(macula("images list"));
    }
    let elsewhere = |image| {
        format!("to take an image from elsewhere: images: {{overrides: {{\"{image}\": \"ANOTHER\"}}}} in macula.yaml")
    };
    match image {
        Some(image) => new.hint(elsewhere(image)),
        None => new,
    }
    .suggest(macula("images list"))
}

#[cfg(test)]
mod tests {
    use super::super::error::tests::shown;
    use super::*;
    use crate::model::Invocation;
    use crate::plan::Reason;

    fn missing(service: &str, image: &str) -> SupplyProblem {
        let reason = format!("{image} is not in the engine, its registry (docker.io) cannot be reached");
        SupplyProblem::NoImage { service: service.into(), reason: reason.into() }
    }

    #[test]
    fn an_image_of_many_services_is_missing_once() {
        let needs = SupplyProblem::NoImage { service: "job".into(), reason: Reason::Needs("db".into()) };
        let problems =
            [missing("admin", "acme/shop:1"), needs, missing("web", "acme/shop:1"), missing("worker", "acme/shop:1")];
        insta::assert_snapshot!(shown(supply(&problems, Some("acme/shop:1"))), @r#"
        error: some images are unavailable; nothing was changed
          services admin, web and worker: acme/shop:1 is not in the engine, its registry (docker.io) cannot be reached
          service job: it needs db, which is left out
          hint: to take an image from elsewhere: images: {overrides: {"acme/shop:1": "ANOTHER"}} in macula.yaml
          try: macula images list
        exit 6
        "#);
        let many: Vec<SupplyProblem> = (1..=7).map(|number| missing(&format!("web-{number}"), "a:1")).collect();
        let all = together(&many);
        assert_eq!((all.len(), all[0].problems.len()), (1, 7));
        assert!(all[0].text.starts_with("services web-1, web-2, web-3, web-4 and 3 more: a:1 is"), "{}", all[0].text);
    }

    #[test]
    fn what_cannot_be_pulled_again_is_not_missing() {
        let reason = "acme/shop:1 cannot be pulled, since its registry (docker.io) cannot be reached".into();
        let kept = SupplyProblem::NotPulled { service: "shop".into(), reason };
        insta::assert_snapshot!(shown(supply(&[kept], Some("acme/shop:1"))), @r"
        error: some images are unavailable; nothing was changed
          service shop: acme/shop:1 cannot be pulled, since its registry (docker.io) cannot be reached
          hint: the engine keeps the images that it has
          try: macula images list
        exit 6
        ");
    }

    #[test]
    fn data_of_another_version_is_the_matter_only_where_it_is_all() {
        let data = || SupplyProblem::OtherProvider {
            service: "postgres".into(),
            volume: "macula-postgres".into(),
            found: "postgresql-17".into(),
            opens: "only the build opens".into(),
        };
        assert_eq!(supply(&[data()], None).kind, ErrorKind::Conflict);
        insta::assert_snapshot!(shown(supply(&[missing("web", "a:1"), data()], None)), @r"
        error: some images are unavailable; nothing was changed
          service web: a:1 is not in the engine, its registry (docker.io) cannot be reached
          service postgres: the volume macula-postgres was written by postgresql-17, which only the build opens
          try: macula images list
        exit 6
        ");
    }

    fn proposed(error: &CliError) -> Vec<String> {
        error.hints.iter().filter_map(|hint| hint.command(&Invocation::default())).collect()
    }

    #[test]
    fn a_build_that_is_missing_names_the_command_that_makes_it() {
        let unbuilt = |service: &str| SupplyProblem::NotBuilt {
            service: service.into(),
            reason: Reason::NotBuilt { tag: format!("macula/{service}:1"), own: false },
        };
        let error = supply(&[unbuilt("minio"), unbuilt("s3-users")], None);
        assert_eq!(error.kind, ErrorKind::Image);
        assert_eq!(proposed(&error), ["macula build minio s3-users", "macula up --images auto", "macula images list"]);
        // what else is missing may need just that
        let other = SupplyProblem::NoImage { service: "shop".into(), reason: Reason::Needs("minio".into()) };
        let error = supply(&[other, unbuilt("minio")], None);
        assert_eq!(proposed(&error), ["macula build minio", "macula up --images auto", "macula images list"]);
    }
}
