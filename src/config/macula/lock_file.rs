//! macula.lock: which image each reference meant when `images lock` was run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Files;
use crate::config::read::read_text;
use crate::config::yaml::{Report, Span};

const NAME: &str = "macula.lock";
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockFile {
    format: u32,
    images: BTreeMap<String, String>,
}

pub(in crate::config) fn place(config_file: Option<&Path>, cwd: &Path) -> PathBuf {
    config_file.and_then(Path::parent).unwrap_or(cwd).join(NAME)
}

/// Reference -> digest; empty where there is no such file.
pub(in crate::config) fn load(path: &Path, files: &dyn Files, report: &mut Report) -> BTreeMap<String, String> {
    if !files.exists(path) {
        return BTreeMap::new();
    }
    let Some(text) = read_text(files, path, None, report) else { return BTreeMap::new() };
    let mut refuse = |problem: String| {
        let file = report.file(path);
        report.error_help(Span::whole(file), problem, "remove it, and run `macula images lock` again");
        BTreeMap::new()
    };
    let lock: LockFile = match serde_yaml::from_str(&text) {
        Ok(lock) => lock,
        Err(error) => return refuse(format!("not a valid macula.lock: {error}")),
    };
    if lock.format != FORMAT {
        return refuse(format!("its format is {}; this version of macula reads {FORMAT}", lock.format));
    }
    match lock.images.iter().find(|(_, digest)| !is_digest(digest)) {
        Some((reference, digest)) => {
            refuse(format!("{reference}: `{digest}` is not a valid digest (sha256: and 64 hexadecimal digits)"))
        }
        None => lock.images,
    }
}

/// `sha256:` and 64 lower-case hexadecimal digits (OCI image specification, descriptor, "Registered algorithms").
fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// The file for these digests.
pub fn lock_text(images: &BTreeMap<String, String>) -> String {
    let mut text = format!(
        "# Which image each name meant when `macula images lock` wrote this. `macula up` pulls just these.\n\
         format: {FORMAT}\nimages:{}\n",
        if images.is_empty() { " {}" } else { "" }
    );
    for (reference, digest) in images {
        // JSON's strings are YAML's, too
        text.push_str(&format!("  {}: {digest}\n", serde_json::Value::from(reference.as_str())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{MemoryFiles, Request};

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn load(lock: &str) -> Result<BTreeMap<String, String>, String> {
        let files = MemoryFiles::default()
            .with("/p/macula.yaml", "stacks: [web.yaml]")
            .with("/p/web.yaml", "services: {web: {image: nginx}}")
            .with("/p/macula.lock", lock);
        let request = Request { cwd: "/p".into(), only_own: true, ..Request::default() };
        let loaded = crate::config::load(&request, &files);
        loaded.map(|loaded| loaded.platform.images.locked).map_err(|errors| errors.0[0].to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let images = BTreeMap::from([("127.0.0.1:5001/a:1".to_owned(), DIGEST.to_owned())]);
        insta::assert_snapshot!(lock_text(&images), @r#"
        # Which image each name meant when `macula images lock` wrote this. `macula up` pulls just these.
        format: 1
        images:
          "127.0.0.1:5001/a:1": sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        "#);
        assert_eq!(load(&lock_text(&images)), Ok(images));
        assert_eq!(load(&lock_text(&BTreeMap::new())), Ok(BTreeMap::new()));
    }

    #[test]
    fn a_digest_is_exactly_one() {
        assert!(is_digest(DIGEST));
        let hex = &DIGEST["sha256:".len()..];
        for wrong in [
            hex.to_owned(),
            format!("sha512:{hex}"),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha256:{}g", &hex[1..]),
            DIGEST.to_uppercase().replace("SHA256", "sha256"),
            format!(" {DIGEST}"),
            String::new(),
        ] {
            assert!(!is_digest(&wrong), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_told() {
        let wrong = ["format: 2\nimages: {}", "format: 1\nimages: {a: latest}", "format: 1\nimage: {}", "- a"];
        let told: Vec<String> = wrong.iter().map(|text| load(text).unwrap_err()).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        macula.lock: its format is 2; this version of macula reads 1
            remove it, and run `macula images lock` again
        macula.lock: a: `latest` is not a valid digest (sha256: and 64 hexadecimal digits)
            remove it, and run `macula images lock` again
        macula.lock: not a valid macula.lock: unknown field `image`, expected `format` or `images` at line 2 column 1
            remove it, and run `macula images lock` again
        macula.lock: not a valid macula.lock: invalid type: sequence, expected struct LockFile
            remove it, and run `macula images lock` again
        ");
    }
}
