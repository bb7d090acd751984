//! Images, ancestries, repositories and tags of the V1 registry.
