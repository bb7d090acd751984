//! The route table: which node keeps an id in a group.
//!
//! The ids of all backends of a group stand on a ring. Each backend keeps what lies from one of its ids up to the
//! next id of anybody. The ids of a node that is away stay: its neighbours would answer for its ranges without what it
//! held, and what they say of these counts for nothing.

use std::{collections::HashMap, sync::Arc};

use crate::wire::{Id, topology::Backend};

/// Where a node is reached; `None` while it is away.
type Place<T> = Option<Arc<T>>;

/// The ring of each group; `T` is where a node is reached.
#[derive(Debug)]
pub(crate) struct Routes<T> {
    groups: HashMap<u32, Vec<(Id, Place<T>)>>,
}

impl<T> Routes<T> {
    /// The table of all nodes that are known, with the backends that each has or had.
    pub(crate) fn new<'a>(nodes: impl IntoIterator<Item = (Option<&'a Arc<T>>, &'a [Backend])>) -> Self
    where
        T: 'a,
    {
        let mut groups: HashMap<u32, Vec<(Id, Place<T>)>> = HashMap::new();
        for (node, backends) in nodes {
            for backend in backends {
                let ring = groups.entry(backend.group).or_default();
                let place = node.filter(|_| !backend.is_gone);
                ring.extend(backend.ids.iter().map(|id| (*id, place.cloned())));
            }
        }
        for ring in groups.values_mut() {
            // A node that is known by two addresses has the same ids twice, as has one that came back at another.
            ring.sort_by_key(|(id, place)| (*id, place.is_none()));
            ring.dedup_by_key(|(id, _)| *id);
        }
        Self { groups }
    }

    /// Who keeps an id in a group; `None` while that node is away.
    pub(crate) fn node(&self, group: u32, id: &Id) -> Option<&Arc<T>> {
        let ring = self.groups.get(&group)?;
        // What lies before the first id belongs to the last one.
        let behind = ring.partition_point(|(start, _)| start <= id);
        let place = behind.checked_sub(1).unwrap_or(ring.len().checked_sub(1)?);
        ring.get(place)?.1.as_ref()
    }

    /// Whether a node of a group can be reached.
    pub(crate) fn has(&self, group: u32) -> bool {
        self.groups.get(&group).is_some_and(|ring| ring.iter().any(|(_, place)| place.is_some()))
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
        let routes = Routes::new([(Some(&one), &ones[..]), (Some(&other), &others[..])]);
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
    fn the_ranges_of_a_node_that_is_away_are_nobodys() {
        let (one, other) = (Arc::new("one"), Arc::new("other"));
        let (ones, others) = (backend(1, &[10, 100]), backend(1, &[50, 200]));
        let routes = Routes::new([(Some(&one), &ones[..]), (None, &others[..])]);
        assert_eq!(**routes.node(1, &id(20)).unwrap(), "one");
        assert!(routes.node(1, &id(220)).is_none() && routes.node(1, &id(60)).is_none() && routes.has(1));
        let mut gone = others.clone();
        gone[0].is_gone = true;
        let routes = Routes::new([(Some(&one), &ones[..]), (Some(&other), &gone[..])]);
        assert!(routes.node(1, &id(220)).is_none());
        assert!(!Routes::<&str>::new([(None, &others[..])]).has(1));
    }

    #[test]
    fn a_node_that_came_back_at_another_address_keeps_its_ranges() {
        let (one, ids) = (Arc::new("one"), backend(1, &[10, 100]));
        for nodes in [[(None, &ids[..]), (Some(&one), &ids[..])], [(Some(&one), &ids[..]), (None, &ids[..])]]
        {
            assert_eq!(**Routes::new(nodes).node(1, &id(20)).unwrap(), "one");
        }
    }
}
