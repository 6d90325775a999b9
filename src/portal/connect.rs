//! How programs connect to a service, and its passwords: what `macula env` and `macula creds` say.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::PlatformName;

use super::Shared;
use super::looks::{PATIENCE, failed};
use super::snippets::Exports;

impl Shared {
    /// `shown`: with what is secret, which is for who has the keys alone.
    pub async fn connect(&self, platform: &PlatformName, service: &str, shown: bool) -> Value {
        let folder = self.folder_of(platform).await;
        let ask = async |words: &[&str]| self.command(Some(platform), folder.as_ref(), words, PATIENCE).await;
        let words = ["env", "--", service];
        // without a service: what concerns all of them
        let words = if service.is_empty() { &words[..1] } else { &words[..] };
        let (exported, creds) = tokio::join!(ask(words), ask(&["creds"]));
        told(&exported, &creds, service, shown)
    }
}

/// What a page is told of what the two commands have printed. Pure.
fn told(exported: &Value, creds: &Value, service: &str, shown: bool) -> Value {
    // an error of either: without the passwords nobody knows what to hide
    for answer in [exported, creds] {
        if answer.get("error").is_some_and(Value::is_object) {
            return answer.clone();
        }
    }
    let Ok(all) = serde_json::from_value::<BTreeMap<String, String>>(exported.clone()) else {
        return failed("`macula env` printed something else than settings");
    };
    let Some(creds) = creds.as_array() else {
        return failed("`macula creds` printed something else than passwords");
    };
    let text = |credential: &Value, name: &str| credential.get(name).and_then(Value::as_str).map(str::to_owned);
    let secrets = creds.iter().filter_map(|credential| credential.get("value")?.as_str());
    let exports = Exports::new(&all, secrets, shown);
    let own = creds.iter().filter(|credential| credential.get("service").and_then(Value::as_str) == Some(service));
    let own = own.map(|credential| {
        let value = if shown { text(credential, "value") } else { None };
        json!({"variable": text(credential, "variable"), "value": value, "address": text(credential, "address")})
    });
    json!({
        "settings": exports.settings(),
        "ways": exports.ways(),
        "credentials": own.collect::<Vec<_>>(),
        "shown": shown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_for_who_has_the_keys() {
        let env =
            json!({"DATABASE_URL": "postgresql://postgres:s3cret@127.0.0.6:5432/postgres", "PGHOST": "127.0.0.6"});
        let creds = json!([
            {"service": "postgres", "variable": "POSTGRES_PASSWORD", "value": "s3cret", "address": "127.0.0.6:5432"},
            {"service": "minio", "variable": "MINIO_ROOT_PASSWORD", "value": "0ther", "address": null},
        ]);
        let hidden = told(&env, &creds, "postgres", false);
        assert!(!hidden.to_string().contains("s3cret"), "{hidden}");
        let names = json!([{"variable": "POSTGRES_PASSWORD", "value": null, "address": "127.0.0.6:5432"}]);
        assert_eq!(hidden["credentials"], names);
        let shown = told(&env, &creds, "postgres", true);
        assert_eq!(shown["credentials"][0]["value"], "s3cret");
        assert!(shown.to_string().contains("psql postgresql://postgres:s3cret@"), "{shown}");
        assert!(!shown.to_string().contains("0ther"), "of this service alone: {shown}");
    }

    #[test]
    fn nothing_is_told_where_it_is_not_known_what_is_secret() {
        let env = json!({"DATABASE_URL": "postgresql://postgres:s3cret@127.0.0.6:5432/postgres"});
        for creds in [failed("no passwords"), Value::Null] {
            let answer = told(&env, &creds, "postgres", false);
            assert!(answer["error"].is_object() && !answer.to_string().contains("s3cret"), "{answer}");
        }
        // a variable may be called like that
        let named = json!({"error": "text"});
        assert_eq!(told(&named, &json!([]), "web", false)["settings"][0]["name"], "error");
    }
}
