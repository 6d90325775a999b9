//! What is made of what was seen, without a machine: one thing after the other is changed where all is well.

use std::net::IpAddr;
use std::path::PathBuf;

use super::*;
use crate::dns::install::Rung;
use crate::model::ContainerState;

type Change<'a> = &'a dyn Fn(&mut Evidence);

/// Grafana alone.
async fn well() -> Evidence {
    let (mut evidence, _) = World::new().look().await;
    evidence.names.truncate(1);
    assert_eq!(judged(&evidence, |_| ()), (".......".to_owned(), vec![]));
    evidence
}

/// The hops of the name, and the causes of those that break.
fn judged(evidence: &Evidence, change: impl FnOnce(&mut Evidence)) -> (String, Vec<Cause>) {
    let mut evidence = evidence.clone();
    change(&mut evidence);
    let verdict = judge(&evidence);
    let sign = |state: &State| match state {
        State::Ok => '.',
        State::Broken => 'X',
        State::Unknown => '?',
        State::None => '-',
    };
    let hops = verdict.rows[0].hops.iter().map(sign).collect();
    (hops, verdict.faults.into_iter().map(|fault| fault.cause).collect())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn why_a_name_is_not_found() {
    let mut evidence = well().await;
    evidence.names[0].lookup.found = Err("no such name".to_owned());
    let why = |change: &dyn Fn(&mut Evidence)| {
        let (hops, mut causes) = judged(&evidence, change);
        assert_eq!((hops.as_str(), causes.len()), ("X......", 1), "{causes:?}");
        causes.remove(0)
    };
    let installed =
        |change: &dyn Fn(&mut Installed)| why(&|evidence| change(evidence.machine.installed.as_mut().unwrap()));
    let ours = evidence.machine.resolver.as_ref().unwrap().address.unwrap();
    let elsewhere: SocketAddr = "127.0.0.9:5335".parse().unwrap();
    let other: IpAddr = "192.0.2.1".parse().unwrap();
    let paths = || vec![PathBuf::from("/etc/hosts")];
    let fails = || Cause::LookUpFails { reason: "no such name".into() };
    let front = |knows| Some(Front { server: elsewhere, asked: GRAFANA.into(), knows, said: "query refused".into() });

    assert_eq!(why(&|_| ()), fails());
    let found = |all: Vec<IpAddr>| why(&move |evidence| evidence.names[0].lookup.found = Ok(all.clone()));
    assert_eq!(found(vec![]), Cause::LookUpFails { reason: "it has no address".into() });
    assert_eq!(found(vec![other]), Cause::LookUpOther { found: vec![other], expected: LOCAL });

    // somebody may have done it by hand
    assert_eq!(why(&|evidence| evidence.machine.installed = None), fails());
    let without = |evidence: &mut Evidence| {
        evidence.machine.installed = None;
        evidence.machine.files.servers.clear();
    };
    assert_eq!(why(&without), Cause::NotInstalled);
    let with_front = |evidence: &mut Evidence| {
        evidence.machine.installed = None;
        evidence.machine.front = front(true);
    };
    assert_eq!(why(&with_front), Cause::NotInstalled);

    assert_eq!(installed(&|installed| installed.interrupted = true), Cause::Interrupted);
    assert_eq!(installed(&|installed| installed.missing = paths()), Cause::FileGone { paths: paths() });
    assert_eq!(installed(&|installed| installed.changed = paths()), Cause::FileChanged { paths: paths() });
    let moved = Cause::InstalledElsewhere { rung: Rung::ResolvConf, installed: elsewhere, ours };
    assert_eq!(installed(&|installed| installed.address = elsewhere), moved);
    let squatter = || Owner { address: elsewhere, process: Some("dnsmasq".into()), pid: Some(7) };
    let taken = |evidence: &mut Evidence| {
        evidence.machine.installed.as_mut().unwrap().address = elsewhere;
        evidence.machine.resolver_port = Some(squatter());
    };
    assert_eq!(why(&taken), Cause::ResolverPortTaken { wanted: elsewhere, squatter: squatter(), ours });

    // the list of names is the resolver's place
    let hosts = |changed: Vec<PathBuf>, listed: bool| {
        why(&move |evidence| {
            let installed = evidence.machine.installed.as_mut().unwrap();
            (installed.rung, installed.changed, installed.address) = (Rung::Hosts, changed.clone(), elsewhere);
            if listed {
                evidence.machine.files.hosts.insert(GRAFANA.into(), vec![LOCAL]);
            }
        })
    };
    assert_eq!(hosts(vec![], false), Cause::NotInHosts);
    assert_eq!(hosts(paths(), true), Cause::NotInHosts);
    assert_eq!(hosts(paths(), false), Cause::FileChanged { paths: paths() });

    assert_eq!(why(&|evidence| evidence.machine.front = front(true)), fails());
    let refused = Cause::OtherResolver { server: elsewhere, said: "query refused".into() };
    assert_eq!(why(&|evidence| evidence.machine.front = front(false)), refused);
}

#[tokio::test]
async fn the_line_of_hosts_is_read_from_left_to_right() {
    let mut evidence = well().await;
    evidence.names[0].lookup.found = Err("no such name".to_owned());
    let cause = |line: &str, mdns_allow: bool, linux: bool| {
        let (_, mut causes) = judged(&evidence, |evidence| {
            evidence.machine.files.nsswitch = words(line);
            (evidence.machine.files.mdns_allow, evidence.machine.linux) = (mdns_allow, linux);
        });
        causes.remove(0)
    };
    let fails = Cause::LookUpFails { reason: "no such name".into() };
    for line in [
        "",
        "files dns",
        "resolve files",
        "files mdns4_minimal [NOTFOUND=return] dns",
        "files mdns4 dns",
        "files dns mdns4 [NOTFOUND=return]",
        "files mdns4 [SUCCESS=return] resolve",
    ] {
        assert_eq!(cause(line, true, true), fails, "{line}");
    }
    for line in ["files mdns [notfound=return] dns", "mdns4 [NOTFOUND=return] resolve", "mdns6 [NOTFOUND=return] dns"] {
        assert_eq!(cause(line, true, true), Cause::Mdns { line: line.into() }, "{line}");
        assert_eq!(cause(line, false, true), fails, "{line}");
    }
    assert_eq!(cause("files myhostname", true, true), Cause::NoDnsInNsswitch { line: "files myhostname".into() });
    assert_eq!(cause("files myhostname", true, false), fails);
}

#[tokio::test]
async fn what_a_certificate_says() {
    use TlsFault::{Expired, NotYet, Other, OtherName, UnknownIssuer};
    let evidence = well().await;
    let certificate =
        Served { names: words("*.macula.local macula.local"), not_before: 7, not_after: 9, issuer: "Somebody".into() };
    let names = certificate.names.clone();
    let seen = |asked: &str, ours: Option<Result<(), TlsFault>>, system: Result<(), TlsFault>| {
        judged(&evidence, |evidence| {
            evidence.names[0].target.asked = asked.to_owned();
            let version = "TLS 1.3".to_owned();
            evidence.names[0].tls = Some(Ok(TlsSeen { version, certificate: certificate.clone(), ours, system }));
        })
    };
    let own = Some(Ok(()));
    for (ours, system, cause) in [
        (own.clone(), Ok(()), None),
        (None, Ok(()), None),
        // one of the user's own
        (Some(Err(UnknownIssuer)), Ok(()), None),
        (own.clone(), Err(UnknownIssuer), Some(Cause::NotTrusted)),
        (own, Err(Expired), Some(Cause::Expired { at: 9 })),
        (None, Err(UnknownIssuer), Some(Cause::OtherAuthority { issuer: "Somebody".into() })),
        (Some(Err(Expired)), Err(UnknownIssuer), Some(Cause::Expired { at: 9 })),
        (Some(Err(NotYet)), Err(NotYet), Some(Cause::ClockBehind { begins: 7, now: NOW })),
        (Some(Err(Other("bad".into()))), Err(UnknownIssuer), Some(Cause::Refused { reason: "bad".into() })),
    ] {
        let hops = if cause.is_some() { "...X..." } else { "......." };
        assert_eq!(seen(GRAFANA, ours, system), (hops.to_owned(), cause.into_iter().collect()));
    }
    // a wildcard stands for one label
    let deep = Cause::TooDeep { domain: DOMAIN.into() };
    let not_covered = Cause::NameNotCovered { names };
    for (asked, cause) in
        [("a.b.macula.local", deep), ("b.macula.local", not_covered.clone()), ("a.b.test", not_covered)]
    {
        assert_eq!(seen(asked, Some(Err(OtherName)), Err(OtherName)), ("...X...".to_owned(), vec![cause]), "{asked}");
    }
    let refused = judged(&evidence, |evidence| evidence.names[0].tls = Some(Err("it hung up".into())));
    assert_eq!(refused, ("...X...".to_owned(), vec![Cause::NoTls { reason: "it hung up".into() }]));
    assert_eq!(judged(&evidence, |evidence| evidence.names[0].tls = None), ("...?...".to_owned(), vec![]));
    let plain = judged(&evidence, |evidence| evidence.names[0].target.web.as_mut().unwrap().https = None);
    assert_eq!(plain, ("...-...".to_owned(), vec![]));
}

#[tokio::test]
async fn who_does_not_answer() {
    let evidence = well().await;
    let grafana = || "grafana".to_owned();
    let answer = |status, mark| Some(Ok(HttpSeen { url: String::new(), status, mark, date: None }));
    let silent = |reason: &str| Cause::ServiceSilent { service: grafana(), reason: reason.to_owned() };
    let told = |hops: &str, causes: Vec<Cause>| (hops.to_owned(), causes);

    // what answers is there, whatever is said of it
    let unhealthy = |evidence: &mut Evidence| evidence.names[0].containers[0].health = Health::Unhealthy;
    assert_eq!(judged(&evidence, unhealthy), told(".......", vec![]));
    let not_asked = |evidence: &mut Evidence| {
        unhealthy(evidence);
        evidence.names[0].http = None;
    };
    let cause = Cause::ServiceUnhealthy { service: grafana(), container: "macula-grafana-1".into() };
    assert_eq!(judged(&evidence, not_asked), told("....?X.", vec![cause]));
    let of_nobody = |evidence: &mut Evidence| evidence.names[0].target.service.clear();
    assert_eq!(judged(&evidence, of_nobody), told(".....-.", vec![]));

    for (http, hops, causes) in [
        (answer(499, None), ".......", vec![]),
        (answer(500, None), "....XX.", vec![Cause::ServiceFails { service: grafana(), status: 500 }]),
        (answer(404, Some(Mark::NoRoute)), "....X..", vec![Cause::RouteMissing]),
        (Some(Err("it hung up".into())), "....X..", vec![Cause::NoHttp { reason: "it hung up".into() }]),
        (None, "....?..", vec![]),
    ] {
        let seen = judged(&evidence, |evidence| evidence.names[0].http = http);
        assert_eq!(seen, told(hops, causes));
    }

    // who shows a certificate is awake
    let silence = crate::validate::reach::silence();
    let late = |tls: bool, service: bool| {
        judged(&evidence, |evidence| {
            let seen = &mut evidence.names[0];
            seen.http = Some(Err(silence.clone()));
            if !tls {
                seen.tls = None;
            }
            if !service {
                seen.target.service.clear();
            }
        })
    };
    let waits = silent(&format!("it accepts connections, and there is {silence}"));
    let nothing = || Cause::NoHttp { reason: silence.clone() };
    assert_eq!(late(true, true), told("....XX.", vec![waits]));
    assert_eq!(late(false, true), told("...?X..", vec![nothing()]));
    assert_eq!(late(true, false), told("....X-.", vec![nothing()]));

    // the ingress says that it does not reach it
    let address: SocketAddr = "10.222.7.9:3000".parse().unwrap();
    let unavailable = |direct: Option<Result<SocketAddr, String>>, started: Option<i64>, ingress: Option<i64>| {
        judged(&evidence, |evidence| {
            evidence.machine.ingress.as_mut().unwrap().started_at = ingress;
            let seen = &mut evidence.names[0];
            seen.http = answer(502, Some(Mark::Unavailable));
            (seen.containers[0].direct, seen.containers[0].started_at) = (direct, started);
        })
    };
    let stale = |newer| told("....XX.", vec![Cause::StaleUpstream { service: grafana(), address, newer }]);
    assert_eq!(unavailable(Some(Ok(address)), Some(8), Some(7)), stale(true));
    for (started, ingress) in [(Some(7), Some(7)), (Some(6), Some(7)), (None, Some(7)), (Some(7), None)] {
        assert_eq!(unavailable(Some(Ok(address)), started, ingress), stale(false), "{started:?} {ingress:?}");
    }
    assert_eq!(unavailable(Some(Err("refused".into())), None, None), told("....XX.", vec![silent("refused")]));
    let from_here = silent("the ingress does not reach it");
    assert_eq!(unavailable(None, None, None), told("....XX.", vec![from_here]));
}

#[tokio::test]
async fn a_container_that_does_not_run_is_described() {
    let evidence = well().await;
    for (state, exit_code, error, expected) in [
        (ContainerState::Created, Some(0), "no space left", "was never started: no space left"),
        (ContainerState::Paused, None, "", "is paused"),
        (ContainerState::Restarting, Some(1), "", "is restarting again and again"),
        (ContainerState::Removing, Some(1), "", "is being removed"),
        (ContainerState::Exited, Some(137), "", "has ended with 137"),
        (ContainerState::Dead, Some(1), "gone", "has ended with 1: gone"),
        (ContainerState::Exited, None, "", "has ended"),
    ] {
        let (hops, causes) = judged(&evidence, |evidence| {
            let ingress = evidence.machine.ingress.as_mut().unwrap();
            (ingress.state, ingress.exit_code, ingress.error) = (state, exit_code, error.to_owned());
        });
        // nobody knows what answers in its place
        assert_eq!(hops, "..X??.?");
        let container = Some("macula-ingress-1".to_owned());
        assert_eq!(causes, [Cause::IngressDown { container, state: expected.to_owned() }]);
    }
    let missing = judged(&evidence, |evidence| evidence.machine.ingress = None);
    let cause = Cause::IngressDown { container: None, state: "missing".into() };
    assert_eq!(missing, ("..X??.?".to_owned(), vec![cause]));
    let squatters = vec![Owner { address: "127.0.0.1:80".parse().unwrap(), process: None, pid: Some(7) }];
    let taken = judged(&evidence, |evidence| {
        evidence.machine.ingress = None;
        evidence.machine.squatters = squatters.clone();
    });
    assert_eq!(taken, ("..X??.?".to_owned(), vec![Cause::PortTaken { squatters }]));
}

#[tokio::test]
async fn what_containers_see() {
    let evidence = well().await;
    let other: IpAddr = "192.0.2.1".parse().unwrap();
    let expected = IpAddr::V4(evidence.names[0].target.inside.unwrap());
    let told = |hops: &str, causes: Vec<Cause>| (hops.to_owned(), causes);
    let sees = |addresses: Vec<IpAddr>, answer: Result<Option<u16>, String>| {
        judged(&evidence, |evidence| evidence.names[0].inside = Some(InsideSeen { addresses, answer }))
    };
    assert_eq!(sees(vec![expected], Ok(None)), told(".......", vec![]));
    for found in [vec![], vec![other], vec![expected, other]] {
        let cause = Cause::InsideOther { found: found.clone(), expected };
        assert_eq!(sees(found, Ok(Some(200))), told("......X", vec![cause]));
    }
    let cause = Cause::InsideNotReached { reason: "refused".into() };
    assert_eq!(sees(vec![expected], Err("refused".into())), told("......X", vec![cause]));
    let changes: [(Change, &str); 4] = [
        (&|evidence| evidence.names[0].inside = None, "......?"),
        (&|evidence| evidence.machine.inside = Err("there is no container".into()), "......?"),
        (&|evidence| evidence.names[0].target.inside = None, "......-"),
        (&|evidence| evidence.names[0].target.name = "*.macula.local".into(), "......-"),
    ];
    for (change, hops) in changes {
        assert_eq!(judged(&evidence, change), told(hops, vec![]));
    }
    // it is the name that is not reached, from wherever
    let down = judged(&evidence, |evidence| {
        let seen = &mut evidence.names[0];
        seen.connect[0].1 = Err("refused".into());
        seen.inside = Some(InsideSeen { addresses: vec![other], answer: Ok(None) });
    });
    let cause = Cause::NotReached { address: evidence.names[0].connect[0].0, reason: "refused".into() };
    assert_eq!(down, told("..X...?", vec![cause]));
}

#[tokio::test]
async fn what_concerns_all_names() {
    let evidence = well().await;
    let causes = |change: &dyn Fn(&mut Evidence)| judged(&evidence, change).1;
    let nothing: [Cause; 0] = [];
    let address: SocketAddr = "127.0.0.8:53".parse().unwrap();
    let feed = |reason: Option<&str>| {
        let feed = Some((address, reason.map(str::to_owned)));
        causes(&move |evidence| evidence.machine.resolver.as_mut().unwrap().feed = feed.clone())
    };
    assert_eq!(feed(None), nothing);
    assert_eq!(feed(Some("refused")), [Cause::PowerDnsDown { address, reason: "refused".into() }]);

    // where everything is asked of the resolver
    let upstream = |rung| {
        causes(&move |evidence| {
            evidence.machine.installed.as_mut().unwrap().rung = rung;
            let resolver = evidence.machine.resolver.as_mut().unwrap();
            (resolver.upstreams, resolver.upstream) = (vec![address], Err("no answer".into()));
        })
    };
    assert_eq!(upstream(Rung::NetworkManager), nothing);
    let silent = Cause::UpstreamSilent { servers: vec![address], reason: "no answer".into() };
    assert_eq!(upstream(Rung::ResolvConf), [silent]);

    let proxy = |passes: Result<(), String>| {
        let (variable, proxy) = ("http_proxy".to_owned(), "http://proxy:3128".to_owned());
        let proxy = ProxySeen { variable, proxy, exceptions: "*".into(), passes };
        causes(&move |evidence| evidence.machine.proxy = Some(proxy.clone()))
    };
    assert_eq!(proxy(Ok(())), nothing);
    let (variable, place) = ("http_proxy".to_owned(), "http://proxy:3128".to_owned());
    let blocked = Cause::Proxy { variable, proxy: place, said: "forbidden".into(), exceptions: "*".into() };
    assert_eq!(proxy(Err("forbidden".into())), [blocked]);

    // one clock that agrees proves that of the machine right
    let dates = |dates: &[i64]| {
        let dates = dates.to_vec();
        causes(&move |evidence| {
            let seen = evidence.names[0].clone();
            evidence.names = vec![seen; dates.len()];
            for (seen, date) in evidence.names.iter_mut().zip(&dates) {
                let http = HttpSeen { url: String::new(), status: 200, mark: None, date: Some(NOW + date) };
                seen.http = Some(Ok(http));
            }
        })
    };
    let differs = |theirs| vec![Cause::ClockDiffers { theirs: NOW + theirs, now: NOW }];
    for (seconds, expected) in [
        (vec![300], vec![]),
        (vec![-300], vec![]),
        (vec![301], differs(301)),
        (vec![-301], differs(-301)),
        (vec![9000, 1], vec![]),
        (vec![9000, -600], differs(-600)),
    ] {
        assert_eq!(dates(&seconds), expected, "{seconds:?}");
    }
}

#[tokio::test]
async fn what_was_seen_is_said_hop_by_hop() {
    let evidence = well().await;
    let said = |hop: Hop, change: &dyn Fn(&mut Evidence)| {
        let mut evidence = evidence.clone();
        change(&mut evidence);
        seen(&evidence, &evidence.names[0], hop)
    };
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let place = |text: &str| text.parse::<SocketAddr>().unwrap();
    let both = vec![address("127.0.0.2"), address("::1")];

    let lookup = |found: Result<Vec<IpAddr>, String>| {
        said(Hop::LookUp, &|evidence| {
            evidence.names[0].lookup = LookUp { found: found.clone(), millis: 3 };
        })
    };
    assert_eq!(lookup(Ok(both.clone())), "127.0.0.2, ::1 (3 ms)");
    assert_eq!(lookup(Ok(Vec::new())), "no address (3 ms)");
    assert_eq!(lookup(Err("gone".into())), "gone (3 ms)");

    let dns = |answer: Option<Result<Vec<IpAddr>, String>>, whom: Option<&str>| {
        said(Hop::Dns, &|evidence| {
            evidence.names[0].dns = answer.clone();
            evidence.machine.resolver.as_mut().unwrap().address = whom.map(place);
        })
    };
    assert_eq!(dns(Some(Ok(both.clone())), Some("127.0.0.9:53")), "127.0.0.2, ::1 by 127.0.0.9:53");
    assert_eq!(dns(Some(Err("refused".into())), Some("127.0.0.9:53")), "refused from 127.0.0.9:53");
    assert_eq!(dns(Some(Ok(both)), None), "the resolver does not run");
    assert_eq!(dns(None, Some("127.0.0.9:53")), "the resolver does not run");

    let connected = said(Hop::Connect, &|evidence| {
        let refused = Err("refused".to_owned());
        evidence.names[0].connect = vec![(place("127.0.0.2:80"), Ok(())), (place("127.0.0.2:443"), refused)];
    });
    assert_eq!(connected, "127.0.0.2:80, 127.0.0.2:443: refused");

    let tls = |found: Option<Result<i64, String>>| {
        said(Hop::Tls, &|evidence| {
            let shown = |not_after| TlsSeen {
                version: "TLS 1.3".into(),
                certificate: Served { issuer: "Somebody".into(), not_after, ..Served::default() },
                ours: None,
                system: Ok(()),
            };
            evidence.names[0].tls = found.clone().map(|found| found.map(shown));
        })
    };
    let until = "TLS 1.3, a certificate by `Somebody` until";
    assert_eq!(tls(Some(Ok(1_795_000_020))), format!("{until} 2026-11-18 11:07 UTC"));
    assert_eq!(tls(Some(Ok(i64::MAX))), format!("{until} {} s after 1970", i64::MAX));
    assert_eq!((tls(Some(Err("reset".into()))), tls(None)), ("reset".to_owned(), String::new()));

    let http = |answer: Option<Result<u16, String>>| {
        said(Hop::Http, &|evidence| {
            let heard = |status| HttpSeen { url: "http://x/".to_owned(), status, mark: None, date: None };
            evidence.names[0].http = answer.clone().map(|answer| answer.map(heard));
        })
    };
    assert_eq!(http(Some(Ok(302))), "http://x/ answers 302");
    assert_eq!((http(Some(Err("reset".into()))), http(None)), ("reset".to_owned(), String::new()));

    let services = said(Hop::Service, &|evidence| {
        let container = |name: &str, state, direct| ContainerSeen {
            name: name.into(),
            state,
            health: Health::None,
            exit_code: None,
            error: String::new(),
            address: None,
            started_at: None,
            direct,
        };
        evidence.names[0].containers = vec![
            container("a", ContainerState::Running, Some(Ok(place("10.0.0.7:80")))),
            container("b", ContainerState::Running, Some(Err("refused".to_owned()))),
            container("c", ContainerState::Exited, None),
        ];
    });
    assert_eq!(services, "a running at 10.0.0.7:80, b running, refused, c exited");

    let inside = |seen: Option<InsideSeen>, from: Result<&str, &str>| {
        said(Hop::Inside, &|evidence| {
            evidence.machine.inside = from.map(str::to_owned).map_err(str::to_owned);
            evidence.names[0].inside = seen.clone();
        })
    };
    let found = |answer: Option<u16>| InsideSeen { addresses: vec![address("10.222.7.2")], answer: Ok(answer) };
    let unknown = InsideSeen { addresses: Vec::new(), answer: Err("unknown".to_owned()) };
    for (found, from, expected) in [
        (Some(found(Some(200))), Ok("web"), "10.222.7.2 answers 200 (asked from web)"),
        (Some(found(None)), Ok("web"), "10.222.7.2 is reached (asked from web)"),
        (Some(unknown), Ok("web"), "unknown (asked from web)"),
        (None, Err("nobody to ask"), "nobody to ask"),
        (None, Ok("web"), ""),
    ] {
        assert_eq!(inside(found, from), expected);
    }
}

#[test]
fn what_is_in_the_way_is_stopped_before_anything_else() {
    let owner = |port: u16, process: Option<&str>, pid: Option<u32>| Owner {
        address: SocketAddr::new(LOCAL, port),
        process: process.map(str::to_owned),
        pid,
    };
    for (found, expected) in [
        (owner(80, Some("nginx"), Some(7)), "nginx (pid 7)"),
        (owner(80, Some("nginx"), None), "nginx"),
        (owner(80, None, Some(7)), "the process 7"),
        (owner(80, None, None), "a program that this user may not see"),
    ] {
        assert_eq!(found.to_string(), expected);
    }
    let told = |cause: Cause, linux: bool| {
        let remedies = cause.remedies(linux);
        remedies.iter().map(|remedy| remedy.text(&Invocation::default())).collect::<Vec<_>>().join("\n")
    };
    let (hidden, macula) = (owner(80, None, None), owner(53, Some("macula"), Some(9)));
    let taken = |squatters: Vec<Owner>| Cause::PortTaken { squatters };
    let known = vec![owner(80, Some("nginx"), Some(7)), owner(443, Some("nginx"), Some(7)), hidden.clone()];
    assert_eq!(told(taken(known), true), "stop nginx (pid 7)\nmacula up  (after that)");
    let unknown = vec![hidden.clone(), owner(443, None, None), hidden];
    let rest = "stop the program that it shows\nmacula up  (after that)";
    assert_eq!(told(taken(unknown.clone()), true), format!("sudo ss -lptun 'sport = :80 or sport = :443'\n{rest}"));
    assert_eq!(told(taken(unknown), false), format!("sudo lsof -nP -sTCP:LISTEN -i:80,443\n{rest}"));
    // another resolver of ours answers for others
    let dead = |squatter: Option<Owner>| told(Cause::ResolverDead { squatter }, true);
    assert_eq!(dead(None), "macula up");
    assert!(dead(Some(macula.clone())).starts_with("it belongs to another data folder: "));
    let other = owner(53, Some("dnsmasq"), Some(8));
    let stop = "stop dnsmasq (pid 8)\nmacula up  (after that)\nmacula dns install  (after that)";
    assert_eq!(dead(Some(other.clone())), stop);
    let wanted = SocketAddr::new(LOCAL, 53);
    let port = |squatter: Owner| told(Cause::ResolverPortTaken { wanted, squatter, ours: wanted }, true);
    assert_eq!((port(macula).as_str(), port(other).as_str()), ("macula dns install", stop));
    // the clock is set in another way on each system
    let clock = |linux: bool| told(Cause::ClockBehind { begins: 120, now: 0 }, linux);
    assert!(clock(true).starts_with("sudo timedatectl set-ntp true\n"), "{}", clock(true));
    assert_eq!(clock(false), "let the network set the clock, in this machine's settings");
}

#[test]
fn each_cause_says_which_of_its_cases_it_is() {
    let address = SocketAddr::new(LOCAL, 80);
    let silent = |reason: &str| Cause::NoEngine { reason: reason.into() };
    let stale = |newer| Cause::StaleUpstream { service: "web".into(), address, newer };
    let down = |container: Option<&str>| Cause::IngressDown {
        container: container.map(str::to_owned),
        state: "has ended".into(),
    };
    for (cause, expected) in [
        (silent("no container engine answers at x"), "no container engine answers at x"),
        (silent("refused"), "no container engine answers: refused"),
        (
            Cause::ClockBehind { begins: 120, now: 0 },
            "the certificate begins on 1970-01-01 00:02 UTC, and this machine's clock says 1970-01-01 00:00 UTC: it is \
             behind by 2 minutes at least",
        ),
        (
            Cause::ClockDiffers { theirs: 7200, now: 0 },
            "the clock of the containers is 2 hours ahead of this machine's",
        ),
        (Cause::ClockDiffers { theirs: 0, now: 7200 }, "the clock of the containers is 2 hours behind this machine's"),
        (
            stale(true),
            "web answers on 127.0.0.1:80, and the ingress, which was there before it, still asks an older address",
        ),
        (stale(false), "web answers on 127.0.0.1:80, and the ingress does not reach it there"),
        (down(Some("macula-ingress-1")), "the ingress does not run: macula-ingress-1 has ended"),
        (down(None), "the ingress has no container"),
        (
            Cause::ResolverOtherAddress { found: Vec::new(), expected: LOCAL },
            "the resolver says no address, and the platform has 127.0.0.1",
        ),
    ] {
        assert_eq!(cause.to_string(), expected);
    }
}
