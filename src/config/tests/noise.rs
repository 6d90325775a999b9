//! Files put together at random: whatever they say, they are read or refused.

use proptest::prelude::*;

use super::*;

/// Keys and values of stack files, put together at random.
fn stack() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "x",
        "5",
        "true",
        "~",
        "[a, b]",
        "{a: b}",
        "[{a: b}]",
        "\"80:80\"",
        "[\"80:80\", 5]",
        "{condition: service_healthy}",
        "[web]",
        "{web: {}}",
        "[\"v:/v\"]",
        "10s",
        "!reset 1",
        "!override [x]",
        "${X:-y}",
        "${",
        "*a",
        "&a x",
        "-1",
        "1.5",
        "[]",
        "{}",
        "{http: {port: 80}}",
        "[{port: 1}]",
        "{A: {generate: 24}}",
        "{A: {from: web.A}}",
        "{file: compose.yaml, service: web}",
        "{limits: {cpus: 1}}",
    ]);
    let key = prop::sample::select(vec![
        "image",
        "build",
        "command",
        "environment",
        "env_file",
        "ports",
        "expose",
        "volumes",
        "tmpfs",
        "networks",
        "depends_on",
        "extends",
        "healthcheck",
        "configs",
        "secrets",
        "deploy",
        "ulimits",
        "labels",
        "extra_hosts",
        "profiles",
        "x-macula",
        "devices",
        "logging",
        "scale",
        "network_mode",
        "links",
        "restart",
        "mem_limit",
        "gpus",
        "develop",
        "sysctls",
        "dns",
        "stop_grace_period",
        "container_name",
        "nonsense",
    ]);
    let extension = prop::sample::select(vec![
        "role", "ingress", "address", "probe", "metrics", "exports", "secrets", "configs", "reload", "build",
        "provider", "sources", "optional",
    ]);
    let service = prop::collection::vec((key, value.clone()), 0..6);
    let extra = prop::collection::vec((extension, value), 0..4);
    prop::collection::btree_map(prop::sample::select(vec!["web", "db", "a b"]), (service, extra), 1..3).prop_map(
        |services| {
            let mut text = String::from("services:\n");
            for (name, (fields, extra)) in services {
                text.push_str(&format!("  {name}:\n"));
                for (key, value) in fields {
                    text.push_str(&format!("    {key}: {value}\n"));
                }
                if !extra.is_empty() {
                    text.push_str("    x-macula:\n");
                    for (key, value) in extra {
                        text.push_str(&format!("      {key}: {value}\n"));
                    }
                }
            }
            text
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn stacks_never_panic(text in stack()) {
        let (request, files) = with_stack(&text);
        if let Ok(loaded) = run(&request, &files) {
            for project in &loaded.projects {
                let _ = canonical(project);
            }
        }
    }

    /// What is printed is a stack again, and prints the same.
    #[test]
    fn the_canonical_form_is_its_own_canonical_form(text in stack()) {
        let (request, files) = with_stack(&text);
        if let Ok(loaded) = run(&request, &files) {
            let first = canonical(&loaded.projects[0]);
            let (request, files) = with_stack(&first);
            let again = run(&request, &files).map_err(|errors| TestCaseError::fail(format!("{errors}\n{first}")))?;
            prop_assert_eq!(canonical(&again.projects[0]), first);
        }
    }

    #[test]
    fn any_text_is_no_more_than_an_error(text in any::<String>(), more in "[a-z:{}\\[\\] \n$&*!-]{0,80}") {
        for text in [text, more] {
            let (request, files) = with_stack(&text);
            let _ = run(&request, &files);
            let files = MemoryFiles::default().with("/home/dev/macula.yaml", text);
            let _ = run(&super::request(), &files);
        }
    }
}
