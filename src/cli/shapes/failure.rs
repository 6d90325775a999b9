//! Errors, of all commands.

use super::Object;
use super::Shape::{List, Object as Of, Text, Whole};
use super::row::{TEXTS, f};

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
