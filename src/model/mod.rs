//! Floor 0, pure: what is wanted ([`Platform`], [`Stack`], [`Service`]), what is made of it
//! ([`Resource`]) and what is there ([`Observed`]). No I/O, no clock, no environment.

mod cluster;
mod dns_label;
pub mod label;
mod observed;
mod platform;
mod platform_name;
mod reference;
mod resource;
mod secrets;
mod service;
mod zone;

pub use cluster::*;
pub use dns_label::*;
pub use observed::*;
pub use platform::*;
pub use platform_name::*;
pub use reference::{is_on_loopback, *};
pub use resource::*;
pub use secrets::*;
pub use service::*;
pub use zone::*;
