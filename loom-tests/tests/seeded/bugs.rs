//! The table of bugs.

pub(crate) struct Bug {
    /// What is wrong then.
    pub(crate) what: &'static str,
    pub(crate) file: &'static str,
    /// Found exactly once in the file.
    pub(crate) find: &'static str,
    pub(crate) replace: &'static str,
    /// The model that must fail.
    pub(crate) test: &'static str,
    pub(crate) model: &'static str,
}

const STATE: &str = "runtime/src/task/state.rs";
const RUN: &str = "runtime/src/task/run.rs";
const JOIN: &str = "runtime/src/task/join.rs";
const COLD: &str = "runtime/src/task/cold.rs";
const WAKERS: &str = "runtime/src/cancel/wakers.rs";
const PROMISE: &str = "executors/src/promise/mod.rs";
const CELL: &str = "executors/src/promise/cell.rs";
const QUEUE: &str = "executors/src/queue.rs";
const SEVERAL: &str = "executors/src/jobs/several.rs";
const ROLL: &str = "executors/src/exit/roll.rs";
const RING: &str = "executors/src/process/transport/ring.rs";
const IDLE: &str = "runtime/src/scheduler/idle.rs";
/// The callers of `idle.rs` are copies.
const CALLERS: &str = "loom-tests/tests/park.rs";
const LIFE: &str = "runtime/src/runtime/life.rs";
const ENDING: &str = "runtime/src/scheduler/ending.rs";
/// As `CALLERS`, of `ending.rs`.
const ENDING_CALLERS: &str = "loom-tests/tests/ending.rs";
const MAILBOX: &str = "runtime/src/scheduler/mailbox.rs";
const SOURCE: &str = "runtime/src/reactor/source.rs";
const SLOT: &str = "runtime/src/scheduler/slot.rs";
const REGISTRY: &str = "runtime/src/scheduler/registry.rs";
const STEWARD: &str = "runtime/src/scheduler/steward.rs";
const BELL: &str = "runtime/src/scheduler/bell.rs";
/// The callers of `bell.rs`, and the life of a spare worker, are copies.
const SPARE: &str = "loom-tests/tests/spare.rs";
const ONESHOT: &str = "runtime/src/sync/oneshot/cell.rs";
const ONESHOT_RECEIVER: &str = "runtime/src/sync/oneshot/receiver.rs";
const PERMITS: &str = "runtime/src/sync/permits/state.rs";
const PERMITS_ROOM: &str = "runtime/src/sync/permits/mod.rs";
const ACQUIRE: &str = "runtime/src/sync/permits/acquire.rs";
const EVENT: &str = "runtime/src/sync/event.rs";
const MPSC: &str = "runtime/src/sync/mpsc/queue.rs";
const MPSC_RECEIVER: &str = "runtime/src/sync/mpsc/receiver.rs";
const SHORT_LOCK: &str = "runtime/src/short_lock.rs";
const TIMERS: &str = "runtime/src/time/timers.rs";
const NODES: &str = "runtime/src/time/nodes.rs";
const WHEEL: &str = "runtime/src/time/wheel.rs";

pub(crate) const BUGS: &[Bug] = &[
    Bug {
        what: "a wake by reference during a poll is not noted",
        file: STATE,
        find: "let next = if submit { (now | SCHEDULED) + REF } else { now | SCHEDULED };",
        replace: "let next = if submit { (now | SCHEDULED) + REF } else { now };",
        test: "task",
        model: "a_wake_by_reference_and_a_wake_by_value_are_both_seen",
    },
    Bug {
        what: "a wake by value during a poll is not noted",
        file: STATE,
        find: "((now | SCHEDULED) - REF, WakeOutcome::Nothing)",
        replace: "(now - REF, WakeOutcome::Nothing)",
        test: "task",
        model: "a_task_that_is_woken_while_it_runs_runs_again",
    },
    Bug {
        what: "a poll need not see what was written before the wake",
        file: STATE,
        find: "fetch_add(RUNNING - SCHEDULED, Ordering::AcqRel)",
        replace: "fetch_add(RUNNING - SCHEDULED, Ordering::Release)",
        test: "task",
        model: "a_wake_by_reference_and_a_wake_by_value_are_both_seen",
    },
    Bug {
        what: "a poll need not see what the poll before it left",
        file: STATE,
        find: "(((now & !RUNNING) | POLLED) - REF, IdleOutcome::Idle)
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {",
        replace: "(((now & !RUNNING) | POLLED) - REF, IdleOutcome::Idle)
            };
            match self.0.compare_exchange_weak(now, next, Ordering::Acquire, Ordering::Relaxed) {",
        test: "task",
        model: "a_task_that_is_woken_while_it_runs_runs_again",
    },
    Bug {
        what: "a task that nobody can wake goes idle",
        file: STATE,
        find: "} else if refs(now) == 1 {\n                // Only",
        replace: "} else if now == 1 {\n                // Only",
        test: "task",
        model: "a_task_that_nobody_can_wake_is_dropped_once",
    },
    Bug {
        what: "the output is not published with COMPLETE",
        file: STATE,
        find: "fetch_add(how - RUNNING, Ordering::AcqRel)",
        replace: "fetch_add(how - RUNNING, Ordering::Acquire)",
        test: "task",
        model: "the_one_who_awaits_is_woken",
    },
    Bug {
        what: "a handle writes the waker that the completing side may be taking",
        file: JOIN,
        find: "if offered && !header.state.take_join_waker_back() {",
        replace: "if false && !header.state.take_join_waker_back() {",
        test: "task",
        model: "a_changed_waker_and_the_end_of_the_handle_meet_the_completion",
    },
    Bug {
        what: "both sides drop the join waker",
        file: STATE,
        find: "drop_waker: now & JOIN_WAKER == 0 }",
        replace: "drop_waker: true }",
        test: "task",
        model: "a_changed_waker_and_the_end_of_the_handle_meet_the_completion",
    },
    Bug {
        what: "the handle does not look whether the task was complete before its waker was there",
        file: JOIN,
        find: "if header.state.offer_join_waker() {",
        replace: "if header.state.offer_join_waker() || true {",
        test: "task",
        model: "the_one_who_awaits_is_woken",
    },
    Bug {
        what: "a request to cancel queues a task that is queued",
        file: STATE,
        find: "let submit = now & (SCHEDULED | RUNNING) == 0;
            let next = now | NEW | SCHEDULED;",
        replace: "let submit = now & RUNNING == 0;
            let next = now | NEW | SCHEDULED;",
        test: "task",
        model: "a_request_to_cancel_and_a_wake_queue_a_task_once",
    },
    Bug {
        what: "a request that was withdrawn is delivered",
        file: COLD,
        find: "if !self.state.begin_pass() {",
        replace: "if !self.state.begin_pass() && false {",
        test: "task",
        model: "requests::a_request_that_is_taken_back_is_delivered_or_not_but_leaves_nothing",
    },
    Bug {
        what: "a request that was delivered is still due",
        file: COLD,
        find: "and_then(|requests| requests.due.take());",
        replace: "and_then(|requests| requests.due);",
        test: "task",
        model: "requests::each_request_is_delivered_once_under_its_id",
    },
    Bug {
        what: "an awaiter does not note what it passes on",
        file: JOIN,
        find: "state.passed_on = Some(request);",
        replace: "let _ = request;",
        test: "task",
        model: "requests::an_awaiter_gets_the_value_or_learns_that_it_passed_the_request_on",
    },
    Bug {
        what: "a hidden waiter that goes leaves its waker behind",
        file: WAKERS,
        find: "fn drop(&mut self) {
        self.forget();",
        replace: "fn drop(&mut self) {
        std::mem::forget(self.0.take());",
        test: "task",
        model: "requests::a_hidden_waiter_leaves_the_list_while_it_is_woken",
    },
    Bug {
        what: "shutdown takes a task that is running",
        file: STATE,
        find: "let idle = now & (SCHEDULED | RUNNING) == 0;",
        replace: "let idle = now & SCHEDULED == 0;",
        test: "task",
        model: "shutdown_drops_each_future_once",
    },
    Bug {
        what: "the count of a live task is zero for a moment",
        file: STATE,
        find: "(now | SCHEDULED | NEW | ORPHAN, DropOutcome::SubmitOrphan)",
        replace: "let before = self.0.fetch_sub(REF, Ordering::AcqRel);
                self.0.store(before | SCHEDULED | NEW | ORPHAN, Ordering::Relaxed);
                return DropOutcome::SubmitOrphan;",
        test: "task",
        model: "shutdown_takes_a_task_that_is_losing_its_last_waker",
    },
    Bug {
        what: "memory is freed before the others are done with it",
        file: STATE,
        find: "(now | SCHEDULED | NEW | ORPHAN, DropOutcome::SubmitOrphan)
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {",
        replace: "(now | SCHEDULED | NEW | ORPHAN, DropOutcome::SubmitOrphan)
            };
            match self.0.compare_exchange_weak(now, next, Ordering::Relaxed, Ordering::Relaxed) {",
        test: "task",
        model: "a_changed_waker_and_the_end_of_the_handle_meet_the_completion",
    },
    Bug {
        what: "a wake from outside has no count of the runtime",
        file: RUN,
        find: "            Arc::increment_strong_count(shared);
            Arc::from_raw(shared)",
        replace: "            std::mem::ManuallyDrop::new(Arc::from_raw(shared))",
        test: "task",
        model: "a_wake_from_outside_keeps_the_runtime",
    },
    Bug {
        what: "a job that was started can be cancelled as if it waited",
        file: CELL,
        find: "            inner.state = State::Running;\n",
        replace: "",
        test: "promise",
        model: "a_job_is_started_or_cancelled",
    },
    Bug {
        what: "a job is run that was cancelled meanwhile",
        file: PROMISE,
        find: "            State::Pending | State::Running => {\n",
        replace: "            State::Pending | State::Running | State::Settling => {\n",
        test: "promise",
        model: "a_job_is_run_or_cancelled",
    },
    Bug {
        what: "an outcome is put in while another one is being published",
        file: CELL,
        find: "matches!(inner.state, State::Settling | State::Done | State::Lent)",
        replace: "matches!(inner.state, State::Done | State::Lent)",
        test: "promise",
        model: "one_of_two_outcomes_wins",
    },
    Bug {
        what: "who awaits several jobs looks, and leaves a waker later",
        file: SEVERAL,
        find: "            (false, numbers.waiter.replace(waker))",
        replace: "            drop(numbers);
            numbers = self.board.0.lock();
            (false, numbers.waiter.replace(waker))",
        test: "promise",
        model: "of_several_jobs_each_one_comes_once_when_it_is_done",
    },
    Bug {
        what: "a job that was done before anybody watched it is not seen",
        file: SEVERAL,
        find: "if job.cell().poll_done(&mark).is_ready() {",
        replace: "if false && job.cell().poll_done(&mark).is_ready() {",
        test: "promise",
        model: "of_several_jobs_each_one_comes_once_when_it_is_done",
    },
    Bug {
        what: "a late callback leaves the job done, without its outcome",
        file: CELL,
        find: "        inner.state = State::Lent;\n",
        replace: "",
        test: "promise",
        model: "a_late_callback_does_not_take_the_outcome",
    },
    Bug {
        what: "a job is not done while a late callback has its outcome",
        file: CELL,
        find: "        matches!(self.inner.lock().state, State::Done | State::Lent)",
        replace: "        matches!(self.inner.lock().state, State::Done)",
        test: "promise",
        model: "a_late_callback_does_not_take_the_outcome",
    },
    Bug {
        what: "the other waker is put into the cell after the lock was given back",
        file: CELL,
        find: "        let previous = inner.waiter.replace(waker);",
        replace: "        drop(inner);
        let mut inner = self.inner.lock();
        let previous = inner.waiter.replace(waker);",
        test: "promise",
        model: "the_one_who_awaits_is_woken",
    },
    Bug {
        what: "the waiter is woken under the lock",
        file: CELL,
        find: "        let heeding = std::mem::take(&mut inner.heeding);
        drop(inner);
",
        replace: "        let heeding = std::mem::take(&mut inner.heeding);
",
        test: "promise",
        model: "wakers_and_callbacks_may_ask_the_job",
    },
    Bug {
        what: "the outcome is published before the callbacks that came meanwhile",
        file: CELL,
        find: "if let Some(callback) = inner.callbacks.pop_front() {",
        replace: "if inner.callbacks.len() > 1
            && let Some(callback) = inner.callbacks.pop_front()
        {",
        test: "promise",
        model: "a_job_is_started_or_cancelled",
    },
    Bug {
        what: "who takes a job over whose callback exits tells nobody",
        file: CELL,
        find: "        self.0.publish(Err(error));",
        replace: "        self.0.inner.lock().outcome = Some(Err(error));",
        test: "promise",
        model: "a_job_whose_callback_exits_is_done",
    },
    Bug {
        what: "a push for one loop has no fence (F1)",
        file: IDLE,
        find: "        // F1.\n        fence(Ordering::SeqCst);\n        self.claim(index)",
        replace: "        self.claim(index)",
        test: "park",
        model: "a_message_wakes_the_sleeper",
    },
    Bug {
        what: "a push for anybody has no fence (F1)",
        file: IDLE,
        find: "        // F1.\n        fence(Ordering::SeqCst);\n        if self.searching",
        replace: "        if self.searching",
        test: "park",
        model: "a_task_for_anybody_reaches_the_last_searcher",
    },
    Bug {
        what: "parking has no fence (F2)",
        file: IDLE,
        find: "        // F2.\n        fence(Ordering::SeqCst);\n",
        replace: "",
        test: "park",
        model: "a_message_wakes_the_sleeper",
    },
    Bug {
        what: "the end of a search has no fence (F3)",
        file: IDLE,
        find: "self.searching.store(false, Ordering::Relaxed);
        // F3, pairs with F1: either the pusher sees that nobody searches, or we see the work.
        fence(Ordering::SeqCst);",
        replace: "self.searching.store(false, Ordering::Relaxed);",
        test: "park",
        model: "a_searcher_that_found_something_passes_the_search_on",
    },
    Bug {
        what: "a loop that was woken looks without a fence (F4)",
        file: IDLE,
        find: "            // F4.
            fence(Ordering::SeqCst);
",
        replace: "",
        test: "park",
        model: "a_task_that_was_left_to_who_is_coming_does_not_wait_for_it",
    },
    Bug {
        what: "who takes a task without having searched leaves the next one lying",
        file: CALLERS,
        find: "if self.take_and_pass_on() || self.search() {",
        replace: "if self.injector.take() || self.search() {",
        test: "park",
        model: "a_searcher_that_found_something_passes_the_search_on",
    },
    Bug {
        what: "a notification is spent on a loop that is busy with something else",
        file: CALLERS,
        find: "if notified && own &&",
        replace: "if false && notified && own &&",
        test: "park",
        model: "a_notification_that_is_of_no_use_is_passed_on",
    },
    Bug {
        what: "the end of the last task has no fence",
        file: CALLERS,
        find: "                fence(Ordering::SeqCst);\n                if runtime.phase",
        replace: "                if runtime.phase",
        test: "park",
        model: "the_last_task_wakes_who_closes_the_runtime",
    },
    Bug {
        what: "two who wake both win the sleeper",
        file: IDLE,
        find: ".compare_exchange(PARKED, NOTIFIED, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();",
        replace: ".swap(NOTIFIED, Ordering::AcqRel) <= NOTIFIED;",
        test: "park",
        model: "two_messages_do_not_pay_for_one_sleeper",
    },
    Bug {
        what: "who wakes by itself still counts as asleep",
        file: IDLE,
        find: "if !notified && index < self.loops {",
        replace: "if !notified && index > 9 {",
        test: "park",
        model: "a_timer_meets_two_messages",
    },
    Bug {
        what: "the mark of the mailbox is cleared after the lock was given back",
        file: MAILBOX,
        find: "        let mut messages = self.messages.lock();
        if let Some(messages) = &mut *messages {
            std::mem::swap",
        replace: "        if let Some(messages) = &mut *self.messages.lock() {
            std::mem::swap",
        test: "mailbox",
        model: "every_message_arrives_once",
    },
    Bug {
        what: "the mark of the mailbox is set before the lock is taken",
        file: MAILBOX,
        find: "        let mut messages = self.messages.lock();
        let Some(messages) = &mut *messages else { return Err(message) };
        messages.push(message);
        // Release: pairs with the Acquire in `is_empty`.
        self.some.store(true, Ordering::Release);",
        replace: "        self.some.store(true, Ordering::Release);
        let mut messages = self.messages.lock();
        let Some(messages) = &mut *messages else { return Err(message) };
        messages.push(message);",
        test: "mailbox",
        model: "every_message_arrives_once",
    },
    Bug {
        what: "readiness is cleared whatever was delivered since",
        file: SOURCE,
        find: "self.word.compare_exchange(seen.word, next, Ordering::AcqRel, Ordering::Relaxed);",
        replace: "(next, self.word.fetch_and(!direction.open().0, Ordering::AcqRel));",
        test: "source",
        model: "every_edge_reaches_the_reader",
    },
    Bug {
        what: "a delivery does not advance the tick",
        file: SOURCE,
        find: "(now & !BITS).wrapping_add(TICK)",
        replace: "(now & !BITS)",
        test: "source",
        model: "every_edge_reaches_the_reader",
    },
    Bug {
        what: "who waits does not look again once its waker is in the list",
        file: SOURCE,
        find: "self.ask(direction, others, gone),\n        }\n        self.ready(direction)",
        replace: "self.ask(direction, others, gone),\n        }\n        None",
        test: "source",
        model: "every_edge_reaches_the_reader",
    },
    Bug {
        what: "who ends a task looks at the phase before the task has left its registry",
        file: ENDING_CALLERS,
        find: "        let emptied = self.registries[task.home].with(|registry| registry.remove(header));
        if emptied && self.ending.phase() != Phase::Open {",
        replace: "        let over = self.ending.phase() != Phase::Open;
        let emptied = self.registries[task.home].with(|registry| registry.remove(header));
        if emptied && over {",
        test: "ending",
        model: "whoever_waits_for_the_last_task_is_woken",
    },
    Bug {
        what: "a thread outside does not look at the phase again",
        file: ENDING_CALLERS,
        find: "        if self.ending.phase() != Phase::Open {
            self.take_out(&task);
            return false;
        }
",
        replace: "",
        test: "ending",
        model: "a_task_from_outside_is_among_those_that_are_cancelled_or_is_refused",
    },
    Bug {
        what: "tasks are counted one registry after the other",
        file: REGISTRY,
        find: "    first.with(|registry| registry.count() + count_all(registries))",
        replace: "    first.with(|registry| registry.count()) + count_all(registries)",
        test: "ending",
        model: "a_task_that_makes_another_one_elsewhere_does_not_look_like_the_last",
    },
    Bug {
        what: "a closed registry takes tasks in",
        file: REGISTRY,
        find: "        if self.closed {
            return false;
        }
",
        replace: "",
        test: "ending",
        model: "a_task_that_is_made_while_the_runtime_ends_is_dropped_or_refused",
    },
    Bug {
        what: "who leaves last does not see what the others have done",
        file: ENDING,
        find: "self.owners.fetch_sub(1, Ordering::AcqRel) == 1",
        replace: "self.owners.fetch_sub(1, Ordering::Relaxed) == 1",
        test: "ending",
        model: "the_last_to_leave_has_everything_to_itself",
    },
    Bug {
        what: "nobody leaves last",
        file: ENDING,
        find: "self.owners.fetch_sub(1, Ordering::AcqRel) == 1",
        replace: "self.owners.fetch_sub(1, Ordering::AcqRel) == 0",
        test: "task",
        model: "whoever_leaves_last_drops_what_is_left_while_a_wake_comes",
    },
    Bug {
        what: "two take the same task out of the slot",
        file: SLOT,
        find: "let task = self.0.swap(std::ptr::null_mut(), Ordering::Acquire);",
        replace: "let task = self.0.load(Ordering::Acquire);
        self.0.store(std::ptr::null_mut(), Ordering::Relaxed);",
        test: "slot",
        model: "two_thieves_do_not_take_the_same_task",
    },
    Bug {
        what: "a task that a thief takes out of the slot was not published",
        file: SLOT,
        find: "self.0.store(task, Ordering::Release);",
        replace: "self.0.store(task, Ordering::Relaxed);",
        test: "slot",
        model: "a_task_is_run_by_the_owner_or_a_thief",
    },
    Bug {
        what: "a task that a thief takes instead of the one before was not published",
        file: SLOT,
        find: "self.0.swap(task, Ordering::Release);",
        replace: "self.0.swap(task, Ordering::Relaxed);",
        test: "slot",
        model: "a_task_is_run_by_the_owner_or_a_thief",
    },
    Bug {
        what: "a thief takes a task that it does not see",
        file: SLOT,
        find: "self.0.swap(std::ptr::null_mut(), Ordering::Acquire);",
        replace: "self.0.swap(std::ptr::null_mut(), Ordering::Relaxed);",
        test: "slot",
        model: "a_task_is_run_by_the_owner_or_a_thief",
    },
    Bug {
        what: "the owner overwrites the task in its slot",
        file: SLOT,
        find: "let before = self.0.swap(task, Ordering::Release);",
        replace: "let before = self.0.load(Ordering::Acquire);
        self.0.store(task, Ordering::Release);",
        test: "slot",
        model: "a_task_is_run_by_the_owner_or_a_thief",
    },
    Bug {
        what: "there are two stewards",
        file: STEWARD,
        find: ".compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()",
        replace: ".swap(true, Ordering::Acquire)
            .eq(&self.0.load(Ordering::Relaxed).eq(&false))",
        test: "steward",
        model: "there_is_one_steward_and_the_owner_may_come_back",
    },
    Bug {
        what: "a steward does not see what the one before has done",
        file: STEWARD,
        find: "self.0.0.store(false, Ordering::Release);",
        replace: "self.0.0.store(false, Ordering::Relaxed);",
        test: "steward",
        model: "there_is_one_steward_and_the_owner_may_come_back",
    },
    Bug {
        what: "a steward keeps the role",
        file: STEWARD,
        find: "        self.0.0.store(false, Ordering::Release);\n",
        replace: "",
        test: "steward",
        model: "there_is_one_steward_and_the_owner_may_come_back",
    },
    Bug {
        what: "the watch thread goes to sleep without a fence (W1)",
        file: BELL,
        find: "        // W1.\n        fence(Ordering::SeqCst);\n",
        replace: "",
        test: "spare",
        model: "a_sleeper_that_wakes_up_rings_for_the_watch",
    },
    Bug {
        what: "a sleeper that wakes up looks for the watch thread without a fence (W2)",
        file: BELL,
        find: "        // W2.\n        fence(Ordering::SeqCst);\n",
        replace: "",
        test: "spare",
        model: "of_two_that_wake_up_at_once_one_rings",
    },
    Bug {
        what: "the watch thread goes abroad without a fence (W3)",
        file: BELL,
        find: "        // W3.\n        fence(Ordering::SeqCst);\n",
        replace: "",
        test: "spare",
        model: "the_watch_is_sent_home_when_the_main_loop_is_driven",
    },
    Bug {
        what: "it is not looked for abroad with a fence (W4)",
        file: BELL,
        find: "        // W4.\n        fence(Ordering::SeqCst);\n",
        replace: "",
        test: "spare",
        model: "the_watch_is_sent_home_when_the_main_loop_is_driven",
    },
    Bug {
        what: "the main loop sleeps before the watch thread has left",
        file: BELL,
        find: "self.abroad.load(Ordering::Acquire) == ABROAD_FOR_LONG",
        replace: "self.abroad.load(Ordering::Acquire) > ABROAD_FOR_LONG",
        test: "spare",
        model: "the_watch_is_sent_home_when_the_main_loop_is_driven",
    },
    Bug {
        what: "a ring that came before is not heard abroad",
        file: BELL,
        find: "!self.rung.swap(false, Ordering::Acquire) && idle.is_absent(0)",
        replace: "idle.is_absent(0)",
        test: "spare",
        model: "a_ring_is_heard_abroad",
    },
    Bug {
        what: "a ring does not say why",
        file: BELL,
        find: "self.rung.store(true, Ordering::Release);",
        replace: "self.rung.store(true, Ordering::Relaxed);",
        test: "spare",
        model: "a_ring_is_heard_abroad",
    },
    Bug {
        what: "a spare worker is woken before it is said why",
        file: SPARE,
        find: "            self.called.store(true, Ordering::Release);
            if self.idle.notify(seat) {
                self.reactors[seat].write();
            }",
        replace: "            if self.idle.notify(seat) {
                self.reactors[seat].write();
            }
            self.called.store(true, Ordering::Release);",
        test: "spare",
        model: "a_call_reaches_a_spare_worker_that_goes_to_rest",
    },
    Bug {
        what: "a spare worker goes to rest though it was called",
        file: SPARE,
        find: "let called = self.called.load(Ordering::Acquire);",
        replace: "let called = false;",
        test: "spare",
        model: "a_call_reaches_a_spare_worker_that_goes_to_rest",
    },
    Bug {
        what: "a spare worker counts as a sleeper",
        file: IDLE,
        find: "        if index < self.loops {
            self.parked.fetch_add(1, Ordering::Relaxed);",
        replace: "        if index < 9 {
            self.parked.fetch_add(1, Ordering::Relaxed);",
        test: "spare",
        model: "a_call_that_meets_the_end_of_a_spare_worker_is_not_taken_for_help",
    },
    Bug {
        what: "a spare worker gives its tasks away and tells nobody",
        file: SPARE,
        find: "        self.injected.fetch_add(1, Ordering::Release);
        if let Some(index) = self.idle.notify_any(|_| true) {",
        replace: "        self.injected.fetch_add(1, Ordering::Release);
        if false && let Some(index) = self.idle.notify_any(|_| true) {",
        test: "spare",
        model: "what_a_spare_worker_gives_away_is_found",
    },
    Bug {
        what: "a spare worker comes after everybody has left",
        file: ENDING,
        find: "(owners > 0).then_some(owners + 1)",
        replace: "Some(owners + 1)",
        test: "ending",
        model: "a_spare_worker_comes_and_goes_while_everybody_leaves",
    },
    Bug {
        what: "who leaves last does not see what a spare worker that retired has done",
        file: ENDING,
        find: "self.owners.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less)",
        replace: "self.owners.fetch_update(Ordering::Acquire, Ordering::Acquire, one_less)",
        test: "ending",
        model: "a_spare_worker_comes_and_goes_while_everybody_leaves",
    },
    Bug {
        what: "who finds that a thread has begun takes it for done",
        file: LIFE,
        find: "            None => false,",
        replace: "            None => true,",
        test: "ending",
        model: "a_thread_that_has_not_begun_is_not_waited_for",
    },
    Bug {
        what: "a thread that has begun is not waited for",
        file: ENDING_CALLERS,
        find: "        if !here {
            assert!(thread.join().unwrap());
        }
",
        replace: "",
        test: "ending",
        model: "a_thread_that_has_not_begun_is_not_waited_for",
    },
    Bug {
        what: "a side does not look whether the channel was settled before its waker was there",
        file: ONESHOT,
        find: "let Some(outcome) = Outcome::of(state) else { return Poll::Pending };",
        replace: "let Some(outcome) = Outcome::of(state & !OUTCOME) else { return Poll::Pending };",
        test: "oneshot",
        model: "the_value_arrives",
    },
    Bug {
        what: "who frees a channel does not see that the other side is done with it",
        file: ONESHOT,
        find: "state.load(Ordering::Acquire) & other != 0",
        replace: "state.load(Ordering::Relaxed) & other != 0",
        test: "oneshot",
        model: "the_last_one_to_poll_is_woken",
    },
    Bug {
        what: "a side exchanges its waker while the other may take it",
        file: ONESHOT,
        find: "let state = self.state.fetch_and(!side.waits(), Ordering::Acquire);",
        replace: "let state = state;",
        test: "oneshot",
        model: "the_last_one_to_poll_is_woken",
    },
    Bug {
        what: "the value is not published with the outcome",
        file: ONESHOT,
        find: "compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed)",
        replace: "compare_exchange_weak(now, next, Ordering::Acquire, Ordering::Relaxed)",
        test: "oneshot",
        model: "the_value_arrives",
    },
    Bug {
        what: "who leaves does not hand its promise on",
        file: ACQUIRE,
        find: "        let next = permits.promise_to_first(&mut queue);
        drop(queue);",
        replace: "        let next = None;
        drop(queue);",
        test: "permits",
        model: "who_leaves_hands_the_promise_on",
    },
    Bug {
        what: "what was done with a permit is not published",
        file: PERMITS,
        find: "self.0.fetch_add(available(permits), Ordering::Release)",
        replace: "self.0.fetch_add(available(permits), Ordering::Relaxed)",
        test: "permits",
        model: "one_at_a_time",
    },
    Bug {
        what: "who goes into the list does not say so",
        file: PERMITS,
        find: "Some(now.with(WAITING, true).with(FAIR,",
        replace: "Some(now.with(WAITING, false).with(FAIR,",
        test: "permits",
        model: "one_at_a_time",
    },
    Bug {
        what: "who was overtaken keeps its promise",
        file: PERMITS,
        find: "let back = Word(now.0 - promised(wanted)).with(WAITING, true);",
        replace: "let back = now.with(WAITING, true);",
        test: "permits",
        model: "who_is_overtaken_gets_in",
    },
    Bug {
        what: "a waiter that got another waker does not look again",
        file: EVENT,
        find: "            // If it was set meanwhile, nobody may have been woken.
            if !self.was_set() {",
        replace: "            if true {",
        test: "event",
        model: "the_last_one_to_poll_is_woken",
    },
    Bug {
        what: "who was woken by an event that was cleared waits again",
        file: EVENT,
        find: "self.event.load() & !SET != self.waiter.data().0.load(Ordering::Relaxed)",
        replace: "self.event.is_set()",
        test: "event",
        model: "who_waited_returns_though_it_is_cleared_at_once",
    },
    Bug {
        what: "what was before an event is not published",
        file: EVENT,
        find: "self.word.store(now, Ordering::Release);",
        replace: "self.word.store(now, Ordering::Relaxed);",
        test: "event",
        model: "what_was_before_is_seen",
    },
    Bug {
        what: "a receiver that waits does not look again",
        file: MPSC,
        find: "let found = inbox.exchange(empty);",
        replace: "let found = Found::Nothing;",
        test: "mpsc",
        model: "every_value_arrives_once_and_in_order_and_then_the_end",
    },
    Bug {
        what: "a value is put into a channel that is closed",
        file: MPSC,
        find: "            if inbox.closed {",
        replace: "            if inbox.closed && false {",
        test: "mpsc",
        model: "a_value_is_received_or_handed_back_when_the_channel_is_closed",
    },
    Bug {
        what: "the end of the last sender wakes nobody",
        file: MPSC,
        find: "if inbox.senders == 0 { inbox.receiver.take() }",
        replace: "if inbox.senders == 9 { inbox.receiver.take() }",
        test: "mpsc",
        model: "every_value_arrives_once_and_in_order_and_then_the_end",
    },
    Bug {
        what: "who was overtaken goes into the list after the end",
        file: ACQUIRE,
        find: "PROMISED if this.permits.is_closed() => {",
        replace: "PROMISED if this.permits.is_closed() && false => {",
        test: "permits",
        model: "the_end_reaches_who_was_overtaken",
    },
    Bug {
        what: "who takes the lock of the timers need not see what was done under it",
        file: SHORT_LOCK,
        find: "compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed)",
        replace: "compare_exchange(FREE, TAKEN, Ordering::Relaxed, Ordering::Relaxed)",
        test: "timer",
        model: "a_timer_is_handed_out_or_cancelled",
    },
    Bug {
        what: "who gives the lock of the timers back does not show what was done under it",
        file: SHORT_LOCK,
        find: "self.0.store(FREE, Ordering::Release)",
        replace: "self.0.store(FREE, Ordering::Relaxed)",
        test: "timer",
        model: "a_timer_is_handed_out_or_cancelled",
    },
    Bug {
        what: "who has waited for the lock of the timers goes on without it",
        file: SHORT_LOCK,
        find: "while !self.try_take() {",
        replace: "while false && !self.try_take() {",
        test: "timer",
        model: "two_who_look_hand_out_everything_once",
    },
    Bug {
        what: "a timer is not counted",
        file: TIMERS,
        find: "counted.holders += 1;",
        replace: "",
        test: "timer",
        model: "timers_outlive_their_runtime",
    },
    Bug {
        what: "the last timer does not free the wheel",
        file: TIMERS,
        find: "        self.hold.free_if(last);",
        replace: "        let _ = last;",
        test: "timer",
        model: "timers_outlive_their_runtime",
    },
    Bug {
        what: "a timer that has fired is taken for the one that came to its place",
        file: NODES,
        find: "(node.sequence == sequence).then_some(node)",
        replace: "Some(node)",
        test: "timer",
        model: "a_timer_is_handed_out_or_cancelled",
    },
    Bug {
        what: "a timer goes on with the waker of the poll before",
        file: WHEEL,
        find: "matches!(action, Action::Wake(known) if known.will_wake(waker))",
        replace: "matches!(action, Action::Wake(_))",
        test: "timer",
        model: "whoever_polled_last_is_woken",
    },
    Bug {
        what: "a place that was promised counts as free",
        file: QUEUE,
        find: "self.waiting() + self.granted.len() >= limit",
        replace: "self.waiting() >= limit",
        test: "queue",
        model: "two_who_wait_get_one_place_each",
    },
    Bug {
        what: "who goes away with a place keeps it",
        file: QUEUE,
        find: "        if self.take_grant(number) {\n            self.grant(leftovers);\n        } else if",
        replace: "        if self.take_grant(number) {\n        } else if",
        test: "queue",
        model: "a_place_that_nobody_takes_is_handed_on",
    },
    Bug {
        what: "a cancelled job's place is given to nobody",
        file: QUEUE,
        find: "        self.gone += 1;\n        self.grant(leftovers);",
        replace: "        self.gone += 1;",
        test: "queue",
        model: "whoever_waits_for_a_place_gets_one",
    },
    Bug {
        what: "a queue that is closed leaves who waits for a place alone",
        file: QUEUE,
        find: "        leftovers.woken.extend(self.for_place.drain(..).map(|(_, waker)| waker));\n",
        replace: "",
        test: "queue",
        model: "a_closed_queue_leaves_nobody_waiting",
    },
    Bug {
        what: "what is drained can still be cancelled",
        file: QUEUE,
        find: "entries.partition(Queued::start)",
        replace: "entries.partition(|entry| !entry.is_gone())",
        test: "queue",
        model: "a_shutdown_tells_who_waits_and_ends_each_job_once",
    },
    Bug {
        what: "who waits to be asked to end leaves the waker without another look",
        file: CELL,
        find: "        let mut inner = self.inner.lock();\n        let asked = self.is_asked();",
        replace: "        let mut inner = self.inner.lock();\n        let asked = false;",
        test: "promise",
        model: "a_running_job_that_is_asked_to_end_is_woken",
    },
    Bug {
        what: "a job is asked to end with a relaxed store",
        file: CELL,
        find: "self.asked_to_end.store(true, Ordering::Release)",
        replace: "self.asked_to_end.store(true, Ordering::Relaxed)",
        test: "promise",
        model: "who_heeds_sees_what_was_done_before",
    },
    Bug {
        what: "a job expires that has been started",
        file: CELL,
        find: "if inner.state != if started { State::Running } else { State::Pending } {",
        replace: "if started {",
        test: "promise",
        model: "a_job_is_started_or_expires",
    },
    Bug {
        what: "the door is closed after the roll was looked at, not while",
        file: ROLL,
        find: "        state.is_closed = true;",
        replace: "        drop(state);\n        self.state.lock().is_closed = true;",
        test: "roll",
        model: "who_comes_late_is_refused_or_waited_for",
    },
    Bug {
        what: "the last to leave the roll wakes nobody",
        file: ROLL,
        find: "        if is_last {",
        replace: "        if is_last && false {",
        test: "roll",
        model: "everybody_on_the_roll_is_waited_for",
    },
    Bug {
        what: "whoever leaves the roll takes everybody with him",
        file: ROLL,
        find: "        state.names.remove(&self.number);",
        replace: "        state.names.clear();",
        test: "roll",
        model: "so_are_those_that_they_start",
    },
    Bug {
        what: "a job need not be there when its slot is said to be filled",
        file: RING,
        find: "self.sent.0.store(sent, Ordering::Release);",
        replace: "self.sent.0.store(sent, Ordering::Relaxed);",
        test: "ring",
        model: "every_job_crosses_and_every_answer_comes_back_round_the_ring",
    },
    Bug {
        what: "an answer need not be there when its slot is said to be answered",
        file: RING,
        find: "self.answered.0.store(answered, Ordering::Release);",
        replace: "self.answered.0.store(answered, Ordering::Relaxed);",
        test: "ring",
        model: "every_job_crosses_and_every_answer_comes_back_round_the_ring",
    },
    Bug {
        what: "an answer is looked for without seeing it",
        file: RING,
        find: "self.answered.0.load(Ordering::Acquire)",
        replace: "self.answered.0.load(Ordering::Relaxed)",
        test: "ring",
        model: "every_job_crosses_and_every_answer_comes_back_round_the_ring",
    },
    Bug {
        what: "a job is looked for without seeing it",
        file: RING,
        find: "self.sent.0.load(Ordering::Acquire)",
        replace: "self.sent.0.load(Ordering::Relaxed)",
        test: "ring",
        model: "every_job_crosses_and_every_answer_comes_back_round_the_ring",
    },
    Bug {
        what: "the program sends without a fence",
        file: RING,
        find: "        // Rule 3, with the fence in `worker_may_sleep`.\n        fence(Ordering::SeqCst);",
        replace: "",
        test: "ring",
        model: "every_job_crosses_and_every_answer_comes_back_round_the_ring",
    },
    Bug {
        what: "the worker falls asleep without a fence",
        file: RING,
        find: "        // Rule 3, with the fence in `send`.\n        fence(Ordering::SeqCst);",
        replace: "",
        test: "ring",
        model: "every_job_crosses_and_every_answer_comes_back_round_the_ring",
    },
    Bug {
        what: "the worker falls asleep without looking again",
        file: RING,
        find: "        if self.sent() == answered {\n            return Some",
        replace: "        if self.sent() == answered || true {\n            return Some",
        test: "ring",
        model: "every_job_crosses_and_every_answer_comes_back_round_the_ring",
    },
    Bug {
        what: "the bell is armed without a fence",
        file: RING,
        find: "        // Rule 3, with the fence in `must_ring`.\n        fence(Ordering::SeqCst);",
        replace: "",
        test: "ring",
        model: "every_job_crosses_and_every_answer_comes_back_round_the_ring",
    },
    Bug {
        what: "the worker asks for the bell without a fence",
        file: RING,
        find: "        // Rule 3, with the fence in `arm`.\n        fence(Ordering::SeqCst);",
        replace: "",
        test: "ring",
        model: "every_job_crosses_and_every_answer_comes_back_round_the_ring",
    },
    Bug {
        what: "a revoked job is run all the same",
        file: RING,
        find: "        claimed.is_ok()",
        replace: "        claimed.is_ok() || true",
        test: "ring",
        model: "of_claim_and_revoke_one_succeeds",
    },
    Bug {
        what: "a job that was claimed is revoked",
        file: RING,
        find: "        revoked.is_ok()",
        replace: "        revoked.is_ok() || true",
        test: "ring",
        model: "of_claim_and_revoke_one_succeeds",
    },
    Bug {
        what: "room is used again while it is still read",
        file: RING,
        find: "self.taken.0.store(taken, Ordering::Release);",
        replace: "self.taken.0.store(taken, Ordering::Relaxed);",
        test: "ring",
        model: "room_for_results_is_used_again_when_every_answer_was_taken",
    },
    Bug {
        what: "room is used again without seeing that it was read",
        file: RING,
        find: "self.taken.0.load(Ordering::Acquire)",
        replace: "self.taken.0.load(Ordering::Relaxed)",
        test: "ring",
        model: "room_for_results_is_used_again_when_every_answer_was_taken",
    },
    Bug {
        what: "who polls a job again is woken by the waker of the poll before",
        file: CELL,
        find: "let previous = inner.waiter.replace(waker);",
        replace: "let previous = match inner.waiter {
            Some(_) => Some(waker),
            None => inner.waiter.replace(waker),
        };",
        test: "promise",
        model: "the_last_one_to_poll_is_woken",
    },
    Bug {
        what: "an outcome that nobody takes is not dropped",
        file: CELL,
        find: "drop_caught(\"a job's outcome\", self.outcome.take());",
        replace: "std::mem::forget(self.outcome.take());",
        test: "promise",
        model: "a_job_that_nobody_wants_drops_its_value_once",
    },
    Bug {
        what: "a promise that is dropped before its job was started tells nobody",
        file: PROMISE,
        find: "if self.cell.is_open() {",
        replace: "if self.cell.is_open() && !self.cell.is_pending() {",
        test: "promise",
        model: "a_promise_that_is_dropped_fails_its_job",
    },
    Bug {
        what: "who cancels gives the lock back between the look and the mark",
        file: CELL,
        find: "        inner.state = State::Settling;\n        inner.cancelled = true;",
        replace: "        drop(inner);
        let mut inner = self.inner.lock();
        inner.state = State::Settling;
        inner.cancelled = true;",
        test: "promise",
        model: "two_who_cancel_tell_the_owner_once",
    },
    Bug {
        what: "who waits to be asked to end does not look whether the job is over",
        file: CELL,
        find: "if asked || matches!(inner.state, State::Done | State::Lent) {",
        replace: "if asked {",
        test: "promise",
        model: "whoever_heeds_a_job_hears_of_its_end",
    },
    Bug {
        what: "a job ends between the look and the mark when its time is up",
        file: CELL,
        find: "        inner.state = State::Settling;\n        inner.failed = true;",
        replace: "        drop(inner);
        let mut inner = cell.inner.lock();
        inner.state = State::Settling;
        inner.failed = true;",
        test: "promise",
        model: "a_running_job_ends_or_expires",
    },
    Bug {
        what: "a callback comes after the last look for one and before the job is done",
        file: CELL,
        find: "        inner.outcome = Some(outcome);\n        inner.state = State::Done;",
        replace: "        drop(inner);
        let mut inner = self.inner.lock();
        inner.outcome = Some(outcome);
        inner.state = State::Done;",
        test: "promise",
        model: "callbacks_run_once_and_first",
    },
    Bug {
        what: "who watches jobs no more cancels them",
        file: SEVERAL,
        find: "            job.cell().forget_waiter();",
        replace: "            job.cell().cancel();",
        test: "promise",
        model: "a_job_that_is_watched_no_more_can_be_awaited",
    },
    Bug {
        what: "a job that is taken out before its end was noted is not counted",
        file: QUEUE,
        find: "            self.gone -= 1;\n            leftovers.gone.push(entry);",
        replace: "            self.gone = (self.gone - 1).max(0);\n            leftovers.gone.push(entry);",
        test: "queue",
        model: "a_job_is_taken_or_cancelled",
    },
    Bug {
        what: "who looks for an answer disarms the bell, and then sleeps",
        file: RING,
        find: "        self.answered.0.load(Ordering::Acquire)",
        replace: "        self.bell.0.swap(0, Ordering::Release);\n        self.answered.0.load(Ordering::Acquire)",
        test: "ring",
        model: "who_looks_need_not_be_rung_for_and_who_sleeps_after_all_is",
    },
    Bug {
        what: "a task that was asked to end while it completed is polled again",
        file: RUN,
        find: "        if ready {",
        replace: "        if ready && !header.state.has_new_request() {",
        test: "task",
        model: "a_request_to_cancel_a_new_task_comes_before_its_only_poll_or_after",
    },
    Bug {
        what: "a request during a poll does not queue the task again",
        file: STATE,
        find: "let next = now | NEW | SCHEDULED;",
        replace: "let next = if now & RUNNING != 0 { now | NEW } else { now | NEW | SCHEDULED };",
        test: "task",
        model: "a_request_to_cancel_a_waiting_task_ends_it",
    },
    Bug {
        what: "a handle takes its waker back to compare it, and does not offer it again",
        file: JOIN,
        find: "let offered = header.state.has_join_waker();",
        replace: "let offered = header.state.has_join_waker() && header.state.take_join_waker_back();",
        test: "task",
        model: "polling_a_handle_again_with_the_same_waker_loses_no_wake",
    },
    Bug {
        what: "a handle lets go with a store, over a wake that came meanwhile",
        file: STATE,
        find: "            && self
                .0
                .compare_exchange(
                    now,
                    (now & !JOIN_INTEREST) - REF,
                    Ordering::Release,
                    Ordering::Relaxed,
                )
                .is_ok()",
        replace: "            && {
                self.0.store((now & !JOIN_INTEREST) - REF, Ordering::Release);
                true
            }",
        test: "task",
        model: "the_last_wake_is_not_lost_when_the_handle_goes",
    },
    Bug {
        what: "a request queues a task without a reference",
        file: STATE,
        find: "let next = if submit { next + REF } else { next };",
        replace: "",
        test: "task",
        model: "shutdown_finds_a_task_that_is_losing_its_last_waker",
    },
    Bug {
        what: "a delivery that another change comes before is given up",
        file: SOURCE,
        find: "Err(current) => now = current,",
        replace: "Err(_) => return,",
        test: "source",
        model: "an_edge_that_two_threads_deliver_reaches_the_reader",
    },
    Bug {
        what: "an edge wakes one of those who wait for it",
        file: SOURCE,
        find: "into.append(&mut self.list);",
        replace: "into.extend(self.list.pop());",
        test: "source",
        model: "one_edge_wakes_both_of_two_readers",
    },
    Bug {
        what: "who clears one direction clears the other, too",
        file: SOURCE,
        find: "let next = seen.word & !direction.open().or(direction.closed()).0;",
        replace: "let next = seen.word & !BITS;",
        test: "source",
        model: "both_directions_share_the_word_and_lose_nothing",
    },
    Bug {
        what: "the end is cleared with the readiness that was there before it",
        file: SOURCE,
        find: "self.word.compare_exchange(seen.word, next, Ordering::AcqRel, Ordering::Relaxed);",
        replace: "self.word.fetch_and(!direction.open().or(direction.closed()).0, Ordering::AcqRel);",
        test: "source",
        model: "the_end_is_never_cleared",
    },
    Bug {
        what: "the end of a sender wakes nobody",
        file: ONESHOT,
        find: "        if let Some(other) = other {",
        replace: "        if outcome != Outcome::Ended && let Some(other) = other {",
        test: "oneshot",
        model: "the_end_of_the_sender_is_heard",
    },
    Bug {
        what: "a receiver goes without closing its channel",
        file: ONESHOT_RECEIVER,
        find: "        self.close();\n",
        replace: "",
        test: "oneshot",
        model: "the_end_of_the_receiver_is_heard",
    },
    Bug {
        what: "a receiver that goes leaves the value behind",
        file: ONESHOT_RECEIVER,
        find: "drop(outcome.and_then(|outcome| self.take(outcome)));",
        replace: "if outcome.is_some()
            && let Some(cell) = self.cell.take()
        {
            unsafe { Cell::leave(cell, Side::Receiver) };
        }",
        test: "oneshot",
        model: "a_value_that_nobody_receives_is_dropped_once_or_handed_back",
    },
    Bug {
        what: "a channel is settled that the other side has settled meanwhile",
        file: ONESHOT,
        find: "state.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed)",
        replace: "Ok::<_, usize>(state.fetch_or(next, Ordering::AcqRel))",
        test: "oneshot",
        model: "the_value_is_with_one_side_after_the_channel_was_closed",
    },
    Bug {
        what: "who settles a channel leaves its own waker behind",
        file: ONESHOT,
        find: "(take(side), take(side.other()))",
        replace: "(None::<Waker>, take(side.other()))",
        test: "oneshot",
        model: "both_sides_wait",
    },
    Bug {
        what: "permits that come to others wake nobody",
        file: PERMITS,
        find: "now.has(WAITING) && now.has_spare(1)",
        replace: "now.has(WAITING) && Word(before).available() == 0",
        test: "permits",
        model: "who_wants_several_is_not_forgotten",
    },
    Bug {
        what: "who waits for a permit keeps its first waker",
        file: ACQUIRE,
        find: "unsafe { queue.list.replace_waker(waiter, waker) }",
        replace: "Some(waker)",
        test: "permits",
        model: "the_last_one_to_poll_is_woken",
    },
    Bug {
        what: "the end reaches only the first of those who wait for permits",
        file: PERMITS_ROOM,
        find: "        loop {\n            let first = self.end_first(&mut self.queue.lock());",
        replace: "        for _ in 0..1 {\n            let first = self.end_first(&mut self.queue.lock());",
        test: "permits",
        model: "the_end_reaches_who_waits",
    },
    Bug {
        what: "an event wakes only the first of those who wait",
        file: EVENT,
        find: "for place in &mut wakers {",
        replace: "for place in &mut wakers[..1] {",
        test: "event",
        model: "whoever_waits_is_woken",
    },
    Bug {
        what: "a value that is received makes no room",
        file: MPSC_RECEIVER,
        find: "            room.release(1);",
        replace: "            let _ = room;",
        test: "mpsc",
        model: "a_full_channel_makes_the_sender_wait",
    },
    Bug {
        what: "the end of the receiver leaves those alone who wait for room",
        file: MPSC,
        find: "            room.close();",
        replace: "            let _ = room;",
        test: "mpsc",
        model: "the_end_of_the_receiver_drops_what_is_left_and_wakes_who_waits",
    },
];
