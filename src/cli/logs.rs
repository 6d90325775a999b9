use std::io::Write;

use futures_util::StreamExt;
use futures_util::stream::select_all;

use crate::app::{LogSource, log_sources};
use crate::engine::LogOptions;

use super::context::Context;
use super::error::CliError;
use super::ui::{Tone, text};

/// Show what the services have written
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services; none: all
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines of each
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only what is younger than this: 10m, 2h, or a time like 2026-11-21T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what is older than this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Without the name of the service before each line
    #[arg(long)]
    no_prefix: bool,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let moment = |text: &Option<String>| text.as_deref().map(|text| moment(context.host.now(), text)).transpose();
    let options = LogOptions {
        follow: args.follow,
        tail: args.tail,
        timestamps: args.timestamps || context.json(),
        since: moment(&args.since)?,
        until: moment(&args.until)?,
    };
    let name = context.platform_name()?;
    let session = context.session("logs").await;
    let (engine, sources) = log_sources(&session, &name, &args.services).await?;
    if sources.is_empty() {
        context.events().info(format!("the platform {name} has no containers: `macula up` makes them"));
    }
    context.finish();
    let titles: Vec<String> = sources.iter().map(|source| title(source, &sources)).collect();
    let widest = titles.iter().map(|title| text::width(title)).max().unwrap_or(0);
    let style = context.out_style();
    let mut streams = Vec::new();
    for (at, (source, title)) in sources.iter().zip(&titles).enumerate() {
        let tone = Tone::of_series(at);
        let prefix = if args.no_prefix {
            String::new()
        } else {
            format!("{} ", style.paint(tone, &format!("{} |", text::pad(title, widest))))
        };
        let lines = engine.logs(&source.container, &options).await?;
        let source = source.clone();
        streams.push(lines.map(move |line| (prefix.clone(), source.clone(), line)).boxed());
    }
    let mut all = select_all(streams);
    let mut out = std::io::stdout().lock();
    while let Some((prefix, source, line)) = all.next().await {
        let line = line?;
        let written = if context.json() {
            let text = String::from_utf8_lossy(&line.bytes);
            // the engine writes the time in front
            let (time, text) = text.split_once(' ').unwrap_or((&text, ""));
            let stream = if line.stderr { "stderr" } else { "stdout" };
            let (service, container) = (source.service, source.container);
            let record = serde_json::json!({
                "time": time, "service": service, "container": container, "stream": stream, "line": text,
            });
            writeln!(out, "{record}")
        } else {
            out.write_all(prefix.as_bytes())
                .and_then(|()| out.write_all(&line.bytes))
                .and_then(|()| out.write_all(b"\n"))
        };
        match written {
            // `logs | head`
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(CliError::io("write to standard output", &error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The service, with the container's number where it has several.
fn title(source: &LogSource, all: &[LogSource]) -> String {
    let several = all.iter().filter(|other| other.service == source.service).count() > 1;
    match source.container.rsplit_once('-') {
        Some((_, number)) if several => format!("{}-{number}", source.service),
        _ => source.service.clone(),
    }
}

/// Seconds since the epoch of `10m` (ago), of a time (RFC 3339) or of a day.
fn moment(now: i64, text: &str) -> Result<i64, CliError> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_second());
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("s" | "") => 1,
        Some("m" | "min") => 60,
        Some("h") => 3600,
        Some("d") => 86400,
        _ => 0,
    };
    match digits.parse::<i64>() {
        Ok(number) if unit > 0 => Ok(now.saturating_sub(number.saturating_mul(unit))),
        _ => Err(CliError::usage(format!("`{text}` is no time"))
            .hint("write how long ago (30s, 10m, 2h, 1d) or a time like 2026-11-21T08:00:00Z")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_ago_or_absolute() {
        assert_eq!(moment(1000, "10m"), Ok(400));
        assert_eq!(moment(1000, "30"), Ok(970));
        assert_eq!(moment(0, "2026-11-21T08:00:00Z"), Ok(1_795_248_000));
        assert!(moment(0, "yesterday").is_err());
    }
}
