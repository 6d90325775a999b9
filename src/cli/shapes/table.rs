//! The tables.

use super::Shape::{Any, Either, Flag, List, Names, Number, Object as Of, OrNull, Text, Whole, Word};
use super::row::{TEXT_OR_NULL, TEXTS, WHOLE_OR_NULL, f, maybe};
use super::{Object, Output, Shape, stacks};

const fn output(command: &'static str, about: &'static str, shape: Shape) -> Output {
    Output { command, about, shape, lines: false }
}

const fn lines(command: &'static str, about: &'static str, shape: Shape) -> Output {
    Output { command, about, shape, lines: true }
}

/// In the order of the help.
pub static OUTPUTS: &[Output] = &[
    output("up", "The platform once it is up, as `status` shows it; with `--dry-run` the plan, as `plan` does.", UP),
    output("down", "What was done; with `--all` or `--gone` a list, one for each platform.", DOWN),
    output("plan", "What `up` would do.", Of(&PLAN)),
    output("status", "The platform as it is, against what is wanted.", Of(&STATUS)),
    output("top", "What services and processes use, measured over a second.", Of(&TOP)),
    output("ls", "All platforms of this user.", List(&Of(&PLATFORM_ROW))),
    output("validate", "The names, walked from outside.", Of(&VALIDATION)),
    output("doctor", "What each check found; with `--list` the checks, with their names alone.", DOCTOR),
    output("report", "What was written.", Of(&REPORT)),
    output("lease", "When the platform is taken down.", Of(&LEASE_OF)),
    output("lease show", "The same.", Of(&LEASE_OF)),
    output("lease extend", "The lease as it is then.", Of(&LEASE_OF)),
    output("lease cancel", "Without one.", Of(&LEASE_OF)),
    lines("logs", "A line of a log, or a note on it; with `--trace` one list of lines that programs have sent.", LOGS),
    lines("events", "What happened.", Of(&EVENT)),
    output("open", "One page; without a name all pages, as a list.", OPEN),
    output("traces", "The latest traces; with an id that one; with `--map` who calls whom.", TRACES),
    output("restart", "What was done.", Of(&LIFECYCLE)),
    output("stop", "What was done.", Of(&LIFECYCLE)),
    output("start", "What was done.", Of(&LIFECYCLE)),
    output("creds", "Passwords that were generated.", List(&Of(&CREDENTIAL))),
    output("env", "Connection settings, by the names of their variables.", Names(&Text)),
    output("task", "All tasks; with a name what its run has come to.", TASK),
    output("wait", "How each target came out.", List(&Of(&WAITED))),
    output("dns status", "The resolver, and who gets its names.", Of(&DNS)),
    output("dns list", "Names of the platform and records of PowerDNS.", List(&Of(&RECORD))),
    output("dns add", "What became of the record.", Of(&ADDED)),
    output("dns remove", "What was removed.", Of(&REMOVED)),
    output("dns query", "A question, the steps of its answer, and the answer.", Of(&QUERY)),
    output("dns trace", "As `validate`, for one name.", Of(&VALIDATION)),
    output("dns install", "How the system was pointed at the resolver.", Of(&DNS_INSTALLED)),
    output("dns uninstall", "What was put back.", List(&Of(&DNS_UNDONE))),
    output("dns serve", "Where the resolver answers, once it does.", Of(&DNS_SERVES)),
    output("trust status", "The platform's certificate authority and who trusts it.", Of(&TRUST)),
    output("trust install", "What became of each trust store.", List(&Of(&STORE_DONE))),
    output("trust uninstall", "What became of each trust store.", List(&Of(&STORE_DONE))),
    output("images list", "The images of all stacks.", List(&Of(&IMAGE))),
    output("images pull", "How many were pulled.", Of(&COUNT)),
    output("images build", "How many were built.", Of(&COUNT)),
    output("pull", "As `images pull`.", Of(&COUNT)),
    output("build", "As `images build`.", Of(&COUNT)),
    output("images lock", "What macula.lock says then.", Of(&LOCKED)),
    output("images save", "The bundle.", Of(&SAVED)),
    output("images load", "What came out of the bundle.", Of(&LOADED)),
    output("images prune", "Images that were removed, or would be.", Of(&PRUNED)),
    output("cluster status", "The cluster, as in `status`.", Of(&CLUSTER)),
    output("cluster create", "The same, once it is there.", Of(&CLUSTER)),
    output("cluster start", "The same, once it runs.", Of(&CLUSTER)),
    output("cluster delete", "What was done.", Of(&CLUSTER_DONE)),
    output("cluster stop", "What was done.", Of(&CLUSTER_DONE)),
    output("cluster load", "Images that are in its nodes then.", Of(&CLUSTER_LOADED)),
    output("init", "The macula.yaml that was written, or would be.", Of(&INIT)),
    output("add", "What was added; without a name the catalog.", ADD),
    output("config show", "The settings in effect.", Of(&CONFIG)),
    output("config init", "The files that were written.", Of(&CONFIG_INIT)),
    output("stack list", "The stacks that are loaded.", List(&Of(&STACK))),
    output("stack render", "What a target would get; with `--dir` the files that were written.", stacks::RENDER),
    output("stack deploy", "What was made of the stack, or would be.", Of(&stacks::DEPLOYED)),
    output("stack status", "The services of deployed stacks.", stacks::STATUS),
    output("stack scale", "Services and their numbers of replicas.", Names(&Whole)),
    output("stack remove", "What went, and what did not.", Of(&stacks::REMOVED)),
    output("upgrade", "The version that is there, and what became of this program.", Of(&UPGRADE)),
    output("uninstall", "What was removed; with `--dry-run` what there is.", UNINSTALL),
    output("version", "The version.", Of(&VERSION)),
];

const UP: Shape = Either(&[Of(&STATUS), Of(&PLAN)]);
const DOWN: Shape = Either(&[Of(&DOWNED), List(&Of(&DOWNED))]);
const DOCTOR: Shape = Either(&[List(&Of(&FINDING)), List(&Of(&CHECK))]);
const LOGS: Shape = Either(&[Of(&LOG_LINE), Of(&LOG_NOTE), List(&Of(&SENT_LINE))]);
const TRACES: Shape = Either(&[List(&Of(&TRACE_ROW)), Of(&TRACE), Of(&SERVICE_MAP)]);
const OPEN: Shape = Either(&[Of(&PAGE), List(&Of(&PAGES))]);
const TASK: Shape = Either(&[List(&Of(&TASK_ROW)), Of(&TASK_RUN)]);
const ADD: Shape = Either(&[Of(&ADDED_STACKS), List(&Of(&CATALOG_ROW))]);
const UNINSTALL: Shape = Either(&[Of(&UNINSTALLED), Of(&LEAVINGS)]);

static UPGRADE: Object = Object {
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

pub static ERROR: Object = Object { name: "Error", fields: &[f("error", Of(&FAULT), "What went wrong.")] };

static FAULT: Object = Object {
    name: "Fault",
    fields: &[
        f("kind", Text, "A word for the exit code, such as `usage` or `no_engine`."),
        f("exit_code", Whole, "The exit code of the command."),
        f("message", Text, "What failed, and to what."),
        f("details", TEXTS, "What the message sums up, one each."),
        f("causes", TEXTS, "Why, the outermost first."),
        f("hints", TEXTS, "What to do, as sentences."),
        f("try", TEXTS, "What to do, as commands."),
        f("places", List(&Of(&PLACE)), "The places in files that it is about."),
    ],
};

static PLACE: Object = Object {
    name: "Place",
    fields: &[
        f("file", Text, "Its path."),
        f("line", Whole, "Counted from 1."),
        f("column", Whole, "Counted from 1."),
        f("message", Text, "What is wrong there."),
    ],
};

static STATUS: Object = Object {
    name: "Status",
    fields: &[
        f("platform", Of(&PLATFORM), "The platform as a whole."),
        f("services", List(&Of(&SERVICE)), "Services, jobs and what is left out."),
        f("processes", List(&Of(&PROCESS)), "Programs of macula.yaml."),
        f("tasks", List(&Of(&TASK_ROW)), "Tasks of the stacks and of macula.yaml."),
        f("dns", Of(&DNS_SUMMARY), "The resolver."),
        f("reach", Of(&REACH), "How the platform's addresses lead to its services."),
        f("cluster", Of(&CLUSTER), "The Kubernetes cluster."),
        f("drift", TEXTS, "What `up` would do now; empty when there is nothing."),
        f("changes", TEXTS, "Services that run, or should, and that `up` would change."),
    ],
};

static PLATFORM: Object = Object {
    name: "Platform",
    fields: &[
        f("name", Text, "Its name."),
        f("domain", Text, "Below which its names are."),
        f("incomplete", Flag, "The files have errors, so that it is not known what is wanted."),
        f("down", Flag, "It has no container."),
        f("volumes", Whole, "Volumes with its data."),
        f("owner", TEXT_OR_NULL, "Whose it is, where that is another user or data folder."),
        f("at_work", TEXT_OR_NULL, "The command that is changing it."),
        f("up_seconds", WHOLE_OR_NULL, "How long its oldest service has run."),
    ],
};

const CONDITIONS: Shape = Word(&[
    "out_of_memory",
    "crashed",
    "restarting",
    "unhealthy",
    "gone",
    "created",
    "starting",
    "paused",
    "healthy",
    "running",
    "stopped",
    "finished",
    "missing",
    "left_out",
    "unclaimed",
]);
const HEALTH: Shape = Word(&["none", "starting", "healthy", "unhealthy"]);

static SERVICE: Object = Object {
    name: "Service",
    fields: &[
        f("name", Text, "Its name."),
        f("stack", Text, "The stack that it is of."),
        f("state", Word(&["running", "stopped", "missing", "left_out"]), "What there is of its containers."),
        f("health", HEALTH, "The worst of its containers'."),
        f("image", TEXT_OR_NULL, "Its image."),
        f("image_source", OrNull(&IMAGE_SOURCE), "Where that came from."),
        f("urls", TEXTS, "Its pages."),
        f("addresses", TEXTS, "Where it is reached on this machine; those of UDP end in `/udp`."),
        f("container", TEXT_OR_NULL, "Its first container."),
        f("reason", TEXT_OR_NULL, "Why it is as it is, where the condition does not say it all."),
        f("condition", CONDITIONS, "How it is, in [the words of `status`](../terminal.md#status)."),
        f("seconds", WHOLE_OR_NULL, "How long it has been so."),
        f("restarts", Whole, "How often the engine has started it again."),
        f("exit_code", WHOLE_OR_NULL, "With which it ended."),
        f("note", TEXT_OR_NULL, "What a build gives instead of the image that the stack names."),
        f("own", Flag, "It is of a stack of yours."),
        f(
            "needs",
            Names(&OrNull(&UNTIL)),
            "The services that it waits for, and until when; null where its stack is not at hand.",
        ),
        maybe("usage", Of(&USAGE), "With `--stats`, of a service that runs."),
    ],
};

const UNTIL: Shape = Word(&["service_started", "service_healthy", "service_completed_successfully"]);

const IMAGE_SOURCE: Shape = Word(&["image", "build"]);

static USAGE: Object = Object {
    name: "Usage",
    fields: &[
        f("cpu_percent", Number, "100 is one core."),
        f("memory", Whole, "Without the page cache."),
        f("memory_limit", Whole, "Of the machine, where no limit is set."),
    ],
};

static PROCESS: Object = Object {
    name: "Process",
    fields: &[
        f("name", Text, "Its name."),
        f("state", PROCESS_STATES, "How it is."),
        f("pid", WHOLE_OR_NULL, "Of its first process."),
        f("port", WHOLE_OR_NULL, "Where it listens."),
        f("urls", TEXTS, "Its pages."),
        f("exit_code", WHOLE_OR_NULL, "With which it ended."),
        f("restarts", Whole, "How often it was started again since somebody asked for it."),
        f("seconds", WHOLE_OR_NULL, "How long it has been so."),
        f("reason", TEXT_OR_NULL, "Why, where the state does not say it all."),
        f("lost", Flag, "The process that kept it was killed."),
    ],
};

const PROCESS_STATES: Shape =
    Word(&["starting", "running", "restarting", "crashed", "blocked", "finished", "stopped", "missing", "left_out"]);

static DNS_SUMMARY: Object = Object {
    name: "DnsSummary",
    fields: &[
        f("address", TEXT_OR_NULL, "The resolver's; null while it does not run."),
        f("zones", TEXTS, "Domains that it answers for."),
        f("installed", Flag, "Programs of this machine get the platform's names."),
        f("healthy", Flag, "It answers for this platform."),
        f("off", Flag, "The last `up` was told to leave the names alone."),
        f("problem", TEXT_OR_NULL, "What is wrong with it."),
    ],
};

static REACH: Object = Object {
    name: "Reach",
    fields: &[
        f("way", Word(&["published", "direct", "relay"]), "See [engines elsewhere](../reach.md)."),
        f("ports", Whole, "Ports that are passed on."),
        f("problem", TEXT_OR_NULL, "Why they are not reached."),
    ],
};

static CLUSTER: Object = Object {
    name: "Cluster",
    fields: &[
        f("name", TEXT_OR_NULL, "Null: none is wanted, and there is none."),
        f("state", Word(&["running", "stopped", "incomplete", "missing", "left_out"]), "How it is as a whole."),
        f("context", TEXT_OR_NULL, "In the kubeconfig."),
        f("reason", TEXT_OR_NULL, "Why it is so."),
        f("nodes", List(&Of(&NODE)), "Its nodes."),
        f("problems", TEXTS, "What does not work inside."),
        f("addons", List(&Of(&ADD_ON)), "Its add-ons."),
    ],
};

static NODE: Object = Object {
    name: "Node",
    fields: &[
        f("name", Text, "Its container's name."),
        f("role", Word(&["control-plane", "worker", "external-load-balancer"]), "What it does."),
        f(
            "state",
            Word(&["created", "running", "paused", "restarting", "removing", "exited", "dead"]),
            "How its container is.",
        ),
        f("image", Text, "Its image."),
        f("address", TEXT_OR_NULL, "In the platform's network."),
        f("version", TEXT_OR_NULL, "Of the kubelet."),
        f("ready", OrNull(&Flag), "Null: the cluster was not asked, or did not answer."),
        f("reason", TEXT_OR_NULL, "Why it is not ready."),
    ],
};

static ADD_ON: Object = Object {
    name: "AddOn",
    fields: &[
        f("name", Text, "As in macula.yaml."),
        f("title", Text, "As people call it."),
        f("state", Word(&["ready", "not_ready", "missing", "left_out", "unknown"]), "How it is."),
        f("versions", TEXTS, "Tags of its images."),
        f("reason", TEXT_OR_NULL, "Why it is so."),
    ],
};

static PLAN: Object = Object {
    name: "Plan",
    fields: &[
        f("engine", OrNull(&TEXTS), "Commands that would first install an engine, where none is here."),
        f("steps", List(&Of(&STEP)), "What would be done, in an order that `after` gives."),
        f("left_out", List(&Of(&LEFT_OUT)), "Services that are left out."),
        f("changes", List(&Of(&CHANGE)), "The same by service, for people."),
        f("processes", List(&Of(&PROCESS_STEP)), "Programs of macula.yaml."),
        f("owner", TEXT_OR_NULL, "Whose the platform is, where that is another user or data folder."),
    ],
};

static STEP: Object = Object {
    name: "Step",
    fields: &[
        f("id", Text, "One that no other step has."),
        f("resource", Of(&RESOURCE), "What it is about."),
        f("group", Text, "The service, or a word such as `network`."),
        f("cause", Of(&CAUSE), "Why."),
        f("after", TEXTS, "Steps that come before it."),
        f("destructive", Flag, "It removes what somebody might miss."),
        f("needs_privilege", Flag, "It takes root."),
    ],
};

static RESOURCE: Object = Object {
    name: "Resource",
    fields: &[
        f("kind", Word(&["network", "volume", "image", "container", "cluster", "manifest", "task"]), "What it is."),
        f("name", Text, "In the engine."),
    ],
};

static CAUSE: Object = Object {
    name: "Cause",
    fields: &[
        f(
            "why",
            Word(&[
                "missing",
                "changed",
                "not_running",
                "not_healthy",
                "orphaned",
                "unfinished",
                "requested",
                "inputs",
                "never_ran",
                "failed",
                "post_start",
                "new_data",
                "replaces",
            ]),
            "In a word.",
        ),
        maybe("what", Either(&[Text, TEXTS]), "What has changed, or what it replaces."),
        maybe("code", Whole, "The exit code of a task's last run."),
    ],
};

static LEFT_OUT: Object =
    Object { name: "LeftOut", fields: &[f("service", Text, "Its name."), f("reason", Text, "Why it is left out.")] };

static CHANGE: Object = Object {
    name: "Change",
    fields: &[
        f("name", Text, "The service, or what else changes."),
        f(
            "kind",
            Word(&[
                "remove", "create", "run", "recreate", "restart", "start", "stop", "reload", "image", "await", "other",
            ]),
            "What happens to it.",
        ),
        f("details", TEXTS, "What is different, without secrets."),
    ],
};

static PROCESS_STEP: Object = Object {
    name: "ProcessStep",
    fields: &[
        f("name", Text, "Its name."),
        f("action", Word(&["start", "restart", "update", "remove"]), "What happens to it."),
        maybe("changed", TEXTS, "Keys of macula.yaml that have changed."),
    ],
};

static DOWNED: Object = Object {
    name: "Downed",
    fields: &[
        f("platform", Text, "Its name."),
        f("steps", List(&Of(&STEP)), "What was done, or would be."),
        f("volumes_kept", TEXTS, "Volumes that stay."),
        f("processes", TEXTS, "Programs of this machine that were ended."),
        f("dry_run", Flag, "Nothing was done."),
    ],
};

static LIFECYCLE: Object = Object {
    name: "Lifecycle",
    fields: &[
        f("steps", List(&Of(&STEP)), "What was done."),
        f("left_out", List(&Of(&LEFT_OUT)), "Services that are left out."),
        f("processes", TEXTS, "Programs of macula.yaml that it was done to."),
    ],
};

static TOP: Object = Object {
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

static PLATFORM_ROW: Object = Object {
    name: "PlatformRow",
    fields: &[
        f("name", Text, "Its name."),
        f("state", Word(&["running", "stopped", "down", "unknown"]), "Unknown where no engine answers."),
        f("running", Whole, "Services that run."),
        f("services", Whole, "Services that are to run; finished jobs do not count."),
        f("domain", Text, "Below which its names are."),
        f("address", TEXT_OR_NULL, "To which its names lead."),
        f("folder", TEXT_OR_NULL, "From which it was brought up last."),
        f("gone", Flag, "That folder no longer exists."),
        f("owner", TEXT_OR_NULL, "Whose it is, where that is another user or data folder."),
    ],
};

static VALIDATION: Object = Object {
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

static FINDING: Object = Object {
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

static CHECK: Object =
    Object { name: "Check", fields: &[f("check", Text, "Its name."), f("about", Text, "What it looks at.")] };

static REPORT: Object =
    Object { name: "Report", fields: &[f("file", Text, "The archive."), f("parts", TEXTS, "Files in it.")] };

static LEASE_OF: Object = Object {
    name: "LeaseOf",
    fields: &[f("platform", Text, "Its name."), f("lease", OrNull(&Of(&LEASE)), "Null: it stays.")],
};

static LEASE: Object = Object {
    name: "Lease",
    fields: &[
        maybe("until", Whole, "When, in seconds since 1970."),
        maybe("process", Of(&HOLDER), "It goes with this process."),
        maybe("idle", Of(&IDLE), "It goes when nothing has used it for a while."),
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

static LOG_LINE: Object = Object {
    name: "LogLine",
    fields: &[
        f("time", Text, "When it was written."),
        f("service", Text, "By which service or program."),
        f("container", Text, "By which container."),
        f("stream", Word(&["stdout", "stderr"]), "Where to."),
        f("line", Text, "What."),
    ],
};

static LOG_NOTE: Object = Object {
    name: "LogNote",
    fields: &[f("service", Text, "Whose log."), f("note", Text, "Such as that its container is another one now.")],
};

static SENT_LINE: Object = Object {
    name: "SentLine",
    fields: &[
        f("time", Text, "When."),
        f("level", Text, "How grave it is."),
        f("service", Text, "By which service."),
        f("text", Text, "What."),
        f("trace", TEXT_OR_NULL, "The trace's id."),
        f("span", TEXT_OR_NULL, "The span's id."),
        f("attributes", Any, "As the program sent them."),
    ],
};

static EVENT: Object = Object {
    name: "Event",
    fields: &[
        f("time", Text, "When."),
        f(
            "event",
            Word(&[
                "created",
                "started",
                "restarted",
                "healthy",
                "unhealthy",
                "died",
                "paused",
                "unpaused",
                "removed",
                "engine_lost",
                "engine_back",
            ]),
            "What.",
        ),
        maybe("service", Text, "Absent where it is about the engine."),
        maybe("container", Text, "Of that service."),
        maybe("process", Flag, "True: it is a program of macula.yaml."),
        maybe("exit_code", Whole, "With which it died."),
        maybe("out_of_memory", Flag, "True: it was killed at its memory limit."),
        maybe("late", Flag, "True: it was found afterwards, since the engine said nothing."),
    ],
};

static TRACE_ROW: Object = Object {
    name: "TraceRow",
    fields: &[
        f("trace", Text, "Its id."),
        f("name", Text, "Of its root."),
        f("service", Text, "Of its root."),
        f("services", TEXTS, "All that took part."),
        f("start", Text, "When."),
        f("duration_us", Whole, "Microseconds."),
        f("spans", Whole, "How many."),
        f("errors", Whole, "How many of them failed."),
    ],
};

static TRACE: Object = Object {
    name: "Trace",
    fields: &[
        f("trace", Text, "Its id."),
        f("start", Text, "When."),
        f("duration_us", Whole, "Microseconds."),
        f("services", TEXTS, "All that took part."),
        f("spans", List(&Of(&SPAN)), "As a tree that was walked from its root."),
        f("calls", List(&Of(&CALL)), "Who has called whom."),
        f("lines", List(&Of(&SENT_LINE)), "Lines of logs with its id."),
    ],
};

static SERVICE_MAP: Object = Object {
    name: "ServiceMap",
    fields: &[
        f("spans", Whole, "From so many it was drawn."),
        f("traces", Whole, "From so many it was drawn."),
        f("services", List(&Of(&SERVED)), "What came to each from outside of it."),
        f("calls", List(&Of(&CALLS)), "Who calls whom."),
    ],
};

static SERVED: Object = Object {
    name: "Served",
    fields: &[
        f("service", Text, "Its name."),
        f("count", Whole, "Requests."),
        f("errors", Whole, "Of them that failed."),
        f("p95_us", Whole, "95 of 100 took no longer, microseconds."),
    ],
};

static CALLS: Object = Object {
    name: "Calls",
    fields: &[
        f("from", Text, "Who."),
        f("to", Text, "Whom."),
        f("count", Whole, "How often."),
        f("errors", Whole, "Of them that failed."),
        f("p95_us", Whole, "95 of 100 took no longer, as the called one measured it, microseconds."),
    ],
};

static SPAN: Object = Object {
    name: "Span",
    fields: &[
        f("span", Text, "Its id."),
        f("parent", TEXT_OR_NULL, "Its parent's."),
        f("depth", Whole, "Below the root."),
        f("service", Text, "Whose."),
        f("name", Text, "What it is."),
        f("kind", Text, "Such as `server`."),
        f("offset_us", Whole, "Since the trace's start, microseconds."),
        f("duration_us", Whole, "Microseconds."),
        f("error", Flag, "It failed."),
        f("message", Text, "Why."),
        f("scope", Text, "The library that made it."),
        f("attributes", Any, "As the program sent them."),
        f("resource", Any, "As the program sent them."),
        f("events", List(&Of(&SPAN_EVENT)), "What happened in it."),
        f("links", List(&Of(&LINK)), "Spans that it is linked to."),
    ],
};

static SPAN_EVENT: Object = Object {
    name: "SpanEvent",
    fields: &[
        f("offset_us", Whole, "Since the trace's start, microseconds."),
        f("name", Text, "What."),
        f("attributes", Any, "As the program sent them."),
    ],
};

static LINK: Object =
    Object { name: "Link", fields: &[f("trace", Text, "The trace's id."), f("span", Text, "The span's id.")] };

static CALL: Object = Object {
    name: "Call",
    fields: &[f("from", Text, "Who."), f("to", Text, "Whom."), f("count", Whole, "How often.")],
};

static PAGE: Object = Object { name: "Page", fields: &[f("service", Text, "Whose."), f("url", Text, "Where.")] };

static PAGES: Object = Object {
    name: "Pages",
    fields: &[f("service", Text, "Whose."), f("urls", TEXTS, "Where."), f("running", Flag, "They can be opened now.")],
};

static CREDENTIAL: Object = Object {
    name: "Credential",
    fields: &[
        f("service", Text, "Whose."),
        f("variable", Text, "What the service calls it."),
        f("value", Text, "The secret itself."),
        f("address", TEXT_OR_NULL, "Where the service listens on this machine."),
    ],
};

static TASK_ROW: Object = Object {
    name: "TaskRow",
    fields: &[
        f("name", Text, "Its name."),
        f("service", TEXT_OR_NULL, "Whose it is; null: it is of macula.yaml, and runs on this machine."),
        f("stack", TEXT_OR_NULL, "Of which stack."),
        f("job", Text, "What `logs` takes."),
        f("state", Word(&["never", "running", "done", "failed"]), "Its last run."),
        f("ended", WHOLE_OR_NULL, "How long ago that ended."),
        f("exit_code", WHOLE_OR_NULL, "With which it ended."),
        f("due", TEXT_OR_NULL, "Why the next `up` runs it; null: it does not."),
    ],
};

static TASK_RUN: Object = Object {
    name: "TaskRun",
    fields: &[
        f("task", Text, "As it was named."),
        f("job", Text, "What `logs` takes."),
        f("exit_code", Whole, "0."),
        f("output", Text, "What it has written."),
    ],
};

static WAITED: Object = Object {
    name: "Waited",
    fields: &[
        f("target", Text, "As it was named."),
        f("met", Flag, "It is as it was to be."),
        f("seconds", Number, "After this time."),
        maybe("reason", Text, "Why it is not."),
        maybe("log", TEXTS, "The end of its log."),
    ],
};

static DNS: Object = Object {
    name: "Dns",
    fields: &[
        f("running", Flag, "A resolver of this user runs."),
        f("resolver", OrNull(&Of(&RESOLVER)), "What it says of itself."),
        f("page", TEXT_OR_NULL, "Where the platforms' page is."),
        f("domains", List(&Of(&DOMAIN)), "Domains of the platforms."),
        f("method", TEXT_OR_NULL, "How the system was pointed at the resolver."),
        f("notes", TEXTS, "Where it breaks."),
    ],
};

static RESOLVER: Object = Object {
    name: "Resolver",
    fields: &[
        f("version", Text, "Of macula."),
        f("pid", Whole, "Its process."),
        f("listen", List(&Of(&LISTEN)), "Where it answers, and what is seen from there."),
        f("metrics", TEXT_OR_NULL, "Where Prometheus reads its numbers."),
        f("encrypted", List(&Of(&ENCRYPTED)), "Where it answers over TLS and HTTPS."),
        f("inner_metrics", TEXTS, "Where the platforms' Prometheus reads them."),
        f("zones", List(&Of(&ZONE)), "Domains that it answers for."),
        f("upstreams", List(&Of(&UPSTREAM)), "Name servers that it asks."),
        f("dropped_upstreams", TEXTS, "Name servers of the machine that it cannot ask, and why."),
        f("questions", Whole, "How many it has answered."),
        f("uptime_seconds", Whole, "How long it has run."),
    ],
};

static LISTEN: Object = Object {
    name: "Listen",
    fields: &[f("address", Text, "With the port."), f("view", VIEW, "From where it is asked.")],
};

const VIEW: Shape = Word(&["host", "container"]);

static ENCRYPTED: Object = Object {
    name: "Encrypted",
    fields: &[f("protocol", Text, "`dot` or `doh`."), f("address", Text, "With the port.")],
};

static ZONE: Object = Object {
    name: "Zone",
    fields: &[
        f("apex", Text, "The domain."),
        f("serial", Whole, "Of its SOA."),
        f("records", Whole, "The platform's own."),
        f("feed", TEXT_OR_NULL, "The PowerDNS that has more of them."),
        f("feed_status", OrNull(&Of(&FEED)), "How that is doing."),
    ],
};

static FEED: Object = Object {
    name: "Feed",
    fields: &[
        f("serial", WHOLE_OR_NULL, "Of the copy that serves."),
        f("records", Whole, "In it."),
        f("error", TEXT_OR_NULL, "Why the last look failed."),
    ],
};

static UPSTREAM: Object = Object {
    name: "Upstream",
    fields: &[
        f("address", Text, "With the port."),
        f("domain", TEXT_OR_NULL, "What it is asked for; null: everything."),
        f("healthy", Flag, "It answers."),
        f("asked", Whole, "Questions."),
        f("failed", Whole, "Of them without an answer."),
        f("millis", WHOLE_OR_NULL, "Its usual time to an answer."),
    ],
};

static DOMAIN: Object = Object {
    name: "Domain",
    fields: &[
        f("domain", Text, "Its name."),
        f("answered", Flag, "The resolver answers for it."),
        f("resolves", Flag, "Programs of this machine get its names."),
    ],
};

static RECORD: Object = Object {
    name: "Record",
    fields: &[
        f("name", Text, "In full."),
        f("type", Text, "`A`, `TXT`, ..."),
        f("value", Text, "As in a zone file."),
        f("ttl", Whole, "Seconds."),
        f("source", Text, "`platform`, `powerdns`, or how its service is: `left out`, `not started`, `stopped`."),
    ],
};

static ADDED: Object = Object {
    name: "Added",
    fields: &[
        f("name", Text, "In full."),
        f("type", Text, "`A`, `TXT`, ..."),
        f("value", Text, "As in a zone file."),
        f("ttl", Whole, "Seconds."),
        f("changed", Flag, "False: it was there already."),
        f("seen", OrNull(&Flag), "The resolver answers with it; null: none runs."),
    ],
};

static REMOVED: Object =
    Object { name: "Removed", fields: &[f("name", Text, "In full."), f("removed", Whole, "Records.")] };

static QUERY: Object = Object {
    name: "Query",
    fields: &[
        f("name", Text, "In full."),
        f("rtype", Text, "`A`, `TXT`, ..."),
        f("view", VIEW, "As who was asked."),
        f("path", List(&Of(&QUERY_STEP)), "How the resolver came to the answer."),
        f("rcode", Text, "`NOERROR`, `NXDOMAIN`, ..."),
        f("answers", TEXTS, "Records of the answer."),
        f("authority", TEXTS, "Records of the authority section."),
    ],
};

static QUERY_STEP: Object = Object {
    name: "QueryStep",
    fields: &[
        f(
            "step",
            Word(&[
                "zone", "not_ours", "found", "wildcard", "alias", "no_data", "no_name", "minimal", "too_long", "cache",
                "upstream", "refused",
            ]),
            "Which.",
        ),
        maybe("zone", Text, "The domain that holds the name."),
        maybe("name", Text, "The name that was found."),
        maybe("layer", Word(&["own", "fed", "wildcard", "special"]), "Who put it there."),
        maybe("wildcard", Text, "What stands for the name."),
        maybe("target", Text, "Where an alias leads."),
        maybe("state", Text, "Of the cache's answer: `fresh` or `stale`."),
        maybe("servers", TEXTS, "Who is asked."),
    ],
};

static DNS_INSTALLED: Object = Object {
    name: "DnsInstalled",
    fields: &[
        f("method", Text, "How."),
        f("changed", Flag, "False: it was so already."),
        f("tried", List(&Of(&TRIED)), "Ways that do not work here."),
        f("service", TEXT_OR_NULL, "What keeps the resolver running, with `--service`."),
        f("notes", TEXTS, "What there is to know beyond that."),
    ],
};

static TRIED: Object =
    Object { name: "Tried", fields: &[f("method", Text, "How."), f("reason", Text, "Why it does not work.")] };

static DNS_UNDONE: Object = Object {
    name: "DnsUndone",
    fields: &[f("method", Text, "How it was."), f("notes", TEXTS, "What there is to know beyond that.")],
};

static DNS_SERVES: Object = Object {
    name: "DnsServes",
    fields: &[
        f("listen", TEXTS, "Addresses."),
        f("encrypted", Any, "Addresses over TLS and HTTPS."),
        f("metrics", TEXT_OR_NULL, "Where Prometheus reads its numbers."),
        f("page", TEXT_OR_NULL, "Where the platforms' page is."),
    ],
};

static TRUST: Object = Object {
    name: "Trust",
    fields: &[
        f("domain", Text, "The domain that it may sign for."),
        f("fingerprint", TEXT_OR_NULL, "SHA-256; null: there is none before the first `up`."),
        f("stores", List(&Of(&STORE)), "Trust stores of this machine."),
    ],
};

static STORE: Object = Object {
    name: "Store",
    fields: &[
        f("store", Text, "What it is called."),
        f("path", Text, "Where it is."),
        f("state", Word(&["trusted", "partly", "not trusted", "unavailable"]), "Whether it has the authority."),
        f("note", Text, "What there is to know beyond that."),
    ],
};

static STORE_DONE: Object = Object {
    name: "StoreDone",
    fields: &[
        f("store", Text, "What it is called."),
        f("path", Text, "Where it is."),
        f("done", Word(&["installed", "removed", "unchanged", "left out", "failed"]), "What became of it."),
        f("note", Text, "Why."),
    ],
};

static IMAGE: Object = Object {
    name: "Image",
    fields: &[
        f("reference", Text, "As the stack names it."),
        f("services", TEXTS, "Who runs it."),
        f("present", Flag, "The engine has it."),
        f("source", OrNull(&IMAGE_SOURCE), "Where that came from."),
        f("name", TEXT_OR_NULL, "What it is called in the engine."),
        f("id", TEXT_OR_NULL, "The engine's id."),
        f("digest", TEXT_OR_NULL, "As its registry names it."),
        f("locked", Flag, "macula.lock or the stack names its digest."),
        f("why", Text, "Why it is this one."),
        f("left_out", TEXT_OR_NULL, "Why all services that would run it are left out."),
        f("size", WHOLE_OR_NULL, "Bytes."),
        f("created", TEXT_OR_NULL, "When it was made."),
        f("can_build", Flag, "It can be built here."),
    ],
};

static COUNT: Object = Object { name: "Count", fields: &[f("images", Whole, "How many.")] };

static LOCKED: Object =
    Object { name: "Locked", fields: &[f("path", Text, "The file."), f("images", List(&Of(&LOCK)), "What is in it.")] };

static LOCK: Object = Object {
    name: "Lock",
    fields: &[
        f("reference", Text, "As the stack names it."),
        f("change", Word(&["new", "moved", "same", "kept", "unknown", "removed"]), "Against what was there."),
        f("digest", TEXT_OR_NULL, "What it means now."),
        f("before", TEXT_OR_NULL, "What it meant, where that was another one."),
        f("note", Text, "Who named the digest, or why nobody did."),
    ],
};

static SAVED: Object = Object {
    name: "Saved",
    fields: &[
        f("path", Text, "The file."),
        f("images", Whole, "How many are in it."),
        f("size", Whole, "Its bytes."),
        f("left_out", List(&Of(&LEFT_OUT)), "Services whose image is not in it."),
    ],
};

static LOADED: Object = Object {
    name: "Loaded",
    fields: &[
        f("loaded", TEXTS, "Images that came."),
        f("present", TEXTS, "Images that were there already."),
        f("sent", Whole, "Bytes that the engine got, without layers that it had."),
    ],
};

static PRUNED: Object = Object {
    name: "Pruned",
    fields: &[
        f("removed", List(&Of(&PRUNED_IMAGE)), "Which."),
        f("size", Whole, "Bytes that they take at the most."),
        f("dry_run", Flag, "Nothing was removed."),
    ],
};

static PRUNED_IMAGE: Object = Object {
    name: "PrunedImage",
    fields: &[
        f("id", Text, "The engine's id."),
        f("names", TEXTS, "Empty: a newer build has taken them."),
        f("service", Text, "For which it was built."),
        f("size", Whole, "Bytes."),
    ],
};

static CLUSTER_DONE: Object = Object {
    name: "ClusterDone",
    fields: &[
        f("steps", List(&Of(&STEP)), "What was done."),
        f("left_out", List(&Of(&LEFT_OUT)), "Services that are left out."),
    ],
};

static CLUSTER_LOADED: Object = Object { name: "ClusterLoaded", fields: &[f("loaded", TEXTS, "Which.")] };

static INIT: Object = Object {
    name: "Init",
    fields: &[
        f("file", Text, "Its name."),
        f("written", Flag, "False with `--dry-run`."),
        f("text", Text, "What is in it."),
        f("taken", TEXTS, "What of the project became part of it."),
        f("left", TEXTS, "What did not, and why."),
    ],
};

static ADDED_STACKS: Object = Object {
    name: "AddedStacks",
    fields: &[f("file", Text, "The macula.yaml."), f("added", TEXTS, "What was not in it before.")],
};

static CATALOG_ROW: Object = Object {
    name: "CatalogRow",
    fields: &[
        f("name", Text, "Its name."),
        f("about", Text, "What it is."),
        f("added", Flag, "It is part of the platform."),
    ],
};

static CONFIG: Object = Object {
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

static CONFIG_INIT: Object = Object {
    name: "ConfigInit",
    fields: &[
        f("file", Text, "The macula.yaml."),
        f("schema", Text, "The schema next to it."),
        f("stack", TEXT_OR_NULL, "The Compose file that was found."),
    ],
};

static STACK: Object = Object {
    name: "Stack",
    fields: &[
        f("name", Text, "Its name."),
        f("origin", Text, "Its file, or `built in`."),
        f("services", TEXTS, "What is in it."),
    ],
};

static UNINSTALLED: Object = Object {
    name: "Uninstalled",
    fields: &[
        f("platforms", TEXTS, "Which were taken down."),
        f("volumes", TEXTS, "Volumes that stay."),
        f("folders", TEXTS, "Folders that were removed."),
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

static LEAVINGS: Object = Object {
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

static VERSION: Object = Object { name: "Version", fields: &[f("version", Text, "Of the program.")] };
