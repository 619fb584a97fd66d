//! Errors of the agent itself, to Sentry. The protocol is the library's; the way is our own HTTP client, so that
//! there is one TLS stack.

use sentry::{ClientInitGuard, ClientOptions, Envelope, Transport, types::Dsn};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};
use tracing::subscriber::NoSubscriber;
use watchbell_core::config::Secret;

/// Reports that wait to be sent, at most; more are dropped.
const WAITING_MAX: usize = 100;
/// How long one report may take.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// How long the end of the agent waits for reports to leave.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

struct Sender {
    envelopes: mpsc::SyncSender<Envelope>,
    waiting: Arc<AtomicUsize>,
}

/// The address to report to.
///
/// # Errors
/// It can't be read, or is none. It holds a key: the message does not show it.
pub(super) fn dsn(secret: &Secret) -> Result<Dsn, String> {
    let text = watchbell_io::shared::secret::read(secret).map_err(|why| format!("`sentry_dsn`: {why}"))?;
    text.parse().map_err(|error| format!("`sentry_dsn` is not an address of Sentry: {error}"))
}

/// Starts to report. Panics count as errors.
pub(super) fn start(dsn: Dsn) -> ClientInitGuard {
    let target = dsn.clone();
    let mut options = ClientOptions::default()
        .release(concat!("watchbell@", env!("CARGO_PKG_VERSION")))
        .shutdown_timeout(FLUSH_WITHIN)
        .transport(move |_: &ClientOptions| -> Arc<dyn Transport> { Arc::new(Sender::new(&target)) });
    options.dsn = Some(dsn);
    sentry::init(options)
}

impl Sender {
    fn new(dsn: &Dsn) -> Sender {
        let (envelopes, receiver) = mpsc::sync_channel::<Envelope>(WAITING_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (url, auth, left) = (dsn.envelope_api_url(), dsn.to_auth(None).to_string(), waiting.clone());
        std::thread::spawn(move || {
            // What is logged while a report is sent must not be one to report in its turn.
            let _quiet = tracing::subscriber::set_default(NoSubscriber::default());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let (Ok(runtime), Ok(shared)) = (runtime, watchbell_io::shared::Shared::new()) else { return };
            for envelope in receiver {
                let mut body = Vec::new();
                if envelope.to_writer(&mut body).is_ok() {
                    let request = shared.http.client.post(url.clone()).header("X-Sentry-Auth", &auth).body(body);
                    // Nobody is there to hear of a failure.
                    let _ = runtime.block_on(async { request.timeout(SEND_WITHIN).send().await });
                }
                left.fetch_sub(1, Relaxed);
            }
        });
        Sender { envelopes, waiting }
    }
}

impl Transport for Sender {
    fn send_envelope(&self, envelope: Envelope) {
        self.waiting.fetch_add(1, Relaxed);
        if self.envelopes.try_send(envelope).is_err() {
            self.waiting.fetch_sub(1, Relaxed);
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        while self.waiting.load(Relaxed) > 0 {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}
