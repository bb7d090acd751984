//! Repositories, blobs, uploads, manifests and tags of the V2/OCI registry.
