//! DNS over TLS (RFC 7858) and over HTTPS (RFC 8484), for clients that ask no other way: browsers and
//! phones with secure DNS. hickory-server carries the first and [`super::doh`] the second; what is
//! answered is what [`Core`] answers over TCP.

use std::net::TcpListener;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use hickory_proto::op::{HeaderCounts, Message, MessageType, Metadata, ResponseCode};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::zone_handler::MessageResponseBuilder;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::core::Core;
use super::doh::Doh;
use super::over_tls::{PATIENCE, answer};
use super::terms::{Encrypted, EncryptedListen, ServerError, listen_error};

/// A certificate that cannot be shown.
#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("reading a certificate")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("using a certificate")]
    Key(#[from] rustls::Error),
}

/// The certificates that clients are shown, by the domain that they ask for. They are exchanged while
/// connections are open: platforms come and go, and certificates end.
#[derive(Debug, Default)]
pub struct Identities(RwLock<Vec<(String, Arc<CertifiedKey>)>>);

impl Identities {
    /// Takes these in place of all others: domains, each with its key and chain as PEM. Who names none
    /// of them, since it knows only the address, is shown the first.
    pub fn replace<'a>(&self, all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), IdentityError> {
        let mut identities = Vec::new();
        for (domain, pem) in all {
            let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())?;
            let key = CertifiedKey::new(chain, ring::sign::any_supported_type(&key)?);
            identities.push((domain.to_ascii_lowercase(), Arc::new(key)));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = identities;
        Ok(())
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let covers = |domain: &str, name: &str| {
            name.strip_suffix(domain).is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        let found = match name.map(str::to_ascii_lowercase) {
            Some(name) => {
                let fitting = all.iter().filter(|(domain, _)| covers(domain, &name));
                fitting.max_by_key(|(domain, _)| domain.len()).or(all.first())
            }
            None => all.first(),
        };
        found.map(|(_, key)| Arc::clone(key))
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}

/// Everything that answers encrypted questions; ends when dropped.
pub struct Secure {
    core: Arc<Core>,
    server: Server<Handler>,
    stop: DropGuard,
    bound: Vec<EncryptedListen>,
}

impl Secure {
    pub fn new(core: Arc<Core>) -> Self {
        let server = Server::new(Handler { core: Arc::clone(&core) });
        Self { core, server, stop: CancellationToken::new().drop_guard(), bound: Vec::new() }
    }

    /// Answers at one more address. Within the runtime that is to carry it.
    pub fn listen(&mut self, wanted: EncryptedListen, identities: &Arc<Identities>) -> Result<(), ServerError> {
        let EncryptedListen { protocol, address } = wanted;
        if address.ip().is_unspecified() {
            return Err(ServerError::Unspecified { address });
        }
        let failed = |source| listen_error(address, source);
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(std::io::Error::other(error)))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Identities>::clone(identities));
        tls.alpn_protocols = protocol.alpn();
        let tls = Arc::new(tls);
        match protocol {
            Encrypted::Dot => {
                self.server.register_tls_listener_with_tls_config(listener, PATIENCE, tls).map_err(failed)?;
            }
            Encrypted::Doh => {
                let doh = Doh::new(Arc::clone(&self.core), tls);
                tokio::spawn(self.stop.token().clone().run_until_cancelled_owned(doh.run(listener)));
            }
        }
        self.bound.push(EncryptedListen { protocol, address });
        Ok(())
    }

    /// Where it answers, with the ports that were bound.
    pub fn bound(&self) -> &[EncryptedListen] {
        &self.bound
    }
}

/// Answers what hickory-server has read.
struct Handler {
    core: Arc<Core>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        let answer = answer(&self.core, request.src(), request.as_slice()).await;
        let message = match answer.as_deref().map(Message::from_vec) {
            Some(Ok(message)) => message,
            // a client that is not admitted, or records that hickory cannot read: every stream gets its answer
            other => {
                let code = if other.is_none() { ResponseCode::Refused } else { ResponseCode::ServFail };
                Message::error_msg(request.metadata.id, request.metadata.op_code, code)
            }
        };
        let mut response = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &message.edns {
            response.edns(edns);
        }
        let none = [].iter();
        let (answers, authorities) = (message.answers.iter(), message.authorities.iter());
        let response = response.build(message.metadata, answers, authorities, none, message.additionals.iter());
        match handle.send_response(response).await {
            Ok(info) => info,
            // the client has gone: nobody is told
            Err(_) => {
                let metadata = Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
                hickory_proto::op::Header { metadata, counts: HeaderCounts::default() }.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;

    const NOW: i64 = 1_790_000_000;

    fn pem(domain: &str) -> String {
        Authority::create(domain, NOW).unwrap().issue(&[domain.to_owned()], NOW).unwrap().to_pem()
    }

    #[test]
    fn who_names_a_domain_is_shown_its_certificate_and_who_names_none_the_first() {
        let (one, other) = (pem("macula.local"), pem("shop.test"));
        let identities = Identities::default();
        assert!(identities.find(None).is_none());
        identities.replace([("macula.local", &*one), ("shop.test", &*other)]).unwrap();
        let first = identities.find(None).unwrap();
        let second = identities.find(Some("a.Shop.test")).unwrap();
        assert_ne!(first.cert, second.cert);
        assert_eq!(identities.find(Some("macula.local")).unwrap().cert, first.cert);
        for stranger in ["workshop.test", "example.com"] {
            assert_eq!(identities.find(Some(stranger)).unwrap().cert, first.cert, "{stranger}");
        }
    }

    #[test]
    fn what_is_no_certificate_changes_nothing() {
        let identities = Identities::default();
        identities.replace([("macula.local", &*pem("macula.local"))]).unwrap();
        identities.replace([("macula.local", "nonsense")]).unwrap_err();
        assert!(identities.find(None).is_some());
    }
}
