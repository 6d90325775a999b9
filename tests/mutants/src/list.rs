//! Which mutants there are: what `cargo mutants` lists, of a copy of the checkout.

use crate::files::{self, Folder};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A place in the text as cargo-mutants has it: line and column, both from 1.
pub type Place = (usize, usize);

#[derive(Clone, Debug)]
pub struct Mutant {
    /// Its number in the list, from 1: what `ZZ_MUTANT` is set to.
    pub id: u32,
    /// File, line, column and change, in cargo-mutants' words.
    pub name: String,
    pub package: String,
    pub file: String,
    pub genre: String,
    pub start: Place,
    pub end: Place,
    pub replacement: String,
}

/// Whether the tools that a run needs are installed.
pub fn checked() -> Result<()> {
    match Command::new("cargo").args(["mutants", "--version"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!("cargo-mutants is not installed; this installs it:\n  cargo install --locked cargo-mutants"),
    }
}

pub fn commit(root: &Path) -> Result<String> {
    Ok(output(Command::new("git").arg("-C").arg(root).args(["rev-parse", "HEAD"]))?.trim().to_owned())
}

/// What is committed, and nothing else: a change that is not committed is in no list of lines.
pub fn copy(root: &Path, commit: &str, folder: &Folder) -> Result<()> {
    let tree = folder.tree();
    if tree.exists() {
        std::fs::remove_dir_all(&tree)?;
    }
    output(Command::new("git").args(["clone", "--quiet", "--no-checkout"]).arg(root).arg(&tree))?;
    output(Command::new("git").arg("-C").arg(&tree).args(["checkout", "--quiet", "--detach", commit]))?;
    Ok(())
}

/// Writes the list of these shards, as cargo-mutants gives it. Round-robin, so that a shard has places of all files.
pub fn write(folder: &Folder, shards: &[usize], of: usize) -> Result<()> {
    let mut all = Vec::new();
    for shard in shards {
        let mut command = Command::new("cargo");
        command.args(["mutants", "--workspace", "--list", "--json", "--sharding", "round-robin", "--shard"]);
        let list = output(command.arg(format!("{shard}/{of}")).current_dir(folder.tree()))?;
        let list: Vec<Value> = serde_json::from_str(&list).context("cargo-mutants' list was not understood")?;
        all.extend(list);
    }
    all.sort_by_key(|mutant| (text(mutant, "file"), place(mutant, "start"), text(mutant, "name")));
    files::write(&folder.mutants(), &all.into())
}

pub fn read(folder: &Folder) -> Result<Vec<Mutant>> {
    let list = files::read(&folder.mutants()).with_context(|| format!("no list in {}", folder.path.display()))?;
    let list = list.as_array().context("the list is not a list")?;
    let mutants = list.iter().zip(1..).map(|(mutant, id)| Mutant {
        id,
        name: text(mutant, "name"),
        package: text(mutant, "package"),
        file: text(mutant, "file"),
        genre: text(mutant, "genre"),
        start: place(mutant, "start"),
        end: place(mutant, "end"),
        replacement: text(mutant, "replacement"),
    });
    Ok(mutants.collect())
}

fn text(mutant: &Value, key: &str) -> String {
    mutant[key].as_str().unwrap_or_default().to_owned()
}

fn place(mutant: &Value, which: &str) -> Place {
    let number = |key| mutant["span"][which][key].as_u64().unwrap_or_default() as usize;
    (number("line"), number("column"))
}

/// What a program prints; its own words of error where it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("could not run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
