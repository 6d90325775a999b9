use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;

use crate::app::{Error, LogEvent, LogFilter, LogSource, all_log_sources, program_log, read_logs};
use crate::engine::absent::Absent;
use crate::engine::{Engine, LogOptions};
use crate::model::{PlatformName, macula};
use crate::telemetry::LineFilter;
use crate::telemetry::batch::severity_of;
use crate::words;

use super::context::Context;
use super::error::CliError;
use super::traces;
use super::ui::{Style, Tone, spans, text};

/// Show the logs of services, processes and programs
///
/// Lines of several are merged by time. With `--follow` a service is followed through
/// restarts and replacements. On a terminal, control sequences other than colors are removed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Services, host names they answer to, or programs (default: all services and processes)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Follow new output
    #[arg(short, long)]
    follow: bool,
    /// Show only the last lines of each service
    #[arg(short = 'n', long, value_name = "LINES", value_parser = lines)]
    tail: Option<u64>,
    /// Show output since a time: 10m, 2h, or 2026-11-21T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show output until a time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show only lines that contain this text; lower case matches either case
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Show only lines that name this level or a worse one: debug, info, warn, error, fatal
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    level: Option<u32>,
    /// Show the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// Show the lines that programs have sent for a trace, as `macula traces` lists them
    #[arg(long, value_name = "ID", conflicts_with_all = ["services", "follow", "tail", "since", "until", "timestamps", "no_prefix"])]
    trace: Option<String>,
    /// Leave out the name of the service before each line
    #[arg(long)]
    no_prefix: bool,
}

/// Columns of the names in front.
const PREFIX: usize = 20;

/// Lines of a trace that are shown.
const TRACED: usize = 10_000;

/// What programs have sent with a trace's id.
async fn of_trace(context: &Context, typed: &str, filter: &LogFilter) -> Result<(), CliError> {
    let inquiry = traces::inquiry(context).await?;
    let id = traces::whole_id(context, &inquiry, typed).await?;
    let hex = words::hex(&id);
    let wanted = LineFilter { trace: Some(id), limit: TRACED, severity: filter.severity, ..LineFilter::default() };
    let lines = traces::told(context, inquiry.lines(&wanted).await)?;
    let lines = lines.into_iter().filter(|line| filter.has_text(&line.text));
    if context.json() {
        return context.print_json(&lines.collect::<Vec<_>>());
    }
    let shown: String = lines.map(|line| spans::log_line(&line, context.out_style())).collect();
    if shown.is_empty() {
        let written = context.line(macula("logs --grep").arg(&hex));
        context
            .events()
            .info(format!("no line was sent with this trace; what services wrote with its id: `{written}`"));
    }
    context.print(&shown)
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let filter = LogFilter { grep: args.grep.clone(), severity: args.level.unwrap_or_default() };
    if let Some(id) = &args.trace {
        return of_trace(context, id, &filter).await;
    }
    let moment = |text: &Option<String>| text.as_deref().map(|text| moment(context.host.now(), text)).transpose();
    let options = LogOptions {
        follow: args.follow,
        tail: args.tail,
        timestamps: true,
        since: moment(&args.since)?,
        until: moment(&args.until)?,
    };
    let name = context.platform_name()?;
    let session = context.session("logs").await;
    let mut services = args.services.clone();
    let found = match all_log_sources(&session, &name, &services).await {
        Err(Error::UnknownService { names, known }) => {
            // a host name stands for its service; only the stacks know whose it is
            let meant = names.iter().map(|name| context.service_of_host(name)).collect::<Option<Vec<String>>>();
            match meant {
                Some(meant) => {
                    services.retain(|service| !names.contains(service));
                    services.extend(meant);
                    all_log_sources(&session, &name, &services).await
                }
                None => return Err(context.absent(&session, Error::UnknownService { names, known }).await),
            }
        }
        Err(error) => match without_engine(context, &name, &services).await {
            Some(found) => Ok(found),
            None => Err(error),
        },
        found => found,
    };
    let (engine, sources) = match found {
        Ok(found) => found,
        Err(error) => return Err(context.absent(&session, error).await),
    };
    let _in_use = session.in_use(&name);
    if sources.is_empty() {
        context.events().info(format!("{name} is down; `{}` starts it", context.line(macula("up"))));
        if !args.follow {
            return Ok(());
        }
    }
    context.finish();
    let mut writer = Writer::new(context, &args, &sources);
    let mut events = read_logs(engine, context.host.clone(), name, services.clone(), sources, options, filter);
    context.stdout_is_open()?;
    let mut out = context.stdout();
    let mut any = false;
    while let Some(event) = events.recv().await {
        let written = match event {
            LogEvent::Broken(error) => return Err(error.into()),
            LogEvent::Line { source, time, stderr, text } => {
                any = true;
                writer.line(&mut out, &source, &time, stderr, &text)
            }
            LogEvent::Note { service, text } => writer.note(&mut out, &service, &text),
        };
        match written {
            // `logs | head`
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("write to standard output")?,
        }
    }
    if !any && !services.is_empty() && !context.json() {
        context.events().info(format!("{}: nothing was written", services.join(", ")));
    }
    Ok(())
}

/// A program of this machine, which has written all by itself: no engine has to answer for it.
async fn without_engine(
    context: &Context,
    platform: &PlatformName,
    named: &[String],
) -> Option<(Arc<dyn Engine>, Vec<LogSource>)> {
    let [program] = named else { return None };
    let log = program_log(&*context.host, platform, program)?;
    if !context.host.exists(&log).await {
        return None;
    }
    let engine: Arc<dyn Engine> = Arc::new(Absent::on(&context.host.facts()));
    Some((engine, vec![LogSource::of_program(program, log)]))
}

/// How lines are written.
struct Writer {
    style: Style,
    json: bool,
    /// Somebody looks at it: what could move the cursor or set a title is removed.
    terminal: bool,
    timestamps: bool,
    prefix: bool,
    widest: usize,
    /// Titles in the order of their appearance; each has a color.
    titles: Vec<String>,
    /// Services with more than one container.
    several: Vec<String>,
}

impl Writer {
    fn new(context: &Context, args: &Args, sources: &[LogSource]) -> Self {
        let count = |service: &str| sources.iter().filter(|source| source.service == service).count();
        let several =
            sources.iter().map(|source| source.service.clone()).filter(|service| count(service) > 1).collect();
        let mut writer = Self {
            style: context.out_style(),
            json: context.json(),
            terminal: context.terminal.stdout_is_tty,
            timestamps: args.timestamps,
            prefix: !args.no_prefix,
            widest: 0,
            titles: Vec::new(),
            several,
        };
        writer.titles = sources.iter().map(|source| writer.title(source)).collect();
        writer.widest = writer.titles.iter().map(|title| text::width(title)).max().unwrap_or(0).min(PREFIX);
        writer
    }

    /// The service, with the container's number where it has several.
    fn title(&self, source: &LogSource) -> String {
        match source.container.rsplit_once('-') {
            Some((_, number)) if self.several.contains(&source.service) => format!("{}-{number}", source.service),
            _ => source.service.clone(),
        }
    }

    fn tone(&mut self, title: &str) -> Tone {
        let known = self.titles.iter().position(|known| known == title);
        Tone::of_series(known.unwrap_or_else(|| {
            self.titles.push(title.to_owned());
            self.titles.len() - 1
        }))
    }

    fn line(
        &mut self,
        out: &mut impl Write,
        source: &LogSource,
        time: &str,
        stderr: bool,
        bytes: &[u8],
    ) -> std::io::Result<()> {
        let line = String::from_utf8_lossy(bytes);
        if self.json {
            let stream = if stderr { "stderr" } else { "stdout" };
            let record = serde_json::json!({
                "time": time, "service": source.service, "container": source.container, "stream": stream,
                "line": line,
            });
            return writeln!(out, "{record}");
        }
        let title = self.title(source);
        let mut head = String::new();
        if self.prefix {
            let tone = self.tone(&title);
            let title = text::pad(&text::fit(&title, self.widest, self.style), self.widest);
            head = format!("{} ", self.style.paint(tone, &format!("{title} |")));
        }
        if self.timestamps {
            head.push_str(&format!("{time} "));
        }
        let mut whole = head.into_bytes();
        match (self.terminal, self.style.color) {
            (true, true) => whole.extend(text::colored_line(&line).as_bytes()),
            (true, false) => whole.extend(text::clean_line(&line).as_bytes()),
            // a file or a program gets what the service wrote
            (false, _) => whole.extend(bytes),
        }
        whole.push(b'\n');
        out.write_all(&whole)
    }

    fn note(&mut self, out: &mut impl Write, service: &str, said: &str) -> std::io::Result<()> {
        if self.json {
            return writeln!(out, "{}", serde_json::json!({"service": service, "note": said}));
        }
        let mark = self.style.symbol("──", "--");
        let line = match service {
            "" => format!("{mark} {said}"),
            service => format!("{mark} {} {said}", text::fit(service, PREFIX, self.style)),
        };
        writeln!(out, "{}", self.style.paint(Tone::Bold, &line))
    }
}

fn level(text: &str) -> Result<u32, String> {
    match severity_of(text) {
        0 => Err("expected debug, info, warn, error or fatal".to_owned()),
        severity => Ok(severity),
    }
}

fn lines(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a number of lines, such as 50".to_owned())
}

/// Seconds since the epoch of `10m` (ago), of a time (RFC 3339) or of a day.
fn moment(now: i64, text: &str) -> Result<i64, CliError> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_second());
    }
    match words::typed_duration(text) {
        Ok(ago) => Ok(now.saturating_sub_unsigned(ago.as_secs())),
        Err(_) => Err(CliError::usage(format!("`{text}` is not a valid time"))
            .hint("try how long ago (30s, 10m, 2h, 1d) or a time such as 2026-11-21T08:00:00Z")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerState;

    #[test]
    fn times_are_ago_or_absolute() {
        assert_eq!(moment(1000, "10m"), Ok(400));
        assert_eq!(moment(1000, "30"), Ok(970));
        assert_eq!(moment(10_000, "1h30m"), Ok(4600));
        assert_eq!(moment(0, "2026-11-21T08:00:00Z"), Ok(1_795_248_000));
        assert!(moment(0, "yesterday").is_err());
        assert_eq!((level("warn"), level("WARNING"), level("error")), (Ok(13), Ok(13), Ok(17)));
        assert_eq!(level("loud"), Err("expected debug, info, warn, error or fatal".into()));
        assert_eq!(lines("50"), Ok(50));
        assert_eq!(lines("abc"), Err("expected a number of lines, such as 50".into()));
    }

    #[test]
    fn a_note_has_the_name_of_the_service_that_it_is_about() {
        let mut writer = Writer {
            style: Style { color: false, unicode: true },
            json: false,
            terminal: false,
            timestamps: false,
            prefix: true,
            widest: PREFIX,
            titles: Vec::new(),
            several: Vec::new(),
        };
        let mut out = Vec::new();
        writer.note(&mut out, "web", "was replaced").unwrap();
        writer.note(&mut out, "", "the engine no longer answers").unwrap();
        writer.json = true;
        writer.note(&mut out, "web", "was replaced").unwrap();
        let text = String::from_utf8(out).unwrap();
        let json = r#"{"service":"web","note":"was replaced"}"#;
        assert_eq!(text.lines().collect::<Vec<_>>(), ["── web was replaced", "── the engine no longer answers", json]);
    }

    #[test]
    fn a_terminal_gets_colours_and_nothing_else_that_it_would_obey() {
        let source = LogSource {
            service: "a-service-with-a-very-long-name".into(),
            container: "macula-a-service-with-a-very-long-name-1".into(),
            id: "ab".into(),
            state: ContainerState::Running,
            exit_code: None,
            program: None,
        };
        let mut writer = Writer {
            style: Style { color: true, unicode: true },
            json: false,
            terminal: true,
            timestamps: false,
            prefix: true,
            widest: PREFIX,
            titles: Vec::new(),
            several: Vec::new(),
        };
        let mut out = Vec::new();
        let text = b"\x1b[2J\x1b]0;title\x07\x1b[32mOK\x1b[0m done";
        writer.line(&mut out, &source, "", false, text).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\x1b[36ma-service-with-a-ve\u{2026} |\x1b[0m \x1b[32mOK\x1b[0m done\n"
        );
        writer.terminal = false;
        let mut out = Vec::new();
        writer.line(&mut out, &source, "", false, text).unwrap();
        assert!(out.ends_with(b"\x1b[2J\x1b]0;title\x07\x1b[32mOK\x1b[0m done\n"), "a file gets every byte");
    }
}
