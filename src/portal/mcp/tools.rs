//! The tools: each is a command of this program with checked arguments. Pure.

use serde_json::{Map, Value, json};

/// What has to be allowed by name; everything else only looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    Up,
    Start,
    Stop,
    Restart,
    /// Values of the settings, passwords among them.
    EnvValues,
}

impl Right {
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::EnvValues => "env-values",
        }
    }
}

/// A parameter of a tool.
struct Parameter {
    name: &'static str,
    kind: Kind,
    about: &'static str,
    required: bool,
}

enum Kind {
    Text,
    Texts,
    /// From 1 to this.
    Number(u64),
    OneOf(&'static [&'static str]),
}

/// A tool, and the command that does its work.
pub struct Tool {
    pub name: &'static str,
    about: &'static str,
    command: &'static [&'static str],
    parameters: &'static [Parameter],
    pub right: Option<Right>,
}

const fn services(about: &'static str) -> Parameter {
    Parameter { name: "services", kind: Kind::Texts, about, required: false }
}

const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Parameter {
    Parameter { name, kind, about, required: false }
}

const SERVICE: Parameter =
    Parameter { name: "service", kind: Kind::Text, about: "Name of the service", required: true };

pub const TOOLS: &[Tool] = &[
    Tool {
        name: "status",
        about: "How each service is and why, its addresses, the names, the cluster, and what `up` would change",
        command: &["status", "--all"],
        parameters: &[services("Only these services")],
        right: None,
    },
    Tool {
        name: "plan",
        about: "What `up` would do, step by step with the cause of each; changes nothing",
        command: &["plan"],
        parameters: &[services("Only these services and what they need")],
        right: None,
    },
    Tool {
        name: "logs",
        about: "The last lines of services' logs, merged by time",
        command: &["logs"],
        parameters: &[
            services("Only these services"),
            optional("tail", Kind::Number(5000), "Lines of each service (default: 200)"),
            optional("since", Kind::Text, "How long ago (10m, 2h) or a time (2026-11-21T08:00:00Z)"),
            optional("grep", Kind::Text, "Only lines with this text; lower case matches either case"),
            optional(
                "level",
                Kind::OneOf(&["debug", "info", "warn", "error", "fatal"]),
                "Only lines that name this level or a worse one",
            ),
        ],
        right: None,
    },
    Tool {
        name: "validate",
        about: "Every name walked hop by hop from outside and from inside, with the cause of each break",
        command: &["validate"],
        parameters: &[optional("name", Kind::Text, "Only this name, or the names of this service")],
        right: None,
    },
    Tool {
        name: "dns_trace",
        about: "One name followed from a program to its service, with what is seen at each hop",
        command: &["dns", "trace"],
        parameters: &[Parameter { name: "name", kind: Kind::Text, about: "A name, such as grafana", required: true }],
        right: None,
    },
    Tool {
        name: "doctor",
        about: "What this machine lacks for the platform, with fixes; changes nothing",
        command: &["doctor"],
        parameters: &[optional("checks", Kind::Texts, "Only these checks")],
        right: None,
    },
    Tool {
        name: "env",
        about: "The settings that programs need to use the services: names, and the values if they are allowed",
        command: &["env"],
        parameters: &[],
        right: None,
    },
    Tool {
        name: "wait",
        about: "Waits until services, names or URLs are ready, or says which is not and why",
        command: &["wait"],
        parameters: &[
            optional("targets", Kind::Texts, "Services, host names or URLs (default: all services)"),
            optional("for", Kind::OneOf(&["healthy", "gone", "resolvable"]), "What to wait for (default: healthy)"),
            optional("timeout", Kind::Text, "How long at most (30s, 5m; default: 1m)"),
        ],
        right: None,
    },
    Tool {
        name: "report",
        about: "Writes settings, plan, status, findings and logs to one archive without secrets; its path",
        command: &["report"],
        parameters: &[],
        right: None,
    },
    Tool {
        name: "up",
        about: "Starts the platform, or whatever part of it is not running or has changed",
        command: &["up"],
        parameters: &[services("Only these services and what they need")],
        right: Some(Right::Up),
    },
    Tool {
        name: "start",
        about: "Starts a service that was stopped",
        command: &["start"],
        parameters: &[SERVICE],
        right: Some(Right::Start),
    },
    Tool {
        name: "stop",
        about: "Stops a service and keeps its container and data",
        command: &["stop"],
        parameters: &[SERVICE],
        right: Some(Right::Stop),
    },
    Tool {
        name: "restart",
        about: "Restarts a service",
        command: &["restart"],
        parameters: &[SERVICE],
        right: Some(Right::Restart),
    },
];

impl Tool {
    /// Of these rights; a tool that is not allowed is not there.
    pub fn find(name: &str, rights: &[Right]) -> Option<&'static Self> {
        TOOLS.iter().find(|tool| tool.name == name && tool.is_allowed(rights))
    }

    pub fn is_allowed(&self, rights: &[Right]) -> bool {
        self.right.is_none_or(|right| rights.contains(&right))
    }

    /// As `tools/list` tells it.
    pub fn described(&self) -> Value {
        let property = |parameter: &Parameter| {
            let schema = match parameter.kind {
                Kind::Text => json!({"type": "string"}),
                Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
                Kind::Number(most) => json!({"type": "integer", "minimum": 1, "maximum": most}),
                Kind::OneOf(words) => json!({"type": "string", "enum": words}),
            };
            let mut schema = schema;
            schema["description"] = parameter.about.into();
            (parameter.name.to_owned(), schema)
        };
        let properties: Map<String, Value> = self.parameters.iter().map(property).collect();
        let required: Vec<&str> = self.parameters.iter().filter(|one| one.required).map(|one| one.name).collect();
        json!({
            "name": self.name,
            "description": self.about,
            "inputSchema": {
                "type": "object", "properties": properties, "required": required, "additionalProperties": false,
            },
            // nothing that any of them does loses data
            "annotations": {
                "readOnlyHint": self.right.is_none(), "destructiveHint": false, "idempotentHint": true,
                "openWorldHint": false,
            },
        })
    }

    /// The words of the command, after its global options. What comes from the caller never becomes an option.
    pub fn words(&self, arguments: &Map<String, Value>) -> Result<Vec<String>, String> {
        if let Some(other) = arguments.keys().find(|key| self.parameters.iter().all(|one| one.name != key.as_str())) {
            return Err(format!("{} takes no argument `{other}`", self.name));
        }
        let mut words: Vec<String> = self.command.iter().map(|word| (*word).to_owned()).collect();
        let mut named: Vec<String> = Vec::new();
        for parameter in self.parameters {
            let name = parameter.name;
            let value = match arguments.get(name) {
                Some(value) if !value.is_null() => value,
                _ if parameter.required => return Err(format!("`{name}` is missing")),
                _ => continue,
            };
            let wrong = |what: &str| format!("`{name}` must be {what}");
            let text = || value.as_str().ok_or_else(|| wrong("a text"));
            let positional = matches!(name, "service" | "name");
            match parameter.kind {
                Kind::Text if positional => named.push(text()?.to_owned()),
                Kind::Text => words.push(format!("--{name}={}", text()?)),
                Kind::Texts => {
                    let list = value.as_array().ok_or_else(|| wrong("a list of texts"))?;
                    for item in list {
                        named.push(item.as_str().ok_or_else(|| wrong("a list of texts"))?.to_owned());
                    }
                }
                Kind::Number(most) => {
                    let number = value.as_u64().filter(|number| (1..=most).contains(number));
                    let number = number.ok_or_else(|| wrong(&format!("a number from 1 to {most}")))?;
                    words.push(format!("--{name}={number}"));
                }
                Kind::OneOf(known) => {
                    let word = text()?;
                    if !known.contains(&word) {
                        return Err(wrong(&format!("one of {}", known.join(", "))));
                    }
                    words.push(format!("--{name}={word}"));
                }
            }
        }
        let absent = |name: &str| arguments.get(name).is_none_or(Value::is_null);
        match self.name {
            "logs" if absent("tail") => words.push("--tail=200".to_owned()),
            // an agent that hears nothing for long gives up
            "wait" if absent("timeout") => words.push("--timeout=1m".to_owned()),
            _ => {}
        }
        if !named.is_empty() {
            words.push("--".to_owned());
            words.extend(named);
        }
        Ok(words)
    }
}

/// A command line of each tool with all of its arguments, for the test that the program takes them.
#[cfg(test)]
pub fn samples() -> Vec<Vec<String>> {
    let sample = |tool: &Tool| {
        let value = |parameter: &Parameter| match parameter.kind {
            Kind::Text if parameter.name == "timeout" => json!("10s"),
            Kind::Text => json!("x"),
            Kind::Texts => json!(["x"]),
            Kind::Number(most) => json!(most),
            Kind::OneOf(known) => json!(known),
        };
        let first = |value: Value, kind: &Kind| match kind {
            Kind::OneOf(_) => value[0].clone(),
            _ => value,
        };
        let arguments = tool.parameters.iter().map(|one| (one.name.to_owned(), first(value(one), &one.kind)));
        tool.words(&arguments.collect()).unwrap()
    };
    TOOLS.iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(tool: &str, arguments: Value) -> Result<String, String> {
        let all = [Right::Up, Right::Start, Right::Stop, Right::Restart];
        let tool = Tool::find(tool, &all).unwrap();
        tool.words(arguments.as_object().unwrap()).map(|words| words.join(" "))
    }

    #[test]
    fn arguments_become_words_and_never_options() {
        assert_eq!(words("status", json!({})).unwrap(), "status --all");
        assert_eq!(words("up", json!({"services": ["--volumes", "shop"]})).unwrap(), "up -- --volumes shop");
        assert_eq!(
            words("logs", json!({"grep": "--x", "services": ["a"]})).unwrap(),
            "logs --grep=--x --tail=200 -- a"
        );
        assert_eq!(words("wait", json!({"for": "gone", "timeout": "5s"})).unwrap(), "wait --for=gone --timeout=5s");
        assert_eq!(words("dns_trace", json!({"name": "draw"})).unwrap(), "dns trace -- draw");
        assert_eq!(words("restart", json!({})).unwrap_err(), "`service` is missing");
        assert_eq!(words("logs", json!({"tail": 0})).unwrap_err(), "`tail` must be a number from 1 to 5000");
        assert_eq!(
            words("wait", json!({"for": "ever"})).unwrap_err(),
            "`for` must be one of healthy, gone, resolvable"
        );
        assert_eq!(words("up", json!({"yes": true})).unwrap_err(), "up takes no argument `yes`");
        assert_eq!(words("up", json!({"services": "shop"})).unwrap_err(), "`services` must be a list of texts");
    }

    #[test]
    fn nothing_that_changes_something_is_there_unless_it_is_allowed() {
        let names = |rights: &[Right]| -> Vec<&str> {
            TOOLS.iter().filter(|tool| tool.is_allowed(rights)).map(|tool| tool.name).collect()
        };
        let looks = ["status", "plan", "logs", "validate", "dns_trace", "doctor", "env", "wait", "report"];
        assert_eq!(names(&[]), looks);
        assert_eq!(names(&[Right::Restart])[looks.len()..], ["restart"]);
        assert!(Tool::find("up", &[]).is_none());
        assert!(TOOLS.iter().all(|tool| !tool.command.contains(&"down")), "nothing removes data");
    }
}
