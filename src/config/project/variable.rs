//! What the variables of a project say about the servers that it talks to.

use crate::model::Server;

/// Variables whose value is the kind of a database.
const DRIVERS: [&str; 5] = ["DB_CONNECTION", "DB_TYPE", "DB_ENGINE", "DB_CLIENT", "DB_DIALECT"];

/// The server that a variable of a project speaks of.
pub(super) fn server_of(variable: &str, value: &str) -> Option<Server> {
    let scheme = value.split_once("://").map(|(scheme, _)| scheme.split('+').next().unwrap_or(scheme));
    match scheme {
        Some("postgres" | "postgresql" | "postgis") => return Some(Server::Postgres),
        Some("redis" | "rediss" | "valkey") => return Some(Server::Valkey),
        Some("mysql" | "mysql2" | "mariadb") => return Some(Server::Mariadb),
        Some("amqp" | "amqps") => return Some(Server::Rabbitmq),
        Some("nats") => return Some(Server::Nats),
        Some("smtp" | "smtps") => return Some(Server::Mail),
        Some("memcached") => return Some(Server::Memcached),
        _ => {}
    }
    let upper = variable.to_ascii_uppercase();
    // frameworks name the driver by one variable, and have others for its host and its user
    if DRIVERS.contains(&upper.as_str()) {
        return match value.rsplit('.').next()? {
            "mysql" | "mariadb" => Some(Server::Mariadb),
            "pgsql" | "postgres" | "postgresql" => Some(Server::Postgres),
            _ => None,
        };
    }
    let begins = |all: &[&str]| all.iter().any(|start| upper.starts_with(start));
    if begins(&["REDIS_", "VALKEY_"]) {
        Some(Server::Valkey)
    } else if begins(&["MYSQL_", "MARIADB_"]) {
        Some(Server::Mariadb)
    } else if begins(&["RABBITMQ_", "AMQP_"]) {
        Some(Server::Rabbitmq)
    } else if begins(&["NATS_"]) {
        Some(Server::Nats)
    } else if begins(&["SMTP_", "MAIL_HOST", "EMAIL_HOST", "MAILER_"]) {
        Some(Server::Mail)
    } else if begins(&["MEMCACHE"]) {
        Some(Server::Memcached)
    } else if begins(&["POSTGRES_", "PGHOST", "PGDATABASE"]) {
        Some(Server::Postgres)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_speaks_of_a_server_by_its_value_or_else_by_its_name() {
        for (variable, value, server) in [
            ("CACHE", "rediss://localhost", Some(Server::Valkey)),
            ("DB", "mysql+pymysql://localhost", Some(Server::Mariadb)),
            ("REDIS_HOST", "localhost", Some(Server::Valkey)),
            ("REDIS_OR_ELSE", "memcached://localhost", Some(Server::Memcached)),
            ("PAGE", "https://localhost", None),
            ("DB_CONNECTION", "mysql", Some(Server::Mariadb)),
            ("db_client", "pgsql", Some(Server::Postgres)),
            ("DB_ENGINE", "django.db.backends.postgresql", Some(Server::Postgres)),
            ("DB_TYPE", "sqlite", None),
            ("DB_HOST", "mysql", None),
        ] {
            assert_eq!(server_of(variable, value), server, "{variable}={value}");
        }
    }
}
