//! One question to a server, as a program would ask it over UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::wire::{CLASS_IN, Name, UDP_SIZE};

/// Asks for `rtype` (its number) of `name`; the addresses in the answer, empty where there are none.
///
/// # Errors
/// When nobody answers within `wait`, or with a code other than NOERROR.
pub async fn ask(server: SocketAddr, name: &str, rtype: u16, wait: Duration) -> io::Result<Vec<IpAddr>> {
    let name = Name::parse(name).map_err(io::Error::other)?;
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    // recursion desired, one question
    let mut question = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend_from_slice(name.wire());
    question.extend_from_slice(&rtype.to_be_bytes());
    question.extend_from_slice(&CLASS_IN.to_be_bytes());
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
                return Message::from_vec(answer).map_err(io::Error::other);
            }
        }
    };
    let message = timeout(wait, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    match message.metadata.response_code {
        ResponseCode::NoError => Ok(message.answers.iter().filter_map(|record| address(&record.data)).collect()),
        code => Err(io::Error::other(format!("{server} answers {code}"))),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}
