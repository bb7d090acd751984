//! The route table: which node keeps an id in a group.
//!
//! The ids of all backends of a group stand on a ring. Each backend keeps what lies from one of its ids up to the
//! next id of anybody. The ids of a node that is away stay: its neighbours would answer for its ranges without what it
//! held, and what they say of these counts for nothing.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use tokio::time::Instant;

use crate::wire::{Id, topology::Backend};

/// Where a node is reached, or since when it is away.
type Place<T> = Result<Arc<T>, Instant>;

/// A node: where it is reached if it is, since when that is so, and the backends that it has or had.
pub(crate) type Known<'a, T> = (Option<&'a Arc<T>>, Instant, &'a [Backend]);

/// The ring of each group; `T` is where a node is reached.
#[derive(Debug)]
pub(crate) struct Routes<T> {
    groups: HashMap<u32, Vec<(Id, Place<T>)>>,
}

impl<T> Routes<T> {
    /// The table of all nodes that are known, with the backends that each has or had.
    pub(crate) fn new<'a>(nodes: impl IntoIterator<Item = Known<'a, T>>) -> Self
    where
        T: 'a,
    {
        let mut groups: HashMap<u32, Vec<(Id, Place<T>)>> = HashMap::new();
        for (node, since, backends) in nodes {
            for backend in backends {
                let ring = groups.entry(backend.group).or_default();
                let place = node.filter(|_| !backend.is_gone).cloned().ok_or(since);
                ring.extend(backend.ids.iter().map(|id| (*id, place.clone())));
            }
        }
        for ring in groups.values_mut() {
            // A node that is known by two addresses has the same ids twice, as has one that came back at another. Of
            // two that are away the one counts that went last.
            ring.sort_by_key(|(id, place)| (*id, place.as_ref().err().map(|since| Reverse(*since))));
            ring.dedup_by_key(|(id, _)| *id);
        }
        Self { groups }
    }

    /// Who keeps an id in a group.
    ///
    /// # Errors
    /// Since when that node is away; `None` when nobody is known to serve the group.
    pub(crate) fn node(&self, group: u32, id: &Id) -> Result<&Arc<T>, Option<Instant>> {
        let ring = self.groups.get(&group).ok_or(None)?;
        // What lies before the first id belongs to the last one.
        let behind = ring.partition_point(|(start, _)| start <= id);
        let (_, place) = behind.checked_sub(1).map_or(ring.last(), |place| ring.get(place)).ok_or(None)?;
        place.as_ref().map_err(|since| Some(*since))
    }

    /// Whether a node of a group can be reached.
    pub(crate) fn has(&self, group: u32) -> bool {
        self.groups.get(&group).is_some_and(|ring| ring.iter().any(|(_, place)| place.is_ok()))
    }
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { groups: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let now = Instant::now();
        let routes = Routes::new([(Some(&one), now, &ones[..]), (Some(&other), now, &others[..])]);
        let node = |first| **routes.node(1, &id(first)).unwrap();
        assert_eq!(
            [10, 49, 50, 99, 100, 199, 200, 255].map(node).concat(),
            "oneoneotherotheroneoneotherother"
        );
        assert_eq!(node(3), "other");
        assert_eq!(routes.node(2, &id(3)), Err(None));
        assert!(routes.has(1) && !routes.has(2));
    }

    #[test]
    fn the_ranges_of_a_node_that_is_away_are_nobodys() {
        let (one, other) = (Arc::new("one"), Arc::new("other"));
        let (ones, others) = (backend(1, &[10, 100]), backend(1, &[50, 200]));
        let (now, then) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let routes = Routes::new([(Some(&one), now, &ones[..]), (None, then, &others[..])]);
        assert_eq!(**routes.node(1, &id(20)).unwrap(), "one");
        assert_eq!([220, 60].map(|first| routes.node(1, &id(first))), [Err(Some(then)); 2]);
        assert!(routes.has(1));
        let mut gone = others.clone();
        gone[0].is_gone = true;
        let routes = Routes::new([(Some(&one), now, &ones[..]), (Some(&other), then, &gone[..])]);
        assert_eq!(routes.node(1, &id(220)), Err(Some(then)));
        assert!(!Routes::<&str>::new([(None, now, &others[..])]).has(1));
    }

    #[test]
    fn a_node_that_came_back_at_another_address_keeps_its_ranges() {
        let (one, ids) = (Arc::new("one"), backend(1, &[10, 100]));
        let (now, then) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let (here, away) = ((Some(&one), now, &ids[..]), |since| (None, since, &ids[..]));
        for nodes in [[away(then), here], [here, away(then)]] {
            assert_eq!(**Routes::new(nodes).node(1, &id(20)).unwrap(), "one");
        }
        let routes = Routes::<&str>::new([away(now), away(then), away(now)]);
        assert_eq!(routes.node(1, &id(20)), Err(Some(then)));
    }
}
