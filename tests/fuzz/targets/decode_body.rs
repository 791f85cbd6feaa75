//! Any bytes as the body of a message.

#![no_main]

#[path = "../properties.rs"]
mod properties;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    properties::hold(&String::from_utf8_lossy(bytes));
});
