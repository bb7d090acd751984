//! A driver in which some methods were changed, for faults of a few lines.

use docker_registry_driver_api::{
    Bytes, CallContext, Capabilities, Condition, ETag, Error, ListPage, ListRequest, Object, ObjectInfo,
    ObjectPath, Prefix, ReadRange, Reading, RedirectRequest, Result, SharedDriver, Stat, async_trait,
    futures::future::BoxFuture,
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};

/// What a changed method returns.
pub(crate) type Answer<T> = BoxFuture<'static, Result<T>>;
/// What stands in for a method: it is given the driver behind and the arguments, and may call what it likes.
type Change<A, T> = Option<Box<dyn Fn(SharedDriver, A) -> Answer<T> + Send + Sync>>;

macro_rules! changed {
    ($($method:ident($($argument:ident: $type:ty, $owned:ty),+) -> $answer:ty;)+) => {
        /// A driver with changes.
        pub(crate) struct Changed {
            inner: SharedDriver,
            capabilities: Option<Capabilities>,
            $($method: Change<($($owned,)+), $answer>,)+
        }

        impl Changed {
            /// A driver without a change so far.
            pub(crate) fn of(inner: SharedDriver) -> Self {
                Self { inner, capabilities: None, $($method: None,)+ }
            }

            $(pub(crate) fn $method(
                mut self,
                change: impl Fn(SharedDriver, ($($owned,)+)) -> Answer<$answer> + Send + Sync + 'static,
            ) -> SharedDriver {
                self.$method = Some(Box::new(change));
                Forwarding::shared(self)
            })+
        }

        #[async_trait]
        impl Forward for Changed {
            fn inner(&self) -> &SharedDriver {
                &self.inner
            }

            fn capabilities(&self) -> Capabilities {
                self.capabilities.unwrap_or_else(|| self.inner.capabilities())
            }

            $(async fn $method(&self, call: &CallContext, $($argument: $type),+) -> Result<$answer> {
                match &self.$method {
                    Some(change) => change(self.inner.clone(), ($($argument.to_owned(),)+)).await,
                    None => self.inner.$method(call, $($argument),+).await,
                }
            })+
        }
    };
}

changed! {
    get(path: &ObjectPath, ObjectPath, max_size: u64, u64) -> Object;
    put(
        path: &ObjectPath, ObjectPath,
        content: Bytes, Bytes,
        condition: &Condition, Condition
    ) -> Option<ETag>;
    head(path: &ObjectPath, ObjectPath) -> ObjectInfo;
    stat(path: &Prefix, Prefix) -> Stat;
    read(path: &ObjectPath, ObjectPath, range: ReadRange, ReadRange) -> Reading;
    list(request: &ListRequest, ListRequest) -> ListPage;
    copy(from: &ObjectPath, ObjectPath, to: &ObjectPath, ObjectPath) -> ();
    rename(from: &ObjectPath, ObjectPath, to: &ObjectPath, ObjectPath) -> ();
    delete(path: &ObjectPath, ObjectPath) -> ();
    delete_many(paths: &[ObjectPath], Vec<ObjectPath>) -> Vec<(ObjectPath, Error)>;
    delete_tree(prefix: &Prefix, Prefix) -> u64;
    redirect_url(request: &RedirectRequest, RedirectRequest) -> Option<String>;
}

impl Changed {
    /// The driver says that it has one more capability.
    pub(crate) fn declaring(mut self, capability: docker_registry_driver_api::Capability) -> Self {
        self.capabilities = Some(self.inner.capabilities().with(capability));
        self
    }

    /// The driver does not say that it has this capability.
    pub(crate) fn without(mut self, capability: docker_registry_driver_api::Capability) -> Self {
        self.capabilities = Some(self.inner.capabilities().iter().filter(|one| *one != capability).collect());
        self
    }

    /// No method is changed.
    pub(crate) fn shared(self) -> SharedDriver {
        Forwarding::shared(self)
    }
}

/// A call without a deadline.
pub(crate) fn call() -> CallContext {
    CallContext::default()
}
