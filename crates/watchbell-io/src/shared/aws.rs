//! Signed requests to AWS: credentials from the usual places, Signature Version 4, over the shared HTTP client.
//!
//! The credential chain (environment, profile files, SSO, web identity, container, instance metadata) and the
//! signature are reqsign's. What a service's answer means is the caller's.

use super::{Shared, secret};
use reqsign::aws::v4::{Credential, DefaultCredentialProvider, DefaultSigner, RequestSigner, StaticCredentialProvider};
use std::{fmt, sync::OnceLock, time::Duration};
use watchbell_core::config::Secret;

/// Where credentials come from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Credentials {
    /// The usual places, in AWS's order.
    #[default]
    Chain,
    /// The same, with this profile in files.
    Profile(String),
    /// A key of its own.
    Key {
        /// Its public half.
        access_key: Secret,
        /// Its secret half.
        secret_key: Secret,
        /// For temporary keys.
        session_token: Option<Secret>,
    },
}

/// Why a request could not be signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignError {
    /// There are no credentials now; the metadata service or a file may give them later.
    Credentials(String),
    /// The request itself is wrong.
    Request(String),
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignError::Credentials(why) => write!(
                f,
                "no AWS credentials: {why}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the machine"
            ),
            SignError::Request(why) => write!(f, "can't sign the request: {why}"),
        }
    }
}

/// One service in one region.
pub struct Aws {
    /// The name that is signed (`sns`).
    pub service: &'static str,
    /// The region that is signed.
    pub region: String,
    /// Where credentials come from.
    pub credentials: Credentials,
    /// Keeps credentials until they expire. Made at first use: it wants the TLS provider of [`Shared::new`].
    chain: OnceLock<DefaultSigner>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = &self.credentials;
        write!(f, "Aws {{ service: {}, region: {}, credentials: {credentials:?} }}", self.service, self.region)
    }
}

impl Aws {
    /// A service in a region. Nothing is read yet.
    pub fn new(service: &'static str, region: impl Into<String>, credentials: Credentials) -> Aws {
        Aws { service, region: region.into(), credentials, chain: OnceLock::new() }
    }

    /// What can be seen without asking anybody: a secret that is not there.
    pub fn preflight(&self) -> Vec<String> {
        match &self.credentials {
            Credentials::Key { access_key, secret_key, session_token } => [access_key, secret_key]
                .into_iter()
                .chain(session_token)
                .filter_map(|secret| secret::read(secret).err())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A POST with this body, signed, ready to send.
    ///
    /// # Errors
    /// [`SignError`]; finding credentials takes at most `timeout`.
    pub async fn post(
        &self,
        shared: &Shared,
        url: &str,
        headers: &[(&'static str, &str)],
        body: String,
        timeout: Duration,
    ) -> Result<reqwest::RequestBuilder, SignError> {
        let wrong = |e: http::Error| SignError::Request(e.to_string());
        let mut request = http::Request::post(url).header("x-amz-content-sha256", sha256_hex(body.as_bytes()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).map_err(wrong)?.into_parts();
        let signer = self.signer()?;
        match tokio::time::timeout(timeout, signer.sign(&mut parts, None)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(self.sign_error(&e)),
            Err(_) => {
                return Err(SignError::Credentials(format!("none were found within {} s", timeout.as_secs_f64())));
            }
        }
        let mut headers = parts.headers;
        // The client writes its own, from the same address.
        headers.remove(http::header::HOST);
        Ok(shared.http.client.post(url).headers(headers).body(body))
    }

    fn signer(&self) -> Result<DefaultSigner, SignError> {
        let request_signer = || RequestSigner::new(self.service, &self.region);
        match &self.credentials {
            Credentials::Chain => Ok(self.kept(DefaultCredentialProvider::new)),
            Credentials::Profile(name) => {
                Ok(self.kept(|| DefaultCredentialProvider::builder().with_profile(name.clone()).build()))
            }
            // Read anew each time, so that a key that was renewed is used.
            Credentials::Key { access_key, secret_key, session_token } => {
                let read = |secret: &Secret| secret::read(secret).map_err(SignError::Credentials);
                let mut provider = StaticCredentialProvider::new(&read(access_key)?, &read(secret_key)?);
                if let Some(token) = session_token {
                    provider = provider.with_session_token(&read(token)?);
                }
                Ok(reqsign::Signer::<Credential>::new(reqsign::default_context(), provider, request_signer()))
            }
        }
    }

    fn kept(&self, provider: impl FnOnce() -> DefaultCredentialProvider) -> DefaultSigner {
        let make = || {
            let signer = RequestSigner::new(self.service, &self.region);
            reqsign::Signer::new(reqsign::default_context(), provider(), signer)
        };
        self.chain.get_or_init(make).clone()
    }

    fn sign_error(&self, error: &reqsign::Error) -> SignError {
        match error.kind() {
            reqsign::ErrorKind::RequestInvalid => SignError::Request(error.to_string()),
            _ => SignError::Credentials(error.to_string()),
        }
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(token: Option<&str>) -> Credentials {
        Credentials::Key {
            access_key: Secret::Value("AKIDEXAMPLE".into()),
            secret_key: Secret::Value("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            session_token: token.map(|t| Secret::Value(t.into())),
        }
    }

    #[tokio::test]
    async fn a_request_is_signed_for_service_and_region() {
        let shared = Shared::new().unwrap();
        let aws = Aws::new("sns", "eu-west-1", key(Some("a-token")));
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let url = "https://sns.eu-west-1.amazonaws.com/";
        let request = aws.post(&shared, url, &headers, "Action=Publish".into(), Duration::from_secs(5)).await.unwrap();
        let request = request.build().unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let authorization = header("authorization");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
        assert!(authorization.contains("/eu-west-1/sns/aws4_request"), "{authorization}");
        assert_eq!(header("x-amz-security-token"), "a-token");
        assert_eq!(header("x-amz-content-sha256"), sha256_hex(b"Action=Publish"));
        assert!(!format!("{aws:?}").contains("wJalr") && !format!("{request:?}").contains("wJalr"));
    }

    #[tokio::test]
    async fn a_missing_key_says_so_and_never_shows_the_rest() {
        let shared = Shared::new().unwrap();
        let mut credentials = key(None);
        if let Credentials::Key { secret_key, .. } = &mut credentials {
            *secret_key = Secret::Env("WATCHBELL_TEST_NO_SUCH_VARIABLE".into());
        }
        let aws = Aws::new("sns", "eu-west-1", credentials);
        assert_eq!(aws.preflight().len(), 1);
        let url = "https://sns.eu-west-1.amazonaws.com/";
        let error = aws.post(&shared, url, &[], String::new(), Duration::from_secs(5)).await.err().unwrap();
        assert!(error.to_string().contains("WATCHBELL_TEST_NO_SUCH_VARIABLE"), "{error}");
        assert!(!error.to_string().contains("AKID"), "{error}");
    }
}
