//! The driver's events on their way to the server's log.
//!
//! Each library has its own copy of `tracing`, without a subscriber; events there would vanish. This
//! subscriber, installed when the server connects, sends each event to the server as text.

use std::fmt::{Debug, Write};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

use super::{host::HostTableRef, memory::Borrowed};

/// Number of a level as it crosses: 1 error to 5 trace.
pub(super) fn level_number(level: &Level) -> u32 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

pub(super) struct Bridge {
    pub(super) host: HostTableRef,
    pub(super) context: *const (),
}

// SAFETY: the context is the server's, whose functions may be called from any thread; it is never
// released.
unsafe impl Send for Bridge {}
// SAFETY: as above.
unsafe impl Sync for Bridge {}

impl Subscriber for Bridge {
    fn register_callsite(&self, _metadata: &'static Metadata<'static>) -> Interest {
        // The server may change its level at any time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // SAFETY: function and context belong together.
        metadata.is_event()
            && level_number(metadata.level()) <= unsafe { self.host.log_level()(self.context) }
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let line = text.message + &text.fields;
        // SAFETY: function and context belong together; the texts are lent for the call.
        unsafe {
            self.host.log()(
                self.context,
                level_number(event.metadata().level()),
                Borrowed::of(event.metadata().target().as_bytes()),
                Borrowed::of(line.as_bytes()),
            );
        }
    }

    // Spans stay inside the driver; what crosses is the trace id in the call context.
    fn new_span(&self, _attributes: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}
    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}
    fn enter(&self, _span: &span::Id) {}
    fn exit(&self, _span: &span::Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
