//! `x-macula` of a service.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::files::{Files, clean, join};
use crate::config::read::read_text;
use crate::config::yaml::{Kind, Node, Report, Shaper, Span, listed, shape};
use crate::model::{
    Alphabet, ConfigTemplate, Database, Extension, Generated, IngressRule, Metrics, MountsElsewhere, PrepareStep,
    Probe, ProbeKind, Provider, Reload, Role, Scale, SecretSource, Server, is_dns_label, to_dns_label,
};
use crate::render;

mod table;
mod task;

pub(in crate::config) use table::EXTENSION;
use table::{ascii_host, is_need, is_variable};
use task::task;

/// Where templates are looked for.
pub(in crate::config) struct Templates<'a> {
    pub(in crate::config) files: &'a dyn Files,
    /// The folder of the stack file; `None` for an embedded stack.
    pub(in crate::config) beside: Option<&'a Path>,
    /// The user's `templates` folder, which goes before the embedded one.
    pub(in crate::config) own: Option<PathBuf>,
}

impl Templates<'_> {
    /// The text of a template: beside a user's stack file, in the user's folder, then the embedded.
    fn find(&self, name: &str, report: &mut Report) -> Result<String, Option<String>> {
        let mut tried = Vec::new();
        for path in [
            self.beside.map(|folder| join(folder, Path::new(name))),
            self.own.as_ref().map(|folder| join(folder, Path::new(name))),
        ]
        .into_iter()
        .flatten()
        {
            if self.files.exists(&path) {
                return read_text(self.files, &path, None, report).ok_or(None);
            }
            tried.push(path.display().to_string());
        }
        tried.push(format!("the built-in template {name}"));
        render::template(name)
            .map(str::to_owned)
            .ok_or_else(|| Some(format!("there is neither {}", tried.join(" nor "))))
    }
}

/// The extension of a service. `path` is `services.NAME`.
pub(in crate::config) fn build(
    service: &Node,
    name: &str,
    templates: &Templates<'_>,
    report: &mut Report,
) -> Extension {
    let Some(node) = service.get("x-macula") else { return Extension::default() };
    let base = templates.beside.unwrap_or(Path::new("/")).to_owned();
    let shaped = {
        let mut shaper = Shaper::new(report, &base, None);
        shaper.within("services", |shaper| {
            shaper.within(name, |shaper| {
                shaper.within("x-macula", |shaper| shape(&Kind::Object(&EXTENSION), node.clone(), shaper))
            })
        })
    };
    let Some(node) = shaped else { return Extension::default() };
    let path = format!("services.{name}.x-macula");
    Extension {
        role: node.get_text("role").map(|role| if role == "names" { Role::Names } else { Role::Ingress }),
        ingress: node.items("ingress").iter().filter_map(|rule| ingress(rule, name, &path, report)).collect(),
        address: node.get_text("address").and_then(|text| text.parse().ok()),
        probe: node.get("probe").and_then(|probe| probe_of(probe, &path, report)),
        metrics: node.items("metrics").iter().filter_map(metrics).collect(),
        exports: node
            .entries("exports")
            .filter(|(name, entry)| {
                let valid = is_variable(name);
                if !valid {
                    report.error_help(
                        entry.key,
                        format!("{path}.exports: `{name}` is not a valid variable name"),
                        "use letters, digits and underscores, and no digit first",
                    );
                }
                valid
            })
            .filter_map(|(name, entry)| Some((name.to_owned(), entry.node.as_text()?.to_owned())))
            .collect(),
        environment: node
            .entries("environment")
            .filter(|(name, entry)| names_a_variable(name, entry.key, &format!("{path}.environment"), report))
            .filter_map(|(name, entry)| Some((name.to_owned(), entry.node.as_text()?.to_owned())))
            .collect(),
        secrets: secrets(&node, &path, report),
        configs: configs(&node, &path, templates, report),
        reload: node.get("reload").and_then(|reload| reload_of(reload, &path, report)),
        reload_check: node.get("reload").map(|reload| reload.texts("check")).unwrap_or_default(),
        prepare: node
            .get("build")
            .map(|build| {
                build.items("prepare").iter().filter_map(|step| prepare(step, &path, templates, report)).collect()
            })
            .unwrap_or_default(),
        provider: node.get("provider").and_then(|provider| {
            Some(Provider {
                image: provider.get_text("image")?.to_owned(),
                build: provider.get_text("build")?.to_owned(),
                takes_over: provider.texts("takes_over"),
            })
        }),
        optional: node.get_bool("optional").unwrap_or(false),
        trust: node.get_bool("trust").unwrap_or(false),
        once: node.get_bool("once").unwrap_or(false),
        profiles: node.texts("profile"),
        buckets: node.texts("buckets"),
        databases: node.items("databases").iter().filter_map(database).collect(),
        needs: node
            .entries("needs")
            .filter(|(name, entry)| {
                let valid = is_need(name);
                if !valid {
                    report.error_help(
                        entry.key,
                        format!("{path}.needs: `{name}` is not a valid name for what a service needs"),
                        "use up to 30 lower-case letters, digits and underscores, and no digit first: variables begin with it",
                    );
                }
                valid
            })
            .filter_map(|(name, entry)| Some((name.to_owned(), Server::find(entry.node.as_text()?)?)))
            .collect(),
        parts: Vec::new(),
        tasks: node
            .entries("tasks")
            .filter_map(|(name, entry)| {
                Some((name.to_owned(), task(&entry.node, &format!("{path}.tasks.{name}"), templates, report)?))
            })
            .collect(),
        task: None,
        build_note: node.get("build").and_then(|build| build.get_text("note")).map(str::to_owned),
        sources: node.texts("sources"),
        scale: node.get("scale").and_then(|scale| scale_of(scale, &path, report)),
        mounts: match node.get_text("mounts") {
            Some("copy") => MountsElsewhere::Copy,
            Some("refuse") => MountsElsewhere::Refuse,
            _ => MountsElsewhere::AsWritten,
        },
    }
}

fn scale_of(node: &Node, path: &str, report: &mut Report) -> Option<Scale> {
    let number = |key: &str| node.get_int(key).and_then(|number| u32::try_from(number).ok());
    let scale = Scale { min: number("min").unwrap_or(1), max: number("max")?, cpu: number("cpu").unwrap_or(80) };
    if scale.min > scale.max {
        report.error_help(
            node.span,
            format!("{path}.scale: `min` is {} and `max` is {}", scale.min, scale.max),
            "make `max` at least as large as `min`",
        );
    }
    Some(scale)
}

fn database(node: &Node) -> Option<Database> {
    let name = node.get_text("name")?.to_owned();
    Some(Database {
        user: node.get_text("user").unwrap_or(&name).to_owned(),
        prefix: node.get_text("prefix").unwrap_or_default().to_owned(),
        name,
    })
}

fn port(node: &Node) -> Option<u16> {
    node.get_int("port").and_then(|port| u16::try_from(port).ok())
}

fn path_or(node: &Node, default: &str) -> String {
    node.get_text("path").unwrap_or(default).to_owned()
}

fn ingress(rule: &Node, service: &str, path: &str, report: &mut Report) -> Option<IngressRule> {
    let port = port(rule)?;
    // what is wrong was told, and stands there as null: with the default it would meet other rules
    let is_wrong = |key: &str| rule.as_map().is_some_and(|map| map.contains_key(key)) && rule.get(key).is_none();
    if ["host", "path", "weight"].into_iter().any(is_wrong) {
        return None;
    }
    let host = match rule.get_text("host") {
        Some(host) => ascii_host(host).unwrap_or_else(|| host.to_owned()),
        None if is_dns_label(service) => service.to_owned(),
        None => {
            report.error_help(
                rule.span,
                format!(
                    "{path}.ingress: the service's name `{service}` is not a DNS label, so it cannot be a host name"
                ),
                format!("add `host: {}`", to_dns_label(service)),
            );
            return None;
        }
    };
    Some(IngressRule {
        host,
        port,
        fallback: rule.get_int("fallback").and_then(|port| u16::try_from(port).ok()),
        path: path_or(rule, "/"),
        tls: rule.get_bool("tls").unwrap_or(false),
        body_size: rule.get_int("body_size").and_then(|size| u64::try_from(size).ok()),
        auth: rule.get_text("auth").map(str::to_owned),
        sticky: rule.get_bool("sticky").unwrap_or(false),
        weight: rule.get_int("weight").and_then(|weight| u32::try_from(weight).ok()),
        grpc: rule.get_bool("grpc").unwrap_or(false),
        grpc_port: rule.get_int("grpc_port").and_then(|port| u16::try_from(port).ok()),
        strip: rule.get_bool("strip").unwrap_or(false),
        same_origin: rule.get_bool("same_origin").unwrap_or(false),
        response_timeout: duration(rule, "response_timeout"),
        assumed: false,
    })
}

/// Exactly one of some keys; what is wrong is in the report.
fn only_one<'a>(
    node: &'a Node,
    keys: &[&'static str],
    path: &str,
    report: &mut Report,
) -> Option<(&'static str, &'a Node)> {
    // what is no mapping was told already
    node.as_map()?;
    let given: Vec<&'static str> =
        keys.iter().copied().filter(|key| node.as_map().is_some_and(|map| map.contains_key(*key))).collect();
    match given.as_slice() {
        [one] => node.get(one).map(|inner| (*one, inner)),
        _ => {
            let keys = listed(keys.iter().copied(), "and");
            report.error_help(
                node.span,
                format!("{path}: one of {keys} belongs here, not {}", given.len()),
                "keep one of them",
            );
            None
        }
    }
}

fn probe_of(node: &Node, path: &str, report: &mut Report) -> Option<Probe> {
    let (kind, inner) = only_one(node, &["http", "tcp"], &format!("{path}.probe"), report)?;
    let port = port(inner)?;
    let kind =
        if kind == "http" { ProbeKind::Http { port, path: path_or(inner, "/") } } else { ProbeKind::Tcp { port } };
    Some(Probe { kind, timeout: duration(node, "timeout") })
}

fn duration(node: &Node, key: &str) -> Option<Duration> {
    node.get_int(key).and_then(|nanoseconds| u64::try_from(nanoseconds).ok()).map(Duration::from_nanos)
}

fn metrics(node: &Node) -> Option<Metrics> {
    Some(Metrics {
        port: port(node)?,
        path: path_or(node, "/metrics"),
        job: node.get_text("job").map(str::to_owned),
        params: node
            .entries("params")
            .filter_map(|(name, entry)| Some((name.to_owned(), entry.node.as_text()?.to_owned())))
            .collect(),
    })
}

/// A container's variable may be called almost anything, though not so that its value begins somewhere else.
fn names_a_variable(name: &str, at: Span, path: &str, report: &mut Report) -> bool {
    let valid = !name.is_empty() && !name.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control());
    if !valid {
        report.error_help(
            at,
            format!("{path}: `{name}` is not a valid variable name"),
            "use letters, digits and underscores, and no digit first",
        );
    }
    valid
}

fn secrets(node: &Node, path: &str, report: &mut Report) -> BTreeMap<String, SecretSource> {
    let mut out = BTreeMap::new();
    for (name, entry) in node.entries("secrets") {
        if !names_a_variable(name, entry.key, &format!("{path}.secrets"), report) {
            continue;
        }
        let Some((kind, inner)) =
            only_one(&entry.node, &["generate", "from"], &format!("{path}.secrets.{name}"), report)
        else {
            continue;
        };
        let source = match kind {
            "generate" => inner.as_int().and_then(|length| u16::try_from(length).ok()).map(|length| {
                SecretSource::Generate(Generated {
                    length,
                    prefix: entry.node.get_text("prefix").unwrap_or_default().to_owned(),
                    alphabet: match entry.node.get_text("alphabet") {
                        Some("lowercase") => Alphabet::Lowercase,
                        Some("digits") => Alphabet::Digits,
                        Some("hex") => Alphabet::Hex,
                        _ => Alphabet::Alphanumeric,
                    },
                    internal: entry.node.get_bool("internal").unwrap_or(false),
                })
            }),
            _ => inner
                .as_text()
                .and_then(|text| text.split_once('.'))
                .map(|(service, key)| SecretSource::From { service: service.to_owned(), key: key.to_owned() }),
        };
        out.extend(source.map(|source| (name.to_owned(), source)));
    }
    out
}

fn configs(
    node: &Node,
    path: &str,
    templates: &Templates<'_>,
    report: &mut Report,
) -> BTreeMap<String, ConfigTemplate> {
    let mut out = BTreeMap::new();
    for (target, entry) in node.entries("configs") {
        if !target.starts_with('/') || target.ends_with('/') {
            report.error_help(
                entry.key,
                format!("{path}.configs: `{target}` is not an absolute path of a file"),
                "the key is the path in the container",
            );
            continue;
        }
        let node = &entry.node;
        let Some((kind, inner)) = only_one(node, &["template", "content"], &format!("{path}.configs.{target}"), report)
        else {
            continue;
        };
        let Some(text) = inner.as_text() else { continue };
        // a text of its own is a template without a file
        let (name, found) = match kind {
            "template" => (text, templates.find(text, report)),
            _ => (target, Ok(text.to_owned())),
        };
        let id = |key: &str| node.get_int(key).and_then(|id| u32::try_from(id).ok());
        match found {
            Ok(source) => {
                let template = ConfigTemplate {
                    name: name.to_owned(),
                    source,
                    uid: id("uid").unwrap_or(0),
                    gid: id("gid").unwrap_or(0),
                    mode: id("mode").unwrap_or(0o644),
                };
                out.insert(clean(Path::new(target)).to_string_lossy().into_owned(), template);
            }
            // what is wrong with the file itself was reported
            Err(None) => {}
            Err(Some(error)) => report.error_help(
                node.span,
                format!("{path}.configs: {error}"),
                "the path counts from the folder of the stack file",
            ),
        }
    }
    out
}

fn reload_of(node: &Node, path: &str, report: &mut Report) -> Option<Reload> {
    let (kind, inner) = only_one(node, &["signal", "exec", "watch"], &format!("{path}.reload"), report)?;
    match kind {
        "signal" => {
            inner.as_text().map(|name| Reload::Signal(format!("SIG{}", name.strip_prefix("SIG").unwrap_or(name))))
        }
        "exec" => Some(Reload::Exec(node.texts("exec"))).filter(|_| !node.items("exec").is_empty()),
        _ => inner.as_bool().filter(|watch| *watch).map(|_| Reload::None),
    }
}

fn prepare(node: &Node, path: &str, templates: &Templates<'_>, report: &mut Report) -> Option<PrepareStep> {
    let (kind, inner) = only_one(node, &["write", "run", "copy", "program"], &format!("{path}.build.prepare"), report)?;
    let text = |key: &str| inner.get_text(key).map(str::to_owned);
    match kind {
        "write" => {
            let (from, value) = only_one(inner, &["content", "file"], &format!("{path}.build.prepare.write"), report)?;
            let value_text = value.as_text()?;
            let content = match from {
                "content" => value_text.to_owned(),
                _ => match templates.find(value_text, report) {
                    Ok(content) => content,
                    Err(error) => {
                        // what is wrong with the file itself was reported
                        if let Some(error) = error {
                            report.error_help(
                                value.span,
                                format!("{path}.build.prepare.write: {error}"),
                                "the path counts from the folder of the stack file",
                            );
                        }
                        return None;
                    }
                },
            };
            Some(PrepareStep::Write { path: text("path")?, content })
        }
        "run" => Some(PrepareStep::Run { command: inner.texts("command"), needs: text("needs") }),
        "copy" => Some(PrepareStep::Copy { from: text("from")?, to: text("to")? }),
        _ => Some(PrepareStep::Program { to: text("to")? }),
    }
}
