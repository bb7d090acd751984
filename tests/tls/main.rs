//! How clients come in: TLS, unix sockets, proxies in front.
//!
//! The server is the program with a configuration file, the clients are openssl, curl, skopeo, nginx and haproxy.
//! Certificates are made by openssl for each test.

mod certificates;
mod client_certificates;
mod curl;
mod encrypted;
mod ending;
mod openssl;
mod proxies;
mod reload;
mod running;
mod unix_socket;
