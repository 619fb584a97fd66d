//! moto's server, a stand-in for AWS, run by the Python that `make deps` prepares.

use crate::shared::{
    Shared,
    aws::{Aws, Credentials},
};
use serde_json::{Value, json};
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use watchbell_core::config::Secret;

/// Ends when its standard input does, so that it never outlives the test.
const SERVER: &str = "
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
server.start()
print('%s:%s' % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
";

/// The server; it ends when it is dropped.
pub(crate) struct Moto {
    pub(crate) url: String,
    shared: Shared,
    _child: Child,
}

/// The Python of the tests: `WATCHBELL_TEST_PYTHON`, else what `make deps` makes.
fn python() -> PathBuf {
    match std::env::var_os("WATCHBELL_TEST_PYTHON") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/test-python/bin/python"),
    }
}

impl Moto {
    /// `None`, and loudly, where it is not installed; in CI that is an error.
    pub(crate) async fn start() -> Option<Moto> {
        let python = python();
        if !python.exists() {
            let what = format!("SKIPPED: no {}; run `make deps`, or set WATCHBELL_TEST_PYTHON", python.display());
            assert!(std::env::var_os("CI").is_none(), "{what}");
            eprintln!("{what}");
            return None;
        }
        let mut child = Command::new(python)
            .args(["-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        tokio::time::timeout(Duration::from_secs(120), out.read_line(&mut line)).await.unwrap().unwrap();
        let url = format!("http://{}", line.trim());
        Some(Moto { url, shared: Shared::new().unwrap(), _child: child })
    }

    async fn call(&self, service: &'static str, headers: &[(&'static str, &str)], body: String) -> String {
        let credentials = Credentials::Key {
            access_key: Secret::Value("test".into()),
            secret_key: Secret::Value("test".into()),
            session_token: None,
        };
        let aws = Aws::new(service, "eu-west-1", credentials);
        let url = format!("{}/", self.url);
        let request = aws.post(&self.shared, &url, headers, body, Duration::from_secs(20)).await.unwrap();
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{service}: {status} {text}");
        text
    }

    async fn sns(&self, form: &[(&str, &str)]) -> String {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .append_pair("Version", "2010-03-31")
            .finish();
        self.call("sns", &[("content-type", "application/x-www-form-urlencoded")], form).await
    }

    async fn sqs(&self, action: &str, body: Value) -> Value {
        let target = format!("AmazonSQS.{action}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        serde_json::from_str(&self.call("sqs", &headers, body.to_string()).await).unwrap()
    }

    /// Makes a topic, and a queue of the same name that gets what is published; the topic's ARN.
    pub(crate) async fn topic(&self, name: &str) -> String {
        let fifo = name.ends_with(".fifo");
        let mut form = vec![("Action", "CreateTopic"), ("Name", name)];
        if fifo {
            form.extend([("Attributes.entry.1.key", "FifoTopic"), ("Attributes.entry.1.value", "true")]);
        }
        let answer = self.sns(&form).await;
        let arn = answer.split(['<', '>']).find(|part| part.starts_with("arn:")).unwrap().to_owned();
        let attributes = if fifo { json!({"FifoQueue": "true"}) } else { json!({}) };
        self.sqs("CreateQueue", json!({"QueueName": name, "Attributes": attributes})).await;
        let queue = arn.replace(":sns:", ":sqs:");
        self.sns(&[("Action", "Subscribe"), ("TopicArn", &arn), ("Protocol", "sqs"), ("Endpoint", &queue)]).await;
        arn
    }

    /// What the queue of a topic got: the notification, beside it SQS's own `Attributes`.
    pub(crate) async fn received(&self, name: &str) -> Vec<(Value, Value)> {
        let url = self.sqs("GetQueueUrl", json!({"QueueName": name})).await["QueueUrl"].clone();
        let ask = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "AttributeNames": ["All"], "WaitTimeSeconds": 5});
        let answer = self.sqs("ReceiveMessage", ask).await;
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        let read =
            |m: &Value| serde_json::from_str(m["Body"].as_str()?).ok().map(|body| (body, m["Attributes"].clone()));
        messages.iter().filter_map(read).collect()
    }
}
