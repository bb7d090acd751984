//! The macro that makes a driver library out of a type.

/// Exports a driver from a cdylib.
///
/// ```text
/// export_driver! {
///     name: "local",
///     driver: LocalDriver,
///     nonblocking: true,
/// }
/// ```
///
/// - `name`: lower-case letters, digits and `_`; the file is called
///   `libdocker_registry_driver_NAME.so` and operators write `storage: NAME`.
/// - `driver`: the type that implements [`Driver`](crate::Driver).
/// - `nonblocking`: `true` promises that no method blocks the thread it is polled on; calls are then
///   polled in place. With `false` they are spawned on the driver's own runtime.
///
/// Package version and API version are recorded by themselves. Exactly one driver per library.
#[macro_export]
macro_rules! export_driver {
    (name: $name:literal, driver: $driver:ty, nonblocking: true $(,)?) => {
        $crate::export_driver!(@export $name, $driver, "nonblocking");
    };
    (name: $name:literal, driver: $driver:ty, nonblocking: false $(,)?) => {
        $crate::export_driver!(@export $name, $driver, "");
    };
    (@export $name:literal, $driver:ty, $flags:literal) => {
        impl $crate::abi::module::Exportable for $driver {
            const NAME: &'static str = $name;
        }

        #[cfg(panic = "abort")]
        compile_error!("a driver must be built with panic = \"unwind\", so that a panic costs one call");

        const _: () = {
            // The note below is text and cannot be computed.
            assert!($crate::API_VERSION.0 == 1 && $crate::API_VERSION.1 == 2);

            const NOTE: &str = concat!(
                "name=", $name, "\napi=1.2\nversion=", env!("CARGO_PKG_VERSION"), "\nflags=", $flags, "\n"
            );

            #[used]
            #[unsafe(link_section = ".note.docker-registry-driver")]
            static DRIVER_NOTE: $crate::abi::note::Note<{ NOTE.len() }> =
                $crate::abi::note::Note::new(NOTE.as_bytes());

            #[unsafe(export_name = concat!("docker_registry_driver_", $name))]
            static DRIVER_HEADER: $crate::abi::abi_stable::library::LibHeader =
                $crate::abi::module::header::<$driver>();
        };
    };
}
