//! What the library notes while it works: spans and events of `tracing`, on standard error. `-vv` shows
//! each request to the engine, each rendered file and each probe; `MACULA_LOG` filters as
//! `RUST_LOG` does (`MACULA_LOG=macula_ground::engine=debug`).

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::error::CliError;

/// Whoever closed standard error does not want to know.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The filter that the user asked for. `wanted` is `MACULA_LOG`; `usual` is what is shown without any.
fn filter(wanted: Option<&str>, verbose: u8, usual: Option<&str>) -> Result<Option<EnvFilter>, CliError> {
    let text = match (wanted.filter(|text| !text.is_empty()), verbose) {
        (Some(text), _) => text,
        (None, 2) => "macula=debug,macula_ground=debug",
        (None, 3..) => "debug",
        (None, _) => match usual {
            Some(usual) => usual,
            None => return Ok(None),
        },
    };
    EnvFilter::try_new(text).map(Some).map_err(|error| {
        CliError::usage(format!("MACULA_LOG: `{text}` is not a valid filter"))
            .because(&error)
            .hint("try `debug`, or `macula_ground::engine=debug,warn`")
    })
}

/// Begins to show what is noted from now on; whether anything is shown.
pub fn start(wanted: Option<&str>, verbose: u8, usual: Option<&str>, color: bool) -> Result<bool, CliError> {
    let Some(filter) = filter(wanted, verbose, usual)? else { return Ok(false) };
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Stderr)
        .with_ansi(color)
        .with_span_events(FmtSpan::CLOSE)
        .log_internal_errors(false)
        .try_init();
    Ok(started.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_goes_before_the_option() {
        let shown = |wanted, verbose, usual| {
            filter(wanted, verbose, usual)
                .map(|filter| filter.map(|filter| filter.to_string()))
                .map_err(|error| error.message)
        };
        assert_eq!(shown(None, 0, None), Ok(None));
        assert_eq!(shown(Some(""), 1, None), Ok(None));
        assert_eq!(shown(None, 0, Some("warn")), Ok(Some("warn".into())));
        assert!(shown(None, 2, None).unwrap().unwrap().contains("macula_ground=debug"));
        assert_eq!(shown(Some("error"), 2, Some("warn")), Ok(Some("error".into())));
        assert_eq!(shown(Some("=="), 0, None), Err("MACULA_LOG: `==` is not a valid filter".into()));
    }
}
