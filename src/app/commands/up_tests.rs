//! Runs of `up` whose images are refused by their registry, on an engine in memory.

use std::sync::Arc;

use crate::app::testing::{Agrees, Heard, heard_session};
use crate::app::{Error, UpOptions, UpResult, Wanted, up};
use crate::config::{self, Loaded, MemoryFiles, Request};
use crate::engine::fake::{FakeEngine, FakePull};
use crate::host::Host;
use crate::host::fake::FakeHost;

/// `chart` may be left out, `note` needs it, `web` tells in a file who takes part.
fn loaded(host: &FakeHost, note: &str) -> Loaded {
    let stack = format!(
        "services:\n  web: {{image: 'acme/web:1', x-macula: {{configs: {{/etc/who: who.j2}}}}}}\n  \
         chart: {{image: 'acme/chart:3', x-macula: {{optional: true}}}}\n  \
         note: {{image: 'acme/note:1', depends_on: [chart], x-macula: {{{note}}}}}\n"
    );
    let files = MemoryFiles::default()
        .with("/p/macula.yaml", "name: shop\nstacks: [all.yaml]\ncluster: {enabled: false}\n")
        .with("/p/all.yaml", &stack)
        .with("/p/who.j2", "{{ services | items | map(attribute=0) | join(' ') }}");
    let request = Request { cwd: "/p".into(), only_own: true, env: host.environment(), ..Request::default() };
    config::load(&request, &files).unwrap_or_else(|errors| panic!("{errors}"))
}

async fn run(note: &str, strict: bool) -> (Result<UpResult, Error>, FakeEngine, Vec<String>) {
    // behind a proxy nothing can be known of a registry beforehand
    let host = FakeHost::new().env_var("HTTPS_PROXY", "http://proxy:3128");
    let engine =
        FakeEngine::new().pullable("acme/web:1").pullable("acme/note:1").pull_fails("acme/chart:3", FakePull::Denied);
    let heard = Arc::new(Heard::default());
    let loaded = loaded(&host, note);
    let session = heard_session(host, &engine, "macula up", &heard);
    let wanted = Wanted { strict, ..Wanted::default() };
    let options = UpOptions { no_dns: true, wanted };
    let up = up(&session, &loaded, &options, &Agrees).await;
    (up, engine, heard.said())
}

#[tokio::test]
async fn an_image_that_is_refused_and_not_needed_is_left_out_with_what_hangs_on_it() {
    let (up, engine, said) = run("optional: true", false).await;
    let up = up.unwrap();
    let left: Vec<String> = up.left_out.iter().map(|left| format!("{}: {}", left.service, left.reason)).collect();
    insta::assert_snapshot!(left.join("\n"), @"
    chart: acme/chart:3 was refused: a login is needed
    note: it needs chart, which is left out
    ");
    insta::assert_snapshot!(said.join("\n"), @"chart is left out: acme/chart:3 was refused: a login is needed");
    assert_eq!(engine.containers(), ["macula-shop-web-1"]);
    let who = engine.file("macula-shop-web-1", "/etc/who").unwrap();
    assert_eq!(String::from_utf8(who.content).unwrap(), "web");
}

#[tokio::test]
async fn an_image_that_is_refused_and_needed_is_an_error() {
    let (up, engine, _) = run("optional: false", false).await;
    let Error::Failed(outcome) = up.unwrap_err() else { panic!("another error") };
    let failed: Vec<String> = outcome.failed.iter().map(|failure| failure.error.to_string()).collect();
    insta::assert_snapshot!(failed.join("\n"), @"no source gave acme/chart:3: acme/chart:3 was refused: a login is needed");
    assert!(engine.containers().contains(&"macula-shop-web-1".to_owned()), "what works is kept");
    let (up, _, _) = run("optional: true", true).await;
    assert!(matches!(up.unwrap_err(), Error::Failed(_)));
}
