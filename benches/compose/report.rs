//! What is said beside the numbers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::floor::Floor;
use crate::stats::{Measure, Times};
use crate::tool::Tool;

/// Facts without which a number means nothing.
pub fn machine(docker: &Tool, compose: Option<&Tool>) -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = read("/etc/os-release");
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("?").replace('"', "");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let engine = docker.text(&["version", "--format", "{{.Server.Version}}"])?;
    let version = compose.map(|compose| compose.text(&["version", "--short"])).transpose()?.unwrap_or("none".into());
    Ok(format!(
        "{system}, {cores} cores, load {} when it began, Docker {}, Compose {}\n",
        load.split(' ').next().unwrap_or_default(),
        engine.trim(),
        version.trim()
    ))
}

struct Step {
    id: String,
    after: Vec<String>,
    begun: f64,
    ended: f64,
}

/// Runs a command with its events, and tells the way through its steps that took longest: each step
/// with the one before it that ended last.
pub fn critical_path(macula: &Tool, args: &[&str]) -> Result<(String, Duration)> {
    let begun = Instant::now();
    let began = jiff::Timestamp::now().as_millisecond() as f64;
    let args: Vec<&str> = ["--progress", "json"].iter().chain(args).copied().collect();
    let output = macula.run(&args)?;
    let total = begun.elapsed();
    let mut steps: BTreeMap<String, Step> = BTreeMap::new();
    let (mut planned, mut finished) = (None, None);
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let word = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let Ok(time) = word("time").parse::<jiff::Timestamp>() else { continue };
        let now = time.as_millisecond() as f64 - began;
        match word("event").as_str() {
            "started" => {
                planned = Some(now);
                for step in event.get("steps").and_then(Value::as_array).into_iter().flatten() {
                    let id = step.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
                    let after = step.get("after").and_then(Value::as_array).into_iter().flatten();
                    let after = after.filter_map(|id| id.as_str().map(str::to_owned)).collect();
                    steps.insert(id.clone(), Step { id, after, begun: now, ended: now });
                }
            }
            "step_started" => {
                if let Some(step) = steps.get_mut(&word("id")) {
                    step.begun = now;
                }
            }
            "step_done" => {
                if let Some(step) = steps.get_mut(&word("id")) {
                    step.ended = now;
                }
            }
            "finished" => finished = Some(now),
            _ => {}
        }
    }
    let total_ms = total.as_secs_f64() * 1e3;
    let mut text = format!("- {total_ms:.0} ms in all\n");
    let Some(planned) = planned else { return Ok((text, total)) };
    text.push_str(&format!("- {planned:.0} ms until the plan was made (files, a look at the engine, checks)\n"));
    let mut path: Vec<&Step> = Vec::new();
    let mut at = steps.values().max_by(|one, other| one.ended.total_cmp(&other.ended));
    while let Some(step) = at {
        path.push(step);
        let before = step.after.iter().filter_map(|id| steps.get(id));
        at = before.max_by(|one, other| one.ended.total_cmp(&other.ended));
    }
    let mut kinds: BTreeMap<&str, f64> = BTreeMap::new();
    for step in &path {
        *kinds.entry(step.id.split(' ').next().unwrap_or_default()).or_default() += step.ended - step.begun;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|one, other| other.1.total_cmp(&one.1));
    let kinds: Vec<String> = kinds.iter().map(|(kind, time)| format!("{kind} {time:.0}")).collect();
    let last = path.first().map_or(planned, |step| step.ended);
    text.push_str(&format!(
        "- {:.0} ms for {} steps; on the longest way: {} ms\n",
        last - planned,
        steps.len(),
        kinds.join(", ")
    ));
    for step in path.iter().rev() {
        text.push_str(&format!("  - {:.0} to {:.0}: {}\n", step.begun - planned, step.ended - planned, step.id));
    }
    let finished = finished.unwrap_or(last);
    text.push_str(&format!("- {:.0} ms from the last step to the end\n", total_ms - finished.min(last)));
    Ok((text, total))
}

/// Requests to the engine by kind. Those that run side by side all count in the sum.
pub fn calls(calls: &[(String, usize, Duration)]) -> String {
    let count: usize = calls.iter().map(|(_, count, _)| count).sum();
    let sum: Duration = calls.iter().map(|(_, _, time)| *time).sum();
    let mut text = format!("- {count} requests, {:.0} ms of waiting in all\n", sum.as_secs_f64() * 1e3);
    for (kind, count, time) in calls.iter().take(8) {
        text.push_str(&format!("  - {count} x {kind}: {:.0} ms\n", time.as_secs_f64() * 1e3));
    }
    text
}

/// The engine's own work beside ours: what it takes by raw requests alone, and how many times that we take.
pub fn floors(what: &str, floors: &[Floor], up: &Measure, down: &Measure) -> Option<String> {
    let (mut all_up, mut all_down) = (Times::default(), Times::default());
    for floor in floors {
        all_up.push(floor.up);
        all_down.push(floor.down);
    }
    let line = |word: &str, floor: &Times, ours: &Times| {
        let (floor, ours) = (floor.median().as_secs_f64(), ours.median().as_secs_f64());
        (floor > 0.0 && ours > 0.0)
            .then(|| format!("- {word}: {floor:.2} s by raw requests, {ours:.2} s by macula: {:.2} x", ours / floor))
    };
    let lines = [line("up", &all_up, &up.macula), line("down", &all_down, &down.macula)];
    let lines: Vec<String> = lines.into_iter().flatten().collect();
    (!lines.is_empty()).then(|| format!("### The engine's floor: {what}\n\n{}\n", lines.join("\n")))
}
