//! In ordinary builds nobody has to be told anything.

pub(crate) fn locked<T>(_lock: &std::sync::Mutex<T>) {}
