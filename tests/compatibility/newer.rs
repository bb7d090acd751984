//! A driver built against a later minor version of the API, which has more of everything.

use docker_registry::plugin::Execution;
use docker_registry_driver_api::{Capability, ErrorKind, Settings};

use crate::{
    Sources, build_and_load,
    calls::{self, call, path},
};

/// API 1.3 as it could be: today's sources, and at the end of each thing that may grow something new.
fn one_minor_later() -> Sources {
    let mut sources = Sources::today("newer");
    let mut replace = |file: &str, anchor: &str, text: &str| {
        sources.replace(&format!("driver-api-newer/{file}"), anchor, text);
    };
    replace("Cargo.toml", "version = \"1.2.0\"", "version = \"1.3.0\"");
    replace("src/lib.rs", "(u32, u32) = (1, 2)", "(u32, u32) = (1, 3)");
    // The note: another version, an unknown flag, an unknown line.
    replace("src/abi/plain_c/codes.rs", "API_MINOR: u32 = 2;", "API_MINOR: u32 = 3;");
    replace("src/export.rs", "$crate::API_VERSION.1 == 2", "$crate::API_VERSION.1 == 3");
    replace("src/export.rs", "\\napi=1.2\\n", "\\napi=1.3\\n");
    replace(
        "src/export.rs",
        "\"\\nflags=\", $flags, \"\\n\"",
        "\"\\nflags=shiny,\", $flags, \"\\nfuture=yes\\n\"",
    );
    // A function more in each table.
    replace(
        "src/abi/table.rs",
        "    pub write: Method,\n}",
        "    pub write: Method,\n    pub compact: Method,\n}",
    );
    replace(
        "src/abi/export.rs",
        "write: method(write),",
        "write: method(write),\n        compact: method(health),",
    );
    replace(
        "src/abi/module.rs",
        "HostTableRef, *const ()) -> FfiFuture<Answer>,\n}",
        "HostTableRef, *const ()) -> FfiFuture<Answer>,\n    /// New.\n    pub rescue: unsafe extern \"C\" fn() -> Answer,\n}",
    );
    replace("src/abi/module.rs", "open: open::<D> };", "open: open::<D>, rescue: describe::<D> };");
    replace(
        "src/abi/host.rs",
        "Borrowed, *const ()) -> FfiFuture<Answer>,\n}",
        "Borrowed, *const ()) -> FfiFuture<Answer>,\n    /// New.\n    pub greet: unsafe extern \"C\" fn(*const ()) -> u32,\n}",
    );
    replace(
        "src/abi/host.rs",
        "open_alternate: served_open_alternate,",
        "open_alternate: served_open_alternate,\n        greet: served_log_level,",
    );
    // This server has no such function, and the driver sees that it has none.
    replace(
        "src/abi/host.rs",
        "    HostServices { opener:",
        "    assert!(table.greet().is_none(), \"this server is not 1.3\");\n    HostServices { opener:",
    );
    // A field more in an answer, in a request and in the call context.
    replace(
        "src/abi/messages.rs",
        "        folder: u64,\n    }",
        "        folder: u64,\n        /// New.\n        flavour: u64,\n    }",
    );
    replace(
        "src/abi/export.rs",
        "info: RawInfo::of(info), folder: 0 }",
        "info: RawInfo::of(info), folder: 0, flavour: 7 }",
    );
    replace(
        "src/abi/export.rs",
        "info: RawInfo::NONE, folder: 1 }",
        "info: RawInfo::NONE, folder: 1, flavour: 7 }",
    );
    replace(
        "src/abi/messages.rs",
        "for ranges 2 and 3.\n        length: u64,\n",
        "for ranges 2 and 3.\n        length: u64,\n        /// New.\n        priority: u64,\n",
    );
    replace(
        "src/abi/import.rs",
        "path: lent, range, offset, length };",
        "path: lent, range, offset, length, priority: 3 };",
    );
    replace(
        "src/abi/export.rs",
        "exported!(read(request: ReadRequest, call) {\n",
        "exported!(read(request: ReadRequest, call) {\n    assert!(request.priority == 0, \"a caller of 1.2 has no priority\");\n",
    );
    replace(
        "src/abi/messages.rs",
        "        trace_flags: u64,\n",
        "        trace_flags: u64,\n        /// New.\n        tenant: u64,\n",
    );
    replace(
        "src/abi/messages.rs",
        "u64::from(trace.flags)),\n",
        "u64::from(trace.flags)),\n            tenant: 9,\n",
    );
    replace("src/abi/messages.rs", "RawCall::SIZE == 56", "RawCall::SIZE == 64");
    replace(
        "src/abi/messages.rs",
        "pub fn to_context(&self) -> CallContext {\n",
        "pub fn to_context(&self) -> CallContext {\n        assert!(self.tenant == 0, \"a caller of 1.2 has no tenant\");\n",
    );
    // An unknown capability and an unknown kind of error.
    replace("src/abi/export.rs", "capabilities().bits())", "capabilities().bits() | 1 << 40)");
    replace(
        "src/error.rs",
        "    Internal = 17,\n",
        "    Internal = 17,\n    /// New.\n    Embargoed = 18,\n",
    );
    sources.replace(
        "driver/src/lib.rs",
        "path: &ObjectPath, max_size: u64) -> Result<Object> {\n",
        "path: &ObjectPath, max_size: u64) -> Result<Object> {\n        if path.name() == \"embargoed\" {\n            return Err(Error::new(ErrorKind::Embargoed, \"not before noon\"));\n        }\n",
    );
    sources
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_of_a_later_minor_version_works_and_what_is_new_in_it_is_ignored() {
    let loaded = build_and_load(&one_minor_later(), "newer").expect("it loads");
    assert_eq!(loaded.note().api, (1, 3));
    assert!(loaded.note().nonblocking, "the flag after the unknown one counts");
    calls::every_method(&loaded).await;

    let driver = loaded.open(Settings::default(), Execution::Declared).await.unwrap();
    let capabilities = driver.capabilities();
    assert_eq!(capabilities.bits() >> 40, 1, "the unknown capability arrived");
    assert!(capabilities.iter().all(|capability| Capability::ALL.contains(&capability)));
    assert_eq!(capabilities.iter().count(), 5);
    let error = driver.get(&call(), &path("embargoed"), 10).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Internal, "not before noon"));
}
