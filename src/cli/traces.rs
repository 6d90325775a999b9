use crate::app::{Found, Inquiry, InquiryError, LOOKED_THROUGH};
use crate::telemetry::{ServiceMap, TraceFilter};
use crate::words;

use super::context::Context;
use super::error::{CliError, ErrorKind};
use super::ui::table::{Cell, Fit, Table};
use super::ui::{Tone, spans};
use crate::model::macula;

/// Show the traces that programs have sent
///
/// Lists the newest traces, or shows one as a waterfall with its log lines (`-v`: with the attributes and events of each span). Traces are kept by Tempo where it is
/// part of the platform, else by the background process; docs/telemetry.md says where programs send them.
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
    /// Show which services call which, by the newest traces or those that the other options choose
    #[arg(long, conflicts_with_all = ["id", "count"])]
    map: bool,
    /// Show at most this many traces
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20, conflicts_with = "id")]
    count: usize,
}

const NOTHING: &str = "no program has sent a trace yet\n";
/// Traces whose services are named where one was asked for that has none.
const RECENT: usize = 200;
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
    let inquiry = inquiry(context).await?;
    let filter = TraceFilter {
        service: args.service.clone(),
        slow: args.slow.unwrap_or_default(),
        errors: args.errors,
        limit: args.count,
    };
    if args.map {
        let map = told(context, inquiry.map(&filter).await)?;
        if context.json() {
            return context.print_json(&map);
        }
        if map.spans == 0 && filter.chooses() {
            return context.print(&none(&inquiry, &filter).await?);
        }
        return context.print(&drawn(context, &map));
    }
    let Some(typed) = &args.id else { return list(context, &inquiry, &filter).await };
    let id = whole_id(context, &inquiry, typed).await?;
    let Some(trace) = told(context, inquiry.trace(&id).await)? else { return Err(unknown(typed)) };
    if context.json() {
        return context.print_json(&trace);
    }
    let width = context.terminal.table_width().unwrap_or(120);
    context.print(&spans::render(&trace, width, context.out_style(), context.global.verbose > 0))
}

/// Whoever has the telemetry of the platform.
pub async fn inquiry(context: &Context) -> Result<Inquiry, CliError> {
    let name = context.platform_name()?;
    Inquiry::of(&*context.host, &name).await.map_err(|error| unreadable(&error))
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> CliError {
    CliError::of(ErrorKind::Unexpected, error).doing("could not read what is kept of telemetry")
}

/// What was found; who could not be asked is warned of.
pub fn told<T>(context: &Context, found: Result<Found<T>, InquiryError>) -> Result<T, CliError> {
    let found = found.map_err(|error| unreadable(&error))?;
    for problem in found.problems {
        context.events().warn(problem);
    }
    Ok(found.value)
}

/// The calls as a table.
fn drawn(context: &Context, map: &ServiceMap) -> String {
    if map.calls.is_empty() {
        return "no service has called another in the traces that are kept\n".to_owned();
    }
    let columns = [
        ("FROM", Fit::Whole),
        ("TO", Fit::Whole),
        ("CALLS", Fit::Number),
        ("ERRORS", Fit::Number),
        ("P95", Fit::Number),
    ];
    let mut table = Table::new(columns);
    for call in &map.calls {
        let errors = call.errors.to_string();
        table.row(vec![
            Cell::from(&call.from),
            Cell::from(&call.to),
            Cell::from(call.count.to_string()),
            if call.errors > 0 { Cell::toned(errors, Tone::Bad) } else { Cell::from(errors) },
            Cell::from(spans::time(call.p95_us)),
        ]);
    }
    table.render(context.out_style(), context.terminal.table_width())
}

/// Why no trace is shown, and what there is instead.
async fn none(inquiry: &Inquiry, filter: &TraceFilter) -> Result<String, CliError> {
    if !filter.chooses() {
        return Ok(NOTHING.to_owned());
    }
    // what is wrong has been told with the first answer
    let newest = inquiry.traces(&TraceFilter { limit: RECENT, ..TraceFilter::default() }).await;
    let newest = newest.map_err(|error| unreadable(&error))?.value;
    let services = words::unique(newest.into_iter().flat_map(|row| row.services));
    let Some(service) = &filter.service else {
        return Ok(if services.is_empty() { NOTHING.to_owned() } else { "no such trace\n".to_owned() });
    };
    Ok(match services.as_slice() {
        [] => NOTHING.to_owned(),
        known if known.contains(service) => format!("no such trace of {service}\n"),
        known => format!("no trace of {service}; the newest ones are of {}\n", words::list(known)),
    })
}

async fn list(context: &Context, inquiry: &Inquiry, filter: &TraceFilter) -> Result<(), CliError> {
    let all = told(context, inquiry.traces(filter).await)?;
    if context.json() {
        return context.print_json(&all);
    }
    if all.is_empty() {
        return context.print(&none(inquiry, filter).await?);
    }
    let columns = [
        ("TRACE", Fit::Whole),
        ("STARTED (UTC)", Fit::Whole),
        ("SERVICE", Fit::Whole),
        ("NAME", Fit::Shrink),
        ("TOOK", Fit::Number),
        ("SPANS", Fit::Number),
        ("ERRORS", Fit::Number),
    ];
    let mut table = Table::new(columns);
    // enough to tell them apart; `traces ID` takes the beginning of one, which Tempo cannot be asked for
    let digits = if inquiry.asks_tempo() { 32 } else { 16 };
    for row in &all {
        let errors = row.errors.to_string();
        // to the second, and without the fraction that nobody compares
        let start = row.start.get(..19).unwrap_or_default().replace('T', " ");
        table.row(vec![
            Cell::from(row.trace.get(..digits).unwrap_or(&row.trace)),
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
pub async fn whole_id(context: &Context, inquiry: &Inquiry, typed: &str) -> Result<Vec<u8>, CliError> {
    let typed = &normal(typed)?;
    if typed.len() == 32 {
        return crate::telemetry::wire::hex(typed).ok_or_else(|| unknown(typed));
    }
    let alike = told(context, inquiry.ids_like(typed, ALIKE).await)?;
    match alike.as_slice() {
        [] if inquiry.asks_tempo() => Err(unknown(typed).hint(format!(
            "of Tempo, only the newest {LOOKED_THROUGH} are looked through for a part of an id: type all 32 digits"
        ))),
        [] => Err(unknown(typed)),
        [one] => Ok(one.clone()),
        several => {
            let ids: Vec<String> = several.iter().map(words::hex).collect();
            Err(CliError::usage(format!("several traces begin with {typed}")).detail(ids.join(", ")))
        }
    }
}

/// What may be an id, or its beginning.
fn normal(typed: &str) -> Result<String, CliError> {
    let typed = typed.trim().to_ascii_lowercase();
    let fits = !typed.is_empty() && typed.len() <= 32 && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits {
        return Ok(typed);
    }
    let error = CliError::usage(format!("`{typed}` is not a trace's id"));
    Err(error.hint("an id has 32 hexadecimal digits; its first few are enough"))
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
        assert_eq!(normal(" 5B8EFFF798038103D269B633813FC60C").unwrap().len(), 32);
        for wrong in ["", "xyz", &"a".repeat(33)] {
            assert!(normal(wrong).is_err(), "{wrong}");
        }
    }
}
