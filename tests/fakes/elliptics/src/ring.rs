//! Who owns an id: backends with their ids on the rings of their groups.
//!
//! Rules from `library/node.c` (`__dnet_idc_search`): each group has a ring of its own, and an id belongs to the
//! greatest id on it that is not greater; before the first one, to the last. What a node that is away had belongs to
//! those that are left.

use std::str::FromStr;

use crate::id::Id;

/// The backends of one node, as the command line says it: `GROUP`, `GROUP*COUNT` or `GROUP@HEX+HEX`, with commas
/// between backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodePlan(pub(crate) Vec<BackendPlan>);

/// One backend of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackendPlan {
    pub(crate) group: u32,
    pub(crate) ids: Ids,
}

/// The ids of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ids {
    /// So many, spread over the ring as by chance, and the same ones in every run.
    Count(usize),
    /// These.
    Listed(Vec<Id>),
}

/// How many ids a backend has when nothing is said.
const COUNT: usize = 8;

impl FromStr for NodePlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let backends: Result<Vec<_>, _> = text.split(',').map(str::parse).collect();
        Ok(Self(backends?))
    }
}

impl FromStr for BackendPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no backend: it is GROUP, GROUP*COUNT or GROUP@HEX+HEX");
        let (group, ids) = if let Some((group, ids)) = text.split_once('@') {
            let ids: Option<Vec<_>> = ids.split('+').map(Id::parse).collect();
            (group, Ids::Listed(ids.ok_or_else(wrong)?))
        } else if let Some((group, count)) = text.split_once('*') {
            (group, Ids::Count(count.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?))
        } else {
            (text, Ids::Count(COUNT))
        };
        Ok(Self { group: group.parse().map_err(|_| wrong())?, ids })
    }
}

impl BackendPlan {
    /// The ids of this backend, which is number `backend` of node number `node`.
    pub(crate) fn ids(&self, node: usize, backend: usize) -> Vec<Id> {
        match &self.ids {
            Ids::Listed(ids) => ids.clone(),
            Ids::Count(count) => {
                (0..*count).map(|number| Id::of(format!("{node}/{backend}/{number}").as_bytes())).collect()
            }
        }
    }
}

/// Whose an id is, on a ring of ids and owners. `None` when the ring is empty.
pub(crate) fn owner<T: Copy>(ring: impl Iterator<Item = (Id, T)>, id: &Id) -> Option<T> {
    let mut sorted: Vec<_> = ring.collect();
    // Of two owners of one id the first one counts.
    sorted.sort_by_key(|(id, _)| *id);
    sorted.dedup_by_key(|(id, _)| *id);
    let before = sorted.partition_point(|(start, _)| start <= id);
    let position = before.checked_sub(1).or_else(|| sorted.len().checked_sub(1))?;
    Some(sorted[position].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        Id::parse(text).expect("an id")
    }

    #[test]
    fn an_id_belongs_to_the_greatest_that_is_not_greater_and_the_ring_is_closed() {
        let ring = [(id("80"), 'b'), (id("20"), 'a'), (id("c0"), 'c'), (id("80"), 'd')];
        let owner = |text| owner(ring.iter().copied(), &id(text));
        assert_eq!(owner("20"), Some('a'));
        assert_eq!(owner("7fff"), Some('a'));
        assert_eq!(owner("80"), Some('b'));
        assert_eq!(owner("ff"), Some('c'));
        assert_eq!(owner("1f"), Some('c'));
        assert_eq!(super::owner(std::iter::empty::<(Id, char)>(), &id("00")), None);
    }

    #[test]
    fn a_node_is_described_by_its_backends() {
        let plan: NodePlan = "1,2*3,4@00+80".parse().expect("a plan");
        assert_eq!(plan.0[0], BackendPlan { group: 1, ids: Ids::Count(8) });
        assert_eq!(plan.0[1].ids(3, 1).len(), 3);
        assert_eq!(plan.0[2].ids(3, 2), [id("00"), id("80")]);
        for wrong in ["", "x", "1*0", "1@zz", "1,,2"] {
            assert!(wrong.parse::<NodePlan>().is_err(), "{wrong:?} is a plan");
        }
    }
}
