//! Every crate that goes into the program may be given away with it.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

use std::process::Command;

use serde_json::Value;

/// Licences whose terms a file of notices fulfils.
const FINE: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    // of single files, which we use as they are
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_dependency_may_be_given_away() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    // of this machine's platform only: the others' crates need not be here
    let version = Command::new(&cargo).args(["version", "--verbose"]).output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let platform = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(&cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "only {} packages: the look at them is broken", packages.len());
    let mut refused = Vec::new();
    for package in packages {
        let licence = match package["license"].as_str() {
            Some(licence) => licence,
            None if is_mit_by_its_file(package) => "MIT",
            None => "none named",
        };
        if !is_fine(licence) {
            refused.push(format!("{} {}: {licence}", package["name"], package["version"]));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// Some packages name a file in place of an expression; the grant of the MIT licence is told by its text.
fn is_mit_by_its_file(package: &Value) -> bool {
    let (Some(manifest), Some(file)) = (package["manifest_path"].as_str(), package["license_file"].as_str()) else {
        return false;
    };
    let text = std::fs::read_to_string(std::path::Path::new(manifest).with_file_name(file)).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.join(" ");
    words.contains("Permission is hereby granted, free of charge, to any person obtaining a copy of this software")
        && words.contains("THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND")
}

/// An SPDX expression: one of the alternatives has only fine parts. `/` is an old word for OR.
fn is_fine(expression: &str) -> bool {
    let text = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "_WITH_");
    let words: Vec<String> = text.split_whitespace().map(|word| word.replace("_WITH_", " WITH ")).collect();
    let mut rest = words.as_slice();
    let fine = any(&mut rest);
    fine && rest.is_empty()
}

fn any(rest: &mut &[String]) -> bool {
    let mut fine = all(rest);
    while rest.first().is_some_and(|word| word == "OR") {
        *rest = &rest[1..];
        fine |= all(rest);
    }
    fine
}

fn all(rest: &mut &[String]) -> bool {
    let mut fine = one(rest);
    while rest.first().is_some_and(|word| word == "AND") {
        *rest = &rest[1..];
        fine &= one(rest);
    }
    fine
}

fn one(rest: &mut &[String]) -> bool {
    let Some((word, after)) = rest.split_first() else { return false };
    *rest = after;
    if word != "(" {
        return FINE.contains(&word.as_str());
    }
    let fine = any(rest);
    *rest = rest.get(1..).unwrap_or_default();
    fine
}

#[test]
fn expressions_are_read_as_spdx_says() {
    for fine in
        ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "(MIT OR GPL-2.0) AND Unicode-3.0", "GPL-3.0 OR (ISC AND MIT)"]
    {
        assert!(is_fine(fine), "{fine}");
    }
    assert!(is_fine("Apache-2.0 WITH LLVM-exception"));
    for refused in ["GPL-3.0", "MIT AND GPL-3.0", "none named", "(MIT OR ISC) AND LGPL-3.0", "", "MIT ISC"] {
        assert!(!is_fine(refused), "{refused}");
    }
}
