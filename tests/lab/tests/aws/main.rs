//! AWS Secrets Manager in the lab.

#![allow(missing_docs)]

use std::net::Ipv4Addr;

use anyhow::Result;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use tandem_lab::aws::{Aws, Value};

#[tokio::test]
async fn the_sdk_and_the_emulator_understand_each_other() -> Result<()> {
    let aws = Aws::start(Ipv4Addr::LOCALHOST.into())?;
    let key = aws.key();
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(aws.endpoint())
        .credentials_provider(Credentials::new(&key.id, &key.secret, None, None, "test"))
        .build();
    let client = Client::from_conf(config);
    client
        .create_secret()
        .name("orders/db")
        .secret_string("one")
        .send()
        .await?;
    let got = client.get_secret_value().secret_id("orders/db").send().await?;
    assert_eq!(got.secret_string(), Some("one"));
    aws.put("orders/db", Value::Text("two".to_owned()))?;
    Ok(())
}
