//! One event, one line of JSON on stdout.
use carrack_core::event::Event;

use super::{Consumer, Ui};

pub(super) struct Json(pub(super) Ui);

impl Consumer for Json {
    fn event(&mut self, event: &Event) {
        self.0.value(event);
    }
}
