//! Floor 0: minijinja over what is embedded in the binary: `templates/` (configuration of the
//! services), `stacks/` (the built-in Compose files) and `kind/` (the cluster's files).

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::{Arc, LazyLock};

use include_dir::{Dir, include_dir};
use indexmap::IndexMap;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Serialize;

static TEMPLATES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../templates");
static STACKS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../stacks");
static KIND: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../kind");

/// A template that does not render. Minijinja's error is not kept: its text ends with the place and is worded for its
/// own authors, so `message` is made of it and of its causes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if name.is_empty() { String::new() } else { format!("{name}:{line}: ") })]
pub struct RenderError {
    /// The name that was given to [`render`]; empty where whoever tells of it names the place.
    pub name: String,
    /// From 1; 0 when minijinja names no line.
    pub line: usize,
    pub message: String,
}

impl RenderError {
    /// Of a template that is the value of this key: the file that has it says the rest.
    #[must_use]
    pub fn inside(mut self, key: &str) -> Self {
        if self.name == key && self.line <= 1 {
            self.name.clear();
        }
        self
    }
}

/// The text of an embedded template, by its path below `templates/`.
pub fn template(name: &str) -> Option<&'static str> {
    TEMPLATES.get_file(name)?.contents_utf8()
}

/// The text of an embedded file of the cluster, by its path below `kind/`.
pub fn kind(name: &str) -> Option<&'static str> {
    KIND.get_file(name)?.contents_utf8()
}

/// The built-in stacks: file name (`grafana.yaml`) and text, in the order of the file names.
pub fn stacks() -> Vec<(&'static str, &'static str)> {
    let mut stacks: Vec<(&'static str, &'static str)> = STACKS
        .files()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .filter_map(|file| Some((file.path().to_str()?, file.contents_utf8()?)))
        .collect();
    stacks.sort_unstable_by_key(|(name, _)| *name);
    stacks
}

/// The stacks that are there only where somebody asks for them, as [`stacks`] has the others.
pub fn catalog() -> Vec<(&'static str, &'static str)> {
    let files = STACKS.get_dir("catalog").into_iter().flat_map(Dir::files);
    let mut stacks: Vec<(&'static str, &'static str)> =
        files.filter_map(|file| Some((file.path().file_name()?.to_str()?, file.contents_utf8()?))).collect();
    stacks.sort_unstable_by_key(|(name, _)| *name);
    stacks
}

/// Whether a stack of this name is among [`stacks`] or [`catalog`].
pub fn is_shipped(stack: &str) -> bool {
    let file = format!("{stack}.yaml");
    STACKS.get_file(&file).is_some() || STACKS.get_file(format!("catalog/{file}")).is_some()
}

/// Work and memory that one file may take: some ten million steps, or about 300 MB of text in between.
const FUEL: u64 = 10_000_000;

/// One for all: to make it takes longer than most templates do.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // else a release's errors do not name what is undefined
    environment.set_debug(true);
    // without delimiters of its own there is nothing to be wrong in a syntax
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_loader(|name| Ok(template(name).map(str::to_owned)));
    environment
});

/// What templates may refer to, made ready once for any number of them: for a small template that costs more than to
/// render it.
#[derive(Clone, Default)]
pub struct Scope(BTreeMap<Arc<str>, Value>);

/// A value that scopes can share.
#[derive(Clone)]
pub struct Shared(Value);

impl Shared {
    pub fn new(value: &impl Serialize) -> Self {
        Self(Value::from(Serde(value)))
    }

    /// A map of these, in their order.
    pub fn map<'a>(entries: impl Iterator<Item = (&'a str, &'a Self)>) -> Self {
        let map: IndexMap<Value, Value> = entries.map(|(name, value)| (Value::from(name), value.0.clone())).collect();
        Self(Value::from(map))
    }
}

impl Scope {
    pub fn set(&mut self, name: &str, value: &Shared) {
        self.0.insert(name.into(), value.0.clone());
    }

    /// As [`render`].
    pub fn render(&self, name: &str, source: &str) -> Result<String, RenderError> {
        render_value(name, source, &Value::from(self.0.clone()))
    }
}

/// Renders `source` with `context`. A variable that is not there is an error, never an empty text;
/// the final newline stays; nothing is escaped, since no template of ours is HTML by file name.
/// `name` is for error messages, and `{% include %}` and `{% import %}` find embedded templates.
pub fn render(name: &str, source: &str, context: &impl Serialize) -> Result<String, RenderError> {
    render_value(name, source, &Value::from(Serde(context)))
}

fn render_value(name: &str, source: &str, context: &Value) -> Result<String, RenderError> {
    let _span = tracing::debug_span!("render", name).entered();
    ENVIRONMENT.render_named_str(name, source, context).map_err(|error| {
        if let Some(missing) = undefined(&error) {
            let instead = serde_json::to_value(context).map(|context| instead(missing, &context)).unwrap_or_default();
            let message = format!("`{missing}` is not defined{instead}");
            let name = error.name().unwrap_or(name).to_owned();
            return RenderError { name, line: error.line().unwrap_or(0), message };
        }
        let mut message = error.to_string();
        // minijinja ends its message with "(in NAME:LINE)", which we put in front
        if let Some(cut) = message.rfind(" (in ") {
            message.truncate(cut);
        }
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        RenderError { name: error.name().unwrap_or(name).to_owned(), line: error.line().unwrap_or(0), message }
    })
}

/// What is named and not there, as minijinja has it: `` `secrets.db.X` is undefined ``.
fn undefined(error: &Error) -> Option<&str> {
    let detail = error.detail().filter(|_| error.kind() == ErrorKind::UndefinedError)?;
    Some(detail.strip_prefix('`')?.split_once("` is undefined")?.0)
}

/// How many names are told of.
const TOLD: usize = 12;

/// What is there where it was looked for: the nearest name, or some of all.
fn instead(missing: &str, context: &serde_json::Value) -> String {
    let mut place: Vec<&str> = missing.split('.').collect();
    let last = place.pop().unwrap_or_default();
    let found = place.iter().try_fold(context, |value, key| value.get(*key));
    // of a variable of the template's own nothing is known
    let Some(known) = found.and_then(serde_json::Value::as_object) else { return String::new() };
    let full = |name: &str| place.iter().copied().chain([name]).collect::<Vec<_>>().join(".");
    let near = 1 + last.chars().count() / 5;
    let nearest = known.keys().map(|name| (strsim::damerau_levenshtein(last, name), name));
    if let Some((_, name)) = nearest.filter(|(distance, _)| *distance <= near).min() {
        return format!(": did you mean `{}`?", full(name));
    }
    let mut names: Vec<String> = known.keys().map(|name| format!("`{}`", full(name))).collect();
    names.sort_unstable();
    let more = if names.len() > TOLD { " and more" } else { "" };
    names.truncate(TOLD);
    if names.is_empty() { String::new() } else { format!(": there are {}{more}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_the_final_newline_and_escapes_nothing() {
        let text = render("x.html", "a {{ b }}\n", &json!({"b": "<&>"})).unwrap();
        assert_eq!(text, "a <&>\n");
    }

    #[test]
    fn an_undefined_variable_is_an_error_with_its_line() {
        let error = render("prometheus.yml.j2", "one\ntwo {{ servces }}\n", &json!({"services": 1})).unwrap_err();
        assert_eq!((error.name.as_str(), error.line), ("prometheus.yml.j2", 2));
        insta::assert_snapshot!(error, @"prometheus.yml.j2:2: `servces` is not defined: did you mean `services`?");
    }

    #[test]
    fn what_is_undefined_is_named_with_what_there_is() {
        let context = json!({"secrets": {"db": {"PASSWORD": "x", "USER": "y"}}, "items": [{"port": 1}]});
        let of = |source: &str| render("URL", source, &context).unwrap_err().inside("URL").to_string();
        insta::assert_snapshot!(of("{{ secrets.db.PASSWROD }}"), @"`secrets.db.PASSWROD` is not defined: did you mean `secrets.db.PASSWORD`?");
        insta::assert_snapshot!(of("{{ secrets.db.TOKEN }}"), @"`secrets.db.TOKEN` is not defined: there are `secrets.db.PASSWORD`, `secrets.db.USER`");
        insta::assert_snapshot!(of("{% for item in items %}{{ item.prot }}{% endfor %}"), @"`item.prot` is not defined");
        insta::assert_snapshot!(of("\n{{ secret }}"), @"URL:2: `secret` is not defined: did you mean `secrets`?");
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let error = render("x.j2", "{% for a in b %}\n\n{{ a \n", &json!({"b": [1]})).unwrap_err();
        insta::assert_snapshot!(error, @"x.j2:3: syntax error: unexpected end of input, expected end of variable block");
    }

    #[test]
    fn a_template_cannot_use_up_the_machine() {
        for source in [
            "{{ 'x'|indent(2000000000, true) }}",
            "{{ '%4000000000d'|format(1) }}",
            "{{ 'x' * 4294967296 }}",
            "{% set ns = namespace(x='x') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
            "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        ] {
            assert!(render("x.j2", source, &json!({})).is_err(), "{source}");
        }
    }

    #[test]
    fn a_value_missing_in_a_map_is_an_error() {
        assert!(render("x", "{{ secrets.postgres.PASSWORD }}", &json!({"secrets": {}})).is_err());
    }

    #[test]
    fn a_scope_says_what_a_context_says() {
        let all = json!({"b": {"x": 1}, "a": {"x": 2}});
        let parts: Vec<(&str, Shared)> = ["b", "a"].into_iter().map(|name| (name, Shared::new(&all[name]))).collect();
        let mut scope = Scope::default();
        scope.set("all", &Shared::map(parts.iter().map(|(name, value)| (*name, value))));
        let source = "{% for name, one in all|items %}{{ name }}{{ one.x }} {% endfor %}{{ all|tojson }}";
        let whole = render("t", source, &json!({"all": all})).unwrap();
        assert_eq!(scope.render("t", source).unwrap(), whole);
        assert_eq!(whole, r#"b1 a2 {"b": {"x": 1}, "a": {"x": 2}}"#);
        let missing = [scope.render("t", "{{ all.c }}"), render("t", "{{ all.c }}", &json!({"all": all}))];
        let [one, other] = missing.map(|rendered| rendered.unwrap_err().to_string());
        assert_eq!((one.as_str(), one == other), ("t:1: `all.c` is not defined: did you mean `all.a`?", true));
    }

    #[test]
    fn every_embedded_stack_is_listed_once_in_order() {
        let names: Vec<_> = stacks().into_iter().map(|(name, _)| name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
        let known = |(file, _): &(&str, &str)| is_shipped(file.trim_end_matches(".yaml"));
        assert!(stacks().iter().chain(&catalog()).all(known) && !is_shipped("shop"));
    }

    #[test]
    fn a_template_that_is_not_there_is_none() {
        assert_eq!(template("no/such.j2"), None);
        assert_eq!(kind("no-such.yaml"), None);
    }
}
