//! Signed addresses under the public key of their pair.

use rsa::{
    PublicKey,
    pkcs1v15::{Signature, VerifyingKey},
    pkcs8::{EncodePrivateKey, LineEnding},
    signature::{Keypair, Verifier},
    traits::PublicKeyParts,
};

use super::*;

/// A small prime is enough for a test, and quick.
fn key() -> PrivateKey {
    PrivateKey::new(&mut getrandom::SysRng, 1024).unwrap()
}

fn pem(key: &PrivateKey) -> String {
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

fn query<'a>(address: &'a str, name: &str) -> &'a str {
    let pairs = address.split_once('?').unwrap().1.split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == name).unwrap().1
}

#[tokio::test]
async fn the_public_key_confirms_the_canned_policy() {
    let key = key();
    let cloudfront = CloudFront::new("https://d1.cloudfront.net/", "APKA-1", &pem(&key)).unwrap();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let signed = cloudfront.sign("registry/a b+c/layer", Duration::from_secs(60)).await.unwrap();

    let address = signed.split_once('?').unwrap().0;
    assert_eq!(address, "https://d1.cloudfront.net/registry/a%20b%2Bc/layer");
    assert_eq!(query(&signed, "Key-Pair-Id"), "APKA-1");
    let until: u64 = query(&signed, "Expires").parse().unwrap();
    assert!((before + 60..before + 600).contains(&until), "{until}");

    let policy = format!(
        r#"{{"Statement":[{{"Resource":"{address}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{until}}}}}}}]}}"#
    );
    let signature = query(&signed, "Signature");
    assert!(!signature.contains(['+', '=', '/']));
    let signature = signature.replace('-', "+").replace('_', "=").replace('~', "/");
    let signature = Signature::try_from(BASE64_STANDARD.decode(signature).unwrap().as_slice()).unwrap();
    let public: VerifyingKey<Sha1> = SigningKey::<Sha1>::new(key).verifying_key();
    public.verify(policy.as_bytes(), &signature).unwrap();
    assert!(public.verify(policy.replace("layer", "other").as_bytes(), &signature).is_err());
    assert_eq!(PublicKey::from(public).size(), 128);
}

#[test]
fn both_forms_of_pem_are_read_and_nothing_else() {
    use rsa::pkcs1::EncodeRsaPrivateKey;
    let key = key();
    let first = key.to_pkcs1_pem(LineEnding::LF).unwrap();
    assert!(CloudFront::new("d1.cloudfront.net", "K", &first).is_ok());
    assert!(CloudFront::new("d1.cloudfront.net", "K", &pem(&key)).is_ok());
    assert!(CloudFront::new("d1.cloudfront.net", "K", "no key").is_err());
    assert!(CloudFront::new("ftp://a", "K", &first).is_err());
    assert!(CloudFront::new("https://a", "K&x=1", &first).is_err());
}

#[test]
fn debug_output_holds_no_key() {
    let key = key();
    let cloudfront = CloudFront::new("d1.cloudfront.net", "K", &pem(&key)).unwrap();
    assert_eq!(format!("{cloudfront:?}"), "CloudFront { base: \"https://d1.cloudfront.net\", .. }");
}
