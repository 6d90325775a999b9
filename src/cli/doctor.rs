use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::app::{Session, cluster_needs, survey};
use crate::config::{DiskFiles, Loaded};
use crate::doctor::{self, CHECKS, Finding, FixError, Needs, Selection, Status};
use crate::model::{MaculaCommand, macula};
use crate::words;

use super::ci::{Level, markdown, markdown_table};
use super::consent::{explain, sentences};
use super::context::{Context, StackOptions};
use super::dns_error::change;
use super::error::{CliError, ErrorKind};
use super::interrupt;
use super::ui::{Style, Tone, text};

/// For the look at the platform, which asks every container.
const PATIENCE: Duration = Duration::from_secs(8);

/// Check this machine and suggest fixes
///
/// Shows what needs attention; `-v` also lists the checks that passed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these checks (default: all)
    #[arg(value_name = "CHECK")]
    checks: Vec<String>,
    /// Apply the suggested fixes after confirmation; with `--yes`, one that opens this machine to others only if its
    /// check is named
    #[arg(long)]
    fix: bool,
    /// List the checks
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    if args.list {
        if context.json() {
            let all = CHECKS.iter().map(|check| serde_json::json!({"check": check.name, "about": check.about}));
            return context.print_json(&all.collect::<Vec<_>>());
        }
        let lines: String = CHECKS.iter().map(|check| format!("{:<20} {}\n", check.name, check.about)).collect();
        return context.print(&lines);
    }
    let selection = if args.checks.is_empty() {
        Selection::All
    } else {
        Selection::named(&args.checks).map_err(|error| {
            CliError::of(ErrorKind::Usage, &error).suggest(macula("doctor --list").why("to see all checks"))
        })?
    };
    let loaded = context.load_with_builds(&args.stacks).await?;
    let mut session = context.session("doctor").await;
    let so_far: Mutex<Vec<Finding>> = Mutex::default();
    let told = |finding: &Finding| so_far.lock().unwrap_or_else(PoisonError::into_inner).push(finding.clone());
    let named = !args.checks.is_empty();
    let all = context.global.verbose > 0 || named;
    let of = if named { args.checks.len() } else { CHECKS.len() };
    let lines = || first_lines(context, &so_far.lock().unwrap_or_else(PoisonError::into_inner), of, all);
    let look = look(&session, &loaded, selection.clone(), &told);
    let (needs, mut findings) = context.while_looking(look, async {}, lines).await;
    let (mut tried, mut not_fixed) = (args.fix.then(Tried::default), None);
    let mut to_be_named = Vec::new();
    if let Some(tried) = &mut tried {
        // a fix that is under way comes to its end
        let _interrupts = interrupt::listen(context.cancel.clone(), context.events())?;
        for found in findings.iter().filter(|finding| can_fix(finding)) {
            // an earlier fix may have been the one for this, too
            let again = match tried.fixed.is_empty() {
                true => None,
                false => doctor::run(&session.system, &needs, Selection::Named(vec![found.check])).await.pop(),
            };
            let finding = again.unwrap_or_else(|| found.clone());
            let Some(fix) = finding.fix.as_ref().filter(|_| can_fix(&finding)) else { continue };
            if context.global.yes && !named && !fix.safe {
                let line = context.line(macula("doctor --fix").arg(found.check));
                context.events().info(format!("{} is left to you: {} (`{line}`)", found.check, fix.text));
                to_be_named.push(found.check);
                continue;
            }
            let agreed = match context.cancel.is_cancelled() {
                true => Ok(false),
                false => context.agreed(&sentences(&finding.summary, &fix.text), &explain(fix)).await,
            };
            if context.cancel.is_cancelled() {
                return Err(stopped(tried));
            }
            if !agreed? {
                continue;
            }
            match doctor::fix(&session.system, &needs, &finding, &context.events()).await {
                Ok(fixed) => {
                    session.system = fixed.system;
                    match needs_attention(&fixed.finding) {
                        true => tried.in_vain.push(found.check),
                        false => tried.fixed.push(found.check),
                    }
                }
                Err(error) => {
                    tried.in_vain.push(found.check);
                    let error = match error {
                        FixError::Run(error) => CliError::from(error).doing(fix.text.clone()),
                        FixError::Change(error) => change(&error).doing(fix.text.clone()),
                        error => CliError::unexpected(fix.text.clone()).because(&error),
                    };
                    // the others are tried all the same
                    not_fixed.get_or_insert(error);
                }
            }
        }
        if context.cancel.is_cancelled() {
            return Err(stopped(tried));
        }
        if !tried.fixed.is_empty() || !tried.in_vain.is_empty() {
            findings = doctor::run(&session.system, &needs, selection).await;
        }
    }
    let failed: Vec<&Finding> = findings.iter().filter(|finding| finding.status == Status::Failed).collect();
    let error = failed.first().map(|finding| {
        let of_engine = ["socket-permission", "docker-context"];
        let kind = if finding.check.starts_with("engine") || of_engine.contains(&finding.check) {
            ErrorKind::NoEngine
        } else if finding.check == "ports" {
            ErrorKind::Conflict
        } else if finding.check == "state-files" {
            ErrorKind::Config
        } else {
            ErrorKind::Unexpected
        };
        CliError::new(kind, format!("{} failed: {}", text::count(failed.len(), "check"), finding.summary))
    });
    let all_told = not_fixed.is_none();
    let error = not_fixed.or(error);
    if context.json() {
        context.print_json(&findings)?;
        // what became of a fix is not in the findings
        return error.map_or(Ok(()), |error| Err(if all_told { CliError::told(error.kind) } else { error }));
    }
    let width = context.terminal.table_width().unwrap_or(120);
    let mut text = table(&findings, tried.as_ref(), context.out_style(), all, width);
    if let Some(command) = by_name(&to_be_named).or_else(|| next(&findings, tried.as_ref())) {
        text.push_str(&format!("  {}\n", context.out_style().paint(Tone::Active, &context.line(command))));
    }
    let title = format!("macula doctor: {}", sum(&findings, tried.as_ref()).1);
    context.print_section(&title, &text)?;
    if let Some(ci) = &context.ci {
        let annotations = findings.iter().filter(|finding| needs_attention(finding)).map(|finding| {
            let level = if finding.status == Status::Failed { Level::Error } else { Level::Warning };
            let fix = finding.fix.as_ref().map(|fix| format!("\n{}", fix.text)).unwrap_or_default();
            ci.annotation(
                level,
                &format!("macula doctor {}", finding.check),
                &format!("{}{fix}", finding.summary),
                None,
            )
        });
        context.annotate(ci, &annotations.collect::<String>(), &summary(&title, &findings))?;
    }
    error.map_or(Ok(()), Err)
}

/// What came of the fixes of `--fix`, by the names of their checks.
#[derive(Debug, Default)]
struct Tried {
    fixed: Vec<&'static str>,
    /// What was carried out and did not help, or failed.
    in_vain: Vec<&'static str>,
}

/// Ctrl-C between two fixes.
fn stopped(tried: &Tried) -> CliError {
    let message = match tried.fixed.as_slice() {
        [] => "Stopped; nothing was fixed.".to_owned(),
        fixed => format!("Stopped; fixed {}.", words::list(fixed)),
    };
    CliError::new(ErrorKind::Interrupted, message)
}

/// What the platform wants of the machine, and how that is.
async fn look(
    session: &Session,
    loaded: &Loaded,
    selection: Selection,
    told: &(dyn Fn(&Finding) + Send + Sync),
) -> (Needs, Vec<Finding>) {
    // what it wants is known in full only with an engine
    let platform = &loaded.platform;
    let mut needs = match tokio::time::timeout(PATIENCE, survey(session, loaded)).await {
        Ok(Ok(prepared)) => {
            let cluster = cluster_needs(platform).filter(|_| !prepared.leaves_cluster_alone());
            let passed_on = prepared.observed.passed_on.clone();
            Needs { passed_on, ..Needs::of(&prepared.platform, &prepared.resources, cluster) }
        }
        // nor with one that does not answer, or whose containers do not: the checks say why
        Ok(Err(_)) | Err(_) => Needs {
            platform: platform.name.to_string(),
            domain: platform.domain.clone(),
            network: platform.name.network(),
            cluster: cluster_needs(platform)
                .filter(|_| !session.state(&platform.name).remembered(&DiskFiles).no_cluster),
            ..Needs::default()
        },
    };
    needs.invocation = session.invocation.clone();
    let findings = doctor::run_telling(&session.system, &needs, selection, told).await;
    (needs, findings)
}

/// The checks that are made, in the order of the table, while others go on.
fn first_lines(context: &Context, findings: &[Finding], of: usize, all: bool) -> Vec<String> {
    let style = context.err_style();
    let place = |finding: &Finding| CHECKS.iter().position(|check| check.name == finding.check);
    let mut findings = findings.to_vec();
    findings.sort_by_key(place);
    let shown = rows(&findings, style, all, context.terminal.width.saturating_sub(1));
    let made = match findings.len() {
        0 => "looking".to_owned(),
        count => format!("{count} of {} made", text::count(of, "check")),
    };
    shown.lines().map(str::to_owned).chain([format!("{made} {}", style.symbol("…", ".."))]).collect()
}

fn needs_attention(finding: &Finding) -> bool {
    matches!(finding.status, Status::Failed | Status::Warning)
}

/// The page of a CI system's run.
fn summary(title: &str, findings: &[Finding]) -> String {
    let rows = findings.iter().filter(|finding| needs_attention(finding)).map(|finding| {
        let fix = finding.fix.as_ref().map(|fix| fix.text.clone()).unwrap_or_default();
        [finding.check.to_owned(), finding.summary.clone(), fix]
    });
    format!("**{}**\n\n{}", markdown(title), markdown_table(["check", "finding", "fix"], rows))
}

fn can_fix(finding: &Finding) -> bool {
    needs_attention(finding) && finding.fix.as_ref().is_some_and(|fix| !fix.actions.is_empty())
}

/// What needs attention; with `all` also what is well.
fn rows(findings: &[Finding], style: Style, all: bool, width: usize) -> String {
    let mut out = String::new();
    let names =
        findings.iter().filter(|finding| all || needs_attention(finding)).map(|finding| finding.check.len()).max();
    let names = names.unwrap_or(0);
    for finding in findings.iter().filter(|finding| all || needs_attention(finding)) {
        let (sign, tone) = match finding.status {
            Status::Ok => (style.done(), Tone::Good),
            Status::Warning => (style.warning(), Tone::Warn),
            Status::Failed => (style.failed(), Tone::Bad),
            Status::Skipped => (style.skipped(), Tone::Dim),
        };
        let indent = 2 + names + 2;
        let mut lines = text::wrap(&finding.summary, width.saturating_sub(indent).max(20)).into_iter();
        let first = lines.next().unwrap_or_default();
        out.push_str(&format!("{} {}  {first}\n", style.paint(tone, sign), text::pad(finding.check, names)));
        for line in lines {
            out.push_str(&format!("{}{line}\n", " ".repeat(indent)));
        }
        if finding.status == Status::Ok {
            continue;
        }
        for line in finding.detail.iter().flat_map(|line| text::wrap(line, width.saturating_sub(4).max(20))) {
            out.push_str(&format!("    {line}\n"));
        }
        if let Some(fix) = &finding.fix {
            for (at, line) in text::wrap(&fix.text, width.saturating_sub(9).max(20)).into_iter().enumerate() {
                let label = if at == 0 { style.paint(Tone::Active, "fix:") } else { "    ".to_owned() };
                out.push_str(&format!("    {label} {line}\n"));
            }
            // a command that is wrapped could not be copied
            for action in &fix.actions {
                out.push_str(&format!("      {action}\n"));
            }
        }
    }
    out
}

/// The same with a sum.
fn table(findings: &[Finding], tried: Option<&Tried>, style: Style, all: bool, width: usize) -> String {
    let mut out = rows(findings, style, all, width);
    let (tone, sum) = sum(findings, tried);
    let sign = match tone {
        Tone::Good => style.done(),
        Tone::Warn => style.warning(),
        _ => style.failed(),
    };
    let lines = text::wrap(&sum, width.saturating_sub(2).max(20));
    out.push_str(&format!("{} {}\n", style.paint(tone, sign), lines.join("\n  ")));
    out
}

/// All of it in one line, and how bad it is. `tried`: with `--fix`.
fn sum(findings: &[Finding], tried: Option<&Tried>) -> (Tone, String) {
    let of = |wanted: Status| -> Vec<&str> {
        findings.iter().filter(|finding| finding.status == wanted).map(|finding| finding.check).collect()
    };
    let names: Vec<&str> =
        findings.iter().filter(|finding| needs_attention(finding)).map(|finding| finding.check).collect();
    let tone = match (of(Status::Failed).len(), names.len()) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Warn,
        _ => Tone::Bad,
    };
    let mut parts = Vec::new();
    if let Some(tried) = tried {
        match (tried.fixed.as_slice(), tried.in_vain.as_slice()) {
            ([], []) if names.is_empty() => parts.push("nothing to fix".to_owned()),
            ([], []) => parts.push("nothing was fixed".to_owned()),
            (fixed, in_vain) => {
                let told = [("fixed", fixed), ("could not fix", in_vain)];
                let told = told.iter().filter(|(_, checks)| !checks.is_empty());
                parts.extend(told.map(|(word, checks)| format!("{word} {}", words::list(*checks))));
            }
        }
    }
    let mut rest = |word: &str, names: &[&str]| {
        if !names.is_empty() {
            parts.push(format!("{} {word}: {}", text::count(names.len(), "thing"), names.join(", ")));
        }
    };
    match tried {
        Some(_) => rest("left", &names),
        None => {
            rest("to fix", &of(Status::Failed));
            rest("to look at", &of(Status::Warning));
        }
    }
    parts.push(format!("{} passed", text::count(of(Status::Ok).len(), "check")));
    (tone, parts.join("; "))
}

/// What does the fixes that take more than a `--yes`.
fn by_name(checks: &[&str]) -> Option<MaculaCommand> {
    (!checks.is_empty()).then(|| checks.iter().fold(macula("doctor --fix"), |command, check| command.arg(*check)))
}

/// What to type now.
fn next(findings: &[Finding], tried: Option<&Tried>) -> Option<MaculaCommand> {
    match tried {
        // a second time would end as the first one
        Some(tried) if !tried.in_vain.is_empty() => None,
        _ if findings.iter().any(can_fix) => Some(macula("doctor --fix")),
        Some(tried) if !tried.fixed.is_empty() && !findings.iter().any(needs_attention) => Some(macula("up")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::doctor::{Action, Fix};
    use crate::model::Invocation;

    #[test]
    fn what_is_well_is_a_number() {
        let finding = |check: &'static str, status: Status, summary: &str| Finding {
            check,
            status,
            summary: summary.into(),
            detail: Vec::new(),
            fix: None,
        };
        let mut findings = vec![
            finding("engine-running", Status::Ok, "Docker 20.10.24 answers"),
            finding(
                "inotify",
                Status::Warning,
                "8192 file watches: a cluster takes more, its pods would fail with too many open files",
            ),
            finding("subnet", Status::Skipped, "chosen automatically"),
        ];
        let plain = Style { color: false, unicode: true };
        assert_snapshot!(table(&findings, None, plain, false, 60), @r"
        ! inotify  8192 file watches: a cluster takes more, its pods
                   would fail with too many open files
        ! 1 thing to look at: inotify; 1 check passed
        ");
        assert_snapshot!(table(&findings, None, plain, true, 60), @r"
        ✔ engine-running  Docker 20.10.24 answers
        ! inotify         8192 file watches: a cluster takes more,
                          its pods would fail with too many open
                          files
        ↷ subnet          chosen automatically
        ! 1 thing to look at: inotify; 1 check passed
        ");
        findings.remove(1);
        assert_snapshot!(table(&findings, None, plain, false, 60), @"✔ 1 check passed");
    }

    #[test]
    fn who_stops_it_hears_what_was_fixed() {
        let said = |fixed: &[&'static str]| stopped(&Tried { fixed: fixed.to_vec(), in_vain: Vec::new() }).message;
        assert_eq!(said(&[]), "Stopped; nothing was fixed.");
        assert_eq!(said(&["ports", "inotify"]), "Stopped; fixed ports and inotify.");
    }

    #[test]
    fn the_last_line_says_what_was_fixed_and_what_is_left() {
        let finding = |check: &'static str, status: Status, fix: bool| Finding {
            check,
            status,
            summary: String::new(),
            detail: Vec::new(),
            fix: fix.then(|| Fix { text: String::new(), actions: vec![Action::Remove("/tmp/x".into())], safe: true }),
        };
        let well = [finding("ports", Status::Ok, false), finding("clock", Status::Ok, false)];
        let left = [finding("ports", Status::Ok, false), finding("inotify", Status::Warning, true)];
        let advice = [finding("ports", Status::Failed, false), finding("inotify", Status::Warning, false)];
        let tried = |fixed: &[&'static str], in_vain: &[&'static str]| Tried {
            fixed: fixed.to_vec(),
            in_vain: in_vain.to_vec(),
        };
        let said = |findings: &[Finding], tried: &Tried| {
            format!(
                "{} > {}",
                sum(findings, Some(tried)).1,
                next(findings, Some(tried)).map_or("-".to_owned(), |command| command.line(&Invocation::default()))
            )
        };
        assert_eq!(said(&well, &tried(&[], &[])), "nothing to fix; 2 checks passed > -");
        assert_eq!(said(&well, &tried(&["clock"], &[])), "fixed clock; 2 checks passed > macula up");
        assert_eq!(
            said(&left, &tried(&["ports"], &["inotify"])),
            "fixed ports; could not fix inotify; 1 thing left: inotify; 1 check passed > -"
        );
        // the user said no
        assert_eq!(
            said(&left, &tried(&[], &[])),
            "nothing was fixed; 1 thing left: inotify; 1 check passed > macula doctor --fix"
        );
        assert_eq!(
            said(&advice, &tried(&[], &[])),
            "nothing was fixed; 2 things left: ports, inotify; 0 checks passed > -"
        );
        assert_eq!(sum(&advice, None).1, "1 thing to fix: ports; 1 thing to look at: inotify; 0 checks passed");
        assert_eq!(next(&left, None), Some(macula("doctor --fix")));
        let named = by_name(&["low-ports", "forwarding"]).unwrap().line(&Invocation::default());
        assert_eq!(named, "macula doctor --fix low-ports forwarding");
        assert_eq!(by_name(&[]), None);
    }
}
