//! Telling somebody who does not sit in front of it: a command, a webhook, an SNS topic, when a volume is sealed or needed, on trouble,
//! and at the end.
//!
//! Owns: what is told and to whom. Invariants: telling never slows the work (a thread of its own does it) and never
//! changes how it ends: what could not be told is a warning. What is told holds no secret.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use crate::cli::Exit;
#[cfg(feature = "notify")]
use crate::ingest::notify;
use crate::sys::World;
use crate::sys::lock::lock;
use crate::sys::process::run_hook;

/// How long somebody who is told may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whom to tell.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Telling others (a volume is sealed or needed, trouble, the end)")]
pub struct EventArgs {
    /// Shell command: PACKMULE_EVENT, PACKMULE_MESSAGE, ... in its environment, the event as JSON on its standard input
    #[arg(long, value_name = "CMD")]
    on_event: Option<String>,
    /// URL that every event is posted to, as JSON
    #[cfg(feature = "notify")]
    #[arg(long, value_name = "URL", value_parser = parse_webhook)]
    webhook: Option<String>,
    /// SNS topic that every event is published to, with the credentials AWS tools use
    #[cfg(feature = "notify")]
    #[arg(long, value_name = "ARN", value_parser = parse_topic)]
    sns_topic: Option<String>,
}

#[cfg(feature = "notify")]
fn parse_webhook(text: &str) -> Result<String, notify::NotifyError> {
    notify::check_webhook(text).map(|()| text.to_owned())
}

#[cfg(feature = "notify")]
fn parse_topic(text: &str) -> Result<String, notify::NotifyError> {
    notify::topic_region(text).map(|_| text.to_owned())
}

impl EventArgs {
    fn is_any(&self) -> bool {
        #[cfg(feature = "notify")]
        if self.webhook.is_some() || self.sns_topic.is_some() {
            return true;
        }
        self.on_event.is_some()
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Happening {
    /// A volume is sealed and may be taken away.
    Sealed,
    /// The run ended because a further volume is needed.
    NeedsVolume,
    /// A volume failed, or the run ended otherwise than well.
    Trouble,
    /// The run ended well.
    Done,
}

impl Happening {
    fn word(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::NeedsVolume => "needs-volume",
            Self::Trouble => "trouble",
            Self::Done => "done",
        }
    }

    /// What the end of a run is.
    fn of_end(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::Done,
            Exit::Volume => Self::NeedsVolume,
            _ => Self::Trouble,
        }
    }
}

/// One event, as it is told.
#[derive(Debug, Serialize)]
struct Event {
    event: Happening,
    command: &'static str,
    job: String,
    host: String,
    volume: Option<u32>,
    message: String,
    at: String,
    exit: Option<u8>,
}

/// Tells events from a thread of its own.
pub(super) struct Events {
    command: &'static str,
    job: String,
    to: Mutex<Option<(Sender<Event>, JoinHandle<()>)>>,
}

impl Events {
    /// For one run of a command on a job.
    pub(super) fn new(command: &'static str, job: &std::path::Path, args: &EventArgs) -> Self {
        let wanted = args.is_any();
        let to = wanted.then(|| {
            let (send, receive) = channel();
            let args = args.clone();
            let thread = std::thread::Builder::new().name("events".to_owned()).spawn(move || tell_all(&receive, &args));
            thread.ok().map(|thread| (send, thread))
        });
        Self { command, job: job.display().to_string(), to: Mutex::new(to.flatten()) }
    }

    /// Tells what happened, at once or a little later.
    pub(super) fn tell(&self, event: Happening, volume: Option<u32>, message: &str) {
        self.send(event, volume, message, None);
    }

    /// Tells how the run ended, and waits until everything was told.
    pub(super) fn ended(&self, exit: Exit, message: &str) {
        self.send(Happening::of_end(exit), None, message, Some(exit.code()));
        let to = lock(&self.to).take();
        if let Some((send, thread)) = to {
            drop(send);
            drop(thread.join());
        }
    }

    fn send(&self, event: Happening, volume: Option<u32>, message: &str, exit: Option<u8>) {
        if let Some((send, _)) = &*lock(&self.to) {
            let event = Event {
                event,
                command: self.command,
                job: self.job.clone(),
                host: crate::sys::process::host_name(),
                volume,
                message: message.to_owned(),
                at: World::real().clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                exit,
            };
            // The receiver lives as long as the sender is kept.
            drop(send.send(event));
        }
    }
}

fn tell_all(events: &Receiver<Event>, args: &EventArgs) {
    for event in events {
        let json = serde_json::to_string(&event).unwrap_or_default();
        if let Some(command) = &args.on_event {
            let environment = [
                ("PACKMULE_EVENT", event.event.word().to_owned()),
                ("PACKMULE_MESSAGE", event.message.clone()),
                ("PACKMULE_EVENT_JOB", event.job.clone()),
                ("PACKMULE_EVENT_VOLUME", event.volume.map(|number| number.to_string()).unwrap_or_default()),
            ];
            if let Err(error) = run_hook(command, &environment, json.as_bytes(), PATIENCE) {
                super::exit::warn(&format!("--on-event was not told of {}: {error}", event.event.word()));
            }
        }
        #[cfg(feature = "notify")]
        tell_over_network(&event, &json, args);
    }
}

#[cfg(feature = "notify")]
fn tell_over_network(event: &Event, json: &str, args: &EventArgs) {
    if let Some(url) = &args.webhook
        && let Err(error) = notify::post_json(url, json, PATIENCE)
    {
        super::exit::warn(&format!("--webhook was not told of {}: {error}", event.event.word()));
    }
    if let Some(topic) = &args.sns_topic {
        let (subject, now) = (format!("packmule: {}", event.event.word()), World::real().clock.now());
        if let Err(error) = notify::publish_sns(topic, &subject, json, now, PATIENCE) {
            super::exit::warn(&format!("--sns-topic was not told of {}: {error}", event.event.word()));
        }
    }
}
