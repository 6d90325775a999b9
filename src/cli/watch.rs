use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;

use crate::app::{self, Consent, Left, Onlooker, Prepared, Session, UpOptions, Wanted, WatchOptions, watch};
use crate::config::Loaded;
use crate::doctor::{Finding, Fix};
use crate::model::Invocation;
use crate::plan::forecast::Forecast;

use super::context::{Context, Forgets, StackOptions};
use super::error::CliError;
use super::ui::Style;
use super::{interrupt, up};

/// Carry out `develop.watch` of the Compose files whenever files change
///
/// Starts what is not running, then copies changed files into the containers (`sync`), restarts services (`restart`,
/// `sync+restart`), runs a command in them (`sync+exec`), or builds their images again (`rebuild`), until Ctrl-C.
/// A build that fails leaves the container as it is. Files that Git or `.dockerignore` ignore do not count.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Services to watch for (default: all that have `develop.watch`)
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Start nothing first
    #[arg(long)]
    no_up: bool,
    /// Also watch files that Git ignores
    #[arg(long)]
    all_files: bool,
    #[command(flatten)]
    stacks: StackOptions,
}

pub async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let (loaded, choices) = context.load_for_up(&args.stacks, Forgets::default())?;
    let mut services = args.services;
    context.services_meant(&loaded.platform, &mut services);
    let options = WatchOptions { services, all_files: args.all_files, choices };
    if !args.no_up {
        let mut loaded = loaded.clone();
        app::look_at_contexts(&mut loaded.platform, &context.host.folders().cache).await;
        let session = up::with_engine(context, &loaded).await?;
        let wanted = Wanted { services: options.services.clone(), may_fetch: context.may_ask(), ..Wanted::default() };
        let up = UpOptions { wanted, no_dns: None, choices: options.choices.clone() };
        up::bring_up_for(context, &session, &loaded, &up).await?;
    }
    follow(context, loaded, options).await
}

/// Until Ctrl-C.
pub async fn follow(context: &Context, loaded: Loaded, options: WatchOptions) -> Result<(), CliError> {
    let _interrupts = interrupt::quietly(context.cancel.clone())?;
    let session = Session { command: "macula watch".to_owned(), ..context.session("watch").await };
    let onlooker: Arc<dyn Onlooker> =
        Arc::new(Told { session: session.clone(), style: context.err_style(), invocation: context.invocation() });
    let _in_use = session.in_use(&loaded.platform.name);
    watch(&session, &Arc::new(loaded), &options, &(Arc::new(Silent) as Arc<dyn Consent>), &onlooker).await?;
    context.finish();
    Ok(())
}

/// Of a build that the watch begins by itself nobody is asked anything.
struct Silent;

#[async_trait]
impl Consent for Silent {
    async fn planned(&self, _: &Prepared, _: &[Finding], _: &Forecast) {}

    async fn install(&self, _: &str, _: &Fix) -> Result<bool, app::Error> {
        Ok(false)
    }
}

fn came_to(service: &str, left: Left) -> String {
    match left {
        Left::Untouched => format!("{service} could not be updated; its container stays as it is"),
        Left::InPart => format!("{service} could not be updated; some of the changes may be in its container"),
        Left::Down => format!("the changes are in {service}, and it does not run with them; save a fix"),
    }
}

struct Told {
    session: Session,
    style: Style,
    invocation: Invocation,
}

impl Onlooker for Told {
    fn failed(&self, service: &str, left: Left, error: app::Error) {
        let error = CliError::from(error).doing(came_to(service, left));
        self.session.events.finish();
        let text = error.to_text(self.style, &self.invocation, None);
        // who closed standard error does not want to know
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}
