//! The engine's API with nothing between: an independent witness of what the program did.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct Engine {
    pub socket: PathBuf,
}

/// What scenarios look at of a container.
#[derive(Debug, Clone)]
pub struct Container {
    pub id: String,
    pub service: String,
    pub running: bool,
    pub exit_code: i64,
    pub started: String,
    pub image: String,
    pub all: Value,
}

/// The same one, in the same state. The rest of what engines say changes with every `exec`.
impl PartialEq for Container {
    fn eq(&self, other: &Self) -> bool {
        let state = |one: &Self| (one.id.clone(), one.running, one.exit_code, one.started.clone(), one.image.clone());
        state(self) == state(other)
    }
}

impl Engine {
    /// `MACULA_TEST_ENGINE`, else the usual sockets.
    pub fn find() -> Result<Self, String> {
        let named = std::env::var("MACULA_TEST_ENGINE").ok().map(|endpoint| {
            let path = endpoint.strip_prefix("unix://").unwrap_or(&endpoint);
            vec![PathBuf::from(path)]
        });
        let sockets =
            named.unwrap_or_else(|| ["/var/run/docker.sock", "/run/podman/podman.sock"].map(Into::into).into());
        let mut refused = Vec::new();
        for socket in sockets {
            let engine = Self { socket };
            match engine.request("GET", "/_ping", None) {
                Ok((200, _)) => return Ok(engine),
                Ok((status, _)) => refused.push(format!("{} answers {status}", engine.socket.display())),
                Err(error) => refused.push(format!("{}: {error}", engine.socket.display())),
            }
        }
        Err(format!("no engine: {}", refused.join("; ")))
    }

    /// Whether it is Podman, which has limits of its own.
    pub fn is_podman(&self) -> bool {
        self.get("/version")["Components"].as_array().is_some_and(|all| {
            all.iter().any(|one| one["Name"].as_str().is_some_and(|name| name.starts_with("Podman")))
        })
    }

    /// Whether it runs without root.
    fn is_rootless(&self) -> bool {
        self.get("/info")["SecurityOptions"].to_string().contains("name=rootless")
    }

    /// Whether the addresses of its containers are reached from here: those of Docker without root are not.
    pub fn has_reachable_containers(&self) -> bool {
        self.is_podman() || !self.is_rootless()
    }

    /// Whether it says what a container uses: without root nothing is counted in control groups of version 1.
    pub fn counts_usage(&self) -> bool {
        !self.is_rootless() || self.get("/info")["CgroupVersion"] == "2"
    }

    /// Whether a layer that broke off is asked for from there on: Podman does since 4.5.
    pub fn resumes_pulls(&self) -> bool {
        let version = self.get("/version")["Version"].as_str().unwrap_or_default().to_owned();
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
        !self.is_podman() || (numbers.next(), numbers.next()) >= (Some(4), Some(5))
    }

    /// Whether images lie in containerd's store, whose pulls are containerd's own.
    pub fn has_containerd_images(&self) -> bool {
        let info = self.get("/info");
        info["DriverStatus"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one[1] == "io.containerd.snapshotter.v1"))
    }

    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// HTTP/1.0, so that the answer ends with the connection.
    pub fn request(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> std::io::Result<(u16, Vec<u8>)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        let (kind, body) = body.unwrap_or(("application/json", b""));
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: engine\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            // an engine that has not read all of a question closes hard, after its answer
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset && !answer.is_empty() => {}
            read => drop(read?),
        }
        let bad = || std::io::Error::other("no HTTP");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(bad)?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
        Ok((status, answer[end + 4..].to_vec()))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path, None).unwrap();
        assert_eq!(status, 200, "GET {path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let (status, answer) = self.request("POST", path, Some(("application/json", &bytes))).unwrap();
        assert!(status < 400, "POST {path} answers {status}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// Whether it is gone.
    pub fn delete(&self, path: &str) -> bool {
        self.request("DELETE", path, None).is_ok_and(|(status, _)| status < 400 || status == 404)
    }

    /// A list of what bears the label of a platform.
    pub fn labelled(&self, path: &str, platform: &str) -> Value {
        let filters = json!({"label": [format!("dev.macula.platform={platform}")]});
        self.get(&format!("/{path}filters={}", encoded(&filters.to_string())))
    }

    pub fn container(&self, id: &str) -> Option<Container> {
        let (status, body) = self.request("GET", &format!("/containers/{id}/json"), None).ok()?;
        if status != 200 {
            return None;
        }
        let all: Value = serde_json::from_slice(&body).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some(Container {
            id: text(&all["Id"]),
            service: text(&all["Config"]["Labels"]["dev.macula.service"]),
            running: all["State"]["Status"] == "running",
            exit_code: all["State"]["ExitCode"].as_i64().unwrap_or_default(),
            started: text(&all["State"]["StartedAt"]),
            image: text(&all["Image"]),
            all,
        })
    }

    /// An image from the tar of a root file system. Another `mark` makes another image of it.
    pub fn import(&self, tag: &str, tar: &[u8], mark: &str) -> Result<(), String> {
        let (repository, tag) = tag.rsplit_once(':').unwrap_or((tag, "latest"));
        let change = encoded(&format!("LABEL test.mark={mark}"));
        let path = format!("/images/create?fromSrc=-&repo={repository}&tag={tag}&changes={change}");
        match self.request("POST", &path, Some(("application/x-tar", tar))) {
            // what goes wrong after the first byte is in the body
            Ok((200, body)) if !String::from_utf8_lossy(&body).contains("\"error\"") => {
                self.name_it(repository, tag, &body);
                Ok(())
            }
            Ok((status, body)) => Err(format!("import answers {status}: {}", String::from_utf8_lossy(&body))),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Podman before 5 gives what it imports no name.
    fn name_it(&self, repository: &str, tag: &str, answer: &[u8]) {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        if let Some(id) = answer["id"].as_str() {
            let id = id.trim_start_matches("sha256:");
            self.post(&format!("/images/{id}/tag?repo={repository}&tag={tag}"), &Value::Null);
        }
    }
}

/// For a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
