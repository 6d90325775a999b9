//! Any bytes as a question (both paths must agree, and answers stay bounded) and as an answer of an
//! upstream server. `cargo +nightly fuzz run dns_packet`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| macula::dns::fuzz_packet(data));
