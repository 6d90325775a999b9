//! What tests on several floors would write by hand.

use super::{Protocol, PublishedPort};

/// A port of TCP, on an address that is the service's to have.
pub fn published(published: u16, target: u16) -> PublishedPort {
    PublishedPort {
        target,
        protocol: Protocol::Tcp,
        host_ip: None,
        published: Some(published),
        published_to: None,
        host_mode: false,
        name: None,
        app_protocol: None,
    }
}
