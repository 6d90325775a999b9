//! What BuildKit may ask of the one who started a build: files, secrets, logins, agents of SSH.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::FileSyncServer;
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::{Ssh, SshServer};
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioExecutor;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::files::Trees;
use crate::engine::SecretBytes;
use crate::engine::docker::Logins;

/// Bytes that a call of the engine's may have under way.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all calls together. Each file is asked for in a message of some ten bytes, and a server that has too many
/// small ones to read at once hangs up on a peer that looks hostile: on more than half of this, each counted as 256 bytes.
/// It is so much that the windows of all calls, full of such messages, are less: the engine is no stranger.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// The largest secret that BuildKit takes.
const LARGEST_SECRET: usize = 500 * 1024;

/// What each call is for, as the engine is told in the head of the session.
pub(super) const METHODS: [&str; 9] = [
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
    "/grpc.health.v1.Health/Check",
];

pub(super) struct Session {
    pub trees: Trees,
    pub secrets: BTreeMap<String, SecretBytes>,
    pub ssh: BTreeMap<String, PathBuf>,
    pub logins: Arc<Logins>,
}

impl Session {
    /// Answers until the engine hangs up.
    pub(super) async fn serve(self, connection: impl Read + Write + Unpin) {
        let routes = Routes::new(FileSyncServer::new(self.trees))
            .add_service(SecretsServer::new(Keeper(Arc::new(self.secrets))))
            .add_service(SshServer::new(Agents(Arc::new(self.ssh))))
            .add_service(AuthServer::new(Keys(self.logins)))
            .add_service(HealthServer::new(Alive));
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let served = server.serve_connection(connection, TowerToHyperService::new(routes.prepare())).await;
        if let Err(error) = served {
            tracing::debug!(%error, "the session of a build has ended");
        }
    }
}

struct Keeper(Arc<BTreeMap<String, SecretBytes>>);

#[tonic::async_trait]
impl Secrets for Keeper {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.0.get(&id) {
            Some(secret) if secret.0.len() > LARGEST_SECRET => {
                Err(Status::invalid_argument(format!("the secret {id} is larger than {LARGEST_SECRET} bytes")))
            }
            Some(secret) => Ok(Response::new(GetSecretResponse { data: secret.0.clone() })),
            // BuildKit goes on without one that is not required
            None => Err(Status::not_found(format!("the build has no secret called `{id}`"))),
        }
    }
}

struct Keys(Arc<Logins>);

#[tonic::async_trait]
impl Auth for Keys {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let host = if host == "registry-1.docker.io" { "docker.io" } else { host.as_str() };
        let login = self.0.of(host).await.unwrap_or_default();
        // a token comes without a name
        let (username, secret) = match login.identitytoken {
            Some(token) => (String::new(), token),
            None => (login.username.unwrap_or_default(), login.password.unwrap_or_default()),
        };
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(&self, _: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        Err(engine_fetches())
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(engine_fetches())
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(engine_fetches())
    }
}

/// It asks registries for tokens itself then, with the login that it gets here.
fn engine_fetches() -> Status {
    Status::unavailable("tokens are fetched by the engine")
}

struct Agents(Arc<BTreeMap<String, PathBuf>>);

impl Agents {
    fn socket(&self, id: &str) -> Result<&PathBuf, Status> {
        let id = if id.is_empty() { "default" } else { id };
        self.0.get(id).ok_or_else(|| Status::not_found(format!("the build has no agent of SSH called `{id}`")))
    }
}

#[tonic::async_trait]
impl Ssh for Agents {
    type ForwardAgentStream = BoxStream<'static, Result<BytesMessage, Status>>;

    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Result<Response<CheckAgentResponse>, Status> {
        self.socket(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get("buildkit.ssh.id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let path = self.socket(id)?;
        let socket = UnixStream::connect(path)
            .await
            .map_err(|error| Status::unavailable(format!("{}: {error}", path.display())))?;
        let (read, mut write) = socket.into_split();
        let mut questions = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(message)) = questions.next().await {
                if write.write_all(&message.data).await.is_err() {
                    break;
                }
            }
        });
        let answers = stream::unfold(read, |mut read| async move {
            let mut data = vec![0; 8 * 1024];
            match read.read(&mut data).await {
                Ok(0) => None,
                Ok(length) => {
                    data.truncate(length);
                    Some((Ok(BytesMessage { data }), read))
                }
                Err(error) => Some((Err(Status::unavailable(error.to_string())), read)),
            }
        });
        Ok(Response::new(answers.boxed()))
    }
}

/// The engine asks from time to time whether anybody is still here.
struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = Pin<Box<dyn futures_util::Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("ask for one"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("ask again"))
    }
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::fsutil::types::Packet;
    use bollard_buildkit_proto::fsutil::types::packet::PacketType;
    use bollard_buildkit_proto::moby::filesync::v1::file_sync_client::FileSyncClient;
    use hyper_util::rt::TokioIo;

    use super::super::files::{DOCKERFILE, Tree};
    use super::*;

    /// As an engine does with a context of many files: it asks for one after another, each in a message of its own,
    /// and takes what it gets afterwards.
    #[tokio::test]
    async fn thousands_of_files_may_be_asked_for_before_one_is_taken() {
        const FILES: usize = 30_000;
        let (engine, ours) = tokio::io::duplex(1 << 20);
        let trees = BTreeMap::from([(DOCKERFILE.to_owned(), Tree::Text("FROM scratch\n".to_owned()))]);
        let session = Session {
            trees: Trees(Arc::new(trees)),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            logins: Arc::default(),
        };
        tokio::spawn(session.serve(TokioIo::new(ours)));
        let mut engine = Some(engine);
        let connect = tower::service_fn(move |_| {
            let engine = engine.take().ok_or_else(|| std::io::Error::other("only one connection allowed"));
            async move { engine.map(TokioIo::new) }
        });
        let channel =
            tonic::transport::Endpoint::from_static("http://session").connect_with_connector(connect).await.unwrap();
        let (all_asked, asked) = tokio::sync::oneshot::channel();
        let packet = |kind: PacketType| Packet { r#type: kind.into(), ..Packet::default() };
        let wants = std::iter::repeat_n(packet(PacketType::PacketReq), FILES);
        let wants = stream::iter(wants.chain([packet(PacketType::PacketFin)])).then(|packet| async {
            // each goes out by itself
            tokio::task::yield_now().await;
            packet
        });
        let wants = wants.chain(stream::once(async move {
            let _ = all_asked.send(());
            packet(PacketType::PacketStat)
        }));
        let mut request = Request::new(wants);
        request.metadata_mut().insert("dir-name", DOCKERFILE.parse().unwrap());
        let conversation = async {
            let mut answers = FileSyncClient::new(channel).diff_copy(request).await.unwrap().into_inner();
            asked.await.unwrap();
            let mut contents = 0;
            while let Some(packet) = answers.message().await.unwrap() {
                contents += usize::from(packet.data == b"FROM scratch\n");
            }
            contents
        };
        let contents = tokio::time::timeout(std::time::Duration::from_secs(60), conversation).await;
        assert_eq!(contents, Ok(FILES));
    }
}
