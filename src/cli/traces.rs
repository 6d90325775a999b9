use crate::app::kept_telemetry;
use crate::telemetry::view::{self, Trace, TraceSummary};
use crate::telemetry::{LineFilter, Snapshot, TraceFilter};
use crate::words;

use super::context::Context;
use super::error::{CliError, ErrorKind};
use super::ui::table::{Cell, Fit, Table};
use super::ui::{Tone, spans};
use crate::model::macula;

/// Show the traces that programs have sent
///
/// Lists the newest traces, or shows one as a waterfall with its log lines. Traces are kept by the background
/// process where Tempo is left out, or with `telemetry: embedded` in macula.yaml; docs/telemetry.md says where
/// programs send them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A trace's id, or how it begins
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Only traces that this service takes part in
    #[arg(long, value_name = "SERVICE", conflicts_with = "id")]
    service: Option<String>,
    /// Only traces that took at least this long: 500ms, 2s
    #[arg(long, value_name = "TIME", value_parser = slow, conflicts_with = "id")]
    slow: Option<u64>,
    /// Only traces with a failed span
    #[arg(long, conflicts_with = "id")]
    errors: bool,
    /// Show at most this many traces
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20, conflicts_with = "id")]
    count: usize,
}

/// Lines of a trace that are shown.
const LINES: usize = 1000;
/// Traces that an id may stand for.
const ALIKE: usize = 5;

/// Nanoseconds; a number alone stands for seconds, as elsewhere.
fn slow(text: &str) -> Result<u64, String> {
    match text.strip_suffix("ms").and_then(|number| number.trim().parse::<u64>().ok()) {
        Some(millis) => Ok(millis.saturating_mul(1_000_000)),
        None => words::typed_duration(text).map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
    }
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let kept = snapshot(context).await?;
    let Some(typed) = &args.id else { return list(context, &kept, &args) };
    let id = whole_id(&kept, typed)?;
    let Some(trace) = whole(&kept, &id)? else { return Err(unknown(typed)) };
    if context.json() {
        return context.print_json(&trace);
    }
    let width = context.terminal.table_width().unwrap_or(120);
    context.print(&spans::render(&trace, width, context.out_style()))
}

/// What is kept for the platform.
pub async fn snapshot(context: &Context) -> Result<Snapshot, CliError> {
    let name = context.platform_name()?;
    let kept = kept_telemetry(&*context.host, &name).await;
    kept.map_err(|error| CliError::of(ErrorKind::Unexpected, &error).doing("could not read what is kept of telemetry"))
}

fn list(context: &Context, kept: &Snapshot, args: &Args) -> Result<(), CliError> {
    let filter = TraceFilter {
        service: args.service.clone(),
        slow: args.slow.unwrap_or_default(),
        errors: args.errors,
        limit: args.count,
    };
    let all: Vec<TraceSummary> = kept.traces(&filter).iter().map(TraceSummary::from).collect();
    if context.json() {
        return context.print_json(&all);
    }
    if all.is_empty() {
        let any = filter.service.is_some() || filter.slow > 0 || filter.errors;
        return context.print(if any { "no such trace\n" } else { "no program has sent a trace yet\n" });
    }
    let columns = [
        ("TRACE", Fit::Whole),
        ("STARTED", Fit::Whole),
        ("SERVICE", Fit::Whole),
        ("NAME", Fit::Shrink),
        ("TOOK", Fit::Number),
        ("SPANS", Fit::Number),
        ("ERRORS", Fit::Number),
    ];
    let mut table = Table::new(columns);
    for row in &all {
        let errors = row.errors.to_string();
        // to the second, and without the fraction that nobody compares
        let start = row.start.get(..19).unwrap_or_default().replace('T', " ");
        table.row(vec![
            // enough to tell them apart; `traces ID` takes the beginning of one
            Cell::from(row.trace.get(..16).unwrap_or(&row.trace)),
            Cell::from(start),
            Cell::from(&row.service),
            Cell::from(&row.name),
            Cell::from(spans::time(row.duration_us)),
            Cell::from(row.spans.to_string()),
            if row.errors > 0 { Cell::toned(errors, Tone::Bad) } else { Cell::from(errors) },
        ]);
    }
    context.print(&table.render(context.out_style(), context.terminal.table_width()))
}

/// The bytes of an id that was typed whole or in part.
pub fn whole_id(kept: &Snapshot, typed: &str) -> Result<Vec<u8>, CliError> {
    let typed = typed.trim().to_ascii_lowercase();
    let fits = !typed.is_empty() && typed.len() <= 32 && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !fits {
        let error = CliError::usage(format!("`{typed}` is not a trace's id"));
        return Err(error.hint("an id has 32 hexadecimal digits; its first few are enough"));
    }
    if typed.len() == 32 {
        return crate::telemetry::wire::hex(&typed).ok_or_else(|| unknown(&typed));
    }
    let alike = kept.traces_like(&typed, ALIKE);
    match alike.as_slice() {
        [] => Err(unknown(&typed)),
        [one] => Ok(one.trace.clone()),
        several => {
            let ids: Vec<String> = several.iter().map(|head| words::hex(&head.trace)).collect();
            Err(CliError::usage(format!("several traces begin with {typed}")).detail(ids.join(", ")))
        }
    }
}

fn whole(kept: &Snapshot, id: &[u8]) -> Result<Option<Trace>, CliError> {
    let spans = kept.trace(id);
    let spans = spans.map_err(|error| CliError::of(ErrorKind::Unexpected, &error).doing("could not read the trace"))?;
    let wanted = LineFilter { trace: Some(id.to_vec()), limit: LINES, ..LineFilter::default() };
    Ok(view::trace(&spans, &kept.lines(&wanted)))
}

fn unknown(typed: &str) -> CliError {
    let error = CliError::usage(format!("there is no trace {typed}"));
    error.suggest(macula("traces").why("to see those that are kept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_durations() {
        assert_eq!(slow("500ms"), Ok(500_000_000));
        assert_eq!(slow("2s"), Ok(2_000_000_000));
        assert!(slow("soon").is_err());
    }

    #[test]
    fn ids_are_hexadecimal() {
        let kept = Snapshot::default();
        assert_eq!(whole_id(&kept, "5B8EFFF798038103D269B633813FC60C").unwrap().len(), 16);
        for wrong in ["", "xyz", &"a".repeat(33), "abc"] {
            assert!(whole_id(&kept, wrong).is_err(), "{wrong}");
        }
    }
}
