//! Changed files of this machine, carried into what runs, until Ctrl-C: the second half of `watch` and of `up --watch`.

use std::io::Write;
use std::sync::Arc;

use async_trait::async_trait;

use crate::app::{self, Consent, Left, Onlooker, Prepared, Session, WatchOptions, watch};
use crate::config::Loaded;
use crate::doctor::{Finding, Fix};
use crate::model::Invocation;
use crate::plan::forecast::Forecast;

use super::context::Context;
use super::error::CliError;
use super::excerpt::located;
use super::interrupt;
use super::ui::Style;

/// Until Ctrl-C.
pub async fn follow(context: &Context, loaded: Loaded, options: WatchOptions) -> Result<(), CliError> {
    let _interrupts = interrupt::quietly(context.cancel.clone())?;
    let session = Session { command: "macula watch".to_owned(), ..context.session("watch").await };
    let loaded = Arc::new(loaded);
    let onlooker: Arc<dyn Onlooker> = Arc::new(Told {
        session: session.clone(),
        loaded: Arc::clone(&loaded),
        room: context.excerpt_room(),
        style: context.err_style(),
        invocation: context.invocation(),
    });
    let _in_use = session.in_use(&loaded.platform.name);
    watch(&session, &loaded, &options, &(Arc::new(Silent) as Arc<dyn Consent>), &onlooker).await?;
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
    loaded: Arc<Loaded>,
    /// For lines of its files.
    room: usize,
    style: Style,
    invocation: Invocation,
}

impl Onlooker for Told {
    fn failed(&self, service: &str, left: Left, error: app::Error) {
        let error = located(error, &self.loaded, self.room).doing(came_to(service, left));
        self.session.events.finish();
        let text = error.to_text(self.style, &self.invocation, None);
        // who closed standard error does not want to know
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}
