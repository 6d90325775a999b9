use super::*;

/// Status and text as engines gave them; what they become.
#[test]
fn real_messages_are_told_apart() {
    let messages = [
        // Docker 20.10 to 27
        (
            500,
            "driver failed programming external connectivity on endpoint web (5d7e1a): Bind for 127.0.0.1:80 failed: port is already allocated",
        ),
        (
            500,
            "driver failed programming external connectivity on endpoint web (5d7e1a): Error starting userland proxy: listen tcp4 127.0.0.2:3000: bind: address already in use",
        ),
        (
            500,
            "driver failed programming external connectivity on endpoint dns (1f): Error starting userland proxy: listen udp4 0.0.0.0:53: bind: address already in use",
        ),
        (
            500,
            "driver failed programming external connectivity on endpoint web (1f): Error starting userland proxy: listen tcp6 [::1]:80: bind: address already in use",
        ),
        (
            500,
            "driver failed programming external connectivity on endpoint web (1f): Error starting userland proxy: listen tcp6 :::80: bind: address already in use",
        ),
        // Docker 28
        (
            500,
            "failed to set up container networking: driver failed programming external connectivity on endpoint web (1f): failed to bind host port for 127.0.0.1:80:172.17.0.2:80/tcp: address already in use",
        ),
        (
            500,
            "failed to set up container networking: driver failed programming external connectivity on endpoint web (1f): failed to bind host port 0.0.0.0:53/udp: address already in use",
        ),
        (
            500,
            "failed to set up container networking: driver failed programming external connectivity on endpoint web (1f): Bind for :::8080 failed: port is already allocated",
        ),
        // Docker Desktop
        (
            500,
            "Ports are not available: exposing port TCP 0.0.0.0:80 -> 127.0.0.1:0: listen tcp 0.0.0.0:80: bind: address already in use",
        ),
        (
            500,
            "Ports are not available: exposing port TCP 127.0.0.2:80 -> 127.0.0.1:0: listen tcp 127.0.0.2:80: bind: can't assign requested address",
        ),
        // rootless Docker
        (
            500,
            "driver failed programming external connectivity on endpoint web (1f): Error starting userland proxy: error while calling PortManager.AddPort(): listen tcp4 0.0.0.0:8080: bind: address already in use",
        ),
        (
            500,
            "driver failed programming external connectivity on endpoint web (1f): Error starting userland proxy: error while calling PortManager.AddPort(): cannot expose privileged port 80, you can add 'net.ipv4.ip_unprivileged_port_start=80' to /etc/sysctl.conf (currently 1024), or set CAP_NET_BIND_SERVICE on rootlesskit binary, or choose a larger port number (>= 1024): listen tcp4 0.0.0.0:80: bind: permission denied",
        ),
        // Podman
        (500, "rootlessport listen tcp 0.0.0.0:8080: bind: address already in use"),
        (500, "cannot listen on the TCP port: listen tcp4 :8080: bind: address already in use"),
        (
            500,
            "pasta failed with exit code 1:\nFailed to bind port 8080 (Address already in use) for option '-t 8080-8080:80-80', exiting",
        ),
        // an address of the network, not a port
        (403, "Address already in use"),
        (500, "failed to set up container networking: Address already in use"),
        (500, "IPAM error: requested ip address 10.89.0.5 is already allocated to container ID 3f2e"),
        // names and networks
        (
            409,
            "Conflict. The container name \"/macula-db-1\" is already in use by container \"3f2e\". You have to remove (or rename) that container to be able to reuse that name.",
        ),
        (
            500,
            "creating container storage: the container name \"macula-db-1\" is already in use by 3f2e. You have to remove that container to be able to reuse that name: that name is already in use",
        ),
        (409, "network with name macula already exists"),
        (409, "network name macula already used: network already exists"),
        (403, "error while removing network: network macula id 3f2e has active endpoints"),
        (
            500,
            "\"macula\" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used",
        ),
        (403, "Pool overlaps with other one on this address space"),
        (500, "failed to allocate gateway (10.222.195.1): Address already in use"),
        (500, "subnet 10.89.0.0/24 is already used on the host or by another config"),
        (409, "remove macula-db: volume is in use - [3f2e]"),
        (409, "Container 3f2e is not running"),
        (500, "can only create exec sessions on running containers: container state improper"),
        // not there
        (404, "No such container: macula-db-1"),
        (404, "no container with name or ID \"macula-db-1\" found: no such container"),
        (404, "No such image: nginx:1.30.4"),
        (404, "nginx:1.30.4: image not known"),
        (404, "network macula not found"),
        (404, "unable to find network with name or ID macula: network not found"),
        (404, "get macula-db: no such volume"),
        (404, "no volume with name \"macula-db\" found: no such volume"),
        (404, "page not found"),
        // the disk
        (500, "write /var/lib/docker/tmp/x: no space left on device"),
        (500, "failed to create fsnotify watcher: no space left on device (inotify)"),
        // files
        (403, "container rootfs is marked read-only"),
        // anything else
        (400, "invalid mount config for type \"bind\": bind source path does not exist: /srv/x"),
        (
            500,
            "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        ),
    ];
    let told: Vec<String> = messages
        .iter()
        .map(|(status, message)| {
            let error = server_error("doing x", Some(*status), message);
            let kind = format!("{error:?}");
            let kind = kind.split([' ', '{']).next().unwrap_or_default().to_owned();
            let short: String = error.to_string().chars().take(110).collect();
            format!("{kind:<12} {}", short.replace('\n', " "))
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    PortTaken    doing x: 127.0.0.1:80 is taken
    PortTaken    doing x: 127.0.0.2:3000 is taken
    PortTaken    doing x: 0.0.0.0:53/udp is taken
    PortTaken    doing x: [::1]:80 is taken
    PortTaken    doing x: [::]:80 is taken
    PortTaken    doing x: 127.0.0.1:80 is taken
    PortTaken    doing x: 0.0.0.0:53/udp is taken
    PortTaken    doing x: [::]:8080 is taken
    PortTaken    doing x: 0.0.0.0:80 is taken
    Other        doing x: Ports are not available: exposing port TCP 127.0.0.2:80 -> 127.0.0.1:0: listen tcp 127.0.0.2:80: bind
    PortTaken    doing x: 0.0.0.0:8080 is taken
    Other        doing x: driver failed programming external connectivity on endpoint web (1f): Error starting userland proxy: 
    PortTaken    doing x: 0.0.0.0:8080 is taken
    PortTaken    doing x: 0.0.0.0:8080 is taken
    PortTaken    doing x: 0.0.0.0:8080 is taken
    Conflict     doing x: Address already in use
    Conflict     doing x: failed to set up container networking: Address already in use
    Conflict     doing x: IPAM error: requested ip address 10.89.0.5 is already allocated to container ID 3f2e
    Conflict     doing x: Conflict. The container name "/macula-db-1" is already in use by container "3f2e". You have to remove
    Conflict     doing x: creating container storage: the container name "macula-db-1" is already in use by 3f2e. You have to r
    Conflict     doing x: network with name macula already exists
    Conflict     doing x: network name macula already used: network already exists
    Conflict     doing x: error while removing network: network macula id 3f2e has active endpoints
    Conflict     doing x: "macula" has associated containers with it. Use -f to forcibly delete containers and pods: network is
    SubnetTaken  doing x: Pool overlaps with other one on this address space
    SubnetTaken  doing x: failed to allocate gateway (10.222.195.1): Address already in use
    SubnetTaken  doing x: subnet 10.89.0.0/24 is already used on the host or by another config
    Conflict     doing x: remove macula-db: volume is in use - [3f2e]
    Conflict     doing x: Container 3f2e is not running
    Conflict     doing x: can only create exec sessions on running containers: container state improper
    NotFound     doing x: no such container macula-db-1
    NotFound     doing x: no such container macula-db-1
    NotFound     doing x: no such image nginx:1.30.4
    NotFound     doing x: no such image nginx:1.30.4
    NotFound     doing x: no such network macula
    NotFound     doing x: no such network macula
    NotFound     doing x: no such volume macula-db
    NotFound     doing x: no such volume macula-db
    NotFound     doing x: no such thing: page not found
    DiskFull     doing x: no space left on the engine's disk: write /var/lib/docker/tmp/x: no space left on device
    Other        doing x: failed to create fsnotify watcher: no space left on device (inotify)
    Other        doing x: container rootfs is marked read-only (files of a container with a read-only root go into a volume)
    Other        doing x: invalid mount config for type "bind": bind source path does not exist: /srv/x
    Other        doing x: could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the ne
    "#);
}

#[test]
fn the_troubles_with_an_image_are_told_apart() {
    let messages = [
        // gone, or never there
        "manifest for nginx:nope not found: manifest unknown: manifest unknown",
        "manifest unknown",
        "failed to resolve reference \"docker.io/library/nginx:nope\": docker.io/library/nginx:nope: not found",
        "initializing source docker://quay.io/x/y:z: reading manifest z in quay.io/x/y: name unknown: repository not found",
        "repository 127.0.0.1:5001/x not found: name unknown: repository name not known to registry",
        "error parsing HTTP 404 response body: invalid character '<' looking for beginning of value: \"<!doctype html>\\n<html>",
        // gone or private
        "pull access denied for minio/minio, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        "failed to resolve reference \"docker.io/minio/mc:latest\": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed",
        "initializing source docker://minio/minio:latest: reading manifest latest in docker.io/minio/minio: requested access to the resource is denied",
        "denied: no",
        "initializing source docker://r.example/x:1: reading manifest 1 in r.example/x: denied: no",
        "unknown: failed to resolve reference \"r.example/x:1\": unexpected status from HEAD request to https://r.example/v2/x/manifests/1: 403 Forbidden",
        // a login
        "failed to resolve reference \"r.example/x:1\": pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials",
        "Head \"https://ghcr.io/v2/x/y/manifests/1\": unauthorized",
        "unauthorized: authentication required",
        "error parsing HTTP 403 response body: denied: access forbidden",
        "Get \"https://registry.example/v2/\": no basic auth credentials",
        // too many pulls
        "toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit",
        "toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
        "toomanyrequests: retry-after: 1.284ms, allowed: 44000/minute",
        "toomanyrequests: Rate exceeded",
        "received unexpected HTTP status: 429 Too Many Requests, retry-after: 90",
        // no way
        "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io on 10.0.0.2:53: no such host",
        "Get \"https://registry-1.docker.io/v2/\": dial tcp 3.216.34.172:443: connect: connection refused",
        "Get \"https://registry-1.docker.io/v2/\": dial tcp 3.216.34.172:443: i/o timeout",
        "Get \"https://registry-1.docker.io/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
        "Get \"https://registry-1.docker.io/v2/\": net/http: TLS handshake timeout",
        "Get \"https://registry.local/v2/\": x509: certificate signed by unknown authority",
        "Get \"https://127.0.0.1:5001/v2/\": http: server gave HTTP response to HTTPS client",
        "Get \"https://registry-1.docker.io/v2/\": proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused",
        "Get \"https://registry-1.docker.io/v2/\": EOF",
        "received unexpected HTTP status: 503 Service Unavailable",
        "pinging container registry localhost:5001: Get \"https://localhost:5001/v2/\": dial tcp [::1]:5001: connect: connection refused",
        // it answers, and not well
        "received unexpected HTTP status: 500 Internal Server Error",
        "received unexpected HTTP status: 502 Bad Gateway",
        "failed to resolve reference \"r.example/x:1\": unexpected status from HEAD request to https://r.example/v2/x/manifests/1: 500 Internal Server Error",
        "initializing source docker://r.example/x:1: reading manifest 1 in r.example/x: received unexpected HTTP status: 504 Gateway Timeout",
        // it broke off
        "unexpected EOF",
        "read tcp 10.0.0.2:5->3.2.1.4:443: read: connection reset by peer",
        "read tcp 10.0.0.2:5->3.2.1.4:443: i/o timeout",
        "failed to copy: httpReadSeeker: failed open: stream error: stream ID 7; INTERNAL_ERROR",
        "unexpected end of JSON input",
        // something else under a digest
        "manifest verification failed for digest sha256:0123",
        "filesystem layer verification failed for digest sha256:0123",
        "failed commit on ref \"layer-sha256:1\": unexpected commit digest sha256:2, expected sha256:1: failed precondition",
        "copying system image from manifest list: Digest did not match, expected sha256:1, got sha256:2",
        // another kind of machine
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
        "image operating system \"windows\" cannot be used on this platform",
    ];
    let told: Vec<String> = messages
        .iter()
        .map(|message| {
            let error = image_error("x:1", message);
            let kind = format!("{error:?}");
            let kind = kind.split([' ', '{']).next().unwrap_or_default().to_owned();
            let short: String = error.to_string().chars().take(100).collect();
            format!("{kind:<12} {short}")
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    NotFound     x:1 does not exist in its registry (gone, or never there)
    NotFound     x:1 does not exist in its registry (gone, or never there)
    NotFound     x:1 does not exist in its registry (gone, or never there)
    NotFound     x:1 does not exist in its registry (gone, or never there)
    NotFound     x:1 does not exist in its registry (gone, or never there)
    NotFound     x:1 does not exist in its registry (gone, or never there)
    Denied       x:1 was refused: it is gone or private, its registry has one answer for both (pull access denied for
    Denied       x:1 was refused: it is gone or private, its registry has one answer for both (failed to resolve refe
    Denied       x:1 was refused: it is gone or private, its registry has one answer for both (initializing source do
    Denied       x:1 was refused: it is gone or private, its registry has one answer for both (denied: no)
    Denied       x:1 was refused: it is gone or private, its registry has one answer for both (initializing source do
    Denied       x:1 was refused: it is gone or private, its registry has one answer for both (unknown: failed to res
    Denied       x:1 was refused: a login is needed (failed to resolve reference "r.example/x:1": pull access denied,
    Denied       x:1 was refused: a login is needed (Head "https://ghcr.io/v2/x/y/manifests/1": unauthorized)
    Denied       x:1 was refused: a login is needed (unauthorized: authentication required)
    Denied       x:1 was refused: a login is needed (error parsing HTTP 403 response body: denied: access forbidden)
    Denied       x:1 was refused: a login is needed (Get "https://registry.example/v2/": no basic auth credentials)
    RateLimited  the registry limits pulls of x:1
    RateLimited  the registry limits pulls of x:1
    RateLimited  the registry limits pulls of x:1; try again in 1 s
    RateLimited  the registry limits pulls of x:1
    RateLimited  the registry limits pulls of x:1; try again in 90 s
    Unreachable  cannot reach the registry of x:1: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-
    Unreachable  cannot reach the registry of x:1: Get "https://registry-1.docker.io/v2/": dial tcp 3.216.34.172:443:
    Unreachable  cannot reach the registry of x:1: Get "https://registry-1.docker.io/v2/": dial tcp 3.216.34.172:443:
    Unreachable  cannot reach the registry of x:1: Get "https://registry-1.docker.io/v2/": net/http: request canceled
    BrokeOff     the download of x:1 broke off: Get "https://registry-1.docker.io/v2/": net/http: TLS handshake timeo
    Untrusted    the engine does not trust the registry of x:1: Get "https://registry.local/v2/": x509: certificate s
    Unreachable  cannot reach the registry of x:1: Get "https://127.0.0.1:5001/v2/": http: server gave HTTP response 
    Unreachable  cannot reach the registry of x:1: Get "https://registry-1.docker.io/v2/": proxyconnect tcp: dial tcp
    BrokeOff     the download of x:1 broke off: Get "https://registry-1.docker.io/v2/": EOF
    ServerFault  the registry of x:1 answers with an error of its own: received unexpected HTTP status: 503 Service U
    Unreachable  cannot reach the registry of x:1: pinging container registry localhost:5001: Get "https://localhost:
    ServerFault  the registry of x:1 answers with an error of its own: received unexpected HTTP status: 500 Internal 
    ServerFault  the registry of x:1 answers with an error of its own: received unexpected HTTP status: 502 Bad Gatew
    ServerFault  the registry of x:1 answers with an error of its own: failed to resolve reference "r.example/x:1": u
    ServerFault  the registry of x:1 answers with an error of its own: initializing source docker://r.example/x:1: re
    BrokeOff     the download of x:1 broke off: unexpected EOF
    BrokeOff     the download of x:1 broke off: read tcp 10.0.0.2:5->3.2.1.4:443: read: connection reset by peer
    BrokeOff     the download of x:1 broke off: read tcp 10.0.0.2:5->3.2.1.4:443: i/o timeout
    BrokeOff     the download of x:1 broke off: failed to copy: httpReadSeeker: failed open: stream error: stream ID 
    BrokeOff     the download of x:1 broke off: unexpected end of JSON input
    WrongDigest  the registry sent something other than the digest of x:1 names (manifest verification failed for dig
    WrongDigest  the registry sent something other than the digest of x:1 names (filesystem layer verification failed
    WrongDigest  the registry sent something other than the digest of x:1 names (failed commit on ref "layer-sha256:1
    WrongDigest  the registry sent something other than the digest of x:1 names (copying system image from manifest l
    OtherPlatform x:1 does not fit this machine: no matching manifest for linux/arm64/v8 in the manifest list entries
    OtherPlatform x:1 does not fit this machine: image operating system "windows" cannot be used on this platform
    "#);
}

#[test]
fn a_full_disk_is_no_trouble_of_the_image() {
    let error = Error::DockerStreamError {
        error: "failed to register layer: Error processing tar file(exit status 1): write /x: no space left on device"
            .to_owned(),
    };
    assert!(matches!(pull_error("pulling x", "x", error), EngineError::DiskFull { .. }));
}

#[test]
fn a_retry_time_is_rounded_up() {
    let seconds = |text: &str| retry_after(text);
    assert_eq!(seconds("retry-after: 164.968µs, allowed"), Some(1));
    assert_eq!(seconds("retry-after: 30"), Some(30));
    assert_eq!(seconds("retry after 2 minutes"), Some(2));
    assert_eq!(seconds("retry-after: 2m"), Some(120));
    assert_eq!(seconds("retry-after: soon"), None);
    assert_eq!(seconds("nothing"), None);
}
