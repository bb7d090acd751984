//! The packages on a Debian: what dpkg makes of them, from the installation to the purge.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, symlink},
    path::PathBuf,
};

use docker_registry_tests::{artifacts, debian::Machine, http::Client, server::free_address};

use crate::{
    serving::{has, keeps},
    upgraded::later,
};

pub(crate) const SERVICE: &str = "/etc/init.d/docker-registry-server";
pub(crate) const LOG: &str = "/var/log/docker-registry/server.log";

/// The packages of the server and of the local driver.
pub(crate) fn packages() -> [PathBuf; 2] {
    ["docker-registry-server_", "docker-registry-driver-local_"]
        .map(|name| artifacts::dist_file(name, ".deb"))
}

/// Writes ports that are free here into the machine's settings, as an administrator would.
pub(crate) fn choose_ports(machine: &Machine) -> (SocketAddr, SocketAddr) {
    let (registry, admin) = (free_address(), free_address());
    let port = registry.port();
    let settings = format!(
        "SETTINGS_FLAVOR=local\nREGISTRY_HOST=127.0.0.1\nREGISTRY_PORT={port}\nREGISTRY_ADMIN={admin}\n# ours\n"
    );
    fs::write(machine.path("/etc/default/docker-registry-server"), settings).unwrap();
    (registry, admin)
}

#[test]
fn packages_install_serve_keep_what_the_administrator_wrote_and_leave_nothing_but_images() {
    let machine = Machine::start();
    let [server, driver] = packages();

    // Installed: user, folders, files.
    let output = machine.install(&[&driver, &server]);
    assert!(!output.contains("rror"), "{output}");
    let user = machine.run("getent", &["passwd", "docker-registry"]);
    assert!(user.contains(":/var/lib/docker-registry:"), "{user}");
    let number: u32 = user.split(':').nth(2).unwrap().parse().unwrap();
    let storage = fs::metadata(machine.path("/var/lib/docker-registry")).unwrap();
    assert_eq!((storage.uid(), storage.mode() & 0o7777), (number, 0o750));
    assert_eq!(
        machine.run("dpkg", &["--verify", "docker-registry-server", "docker-registry-driver-local"]),
        ""
    );
    let check = machine.run("docker-registry", &["config", "check", "/etc/docker-registry/config.yml"]);
    assert!(check.contains("can be used"), "{check}");
    let list = machine.run("docker-registry", &["driver", "list"]);
    assert!(list.contains("/usr/lib/docker-registry/drivers/libdocker_registry_driver_local.so"), "{list}");

    // Started by the init script, as the service's user, who also writes the log.
    let (registry, _) = choose_ports(&machine);
    assert!(!machine.output(SERVICE, &["status"]).status.success());
    machine.run(SERVICE, &["start"]);
    assert!(machine.output(SERVICE, &["status"]).status.success());
    machine.run(SERVICE, &["start"]);
    let id = fs::read_to_string(machine.path("/run/docker-registry-server.pid")).unwrap();
    let status = machine.run("cat", &[&format!("/proc/{}/status", id.trim())]);
    let owner = status.lines().find_map(|line| line.strip_prefix("Uid:\t")).unwrap();
    assert!(owner.starts_with(&format!("{number}\t")), "{owner}");
    let log = fs::metadata(machine.path(LOG)).unwrap();
    assert_eq!((log.uid(), log.mode() & 0o777), (number, 0o640));
    assert_eq!(fs::metadata(machine.path("/run/docker-registry")).unwrap().uid(), number);
    let client = Client::new(registry);
    keeps(&client, 1);
    // A reload is no end.
    machine.run(SERVICE, &["reload"]);
    has(&client, 1);
    machine.run(SERVICE, &["restart"]);
    has(&client, 1);
    machine.run(SERVICE, &["stop"]);
    assert!(!machine.output(SERVICE, &["status"]).status.success());
    assert!(client.try_send("GET", "/v2/", &[], b"").is_err(), "nobody listens any more");

    // Upgraded to a version that brings other files: what was written stays, the rest is the new one's.
    let configuration = machine.path("/etc/docker-registry/config.yml");
    let changed = fs::read_to_string(&configuration).unwrap() + "# changed by hand\n";
    fs::write(&configuration, &changed).unwrap();
    let rotation = "/etc/logrotate.d/docker-registry-server";
    let newer = later(&server, |root, _, _| {
        for path in ["/etc/docker-registry/config.yml", rotation] {
            let path = root.join(path.trim_start_matches('/'));
            fs::write(&path, fs::read_to_string(&path).unwrap() + "# newer\n").unwrap();
        }
    });
    machine.install(&[&newer.package]);
    assert_eq!(fs::read_to_string(&configuration).unwrap(), changed);
    let beside = machine.path("/etc/docker-registry/config.yml.dpkg-dist");
    assert!(fs::read_to_string(beside).unwrap().ends_with("# newer\n"), "the new one is beside it");
    assert!(fs::read_to_string(machine.path(rotation)).unwrap().ends_with("# newer\n"));
    assert!(
        fs::read_to_string(machine.path("/etc/default/docker-registry-server")).unwrap().contains("# ours")
    );

    // Removed, the configuration stays; purged, it goes, and images do not.
    machine.run("dpkg", &["--remove", "docker-registry-driver-local", "docker-registry-server"]);
    assert!(!machine.path("/usr/bin/docker-registry").exists() && configuration.exists());
    let output = machine.run("dpkg", &["--purge", "docker-registry-driver-local", "docker-registry-server"]);
    assert!(output.contains("images are in it"), "{output}");
    assert!(machine.path("/var/lib/docker-registry/docker").exists());
    assert!(machine.output("getent", &["passwd", "docker-registry"]).status.success());
    for gone in
        ["/etc/docker-registry", "/etc/default/docker-registry-server", SERVICE, "/var/log/docker-registry"]
    {
        assert!(!machine.path(gone).exists(), "{gone} is left");
    }

    // A purge of a server without images leaves nothing, the user neither.
    machine.install(&[&server, &driver]);
    fs::remove_dir_all(machine.path("/var/lib/docker-registry")).unwrap();
    machine.run("dpkg", &["--purge", "docker-registry-driver-local", "docker-registry-server"]);
    assert!(!machine.output("getent", &["passwd", "docker-registry"]).status.success());
    let left = machine.run("find", &["/etc", "/usr", "/var", "-xdev", "-name", "*docker-registry*"]);
    let left: Vec<&str> = left.lines().filter(|path| !path.starts_with("/var/lib/systemd")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_link_in_the_place_of_the_log_does_not_lead_root_to_another_file() {
    let machine = Machine::start();
    machine.install(&packages().each_ref().map(|package| package.as_path()));
    choose_ports(&machine);
    // What the service's user, to whom the folder belongs, could put there.
    fs::write(machine.path("/etc/precious"), "mine\n").unwrap();
    for target in ["/etc/precious", "/etc/not-there"] {
        let _ = fs::remove_file(machine.path(LOG));
        symlink(target, machine.path(LOG)).unwrap();
        assert!(!machine.output(SERVICE, &["start"]).status.success(), "{target}");
    }
    assert_eq!(fs::read_to_string(machine.path("/etc/precious")).unwrap(), "mine\n");
    assert!(!machine.path("/etc/not-there").exists());
}

#[test]
fn a_server_that_cannot_start_fails_its_init_script_and_says_why() {
    let machine = Machine::start();
    machine.install(&packages().each_ref().map(|package| package.as_path()));
    choose_ports(&machine);
    fs::write(machine.path("/etc/docker-registry/config.yml"), "local: {storage: nonsense}\n").unwrap();
    let output = machine.output(SERVICE, &["start"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("no driver named `nonsense`"), "{text}");
}
