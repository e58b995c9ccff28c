//! The table of bugs, by the numbers of the rules in `cancel/mod.rs`.
//!
//! Rule 17 (scopes that move) has none: nothing in a scope points into a task, so there is no line to
//! break.

pub(crate) struct Bug {
    /// What is wrong then.
    pub(crate) what: &'static str,
    pub(crate) file: &'static str,
    /// Found exactly once in the file.
    pub(crate) find: &'static str,
    pub(crate) replace: &'static str,
    /// The test of `cancel` that must fail.
    pub(crate) test: &'static str,
}

const RECORD: &str = "runtime/src/cancel/record.rs";
const PASSES: &str = "runtime/src/cancel/passes.rs";
const SCOPE: &str = "runtime/src/cancel/scope.rs";
const RAISE: &str = "runtime/src/cancel/raise.rs";
const PROTECT: &str = "runtime/src/cancel/protect.rs";
const WAKERS: &str = "runtime/src/cancel/wakers.rs";
const CANCEL: &str = "runtime/src/cancel/mod.rs";
const RUN: &str = "runtime/src/task/run.rs";
const COLD: &str = "runtime/src/task/cold.rs";
const CELL: &str = "runtime/src/task/cell.rs";
const JOIN: &str = "runtime/src/task/join.rs";
const TIMEOUT: &str = "runtime/src/time/timeout.rs";

pub(crate) const BUGS: &[Bug] = &[
    Bug {
        what: "1: the request wins over a value that is ready",
        file: RUN,
        find: "        if ready {",
        replace: "        if ready && pass.is_none() {",
        test: "limits::without_a_suspension_there_is_nothing_to_interrupt",
    },
    Bug {
        what: "2: those around the innermost scope take the request, too",
        file: RECORD,
        find: "_ if self.answers > 0 => Below::Answered,",
        replace: "_ if self.answers > 99 => Below::Answered,",
        test: "rules::r2_the_innermost_scope_takes_in_the_same_poll",
    },
    Bug {
        what: "3: only the first of several siblings takes it",
        file: RECORD,
        find: "if fresh && level.answers > 0 {",
        replace: "if level.answers > 0 {",
        test: "rules::r3_every_sibling_gets_the_same_request_and_their_ancestor_none",
    },
    Bug {
        what: "4: a scope forgets in which pass it was answered below",
        file: PASSES,
        find: "answers: u32::from(memory.was_answered_in(visible.pass)),",
        replace: "answers: 0,",
        test: "rules::r4_a_scope_that_is_polled_twice_in_a_pass_knows_that_it_was_answered",
    },
    Bug {
        what: "5: a clean-up is given the request that it answers",
        file: RECORD,
        find: "if fresh && level.answers > 0 {",
        replace: "if false && fresh && level.answers > 0 {",
        test: "rules::r5_a_clean_up_is_not_given_the_request_that_it_answers",
    },
    Bug {
        what: "5: a clean-up is given it on the second poll in the pass",
        file: RECORD,
        find: "let closed = level.closed || memory.was_closed_in(visible.pass);",
        replace: "let closed = level.closed || (fresh && level.answers > 0);",
        test: "rules::r4_a_scope_that_is_polled_twice_in_a_pass_knows_that_it_was_answered",
    },
    Bug {
        what: "5: a fired timeout in a clean-up lets it in",
        file: TIMEOUT,
        find: "let _closed = Closed::begin_unless_takeable(record, this.memory, fresh);",
        replace: "",
        test: "rules::r5_a_timeout_in_a_clean_up_stays_closed_after_it_has_fired",
    },
    Bug {
        what: "6: a request that was answered comes again",
        file: RUN,
        find: "Below::Answered => super::note_answer(pointer, request),",
        replace: "Below::Answered => header.put_off(request),",
        test: "rules::r6_a_request_that_was_answered_is_used_up",
    },
    Bug {
        what: "6: a request that was put off is forgotten",
        file: RUN,
        find: "Below::Held | Below::OnItsWay => header.put_off(request),",
        replace: "Below::Held | Below::OnItsWay => {}",
        test: "rules::r7_a_request_that_is_put_off_waits_without_a_poll",
    },
    Bug {
        what: "7: a request that is put off is tried again at once",
        file: RUN,
        find: "Below::Held | Below::OnItsWay => header.put_off(request),",
        replace: "Below::Held | Below::OnItsWay => { header.put_off(request); waker.wake_by_ref(); }",
        test: "rules::r7_a_request_that_is_put_off_waits_without_a_poll",
    },
    Bug {
        what: "8: several requests before the delivery have several ids",
        file: COLD,
        find: "let id = *requests.due.get_or_insert_with(RequestId::new);",
        replace: "let id = *requests.due.insert(RequestId::new());",
        test: "rules::r8_several_requests_before_delivery_are_one_delivery_and_several_counts",
    },
    Bug {
        what: "9: a task that was never polled is polled to be cancelled",
        file: RUN,
        find: "Some(request) if outcome.first => {",
        replace: "Some(request) if outcome.first && false => {",
        test: "rules::r9_before_the_first_poll_not_a_line_runs",
    },
    Bug {
        what: "10: a raise that is taken does not answer the pass",
        file: RECORD,
        find: "        self.end_raise(raise);
        self.answer();",
        replace: "        self.end_raise(raise);",
        test: "raises::r10_a_raise_answers_the_pass_in_which_it_is_taken",
    },
    Bug {
        what: "10: a raise that is dropped stays",
        file: RAISE,
        find: "record.withdraw(serial);",
        replace: "let _ = (record, serial);",
        test: "raises::r10_a_raise_that_loses_a_select_is_withdrawn",
    },
    Bug {
        what: "10: a timeout takes a raise that is not its own",
        file: TIMEOUT,
        find: "if record.another_is_raised_since(marks, request) {",
        replace: "if false && record.another_is_raised_since(marks, request) {",
        test: "timeouts::r12_a_request_from_outside_that_is_raised_again_is_no_timeout",
    },
    Bug {
        what: "11: a raise in a pass is not taken at once",
        file: SCOPE,
        find: "match (record.raised_since(marks, this.holds), pass) {",
        replace: "match (record.raised_since(marks, this.holds).filter(|_| pass.is_none()), pass) {",
        test: "raises::r11_a_raise_ends_a_sibling_in_the_middle_of_its_clean_up",
    },
    Bug {
        what: "12: a timeout does not let a request from outside go first",
        file: PASSES,
        find: "poll.own = !record.goes_first(memory, fresh);",
        replace: "poll.own = true;",
        test: "timeouts::r12_a_request_from_outside_and_the_end_of_the_time_are_one_interruption",
    },
    Bug {
        what: "12: a timeout injects its request again",
        file: TIMEOUT,
        find: "if below == Below::Answered && *this.progress",
        replace: "if false && below == Below::Answered && *this.progress",
        test: "timeouts::r12_what_answers_may_take_its_time_and_give_a_value",
    },
    Bug {
        what: "12: a timeout that becomes an error swallows a request from outside",
        file: TIMEOUT,
        find: "record.end_raise(raise);",
        replace: "record.take_raise(raise);",
        test: "timeouts::r12_a_timeout_that_becomes_an_error_does_not_swallow_a_request_from_outside",
    },
    Bug {
        what: "13: an awaited task is not told",
        file: JOIN,
        find: "let _ = run::cancel(self.header, Some(record.origin(request)));",
        replace: "",
        test: "tasks::r13_a_child_that_finishes_anyway_delivers_its_value",
    },
    Bug {
        what: "13: the awaiter is not told that it was its request",
        file: JOIN,
        find: "let _ = run::cancel(self.header, Some(record.origin(request)));",
        replace: "let _ = run::cancel(self.header, None);",
        test: "tasks::r13_the_awaited_task_is_cancelled_and_waited_for",
    },
    Bug {
        what: "13: a circle of awaits passes a request around for ever",
        file: COLD,
        find: "if origin.is_some_and(|origin| requests.passed_on",
        replace: "if false && origin.is_some_and(|origin| requests.passed_on",
        test: "tasks::tasks_that_awaited_each_other_passed_one_request_around_for_ever",
    },
    Bug {
        what: "14: those whom a combinator would not poll are not woken",
        file: WAKERS,
        find: "run_caught(\"a waker\", || waker.wake_by_ref());",
        replace: "",
        test: "combinators::r14_join_all_of_forty",
    },
    Bug {
        what: "14: a thread that is put aside while it wakes somebody is not waited for",
        file: WAKERS,
        find: "let again = timer.is_some();",
        replace: "let again = false && timer.is_some();",
        test: "combinators::a_set_that_stops_half_way_is_asked_again",
    },
    Bug {
        what: "14: a protected future that a combinator does not poll is lost",
        file: RECORD,
        find: "Below::Nothing if protected => Below::Held,",
        replace: "Below::Nothing if false && protected => Below::Held,",
        test: "combinators::a_protected_future_in_a_set_is_not_lost_when_the_set_is_polled_for_nothing",
    },
    Bug {
        what: "6: a protected future is remembered when it has ended",
        file: PROTECT,
        find: "this.hold.end();",
        replace: "",
        test: "rules::r7_a_protected_future_that_is_done_and_kept_puts_nothing_off",
    },
    Bug {
        what: "14: a request of another timeout makes a waiter forget the one that has not reached it",
        file: WAKERS,
        find: "wakers.calls.push(Call { number, request });",
        replace: "wakers.calls.clear();
            wakers.calls.push(Call { number, request });",
        test: "combinators::a_timeout_made_others_forget_the_request_of_another_that_had_not_reached_them",
    },
    Bug {
        what: "14: who is polled inside something protected has heard the request",
        file: WAKERS,
        find: "if door == Door::ShutOut {",
        replace: "if false {",
        test: "combinators::who_was_polled_inside_something_protected_was_not_polled_again_for_the_request",
    },
    Bug {
        what: "14: who comes inside something protected is not called after it",
        file: WAKERS,
        find: "record.shut_out_from(), cx.waker());",
        replace: "record.shut_out_from().filter(|_| false), cx.waker());",
        test: "combinators::who_begins_to_wait_inside_something_protected_is_polled_for_the_request_after_it",
    },
    Bug {
        what: "14: what was protected gets a request that a sibling has answered",
        file: WAKERS,
        find: "if !self.some_shut_out.load(Relaxed) {
            return;",
        replace: "if true {
            return;",
        test: "combinators::what_was_protected_when_a_sibling_answered_does_not_get_the_request_later_in_a_set_either",
    },
    Bug {
        what: "11: a raise does not wait for what is protected and was not polled",
        file: RECORD,
        find: "if !self.is_protected_since(marks) && !holds.any() {",
        replace: "if !self.is_protected_since(marks) {",
        test: "raises::a_raise_ended_what_was_protected_in_a_set_that_did_not_poll_it",
    },
    Bug {
        what: "11: only what is protected in a pass is remembered",
        file: RECORD,
        find: "if hidden || self.is_in_pass() {",
        replace: "if self.is_in_pass() {",
        test: "raises::a_raise_to_a_scope_ended_what_was_protected_in_a_set",
    },
    Bug {
        what: "18: a request that is taken back in its pass is delivered",
        file: RECORD,
        find: "self.settle_own(Fate::Void);",
        replace: "",
        test: "rules::r18_a_request_that_was_taken_back_in_its_pass_was_delivered",
    },
    Bug {
        what: "18: a request that was answered is taken back all the same",
        file: RECORD,
        find: "self.settle_own(Fate::Answered);",
        replace: "",
        test: "rules::r18_a_request_that_was_answered_is_not_withdrawn",
    },
    Bug {
        what: "18: a request that was put off and taken back is delivered to a set",
        file: COLD,
        find: "if let Some(list) = cold.foreign.lock().as_ref() {",
        replace: "if let Some(list) = cold.foreign.lock().as_ref().filter(|_| false) {",
        test: "rules::r18_a_request_that_was_put_off_and_taken_back_was_delivered_to_a_set",
    },
    Bug {
        what: "15: what was closed stays closed",
        file: PASSES,
        find: "self.record.level.set(Level { closed, shut_out, ..level });",
        replace: "let _ = (closed, shut_out, level);",
        test: "unwinding::r15_a_panic_in_a_protected_future_leaves_what_comes_after_open",
    },
    Bug {
        what: "15: what is isolated is seen",
        file: PROTECT,
        find: "let _hidden = context::hide_record();",
        replace: "",
        test: "unwinding::r15_what_is_isolated_sees_no_request",
    },
    Bug {
        what: "16: a panic in the destructor is hidden by the cancellation",
        file: CELL,
        find: "Err(error) if error.is_panic() => {
                report_panic",
        replace: "Err(_) => {
                report_panic",
        test: "unwinding::r16_without_a_scope_the_destructor_of_the_future_says_panicked",
    },
    Bug {
        what: "18: the last one taken back leaves the request",
        file: COLD,
        find: "if left == 0
            && let Some(request)",
        replace: "if false
            && let Some(request)",
        test: "rules::r18_requests_are_counted_and_can_be_taken_back",
    },
    Bug {
        what: "18: fired timeouts do not count",
        file: CANCEL,
        find: "requests + record.fired()",
        replace: "requests",
        test: "timeouts::r12_what_answers_may_take_its_time_and_give_a_value",
    },
    Bug {
        what: "19: no poll ever ends because its budget is used up",
        file: RECORD,
        find: "let some = self.budget.get() > 0 || self.task.is_none();",
        replace: "let some = true;",
        test: "rules::r19_what_waits_for_its_turn_only_is_pending_too",
    },
    Bug {
        what: "19: an await that found no budget is fresh once more",
        file: JOIN,
        find: "let fresh = self.await_.is_none() && ",
        replace: "let fresh = ",
        test: "rules::r19_an_await_that_was_polled_without_budget_is_open",
    },
];
