//! Drivers whose API was changed against the rules: refused by name of the field, before a call is made.

use docker_registry_tests::projects;

use crate::{Sources, build_and_load};

/// Makes the driver, with an API that says when any of its code ran, and returns why it was refused.
fn refusal(name: &str, mut sources: Sources) -> String {
    let witness = projects::target().join(format!("{name}-ran"));
    let _ = std::fs::remove_file(&witness);
    for function in [
        "extern \"C\" fn construct<D: Exportable>() -> RootModuleResult {\n",
        "unsafe extern \"C\" fn describe<D: Exportable>() -> Answer {\n",
        "unsafe extern \"C\" fn connect(context: *const (), host: HostTableRef) -> Answer {\n",
    ] {
        let write = format!("{function}    let _ = std::fs::write({witness:?}, {function:?});\n");
        sources.replace(&format!("driver-api-{name}/src/abi/module.rs"), function, &write);
    }
    let Err(error) = build_and_load(&sources, name) else { panic!("{name} was loaded") };
    assert!(!witness.exists(), "code of the refused driver ran: {:?}", std::fs::read_to_string(&witness));
    error.to_string()
}

#[test]
fn a_function_of_another_type_is_named() {
    let mut sources = Sources::today("retyped");
    let mut replace = |file: &str, anchor: &str, text: &str| {
        sources.replace(&format!("driver-api-retyped/src/abi/{file}"), anchor, text);
    };
    replace(
        "table.rs",
        "capabilities: unsafe extern \"C\" fn(Instance) -> u64",
        "capabilities: unsafe extern \"C\" fn(Instance) -> u32",
    );
    replace(
        "export.rs",
        "fn capabilities(instance: Instance) -> u64",
        "fn capabilities(instance: Instance) -> u32",
    );
    replace("export.rs", "capabilities().bits())", "capabilities().bits() as u32)");
    replace(
        "import.rs",
        "unsafe { table.capabilities()(instance) }",
        "u64::from(unsafe { table.capabilities()(instance) })",
    );
    let sentence = refusal("retyped", sources);
    assert!(sentence.contains("does not fit this server: it says driver API 1.2"), "{sentence}");
    assert!(
        sentence.contains("capabilities") && sentence.contains("u64") && sentence.contains("u32"),
        "{sentence}"
    );
    assert!(sentence.ends_with("rebuild the driver against the released driver API"), "{sentence}");
}

#[test]
fn functions_in_another_order_are_named() {
    let mut sources = Sources::today("reordered");
    let mut replace = |anchor: &str, text: &str| {
        sources.replace("driver-api-reordered/src/abi/table.rs", anchor, text);
    };
    replace("    pub get: Method,\n    pub put: Method,\n", "    pub put: Method,\n    pub get: Method,\n");
    replace("offset_of!(DriverTable, get) == 16 && offset_of!(DriverTable, put) == 24", "true");
    let sentence = refusal("reordered", sources);
    assert!(sentence.contains("the server has field `get` where the driver has `put`"), "{sentence}");
}

#[test]
fn a_lent_text_of_another_shape_is_named() {
    let mut sources = Sources::today("reshaped");
    let mut replace = |file: &str, anchor: &str, text: &str| {
        sources.replace(&format!("driver-api-reshaped/src/abi/{file}"), anchor, text);
    };
    replace(
        "memory.rs",
        "    /// First byte, or null.\n    pub data: *const u8,\n    /// Number of bytes.\n    pub length: usize,\n",
        "    /// Number of bytes.\n    pub length: usize,\n    /// First byte, or null.\n    pub data: *const u8,\n",
    );
    let sentence = refusal("reshaped", sources);
    assert!(sentence.contains("the server has field `data` where the driver has `length`"), "{sentence}");
}

/// Messages are not in the tables that are checked at load time. Nobody can build an API in which one moved.
#[test]
fn a_message_whose_fields_moved_cannot_be_built() {
    let mut sources = Sources::today("moved");
    sources.replace(
        "driver-api-moved/src/abi/messages.rs",
        "        /// The path.\n        path: Borrowed,\n        /// Most bytes wanted.\n        max_size: u64,\n",
        "        /// Most bytes wanted.\n        max_size: u64,\n        /// The path.\n        path: Borrowed,\n",
    );
    let project = projects::target().join("projects/moved");
    sources.write(&project);
    let output = projects::try_cargo(&project, &["check", "--quiet"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "an API with a moved field was built");
    assert!(errors.contains("assertion failed: offset_of!(GetRequest, max_size) == 24"), "{errors}");
}
