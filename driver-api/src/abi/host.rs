//! Services of the server for a driver, from both sides.

use std::sync::Arc;

use abi_stable::{StableAbi, prefix_type::PrefixTypeTrait};
use async_ffi::FfiFuture;
use async_trait::async_trait;

use super::{
    export,
    guard::Side,
    import,
    memory::{Answer, Borrowed, Message},
    messages::{OpenAnswer, OpenRequest},
};
use crate::{Error, ErrorKind, HostServices, Result, Settings, SharedDriver, services::DriverOpener};

/// What the server implements for one loaded driver.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Most detailed level that is logged: 1 error to 5 trace, 0 none.
    fn log_level(&self) -> u32;
    /// Takes an event of the driver. `target` names its module, `line` is message and fields.
    fn log(&self, level: u32, target: &str, line: &str);
    /// Adds to a counter of the driver.
    fn count(&self, counter: &str, amount: u64);
    /// Opens another driver by name.
    async fn open_driver(&self, name: &str, settings: Settings) -> Result<SharedDriver>;
    /// Opens another driver by name with those of the settings that it describes.
    async fn open_alternate(&self, name: &str, settings: Settings) -> Result<SharedDriver>;
}

/// The functions that a driver may call. Append only.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostTableRef, prefix_fields = HostTablePrefix)))]
#[sabi(missing_field(option))]
pub struct HostTable {
    /// Version of the API that the server speaks: major in the upper half, minor in the lower.
    pub api: u64,
    /// See [`Host::log_level`].
    pub log_level: unsafe extern "C" fn(*const ()) -> u32,
    /// See [`Host::log`].
    pub log: unsafe extern "C" fn(*const (), u32, Borrowed, Borrowed),
    /// See [`Host::count`].
    pub count: unsafe extern "C" fn(*const (), Borrowed, u64),
    /// See [`Host::open_driver`]: name and `OpenRequest` in.
    #[sabi(last_prefix_field)]
    pub open_driver: unsafe extern "C" fn(*const (), Borrowed, *const ()) -> FfiFuture<Answer>,
    /// See [`Host::open_alternate`]: as `open_driver`. Since 1.2.
    pub open_alternate: unsafe extern "C" fn(*const (), Borrowed, *const ()) -> FfiFuture<Answer>,
}

/// What the functions that open a driver are.
type OpenFunction = unsafe extern "C" fn(*const (), Borrowed, *const ()) -> FfiFuture<Answer>;

/// The order of 1.2.
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(HostTable, api) == 0 && offset_of!(HostTable, log_level) == 8);
    assert!(offset_of!(HostTable, log) == 16 && offset_of!(HostTable, count) == 24);
    assert!(offset_of!(HostTable, open_driver) == 32 && offset_of!(HostTable, open_alternate) == 40);
};

/// The server's side: what stands behind the context pointer. Never released, like the driver.
struct Served {
    host: Arc<dyn Host>,
    side: Side,
}

/// Makes table and context for a driver that is about to be connected. Both live as long as the process.
pub fn serve(host: Arc<dyn Host>, side: Side) -> (*const (), HostTableRef) {
    let table = HostTable {
        api: (u64::from(crate::API_VERSION.0) << 32) | u64::from(crate::API_VERSION.1),
        log_level: served_log_level,
        log: served_log,
        count: served_count,
        open_driver: served_open_driver,
        open_alternate: served_open_alternate,
    };
    let context: *const Served = Box::leak(Box::new(Served { host, side }));
    (context.cast(), table.leak_into_prefix())
}

/// # Safety
/// The pointer came from [`serve`].
unsafe fn served<'a>(context: *const ()) -> &'a Served {
    // SAFETY: `serve` leaks the value.
    unsafe { &*context.cast::<Served>() }
}

unsafe extern "C" fn served_log_level(context: *const ()) -> u32 {
    // SAFETY: the driver passes the context that came with this function.
    let served = unsafe { served(context) };
    served.side.guarded(|| served.host.log_level()).unwrap_or(0)
}

unsafe extern "C" fn served_log(context: *const (), level: u32, target: Borrowed, line: Borrowed) {
    // SAFETY: as above; the texts are lent for the call.
    let (served, target, line) = unsafe { (served(context), target.required_text(), line.required_text()) };
    // A panic in the server's own logging cannot be logged.
    let _ = served.side.guarded(|| served.host.log(level, target.unwrap_or("?"), line.unwrap_or("?")));
}

unsafe extern "C" fn served_count(context: *const (), counter: Borrowed, amount: u64) {
    // SAFETY: as above.
    let (served, counter) = unsafe { (served(context), counter.required_text()) };
    if let Ok(counter) = counter {
        let _ = served.side.guarded(|| served.host.count(counter, amount));
    }
}

unsafe extern "C" fn served_open_driver(
    context: *const (),
    name: Borrowed,
    request: *const (),
) -> FfiFuture<Answer> {
    let open =
        |host: Arc<dyn Host>, name: String, settings| async move { host.open_driver(&name, settings).await };
    // SAFETY: passed on to the caller, who calls through the table.
    unsafe { served_open(context, name, request, open) }
}

unsafe extern "C" fn served_open_alternate(
    context: *const (),
    name: Borrowed,
    request: *const (),
) -> FfiFuture<Answer> {
    let open = |host: Arc<dyn Host>, name: String, settings| async move {
        host.open_alternate(&name, settings).await
    };
    // SAFETY: passed on to the caller, who calls through the table.
    unsafe { served_open(context, name, request, open) }
}

/// # Safety
/// The arguments are those of a call through the table.
unsafe fn served_open<F>(
    context: *const (),
    name: Borrowed,
    request: *const (),
    open: impl FnOnce(Arc<dyn Host>, String, Settings) -> F + Send + 'static,
) -> FfiFuture<Answer>
where
    F: Future<Output = Result<SharedDriver>> + Send + 'static,
{
    // SAFETY: as above; the request is an `OpenRequest` that is lent for the call.
    let (served, arguments) = unsafe {
        let arguments = name.required_text().and_then(|name| {
            let settings = settings_from(OpenRequest::take(request.cast()).settings)?;
            Ok((name.to_owned(), settings))
        });
        (served(context), arguments)
    };
    FfiFuture::new(async move {
        let opened = match arguments {
            Ok((name, settings)) => served.side.run(open(Arc::clone(&served.host), name, settings)).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(driver) => Answer::of(OpenAnswer {
                size: OpenAnswer::SIZE,
                driver: export::export(driver, served.side.clone()),
            }),
            Err(error) => Answer::fault(error),
        }
    })
}

/// # Safety
/// The text is still lent.
pub(super) unsafe fn settings_from(text: Borrowed) -> Result<Settings> {
    // SAFETY: passed on to the caller.
    let text = unsafe { text.bytes() }.unwrap_or(b"{}");
    serde_json::from_slice(text).map(Settings::new).map_err(|error| {
        // serde_json's own message could quote a value, and a value may be secret.
        let place = format!("the settings are not a JSON object (column {})", error.column());
        Error::new(ErrorKind::InvalidConfiguration, place)
    })
}

/// The driver's side: services behind a table.
pub(super) struct Reached {
    pub(super) table: HostTableRef,
    pub(super) context: *const (),
    pub(super) side: Side,
}

// SAFETY: the context is the server's and never released; its functions may be called from any thread.
unsafe impl Send for Reached {}
// SAFETY: as above.
unsafe impl Sync for Reached {}

impl Reached {
    async fn open_with(
        &self,
        function: OpenFunction,
        name: &str,
        settings: &Settings,
    ) -> Result<SharedDriver> {
        let text = serde_json::to_vec(settings.values())
            .map_err(|_| Error::new(ErrorKind::InvalidConfiguration, "the settings cannot be written"))?;
        let call = || {
            let request = OpenRequest { size: OpenRequest::SIZE, settings: Borrowed::of(&text), flags: 0 };
            // SAFETY: function and context belong together; name and request are lent for the call.
            unsafe {
                function(self.context, Borrowed::of(name.as_bytes()), super::messages::request(&request))
            }
        };
        // SAFETY: both functions of this type answer with an open driver.
        let answer = unsafe { call().await.open::<OpenAnswer>() }?;
        import::import(answer.driver, self.side.clone())
    }
}

#[async_trait]
impl DriverOpener for Reached {
    async fn open(&self, name: &str, settings: Settings) -> Result<SharedDriver> {
        self.open_with(self.table.open_driver(), name, &settings).await
    }

    async fn open_alternate(&self, name: &str, settings: &Settings) -> Result<SharedDriver> {
        let function = self.table.open_alternate().ok_or_else(|| Error::unsupported("open_alternate"))?;
        self.open_with(function, name, settings).await
    }

    fn count(&self, counter: &str, amount: u64) {
        // SAFETY: function and context belong together; the text is lent for the call.
        unsafe { self.table.count()(self.context, Borrowed::of(counter.as_bytes()), amount) }
    }
}

/// The services as a driver's author sees them.
pub(super) fn services(table: HostTableRef, context: *const (), side: Side) -> HostServices {
    HostServices { opener: Some(Arc::new(Reached { table, context, side })) }
}
