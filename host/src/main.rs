//! The `docker-registry` program: what is typed, and nothing else; the rest is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    docker_registry::cli::run()
}
