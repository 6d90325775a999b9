//! Every option of every command and every key of macula.yaml and `x-macula` names the test that sees what it changes.
//! What has none yet stands in a list of its own, which may only become shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::pages::root;

/// Options by the test that sees their effect; `*`: of every command that has it.
const OPTIONS: &[(&str, &[&str])] = &[
    ("a_port_that_is_taken_moves_where_that_is_asked_for", &["up --remap", "plan --remap"]),
    ("every_command_with_stacks_reads_them", &["* --stack"]),
    ("every_command_with_profiles_knows_them", &["* --profile"]),
    ("every_command_that_may_leave_the_project_out_does", &["* --no-discover"]),
    // of the program
    ("settings_come_from_the_file_and_the_command_line_goes_before", &["macula --name"]),
    ("a_file_that_is_named_must_be_there", &["macula --file"]),
    ("every_command_prints_json_that_parses", &["macula --output"]),
    ("progress_for_programs_is_one_object_a_line", &["macula --progress"]),
    ("without_a_terminal_data_goes_only_with_yes", &["macula --yes"]),
    ("what_up_was_told_holds_until_it_is_told_otherwise", &["macula --verbose"]),
    ("colour_is_for_those_who_ask", &["macula --color"]),
    // the platform
    ("a_build_and_a_container_are_made_anew_when_asked_for", &["up --build", "up --force-recreate", "up --no-deps"]),
    ("up_twice_does_nothing_the_second_time", &["up --dry-run", "plan --exit-code"]),
    (
        "what_up_was_told_holds_until_it_is_told_otherwise",
        &[
            "up --images",
            "up --strict",
            "up --no-cluster",
            "up --cluster",
            "up --no-dns",
            "up --reset",
            "plan --strict",
            "images list --images",
        ],
    ),
    ("a_stack_that_is_not_loaded_keeps_its_containers_unless_they_are_to_go", &["up --remove-orphans"]),
    ("a_service_that_never_gets_healthy_has_a_deadline", &["up --timeout"]),
    ("a_platform_may_have_a_lease", &["up --dns", "up --lease", "up --lease-of", "up --idle"]),
    ("every_step_is_a_span", &["up --timings"]),
    ("files_that_git_ignores_count_when_they_are_meant_to", &["up --watch", "watch --all-files"]),
    ("down_keeps_the_rows_and_with_volumes_does_not", &["down --volumes", "down --dry-run"]),
    ("down_takes_the_cluster_first_or_keeps_it", &["down --keep-cluster"]),
    ("down_takes_what_it_is_told_to", &["down --any-owner", "down --all", "down --gone"]),
    ("a_build_is_made_once_and_anew_when_its_folder_changes", &["plan --images"]),
    ("plan_shows_it_and_no_cluster_leaves_it_out", &["plan --no-cluster"]),
    ("what_is_shown_and_run_is_what_was_asked_for", &["status --all", "status --stats"]),
    ("top_tells_a_busy_service_from_an_idle_one", &["top --once"]),
    ("top_is_one_screen_that_obeys_keys", &["top --sort"]),
    ("a_fix_does_what_it_says_and_looks_again", &["doctor --fix"]),
    ("the_checks_of_the_doctor_have_names", &["doctor --list"]),
    ("ci_starts_runs_and_cleans_up", &["ci --no-dns"]),
    (
        "ci_does_what_its_options_say",
        &["ci --needs", "ci --report", "ci --no-report", "ci --keep", "ci --timeout", "ci --images", "ci --no-cluster"],
    ),
    ("a_report_of_wrong_files_says_what_is_wrong", &["report --to"]),
    ("nothing_that_changes_something_is_there_unless_it_is_allowed", &["mcp --allow"]),
    (
        "what_would_be_written_is_shown",
        &["mcp --install", "init --dry-run", "config schema --compose", "uninstall --dry-run"],
    ),
    ("a_schema_is_printed_by_itself", &["config schema --of"]),
    // services
    ("logs_of_all_of_one_and_of_the_last_lines", &["logs --tail", "logs --since", "logs --no-prefix"]),
    ("a_reader_that_goes_away_is_no_error", &["logs --follow"]),
    (
        "what_is_shown_and_run_is_what_was_asked_for",
        &[
            "logs --until",
            "logs --grep",
            "logs --level",
            "logs --timestamps",
            "exec --index",
            "exec --privileged",
            "creds --all",
        ],
    ),
    (
        "what_programs_send_is_taken_and_shown",
        &["logs --trace", "traces --service", "traces --slow", "traces --errors", "traces --map"],
    ),
    ("a_platform_may_have_a_lease", &["traces --count"]),
    ("a_command_has_a_new_container_of_its_service", &["exec --new"]),
    ("files_are_copied_as_docker_copies_them", &["cp --follow-link", "cp --archive", "cp --index"]),
    ("ports_are_told_as_they_are_reached", &["port --protocol", "port --index"]),
    (
        "numbers_of_containers_hold_until_they_are_given_back",
        &["up --scale", "plan --scale", "ci --scale", "scale --no-deps", "scale --dry-run"],
    ),
    ("exec_gives_input_output_and_exit_code", &["exec --no-tty", "exec --user", "exec --workdir", "exec --env"]),
    ("results_for_programs_have_their_shape", &["open --print"]),
    ("passwords_are_made_once_and_shown_to_their_owner_only", &["env --format"]),
    ("a_program_has_a_name_for_as_long_as_it_runs", &["run --as"]),
    ("what_is_shown_and_run_is_what_was_asked_for", &["run --port", "run --needs", "run --env-file"]),
    ("wait_ends_with_what_it_waits_for", &["wait --for", "wait --timeout"]),
    ("what_cannot_be_watched_is_said", &["watch --no-up"]),
    // names
    ("a_change_is_told_whole_and_only_where_there_is_one", &["dns add --ttl"]),
    (
        "the_resolver_serves_as_its_options_say",
        &[
            "dns serve --listen",
            "dns serve --dot",
            "dns serve --doh",
            "dns serve --upstream",
            "dns serve --rebind-allow",
            "dns serve --metrics",
            "dns serve --page",
        ],
    ),
    ("a_platform_may_have_a_lease", &["dns query --inside"]),
    ("every_rung_and_its_files", &["dns install --method"]),
    ("the_units_of_the_service", &["dns install --service"]),
    ("roots_of_other_domains_are_known_as_long_as_they_are_there", &["trust uninstall --all"]),
    // images and the cluster
    ("a_build_is_made_once_and_anew_when_its_folder_changes", &["images build --force"]),
    ("a_bundle_carries_the_images_to_an_engine_without_them", &["images save --images", "up --bundle", "ci --bundle"]),
    ("what_is_built_no_more_is_pruned", &["images prune --dry-run"]),
    ("a_cluster_that_does_not_come_up_is_an_error_and_goes_unless_retained", &["cluster create --retain"]),
    ("the_kubeconfig_is_given_alone_or_merged", &["cluster kubeconfig --merge"]),
    // stacks and settings
    (
        "stack_render_does_what_its_options_say",
        &[
            "stack render --target",
            "stack render --namespace",
            "stack render --registry",
            "stack render --accept-losses",
            "stack render --dir",
            "stack render --show-secrets",
            "stack render --wait-image",
        ],
    ),
    (
        "what_a_stack_builds_is_pushed_and_pinned",
        &["stack deploy --namespace", "stack deploy --build", "stack deploy --registry"],
    ),
    ("a_loss_ends_a_deployment_unless_it_is_accepted", &["stack deploy --accept-losses"]),
    (
        "a_namespace_of_somebody_elses_is_used_and_stays",
        &[
            "stack status --namespace",
            "stack validate --namespace",
            "stack scale --namespace",
            "stack remove --namespace",
        ],
    ),
    ("a_stack_is_scaled_looked_at_and_removed", &["stack remove --volumes"]),
    ("a_scaling_has_a_deadline", &["stack scale --timeout"]),
    (
        "a_stack_lives_on_a_swarm",
        &[
            "stack deploy --target",
            "stack deploy --dry-run",
            "stack status --target",
            "stack validate --target",
            "stack scale --target",
            "stack remove --target",
        ],
    ),
    ("what_does_not_run_on_a_swarm_says_why", &["stack deploy --timeout"]),
    (
        "every_command_about_a_swarm_asks_the_engine_of_its_context",
        &[
            "stack deploy --context",
            "stack status --context",
            "stack validate --context",
            "stack scale --context",
            "stack remove --context",
        ],
    ),
    ("init_writes_a_file_that_loads", &["config init --force"]),
    ("a_release_takes_the_place_and_the_mode_of_the_program", &["upgrade --from", "upgrade --check"]),
    ("all_of_this_user_goes_the_data_last_and_nothing_of_another", &["uninstall --volumes"]),
];

/// Options that no test sees the effect of yet.
const OPTIONS_LEFT: [&str; 3] = ["status --images", "status --watch", "top --images"];

/// Keys by the test that sees their effect.
const KEYS: &[(&str, &[&str])] = &[
    ("a_port_that_is_taken_moves_where_that_is_asked_for", &["ports"]),
    ("settings_come_from_the_file_and_the_command_line_goes_before", &["name"]),
    ("every_platform_has_a_zone_of_its_own", &["domain"]),
    ("settings_of_macula_yaml", &["profiles", "images.overrides"]),
    ("stacks_have_names_of_their_own", &["stacks"]),
    ("the_catalog_is_there_only_where_somebody_asks", &["add"]),
    ("macula_yaml_or_nobody_asking_leaves_it_out", &["discover"]),
    ("a_whole_built_in_stack_can_be_left_out", &["built_in"]),
    (
        "services_are_changed_or_left_out_by_macula_yaml",
        &["services.NAME.enabled", "services.NAME.image", "services.NAME.environment", "services.NAME.memory"],
    ),
    ("what_up_was_told_holds_until_it_is_told_otherwise", &["images.policy"]),
    ("services_come_from_a_mirror_under_their_own_names", &["images.sources"]),
    ("rules_of_a_name_do_what_they_say", &["ingress.redirect", "ingress.https"]),
    ("ports_of_the_ingress_become_names", &["ingress.http"]),
    ("keys_of_x_macula_do_what_the_page_says", &["addresses.block", "addresses.subnet"]),
    ("a_relay_leads_to_what_is_not_published", &["reach"]),
    ("settings_of_one_platform_move_nothing_of_another", &["dns.listen", "dns.upstream"]),
    ("without_kind_up_goes_on_without_a_cluster", &["cluster.enabled"]),
    ("five_nodes", &["cluster.control_planes", "cluster.workers", "cluster.feature_gates"]),
    ("another_image_and_more_ports", &["cluster.node_image", "cluster.udp_services"]),
    ("udp_services_are_ports_of_the_node", &["cluster.ingress"]),
    ("the_cluster_has_the_name_that_it_is_given", &["cluster.name"]),
    ("a_cluster_has_the_time_that_macula_yaml_gives_it", &["cluster.timeout"]),
    // there is one, and others are refused
    ("broken_files_say_what_is_wrong", &["cluster.provider"]),
    ("add_ons_of_the_cluster_are_checked_when_the_file_is_read", &["cluster.addons"]),
    ("the_program_is_the_chosen_one_or_none", &["cluster.program"]),
    ("what_is_part_of_the_platform_is_left_alone", &["telemetry.mode"]),
    ("the_oldest_goes_first_when_it_is_too_much_or_too_old", &["telemetry.size", "telemetry.age"]),
    (
        "programs_of_macula_yaml_come_up_with_the_platform_and_stay",
        &[
            "processes.NAME.command",
            "processes.NAME.cwd",
            "processes.NAME.ingress",
            "processes.NAME.env",
            "processes.NAME.restart",
            "processes.NAME.watch[].path",
            "processes.NAME.watch[].include",
        ],
    ),
    (
        "programs_that_do_not_come_up_are_told_with_their_last_lines",
        &[
            "processes.NAME.needs",
            "processes.NAME.port",
            "processes.NAME.probe.timeout",
            "processes.NAME.stop_grace_period",
        ],
    ),
    (
        "a_task_of_this_machine_runs_before_those_that_wait_for_it",
        &[
            "tasks.NAME.run",
            "tasks.NAME.cwd",
            "tasks.NAME.after",
            "tasks.NAME.before",
            "tasks.NAME.when.changed",
            "tasks.NAME.env",
            "tasks.NAME.env_file",
        ],
    ),
    ("a_task_of_this_machine_ends_with_all_it_has_started", &["tasks.NAME.timeout"]),
    (
        "keys_of_processes_do_what_the_page_says",
        &[
            "processes.NAME.env_file",
            "processes.NAME.probe.http.path",
            "processes.NAME.watch[].action",
            "processes.NAME.watch[].ignore",
            "x-macula.probe.timeout",
        ],
    ),
    ("a_platform_may_have_a_lease", &["lease.time", "lease.idle", "dns.dot", "dns.doh", "dns.rebind_allow"]),
    ("a_service_that_never_gets_healthy_has_a_deadline", &["timeouts.healthy"]),
    ("a_registry_that_falls_silent_is_left_for_the_next_source", &["timeouts.image"]),
    // x-macula
    ("names_and_addresses_that_come_disturb_nobody", &["x-macula.address"]),
    ("platforms_live_side_by_side", &["x-macula.role"]),
    (
        "passwords_are_made_once_and_shown_to_their_owner_only",
        &["x-macula.exports", "x-macula.secrets.NAME.generate", "x-macula.secrets.NAME.from"],
    ),
    ("what_only_programs_need_is_known", &["x-macula.secrets.NAME.internal"]),
    (
        "keys_of_x_macula_do_what_the_page_says",
        &[
            "x-macula.environment",
            "x-macula.metrics[].port",
            "x-macula.metrics[].path",
            "x-macula.metrics[].job",
            "x-macula.metrics[].params",
            "x-macula.secrets.NAME.prefix",
            "x-macula.secrets.NAME.alphabet",
            "x-macula.configs.NAME.template",
            "x-macula.configs.NAME.content",
            "x-macula.configs.NAME.mode",
            "x-macula.configs.NAME.uid",
            "x-macula.configs.NAME.gid",
            "x-macula.reload.signal",
            "x-macula.reload.check",
            "x-macula.reload.watch",
            "x-macula.build.note",
            "x-macula.build.prepare[].write.path",
            "x-macula.build.prepare[].write.content",
            "x-macula.build.prepare[].write.file",
            "x-macula.build.prepare[].run.command",
            "x-macula.build.prepare[].copy.from",
            "x-macula.build.prepare[].copy.to",
        ],
    ),
    ("a_changed_file_reloads_its_service_only", &["x-macula.reload.exec", "x-macula.probe.http.path"]),
    ("up_twice_does_nothing_the_second_time", &["x-macula.probe.http.port"]),
    ("a_service_that_never_gets_healthy_has_a_deadline", &["x-macula.probe.tcp.port"]),
    ("a_registry_that_falls_silent_is_left_for_the_next_source", &["x-macula.sources"]),
    ("each_bucket_has_a_key_of_its_own", &["x-macula.buckets"]),
    // the server of S3 is this program, which a step puts into its build
    ("the_whole_platform", &["x-macula.build.prepare[].program.to"]),
    ("what_a_prepared_step_needs_is_installed_by_its_package", &["x-macula.build.prepare[].run.needs"]),
    (
        "a_rule_says_what_is_spoken_and_how_long_an_answer_may_take",
        &["x-macula.ingress[].grpc", "x-macula.ingress[].grpc_port", "x-macula.ingress[].response_timeout"],
    ),
    (
        "a_task_is_a_job_like_its_service_that_the_service_waits_for",
        &["x-macula.tasks.NAME.before", "x-macula.tasks.NAME.image"],
    ),
    ("a_task_has_the_time_that_it_asks_for", &["x-macula.tasks.NAME.timeout"]),
    ("what_a_service_needs_is_there_with_all_that_it_takes_to_connect", &["x-macula.needs"]),
    (
        "a_task_runs_once_for_each_state_of_its_files",
        &["x-macula.tasks.NAME.run", "x-macula.tasks.NAME.when.changed", "x-macula.tasks.NAME.after"],
    ),
    ("an_optional_service_is_left_out_and_comes_back", &["x-macula.optional"]),
    ("the_authority_goes_to_those_that_ask", &["x-macula.trust"]),
    ("what_the_engines_machine_does_not_have_is_copied_there", &["x-macula.mounts"]),
    ("what_is_shown_and_run_is_what_was_asked_for", &["x-macula.once"]),
    ("without_a_choice_all_but_the_cache", &["x-macula.profile"]),
    ("both_ways_are_the_same_as_at_its_own_port", &["x-macula.ingress[].host", "x-macula.ingress[].port"]),
    ("paths_hosts_and_the_pages", &["x-macula.ingress[].path", "x-macula.ingress[].strip"]),
    (
        "rules_of_a_name_do_what_they_say",
        &[
            "x-macula.ingress[].auth",
            "x-macula.ingress[].body_size",
            "x-macula.ingress[].fallback",
            "x-macula.ingress[].tls",
        ],
    ),
    ("names_are_shared_exactly_and_without_what_hangs", &["x-macula.ingress[].sticky", "x-macula.ingress[].weight"]),
    ("a_port_that_pages_are_kept_from_answers_to_its_own_names_alone", &["x-macula.ingress[].same_origin"]),
    ("data_of_another_provider_is_not_opened", &["x-macula.provider.image", "x-macula.provider.build"]),
    ("a_build_takes_over_the_data_that_it_says", &["x-macula.provider.takes_over"]),
    (
        "a_service_gets_a_database_with_all_that_it_needs_to_connect",
        &["x-macula.databases[].name", "x-macula.databases[].user", "x-macula.databases[].prefix"],
    ),
    ("a_shop_on_kubernetes", &["x-macula.scale.min", "x-macula.scale.max", "x-macula.scale.cpu"]),
];

/// Keys that no test sees the effect of yet.
const KEYS_LEFT: [&str; 0] = [];

/// Each option that the help shows, behind its command.
fn options() -> BTreeSet<String> {
    fn walk(command: &clap::Command, path: &str, all: &mut BTreeSet<String>) {
        // clap's own are not here before it is built
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        all.extend(shown.filter_map(|arg| Some(format!("{path} --{}", arg.get_long()?))));
        for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
            let path =
                if path == "macula" { child.get_name().to_owned() } else { format!("{path} {}", child.get_name()) };
            walk(child, &path, all);
        }
    }
    let mut all = BTreeSet::new();
    walk(&macula::cli::command(), "macula", &mut all);
    all
}

/// Each key that holds no mapping, with the way to it.
fn keys() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (front, page) in
        [("", macula::config::macula_yaml_reference()), ("x-macula.", macula::config::extension_reference())]
    {
        let mut section = String::new();
        for line in page.lines() {
            if let Some(name) = line.strip_prefix("## `") {
                section = format!("{}.", name.trim_end_matches('`'));
            }
            let mut cells = line.split(" | ");
            let (key, value) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
            if let Some(key) = key.strip_prefix("| `").filter(|_| !value.contains("see below")) {
                all.insert(format!("{front}{section}{}", key.trim_end_matches('`')));
            }
        }
    }
    all
}

/// Names of all tests, of the library and beside it.
fn tests() -> BTreeSet<String> {
    fn collect(folder: &Path, all: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, all);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(path).unwrap();
                let mut marked = false;
                for line in text.lines().map(str::trim) {
                    let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                    if let Some(name) = name.filter(|_| marked) {
                        all.insert(name.split('(').next().unwrap_or_default().to_owned());
                    }
                    marked = line.starts_with("#[test]")
                        || line.starts_with("#[tokio::test")
                        || marked && line.starts_with("#[");
                }
            }
        }
    }
    let mut all = BTreeSet::new();
    for folder in ["src", "tests"] {
        collect(&root().join(folder), &mut all);
    }
    all
}

/// Holds a table and the list of what is left to what there is.
fn hold(what: &str, there: &BTreeSet<String>, table: &[(&str, &[&str])], left: &[&str]) {
    let tests = tests();
    assert!(tests.len() > 1000, "only {} tests found: the look at them is broken", tests.len());
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (test, names) in table {
        if !tests.contains(*test) {
            wrong.push(format!("there is no test {test}"));
        }
        for name in *names {
            let of_all = name.strip_prefix("* ").map(|option| format!(" {option}"));
            let meant = |one: &&String| of_all.as_ref().map_or(*one == name, |option| one.ends_with(option.as_str()));
            let found: Vec<&String> = there.iter().filter(meant).collect();
            if found.is_empty() {
                wrong.push(format!("there is no {name}"));
            }
            let twice = found.into_iter().filter_map(|one| seen.insert(one.clone(), *test).map(|_| one));
            wrong.extend(twice.map(|one| format!("{one} is there twice")));
        }
    }
    let listed: BTreeSet<String> = left.iter().map(|name| (*name).to_owned()).collect();
    let without: BTreeSet<String> = there.iter().filter(|one| !seen.contains_key(*one)).cloned().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        without, listed,
        "{what} without a test that sees their effect: left, those there are; right, those listed"
    );
    println!("{} of {} {what} have a test that sees their effect, {} have none", seen.len(), there.len(), left.len());
}

#[test]
fn every_option_names_the_test_that_sees_its_effect() {
    hold("options", &options(), OPTIONS, &OPTIONS_LEFT);
}

#[test]
fn every_key_names_the_test_that_sees_its_effect() {
    hold("keys", &keys(), KEYS, &KEYS_LEFT);
}
