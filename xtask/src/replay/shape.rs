//! The shape of the load: which images there are, how popular each is, and what clients do with them one after the other.
//!
//! Everything follows from a seed, so that two runs with the same numbers send the same requests in the same order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use fastrand::Rng;

/// Tags of a repository. One of them is popular and the others less so, as `latest` and old versions are.
pub(super) const TAGS: usize = 5;
/// Layers that an image has on top of those that it shares with the other tags of its repository.
pub(super) const OWN_LAYERS: usize = 2;
/// Most layers that the tags of a repository share.
const MOST_SHARED_LAYERS: u64 = 7;
/// The part of all requests that reads.
const READS: f64 = 0.93;
/// The part of the visits for reading that ask only whether a tag is where it was.
const CHECKS: f64 = 0.6;
/// The part of those that ask with HEAD; the others read the manifest.
const CHECKS_BY_HEAD: f64 = 0.5;
/// Most visits that pull an image soon after its push.
const MOST_PULLS_OF_A_PUSH: usize = 3;
/// How many visits after its push an image is pulled.
const SOON: std::ops::Range<usize> = 20..200;
/// Between which exponents the fitting one is looked for.
const EXPONENTS: (f64, f64) = (0.0, 4.0);

/// A production zone of the traces, by what its most popular hundredth draws.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zone {
    pub(super) name: &'static str,
    /// The part of the visits that goes to the most popular hundredth of the images.
    pub(super) top: f64,
}

/// The two ends of what the paper tells.
pub(super) const ZONES: [Zone; 2] = [Zone { name: "Dallas", top: 0.42 }, Zone { name: "Sydney", top: 0.59 }];

/// How many images there are and what they have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Catalog {
    pub(super) images: usize,
}

impl Catalog {
    /// Repositories, with [`TAGS`] images each.
    pub(super) fn repositories(self) -> usize {
        self.images.div_ceil(TAGS)
    }

    /// The repository of an image. Images are numbered by popularity, and neighbours are in different repositories.
    pub(super) fn repository(self, image: usize) -> usize {
        image % self.repositories()
    }

    /// How many layers the tags of a repository share.
    pub(super) fn shared_layers(self, repository: usize) -> usize {
        let mut random = Rng::with_seed(repository as u64);
        random.u64(1..=MOST_SHARED_LAYERS) as usize
    }

    /// Requests of a whole pull: the tag by HEAD, the manifest by digest, the configuration and every layer.
    fn requests_of_a_pull(self, image: usize) -> usize {
        3 + OWN_LAYERS + self.shared_layers(self.repository(image))
    }

    /// Requests of a push: HEAD of each layer, two more for each that is new, and the manifest. The configuration and one
    /// layer are new.
    fn requests_of_a_push(self, image: usize) -> usize {
        3 * 2 + 1 + (OWN_LAYERS - 1) + self.shared_layers(self.repository(image))
    }
}

/// A Zipf law over the images.
pub(super) struct Popularity {
    /// Image number `n`, counted from 1, is visited in proportion to `n` to the power of minus this.
    pub(super) exponent: f64,
    /// The part of the visits that goes to each image or to a more popular one.
    cumulative: Vec<f64>,
}

impl Popularity {
    /// The law under which the most popular hundredth draws so much.
    pub(super) fn fitted(images: usize, top: f64) -> Popularity {
        let hundredth = (images / 100).max(1);
        let (mut low, mut high) = EXPONENTS;
        for _ in 0..50 {
            let middle = f64::midpoint(low, high);
            if Popularity::with(images, middle).cumulative[hundredth - 1] < top {
                low = middle;
            } else {
                high = middle;
            }
        }
        Popularity::with(images, high)
    }

    fn with(images: usize, exponent: f64) -> Popularity {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=images)
            .map(|number| {
                sum += (number as f64).powf(-exponent);
                sum
            })
            .collect();
        cumulative.iter_mut().for_each(|part| *part /= sum);
        Popularity { exponent, cumulative }
    }

    fn draw(&self, random: &mut Rng) -> usize {
        let point = random.f64();
        self.cumulative.partition_point(|part| *part <= point).min(self.cumulative.len() - 1)
    }
}

/// What one client does with one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// It has the image and asks where the tag is, by HEAD or by GET.
    Check { image: usize, head: bool },
    /// It fetches everything.
    Pull { image: usize },
    /// It pushes the image with a new configuration and a new layer; `number` counts the pushes.
    Push { image: usize, number: usize },
}

/// Visits that send so many requests together.
pub(super) fn visits(catalog: Catalog, popularity: &Popularity, requests: usize, seed: u64) -> Vec<Visit> {
    let mut random = Rng::with_seed(seed);
    let mut visits = Vec::new();
    // Those that follow a push, by the place in the row at which they are due.
    let mut due: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    let (mut sent, mut pushing, mut pushes) = (0, 0, 0);
    while sent < requests {
        if let Some(Reverse((place, image))) = due.peek().copied()
            && place <= visits.len()
        {
            due.pop();
            visits.push(Visit::Pull { image });
            sent += catalog.requests_of_a_pull(image);
            continue;
        }
        let image = popularity.draw(&mut random);
        if (pushing as f64) < (1.0 - READS) * sent as f64 {
            for _ in 0..random.usize(1..=MOST_PULLS_OF_A_PUSH) {
                due.push(Reverse((visits.len() + random.usize(SOON), image)));
            }
            visits.push(Visit::Push { image, number: pushes });
            pushes += 1;
            pushing += catalog.requests_of_a_push(image);
            sent += catalog.requests_of_a_push(image);
        } else if random.f64() < CHECKS {
            visits.push(Visit::Check { image, head: random.f64() < CHECKS_BY_HEAD });
            sent += 1;
        } else {
            visits.push(Visit::Pull { image });
            sent += catalog.requests_of_a_pull(image);
        }
    }
    visits
}

/// The part of all reads of layers that goes to the hundredth of the layers that is read most, by these visits. Shared
/// layers are read with every tag of their repository, so that this is another figure than that of the images.
pub(super) fn top_of_layers(catalog: Catalog, visits: &[Visit]) -> f64 {
    // A shared layer is named by its repository, an own one by image and version.
    let mut reads: BTreeMap<(usize, Option<usize>, usize), u64> = BTreeMap::new();
    let mut versions = vec![0; catalog.images];
    let mut layers: usize =
        (0..catalog.repositories()).map(|repository| catalog.shared_layers(repository)).sum();
    layers += catalog.images * OWN_LAYERS;
    for visit in visits {
        match *visit {
            Visit::Check { .. } => {}
            Visit::Push { image, number } => {
                versions[image] = number + 1;
                layers += 1;
            }
            Visit::Pull { image } => {
                let repository = catalog.repository(image);
                for layer in 0..catalog.shared_layers(repository) {
                    *reads.entry((repository, None, layer)).or_default() += 1;
                }
                // A push makes the last own layer anew.
                for layer in 0..OWN_LAYERS {
                    let version = if layer + 1 == OWN_LAYERS { versions[image] } else { 0 };
                    *reads.entry((image, Some(version), layer)).or_default() += 1;
                }
            }
        }
    }
    let mut counts: Vec<u64> = reads.into_values().collect();
    counts.sort_unstable_by_key(|count| Reverse(*count));
    let all: u64 = counts.iter().sum();
    let top: u64 = counts.iter().take(layers / 100).sum();
    top as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOG: Catalog = Catalog { images: 2000 };

    #[test]
    fn the_most_popular_hundredth_draws_what_the_zone_says() {
        for zone in ZONES {
            let popularity = Popularity::fitted(CATALOG.images, zone.top);
            let mut random = Rng::with_seed(7);
            let drawn = (0..100_000).filter(|_| popularity.draw(&mut random) < CATALOG.images / 100).count();
            let part = drawn as f64 / 100_000.0;
            assert!((part - zone.top).abs() < 0.01, "{}: {part}", zone.name);
        }
    }

    #[test]
    fn reads_have_their_part_and_a_push_is_followed_by_pulls() {
        let popularity = Popularity::fitted(CATALOG.images, 0.42);
        let visits = visits(CATALOG, &popularity, 50_000, 1);
        let (mut reading, mut writing) = (0, 0);
        for (place, visit) in visits.iter().enumerate() {
            match *visit {
                Visit::Check { .. } => reading += 1,
                Visit::Pull { image } => reading += CATALOG.requests_of_a_pull(image),
                Visit::Push { image, .. } => {
                    writing += CATALOG.requests_of_a_push(image);
                    let after = &visits[place..visits.len().min(place + SOON.end + 20)];
                    let cut = place + SOON.end + 20 > visits.len();
                    assert!(cut || after.contains(&Visit::Pull { image }), "{place}");
                }
            }
        }
        let part = f64::from(reading as u32) / f64::from((reading + writing) as u32);
        assert!((part - READS).abs() < 0.005, "{part}");
    }

    #[test]
    fn the_same_seed_gives_the_same_visits() {
        let popularity = Popularity::fitted(CATALOG.images, 0.59);
        let [first, again, other] = [1, 1, 2].map(|seed| visits(CATALOG, &popularity, 5000, seed));
        assert_eq!(first, again);
        assert_ne!(first, other);
    }
}
