//! What is looked for, and in which order it is found.
//!
//! Every comparison is of texts in lower case (Unicode's), so no character of a term has a meaning of its own.

use std::ops::Range;

/// Most results of a search that does not say how many it wants.
const MAX_UNPAGED: usize = 10_000;

/// A search.
#[derive(Debug, Clone)]
pub struct Query {
    lowered: String,
    window: Range<usize>,
}

/// What came of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// How many repositories match in all.
    pub total: usize,
    /// Those on the page.
    pub hits: Vec<Hit>,
}

/// A repository that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its name.
    pub name: String,
    /// What it is for, if anybody said so.
    pub description: Option<String>,
}

/// How well a repository matches, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Name,
    LastSegment,
    SegmentStart,
    Inside,
    Description,
}

impl Query {
    /// Everything that matches the term, up to a bound. The empty term matches everything.
    pub fn all(term: &str) -> Self {
        Self { lowered: term.to_lowercase(), window: 0..MAX_UNPAGED }
    }

    /// One page of what matches; pages are counted from 1.
    pub fn page(term: &str, size: usize, page: usize) -> Self {
        let start = page.saturating_sub(1).saturating_mul(size);
        Self { lowered: term.to_lowercase(), window: start..start.saturating_add(size) }
    }

    fn rank(&self, hit: &Hit) -> Option<Rank> {
        let term = self.lowered.as_str();
        if term.is_empty() {
            return Some(Rank::Name);
        }
        let name = hit.name.to_lowercase();
        let starts = |(at, _): (usize, &str)| at == 0 || name[..at].ends_with('/');
        if name == term {
            Some(Rank::Name)
        } else if name.rsplit('/').next() == Some(term) {
            Some(Rank::LastSegment)
        } else if name.match_indices(term).any(starts) || starts_a_segment(&name, term) {
            Some(Rank::SegmentStart)
        } else if name.contains(term) {
            Some(Rank::Inside)
        } else {
            let described = hit.description.as_ref().map(|text| text.to_lowercase());
            described.filter(|text| text.contains(term)).map(|_| Rank::Description)
        }
    }

    /// Ranks and cuts what there is.
    pub(super) fn answer(&self, all: impl Iterator<Item = Hit>) -> Found {
        let mut ranked: Vec<(Rank, Hit)> =
            all.filter_map(|hit| self.rank(&hit).map(|rank| (rank, hit))).collect();
        ranked.sort_by(|(rank, hit), (other_rank, other)| {
            rank.cmp(other_rank).then_with(|| hit.name.cmp(&other.name))
        });
        let total = ranked.len();
        let page = ranked.into_iter().skip(self.window.start).take(self.window.len());
        Found { total, hits: page.map(|(_, hit)| hit).collect() }
    }
}

/// Occurrences that overlap an earlier one are left out by `match_indices`.
fn starts_a_segment(name: &str, term: &str) -> bool {
    name.match_indices('/').any(|(at, _)| name[at + 1..].starts_with(term))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(name: &str, description: Option<&str>) -> Hit {
        Hit { name: name.to_owned(), description: description.map(str::to_owned) }
    }

    fn names(query: &Query, all: &[Hit]) -> Vec<String> {
        query.answer(all.iter().cloned()).hits.into_iter().map(|hit| hit.name).collect()
    }

    #[test]
    fn the_nearest_name_comes_first_and_descriptions_last() {
        let all = [
            hit("z/other", Some("an ARCH of things")),
            hit("monarch/x", None),
            hit("team/archive", None),
            hit("team/arch", None),
            hit("arch", None),
            hit("arch/base", None),
            hit("none", Some("nothing")),
        ];
        let expected = ["arch", "team/arch", "arch/base", "team/archive", "monarch/x", "z/other"];
        assert_eq!(names(&Query::all("Arch"), &all), expected);
    }

    #[test]
    fn no_character_is_a_wildcard_and_case_is_unicode_s() {
        let all = [hit("a/b_c", None), hit("a/bxc", Some("100 % Größe")), hit("a/é*[d]?\\", None)];
        for (term, found) in
            [("b_c", "a/b_c"), ("0 %", "a/bxc"), ("GRÖSSE", ""), ("GRÖßE", "a/bxc"), ("É*[", "a/é*[d]?\\")]
        {
            assert_eq!(names(&Query::all(term), &all).join(","), found, "{term}");
        }
        for wildcard in ["%b%", "b%c", "b?c", "b.c", "a/*", "\\_"] {
            assert_eq!(names(&Query::all(wildcard), &all), Vec::<String>::new(), "{wildcard}");
        }
    }

    #[test]
    fn pages_follow_each_other_and_count_everything() {
        let all: Vec<Hit> = (0..7).map(|number| hit(&format!("r{number}"), None)).collect();
        let page = |page| Query::page("", 3, page).answer(all.iter().cloned());
        assert_eq!((page(1).total, page(1).hits.len(), page(3).hits.len()), (7, 3, 1));
        assert_eq!(page(2).hits[0].name, "r3");
        assert_eq!(page(4), Found { total: 7, hits: Vec::new() });
        assert_eq!(page(usize::MAX).hits, []);
    }
}
