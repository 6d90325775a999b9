//! What looks at a platform or the machine: `top`, `ls`, `validate`, `doctor`, `lease`.

use super::Object;
use super::Shape::{Flag, List, Number, Object as Of, OrNull, Text, Whole, Word};
use super::names::QUERY;
use super::platform::{CONDITIONS, HEALTH, PLATFORM};
use super::row::{TEXT_OR_NULL, TEXTS, WHOLE_OR_NULL, f, maybe};

pub(super) static TOP: Object = Object {
    name: "Top",
    fields: &[
        f("platform", Of(&PLATFORM), "The platform as a whole."),
        f("machine", OrNull(&Of(&MACHINE)), "This machine; null where the kernel does not say."),
        f("total", Of(&TOP_TOTAL), "All of the platform together."),
        f("services", List(&Of(&TOP_ROW)), "What is part of what is up."),
    ],
};

static MACHINE: Object = Object {
    name: "Machine",
    fields: &[
        f("cpus", Whole, "Cores."),
        f("cpu_percent", Number, "100 is one core."),
        f("memory", Whole, "All of it."),
        f("memory_used", Whole, "What is not available without swapping."),
    ],
};

static TOP_TOTAL: Object = Object {
    name: "TopTotal",
    fields: &[f("cpu_percent", Number, "100 is one core."), f("memory", Whole, "Without the page cache.")],
};

static TOP_ROW: Object = Object {
    name: "TopRow",
    fields: &[
        f("name", Text, "Its name."),
        f("kind", Word(&["service", "process", "program"]), "What it is; a program is one of `macula run`."),
        f("stack", Text, "Empty for a process or program."),
        f("state", Text, "As in `status`."),
        f("health", HEALTH, "As in `status`."),
        f("condition", CONDITIONS, "As in `status`."),
        f("reason", TEXT_OR_NULL, "As in `status`."),
        f("restarts", Whole, "How often it was started again."),
        f("seconds", WHOLE_OR_NULL, "How long it has been so."),
        f("usage", OrNull(&Of(&RATES)), "Null: it does not run, or cannot be measured."),
        f(
            "requests_per_second",
            OrNull(&Number),
            "Requests per second that the ingress passes to it; null where it has no name there or they are not counted.",
        ),
    ],
};

static RATES: Object = Object {
    name: "Rates",
    fields: &[
        f("cpu_percent", Number, "100 is one core."),
        f("memory", Whole, "Without the page cache."),
        f("memory_limit", Whole, "Of the machine, where no limit is set."),
        f("received_per_second", WHOLE_OR_NULL, "From networks; null where that is not counted."),
        f("sent_per_second", WHOLE_OR_NULL, "To networks."),
        f("read_per_second", WHOLE_OR_NULL, "From disks."),
        f("written_per_second", WHOLE_OR_NULL, "To disks."),
    ],
};

pub(super) static PLATFORM_ROW: Object = Object {
    name: "PlatformRow",
    fields: &[
        f("name", Text, "Its name."),
        f(
            "state",
            Word(&["running", "stopped", "down", "elsewhere", "unknown"]),
            "Elsewhere: it was brought up on another engine. Unknown where no engine answers.",
        ),
        f("running", Whole, "Services that run."),
        f("services", Whole, "Services that are to run; finished jobs do not count."),
        f("domain", Text, "Below which its names are."),
        f("address", TEXT_OR_NULL, "To which its names lead."),
        f("folder", TEXT_OR_NULL, "From which it was brought up last."),
        f("other_folders", TEXTS, "Of the other projects that have containers on it."),
        f("gone", Flag, "That folder no longer exists."),
        f("owner", TEXT_OR_NULL, "Whose it is, where that is another user or data folder."),
    ],
};

pub(super) static VALIDATION: Object = Object {
    name: "Validation",
    fields: &[
        f("platform", Text, "Its name."),
        f("domain", Text, "Below which its names are."),
        f("ok", Flag, "Nothing is broken."),
        f("inside", TEXT_OR_NULL, "The container from which names were asked, too."),
        f("names", List(&Of(&NAME)), "Each name, with its hops."),
        f("broken", List(&Of(&BROKEN)), "What is broken, one entry for each cause."),
        maybe("cluster", TEXTS, "What the cluster says of itself; of `validate`."),
        maybe("left_out", List(&Of(&ABSENT)), "Names of services that are left out; of `validate`."),
        maybe("question", OrNull(&Of(&QUERY)), "How the resolver came to its answer; of `dns trace`."),
    ],
};

static NAME: Object = Object {
    name: "Name",
    fields: &[
        f("name", Text, "In full."),
        f("service", Text, "Where it leads."),
        f("hops", List(&Of(&HOP)), "The way to it, as far as it has to do with the name."),
    ],
};

static HOP: Object = Object {
    name: "Hop",
    fields: &[
        f("hop", Word(&["look-up", "dns", "connect", "tls", "http", "service", "inside"]), "Which."),
        f("state", Word(&["ok", "broken", "unknown"]), "How it is."),
        f("seen", Text, "What was seen there."),
    ],
};

static BROKEN: Object = Object {
    name: "Broken",
    fields: &[
        f("hop", Text, "Where, or `machine`."),
        f("cause", Text, "In a word."),
        f("text", Text, "In a sentence."),
        f("names", TEXTS, "Names that it is about; empty: all."),
        f("hints", TEXTS, "What to do, as sentences."),
        f("try", TEXTS, "What to do, as commands."),
    ],
};

static ABSENT: Object = Object {
    name: "Absent",
    fields: &[
        f("name", Text, "In full."),
        f("service", Text, "Where it would lead."),
        f("reason", Text, "Why that is left out."),
    ],
};

pub(super) static FINDING: Object = Object {
    name: "Finding",
    fields: &[
        f("check", Text, "The name of the check."),
        f("status", Word(&["ok", "warning", "failed", "skipped"]), "What came of it."),
        f("summary", Text, "What is so."),
        f("detail", TEXTS, "What there is to know beyond that."),
        f("fix", OrNull(&Of(&FIX)), "What can be done."),
    ],
};

static FIX: Object = Object {
    name: "Fix",
    fields: &[
        f("text", Text, "What is done, or what you can do."),
        f("actions", TEXTS, "What `--fix` does, as commands; empty: nothing, it is yours to do."),
        f("safe", Flag, "It removes nothing and can be undone."),
    ],
};

pub(super) static CHECK: Object =
    Object { name: "Check", fields: &[f("check", Text, "Its name."), f("about", Text, "What it looks at.")] };

pub(super) static REPORT: Object =
    Object { name: "Report", fields: &[f("file", Text, "The archive."), f("parts", TEXTS, "Files in it.")] };

pub(super) static LEASE_OF: Object = Object {
    name: "LeaseOf",
    fields: &[f("platform", Text, "Its name."), f("lease", OrNull(&Of(&LEASE)), "Null: it stays.")],
};

static LEASE: Object = Object {
    name: "Lease",
    fields: &[
        maybe("until", Whole, "When, in seconds since 1970."),
        maybe("process", Of(&HOLDER), "It goes with this process."),
        maybe("idle", Of(&IDLE), "It goes when nothing has used it for a while."),
        maybe("at_least", Whole, "Not before this, whatever ends it; after `lease extend`."),
    ],
};

static HOLDER: Object = Object {
    name: "Holder",
    fields: &[f("pid", Whole, "Its number."), f("started", WHOLE_OR_NULL, "When, in ticks of the system.")],
};

static IDLE: Object = Object {
    name: "Idle",
    fields: &[
        f("seconds", Whole, "How long."),
        f("block", Text, "The platform's addresses: this /24."),
        f("ports", List(&Whole), "Its ports on 127.0.0.1."),
    ],
};
