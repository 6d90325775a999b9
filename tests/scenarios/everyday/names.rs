//! Names and addresses that come and go, and names that several have.

use super::*;

/// An ingress, and a service with a name on it.
const GATE: &str = "
services:
  gate:
    <<: *base
    command: [httpd, -f, -p, '80', -h, /www]
    x-macula: {role: ingress, probe: {http: {port: 80}}, reload: {exec: ['true']}}
  page: {<<: *base, command: [httpd, -f, -p, '80', -h, /www], x-macula: {ingress: {port: 80}}}
";

/// What goes takes no request of the others with it: the ingress stays, and is told.
#[test]
fn names_that_go_disturb_nobody() {
    let Some(platform) = Platform::new("names_go") else { return };
    let wiki = "  wiki: {<<: *base, command: [httpd, -f, -p, '80', -h, /www], x-macula: {ingress: {port: 80}}}\n";
    platform.stack(&format!("{GATE}{wiki}"));
    platform.run("up").ok();
    let before = platform.container("gate");
    let status = platform.run("status -o json").ok().json();
    let row = status["services"].as_array().unwrap().iter().find(|row| row["name"] == "gate").unwrap().clone();
    let address = row["addresses"].as_array().unwrap().iter().map(|found| found.as_str().unwrap());
    let address =
        address.into_iter().find(|found| found.ends_with(":80")).unwrap_or_else(|| panic!("{row}")).to_owned();

    platform.stack(GATE);
    let ask = || {
        let mut stream = std::net::TcpStream::connect(&address)?;
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer)?;
        if answer.starts_with("HTTP/1.") { Ok(()) } else { Err(std::io::Error::other(answer)) }
    };
    let up = platform.start("up");
    let failed: Vec<String> = (0..200)
        .filter_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            ask().err().map(|error| error.to_string())
        })
        .collect();
    up.wait().ok();
    assert_eq!(failed, [""; 0]);
    assert_eq!(platform.container("gate").id, before.id);
    assert!(!platform.containers().contains_key("wiki"));
    platform.run("up").ok().says("nothing to do");

    platform.stack(&format!("{GATE}{wiki}"));
    platform.run("up").ok();
    assert_eq!(platform.container("gate").id, before.id, "it has kept the name");
}

/// A name inside, an address of its own, both again: each is there afterwards, and nobody who asks the others meanwhile,
/// from this machine or from a container, is refused once.
#[test]
fn names_and_addresses_that_come_disturb_nobody() {
    let Some(platform) = Platform::new("names_come") else { return };
    if !platform.engine.has_reachable_containers() {
        // with the first address the relay takes over, once
        skipped("names_come", "addresses", "Docker without root publishes no number of a port at two addresses");
        return;
    }
    let more = |name: &str, last: u8| {
        format!(
            "  {name}: {{<<: *base, command: [httpd, -f, -p, '80', -h, /www], \
                 x-macula: {{address: 127.0.0.{last}, ingress: {{port: 80}}}}}}\n"
        )
    };
    platform.stack(GATE);
    platform.run("up").ok();
    let gate_now = || platform.engine.container(&platform.container_name("gate")).unwrap().id;
    let before = gate_now();
    let base = platform.run("status -o json").ok().json()["services"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "gate")
        .and_then(|row| row["addresses"][0].as_str()?.strip_suffix(".1:80").map(str::to_owned))
        .unwrap();
    let ask = |last: u8| {
        let mut stream = std::net::TcpStream::connect(format!("{base}.{last}:80"))?;
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer)?;
        if answer.starts_with("HTTP/1.") { Ok(()) } else { Err(std::io::Error::other(answer)) }
    };
    let domain = format!("{}.macula.local", platform.name);
    let during = |command: &str, asked: &[u8]| {
        let running = platform.start(command);
        std::thread::scope(|scope| {
            let outside = scope.spawn(|| {
                let once = |_| {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    asked.iter().find_map(|last| ask(*last).err()).map(|error| error.to_string())
                };
                (0..300).filter_map(once).collect::<Vec<String>>()
            });
            let inside = platform.shell(
                "page",
                &format!(
                    "i=0; while [ $i -lt 150 ]; do i=$((i+1)); wget -q -O /dev/null http://page.{domain}/ || echo failed; \
                     sleep 0.02 || true; done"
                ),
            );
            assert_eq!(outside.join().unwrap(), [""; 0], "{command}");
            // Podman's name server may leave a question without an answer while it takes a name
            let most = if platform.engine.is_podman() { 15 } else { 0 };
            assert!(inside.matches("failed").count() <= most, "{command}: {inside}");
        });
        running.wait().ok();
    };
    let inside =
        |name: &str| platform.shell("page", &format!("wget -q -O /dev/null http://{name}.{domain}/ && echo there"));

    platform.stack(&format!("{GATE}{}", more("shop", 77)));
    platform.run("plan").ok().prints("+ gate  create");
    during("up", &[1]);
    assert_eq!(gate_now(), before);
    ask(77).unwrap();
    assert!(inside("shop").contains("there"));
    assert_eq!(platform.run("status -o json").ok().json()["drift"], serde_json::json!([]));

    platform.stack(&format!("{GATE}{}{}", more("shop", 77), more("wiki", 78)));
    during("up", &[1, 77]);
    ask(78).unwrap();
    assert!(inside("wiki").contains("there") && inside("shop").contains("there"));
    platform.run("up").ok().says("nothing to do");

    // stopped and started as a whole
    platform.run("stop").ok();
    platform.run("start").ok();
    for last in [1, 77, 78] {
        crate::harness::eventually("it answers", || ask(last).is_ok());
    }
    platform.run("up").ok().says("nothing to do");

    // what goes takes the container along that was made for it
    platform.stack(&format!("{GATE}{}", more("wiki", 78)));
    during("up", &[1, 78]);
    assert!(ask(77).is_err());
    // the next first one has room for all
    platform.run("down").ok();
    platform.run("up").ok();
    ask(78).unwrap();
    assert!(platform.engine.container(&format!("macula-{}-gate-2", platform.name)).is_none());
}

#[test]
fn two_stacks_may_both_have_a_db() {
    let Some(platform) = Platform::new("two_stacks_may_both_have_a_db") else { return };
    platform
        .stack("services: {db: {<<: *base, command: [sleep, infinity], volumes: ['data:/data']}}\nvolumes: {data: }\n");
    std::fs::create_dir(platform.project().join("shop")).unwrap();
    let shop = format!(
        "x-base: &base {{image: {IMAGE}, stop_signal: SIGKILL, command: [sleep, infinity]}}\n\
         services:\n  web: {{<<: *base, depends_on: [db]}}\n  db: {{<<: *base, scale: 2}}\n"
    );
    platform.write("shop/compose.yaml", &shop);
    platform.run("up --stack shop").ok();
    let status = platform.run("status -o json").ok().json();
    let names: Vec<&str> =
        status["services"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["db", "shop-db", "web"]);

    // each finds its own under the short name, and all of it under the platform's
    let found = |service: &str, name: &str| {
        // whom a connection goes to, of as many as there are: nobody listens, and that is said with the address
        let ask = format!(
            "for i in 1 2 3 4 5 6 7 8 9 10; do wget -O - http://{name}:1/ 2>&1; done | grep -o '([0-9.]*)' | sort -u"
        );
        platform.shell(service, &ask).lines().map(|line| line.trim_matches(['(', ')']).to_owned()).collect::<Vec<_>>()
    };
    let address = |container: &str, network: &str| {
        let found = platform.engine.container(container).unwrap();
        found.all["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().unwrap().to_owned()
    };
    let (network, own) = (platform.network_name(), format!("{}-shop-default", platform.network_name()));
    let replica = |number: u32, network: &str| address(&format!("macula-{}-shop-db-{number}", platform.name), network);
    let among = |found: &[String], all: &[String]| !found.is_empty() && found.iter().all(|one| all.contains(one));
    let theirs = [replica(1, &own), replica(2, &own)];
    assert!(among(&found("web", "db"), &theirs), "{:?} {theirs:?}", found("web", "db"));
    assert_eq!(found("db", "db"), [address(&platform.container_name("db"), &network)]);
    let outside = [replica(1, &network), replica(2, &network)];
    assert!(among(&found("db", "shop-db"), &outside), "{:?} {outside:?}", found("db", "shop-db"));
    platform.run("up --stack shop").ok().says("nothing to do");
    platform.run("down --volumes --yes").ok();
    assert_eq!(platform.everything(), [""; 0]);
}
