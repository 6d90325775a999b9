//! Files of the platform's own folder that commands cannot do without.

use std::io::ErrorKind;
use std::path::Path;

use crate::doctor::context::Context;
use crate::doctor::{Fix, Verdict};

/// Below the platform's folder.
const FILES: [&str; 6] =
    ["platform.json", "secrets/secrets.json", "engines.json", "cluster.json", "stopped.json", "lease.json"];

pub(in crate::doctor) async fn readable(context: &Context<'_>) -> Verdict {
    let folder = context.host.folders().data.join(&context.want.platform);
    let (mut lines, mut advice) = (Vec::new(), Vec::new());
    for file in FILES.map(|file| folder.join(file)) {
        let content = match context.host.read(&file).await {
            Ok(content) => content,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => {
                lines.push(format!("{}: {error}", file.display()));
                advice.push("see whose it is, and who may read it (`ls -l`)");
                continue;
            }
        };
        let trouble = match serde_json::from_slice::<serde_json::Value>(&content) {
            Ok(value) if value.get("format").is_some_and(serde_json::Value::is_u64) => continue,
            Ok(_) => "it names no format".to_owned(),
            Err(error) => error.to_string(),
        };
        lines.push(format!("{}: {trouble}", file.display()));
        advice.push(of_damaged(&file));
    }
    if lines.is_empty() {
        return Verdict::ok("the files of the platform can be read");
    }
    advice.dedup();
    Verdict::failed("a file of the platform cannot be read").detail(lines).fix(Fix::advice(advice.join("; ")))
}

/// What to do about a file of the platform's folder that cannot be read.
pub fn of_damaged(file: &Path) -> &'static str {
    match file.file_name().and_then(|name| name.to_str()) {
        Some("secrets.json") => {
            "restore it from a backup; without one nothing opens the data any more: move the file away, and `down \
             --volumes` removes the data, too"
        }
        Some("platform.json") => "move it away: the next `up` writes it again, with other addresses perhaps",
        _ => "it was edited by hand or copied incompletely: restore it from a backup, or move it away",
    }
}
