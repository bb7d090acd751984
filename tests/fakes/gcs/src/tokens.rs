//! Tokens as Google issues them: for a signed assertion, for a refresh token, from the metadata server.

use std::time::{Duration, Instant, SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hyper::body::Incoming;

use crate::{
    answer::{Answer, Refusal, json, with_type},
    auth::Proved,
    fake::{Asked, Fake},
    signature::rsa_fits,
    transfer,
};

const ACCOUNT: &str = "registry@fake-project.iam.gserviceaccount.com";
const CLIENT_ID: &str = "fake-client.apps.googleusercontent.com";
const CLIENT_SECRET: &str = "fake-client-secret";
const REFRESH_TOKEN: &str = "1//fake-refresh-token";

impl Fake {
    /// The address of the service account.
    pub(crate) fn service_account(&self) -> &'static str {
        ACCOUNT
    }

    /// Writes the files that a user would get from Google's console and command line.
    pub(crate) fn write_credentials(&self, pem: &str) -> std::io::Result<()> {
        let token_uri = format!("{}/token", self.endpoint);
        let service_account = serde_json::json!({
            "type": "service_account",
            "project_id": "fake-project",
            "private_key_id": "fake-key-id",
            "private_key": pem,
            "client_email": ACCOUNT,
            "token_uri": token_uri,
        });
        let user = serde_json::json!({
            "type": "authorized_user",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "refresh_token": REFRESH_TOKEN,
            "token_uri": token_uri,
        });
        let folder = &self.options.folder;
        std::fs::write(folder.join("service-account.json"), service_account.to_string())?;
        std::fs::write(folder.join("authorized-user.json"), user.to_string())
    }

    /// What a test must know.
    pub(crate) fn ready_lines(&self) -> String {
        let folder = self.options.folder.display();
        format!(
            "endpoint={}\nbucket={}\naccess_key={}\nsecret_key={}\nservice_account={folder}/service-account.json\n\
             authorized_user={folder}/authorized-user.json\nmetadata_host={}\n",
            self.endpoint,
            self.options.bucket.first().map_or("", String::as_str),
            self.options.access_key,
            self.options.secret_key,
            self.endpoint.trim_start_matches("http://"),
        )
    }

    /// Whether a token is one of ours, and still good.
    pub(crate) fn check_token(&self, token: &str) -> Result<(), Refusal> {
        match self.state().tokens.get(token) {
            Some(end) if *end > Instant::now() => Ok(()),
            _ => Err(Refusal::new(401, "AuthenticationRequired", "Invalid Credentials")),
        }
    }

    fn issue(&self) -> Answer {
        let token = format!("ya29.fake-{}", uuid::Uuid::new_v4().simple());
        let lifetime = self.options.token_lifetime;
        let mut state = self.state();
        state.tokens.insert(token.clone(), Instant::now() + Duration::from_secs(lifetime));
        state.tokens_issued += 1;
        json(&serde_json::json!({"access_token": token, "expires_in": lifetime, "token_type": "Bearer"}))
    }

    /// Answers the token endpoint and the metadata server.
    pub(crate) async fn answer_tokens(&self, asked: &Asked, body: Incoming) -> Result<Answer, Refusal> {
        let unproved = Proved { payload: None };
        if asked.path == "/token" {
            let body = transfer::small(body, &unproved).await?;
            let fields: Vec<(String, String)> =
                form_urlencoded::parse(&body).map(|(name, value)| (name.into(), value.into())).collect();
            return self.exchange(&fields);
        }
        if let Some(what) = asked.path.strip_prefix("/computeMetadata/v1/instance/service-accounts/default/")
        {
            if asked.header("metadata-flavor") != Some("Google") {
                return Err(Refusal::new(403, "AccessDenied", "Missing Metadata-Flavor:Google header."));
            }
            return match what {
                "token" => Ok(self.issue()),
                "email" => Ok(with_type(http::StatusCode::OK, "application/text", ACCOUNT.to_owned())),
                _ => Err(Refusal::new(404, "NoSuchKey", "no such metadata")),
            };
        }
        Err(Refusal::new(404, "NoSuchKey", "no such service"))
    }

    fn exchange(&self, fields: &[(String, String)]) -> Result<Answer, Refusal> {
        let field = |name: &str| {
            fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let is_proved = match field("grant_type") {
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => self.assertion_holds(field("assertion")),
            "refresh_token" => {
                field("client_id") == CLIENT_ID
                    && field("client_secret") == CLIENT_SECRET
                    && field("refresh_token") == REFRESH_TOKEN
            }
            _ => false,
        };
        if is_proved {
            return Ok(self.issue());
        }
        let text = serde_json::json!({"error": "invalid_grant", "error_description": "Invalid grant."});
        Ok(with_type(http::StatusCode::BAD_REQUEST, "application/json", text.to_string()))
    }

    /// Verifies a signed assertion of the service account.
    fn assertion_holds(&self, assertion: &str) -> bool {
        let Some((signed, signature)) = assertion.rsplit_once('.') else { return false };
        let Some((header, claims)) = signed.split_once('.') else { return false };
        let parsed = |text: &str| -> Option<serde_json::Value> {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()
        };
        let (Some(header), Some(claims)) = (parsed(header), parsed(claims)) else { return false };
        let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else { return false };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        header["alg"] == "RS256"
            && claims["iss"] == ACCOUNT
            // Google's own clients name Google's address whatever `token_uri` says.
            && [format!("{}/token", self.endpoint).as_str(), "https://oauth2.googleapis.com/token"]
                .contains(&claims["aud"].as_str().unwrap_or_default())
            && claims["scope"].as_str().is_some_and(|scope| scope.contains("/auth/"))
            && claims["iat"].as_u64().is_some_and(|iat| iat <= now + 60)
            && claims["exp"].as_u64().is_some_and(|exp| exp > now && exp <= now + 3660)
            && rsa_fits(&self.public_key(), signed.as_bytes(), &signature)
    }
}
