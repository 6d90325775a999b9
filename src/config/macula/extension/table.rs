//! What may stand in `x-macula` of a service, and what is wrong with what must not.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::config::files::clean;
use crate::config::yaml::{Entry, Field, Kind, Map, Node, Object, Shaper, Value, field as f, suggestion};
use crate::model::{Server, is_bucket_name, is_dns_name};

const PORT: Kind = Kind::Int(1, 65535);
const ID: Kind = Kind::Int(0, u32::MAX as i64);

const fn closed(name: &'static str, fields: &'static [Field], required: &'static [&'static str]) -> Object {
    Object { name, fields, required, open: false }
}

pub(in crate::config) static EXTENSION: Object = closed(
    "x-macula",
    &[
        f("role", Kind::Choice(&["ingress", "names"])).doc("`ingress`: this service is the host ingress (there is one); `names`: it is what names lead to inside the network."),
        f("ingress", Kind::Short(one_or_list, &Kind::List(&Kind::Object(&RULE)))).doc("Names under which the ingress passes requests on: a rule or a list of rules. `[]` means none, although the service publishes a port."),
        f("address", Kind::Checked(loopback)).doc("Published ports without an address of their own go here. In a platform with another block the last number counts."),
        f("probe", Kind::Object(&PROBE)).doc("How the service is asked from outside whether it is there."),
        f("metrics", Kind::Short(one_or_list, &Kind::List(&Kind::Object(&METRICS)))).doc("Targets of Prometheus: one or a list."),
        f("exports", Kind::Options).doc("What `macula env` prints: variables and templates."),
        f("environment", Kind::Options).doc("Environment variables put together from what templates know, such as `postgres://u:{{ secrets.db.POSTGRES_PASSWORD }}@db/shop`."),
        f("secrets", Kind::Map(&Kind::Object(&SECRET))).doc("Environment variables whose values are generated once, or taken from another service."),
        f("configs", Kind::Map(&Kind::Short(template, &Kind::Object(&CONFIG)))).doc("Files by their path in the container, rendered and copied in before the start: the name of a template, or a mapping."),
        f("mounts", Kind::Choice(&["copy", "refuse"])).doc("What becomes of bind mounts of files and folders that the engine's machine does not have: `copy` copies them there at each change, if they are read-only; `refuse` is an error; without it they are mounted as they are written."),
        f("reload", Kind::Object(&RELOAD)).doc("How a changed file is taken up without a new container: `signal`, `exec` or `watch`."),
        f("build", Kind::Object(&BUILD)).doc("What is done on this machine before the image is built."),
        f("provider", Kind::Object(&PROVIDER)).doc("Who writes the data volumes: a volume of one is never opened by another."),
        f("sources", Kind::Texts).doc("Images that are tried in this order when `image` cannot be pulled."),
        f("buckets", Kind::List(&Kind::Checked(bucket))).doc("S3 buckets made for this service; with a secret `AWS_SECRET_ACCESS_KEY` also a key for them alone."),
        f("databases", Kind::List(&Kind::Short(only_name, &Kind::Object(&DATABASE)))).doc("Databases of the service's own in the built-in PostgreSQL: names, or mappings."),
        f("needs", Kind::Short(servers, &Kind::Map(&Kind::Checked(server)))).doc("What the service needs of servers that the platform has for all, by names of its own: `{db: postgres, cache: valkey}`; a list for those that are called as the server. Each stack gets a user and a part of its own, and the service the variables to connect. Servers: postgres, valkey, mariadb, rabbitmq, nats, memcached, mail."),
        f("tasks", Kind::Map(&Kind::Object(&TASK))).doc("What is done before the service starts, such as a migration of its database: a job by its name. It runs again only when what it works on has changed."),
        f("optional", Kind::Bool).doc("The service may be left out when its image is unavailable, or its registry refuses it."),
        f("trust", Kind::Bool).doc("The container trusts the platform's certificates: files in /etc/macula, and the variables by which programs find them."),
        f("once", Kind::Bool).doc("The service is a job: it runs to its end and is then done, even if nothing waits for it with `service_completed_successfully`."),
        f("scale", Kind::Object(&SCALE)).doc("How many containers there are as the load changes, on Kubernetes. Elsewhere there are `min` of them."),
        f("profile", Kind::TextOrTexts).doc("Profiles of the platform that the service belongs to. Without one it always takes part."),
    ],
    &[],
);

static SCALE: Object = closed(
    "scale",
    &[
        f("min", Kind::Int(1, 1000)).doc("Least number, 1 unless given."),
        f("max", Kind::Int(1, 1000)).doc("Greatest number."),
        f("cpu", Kind::Int(1, 1000)).doc("Percent of the CPU reserved for a container that they use on average, 80 unless given: above it there will be more of them, below it fewer."),
    ],
    &["max"],
);

static TASK: Object = closed(
    "a task",
    &[
        f("run", Kind::Words).doc("The command. It runs in a container of the service's image, with its environment, networks and volumes."),
        f("image", Kind::Text).doc("Another image than the service's."),
        f("after", Kind::TextOrTexts).doc("Services that are healthy, and tasks that are done, before it begins; what the service itself waits for unless given."),
        f("before", Kind::TextOrTexts).doc("Services of the stack that start only when it is done; its own service unless given, `[]` for none."),
        f("when", Kind::Object(&WHEN)).doc("What makes it run again. Without it: another command, another image or a new build of it."),
        f("timeout", Kind::Duration).doc("How long it may take, 10m unless given."),
    ],
    &["run"],
);

static WHEN: Object = closed(
    "when",
    &[f("changed", Kind::TextOrTexts).doc("Files and folders of the project, from the folder of the stack file: the task runs again when what is in them, its command or the name of its image changes. A new build of the image is no reason then.")],
    &["changed"],
);

static DATABASE: Object = closed(
    "a database",
    &[
        f("name", Kind::Checked(role)).doc("The database."),
        f("user", Kind::Checked(role)).doc("The role that owns it; the database's name unless given."),
        f("prefix", Kind::Checked(prefix)).doc("What stands in front of the variables that the service gets: `STATS_` for `STATS_DATABASE_URL`. The second database needs one."),
    ],
    &["name"],
);

static RULE: Object = closed(
    "an ingress rule",
    &[
        f("host", Kind::Checked(host)).doc("The service's name unless given. A full name outside the domain has no record and no certificate of the platform: something else, such as a tunnel, sends its requests here. `münchen` becomes `xn--mnchen-3ya`."),
        f("port", PORT).doc("Port in the container."),
        f("fallback", PORT).doc("Another port in the container, for a service that does not listen on `port`."),
        f("path", Kind::Checked(route_path)).doc("Only requests for this path and below it, `/` unless given: `/api` takes `/api/x`, not `/apis`. The longest path wins; a path that no rule has gets the platform's own 404 page."),
        f("tls", Kind::Bool).doc("Speak TLS to the service."),
        f("body_size", Kind::Bytes).doc("Larger requests are refused with 413, by the length that they announce. No limit unless given."),
        f("auth", Kind::Checked(auth)).doc("Basic authentication. `htpasswd -nB user` prints it; write `$$` for each `$` of the hash."),
        f("sticky", Kind::Bool).doc("Keep a client, known by its address and program, on one replica."),
        f("weight", Kind::Int(1, 256)).doc("Share of a name and path that several services have. All of them have to give one; 1 each shares evenly."),
        f("grpc", Kind::Bool).doc("The service speaks HTTP/2 without TLS and nothing else. Not needed for gRPC, which is recognized by its content type."),
        f("grpc_port", PORT).doc("Port in the container for gRPC requests, if it is another one."),
        f("strip", Kind::Bool).doc("The service sees the path without `path`, which it finds in `X-Forwarded-Prefix`."),
        f("same_origin", Kind::Bool).doc("Requests that a page of another origin sends (header `Origin`) are refused with 403. The service's published ports of this machine that lead to `port` go through the ingress as well, and answer only requests for `localhost`, for an address or for a name of the platform."),
        f("response_timeout", Kind::Duration).doc("Where several containers answer: how long one may take to begin its answer before a request that is safe to repeat is sent to the next one; 0 means no limit. 3s for services that share a name by weight, none for replicas."),
    ],
    &["port"],
);

static PROBE: Object = closed(
    "a probe",
    &[
        f("http", Kind::Object(&PROBE_HTTP)).doc("Ask over HTTP: an answer from 200 to 399 is well."),
        f("tcp", Kind::Short(only_port, &Kind::Object(&PROBE_TCP)))
            .doc("Connect to a port: the number, or `{port: NUMBER}`."),
        f("timeout", Kind::Duration).doc(
            "How long the service may take until the probe succeeds; `timeouts.healthy` of macula.yaml unless given.",
        ),
    ],
    &[],
);

static PROBE_HTTP: Object = closed(
    "an HTTP probe",
    &[
        f("port", PORT).doc("Port in the container."),
        f("path", Kind::Checked(url_path)).doc("Path that is asked, `/` unless given."),
    ],
    &["port"],
);
static PROBE_TCP: Object = closed("a TCP probe", &[f("port", PORT).doc("Port in the container.")], &["port"]);

static METRICS: Object = closed(
    "metrics",
    &[
        f("port", PORT).doc("Port in the container."),
        f("path", Kind::Checked(url_path)).doc("`/metrics` unless given."),
        f("job", Kind::Checked(job)).doc("Name of the job; the service's name unless given."),
        f("params", Kind::Options).doc("Parameters of the query."),
    ],
    &["port"],
);

static SECRET: Object = closed(
    "a secret",
    &[
        f("generate", Kind::Int(8, 1024)).doc("Length of a value that is generated once and kept."),
        f("prefix", Kind::Text).doc("Text in front of the generated value, such as `key_`."),
        f("alphabet", Kind::Choice(&["alphanumeric", "lowercase", "digits", "hex"]))
            .doc("Characters of the generated value, `alphanumeric` unless given."),
        f("internal", Kind::Bool)
            .doc("With `generate`: only programs need it, and `macula creds` shows it only with `--all`."),
        f("from", Kind::Checked(reference)).doc("The secret of another service."),
    ],
    &[],
);

static CONFIG: Object = closed(
    "a rendered file",
    &[
        f("template", Kind::Text).doc("Name of the template: a file next to the stack file, in `templates/` of your configuration folder, or a built-in one."),
        f("content", Kind::Text).doc("The template itself."),
        f("mode", Kind::Short(mode, &Kind::Int(0, 0o7777))).doc("Mode of the file, `\"0644\"` unless given."),
        f("uid", ID).doc("Owner of the file, 0 unless given."),
        f("gid", ID).doc("Group of the file, 0 unless given."),
    ],
    &[],
);

static RELOAD: Object = closed(
    "reload",
    &[
        f("signal", Kind::Checked(signal)).doc("Signal for the container's main process."),
        f("exec", Kind::Words).doc("Command to run in the container."),
        f("watch", Kind::Bool).doc("true: the service watches its files itself."),
        f("check", Kind::Words).doc(
            "Command that is run in the container first: if it fails, the old files are put back and stay in use.",
        ),
    ],
    &[],
);

static BUILD: Object = closed(
    "x-macula.build",
    &[
        f("prepare", Kind::List(&Kind::Object(&STEP))).doc(
            "Steps, in order. Each is one of `write`, `run`, `copy` and `program`. `write` and `run` work in a folder that is gone after the build.",
        ),
        f("note", Kind::Text).doc("Shown by `macula status` for a service that runs from its build."),
    ],
    &[],
);

static STEP: Object = closed(
    "a step",
    &[
        f("write", Kind::Object(&WRITE)).doc("Writes a file."),
        f("run", Kind::Object(&RUN)).doc("Runs a program of this machine."),
        f("copy", Kind::Object(&COPY)).doc(
            "Copies a file or folder that a step has made, or else one of the build context, into the build context.",
        ),
        f("program", Kind::Object(&PROGRAM)).doc("Puts the running `macula` itself into the build context."),
    ],
    &[],
);

static WRITE: Object = closed(
    "write",
    &[
        f("path", Kind::Checked(inner_path)).doc("Where to."),
        f("content", Kind::Text).doc("The text."),
        f("file", Kind::Text).doc("A file that is looked for where templates are, and taken as it is."),
    ],
    &["path"],
);
static RUN: Object = closed(
    "run",
    &[
        f("command", Kind::Words).doc("The command."),
        f("needs", Kind::Text).doc("Debian package that has the program."),
    ],
    &["command"],
);
static COPY: Object = closed(
    "copy",
    &[f("from", Kind::Checked(inner_path)).doc("What."), f("to", Kind::Checked(inner_path)).doc("Where to.")],
    &["from", "to"],
);

static PROGRAM: Object = closed("program", &[f("to", Kind::Checked(inner_path)).doc("Where to.")], &["to"]);

static PROVIDER: Object = closed(
    "a provider",
    &[
        f("image", Kind::Text).doc("Who writes the data when `image` is pulled."),
        f("build", Kind::Text).doc("Who writes it when the image is built."),
        f("takes_over", Kind::Texts).doc("Earlier providers whose data the build takes over."),
    ],
    &["image", "build"],
);

fn one_or_list(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    Some(match node.value {
        Value::Map(_) => Node::new(Value::List(vec![node]), span),
        _ => node,
    })
}

fn single(node: Node, key: &str) -> Node {
    let span = node.span;
    let map: Map = [(key.to_owned(), Entry { key: span, node })].into_iter().collect();
    Node::new(Value::Map(map), span)
}

fn only_port(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(if matches!(node.value, Value::Int(_)) { single(node, "port") } else { node })
}

fn only_name(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(if matches!(node.value, Value::Text(_)) { single(node, "name") } else { node })
}

fn template(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    Some(if matches!(node.value, Value::Text(_)) { single(node, "template") } else { node })
}

/// A mode in quotes is octal; without quotes YAML has read it.
fn mode(node: Node, shaper: &mut Shaper<'_>) -> Option<Node> {
    let Value::Text(text) = &node.value else { return Some(node) };
    match i64::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) => Some(Node::new(Value::Int(mode), node.span)),
        Err(_) => shaper.wrong(
            node.span,
            format!("`{text}` is not a valid mode"),
            "use four octal digits in quotes, such as \"0640\"",
        ),
    }
}

fn problem(wrong: bool, text: &str, what: &str, help: &str) -> Option<(String, String)> {
    wrong.then(|| (format!("`{text}` is {what}"), help.to_owned()))
}

fn loopback(text: &str) -> Option<(String, String)> {
    let wrong = !text.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    problem(wrong, text, "not a loopback address", "use an address in 127.0.0.0/8, such as 127.0.0.20")
}

fn host(text: &str) -> Option<(String, String)> {
    problem(
        ascii_host(text).is_none(),
        text,
        "not a valid host name",
        "use a DNS label such as `grafana`, `*.s3`, or a full name",
    )
}

/// A host as DNS has it: in lower case, `münchen` as `xn--mnchen-3ya`. `None` when it is not a name.
pub(super) fn ascii_host(text: &str) -> Option<String> {
    let (wildcard, name) = match text.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text),
    };
    let name = idna::domain_to_ascii(name).ok()?;
    is_dns_name(&name).then(|| format!("{wildcard}{name}"))
}

/// A path as it stands in a request line (RFC 3986, section 3.3), with a query where there is one.
fn url_path(text: &str) -> Option<(String, String)> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%?".contains(&byte);
    let wrong = !text.starts_with('/') || !text.bytes().all(allowed);
    problem(wrong, text, "not a valid URL path", "start with a slash and encode other characters, as in /api/a%20b")
}

/// A name for S3 (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>). It
/// goes into a script of the server's container.
fn bucket(text: &str) -> Option<(String, String)> {
    let help = "use 3 to 63 lower-case letters, digits, dashes and dots, with a letter or digit at both ends";
    problem(!is_bucket_name(text), text, "not a valid bucket name", help)
}

/// What PostgreSQL itself and the built-in services have there.
const TAKEN: [&str; 9] =
    ["postgres", "template0", "template1", "public", "none", "powerdns", "powerdnsadmin", "grafana", "metrics"];

/// A database or a role: a name that needs no quotes in an address or in a shell. In SQL it may be one of its words.
fn role(text: &str) -> Option<(String, String)> {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let rest = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if TAKEN.contains(&text) || text.starts_with("pg_") {
        return problem(true, text, "used by PostgreSQL or by a built-in service", "choose another name");
    }
    let help = "use up to 63 lower-case letters, digits and underscores, and no digit first";
    problem(!first || !rest || text.len() > 63, text, "not a valid name for a database or its user", help)
}

/// `[postgres, valkey]`: each is called as the server.
fn servers(node: Node, _: &mut Shaper<'_>) -> Option<Node> {
    let span = node.span;
    let Value::List(items) = node.value else { return Some(node) };
    let entries = items.into_iter().map(|item| {
        (item.as_text().unwrap_or_default().to_owned(), {
            let key = item.span;
            Entry { key, node: item }
        })
    });
    Some(Node::new(Value::Map(entries.collect()), span))
}

fn server(text: &str) -> Option<(String, String)> {
    let known = Server::ALL.map(Server::name);
    let help = suggestion(text, known);
    problem(Server::find(text).is_none(), text, "not a server of the platform", &help)
}

/// What stands in front of the names of a database's variables.
fn prefix(text: &str) -> Option<(String, String)> {
    let help = "use letters, digits and underscores, and no digit first";
    problem(!text.is_empty() && !is_variable(text), text, "not a valid beginning of a variable name", help)
}

pub(super) fn is_need(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= 30 && is_variable(name) && name.bytes().all(plain)
}

/// The name of a variable: shells evaluate what `macula env` prints.
pub(super) fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Prometheus takes any text but an empty one; it also stands in labels and file names.
fn job(text: &str) -> Option<(String, String)> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    let wrong = text.is_empty() || !text.bytes().all(plain);
    problem(
        wrong,
        text,
        "not a valid job name",
        "use letters, digits and - . _ /, or leave it out for the service's name",
    )
}

/// A path of the ingress, as it is compared: without a query and without escapes.
fn route_path(text: &str) -> Option<(String, String)> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~+,=:@".contains(&byte);
    let wrong = !text.starts_with('/') || !text.bytes().all(plain);
    problem(
        wrong,
        text,
        "not a valid path of the ingress",
        "start with a slash and use letters, digits and - . _ ~ + , = : @",
    )
}

fn auth(text: &str) -> Option<(String, String)> {
    let made = "write user:hash as `htpasswd -nB user` prints it, with $$ for each $";
    let Some((user, hash)) = text.split_once(':') else {
        return problem(true, "...", "not a valid user and password hash", made);
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    let hashed = |byte: u8| byte.is_ascii_alphanumeric() || b"./$".contains(&byte);
    if user.is_empty() || !user.bytes().all(named) {
        let allowed = "use letters, digits and . _ @ + - in the user's name";
        return problem(true, user, "not a valid user name", allowed);
    }
    if hash.starts_with("$apr1$") {
        return problem(true, "$apr1$...", "a hash that the ingress does not support", made);
    }
    problem(!hash.starts_with('$') || !hash.bytes().all(hashed), "...", "not a valid password hash", made)
}

fn reference(text: &str) -> Option<(String, String)> {
    let wrong = !text.split_once('.').is_some_and(|(service, key)| !service.is_empty() && !key.is_empty());
    problem(wrong, text, "not a reference to a secret", "use SERVICE.VARIABLE, such as postgres.POSTGRES_PASSWORD")
}

fn signal(text: &str) -> Option<(String, String)> {
    let known = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH"];
    let name = text.strip_prefix("SIG").unwrap_or(text);
    problem(
        !known.contains(&name),
        text,
        "not a signal that services reload on",
        "use SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2 or SIGWINCH",
    )
}

fn inner_path(text: &str) -> Option<(String, String)> {
    let path = clean(Path::new(text));
    let wrong = text.is_empty() || path.is_absolute() || path.starts_with("..");
    problem(wrong, text, "not a path inside the scratch folder", "use a relative path without `..`")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Option<(String, String)>;

    #[test]
    fn values_are_told_from_what_cannot_be_one() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        let checks: [(&str, Check, &[&str], &[&str]); 12] = [
            ("loopback", loopback, &["127.0.0.1", "127.255.0.9"], &["", "128.0.0.1", "127.0.0", "::1"]),
            ("host", host, &["grafana", "*.s3", "a.b.c", "Grafana"], &["", "*", "a..b", "*.*.a", "-a", "a b"]),
            ("url_path", url_path, &["/", "/api/a%20b?x=1"], &["", "api", "/a b", "/a\"", "/\u{e4}"]),
            ("bucket", bucket, &["abc"], &["ab", "Abc"]),
            (
                "role",
                role,
                &["a", "_a1", "select", long.as_str()],
                &["", "1a", "a-b", "A", "metrics", "pg_x", longer.as_str()],
            ),
            ("server", server, &["postgres", "valkey"], &["", "oracle"]),
            ("prefix", prefix, &["", "A_", "_a1"], &["1A", "A-"]),
            ("job", job, &["a/b-c.d_e", "1"], &["", "a b", "a:b"]),
            ("route_path", route_path, &["/", "/a-b._~+,=:@/c1"], &["", "a", "/a?b", "/a%20b", "/a b"]),
            ("reference", reference, &["postgres.KEY", "a.b.c"], &["", "postgres", ".KEY", "postgres."]),
            ("signal", signal, &["SIGHUP", "HUP", "USR1"], &["", "SIG", "KILL", "SIGKILL", "hup", "SIGSIGHUP"]),
            ("inner_path", inner_path, &["a", "./a/b", "a/../b", "..a"], &["", "/a", "..", "../a", "a/../../b"]),
        ];
        for (name, check, good, bad) in checks {
            for text in good {
                assert_eq!(check(text), None, "{name} {text}");
            }
            for text in bad {
                let told = check(text).map(|(what, _)| what).unwrap_or_default();
                assert!(told.starts_with(&format!("`{text}` is ")), "{name} {text}: {told}");
            }
        }
    }

    #[test]
    fn names_of_needs_are_those_of_variables_in_lower_case() {
        for (name, need, variable) in [
            ("db", true, true),
            ("_db1", true, true),
            ("DB", false, true),
            ("1db", false, false),
            ("", false, false),
            ("a-b", false, false),
            ("a23456789012345678901234567890", true, true),
            ("a234567890123456789012345678901", false, true),
        ] {
            assert_eq!((is_need(name), is_variable(name)), (need, variable), "{name}");
        }
    }

    #[test]
    fn of_a_password_nothing_is_told() {
        for (text, told) in [
            ("me:$2y$05$abc./", None),
            ("a.b_c@d+e-f1:$2y$a", None),
            ("me", Some("`...` is not a valid user and password hash")),
            (":$2y$a", Some("`` is not a valid user name")),
            ("m e:$2y$a", Some("`m e` is not a valid user name")),
            ("me:$apr1$x", Some("`$apr1$...` is a hash that the ingress does not support")),
            ("me:plain", Some("`...` is not a valid password hash")),
            ("me:$2y$a b", Some("`...` is not a valid password hash")),
        ] {
            assert_eq!(auth(text).map(|(what, _)| what).as_deref(), told, "{text}");
        }
    }
}
