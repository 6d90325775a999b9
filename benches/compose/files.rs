//! The Compose files that both sides run.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde_yaml::{Mapping, Value};

use crate::tool::Tool;

fn text(value: impl Into<String>) -> Value {
    Value::String(value.into())
}

/// Compose reads `$` as the beginning of a variable.
fn escaped(value: &str) -> String {
    value.replace('$', "$$")
}

fn map(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Mapping(pairs.into_iter().map(|(key, value)| (text(key), value)).collect())
}

/// What `macula stack config` prints, as one Compose file that comes up to the same containers as
/// the platform that runs right now: images, published addresses, secrets, names in the network and
/// rendered files are those of its containers, whose names begin with `prefix`. The files are written
/// to `folder` and mounted: Compose's own `configs` with content know neither owner nor mode.
pub fn platform(macula: &Tool, docker: &Tool, prefix: &str, project: &str, folder: &Path) -> Result<String> {
    let printed = macula.text(&["stack", "config"])?;
    let mut services = Mapping::new();
    let mut volumes = Mapping::new();
    for document in serde_yaml::Deserializer::from_str(&printed) {
        let document: Value = serde::Deserialize::deserialize(document)?;
        for key in document.get("volumes").and_then(Value::as_mapping).into_iter().flatten().map(|(key, _)| key) {
            volumes.insert(key.clone(), Value::Null);
        }
        for (key, service) in document.get("services").and_then(Value::as_mapping).into_iter().flatten() {
            let service_name = key.as_str().context("a service's name")?;
            let container = format!("{prefix}-{service_name}-1");
            // a service without an image is left out, on both sides
            let Ok(inspected) = docker.text(&["inspect", &container]) else { continue };
            let inspected: serde_json::Value = serde_json::from_str(&inspected)?;
            let inspected = inspected.get(0).context("nothing was inspected")?;
            let service = service.as_mapping().context("a service")?.clone();
            let service = like_container(service, inspected, docker, &container, prefix, folder)?;
            services.insert(key.clone(), Value::Mapping(service));
        }
    }
    // with its range: else a container without a fixed address takes the ingress's
    let pool = docker.text(&["network", "inspect", prefix, "--format", "{{json (index .IPAM.Config 0)}}"])?;
    let pool: serde_json::Value = serde_json::from_str(&pool)?;
    let of = |key: &str| text(pool.get(key).and_then(serde_json::Value::as_str).unwrap_or_default());
    let pool = map([("subnet", of("Subnet")), ("ip_range", of("IPRange")), ("gateway", of("Gateway"))]);
    let ipam = map([("config", Value::Sequence(vec![pool]))]);
    let networks = map([("default", map([("ipam", ipam)]))]);
    let file = map([
        ("name", text(project)),
        ("services", Value::Mapping(services)),
        ("networks", networks),
        ("volumes", Value::Mapping(volumes)),
    ]);
    Ok(serde_yaml::to_string(&file)?)
}

fn like_container(
    mut service: Mapping,
    inspected: &serde_json::Value,
    docker: &Tool,
    container: &str,
    network: &str,
    folder: &Path,
) -> Result<Mapping> {
    let at = |path: &str| inspected.pointer(path).cloned().unwrap_or_default();
    let extension = service.remove("x-macula").unwrap_or_default();
    service.remove("build");
    // `up --wait` takes a check that is switched off for one that is missing, and fails
    if service.get("healthcheck").and_then(|check| check.get("disable")).is_some() {
        service.remove("healthcheck");
    }
    service.insert(text("image"), text(at("/Config/Image").as_str().context("its image")?));
    service.insert(text("pull_policy"), text("never"));
    let mut ports = Vec::new();
    for (inside, bound) in at("/HostConfig/PortBindings").as_object().into_iter().flatten() {
        for binding in bound.as_array().into_iter().flatten() {
            let of = |key: &str| binding.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            ports.push(text(format!("{}:{}:{inside}", of("HostIp"), of("HostPort"))));
        }
    }
    service.insert(text("ports"), Value::Sequence(ports));
    let env = at("/Config/Env");
    let env = env.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
    service.insert(text("environment"), Value::Sequence(env.map(|pair| text(escaped(pair))).collect()));
    let mut attachment = Mapping::new();
    let endpoint = at(&format!("/NetworkSettings/Networks/{network}"));
    if let Some(address) = endpoint.pointer("/IPAMConfig/IPv4Address").and_then(serde_json::Value::as_str) {
        attachment.insert(text("ipv4_address"), text(address));
    }
    let id = at("/Config/Hostname");
    let aliases = endpoint.get("Aliases").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let aliases: Vec<Value> =
        aliases.iter().filter(|alias| **alias != id).filter_map(|a| a.as_str().map(text)).collect();
    attachment.insert(text("aliases"), Value::Sequence(aliases));
    if at("/HostConfig/NetworkMode").as_str() == Some(network) {
        service.insert(text("networks"), map([("default", Value::Mapping(attachment))]));
    }
    let mut mounts = service.get("volumes").and_then(Value::as_sequence).cloned().unwrap_or_default();
    for path in extension.get("configs").and_then(Value::as_mapping).into_iter().flatten().map(|(path, _)| path) {
        let path = path.as_str().context("a file's path")?;
        let tar = docker.run(&["cp", &format!("{container}:{path}"), "-"])?.stdout;
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut entry = archive.entries()?.next().context("an empty archive")??;
        let file = folder.join(format!("{container}{}", path.replace('/', "-")));
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        std::fs::write(&file, content)?;
        // in a folder of this run; a container's own user could not read what only its owner may
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o444))?;
        mounts.push(text(format!("{}:{path}:ro", file.display())));
    }
    service.insert(text("volumes"), Value::Sequence(mounts));
    Ok(service)
}

/// Services of [`forty`].
pub const FORTY: usize = 40;

/// Forty services on three levels: 8 that need nothing, 16 that need two of those each, 16 that
/// need two of the second level each.
pub fn forty(image: &str, health: Health) -> String {
    let mut services = Mapping::new();
    for index in 0..FORTY {
        let needs: Vec<usize> = match index {
            0..8 => Vec::new(),
            8..24 => vec![index % 8, (index + 3) % 8],
            _ => vec![8 + index % 16, 8 + (index + 5) % 16],
        };
        let script = "trap 'exit 0' TERM; httpd -p 8080 -h /srv; while :; do sleep 3600 & wait $$!; done";
        let mut service = Mapping::new();
        service.insert(text("image"), text(image));
        service.insert(text("command"), Value::Sequence(["sh", "-c", script].map(text).into()));
        service.insert(text("environment"), map([("SERVICE", text(format!("s{index}")))]));
        if let Health::Every(interval) = health {
            let test = ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/"].map(text);
            let check = [
                ("test", Value::Sequence(test.into())),
                ("interval", text(interval)),
                ("timeout", text("5s")),
                ("retries", Value::Number(10.into())),
            ];
            service.insert(text("healthcheck"), map(check));
        }
        let condition = if matches!(health, Health::None) { "service_started" } else { "service_healthy" };
        let needs: Mapping =
            needs.into_iter().map(|on| (text(format!("s{on}")), map([("condition", text(condition))]))).collect();
        if !needs.is_empty() {
            service.insert(text("depends_on"), Value::Mapping(needs));
        }
        services.insert(text(format!("s{index}")), Value::Mapping(service));
    }
    serde_yaml::to_string(&map([("services", Value::Mapping(services))])).unwrap_or_default()
}

#[derive(Debug, Clone, Copy)]
pub enum Health {
    None,
    /// A health check with this interval.
    Every(&'static str),
}

/// An image of nothing but a static busybox.
pub fn import(docker: &Tool, busybox: &Path, tar: &Path, image: &str) -> Result<()> {
    let program = std::fs::read(busybox)?;
    let applets = Tool::new(busybox, &[], docker.home())?.text(&["--list"])?;
    let mut root = tar::Builder::new(std::fs::File::create(tar)?);
    let mut header = tar::Header::new_gnu();
    for folder in ["bin/", "srv/", "tmp/"] {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        root.append_data(&mut header, folder, std::io::empty())?;
    }
    let mut file = |path: String, content: &[u8], mode: u32| -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        Ok(root.append_data(&mut header, path, content)?)
    };
    file("bin/busybox".into(), &program, 0o755)?;
    file("srv/index.html".into(), b"here\n", 0o644)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        root.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    root.finish()?;
    let path = tar.to_string_lossy().into_owned();
    docker.run(&["import", "--change", "ENV PATH=/bin", &path, image])?;
    Ok(())
}
