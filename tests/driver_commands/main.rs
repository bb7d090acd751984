//! `driver install`, `rollback` and `remove` as an operator types them: the real program, real libraries, real
//! folders.

mod archives;
mod crashes;
mod installing;
mod other_users;
mod place;
mod running;
mod undoing;

// Named so that cargo builds the libraries together with this test; they are loaded, never called.
use docker_registry_driver_memory as _;
use docker_registry_driver_misbehaving as _;
