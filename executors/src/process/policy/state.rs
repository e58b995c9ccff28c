//! What a worker has prepared for its jobs.
//!
//! It is made on the worker's job thread, and stays there. A job takes it out of its place and puts it back; one that
//! panics does not.

use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use serde::{Deserialize, Serialize};

use crate::caught::{drop_caught, text_of};
use crate::process::image::Offset;

/// How the state is made: the type it has, and, as [`Offset`]s, the function and who knows its type.
#[derive(Debug, Clone, Copy)]
pub(in crate::process) struct StateRecipe {
    type_id: TypeId,
    type_name: &'static str,
    maker: Option<StateMaker>,
}

/// What a worker is told of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(in crate::process) struct StateMaker {
    make: i64,
    function: i64,
}

type Make = unsafe fn(*const ()) -> Result<Box<dyn Any>, String>;

impl StateRecipe {
    pub(in crate::process) fn new<S: 'static>(function: fn() -> Result<S, String>) -> Self {
        let make = Offset::of(make::<S> as Make as usize);
        let function = Offset::of(function as usize);
        let maker = make.zip(function);
        let maker = maker.map(|(make, it)| StateMaker { make: make.0, function: it.0 });
        StateRecipe { type_id: TypeId::of::<S>(), type_name: type_name::<S>(), maker }
    }

    /// None when the function does not live in the main program.
    pub(in crate::process) fn maker(&self) -> Option<StateMaker> {
        self.maker
    }

    /// Whether jobs that want an `S` find one. The error says what they would find instead.
    pub(in crate::process) fn check<S: 'static>(recipe: Option<&Self>) -> Result<(), String> {
        match recipe {
            Some(recipe) if recipe.type_id == TypeId::of::<S>() => Ok(()),
            Some(recipe) => Err(format!(
                "the job wants a state of type {}, and the pool's workers have one of type {}",
                type_name::<S>(),
                recipe.type_name
            )),
            None => Err(format!(
                "the job wants a state of type {}, and the pool was built without `state`",
                type_name::<S>()
            )),
        }
    }
}

/// # Safety
/// `function` is a `fn() -> Result<S, String>`.
unsafe fn make<S: 'static>(function: *const ()) -> Result<Box<dyn Any>, String> {
    // SAFETY: the caller's promise.
    let function = unsafe { std::mem::transmute::<*const (), fn() -> Result<S, String>>(function) };
    match catch_unwind(function) {
        Ok(Ok(state)) => Ok(Box::new(state)),
        Ok(Err(why)) => Err(why),
        Err(payload) => Err(format!("it panicked: {}", text_of(payload))),
    }
}

#[derive(Default)]
struct Place {
    state: Option<Box<dyn Any>>,
    maker: Option<StateMaker>,
}

thread_local! {
    static PLACE: RefCell<Place> = RefCell::default();
}

impl StateMaker {
    fn make(self) -> Result<Box<dyn Any>, String> {
        let place = |offset| Offset(offset).resolve();
        let (Some(make), Some(function)) = (place(self.make), place(self.function)) else {
            return Err("it is not in the main program".to_owned());
        };
        // SAFETY: the program sent the places of `make::<S>` and of a function that gives an `S`, paired by
        // `StateRecipe::new`; this is the same build, and both are code of it.
        unsafe { std::mem::transmute::<*const (), Make>(make)(function) }
    }
}

/// Makes the worker's state, once, and remembers how.
pub(in crate::process) fn make_state(maker: Option<StateMaker>) -> Result<(), String> {
    let Some(maker) = maker else { return Ok(()) };
    let state = maker.make().map_err(|why| format!("its state could not be made: {why}"))?;
    PLACE.set(Place { state: Some(state), maker: Some(maker) });
    Ok(())
}

/// Calls `f` with this thread's state. After a panic of the one before it has to be made again first.
///
/// # Panics
/// When there is none, or it has another type, or is in use further down on this stack.
pub(crate) fn with_state<S: 'static, R>(f: impl FnOnce(&mut S) -> R) -> R {
    let Place { state, maker } = PLACE.take();
    // While it is in use there is neither a state nor a maker.
    let Some(mut state) = state.or_else(|| maker.map(again)) else {
        panic!(
            "there is no state of type {} here, or it is in use: `call_with` is for pools of processes that \
             were built with `state`",
            type_name::<S>()
        )
    };
    let result = match state.downcast_mut::<S>() {
        Some(state) => catch_unwind(AssertUnwindSafe(|| f(state))),
        None => {
            PLACE.set(Place { state: Some(state), maker });
            panic!("the state is none of type {}", type_name::<S>())
        }
    };
    match result {
        Ok(result) => {
            PLACE.set(Place { state: Some(state), maker });
            result
        }
        Err(panic) => {
            drop_caught("a worker's state", state);
            PLACE.set(Place { state: None, maker });
            resume_unwind(panic)
        }
    }
}

fn again(maker: StateMaker) -> Box<dyn Any> {
    maker.make().unwrap_or_else(|why| {
        PLACE.set(Place { state: None, maker: Some(maker) });
        panic!("the worker's state could not be made again: {why}")
    })
}
