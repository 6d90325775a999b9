use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The values of every service's secrets: service -> variable -> value. Never shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Secrets(pub BTreeMap<String, BTreeMap<String, String>>);

impl Secrets {
    pub fn get(&self, service: &str, variable: &str) -> Option<&str> {
        self.0.get(service)?.get(variable).map(String::as_str)
    }

    pub fn set(&mut self, service: &str, variable: &str, value: String) {
        self.0.entry(service.to_owned()).or_default().insert(variable.to_owned(), value);
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            self.0.iter().flat_map(|(service, vars)| vars.keys().map(move |var| format!("{service}.{var}"))).collect();
        f.debug_tuple("Secrets").field(&names).finish()
    }
}
