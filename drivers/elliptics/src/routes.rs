//! The route table: which node keeps an id in a group.
//!
//! The ids of all backends of a group stand on a ring. Each backend keeps what lies from one of its ids up to the
//! next id of anybody. When a node goes, its neighbours keep its ranges, without what it held.

use std::{collections::HashMap, sync::Arc};

use crate::wire::{Id, topology::Backend};

/// The ring of each group; `T` is where a node is reached.
#[derive(Debug)]
pub(crate) struct Routes<T> {
    groups: HashMap<u32, Vec<(Id, Arc<T>)>>,
}

impl<T> Routes<T> {
    pub(crate) fn new<'a>(nodes: impl IntoIterator<Item = (&'a Arc<T>, &'a [Backend])>) -> Self
    where
        T: 'a,
    {
        let mut groups: HashMap<u32, Vec<(Id, Arc<T>)>> = HashMap::new();
        for (node, backends) in nodes {
            for backend in backends.iter().filter(|backend| !backend.is_gone) {
                let ring = groups.entry(backend.group).or_default();
                ring.extend(backend.ids.iter().map(|id| (*id, Arc::clone(node))));
            }
        }
        for ring in groups.values_mut() {
            ring.sort_by_key(|(id, _)| *id);
            // A node that is known by two addresses has the same ids twice.
            ring.dedup_by_key(|(id, _)| *id);
        }
        Self { groups }
    }

    /// Who keeps an id in a group.
    pub(crate) fn node(&self, group: u32, id: &Id) -> Option<&Arc<T>> {
        let ring = self.groups.get(&group)?;
        // What lies before the first id belongs to the last one.
        let behind = ring.partition_point(|(start, _)| start <= id);
        let place = behind.checked_sub(1).unwrap_or(ring.len().checked_sub(1)?);
        ring.get(place).map(|(_, node)| node)
    }

    pub(crate) fn has(&self, group: u32) -> bool {
        self.groups.get(&group).is_some_and(|ring| !ring.is_empty())
    }
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { groups: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ID_SIZE;

    fn id(first: u8) -> Id {
        let mut id = Id([0; ID_SIZE]);
        id.0[0] = first;
        id
    }

    fn backend(group: u32, ids: &[u8]) -> Vec<Backend> {
        let ids = ids.iter().map(|first| id(*first)).collect();
        vec![Backend { number: 0, group, ids, is_gone: false }]
    }

    #[test]
    fn an_id_belongs_to_the_last_start_that_is_not_behind_it_and_the_ring_is_closed() {
        let (one, other) = (Arc::new("one"), Arc::new("other"));
        let (ones, others) = (backend(1, &[10, 100]), backend(1, &[50, 200]));
        let routes = Routes::new([(&one, &ones[..]), (&other, &others[..])]);
        let node = |first| **routes.node(1, &id(first)).unwrap();
        assert_eq!(
            [10, 49, 50, 99, 100, 199, 200, 255].map(node).concat(),
            "oneoneotherotheroneoneotherother"
        );
        assert_eq!(node(3), "other");
        assert!(routes.node(2, &id(3)).is_none());
        assert!(routes.has(1) && !routes.has(2));
    }

    #[test]
    fn the_ranges_of_a_node_that_went_belong_to_its_neighbours() {
        let one = Arc::new("one");
        let ones = backend(1, &[10, 100]);
        let mut gone = backend(1, &[50, 200]);
        gone[0].is_gone = true;
        let routes = Routes::new([(&one, &ones[..]), (&Arc::new("other"), &gone[..])]);
        assert_eq!(**routes.node(1, &id(220)).unwrap(), "one");
    }
}
