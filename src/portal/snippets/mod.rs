//! How programs connect to what a service exports, in several languages. Pure.
//!
//! What is secret stands as the variable that `macula env` sets, unless it is to be shown.

mod address;
mod databases;
mod exports;
mod language;
mod messages;
mod stores;

use address::{Address, decoded};
use exports::{HIDDEN, Way};
use language::{Language, Shape, with};

pub use exports::Exports;

const HTTP: [Shape; 1] = [Shape::new("curl", "", Language::Shell, "curl @")];

impl<'a> Exports<'a> {
    /// What there is to connect to.
    pub fn ways(&self) -> Vec<Way> {
        let mut known: Vec<&str> = Vec::new();
        let mut names: Vec<(&String, &String)> = self.all.iter().collect();
        // of several names of one address the shortest
        names.sort_by_key(|(name, _)| (name.len(), *name));
        let mut ways: Vec<(usize, Way)> = Vec::new();
        for (name, value) in names {
            if known.contains(&value.as_str()) {
                continue;
            }
            if let Some(found) = self.way(name, value) {
                known.push(value);
                ways.push(found);
            }
        }
        ways.sort_by_key(|(rank, _)| *rank);
        ways.into_iter().map(|(_, way)| way).collect()
    }

    fn way(&self, name: &'a str, value: &'a str) -> Option<(usize, Way)> {
        let url = self.text(name)?;
        if name == "REGISTRY" {
            return Some((7, self.made("Registry", name, value, None, with(&stores::REGISTRY, url))));
        }
        let address = Address::of(value)?;
        // nothing of it may be seen
        if self.masked(name, value) == HIDDEN {
            return None;
        }
        let user = Some(self.masked("", &decoded(address.user))).filter(|user| !user.is_empty());
        let (rank, title, snippets) = match (name, address.scheme) {
            ("OTEL_EXPORTER_OTLP_ENDPOINT", _) => (8, "Traces, logs and metrics (OTLP)", messages::otlp(url, &address)),
            ("AWS_ENDPOINT_URL", _) => (1, "S3", stores::s3(self, url)),
            (_, "postgresql" | "postgres") => (0, "PostgreSQL", databases::postgres(self, name, url, &address)),
            (_, "mysql" | "mariadb") => (0, "MariaDB, MySQL", databases::mysql(self, name, url, &address)),
            (_, "redis" | "rediss" | "valkey") => (2, "Valkey, Redis", with(&stores::REDIS, url)),
            (_, "amqp" | "amqps") => (3, "AMQP", with(&messages::AMQP, url)),
            (_, "nats") => (3, "NATS", with(&messages::NATS, url)),
            (_, "mqtt") => (3, "MQTT", messages::mqtt(self, name, url, &address)),
            (_, "memcached") => (2, "memcached", stores::memcached(&address)),
            (_, "smtp") => (5, "SMTP", messages::smtp(&address)),
            (_, "http" | "https") => (6, "HTTP", with(&HTTP, url)),
            _ => return None,
        };
        Some((rank, self.made(title, name, value, user, snippets)))
    }
}

#[cfg(test)]
mod tests;
