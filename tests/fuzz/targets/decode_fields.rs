//! Any text as the values of an event in an envelope, so that what is drawn gets past the JSON.

#![no_main]

#[path = "../properties.rs"]
mod properties;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    properties::hold(&properties::event_of(&text));
});
