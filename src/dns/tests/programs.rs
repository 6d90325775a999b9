//! Names of programs of this machine, next to those of platforms.

use super::*;

/// The name of a program of this machine.
fn program(host: &str) -> Zone {
    let mut zone = Zone::new(host, 1);
    zone.records.push(Record::new(host, a("127.0.0.1")).only(View::Host));
    zone.records.push(Record::new(host, a("172.31.0.2")).only(View::Container));
    zone
}

/// A platform inside of another one's domain.
fn inner(apex: &str) -> Zone {
    let mut zone = Zone::new(apex, 1);
    zone.records.push(Record::new(apex, a("127.64.3.1")));
    zone.records.push(Record::new(format!("grafana.{apex}"), a("127.64.3.2")));
    zone
}

#[test]
fn a_program_has_its_own_name_alone() {
    let zones = [platform(), inner("pr-1.macula.local")];
    let apexes: Vec<Name> = zones.iter().map(|zone| name(&zone.apex)).collect();
    let hosts = ["shop.macula.local", "www.macula.local", "pr-1.macula.local", "web.pr-1.macula.local", "shop.test"];
    let programs = BTreeMap::from(hosts.map(|host| (name(host), program(host))));
    let added = fed(&[("shop.macula.local", "A", "127.9.9.9"), ("*.shop.macula.local", "A", "127.0.0.12")]);
    let laid = with_programs(apexes.iter().zip(&zones), &programs);
    let laid: Vec<&Zone> = laid.iter().map(|zone| &**zone).collect();
    let snapshot = Snapshot::build(&laid, &BTreeMap::from([(name("macula.local"), Arc::new(added))])).unwrap();
    let ask = |owner| ask(snapshot.view(View::Host), owner, "A");
    assert_snapshot!([
        "shop.macula.local",
        "cart.shop.macula.local",
        "www.macula.local",
        "other.macula.local",
        "pr-1.macula.local",
        "grafana.pr-1.macula.local",
        "web.pr-1.macula.local",
        "shop.test",
    ].map(ask).concat(), @r#"
    shop.macula.local A: NoError aa ra
      shop.macula.local. 30 IN A 127.0.0.1
    cart.shop.macula.local A: NoError aa ra
      cart.shop.macula.local. 60 IN A 127.0.0.12
    www.macula.local A: NoError aa ra
      www.macula.local. 30 IN A 127.0.0.1
    other.macula.local A: NoError aa ra
      other.macula.local. 30 IN A 127.0.0.10
    pr-1.macula.local A: NoError aa ra
      pr-1.macula.local. 30 IN A 127.64.3.1
    grafana.pr-1.macula.local A: NoError aa ra
      grafana.pr-1.macula.local. 30 IN A 127.64.3.2
    web.pr-1.macula.local A: NoError aa ra
      web.pr-1.macula.local. 30 IN A 127.0.0.1
    shop.test A: NoError aa ra
      shop.test. 30 IN A 127.0.0.1
    "#);
}

#[tokio::test]
async fn a_platform_and_a_program_of_one_name_do_not_take_each_other_along() {
    let host = "blog.macula.local";
    let blog = || ZoneEntry {
        listen: vec![Listen { address: "127.0.0.1:0".parse().unwrap(), view: View::Container }],
        networks: vec!["172.31.16.0/20".parse().unwrap()],
        ..ZoneEntry::new(inner(host))
    };
    let zones = vec![ZoneEntry::new(platform())];
    let handle = Server::start(Config { zones, workers: 1, ..Config::default() }).unwrap();
    let answers = async |owner: &str| handle.trace(owner, 1, View::Host).await.unwrap().answers;
    for program_first in [false, true] {
        let mut entries = [blog(), ZoneEntry::program(program(host))];
        if program_first {
            entries.reverse();
        }
        for entry in entries {
            handle.put(entry).unwrap();
        }
        // both are there, and then the platform alone
        for left in [Some(2), None] {
            assert_eq!(handle.listen().len(), 1);
            assert_eq!(handle.status().zones.len(), 2);
            assert_eq!(answers(host).await, ["blog.macula.local. 30 IN A 127.64.3.1"]);
            assert_eq!(answers("grafana.blog.macula.local").await, ["grafana.blog.macula.local. 30 IN A 127.64.3.2"]);
            assert_eq!(handle.remove(&ZoneEntry::program_apex(host)).unwrap(), left);
        }
        assert_eq!(handle.remove(host).unwrap(), Some(1));
        assert!(handle.listen().is_empty());
    }

    // where it answers already it listens once
    handle.put(blog()).unwrap();
    let listen = handle.listen();
    handle.put(ZoneEntry { listen: listen.clone(), ..ZoneEntry::new(inner("shop.macula.local")) }).unwrap();
    assert_eq!(handle.listen(), listen);
    for apex in ["shop.macula.local", host] {
        handle.remove(apex).unwrap();
    }

    // the program that was there first has its name again when the platform goes
    handle.put(ZoneEntry::program(program(host))).unwrap();
    handle.put(blog()).unwrap();
    assert_eq!(handle.remove(host).unwrap(), Some(2));
    assert_eq!(answers(host).await, ["blog.macula.local. 30 IN A 127.0.0.1"]);
    // what exchanges the platforms' zones leaves it alone, too
    handle.swap(vec![platform()]).unwrap();
    assert_eq!(answers(host).await, ["blog.macula.local. 30 IN A 127.0.0.1"]);
}
