//! What each command prints.

use super::Shape::{Either, List, Names, Object as Of, Text, Whole, Word};
use super::files::{
    ADDED_STACKS, CATALOG_ROW, CONFIG, CONFIG_INIT, INIT, LEAVINGS, STACK, UNINSTALLED, UPGRADE, VERSION,
};
use super::images::{CLUSTER_DONE, CLUSTER_LOADED, COUNT, IMAGE, LOADED, LOCKED, PRUNED, SAVED};
use super::looks::{CHECK, FINDING, LEASE_OF, PLATFORM_ROW, REPORT, TOP, VALIDATION};
use super::names::{ADDED, DNS, DNS_INSTALLED, DNS_SERVES, DNS_UNDONE, QUERY, RECORD, REMOVED, STORE_DONE, TRUST};
use super::platform::{CLUSTER, DOWNED, LIFECYCLE, PLAN, STATUS};
use super::row::{TEXTS, WHOLE_OR_NULL, f};
use super::sent::{
    CREDENTIAL, EVENT, LOG_LINE, LOG_NOTE, PAGE, PAGES, SENT_LINE, SERVICE_MAP, TASK_ROW, TASK_RUN, TRACE, TRACE_ROW,
    WAITED,
};
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
    output("cp", "What was copied, one for each container.", List(&Of(&COPIED))),
    output("open", "One page; without a name all pages, as a list.", OPEN),
    output("traces", "The latest traces; with an id that one; with `--map` who calls whom.", TRACES),
    output("port", "Ports that are reached on this machine.", List(&Of(&PORT))),
    output("restart", "What was done.", Of(&LIFECYCLE)),
    output("stop", "What was done.", Of(&LIFECYCLE)),
    output("start", "What was done.", Of(&LIFECYCLE)),
    output("scale", "As `up`.", UP),
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
    output("stack validate", "What deployed stacks need, and whether it is so.", Of(&stacks::VALIDATED)),
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

static COPIED: Object = Object {
    name: "Copied",
    fields: &[
        f("service", Text, "The service."),
        f("container", Text, "The container that it was copied into, or from."),
        f("path", Text, "Where the copy lies; with several containers in each of them."),
        f("files", WHOLE_OR_NULL, "Files and links; null for an archive from standard input."),
        f("bytes", Whole, "Of their content, or of the archive."),
        f("left_out", TEXTS, "Devices, pipes and sockets, which are not copied."),
    ],
};

static PORT: Object = Object {
    name: "Port",
    fields: &[
        f("service", Text, "The service."),
        f("container", Text, "Its container."),
        f("port", Whole, "The port in the container."),
        f("protocol", Word(&["tcp", "udp", "sctp"]), "Its protocol."),
        f("address", Text, "Where it is reached on this machine: address and port."),
    ],
};
