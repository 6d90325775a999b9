//! What services and programs say: `logs`, `events`, `traces`, `open`, `creds`, `task`, `wait`.

use super::Object;
use super::Shape::{Any, Flag, List, Number, Object as Of, Text, Whole, Word};
use super::row::{TEXT_OR_NULL, TEXTS, WHOLE_OR_NULL, f, maybe};

pub(super) static LOG_LINE: Object = Object {
    name: "LogLine",
    fields: &[
        f("time", Text, "When it was written."),
        f("service", Text, "By which service or program."),
        f("container", Text, "By which container."),
        f("stream", Word(&["stdout", "stderr"]), "Where to."),
        f("line", Text, "What."),
    ],
};

pub(super) static LOG_NOTE: Object = Object {
    name: "LogNote",
    fields: &[f("service", Text, "Whose log."), f("note", Text, "Such as that its container is another one now.")],
};

pub(super) static SENT_LINE: Object = Object {
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

pub(super) static EVENT: Object = Object {
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

pub(super) static TRACE_ROW: Object = Object {
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

pub(super) static TRACE: Object = Object {
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

pub(super) static SERVICE_MAP: Object = Object {
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

pub(super) static PAGE: Object =
    Object { name: "Page", fields: &[f("service", Text, "Whose."), f("url", Text, "Where.")] };

pub(super) static PAGES: Object = Object {
    name: "Pages",
    fields: &[f("service", Text, "Whose."), f("urls", TEXTS, "Where."), f("running", Flag, "They can be opened now.")],
};

pub(super) static CREDENTIAL: Object = Object {
    name: "Credential",
    fields: &[
        f("service", Text, "Whose."),
        f("variable", Text, "What the service calls it."),
        f("value", Text, "The secret itself."),
        f("address", TEXT_OR_NULL, "Where the service listens on this machine."),
    ],
};

pub(super) static TASK_ROW: Object = Object {
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

pub(super) static TASK_RUN: Object = Object {
    name: "TaskRun",
    fields: &[
        f("task", Text, "As it was named."),
        f("job", Text, "What `logs` takes."),
        f("exit_code", Whole, "0."),
        f("output", Text, "What it has written."),
    ],
};

pub(super) static WAITED: Object = Object {
    name: "Waited",
    fields: &[
        f("target", Text, "As it was named."),
        f("met", Flag, "It is as it was to be."),
        f("seconds", Number, "After this time."),
        maybe("reason", Text, "Why it is not."),
        maybe("log", TEXTS, "The end of its log."),
    ],
};
