//! The files of a new project, made from the templates in `host/templates/driver`.

use super::{ProjectFile, driver_api::DriverApi};

/// Path in the project and template.
const TEMPLATES: [(&str, &str); 10] = [
    (".github/workflows/ci.yml", include_str!("../../../../templates/driver/ci.yml")),
    (".gitignore", include_str!("../../../../templates/driver/gitignore")),
    ("README.md", include_str!("../../../../templates/driver/README.md")),
    ("src/contents.rs", include_str!("../../../../templates/driver/src/contents.rs")),
    ("src/lib.rs", include_str!("../../../../templates/driver/src/lib.rs")),
    ("src/listing.rs", include_str!("../../../../templates/driver/src/listing.rs")),
    ("src/objects.rs", include_str!("../../../../templates/driver/src/objects.rs")),
    ("src/settings.rs", include_str!("../../../../templates/driver/src/settings.rs")),
    ("src/uploads.rs", include_str!("../../../../templates/driver/src/uploads.rs")),
    ("tests/behaviour.rs", include_str!("../../../../templates/driver/tests/behaviour.rs")),
];
const MANIFEST: &str = include_str!("../../../../templates/driver/Cargo.toml");
/// How this tree is formatted; the copied crates are formatted so, and the project is one with them.
const RUSTFMT: &str = include_str!("../../../../../rustfmt.toml");

/// All files of the project, by path.
pub(super) fn files(name: &str, licence: &str, api: &DriverApi) -> Vec<ProjectFile> {
    let brings = match api {
        DriverApi::Vendored => {
            "`vendor/driver-api` is a copy of the driver API, made by `docker-registry driver new`. Do not edit it; a\n\
             newer one comes from a newer server: make a new project with it and copy its `vendor/`."
                .to_owned()
        }
        DriverApi::Checkout(path) => format!("The driver API comes from a checkout: `{}`.", path.display()),
    };
    let dashed = name.replace('_', "-");
    let filled = |template: &str| {
        template
            .replace("__NAME__", name)
            .replace("__DASHED__", &dashed)
            .replace("__LICENCE__", licence)
            .replace("__BRINGS__", &brings)
    };
    let manifest = filled(MANIFEST);
    let manifest = format!("{manifest}{}", api.workspace(&manifest));
    let mut files: Vec<ProjectFile> =
        TEMPLATES.iter().map(|(path, template)| ((*path).to_owned(), filled(template))).collect();
    files.push(("Cargo.toml".to_owned(), manifest));
    files.push(("rustfmt.toml".to_owned(), RUSTFMT.to_owned()));
    files.extend(api.files());
    files.sort();
    files
}
