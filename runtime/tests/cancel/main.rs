//! Cancellation: every rule, every limit, and what asyncio's own tests ask for.
//!
//! The rules by their numbers: R1 poll first; R2 the innermost takes; R3 siblings each get it; R4 a scope
//! knows in which pass it was answered below; R5 one request to one flow; R6 the root; R7 what is new and
//! what is due; R8 a request during a poll; R9 before the first poll; R10 raising; R11 a raise ends its
//! siblings; R12 timeouts; R13 awaiting a task; R14 combinators that filter wakes; R15 the context;
//! R16 panics; R17 scopes that move; R18 counters; R19 the budget.

mod asyncio;
mod combinators;
mod limits;
mod raises;
mod rules;
mod support;
mod tasks;
mod threads;
mod timeouts;
mod unwinding;
