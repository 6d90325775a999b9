//! The parts of a URL, for drivers that want them one by one.

use super::language::{Language, Text};

/// The parts of a URL as exports have them.
pub(super) struct Address<'a> {
    pub(super) scheme: &'a str,
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    /// Without the first slash.
    pub(super) path: &'a str,
    /// What stands behind the question mark.
    pub(super) query: &'a str,
}

impl<'a> Address<'a> {
    pub(super) fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        let (behind, _) = behind.split_once('#').unwrap_or((behind, ""));
        let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        // the colons of an IPv6 address stand between brackets
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => (host, port),
            _ => (place, ""),
        };
        let port = if port.is_empty() { usual(scheme) } else { port };
        Some(Self { scheme, user, password, host, port, path: path.trim_start_matches('/'), query })
    }

    /// The host where its port stands elsewhere.
    pub(super) fn host(&self) -> &'a str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Host and port.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Percent-encoding undone: drivers that take the parts of a URL want them as they are.
pub(super) fn decoded(part: &str) -> String {
    // what means something in a form alone stands for itself
    let form = part.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(form.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

/// Whom a URL names, for drivers that take it apart.
pub(super) struct Login<'a> {
    /// Empty: nobody.
    pub(super) user: String,
    /// Empty: none, or it is that of the variable.
    pub(super) password: String,
    pub(super) variable: Option<&'a str>,
}

impl Login<'_> {
    pub(super) fn has_password(&self) -> bool {
        self.variable.is_some() || !self.password.is_empty()
    }

    pub(super) fn user(&self, language: Language) -> String {
        Text::Plain(&self.user).of(language)
    }

    pub(super) fn password(&self, language: Language) -> String {
        self.variable.map_or(Text::Plain(&self.password), Text::Variable).of(language)
    }

    /// For a command line: the options for user and password, where there are any.
    pub(super) fn options(&self, user: &str, password: Option<&str>) -> String {
        if self.user.is_empty() {
            return String::new();
        }
        let user = format!(" {user} {}", self.user(Language::Shell));
        match password.filter(|_| self.has_password()) {
            Some(password) => format!("{user} {password} {}", self.password(Language::Shell)),
            None => user,
        }
    }

    pub(super) fn import_os(&self) -> &'static str {
        if self.variable.is_some() { "import os\n" } else { "" }
    }
}

/// The port of a URL that names none.
pub(super) fn usual(scheme: &str) -> &'static str {
    match scheme {
        "postgresql" | "postgres" => "5432",
        "mysql" | "mariadb" => "3306",
        "mqtt" => "1883",
        "memcached" => "11211",
        "smtp" => "25",
        "https" => "443",
        _ => "80",
    }
}
