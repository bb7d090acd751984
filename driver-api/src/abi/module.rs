//! The root module of a driver library: the one static that it exports.

use std::{
    future::Future,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, OnceLock},
    thread,
};

use abi_stable::{
    StableAbi,
    library::{LibHeader, RootModule, RootModuleResult},
    package_version_strings,
    prefix_type::PrefixTypeTrait,
    sabi_types::VersionStrings,
};
use async_ffi::FfiFuture;
use bytes::Bytes;
use tokio::runtime::{Builder, Handle, Runtime};

use super::{
    export,
    guard::{Side, panic_to_error},
    host::{HostTableRef, services, settings_from},
    log::Bridge,
    memory::{Answer, Message, Region},
    messages::{DocumentAnswer, OpenAnswer, OpenRequest},
    table::DriverTableRef,
};
use crate::{Description, Driver, Error, ErrorKind, HostServices, Result, Settings, SharedDriver};

/// Flag of `open`: spawn every call on the driver's own runtime.
pub const OPEN_SPAWNED: u64 = 1;
/// First part of the exported static's name; the driver's name follows.
pub const SYMBOL_PREFIX: &str = "docker_registry_driver_";
/// Most threads that poll a driver's spawned calls and drive its timers and sockets.
const MOST_RUNTIME_THREADS: usize = 4;
/// So many processors have one of them. Each more that is idle is woken by the others for nothing: on two processors, a
/// second thread cost a large download from an object store an eighth more processor time.
const PROCESSORS_PER_THREAD: usize = 4;
/// Most threads that are blocked at once, by calls that block where they are polled and by `spawn_blocking`. When
/// more calls hang than this, the driver's runtime stands still; the server does not.
const BLOCKED_THREADS: usize = 1024;

/// Functions of a driver library. Append only.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = DriverModuleRef, prefix_fields = DriverModulePrefix)))]
#[sabi(missing_field(option))]
pub struct DriverModule {
    /// The description as a JSON document. Runs none of the driver's code but `describe`.
    pub describe: unsafe extern "C" fn() -> Answer,
    /// Connects the library's log and panic messages to the server. Called before each `open`; the first
    /// call decides where they go.
    pub connect: unsafe extern "C" fn(*const (), HostTableRef) -> Answer,
    /// The functions of this library's open drivers. Asked for by nobody: the field brings the table into
    /// the layout that is checked when the library is loaded.
    pub table: unsafe extern "C" fn() -> DriverTableRef,
    /// Opens the driver: `OpenRequest` in, `OpenAnswer` out. May be called again with other settings.
    #[sabi(last_prefix_field)]
    pub open: unsafe extern "C" fn(*const (), HostTableRef, *const ()) -> FfiFuture<Answer>,
}

/// The order of 1.0.
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(DriverModule, describe) == 0 && offset_of!(DriverModule, connect) == 8);
    assert!(offset_of!(DriverModule, table) == 16 && offset_of!(DriverModule, open) == 24);
};

impl RootModule for DriverModuleRef {
    abi_stable::declare_root_module_statics! {DriverModuleRef}

    const BASE_NAME: &'static str = "docker_registry_driver";
    const NAME: &'static str = "docker_registry_driver";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// A driver type with the name that `export_driver!` gave it.
pub trait Exportable: Driver + Sized {
    /// Name of the driver.
    const NAME: &'static str;
}

/// The header for a driver type; what `export_driver!` exports.
pub const fn header<D: Exportable>() -> LibHeader {
    // SAFETY: `construct` returns this very module type.
    unsafe {
        LibHeader::from_constructor::<DriverModuleRef>(
            construct::<D>,
            abi_stable::library::CheckTypeLayout::Yes,
        )
    }
}

extern "C" fn construct<D: Exportable>() -> RootModuleResult {
    let module = DriverModule { describe: describe::<D>, connect, table, open: open::<D> };
    let module: DriverModuleRef = module.leak_into_prefix();
    // SAFETY: the erased reference is turned back into the same type by the loader, which has checked
    // the layout.
    abi_stable::std_types::ROk(unsafe { module.to_prefix_ref_erased() })
}

/// Turning the typed reference into the erased one of abi_stable's loader.
trait ToErased {
    /// # Safety
    /// The result is only used as `Self` again.
    unsafe fn to_prefix_ref_erased(
        self,
    ) -> abi_stable::prefix_type::PrefixRef<abi_stable::marker_type::ErasedPrefix>;
}

impl ToErased for DriverModuleRef {
    unsafe fn to_prefix_ref_erased(
        self,
    ) -> abi_stable::prefix_type::PrefixRef<abi_stable::marker_type::ErasedPrefix> {
        use abi_stable::prefix_type::PrefixRefTrait;
        // SAFETY: passed on to the caller.
        unsafe { self.to_prefix_ref().cast() }
    }
}

/// The library's one runtime. It is never shut down: drivers and what they lent may live on.
fn runtime(name: &str) -> Result<Handle> {
    static RUNTIME: OnceLock<std::result::Result<Runtime, String>> = OnceLock::new();
    let built = RUNTIME.get_or_init(|| {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = processors.div_ceil(PROCESSORS_PER_THREAD).min(MOST_RUNTIME_THREADS);
        Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(BLOCKED_THREADS)
            .thread_name(format!("driver-{name}"))
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    match built {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(reason) => {
            Err(Error::new(ErrorKind::Unavailable, format!("the driver cannot start its threads: {reason}")))
        }
    }
}

/// Runs code of the driver that is not asynchronous.
fn guarded(code: impl FnOnce() -> Result<Answer>) -> Answer {
    catch_unwind(AssertUnwindSafe(code))
        .unwrap_or_else(|panic| Err(panic_to_error(panic)))
        .unwrap_or_else(Answer::fault)
}

unsafe extern "C" fn describe<D: Exportable>() -> Answer {
    guarded(|| {
        let description: Description = D::describe();
        let document = super::documents::encode(&description)?;
        Ok(Answer::of(DocumentAnswer {
            size: DocumentAnswer::SIZE,
            document: Region::of(Bytes::from(document)),
        }))
    })
}

unsafe extern "C" fn connect(context: *const (), host: HostTableRef) -> Answer {
    guarded(|| {
        // A second connection keeps the first bridge; both lead to the same server.
        if tracing::subscriber::set_global_default(Bridge { host, context }).is_ok() {
            std::panic::set_hook(Box::new(|panic| {
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                let payload = panic.payload();
                let text = payload
                    .downcast_ref::<&str>()
                    .copied()
                    .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                    .unwrap_or("no text");
                tracing::error!("the driver panicked at {place}: {text}");
            }));
        }
        Ok(Answer::done())
    })
}

unsafe extern "C" fn table() -> DriverTableRef {
    export::table_reference()
}

type Opening<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

unsafe extern "C" fn open<D: Exportable>(
    context: *const (),
    host: HostTableRef,
    request: *const (),
) -> FfiFuture<Answer> {
    let prepared = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the loader passes an `OpenRequest` that is lent for this call.
        let (request, settings) = unsafe {
            let request = OpenRequest::take(request.cast());
            let settings = settings_from(request.settings);
            (request, settings?)
        };
        let runtime = runtime(D::NAME)?;
        let spawned = request.flags & OPEN_SPAWNED != 0;
        let side = if spawned { Side::spawned(runtime) } else { Side::in_place(runtime) };
        let services = services(host, context, side.clone());
        Ok((open_shared::<D>(settings, services), side))
    }))
    .unwrap_or_else(|panic| Err(panic_to_error(panic)));
    FfiFuture::new(async move {
        let opened = match prepared {
            Ok((opening, side)) => side.run(opening).await.map(|driver| export::export(driver, side.clone())),
            Err(error) => Err(error),
        };
        match opened {
            Ok(driver) => Answer::of(OpenAnswer { size: OpenAnswer::SIZE, driver }),
            Err(mut error) => {
                if error.operation.is_empty() {
                    "open".clone_into(&mut error.operation);
                }
                Answer::fault(error)
            }
        }
    })
}

fn open_shared<D: Exportable>(settings: Settings, services: HostServices) -> Opening<SharedDriver> {
    Box::pin(async move { Ok(Arc::new(D::open(settings, services).await?) as SharedDriver) })
}
