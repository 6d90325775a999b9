//! Connections to an engine, each opened by itself: to a socket, over TCP, through TLS with the keys that Docker's
//! client takes, or through the system's `ssh`, which starts `docker system dial-stdio` on the other side.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::BollardRequest;
use bollard::errors::Error;
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_rustls::TlsConnector;

use crate::words::shell_word;

/// When and how often the other side's machine is asked whether it is still there, where it has not sent anything.
const QUIET: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_secs(15);
const ASK_TIMES: u32 = 4;
/// Of what `ssh` says when it fails.
const SAID: u64 = 4 << 10;

/// A connection, whatever it goes through.
pub(super) type Stream = Pin<Box<dyn ReadWrite>>;

pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

/// Where an engine listens.
#[derive(Debug, Clone)]
pub(super) enum Endpoint {
    Unix(String),
    Tcp(String),
    /// `host:port`, and how to speak to it.
    Tls(String, Tls),
    /// What `ssh` is called with.
    Ssh(Vec<String>),
}

/// What the other side must be, and who we are.
#[derive(Clone)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// From the files of Docker's client: ca.pem, cert.pem and key.pem. Only that authority is trusted.
    pub fn from_keys(folder: &Path) -> io::Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        };
        let bad = |name: &str, what: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", folder.join(name).display()))
        };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&read("ca.pem")?) {
            roots.add(root.map_err(|error| bad("ca.pem", &error))?).map_err(|error| bad("ca.pem", &error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        // an engine may ask for nothing but its own name
        let config = match (read("cert.pem"), read("key.pem")) {
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                builder.with_no_client_auth()
            }
            (chain, key) => {
                let chain = CertificateDer::pem_slice_iter(&chain?).collect::<Result<Vec<_>, _>>();
                let chain = chain.map_err(|error| bad("cert.pem", &error))?;
                let key = PrivateKeyDer::from_pem_slice(&key?).map_err(|error| bad("key.pem", &error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| bad("cert.pem", &error))?
            }
        };
        Ok(Self { config: Arc::new(config) })
    }
}

impl Endpoint {
    /// `unix:///path`, `tcp://host:port` (through TLS with the keys in `keys`), `ssh://user@host:port/path`.
    pub fn parse(text: &str, keys: Option<&Path>) -> io::Result<Self> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let (scheme, rest) = text.split_once("://").unwrap_or(("unix", text));
        match scheme {
            "unix" if !rest.is_empty() => Ok(Self::Unix(rest.to_owned())),
            "tcp" | "http" | "https" => {
                let address = rest.trim_end_matches('/');
                let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                let address = |usual: u16| if has_port { address.to_owned() } else { format!("{address}:{usual}") };
                match keys {
                    Some(keys) => Ok(Self::Tls(address(2376), Tls::from_keys(keys)?)),
                    None if scheme == "https" => Err(invalid(format!(
                        "`{text}` needs keys: set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder that has them"
                    ))),
                    None => Ok(Self::Tcp(address(2375))),
                }
            }
            "ssh" => ssh_words(rest).map(Self::Ssh).ok_or_else(|| invalid(format!("`{text}` names no host"))),
            _ => {
                Err(invalid(format!("`{text}` is not supported: use unix://PATH, tcp://HOST:PORT or ssh://USER@HOST")))
            }
        }
    }

    /// A socket file, or an address of the loopback interface: as far as one can tell, the engine publishes where
    /// we are.
    pub fn is_near(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) | Self::Tls(address, _) => {
                let host = host_of(address);
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            Self::Ssh(_) => false,
        }
    }

    pub async fn open(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(path) => Box::pin(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::pin(connect(address).await?),
            Self::Tls(address, tls) => {
                let name = ServerName::try_from(host_of(address).to_owned()).map_err(io::Error::other)?;
                let stream = connect(address).await?;
                Box::pin(TlsConnector::from(Arc::clone(&tls.config)).connect(name, stream).await?)
            }
            Self::Ssh(words) => Box::pin(Ssh::start("ssh", words)?),
        })
    }
}

/// A connection on which only the engine speaks (its events, a log that is followed) notices that the way to it is gone.
async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(QUIET).with_interval(ASK_EVERY).with_retries(ASK_TIMES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// `[user@]host[:port][/path/of/socket]`, as arguments. What looks like an option is none.
fn ssh_words(target: &str) -> Option<Vec<String>> {
    let (target, socket) = target.split_once('/').unwrap_or((target, ""));
    let socket = Some(socket.trim_end_matches('/')).filter(|socket| !socket.is_empty());
    let (user, host) = match target.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, target),
    };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, Some(port)),
        _ => (host, None),
    };
    let plain = |word: &str| !word.is_empty() && !word.starts_with('-') && !word.contains(char::is_whitespace);
    if !plain(host) || user.is_some_and(|user| !plain(user)) {
        return None;
    }
    // nobody is asked for a password: there are many connections, and one question for each would be no help
    let mut words = vec!["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"];
    // that of a machine that is gone ends, and with it all of ours
    words.extend(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]);
    // one connection of ssh for all of ours, and for those of the next command
    words.extend(["-o", "ControlMaster=auto", "-o", "ControlPath=~/.ssh/macula-%C", "-o", "ControlPersist=60"]);
    words.extend(user.iter().flat_map(|user| ["-l", *user]));
    words.extend(port.iter().flat_map(|port| ["-p", *port]));
    words.extend(["--", host, "docker"]);
    // the other side's shell reads it; without it the client there goes where it always goes
    let socket = socket.map(|socket| shell_word(&format!("unix:///{socket}")));
    words.extend(socket.iter().flat_map(|socket| ["--host", socket.as_str()]));
    words.extend(["system", "dial-stdio"]);
    Some(words.into_iter().map(str::to_owned).collect())
}

/// The other side's standard input and output. What it says when it ends without a word of the engine's is the
/// error.
struct Ssh {
    child: Child,
    /// `None` once our side has ended: a pipe has no other end than that.
    input: Option<ChildStdin>,
    output: ChildStdout,
    heard: bool,
    said: Option<Pin<Box<dyn Future<Output = String> + Send>>>,
}

impl Ssh {
    fn start(program: &str, words: &[String]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(words).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let input = Some(child.stdin.take().ok_or_else(missing)?);
        let output = child.stdout.take().ok_or_else(missing)?;
        let said = child.stderr.take().map(|stderr| {
            let said = async move {
                let mut text = Vec::new();
                let _ = stderr.take(SAID).read_to_end(&mut text).await;
                String::from_utf8_lossy(&text).trim().to_owned()
            };
            Box::pin(said) as Pin<Box<dyn Future<Output = String> + Send>>
        });
        Ok(Self { child, input, output, heard: false, said })
    }
}

impl AsyncRead for Ssh {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = std::task::ready!(Pin::new(&mut self.output).poll_read(cx, buffer));
        if read.is_err() || buffer.filled().len() > before {
            self.heard |= read.is_ok();
            return Poll::Ready(read);
        }
        match self.said.take() {
            Some(mut said) if !self.heard => match said.as_mut().poll(cx) {
                Poll::Ready(text) if text.is_empty() => Poll::Ready(Ok(())),
                Poll::Ready(text) => Poll::Ready(Err(io::Error::other(format!("ssh: {text}")))),
                Poll::Pending => {
                    self.said = Some(said);
                    Poll::Pending
                }
            },
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Ssh {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = std::task::ready!(self.as_mut().poll_flush(cx));
        // what is called the shutdown of a pipe of a program leaves it open
        self.input = None;
        Poll::Ready(flushed)
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // it is reaped by the runtime
        let _ = self.child.start_kill();
    }
}

/// One request over a connection of its own, which may be taken over.
pub(super) async fn request(endpoint: Arc<Endpoint>, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let stream = endpoint.open().await.map_err(|err| Error::IOError { err })?;
    let (mut client, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|err| Error::HyperResponseError { err })?;
    tokio::spawn(connection.with_upgrades());
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, HeaderValue::from_static("docker"));
    }
    // an engine is asked for a path; whom it is called by is no part of it
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    client.send_request(request).await.map_err(|err| Error::HyperResponseError { err })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn a_target_of_ssh_becomes_arguments_and_no_options() {
        let words = |target: &str| {
            ssh_words(target)
                .map(|words| words[words.iter().position(|w| w == "ControlPersist=60").unwrap() + 1..].join(" "))
        };
        for (target, expected) in [
            ("me@build.example.com", "-l me -- build.example.com docker system dial-stdio"),
            ("build:2222/", "-p 2222 -- build docker system dial-stdio"),
            (
                "build/run/user/1000/docker.sock",
                "-- build docker --host unix:///run/user/1000/docker.sock system dial-stdio",
            ),
            ("me@build:22/a b;c", "-l me -p 22 -- build docker --host 'unix:///a b;c' system dial-stdio"),
        ] {
            assert_eq!(words(target).as_deref(), Some(expected), "{target}");
        }
        for bad in ["", "me@", "-oProxyCommand=x", "me@-oProxyCommand=x", "-x@host", "a b", "/run/docker.sock"] {
            assert_eq!(words(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn the_end_of_what_is_written_reaches_the_other_side_of_ssh() {
        let mut stream = Ssh::start("cat", &[]).unwrap();
        stream.write_all(b"a dump").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "a dump");
        let error = stream.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_whose_other_side_is_gone_ends() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(&listener.local_addr().unwrap().to_string()).await.unwrap();
        assert!(SockRef::from(&stream).keepalive().unwrap());
        let words = ssh_words("build").unwrap().join(" ");
        assert!(words.contains("-o ServerAliveInterval=15 -o ServerAliveCountMax=4"), "{words}");
    }

    #[test]
    fn keys_that_are_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_owned();
        let error = Endpoint::parse("tcp://docker:2376", Some(&folder)).unwrap_err();
        assert!(error.to_string().contains("ca.pem"), "{error}");
        let error = Endpoint::parse("https://docker", None).unwrap_err();
        assert!(error.to_string().contains("DOCKER_CERT_PATH"), "{error}");
        assert!(["fd://", "unix://"].iter().all(|text| Endpoint::parse(text, None).is_err()));
        assert!(
            matches!(Endpoint::parse("tcp://docker", None), Ok(Endpoint::Tcp(address)) if address == "docker:2375")
        );
    }
}
