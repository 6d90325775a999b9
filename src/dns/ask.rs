//! One question to a server, as a program would ask it over UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::wire::{CLASS_IN, Name, NameError, UDP_SIZE};

/// Asks for `rtype` (its number) of `name`; the addresses in the answer, empty where there are none.
///
/// # Errors
/// When nobody answers within `wait`, or with a code other than NOERROR.
pub async fn ask(server: SocketAddr, name: &str, rtype: u16, wait: Duration) -> io::Result<Vec<IpAddr>> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let question = question(id, name, rtype).map_err(io::Error::other)?;
    let exchange = async {
        let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((local, 0)).await?;
        socket.connect(server).await?;
        socket.send(&question).await?;
        let mut buffer = vec![0; usize::from(UDP_SIZE)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let answer = buffer.get(..length).unwrap_or_default();
            // noise on the port is passed over
            if answer.starts_with(&id) {
                return Ok::<_, io::Error>(answer.to_vec());
            }
        }
    };
    let answer = timeout(wait, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    addresses(&answer).map_err(|error| io::Error::other(format!("{server} {error}")))
}

/// One question, with the wish for recursion.
pub fn question(id: [u8; 2], name: &str, rtype: u16) -> Result<Vec<u8>, NameError> {
    let name = Name::parse(name)?;
    let mut question = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend_from_slice(name.wire());
    question.extend_from_slice(&rtype.to_be_bytes());
    question.extend_from_slice(&CLASS_IN.to_be_bytes());
    Ok(question)
}

/// The addresses in an answer; the error: what it says in their place.
pub fn addresses(answer: &[u8]) -> Result<Vec<IpAddr>, String> {
    let message = Message::from_vec(answer).map_err(|error| format!("answers with no message of DNS: {error}"))?;
    match message.metadata.response_code {
        ResponseCode::NoError => Ok(message.answers.iter().filter_map(|record| address(&record.data)).collect()),
        code => Err(format!("answers {code}")),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_wants_recursion() {
        let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x01b\0\0\x1c\0\x01";
        assert_eq!(question([0x12, 0x34], "A.b", 28).as_deref(), Ok(expected.as_slice()));
        assert!(question([0, 0], "a..b", 1).is_err());
    }

    #[test]
    fn the_addresses_of_an_answer_are_read() {
        let mut answer = b"\0\0\x81\x80\0\0\0\x03\0\0\0\0".to_vec();
        answer.extend_from_slice(b"\0\0\x05\0\x01\0\0\0\x3c\0\x03\x01x\0");
        answer.extend_from_slice(b"\0\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x02");
        answer.extend_from_slice(b"\0\0\x1c\0\x01\0\0\0\x3c\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
        let found: Vec<IpAddr> = vec!["127.0.0.2".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(addresses(&answer), Ok(found));
        let none = b"\0\0\x81\x83\0\0\0\0\0\0\0\0";
        assert_eq!(addresses(none), Err("answers Non-Existent Domain".to_owned()));
        assert!(addresses(b"noise").unwrap_err().starts_with("answers with no message of DNS: "));
    }
}
