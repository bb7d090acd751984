//! Drivers of other versions of the driver API, built from source and loaded by today's host.
