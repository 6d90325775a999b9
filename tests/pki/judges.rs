//! What programs of users accept, and what they refuse: also what somebody with the key would sign.

use super::*;

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
