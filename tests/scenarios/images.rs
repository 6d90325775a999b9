//! Images that cannot be had, and why.

use serde_json::json;

use macula::model::is_on_loopback;

use crate::ci::unpacked;
use crate::harness::{IMAGE, Platform, Registry};

#[test]
fn an_image_that_is_nowhere_changes_nothing() {
    let Some(platform) = Platform::new("image_nowhere") else { return };
    // nothing listens on port 1
    platform.stack(
        "
services:
  shop: {image: '127.0.0.1:1/shop:1', command: [sleep, infinity]}
  web: {<<: *base, command: [sleep, infinity]}
",
    );
    platform
        .run("up --images local")
        .exits(6)
        .says("service shop: 127.0.0.1:1/shop:1 has not been pulled, and --images local pulls nothing");
    platform.run("up").exits(6).says("its registry (127.0.0.1:1) cannot be reached, and it has no build");
    platform.run("images pull shop").exits(6).says("127.0.0.1:1/shop:1");
    assert_eq!(platform.everything(), [""; 0]);
    // another name for it
    platform.settings(&format!("images: {{overrides: {{'127.0.0.1:1/shop:1': '{IMAGE}'}}}}\n"));
    platform.run("up").ok();
}

#[test]
fn gone_private_and_busy_are_three_errors() {
    let Some(platform) = Platform::new("image_refused") else { return };
    let registry = Registry::start();
    let address = &registry.address;
    let attempt = |repository: &str| {
        platform.stack(&format!(
            "
services:
  shop: {{image: '{address}/{repository}/shop:1', command: [sleep, infinity]}}
  web: {{<<: *base, command: [sleep, infinity]}}
"
        ));
        let done = platform.run("up");
        done.exits(6).says(&format!("{address}/{repository}/shop:1"));
        // what works is kept
        assert!(platform.container("web").running);
        done
    };
    let here = is_on_loopback(address);
    let push = if here { "docker push " } else { "check its name and tag" };
    attempt("missing").says("does not exist in its registry").says(push);
    attempt("private").says("docker login");
    // elsewhere it is asked by TLS, which it does not speak, and so for no time
    let soon = if here { "try again in 75 min" } else { "limits pulls" };
    attempt("busy").says(soon).says("docker login").says("images.sources").says("images load");
    // what was there before is no reason to fail
    platform.stack(&format!(
        "services: {{shop: {{image: '{IMAGE}', pull_policy: missing, command: [sleep, infinity]}}, web: {{<<: *base, command: [sleep, infinity]}}}}"
    ));
    platform.run("up").ok();
}

#[test]
fn an_optional_service_is_left_out_and_comes_back() {
    let Some(platform) = Platform::new("optional") else { return };
    let tag = format!("127.0.0.1:1/{}:1", platform.name);
    platform.stack(&format!(
        "
services:
  page: {{image: '{tag}', command: [sleep, infinity], stop_signal: SIGKILL, x-macula: {{optional: true}}}}
  fan: {{<<: *base, command: [sleep, infinity], depends_on: {{page: {{condition: service_started, required: false}}}}}}
  needy: {{<<: *base, command: [sleep, infinity], depends_on: [page], x-macula: {{optional: true}}}}
"
    ));
    let up = platform.run("up -o json");
    up.ok().says(" is up ");
    let state = |status: &serde_json::Value, name: &str| {
        let rows = status["services"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()["state"].clone()
    };
    let status = up.json();
    assert_eq!(state(&status, "page"), json!("left_out"));
    assert_eq!(state(&status, "needy"), json!("left_out"));
    assert_eq!(state(&status, "fan"), json!("running"));
    platform.run("up").ok().says("nothing to do");
    platform.run("up --strict").exits(6).says(&tag);

    // its image turns up
    let repository = tag.rsplit_once(':').unwrap().0;
    platform.engine.post(&format!("/images/{IMAGE}/tag?repo={repository}&tag=1"), &json!({}));
    platform.also_remove(format!("/images/{tag}?noprune=1"));
    platform.run("up").ok().says(" is up ");
    assert!(platform.container("page").running && platform.container("needy").running);
}

/// What `up` found out is known to every command, whatever they can ask: nothing is made for it, nothing is done again,
/// and each says why.
#[test]
fn what_is_left_out_is_the_same_for_every_command() {
    let Some(platform) = Platform::new("left_out") else { return };
    let registry = Registry::start();
    let image = format!("{}/private/page:1", registry.address);
    platform.stack(&format!(
        "
services:
  page: {{image: '{image}', volumes: ['pages:/data'], x-macula: {{optional: true, exports: {{PAGE_URL: 'http://page'}}}}}}
  needy: {{<<: *base, command: [sleep, infinity], depends_on: [page], volumes: ['more:/data'], x-macula: {{optional: true}}}}
  web: {{<<: *base, command: [sleep, infinity]}}
volumes: {{pages: {{}}, more: {{}}}}
"
    ));
    platform.run("up").ok().says("page is left out: ");
    let made =
        [format!("container {}", platform.container_name("web")), format!("network {}", platform.network_name())];
    assert_eq!(platform.everything(), made);
    let web = platform.container("web");
    for proxy in ["", "http://127.0.0.1:9"] {
        platform.set("https_proxy", proxy);
        platform.set("http_proxy", proxy);
        platform.run("up").ok().says("nothing to do").does_not_say("page is left out: ");
        platform.run("plan --exit-code").ok();
        let status = platform.run("status -o json").ok().json();
        assert_eq!((&status["drift"], &status["changes"]), (&json!([]), &json!([])));
        let row = |name: &str| {
            let rows = status["services"].as_array().unwrap();
            let row = rows.iter().find(|row| row["name"] == name).unwrap();
            (row["state"].as_str().unwrap().to_owned(), row["reason"].as_str().unwrap_or_default().to_owned())
        };
        let (state, reason) = row("page");
        assert!(state == "left_out" && reason.starts_with(&format!("{image} was refused: ")), "{state}: {reason}");
        assert_eq!(row("needy"), ("left_out".to_owned(), "it needs page, which is left out".to_owned()));
        let images = platform.run("images list");
        images.ok().prints("left out").prints("2 left out, since the image was refused: ");
        assert!(!images.out.contains("missing"), "{images}");
        platform.run("dns trace page").exits(7).prints(&format!("page is left out: {image} was refused"));
        platform.run("validate needy").exits(7).says("needy is left out").says("it needs page");
        let validated = platform.run("validate -o json").json();
        assert_eq!(validated["left_out"][0]["service"], "page");
        assert!(!platform.run("env").ok().out.contains("PAGE_URL"));
        assert_eq!(platform.everything(), made);
        assert_eq!(platform.container("web"), web);
    }
    platform.set("https_proxy", "");
    platform.set("http_proxy", "");
    // whoever asks for it by name has it tried again
    platform.run("up needy").ok().says("page is left out: ");
    assert_eq!(platform.everything(), made);
    assert_eq!(platform.container("web"), web);
}

#[test]
fn a_build_is_made_once_and_anew_when_its_folder_changes() {
    let Some(platform) = Platform::new("build") else { return };
    let stack = format!(
        "
services:
  page:
    build: {{context: site, dockerfile_inline: \"FROM {IMAGE}\\nCOPY index.html /www/\\n\"}}
    command: [httpd, -f, -p, '8080', -h, /www]
    stop_signal: SIGKILL
    x-macula: {{probe: {{http: {{port: 8080}}}}}}
"
    );
    std::fs::create_dir(platform.project().join("site")).unwrap();
    platform.write("site/index.html", "first\n");
    platform.stack(&stack);
    platform.run("up").ok();
    let first = platform.container("page");
    platform.also_remove(format!("/images/{}?force=1", first.image));
    assert_eq!(platform.shell("page", "cat /www/index.html"), "first");
    platform.run("plan --images build --exit-code").ok().prints("nothing to do");

    platform.write("site/index.html", "second\n");
    platform.run("images build").ok();
    platform.run("up").ok();
    let second = platform.container("page");
    platform.also_remove(format!("/images/{}?force=1", second.image));
    assert_eq!(platform.shell("page", "cat /www/index.html"), "second");
    platform.run("images build").ok().says("images build --force");
    platform.run("images build --force").ok().does_not_say("nothing to do");

    platform.stack(&stack.replace("COPY index.html", "COPY missing.html"));
    platform.run("up").exits(6).says("missing.html");
}

/// What brings something up next to what runs, and what looks at it, means the builds that `up` has made.
#[test]
fn every_command_knows_what_up_has_built() {
    let Some(platform) = Platform::new("built") else { return };
    for folder in ["web", "dep"] {
        std::fs::create_dir(platform.project().join(folder)).unwrap();
        platform.write(&format!("{folder}/version"), "1\n");
    }
    let build = |folder: &str| {
        format!("build: {{context: {folder}, dockerfile_inline: \"FROM {IMAGE}\\nCOPY version /version\\n\"}}")
    };
    platform.stack(&format!(
        "
services:
  web:
    {}
    command: [sleep, infinity]
    stop_signal: SIGKILL
    depends_on: [dep]
  dep:
    {}
    command: [sleep, infinity]
    stop_signal: SIGKILL
    volumes: ['rows:/data']
    x-macula: {{tasks: {{seed: {{run: [sh, -c, 'echo seeded']}}}}}}
volumes: {{rows: }}
",
        build("web"),
        build("dep")
    ));
    platform.run("up").ok();
    let before = platform.containers();
    for service in ["web", "dep"] {
        platform.also_remove(format!("/images/{}?force=1", before[service].image));
    }
    let version = || platform.run_with("exec --new web", &["cat", "/version"]).ok().out.trim().to_owned();
    assert_eq!(version(), "1");
    platform.write("web/version", "2\n");
    assert_eq!(version(), "2");
    platform.run("run --needs dep true").ok();
    // neither the service that runs, nor what it needs, nor its task
    assert_eq!(platform.containers(), before);

    platform.run("up").ok();
    platform.also_remove(format!("/images/{}?force=1", platform.container("web").image));
    assert_eq!(platform.container("dep"), before["dep"]);
    let nothing = json!([]);
    let status = platform.run("status -o json").ok().json();
    assert_eq!((&status["drift"], &status["changes"]), (&nothing, &nothing));
    platform.run("report --to here.tar").ok();
    let all = unpacked(&platform, "here.tar");
    let told = all.split("== macula-report/").find_map(|part| part.strip_prefix("status.json\n")).unwrap();
    let told: serde_json::Value = serde_json::from_str(told).unwrap();
    assert_eq!((&told["drift"], &told["changes"]), (&nothing, &nothing));

    // its task is done, and has no container any more
    platform.run("down").ok();
    platform.run("up").ok();
    assert!(!platform.containers().contains_key("seed"));
    platform.run("wait --timeout 20s").ok();
}

#[test]
fn a_bundle_carries_the_images_to_an_engine_without_them() {
    let Some(platform) = Platform::new("bundle") else { return };
    let tag = format!("macula-test/{}:1", platform.name);
    platform.stack(&format!("services: {{web: {{image: '{tag}', command: [sleep, infinity], stop_signal: SIGKILL}}}}"));
    let repository = tag.rsplit_once(':').unwrap().0;
    platform.engine.post(&format!("/images/{IMAGE}/tag?repo={repository}&tag=1"), &json!({}));
    platform.also_remove(format!("/images/{tag}?noprune=1"));
    platform.run("images save all.bundle --images local").ok().says("1 image (");
    let (status, _) = platform.engine.request("DELETE", &format!("/images/{tag}?noprune=1"), None).unwrap();
    assert_eq!(status, 200);
    platform.run("up --images local").exits(6);

    let whole = std::fs::read(platform.project().join("all.bundle")).unwrap();
    // that of a file which is damaged is told by the unit tests: here the only layer is one that the engine has
    std::fs::write(platform.project().join("broken.bundle"), &whole[..whole.len() / 2]).unwrap();
    platform.run("images load broken.bundle").exits(6).says("broken.bundle");
    platform.run("images load compose.yaml").exits(6).says("is not a bundle of images");
    platform.run("up --images local").exits(6);

    platform.run("images load all.bundle").ok().says("1 name loaded");
    platform.run("up --images local").ok();
    platform.run("images load all.bundle").ok().says("0 names loaded, 1 here already");

    // and by the `up` that needs them
    let remove = || {
        platform.run("down --volumes --yes").ok();
        let (status, _) = platform.engine.request("DELETE", &format!("/images/{tag}?noprune=1"), None).unwrap();
        assert_eq!(status, 200);
    };
    remove();
    platform.run("up --bundle broken.bundle").exits(6).says("broken.bundle");
    assert_eq!(platform.everything(), [""; 0]);
    platform.run("up --bundle all.bundle").ok();
    assert!(platform.container("web").running);
    platform.run("up --bundle all.bundle").ok().says("nothing to do");
    remove();
    platform.run("ci --no-dns --bundle all.bundle -- true").ok();
    assert_eq!(platform.everything(), [""; 0]);
}

#[test]
fn a_bundle_lacks_what_is_refused_and_may_be_left_out() {
    let Some(platform) = Platform::new("save_refused") else { return };
    let registry = Registry::start();
    let address = &registry.address;
    let stack = format!(
        "
services:
  web: {{<<: *base, command: [sleep, infinity]}}
  page: {{image: '{address}/busy/page:1', x-macula: {{optional: true}}}}
  chart: {{image: '{address}/private/chart:1', x-macula: {{optional: true}}}}
"
    );
    platform.stack(&stack);
    let saved = platform.run("images save shop.bundle");
    saved.ok().prints("not in it: page (the registry limits pulls");
    assert_eq!(saved.out.contains("try again in 75 min"), is_on_loopback(address), "{saved}");
    saved.prints("not in it: chart (").says("1 image (");
    assert!(platform.project().join("shop.bundle").exists());
    platform.run("images load shop.bundle").ok().says("1 here already");

    platform.stack(&stack.replace("private/chart:1', x-macula: {optional: true}", "private/chart:1'"));
    platform.run("images save other.bundle").exits(6).says("private/chart:1").says("docker login");
    assert!(!platform.project().join("other.bundle").exists());
}

#[test]
fn what_is_built_no_more_is_pruned() {
    let Some(platform) = Platform::new("prune") else { return };
    let stack = |mark: &str| {
        format!(
            "services: {{page: {{build: {{dockerfile_inline: \"FROM {IMAGE}\\nLABEL mark={mark}{}\\n\", context: .}}, command: [sleep, infinity], stop_signal: SIGKILL}}}}\n",
            platform.name
        )
    };
    platform.stack(&stack("one"));
    platform.run("up").ok();
    let first = platform.container("page").image;
    platform.also_remove(format!("/images/{first}?force=1"));
    let mine = |done: &crate::harness::Done| {
        let removed = done.ok().json()["removed"].as_array().unwrap().clone();
        let prefix = format!("macula-{}/", platform.name);
        let own =
            removed.iter().filter(|image| image["names"][0].as_str().is_some_and(|name| name.starts_with(&prefix)));
        own.map(|image| image["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(mine(&platform.run("images prune --dry-run -o json")), [""; 0]);

    platform.stack(&stack("two"));
    platform.run("up").ok();
    let second = platform.container("page").image;
    platform.also_remove(format!("/images/{second}?force=1"));
    assert_ne!(first, second);
    // others have images here too: only looked at
    assert_eq!(mine(&platform.run("images prune --dry-run -o json")), [first]);
}

#[test]
fn a_build_and_a_container_are_made_anew_when_asked_for() {
    let Some(platform) = Platform::new("anew") else { return };
    platform.stack(&format!(
        "
services:
  page:
    build: {{context: ., dockerfile_inline: \"FROM {IMAGE}\\nRUN cat /proc/sys/kernel/random/uuid > /made\\n\", no_cache: true}}
    command: [sleep, infinity]
    stop_signal: SIGKILL
    depends_on: [other]
  same:
    build: {{context: ., dockerfile_inline: \"FROM {IMAGE}\\nRUN echo same > /made\\n\"}}
    command: [sleep, infinity]
    stop_signal: SIGKILL
  other: {{<<: *base, command: [sleep, infinity]}}
"
    ));
    platform.run("up").ok();
    let first = platform.containers();
    platform.also_remove(format!("/images/{}?force=1", first["same"].image));
    platform.also_remove(format!("/images/{}?force=1", first["page"].image));
    let made = platform.shell("page", "cat /made");
    platform.run("up").ok().says("nothing to do");
    assert_eq!(platform.containers(), first);

    platform.run("up --build").ok();
    let second = platform.containers();
    assert_ne!(platform.shell("page", "cat /made"), made);
    assert_eq!(second["other"], first["other"]);
    // its image came out as it was
    assert_eq!(second["same"], first["same"]);

    platform.run("up page --force-recreate").ok();
    let third = platform.containers();
    assert_ne!(third["page"].id, second["page"].id);
    assert_eq!(third["other"], second["other"]);
    platform.run("up --force-recreate").ok();
    assert_ne!(platform.container("other").id, third["other"].id);

    platform.run("down").ok();
    platform.run("up page --no-deps").ok();
    assert_eq!(platform.containers().keys().collect::<Vec<_>>(), ["page"]);
    platform.run("up --no-deps").exits(2).says("SERVICE");
}
