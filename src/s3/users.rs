//! Who may do what: the owner everything, every other key what is in its own buckets.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::error::{Code, Result};

/// Someone whose key is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub access_key: String,
    pub secret: String,
    /// `None`: all of them, and those that are not there yet.
    pub buckets: Option<Vec<String>>,
}

impl User {
    /// Without a bucket: the list of all.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn may(&self, bucket: Option<&str>) -> Result<()> {
        let allowed = match (&self.buckets, bucket) {
            (None, _) => true,
            (Some(own), Some(bucket)) => own.iter().any(|own| own == bucket),
            (Some(_), None) => false,
        };
        if allowed { Ok(()) } else { Err(Code::AccessDenied.into()) }
    }
}

/// The owner, and the users of a file with lines of `access key, secret, buckets`. A changed file
/// counts at the next request.
#[derive(Debug)]
pub struct Users {
    owner: User,
    file: Option<PathBuf>,
    read: Mutex<Read>,
}

type ByKey = Arc<HashMap<String, User>>;

#[derive(Debug, Default)]
struct Read {
    stamp: Option<(SystemTime, u64)>,
    users: ByKey,
}

impl Users {
    pub fn new(access_key: String, secret: String, file: Option<PathBuf>) -> Self {
        Self { owner: User { access_key, secret, buckets: None }, file, read: Mutex::default() }
    }

    pub fn find(&self, access_key: &str) -> Result<User> {
        if access_key == self.owner.access_key {
            return Ok(self.owner.clone());
        }
        self.others().get(access_key).cloned().ok_or_else(|| Code::InvalidAccessKeyId.into())
    }

    fn others(&self) -> ByKey {
        let Some(file) = &self.file else { return Arc::default() };
        let stamp = std::fs::metadata(file).ok().and_then(|found| Some((found.modified().ok()?, found.len())));
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp.is_none() || read.stamp != stamp {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            *read = Read { stamp, users: Arc::new(parse(&text)) };
        }
        read.users.clone()
    }
}

fn parse(text: &str) -> HashMap<String, User> {
    let users = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (access_key, secret) = (words.next()?, words.next()?);
        Some((access_key.clone(), User { access_key, secret, buckets: Some(words.collect()) }))
    });
    users.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_its_own_buckets_and_no_others() {
        let users = parse("loki s1 loki\n\nshop s2 uploads images\n");
        let shop = &users["shop"];
        shop.may(Some("images")).unwrap();
        for bucket in [Some("loki"), Some("image"), Some("../images"), None] {
            assert_eq!(shop.may(bucket).unwrap_err().code, Code::AccessDenied, "{bucket:?}");
        }
        let owner = Users::new("root".into(), "s".into(), None).find("root").unwrap();
        owner.may(None).unwrap();
        owner.may(Some("loki")).unwrap();
    }

    #[test]
    fn a_changed_file_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let users = Users::new("root".into(), "s".into(), Some(file.clone()));
        assert_eq!(users.find("shop").unwrap_err().code, Code::InvalidAccessKeyId);
        std::fs::write(&file, "shop one a-bucket\n").unwrap();
        assert_eq!(users.find("shop").unwrap().secret, "one");
        std::fs::write(&file, "shop other a-bucket\n").unwrap();
        assert_eq!(users.find("shop").unwrap().secret, "other");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(users.find("shop").unwrap_err().code, Code::InvalidAccessKeyId);
    }
}
