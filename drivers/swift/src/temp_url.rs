//! Signed addresses: <https://docs.openstack.org/swift/latest/api/temporary_url_middleware.html>.

use std::time::{Duration, SystemTime};

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{bucket::SignCall, sums::hexadecimal, xml::encode};
use hmac::{Hmac, KeyInit, Mac};
use http::Uri;
use percent_encoding::percent_decode_str;
use sha1::Sha1;
use sha2::Sha256;

use crate::{account::Account, learning::Digest};

/// An address, or `None` without a key.
pub(crate) async fn sign(account: &Account, call: &SignCall) -> Result<Option<String>> {
    let Some(temp_url) = &account.settings.temp_url else { return Ok(None) };
    let address = account.session.granted().await?.address;
    let address = format!("{address}/{}/{}", encode(&account.settings.container), encode(&call.key));
    let expires = SystemTime::now() + call.expires.max(Duration::from_secs(1));
    let expires = expires.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let uri: Uri = address.parse().map_err(|_| Error::new(ErrorKind::Internal, "this makes no address"))?;
    // The path is signed as it is, and sent encoded.
    let path = percent_decode_str(uri.path()).decode_utf8_lossy();
    let text = format!("{}\n{expires}\n{path}", call.method);
    let signature = signature(account.learnt().digest, &temp_url.key, &text)?;
    Ok(Some(format!("{address}?temp_url_sig={signature}&temp_url_expires={expires}")))
}

fn signature(digest: Digest, key: &str, text: &str) -> Result<String> {
    let (key, text) = (key.as_bytes(), text.as_bytes());
    let cannot = |_| Error::new(ErrorKind::InvalidConfiguration, "swift_temp_url_key cannot sign");
    Ok(match digest {
        Digest::Sha1 => {
            let mut mac = Hmac::<Sha1>::new_from_slice(key).map_err(cannot)?;
            mac.update(text);
            hexadecimal(&mac.finalize().into_bytes())
        }
        Digest::Sha256 => {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(cannot)?;
            mac.update(text);
            hexadecimal(&mac.finalize().into_bytes())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Swift's documentation, computed anew with `openssl dgst -hmac`.
    #[test]
    fn a_signature_is_that_of_method_time_and_path() {
        let text = "GET\n1323479485\n/v1/AUTH_account/container/object";
        let of = |digest| signature(digest, "mykey", text).unwrap();
        assert_eq!(of(Digest::Sha1), "d9fc2067e52b06598421664cf6610bfc8fc431f6");
        assert_eq!(of(Digest::Sha256), "05cb4ea08a08f2fdaef35d0f344975370077835c23bdc9342099ecbf03bc0378");
    }
}
