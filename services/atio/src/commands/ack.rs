//! `atio ack`: a person's answer to an incident. Owns the answer's record and the wait for what becomes of it; what it does is the incidents
//! service's.
use crate::{
    commands::{block_on, incident, look},
    endpoints::Target,
    exit::{Exit, Failure},
    render::{self, Format},
    system,
};
use anyhow::Context;
use atio_incidents::{http::ack_output, meant};
use atio_runtime::{Config, clock};
use atio_schemas::{
    Codec, header,
    incident::{Ack, AckAction, Incident, Severity, Verdict},
};
use atio_stream::{
    Kafka,
    publish::{Publisher, PublisherSpec},
    read::{Entry, From, ReadSpec, TopicReader, Until},
};
use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

const CLIENT: &str = "atio-ack";
/// The incident shows the answer by then.
const LIMIT: Duration = Duration::from_secs(10);

/// Answer an incident: branches that wait for it go on
///
/// Without --wait every open wait of the incident is answered; with --choice those that offer it, without one those that offer none. An answer
/// that was refused is in acks.dlq with its reason.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  atio ack 9a3d2b1c --comment 'on it'\n  atio ack 9a3d2b1c --choice isolate\n  atio ack 9a3d2b1c --close false_positive"
)]
pub struct Args {
    /// Its id, or how the id starts
    incident: String,
    /// Answer this wait alone
    #[arg(long, value_name = "ID")]
    wait: Option<String>,
    /// What is chosen, where a wait has choices: `atio incident show` has them
    #[arg(long, value_name = "NAME", conflicts_with = "close")]
    choice: Option<String>,
    /// Say no: what waits ends, or goes on as its `rejected` says
    #[arg(long, conflicts_with_all = ["choice", "close"])]
    reject: bool,
    /// Say that you work on what waits; it goes on waiting
    #[arg(long, conflicts_with_all = ["choice", "close", "reject"])]
    claim: bool,
    /// Nobody works on what waits any more
    #[arg(long, conflicts_with_all = ["choice", "close", "reject", "claim"])]
    release: bool,
    /// Who is to work on the incident; what waits goes on waiting
    #[arg(long, value_name = "NAME", conflicts_with_all = ["choice", "reject", "claim", "release"])]
    assign: Option<String>,
    /// How severe it is
    #[arg(long, value_name = "LEVEL", value_parser = Severity::NAMES.to_vec(), conflicts_with_all = ["choice", "reject", "claim", "release"])]
    severity: Option<String>,
    /// Close the incident: what still waits is stopped
    #[arg(long, value_name = "VERDICT", value_parser = Verdict::NAMES.to_vec(), conflicts_with = "wait")]
    close: Option<String>,
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Who answers
    #[arg(long = "as", value_name = "NAME", env = "USER", hide_env_values = true)]
    actor: Option<String>,
    /// For people, or one JSON object
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(target: &Target, args: &Args) -> anyhow::Result<Exit> {
    let config = target.configuration(serde_json::json!({}))?;
    let kafka = system::kafka(&config, &target.kafka(&config)?);
    let (codec, _ids) = block_on(system::codec(&target.registry(&config)?))?;
    let found = known(target, &args.incident)?;
    let ack = said(args, &found)?;
    let place = Place { kafka: &kafka, config: &config, codec: &codec };
    let incident = place.send(&ack, &found.tenant)?;
    incident::show(&incident, args.format)?;
    Ok(Exit::Done)
}

fn known(target: &Target, id: &str) -> anyhow::Result<Incident> {
    let id = id.to_owned();
    look::find(target, move |look| incident::find(look, &id))?.context("stopped")
}

/// What the arguments say of the incident as it is.
fn said(args: &Args, incident: &Incident) -> anyhow::Result<Ack> {
    if let Some(id) = args.wait.as_ref().filter(|id| !incident.waits.iter().any(|w| w.wait_id == **id)) {
        let open: Vec<&str> = incident.waits.iter().map(|w| w.wait_id.as_str()).collect();
        return Err(Failure::usage(format!(
            "the incident has no open wait `{id}`; open: {}",
            open.join(", ")
        )));
    }
    let actor = args.actor.clone().filter(|a| !a.is_empty());
    let actor = actor.ok_or_else(|| Failure::usage("who answers? give --as NAME"))?;
    let asked = [
        (args.close.is_some(), AckAction::Close),
        (args.reject, AckAction::Reject),
        (args.claim, AckAction::Claim),
        (args.release, AckAction::Release),
        (args.assign.is_some() || args.severity.is_some(), AckAction::Update),
    ];
    let action = asked.into_iter().find(|(asked, _)| *asked).map_or(AckAction::Acknowledge, |(_, a)| a);
    let ack_id = uuid::Uuid::new_v4().to_string();
    let ack = Ack {
        wait_id: args.wait.clone(),
        verdict: args.close.as_deref().and_then(Verdict::parse),
        comment: args.comment.clone(),
        choice: args.choice.clone(),
        assignee: args.assign.clone(),
        severity: args.severity.as_deref().and_then(Severity::parse),
        ..Ack::new(&ack_id, &incident.incident_id, action, &actor, clock::now())
    };
    let refused = meant::formed(&ack).and_then(|()| meant::meant(incident, &ack).map(drop));
    match refused {
        Ok(()) => Ok(ack),
        Err(refused) => Err(Failure::with(Exit::Refused, format!("{}: {}", refused.code, refused.message))),
    }
}

struct Place<'a> {
    kafka: &'a Kafka,
    config: &'a Config,
    codec: &'a Codec,
}

impl Place<'_> {
    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.config.prefix)
    }

    /// Publishes the answer, and waits until the incident shows it or it is refused. Blocks.
    fn send(&self, ack: &Ack, tenant: &str) -> anyhow::Result<Incident> {
        let unreachable = |e: &dyn std::fmt::Display| Failure::unreachable(e.to_string());
        let incidents = self.topic("incidents");
        // What becomes of it is read from where the topics end now: opened before it goes out.
        let spec = ReadSpec {
            topics: vec![incidents.clone(), self.topic("acks.dlq")],
            from: From::End,
            until: Until::Never,
            ..ReadSpec::whole(self.kafka, CLIENT, &incidents)
        };
        let reader = TopicReader::open(&spec).map_err(|e| unreachable(&e))?;
        let acks = self.topic("acks");
        let publisher =
            Publisher::open(PublisherSpec::new(self.kafka, CLIENT, &[&acks])).map_err(|e| unreachable(&e))?;
        let output = ack_output(self.codec, &self.config.prefix, ack, tenant)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for answer in runtime.block_on(publisher.send(vec![output])) {
            answer.map_err(|e| unreachable(&e)).context("the answer can't be sent")?;
        }
        let (start, mut end) = (Instant::now(), None);
        reader.for_each(
            || start.elapsed() > LIMIT,
            |entry| match self.end(ack, &entry, &incidents) {
                None => ControlFlow::Continue(()),
                found => {
                    end = found;
                    ControlFlow::Break(())
                }
            },
        )?;
        end.unwrap_or_else(|| {
            let hint = "is the incidents service running? the answer stays on its topic and takes effect when it does";
            let message = format!("the incident does not show answer {} within {} s; {hint}", ack.ack_id, LIMIT.as_secs());
            Err(Failure::with(Exit::Failed, message))
        })
    }

    /// What a record says became of the answer; none where it is about something else.
    fn end(&self, ack: &Ack, entry: &Entry, incidents: &str) -> Option<anyhow::Result<Incident>> {
        let value = entry.value.as_deref()?;
        if &*entry.topic == incidents {
            let caused = entry.headers.text(header::CE_ID) == Some(ack.ack_id.as_str());
            return caused.then(|| self.codec.decode(value).map_err(Into::into));
        }
        let refused = self.codec.decode::<Ack>(value).is_ok_and(|a| a.ack_id == ack.ack_id);
        refused.then(|| {
            let why = |name: &str| {
                entry.headers.text(&format!("{}{name}", header::ERRORS)).unwrap_or("?").to_owned()
            };
            render::notice("the answer was refused; `atio dlq ls` shows it");
            Err(Failure::with(Exit::DeadLettered, format!("{}: {}", why("code"), why("message"))))
        })
    }
}
