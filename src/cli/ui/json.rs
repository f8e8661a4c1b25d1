//! One event, one line of JSON on stdout.
use carrack_core::event::Event;
use serde::Serialize;

use super::{Consumer, Ui};

pub(super) struct Json(pub(super) Ui);

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    /// Of several, the one that it is about.
    service: &'a str,
}

impl Consumer for Json {
    fn event(&mut self, about: Option<&str>, event: &Event) {
        match about {
            Some(service) => self.0.value(&Line { event, service }),
            None => self.0.value(event),
        }
    }
}
