//! The authority and its certificates, as the programs of users judge them: OpenSSL, GnuTLS,
//! rustls' webpki, Java, and Python in a live handshake. And the trust stores of a machine whose
//! folders are copies. What is not installed here is named as skipped.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests look at their own surroundings")]

#[path = "common/require.rs"]
mod require;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use macula::host::Host;
use macula::host::local::LocalHost;
use macula::pki::trust::{self, Anchor, Done, Kind, State};
use macula::pki::{Authority, AuthorityError, Leaf, Renewal, load_or_issue, names};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType};

const DOMAIN: &str = "macula.local";

/// An authority on disk, in a home of its own.
struct Machine {
    home: tempfile::TempDir,
    host: LocalHost,
}

impl Machine {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut environment: BTreeMap<String, String> = ["PATH", "LD_LIBRARY_PATH"]
            .iter()
            .filter_map(|name| Some(((*name).into(), std::env::var(name).ok()?)))
            .collect();
        environment.insert("HOME".into(), home.path().display().to_string());
        Self { host: LocalHost::with(environment, None), home }
    }

    fn folder(&self) -> PathBuf {
        self.host.folders().data.join("ca")
    }

    async fn authority(&self) -> Authority {
        Authority::load_or_create(&self.host, &self.folder(), DOMAIN, self.host.now()).await.unwrap()
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn root(&self) -> String {
        self.folder().join(DOMAIN).join("root.pem").display().to_string()
    }
}

/// What somebody with the authority's key could sign, its limits not respected.
fn forged(machine: &Machine, common_name: &str, names: Vec<SanType>) -> Forged {
    let secret = std::fs::read_to_string(machine.folder().join(DOMAIN).join("authority.pem")).unwrap();
    let certificate = &secret[secret.find("-----BEGIN CERTIFICATE").unwrap()..];
    let certificate = &certificate[..certificate.find("-----END CERTIFICATE-----\n").unwrap() + 26];
    let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(&secret).unwrap()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let now = u64::try_from(machine.host.now()).unwrap();
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(now - 3600);
    params.not_after = params.not_before + std::time::Duration::from_secs(30 * 86400);
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    Forged { der: leaf.der().to_vec(), chain: format!("{}{certificate}", leaf.pem()), key: key.serialize_pem() }
}

struct Forged {
    der: Vec<u8>,
    chain: String,
    key: String,
}

impl From<&Leaf> for Forged {
    fn from(leaf: &Leaf) -> Self {
        Self { der: leaf.certificate.der.clone(), chain: leaf.chain_pem(), key: leaf.key_pem() }
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn ip(address: &str) -> SanType {
    SanType::IpAddress(address.parse().unwrap())
}

/// Says whether a program is there; when it is not, says that what needs it is skipped.
fn installed(program: &str, args: &[&str]) -> bool {
    let there = Command::new(program).args(args).output().is_ok_and(|output| output.status.success());
    if !there {
        require::skipped(program, &format!("`{program}` is not installed or does not run here"));
    }
    there
}

fn said(mut command: Command) -> (bool, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn wanted() -> Vec<String> {
    names(DOMAIN, ["grafana.macula.local", "s3.macula.local", "*.s3.macula.local"])
}

/// A certificate, the name asked for, whether it is to be accepted.
fn cases(machine: &Machine, authority: &Authority) -> Vec<(Forged, &'static str, bool)> {
    let now = machine.host.now();
    let good = || Forged::from(&authority.issue(&wanted(), now).unwrap());
    let address = ["127.0.0.2".to_owned()];
    vec![
        (good(), "macula.local", true),
        (good(), "grafana.macula.local", true),
        (good(), "anything.macula.local", true),
        (good(), "bucket.s3.macula.local", true),
        (good(), "two.deep.macula.local", false),
        (good(), "example.com", false),
        (Forged::from(&authority.issue(&address, now).unwrap()), "127.0.0.2", true),
        (Forged::from(&authority.issue(&["::1".to_owned()], now).unwrap()), "::1", true),
        (forged(machine, "x", vec![dns("example.com")]), "example.com", false),
        (forged(machine, "x", vec![dns("grafana.macula.local"), dns("example.com")]), "example.com", false),
        (forged(machine, "x", vec![dns("xmacula.local")]), "xmacula.local", false),
        (forged(machine, "x", vec![dns("local")]), "local", false),
        (forged(machine, "x", vec![ip("8.8.8.8")]), "8.8.8.8", false),
        (forged(machine, "x", vec![ip("10.0.0.1")]), "10.0.0.1", false),
        (forged(machine, "x", vec![ip("2001:4860:4860::8888")]), "2001:4860:4860::8888", false),
    ]
}

fn judge(machine: &Machine, authority: &Authority, program: &str, accepts: impl Fn(&Forged, &str) -> (bool, String)) {
    for (certificate, name, expected) in cases(machine, authority) {
        let (accepted, text) = accepts(&certificate, name);
        assert_eq!(accepted, expected, "{program} on {name}: {text}");
    }
}

#[tokio::test]
async fn openssl_accepts_ours_and_refuses_others() {
    if !installed("openssl", &["version"]) {
        return;
    }
    let machine = Machine::new();
    let authority = machine.authority().await;
    judge(&machine, &authority, "openssl", |certificate, name| {
        let chain = machine.file("chain.pem", &certificate.chain);
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-purpose", "sslserver"]);
        verify.args(["-CAfile", &machine.root(), "-untrusted", &chain]);
        verify.args([if name.parse::<std::net::IpAddr>().is_ok() { "-verify_ip" } else { "-verify_hostname" }, name]);
        said({
            verify.arg(&chain);
            verify
        })
    });
    // OpenSSL looks at the subject's CN where there is no name elsewhere
    let chain = machine.file("cn.pem", &forged(&machine, "example.com", Vec::new()).chain);
    let mut verify = Command::new("openssl");
    verify.args(["verify", "-no-CApath", "-no-CAstore", "-CAfile", &machine.root(), "-untrusted", &chain, &chain]);
    let (accepted, text) = said(verify);
    assert!(!accepted && text.contains("permitted subtree violation"), "{text}");
}

#[tokio::test]
async fn gnutls_accepts_ours_and_refuses_others() {
    if !installed("certtool", &["--version"]) {
        return;
    }
    let machine = Machine::new();
    let authority = machine.authority().await;
    // GnuTLS 3.7 refuses every address where IPv4 and IPv6 are both listed on two authorities in a
    // row: it fails closed. The certificates of a platform hold none.
    let loopback = |name: &str| name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    judge(&machine, &authority, "certtool", |certificate, name| {
        if loopback(name) {
            return (true, "not asked".into());
        }
        let chain = machine.file("chain.pem", &certificate.chain);
        let mut verify = Command::new("certtool");
        verify.args(["--verify", "--load-ca-certificate", &machine.root(), "--infile", &chain]);
        verify.args(["--verify-hostname", name, "--verify-purpose", "1.3.6.1.5.5.7.3.1"]);
        said(verify)
    });
}

#[tokio::test]
async fn webpki_accepts_ours_and_refuses_others() {
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
    let machine = Machine::new();
    let authority = machine.authority().await;
    let root = CertificateDer::from(authority.root().der.clone());
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    let intermediates = [CertificateDer::from(authority.intermediate().der.clone())];
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(machine.host.now().try_into().unwrap()));
    judge(&machine, &authority, "webpki", |certificate, name| {
        let der = CertificateDer::from(certificate.der.clone());
        let leaf = webpki::EndEntityCert::try_from(&der).unwrap();
        let chain = leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &intermediates,
            now,
            webpki::KeyUsage::server_auth(),
            None,
            None,
        );
        let named = leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name.to_owned()).unwrap());
        (chain.is_ok() && named.is_ok(), format!("{:?} {named:?}", chain.map(|_| ())))
    });
}

/// Two handshakes over a pair of buffers: a server with the certificate, a client that trusts the
/// root and asks for the name.
const PYTHON: &str = "
import ssl, sys
chain, key, root, name = sys.argv[1:]
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain(chain, key)
client = ssl.create_default_context(cafile=root)
client.verify_flags |= ssl.VERIFY_X509_STRICT
to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
c = client.wrap_bio(to_client, to_server, server_hostname=name)
s = server.wrap_bio(to_server, to_client, server_side=True)
left = {c, s}
for _ in range(20):
    for side in (c, s):
        if side in left:
            try:
                side.do_handshake()
                left.discard(side)
            except ssl.SSLWantReadError:
                pass
assert not left
c.write(b'hello')
assert s.read() == b'hello'
print(c.version())
";

#[tokio::test]
async fn python_shakes_hands_with_ours_and_refuses_others() {
    if !installed("python3", &["-c", "import ssl"]) {
        return;
    }
    let machine = Machine::new();
    let authority = machine.authority().await;
    judge(&machine, &authority, "python", |certificate, name| {
        let (chain, key) = (machine.file("chain.pem", &certificate.chain), machine.file("key.pem", &certificate.key));
        let mut python = Command::new("python3");
        python.args(["-c", PYTHON, &chain, &key, &machine.root(), name]);
        said(python)
    });
}

/// Reads lines of `chain name` and prints a verdict for each. The names are checked as HTTPS does.
const JAVA: &str = r#"
import java.io.*; import java.net.*; import java.nio.file.*; import java.security.*; import java.security.cert.*;
import java.util.*; import javax.net.ssl.*;
class Judge {
  public static void main(String[] args) throws Exception {
    CertificateFactory factory = CertificateFactory.getInstance("X.509");
    KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
    roots.load(null);
    roots.setCertificateEntry("root", factory.generateCertificate(new FileInputStream(args[0])));
    TrustManagerFactory managers = TrustManagerFactory.getInstance("PKIX");
    managers.init(roots);
    X509ExtendedTrustManager trust = (X509ExtendedTrustManager) managers.getTrustManagers()[0];
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, null, null);
    for (String line : Files.readAllLines(Path.of(args[1]))) {
      String[] words = line.split(" ");
      X509Certificate[] chain = factory.generateCertificates(new FileInputStream(words[0])).toArray(new X509Certificate[0]);
      try {
        trust.checkServerTrusted(chain, "ECDHE_ECDSA", new Named(context, words[1]));
        System.out.println("yes");
      } catch (CertificateException error) {
        System.out.println("no " + error);
      }
    }
  }
  static class Named extends SSLEngine {
    final SSLEngine inner; final String name;
    Named(SSLContext context, String name) {
      super(name, 443); this.name = name; inner = context.createSSLEngine(name, 443);
      SSLParameters parameters = inner.getSSLParameters();
      parameters.setEndpointIdentificationAlgorithm("HTTPS");
      inner.setSSLParameters(parameters);
    }
    public SSLParameters getSSLParameters() { return inner.getSSLParameters(); }
    public SSLSession getHandshakeSession() {
      return (SSLSession) java.lang.reflect.Proxy.newProxyInstance(Judge.class.getClassLoader(), new Class[]{SSLSession.class},
        (proxy, method, args) -> method.getName().equals("getPeerHost") ? name
          : method.getName().equals("getProtocol") ? "TLSv1.3" : method.invoke(inner.getSession(), args));
    }
    public String getPeerHost() { return name; }
    public SSLEngineResult wrap(java.nio.ByteBuffer[] a, int b, int c, java.nio.ByteBuffer d) { return null; }
    public SSLEngineResult unwrap(java.nio.ByteBuffer a, java.nio.ByteBuffer[] b, int c, int d) { return null; }
    public Runnable getDelegatedTask() { return null; }
    public void closeInbound() {}
    public boolean isInboundDone() { return false; }
    public void closeOutbound() {}
    public boolean isOutboundDone() { return false; }
    public String[] getSupportedCipherSuites() { return inner.getSupportedCipherSuites(); }
    public String[] getEnabledCipherSuites() { return inner.getEnabledCipherSuites(); }
    public void setEnabledCipherSuites(String[] s) {}
    public String[] getSupportedProtocols() { return inner.getSupportedProtocols(); }
    public String[] getEnabledProtocols() { return inner.getEnabledProtocols(); }
    public void setEnabledProtocols(String[] s) {}
    public SSLSession getSession() { return inner.getSession(); }
    public void beginHandshake() {}
    public SSLEngineResult.HandshakeStatus getHandshakeStatus() { return null; }
    public void setUseClientMode(boolean m) {}
    public boolean getUseClientMode() { return true; }
    public void setNeedClientAuth(boolean n) {}
    public boolean getNeedClientAuth() { return false; }
    public void setWantClientAuth(boolean w) {}
    public boolean getWantClientAuth() { return false; }
    public void setEnableSessionCreation(boolean f) {}
    public boolean getEnableSessionCreation() { return true; }
  }
}
"#;

#[tokio::test]
async fn java_accepts_ours_and_refuses_others() {
    let machine = Machine::new();
    let probe = machine.file("Probe.java", "class Probe { public static void main(String[] a) {} }");
    if !installed("java", &[&probe]) {
        return;
    }
    let authority = machine.authority().await;
    let cases = cases(&machine, &authority);
    let lines: Vec<String> = (cases.iter().enumerate())
        .map(|(at, (certificate, name, _))| {
            format!("{} {name}", machine.file(&format!("{at}.pem"), &certificate.chain))
        })
        .collect();
    let list = machine.file("list", &lines.join("\n"));
    let mut java = Command::new("java");
    java.args([&machine.file("Judge.java", JAVA), &machine.root(), &list]);
    let (ran, text) = said(java);
    assert!(ran, "{text}");
    let verdicts: Vec<&str> = text.lines().filter(|line| line.starts_with("yes") || line.starts_with("no ")).collect();
    assert_eq!(verdicts.len(), cases.len(), "{text}");
    for ((_, name, expected), verdict) in cases.iter().zip(verdicts) {
        assert_eq!(verdict == "yes", *expected, "java on {name}: {verdict}");
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn an_authority_is_made_once_and_kept_private() {
    let machine = Machine::new();
    let first = machine.authority().await;
    let folder = machine.folder().join(DOMAIN);
    assert_eq!(mode(&folder.join("authority.pem")), 0o600);
    assert_eq!(mode(&folder.join("root.pem")), 0o644);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(machine.authority().await.root(), first.root());
    // the root's key is nowhere: one key in all files, and it is the intermediate's
    let secret = std::fs::read_to_string(folder.join("authority.pem")).unwrap();
    assert_eq!(secret.matches("PRIVATE KEY-----").count(), 2);
    // the copy is made again, and from the same root
    std::fs::write(folder.join("root.pem"), "half").unwrap();
    machine.authority().await;
    assert_eq!(std::fs::read_to_string(folder.join("root.pem")).unwrap(), first.root().pem());
}

#[tokio::test]
async fn all_who_ask_at_once_get_the_same_authority() {
    let machine = Arc::new(Machine::new());
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let machine = machine.clone();
            tokio::spawn(async move { machine.authority().await.root().fingerprint() })
        })
        .collect();
    let mut fingerprints = Vec::new();
    for one in asked {
        fingerprints.push(one.await.unwrap());
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 1);
}

#[tokio::test]
async fn a_damaged_authority_is_reported_and_left_alone() {
    let machine = Machine::new();
    let authority = machine.authority().await;
    let path = machine.folder().join(DOMAIN).join("authority.pem");
    let whole = std::fs::read_to_string(&path).unwrap();
    let reason = async |content: &str| {
        std::fs::write(&path, content).unwrap();
        let error = Authority::load_or_create(&machine.host, &machine.folder(), DOMAIN, machine.host.now()).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        match error.unwrap_err() {
            AuthorityError::Damaged { source, .. } => source.to_string(),
            other => panic!("{other}"),
        }
    };
    let other = Authority::create("other.test", machine.host.now()).unwrap();
    let key_end = whole.find("-----BEGIN CERTIFICATE").unwrap();
    let key = &whole[..key_end];
    let mut said = Vec::new();
    said.push(reason("").await);
    said.push(reason(&whole[..whole.len() - 100]).await);
    said.push(reason(&whole[key_end..]).await);
    said.push(reason(key).await);
    said.push(reason(&format!("{key}{}{}", authority.intermediate().pem(), other.root().pem())).await);
    said.push(reason(&format!("{key}{}{}", other.intermediate().pem(), other.root().pem())).await);
    insta::assert_snapshot!(said.join("\n"), @r"
    it holds no private key
    it is not valid PEM: incomplete PEM
    it holds no private key
    it holds no certificate
    it holds no name constraints for just this domain
    its private key belongs to another certificate
    ");
}

#[tokio::test]
async fn the_clock_and_the_end_of_an_authority() {
    let machine = Machine::new();
    let day = 86_400;
    let now = machine.host.now();
    let at = async |now| Authority::load_or_create(&machine.host, &machine.folder(), DOMAIN, now).await;
    let first = at(now).await.unwrap();
    assert_eq!(at(now + 3500 * day).await.unwrap().root(), first.root());
    let early = at(now - 10 * day).await.unwrap_err();
    assert!(matches!(early, AuthorityError::Clock { hours: 240, .. }), "{early}");
    // 119 days before its end a certificate of 90 days with 30 more to spare does not fit in
    let second = at(now + 3531 * day).await.unwrap();
    assert_ne!(second.root(), first.root());
    assert!(second.root().valid_at(now + 7000 * day));
    // made while the clock showed the year 2110: of no use for a lifetime, so that it is replaced
    let machine = Machine::new();
    let at = async |now| Authority::load_or_create(&machine.host, &machine.folder(), DOMAIN, now).await;
    let far = at(now + 84 * 365 * day).await.unwrap();
    let now_again = at(now).await.unwrap();
    assert_ne!(now_again.root(), far.root());
    assert!(now_again.root().valid_at(now));
    // but not for a clock without a battery
    assert!(matches!(at(0).await.unwrap_err(), AuthorityError::Clock { .. }));
}

#[tokio::test]
async fn a_leaf_is_kept_until_it_has_to_be_another() {
    let machine = Machine::new();
    let authority = machine.authority().await;
    let day = 86_400;
    let (path, now) = (machine.home.path().join("tls.pem"), machine.host.now());
    let at = async |authority: &Authority, names: &[String], now| {
        load_or_issue(&machine.host, authority, &path, names, now).await.unwrap()
    };
    let (first, why) = at(&authority, &wanted(), now).await;
    assert_eq!(why, Some(Renewal::Missing));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(first.certificate.names, wanted());
    assert_eq!((first.certificate.not_after - now) / day, 90);

    let mut shuffled = wanted();
    shuffled.reverse();
    assert_eq!(at(&authority, &shuffled, now + 59 * day).await, (first.clone(), None));
    let (second, why) = at(&authority, &wanted(), now + 61 * day).await;
    assert_eq!(why, Some(Renewal::Expires { not_after: first.certificate.not_after }));
    assert_ne!(second.key_pem(), first.key_pem());

    let now = now + 61 * day;
    let other = names(DOMAIN, ["grafana.macula.local", "draw.macula.local"]);
    let (_, why) = at(&authority, &other, now).await;
    let added = vec!["draw.macula.local".to_owned()];
    let removed = vec!["*.s3.macula.local".to_owned(), "s3.macula.local".to_owned()];
    assert_eq!(why, Some(Renewal::Names { added, removed }));

    let (_, why) = at(&authority, &other, now - 61 * day).await;
    assert!(matches!(why, Some(Renewal::NotYet { .. })), "{why:?}");
    let replaced = Authority::create(DOMAIN, machine.host.now()).unwrap();
    assert_eq!(at(&replaced, &other, now).await.1, Some(Renewal::Authority));
    std::fs::write(&path, "half").unwrap();
    assert_eq!(at(&authority, &other, now).await.1, Some(Renewal::Missing));
}

#[tokio::test]
async fn no_certificate_for_what_is_not_ours() {
    let authority = Authority::create(DOMAIN, 1_790_000_000).unwrap();
    let said = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        authority.issue(&names, 1_790_000_000).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [said(&[]), said(&["grafana.macula.local", "example.com"]), said(&["8.8.8.8"]), said(&["a b.macula.local"])].join("\n"),
        @r"
    a certificate needs a name
    the certificate cannot have this name: `example.com` does not lie in macula.local, the only domain of this authority
    the certificate cannot have this name: 8.8.8.8 is not a loopback address: certificates of this authority are for 127.0.0.0/8 and ::1
    the certificate cannot have this name: `a b.macula.local` is not a valid DNS name: a label has other characters than letters, digits, - and _
    "
    );
}

/// Runs [`trust_on_copies`] where /etc, /usr/local and /var are copies that are thrown away.
#[test]
fn stores_of_a_throw_away_machine() {
    if !installed("unshare", &["--mount", "true"]) || !installed("update-ca-certificates", &["--help"]) {
        return;
    }
    let copies = tempfile::tempdir().unwrap();
    let me = std::env::current_exe().unwrap();
    // a tmpfs, since an overlay cannot lie on an overlay
    let script = r#"
        set -e
        mount -t tmpfs tmpfs "$1"
        for folder in etc usr/local var; do
            mkdir -p "$1/$folder/upper" "$1/$folder/work"
            mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$1/$folder/upper,workdir=$1/$folder/work" "/$folder" || exit 77
        done
        mkdir "$1/home"
        HOME="$1/home" exec "$2" --ignored --exact trust_on_copies --nocapture
    "#;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(copies.path()).arg(me);
    let output = unshare.output().unwrap();
    if output.status.code() == Some(77) {
        require::skipped("mounts", "no overlay can be mounted here");
        return;
    }
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Every file with its hash, every link with its target.
fn checksums(folder: &Path) -> BTreeMap<PathBuf, String> {
    use sha2::Digest;
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            all.insert(path.clone(), format!("-> {}", std::fs::read_link(&path).unwrap().display()));
        } else if path.is_dir() {
            all.extend(checksums(&path));
        } else if let Ok(content) = std::fs::read(&path) {
            let mode = mode(&path);
            all.insert(path, format!("{:x?} {mode:o}", sha2::Sha256::digest(content)));
        }
    }
    all
}

#[tokio::test]
#[ignore = "only on copies of the system's folders: see stores_of_a_throw_away_machine"]
async fn trust_on_copies() {
    let environment =
        ["PATH", "HOME", "LD_LIBRARY_PATH"].iter().filter_map(|name| Some(((*name).into(), std::env::var(name).ok()?)));
    let host = LocalHost::with(environment.collect(), None);
    let folder = host.folders().data.join("ca");
    // what the machine has not taken in yet is not what is looked for
    assert!(said(Command::new("update-ca-certificates")).0);
    let states = async |anchor: &Anchor| {
        trust::status(&host, anchor)
            .await
            .into_iter()
            // a browser's store without certutil
            .filter(|status| !matches!(status.state, State::Unavailable { .. }))
            .map(|status| (status.place.kind, status.state))
            .collect::<Vec<_>>()
    };
    let authority = Authority::load_or_create(&host, &folder, DOMAIN, host.now()).await.unwrap();
    let anchor = authority.anchor();
    let nss = host.folders().home.join(".pki/nssdb");
    let with_nss = host.which("certutil").is_some();
    if with_nss {
        std::fs::create_dir_all(&nss).unwrap();
        assert!(
            host.run(&macula::host::Command::new(
                "certutil",
                ["-N", "--empty-password", "-d", &format!("sql:{}", nss.display())]
            ))
            .await
            .is_ok()
        );
    }
    let before = checksums(Path::new("/etc"));
    let missing = states(&anchor).await;
    assert!(missing.iter().all(|(_, state)| *state == State::Missing), "{missing:?}");

    for round in ["first", "again"] {
        let mut outcomes = trust::install(&host, &folder, &anchor).await.unwrap();
        outcomes.retain(|outcome| !matches!(outcome.done, Done::Unavailable { .. }));
        for outcome in &outcomes {
            let done =
                matches!(outcome.done, Done::Installed) && round == "first" || matches!(outcome.done, Done::Unchanged);
            assert!(done, "{round}: {outcome:?}");
        }
        assert_eq!(outcomes.len(), missing.len());
    }
    let trusted = states(&anchor).await;
    assert!(trusted.iter().all(|(_, state)| matches!(state, State::Trusted | State::TrustedOtherwise)), "{trusted:?}");
    assert_eq!(with_nss, trusted.contains(&(Kind::Nss, State::Trusted)));
    assert_ne!(checksums(Path::new("/etc")), before);
    let leaf = authority.issue(&wanted(), host.now()).unwrap();
    let chain = host.folders().home.join("chain.pem");
    std::fs::write(&chain, leaf.chain_pem()).unwrap();
    let mut verify = Command::new("openssl");
    verify.args(["verify", "-untrusted"]).args([&chain, &chain]);
    let (accepted, text) = said(verify);
    assert!(accepted, "{text}");

    // another anchor of the same name is left alone
    let other = Authority::create(DOMAIN, host.now()).unwrap().anchor();
    assert!(trust::uninstall(&host, &folder, Some("other.test"), Some(&other)).await.unwrap().is_empty());
    assert_eq!(states(&anchor).await, trusted);

    for outcome in trust::uninstall(&host, &folder, Some(DOMAIN), None).await.unwrap() {
        assert!(matches!(outcome.done, Done::Removed), "{outcome:?}");
    }
    assert_eq!(states(&anchor).await, missing);
    let after = checksums(Path::new("/etc"));
    for path in before.keys().chain(after.keys()) {
        assert_eq!(before.get(path), after.get(path), "{}", path.display());
    }
    assert!(!folder.join("trust").exists());
    assert!(trust::uninstall(&host, &folder, None, Some(&anchor)).await.unwrap().is_empty());
}
