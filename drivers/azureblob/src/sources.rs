//! Blobs as sources of copies: the service reads them by itself and must be let in.

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::bucket::SignCall;
use http::Method;
use object_store::azure::AzureCredential;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    account::{Account, Ask, Place},
    signing::{self, Delegation, LONGEST},
};

/// The header that names the source.
pub(crate) const SOURCE: &str = "x-ms-copy-source";

/// Address of a blob with the signature that this server itself was given, if it was given one.
pub(crate) async fn address(account: &Account, key: &str) -> Result<String> {
    let address = account.address(Place::Blob(key));
    Ok(match &*account.credential().await? {
        AzureCredential::SASToken(pairs) => {
            let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
            let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
            format!("{address}?{}", pairs.collect::<Vec<_>>().join("&"))
        }
        _ => address,
    })
}

/// Adds the source to a request whose credentials do not count for it: a signature or a token goes with it.
pub(crate) async fn readable<'a>(
    account: &Account,
    delegation: &Delegation,
    ask: Ask<'a>,
    key: &str,
) -> Result<Ask<'a>> {
    match &*account.credential().await? {
        AzureCredential::BearerToken(token) => Ok(ask
            .header(SOURCE, account.address(Place::Blob(key)))
            .header("x-ms-copy-source-authorization", format!("Bearer {token}"))),
        AzureCredential::SASToken(_) => Ok(ask.header(SOURCE, address(account, key).await?)),
        AzureCredential::AccessKey(_) => {
            let call = SignCall {
                key: key.to_owned(),
                method: Method::GET,
                expires: LONGEST,
                response_headers: Vec::new(),
            };
            let address = signing::sign(account, delegation, &call).await?;
            let unsigned = || Error::new(ErrorKind::Internal, "the source of a copy cannot be signed");
            Ok(ask.header(SOURCE, address.ok_or_else(unsigned)?))
        }
    }
}
