//! The legacy V1 registry API.
