//! The file of a unix socket.
//!
//! Guarantees: a file that nobody answers at any more is replaced, one that somebody answers at or that is no socket
//! is refused; the mode is 0660 whatever the umask is, and nobody can connect before it is; the file is removed at
//! the end, unless another server's has taken its place.

use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener as StandardListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::UnixListener;

/// The owner and the group, such as the proxy's, may connect.
const MODE: u32 = 0o660;
/// Connections that the kernel holds until they are accepted, as many as for TCP.
const BACKLOG: i32 = 1024;

/// A socket file; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and number, to know it by.
    identity: (u64, u64),
}

impl SocketFile {
    /// Listens at a path.
    pub(super) fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        clear(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        let file = Self { path: path.to_owned(), identity: identity(&fs::symlink_metadata(path)?) };
        // Before anybody can connect, which is what `listen` allows.
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        listen(&socket, BACKLOG)?;
        Ok((UnixListener::from_std(StandardListener::from(socket))?, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the unix socket's file stays");
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Makes room at the path, if what is there is a socket that nobody answers at.
fn clear(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is there"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "a server answers there already")),
        Err(error) => Err(error),
    }
}
