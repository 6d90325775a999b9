use std::time::Duration;

use super::*;
use crate::model::PlatformName;
use crate::model::*;

const WEB: &str = "services: {web: {image: nginx}}\n";

fn request() -> Request {
    Request {
        cwd: PathBuf::from("/home/dev"),
        config_folder: Some(PathBuf::from("/home/u/.config/macula")),
        env: [("HOME".to_owned(), "/home/u".to_owned())].into(),
        ..Request::default()
    }
}

fn with_stack(text: &str) -> (Request, MemoryFiles) {
    let request = Request { stacks: vec![PathBuf::from("compose.yaml")], ..request() };
    (request, MemoryFiles::default().with("/home/dev/compose.yaml", text))
}

/// Loads without built-in stacks.
fn run(request: &Request, files: &MemoryFiles) -> Result<Loaded, ConfigErrors> {
    load_with(request, files, &[])
}

fn one(text: &str) -> Service {
    let (request, files) = with_stack(text);
    let loaded = run(&request, &files).unwrap_or_else(|errors| panic!("{errors}"));
    loaded.platform.services().next().map(|(_, service)| service.clone()).unwrap()
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_at_all_is_the_default_platform() {
    let loaded = run(&request(), &MemoryFiles::default()).unwrap();
    assert_eq!(loaded.platform.name, "macula");
    assert_eq!(loaded.platform.domain, "macula.local");
    assert_eq!(loaded.platform.stacks, vec![]);
    assert_eq!(loaded.config_file, None);
    assert_eq!(loaded.warnings, vec![]);
}

#[test]
fn macula_yaml_is_found_where_it_is_looked_for() {
    let home = MemoryFiles::default().with("/home/u/.config/macula/macula.yaml", "name: home\n");
    assert_eq!(run(&request(), &home).unwrap().platform.name, "home");
    let both = home.with("/home/dev/macula.yaml", "name: here\n").with("/home/dev/sub/other.yaml", "name: other\n");
    assert_eq!(run(&request(), &both).unwrap().platform.name, "here");
    let given = Request { file: Some("sub/other.yaml".into()), ..request() };
    assert_eq!(run(&given, &both).unwrap().platform.name, "other");
    let missing = Request { file: Some("nothing.yaml".into()), ..request() };
    insta::assert_snapshot!(run(&missing, &both).unwrap_err(), @r"
    nothing.yaml: there is no such file
        check --file; without it ./macula.yaml is taken if it is there
    ");
}

#[test]
fn what_turns_out_to_be_wrong_later_has_a_place() {
    let (request, files) = with_stack(
        "services:\n  web:\n    image: nginx\n    ports:\n      - 80:80\n      - \"8080:81\"\n    deploy: {resources: \
         {limits: {memory: 64m}}}\n  db: {image: postgres}\n",
    );
    let loaded = run(&request, &files).unwrap();
    let at = |service: &str, keys: &[&str]| {
        let found = loaded.at(service, keys, "wrong").unwrap();
        format!("{found} {}", found.source.as_deref().unwrap().trim())
    };
    assert_eq!(at("web", &["image"]), "compose.yaml:3:12: wrong image: nginx");
    assert_eq!(at("web", &["mem_limit", "deploy.resources.limits.memory"]).split(':').nth(1), Some("7"));
    assert_eq!(at("db", &["build"]), "compose.yaml:8:3: wrong db: {image: postgres}");
    assert_eq!(loaded.at("nobody", &["image"], "wrong"), None);
    let port = |port| loaded.at_port("web", port, "taken").unwrap().to_string();
    assert_eq!(port(8080), "compose.yaml:6:9: taken");
    assert_eq!(port(80), "compose.yaml:5:9: taken");
    assert_eq!(port(7), "compose.yaml:5:7: taken");
}

#[test]
fn every_platform_has_a_zone_of_its_own() {
    let zone = |file: &str, name: Option<&str>| {
        let files = MemoryFiles::default().with("/home/dev/macula.yaml", file);
        let loaded =
            run(&Request { name: name.map(|name| PlatformName::new(name).unwrap()), ..request() }, &files).unwrap();
        format!("{} {} {}", loaded.platform.name, loaded.platform.domain, loaded.platform.name.prefix())
    };
    assert_eq!(zone("", None), "macula macula.local macula");
    assert_eq!(zone("", Some("pr-1")), "pr-1 pr-1.macula.local macula-pr-1");
    assert_eq!(zone("name: dev", None), "dev dev.macula.local macula-dev");
    assert_eq!(zone("{name: dev, domain: dev.test}", None), "dev dev.test macula-dev");
    assert_eq!(zone("domain: dev.test", Some("pr-1")), "pr-1 pr-1.dev.test macula-pr-1");
    let small = MemoryFiles::default().with("/home/dev/macula.yaml", "addresses: {subnet: 10.0.0.0/28}\n");
    let told = run(&request(), &small).unwrap_err().to_string();
    assert!(told.contains("`10.0.0.0/28` is too small"), "{told}");
    let wrong = MemoryFiles::default().with("/home/dev/macula.yaml", "name: Not A Label");
    insta::assert_snapshot!(run(&request(), &wrong).unwrap_err(), @r"
    macula.yaml:1:7: name: `Not A Label` is not a valid name: use at most 40 lower-case letters, digits and inner dashes
        for example `not-a-label`
    ");
}

#[test]
fn built_in_stacks_come_first_and_can_be_replaced() {
    let built_in = [
        ("a.yaml", "services: {a: {image: a}}"),
        ("b.yaml", "services: {b: {image: b, x-macula: {configs: {/b: t.j2}}}}"),
    ];
    let files = MemoryFiles::default()
        .with("/home/dev/shop/compose.yaml", WEB)
        .with("/home/dev/macula.yaml", "stacks: [shop]")
        .with("/home/u/.config/macula/stacks/a.yaml", "services: {a: {image: own}}")
        .with("/home/u/.config/macula/templates/t.j2", "own {{ domain }}");
    let loaded = load_with(&request(), &files, &built_in).unwrap();
    let seen: Vec<String> = loaded
        .platform
        .services()
        .map(|(stack, service)| format!("{} {:?} {}", stack.name, stack.origin, service.image.as_deref().unwrap()))
        .collect();
    insta::assert_snapshot!(seen.join("\n"), @r#"
    a File("/home/u/.config/macula/stacks/a.yaml") own
    b BuiltIn b
    shop File("/home/dev/shop/compose.yaml") nginx
    "#);
    assert_eq!(loaded.platform.service("b").unwrap().1.extension.configs["/b"].source, "own {{ domain }}");
    assert_eq!(loaded.projects.len(), 3);
}

#[test]
fn the_same_stack_twice_is_there_once() {
    let files = MemoryFiles::default()
        .with("/home/dev/compose.yaml", WEB)
        .with("/home/dev/macula.yaml", "stacks: [., compose.yaml]");
    let request = Request { stacks: vec![".".into()], ..request() };
    assert_eq!(run(&request, &files).unwrap().platform.stacks.len(), 1);
}

#[test]
fn stacks_have_names_of_their_own() {
    let files = MemoryFiles::default().with("/home/dev/a/x/compose.yaml", WEB).with("/home/dev/b/x/compose.yaml", WEB);
    let request = Request { stacks: vec!["a/x".into(), "b/x".into()], ..request() };
    insta::assert_snapshot!(run(&request, &files).unwrap_err(), @r"
    b/x/compose.yaml:1:1: two stacks have the name `x`: the other is a/x/compose.yaml:1:1
        give one of them another `name:` at its top
    ");
}

#[test]
fn our_variables_are_known_to_every_stack() {
    let (request, files) =
        with_stack("services: {web: {image: '$MACULA_NAME/$MACULA_DOMAIN/$MACULA_PREFIX/$COMPOSE_PROJECT_NAME'}}");
    let request = Request { name: Some(PlatformName::new("x").unwrap()), ..request };
    let loaded = run(&request, &files).unwrap();
    assert_eq!(loaded.platform.service("web").unwrap().1.image.as_deref(), Some("x/x.macula.local/macula-x/dev"));
}

#[test]
fn the_environment_goes_before_the_env_file_beside_the_stack() {
    let (mut request, files) = with_stack("services: {web: {image: '$A-$B'}}");
    request.env.insert("A".into(), "shell".into());
    let files = files.with("/home/dev/.env", "A=file\nB=file\n");
    assert_eq!(run(&request, &files).unwrap().platform.service("web").unwrap().1.image.as_deref(), Some("shell-file"));
}

#[test]
fn settings_of_macula_yaml() {
    let text = "profiles: [p]\nimages: {policy: build, sources: {docker.io: mirror.gcr.io}, overrides: {nginx: nginx:mine}}\n\
                ingress: {redirect: true, http: 8080}\naddresses: {block: 127.80.5.0, subnet: 172.28.0.0/24}\n\
                dns: {listen: [127.0.0.9, '[::1]:5353'], upstream: [1.1.1.1], rebind_allow: [plex.direct]}\n\
                cluster: {enabled: false, workers: 2, udp_services: {4433: a/b:1}}\ntimeouts: {healthy: 90s}\nx-mine: 1\ndns2: \n";
    let (request, files) = with_stack("services: {web: {image: nginx, profiles: [p]}, q: {image: x, profiles: [q]}}");
    let files = files.with("/home/dev/macula.yaml", text.replace("dns2: \n", ""));
    let request = Request { images: Some(ImagePolicy::Local), ..request };
    let platform = run(&request, &files).unwrap().platform;
    assert_eq!(platform.images.policy, ImagePolicy::Local);
    assert_eq!(platform.images.sources["docker.io"], ["mirror.gcr.io"]);
    assert_eq!(platform.service("web").unwrap().1.image.as_deref(), Some("nginx:mine"));
    assert!(platform.service("q").is_none());
    assert_eq!(platform.ingress, IngressSettings { redirect: true, http: 8080, https: 443 });
    assert_eq!(platform.addresses.block, Some([127, 80, 5, 0].into()));
    assert_eq!(platform.addresses.subnet, Some("172.28.0.0/24".parse().unwrap()));
    assert_eq!(platform.dns.listen, vec!["127.0.0.9:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
    assert!(!platform.cluster.enabled);
    assert_eq!(platform.cluster.udp_services, [(4433, "a/b:1".to_owned())].into());
    assert_eq!(platform.timeouts.healthy, Duration::from_secs(90));
}

#[test]
fn services_are_changed_or_left_out_by_macula_yaml() {
    let (request, files) = with_stack(
        "services:\n  web: {image: a, environment: {A: '1', B: '2'}, depends_on: {db: {condition: service_started, required: false}},\n    \
         x-macula: {environment: {A: x, C: '{{ name }}'}, secrets: {KEY: {generate: 24}}}}\n  db: {image: b}\n",
    );
    let changed = |environment: &str| {
        let services =
            format!("web: {{image: own, environment: {{{environment}}}, memory: 1g}}, db: {{enabled: false}}");
        run(&request, &files.clone().with("/home/dev/macula.yaml", format!("services: {{{services}}}")))
    };
    let platform = changed("A: null, C: 3").unwrap().platform;
    let web = platform.service("web").unwrap().1;
    assert!(web.extension.environment.is_empty());
    assert_eq!(web.image.as_deref(), Some("own"));
    assert_eq!(platform.images.named, ["web".to_owned()].into());
    assert_eq!(web.environment, [("B".to_owned(), "2".to_owned()), ("C".to_owned(), "3".to_owned())].into());
    assert_eq!(web.options.resources.memory, Some(1 << 30));
    assert!(web.depends_on.is_empty());
    assert!(platform.service("db").is_none());
    insta::assert_snapshot!(changed("KEY: mine").unwrap_err(), @"
    macula.yaml:1:12: services.web.environment: `KEY` is a secret, which macula makes or passes on
        leave it out here; `macula creds` shows its value
    ");
}

#[test]
fn a_service_that_is_needed_cannot_be_left_out() {
    let (request, files) = with_stack("services: {web: {image: a, depends_on: [db]}, db: {image: b}}");
    let files = files.with("/home/dev/macula.yaml", "services: {db: {enabled: false}}");
    insta::assert_snapshot!(run(&request, &files).unwrap_err(), @"
    macula.yaml:1:12: services.db is switched off, and `web` needs it
        leave them out too: `services: {web: {enabled: false}}`
    ");
}

#[test]
fn a_stack_may_depend_on_a_service_of_another() {
    let (request, files) = with_stack("services: {web: {image: a, depends_on: [postgres]}}");
    let loaded = load_with(&request, &files, &[("db.yaml", "services: {postgres: {image: p}}")]).unwrap();
    assert!(loaded.platform.service("web").unwrap().1.depends_on["postgres"].required);
}

#[test]
fn an_embedded_stack_builds_from_its_dockerfile_alone() {
    let built_in = [("web.yaml", "services: {web: {image: x, build: {dockerfile_inline: FROM x}}}")];
    let loaded = load_with(&request(), &MemoryFiles::default(), &built_in).unwrap();
    let build = loaded.platform.service("web").unwrap().1.build.clone().unwrap();
    assert_eq!((build.context, build.dockerfile_inline.as_deref()), (None, Some("FROM x")));
    let user = one("services: {web: {build: {dockerfile_inline: FROM x}}}");
    assert_eq!(user.build.unwrap().context, Some(PathBuf::from("/home/dev")));
}

#[test]
fn an_error_in_a_built_in_stack_names_it() {
    let errors =
        load_with(&request(), &MemoryFiles::default(), &[("web.yaml", "services:\n  web: {imag: x}\n")]).unwrap_err();
    insta::assert_snapshot!(errors, @"
    built-in:web.yaml:2:9: unknown key `imag` in services.web
        did you mean `image`?
    ");
}

#[test]
fn the_built_in_stacks_load_without_a_word() {
    let loaded = load(&request(), &MemoryFiles::default()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(lines(&loaded.warnings), "");
}

/// One thing with two owners: what each says of it has to be the same.
#[test]
fn stacks_that_share_say_the_same() {
    let one = "services: {a: {image: a, volumes: ['data:/data'], networks: [back]}}
volumes: {data: {driver_opts: {type: nfs}}, same: {}, outer: {external: true, name: made}}
networks: {back: {name: back, internal: true}, own: {name: macula}}
";
    let two = "services: {b: {image: b, volumes: ['data:/data'], networks: [rear]}}
volumes: {data: {labels: {who: two}}, same: {}, made: {name: made, driver: local}}
networks: {rear: {name: back, ipam: {config: [{subnet: 10.99.0.0/24}]}}}
";
    let files = MemoryFiles::default().with("/home/one/compose.yaml", one).with("/home/two/compose.yaml", two);
    let stacks = vec!["/home/one".into(), "/home/two".into()];
    let request = Request { stacks, ..request() };
    insta::assert_snapshot!(run(&request, &files).unwrap_err(), @"
    /home/one/compose.yaml:3:48: networks.own: `macula` is the platform's own network
        say `external: true` to join it, or give it another name
    /home/two/compose.yaml:2:11: the volume macula-data is in the stack `one` too (/home/one/compose.yaml:2:11), with another `driver_opts` and `labels`
        say the same in both, or give one of them another `name:`
    /home/two/compose.yaml:3:12: the network back is in the stack `one` too (/home/one/compose.yaml:3:12), with another `internal` and `ipam`
        say the same in both, or give one of them another `name:`
    ");
}

#[test]
fn a_whole_built_in_stack_can_be_left_out() {
    let built_in = [
        (
            "data.yaml",
            "services: {db: {image: d, x-macula: {secrets: {PASSWORD: {generate: 24}}}}, job: {image: j, depends_on: [db]}}",
        ),
        (
            "web.yaml",
            "services: {web: {image: w, depends_on: [api]}, api: {image: a, x-macula: {secrets: {PGPASSWORD: {from: db.PASSWORD}}}}}",
        ),
        ("draw.yaml", "services: {draw: {image: d, depends_on: {db: {condition: service_started, required: false}}}}"),
    ];
    let with = |yaml: &str| {
        let files = MemoryFiles::default().with("/home/dev/macula.yaml", yaml);
        load_with(&request(), &files, &built_in)
    };
    let names = |yaml: &str| {
        let loaded = with(yaml).unwrap_or_else(|errors| panic!("{errors}"));
        loaded.platform.services().map(|(_, service)| service.name.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("built_in: {draw: false, web: true}"), "db job api web");
    assert_eq!(names("built_in: {data: false, web: false}"), "draw");
    insta::assert_snapshot!(with("built_in: {data: false, drawn: false}").unwrap_err(), @"
    macula.yaml:1:12: built_in.data is switched off, and `api` needs it, and through it `web`
        leave them out too: `services: {api: {enabled: false}, web: {enabled: false}}`
    macula.yaml:1:25: built_in: there is no stack `drawn`
        did you mean `draw`?
    ");
    insta::assert_snapshot!(with("services: {db: {enabled: false}, job: {enabled: false}}").unwrap_err(), @"
    macula.yaml:1:12: services.db is switched off, and `api` needs it, and through it `web`
        leave them out too: `services: {api: {enabled: false}, web: {enabled: false}}`
    ");
}

#[test]
fn the_name_is_found_without_the_stacks_and_in_spite_of_mistakes() {
    let name = |text: &str| {
        let files = MemoryFiles::default().with("/w/macula.yaml", text);
        let request = Request { cwd: "/w".into(), ..Request::default() };
        let (name, trouble) = platform_name(&request, &files);
        (name.to_string(), trouble.len())
    };
    assert_eq!(name("name: shop\nstacks: [gone.yaml]\n"), ("shop".into(), 0));
    assert_eq!(name("name: shop\nstakcs: []\n"), ("shop".into(), 1));
    assert_eq!(name("stacks: [\nname: 'shop' # the shop's\n").0, "shop");
    assert_eq!(name("domain: x.test\n"), ("macula".into(), 0));
}

#[test]
fn a_linked_worktree_has_a_platform_of_its_own() {
    let name = |git: &str, cwd: &str, file: &str| {
        let files = MemoryFiles::default()
            .with("/shop/.git/worktrees/Fix_Login/HEAD", "")
            .with("/shop-fix/.git", git)
            .with("/shop-fix/api/main.rs", "")
            .with(format!("{cwd}/macula.yaml"), file);
        let request = Request { cwd: cwd.into(), ..Request::default() };
        let loaded = run(&request, &files).unwrap();
        let found = loaded.platform.name.to_string();
        assert_eq!(platform_name(&request, &files).0.to_string(), found);
        // a stack elsewhere is the same from each of them
        let elsewhere = run(&Request { orchestrated: true, ..request }, &files).unwrap().platform;
        assert_eq!(elsewhere.name.as_str(), if file == "name: mine" { "mine" } else { "macula" });
        format!("{found} {}", loaded.platform.domain)
    };
    let linked = "gitdir: /shop/.git/worktrees/Fix_Login\n";
    assert_eq!(name(linked, "/shop-fix", "{}"), "fix-login fix-login.macula.local");
    assert_eq!(name(linked, "/shop-fix/api", "{}"), "fix-login fix-login.macula.local");
    assert_eq!(name(linked, "/shop-fix", "domain: shop.test"), "fix-login fix-login.shop.test");
    assert_eq!(name(linked, "/shop-fix", "name: mine"), "mine mine.macula.local");
    assert_eq!(name(linked, "/shop", "{}"), "macula macula.local");
    // `auto` says so, and is no name
    for auto in ["name: auto", "name: 'auto' # the worktree's"] {
        assert_eq!(name(linked, "/shop-fix", auto), "fix-login fix-login.macula.local");
        assert_eq!(name(linked, "/shop", auto), "macula macula.local");
    }
    let domain = "name: auto\ndomain: shop.test";
    assert_eq!(name(linked, "/shop-fix", domain), "fix-login fix-login.shop.test");
    for other in ["gitdir: ../shop/.git/modules/Fix_Login\n", "gitdir: /shop/.git/worktrees/..", "gitdir:", "\u{1}"] {
        assert_eq!(name(other, "/shop-fix", "{}"), "macula macula.local", "{other}");
    }
}

#[test]
fn overrides_of_images_that_no_stack_has_are_told() {
    let load_them = |compose: &str| {
        let files = MemoryFiles::default()
            .with(
                "/w/macula.yaml",
                "stacks: [compose.yaml]\nimages: {overrides: {\"a:1\": \"b:1\", \"typo:1\": \"b:1\"}}\n",
            )
            .with("/w/compose.yaml", compose);
        load(&Request { cwd: "/w".into(), ..Request::default() }, &files).unwrap().unused_overrides
    };
    assert_eq!(load_them("services: {a: {image: \"a:1\"}}"), ["typo:1"]);
    assert_eq!(load_them("services: {a: {image: \"a:1\"}, c: {image: \"typo:1\", profiles: [x]}}"), [""; 0]);
}

#[test]
fn add_ons_of_the_cluster_are_checked_when_the_file_is_read() {
    let load_them = |names: &str| {
        let files = MemoryFiles::default().with("/w/macula.yaml", format!("cluster: {{addons: [{names}]}}\n"));
        load(&Request { cwd: "/w".into(), ..Request::default() }, &files)
    };
    let error = load_them("aloy").unwrap_err().to_string();
    assert!(error.contains("cluster.addons: there is no add-on `aloy`") && error.contains("`alloy`"), "{error}");
    assert!(load_them("alloy").unwrap().warnings.iter().any(|warning| warning.to_string().contains("cluster.addons")));
}

mod model;
mod noise;
mod sample;

/// Seen side by side with docker compose 2.40.
#[test]
fn what_lies_beside_the_file_is_read_as_compose_reads_it() {
    const BASE: &str = "services: {web: {image: nginx, environment: {FROM: base}}}\n";
    let value = |files: &[(&str, &str)], key: &str| {
        let folder =
            files.iter().fold(MemoryFiles::default(), |all, (name, text)| all.with(format!("/p/{name}"), *text));
        let request = Request { stacks: vec!["/p".into()], ..request() };
        let loaded = run(&request, &folder).unwrap_or_else(|errors| panic!("{errors}"));
        loaded.platform.service("web").unwrap().1.environment.get(key).cloned().unwrap_or_default()
    };
    // the names of the two files need not belong together
    let over = "services: {web: {environment: {FROM: over}}}\n";
    for (base, name) in [
        ("compose.yaml", "compose.override.yaml"),
        ("compose.yaml", "docker-compose.override.yml"),
        ("docker-compose.yml", "compose.override.yml"),
    ] {
        assert_eq!(value(&[(base, BASE), (name, over)], "FROM"), "over", "{base} {name}");
    }
    let first = [("compose.yaml", BASE), ("docker-compose.override.yml", BASE), ("compose.override.yaml", over)];
    assert_eq!(value(&first, "FROM"), "over");
    // a port of both is one
    let ports = "services: {web: {image: nginx, ports: ['80:80']}}\n";
    let files = [("/p/compose.yaml", ports), ("/p/compose.override.yaml", ports)];
    let folder = files.into_iter().fold(MemoryFiles::default(), |all, (name, text)| all.with(name, text));
    let loaded = run(&Request { stacks: vec!["/p".into()], ..request() }, &folder).unwrap();
    assert_eq!(loaded.platform.service("web").unwrap().1.ports.len(), 1);
    // where two could be meant, each has its own
    let both = [("compose.yaml", BASE), ("docker-compose.yml", BASE), ("docker-compose.override.yml", over)];
    assert_eq!(value(&both, "FROM"), "base");
    // an env file knows what stands in the service, and then what the files before it say
    let two = "services: {web: {image: nginx, env_file: [a.env, b.env], environment: {OWN: service}}}\n";
    let files = [
        ("compose.yaml", two),
        (".env", "TAG=dot\n"),
        ("a.env", "TAG=a\nORD=one\nHOST=db\nOWN=file\n"),
        ("b.env", "X=${TAG}\nORD=two\nALIAS=${ORD}\nMINE=${OWN}\nURL=${HOST}\n"),
    ];
    let found = ["X", "ALIAS", "MINE", "TAG", "URL"].map(|key| value(&files, key));
    assert_eq!(found, ["dot", "two", "service", "a", "db"]);
    let raw = ("compose.yaml", "services: {web: {image: nginx, env_file: [{path: a.env, format: raw}, b.env]}}\n");
    assert_eq!(value(&[raw, files[2], ("b.env", "URL=${HOST}\n")], "URL"), "db");
    // of two env files of an include the later one counts
    let files = [
        ("compose.yaml", "include: [{path: web.yaml, env_file: [one.env, two.env]}]\n"),
        ("web.yaml", "services: {web: {image: nginx, environment: {T: '${T}', U: '${U}'}}}\n"),
        ("one.env", "T=1\n"),
        ("two.env", "U=${T}\nT=2\n"),
    ];
    assert_eq!(["T", "U"].map(|key| value(&files, key)), ["2", "1"]);
}

#[test]
fn of_two_policies_that_of_the_deployment_counts() {
    for (restart, policy, expected) in [
        ("always", "condition: on-failure, max_attempts: 2", Restart::OnFailure(Some(2))),
        ("always", "condition: none", Restart::No),
        ("'no'", "condition: any", Restart::Always),
        ("'no'", "condition: always", Restart::Always),
        ("'no'", "condition: unless-stopped", Restart::UnlessStopped),
        ("always", "condition: 'no'", Restart::No),
        ("unless-stopped", "max_attempts: 3", Restart::UnlessStopped),
    ] {
        let stack =
            format!("services: {{web: {{image: x, restart: {restart}, deploy: {{restart_policy: {{{policy}}}}}}}}}\n");
        assert_eq!(one(&stack).options.restart, expected, "{stack}");
    }
    let alone = one("services: {web: {image: x, deploy: {restart_policy: {max_attempts: 3}}}}\n");
    assert_eq!(alone.options.restart, Restart::Always);
}

#[test]
fn a_port_that_is_said_in_two_ways_is_one() {
    let service = one("services: {a: {image: x, ports: ['127.0.0.1:8080:80', '8080:80', '8081:80']}}\n");
    assert_eq!(service.ports.iter().map(|port| port.published).collect::<Vec<_>>(), [Some(8080), Some(8081)]);
}

#[test]
fn a_seccomp_profile_is_read_from_its_file() {
    let stack = |option: &str| format!("services: {{web: {{image: nginx, security_opt: ['{option}']}}}}\n");
    let read = |option: &str, profile: &str| {
        let (request, files) = with_stack(&stack(option));
        let loaded = run(&request, &files.with("/home/dev/profile.json", profile));
        loaded.map(|loaded| loaded.platform.service("web").unwrap().1.options.security_opt.concat())
    };
    let profile = "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n";
    for option in ["seccomp:./profile.json", "seccomp=profile.json", "seccomp=/home/dev/profile.json"] {
        assert_eq!(read(option, profile).unwrap(), r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#, "{option}");
    }
    for option in ["seccomp=unconfined", "seccomp:builtin", "no-new-privileges:true", "label=disable"] {
        assert_eq!(read(option, profile).unwrap(), option);
    }
    insta::assert_snapshot!(read("seccomp=profile.json", "[").unwrap_err(), @r"
    compose.yaml:1:47: services.web.security_opt: /home/dev/profile.json is not a seccomp profile: EOF while parsing a list at line 1 column 1
        name a file with the profile as JSON, or say seccomp=unconfined
    ");
    let missing = read("seccomp=none.json", "[").unwrap_err().to_string();
    assert!(missing.starts_with("compose.yaml:1:47: cannot read /home/dev/none.json: "), "{missing}");
}
