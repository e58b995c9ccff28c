//! Who keeps the program from ending is named.

use super::*;

pub(super) struct Listener;

#[derive(Default)]
pub(super) struct Warning {
    what: String,
    waiting_for: String,
}

impl tracing::field::Visit for Warning {
    fn record_debug(&mut self, _: &tracing::field::Field, _: &dyn std::fmt::Debug) {}
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        match field.name() {
            "what" => self.what = value.to_owned(),
            "waiting_for" => self.waiting_for = value.to_owned(),
            _ => {}
        }
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut warning = Warning::default();
        event.record(&mut warning);
        println!("{}: {}", warning.what, warning.waiting_for);
        THERE.open();
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

pub(super) fn whoever_keeps_it_is_named() -> ExitCode {
    tracing::subscriber::set_global_default(Listener).unwrap();
    // It ends when it has been told of.
    Thread::new(|| THERE.wait()).name("slow").start().unwrap();
    announce_exit();
    println!("main ends");
    ExitCode::SUCCESS
}
