//! Queues, mail and telemetry.

use super::address::{Address, decoded};
use super::exports::Exports;
use super::language::{Language, Shape, Snippet, Text, snippet};

pub(super) const AMQP: [Shape; 4] = [
    Shape::new(
        "Python (pika)",
        "pip install pika",
        Language::Python,
        "@os\nimport pika\n\nconnection = pika.BlockingConnection(pika.URLParameters(@))\nchannel = connection.channel()",
    ),
    Shape::new(
        "Node (amqplib)",
        "npm install amqplib",
        Language::Node,
        "import amqp from 'amqplib'\n\nconst connection = await amqp.connect(@)\n\
         const channel = await connection.createChannel()",
    ),
    Shape::new(
        "Go (amqp091-go)",
        "go get github.com/rabbitmq/amqp091-go",
        Language::Go,
        "connection, err := amqp.Dial(@)",
    ),
    Shape::new(
        "Java (RabbitMQ client)",
        "com.rabbitmq:amqp-client",
        Language::Java,
        "ConnectionFactory factory = new ConnectionFactory();\nfactory.setUri(@);\nConnection connection = factory.newConnection();",
    ),
];

pub(super) const NATS: [Shape; 4] = [
    Shape::new("nats", "", Language::Shell, "nats --server @ sub '>'"),
    Shape::new(
        "Python (nats-py)",
        "pip install nats-py",
        Language::Python,
        "import asyncio\n@os\nimport nats\n\nasync def main():\n    connection = await nats.connect(@)\n    \
         await connection.publish(\"hello\", b\"world\")\n    await connection.drain()\n\nasyncio.run(main())",
    ),
    Shape::new("Go (nats.go)", "go get github.com/nats-io/nats.go", Language::Go, "connection, err := nats.Connect(@)"),
    Shape::new("Java (jnats)", "io.nats:jnats", Language::Java, "Connection connection = Nats.connect(@);"),
];

const MQTT_NODE: Shape = Shape::new(
    "Node (mqtt)",
    "npm install mqtt",
    Language::Node,
    "import mqtt from 'mqtt'\n\nconst client = await mqtt.connectAsync(@)",
);

pub(super) fn mqtt(exports: &Exports<'_>, name: &str, url: Text<'_>, address: &Address<'_>) -> Vec<Snippet> {
    let node = MQTT_NODE.with(url);
    let Some(login) = exports.login(name, address) else { return vec![node] };
    let (host, port) = (exports.part(address.host()), address.port);
    let host = Text::Plain(&host);
    let user = login.user(Language::Python);
    let set = match (login.user.is_empty(), login.has_password()) {
        (true, _) => String::new(),
        (false, false) => format!("client.username_pw_set({user})\n"),
        (false, true) => format!("client.username_pw_set({user}, {})\n", login.password(Language::Python)),
    };
    vec![
        snippet(
            "mosquitto_sub",
            "",
            format!(
                "mosquitto_sub -h {} -p {port}{} -t '#' -v",
                host.of(Language::Shell),
                login.options("-u", Some("-P"))
            ),
        ),
        snippet(
            "Python (paho)",
            "pip install paho-mqtt",
            format!(
                "{}import paho.mqtt.client as mqtt\n\nclient = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)\n\
                 {set}client.connect({}, {port})",
                login.import_os(),
                host.of(Language::Python)
            ),
        ),
        node,
    ]
}

pub(super) fn smtp(address: &Address<'_>) -> Vec<Snippet> {
    let (host, port, place) = (decoded(address.host()), address.port, address.place());
    let (host, place) = (Text::Plain(&host), Text::Plain(&place));
    vec![
        snippet(
            "Python (smtplib)",
            "",
            format!(
                "import smtplib\n\nwith smtplib.SMTP({}, {port}) as server:\n    \
                 server.sendmail(\"me@example.com\", [\"you@example.com\"], \"Subject: Hello\\r\\n\\r\\nHello\")",
                host.of(Language::Python)
            ),
        ),
        snippet(
            "Node (nodemailer)",
            "npm install nodemailer",
            format!(
                "import nodemailer from 'nodemailer'\n\nconst mail = nodemailer.createTransport({{ host: {}, port: {port}, secure: false }})",
                host.of(Language::Node)
            ),
        ),
        snippet(
            "Go (net/smtp)",
            "",
            format!(
                "err := smtp.SendMail({}, nil, \"me@example.com\", []string{{\"you@example.com\"}}, \
                 []byte(\"Subject: Hello\\r\\n\\r\\nHello\"))",
                place.of(Language::Go)
            ),
        ),
    ]
}

pub(super) fn otlp(url: Text<'_>, address: &Address<'_>) -> Vec<Snippet> {
    let url = url.of(Language::Shell);
    let set = format!(
        "export OTEL_EXPORTER_OTLP_ENDPOINT={url} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_SERVICE_NAME=shop\n"
    );
    vec![
        snippet(
            "curl",
            "",
            format!("curl -i {url}/v1/traces -H 'content-type: application/json' -d '{{\"resourceSpans\": []}}'"),
        ),
        snippet(
            "Python",
            "pip install opentelemetry-distro opentelemetry-exporter-otlp-proto-http",
            format!("{set}opentelemetry-instrument python app.py"),
        ),
        snippet(
            "Node",
            "npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node",
            format!("{set}node --require @opentelemetry/auto-instrumentations-node/register app.js"),
        ),
        snippet(
            "Go",
            "go get go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp",
            format!(
                "exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpoint({}), otlptracehttp.WithInsecure())",
                Text::Plain(&address.place()).of(Language::Go)
            ),
        ),
        snippet("Java", "", format!("{set}java -javaagent:opentelemetry-javaagent.jar -jar app.jar")),
    ]
}
