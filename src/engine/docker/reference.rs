//! Image references, as Docker reads them:
//! <https://pkg.go.dev/github.com/distribution/reference>.

/// A reference taken apart and made whole: `nginx` is `docker.io/library/nginx:latest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Registry with its port: `docker.io`, `localhost:5001`.
    pub registry: String,
    /// `library/nginx`
    pub path: String,
    /// `None` with a digest and no tag.
    pub tag: Option<String>,
    /// `sha256:...`
    pub digest: Option<String>,
}

impl Reference {
    /// `Err`: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("`{text}` is not a valid image reference: {why}"));
        if text.is_empty() {
            return bad("it is empty");
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let hex = digest.strip_prefix("sha256:").map(|hex| (hex, 64));
                let hex = hex.or_else(|| digest.strip_prefix("sha512:").map(|hex| (hex, 128)));
                match hex {
                    Some((hex, length)) if hex.len() == length && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {}
                    _ => return bad("the digest is not sha256: and 64 hexadecimal digits"),
                }
                (rest, Some(digest.to_owned()))
            }
            None => (text, None),
        };
        // the tag comes after the last colon, unless a slash follows: then that was a port
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => {
                let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.' || b == b'-';
                let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !first || tag.len() > 128 || !tag.bytes().all(word) {
                    return bad("the tag may have letters, digits, `_`, `.` and `-`, at most 128");
                }
                (name, Some(tag.to_owned()))
            }
            _ => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || host != host.to_lowercase() => {
                (host.to_owned(), path.to_owned())
            }
            _ => ("docker.io".to_owned(), name.to_owned()),
        };
        let hub = matches!(registry.as_str(), "docker.io" | "index.docker.io" | "registry-1.docker.io");
        let registry = if hub { "docker.io".to_owned() } else { registry };
        let path = if hub && !path.contains('/') { format!("library/{path}") } else { path };
        let part = |part: &str| {
            let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'_' || b == b'-';
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            part.bytes().all(word) && edge(part.bytes().next()) && edge(part.bytes().next_back())
        };
        if path != path.to_lowercase() {
            return bad("a repository's name is in lower case");
        }
        if !path.split('/').all(part) {
            return bad("the name may have lower-case letters, digits, `.`, `_` and `-` between slashes");
        }
        let host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let begins = registry.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'[');
        if !begins || !registry.bytes().all(host) {
            return bad("the registry's host is wrong");
        }
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Self { registry, path, tag, digest })
    }

    /// Registry and path, without tag or digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// What a pull asks for: the digest where there is one, else the tag.
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

/// As one writes it: without the parts that Docker Hub's images may leave out.
pub(super) fn familiar(reference: &str) -> &str {
    match reference.strip_prefix("docker.io/") {
        Some(path) => path.strip_prefix("library/").unwrap_or(path),
        None => reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart_as_docker_does() {
        let digest = format!("sha256:{}", "a1".repeat(32));
        let table = [
            ("nginx", "docker.io/library/nginx", "latest"),
            ("nginx:1.30.4", "docker.io/library/nginx", "1.30.4"),
            ("grafana/grafana:13.2.2", "docker.io/grafana/grafana", "13.2.2"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx", "latest"),
            ("quay.io/minio/minio", "quay.io/minio/minio", "latest"),
            ("localhost/x", "localhost/x", "latest"),
            ("localhost:5001/x", "localhost:5001/x", "latest"),
            ("127.0.0.1:5001/a/b:c", "127.0.0.1:5001/a/b", "c"),
            ("[::1]:5001/x:y", "[::1]:5001/x", "y"),
            ("macula/base:trixie", "docker.io/macula/base", "trixie"),
            ("registry-1.docker.io/a/b:_c", "docker.io/a/b", "_c"),
            ("Registry/x", "Registry/x", "latest"),
            ("a_b/c.d-e", "docker.io/a_b/c.d-e", "latest"),
        ];
        for (text, repository, version) in table {
            let reference = Reference::parse(text).unwrap();
            assert_eq!((reference.repository().as_str(), reference.version()), (repository, version), "{text}");
        }
        let both = Reference::parse(&format!("nginx:1@{digest}")).unwrap();
        assert_eq!((both.tag.as_deref(), both.version()), (Some("1"), digest.as_str()));
        let only = Reference::parse(&format!("ghcr.io/a/b@{digest}")).unwrap();
        assert_eq!((only.tag.as_deref(), only.version()), (None, digest.as_str()));
        for (reference, short) in [
            ("docker.io/library/nginx:1", "nginx:1"),
            ("docker.io/grafana/loki:3", "grafana/loki:3"),
            ("quay.io/library/x:1", "quay.io/library/x:1"),
        ] {
            assert_eq!(familiar(reference), short);
        }
    }

    #[test]
    fn each_part_has_its_length_and_its_letters() {
        let (sha256, sha512) = (format!("sha256:{}", "aF".repeat(32)), format!("sha512:{}", "09".repeat(64)));
        for good in [format!("x@{sha256}"), format!("x@{sha512}"), format!("x:{}", "t".repeat(128))] {
            assert!(Reference::parse(&good).is_ok(), "{good}");
        }
        let digest = "the digest is not sha256: and 64 hexadecimal digits";
        let tag = "the tag may have letters, digits, `_`, `.` and `-`, at most 128";
        let name = "the name may have lower-case letters, digits, `.`, `_` and `-` between slashes";
        let host = "the registry's host is wrong";
        for (bad, why) in [
            (format!("x@{sha256}a"), digest),
            (format!("x@sha256:{}", "a".repeat(63)), digest),
            (format!("x@sha256:{}", "g".repeat(64)), digest),
            (format!("x@sha512:{}", "a".repeat(64)), digest),
            (format!("x@md5:{}", "a".repeat(64)), digest),
            (format!("x:{}", "t".repeat(129)), tag),
            ("x:.a".to_owned(), tag),
            ("x:-a".to_owned(), tag),
            ("x-".to_owned(), name),
            ("a/_b".to_owned(), name),
            ("a+b".to_owned(), name),
            ("-registry.local/x".to_owned(), host),
            ("registry local:5000/x".to_owned(), host),
        ] {
            let said = format!("`{bad}` is not a valid image reference: {why}");
            assert_eq!(Reference::parse(&bad), Err(said));
        }
    }

    #[test]
    fn what_is_no_reference_says_why() {
        let said: Vec<String> =
            ["", "Nginx", "nginx:", "nginx:a b", "a//b", "x@sha256:12", "-x", "registry.local:5000/"]
                .into_iter()
                .map(|text| Reference::parse(text).unwrap_err())
                .collect();
        insta::assert_snapshot!(said.join("\n"), @"
                `` is not a valid image reference: it is empty
                `Nginx` is not a valid image reference: a repository's name is in lower case
                `nginx:` is not a valid image reference: the tag may have letters, digits, `_`, `.` and `-`, at most 128
                `nginx:a b` is not a valid image reference: the tag may have letters, digits, `_`, `.` and `-`, at most 128
                `a//b` is not a valid image reference: the name may have lower-case letters, digits, `.`, `_` and `-` between slashes
                `x@sha256:12` is not a valid image reference: the digest is not sha256: and 64 hexadecimal digits
                `-x` is not a valid image reference: the name may have lower-case letters, digits, `.`, `_` and `-` between slashes
                `registry.local:5000/` is not a valid image reference: the name may have lower-case letters, digits, `.`, `_` and `-` between slashes
                ");
    }
}
