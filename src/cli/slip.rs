//! A word that is not a command: what somebody may have meant. Words of other programs have a meaning of
//! their own here; anything else is compared with the commands that there are. A harmless word never
//! leads to a command that takes something away.

use super::error::CliError;
use crate::model::{MaculaCommand, macula};

/// Commands that remove, stop or change things that were asked for nowhere.
const HARMFUL: [&str; 9] = ["down", "stop", "restart", "delete", "uninstall", "prune", "remove", "rm", "kill"];

/// Words that people type out of habit, at the top level, and what does that here.
const MEANT: &[(&[&str], &[&str])] = &[
    (&["info", "show", "inspect", "describe", "get", "state", "health", "ping"], &["status"]),
    (&["stats", "usage", "htop", "monitor"], &["top", "status --stats"]),
    (&["ports"], &["port SERVICE", "status"]),
    (&["ip", "address", "addresses"], &["status", "dns list"]),
    (&["copy", "scp"], &["cp SERVICE:PATH ."]),
    (&["replicas"], &["scale SERVICE=2"]),
    (&["kill"], &["stop SERVICE"]),
    (&["url", "urls", "pages", "browse", "web", "ui"], &["open"]),
    (&["dashboard", "home", "page", "portal"], &["open home"]),
    (&["agent", "agents", "llm", "copilot", "claude", "cursor"], &["mcp --install"]),
    (&["password", "passwords", "secret", "secrets", "credentials", "login", "auth"], &["creds"]),
    (&["environment", "export", "vars"], &["env"]),
    (&["attach", "enter", "bash", "console", "psql"], &["exec SERVICE"]),
    (&["log", "tail", "follow", "journal"], &["logs --follow"]),
    (&["test", "check", "verify"], &["validate", "doctor"]),
    (&["diagnose", "troubleshoot", "fix", "repair"], &["doctor", "doctor --fix"]),
    (&["diff", "preview", "apply --dry-run"], &["plan"]),
    (&["create", "launch", "run-all", "apply", "deploy", "boot", "new"], &["up"]),
    (&["setup"], &["init"]),
    (&["backup", "backups", "dump", "restore", "snapshot"], &["help data"]),
    (&["settings", "configure", "configuration"], &["config show"]),
    (&["compose", "docker", "docker-compose"], &["up"]),
    (&["update"], &["upgrade", "images pull", "up"]),
    (&["services", "stacks", "platforms"], &["status --all", "stack list"]),
    (&["cert", "certs", "certificate", "certificates", "tls", "ca"], &["trust status"]),
    (&["hosts", "names", "records", "resolve"], &["dns list"]),
    (&["kubectl", "kubernetes", "k8s", "kind"], &["cluster status"]),
    (&["pause", "unpause"], &["stop SERVICE", "start SERVICE"]),
    (&["autocomplete", "completion", "complete"], &["completions"]),
    // these words are about removing: the answer shows first what would go
    (
        &["clean", "cleanup", "purge", "reset", "nuke", "wipe", "teardown"],
        &["down --dry-run", "images prune --dry-run"],
    ),
    (&["prune", "gc"], &["images prune --dry-run"]),
];

/// The same, where a sentence says more than a command.
const SAID: &[(&[&str], &str, &[&str])] = &[(
    &["destroy"],
    "the whole platform is removed by `down`, and its data only with `--volumes`",
    &["down --dry-run"],
)];

/// Options of `docker compose` and the like: of which command, and what does that here.
const OPTIONS: &[(&str, &[&str], &str, &str)] = &[
    ("up", &["--no-start"], "containers are made and started together", "plan"),
    ("up", &["--abort-on-container-exit", "--exit-code-from", "--attach"], "a command is run by `ci`", "ci --help"),
    ("down", &["--rmi"], "images are removed by a command of their own", "images prune --dry-run"),
];

/// What is said of an option that a command does not have and another program's command of that name has.
pub fn option(words: &[String], typed: &str) -> Option<CliError> {
    let typed = typed.split('=').next().unwrap_or_default();
    let of = |command: &str| words.iter().any(|word| word == command);
    let (command, _, why, instead) =
        OPTIONS.iter().find(|(command, options, ..)| options.contains(&typed) && of(command))?;
    let error = CliError::usage(format!("`macula {command}` has no option {typed}"));
    Some(error.hint(*why).suggest(macula(instead)))
}

/// Words before a command of `docker compose`, which is most often one of ours.
const BEFORE: [&str; 3] = ["docker", "compose", "docker-compose"];

/// `macula compose logs -f web` is `macula logs -f web`. Of a command that removes or stops something only the word.
pub fn of_docker(words: &[String], typed: &str) -> Option<CliError> {
    let mut rest = words.iter().skip_while(|word| *word != typed).skip_while(|word| BEFORE.contains(&word.as_str()));
    let all = super::command();
    let command = rest.next().filter(|word| BEFORE.contains(&typed) && all.find_subcommand(word).is_some())?;
    let rest: Vec<&str> = rest.map(String::as_str).collect();
    // `run` is for programs of this machine here
    let ours: &[&str] = if command == "run" { &["exec", "--new"] } else { &[command.as_str()] };
    let line = std::iter::once("macula").chain(ours.iter().copied()).chain(rest.iter().copied());
    let whole = !HARMFUL.contains(&command.as_str()) && all.clone().try_get_matches_from(line).is_ok();
    let meant = MaculaCommand::of(ours.iter().copied().chain(rest.into_iter().filter(|_| whole)));
    Some(CliError::usage(format!("there is no command `macula {typed}`")).suggest(meant))
}

/// The same below a group of commands.
const MEANT_BELOW: &[(&str, &[&str], &str)] = &[
    ("images", &["ls", "ps", "show", "status"], "images list"),
    ("images", &["rm", "remove", "delete", "clean", "gc"], "images prune --dry-run"),
    ("images", &["export"], "images save FILE"),
    ("images", &["import"], "images load FILE"),
    ("images", &["update", "upgrade"], "images pull"),
    ("dns", &["ls", "show", "records"], "dns list"),
    ("dns", &["rm", "delete", "del"], "dns remove NAME"),
    ("dns", &["get", "lookup", "dig", "resolve"], "dns query NAME"),
    ("dns", &["set", "create", "new"], "dns add NAME TYPE VALUE"),
    ("trust", &["ls", "list", "show", "check"], "trust status"),
    ("trust", &["rm", "remove", "delete"], "trust uninstall"),
    ("trust", &["add"], "trust install"),
    ("cluster", &["ls", "list", "ps", "show", "info"], "cluster status"),
    ("cluster", &["up", "new"], "cluster create"),
    ("cluster", &["rm", "remove", "down", "destroy"], "cluster delete"),
    ("cluster", &["config"], "cluster kubeconfig"),
    ("config", &["get", "list", "ls", "view", "print", "validate", "check"], "config show"),
    ("config", &["new", "create", "edit", "set"], "config init"),
    ("stack", &["show", "ls", "inspect"], "stack list"),
    ("stack", &["ps", "services"], "stack status --target swarm"),
];

/// What is said of a word that is not a command. `groups`: the commands above it (`dns`), `known`: the
/// commands that there are in its place.
pub fn unknown(word: &str, groups: &[&str], known: &[String]) -> CliError {
    let place = groups.iter().map(|group| format!("{group} ")).collect::<String>();
    let error = CliError::usage(format!("there is no command `macula {place}{word}`"));
    let typed = word.to_lowercase();
    if let Some((_, said, commands)) =
        SAID.iter().find(|(words, ..)| groups.is_empty() && words.contains(&typed.as_str()))
    {
        return commands.iter().map(|command| macula(command)).fold(error.hint(*said), CliError::suggest);
    }
    let meant = meant(word, groups, known);
    if meant.is_empty() {
        return error.suggest(below(groups, "--help"));
    }
    meant.into_iter().fold(error, CliError::suggest)
}

/// The commands, the likeliest first.
fn meant(word: &str, groups: &[&str], known: &[String]) -> Vec<MaculaCommand> {
    let typed = word.to_lowercase();
    match groups {
        [] => {
            let table = MEANT.iter().find(|(words, _)| words.contains(&typed.as_str()));
            if let Some((_, commands)) = table {
                return commands.iter().map(|command| macula(command)).collect();
            }
        }
        [group, ..] => {
            let mut table = MEANT_BELOW.iter();
            if let Some((.., command)) = table.find(|(g, words, _)| g == group && words.contains(&typed.as_str())) {
                return vec![macula(command)];
            }
        }
    }
    near(&typed, known).into_iter().map(|name| below(groups, &name)).collect()
}

fn below(groups: &[&str], word: &str) -> MaculaCommand {
    MaculaCommand::of(groups.iter().copied().chain([word]))
}

/// The commands that a slip of the finger may have missed: the closest first, and no others than those
/// that are as close.
fn near(typed: &str, known: &[String]) -> Vec<String> {
    // the beginning of a word, and of no other
    let begun: Vec<&String> = known.iter().filter(|name| typed.len() > 2 && name.starts_with(typed)).collect();
    if let [one] = begun.as_slice()
        && !HARMFUL.contains(&one.as_str())
    {
        return vec![(*one).clone()];
    }
    let length = typed.chars().count();
    let swapped = |name: &&String| length == 2 && name.chars().rev().eq(typed.chars());
    if let Some(name) = known.iter().find(swapped)
        && !HARMFUL.contains(&name.as_str())
    {
        return vec![name.clone()];
    }
    // nearly every word of two letters is as near to one of three, and to any other that ends as it does
    let may_be = |name: &&String| match length {
        0 | 1 => false,
        2 => name.chars().count() == 2 && name.chars().next() == typed.chars().next(),
        _ => true,
    };
    let most = if length <= 4 { 1 } else { 2 };
    let mut all: Vec<(usize, &String)> = known
        .iter()
        .filter(may_be)
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, name)| *distance <= most && (!HARMFUL.contains(&name.as_str()) || is_slip(typed, name)))
        .collect();
    all.sort();
    let best = all.first().map(|(distance, _)| *distance);
    all.into_iter().filter(|(distance, _)| Some(*distance) == best).map(|(_, name)| name.clone()).collect()
}

/// The same first letter, and two letters swapped, one missing or one too many. Another letter makes
/// another word: who types `shop` or `step` does not mean `stop`.
fn is_slip(typed: &str, name: &str) -> bool {
    let sorted = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    strsim::damerau_levenshtein(typed, name) == 1
        && typed.chars().next() == name.chars().next()
        && (typed.chars().count() != name.chars().count() || sorted(typed) == sorted(name))
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;
    use crate::model::Invocation;

    fn known(groups: &[&str]) -> Vec<String> {
        let mut place = command();
        for group in groups {
            place = place.find_subcommand(group).unwrap().clone();
        }
        place.get_subcommands().flat_map(|one| one.get_name_and_visible_aliases()).map(str::to_owned).collect()
    }

    fn answer(line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let (word, groups) = words.split_last().unwrap();
        let lines = meant(word, groups, &known(groups)).into_iter();
        lines.map(|one| one.line(&Invocation::default()).trim_start_matches("macula ").to_owned()).collect()
    }

    #[test]
    fn slips_lead_to_the_closest_command_alone() {
        assert_eq!(answer("stauts"), ["status"]);
        assert_eq!(answer("statsu"), ["status"]);
        assert_eq!(answer("doctro"), ["doctor"]);
        assert_eq!(answer("dwon"), ["down"]);
        assert_eq!(answer("dow"), ["down"]);
        assert_eq!(answer("restrat"), ["restart"]);
        assert_eq!(answer("lgos"), ["logs"]);
        assert_eq!(answer("pu"), ["up"]);
        assert_eq!(answer("uo"), ["up"]);
        assert_eq!(answer("u"), [""; 0]);
        assert_eq!(answer("dns qurey"), ["dns query"]);
        assert_eq!(answer("stat"), ["status"], "the beginning of a word is that word");
        assert_eq!(answer("zz"), [""; 0]);
        assert_eq!(answer("zzz"), [""; 0]);
    }

    #[test]
    fn a_harmless_word_is_never_answered_with_a_harmful_one() {
        let harmless = [
            "own",
            "show",
            "top",
            "shop",
            "town",
            "download",
            "done",
            "step",
            "un",
            "info",
            "domain",
            "test",
            "rest",
            "art",
            "start-all",
            "stats",
            "trust installed",
            "images pull-all",
            "port",
            "ports",
            "drone",
            "gown",
        ];
        for line in harmless {
            for command in answer(line) {
                let first = command.split(' ').next().unwrap().to_owned();
                let last = command.split(' ').next_back().unwrap().to_owned();
                assert!(!HARMFUL.contains(&first.as_str()) && !HARMFUL.contains(&last.as_str()), "{line} -> {command}");
            }
        }
    }

    /// Even a word that is about removing is answered with what shows it first.
    #[test]
    fn every_answer_is_a_command_and_no_word_of_the_table_is_one() {
        let all = MEANT.iter().flat_map(|(words, commands)| {
            commands.iter().map(|command| ((*command).to_owned(), words.to_vec(), Vec::new()))
        });
        let below =
            MEANT_BELOW.iter().map(|(group, words, command)| ((*command).to_owned(), words.to_vec(), vec![*group]));
        let said = SAID.iter().flat_map(|(words, _, commands)| {
            commands.iter().map(|command| ((*command).to_owned(), words.to_vec(), Vec::new()))
        });
        let options = OPTIONS.iter().map(|(_, _, _, command)| ((*command).to_owned(), Vec::new(), Vec::new()));
        for (command, words, groups) in all.chain(below).chain(said).chain(options) {
            let names = known(&groups);
            for word in words {
                assert!(!names.contains(&word.to_owned()), "{groups:?} {word} is a command already");
            }
            let line = command
                .replace("SERVICE", "postgres")
                .replace("FILE", "/etc/hostname")
                .replace("NAME", "shop")
                .replace("TYPE", "A")
                .replace("VALUE", "127.0.0.1");
            let parsed = super::super::command().try_get_matches_from(std::iter::once("macula").chain(line.split(' ')));
            let helps = command == "completions" || command.ends_with("--help");
            assert!(
                parsed.is_ok() || helps,
                "{command}: {}",
                parsed.err().map(|error| error.to_string()).unwrap_or_default()
            );
            let takes_away = ["down", "images prune"].iter().any(|start| command.starts_with(start));
            assert!(!takes_away || command.ends_with("--dry-run"), "{command}");
        }
    }

    /// An option of the table is none of that command, or nobody would ever read what is said of it.
    #[test]
    fn options_of_other_programs_are_told_with_what_does_that_here() {
        for (name, options, ..) in OPTIONS {
            for option in *options {
                let line = ["macula", *name, option, "x"];
                let error = super::super::command().try_get_matches_from(line).unwrap_err();
                assert_eq!(error.kind(), clap::error::ErrorKind::UnknownArgument, "{line:?}");
            }
        }
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let told = option(&words("down --rmi=local"), "--rmi=local").unwrap();
        assert_eq!(told.message, "`macula down` has no option --rmi");
        assert!(option(&words("status --rmi local"), "--rmi").is_none());
    }

    #[test]
    fn a_command_of_docker_compose_is_the_one_of_that_name() {
        let told = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let error = of_docker(&words, &words[0]);
            error.map(|error| error.hints[0].command(&Invocation::default()).unwrap_or_default())
        };
        assert_eq!(told("compose up -d").as_deref(), Some("macula up -d"));
        assert_eq!(told("docker compose logs -f web").as_deref(), Some("macula logs -f web"));
        assert_eq!(told("docker compose run web sh").as_deref(), Some("macula exec --new web sh"));
        assert_eq!(told("compose up --quiet-pull").as_deref(), Some("macula up"));
        assert_eq!(told("compose down --volumes").as_deref(), Some("macula down"));
        assert_eq!(told("compose"), None);
        assert_eq!(told("compose -f x.yaml up"), None);
        assert_eq!(told("up compose"), None);
    }

    #[test]
    fn the_answer_is_told_as_every_other_error() {
        let error = unknown("stats", &[], &known(&[]));
        assert_eq!(error.message, "there is no command `macula stats`");
        assert_eq!(error.hints.len(), 2);
    }
}
