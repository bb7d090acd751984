//! The drivers for object stores, each loaded from its `.so` and working on a real server: the conformance suite,
//! also through a proxy that makes trouble, whole images through the full server with a flavor of the sample, and
//! what each driver does about wrong settings.

// Some of what the tests share is used by long ones only.
#![cfg_attr(not(feature = "long"), allow(dead_code, unused_imports))]

mod azureblob;
mod elliptics;
mod fake_tokens;
mod gcs;
mod glance;
mod glance_images;
#[cfg(feature = "long")]
mod large;
mod oss;
mod replay;
mod round_trips;
mod running;
mod s3;
mod swift;
