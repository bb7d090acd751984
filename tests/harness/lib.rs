//! What the end-to-end tests and the benchmark stand on: real servers, real clients and an exact HTTP client.
//!
//! A test says what it needs and gets it with folders, ports and processes of its own, which are gone when the
//! value that stands for them is dropped. Nothing listens anywhere but on 127.0.0.1, and no port is fixed.
//! Whatever goes wrong while preparing is a panic that names the program and shows the end of its log: these are
//! tests, and there is nobody to handle an error.
//!
//! [`server::Product::under_test`] picks the server: ours, or the packaged registry of Debian when
//! `DOCKER_REGISTRY_TEST_SERVER=distribution` is set, which proves that a test asks for nothing peculiar.

pub mod artifacts;
pub mod c_header;
pub mod content;
pub mod debian;
pub mod docker;
pub mod fault_proxy;
pub mod flavor_variables;
pub mod http;
pub mod images;
pub mod peers;
pub mod podman;
pub mod process;
pub mod projects;
pub mod recording;
pub mod redis;
pub mod round_trips;
pub mod server;
pub mod skopeo;
pub mod storage_requests;
pub mod store_server;
pub mod v1;
pub mod v2;
