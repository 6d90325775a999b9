//! Images that are pulled: from registries that serve them, and from ones that do not.

use macula::model::is_on_loopback;

use crate::harness::{IMAGE, Platform, Registry};

/// The stack's only service runs this image.
fn shop(platform: &Platform, image: &str, more: &str) {
    platform.stack(&format!("services:\n  shop: {{image: '{image}', stop_signal: SIGKILL{more}}}\n"));
}

/// So often was the registry asked for the shop. Docker asks for the head of a manifest, and then for all of it, also
/// where it was refused; Podman for all of it at once. containerd ends with the head that was refused, and asks again by
/// itself: once after an error of the registry, five times where that limits pulls, where macula asks how long.
#[track_caller]
fn asked(platform: &Platform, registry: &Registry, fault: &str, times: usize) {
    let shop = format!("{fault}/shop");
    if !platform.engine.has_containerd_images() {
        return assert_eq!(registry.pulls(&shop), times, "{fault}");
    }
    let most = match fault {
        "broken" => 2 * times,
        "busy" => 6 * times + 1,
        _ => times,
    };
    let heads = registry.heads(&shop);
    assert!((times..=most).contains(&heads), "{fault}: {heads} times");
}

#[test]
fn services_come_from_a_mirror_under_their_own_names() {
    let Some(platform) = Platform::new("pull_mirror") else { return };
    let registry = Registry::start();
    let names = ["shop", "cart", "web"].map(|service| format!("hub.invalid/good/{service}:1"));
    let services = names.iter().map(|name| {
        let service = name.rsplit('/').next().unwrap().trim_end_matches(":1");
        platform.also_remove(format!("/images/{name}?force=1"));
        platform.also_remove(format!("/images/{}/good/{service}:1?force=1", registry.address));
        format!("  {service}: {{image: '{name}', stop_signal: SIGKILL}}\n")
    });
    platform.stack(&format!("services:\n{}", services.collect::<String>()));
    platform.settings(&format!("images: {{sources: {{hub.invalid: ['{}']}}}}\n", registry.address));
    platform.run("up").ok().says("3 images to pull").says("pulled in");
    for service in ["shop", "cart", "web"] {
        assert!(platform.container(service).running, "{service}");
        assert_eq!(registry.pulls(&format!("good/{service}")), 1);
    }
    // the names of the stack lead to what was pulled
    platform.run("up").ok().says("nothing to do");
    platform.run("down").ok();
    platform.run("up --images local").ok();
}

#[test]
fn what_will_not_change_is_asked_once_and_told_apart() {
    let Some(platform) = Platform::new("pull_refused") else { return };
    let registry = Registry::start();
    let address = &registry.address;
    let other = "sha256:0123456789012345678901234567890123456789012345678901234567890123";
    let here = is_on_loopback(address);
    for (fault, tag, says, hint) in [
        (
            "missing",
            "1",
            "does not exist in its registry",
            if here { "docker push " } else { "check its name and tag" },
        ),
        ("private", "1", "was refused: a login is needed", "docker login "),
        ("forbidden", "1", "was refused: it is gone or private", "docker login "),
        // elsewhere it is asked by TLS, which it does not speak, and so for no time
        ("busy", "1", "limits pulls", if here { "try again in 75 min" } else { "docker login " }),
        ("wrong", &format!("1@{other}"), "something other than the digest", "images lock"),
    ] {
        shop(&platform, &format!("{address}/{fault}/shop:{tag}"), "");
        platform.run("up").exits(6).says(says).says(hint).does_not_say("trying again");
        asked(&platform, &registry, fault, 1);
    }
}

#[test]
fn a_fault_that_may_pass_is_tried_again() {
    let Some(platform) = Platform::new("pull_again") else { return };
    let registry = Registry::start();
    let address = &registry.address;
    let containerd = platform.engine.has_containerd_images();
    for (fault, says, by_the_engine) in [
        ("hiccup", "500 Internal Server Error; trying", containerd),
        ("moment", "waiting 1 s for the registry", containerd || platform.engine.is_podman()),
        ("resume", "pulled in", true),
    ]
    .into_iter()
    // how long to wait is asked of it only where it is asked without TLS
    .filter(|(fault, ..)| *fault != "moment" || is_on_loopback(address))
    {
        let name = format!("{address}/{fault}/shop:1");
        platform.also_remove(format!("/images/{name}?force=1"));
        shop(&platform, &name, "");
        platform.run("up -v").ok().says(if by_the_engine { "pulled in" } else { says });
        assert!(platform.container("shop").running, "{fault}");
    }
    assert_eq!(registry.resumed("resume/shop") > 0, platform.engine.resumes_pulls(), "the second half alone");
    // containerd asks for the rest of a manifest by itself
    let cut = (!containerd).then_some(("cut", "the download of"));
    for (fault, says) in [("broken", "answers with an error of its own")].into_iter().chain(cut) {
        shop(&platform, &format!("{address}/{fault}/shop:1"), "");
        platform.run("up -v").exits(6).says(says).says("trying again in 4s").says("images.sources");
        asked(&platform, &registry, fault, 3);
    }
}

#[test]
fn a_registry_that_falls_silent_is_left_for_the_next_source() {
    let Some(platform) = Platform::new("pull_silent") else { return };
    let registry = Registry::start();
    let address = &registry.address;
    // nothing may come for a tenth of this
    platform.settings("timeouts: {image: 60s}\n");
    let good = format!("{address}/good/shop:1");
    platform.also_remove(format!("/images/{good}?force=1"));
    for fault in ["stall", "mute"] {
        let name = format!("{address}/{fault}/shop:1");
        platform.also_remove(format!("/images/{name}?force=1"));
        shop(&platform, &name, &format!(", x-macula: {{sources: ['{good}']}}"));
        platform.run("up -v").ok().says("the download of").says("nothing came for 6s");
        assert!(platform.container("shop").running, "{fault}");
        platform.run("down").ok();
        assert!(platform.engine.delete(&format!("/images/{good}?force=1")));
    }
}

#[test]
fn a_build_stands_in_for_a_registry_that_has_nothing() {
    let Some(platform) = Platform::new("pull_build") else { return };
    let registry = Registry::start();
    let address = &registry.address;
    for fault in ["missing", "forbidden", "busy", "broken", "foreign"] {
        let dockerfile = format!("FROM {IMAGE}\\nLABEL fault={fault}\\nCMD sleep infinity\\n");
        let build = format!(", build: {{dockerfile_inline: \"{dockerfile}\"}}");
        shop(&platform, &format!("{address}/{fault}/shop:1"), &build);
        let up = platform.run("up");
        let shop = platform.container("shop");
        platform.also_remove(format!("/images/{}?force=1", shop.image));
        up.ok().says("(built)");
        assert!(shop.running, "{fault}");
        asked(&platform, &registry, fault, if fault == "broken" { 3 } else { 1 });
        platform.run("up").ok().says("nothing to do");
    }
    // without a build it is better than nothing, and that is said
    let name = format!("{address}/foreign/other:1");
    platform.also_remove(format!("/images/{name}?force=1"));
    shop(&platform, &name, "");
    platform.run("up").ok().says("does not fit this machine").says("it runs only with emulation");
}
