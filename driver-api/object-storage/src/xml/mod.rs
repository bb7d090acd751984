//! Object stores of the S3 family: S3 itself and its many relatives, Aliyun OSS, the XML API of Google's
//! store. One [`XmlBucket`] speaks to all of them; a [`Dialect`] says where they differ.

mod bucket;
mod checks;
mod dialect;
mod documents;
mod objects;
mod parts;
mod request;

pub use bucket::XmlBucket;
pub use dialect::{Address, Dialect, Form, Listings, Payload, PayloadCheck, Write, tag_header};
pub use request::{Request, encode};

#[cfg(test)]
mod tests;
