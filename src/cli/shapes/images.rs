//! Images and clusters: `images`, `cluster`.

use super::Object;
use super::Shape::{Flag, List, Object as Of, OrNull, Text, Whole, Word};
use super::platform::{IMAGE_SOURCE, LEFT_OUT, STEP};
use super::row::{TEXT_OR_NULL, TEXTS, WHOLE_OR_NULL, f};

pub(super) static IMAGE: Object = Object {
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

pub(super) static COUNT: Object = Object { name: "Count", fields: &[f("images", Whole, "How many.")] };

pub(super) static LOCKED: Object =
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

pub(super) static SAVED: Object = Object {
    name: "Saved",
    fields: &[
        f("path", Text, "The file."),
        f("images", Whole, "How many are in it."),
        f("size", Whole, "Its bytes."),
        f("left_out", List(&Of(&LEFT_OUT)), "Services whose image is not in it."),
    ],
};

pub(super) static LOADED: Object = Object {
    name: "Loaded",
    fields: &[
        f("loaded", TEXTS, "Images that came."),
        f("present", TEXTS, "Images that were there already."),
        f("sent", Whole, "Bytes that the engine got, without layers that it had."),
    ],
};

pub(super) static PRUNED: Object = Object {
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

pub(super) static CLUSTER_DONE: Object = Object {
    name: "ClusterDone",
    fields: &[
        f("steps", List(&Of(&STEP)), "What was done."),
        f("left_out", List(&Of(&LEFT_OUT)), "Services that are left out."),
    ],
};

pub(super) static CLUSTER_LOADED: Object = Object { name: "ClusterLoaded", fields: &[f("loaded", TEXTS, "Which.")] };
