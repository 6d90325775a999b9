use std::io::Write;

use crate::app::{self, EventKind, ServiceEvent, follow_events};

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::ui::{Style, Tone, text};

/// Follow what happens to the services and processes
///
/// One line for each event from now on, until Ctrl-C: created, started, healthy, unhealthy, died (with its exit code),
/// restarted, paused, removed. With `-o json` one object per line. When the engine restarts, the command waits for it
/// and reports what has changed meanwhile.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these services or processes, or host names they answer to (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let (name, loaded) = context.load_or_name(&StackOptions::default())?;
    let mut services = args.services;
    if let Some(loaded) = &loaded {
        let platform = &loaded.platform;
        context.services_meant(platform, &mut services);
        let known = |name: &&String| platform.service(name).is_some() || platform.processes.contains_key(*name);
        let unknown: Vec<String> = services.iter().filter(|name| !known(name)).cloned().collect();
        if !unknown.is_empty() {
            let mut all: Vec<String> = platform.services().map(|(_, service)| service.name.clone()).collect();
            all.extend(platform.processes.keys().cloned());
            return Err(app::Error::UnknownService { names: unknown, known: all }.into());
        }
    }
    let session = context.session("events").await;
    let mut events = follow_events(&session, &name, services).await?;
    if !context.json() {
        context.events().info(format!("following what happens to {name}; Ctrl-C ends it"));
    }
    context.finish();
    context.stdout_is_open()?;
    let style = context.out_style();
    while let Some(event) = events.recv().await {
        let line = match context.json() {
            true => serde_json::to_string(&event).map_err(CliError::fault)?,
            false => line(&event, style),
        };
        let line = if context.terminal.stdout_is_tty { text::harmless(&line).into_owned() } else { line };
        let mut out = context.stdout();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            // `events | head`
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(CliError::io("write to standard output", &error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// `02:00:00  web  died (exit code 3)`
fn line(event: &ServiceEvent, style: Style) -> String {
    let tone = match event.event {
        EventKind::Healthy | EventKind::Started | EventKind::Restarted | EventKind::EngineBack => Tone::Good,
        EventKind::Unhealthy | EventKind::EngineLost => Tone::Bad,
        EventKind::Died if event.exit_code != Some(0) => Tone::Bad,
        _ => Tone::Plain,
    };
    let mut more = Vec::new();
    more.extend(event.exit_code.map(|code| format!("exit code {code}")));
    if event.out_of_memory {
        more.push("it needed more memory than its limit".to_owned());
    }
    if event.late {
        more.push("while the engine was away".to_owned());
    }
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
    let time = event.time.split_once('T').map_or(event.time.as_str(), |(_, time)| time.get(..8).unwrap_or(time));
    let what = style.paint(tone, event.event.words());
    match &event.service {
        Some(service) => format!("{time}  {}  {what}{more}", style.paint(Tone::Bold, service)),
        None => format!("{time}  {what}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_event() {
        let event = ServiceEvent {
            time: "2026-11-29T02:03:04.567Z".into(),
            event: EventKind::Died,
            service: Some("web".into()),
            container: Some("macula-web-1".into()),
            process: false,
            exit_code: Some(137),
            out_of_memory: true,
            late: false,
        };
        let plain = Style { color: false, unicode: true };
        let died = "02:03:04  web  died (exit code 137, it needed more memory than its limit)";
        assert_eq!(line(&event, plain), died);
        let lost = ServiceEvent {
            event: EventKind::EngineLost,
            service: None,
            exit_code: None,
            out_of_memory: false,
            ..event
        };
        assert_eq!(line(&lost, plain), "02:03:04  the engine no longer answers");
    }
}
