//! Files and macula itself: `init`, `add`, `config`, `stack list`, `upgrade`, `uninstall`, `version`.

use super::Object;
use super::Shape::{Any, Flag, List, Names, Object as Of, OrNull, Text, Whole, Word};
use super::names::DNS_UNDONE;
use super::row::{TEXT_OR_NULL, TEXTS, WHOLE_OR_NULL, f, maybe};

pub(super) static UPGRADE: Object = Object {
    name: "Upgrade",
    fields: &[
        f("program", Text, "Where this program lies."),
        f("from", Text, "Where the release is."),
        f("own", Text, "The version of the program that was started."),
        f("release", Text, "The version of the release."),
        f(
            "state",
            Word(&["upgraded", "available", "current", "older"]),
            "`available`: only looked, with `--check`; `current` and `older`: nothing was changed.",
        ),
        f(
            "resolver",
            OrNull(&Word(&["not_running", "handed_over", "restarted", "left_alone"])),
            "What became of the one that ran; null: the program was not replaced.",
        ),
    ],
};

pub(super) static INIT: Object = Object {
    name: "Init",
    fields: &[
        f("file", Text, "Its name."),
        f("written", Flag, "False with `--dry-run`."),
        f("text", Text, "What is in it."),
        f("taken", TEXTS, "What of the project became part of it."),
        f("left", TEXTS, "What did not, and why."),
    ],
};

pub(super) static ADDED_STACKS: Object = Object {
    name: "AddedStacks",
    fields: &[f("file", Text, "The macula.yaml."), f("added", TEXTS, "What was not in it before.")],
};

pub(super) static CATALOG_ROW: Object = Object {
    name: "CatalogRow",
    fields: &[
        f("name", Text, "Its name."),
        f("about", Text, "What it is."),
        f("added", Flag, "It is part of the platform."),
    ],
};

pub(super) static CONFIG: Object = Object {
    name: "Config",
    fields: &[
        f("name", Text, "The platform's name."),
        f("domain", Text, "Below which its names are."),
        f("file", TEXT_OR_NULL, "The macula.yaml that was read."),
        f("stacks", TEXTS, "The stacks that are loaded."),
        f("services", Names(&Of(&CONFIG_SERVICE)), "By their names."),
        f("images", Any, "`images` of macula.yaml."),
        f("ingress", Any, "`ingress` of macula.yaml."),
        f("addresses", Any, "`addresses` of macula.yaml."),
        f("dns", Any, "`dns` of macula.yaml."),
        f("cluster", Any, "`cluster` of macula.yaml."),
        f("timeouts", Of(&TIMEOUTS), "`timeouts` of macula.yaml."),
    ],
};

static CONFIG_SERVICE: Object = Object {
    name: "ConfigService",
    fields: &[
        f("stack", Text, "Of which stack."),
        f("image", TEXT_OR_NULL, "Null: it is only built."),
        f("memory", WHOLE_OR_NULL, "Its limit; null: none."),
    ],
};

static TIMEOUTS: Object = Object {
    name: "Timeouts",
    fields: &[f("healthy", Whole, "For a service."), f("image", Whole, "For a pull or a build that says nothing.")],
};

pub(super) static CONFIG_INIT: Object = Object {
    name: "ConfigInit",
    fields: &[
        f("file", Text, "The macula.yaml."),
        f("schema", Text, "The schema next to it."),
        f("stack", TEXT_OR_NULL, "The Compose file that was found."),
    ],
};

pub(super) static STACK: Object = Object {
    name: "Stack",
    fields: &[
        f("name", Text, "Its name."),
        f("origin", Text, "Its file, or `built in`."),
        f("services", TEXTS, "What is in it."),
    ],
};

pub(super) static UNINSTALLED: Object = Object {
    name: "Uninstalled",
    fields: &[
        f("platforms", TEXTS, "Which were taken down."),
        f("volumes", TEXTS, "Volumes that stay."),
        f("folders", TEXTS, "Folders that were removed."),
        f("names", List(&Of(&DNS_UNDONE)), "What was put back of `dns install`."),
        f("changes", List(&Of(&UNDOING)), "What became of the changes to this machine."),
    ],
};

static UNDOING: Object = Object {
    name: "Undoing",
    fields: &[
        f("what", Text, "The change, in a sentence."),
        f("state", Word(&["undone", "changed_since", "by_hand", "failed"]), "What becomes of it."),
        maybe("how", Text, "The command that undoes it; of `by_hand`."),
        maybe("reason", Text, "Why it could not be undone; of `failed`."),
    ],
};

pub(super) static LEAVINGS: Object = Object {
    name: "Leavings",
    fields: &[
        f("platforms", TEXTS, "Platforms of this user."),
        f("foreign", TEXTS, "Platforms of somebody else, which stay."),
        f("names", Flag, "The system asks the resolver."),
        f("trust", TEXTS, "Trust stores that have the authority."),
        f("changes", List(&Of(&UNDOING)), "Changes to this machine, and what becomes of them."),
        f("data", TEXT_OR_NULL, "The folder with passwords, certificates and logs."),
        f("cache", TEXT_OR_NULL, "The folder with downloads."),
        f("settings", TEXT_OR_NULL, "The folder with your settings, which stays."),
    ],
};

pub(super) static VERSION: Object = Object { name: "Version", fields: &[f("version", Text, "Of the program.")] };
