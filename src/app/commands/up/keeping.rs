//! What is written down of an `up`, for other commands and the next run.

use super::{OVERTAKEN, UpOptions};
use crate::app::choices::Choices;
use crate::app::{Error, Prepared, Session, prepare};
use crate::config::{Loaded, canonical};
use crate::model::{Origin, Platform, Stack};
use crate::plan::LeftOut;

/// Records what holds for other commands, and for the next run, from now on. `gone`: services whose image was
/// refused just now.
pub(super) async fn keep(
    session: &Session,
    loaded: &Loaded,
    prepared: &Prepared,
    options: &UpOptions,
    no_dns: bool,
    gone: &[LeftOut],
) -> Result<(), Error> {
    let (host, survey) = (session.host(), &prepared.survey);
    survey.state.keep_block(host, survey.block, true).await?;
    survey.state.keep_no_dns(host, no_dns).await?;
    // whose data takes the passwords that are made now
    if let Some(used) = session.system.discovery.used() {
        survey.state.keep_engine(host, used).await?;
    }
    let choices = Choices {
        no_cluster: options.wanted.no_cluster.unwrap_or(options.choices.no_cluster),
        refused: survey.refusals(&loaded.platform, gone),
        out_of_reach: survey.out_of_reach(&loaded.platform),
        moves: loaded.moves.clone(),
        ..options.choices.clone()
    };
    survey.state.keep_choices(host, &choices).await?;
    write_stacks(session, loaded, &survey.platform, prepared.plan.is_empty()).await;
    Ok(())
}

/// `docker compose ls` and graphical tools want a file for each service; what is built in has none of the user's. Where
/// nothing is to be done, those that are there are as the containers were made.
async fn write_stacks(session: &Session, loaded: &Loaded, platform: &Platform, unchanged: bool) {
    let host = session.host();
    let all = loaded.platform.stacks.iter().zip(&loaded.projects);
    let taking_part = |stack: &Stack| stack.origin == Origin::BuiltIn && !stack.services.is_empty();
    for (stack, project) in all.filter(|(stack, _)| taking_part(stack)) {
        let Some(path) = platform.file_of(stack) else { continue };
        if unchanged && host.exists(&path).await {
            continue;
        }
        let text = format!("# Written by `macula up`; a change here has no effect.\n{}", canonical(project));
        if host.read(&path).await.is_ok_and(|there| there == text.as_bytes()) {
            continue;
        }
        // other programs look for it; a platform comes up without it, as on a full disk
        if let Err(error) = host.write(&path, text.as_bytes(), 0o600).await {
            tracing::debug!(%error, "a built-in stack was not written");
        }
    }
}

/// Records the addresses that were chosen; where another platform has taken them since, plans again with
/// others.
pub(super) async fn keep_addresses(
    session: &Session,
    loaded: &Loaded,
    options: &UpOptions,
    prepared: &mut Prepared,
) -> Result<(), Error> {
    let fixed = loaded.platform.addresses.block.is_some();
    for _ in 0..OVERTAKEN {
        if prepared.survey.state.keep_block(session.host(), prepared.survey.block, fixed).await? {
            return Ok(());
        }
        *prepared = prepare(session, loaded, &options.wanted).await?;
    }
    Err(Error::NoBlock { name: loaded.platform.name.to_string() })
}

/// What this run starts is no longer stopped by the user.
pub(super) async fn keep_stopped(session: &Session, prepared: &Prepared, apart: Option<&String>) -> Result<(), Error> {
    let mut stopped = prepared.survey.state.stopped(session.host()).await?;
    if stopped.is_empty() {
        return Ok(());
    }
    let left = |service: &String| Some(service) == apart;
    stopped.retain(|service| left(service) || prepared.plan.steps.iter().all(|step| step.group != *service));
    prepared.survey.state.keep_stopped(session.host(), stopped).await
}
