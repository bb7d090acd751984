//! The V2/OCI distribution API.
