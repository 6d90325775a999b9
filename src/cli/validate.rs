use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::app::{self, Absent, Session};
use crate::config::Loaded;
use crate::doctor::{Finding, Status};
use crate::model::{Invocation, MaculaCommand, Platform, Remedy, macula};
use crate::validate::{Cause, Evidence, Fault, Hop, Row, SoFar, State, Verdict, judge, seen};

use super::ci::{Level, markdown, markdown_table};
use super::context::{Context, LookAhead, StackOptions};
use super::error::{CliError, ErrorKind};
use super::ui::table::{Cell, Fit, Table};
use super::ui::{Style, Tone, left_out, text};
use crate::words;

/// Check every name of the platform from outside and show which hop is broken
///
/// As a program would: libc's look-up, our resolver, TCP to every published port, TLS with the
/// system's own store, HTTP through the ingress, the service's container; and once more from a
/// container of the platform. Each hop is tried by itself, so that one that is broken does not hide
/// the others. Ends with 7 when anything is broken.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  macula validate\n  macula validate -o json\n  macula validate draw\n  macula --name pr-123 validate\n  \
                  macula dns trace grafana        one name, with what was seen at each hop"
)]
pub struct Args {
    /// Only this name, or the names of this service
    #[arg(value_name = "NAME")]
    wanted: Option<String>,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let session = context.session_ahead("validate", LookAhead::Lists);
    let loaded = context.load(&args.stacks)?;
    let session = session.await;
    context.revive(&session, &loaded.platform.name).await;
    let so_far: Mutex<Option<SoFar>> = Mutex::default();
    let hear = |seen| *so_far.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    let lines = || first_lines(context, so_far.lock().unwrap_or_else(PoisonError::into_inner).as_ref());
    let look = look(&session, &loaded, &hear);
    let (bridges, evidence, verdict, absent) = match context.while_looking(look, async {}, lines).await? {
        Looked::Unreachable(broken) => return unreachable(context, &loaded.platform, &broken),
        Looked::Walked(bridges, evidence, verdict, absent) => (bridges, evidence, verdict, absent),
    };
    for finding in &bridges {
        context.events().warn(format!("{}: {}", finding.check, finding.summary));
    }
    named(&loaded.platform, &absent, args.wanted.as_deref(), &verdict.rows)?;
    // one name of a service has nothing to do with the cluster
    let inside = match loaded.platform.cluster.enabled && args.wanted.is_none() {
        true => app::cluster_status(&session, &loaded).await.map(|status| status.problems).unwrap_or_default(),
        false => Vec::new(),
    };
    if context.json() {
        let shown = matching(&verdict.rows, args.wanted.as_deref(), &evidence.domain)?;
        let about = about(&verdict.faults, &shown, args.wanted.is_some());
        let mut result = as_json(context, &evidence, &Verdict { rows: shown, faults: about });
        let ok = result["ok"] == json!(true) && inside.is_empty();
        result["cluster"] = json!(inside);
        result["left_out"] = json!(absent);
        result["ok"] = json!(ok);
        context.print_json(&result)?;
        return if ok { Ok(()) } else { Err(CliError::told(ErrorKind::NotHealthy)) };
    }
    if is_down(&evidence) {
        // one cause, and not as many as there are names
        let error = CliError::not_healthy(format!("{} is down: none of its names can work", evidence.platform));
        return Err(error.suggest(macula("up")));
    }
    let style = context.out_style();
    let width = context.terminal.table_width();
    let shown = matching(&verdict.rows, args.wanted.as_deref(), &evidence.domain)?;
    let mut out = table(&shown, style, width);
    if context.global.verbose > 0 {
        out.push_str(&each_hop(&shown, &evidence, style, width));
    }
    if let Err(reason) = &evidence.machine.inside {
        out.push_str(&format!("\nnot asked from inside: {reason}\n"));
    }
    if args.wanted.is_none() {
        let pairs = absent.iter().map(|absent| (absent.service.as_str(), &absent.reason));
        for cause in left_out::causes(words::unique(pairs)) {
            let line = format!("not asked, since {}: {}", cause.why, cause.names(4));
            let lines = text::wrap(&line, width.unwrap_or(usize::MAX));
            out.push_str(&format!("\n{}\n", lines.join("\n")));
        }
    }
    let about = about(&verdict.faults, &shown, args.wanted.is_some());
    let broken = shown.iter().filter(|row| row.hops.contains(&State::Broken)).count();
    let (about, gone) = absentees(about);
    let result = outcome(about.len() + usize::from(!gone.is_empty()) + inside.len(), broken, shown.len());
    let said = result.as_ref().err().map_or_else(|| "all names work".to_owned(), |error| error.message.clone());
    let title = format!("macula validate: platform {}, {said}", evidence.platform);
    context.print_section(&title, &out)?;
    let gone_text = without_container(context, &gone, style);
    context.print(&(faults(context, &about, style) + &gone_text + &cluster(context, &inside, style)))?;
    if let Some(ci) = &context.ci {
        let invocation = context.invocation();
        let linux = evidence.machine.linux;
        let lines = about.iter().map(|fault| {
            let remedies =
                fault.cause.remedies(linux).into_iter().map(|remedy| format!("\n{}", remedy.text(&invocation)));
            let text = format!("{}{}", told(fault), remedies.collect::<String>());
            ci.annotation(Level::Error, &format!("macula validate {}", fault.cause.hop().name()), &text, None)
        });
        let absent = gone.iter().map(|service| format!("{service} has no container"));
        let rows_of_gone: Vec<[String; 2]> =
            absent.clone().map(|text| [Hop::Service.name().to_owned(), text]).collect();
        let of_gone = absent.map(|text| ci.annotation(Level::Error, "macula validate service", &text, None));
        let of_cluster = inside.iter().map(|text| ci.annotation(Level::Error, "macula validate cluster", text, None));
        let rows = about.iter().map(|fault| [fault.cause.hop().name().to_owned(), told(fault)]);
        let rows = rows.chain(rows_of_gone);
        let rows = rows.chain(inside.iter().map(|text| ["cluster".to_owned(), text.clone()]));
        let sign = if result.is_ok() { ":white_check_mark:" } else { ":x:" };
        let summary = format!("{sign} **{}**\n\n{}", markdown(&title), markdown_table(["hop", "broken"], rows));
        context.annotate(ci, &lines.chain(of_gone).chain(of_cluster).collect::<String>(), &summary)?;
    }
    result
}

enum Looked {
    /// Nothing of the engine is reached from here.
    Unreachable(Finding),
    Walked(Vec<Finding>, Box<Evidence>, Verdict, Vec<Absent>),
}

/// The machine and the names at the same time: on a machine that is not broken there is nothing to wait for.
async fn look(session: &Session, loaded: &Loaded, told: app::Told<'_>) -> Result<Looked, app::Error> {
    let broken = |bridges: &[Finding]| bridges.iter().find(|finding| finding.status == Status::Failed).cloned();
    let bridges = app::bridges(session, loaded);
    let walk = app::validate(session, loaded, Some(told));
    tokio::pin!(bridges, walk);
    let (bridges, walked) = tokio::select! {
        bridges = &mut bridges => match broken(&bridges) {
            Some(broken) => return Ok(Looked::Unreachable(broken)),
            None => (bridges, walk.await),
        },
        walked = &mut walk => (bridges.await, walked),
    };
    if let Some(broken) = broken(&bridges) {
        return Ok(Looked::Unreachable(broken));
    }
    let (evidence, verdict, absent) = walked?;
    Ok(Looked::Walked(bridges, Box::new(evidence), verdict, absent))
}

/// The names that are through, while others are still asked for. What is wrong with them is told at the end, when all
/// is known.
fn first_lines(context: &Context, seen: Option<&SoFar>) -> Vec<String> {
    let style = context.err_style();
    let dots = style.symbol("…", "..");
    let Some(SoFar { evidence, open }) = seen else { return vec![format!("asking for the names {dots}")] };
    let mut rows = judge(evidence).rows;
    for row in rows.iter_mut().filter(|row| open.contains(&row.name)) {
        // the look-up, which is the first hop, is all that it waits for
        if let Some(first) = row.hops.first_mut() {
            *first = State::Unknown;
        }
    }
    // each has its place from the beginning
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    let shown = table(&rows, style, Some(context.terminal.width.saturating_sub(1)));
    let mut lines: Vec<String> = shown.lines().map(str::to_owned).collect();
    lines.push(match open.as_slice() {
        [] => format!("asking from inside the network, and for other names {dots}"),
        open => format!("asking for {} {dots}", text::some(open, 3)),
    });
    lines
}

/// What the cluster says of itself.
fn cluster(context: &Context, problems: &[String], style: Style) -> String {
    let sign = style.paint(Tone::Bad, style.failed());
    let lines: String = problems.iter().map(|text| format!("\n{sign} {:<8} {}\n", "cluster", plain(text))).collect();
    if lines.is_empty() {
        return lines;
    }
    let label = style.paint(Tone::Active, "try:");
    format!("{lines}  {label} {}\n", Remedy::from(macula("cluster status")).text(&context.invocation()))
}

/// The faults of these names. Those of no name in particular concern each.
fn about(faults: &[Fault], shown: &[Row], some: bool) -> Vec<Fault> {
    let is_shown = |name: &String| !some || shown.iter().any(|row| row.name == *name);
    let concerned = faults.iter().filter(|fault| fault.names.is_empty() || fault.names.iter().any(is_shown));
    concerned
        .cloned()
        .map(|mut fault| {
            fault.names.retain(is_shown);
            fault
        })
        .collect()
}

/// What is broken, and for whom.
fn told(fault: &Fault) -> String {
    let about = match fault.names.as_slice() {
        [] => String::new(),
        [name] => format!("{name}: "),
        [first, second] => format!("{first}, {second}: "),
        [first, rest @ ..] => format!("{first} and {} more: ", rest.len()),
    };
    format!("{about}{}", plain(&fault.cause.to_string()))
}

/// Nothing of the platform can be reached on this machine: each name would wait in vain, and blame its service.
fn unreachable(context: &Context, platform: &Platform, broken: &Finding) -> Result<(), CliError> {
    let fix = macula("doctor --fix").arg(broken.check);
    if context.json() {
        let command = Remedy::from(fix).command(&context.invocation());
        let fault = json!({
            "hop": "machine", "cause": broken.check, "text": broken.summary, "names": [], "hints": broken.detail,
            "try": command.into_iter().collect::<Vec<_>>(),
        });
        context.print_json(&json!({
            "platform": platform.name, "domain": platform.domain, "ok": false, "inside": null, "names": [],
            "broken": [fault],
        }))?;
        return Err(CliError::told(ErrorKind::NotHealthy));
    }
    let mut error = CliError::not_healthy(format!("{}: {}", broken.check, broken.summary));
    for line in &broken.detail {
        error = error.detail(line);
    }
    Err(error.hint("no name was checked: until this is fixed none can work").suggest(fix))
}

/// No service of the platform has a container.
fn is_down(evidence: &Evidence) -> bool {
    evidence.machine.ingress.is_none()
        && !evidence.names.is_empty()
        && evidence.names.iter().all(|name| name.containers.is_empty())
}

/// All rows, or those of one name: the whole name, its first labels, or the service behind it.
fn matching(rows: &[Row], name: Option<&str>, domain: &str) -> Result<Vec<Row>, CliError> {
    let Some(name) = name else { return Ok(rows.to_vec()) };
    let whole = format!("{name}.{domain}");
    let found: Vec<Row> =
        rows.iter().filter(|row| row.name == name || row.name == whole || row.service == name).cloned().collect();
    if found.is_empty() {
        let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
        let error = CliError::usage(format!("no name or service with a name is called {name}"));
        if names.is_empty() {
            return Err(error.hint("the platform has no names").suggest(macula("status")));
        }
        return Err(error.hint(format!("there are {}", text::some(&names, 5))));
    }
    Ok(found)
}

/// A name that leads nowhere since its service is left out or has no containers: whoever types it knows what there is.
fn named(platform: &Platform, absent: &[Absent], name: Option<&str>, rows: &[Row]) -> Result<(), CliError> {
    let domain = &platform.domain;
    let Some(name) = name.filter(|name| matching(rows, Some(name), domain).is_err()) else { return Ok(()) };
    let whole = format!("{name}.{domain}");
    let found = absent.iter().find(|absent| absent.service == name || absent.name == name || absent.name == whole);
    if let Some(Absent { name, service, reason }) = found {
        let error = CliError::not_healthy(format!("{name} does not work, since {service} is left out: {reason}"));
        return Err(error.suggest(macula("up").arg(service).why("to try its image again")));
    }
    let service = platform.service(name).map(|(_, service)| service).or_else(|| platform.service_of_host(name));
    match service.filter(|service| service.replicas == 0) {
        Some(service) => {
            let service = &service.name;
            let one = MaculaCommand::of(["scale".to_owned(), format!("{service}=1")]);
            Err(CliError::not_healthy(format!("{service} has 0 containers, so that none of its names work"))
                .suggest(one))
        }
        None => Ok(()),
    }
}

/// The end of the command.
pub fn result(verdict: &Verdict) -> Result<(), CliError> {
    if verdict.is_ok() {
        return Ok(());
    }
    outcome(verdict.faults.len(), verdict.broken_names(), verdict.rows.len())
}

/// So many faults, and names that they concern.
fn outcome(faults: usize, broken: usize, names: usize) -> Result<(), CliError> {
    if faults == 0 {
        return Ok(());
    }
    let things = text::count(faults, "thing");
    let verb = if faults == 1 { "is" } else { "are" };
    Err(CliError::not_healthy(match (broken, names) {
        (0, _) | (_, 1) => format!("{things} {verb} broken"),
        (count, all) => format!("{things} {verb} broken; names affected: {count} of {all}"),
    }))
}

pub fn table(rows: &[Row], style: Style, width: Option<usize>) -> String {
    if rows.is_empty() {
        return "the platform has no names\n".to_owned();
    }
    let titles = Hop::ALL.map(|hop| (hop.name().to_uppercase(), Fit::Whole));
    let mut table = Table::new([("NAME".to_owned(), Fit::Whole)].into_iter().chain(titles));
    for row in rows {
        let hops = row.hops.iter().map(|state| match state {
            State::Broken => Cell::toned(word(*state), Tone::Bad),
            State::Ok => Cell::toned(word(*state), Tone::Good),
            _ => Cell::toned(word(*state), Tone::Dim),
        });
        table.row([Cell::from(&row.name)].into_iter().chain(hops));
    }
    table.render(style, width)
}

/// What was seen at each hop of each name.
fn each_hop(rows: &[Row], evidence: &Evidence, style: Style, width: Option<usize>) -> String {
    let mut out = String::new();
    for row in rows {
        let Some(name) = evidence.names.iter().find(|name| name.target.name == row.name) else { continue };
        out.push_str(&format!("\n{}\n", row.name));
        for (hop, state) in Hop::ALL.iter().zip(row.hops) {
            let Some(line) = hop_line(*hop, state, &seen(evidence, name, *hop), style) else { continue };
            let lines = text::wrap(&line, width.unwrap_or(usize::MAX));
            out.push_str(&format!("{}\n", lines.join("\n           ")));
        }
    }
    out
}

/// One hop of a name: its sign, its name and what was seen there. None: it has nothing to do with the name.
pub fn hop_line(hop: Hop, state: State, seen: &str, style: Style) -> Option<String> {
    let (sign, tone) = match state {
        State::None => return None,
        State::Ok => (style.done(), Tone::Good),
        State::Broken => (style.failed(), Tone::Bad),
        State::Unknown => (style.skipped(), Tone::Dim),
    };
    let line = format!("{} {:<8} {}", style.paint(tone, sign), hop.name(), plain(seen));
    Some(line.trim_end().to_owned())
}

/// As in the table.
pub fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Broken => "FAILED",
        State::Unknown => "?",
        State::None => "-",
    }
}

/// Services without a container are one thing, where there are several. What is left besides, and their names.
fn absentees(faults: Vec<Fault>) -> (Vec<Fault>, Vec<String>) {
    let missing = |fault: &Fault| matches!(fault.cause, Cause::ServiceMissing { .. });
    if faults.iter().filter(|fault| missing(fault)).count() < 3 {
        return (faults, Vec::new());
    }
    let (gone, rest): (Vec<Fault>, Vec<Fault>) = faults.into_iter().partition(missing);
    let name = |fault: Fault| match fault.cause {
        Cause::ServiceMissing { service } => Some(service),
        _ => None,
    };
    (rest, gone.into_iter().filter_map(name).collect())
}

/// Those, and what to type.
fn without_container(context: &Context, services: &[String], style: Style) -> String {
    if services.is_empty() {
        return String::new();
    }
    let width = context.terminal.table_width().unwrap_or(usize::MAX);
    let line = format!("{:<8} {} have no container", Hop::Service.name(), text::some(services, 4));
    let lines = text::wrap(&line, width.saturating_sub(2));
    let (sign, label) = (style.paint(Tone::Bad, style.failed()), style.paint(Tone::Active, "try:"));
    let command = Remedy::from(macula("up")).text(&context.invocation());
    format!("\n{sign} {}\n  {label} {command}\n", lines.join("\n  "))
}

/// One line for each broken thing, and what to type.
pub fn faults(context: &Context, faults: &[Fault], style: Style) -> String {
    let mut out = String::new();
    let width = context.terminal.table_width();
    let (invocation, linux) = (context.invocation(), context.host.facts().os == "linux");
    for fault in faults {
        out.push('\n');
        let sign = style.paint(Tone::Bad, style.failed());
        let line = format!("{:<8} {}", fault.cause.hop().name(), told(fault));
        let lines = text::wrap(&line, width.unwrap_or(usize::MAX).saturating_sub(2));
        out.push_str(&format!("{sign} {}\n", lines.join("\n  ")));
        out.push_str(&tries(&fault.cause.remedies(linux), style, &invocation));
    }
    out
}

/// A line for each remedy: what to type, what else, and what only a sentence says.
pub fn tries(remedies: &[Remedy], style: Style, invocation: &Invocation) -> String {
    let mut first = true;
    let line = |remedy: &Remedy| {
        let label = match remedy {
            Remedy::Say(_) => "hint:",
            _ if std::mem::take(&mut first) => "try:",
            _ => " or:",
        };
        format!("  {} {}\n", style.paint(Tone::Active, label), remedy.text(invocation))
    };
    remedies.iter().map(line).collect()
}

/// What servers and labels say may hold escape sequences, which are no business of the terminal's.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// `{"platform","domain","ok","inside","names":[{"name","service","hops":[{"hop","state","seen"}]}],"broken":[...]}`
pub fn as_json(context: &Context, evidence: &Evidence, verdict: &Verdict) -> Value {
    let state = |state: State| match state {
        State::Ok => "ok",
        State::Broken => "broken",
        State::Unknown => "unknown",
        State::None => "none",
    };
    let evidence_of = |row: &Row| evidence.names.iter().find(|name| name.target.name == row.name);
    let rows = verdict.rows.iter().filter_map(|row| Some((row, evidence_of(row)?))).map(|(row, name)| {
        let hops = Hop::ALL.iter().zip(row.hops).filter(|(_, now)| *now != State::None);
        let hops: Vec<Value> = hops
            .map(|(hop, now)| json!({"hop": hop.name(), "state": state(now), "seen": seen(evidence, name, *hop)}))
            .collect();
        json!({"name": row.name, "service": row.service, "hops": hops})
    });
    let invocation = context.invocation();
    let broken = verdict.faults.iter().map(|fault| {
        let (hints, commands) = Remedy::hints_and_commands(&fault.cause.remedies(evidence.machine.linux), &invocation);
        json!({
            "hop": fault.cause.hop().name(), "cause": fault.cause.name(), "text": fault.cause.to_string(),
            "names": fault.names, "hints": hints, "try": commands,
        })
    });
    json!({
        "platform": evidence.platform,
        "domain": evidence.domain,
        "ok": verdict.is_ok(),
        "inside": evidence.machine.inside.as_ref().ok(),
        "names": rows.collect::<Vec<_>>(),
        "broken": broken.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_one_line_without_control_characters() {
        let style = Style { color: false, unicode: true };
        let line = |state, seen: &str| hop_line(Hop::Tls, state, seen, style);
        assert_eq!(line(State::Ok, "valid for 89 days").unwrap(), "✔ tls      valid for 89 days");
        assert_eq!(line(State::Broken, "\u{1b}[2Jexpired").unwrap(), "✖ tls      \u{fffd}[2Jexpired");
        assert_eq!(line(State::None, "nothing"), None);
    }

    #[test]
    fn hops_stand_side_by_side() {
        use State::{Broken, None, Ok, Unknown};
        let row = |name: &str, hops| Row { name: name.into(), service: "x".into(), hops };
        let rows = [
            row("grafana.macula.local", [Ok, Ok, Ok, Broken, Ok, Ok, Ok]),
            row("postgres.macula.local", [Ok, Ok, Ok, None, None, Ok, Unknown]),
        ];
        insta::assert_snapshot!(table(&rows, Style { color: false, unicode: true }, std::option::Option::None), @"
        NAME                   LOOK-UP  DNS  CONNECT  TLS     HTTP  SERVICE  INSIDE
        grafana.macula.local   ok       ok   ok       FAILED  ok    ok       ok
        postgres.macula.local  ok       ok   ok       -       -     ok       ?
        ");
    }
}
