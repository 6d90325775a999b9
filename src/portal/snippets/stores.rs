//! Objects, caches and images.

use super::address::{Address, decoded};
use super::exports::Exports;
use super::language::{Language, Shape, Snippet, Text, import_os, snippet, with};

pub(super) fn s3(exports: &Exports<'_>, endpoint: Text<'_>) -> Vec<Snippet> {
    let region = exports.text("AWS_REGION").unwrap_or(Text::Plain("us-east-1"));
    let keys = exports.text("AWS_ACCESS_KEY_ID").zip(exports.text("AWS_SECRET_ACCESS_KEY"));
    // without them a program looks for its own
    let told = |language: Language| keys.map(|(id, key)| (id.of(language), key.of(language)));
    let set = told(Language::Shell)
        .filter(|_| exports.shown)
        .map(|(id, key)| format!("AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={key} "));
    let python = told(Language::Python)
        .map(|(id, key)| format!("    aws_access_key_id={id},\n    aws_secret_access_key={key},\n"));
    let node = told(Language::Node)
        .map(|(id, key)| format!("  credentials: {{ accessKeyId: {id}, secretAccessKey: {key} }},\n"));
    let go = told(Language::Go)
        .map(|(id, key)| format!("\tCredentials:  credentials.NewStaticCredentialsProvider({id}, {key}, \"\"),\n"));
    let mut read = vec![endpoint, region];
    read.extend(keys.map(|(id, _)| id));
    read.extend(keys.map(|(_, key)| key));
    let import = read.into_iter().map(import_os).find(|import| !import.is_empty()).unwrap_or_default();
    vec![
        snippet(
            "AWS CLI",
            "pip install awscli",
            format!(
                "{}aws --endpoint-url {} --region {} s3 ls",
                set.unwrap_or_default(),
                endpoint.of(Language::Shell),
                region.of(Language::Shell)
            ),
        ),
        snippet(
            "Python (boto3)",
            "pip install boto3",
            format!(
                "{import}import boto3\n\ns3 = boto3.client(\n    \"s3\",\n    endpoint_url={},\n    region_name={},\n{})\n\
                 print([bucket[\"Name\"] for bucket in s3.list_buckets()[\"Buckets\"]])",
                endpoint.of(Language::Python),
                region.of(Language::Python),
                python.unwrap_or_default()
            ),
        ),
        snippet(
            "Node (AWS SDK)",
            "npm install @aws-sdk/client-s3",
            format!(
                "import {{ ListBucketsCommand, S3Client }} from '@aws-sdk/client-s3'\n\nconst s3 = new S3Client({{\n  \
                 endpoint: {}, region: {}, forcePathStyle: true,\n{}}})\n\
                 console.log((await s3.send(new ListBucketsCommand({{}}))).Buckets)",
                endpoint.of(Language::Node),
                region.of(Language::Node),
                node.unwrap_or_default()
            ),
        ),
        snippet(
            "Go (AWS SDK)",
            "go get github.com/aws/aws-sdk-go-v2/service/s3 github.com/aws/aws-sdk-go-v2/credentials",
            format!(
                "client := s3.New(s3.Options{{\n\tBaseEndpoint: aws.String({}),\n\tRegion:       {},\n\t\
                 UsePathStyle: true,\n{}}})",
                endpoint.of(Language::Go),
                region.of(Language::Go),
                go.unwrap_or_default()
            ),
        ),
    ]
}

pub(super) const REDIS: [Shape; 5] = [
    Shape::new("redis-cli", "", Language::Shell, "redis-cli -u @ ping"),
    Shape::new(
        "Python (redis)",
        "pip install redis",
        Language::Python,
        "@os\nimport redis\n\ncache = redis.Redis.from_url(@)\nprint(cache.ping())",
    ),
    Shape::new(
        "Node (redis)",
        "npm install redis",
        Language::Node,
        "import { createClient } from 'redis'\n\nconst cache = await createClient({ url: @ }).connect()\n\
         console.log(await cache.ping())",
    ),
    Shape::new(
        "Go (go-redis)",
        "go get github.com/redis/go-redis/v9",
        Language::Go,
        "options, err := redis.ParseURL(@)\ncache := redis.NewClient(options)",
    ),
    Shape::new(
        "Java (Jedis)",
        "redis.clients:jedis",
        Language::Java,
        "JedisPooled cache = new JedisPooled(URI.create(@));",
    ),
];

/// Of host and port.
const MEMCACHED: [Shape; 2] = [
    Shape::new(
        "Node (memjs)",
        "npm install memjs",
        Language::Node,
        "import memjs from 'memjs'\n\nconst cache = memjs.Client.create(@)",
    ),
    Shape::new(
        "Go (gomemcache)",
        "go get github.com/bradfitz/gomemcache/memcache",
        Language::Go,
        "cache := memcache.New(@)",
    ),
];

/// Of host and port.
pub(super) const REGISTRY: [Shape; 1] =
    [Shape::new("docker", "", Language::Shell, "docker tag app:1 @/app:1\ndocker push @/app:1")];

pub(super) fn memcached(address: &Address<'_>) -> Vec<Snippet> {
    let host = Text::Plain(&decoded(address.host())).of(Language::Python);
    let port = address.port;
    let mut all = vec![snippet(
        "Python (pymemcache)",
        "pip install pymemcache",
        format!("from pymemcache.client.base import Client\n\ncache = Client(({host}, {port}))"),
    )];
    all.extend(with(&MEMCACHED, Text::Plain(&address.place())));
    all
}
