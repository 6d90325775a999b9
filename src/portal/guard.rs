//! Who may ask what. Pure.
//!
//! A browser may be shown a name that leads to our address (DNS rebinding), or a foreign page may send requests to
//! us: so every request has to name our address as its host, and one that a script has sent has to come from a page
//! of ours. What changes something, or shows a secret, also needs the keys of [`super::keys`].

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method, StatusCode, header};

use super::keys::{HEADER, Keys};

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// The page itself: somebody may have followed a link from anywhere.
    Page,
    /// What the page shows.
    Reading,
    /// The keys, for a ticket.
    Entering,
    /// Something is changed, or a secret is shown.
    Writing,
}

/// Whose connection it is, by the kernel's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This user, or root.
    Own,
    /// Another user of this machine.
    Other,
    /// The system does not say.
    Unknown,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this page is for the user who runs the platform")]
    Stranger,
    #[error("this address has another name here")]
    Host,
    #[error("only POST changes something")]
    Method,
    #[error("the request comes from another page")]
    Origin,
    #[error("the content must be application/json")]
    Media,
    #[error("`macula open home` lets this browser start and stop services")]
    Keys,
}

impl Refused {
    pub fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Media => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Keys => StatusCode::UNAUTHORIZED,
            Self::Stranger | Self::Origin => StatusCode::FORBIDDEN,
        }
    }
}

/// Whether a request may be answered. `address`: ours.
pub fn admit(
    address: SocketAddr,
    owner: Owner,
    wants: Wants,
    method: &Method,
    headers: &HeaderMap,
    keys: &Keys,
) -> Result<(), Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own = address.to_string();
    if owner == Owner::Other {
        return Err(Refused::Stranger);
    }
    // one, and ours: a second one might be what somebody behind us goes by
    let mut hosts = headers.get_all(header::HOST).iter();
    if hosts.next().is_none_or(|host| host.as_bytes() != own.as_bytes()) || hosts.next().is_some() {
        return Err(Refused::Host);
    }
    let writes = matches!(wants, Wants::Entering | Wants::Writing);
    match *method {
        Method::POST if writes => {}
        Method::GET | Method::HEAD if !writes => {}
        _ => return Err(Refused::Method),
    }
    let from = headers.get(header::ORIGIN).map(|origin| origin.as_bytes() == format!("http://{own}").as_bytes());
    // what browsers say of a request by themselves (Fetch Metadata)
    let site = text("sec-fetch-site");
    let foreign = |site: &str| site != "same-origin" && site != "none";
    match wants {
        Wants::Page => return Ok(()),
        Wants::Reading if from == Some(false) || site.is_some_and(foreign) => return Err(Refused::Origin),
        Wants::Reading => return Ok(()),
        _ if from != Some(true) || site.is_some_and(|site| site != "same-origin") => return Err(Refused::Origin),
        _ => {}
    }
    // a form cannot send it, so that a browser would ask us first whether another page may
    if text("content-type") != Some("application/json") {
        return Err(Refused::Media);
    }
    if wants == Wants::Writing && (owner != Owner::Own || !keys.open(text("cookie"), text(HEADER))) {
        return Err(Refused::Keys);
    }
    Ok(())
}

/// Whose the connection from `peer` to `own` is, by /proc/net/tcp or tcp6 (proc_pid_net(5)). `users`: those who may look.
pub fn owner(tables: &[String], peer: SocketAddr, own: SocketAddr, users: &[u32]) -> Owner {
    let found = tables.iter().flat_map(|table| table.lines()).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote) = (endpoint(fields.next()?)?, endpoint(fields.next()?)?);
        // state, queues, timer, retransmits
        let owner: u32 = fields.nth(4)?.parse().ok()?;
        (local == peer && remote == own).then_some(owner)
    });
    match found {
        None => Owner::Unknown,
        Some(found) if found == 0 || users.contains(&found) => Owner::Own,
        Some(_) => Owner::Other,
    }
}

/// `0900007F:1F75`: words in the machine's order, then the port.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match address.len() {
        8 => word(0)?.into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const OWN: &str = "127.0.0.9:8053";

    fn keys() -> Keys {
        Keys::of("seed")
    }

    fn asked(owner: Owner, wants: Wants, method: &Method, said: &[(&str, &str)]) -> Result<(), Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        admit(OWN.parse().unwrap(), owner, wants, method, &headers, &keys())
    }

    #[test]
    fn each_way_in_is_closed() {
        let cookie = format!("macula-page={}", keys().cookie());
        let key = keys().key().to_owned();
        let ours = "http://127.0.0.9:8053";
        let full: Vec<(&str, &str)> = vec![
            ("host", OWN),
            ("origin", ours),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/json"),
            ("cookie", &cookie),
            (HEADER, &key),
        ];
        let with = |name: &'static str, value: &'static str| -> Vec<(&str, &str)> {
            full.iter().map(|(known, kept)| (*known, if *known == name { value } else { *kept })).collect()
        };
        let without =
            |name: &str| -> Vec<(&str, &str)> { full.iter().filter(|(known, _)| *known != name).copied().collect() };
        let (get, post) = (Method::GET, Method::POST);
        let own = Owner::Own;
        type Case<'a> = (&'a str, Result<(), Refused>, Result<(), Refused>);
        let table: Vec<Case<'_>> = vec![
            ("all is right", asked(own, Wants::Writing, &post, &full), Ok(())),
            ("GET for a write", asked(own, Wants::Writing, &get, &full), Err(Refused::Method)),
            ("DELETE", asked(own, Wants::Reading, &Method::DELETE, &full), Err(Refused::Method)),
            (
                "OPTIONS before a foreign POST",
                asked(own, Wants::Writing, &Method::OPTIONS, &full),
                Err(Refused::Method),
            ),
            (
                "a name that was rebound",
                asked(own, Wants::Writing, &post, &with("host", "evil.example:8053")),
                Err(Refused::Host),
            ),
            (
                "the same for reading",
                asked(own, Wants::Reading, &get, &with("host", "evil.example:8053")),
                Err(Refused::Host),
            ),
            (
                "the same for the page",
                asked(own, Wants::Page, &get, &with("host", "localhost:8053")),
                Err(Refused::Host),
            ),
            ("another port", asked(own, Wants::Reading, &get, &with("host", "127.0.0.9:80")), Err(Refused::Host)),
            ("no host", asked(own, Wants::Reading, &get, &without("host")), Err(Refused::Host)),
            ("two hosts", asked(own, Wants::Reading, &get, &[("host", OWN), ("host", "evil")]), Err(Refused::Host)),
            (
                "a foreign page",
                asked(own, Wants::Writing, &post, &with("origin", "https://evil.example")),
                Err(Refused::Origin),
            ),
            ("a sandboxed page", asked(own, Wants::Writing, &post, &with("origin", "null")), Err(Refused::Origin)),
            (
                "another port's page",
                asked(own, Wants::Writing, &post, &with("origin", "http://127.0.0.9:9153")),
                Err(Refused::Origin),
            ),
            (
                "TLS in front of us",
                asked(own, Wants::Writing, &post, &with("origin", "https://127.0.0.9:8053")),
                Err(Refused::Origin),
            ),
            ("no origin", asked(own, Wants::Writing, &post, &without("origin")), Err(Refused::Origin)),
            (
                "a service's page",
                asked(own, Wants::Writing, &post, &with("sec-fetch-site", "same-site")),
                Err(Refused::Origin),
            ),
            (
                "a foreign page reads",
                asked(own, Wants::Reading, &get, &with("sec-fetch-site", "cross-site")),
                Err(Refused::Origin),
            ),
            (
                "a foreign script reads",
                asked(own, Wants::Reading, &get, &with("origin", "https://evil.example")),
                Err(Refused::Origin),
            ),
            ("a form", asked(own, Wants::Writing, &post, &with("content-type", "text/plain")), Err(Refused::Media)),
            ("no content type", asked(own, Wants::Entering, &post, &without("content-type")), Err(Refused::Media)),
            ("no cookie", asked(own, Wants::Writing, &post, &without("cookie")), Err(Refused::Keys)),
            ("no key", asked(own, Wants::Writing, &post, &without(HEADER)), Err(Refused::Keys)),
            ("a wrong cookie", asked(own, Wants::Writing, &post, &with("cookie", "macula-page=0")), Err(Refused::Keys)),
            ("another user", asked(Owner::Other, Wants::Writing, &post, &full), Err(Refused::Stranger)),
            ("another user reads", asked(Owner::Other, Wants::Reading, &get, &full), Err(Refused::Stranger)),
            ("nobody knows who", asked(Owner::Unknown, Wants::Writing, &post, &full), Err(Refused::Keys)),
            ("a script on this machine reads", asked(Owner::Unknown, Wants::Reading, &get, &[("host", OWN)]), Ok(())),
            (
                "the page by a link",
                asked(own, Wants::Page, &get, &[("host", OWN), ("sec-fetch-site", "cross-site")]),
                Ok(()),
            ),
            ("a ticket needs no keys", asked(own, Wants::Entering, &post, &full[..4]), Ok(())),
            (
                "a ticket from a foreign page",
                asked(own, Wants::Entering, &post, &with("origin", "http://evil")),
                Err(Refused::Origin),
            ),
        ];
        for (case, found, wanted) in table {
            assert_eq!(found, wanted, "{case}");
        }
    }

    #[test]
    fn the_kernel_says_whose_a_connection_is() {
        // little endian, as all machines that we build for
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0900007F:1F75 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n   \
                     1: 0100007F:9C40 0900007F:1F75 01 00000000:00000000 00:00000000 00000000  1000        0 2 1\n";
        let six = "   0: 0000000000000000FFFF00000100007F:9C41 0000000000000000FFFF00000900007F:1F75 01 0:0 00:0 0  1001 0 3\n";
        let tables = [table.to_owned(), six.to_owned()];
        let of = |peer: &str, uid| owner(&tables, peer.parse().unwrap(), OWN.parse().unwrap(), &[uid]);
        assert_eq!(of("127.0.0.1:40000", 1000), Owner::Own);
        assert_eq!(of("127.0.0.1:40000", 1001), Owner::Other);
        assert_eq!(of("127.0.0.1:40001", 1001), Owner::Own);
        assert_eq!(of("127.0.0.1:40002", 1000), Owner::Unknown);
    }
}
