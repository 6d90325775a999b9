//! Images that a stack builds, on their way to a cluster: the engine and the registry are real, the API server is one in
//! memory.

use serde_json::json;

use crate::api;
use crate::harness::{IMAGE, Platform, Registry};

#[test]
fn what_a_stack_builds_is_pushed_and_pinned() {
    let Some(platform) = Platform::new("what_a_stack_builds_is_pushed_and_pinned") else { return };
    let registry = Registry::start();
    let (api, address) = api::start();
    let kubeconfig = platform.home().join("kubeconfig");
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    });
    std::fs::write(&kubeconfig, content.to_string()).unwrap();
    platform.set("KUBECONFIG", kubeconfig.to_str().unwrap());
    platform.write("Dockerfile", &format!("FROM {IMAGE}\nCOPY mark /mark\n"));
    platform.write("mark", "one");
    let here = format!("macula-test/{}:1", std::process::id());
    platform.stack(&format!(
        "name: shop\nservices:\n  web: {{image: '{here}', build: ., command: [sleep, infinity]}}\n  db: {{image: '{IMAGE}'}}\n"
    ));
    let there = format!("{}/pushed/{here}", registry.address);
    platform.also_remove(format!("/images/{here}?force=1"));
    platform.also_remove(format!("/images/{there}?force=1"));
    let deploy = format!("stack deploy shop --target kubernetes --registry {}/pushed", registry.address);
    let image = || {
        let api = api.lock().unwrap();
        let web = api.get("/deployments/web").unwrap();
        web["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    };

    platform.run(&format!("{deploy} --dry-run")).ok().says("would be built and pushed");
    assert_eq!(registry.pushes(), 0);
    platform.run(&deploy).ok().says(&format!("pushing {there}"));
    assert_eq!(registry.pushes(), 1);
    let first = image();
    // it cannot be asked for what a registry has
    if platform.engine.is_podman() {
        assert_eq!(first, there);
        return;
    }
    assert!(first.starts_with(&format!("{there}@sha256:")), "{first}");
    // what the registry has is not pushed again
    platform.run(&deploy).ok().says("5 unchanged");
    assert_eq!((registry.pushes(), image()), (1, first.clone()));
    // another build under the same tag is another rollout
    platform.write("mark", "two");
    let changed = platform.run(&format!("{deploy} --build -o json")).ok().json();
    assert_eq!(changed["changes"]["changed"], json!(["Deployment shop/web"]));
    assert_ne!(image(), first);
    assert_eq!(registry.pushes(), 2);

    // a registry that is not there: nodes may have it all the same
    let away = "stack deploy shop --target kubernetes --namespace away --registry 127.0.0.1:1";
    platform.run(away).ok().says("nodes pull it by its tag");
}
