//! A registry that refuses: each repository in a way of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

/// Answers `missing/...` with 404, `private/...` with 401, `busy/...` with 429 and the time to wait.
pub struct Registry {
    pub address: String,
}

impl Registry {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut head = String::new();
                    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
                    let path = head.split_whitespace().nth(1).unwrap_or_default();
                    let (status, code) = match path {
                        "/v2/" => ("200 OK", ""),
                        _ if path.starts_with("/v2/private/") => ("401 Unauthorized", "UNAUTHORIZED"),
                        _ if path.starts_with("/v2/busy/") => ("429 Too Many Requests", "TOOMANYREQUESTS"),
                        _ => ("404 Not Found", "MANIFEST_UNKNOWN"),
                    };
                    let body = match code {
                        "" => "{}".to_owned(),
                        code => format!(r#"{{"errors":[{{"code":"{code}","message":"no","detail":null}}]}}"#),
                    };
                    let wait = if code == "TOOMANYREQUESTS" { "Retry-After: 4500\r\n" } else { "" };
                    let mut stream = stream;
                    let _ = write!(
                        stream,
                        "HTTP/1.1 {status}\r\n{wait}Content-Type: application/json\r\nConnection: close\r\n\
                         Docker-Distribution-Api-Version: registry/2.0\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                });
            }
        });
        Self { address }
    }
}
