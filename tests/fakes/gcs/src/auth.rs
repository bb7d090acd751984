//! Who asks, and whether it is proved: V4 signatures in headers and addresses, bearer tokens.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use jiff::Timestamp;

use crate::{
    answer::Refusal,
    fake::{Asked, Fake},
    signature::{AMAZON, Form, GOOGLE, Scope, Signed, hmac_signature, rsa_fits, unhex},
};

/// How far the clock of a client may be off.
const SKEW: Duration = Duration::from_secs(15 * 60);

/// The longest life of a signed address.
const LONGEST: u64 = 7 * 24 * 3600;

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A request that was proved.
#[derive(Debug)]
pub(crate) struct Proved {
    /// SHA-256 that the content must have, if it was signed.
    pub(crate) payload: Option<String>,
}

impl Fake {
    /// Verifies whatever proof the request carries.
    pub(crate) fn prove(&self, asked: &Asked) -> Result<Proved, Refusal> {
        for form in [GOOGLE, AMAZON] {
            if asked.query_value(&format!("{}Algorithm", form.query)).is_some() {
                return self.prove_address(asked, form);
            }
        }
        let Some(value) = asked.headers.get(header::AUTHORIZATION) else {
            return Err(Refusal::new(
                401,
                "AuthenticationRequired",
                "Anonymous caller does not have access.",
            ));
        };
        let value = value.to_str().map_err(|_| refused("Incorrect Authorization header"))?;
        if let Some(token) = value.strip_prefix("Bearer ") {
            self.check_token(token)?;
            return Ok(Proved { payload: None });
        }
        for form in [GOOGLE, AMAZON] {
            if let Some(rest) = value.strip_prefix(&format!("{}-HMAC-SHA256 ", form.algorithm)) {
                return self.prove_headers(asked, form, rest);
            }
        }
        Err(refused("Incorrect Authorization header"))
    }

    fn prove_headers(&self, asked: &Asked, form: Form, fields: &str) -> Result<Proved, Refusal> {
        let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name));
        let missing = || refused("a field of the Authorization header is missing");
        let credential = field("Credential=").ok_or_else(missing)?;
        let signed_headers = field("SignedHeaders=").ok_or_else(missing)?;
        let signature = field("Signature=").ok_or_else(missing)?;
        let time = text(&asked.headers, &format!("{}date", form.headers)).ok_or_else(missing)?;
        let sent = parse_time(time)?;
        let now = SystemTime::now();
        let skew = now.duration_since(sent).unwrap_or_else(|error| error.duration());
        if skew > SKEW {
            let message = "The difference between the request time and the current time is too large.";
            return Err(Refusal::new(403, "RequestTimeTooSkewed", message));
        }
        check_headers(asked, form, signed_headers)?;
        let payload = text(&asked.headers, &format!("{}content-sha256", form.headers)).unwrap_or(UNSIGNED);
        let signed = self.signed(asked, signed_headers, payload);
        self.compare(&signed, form, credential, time, signature)?;
        Ok(Proved { payload: (payload != UNSIGNED).then(|| payload.to_owned()) })
    }

    fn prove_address(&self, asked: &Asked, form: Form) -> Result<Proved, Refusal> {
        let value = |name: &str| {
            asked
                .query_value(&format!("{}{name}", form.query))
                .ok_or_else(|| Refusal::invalid(format!("the parameter {name} is missing")))
        };
        let (algorithm, credential, time) = (value("Algorithm")?, value("Credential")?, value("Date")?);
        let (signed_headers, signature) = (value("SignedHeaders")?, value("Signature")?);
        let expires: u64 = value("Expires")?.parse().map_err(|_| Refusal::invalid("Expires is no number"))?;
        if expires > LONGEST {
            return Err(Refusal::invalid("Expires is longer than seven days"));
        }
        let sent = parse_time(time)?;
        if SystemTime::now() > sent + Duration::from_secs(expires) {
            return Err(Refusal::new(400, "ExpiredToken", "The signed address has expired."));
        }
        check_headers(asked, form, signed_headers)?;
        let signed = self.signed(asked, signed_headers, UNSIGNED);
        if algorithm == "GOOG4-RSA-SHA256" {
            let scope = Scope::parse(credential, form).ok_or_else(|| refused("wrong credential scope"))?;
            let text = signed.string_to_sign(form, algorithm, time, &scope);
            let fits = scope.id == self.service_account()
                && unhex(signature)
                    .is_some_and(|bytes| rsa_fits(&self.public_key(), text.as_bytes(), &bytes));
            return if fits { Ok(Proved { payload: None }) } else { Err(mismatch()) };
        }
        if algorithm != format!("{}-HMAC-SHA256", form.algorithm) {
            return Err(Refusal::invalid("unknown algorithm"));
        }
        self.compare(&signed, form, credential, time, signature)?;
        Ok(Proved { payload: None })
    }

    fn signed<'a>(&self, asked: &'a Asked, signed_headers: &'a str, payload: &'a str) -> Signed<'a> {
        Signed {
            method: asked.method.as_str(),
            path: &asked.path,
            query: &asked.query,
            headers: &asked.headers,
            signed_headers,
            payload,
        }
    }

    fn compare(
        &self,
        signed: &Signed<'_>,
        form: Form,
        credential: &str,
        time: &str,
        signature: &str,
    ) -> Result<(), Refusal> {
        let scope = Scope::parse(credential, form).ok_or_else(|| refused("wrong credential scope"))?;
        if !time.starts_with(scope.date) {
            return Err(refused("the date of the scope is not the request's"));
        }
        let Some(secret) = self.secret_of(scope.id) else {
            return Err(refused("unknown access id"));
        };
        let text = signed.string_to_sign(form, &format!("{}-HMAC-SHA256", form.algorithm), time, &scope);
        if hmac_signature(form, secret, &scope, &text) == signature { Ok(()) } else { Err(mismatch()) }
    }
}

/// The host must be signed, and so must every header of the family.
fn check_headers(asked: &Asked, form: Form, signed: &str) -> Result<(), Refusal> {
    let is_signed = |wanted: &str| signed.split(';').any(|name| name == wanted);
    if !is_signed("host") {
        return Err(refused("the header host is not signed"));
    }
    for name in asked.headers.keys() {
        if name.as_str().starts_with(form.headers) && !is_signed(name.as_str()) {
            return Err(refused(&format!("the header {name} is not signed")));
        }
    }
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn parse_time(text: &str) -> Result<SystemTime, Refusal> {
    let unread = || refused("the time of the request cannot be read");
    let text = text.strip_suffix('Z').ok_or_else(unread)?;
    let time = Timestamp::strptime("%Y%m%dT%H%M%S%z", format!("{text}+0000")).map_err(|_| unread())?;
    SystemTime::try_from(time).map_err(|_| unread())
}

fn refused(details: &str) -> Refusal {
    let message = format!("The provided security credentials are not valid: {details}");
    Refusal::new(403, "InvalidSecurity", message)
}

fn mismatch() -> Refusal {
    let message = "Access denied: the signature that was calculated is not the one that was provided.";
    Refusal::new(403, "SignatureDoesNotMatch", message)
}
