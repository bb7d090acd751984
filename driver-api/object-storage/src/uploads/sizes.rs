//! Arithmetic of parts: how large they are, how segments are cut into ranges, which ones are joined.

use std::ops::Range;

use super::state::{Segment, total};
use crate::bucket::Limits;

/// Rows do not get longer than this.
pub(crate) const LONGEST_ROW: usize = 256;
/// When fewer small segments than this are at the end of a full row, everything is joined.
const FEWEST_JOINED: usize = 64;
/// A segment is large when it has so many times the size of the average of the last ones.
const LARGE: u64 = 8;
/// Largest range that is copied as one part: the time that one request takes has an end.
const COPIED_AT_ONCE: u64 = 1 << 30;
/// Smallest range that is worth a request of its own.
const LEAST_COPIED: u64 = 64 << 20;

/// How large the parts of one object are.
///
/// Parts grow with the offset, so that the number of parts does not end before the object does: by one
/// thousandth of it, which is as much as the store allows for 10,000 parts of a 5 TiB object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartSizes {
    first: u64,
    largest: u64,
    multiple: u64,
    growth: u64,
}

impl PartSizes {
    /// Parts of `wanted` bytes, as far as the store allows it, for an object that will probably have
    /// `expected` bytes. None is larger than half of `memory`, and the first ones not than a quarter, if it can be
    /// helped.
    pub(crate) fn new(limits: &Limits, wanted: u64, memory: u64, expected: Option<u64>) -> Self {
        let multiple = limits.part_multiple.max(1);
        let most_parts = u64::from(limits.most_parts.max(1));
        let largest = limits.largest_part / multiple * multiple;
        let up = |size: u64| size.div_ceil(multiple).saturating_mul(multiple);
        let mut first = up(wanted.max(limits.smallest_part));
        if let Some(expected) = expected {
            // A little less than all parts, should the number be wrong by a little.
            let needed = up(expected.div_ceil((most_parts * 9 / 10).max(1)));
            // The number is a client's word: nobody gets much of the memory for it.
            first = first.max(needed.min(memory / 4 / multiple * multiple));
        }
        let first = first.min(largest);
        let largest = largest.min((memory / 2 / multiple * multiple).max(first));
        Self { first, largest, multiple, growth: (most_parts / 10).max(1) }
    }

    /// Size of the part that begins at this offset of the object.
    pub(crate) fn at(&self, offset: u64) -> u64 {
        let grown = (offset / self.growth).div_ceil(self.multiple).saturating_mul(self.multiple);
        grown.clamp(self.first, self.largest)
    }
}

/// Cuts an object into ranges that are copied as parts: of equal size, so that the last one is no crumb.
pub(crate) fn copied_ranges(size: u64, limits: &Limits) -> impl Iterator<Item = Range<u64>> + use<> {
    let largest = COPIED_AT_ONCE.min(limits.largest_part).max(1);
    let mut count = size.div_ceil(largest).max(1);
    // A few at a time are quicker than one, as long as none is below what the store takes.
    let quick = (size / LEAST_COPIED.max(limits.smallest_part).max(1)).min(8);
    count = count.max(quick);
    let step = size.div_ceil(count).max(1);
    (0..count).map(move |number| (number * step).min(size)..((number + 1) * step).min(size)).filter(|range| {
        // Rounding may leave nothing for the last ones.
        !range.is_empty()
    })
}

/// Where the next segment begins in the row: at the end, or before what it takes into itself.
///
/// - A small segment at the end is taken: it cannot be an inner part of the object.
/// - When the row is full, the segments that are small in comparison are taken, or all when those would be
///   too few. So each byte is copied a few times at most, however many appends come.
pub(crate) fn next_begin(row: &[Segment], smallest_part: u64) -> usize {
    let mut begin = row.len();
    if row.last().is_some_and(|last| last.size < smallest_part) {
        begin -= 1;
    }
    if row.len() < LONGEST_ROW {
        return begin;
    }
    let last = &row[row.len() - FEWEST_JOINED..];
    let large = (total(last) / last.len() as u64).saturating_mul(LARGE).max(1);
    let small = row.iter().rev().take_while(|segment| segment.size < large).count();
    if small < FEWEST_JOINED { 0 } else { row.len() - small }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn segment(size: u64) -> Segment {
        Segment { generation: 1, size, nonce: None }
    }

    /// Sizes of all parts of an object.
    fn parts(sizes: PartSizes, size: u64) -> Vec<u64> {
        let mut offset = 0;
        let mut parts = Vec::new();
        while offset < size {
            let part = sizes.at(offset).min(size - offset);
            parts.push(part);
            offset += part;
        }
        parts
    }

    #[test]
    fn an_object_of_5_tib_has_no_more_parts_than_the_store_allows() {
        let limits = Limits::s3();
        for expected in [None, Some(5 << 40)] {
            let sizes = PartSizes::new(&limits, 8 * MIB, 64 << 30, expected);
            let parts = parts(sizes, 5 << 40);
            assert!(parts.len() <= limits.most_parts as usize, "{}", parts.len());
            assert!(parts.iter().all(|part| *part <= limits.largest_part));
        }
    }

    #[test]
    fn parts_are_what_was_asked_for_as_long_as_the_object_is_not_huge() {
        let sizes = PartSizes::new(&Limits::s3(), 8 * MIB, 96 * MIB, None);
        assert!(parts(sizes, 8000 * MIB).iter().all(|part| *part == 8 * MIB));
        // And never more than half of the memory.
        assert!(parts(sizes, 300 << 30).iter().all(|part| *part <= 48 * MIB));
    }

    #[test]
    fn parts_obey_the_store() {
        let mut limits = Limits::s3();
        let first = |limits: &Limits, wanted| PartSizes::new(limits, wanted, 96 * MIB, None).at(0);
        assert_eq!(first(&limits, 1), limits.smallest_part);
        limits.part_multiple = 256 << 10;
        limits.smallest_part = 256 << 10;
        assert_eq!(first(&limits, 1), 256 << 10);
        assert_eq!(first(&limits, (256 << 10) + 1), 512 << 10);
        let sizes = PartSizes::new(&limits, MIB, 96 * MIB, None);
        assert!((0..100).all(|step| sizes.at(step * 77_777_777_777).is_multiple_of(limits.part_multiple)));
        limits.largest_part = 4 * MIB;
        assert_eq!(first(&limits, 8 * MIB), 4 * MIB);
    }

    #[test]
    fn ranges_cover_the_object_once_and_none_is_a_crumb() {
        let limits = Limits::s3();
        for size in [1, 5 * MIB, 64 * MIB, 64 * MIB + 1, 1 << 30, (1 << 30) + 1, (5 << 30) + 7, 5 << 40] {
            let ranges: Vec<_> = copied_ranges(size, &limits).collect();
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[ranges.len() - 1].end, size);
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            let shortest = ranges.iter().map(|range| range.end - range.start).min().unwrap();
            assert!(ranges.len() == 1 || shortest >= limits.smallest_part, "{size}: {shortest}");
            assert!(ranges.len() < limits.most_parts as usize);
        }
    }

    #[test]
    fn a_small_segment_at_the_end_is_taken_into_the_next_one() {
        assert_eq!(next_begin(&[], 5 * MIB), 0);
        assert_eq!(next_begin(&[segment(5 * MIB)], 5 * MIB), 1);
        assert_eq!(next_begin(&[segment(5 * MIB), segment(1)], 5 * MIB), 1);
        assert_eq!(next_begin(&[segment(1)], 5 * MIB), 0);
    }

    #[test]
    fn rows_stay_short_and_hardly_anything_is_copied_twice() {
        for size in [5 * MIB, 5 * MIB + 1, 100 * MIB] {
            let mut row: Vec<Segment> = Vec::new();
            let (mut written, mut copied) = (0, 0);
            for _ in 0..20_000 {
                let begin = next_begin(&row, 5 * MIB);
                let taken = total(&row[begin..]);
                row.truncate(begin);
                row.push(segment(taken + size));
                written += size;
                copied += taken;
                assert!(row.len() <= LONGEST_ROW);
            }
            assert_eq!(total(&row), written);
            assert!(copied <= 3 * written, "{copied} of {written}");
        }
    }
}
