use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;

use anyhow::Context as _;
use clap::ValueEnum;

use crate::app::{credentials, exports, exports_for};
use crate::model::macula;

use super::context::{Context, StackOptions};
use super::error::CliError;
use super::excerpt::located;

/// Print the connection settings of the services
///
/// The settings of your own stacks are included when they are given: with --stack, or under `stacks`
/// in macula.yaml. Without SERVICE they include NODE_EXTRA_CA_CERTS, by which Node.js trusts the
/// platform's certificates in addition to others, unless that is set already.
///
/// GitHub reads files in a format of its own and shows values in the log unless it is told to mask
/// them: `--format github` appends the settings to $GITHUB_ENV (where that is not set, it prints them)
/// and tells the runner which values are secret. GitLab cannot be told by a job: declare secrets as
/// masked variables of the project if jobs print them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  eval \"$(macula env --format shell)\"      in a shell\n  \
                  macula env > .env                        for tools that read such files\n  \
                  macula env postgres                      what one service exports\n  \
                  macula env --format github               in a step of GitHub Actions\n  \
                  macula env --format gitlab > build.env   for `artifacts: {reports: {dotenv: build.env}}`")]
pub struct Args {
    /// Only what these services export, or host names they answer to (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Dotenv)]
    format: Format,
    /// As `run` and `ci` have it; here the services are named without it
    #[arg(long, value_name = "SERVICE", value_delimiter = ',', hide = true)]
    needs: Vec<String>,
    #[command(flatten)]
    stacks: StackOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// KEY=value, quoted where needed
    Dotenv,
    /// export KEY='value'
    Shell,
    /// One object
    Json,
    /// The file $GITHUB_ENV, with secrets masked
    Github,
    /// A dotenv report of GitLab: KEY=value, never quoted
    Gitlab,
}

pub async fn run(context: &Context, mut args: Args) -> Result<(), CliError> {
    if !args.needs.is_empty() {
        let named = args.needs.iter().chain(&args.services).fold(macula("env"), |line, name| line.arg(name));
        return Err(CliError::usage("`--needs` is an option of `run` and `ci`: name the services without it here")
            .suggest(named));
    }
    let loaded = context.load(&args.stacks)?;
    context.services_meant(&loaded.platform, &mut args.services);
    let session = context.session("env").await;
    let all = match args.services.as_slice() {
        [] => exports(&session, &loaded).await,
        services => exports_for(&session, &loaded, services).await,
    };
    let all = all.map_err(|error| located(error, &loaded, context.excerpt_room()))?;
    if context.json() || args.format == Format::Json {
        return context.print_json(&all);
    }
    match args.format {
        Format::Github => {
            let secrets: Vec<String> =
                credentials(&session, &loaded).await?.into_iter().map(|secret| secret.value).collect();
            github(context, &all, &secrets)
        }
        Format::Gitlab => {
            let (lines, left_out) = gitlab(&all);
            for key in left_out {
                context
                    .events()
                    .warn(format!("{key} is left out: its value has several lines, which GitLab cannot read"));
            }
            context.print_data(&lines)
        }
        Format::Shell => {
            let line = |(key, value): (&String, &String)| format!("export {key}='{}'\n", value.replace('\'', r"'\''"));
            context.print_data(&all.iter().map(line).collect::<String>())
        }
        Format::Dotenv | Format::Json => {
            let line = |(key, value): (&String, &String)| format!("{key}={}\n", dotenv(value));
            context.print_data(&all.iter().map(line).collect::<String>())
        }
    }
}

/// Masks first, then the settings: into $GITHUB_ENV, or to standard output where that is the same
/// file or there is none. The runner reads commands on both streams of a step, so masks go to the one
/// that is not the file.
fn github(context: &Context, all: &BTreeMap<String, String>, secrets: &[String]) -> Result<(), CliError> {
    let masks = masks(all, secrets);
    let lines: String = all.iter().map(|(key, value)| github_line(key, value)).collect();
    let target = context.host.env("GITHUB_ENV").filter(|path| !path.is_empty());
    match target {
        Some(path) if !is_stdout(&path) => {
            context.tell_ci(&masks)?;
            let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
            let written = file.and_then(|mut file| file.write_all(lines.as_bytes()));
            Ok(written.with_context(|| format!("write {path}"))?)
        }
        _ => {
            let _ = std::io::stderr().lock().write_all(masks.as_bytes());
            context.print_data(&lines)
        }
    }
}

/// Whether standard output is this file already (`>> "$GITHUB_ENV"`).
fn is_stdout(path: &str) -> bool {
    let stdout = std::io::stdout();
    match (rustix::fs::fstat(stdout.as_fd()), rustix::fs::stat(path)) {
        (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
        _ => false,
    }
}

/// One command for each line of each secret that a setting shows
/// (<https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>).
fn masks(all: &BTreeMap<String, String>, secrets: &[String]) -> String {
    let shown = |secret: &&String| all.values().any(|value| value.contains(secret.as_str()));
    let lines = secrets.iter().filter(|secret| !secret.is_empty()).filter(shown).flat_map(|secret| secret.lines());
    let lines = crate::words::unique(lines.filter(|line| !line.is_empty()));
    lines.iter().map(|line| format!("::add-mask::{}\n", line.replace('%', "%25"))).collect()
}

/// The runner takes the rest of the line as it is; a value of several lines stands between two marks.
fn github_line(key: &str, value: &str) -> String {
    if !value.contains(['\n', '\r']) {
        return format!("{key}={value}\n");
    }
    let mut mark = "MACULA_END".to_owned();
    while value.lines().any(|line| line == mark) {
        mark.push('_');
    }
    format!("{key}<<{mark}\n{value}\n{mark}\n")
}

/// The lines, and the settings that cannot be written.
fn gitlab(all: &BTreeMap<String, String>) -> (String, Vec<&str>) {
    let (lines, left_out): (Vec<_>, Vec<_>) = all.iter().partition(|(_, value)| !value.contains(['\n', '\r']));
    let lines = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    (lines, left_out.into_iter().map(|(key, _)| key.as_str()).collect())
}

/// Readers of such files differ; a value of these characters means the same to all of them.
fn dotenv(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=?&,~".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    // between single quotes all readers take everything as it is, but for what would end them
    if !value.contains(['\'', '\r']) && !value.contains(r"\\") && !value.ends_with('\\') {
        return format!("'{value}'");
    }
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('$', "\\$").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_readers_would_differ() {
        assert_eq!(dotenv("postgres://a:b@c:1/d?x=y"), "postgres://a:b@c:1/d?x=y");
        assert_eq!(dotenv("a b$c\"d\\n"), "'a b$c\"d\\n'");
        assert_eq!(dotenv("one\ntwo"), "'one\ntwo'");
        // a quote of the same kind, and backslashes that some readers take for the beginning of something
        assert_eq!(dotenv("it's \"so\""), r#""it's \"so\"""#);
        assert_eq!(dotenv(r"a\\b"), r#""a\\\\b""#);
        assert_eq!(dotenv(r"C:\"), r#""C:\\""#);
    }

    fn settings() -> BTreeMap<String, String> {
        [
            ("PEM", "-----BEGIN\nabc\n-----END"),
            ("SHOP_URL", "http://shop.macula.local/a?b=1#c d\"e$f"),
            ("TOKEN_URL", "https://u:100%geheim@host/"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn github_gets_values_as_they_are() {
        let lines: String = settings().iter().map(|(key, value)| github_line(key, value)).collect();
        assert_eq!(
            lines,
            "PEM<<MACULA_END\n-----BEGIN\nabc\n-----END\nMACULA_END\n\
             SHOP_URL=http://shop.macula.local/a?b=1#c d\"e$f\n\
             TOKEN_URL=https://u:100%geheim@host/\n"
        );
        assert_eq!(github_line("X", "a\nMACULA_END"), "X<<MACULA_END_\na\nMACULA_END\nMACULA_END_\n");
    }

    #[test]
    fn each_secret_that_is_shown_is_masked() {
        let secrets = ["100%geheim", "", "not shown", "-----BEGIN\nabc\n-----END", "100%geheim"].map(str::to_owned);
        assert_eq!(
            masks(&settings(), &secrets),
            "::add-mask::100%25geheim\n::add-mask::-----BEGIN\n::add-mask::abc\n::add-mask::-----END\n"
        );
    }

    #[test]
    fn gitlab_gets_no_quotes_and_no_lines() {
        let settings = settings();
        let (lines, left_out) = gitlab(&settings);
        assert_eq!(left_out, ["PEM"]);
        assert_eq!(lines, "SHOP_URL=http://shop.macula.local/a?b=1#c d\"e$f\nTOKEN_URL=https://u:100%geheim@host/\n");
    }
}
