//! What comes out of the hub: answers, offers, entries. Each is judged, then sent on its way to the client.

use truc::hub::{intake::Accepted, refused::Refused, session::Event as Heard};

use super::{
    process::Reply,
    stage::{Call, Event, Kind, Stage},
};

impl Stage<'_> {
    /// Lets the hub's tasks run, and takes what comes out, until nothing more does.
    pub fn settle(&mut self) {
        if self.process.is_none() {
            return;
        }
        loop {
            self.process.as_ref().expect("it runs").settle();
            if !self.take_out() {
                break;
            }
        }
        self.ledger.tick(self.now());
    }

    /// After a failed commit nobody may be told anything but that.
    pub fn settle_failed(&mut self) {
        self.ledger.failed = true;
        self.process.as_ref().expect("it ran").settle();
        self.take_out();
        self.ledger.failed = false;
    }

    fn take_out(&mut self) -> bool {
        let Some(process) = &mut self.process else { return false };
        let ended = process.ended();
        let mut some = !ended.is_empty();
        for (id, reply) in ended {
            let call = self.calls.remove(&id).expect("a call that was made");
            self.replied(id, &call, reply);
        }
        for id in self.lines.keys().copied().collect::<Vec<_>>() {
            if self.lines[&id].slow {
                continue;
            }
            some |= match self.lines[&id].kind {
                Kind::Session { .. } => self.take_events(id),
                Kind::Watch { .. } => self.take_entries(id),
            };
        }
        some
    }

    fn replied(&mut self, id: u64, call: &Call, reply: Reply) {
        match (call.said, reply) {
            (Some(said), Reply::Told(told)) => {
                let is_last = self.check_answer(call, said, &told);
                self.note(format!("answer to #{said}: {}", short(&told)));
                if !self.is_lost(call.client) {
                    let after = self.latency();
                    self.at(after, Event::Answer(call.client, said, is_last));
                }
            }
            (_, Reply::Offers(offers)) => {
                let offers = offers.unwrap_or_default();
                let is_lost = self.is_lost(call.client);
                for offer in offers {
                    self.check_offer(call.client, None, &offer);
                    if !is_lost {
                        let after = self.latency();
                        self.at(after, Event::Offered(call.client, id, Box::new(offer)));
                    }
                }
            }
            (None, Reply::Told(_)) => unreachable!("a Fetch brings offers"),
        }
    }

    fn take_events(&mut self, id: u64) -> bool {
        let process = self.process.as_mut().expect("it runs");
        let events = process.events(id);
        let some = !events.is_empty();
        for event in events {
            self.session_says(id, event);
        }
        if self.process.as_ref().expect("it runs").is_closed(id) {
            self.check_closed(id);
            let client = self.lines[&id].client;
            self.clients[client].lost_line(id);
            self.cut(id);
            return true;
        }
        some
    }

    fn session_says(&mut self, id: u64, event: Heard) {
        let client = self.lines[&id].client;
        match event {
            Heard::Offer(offer) => {
                if let Kind::Session { credit } = &mut self.lines.get_mut(&id).expect("a line").kind {
                    *credit -= 1;
                    assert!(*credit >= 0, "more offers than credit");
                }
                self.check_offer(client, Some(id), &offer);
                self.note(format!("offer {} to {}", offer.delivery_id, self.clients[client].node));
                let after = self.in_order(id);
                self.at(after, Event::Offered(client, id, offer));
            }
            Heard::Acknowledged(accepted) => self.check_said_in_session(id, Ok(accepted)),
            Heard::Refused { refused, .. } => self.check_said_in_session(id, Err(refused)),
            Heard::Extended { delivery_id, until_us } => self.ledger.extend(&delivery_id, until_us),
            // Why, shows when it is closed.
            Heard::Ended(_) => {}
            Heard::Goodbye => panic!("nobody stops the hub here"),
        }
    }

    fn take_entries(&mut self, id: u64) -> bool {
        let process = self.process.as_mut().expect("it runs");
        let entries = process.entries(id);
        let some = !entries.is_empty();
        let client = self.lines[&id].client;
        for entry in entries {
            let Some((agency, leaf, cursor)) = self.check_entry(id, entry) else { return some };
            let after = self.in_order(id);
            self.at(after, Event::Entry(client, id, agency, leaf, cursor));
        }
        some
    }

    /// How long the next item of a stream takes: never less than the one before.
    fn in_order(&mut self, id: u64) -> i64 {
        let latency = self.latency();
        let line = self.lines.get_mut(&id).expect("a line");
        line.last = line.last.max(self.time + latency);
        line.last - self.time
    }
}

fn short(told: &Result<Accepted, Refused>) -> String {
    match told {
        Ok(accepted) => {
            format!("leaf {}{}", accepted.receipt.index, if accepted.repeat { " again" } else { "" })
        }
        Err(refused) => format!("{:?}", refused.code()),
    }
}
