//! `x-macula.needs`: what an application needs of the servers that the platform has for all.

use serde::{Deserialize, Serialize};

/// A server of the platform that gives each application a part of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Server {
    Postgres,
    Valkey,
    Mariadb,
    Rabbitmq,
    Nats,
    Memcached,
    Mail,
}

impl Server {
    pub const ALL: [Self; 7] =
        [Self::Postgres, Self::Valkey, Self::Mariadb, Self::Rabbitmq, Self::Nats, Self::Memcached, Self::Mail];

    /// As files have it; the names of the stack and of its service too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Valkey => "valkey",
            Self::Mariadb => "mariadb",
            Self::Rabbitmq => "rabbitmq",
            Self::Nats => "nats",
            Self::Memcached => "memcached",
            Self::Mail => "mail",
        }
    }

    /// By its name, or by that of a program that speaks the same.
    pub fn find(name: &str) -> Option<Self> {
        let name = match name {
            "postgresql" => "postgres",
            "redis" => "valkey",
            "mysql" => "mariadb",
            "smtp" => "mail",
            name => name,
        };
        Self::ALL.into_iter().find(|server| server.name() == name)
    }
}

/// One need of a service: `cache: valkey`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerNeed {
    /// What the service calls it, a lower-case name; its variables begin with it.
    pub key: String,
    pub server: Server,
    /// The user, and what belongs to it: a database, a virtual host, an account. Made of the stack's name and the key.
    pub user: String,
    /// Of the logical database, for a server that numbers them: from 1.
    pub number: u16,
}

/// The number of logical databases that the catalogue's Valkey has.
pub const NUMBERED: u16 = 4096;

/// PostgreSQL cuts longer names, and MariaDB refuses longer databases.
const LONGEST_USER: usize = 63;

impl ServerNeed {
    /// `stack`: the application. Two services of it that call a need the same share it.
    pub fn new(stack: &str, key: &str, server: Server) -> Self {
        let plain = |text: &str| text.replace(|one: char| !one.is_ascii_alphanumeric(), "_").to_ascii_lowercase();
        let mut user = format!("{}_{}", plain(stack), plain(key));
        // PostgreSQL keeps the latter for itself
        if !user.starts_with(|first: char| first.is_ascii_alphabetic()) || user.starts_with("pg_") {
            user.insert_str(0, "app_");
        }
        // FNV-1a, which is the same on every machine
        let hash = user.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        if user.len() > LONGEST_USER {
            user.truncate(LONGEST_USER - 9);
            user.push_str(&format!("_{hash:08x}"));
        }
        let number = u16::try_from(hash % u32::from(NUMBERED - 1)).unwrap_or_default() + 1;
        Self { key: key.to_owned(), server, user, number }
    }

    /// The variable that has all it takes to connect: `CACHE_URL`.
    pub fn url(&self) -> String {
        format!("{}_URL", self.key.to_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_made_of_stack_and_key() {
        let need = ServerNeed::new("my-shop", "cache", Server::Valkey);
        assert_eq!(need.user, "my_shop_cache");
        assert_eq!(need, ServerNeed::new("my-shop", "cache", Server::Valkey));
        assert!((1..NUMBERED).contains(&need.number));
        assert_eq!(ServerNeed::new("2048", "db", Server::Mariadb).user, "app_2048_db");
        assert_eq!(ServerNeed::new("pg", "db", Server::Postgres).user, "app_pg_db");
        let long = |key: &str| ServerNeed::new(&"shop".repeat(15), key, Server::Postgres).user;
        assert_eq!(long("stock"), format!("{}sh_2fd45344", "shop".repeat(13)));
        assert_ne!(long("stock"), long("stuck"));
    }

    proptest::proptest! {
        /// So that nothing has to be quoted in an address, in SQL or in a server's configuration.
        #[test]
        fn a_user_is_plain_whatever_the_stack_is_called(stack in ".{0,80}", key in "[a-z_][a-z0-9_]{0,29}") {
            let ServerNeed { user, number, .. } = ServerNeed::new(&stack, &key, Server::Postgres);
            let plain = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'_';
            proptest::prop_assert!(user.bytes().all(plain) && user.as_bytes()[0].is_ascii_lowercase(), "{user}");
            proptest::prop_assert!((3..=LONGEST_USER).contains(&user.len()) && !user.starts_with("pg_"), "{user}");
            proptest::prop_assert!((1..NUMBERED).contains(&number));
        }
    }

    #[test]
    fn servers_have_the_names_that_people_know_too() {
        assert_eq!(Server::find("redis"), Some(Server::Valkey));
        assert_eq!(Server::find("mysql"), Some(Server::Mariadb));
        assert_eq!(Server::find("kafka"), None);
        for server in Server::ALL {
            assert_eq!(Server::find(server.name()), Some(server));
        }
    }
}
