//! Questions over TLS and HTTPS.

use super::*;

/// A resolver that also answers encrypted questions, the authority that signs for it, and where.
fn encrypted() -> (Handle, macula::pki::Authority, [SocketAddr; 2]) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let authority = macula::pki::Authority::create("macula.local", now).unwrap();
    let names = ["127.0.0.1", "macula.local", "*.macula.local"].map(str::to_owned);
    let leaf = authority.issue(&names, now).unwrap().to_pem();
    let identities = Arc::<Identities>::default();
    identities.replace([("macula.local", leaf.as_str())]).unwrap();
    let listen = |protocol| EncryptedListen { protocol, address: "127.0.0.1:0".parse().unwrap() };
    let encrypted = vec![listen(Encrypted::Dot), listen(Encrypted::Doh)];
    let handle = Server::start(Config { encrypted, identities, ..config() }).unwrap();
    let bound = [0, 1].map(|at| handle.encrypted()[at].address);
    assert_eq!(handle.status().encrypted, handle.encrypted());
    (handle, authority, bound)
}

#[test]
fn questions_over_tls_get_the_answers_of_tcp() {
    let (handle, authority, [dot, _]) = encrypted();
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.root().pem();
    roots.add(rustls_pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"dot".to_vec()];
    // once by name, once by the address alone
    for name in ["dns.macula.local", "127.0.0.1"] {
        let connection = rustls::ClientConnection::new(Arc::new(client.clone()), name.try_into().unwrap()).unwrap();
        let stream = TcpStream::connect(dot).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        for (asked, expected) in [
            ("grafana.macula.local.", "NoError 127.0.0.2"),
            ("Any.MACULA.local.", "NoError 127.0.0.10"),
            ("example.com.", "Refused "),
        ] {
            let message = question(asked, RecordType::A).to_vec().unwrap();
            stream.write_all(&[&(message.len() as u16).to_be_bytes(), message.as_slice()].concat()).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            let answer = Message::from_vec(&answer).unwrap();
            assert_eq!(short(&answer), expected, "{asked} by {name}");
            assert_eq!(answer.metadata.id, 4711);
        }
    }
    assert!(handle.metrics().contains("tcp"), "{}", handle.metrics());
}

#[test]
fn questions_over_https_get_the_answers_of_tcp() {
    let Ok(_) = std::process::Command::new("curl").arg("--version").output() else {
        require::skipped("curl", "no curl here");
        return;
    };
    let (_handle, authority, [_, doh]) = encrypted();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("ca.pem"), authority.root().pem()).unwrap();
    std::fs::write(at("question"), question("grafana.macula.local.", RecordType::A).to_vec().unwrap()).unwrap();
    let url = format!("https://{doh}/dns-query");
    let curl = |url: &str, more: &[&str]| {
        let output = std::process::Command::new("curl")
            .args(["-sS", "--max-time", "20", "--cacert", &at("ca.pem"), "-o", &at("answer")])
            .args(["-w", "%{http_version} %{http_code} %{content_type}", url])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let data = format!("@{}", at("question"));
    let post = ["-H", "content-type: application/dns-message", "--data-binary", &data];
    assert_eq!(curl(&url, &post), "2 200 application/dns-message");
    let answer = Message::from_vec(&std::fs::read(at("answer")).unwrap()).unwrap();
    assert_eq!(short(&answer), "NoError 127.0.0.2");
    // the example of RFC 8484, section 4.1.1: www.example.com, which nobody serves here
    let get = format!("{url}?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB");
    for version in ["--http2", "--http1.1"] {
        let expected = if version == "--http2" { "2" } else { "1.1" };
        assert_eq!(curl(&get, &[version]), format!("{expected} 200 application/dns-message"));
        let answer = Message::from_vec(&std::fs::read(at("answer")).unwrap()).unwrap();
        assert_eq!(short(&answer), "Refused ");
    }
    // what is no question says why
    let too_long = "A".repeat(70_000);
    std::fs::write(at("long"), &too_long).unwrap();
    let long = format!("@{}", at("long"));
    let kind = "content-type: application/dns-message";
    for (url, more, expected) in [
        (url.as_str(), vec![], "2 400 text/plain"),
        (&format!("{url}?dns=!"), vec![], "2 400 text/plain"),
        (&format!("{url}?dns=AAAA"), vec![], "2 400 text/plain"),
        (&format!("https://{doh}/"), vec![], "2 404 text/plain"),
        (&url, vec!["--data-binary", &data], "2 415 text/plain"),
        (&url, vec!["-H", kind, "--data-binary", &long], "2 413 text/plain"),
        (&url, vec!["-X", "DELETE"], "2 405 "),
    ] {
        assert_eq!(curl(url, &more), expected, "{url} {more:?}");
    }
}

#[test]
fn an_encrypted_address_that_is_taken_is_told() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let encrypted = vec![EncryptedListen { protocol: Encrypted::Dot, address }];
    let error = Server::start(Config { encrypted, ..config() }).map(|_| ()).unwrap_err();
    assert!(matches!(error, ServerError::AddressInUse { address: taken } if taken == address), "{error}");
}
