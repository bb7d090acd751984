//! Paths of the V2 layout.
