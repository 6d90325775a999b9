//! The entry for an editor, added to what its file says already. Pure.

use serde_json::{Map, Value, json};

use crate::model::AnyError;

/// An editor that starts servers of this protocol by a file in the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Editor {
    /// As `--install` takes it.
    pub word: &'static str,
    pub name: &'static str,
    /// In the project.
    pub file: &'static str,
    /// Signs that it is used: a folder or file in the project, and a program.
    pub signs: &'static [&'static str],
    pub program: &'static str,
    /// The key that holds the servers.
    key: &'static str,
}

pub const EDITORS: [Editor; 3] = [
    Editor {
        word: "vscode",
        name: "Visual Studio Code",
        file: ".vscode/mcp.json",
        signs: &[".vscode"],
        program: "code",
        key: "servers",
    },
    Editor {
        word: "cursor",
        name: "Cursor",
        file: ".cursor/mcp.json",
        signs: &[".cursor"],
        program: "cursor",
        key: "mcpServers",
    },
    Editor {
        word: "claude",
        name: "Claude Code",
        file: ".mcp.json",
        signs: &[".mcp.json", ".claude", "CLAUDE.md"],
        program: "claude",
        key: "mcpServers",
    },
];

/// The name of our entry.
const ENTRY: &str = "macula";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    #[error("it is not plain JSON ({0}); macula leaves it alone")]
    NotJson(#[source] AnyError),
    #[error("`{0}` in it is not an object; macula leaves it alone")]
    NotAnObject(String),
    #[error("it has another entry `macula`; macula leaves it alone")]
    Other,
}

/// The file with our entry in it; `None`: it is there already. `before`: what the file holds, if there is one.
pub fn added(editor: &Editor, before: Option<&str>, args: &[String]) -> Result<Option<String>, InstallError> {
    let text = before.unwrap_or_default().trim();
    let mut file: Value = match text {
        "" => json!({}),
        text => serde_json::from_str(text).map_err(|error| InstallError::NotJson(error.into()))?,
    };
    let root = file.as_object_mut().ok_or_else(|| InstallError::NotAnObject("all".to_owned()))?;
    let servers = root.entry(editor.key).or_insert_with(|| Value::Object(Map::new()));
    let servers = servers.as_object_mut().ok_or_else(|| InstallError::NotAnObject(editor.key.to_owned()))?;
    let entry = entry(editor, args);
    match servers.get(ENTRY) {
        Some(found) if *found == entry => return Ok(None),
        Some(_) => return Err(InstallError::Other),
        None => servers.insert(ENTRY.to_owned(), entry),
    };
    let text = serde_json::to_string_pretty(&file).map_err(|error| InstallError::NotJson(error.into()))?;
    Ok(Some(text + "\n"))
}

fn entry(editor: &Editor, args: &[String]) -> Value {
    match editor.key {
        "servers" => json!({"type": "stdio", "command": "macula", "args": args}),
        _ => json!({"command": "macula", "args": args}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_joins_those_that_are_there() {
        let [vscode, cursor, _] = EDITORS;
        let args = ["mcp".to_owned()];
        insta::assert_snapshot!(added(&vscode, None, &args).unwrap().unwrap(), @r#"
        {
          "servers": {
            "macula": {
              "type": "stdio",
              "command": "macula",
              "args": [
                "mcp"
              ]
            }
          }
        }
        "#);
        let before = r#"{"x": 1, "mcpServers": {"other": {"command": "other"}}}"#;
        let after = added(&cursor, Some(before), &args).unwrap().unwrap();
        let value: Value = serde_json::from_str(&after).unwrap();
        assert_eq!((&value["x"], &value["mcpServers"]["other"]["command"]), (&json!(1), &json!("other")));
        assert_eq!(value["mcpServers"]["macula"], json!({"command": "macula", "args": ["mcp"]}));
        assert_eq!(added(&cursor, Some(&after), &args), Ok(None));
        let other = ["mcp".to_owned(), "--allow=up".to_owned()];
        assert_eq!(added(&cursor, Some(&after), &other), Err(InstallError::Other));
        assert!(matches!(added(&cursor, Some("// mine\n{}"), &args), Err(InstallError::NotJson(_))));
        assert!(matches!(added(&cursor, Some(r#"{"mcpServers": []}"#), &args), Err(InstallError::NotAnObject(_))));
    }
}
