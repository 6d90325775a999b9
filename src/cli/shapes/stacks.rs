//! The tables of `stack render|deploy|status|remove`.

use super::Shape::{Any, Either, Flag, List, Names, Object as Of, OrNull, Text, Whole, Word};
use super::row::{TEXT_OR_NULL, TEXTS, WHOLE_OR_NULL, f, maybe};
use super::{Object, Shape};

pub const RENDER: Shape = Either(&[Of(&RENDERED), Of(&WRITTEN)]);
pub const STATUS: Shape = Either(&[List(&Of(&SWARM_SERVICE)), List(&Of(&WORKLOAD))]);

static RENDERED: Object = Object {
    name: "RenderedStack",
    fields: &[
        f("target", Word(&["swarm", "kubernetes"]), "What it is for."),
        f("order", TEXTS, "Services, each after those that it depends on."),
        f(
            "images",
            Names(&Text),
            "Images that a registry has to have: as they are called here, and as the target pulls them.",
        ),
        f("losses", List(&Of(&LOSS)), "Keys that the target cannot do."),
        f("objects", Any, "For Kubernetes a list of objects; for a swarm networks, secrets, configs and services."),
    ],
};

static LOSS: Object = Object {
    name: "Loss",
    fields: &[
        f("place", Text, "File, line and column."),
        f("path", Text, "The key, from the top of the file."),
        f("why", Text, "What happens instead, and what to do about it."),
        f("behavior", Flag, "The service behaves in another way without it."),
    ],
};

static WRITTEN: Object = Object {
    name: "RenderedFiles",
    fields: &[
        f("folder", Text, "Where they are."),
        f("files", TEXTS, "Their names, in the order in which they are applied."),
    ],
};

pub static DEPLOYED: Object = Object {
    name: "StackDeployed",
    fields: &[
        f("stack", Text, "The stack."),
        f("dry_run", Flag, "Nothing was changed."),
        f(
            "changes",
            Either(&[List(&Of(&SWARM_CHANGE)), Of(&CLUSTER_CHANGES)]),
            "On a swarm a list, in a cluster the names of objects.",
        ),
    ],
};

static SWARM_CHANGE: Object = Object {
    name: "SwarmChange",
    fields: &[
        f("act", Word(&["create", "update", "replace", "keep", "remove"]), "What becomes of it."),
        f("kind", Text, "`service`, `network`, `secret` or `config`."),
        f("name", Text, "As the swarm has it."),
        maybe("what", TEXTS, "What of a service changes."),
    ],
};

static CLUSTER_CHANGES: Object = Object {
    name: "ClusterChanges",
    fields: &[
        f("created", TEXTS, "Objects: `Deployment shop/web`."),
        f("changed", TEXTS, "Objects."),
        f("removed", TEXTS, "Objects."),
        f("unchanged", Whole, "How many others."),
    ],
};

static SWARM_SERVICE: Object = Object {
    name: "SwarmService",
    fields: &[
        f("stack", Text, "The stack."),
        f("service", Text, "The service."),
        f("mode", Word(&["replicated", "global", "replicated job", "global job"]), "Its mode."),
        f("running", Whole, "Tasks that run; of a job those that are done."),
        f("wanted", Whole, "Tasks that should."),
        f("image", Text, "Its image."),
        f("ports", TEXTS, "Published ports: `8080->80/tcp`."),
        f("tasks", List(&Of(&SWARM_TASK)), "Its tasks."),
        f("trouble", TEXT_OR_NULL, "What is wrong with it."),
        f("rolled_back", TEXT_OR_NULL, "Why the swarm undid its last update; it runs as before that."),
    ],
};

static SWARM_TASK: Object = Object {
    name: "SwarmTask",
    fields: &[
        f("node", Text, "Where it runs."),
        f("slot", WHOLE_OR_NULL, "Which replica it is."),
        f("state", Text, "In the engine's words."),
        f("since", Text, "When that began."),
        maybe("error", Text, "What the engine says of it."),
    ],
};

static WORKLOAD: Object = Object {
    name: "StackWorkload",
    fields: &[
        f("stack", Text, "The stack."),
        f("service", Text, "The name of the workload."),
        f("namespace", Text, "Its namespace."),
        f("kind", Text, "`Deployment`, `StatefulSet`, `DaemonSet` or `Job`."),
        f("running", Whole, "Pods that are ready."),
        f("wanted", Whole, "Pods that should be."),
        f("images", TEXTS, "Images of its containers."),
        f("trouble", TEXTS, "Why it is not ready."),
        f("autoscaler", OrNull(&Of(&AUTOSCALER)), "What decides about its pods, where it has one."),
    ],
};

static AUTOSCALER: Object = Object {
    name: "Autoscaler",
    fields: &[
        f("min", Whole, "The fewest pods."),
        f("max", Whole, "The most."),
        f("trouble", TEXT_OR_NULL, "Why it does not count."),
    ],
};

pub static VALIDATED: Object = Object {
    name: "StackValidated",
    fields: &[f("ok", Flag, "Nothing has failed."), f("checks", List(&Of(&STACK_CHECK)), "What was checked.")],
};

static STACK_CHECK: Object = Object {
    name: "StackCheck",
    fields: &[
        f("kind", Word(&["managers", "node", "placement", "service", "port", "workload"]), "What was checked."),
        f("name", Text, "Which one of that kind."),
        f("state", Word(&["ok", "warning", "failed"]), "A warning is what will hurt next."),
        f("seen", Text, "What was seen."),
        f("hints", TEXTS, "What may help."),
        f("try", TEXTS, "Commands that may help."),
    ],
};

pub static REMOVED: Object = Object {
    name: "StackRemoved",
    fields: &[
        f("removed", TEXTS, "What went: `Deployment shop/web`, `service shop_web`."),
        f("kept", TEXTS, "Claims of a cluster, which hold data."),
        f("others", TEXTS, "What else lives in the namespace, which stays for it."),
        f("ending", TEXTS, "What was still ending when this was over."),
    ],
};
