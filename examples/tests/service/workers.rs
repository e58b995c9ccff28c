//! The live table of workers, what holds them in, and the reports of those that crashed.

use serde_json::{Value, json};

use crate::harness::{RUNNING, Service, eventually, has_sandboxes};
use crate::pictures::{assert_thumbnail, jpeg};

/// What is told of a pool.
fn pool(service: &Service, name: &str) -> Value {
    let pools = service.get("/pools").json();
    let found = pools.as_array().unwrap().iter().find(|pool| pool["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {pools}")).clone()
}

#[test]
fn each_pool_tells_its_profile_and_what_is_enforced() {
    let service = Service::start(&["--worker-memory=512", "--cpu-limit=1.5", "--job-timeout=20"]);
    let loose = pool(&service, "processes")["profile"].clone();
    assert_eq!((&loose["sandbox"], &loose["kills_on_denial"]), (&json!("pure"), &json!(false)));
    assert_eq!((&loose["memory_limit"], &loose["rss_limit"]), (&json!(512 << 20), &Value::Null));
    assert_eq!((&loose["cpu_limit"], &loose["job_timeout"]), (&Value::Null, &json!(20.0)));
    let strict = pool(&service, "strict")["profile"].clone();
    assert_eq!((&strict["sandbox"], &strict["kills_on_denial"]), (&json!("pure"), &json!(true)));
    assert_eq!((&strict["memory_limit"], &strict["rss_limit"]), (&Value::Null, &json!(128 << 20)));
    assert_eq!((&strict["cpu_limit"], &strict["job_timeout"]), (&json!(1.5), &json!(20.0)));

    for (name, limit) in [("processes", "memory_limit"), ("strict", "rss_limit")] {
        assert!(pool(&service, name)["enforced"].is_null(), "nobody has told yet");
        let path = format!("/thumbnails?executor={name}");
        assert_thumbnail(&service.post(&path, &jpeg(40, 40)), 40, 40);
        let told = pool(&service, name);
        let enforced = &told["enforced"];
        assert!(!enforced[limit].is_null(), "{told}");
        assert_eq!(enforced["no_new_privs"], true, "{told}");
        let missing = enforced["missing"].as_array().unwrap();
        if has_sandboxes() {
            assert!(missing.is_empty() && enforced["seccomp"] == true, "{told}");
        }
        let unenforced = format!("loopool_pool_unenforced_limits{{pool=\"{name}\"}}");
        assert_eq!(service.metric(&unenforced), missing.len() as f64);
    }
}

#[test]
fn a_sandbox_that_is_required_is_all_there() {
    if !has_sandboxes() {
        return;
    }
    let service = Service::start(&["--require-sandbox"]);
    for name in ["processes", "strict"] {
        let path = format!("/thumbnails?executor={name}");
        assert_thumbnail(&service.post(&path, &jpeg(40, 40)), 40, 40);
        let told = pool(&service, name);
        assert_eq!(told["profile"]["is_required"], true);
        assert_eq!(told["enforced"]["missing"], json!([]));
    }
}

#[test]
fn the_table_has_a_line_for_each_worker() {
    let service = Service::start(&["--faults", "--processes=1", "--job-timeout=600"]);
    assert_eq!(pool(&service, "processes")["snapshot"]["workers"], json!([]));
    assert_thumbnail(&service.post("/thumbnails", &jpeg(40, 40)), 40, 40);
    let mut hanging = service.connect();
    hanging.send("POST", "/faults/hang", &[], b"");
    service.wait_for_metric(RUNNING, 1.0);
    let mut snapshot = Value::Null;
    eventually("the table to show the job", || {
        snapshot = pool(&service, "processes")["snapshot"].clone();
        snapshot["workers"][0]["job"]["name"] == "hang"
    });
    let workers = snapshot["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 1, "{snapshot}");
    let worker = &workers[0];
    assert_eq!((&worker["phase"], &worker["job"]["attempt"]), (&json!("Busy"), &json!(1)));
    assert!(worker["resident_memory"].as_u64().unwrap() > 100_000, "{worker}");
    let pids: Vec<i64> = service.processes().iter().map(|it| i64::from(it.pid)).collect();
    for pid in [&worker["pid"], &snapshot["fork_server"]] {
        assert!(pids.contains(&pid.as_i64().unwrap()), "{pid} is none of {pids:?}");
    }
    // The page is told the same.
    let mut events = service.connect();
    events.send("GET", "/events", &[], b"");
    events.head().unwrap();
    let chunk = String::from_utf8(events.chunk().unwrap().unwrap()).unwrap();
    let (_, data) = chunk.split_once("data: ").unwrap();
    let event: Value = serde_json::from_str(data.trim_end()).unwrap();
    assert_eq!(event["workers"][0]["snapshot"]["workers"][0]["pid"], worker["pid"]);
    assert_eq!(event["workers"][1]["name"], "strict");
    assert_eq!((&event["jobs"][0]["name"], &event["crashes"]), (&json!("hang"), &json!(0)));
}

#[test]
fn the_last_crash_reports_are_kept() {
    /// As many as are kept.
    const KEPT: u64 = 16;
    let service = Service::start(&["--faults", "--processes=2"]);
    assert_eq!(service.get("/crashes").json(), json!([]));
    for _ in 1..KEPT {
        assert_eq!(service.post("/faults/abort", b"").status, 500);
    }
    assert_eq!(service.post("/faults/stack-overflow?executor=strict", b"").status, 500);
    assert_eq!(service.post("/faults/exit", b"").status, 500);
    // These cost no worker, or are none.
    assert_eq!(service.post("/faults/panic", b"").status, 500);
    assert_thumbnail(&service.post("/thumbnails", &jpeg(40, 40)), 40, 40);

    let told = service.get("/crashes").json();
    let crashes = told.as_array().unwrap();
    let numbers: Vec<_> = crashes.iter().map(|crash| crash["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (2..=KEPT + 1).rev().collect::<Vec<_>>());
    let [exit, overflow, abort, ..] = crashes.as_slice() else { panic!("{told}") };
    let view = |crash: &Value| ["cause", "job", "pool"].map(|field| crash[field].clone());
    assert_eq!(view(exit), ["exit", "exit", "processes"]);
    assert_eq!(exit["report"]["exit_code"], 3);
    assert_eq!(view(overflow), ["stack-overflow", "stack-overflow", "strict"]);
    assert_eq!(overflow["report"]["signal"], libc::SIGSEGV);
    assert_eq!(view(abort), ["abort", "abort", "processes"]);
    let report = &abort["report"];
    assert_eq!((&report["signal"], &report["attempt"]), (&json!(libc::SIGABRT), &json!(1)));
    assert!(report["peak_memory"].as_u64().unwrap() > 0, "{report}");
    assert!(abort["sentence"].as_str().unwrap().contains("aborted"), "{abort}");
    for (pool, cause, count) in
        [("processes", "Abort", 15.0), ("processes", "Exit", 1.0), ("strict", "StackOverflow", 1.0)]
    {
        let counted = format!("loopool_pool_crashes_total{{pool=\"{pool}\",cause=\"{cause}\"}}");
        service.wait_for_metric(&counted, count);
    }
}
