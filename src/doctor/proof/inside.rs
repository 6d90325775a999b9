//! The other end of the proof: this program in its container.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::dns::ask;

/// For each thing that it tries.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of a question.
const LONGEST: usize = 4096;
const A: u16 = 1;

/// What it says of its surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The engine's DNS resolves the container's own name; else why not.
    pub dns: Result<(), String>,
    /// This machine answers at the network's gateway; else why not.
    pub gateway: Result<(), String>,
    /// The name servers that it was given, in their order.
    #[serde(default)]
    pub servers: Vec<IpAddr>,
}

/// What it is asked to try.
#[derive(Debug, Clone)]
pub struct Asked {
    pub listen: SocketAddr,
    pub name: String,
    pub gateway: SocketAddr,
}

/// Answers every question with what it sees, until the container is removed.
pub async fn serve(asked: Asked) -> io::Result<()> {
    let listener = TcpListener::bind(asked.listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let asked = asked.clone();
        tokio::spawn(async move {
            // whoever went away needs no answer
            let _ = answer(stream, &asked).await;
        });
    }
}

async fn answer(mut stream: TcpStream, asked: &Asked) -> io::Result<()> {
    let mut question = Vec::new();
    let mut piece = [0; 1024];
    while !question.windows(4).any(|end| end == b"\r\n\r\n") && question.len() < LONGEST {
        match stream.read(&mut piece).await? {
            0 => break,
            read => question.extend_from_slice(piece.get(..read).unwrap_or_default()),
        }
    }
    let resolv_conf = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    let servers = name_servers(&resolv_conf);
    let (dns, gateway) = tokio::join!(resolves(&servers, &asked.name), reaches(asked.gateway));
    let body = serde_json::to_vec(&Answer { dns, gateway, servers }).map_err(io::Error::other)?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

fn name_servers(resolv_conf: &str) -> Vec<IpAddr> {
    let servers = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|server| server.trim().parse().ok()).collect()
}

/// By a question of our own: a library would need modules that the image does not have.
async fn resolves(servers: &[IpAddr], name: &str) -> Result<(), String> {
    let server = *servers.first().ok_or_else(|| "its /etc/resolv.conf names no server".to_owned())?;
    match ask((server, 53).into(), name, A, PATIENCE).await {
        Ok(found) if found.is_empty() => Err(format!("{server} does not know {name}")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{server}: {error}")),
    }
}

/// One that refuses the connection is there.
async fn reaches(gateway: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, TcpStream::connect(gateway)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(Err(error)) => Err(format!("{gateway}: {error}")),
        Err(_) => Err(format!("{gateway} does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_says_what_it_sees() {
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = there.local_addr().unwrap();
        assert_eq!(reaches(gateway).await, Ok(()));
        drop(there);
        assert_eq!(reaches(gateway).await, Ok(()), "who refuses is there");
        assert_eq!(resolves(&[], "a").await, Err("its /etc/resolv.conf names no server".into()));
        let given = "search dns.podman\nnameserver 10.89.0.1\nnameserver fd00::1\n";
        assert_eq!(name_servers(given), [IpAddr::from([10, 89, 0, 1]), "fd00::1".parse().unwrap()]);
        let odd = "# nameserver 192.0.2.1\nnameserver here\n nameserver\t192.0.2.2 \n";
        assert_eq!(name_servers(odd), [IpAddr::from([192, 0, 2, 2])]);
    }

    /// What is answered to a question; `ends`: nothing comes after it.
    async fn said(question: &[u8], ends: bool) -> String {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = free.local_addr().unwrap();
        let asked = Asked { listen, name: "macula-proof".into(), gateway: listen };
        tokio::spawn(async move {
            let (stream, _) = free.accept().await.unwrap();
            answer(stream, &asked).await.unwrap();
        });
        let mut stream = TcpStream::connect(listen).await.unwrap();
        stream.write_all(question).await.unwrap();
        if ends {
            stream.shutdown().await.unwrap();
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_question_is_answered_as_http() {
        let (whole, half, long) = tokio::join!(
            said(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false),
            said(b"GET / HTTP/1.1\r\n", true),
            // longer ones are not read to their end
            said(&[b'x'; LONGEST], false),
        );
        for text in [whole, half, long] {
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let expected = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close",
                body.len()
            );
            assert_eq!(head, expected);
            let answer: Answer = serde_json::from_str(body).unwrap();
            assert_eq!(answer.gateway, Ok(()));
        }
    }
}
