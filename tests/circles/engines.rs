//! The engines of these machines: what each answers.

use super::*;

pub(super) fn nothing(method: &str, path: &str) -> (u16, Value) {
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("/v1.41").unwrap_or(path);
    match (method, path) {
        ("GET" | "HEAD", "/_ping") => (200, json!("OK")),
        ("GET", "/version") => (
            200,
            json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64",
                   "KernelVersion": "6.1.0", "GitCommit": "x", "GoVersion": "go1.19", "BuildTime": ""}),
        ),
        ("GET", "/info") => (
            200,
            json!({"ID": "X", "ServerVersion": "20.10.24", "OSType": "linux", "Architecture": "x86_64", "NCPU": 2,
                   "MemTotal": 8_000_000_000_i64, "Driver": "overlay2", "CgroupDriver": "cgroupfs", "CgroupVersion": "1",
                   "OperatingSystem": "Debian", "SecurityOptions": [], "DockerRootDir": "/var/lib/docker"}),
        ),
        ("GET", "/containers/json" | "/networks" | "/images/json") => (200, json!([])),
        ("GET", "/volumes") => (200, json!({"Volumes": [], "Warnings": []})),
        ("GET", "/system/df") => (200, json!({"Volumes": [], "Images": [], "Containers": []})),
        ("GET" | "HEAD", _) => (404, json!({"message": "no such object"})),
        _ => (500, json!({"message": "this engine makes nothing"})),
    }
}

/// The image is there, and so is what an earlier `up` has made of this program; nothing can be made of them.
pub(super) fn an_image(method: &str, path: &str) -> (u16, Value) {
    let image = || {
        json!({"Id": "sha256:11", "RepoTags": ["127.0.0.1:1/web:1"], "RepoDigests": [], "Created": 1_700_000_000_i64,
               "Size": 1, "VirtualSize": 1, "SharedSize": 0, "Labels": {}, "Containers": 0, "ParentId": ""})
    };
    if method == "GET" && path.contains("/images/json") {
        return (200, json!([image()]));
    }
    // a copy of this program for each `up`, to be refused, is seconds of each; `nothing` is where that is tried
    let there = ["/images/127.0.0.1", "/images/localhost/macula/proof"];
    if method == "GET" && there.iter().any(|image| path.contains(image)) {
        return (
            200,
            json!({"Id": "sha256:11", "RepoTags": ["127.0.0.1:1/web:1"], "RepoDigests": [], "Size": 1,
                   "Created": "2024-01-01T00:00:00Z", "Architecture": "amd64", "Os": "linux", "Config": {}}),
        );
    }
    nothing(method, path)
}

/// The platform runs, and another user of the engine made it.
pub(super) fn somebody_elses(method: &str, path: &str) -> (u16, Value) {
    let labels = json!({"dev.macula.platform": "macula", "dev.macula.service": "web", "dev.macula.stack": "project",
                        "dev.macula.owner": "0123456789abcdef", "dev.macula.owned-by": "nobody@elsewhere"});
    if method == "GET" && path.contains("/containers/json") {
        return (
            200,
            json!([{"Id": "c1", "Names": ["/macula-web-1"], "Image": "127.0.0.1:1/web:1", "ImageID": "sha256:11",
                    "Command": "sleep", "Created": 1_700_000_000_i64, "State": "running", "Status": "Up", "Ports": [],
                    "Labels": labels, "Mounts": [], "NetworkSettings": {"Networks": {}}, "HostConfig": {}}]),
        );
    }
    if method == "GET" && (path.contains("/containers/c1/json") || path.contains("/containers/macula-web-1/json")) {
        return (
            200,
            json!({"Id": "c1", "Name": "/macula-web-1", "Created": "2024-01-01T00:00:00Z", "Image": "sha256:11",
                   "State": {"Status": "running", "Running": true, "Paused": false, "Restarting": false, "OOMKilled": false,
                             "Dead": false, "Pid": 1, "ExitCode": 0, "Error": "", "StartedAt": "2024-01-01T00:00:00Z",
                             "FinishedAt": "0001-01-01T00:00:00Z"},
                   "Config": {"Image": "127.0.0.1:1/web:1", "Labels": labels, "Cmd": ["sleep"]}, "HostConfig": {},
                   "Mounts": [], "NetworkSettings": {"Networks": {}}, "RestartCount": 0}),
        );
    }
    an_image(method, path)
}

/// The data is there, and what opens it is not.
pub(super) fn data_without_passwords(method: &str, path: &str) -> (u16, Value) {
    if method == "GET" && path.contains("/volumes") && !path.contains("/volumes/") {
        let labels = json!({"dev.macula.platform": "macula", "dev.macula.stack": "project", "dev.macula.name": "data"});
        let volume = json!({"Name": "macula-data", "Driver": "local", "Mountpoint": "/x", "Labels": labels, "Scope": "local",
                            "Options": {}, "CreatedAt": "2024-01-01T00:00:00Z"});
        return (200, json!({"Volumes": [volume], "Warnings": []}));
    }
    an_image(method, path)
}

/// It answers, and each answer is that it cannot.
pub(super) fn broken(method: &str, path: &str) -> (u16, Value) {
    match path.contains("/_ping") || path.contains("/version") {
        true => nothing(method, path),
        false => (500, json!({"message": "the disk of this engine is broken"})),
    }
}

pub(super) fn serve(stream: UnixStream, answer: Answers) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
        let (mut length, mut chunked) = (0, false);
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
                break;
            }
            let header = header.to_lowercase();
            length = header.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
            chunked |= header.starts_with("transfer-encoding:");
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let (status, value) = answer(&method, &path);
        let text = if method == "HEAD" { String::new() } else { value.to_string() };
        let head = format!(
            "HTTP/1.1 {status} X\r\nApi-Version: 1.41\r\nOstype: linux\r\nServer: Docker/20.10.24 (linux)\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        // a body that is not read to its end would be taken for the next request
        if writer.write_all(head.as_bytes()).is_err() || chunked {
            return;
        }
    }
}
