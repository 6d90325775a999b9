//! The folder of a run: where each thing lies, JSON in files, and results as lines of JSON.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

pub struct Folder {
    pub path: PathBuf,
    /// Where tests have their files. A short path, since that of a socket has 107 bytes at most.
    pub temporary: PathBuf,
}

impl Folder {
    pub fn new(path: &Path) -> Result<Folder> {
        let path = path.canonicalize()?;
        Ok(Folder { temporary: path.join("tmp"), path })
    }

    /// Which commit, shards and tests the run is of.
    pub fn what(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// The copy of the checkout.
    pub fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }

    pub fn build(&self) -> PathBuf {
        self.path.join("build")
    }

    pub fn mutants(&self) -> PathBuf {
        self.path.join("mutants.json")
    }

    /// What the build would not take, and why.
    pub fn untried(&self) -> PathBuf {
        self.path.join("untried.json")
    }

    pub fn programs(&self) -> PathBuf {
        self.path.join("programs.json")
    }

    pub fn reach(&self) -> PathBuf {
        self.path.join("reach.jsonl")
    }

    pub fn results(&self) -> PathBuf {
        self.path.join("results.jsonl")
    }

    pub fn report(&self) -> PathBuf {
        self.path.join("report.md")
    }
}

/// None where there is no such file, or none that is complete.
pub fn read(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

pub fn write(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, format!("{value:#}\n")).with_context(|| format!("could not write {}", path.display()))
}

/// The lines that were written whole; an interrupted run may leave part of one.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Lines that are added by several threads, each whole.
pub struct Lines(Mutex<File>);

impl Lines {
    pub fn open(path: &Path) -> Result<Lines> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        // what an interrupted run left of its last line is a line of its own, which `lines` passes over
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
        }
        Ok(Lines(Mutex::new(file)))
    }

    pub fn add(&self, value: &Value) -> Result<()> {
        Ok(self.0.lock().unwrap().write_all(format!("{value}\n").as_bytes())?)
    }
}

#[test]
fn half_a_line_is_passed_over() {
    let path = std::env::temp_dir().join(format!("macula-mutants-{}", std::process::id()));
    fs::write(&path, "{\"id\":1}\n{\"id\":").unwrap();
    Lines::open(&path).unwrap().add(&serde_json::json!({"id": 2})).unwrap();
    let ids: Vec<_> = lines(&path).iter().map(|line| line["id"].as_u64().unwrap()).collect();
    fs::remove_file(&path).unwrap();
    assert_eq!(ids, [1, 2]);
}
