use clap::ValueEnum;

use crate::app::exports;

use super::context::{Context, StackOptions};
use super::error::CliError;

/// Print the connection settings of the services
///
/// For a shell: `eval "$(macula env --format shell)"`. For a file that tools read:
/// `macula env > .env`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// In which form
    #[arg(long, value_enum, default_value_t = Format::Dotenv)]
    format: Format,
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
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    let session = context.session("env").await;
    let all = exports(&session, &loaded).await?;
    if context.json() || args.format == Format::Json {
        return context.print_json(&all);
    }
    let lines: String = all
        .iter()
        .map(|(key, value)| match args.format {
            Format::Shell => format!("export {key}='{}'\n", value.replace('\'', r"'\''")),
            _ => format!("{key}={}\n", dotenv(value)),
        })
        .collect();
    context.print(&lines)
}

/// Readers of such files differ; a value of these characters means the same to all of them.
fn dotenv(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=?&,~".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('$', "\\$").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_readers_would_differ() {
        assert_eq!(dotenv("postgres://a:b@c:1/d?x=y"), "postgres://a:b@c:1/d?x=y");
        assert_eq!(dotenv("a b$c\"d"), "\"a b\\$c\\\"d\"");
    }
}
