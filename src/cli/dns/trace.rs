use serde_json::Value;

use crate::app::{self, Traced};
use crate::validate::{Hop, seen};

use crate::cli::context::{Context, StackOptions};
use crate::cli::error::{CliError, ErrorKind};
use crate::cli::ui::Style;
use crate::cli::validate;

/// Follow one name from a program to the service, hop by hop, with what is seen at each
///
/// What `macula validate` does for every name, told in full for one. Ends with 7 when a hop is
/// broken.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A name of the platform (`grafana`, `grafana.macula.local`) or any other
    #[arg(value_name = "NAME")]
    record: String,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let loaded = context.load(&args.stacks)?;
    let session = context.session("dns trace").await;
    let traced = app::trace_name(&session, &loaded, &args.record).await?;
    if context.json() {
        let mut value = validate::as_json(context, &traced.evidence, &traced.verdict);
        if let Value::Object(map) = &mut value {
            map.insert("question".into(), serde_json::to_value(&traced.path).unwrap_or(Value::Null));
        }
        context.print_json(&value)?;
        let code = ErrorKind::NotHealthy.exit_code();
        return if traced.verdict.is_ok() { Ok(()) } else { std::process::exit(i32::from(code)) };
    }
    let style = context.out_style();
    let mut out = steps(&traced, style);
    out.push_str(&validate::faults(context, &traced.verdict.faults, style));
    context.print(&out)?;
    validate::result(&traced.verdict)
}

fn steps(traced: &Traced, style: Style) -> String {
    let (Some(row), Some(name)) = (traced.verdict.rows.first(), traced.evidence.names.first()) else {
        return String::new();
    };
    let mut out = format!("{}\n", row.name);
    for (hop, state) in Hop::ALL.iter().zip(row.hops) {
        let Some(line) = validate::hop_line(*hop, state, &seen(&traced.evidence, name, *hop), style) else { continue };
        out.push_str(&format!("{line}\n"));
        if let (Hop::Dns, Some(path)) = (hop, &traced.path) {
            for step in &path.path {
                out.push_str(&format!("           {step}\n"));
            }
        }
    }
    out
}
