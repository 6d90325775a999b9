//! Names and who may trust them: `dns`, `trust`.

use super::Shape::{Any, Flag, List, Object as Of, OrNull, Text, Whole, Word};
use super::row::{TEXT_OR_NULL, TEXTS, WHOLE_OR_NULL, f, maybe};
use super::{Object, Shape};

pub(super) static DNS: Object = Object {
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
        f("kept_back", Whole, "Answers of name servers that it has not passed on (DNS rebinding)."),
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

pub(super) static RECORD: Object = Object {
    name: "Record",
    fields: &[
        f("name", Text, "In full."),
        f("type", Text, "`A`, `TXT`, ..."),
        f("value", Text, "As in a zone file."),
        f("ttl", Whole, "Seconds."),
        f(
            "source",
            Text,
            "`platform`, `powerdns`, `macula` (telemetry), or how its service is: `left out`, `not started`, `stopped`.",
        ),
    ],
};

pub(super) static ADDED: Object = Object {
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

pub(super) static REMOVED: Object =
    Object { name: "Removed", fields: &[f("name", Text, "In full."), f("removed", Whole, "Records.")] };

pub(super) static QUERY: Object = Object {
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
                "zone", "not_ours", "found", "wildcard", "alias", "no_data", "no_name", "minimal", "too_long",
                "awaited", "cache", "upstream", "failed", "rebound", "refused",
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
        maybe("server", Text, "Who had no answer of use."),
        maybe("reason", Text, "Why."),
    ],
};

pub(super) static DNS_INSTALLED: Object = Object {
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

pub(super) static DNS_UNDONE: Object = Object {
    name: "DnsUndone",
    fields: &[f("method", Text, "How it was."), f("notes", TEXTS, "What there is to know beyond that.")],
};

pub(super) static DNS_SERVES: Object = Object {
    name: "DnsServes",
    fields: &[
        f("listen", TEXTS, "Addresses."),
        f("encrypted", Any, "Addresses over TLS and HTTPS."),
        f("metrics", TEXT_OR_NULL, "Where Prometheus reads its numbers."),
        f("page", TEXT_OR_NULL, "Where the platforms' page is."),
    ],
};

pub(super) static TRUST: Object = Object {
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

pub(super) static STORE_DONE: Object = Object {
    name: "StoreDone",
    fields: &[
        f("store", Text, "What it is called."),
        f("path", Text, "Where it is."),
        f("done", Word(&["installed", "removed", "unchanged", "left out", "failed"]), "What became of it."),
        f("note", Text, "Why."),
    ],
};
