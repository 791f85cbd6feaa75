//! What decoding costs, by type of event: `cargo bench --bench decode`.

#![expect(unreachable_pub, reason = "nothing here is reachable")]

#[expect(dead_code, reason = "the other benchmarks use the rest")]
#[path = "support/events.rs"]
mod events;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ses_reports::decode::{Rules, decode};
use time::macros::datetime;

use events::Stream;

fn decoding(criterion: &mut Criterion) {
    let now = datetime!(2026-11-20 10:00:00 UTC);
    let mut stream = Stream::new(1, now);
    // The first batches have no mail of any age.
    stream.events(300);
    stream.events(300);
    let bodies: Vec<String> = stream
        .events(300)
        .iter()
        .enumerate()
        .map(|(number, event)| events::in_sns(event, number))
        .collect();
    let mut group = criterion.benchmark_group("decode");
    let bytes: usize = bodies.iter().map(String::len).sum();
    group.throughput(Throughput::Bytes(u64::try_from(bytes / bodies.len()).unwrap_or(u64::MAX)));
    let mut next = bodies.iter().cycle();
    group.bench_function("the standard mix", |bencher| {
        bencher.iter_batched(
            || next.next().map_or("", String::as_str),
            |body| black_box(decode(body, Some("sqs"), &Rules::default(), now)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, decoding);
criterion_main!(benches);
