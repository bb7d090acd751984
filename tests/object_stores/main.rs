//! The drivers for object stores, each loaded from its `.so` and working on a real server: the conformance suite,
//! also through a proxy that makes trouble, whole images through the full server with a flavor of the sample, and
//! what each driver does about wrong settings.

mod azureblob;
mod fake_tokens;
mod oss;
mod round_trips;
mod running;
mod s3;
