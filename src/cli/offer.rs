//! What the first `up` offers once its result stands on the screen: names and certificates that work
//! on this machine, in one question.

use crate::app::{
    Error, Session, authorities, authority_domain, install_names, names_may_be_offered, names_were_offered,
};
use crate::config::Loaded;
use crate::dns::install::Method;
use crate::model::macula;
use crate::pki::Authority;
use crate::pki::trust::{self, Done};

use super::context::Context;
use super::dns;
use super::error::CliError;
use super::ui::text;

/// Asks once, where somebody can be asked. Without it the platform can be used all the same.
pub async fn names_and_trust(context: &Context, session: &Session, loaded: &Loaded) -> Result<(), CliError> {
    if !names_may_be_offered(session).await {
        return Ok(());
    }
    let domain = &loaded.platform.domain;
    let question = format!("Make *.{domain} resolve on this machine, with certificates that browsers trust");
    let explain = format!(
        "Names: {}\nCertificates: your own authority, which can sign for {} and loopback addresses only, goes into the \
         trust stores of the system, browsers and Java that are found here; `macula trust uninstall` removes it.",
        dns::EXPLAIN,
        authority_domain(&loaded.platform),
    );
    let Some(agreed) = context.takes(&question, &explain).await else { return Ok(()) };
    names_were_offered(session).await?;
    if !agreed {
        let (dns, trust) = (context.line(macula("dns install")), context.line(macula("trust install")));
        context.events().info(format!("Nothing was changed; `{dns}` and `{trust}` do it later."));
        return Ok(());
    }
    match install_names(session, Method::Auto).await {
        Ok(installed) => context.events().info(format!("the names work, by {}", installed.rung)),
        Err(error) => {
            let error = CliError::from(error);
            let causes: String = error.causes.iter().map(|cause| format!(": {cause}")).collect();
            context.events().warn(format!(
                "the names could not be installed: {error}{causes} (`{}`)",
                context.line(macula("dns install"))
            ));
        }
    }
    match trust_them(session, loaded).await {
        Ok(0) => {
            context.events().info(format!("no trust store was changed (`{}`)", context.line(macula("trust status"))))
        }
        Ok(stores) => {
            context.events().info(format!("the certificates are trusted by {}", text::count(stores, "more store")));
        }
        Err(error) => {
            context.events().warn(format!(
                "the certificates are not trusted yet: {error} (`{}`)",
                context.line(macula("trust install"))
            ));
        }
    }
    Ok(())
}

/// The number of stores that hold the authority now and did not before.
async fn trust_them(session: &Session, loaded: &Loaded) -> Result<usize, Error> {
    let host = session.host();
    let folder = authorities(session);
    let authority = Authority::load_or_create(host, &folder, authority_domain(&loaded.platform), host.now()).await?;
    let outcomes = trust::install(host, &folder, &authority.anchor()).await?;
    Ok(outcomes.iter().filter(|outcome| matches!(outcome.done, Done::Installed)).count())
}
