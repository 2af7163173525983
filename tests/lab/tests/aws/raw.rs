//! A request by hand, for what the SDK would never send.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;
use tandem_lab::aws::Aws;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request, and what is wrong with it.
pub(crate) struct Raw<'a> {
    pub(crate) aws: &'a Aws,
    pub(crate) action: &'a str,
    pub(crate) body: Value,
    /// How wrong the clock of the one who signs is, in seconds.
    pub(crate) skew: i64,
    /// What replaces the body after it was signed.
    pub(crate) instead: Option<Value>,
    /// A header that is added after the others were signed.
    pub(crate) unsigned: Option<(&'static str, &'static str)>,
    /// Whether it is signed at all.
    pub(crate) signed: bool,
    pub(crate) service: &'a str,
}

impl<'a> Raw<'a> {
    pub(crate) fn new(aws: &'a Aws, action: &'a str, body: Value) -> Self {
        Self {
            aws,
            action,
            body,
            skew: 0,
            instead: None,
            unsigned: None,
            signed: true,
            service: "secretsmanager",
        }
    }

    /// Sends it, and says what came of it: nothing to say, or the name of the error.
    pub(crate) async fn send(&self) -> Result<String> {
        let endpoint = self.aws.endpoint();
        let host = endpoint.trim_start_matches("http://");
        let mut headers = vec![
            ("host".to_owned(), host.to_owned()),
            ("content-type".to_owned(), "application/x-amz-json-1.1".to_owned()),
            (
                "x-amz-target".to_owned(),
                format!("secretsmanager.{}", self.action),
            ),
        ];
        if self.signed {
            headers.extend(self.signature(&endpoint, &headers)?);
        }
        headers.extend(
            self.unsigned
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let body = self.instead.as_ref().unwrap_or(&self.body).to_string();
        headers.push(("content-length".to_owned(), body.len().to_string()));
        headers.push(("connection".to_owned(), "close".to_owned()));
        let head: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let mut connection = TcpStream::connect(host).await?;
        let request = format!("POST / HTTP/1.1\r\n{}\r\n{body}", head.concat());
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP")?;
        if head.starts_with("HTTP/1.1 200") {
            return Ok("ok".to_owned());
        }
        let body: Value = serde_json::from_str(body).context("no JSON")?;
        Ok(body["__type"].as_str().context("no error name")?.to_owned())
    }

    fn signature(&self, endpoint: &str, headers: &[(String, String)]) -> Result<Vec<(String, String)>> {
        let key = self.aws.key();
        let identity = Credentials::new(&key.id, &key.secret, None, None, "test").into();
        let skew = Duration::from_secs(self.skew.unsigned_abs());
        let now = SystemTime::now();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name(self.service)
            .time(if self.skew < 0 { now - skew } else { now + skew })
            .settings(SigningSettings::default())
            .build()?
            .into();
        let body = self.body.to_string();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let request = SignableRequest::new("POST", endpoint, headers, SignableBody::Bytes(body.as_bytes()))?;
        let (instructions, _) = sign(request, &params)?.into_parts();
        let added = instructions.headers();
        Ok(added
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }
}
