//! Lines that people look for when the server has started.

use crate::running::{CONFIGURATION, Folder};

#[test]
fn listening_at_names_the_address_and_the_process() {
    let folder = Folder::with(CONFIGURATION);
    let server = folder.serve(&mut folder.program(&[]), "server.log");
    let line = format!("Listening at: http://{} ({})", server.registry(), server.process.id());
    assert!(server.log().contains(&line), "{}", server.log());
}

#[test]
fn caches_that_are_not_configured_are_disabled_aloud() {
    let folder = Folder::with(CONFIGURATION);
    let server = folder.serve(&mut folder.program(&[]), "server.log");
    for line in ["WARNING: Cache storage disabled!", "WARNING: LRU cache disabled!"] {
        assert_eq!(server.log().matches(line).count(), 1, "{line}:\n{}", server.log());
    }
}

#[test]
fn caches_that_are_configured_are_not_called_disabled() {
    for (variable, gone, there) in [
        ("CACHE_REDIS_HOST", "WARNING: Cache storage disabled!", "WARNING: LRU cache disabled!"),
        ("CACHE_LRU_REDIS_HOST", "WARNING: LRU cache disabled!", "WARNING: Cache storage disabled!"),
    ] {
        let folder = Folder::with(CONFIGURATION);
        let mut command = folder.program(&[]);
        let server = folder.serve(command.env(variable, "127.0.0.1"), "server.log");
        assert!(!server.log().contains(gone) && server.log().contains(there), "{}", server.log());
    }
}
