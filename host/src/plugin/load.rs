//! Loading a checked library and opening the driver in it.

use std::{
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::Arc,
    time::Duration,
};

use async_ffi::FfiFuture;
use docker_registry_driver_api::{
    API_VERSION, Description, Error as DriverError, ErrorKind, Result as DriverResult, Settings,
    SharedDriver,
    abi::{
        abi_stable::{
            StableAbi,
            library::{AbiHeader, AbiHeaderRef, LibHeader},
        },
        guard::Side,
        host::{self, HostTableRef},
        import::import,
        memory::{Answer, Borrowed},
        messages::{DocumentAnswer, OpenAnswer, OpenRequest, request},
        module::{DriverModuleRef, OPEN_SPAWNED, SYMBOL_PREFIX},
        note::DriverNote,
        plain_c::PlainLibrary,
    },
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use tokio::runtime::Handle;

use super::{LibraryFile, PluginError, Search, compatibility, library_file::version, services::DriverHost};

/// How long a driver may take to open. Waits only: code that blocks where it is polled cannot be given up.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// Where a driver's calls run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Execution {
    /// As the driver's note says: in place when it declares `nonblocking`, else spawned.
    #[default]
    Declared,
    /// Polled by the server's own threads.
    InPlace,
    /// Spawned on the driver's runtime.
    Spawned,
}

/// A library that is mapped into this process for good. Cheap to clone.
#[derive(Clone)]
pub struct LoadedDriver {
    note: DriverNote,
    path: PathBuf,
    digest: String,
    description: Description,
    module: Module,
    search: Arc<Search>,
}

/// What a library exports.
#[derive(Clone)]
enum Module {
    /// What `export_driver!` makes.
    Rust(DriverModuleRef),
    /// What `DOCKER_REGISTRY_DRIVER` makes in plain C.
    PlainC(&'static PlainLibrary),
}

/// The name in notes and symbols: dashes, as in the names of packages, become `_`, and `file`, as
/// docker-registry calls it, is `local`.
pub(crate) fn canonical_name(name: &str) -> String {
    if name == "file" { "local".to_owned() } else { name.replace('-', "_") }
}

/// Finds, checks and loads a driver. Blocks for file reads; no network.
///
/// # Errors
/// One sentence about the first thing that is wrong.
pub fn load(search: &Arc<Search>, name: &str) -> Result<LoadedDriver, PluginError> {
    let name = &canonical_name(name);
    let library = LibraryFile::open(&search.find(name)?)?;
    if library.note().name != *name {
        return Err(PluginError::OtherName {
            path: library.path().to_owned(),
            found: library.note().name.clone(),
            expected: name.clone(),
        });
    }
    load_library(search, library)
}

/// Checks and loads the driver in a file that need not lie in a driver folder; `search` is for the drivers
/// that it opens in turn. Blocks for file reads; no network.
///
/// # Errors
/// As for [`load()`].
pub fn load_file(search: &Arc<Search>, path: &Path) -> Result<LoadedDriver, PluginError> {
    load_library(search, LibraryFile::open(path)?)
}

fn load_library(search: &Arc<Search>, library: LibraryFile) -> Result<LoadedDriver, PluginError> {
    let (path, name) = (library.path().to_owned(), library.note().name.clone());
    let digest = library.digest()?;
    search.check_pin(&name, &path, &digest)?;
    let note = library.note().clone();
    let module = map(library)?;
    let description = match &module {
        Module::Rust(module) => describe(module, name, &path)?,
        Module::PlainC(library) => library.description().clone(),
    };
    Ok(LoadedDriver { note, path, digest, description, module, search: Arc::clone(search) })
}

fn describe(module: &DriverModuleRef, name: String, path: &Path) -> Result<Description, PluginError> {
    // SAFETY: the layout was checked; `describe` answers with a document.
    let answer = unsafe { module.describe()().open::<DocumentAnswer>() }
        .map_err(|error| PluginError::Driver { name, error: Box::new(error) })?;
    serde_json::from_slice(answer.document.as_ref()).map_err(|error| PluginError::NotADriver {
        path: path.to_owned(),
        reason: format!("its description cannot be read ({error})"),
    })
}

/// Maps the checked descriptor and returns what the library exports.
///
/// The descriptor stays open for good, also when the library is refused after it was mapped: the system's
/// loader knows a mapping by its name, and a later library under the same number would be taken for it.
fn map(library: LibraryFile) -> Result<Module, PluginError> {
    let library: &'static LibraryFile = Box::leak(Box::new(library));
    let path = library.path();
    let unloadable = |reason: String| PluginError::Unloadable { path: path.to_owned(), reason };
    // Through the descriptor, so that the file that was checked is the file that is loaded.
    let descriptor = format!("/proc/self/fd/{}", library.file().as_raw_fd());
    // SAFETY: loading runs the library's constructors. The file carries the driver note, and an operator
    // who puts a driver into the driver folder trusts it with the server's own rights.
    let mapped = unsafe { Library::open(Some(&descriptor), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| unloadable(error.to_string().replace(&descriptor, "the library")))?;
    let symbol = format!("{SYMBOL_PREFIX}{}\0", library.note().name);
    // SAFETY: the symbol names a static; only its address is taken here.
    let address = unsafe { mapped.get::<*mut AbiHeader>(symbol.as_bytes()) }
        .map_err(|_| PluginError::NotADriver {
            path: path.to_owned(),
            reason: format!("it exports no `{}`", symbol.trim_end_matches('\0')),
        })?
        .into_raw();
    // Never unloaded: threads, thread-locals and lent memory of the driver outlive every handle.
    std::mem::forget(mapped);
    if library.note().plain_c {
        // SAFETY: the note says that the static is the one that DOCKER_REGISTRY_DRIVER defines.
        let checked = unsafe { PlainLibrary::check(&library.note().name, address.cast()) };
        return checked.map(Module::PlainC).map_err(unloadable);
    }
    let header = NonNull::new(address.cast::<AbiHeader>())
        .ok_or_else(|| unloadable("its exported header is null".to_owned()))?;
    let header = lib_header(header).map_err(unloadable)?;
    let driver_layout =
        header.layout().ok_or_else(|| unloadable("it carries no layout to check".to_owned()))?;
    compatibility::check(<DriverModuleRef as StableAbi>::LAYOUT, driver_layout).map_err(|difference| {
        PluginError::OtherLayout {
            path: path.to_owned(),
            found: version(library.note().api),
            expected: version(API_VERSION),
            difference,
        }
    })?;
    // SAFETY: the layout has just been checked, in one direction or the other; functions that only this
    // side knows are behind options.
    unsafe { header.init_root_module_with_unchecked_layout::<DriverModuleRef>() }
        .map(Module::Rust)
        .map_err(|error| unloadable(error.to_string().lines().next().unwrap_or_default().to_owned()))
}

/// The header of abi_stable behind the exported static, after its own checks of magic and version.
fn lib_header(address: NonNull<AbiHeader>) -> Result<&'static LibHeader, String> {
    // SAFETY: `AbiHeaderRef` is a transparent wrapper of a non-null pointer to an `AbiHeader`. The static
    // starts with one by the contract of the driver note, lives for ever, and `upgrade` looks at its
    // magic before anything else.
    let header = unsafe { std::mem::transmute::<NonNull<AbiHeader>, AbiHeaderRef>(address) };
    header.upgrade().map_err(|_| "it was built with an incompatible abi_stable".to_owned())
}

impl LoadedDriver {
    /// What its note says.
    pub fn note(&self) -> &DriverNote {
        &self.note
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file that was loaded, in hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What it says about itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Opens the driver with checked settings. Must be called inside the server's runtime.
    ///
    /// # Errors
    /// [`PluginError::Driver`] with what the driver reported.
    pub async fn open(&self, settings: Settings, execution: Execution) -> Result<SharedDriver, PluginError> {
        let opening = self.open_for(Vec::new(), settings, execution);
        // An open that waits for ever would be a server that neither starts nor says why.
        let opened = tokio::time::timeout(OPEN_LIMIT, opening).await.unwrap_or_else(|_| {
            Err(DriverError::new(ErrorKind::Timeout, format!("it was not open after {OPEN_LIMIT:?}")))
        });
        opened.map_err(|error| PluginError::Driver { name: self.note.name.clone(), error: Box::new(error) })
    }

    /// Opens the driver on behalf of the drivers in `chain`.
    pub(super) async fn open_for(
        &self,
        mut chain: Vec<String>,
        settings: Settings,
        execution: Execution,
    ) -> DriverResult<SharedDriver> {
        let spawned = match execution {
            Execution::Declared => !self.note.nonblocking,
            Execution::InPlace => false,
            Execution::Spawned => true,
        };
        chain.push(self.note.name.clone());
        let side = Side::in_place(Handle::current());
        let services = Arc::new(DriverHost { chain, search: Arc::clone(&self.search), execution });
        let module = match &self.module {
            Module::Rust(module) => module,
            // Its functions run on threads of their own in any case.
            Module::PlainC(library) => return library.open(&settings, services).await,
        };
        let opening = start_opening(module, host::serve(services, side.clone()), &settings, spawned)?;
        // SAFETY: `open` answers with an open driver.
        let answer = unsafe { opening.await.open::<OpenAnswer>() }?;
        import(answer.driver, side)
    }
}

fn start_opening(
    module: &DriverModuleRef,
    (context, table): (*const (), HostTableRef),
    settings: &Settings,
    spawned: bool,
) -> DriverResult<FfiFuture<Answer>> {
    let text = serde_json::Value::Object(settings.values().clone()).to_string();
    let open = OpenRequest {
        size: OpenRequest::SIZE,
        settings: Borrowed::of(text.as_bytes()),
        flags: if spawned { OPEN_SPAWNED } else { 0 },
    };
    // SAFETY: context and table were made together and live for ever; the request is lent for the
    // call.
    unsafe {
        module.connect()(context, table).check()?;
        Ok(module.open()(context, table, request(&open)))
    }
}
