//! Whether this process has more rights than whoever started it.
//!
//! Then its environment was written by somebody with fewer rights, and must not choose what code runs. The
//! kernel says so (`AT_SECURE`, see getauxval(3)) for a set-user-id or set-group-id program, one with file
//! capabilities, and one that a security module moved into another domain. It does not say so for rights that a
//! service manager hands down (`AmbientCapabilities=` of systemd): there the environment is the manager's own.

#![allow(unsafe_code)]

use std::ffi::c_ulong;

/// What decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Privileges {
    /// The kernel's `AT_SECURE`.
    pub(super) secure: bool,
    /// Real and effective user.
    pub(super) users: (u32, u32),
    /// Real and effective group.
    pub(super) groups: (u32, u32),
}

/// `AT_SECURE` of `linux/auxvec.h`.
const AT_SECURE: c_ulong = 23;

unsafe extern "C" {
    safe fn getauxval(kind: c_ulong) -> c_ulong;
}

impl Privileges {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        Self {
            secure: getauxval(AT_SECURE) != 0,
            users: (getuid().as_raw(), geteuid().as_raw()),
            groups: (getgid().as_raw(), getegid().as_raw()),
        }
    }

    /// Whether the environment comes from somebody with fewer rights. Users and groups are compared as well,
    /// because a process can change them after its start, and `AT_SECURE` is of the start.
    pub(super) fn are_raised(self) -> bool {
        self.secure || self.users.0 != self.users.1 || self.groups.0 != self.groups.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_raised_by_any_one_of_the_facts() {
        let plain = Privileges { secure: false, users: (1000, 1000), groups: (1000, 1000) };
        assert!(!plain.are_raised());
        assert!(!Privileges { users: (0, 0), groups: (0, 0), ..plain }.are_raised(), "root is not raised");
        assert!(Privileges { secure: true, ..plain }.are_raised(), "file capabilities");
        assert!(Privileges { users: (1000, 0), ..plain }.are_raised(), "set-user-id");
        assert!(Privileges { groups: (1000, 0), ..plain }.are_raised(), "set-group-id");
    }

    #[test]
    fn a_test_is_started_with_the_rights_of_its_user() {
        assert!(!Privileges::of_process().are_raised());
    }
}
