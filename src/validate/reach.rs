//! TCP, TLS and HTTP to one address, as a program would, with what there is to see on the way. A
//! certificate that is refused does not end the walk: what is behind it is looked at all the same.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::evidence::{HttpSeen, Mark, Served, TlsFault, TlsSeen};
use crate::compile::{Member, Share};
use crate::host::Host;
use crate::pki::Certificate;
use crate::pki::trust::system_roots;
use crate::words::unique;

/// For one connection, one handshake, one answer: all of this machine.
pub const WAIT: Duration = Duration::from_secs(3);
/// A service may have to think.
pub const ANSWER: Duration = Duration::from_secs(10);
/// More than any head of an answer.
const HEAD: usize = 64 << 10;

/// How one name fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Answered,
    /// Somebody took the connection, and it led to no service, or to fewer of those that share the name than run.
    Astray,
    /// It leads to a service, and the ingress does not say to which of those that share the name.
    Untold,
    /// Nobody takes connections there: the service's fault, or there is no way from here to the engine.
    NoWay,
}

/// Whom this machine trusts, and what time it has.
pub struct Trust {
    provider: Arc<CryptoProvider>,
    system: Option<Arc<WebPkiServerVerifier>>,
    ours: Option<Arc<WebPkiServerVerifier>>,
    now: i64,
}

impl Trust {
    /// Reads the system's store. `root`: our own, DER. `trusted`: a store that is no file holds it.
    pub async fn look(host: &dyn Host, root: Option<&[u8]>, trusted: bool) -> Self {
        let provider = Arc::new(ring::default_provider());
        let bundle = system_roots(host).await;
        let verifier = |roots: Vec<CertificateDer<'static>>| {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(roots);
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider)).build().ok()
        };
        let own = root.map(|der| CertificateDer::from(der.to_vec()));
        let mut system = certificates(&bundle);
        system.extend(own.clone().filter(|_| trusted));
        Self {
            system: verifier(system),
            ours: own.and_then(|own| verifier(vec![own])),
            provider: Arc::clone(&provider),
            now: host.now(),
        }
    }

    pub fn knows_ours(&self) -> bool {
        self.ours.is_some()
    }

    fn check(
        &self,
        verifier: Option<&Arc<WebPkiServerVerifier>>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Result<(), TlsFault> {
        let (Some(verifier), Some((leaf, rest))) = (verifier, chain.split_first()) else {
            return Err(TlsFault::UnknownIssuer);
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(self.now).unwrap_or_default()));
        verifier.verify_server_cert(leaf, rest, name, &[], now).map(drop).map_err(|error| fault(&error))
    }
}

/// The certificates of PEM text that may hold other things, too.
pub fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let sections = x509_parser::pem::Pem::iter_from_buffer(pem).map_while(Result::ok);
    sections.filter(|section| section.label == "CERTIFICATE").map(|section| section.contents.into()).collect()
}

fn fault(error: &Error) -> TlsFault {
    use CertificateError as C;
    match error {
        Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => TlsFault::Expired,
        Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => TlsFault::NotYet,
        Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => TlsFault::OtherName,
        Error::InvalidCertificate(C::UnknownIssuer | C::BadSignature) => TlsFault::UnknownIssuer,
        other => TlsFault::Other(other.to_string()),
    }
}

/// Takes every certificate, and keeps it to be looked at. The handshake's own signature is checked:
/// who cannot make it does not have the certificate.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(leaf).chain(rest).map(|one| one.clone().into_owned()).collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Opens a connection; why not, in few words.
pub async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    match timeout(WAIT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(words(&error)),
        Err(_) => Err(format!("no answer in {} s", WAIT.as_secs())),
    }
}

/// What the system says, without its number: `connection refused`.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

/// A handshake for `name`, then one request through it.
pub async fn https(
    stream: TcpStream,
    trust: &Trust,
    name: &str,
    url: (&str, &str),
) -> (Result<TlsSeen, String>, Option<Result<HttpSeen, String>>) {
    let Ok(server) = ServerName::try_from(name.to_owned()) else {
        return (Err(format!("{name} is not a name that certificates can have")), None);
    };
    let witness = Arc::new(Witness { provider: Arc::clone(&trust.provider), chain: Mutex::default() });
    let config = ClientConfig::builder_with_provider(Arc::clone(&trust.provider)).with_safe_default_protocol_versions();
    let mut config = match config {
        Ok(config) => {
            config.dangerous().with_custom_certificate_verifier(Arc::clone(&witness) as _).with_no_client_auth()
        }
        Err(error) => return (Err(error.to_string()), None),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connected = timeout(WAIT, TlsConnector::from(Arc::new(config)).connect(server.clone(), stream)).await;
    let mut stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return (Err(error.to_string()), None),
        Err(_) => return (Err(format!("no handshake in {} s", WAIT.as_secs())), None),
    };
    let chain = std::mem::take(&mut *witness.chain.lock().unwrap_or_else(PoisonError::into_inner));
    let version = match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        other => format!("{other:?}"),
    };
    let seen = TlsSeen {
        version,
        certificate: chain.first().map(|leaf| served(leaf)).unwrap_or_default(),
        ours: trust.ours.as_ref().map(|ours| trust.check(Some(ours), &chain, &server)),
        system: trust.check(trust.system.as_ref(), &chain, &server),
    };
    let answer = request(&mut stream, name, url).await;
    (Ok(seen), Some(answer))
}

fn served(leaf: &[u8]) -> Served {
    let Ok(read) = Certificate::parse(leaf) else { return Served::default() };
    use x509_parser::prelude::{FromDer, X509Certificate};
    let issuer = X509Certificate::from_der(leaf).ok().and_then(|(_, certificate)| {
        let name = certificate.issuer().iter_common_name().next()?.as_str().ok()?.to_owned();
        Some(name)
    });
    Served {
        names: read.names,
        not_before: read.not_before,
        not_after: read.not_after,
        issuer: issuer.unwrap_or_default(),
    }
}

/// Why there is no answer where somebody takes a request and says nothing.
pub fn silence() -> String {
    format!("no answer in {} s", ANSWER.as_secs())
}

/// One `GET`; of the answer only its head. `url`: as shown to people, and the path.
pub async fn request(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    name: &str,
    (url, path): (&str, &str),
) -> Result<HttpSeen, String> {
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: macula/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let exchange = async {
        stream.write_all(text.as_bytes()).await?;
        read_head(stream).await
    };
    let head = match timeout(ANSWER, exchange).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => return Err(words(&error)),
        Err(_) => return Err(silence()),
    };
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let Some(status) = status else { return Err("what answers speaks no HTTP".to_owned()) };
    let mut seen = HttpSeen { url: url.to_owned(), status, mark: None, date: None };
    for (key, value) in lines.filter_map(|line| line.split_once(':')) {
        match key.to_ascii_lowercase().as_str() {
            "x-macula" => {
                seen.mark = match value.trim() {
                    "no-route" => Some(Mark::NoRoute),
                    "unavailable" => Some(Mark::Unavailable),
                    _ => None,
                };
            }
            "date" => seen.date = http_date(value.trim()),
            _ => {}
        }
    }
    Ok(seen)
}

/// Services that run and get less than their share of a name's requests, since the ingress finds containers of theirs
/// unwell or has not found them yet. `None`: it says nothing of them.
pub async fn out_of_rotation(address: SocketAddr, shares: &[Share]) -> Option<Vec<String>> {
    let mut out = Vec::new();
    for share in shares {
        let up = rotation(address, &share.path).await?;
        let well = |slots: &[String]| slots.iter().filter(|slot| up.contains(*slot)).count();
        // the same containers at another port: asked only while no first port answers, and none of them twice
        let first = share.members.iter().any(|member| well(&member.slots) > 0);
        let counted = |member: &Member| well(if first { &member.slots } else { &member.fallback });
        let lacks = |member: &&Member| counted(member) < member.replicas;
        out.extend(share.members.iter().filter(lacks).map(|member| member.service.clone()));
    }
    Some(unique(out))
}

/// The servers behind a path of the ingress's that get requests now.
async fn rotation(address: SocketAddr, path: &str) -> Option<BTreeSet<String>> {
    let mut stream = connect(address).await.ok()?;
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: macula/{}\r\nConnection: close\r\n\r\n",
        address.ip(),
        env!("CARGO_PKG_VERSION")
    );
    let exchange = async {
        stream.write_all(text.as_bytes()).await?;
        read_head(&mut stream).await
    };
    let head = timeout(WAIT, exchange).await.ok()?.ok()?;
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, said) = lines.find(|(key, _)| key.eq_ignore_ascii_case("x-macula-rotation"))?;
    Some(said.split_whitespace().filter_map(|slot| slot.strip_suffix("=1")).map(str::to_owned).collect())
}

/// Whether the service behind a name that got no answer in HTTP/1.1 speaks gRPC, which the ingress passes
/// on by the content type.
pub async fn speaks_grpc(address: SocketAddr, name: &str, path: &str) -> bool {
    let Ok(mut stream) = connect(address).await else { return false };
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: {name}\r\nContent-Type: application/grpc\r\nTE: trailers\r\nContent-Length: 5\r\n\
         User-Agent: macula\r\nConnection: close\r\n\r\n\0\0\0\0\0"
    );
    let exchange = async {
        stream.write_all(text.as_bytes()).await?;
        read_head(&mut stream).await
    };
    let Ok(Ok(head)) = timeout(WAIT, exchange).await else { return false };
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    head.starts_with("http/1.1 200") && head.contains("content-type: application/grpc")
}

/// A connection that is still there after a moment: what stands in front of a container accepts
/// connections to ports where nobody listens, and ends them at once.
pub async fn holds(address: SocketAddr) -> Arrival {
    const MOMENT: Duration = Duration::from_millis(100);
    let Ok(mut stream) = connect(address).await else { return Arrival::NoWay };
    match timeout(MOMENT, stream.read(&mut [0; 1])).await {
        Err(_) | Ok(Ok(1)) => Arrival::Answered,
        Ok(_) => Arrival::Astray,
    }
}

/// RFC 9110 5.6.7, in its usual form.
fn http_date(text: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser.parse_timestamp(text).ok().map(jiff::Timestamp::as_second)
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 2048];
    loop {
        let count = match stream.read(&mut chunk).await {
            // many servers hang up without the alert that TLS wants
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            count => count?,
        };
        head.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            head.truncate(end);
            return Ok(head);
        }
        if count == 0 || head.len() > HEAD {
            return Ok(head);
        }
    }
}

/// Whether a proxy lets a program through to `name`: `CONNECT`, and what it says.
pub async fn through_proxy(proxy: &str, name: &str, port: u16) -> Result<(), String> {
    let place = proxy.split_once("://").map_or(proxy, |(_, rest)| rest).trim_end_matches('/');
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let place = if place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        place.to_owned()
    } else {
        format!("{place}:1080")
    };
    let stream = match timeout(WAIT, TcpStream::connect(&place)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(words(&error)),
        Err(_) => Err(format!("no answer in {} s", WAIT.as_secs())),
    };
    let mut stream = stream.map_err(|reason| format!("it is not reached: {reason}"))?;
    let text = format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n");
    let exchange = async {
        stream.write_all(text.as_bytes()).await?;
        read_head(&mut stream).await
    };
    let head = match timeout(WAIT, exchange).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => return Err(words(&error)),
        Err(_) => return Err(format!("no answer in {} s", WAIT.as_secs())),
    };
    let head = String::from_utf8_lossy(&head);
    let first = head.lines().next().unwrap_or_default();
    match first.split(' ').nth(1) {
        Some(code) if code.starts_with('2') => Ok(()),
        Some(_) => Err(format!("it says {}", first.split_once(' ').map_or(first, |(_, rest)| rest))),
        None => Err("it hangs up".to_owned()),
    }
}

/// Those of these IPv6 addresses where no port answers.
pub async fn dead(addresses: &[IpAddr], ports: &[u16]) -> Vec<IpAddr> {
    let tries = addresses.iter().filter(|address| address.is_ipv6()).map(|address| async move {
        for port in ports {
            if connect((*address, *port).into()).await.is_ok() {
                return None;
            }
        }
        Some(*address)
    });
    futures_util::future::join_all(tries).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_an_authority_of_ours_none_is_known() {
        assert!(!Trust::look(&crate::host::fake::FakeHost::new(), None, false).await.knows_ours());
    }

    #[test]
    fn dates_of_answers() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("yesterday"), None);
    }

    #[tokio::test]
    async fn the_head_of_an_answer_is_enough() {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        let server = tokio::spawn(async move {
            let asked = read_head(&mut theirs).await.unwrap();
            let head =
                "HTTP/1.1 502 Bad Gateway\r\nX-Macula: unavailable\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nx";
            theirs.write_all(head.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let seen = request(&mut ours, "a.macula.local", ("https://a.macula.local/", "/")).await.unwrap();
        let asked = server.await.unwrap();
        assert!(asked.starts_with("GET / HTTP/1.1\r\nHost: a.macula.local\r\n"), "{asked}");
        assert_eq!((seen.status, seen.mark, seen.date), (502, Some(Mark::Unavailable), Some(784_111_777)));
    }

    #[tokio::test]
    async fn a_service_has_its_share_once_as_many_of_its_containers_as_run_get_requests() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let asked = String::from_utf8(read_head(&mut stream).await.unwrap()).unwrap();
                let answer = match asked.starts_with("GET /healthz/cells HTTP/1.1\r\nHost: 127.0.0.1\r\n") {
                    true => "HTTP/1.1 200 OK\r\nx-macula-rotation: a-1=1 b-1=0 c-1=1 c-2=0 \r\n\r\n",
                    false => "HTTP/1.1 404 Not Found\r\nX-Macula: no-route\r\n\r\n",
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let member = |service: &str, slots: &[&str], replicas| Member {
            service: service.into(),
            slots: slots.iter().map(|slot| (*slot).to_owned()).collect(),
            fallback: Vec::new(),
            replicas,
        };
        let share = |path: &str, b: usize, c: usize| Share {
            path: path.into(),
            members: vec![member("a", &["a-1"], 1), member("b", &["b-1"], b), member("c", &["c-1", "c-2"], c)],
        };
        let out = async |share: Share| out_of_rotation(address, &[share]).await;
        assert_eq!(out(share("/healthz/cells", 1, 2)).await, Some(vec!["b".into(), "c".into()]));
        // one that does not run has no share
        assert_eq!(out(share("/healthz/cells", 0, 1)).await, Some(Vec::new()));
        assert_eq!(out(share("/healthz/others", 1, 1)).await, None);
        // one container at two ports is one: c-2 is down, whatever its other port does
        let fallback = |slots: &[&str], fallback: &[&str]| {
            let fallback = fallback.iter().map(|slot| (*slot).to_owned()).collect();
            vec![Member { fallback, ..member("c", slots, 2) }]
        };
        let cells = |members| Share { path: "/healthz/cells".into(), members };
        assert_eq!(out(cells(fallback(&["c-1", "c-2"], &["a-1", "c-1"]))).await, Some(vec!["c".into()]));
        // and where no first port answers, the other one counts
        assert_eq!(out(cells(fallback(&["b-1", "c-2"], &["a-1", "c-1"]))).await, Some(Vec::new()));
    }

    #[tokio::test]
    async fn what_speaks_no_http_is_said_so() {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(b"SSH-2.0-x\r\n\r\n").await.unwrap();
        let seen = request(&mut ours, "a", ("http://a/", "/")).await;
        assert_eq!(seen, Err("what answers speaks no HTTP".to_owned()));
    }
}
