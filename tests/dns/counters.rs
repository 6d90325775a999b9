//! What is counted and logged of questions, and where that is read.

use super::*;

#[test]
fn counters_are_shown_over_http() {
    let handle = Server::start(Config { metrics: Some("127.0.0.1:0".parse().unwrap()), ..config() }).unwrap();
    let server = address(&handle);
    for _ in 0..3 {
        ask(server, "grafana.macula.local.", RecordType::A);
    }
    ask(server, "x.grafana.macula.local.", RecordType::AAAA);
    let scrape = |path: &str| {
        let mut stream = TcpStream::connect(handle.metrics_address().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let mut text = String::new();
    // a worker hands in its counts after it has sent the answers
    eventually("all four are counted", || {
        text = scrape("/metrics");
        text.contains("macula_dns_answer_seconds_count 4\n")
    });
    for line in [
        "macula_dns_questions_total{type=\"A\"} 3\n",
        "macula_dns_questions_total{type=\"AAAA\"} 1\n",
        "macula_dns_answers_total{rcode=\"NXDOMAIN\"} 1\n",
        "macula_dns_paths_total{path=\"fast\"} 4\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(scrape("/").starts_with("HTTP/1.1 404 "));
}

#[test]
fn a_platform_has_the_counters_on_an_address_of_its_own() {
    let handle = Server::start(config()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scraped = || {
        let mut stream = TcpStream::connect(free).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.contains("macula_dns_questions_total"))
    };
    handle.put(ZoneEntry { metrics: Some(free), ..ZoneEntry::new(platform()) }).unwrap();
    assert_eq!(handle.inner_metrics(), [free]);
    assert_eq!(scraped(), Some(true));
    // the same again keeps it, an address of another machine is left out
    let foreign = "192.0.2.1:9153".parse().unwrap();
    handle.put(ZoneEntry { metrics: Some(foreign), ..ZoneEntry::new(zone("pr-1.macula.local", &[])) }).unwrap();
    assert_eq!(handle.status().inner_metrics, [free]);
    handle.remove("macula.local").unwrap();
    eventually("the address is free again", || scraped().is_none());
}

#[test]
fn the_query_log_is_told_each_question() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&seen);
    let query_log: macula::dns::QueryLog = Arc::new(move |asked| {
        log.lock().unwrap().push(format!("{} {} {} {:?}", asked.name, asked.qtype, asked.rcode, asked.way));
    });
    let handle = Server::start(Config { query_log: Some(query_log), ..config() }).unwrap();
    ask(address(&handle), "grafana.macula.local.", RecordType::A);
    ask(address(&handle), "example.com.", RecordType::MX);
    assert_eq!(*seen.lock().unwrap(), ["grafana.macula.local 1 0 Fast", "example.com 15 5 Full"]);
}
