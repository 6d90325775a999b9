//! Records that people write, kept by PowerDNS and reached through its API
//! (<https://doc.powerdns.com/authoritative/http-api/>, the same in 4.9 and 5.1).

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::local::plain_http;

mod content;

pub use content::{ContentError, content, owner, rtype};

/// For one call.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("asking PowerDNS at {api}")]
    Unreachable { api: SocketAddr, source: reqwest::Error },
    #[error("PowerDNS refuses it: {message}")]
    Refused { status: u16, message: String },
    #[error("PowerDNS does not take the recorded key")]
    Key,
    #[error("PowerDNS has no zone {zone}")]
    NoZone { zone: String },
}

/// All records of one name and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSet {
    /// Here without a dot at the end; PowerDNS has one.
    pub name: String,
    #[serde(rename = "type")]
    pub rtype: String,
    #[serde(default)]
    pub ttl: u32,
    pub records: Vec<RecordContent>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordContent {
    pub content: String,
    #[serde(default)]
    pub disabled: bool,
}

#[derive(Deserialize)]
struct ZoneBody {
    rrsets: Vec<RecordSet>,
}

/// One zone in PowerDNS.
pub struct Records {
    client: reqwest::Client,
    api: SocketAddr,
    key: String,
    /// Without a dot at the end.
    zone: String,
}

impl RecordsError {
    /// What was asked for may have been done.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Unreachable { source, .. } if source.is_timeout())
    }
}

impl Records {
    pub fn new(api: SocketAddr, key: impl Into<String>, zone: impl Into<String>) -> Self {
        let client = plain_http().timeout(WAIT);
        // the builder fails only for TLS and proxy settings, of which there are none
        Self { client: client.build().unwrap_or_default(), api, key: key.into(), zone: zone.into() }
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, RecordsError> {
        let answer = request.header("X-API-Key", &self.key).send().await;
        let answer =
            answer.map_err(|source| RecordsError::Unreachable { api: self.api, source: source.without_url() })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.text().await.unwrap_or_default();
        match status.as_u16() {
            401 | 403 => Err(RecordsError::Key),
            404 => Err(RecordsError::NoZone { zone: self.zone.clone() }),
            status => Err(RecordsError::Refused { status, message: message(&body) }),
        }
    }

    fn url(&self) -> String {
        format!("http://{}/api/v1/servers/localhost/zones/{}.", self.api, self.zone)
    }

    /// Everything in the zone, SOA and NS left out: sorted by name and type.
    pub async fn list(&self) -> Result<Vec<RecordSet>, RecordsError> {
        let answer = self.call(self.client.get(self.url())).await?;
        let body: ZoneBody =
            answer.json().await.map_err(|source| RecordsError::Unreachable { api: self.api, source })?;
        let mut all: Vec<RecordSet> = body
            .rrsets
            .into_iter()
            .filter(|set| !matches!(set.rtype.as_str(), "SOA" | "NS"))
            .map(|set| RecordSet { name: set.name.trim_end_matches('.').to_owned(), ..set })
            .collect();
        all.sort_by(|one, other| (&one.name, &one.rtype).cmp(&(&other.name, &other.rtype)));
        Ok(all)
    }

    /// Adds a value beside those that the name has of this type; whether it was not there before. A
    /// CNAME has only one value and is replaced. `ttl` counts for all values of the name and type.
    pub async fn add(&self, name: &str, rtype: &str, value: &str, ttl: u32) -> Result<bool, RecordsError> {
        let there = self.list().await?.into_iter().find(|set| set.name == name && set.rtype == rtype);
        let mut records = match &there {
            Some(set) if rtype != "CNAME" => set.records.clone(),
            _ => Vec::new(),
        };
        // one that is disabled is not answered
        let is_so = |record: &RecordContent| record.content == value && !record.disabled;
        let had = there.as_ref().is_some_and(|set| set.records.iter().any(is_so));
        if had && there.is_some_and(|set| set.ttl == ttl) {
            return Ok(false);
        }
        match records.iter_mut().find(|record| record.content == value) {
            Some(record) => record.disabled = false,
            None => records.push(RecordContent { content: value.to_owned(), disabled: false }),
        }
        self.change(serde_json::json!([{
            "name": format!("{name}."), "type": rtype, "ttl": ttl, "changetype": "REPLACE", "records": records,
        }]))
        .await?;
        Ok(true)
    }

    /// Removes a name's records, of one type or all; which they were.
    pub async fn remove(&self, name: &str, rtype: Option<&str>) -> Result<Vec<RecordSet>, RecordsError> {
        let mut sets = self.list().await?;
        sets.retain(|set| set.name == name && rtype.is_none_or(|rtype| set.rtype == rtype));
        if sets.is_empty() {
            return Ok(sets);
        }
        let changes: Vec<_> = sets
            .iter()
            .map(|set| serde_json::json!({"name": format!("{name}."), "type": set.rtype, "changetype": "DELETE"}))
            .collect();
        self.change(changes.into()).await?;
        Ok(sets)
    }

    async fn change(&self, rrsets: serde_json::Value) -> Result<(), RecordsError> {
        let request = self.client.patch(self.url()).json(&serde_json::json!({"rrsets": rrsets}));
        self.call(request).await.map(drop)
    }
}

/// `{"error": "..."}`, or what else it says.
fn message(body: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let text = parsed.as_ref().and_then(|value| value.get("error")?.as_str()).unwrap_or(body);
    text.trim().chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const ZONE: &str = r#"{"rrsets": [
        {"name": "www.macula.local.", "type": "CNAME", "ttl": 60, "records": [{"content": "shop.macula.local."}]},
        {"name": "shop.macula.local.", "type": "TXT", "ttl": 30, "records": [{"content": "\"hi\""}]},
        {"name": "shop.macula.local.", "type": "A", "ttl": 60, "records": [{"content": "192.0.2.1"}, {"content": "192.0.2.2"}]},
        {"name": "macula.local.", "type": "SOA", "ttl": 60, "records": [{"content": "ns hostmaster 1 60 10 3600 30"}]},
        {"name": "macula.local.", "type": "NS", "ttl": 60, "records": [{"content": "ns.macula.local."}]}]}"#;

    /// A request with its body.
    async fn request(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        loop {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&piece[..length]));
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
    }

    /// PowerDNS that answers everything so; what it is asked.
    async fn powerdns(status: &'static str, body: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (api, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let asked = request(&mut stream).await;
                heard.lock().unwrap().push(asked);
                let head =
                    format!("Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close", body.len());
                stream.write_all(format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
            }
        });
        (api, seen)
    }

    #[tokio::test]
    async fn a_change_is_told_whole_and_only_where_there_is_one() {
        let (api, seen) = powerdns("200 OK", ZONE).await;
        let records = Records::new(api, "key", "macula.local");
        let listed = records.list().await.unwrap();
        let listed: Vec<_> =
            listed.iter().map(|set| (set.name.as_str(), set.rtype.as_str(), set.ttl, set.records.len())).collect();
        let (shop, www) = ("shop.macula.local", "www.macula.local");
        assert_eq!(listed, [(shop, "A", 60, 2), (shop, "TXT", 30, 1), (www, "CNAME", 60, 1)]);
        // what was sent since then, beside the questions for what is there
        let told = || {
            let seen = std::mem::take(&mut *seen.lock().unwrap());
            assert!(seen.iter().all(|asked| asked.contains("x-api-key: key\r\n")), "{seen:?}");
            let changes = seen.iter().filter_map(|asked| {
                let rest = asked.strip_prefix("PATCH /api/v1/servers/localhost/zones/macula.local. ")?;
                serde_json::from_str::<Value>(rest.split_once("\r\n\r\n")?.1).ok()
            });
            changes.collect::<Vec<_>>()
        };
        assert!(told().is_empty());
        let replaced = |name: &str, rtype: &str, ttl: u32, values: &[&str]| {
            let records: Vec<_> = values.iter().map(|value| json!({"content": value, "disabled": false})).collect();
            let set = json!({"name": format!("{name}."), "type": rtype, "ttl": ttl, "changetype": "REPLACE",
                "records": records});
            vec![json!({"rrsets": [set]})]
        };
        for (name, rtype, value, ttl, expected) in [
            (shop, "A", "192.0.2.1", 60, vec![]),
            (shop, "A", "192.0.2.1", 5, replaced(shop, "A", 5, &["192.0.2.1", "192.0.2.2"])),
            (shop, "A", "192.0.2.3", 60, replaced(shop, "A", 60, &["192.0.2.1", "192.0.2.2", "192.0.2.3"])),
            (www, "A", "192.0.2.3", 60, replaced(www, "A", 60, &["192.0.2.3"])),
            // an alias has one target
            (www, "CNAME", "web.macula.local.", 60, replaced(www, "CNAME", 60, &["web.macula.local."])),
        ] {
            assert_eq!(
                records.add(name, rtype, value, ttl).await.unwrap(),
                !expected.is_empty(),
                "{name} {value} {ttl}"
            );
            assert_eq!(told(), expected, "{name} {value} {ttl}");
        }
        let deleted = |rtype: &str| json!({"name": "shop.macula.local.", "type": rtype, "changetype": "DELETE"});
        for (name, rtype, count, expected) in [
            (shop, Some("A"), 2, vec![json!({"rrsets": [deleted("A")]})]),
            (shop, None, 3, vec![json!({"rrsets": [deleted("A"), deleted("TXT")]})]),
            (www, Some("A"), 0, vec![]),
            ("macula.local", None, 0, vec![]),
        ] {
            let removed = records.remove(name, rtype).await.unwrap();
            assert_eq!(removed.iter().map(|set| set.records.len()).sum::<usize>(), count, "{name} {rtype:?}");
            assert_eq!(told(), expected, "{name} {rtype:?}");
        }
    }

    #[tokio::test]
    async fn a_record_that_is_disabled_is_not_there_until_it_is_added() {
        let disabled = r#"{"rrsets": [{"name": "shop.macula.local.", "type": "A", "ttl": 60,
            "records": [{"content": "192.0.2.1", "disabled": true}]}]}"#;
        let (api, seen) = powerdns("200 OK", disabled).await;
        let records = Records::new(api, "key", "macula.local");
        assert!(records.add("shop.macula.local", "A", "192.0.2.1", 60).await.unwrap());
        let asked = seen.lock().unwrap().last().cloned().unwrap();
        assert!(asked.contains(r#""records":[{"content":"192.0.2.1","disabled":false}]"#), "{asked}");
    }

    #[tokio::test]
    async fn a_refusal_says_what_is_wrong() {
        for (status, body, said) in [
            ("401 Unauthorized", "", "PowerDNS does not take the recorded key"),
            ("403 Forbidden", "", "PowerDNS does not take the recorded key"),
            ("404 Not Found", "", "PowerDNS has no zone macula.local"),
            ("422 Unprocessable Entity", r#"{"error": "Record is odd"}"#, "PowerDNS refuses it: Record is odd"),
            ("500 Internal Server Error", " broken ", "PowerDNS refuses it: broken"),
        ] {
            let (api, _) = powerdns(status, body).await;
            let error = Records::new(api, "key", "macula.local").list().await.unwrap_err();
            assert_eq!(error.to_string(), said);
        }
    }
}
