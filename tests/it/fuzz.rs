//! The properties of the fuzz targets on mutated seeds, without a fuzzer: always the same ones, unless
//! `FUZZ_CASES` asks for more.

#[path = "../fuzz/large.rs"]
pub mod large;
#[path = "../fuzz/properties.rs"]
mod properties;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::generate;

const CASES: u64 = 2_000;

/// The seeds of the fuzz targets, what the other tests put into queues, and bodies with a long part.
fn seeds() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the seeds are there")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let files = files.iter().map(|file| std::fs::read_to_string(file).expect("a text"));
    let large = large::bodies(8_000).into_iter().map(|(_, body)| body);
    files.chain(generate::stream(5, 200)).chain(large).collect()
}

#[test]
fn rows_stay_within_bounds_whatever_is_long_or_repeated() {
    for (name, body) in large::bodies(200_000) {
        let outcome = catch_unwind(AssertUnwindSafe(|| properties::hold(&body)));
        assert!(outcome.is_ok(), "{name}");
    }
}

#[test]
fn whatever_arrives_decode_keeps_its_promises() {
    let cases = std::env::var("FUZZ_CASES").ok().and_then(|text| text.parse().ok());
    let seeds = seeds();
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    for case in 0..cases.unwrap_or(CASES) {
        let mut random = fastrand::Rng::with_seed(case);
        let mut body = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(0..6) {
            body = mutated(&mut random, &body, &seeds);
        }
        if random.u32(..4) == 0 {
            body = properties::event_of(&body);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| properties::hold(&body)));
        let outcome = outcome.unwrap_or_else(|_| panic!("case {case}: {body}"));
        *outcomes.entry(outcome).or_default() += 1;
    }
    assert_eq!(outcomes.len(), 3, "every outcome is among them: {outcomes:?}");
}

/// The body with one thing changed that a broken or a hostile sender might change.
fn mutated(random: &mut fastrand::Rng, body: &str, seeds: &[String]) -> String {
    let from = boundary(body, random.usize(..=body.len()));
    let to = boundary(body, (from + random.usize(..=20)).min(body.len()));
    let (before, after) = (&body[..from], &body[to..]);
    match random.u32(..10) {
        // Cut, doubled, spliced with another one.
        0 => before.to_owned(),
        1 => format!("{before}{}{after}", body[from..to].repeat(random.usize(2..50))),
        2 => {
            let other = &seeds[random.usize(..seeds.len())];
            format!("{before}{}", &other[boundary(other, random.usize(..=other.len()))..])
        }
        // Any bytes.
        3 => {
            let mut bytes = body.as_bytes().to_vec();
            for _ in 0..random.usize(1..5).min(bytes.len()) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        }
        4 => {
            let escape =
                ["\\u0000", "\\ud83d", "\\ude00", "\\\\ud800", "\\u00", "\\", "\0", "\u{feff}"];
            format!("{before}{}{after}", escape[random.usize(..escape.len())])
        }
        // Deeper than a recursive reader can follow.
        5 => {
            let depth = random.usize(1..3_000);
            let (open, close) = if random.bool() { ("[", "]") } else { ("{\"Message\":", "}") };
            let inner = if random.bool() { body } else { "1" };
            format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
        }
        6 => replaced(
            random,
            body,
            |byte| byte.is_ascii_digit(),
            &["", "-", "e999", "99999999999999999999", "0.1"],
        ),
        // Values of other types.
        7 => replaced(
            random,
            body,
            |byte| byte == b':',
            &[":null,\"x\":", ":{},\"x\":", ":[],\"x\":", ":1,\"x\":", ":\"\",\"x\":"],
        ),
        8 => {
            let (long, count) = (
                ["é", "a", "\\u0041", "😀", "<", "\""][random.usize(..6)],
                random.usize(50..3_000),
            );
            replaced(random, body, |byte| byte == b'@', &[&long.repeat(count)])
        }
        _ => replaced(
            random,
            body,
            |byte| byte == b',',
            &[",,", "", ",\"mail\":{},", ",\"mail\":1,", "]", "}"],
        ),
    }
}

/// The body with one of these bytes replaced.
fn replaced(random: &mut fastrand::Rng, body: &str, is_it: fn(u8) -> bool, by: &[&str]) -> String {
    let places: Vec<usize> =
        body.bytes().enumerate().filter(|(_, byte)| is_it(*byte)).map(|(at, _)| at).collect();
    let Some(at) = places.get(random.usize(..places.len().max(1))) else { return body.to_owned() };
    format!("{}{}{}", &body[..*at], by[random.usize(..by.len())], &body[at + 1..])
}

/// The start of the character at or before a byte.
fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
