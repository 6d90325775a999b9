//! Names of buckets.

/// S3's rules for general purpose buckets. `minio` is the server's own first part of a path.
pub fn is_bucket_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        && ends(bytes.first())
        && ends(bytes.last())
        && !name.contains("..")
        && !name.contains(".-")
        && !name.contains("-.")
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|prefix| name.starts_with(prefix))
        && !["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|suffix| name.ends_with(suffix))
        && name != "minio"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_are_those_of_s3() {
        for good in ["abc", "my-bucket.2", "1bucket", "a".repeat(63).as_str()] {
            assert!(is_bucket_name(good), "{good}");
        }
        let long = "a".repeat(64);
        let bad =
            ["ab", "Abc", "a_b", "-ab", "ab-", "a..b", "a.-b", "192.168.5.4", "xn--a", "a-s3alias", "minio", ".."];
        let reserved =
            ["a-.b", ".ab", "ab.", "sthree-a", "amzn-s3-demo-a", "a--ol-s3", "ab.mrap", "a--x-s3", "a--table-s3"];
        for bad in bad.into_iter().chain(reserved).chain([long.as_str(), "a/b", "", "b\u{e4}r"]) {
            assert!(!is_bucket_name(bad), "{bad}");
        }
    }
}
