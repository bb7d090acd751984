//! What `cargo xtask dist` and `cargo xtask install` make: the archive where it is unpacked, the packages on a Debian of
//! their own, installed by its dpkg and started by its init script.

mod archive;
mod installed;
mod serving;
mod units;
mod upgraded;
