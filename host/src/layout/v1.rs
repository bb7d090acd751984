//! Paths of the V1 layout.
