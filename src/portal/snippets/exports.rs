//! What is exported, and what of it may be seen.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::app::{Redactor, tells_a_secret};

use super::address::{Address, Login, decoded};
use super::language::{Snippet, Text};

/// In place of what is hidden.
pub(super) const HIDDEN: &str = "••••";

/// One variable of `macula env`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub name: String,
    pub value: String,
    /// Its value, or a part of it, is hidden from who may only look.
    pub secret: bool,
}

/// One thing to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// `PostgreSQL`
    pub title: &'static str,
    pub url: String,
    pub user: Option<String>,
    pub snippets: Vec<Snippet>,
}

/// What the services of a platform export, and what of it is secret.
pub struct Exports<'a> {
    pub(super) all: &'a BTreeMap<String, String>,
    /// The passwords that macula has made or was given.
    pub(super) secrets: Vec<&'a str>,
    pub(super) redactor: Redactor,
    /// Secrets are written out.
    pub(super) shown: bool,
}

impl<'a> Exports<'a> {
    pub fn new(all: &'a BTreeMap<String, String>, secrets: impl IntoIterator<Item = &'a str>, shown: bool) -> Self {
        let secrets: Vec<&str> = secrets.into_iter().collect();
        let redactor = Redactor::new(secrets.iter().map(|secret| (*secret).to_owned())).with_mask(HIDDEN);
        Self { all, secrets, redactor, shown }
    }

    /// All variables as they may be seen.
    pub fn settings(&self) -> Vec<Setting> {
        let setting = |(name, value): (&String, &String)| {
            let secret = self.hidden(name, value) != *value;
            Setting { name: name.clone(), secret, value: self.masked(name, value) }
        };
        self.all.iter().map(setting).collect()
    }

    pub(super) fn masked(&self, name: &str, value: &str) -> String {
        if self.shown { value.to_owned() } else { self.hidden(name, value) }
    }

    /// A value without what is secret in it.
    fn hidden(&self, name: &str, value: &str) -> String {
        let address = Address::of(value);
        // whoever writes a value of its own into `exports` has told nobody that it is a secret; an address is of use
        // without its password, if it is none whose user or path is one
        if tells_a_secret(name) && !value.is_empty() && !address.as_ref().is_some_and(|address| is_place(name, address))
        {
            return HIDDEN.to_owned();
        }
        // a short one may be a word that stands for something else: `postgres`
        if !value.is_empty() && self.secrets.contains(&value) {
            return HIDDEN.to_owned();
        }
        let mut shown = value.to_owned();
        if let Some(Address { password, .. }) = address
            && !password.is_empty()
        {
            shown = shown.replacen(&format!(":{password}@"), &format!(":{HIDDEN}@"), 1);
        }
        self.redactor.text(&shown)
    }

    /// A part of an address as a driver wants it.
    pub(super) fn part(&self, part: &str) -> String {
        let part = decoded(part);
        if self.shown { part } else { self.redactor.text(&part) }
    }

    /// The value of a variable in a program: the variable itself where the value is hidden.
    pub(super) fn text(&self, name: &'a str) -> Option<Text<'a>> {
        let value = self.all.get(name)?;
        let plain = self.shown || self.hidden(name, value) == *value;
        Some(if plain { Text::Plain(value) } else { Text::Variable(name) })
    }

    pub(super) fn made(
        &self,
        title: &'static str,
        name: &str,
        value: &str,
        user: Option<String>,
        snippets: Vec<Snippet>,
    ) -> Way {
        // a secret that is no password of a URL: an access key for its user, a token in its path
        let masked = |one: Snippet| match self.shown {
            true => one,
            false => Snippet { text: self.redactor.without_known(&one.text), ..one },
        };
        let snippets = snippets.into_iter().map(masked).collect();
        Way { title, url: self.masked(name, value), user, snippets }
    }

    /// Whom a URL names; none where the password is hidden and no variable has it alone.
    pub(super) fn login(&self, name: &str, address: &Address<'_>) -> Option<Login<'a>> {
        let user = self.part(address.user);
        if user.is_empty() {
            return Some(Login { user, password: String::new(), variable: None });
        }
        let password = decoded(address.password);
        if self.shown || password.is_empty() {
            return Some(Login { user, password, variable: None });
        }
        let usual = format!("{}_PASSWORD", name.strip_suffix("_URL").unwrap_or(name));
        // a database may be called as its password is
        let alone = self.all.iter().filter(|(name, value)| **value == password && tells_a_secret(name));
        let alone = alone.map(|(name, _)| name.as_str());
        let variable = alone.min_by_key(|name| (*name != usual, !name.ends_with("PASSWORD")))?;
        Some(Login { user, password: String::new(), variable: Some(variable) })
    }
}

/// Whether a value whose name tells a secret is an address that may be seen without its password. `SENTRY_DSN` has its
/// key for a user, and a webhook in its path.
fn is_place(name: &str, address: &Address<'_>) -> bool {
    let upper = name.to_uppercase();
    upper.ends_with("URL") || upper.ends_with("DSN") && !address.scheme.starts_with("http")
}
