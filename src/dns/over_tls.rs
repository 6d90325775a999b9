//! The answer to a question that came encrypted, by DNS over TLS and by DNS over HTTPS alike.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::core::{Arrival, Core, Step, asked_type, epoch};
use super::fast::BUFFER;
use super::full::Transport;
use super::metrics::{Tally, Way};
use crate::model::View;

/// How long a handshake may take, and a connection be silent.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The whole answer to a question that came encrypted; none where nothing is to be said.
pub async fn answer(core: &Core, client: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
    let arrived = Instant::now();
    let arrival = Arrival { client, view: View::Host, transport: Transport::Tcp };
    let mut tally = Tally::default();
    let answer = answer_by(core, arrival, question).await;
    match &answer {
        Some((answer, way)) => {
            tally.answer(answer, asked_type(question), *way, true);
            tally.took(1, arrived.elapsed());
            core.log(&arrival, question, answer, *way);
        }
        None => tally.dropped(),
    }
    core.metrics.take(&mut tally);
    answer.map(|(answer, _)| answer)
}

async fn answer_by(core: &Core, arrival: Arrival, question: &[u8]) -> Option<(Vec<u8>, Way)> {
    if !core.admits(&core.networks.load(), arrival.client.ip()) {
        return None;
    }
    let mut buffer = question.to_vec();
    buffer.resize(question.len().max(BUFFER), 0);
    let step = {
        let snapshot = core.snapshot.load();
        let context = core.context(&arrival, epoch());
        core.step(snapshot.view(arrival.view), &context, core.now(), &mut buffer, question.len())
    };
    match step {
        Step::Drop => None,
        Step::InPlace(length, way) => {
            buffer.truncate(length);
            Some((buffer, way))
        }
        Step::Message(answer) => Some((answer, Way::Full)),
        Step::Forward(forward) => Some((core.forward(arrival, question, forward).await?, Way::Forwarded)),
    }
}
