//! What came of it, by room.

use crate::compile::Untried;
use crate::files::{self, Folder};
use crate::list::Mutant;
use crate::places::Reason;
use anyhow::Result;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

#[derive(Default)]
struct Row {
    sampled: usize,
    not_tried: usize,
    not_compiling: usize,
    caught: usize,
    unreached: usize,
    unnoticed: usize,
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.sampled += other.sampled;
        self.not_tried += other.not_tried;
        self.not_compiling += other.not_compiling;
        self.caught += other.caught;
        self.unreached += other.unreached;
        self.unnoticed += other.unnoticed;
    }

    fn line(&self, room: &str) -> String {
        let viable = self.caught + self.unreached + self.unnoticed;
        // nothing viable, no percentage
        let percent =
            if viable == 0 { "-".into() } else { format!("{:.0} %", 100.0 * self.caught as f64 / viable as f64) };
        format!(
            "| {room} | {} | {} | {} | {} | {} | {} | {percent} of {viable} |",
            self.sampled, self.not_tried, self.not_compiling, self.caught, self.unreached, self.unnoticed
        )
    }
}

/// `src/dns/wire.rs` and `src/dns.rs` are in `dns`.
fn room(file: &str) -> &str {
    let inner = file.rsplit_once("src/").map_or(file, |(_, inner)| inner);
    let room = inner.split('/').next().unwrap_or(inner);
    room.strip_suffix(".rs").unwrap_or(room)
}

pub fn write(folder: &Folder, mutants: &[Mutant], untried: &Untried, what: &Value, walls: bool) -> Result<()> {
    let results: BTreeMap<u64, Value> =
        files::lines(&folder.results()).into_iter().filter_map(|line| Some((line["id"].as_u64()?, line))).collect();
    let mut rooms: BTreeMap<&str, Row> = BTreeMap::new();
    let (mut missed, mut not_tried, mut not_compiling, mut unsure) = (vec![], vec![], vec![], BTreeSet::new());
    for mutant in mutants {
        let row = rooms.entry(room(&mutant.file)).or_default();
        let name = &mutant.name;
        row.sampled += 1;
        match (untried.get(&mutant.id), results.get(&u64::from(mutant.id))) {
            (Some(Reason::DoesNotCompile(why)), _) => {
                row.not_compiling += 1;
                not_compiling.push(format!("- `{name}`: {why}"));
            }
            (Some(Reason::NotTried(why)), _) => {
                row.not_tried += 1;
                not_tried.push(format!("- `{name}`: {why}"));
            }
            (None, None) => {
                row.unreached += 1;
                missed.push(format!("- `{name}`: no test reaches it"));
            }
            (None, Some(result)) => {
                unsure.extend(result["unsure"].as_array().into_iter().flatten().map(|test| format!("- {test}")));
                if result["caught"] == true {
                    row.caught += 1;
                } else {
                    row.unnoticed += 1;
                    missed.push(format!("- `{name}`: reached by {}", result["tests"]));
                }
            }
        }
    }
    let mut all = Row::default();
    let mut table = String::from(
        "| room | sampled | not tried | not compiling | caught | missed: unreached | missed: reached | caught of viable |\n|---|---|---|---|---|---|---|---|\n",
    );
    for (room, row) in &rooms {
        writeln!(table, "{}", row.line(room))?;
        all.add(row);
    }
    writeln!(table, "{}", all.line("**all**"))?;
    let walls = if walls { "in namespaces of its own" } else { "without namespaces" };
    let mut text = format!("# Mutants\n\nRun of `{what}`, {walls}.\n\n{table}");
    let unsure = unsure.into_iter().collect();
    for (title, lines) in [
        ("Missed", missed),
        ("Not tried", not_tried),
        ("Not compiling", not_compiling),
        ("Tests that failed with a mutant and passed alone", unsure),
    ] {
        if !lines.is_empty() {
            write!(text, "\n## {title}\n\n{}\n", lines.join("\n"))?;
        }
    }
    std::fs::write(folder.report(), text)?;
    println!("{table}\n{}", folder.report().display());
    Ok(())
}

#[test]
fn a_room_is_a_folder_or_a_file_of_src() {
    assert_eq!(["src/dns/wire.rs", "src/words.rs", "a/src/b.rs"].map(room), ["dns", "words", "b"]);
}
