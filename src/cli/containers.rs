//! Which containers are meant by commands that work in one: `exec`, `cp`.

use std::sync::Arc;

use crate::app::{Error, LogSource, Session, log_sources};
use crate::engine::Engine;
use crate::model::{PlatformName, macula};

use super::context::Context;
use super::error::CliError;
use super::ui::text;

/// The containers of a service, in the order of their numbers.
pub struct Containers {
    pub engine: Arc<dyn Engine>,
    /// Its name, where a host name was given.
    pub service: String,
    pub all: Vec<LogSource>,
}

impl Containers {
    /// `service`: its name, or a host name that it answers to.
    pub async fn of(
        context: &Context,
        session: &Session,
        platform: &PlatformName,
        service: &str,
    ) -> Result<Self, CliError> {
        let mut service = service.to_owned();
        let found = match log_sources(session, platform, std::slice::from_ref(&service)).await {
            // a host name stands for its service; only the stacks know whose it is
            Err(Error::UnknownService { names, known }) => match context.service_of_host(&service) {
                Some(meant) => {
                    service = meant;
                    log_sources(session, platform, std::slice::from_ref(&service)).await
                }
                None => return Err(context.absent(session, Error::UnknownService { names, known }).await),
            },
            found => found,
        };
        let (engine, mut all) = match found {
            Ok(found) => found,
            Err(error) => return Err(context.absent(session, error).await),
        };
        if all.is_empty() {
            return Err(Error::NoContainer { service }.into());
        }
        all.sort_by(|a, b| by_number(&a.container).cmp(&by_number(&b.container)));
        Ok(Self { engine, service, all })
    }

    /// `index`: counted from 1.
    pub fn at(&self, index: usize) -> Result<&LogSource, CliError> {
        let found = index.checked_sub(1).and_then(|at| self.all.get(at));
        found.ok_or_else(|| no_number(&self.service, self.all.len(), index))
    }
}

/// `web-10` comes after `web-9`.
fn by_number(name: &str) -> (usize, &str) {
    (name.len(), name)
}

/// Of so many containers there is none with this number.
pub fn no_number(service: &str, all: usize, index: usize) -> CliError {
    let count = text::count(all, "container");
    CliError::usage(format!("{service} has {count}, so there is no number {index}"))
        .hint(format!("--index is a number from 1 to {all}"))
}

/// What needs a container that runs has none.
pub fn not_running(service: &str, found: &LogSource) -> CliError {
    match found.exit_code {
        Some(0) => CliError::usage(format!("{service} has finished; a command needs a running container"))
            .suggest(macula("logs").arg(service)),
        Some(code) => CliError::usage(format!("{service} is not running (exit code {code})"))
            .suggest(macula("logs").arg(service))
            .suggest(macula("up").arg(service)),
        None => CliError::usage(format!("{service} is not running")).suggest(macula("up").arg(service)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_come_in_the_order_of_their_numbers() {
        let mut all = ["m-web-10", "m-web-2", "m-web-1", "m-web-9"];
        all.sort_by_key(|name| by_number(name));
        assert_eq!(all, ["m-web-1", "m-web-2", "m-web-9", "m-web-10"]);
    }
}
