//! `stack render`: files alone.

use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::app::{StackRequest, translate_stack};
use crate::cli::context::{Context, StackOptions};
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::ui::text::count;
use crate::compile::addons::MANAGER;
use crate::compile::targets::{Loss, Rendered, Target, Translation};
use crate::model::label;

/// Write a stack in the words of Swarm or Kubernetes
///
/// Nothing is sent anywhere, and the same files give the same text. What the target has no word for is listed with its
/// place in the file; a key without which a service would behave in another way ends the command with exit code 3,
/// unless you accept it. docs/targets.md has the table of all keys.
///
/// Secrets are left out of the text unless you ask for them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  macula stack render shop --target kubernetes | kubectl apply --dry-run=server -f -\n  \
                  macula stack render shop --target kubernetes --dir manifests\n  \
                  macula stack render shop --target swarm -o json"
)]
pub struct Args {
    /// The stack
    #[arg(value_name = "STACK")]
    which: String,
    /// What the stack is written for
    #[arg(long, value_enum, value_name = "TARGET")]
    target: Orchestrator,
    #[command(flatten)]
    form: Form,
    /// Write one file for each object into this folder, which is made where it does not exist
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Write the values of secrets, too
    #[arg(long)]
    show_secrets: bool,
    /// Image of the init containers that wait for other services on Kubernetes
    #[arg(long, value_name = "IMAGE", default_value = "busybox:1.37")]
    wait_image: String,
    #[command(flatten)]
    stacks: StackOptions,
}

/// How a stack is put into a target's words.
#[derive(Debug, Clone, clap::Args)]
pub struct Form {
    /// Namespace on Kubernetes (default: the stack's name)
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Registry from which nodes pull the images that the stack builds (default: registry.DOMAIN)
    #[arg(long, value_name = "HOST", value_parser = registry)]
    pub registry: Option<String>,
    /// Go on without the keys that the target cannot do
    #[arg(long)]
    pub accept_losses: bool,
}

/// What images can be named by: `registry.example.com:5000/team`. One component without a dot or a port is an account of
/// Docker Hub to everybody who reads it.
fn registry(text: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("`{text}` is not a valid registry: {why}"));
    if let Some((scheme, _)) = text.split_once("://") {
        return bad(&format!("leave out `{scheme}://`, as in registry.example.com:5000"));
    }
    let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
    let (name, port) = match host.rsplit_once(':') {
        // an address of IPv6 has colons of its own
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_address = address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_address && !name.split('.').all(word) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return bad("write HOST or HOST:PORT, such as registry.example.com:5000");
    }
    if !host.contains(['.', ':']) && host != "localhost" {
        return bad(&format!("write a host with a dot or a port; an account of Docker Hub is docker.io/{text}"));
    }
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let part = |part: &str| {
        let mut letters = part.bytes();
        let ends = (letters.clone().next(), letters.next_back());
        edge(ends.0)
            && edge(ends.1)
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
    };
    match path.is_none_or(|path| path.split('/').all(part)) {
        true => Ok(text.to_owned()),
        false => bad("a path behind the host has lower-case letters, digits, `.`, `_` and `-`, such as /team"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Orchestrator {
    /// A swarm of Docker engines
    Swarm,
    /// A cluster of Kubernetes
    Kubernetes,
}

impl From<Orchestrator> for Target {
    fn from(target: Orchestrator) -> Self {
        match target {
            Orchestrator::Swarm => Self::Swarm,
            Orchestrator::Kubernetes => Self::Kubernetes,
        }
    }
}

/// # Errors
/// A namespace on a swarm.
pub fn check_namespace(target: Target, namespace: Option<&str>) -> Result<(), CliError> {
    match (target, namespace) {
        (Target::Swarm, Some(_)) => {
            Err(CliError::usage("`--namespace` is for Kubernetes: on a swarm everything bears the name of the stack")
                .hint("give the stack another name in its file: `name: NAME`"))
        }
        _ => Ok(()),
    }
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    check_namespace(args.target.into(), args.form.namespace.as_deref())?;
    let loaded = context.load_orchestrated(&args.stacks)?;
    let session = context.session_without_engine("stack render");
    let request = StackRequest {
        stack: args.which,
        target: args.target.into(),
        namespace: args.form.namespace,
        registry: args.form.registry,
        waiting: Some(args.wait_image),
        secrets: args.show_secrets,
        keep: true,
    };
    let translation = translate_stack(&session, &loaded, &request).await?;
    tell(context, request.target, &translation.losses, args.form.accept_losses)?;
    if let Some(folder) = args.dir {
        let files = files(&translation)?;
        for (name, text) in &files {
            let path = folder.join(name);
            let mode = if args.show_secrets { 0o600 } else { 0o644 };
            let written = context.host.write(&path, text.as_bytes(), mode).await;
            written.with_context(|| format!("write {}", path.display()))?;
        }
        let outdated = remove_outdated(context, &folder, &translation, &files).await?;
        if context.json() {
            let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
            return context.print_json(&json!({"folder": folder.display().to_string(), "files": names}));
        }
        let mut told = format!("{} in {}", count(files.len(), "file"), folder.display());
        if outdated > 0 {
            told.push_str(&format!("; {} of an earlier rendering removed", count(outdated, "file")));
        }
        context.events().info(told);
        return Ok(());
    }
    if context.json() {
        return context.print_json(&json!({
            "target": request.target, "order": translation.order, "images": translation.pushed,
            "losses": translation.losses, "objects": objects(&translation.rendered)?,
        }));
    }
    let texts: Vec<String> = files(&translation)?.into_iter().map(|(_, text)| text).collect();
    context.print_data(&texts.join("---\n"))
}

/// Removes what an earlier rendering of the same stack wrote there and this one does not: whoever applies the folder would
/// apply it, after what is newer. How many files that were.
async fn remove_outdated(
    context: &Context,
    folder: &Path,
    translation: &Translation,
    files: &[(String, String)],
) -> Result<usize, CliError> {
    let Rendered::Kubernetes(objects) = &translation.rendered else { return Ok(0) };
    let labels = |object: &Value| {
        let labels = &object["metadata"]["labels"];
        ["app.kubernetes.io/managed-by", label::STACK].map(|key| labels[key].as_str().map(str::to_owned))
    };
    let Some([_, stack]) = objects.first().map(labels) else { return Ok(0) };
    let own = [Some(MANAGER.to_owned()), stack];
    let names = context.host.list(folder).await.with_context(|| format!("list {}", folder.display()))?;
    let mut removed = 0;
    for name in names.iter().filter(|name| is_numbered(name) && files.iter().all(|(file, _)| file != *name)) {
        let path = folder.join(name);
        // what cannot be read is nothing of ours
        let Ok(text) = context.host.read(&path).await else { continue };
        let object: Value = serde_yaml::from_slice(&text).unwrap_or_default();
        if labels(&object) == own {
            let gone = context.host.remove(&path).await;
            gone.with_context(|| format!("remove {}", path.display()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// `006-deployment-web.yaml`
fn is_numbered(name: &str) -> bool {
    let digits = name.chars().take_while(char::is_ascii_digit).count();
    digits >= 3 && name.get(digits..).is_some_and(|rest| rest.starts_with('-')) && name.ends_with(".yaml")
}

/// Says what is lost; what changes how a service behaves is an error unless it is accepted.
pub fn tell(context: &Context, target: Target, losses: &[Loss], accepted: bool) -> Result<(), CliError> {
    for loss in losses.iter().filter(|loss| accepted || !loss.behavior) {
        context.events().warn(loss.to_string());
    }
    let stops: Vec<String> = losses.iter().filter(|loss| loss.behavior).map(ToString::to_string).collect();
    if accepted || stops.is_empty() {
        return Ok(());
    }
    let message = format!("{target} cannot do {} of the stack", count(stops.len(), "key"));
    let mut error = CliError::new(ErrorKind::Config, message);
    error.details = stops;
    Err(error.hint("change these keys, or go on without them: --accept-losses"))
}

fn objects(rendered: &Rendered) -> Result<Value, CliError> {
    match rendered {
        Rendered::Kubernetes(objects) => Ok(json!(objects)),
        Rendered::Swarm(stack) => serde_json::to_value(stack).map_err(CliError::fault),
    }
}

/// File names and texts, in the order in which they are to be applied.
fn files(translation: &Translation) -> Result<Vec<(String, String)>, CliError> {
    let Rendered::Kubernetes(objects) = &translation.rendered else {
        return Ok(vec![("swarm.yaml".to_owned(), yaml(&objects(&translation.rendered)?)?)]);
    };
    let part = |object: &Value, pointer: &str| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_lowercase()
    };
    let files = objects.iter().enumerate().map(|(index, object)| {
        let name = format!("{:03}-{}-{}.yaml", index + 1, part(object, "/kind"), part(object, "/metadata/name"));
        Ok((name, yaml(object)?))
    });
    files.collect()
}

/// Before a text that has to be quoted; no text of a stack has it.
const MARK: char = '\u{e000}';

/// As those take it, too, who read older YAML: to kubectl `no`, `on` and `1_000` without quotes are no texts.
fn yaml(value: &Value) -> Result<String, CliError> {
    let plain = serde_yaml::to_string(value).map_err(CliError::fault)?;
    if plain.contains(MARK) {
        return Ok(plain);
    }
    let marked = serde_yaml::to_string(&marked(value)).map_err(CliError::fault)?;
    let mut letters = marked.chars().peekable();
    let (mut text, mut last) = (String::with_capacity(plain.len()), ' ');
    while let Some(letter) = letters.next() {
        if letter != MARK {
            text.push(letter);
        } else if last != '\'' && last != '"' {
            text.push('"');
            while let Some(letter) = letters.next_if(|letter| is_of_word(*letter)) {
                text.push(letter);
            }
            text.push('"');
        }
        last = letter;
    }
    Ok(text)
}

fn is_of_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_+-.".contains(letter)
}

fn marked(value: &Value) -> Value {
    let mark = |text: &str| if is_older_word(text) { format!("{MARK}{text}") } else { text.to_owned() };
    match value {
        Value::String(text) => Value::String(mark(text)),
        Value::Array(items) => items.iter().map(marked).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (mark(key), marked(value))).collect(),
        other => other.clone(),
    }
}

/// What YAML 1.1 takes for true, false or a number, and YAML 1.2 does not (<https://yaml.org/type/bool.html>,
/// <https://yaml.org/type/int.html>).
fn is_older_word(text: &str) -> bool {
    let number = text.trim_start_matches(['+', '-']);
    ["y", "n", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word))
        || number.starts_with(|first: char| first.is_ascii_digit())
            && number.len() > 1
            && text.chars().all(is_of_word)
            && (number.contains('_') || number.starts_with('0') && !number.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_what_images_can_be_named_by() {
        for valid in [
            "registry.example.com",
            "REGISTRY.example.com:5000/team/a-b_c.d",
            "localhost",
            "localhost:5001",
            "registry:5000",
            "127.0.0.1:1",
            "[::1]:5000",
            "[fd00::5]/team",
            "docker.io/acme",
        ] {
            assert_eq!(registry(valid), Ok(valid.to_owned()));
        }
        for (bad, words) in [
            ("https://registry.example.com", "leave out `https://`"),
            ("registry.example.com/Team", "lower-case"),
            ("registry.example.com/", "lower-case"),
            ("registry.example.com//team", "lower-case"),
            ("registry.example.com/-team", "lower-case"),
            ("my registry.example.com", "HOST:PORT"),
            ("registry..com", "HOST:PORT"),
            ("registry.example.com:no", "HOST:PORT"),
            ("registry.example.com:70000", "HOST:PORT"),
            ("[::g]:5000", "HOST:PORT"),
            ("", "HOST:PORT"),
            ("acme", "docker.io/acme"),
        ] {
            let said = registry(bad).unwrap_err();
            assert!(said.starts_with(&format!("`{bad}` is not a valid registry: ")) && said.contains(words), "{said}");
        }
    }

    /// What kubectl 1.36 reads, `-` and all.
    #[test]
    fn what_older_readers_take_for_something_else_is_quoted() {
        let value = json!({
            "args": ["--protected-mode", "no", "On", "y", "yes, please", "1_000", "0777", "1.5", "0"],
            "data": {"text": "- no\n- on\n", "off": "a", "number": 7, "truth": true},
        });
        insta::assert_snapshot!(yaml(&value).unwrap(), @r#"
        args:
        - --protected-mode
        - "no"
        - "On"
        - "y"
        - yes, please
        - "1_000"
        - "0777"
        - '1.5'
        - '0'
        data:
          text: |
            - no
            - on
          "off": a
          number: 7
          truth: true
        "#);
    }

    #[test]
    fn a_text_with_the_mark_is_written_as_it_is() {
        let value = json!({"a": format!("{MARK}no"), "b": "c"});
        assert_eq!(serde_yaml::from_str::<Value>(&yaml(&value).unwrap()).unwrap(), value);
    }
}
