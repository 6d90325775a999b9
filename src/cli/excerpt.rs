//! A mistake in a file, with the line that it is in and a mark below it (docs/decisions/source-lines.md).

use unicode_width::UnicodeWidthChar;

use crate::app::Error;
use crate::apply::{BuildPlace, Failure, OUT_OF_MEMORY, StepError};
use crate::compile::CompileError;
use crate::config::{Diagnostic, Loaded};
use crate::engine::EngineError;
use crate::event::Place;
use crate::model::ResourceKind;
use crate::plan::{Conflict, SupplyProblem};

use super::error::CliError;
use super::start_error::{self, Trouble};
use super::supply_error::{Together, supply, together};

/// How much of a long line is shown at the most.
pub(super) const WIDTH: usize = 100;

/// The diagnostic as text; its help comes last. `room`: what of a line is shown, around the mark.
pub(super) fn annotated(diagnostic: &Diagnostic, room: usize) -> String {
    let Some(source) = diagnostic.source.as_deref().filter(|line| !line.trim().is_empty()) else {
        return diagnostic.to_string();
    };
    let bare = Diagnostic { help: None, ..diagnostic.clone() };
    let number = diagnostic.line.to_string();
    let gutter = " ".repeat(number.len());
    let column = usize::try_from(diagnostic.column).unwrap_or(1).saturating_sub(1);
    let letters: Vec<char> = source.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    // of a long line the part around the mark
    let start = if column > room * 3 / 4 { column - room / 2 } else { 0 };
    let mut shown: Vec<char> = letters.iter().copied().skip(start).take(room).collect();
    // what is not shown is not taken for the end
    if let Some(last) = shown.last_mut().filter(|_| start + room < letters.len()) {
        *last = '…';
    }
    let before: usize = shown.iter().take(column - start.min(column)).map(|letter| letter.width().unwrap_or(0)).sum();
    let length = word_length(letters.get(column..).unwrap_or_default());
    let mark = "^".repeat(length.min(room.saturating_sub(before)).max(1));
    let mut text = format!(
        "{bare}\n  {number} | {}\n  {gutter} | {}{mark}",
        shown.iter().collect::<String>().trim_end(),
        " ".repeat(before),
    );
    if let Some(help) = &diagnostic.help {
        text.push_str("\n    ");
        text.push_str(help);
    }
    text
}

/// The place in a file of the user's.
pub(super) fn place(found: &Diagnostic) -> Option<Place> {
    // an option of the command line, which is named as a file would be, is no place in one
    let no_file = ["built-in:", "--"].iter().any(|start| found.file.to_string_lossy().starts_with(start));
    (!no_file).then(|| Place { file: found.file.clone(), line: found.line, column: found.column })
}

/// An error about services, with the lines of the user's files that it comes from.
pub(super) fn located(error: Error, loaded: &Loaded, room: usize) -> CliError {
    // what stands in for a line of the error, by its number, and what comes below it
    let mut instead: Vec<(usize, Diagnostic)> = Vec::new();
    let mut below: Vec<Diagnostic> = Vec::new();
    match &error {
        Error::Supply(problems) => {
            let at = |group: &Together<'_>| {
                let mut all = group.problems.iter();
                all.find_map(|problem| loaded.at(problem.service(), keys_of(problem), &*group.text))
            };
            let groups = together(problems);
            instead.extend(groups.iter().enumerate().filter_map(|(line, group)| Some((line, at(group)?))));
        }
        Error::Compile(errors) => {
            let at = |error: &CompileError| match error {
                CompileError::Template { service, path, .. } => {
                    loaded.at(service, &[path.as_str(), "x-macula"], error.to_string())
                }
                CompileError::MissingSecret { .. } => None,
            };
            instead.extend(errors.iter().enumerate().filter_map(|(line, error)| Some((line, at(error)?))));
        }
        Error::Conflicts(conflicts) => {
            below.extend(conflicts.iter().filter_map(|conflict| conflict_place(conflict, loaded)));
        }
        Error::NoSuchPaths(missing) => below.extend(missing.iter().filter_map(|missing| {
            let makes_none = "`create_host_path: false` requires that it exists";
            loaded.at_mount(&missing.service, &missing.target, makes_none)
        })),
        Error::Mounts(problems) => below.extend(problems.iter().filter_map(|problem| {
            loaded.at_mount(&problem.service, &problem.target, format!("{} mounts it here", problem.service))
        })),
        Error::Failed(outcome) => below.extend(outcome.failed.iter().filter_map(|failure| match &failure.error {
            StepError::NotReady { service, reason, .. } if reason.starts_with(OUT_OF_MEMORY) => {
                loaded.at(service, &MEMORY, format!("the limit of {service}"))
            }
            StepError::Engine(error) => start_place(&failure.group, error, loaded),
            _ => None,
        })),
        _ => {}
    }
    let builds: Vec<(BuildPlace, String)> = match &error {
        Error::Failed(outcome) => outcome.failed.iter().filter_map(build_place).collect(),
        _ => Vec::new(),
    };
    let mut new = match &error {
        Error::Supply(problems) => {
            // what only needs something that is left out wants no other image
            let lacks = |problem: &SupplyProblem| {
                let image = loaded.platform.service(problem.service())?.1.image.as_deref()?;
                matches!(problem, SupplyProblem::NoImage { reason, .. } if reason.to_string().contains(image))
                    .then_some(image)
            };
            supply(problems, problems.iter().find_map(lacks))
        }
        _ => CliError::from(error),
    };
    let both = instead.iter().map(|(_, found)| found).chain(&below);
    let places = both.filter_map(|found| Some((place(found)?, found.message.clone())));
    let places = places.chain(build_places(&mut new.details, builds, loaded));
    new.places = std::mem::take(&mut new.places).into_iter().chain(places).collect();
    for (line, found) in instead {
        if let Some(detail) = new.details.get_mut(line) {
            *detail = annotated(&found, room);
        }
    }
    new.details.extend(below.iter().map(|found| annotated(found, room)));
    new
}

/// The line that asks for what somebody else has, or for what nobody has made.
fn conflict_place(conflict: &Conflict, loaded: &Loaded) -> Option<Diagnostic> {
    if let Some((service, port)) = &conflict.port {
        return loaded.at_port(service, *port, format!("{service} publishes port {port} here"));
    }
    let section = match conflict.resource.kind {
        ResourceKind::Volume => "volumes",
        ResourceKind::Network => "networks",
        _ => return None,
    };
    let message = match conflict.external {
        true => "`external` says that something else makes it",
        false => "`name` is that of something else",
    };
    loaded.at_named(section, &conflict.resource.name, conflict.external, message)
}

/// The line of a service that its engine could not start.
fn start_place(service: &str, error: &EngineError, loaded: &Loaded) -> Option<Diagnostic> {
    match start_error::trouble(error)? {
        Trouble::NoProgram(_) | Trouble::NotExecutable(_) => {
            loaded.at(service, &["entrypoint", "command", "image", "build"], format!("what {service} runs"))
        }
        Trouble::Mount { target, .. } => loaded.at_mount(service, target, format!("{service} mounts it here")),
    }
}

fn build_place(failure: &Failure) -> Option<(BuildPlace, String)> {
    match &failure.error {
        StepError::Build { failure, .. } => Some((failure.place.clone()?, failure.what.clone())),
        _ => None,
    }
}

/// Dockerfiles are named as other files are, from the working folder. Returns their places.
fn build_places(details: &mut [String], builds: Vec<(BuildPlace, String)>, loaded: &Loaded) -> Vec<(Place, String)> {
    let mut places = Vec::new();
    for (place, what) in builds {
        let BuildPlace::Dockerfile { path, line } = &place else { continue };
        let file = loaded.shown(path);
        let shown = BuildPlace::Dockerfile { path: file.clone(), line: *line };
        for detail in details.iter_mut() {
            *detail = detail.replace(&place.to_string(), &shown.to_string());
        }
        places.push((Place { file, line: *line, column: 1 }, what));
    }
    places
}

/// Where a service's limit is said.
const MEMORY: [&str; 2] = ["deploy.resources.limits.memory", "mem_limit"];

/// The keys of a service that a problem with its image is about.
fn keys_of(problem: &SupplyProblem) -> &'static [&'static str] {
    match problem {
        SupplyProblem::NotBuilt { .. } => &["build", "image"],
        SupplyProblem::NoImage { .. } | SupplyProblem::NotPulled { .. } | SupplyProblem::OtherProvider { .. } => {
            &["image", "build"]
        }
        // its text says what it is
        SupplyProblem::TooOld { .. } => &[],
    }
}

/// The length of what begins here: a value in quotes, a bracket, or a plain value or key, which a comma, a bracket, a
/// colon or a comment ends.
fn word_length(rest: &[char]) -> usize {
    let end = match rest {
        [quote @ ('"' | '\''), inner @ ..] => inner.iter().position(|letter| letter == quote).map(|at| at + 2),
        ['[' | ']' | '{' | '}', ..] => Some(1),
        [blank, ..] if blank.is_whitespace() => Some(1),
        _ => (0..rest.len()).find(|at| match rest.get(*at..).unwrap_or_default() {
            [',' | ']' | '}', ..] | [':'] | [' ', '#', ..] => true,
            [':', blank, ..] => blank.is_whitespace(),
            _ => false,
        }),
    };
    let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
    word.iter().rposition(|letter| !letter.is_whitespace()).map_or(1, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32, source: &str) -> String {
        annotated(
            &Diagnostic {
                file: "compose.yaml".into(),
                line,
                column,
                message: "wrong".into(),
                help: Some("right".into()),
                source: Some(source.into()),
            },
            WIDTH,
        )
    }

    #[test]
    fn the_line_is_shown_with_a_mark() {
        let all = [
            at(4, 5, "    imgae: nginx"),
            at(12, 12, "    image: \"a b\" # c"),
            at(8, 29, "    healthcheck: {interval: 5 seconds}"),
            at(9, 7, "    - 80:80  # web"),
            at(1, 7, "a: ü: b"),
            at(1, 4, "漢: [x,"),
            at(3, 1, "\tb: 1"),
            at(2, 200, &"x".repeat(300)),
            at(0, 0, ""),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        compose.yaml:4:5: wrong
          4 |     imgae: nginx
            |     ^^^^^
            right
        compose.yaml:12:12: wrong
          12 |     image: "a b" # c
             |            ^^^^^
            right
        compose.yaml:8:29: wrong
          8 |     healthcheck: {interval: 5 seconds}
            |                             ^^^^^^^^^
            right
        compose.yaml:9:7: wrong
          9 |     - 80:80  # web
            |       ^^^^^
            right
        compose.yaml:1:7: wrong
          1 | a: ü: b
            |       ^
            right
        compose.yaml:1:4: wrong
          1 | 漢: [x,
            |     ^
            right
        compose.yaml:3:1: wrong
          3 |  b: 1
            | ^
            right
        compose.yaml:2:200: wrong
          2 | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
            |                                                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
            right
        compose.yaml: wrong
            right
        "#);
    }

    #[test]
    fn only_what_is_in_a_file_has_a_place_there() {
        let at = |file: &str| {
            let (message, line) = ("no service has the profile".to_owned(), 0);
            place(&Diagnostic { file: file.into(), line, column: 0, message, help: None, source: None })
        };
        assert!(at("/p/macula.yaml").is_some());
        for none in ["--profile", "--stack", "built-in:core.yaml"] {
            assert!(at(none).is_none(), "{none}");
        }
    }

    #[test]
    fn an_error_in_a_template_shows_where_the_stack_names_it() {
        use crate::config::{MemoryFiles, Request, load};
        use crate::model::AnyError;

        let text = "services:\n  shop:\n    image: ghcr.io/acme/shop:1\n    x-macula:\n      \
                    configs: {/etc/shop.d/a.conf: a.j2}\n";
        let files = MemoryFiles::default()
            .with("/p/macula.yaml", "stacks: [compose.yaml]")
            .with("/p/compose.yaml", text)
            .with("/p/a.j2", "{{ domian }}");
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let loaded = load(&request, &files).unwrap();
        let error = CompileError::Template {
            service: "shop".into(),
            path: "x-macula.configs./etc/shop.d/a.conf".into(),
            source: AnyError::said("a.j2:1: `domian` is not defined: did you mean `domain`?"),
        };
        let error = located(Error::Compile(vec![error]), &loaded, WIDTH);
        assert!(error.details[0].starts_with("compose.yaml:5:37: service shop: "), "{:?}", error.details);
        assert_eq!(error.places.len(), 1);
    }

    #[test]
    fn an_error_about_a_service_shows_the_line_that_it_comes_from() {
        use crate::config::{MemoryFiles, Request, load};
        use crate::model::{Invocation, ResourceId};

        let text = "services:\n  shop:\n    image: ghcr.io/acme/shop:1\n    ports: [\"18080:80\"]\n";
        let files =
            MemoryFiles::default().with("/p/macula.yaml", "stacks: [compose.yaml]").with("/p/compose.yaml", text);
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let loaded = load(&request, &files).unwrap();
        let shown = |error: Error| {
            let error = located(error, &loaded, WIDTH);
            assert_eq!(error.places.len(), 1, "{error:?}");
            error.to_text(Default::default(), &Invocation::default(), Some(80))
        };
        let absent = SupplyProblem::NoImage {
            service: "shop".into(),
            reason: "ghcr.io/acme/shop:1 is not in the engine".into(),
        };
        let taken = Conflict {
            resource: ResourceId::new(ResourceKind::Container, "macula-shop-1"),
            message: "port 18080 is taken: python3 (pid 7) listens on 0.0.0.0:18080".into(),
            port: Some(("shop".into(), 18080)),
            external: false,
            remedies: Vec::new(),
        };
        let both = [shown(Error::Supply(vec![absent])), shown(Error::Conflicts(vec![taken]))];
        insta::assert_snapshot!(both.join("\n"), @r#"
        error: some images are unavailable; nothing was changed
          compose.yaml:3:12: service shop: ghcr.io/acme/shop:1 is not in the engine
              3 |     image: ghcr.io/acme/shop:1
                |            ^^^^^^^^^^^^^^^^^^^
          hint: to take an image from elsewhere: images: {overrides:
            {"ghcr.io/acme/shop:1": "ANOTHER"}} in macula.yaml
          try: macula images list

        error: port 18080 is taken: python3 (pid 7) listens on 0.0.0.0:18080
          nothing was changed
          compose.yaml:4:13: shop publishes port 18080 here
              4 |     ports: ["18080:80"]
                |             ^^^^^^^^^^
        "#);
    }

    #[test]
    fn a_mount_that_cannot_be_copied_is_shown_where_it_is_written() {
        use crate::compile::{MountProblem, Why};
        use crate::config::{MemoryFiles, Request, load};
        use crate::model::Invocation;

        let text = "services:\n  shop:\n    image: a\n    volumes: [\"./app.sock:/s\", \"./big:/b\"]\n";
        let files =
            MemoryFiles::default().with("/p/macula.yaml", "stacks: [compose.yaml]").with("/p/compose.yaml", text);
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let loaded = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
        let problem = |target: &str, shown: &str, why| MountProblem {
            service: "shop".into(),
            target: target.into(),
            path: "/p".into(),
            shown: shown.into(),
            why,
        };
        let socket = || problem("/s", "./app.sock", Why::Special("a socket"));
        let large = problem("/b", "./big", Why::Large { files: 3, bytes: 300_000_000 });
        let shown = |problems: Vec<MountProblem>| {
            let count = problems.len();
            let error = located(Error::Mounts(problems), &loaded, WIDTH);
            assert_eq!(error.places.len(), count, "{error:?}");
            error.to_text(Default::default(), &Invocation::default(), None)
        };
        let all = [shown(vec![socket()]), shown(vec![socket(), large])];
        insta::assert_snapshot!(all.join("\n"), @r#"
        error: shop mounts ./app.sock, which is a socket on this machine and cannot be copied to the engine's
          nothing was changed
          compose.yaml:4:15: shop mounts it here
              4 |     volumes: ["./app.sock:/s", "./big:/b"]
                |               ^^^^^^^^^^^^^^^
          hint: leave the mount out where the engine is on another machine, for example in an override file

        error: nothing was changed: some services mount what the engine's machine does not have
          shop mounts ./app.sock, which is a socket on this machine and cannot be copied to the engine's
          shop mounts ./big, which is too large to be copied to the engine's machine: at least 300.0 MB in 3 files (limit: 256.0 MB and 50,000 files)
          compose.yaml:4:15: shop mounts it here
              4 |     volumes: ["./app.sock:/s", "./big:/b"]
                |               ^^^^^^^^^^^^^^^
          compose.yaml:4:32: shop mounts it here
              4 |     volumes: ["./app.sock:/s", "./big:/b"]
                |                                ^^^^^^^^^^
          hint: leave the mount out where the engine is on another machine, for example in an override file
          hint: mount a volume over what the container does not need of it (`node_modules`), mount a part of the folder, take the files into the image with `build`, or copy them with `develop.watch`
        "#);
    }

    #[test]
    fn what_is_missing_is_shown_where_it_is_asked_for() {
        use crate::app::MissingPath;
        use crate::apply::{BuildFailure, Outcome};
        use crate::config::{MemoryFiles, Request, load};
        use crate::model::{Invocation, Remedy, ResourceId};

        let text = "services:\n  shop:\n    build: shop\n    command: shopd --fast\n    \
                    volumes: [{type: bind, source: ./conf, target: /c, bind: {create_host_path: false}}, data:/d]\n\
                    volumes:\n  data:\n    name: shop-data\n    external: true\n";
        let files = MemoryFiles::default()
            .with("/p/macula.yaml", "stacks: [compose.yaml]")
            .with("/p/compose.yaml", text)
            .with("/p/shop/Dockerfile", "FROM scratch\n");
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let loaded = load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
        let shown = |error: Error| {
            let error = located(error, &loaded, WIDTH);
            assert_eq!(error.places.len(), 1, "{error:?}");
            error.to_text(Default::default(), &Invocation::default(), Some(80))
        };
        let failed = |error: StepError| {
            let failure = Failure { step: "start container macula-shop-1".into(), group: "shop".into(), error };
            shown(Error::Failed(Box::new(Outcome { failed: vec![failure], ..Outcome::default() })))
        };
        let path = MissingPath { service: "shop".into(), path: "/p/conf".into(), target: "/c".into() };
        let external = Conflict {
            resource: ResourceId::new(ResourceKind::Volume, "shop-data"),
            message: "shop mounts the external volume shop-data, which does not exist".into(),
            port: None,
            external: true,
            remedies: vec![Remedy::shell(["docker", "volume", "create", "shop-data"])],
        };
        let no_program = EngineError::Other {
            operation: "starting container macula-shop-1".into(),
            message: "exec: \"shopd\": executable file not found in $PATH: unknown".into(),
        };
        let build = BuildFailure {
            service: "shop".into(),
            what: "step 2 of 2 ended with exit code 2".into(),
            place: Some(BuildPlace::Dockerfile { path: "/p/shop/Dockerfile".into(), line: 12 }),
            instruction: Some("RUN make".into()),
            lines: vec!["make: *** No targets.  Stop.".into()],
            log: None,
        };
        let source = Box::new(StepError::Broken("build".into()));
        let all = [
            shown(Error::NoSuchPaths(vec![path])),
            shown(Error::Conflicts(vec![external])),
            failed(StepError::Engine(no_program)),
            failed(StepError::Build { failure: Box::new(build), source }),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        error: shop mounts /p/conf, which does not exist
          nothing was changed
          compose.yaml:5:36: `create_host_path: false` requires that it exists
              5 |     volumes: [{type: bind, source: ./conf, target: /c, bind: {create_host_path: false}}, data:/d]
                |                                    ^^^^^^
          try: mkdir -p /p/conf

        error: shop mounts the external volume shop-data, which does not exist
          nothing was changed
          compose.yaml:7:3: `external` says that something else makes it
              7 |   data:
                |   ^^^^
          try: docker volume create shop-data

        error: shop could not be started: its image has no program `shopd`
          compose.yaml:4:14: what shop runs
              4 |     command: shopd --fast
                |              ^^^^^^^^^^^^
          hint: check `command` and `entrypoint` of the service, and what its image has

        error: shop was not built: step 2 of 2 ended with exit code 2
          shop/Dockerfile:12
              12 | RUN make
                 |   make: *** No targets.  Stop.
          hint: shop is left as it was; once the build is fixed, `up` continues from
            there
        ");
    }
}
