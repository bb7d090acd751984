//! From a request to its answer: who asks, what for, and a line in the access log.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use uuid::Uuid;

use crate::call::Call;
use crate::fault::Fault;
use crate::reply::{Body, document, element, empty, iso};
use crate::store::{Store, now};
use crate::{copying, deleting, listing, multipart, objects, signature};

/// Answers a request as a server whose clock is `offset` seconds ahead.
pub(crate) async fn answer(
    store: Arc<Store>,
    offset: i64,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let request_id = Uuid::new_v4().simple().to_string()[..24].to_uppercase();
    let (parts, body) = request.into_parts();
    let call = Call::parse(&parts);
    let host = call.as_ref().map_or_else(|_| String::new(), |call| call.host.clone());
    let result = match call {
        Ok(call) => handle(&store, offset, &call, body).await,
        Err(fault) => Err(fault),
    };
    let bodiless = parts.method == Method::HEAD;
    let mut response = result.unwrap_or_else(|fault| fault.response(&request_id, &host, bodiless));
    let headers = response.headers_mut();
    headers.insert("x-oss-request-id", request_id.parse().expect("a header value"));
    headers.insert("server", "AliyunOSS".parse().expect("a header value"));
    store.log(&format!("{} {} {}", parts.method, parts.uri, response.status().as_u16()));
    Ok(response)
}

async fn handle(store: &Store, offset: i64, call: &Call, body: Incoming) -> Result<Response<Body>, Fault> {
    signature::verify(call, store.region, &store.accounts, now() + offset)?;
    if call.bucket.is_none() {
        return service(store, call);
    }
    store.with(call, |bucket| {
        let wrong_host = call.host_region.as_ref().is_some_and(|region| *region != bucket.region);
        if bucket.region == store.region && !wrong_host {
            return Ok(());
        }
        let message = "The bucket must be addressed using the specified endpoint.";
        Err(Fault::new(403, "AccessDenied", message)
            .detail("Bucket", &bucket.name)
            .detail("Endpoint", format!("oss-{}.aliyuncs.com", bucket.region)))
    })?;
    let asks = |name: &str| call.asks(name);
    match (&call.method, call.key.is_empty()) {
        (&Method::GET, true) if asks("uploads") => multipart::list_uploads(store, call),
        (&Method::GET, true) if asks("location") => location(store, call),
        (&Method::GET, true) if asks("versioning") => versioning(store, call),
        (&Method::GET, true) if asks("bucketInfo") => bucket_info(store, call),
        (&Method::GET, true) => listing::list(store, call),
        (&Method::POST, true) if asks("delete") => deleting::batch(store, call, body).await,
        (&Method::GET | &Method::HEAD, false) if asks("uploadId") => multipart::list_parts(store, call),
        (&Method::GET | &Method::HEAD, false) => objects::read(store, call),
        (&Method::PUT, false) if asks("uploadId") && call.header("x-oss-copy-source").is_some() => {
            copying::copy_part(store, call)
        }
        (&Method::PUT, false) if asks("uploadId") => multipart::part(store, call, body).await,
        (&Method::PUT, false) if call.header("x-oss-copy-source").is_some() => copying::copy(store, call),
        (&Method::PUT, false) => objects::write(store, call, body).await,
        (&Method::POST, false) if asks("uploads") => multipart::begin(store, call),
        (&Method::POST, false) if asks("uploadId") => multipart::finish(store, call, body).await,
        (&Method::POST, false) if asks("append") => objects::append(store, call, body).await,
        (&Method::DELETE, false) if asks("uploadId") => multipart::abandon(store, call),
        (&Method::DELETE, false) => store.with(call, |bucket| {
            bucket.objects.remove(&call.key);
            Ok(empty(204))
        }),
        _ => Err(Fault::new(405, "MethodNotAllowed", "This server has no such call.")),
    }
}

fn service(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    if call.method != Method::GET {
        return Err(Fault::new(405, "MethodNotAllowed", "This server has no such call."));
    }
    let mut xml = String::from("<Owner><ID>1</ID><DisplayName>owner</DisplayName></Owner><Buckets>");
    for (name, region) in store.names() {
        xml.push_str("<Bucket>");
        element(&mut xml, "CreationDate", &iso(0));
        element(&mut xml, "Location", &format!("oss-{region}"));
        element(&mut xml, "Name", &name);
        xml.push_str("</Bucket>");
    }
    xml.push_str("</Buckets>");
    Ok(document("ListAllMyBucketsResult", &xml))
}

fn location(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    store.with(call, |bucket| Ok(document("LocationConstraint", &format!("oss-{}", bucket.region))))
}

fn versioning(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    store.with(call, |bucket| {
        let status = if bucket.keeps_versions { "<Status>Enabled</Status>" } else { "" };
        Ok(document("VersioningConfiguration", status))
    })
}

fn bucket_info(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    store.with(call, |bucket| {
        let mut xml = String::from("<Bucket>");
        element(&mut xml, "Name", &bucket.name);
        element(&mut xml, "Location", &format!("oss-{}", bucket.region));
        element(&mut xml, "CreationDate", &iso(0));
        element(&mut xml, "ExtranetEndpoint", &format!("oss-{}.aliyuncs.com", bucket.region));
        element(&mut xml, "IntranetEndpoint", &format!("oss-{}-internal.aliyuncs.com", bucket.region));
        element(&mut xml, "StorageClass", "Standard");
        xml.push_str("<Owner><DisplayName>owner</DisplayName><ID>1</ID></Owner>");
        xml.push_str("<AccessControlList><Grant>private</Grant></AccessControlList>");
        xml.push_str("</Bucket>");
        Ok(document("BucketInfo", &xml))
    })
}
