//! Every line that a page shows to be typed, in the order of the pages, with what becomes of it in the tests. A line that
//! is not here, and one here that is on no page, fail `tests/pages`.

/// What is done with a line.
#[allow(dead_code, reason = "two suites read it, each its own part")]
pub enum Way {
    /// Run without an engine by `tests/pages`: its exit code, and something that it says.
    Alone(i32, &'static str),
    /// Run by `tests/scenarios/pages.rs` on a platform of its own: its exit code, and something that it says.
    Engine(i32, &'static str),
    /// Run there until it says this, and then interrupted.
    Until(&'static str),
    /// Read as the program reads its command line, and not run: why, and where it is run otherwise.
    Read(&'static str),
    /// Not a command of macula's, or one whose surroundings are not here: why.
    Foreign(&'static str),
}

use Way::{Alone, Engine, Foreign, Read, Until};

const MACHINE: &str = "it changes the machine: tests/names.rs and tests/pki do that in namespaces of their own";
const POWERDNS: &str = "PowerDNS is built from packages: tests/scenarios/full.rs";
const CLUSTER: &str = "a cluster takes kind and its node image: src/app/commands/cluster_tests";
const KUBERNETES: &str = "it asks a cluster: tests/kubernetes has an API server";
const SWARM: &str = "it asks a swarm: tests/scenarios/swarm.rs has one of its own";
const REGISTRY: &str = "it asks the built-in registry: tests/scenarios/full.rs";
const DUMP: &str = "PostgreSQL is built from packages: tests/scenarios/full.rs takes these steps";
const INSTALLED: &str = "the machine does not ask our resolver";

pub const TYPED: &[(&str, &[(&str, Way)])] = &[
    (
        "README.md",
        &[
            ("cargo run --release -- up --yes", Read("it builds the program first, and installs an engine")),
            ("cargo test", Foreign("that is what runs here")),
            ("cd project && macula up", Engine(0, "prometheus")),
            ("macula run --as shop -- npm run dev", Until("leads to port")),
            ("macula dns install", Read(MACHINE)),
            ("macula trust install", Read(MACHINE)),
            ("curl https://prometheus.macula.local/-/healthy", Engine(0, "Healthy")),
            ("curl -H 'Host: prometheus.macula.local' http://127.0.0.1/-/healthy", Engine(0, "Healthy")),
            ("docker push 127.0.0.1:5001/app:1", Foreign(REGISTRY)),
            (
                "eval \"$(macula env --format shell)\" && psql -c 'select 1'",
                Engine(0, "select 1, asked of postgres://"),
            ),
            ("dig @127.0.0.8 macula.local SOA", Foreign(POWERDNS)),
            ("macula cluster status", Read(CLUSTER)),
            ("kubectl --context macula apply -f kind/examples/hello.yaml", Foreign(KUBERNETES)),
            ("macula stack deploy shop --target swarm --dry-run", Read(SWARM)),
            ("macula stack scale shop api=3 --target swarm", Read(SWARM)),
            ("macula stack deploy shop --target kubernetes --context staging", Read(KUBERNETES)),
            ("macula stack render shop --target kubernetes --dir manifests", Alone(0, "in manifests")),
            ("macula up", Engine(0, "nothing to do")),
            ("macula plan", Engine(0, "nothing to do")),
            ("macula status", Engine(0, "nothing to change")),
            ("macula top", Engine(0, "CPU")),
            ("macula logs -f prometheus", Until("prometheus listens")),
            ("macula exec postgres psql -U postgres", Engine(0, "psql of the container: -U postgres")),
            ("macula creds", Engine(0, "POSTGRES_PASSWORD")),
            ("macula env > .env", Engine(0, "")),
            ("macula run --as shop -- npm run dev", Until("leads to port")),
            ("macula open draw", Engine(0, "")),
            ("macula dns add shop A 127.0.0.50", Read(POWERDNS)),
            ("macula images list", Engine(0, "macula-test/busybox:1")),
            ("macula restart prometheus", Engine(0, "restarted prometheus")),
            ("macula down", Engine(0, "is down")),
            ("macula down --volumes", Engine(8, "--yes")),
            ("macula doctor --fix", Read("it changes the machine: src/doctor/tests")),
            ("macula validate", Engine(7, "is down: none of its names can work")),
            ("macula help troubleshooting", Alone(0, "WHEN SOMETHING IS WRONG")),
            ("macula upgrade --from ADDRESS", Read("it needs a release: tests/packaging.rs")),
            ("macula uninstall", Read("it removes all platforms: src/app/commands/uninstall.rs")),
            ("macula ci -- npm test", Engine(0, "tested with postgres://")),
            ("macula up --yes --progress plain --timeout 5m", Engine(0, "is up")),
            ("macula env --format github", Engine(0, "")),
            ("macula wait https://shop.macula.local/ready", Engine(0, "is healthy")),
        ],
    ),
    (
        "docs/catalog.md",
        &[
            ("macula add", Alone(0, "valkey")),
            ("macula add valkey nats", Alone(0, "added valkey and nats")),
            ("macula up", Read("it builds the servers from packages: tests/scenarios/catalog.rs")),
        ],
    ),
    (
        "docs/ci.md",
        &[
            ("macula ci -- npm test", Engine(0, "tested with postgres://")),
            ("macula ci --needs postgres,s3 -- cargo test", Engine(0, "tested with postgres://")),
            ("macula up &", Engine(0, "")),
            ("macula wait postgres shop", Engine(0, "shop is healthy")),
            ("macula wait https://shop.macula.local/ready", Engine(0, "is healthy")),
            ("macula wait --for resolvable", Read(INSTALLED)),
            ("macula wait web --for gone --timeout 30s", Engine(0, "web is gone")),
        ],
    ),
    ("docs/cluster-addons.md", &[("kubectl label namespace shop dev.macula.ca=true", Foreign(KUBERNETES))]),
    (
        "docs/cluster.md",
        &[
            ("macula cluster create", Read(CLUSTER)),
            ("macula cluster status", Read(CLUSTER)),
            ("kubectl --context macula get pods -A", Foreign(KUBERNETES)),
            ("macula cluster load app:1", Read(CLUSTER)),
            ("macula cluster stop", Read(CLUSTER)),
            ("macula cluster delete", Read(CLUSTER)),
            ("kubectl --context macula apply -f kind/examples/hello.yaml", Foreign(KUBERNETES)),
            ("curl http://hello.macula.local", Foreign(KUBERNETES)),
        ],
    ),
    (
        "docs/data.md",
        &[
            ("macula exec -T postgres pg_dump -U postgres -Fc shop > shop.dump", Read(DUMP)),
            (
                "macula exec -T postgres pg_restore -f /dev/null < shop.dump && macula exec -T postgres psql -U postgres -c 'drop database if exists shop with (force)' -c 'create database shop'",
                Read(DUMP),
            ),
            (
                "macula exec -T postgres psql -U postgres -d shop -c 'create extension if not exists timescaledb' -c 'select timescaledb_pre_restore()'",
                Read(DUMP),
            ),
            ("macula exec -T postgres pg_restore -U postgres -d shop < shop.dump", Read(DUMP)),
            ("macula exec -T postgres psql -U postgres -d shop -c 'select timescaledb_post_restore()'", Read(DUMP)),
            ("eval \"$(macula env --format shell)\"", Engine(0, "")),
            ("aws s3 sync s3://shop backup/shop", Foreign("it is a client of the S3 server: tests/scenarios/full.rs")),
            ("aws s3 sync backup/shop s3://shop", Foreign("it is a client of the S3 server: tests/scenarios/full.rs")),
            ("macula stop registry", Read(REGISTRY)),
            (
                "docker run --rm -v macula-registry:/data:ro -v \"$PWD\":/backup busybox tar -czf /backup/registry.tar.gz -C /data .",
                Foreign(REGISTRY),
            ),
            ("macula start registry", Read(REGISTRY)),
            ("macula stop registry", Read(REGISTRY)),
            (
                "docker run --rm -v macula-registry:/data -v \"$PWD\":/backup:ro busybox sh -c 'tar -tzf /backup/registry.tar.gz >/dev/null && find /data -mindepth 1 -maxdepth 1 -exec rm -rf {} + && tar -xzf /backup/registry.tar.gz -C /data'",
                Foreign("tests/scenarios/databases.rs does it with another volume"),
            ),
            ("macula start registry", Read(REGISTRY)),
        ],
    ),
    (
        "docs/dns.md",
        &[
            ("macula up", Engine(0, "is up")),
            ("macula dns install", Read(MACHINE)),
            ("curl https://prometheus.macula.local", Engine(0, "hello")),
            ("psql -h postgres.macula.local -U postgres", Foreign(INSTALLED)),
            ("macula dns uninstall", Read(MACHINE)),
            ("macula dns add shop A 127.0.0.50", Read(POWERDNS)),
            ("macula dns add '*.shop' CNAME shop", Read(POWERDNS)),
            ("macula dns add @ MX \"10 mail\"", Read(POWERDNS)),
            ("macula dns list", Engine(0, "NAME")),
            ("macula dns remove shop", Read(POWERDNS)),
            ("macula validate", Engine(7, "try: macula")),
            ("macula dns trace prometheus", Engine(7, "asked from")),
            ("macula dns query shop", Engine(0, "how:")),
            ("macula dns serve --dot --doh", Read("the resolver runs already: tests/dns")),
            ("kdig @127.0.0.9 +tls prometheus.macula.local", Foreign("tests/dns")),
            ("curl --doh-url https://127.0.0.9/dns-query https://prometheus.macula.local", Foreign("tests/dns")),
        ],
    ),
    (
        "docs/install.md",
        &[
            ("macula upgrade --check --from ADDRESS", Read("it needs a release: tests/packaging.rs")),
            ("macula upgrade --from ADDRESS", Read("it needs a release: tests/packaging.rs")),
        ],
    ),
    (
        "docs/mcp.md",
        &[
            ("macula mcp --install", Alone(8, "\"mcpServers\"")),
            ("macula mcp --install=vscode", Alone(8, ".vscode/mcp.json for Visual Studio Code?")),
        ],
    ),
    ("docs/page.md", &[("macula open home", Engine(0, ""))]),
    ("docs/run.md", &[("macula run --as shop --needs postgres -- npm run dev", Until("leads to port"))]),
    (
        "docs/stacks.md",
        &[
            ("macula images save shop.bundle", Engine(0, "in shop.bundle")),
            ("macula up --bundle shop.bundle", Engine(0, "nothing to do")),
        ],
    ),
    (
        "docs/start.md",
        &[
            ("macula up --yes", Engine(0, "is up")),
            ("macula status", Engine(0, "nothing to change")),
            ("macula open home", Engine(0, "")),
            (
                "eval \"$(macula env --format shell)\" && psql -c 'select 1'",
                Engine(0, "select 1, asked of postgres://"),
            ),
            ("curl -H 'Host: prometheus.macula.local' http://127.0.0.1/-/healthy", Engine(0, "Healthy")),
            ("macula dns install", Read(MACHINE)),
            ("macula trust install", Read(MACHINE)),
            ("curl https://prometheus.macula.local/-/healthy", Engine(0, "Healthy")),
            ("cd project && macula up", Engine(0, "nothing to do")),
            ("curl https://web.macula.local", Foreign(INSTALLED)),
            ("macula exec web env", Read("the service is that of the page: tests/pages/files.rs")),
            ("macula run --as shop -- npm run dev", Until("leads to port")),
            ("macula down", Engine(0, "is down")),
            ("macula up", Engine(0, "is up")),
            ("macula down --volumes", Engine(8, "--yes")),
            ("macula uninstall", Read("it removes all platforms: src/app/commands/uninstall.rs")),
        ],
    ),
    (
        "docs/targets.md",
        &[
            (
                "macula stack render shop --target kubernetes | kubectl apply --dry-run=server -f -",
                Alone(0, "kind: Deployment"),
            ),
            ("macula stack render shop --target kubernetes --dir manifests", Alone(0, "in manifests")),
            ("macula stack render shop --target swarm", Alone(0, "shop_web")),
            ("macula images build --stack shop", Engine(0, "built in")),
            (
                "docker tag shop/web:1 registry.macula.local/shop/web:1 && docker push registry.macula.local/shop/web:1",
                Foreign(REGISTRY),
            ),
            ("macula stack deploy shop --target swarm --dry-run", Read(SWARM)),
            ("macula stack deploy shop --target swarm", Read(SWARM)),
            ("macula stack status shop --target swarm", Read(SWARM)),
            ("macula stack validate shop --target swarm", Read(SWARM)),
            ("macula stack scale shop web=3 --target swarm", Read(SWARM)),
            ("macula stack remove shop --target swarm", Read(SWARM)),
            ("macula stack deploy shop --target kubernetes --context staging --dry-run", Read(KUBERNETES)),
            ("macula stack deploy shop --target kubernetes --context staging", Read(KUBERNETES)),
            ("macula stack status shop --target kubernetes --context staging", Read(KUBERNETES)),
            ("macula stack validate shop --target kubernetes --context staging", Read(KUBERNETES)),
            ("macula stack scale shop web=3 --target kubernetes --context staging", Read(KUBERNETES)),
            ("macula stack remove shop --target kubernetes --context staging", Read(KUBERNETES)),
            (
                "macula stack render shop --target kubernetes --show-secrets --accept-losses | kubectl apply --server-side -f -",
                Alone(0, "kind: Deployment"),
            ),
        ],
    ),
    (
        "docs/telemetry.md",
        &[
            ("macula up", Engine(0, "is up")),
            ("macula run --as shop -- python app.py", Engine(0, "sent")),
            ("macula traces", Engine(0, "GET /checkout")),
            ("macula traces 5b8efff798", Engine(0, "GET /checkout")),
            ("macula traces --map", Engine(0, "no service has called another")),
            ("macula open home", Engine(0, "")),
        ],
    ),
    ("docs/terminal.md", &[("source <(macula completions bash)", Alone(0, ""))]),
    (
        "docs/testing.md",
        &[
            ("cargo test --locked --no-run --test engine --test scenarios", Foreign("that is what runs here")),
            ("tests/engines/run podman-trixie tests/engines/test engine", Foreign("it takes an engine of its own")),
            (
                "tests/engines/run docker-sid-containerd tests/engines/test scenarios -- everyday:: order::",
                Foreign("it takes an engine of its own"),
            ),
            (
                "MACULA_CI_ENGINES='podman-bookworm docker-trixie' .ci/run",
                Foreign("it takes engines of its own, and an hour"),
            ),
            ("macula doctor -v", Read("it says what this machine is like: src/doctor/tests")),
            ("macula up --yes", Engine(0, "is up")),
            ("macula status -a", Engine(0, "nothing to change")),
            ("macula validate", Engine(0, "the platform has no names")),
            ("macula dns install && macula trust install", Read(MACHINE)),
            ("curl -sS https://registry.macula.local/v2/", Foreign(REGISTRY)),
            ("macula stop && macula start", Engine(0, "started web")),
            ("macula up --yes", Engine(0, "nothing to do")),
            ("macula down", Engine(0, "is down")),
            ("macula report", Engine(0, "wrote macula-report-")),
        ],
    ),
    (
        "docs/walk.md",
        &[
            ("macula add mosquitto", Alone(0, "added mosquitto")),
            ("macula stack config mosquitto", Alone(0, "eclipse-mosquitto:2.0")),
            ("cargo test --no-fail-fast --test config --test docs --test catalogue", Foreign("that is what runs here")),
            ("MACULA_UPDATE_DOCS=1 cargo test --test docs", Foreign("it writes pages")),
            ("macula --name try up", Read("it builds the server from packages")),
            ("macula --name try creds mosquitto", Read("the server is not there")),
            ("macula --name try down --volumes", Read("there is nothing to remove")),
            ("cargo test --lib --workspace config", Foreign("that is what runs here")),
        ],
    ),
];
