//! An API server for tests: HTTP/1.1 on a free port, answers by script, requests kept.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::Kubernetes;

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub target: String,
    pub content_type: String,
    pub body: Value,
}

impl Request {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// `GET /version`
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// Status and body; `None` closes the connection without a word.
pub type Answer = Option<(u16, String)>;

pub fn json_answer(status: u16, body: Value) -> Answer {
    Some((status, body.to_string()))
}

/// As the API server says no.
pub fn no(code: u16, reason: &str, message: &str) -> Answer {
    json_answer(
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

type Script = Arc<Mutex<dyn FnMut(&Request) -> Answer + Send>>;

pub struct Server {
    pub requests: Arc<Mutex<Vec<Request>>>,
    pub kubernetes: Kubernetes,
}

impl Server {
    /// Serves until the test ends.
    pub async fn start(script: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(Mutex::new(script));
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&kept)));
            }
        });
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "other",
            "clusters": [{"name": "a", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "a", "user": {"token": "t"}}],
            "contexts": [{"name": "macula", "context": {"cluster": "a", "user": "a"}}],
        });
        let kubernetes = Kubernetes::connect(&kubeconfig.to_string(), "macula").await.unwrap();
        Self { requests, kubernetes: kubernetes.with_patience(Duration::from_secs(5)) }
    }

    /// `GET /version`, one a request, in their order.
    pub fn lines(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(Request::line).collect()
    }
}

async fn serve(stream: TcpStream, script: Script, kept: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        kept.lock().unwrap().push(request.clone());
        let answer = (script.lock().unwrap())(&request);
        let Some((status, body)) = answer else { return };
        let head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut content_type) = (0, String::new());
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "content-type" => content_type = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, target, content_type, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}
