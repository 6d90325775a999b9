//! Counts of requests and of what is stored, under the names that MinIO has for them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::error::Result;
use super::store::{Look, Store};

#[derive(Debug, Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// By operation: all, 4xx, 5xx.
    requests: BTreeMap<&'static str, [u64; 3]>,
    in_flight: u64,
    usage: Option<(Instant, Usage)>,
}

/// Objects and bytes by bucket.
type Usage = BTreeMap<String, (u64, u64)>;

/// The store is walked through at most this often.
const FRESH: Duration = Duration::from_secs(60);

impl Metrics {
    pub fn begin(&self) {
        self.counts().in_flight += 1;
    }

    pub fn end(&self, operation: &'static str, status: StatusCode) {
        let mut counts = self.counts();
        counts.in_flight -= 1;
        let [all, client, server] = counts.requests.entry(operation).or_default();
        *all += 1;
        *client += u64::from(status.is_client_error());
        *server += u64::from(status.is_server_error());
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usage(&self, store: &Store) -> Result<Usage> {
        if let Some((at, usage)) = &self.counts().usage
            && at.elapsed() < FRESH
        {
            return Ok(usage.clone());
        }
        let usage = store.read(|view| {
            let mut usage = Usage::new();
            for (bucket, _) in view.buckets()? {
                let (mut objects, mut bytes) = (0, 0);
                view.objects(&bucket, "", |_, object| {
                    objects += 1;
                    bytes += object.size;
                    Ok(true)
                })?;
                usage.insert(bucket, (objects, bytes));
            }
            Ok(usage)
        })?;
        self.counts().usage = Some((Instant::now(), usage.clone()));
        Ok(usage)
    }

    /// # Errors
    /// An index that cannot be read.
    pub fn of_buckets(&self, store: &Store) -> Result<String> {
        let usage = self.usage(store)?;
        let mut out = "# TYPE minio_bucket_usage_object_total gauge\n".to_owned();
        for (bucket, (objects, _)) in &usage {
            let _ = writeln!(out, "minio_bucket_usage_object_total{{bucket=\"{bucket}\"}} {objects}");
        }
        out.push_str("# TYPE minio_bucket_usage_total_bytes gauge\n");
        for (bucket, (_, bytes)) in &usage {
            let _ = writeln!(out, "minio_bucket_usage_total_bytes{{bucket=\"{bucket}\"}} {bytes}");
        }
        Ok(out)
    }

    /// # Errors
    /// An index that cannot be read.
    pub fn of_server(&self, store: &Store) -> Result<String> {
        let usage = self.usage(store)?;
        let counts = self.counts();
        let (objects, bytes) = usage.values().fold((0, 0), |(a, b), (objects, bytes)| (a + objects, b + bytes));
        let mut out = String::new();
        for (name, value) in [
            ("cluster_health_status", u64::from(store.trouble().is_none())),
            ("cluster_bucket_total", usage.len() as u64),
            ("cluster_usage_object_total", objects),
            ("cluster_usage_total_bytes", bytes),
            ("s3_requests_inflight_total", counts.in_flight),
        ] {
            let _ = writeln!(out, "# TYPE minio_{name} gauge\nminio_{name} {value}");
        }
        for (index, name) in ["", "_4xx_errors", "_5xx_errors"].into_iter().enumerate() {
            let _ = writeln!(out, "# TYPE minio_s3_requests{name}_total counter");
            for (operation, values) in &counts.requests {
                let api = operation.to_ascii_lowercase();
                let _ = writeln!(out, "minio_s3_requests{name}_total{{api=\"{api}\"}} {}", values[index]);
            }
        }
        Ok(out)
    }
}
