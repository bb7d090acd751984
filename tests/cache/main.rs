//! The cache in front of small reads, on real Redis servers: what it keeps, and what it must never answer.
//!
//! Races and single faults are played with two replicas in one process, over a storage that waits where a test wants
//! it to. Whole servers on one storage show the rest.

mod changes;
mod entries;
mod faults;
mod places;
mod races;
mod replicas;
mod servers;
mod storage;
mod tracking;
