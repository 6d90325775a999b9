//! One page asked for as a program would ask: its address, its certificate, its status.

use std::net::SocketAddr;

use super::evidence::Mark;
use super::reach::{Trust, connect, https, request};

/// Where a page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageAddress {
    pub tls: bool,
    /// In the request and, with TLS, in the certificate.
    pub host: String,
    pub port: u16,
    pub path: String,
}

impl PageAddress {
    /// Reads `http://host:port/path` or the same with `https`.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, port.parse().ok()?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'[' | b']' | b':');
        let clean = path.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || port == 0 || !host.bytes().all(plain) || !clean {
            return None;
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { tls, host: host.to_ascii_lowercase(), port, path })
    }
}

/// What a page answers at this address: its status, or why there is no answer that a program would take.
pub async fn ask_page(trust: &Trust, address: SocketAddr, page: &PageAddress) -> Result<u16, String> {
    let mut stream = connect(address).await?;
    let url = (page.path.as_str(), page.path.as_str());
    let seen = if page.tls {
        let (tls, answer) = https(stream, trust, &page.host, url).await;
        let tls = tls?;
        if tls.system.is_err() && !matches!(tls.ours, Some(Ok(()))) {
            return Err("its certificate is not trusted".to_owned());
        }
        answer.unwrap_or_else(|| Err("no answer".to_owned()))?
    } else {
        request(&mut stream, &page.host, url).await?
    };
    match seen.mark {
        Some(Mark::NoRoute) => Err("the ingress knows no such name".to_owned()),
        Some(Mark::Unavailable) => Err("the ingress does not reach the service".to_owned()),
        None => Ok(seen.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(tls: bool, host: &str, port: u16, path: &str) -> Option<PageAddress> {
        Some(PageAddress { tls, host: host.into(), port, path: path.into() })
    }

    #[test]
    fn urls_are_read() {
        assert_eq!(PageAddress::parse("https://Shop.macula.local"), page(true, "shop.macula.local", 443, "/"));
        assert_eq!(PageAddress::parse("http://127.0.0.1:8080/a?b=c#d"), page(false, "127.0.0.1", 8080, "/a?b=c"));
        assert_eq!(PageAddress::parse("http://host?b"), page(false, "host", 80, "/?b"));
        for wrong in ["shop", "ftp://a", "http://", "http://a b", "http://a:0", "http://a:70000", "http://a/b c"] {
            assert_eq!(PageAddress::parse(wrong), None, "{wrong}");
        }
    }
}
