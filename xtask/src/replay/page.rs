//! The page beside the picture: what was sent, what was counted, and what the figures do not say.

use std::fmt::Write as _;

use super::{Arguments, Curve};

/// The figures as a table of Markdown.
pub(super) fn table(curves: &[Curve]) -> String {
    let mut text = String::from("| memory of the process | of all small content |");
    for curve in curves {
        let _ = write!(text, " {0}: in the process | {0}: with Redis |", curve.zone.name);
    }
    text.push_str("\n|---|---|");
    text.push_str(&"---|---|".repeat(curves.len()));
    for (place, point) in curves[0].points.iter().enumerate() {
        let _ = write!(text, "\n| {:.2} MiB | {} % |", mebibytes(point.memory), point.size);
        for curve in curves {
            let hits = curve.points[place].hits;
            let _ = write!(text, " {:.1} % | {:.1} % |", 100.0 * hits.memory, 100.0 * hits.both);
        }
    }
    text.push('\n');
    text
}

/// The whole page.
pub(super) fn text(arguments: &Arguments, small_bytes: u64, curves: &[Curve], table: &str) -> String {
    let Arguments { images, requests, connections, redis_times, seed, .. } = arguments;
    let reads = curves.iter().flat_map(|curve| &curve.points).map(|point| point.hits.reads);
    let reads = reads.fold(f64::INFINITY, f64::min) / 1000.0;
    let small = mebibytes(small_bytes);
    let mut zones = String::new();
    for curve in curves {
        let _ = writeln!(
            zones,
            "- {}: the first hundredth of the images draws {:.0} % of the visits, exponent {:.3}. Of the reads of layers, the\n  \
             hundredth that is read most drew {:.0} %,\n  because repositories share layers and pushes make new ones.",
            curve.zone.name,
            100.0 * curve.zone.top,
            curve.exponent,
            100.0 * curve.top_of_layers
        );
    }
    format!(
        "# How much of a registry's reads the cache answers, by its size

![Hit rate by the memory of the process](replay.svg)

{table}
Written by `cargo xtask replay --images {images} --requests {requests} --connections {connections} --redis-times {redis_times} --seed
{seed}`. The server is the release build on a folder. For each size it is started anew with an empty Redis, every image is pulled once, the
most popular last, and half as many requests as count are sent before those that count. Hits are what the server counts in
`registry_cache_hits_total`, as parts of all small reads: at least {reads:.0} thousand of them for each figure.

## The load

Its shape is that of the traces in Anwar et al., \"Improving Docker Registry Design based on Workload Analysis\" (FAST '18):
75 days in several data centres. **The figures of the paper are taken from memory and were not checked against its
text, and the traces themselves were not replayed.** The load is synthetic and follows from the seed.

- 93 % of the requests read (90 to 95 % in the production zones), the others belong to pushes.
- The popularity of images follows a Zipf law; its exponent is fitted so that the first hundredth of the images draws what
  the paper tells of the first hundredth of the layers.
{zones}- Six of ten visits that read ask only whether a tag is where it was, half of them with HEAD and half with GET. The
  others pull everything: HEAD of the tag, the manifest by digest, the configuration and all layers that stand in it.
  These two parts are our choice.
- A push has a new configuration and a new layer, and asks for the layers that are there. One to three pulls of the image
  come 20 to 200 visits later.
- {images} images, five tags in a repository, two layers of an image's own and one to seven that the tags of a
  repository share. Manifests have 1 to 8 KiB. Layers have the sizes of the traces divided by 1024, 65 % below 1 KiB and
  80 % below 10 KiB, with the largest cut to 32 KiB: what is counted is which reads hit, not how fast bytes flow.

## What the cache sees of it

A cache keeps what is read whole: links of tags, links of manifests and of layers, and manifests. Of those there are
{small:.0} MiB here, as the server counts them: a link with about 450 bytes, a manifest with about 370 more than it has. **Layers
and configurations are streamed from the storage and never kept**, whatever their size; only the link that says whether
the repository has them comes from the cache. So a hit rate here is one of small reads, and not of requests or bytes. A
manifest by tag is three of them, a manifest by digest two, a layer or configuration one.

What is absent is not kept either. A push asks for its two new blobs first, and these reads miss at any size. So does the
first read of everything that a push made.

The Redis has {redis_times} times the memory of the process, beside what it takes when it is empty, with `allkeys-lru`. \"With
Redis\" are reads that either of them answered.

## What it does not say

Requests follow each other as fast as the machine can, so 75 days become seconds. `tag_ttl` is an hour here, so that entries
go for lack of room only; with the default of a minute, links of tags that are seldom read are read from the storage more often
than this page says. The memory is divided into parts by the number of processors, so that very small sizes hold
less on many.
"
    )
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
