use crate::app::keep_processes;
use crate::model::PlatformName;

use super::context::Context;
use super::error::{CliError, ErrorKind};

/// Keep the processes of a platform (`processes` of macula.yaml)
///
/// `macula up` starts it, and `macula down` ends it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The platform
    #[arg(value_name = "PLATFORM")]
    platform: String,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let name = PlatformName::new(&args.platform);
    let name = name.map_err(|error| CliError::of(ErrorKind::Usage, &error).hint(error.help))?;
    let session = context.session_without_engine("keep-processes");
    Ok(keep_processes(&session, &name).await?)
}
