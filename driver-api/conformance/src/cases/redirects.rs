//! Addresses at which the storage itself serves an object. Nothing is fetched: whether clients reach the
//! storage is not the driver's affair.

use std::time::Duration;

use docker_registry_driver_api::{Capability, RedirectRequest};

use super::names::is_kept;
use crate::{
    case::group,
    checks::{holds, ok},
    failure::skip,
    promise,
    store::{Store, call},
};

group! {
    "redirects":
    an_address_is_one_that_a_client_can_follow [Redirects] =>
        "redirect_url of an object is None or an absolute http or https address, for GET and HEAD.";
    without_the_capability_there_is_no_address =>
        "A driver that does not declare redirects returns None.";
}

/// What `redirect_url` returns for the object, with and without wishes for the response.
async fn addresses(store: &Store, name: &str) -> Vec<Option<String>> {
    let wishes = vec![
        ("content-type".to_owned(), "application/vnd.oci.image.layer.v1.tar+gzip".to_owned()),
        ("content-disposition".to_owned(), "attachment; filename=\"a b.tar\"".to_owned()),
    ];
    let mut found = Vec::new();
    for method in ["GET", "HEAD"] {
        for response_headers in [Vec::new(), wishes.clone()] {
            let request = RedirectRequest {
                path: store.path(name),
                method: method.to_owned(),
                expires: Duration::from_secs(20 * 60),
                response_headers,
            };
            let address = store.driver.redirect_url(&call(), &request).await;
            found.push(ok(address, format_args!("redirect_url for {method}"), promise::REDIRECT));
        }
    }
    found
}

async fn an_address_is_one_that_a_client_can_follow(store: Store) {
    for name in ["a/b", "with space +%2F", "\u{e9}"] {
        if !is_kept(&store, name).await {
            continue;
        }
        store.expect(name, name, promise::PUT).await;
        for address in addresses(&store, name).await.into_iter().flatten() {
            let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
            let host = rest.and_then(|rest| rest.split(['/', '?']).next());
            // It goes into a Location header as it is.
            let is_plain = address.bytes().all(|byte| byte.is_ascii_graphic());
            holds(
                is_plain && host.is_some_and(|host| !host.is_empty()),
                format_args!("an absolute http or https address of plain ASCII for {name:?}"),
                // A signed address is a secret.
                format_args!("{:?}", address.split('?').next()),
                promise::REDIRECT,
            );
        }
    }
}

async fn without_the_capability_there_is_no_address(store: Store) {
    if store.has(Capability::Redirects) {
        skip("the driver offers redirects");
    }
    store.put("a/b", "content").await;
    for address in addresses(&store, "a/b").await {
        holds(address.is_none(), "no address without the capability", "an address", promise::REDIRECTS);
    }
}
