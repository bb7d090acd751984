//! `push_images.sh IMAGE…` and `push_all.sh`, with the real docker and a real registry.

use std::process::Command;

use docker_registry_tests::{
    artifacts,
    docker::Docker,
    images::{Layout, native_architecture},
};

use crate::running::{CONFIGURATION, Ended, Folder, Server};

struct Workplace {
    docker: Docker,
    server: Server,
    // After the server, so that its folder goes last.
    _folder: Folder,
}

impl Workplace {
    /// A daemon with two images that have names, and one that has none.
    fn new() -> Workplace {
        let folder = Folder::with(CONFIGURATION);
        let docker = Docker::start();
        let mut layout = Layout::create(&folder.path("layout"));
        for (seed, reference) in
            [(1, "centos:6"), (2, "team/application:1.0"), (3, "passing:by"), (4, "passing:by")]
        {
            let layers = vec![layout.layer(seed, 1000)];
            let image = layout.image(&format!("image-{seed}"), native_architecture(), layers);
            docker.load(&layout, &image, reference);
        }
        let server = folder.serve(&mut folder.program(&[]), "server.log");
        Workplace { docker, server, _folder: folder }
    }

    fn script(&self, name: &str, images: &[&str]) -> Command {
        let script = artifacts::workspace().join("xtask/packaging/scripts").join(name);
        let mut command = self.docker.command(script);
        command.args(images).env("REGISTRY", self.server.registry()).env_remove("NO_COLOR");
        command.env_remove("CLICOLOR_FORCE");
        command
    }

    fn docker(&self, arguments: &[&str]) -> String {
        let ended = run(self.docker.command("docker").args(arguments));
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.errors);
        ended.output
    }

    fn names(&self) -> Vec<String> {
        // Docker's order is by age in seconds, which is the same for all of these.
        let names = self.docker(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
        // Docker also remembers what it pushed by digest, as a line without a tag.
        let tags = names.lines().filter(|line| !line.contains("<none>"));
        let mut names: Vec<String> = tags.map(str::to_owned).collect();
        names.sort();
        names
    }

    fn has(&self, repository: &str, tag: &str) -> bool {
        let accept = [(
            "Accept",
            "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json",
        )];
        self.server.client().send("GET", &format!("/v2/{repository}/manifests/{tag}"), &accept, b"").status
            == 200
    }
}

fn run(command: &mut Command) -> Ended {
    Ended::of(command.output().expect("the program runs"))
}

#[test]
fn push_images_pushes_each_image_and_leaves_no_tag_behind() {
    let place = Workplace::new();
    let before = place.names();
    let ended = run(&mut place.script("push_images.sh", &["centos:6", "team/application:1.0"]));
    assert_eq!(ended.code, 0, "{}{}", ended.output, ended.errors);
    assert!(ended.output.ends_with("Done\n"), "{}", ended.output);
    assert!(!ended.output.contains('\u{1b}'), "no colours into a pipe: {}", ended.output);
    assert!(place.has("centos", "6") && place.has("team/application", "1.0") && !place.has("passing", "by"));
    assert_eq!(place.names(), before);

    // One that is missing, one that is odd, and one that is good: the good one is pushed all the same.
    let odd = "no such; touch broken $(touch broken)";
    let mut command = place.script("push_images.sh", &["missing:1", odd, "--help", "passing:by"]);
    let ended = run(command.env("CLICOLOR_FORCE", "1"));
    assert_eq!(ended.code, 1, "{}{}", ended.output, ended.errors);
    assert!(place.has("passing", "by"));
    assert!(
        ended.errors.contains("Failed: missing:1") && ended.errors.contains(&format!("Failed: {odd}")),
        "{}",
        ended.errors
    );
    assert!(ended.output.contains("\u{1b}[32mPushed passing:by\u{1b}[0m"), "{}", ended.output);
    assert!(!ended.output.ends_with("Done\n"));
    let ended = run(command.env("NO_COLOR", "1"));
    assert!(!ended.output.contains('\u{1b}') && !ended.errors.contains('\u{1b}'), "{}", ended.output);
    assert_eq!(place.names(), before);

    // A tag that somebody had set stays what it was.
    let own = format!("{}/centos:6", place.server.registry());
    place.docker(&["tag", "team/application:1.0", &own]);
    let before = place.names();
    assert_eq!(run(&mut place.script("push_images.sh", &["centos:6"])).code, 0);
    assert_eq!(place.names(), before);
    assert_eq!(
        run(&mut place.script("push_images.sh", &[&own])).code,
        0,
        "a name of the registry is pushed as it is"
    );
    assert_eq!(run(&mut place.script("push_images.sh", &[])).code, 2);
}

#[test]
fn push_all_pushes_every_line_of_docker_images_but_the_header_and_none() {
    let place = Workplace::new();
    let lines = place.docker(&["images", "--all", "--format", "{{.Repository}}"]);
    assert!(lines.contains("<none>"), "the daemon has an image without a name: {lines}");
    let before = place.names();
    let ended = run(&mut place.script("push_all.sh", &[]));
    assert_eq!(ended.code, 0, "{}{}", ended.output, ended.errors);
    assert!(ended.output.ends_with("Done\n") && !ended.output.contains("<none>"), "{}", ended.output);
    for (repository, tag) in [("centos", "6"), ("team/application", "1.0"), ("passing", "by")] {
        assert!(place.has(repository, tag), "{repository}:{tag}\n{}", ended.output);
    }
    assert_eq!(place.names(), before);
    place.docker.forget_images();
    let ended = run(&mut place.script("push_all.sh", &[]));
    assert_eq!((ended.code, ended.output.as_str()), (0, "There is no image to push.\n"));
}
