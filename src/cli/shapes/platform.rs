//! The platform as it is and as it will be: `status`, `plan`, `down`, `restart`.

use super::Shape::{Either, Flag, List, Names, Number, Object as Of, OrNull, Text, Whole, Word};
use super::row::{TEXT_OR_NULL, TEXTS, WHOLE_OR_NULL, f, maybe};
use super::sent::TASK_ROW;
use super::{Object, Shape};

pub(super) static STATUS: Object = Object {
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
        f("unheeded", List(&Of(&UNHEEDED)), "What the files ask for and `up` leaves as it is, for the data."),
    ],
};

static UNHEEDED: Object = Object {
    name: "Unheeded",
    fields: &[
        f("services", TEXTS, "Those that have what it is about."),
        f("said", Text, "What stays as it is, and why."),
    ],
};

pub(super) static PLATFORM: Object = Object {
    name: "Platform",
    fields: &[
        f("name", Text, "Its name."),
        f("domain", Text, "Below which its names are."),
        f("incomplete", Flag, "The files have errors, so that it is not known what is wanted."),
        f("unread", TEXT_OR_NULL, "Why its passwords could not be read."),
        f("down", Flag, "It has no container."),
        f("volumes", Whole, "Volumes with its data."),
        f("owner", TEXT_OR_NULL, "Whose it is, where that is another user or data folder."),
        f("at_work", TEXT_OR_NULL, "The command that is changing it."),
        f("up_seconds", WHOLE_OR_NULL, "How long its oldest service has run."),
    ],
};

pub(super) const CONDITIONS: Shape = Word(&[
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

pub(super) const HEALTH: Shape = Word(&["none", "starting", "healthy", "unhealthy"]);

static SERVICE: Object = Object {
    name: "Service",
    fields: &[
        f("name", Text, "Its name."),
        f("stack", Text, "The stack that it is of."),
        f("state", Word(&["running", "stopped", "missing", "left_out"]), "What there is of its containers."),
        f("replicas", Of(&REPLICAS), "How many containers it has."),
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

static REPLICAS: Object = Object {
    name: "Replicas",
    fields: &[
        f("running", Whole, "Containers that run."),
        f("wanted", WHOLE_OR_NULL, "How many there are to be; null where its stack is not loaded."),
    ],
};

const UNTIL: Shape = Word(&["service_started", "service_healthy", "service_completed_successfully"]);

pub(super) const IMAGE_SOURCE: Shape = Word(&["image", "build"]);

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

pub(super) static CLUSTER: Object = Object {
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

pub(super) static PLAN: Object = Object {
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

pub(super) static STEP: Object = Object {
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

pub(super) static LEFT_OUT: Object =
    Object { name: "LeftOut", fields: &[f("service", Text, "Its name."), f("reason", Text, "Why it is left out.")] };

static CHANGE: Object = Object {
    name: "Change",
    fields: &[
        f("name", Text, "The service, or what else changes."),
        f(
            "kind",
            Word(&[
                "remove", "create", "run", "recreate", "restart", "start", "stop", "reload", "scale", "image", "await",
                "other",
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
        maybe("changed", TEXTS, "Keys of macula.yaml that have changed; `keeper`: what keeps it is replaced."),
    ],
};

pub(super) static DOWNED: Object = Object {
    name: "Downed",
    fields: &[
        f("platform", Text, "Its name."),
        f("steps", List(&Of(&STEP)), "What was done, or would be."),
        f("volumes_kept", TEXTS, "Volumes that stay."),
        f("processes", TEXTS, "Programs of this machine that were ended."),
        f("dry_run", Flag, "Nothing was done."),
    ],
};

pub(super) static LIFECYCLE: Object = Object {
    name: "Lifecycle",
    fields: &[
        f("steps", List(&Of(&STEP)), "What was done."),
        f("left_out", List(&Of(&LEFT_OUT)), "Services that are left out."),
        f("processes", TEXTS, "Programs of macula.yaml that it was done to."),
    ],
};
