//! Jobs that somebody else cancels.

use serde_json::{Value, json};

use crate::client::Answer;
use crate::harness::{RUNNING, Service, WAITING, eventually};
use crate::pictures::{assert_thumbnail, jpeg};

const CANCELLED: &str = "loopool_pool_jobs_total{pool=\"processes\",outcome=\"cancelled\"}";

/// The jobs that are listed.
fn jobs(service: &Service) -> Vec<Value> {
    service.get("/jobs").json().as_array().unwrap().clone()
}

fn cancel(service: &Service, job: &Value) -> Answer {
    service.connect().ask("DELETE", &format!("/jobs/{}", job["id"]), &[], b"")
}

#[test]
fn a_running_job_is_cancelled_and_its_client_told() {
    let service = Service::start(&["--faults", "--processes=1", "--job-timeout=600"]);
    assert!(jobs(&service).is_empty());
    let mut hanging = service.connect();
    hanging.send("POST", "/faults/hang", &[], b"");
    service.wait_for_metric(RUNNING, 1.0);
    let mut waiting = service.connect();
    waiting.send("POST", "/thumbnails?width=20", &[], &jpeg(40, 40));
    service.wait_for_metric(WAITING, 1.0);

    let listed = jobs(&service);
    let view = |job: &Value| (job["name"].clone(), job["pool"].clone(), job["running"].clone());
    assert_eq!(
        listed.iter().map(view).collect::<Vec<_>>(),
        [
            (json!("hang"), json!("processes"), json!(true)),
            (json!("thumbnail"), json!("processes"), json!(false)),
        ]
    );

    let answer = cancel(&service, &listed[0]);
    assert_eq!((answer.status, &answer.json()["cancelled"]), (200, &json!(true)));
    let answer = hanging.answer();
    assert_eq!((answer.status, &answer.json()["cause"]), (503, &json!("cancelled")));
    // The only worker was killed, and the one that waits has another.
    assert_thumbnail(&waiting.answer(), 20, 20);
    service.wait_for_metric(CANCELLED, 1.0);
    assert_eq!(service.metric("service_job_failures_total{cause=\"cancelled\"}"), 1.0);
    eventually("no job to be listed", || jobs(&service).is_empty());
    assert_eq!(cancel(&service, &listed[0]).status, 404, "it is over");
    assert!(service.get("/crashes").json().as_array().unwrap().is_empty(), "that is no crash");
}

#[test]
fn a_job_that_waits_is_cancelled_and_the_one_before_it_goes_on() {
    let service = Service::start(&["--faults", "--processes=1", "--job-timeout=600"]);
    let mut hanging = service.connect();
    hanging.send("POST", "/faults/hang", &[], b"");
    service.wait_for_metric(RUNNING, 1.0);
    let mut waiting = service.connect();
    waiting.send("POST", "/thumbnails", &[], &jpeg(40, 40));
    service.wait_for_metric(WAITING, 1.0);

    let listed = jobs(&service);
    assert_eq!(cancel(&service, &listed[1]).status, 200);
    assert_eq!(waiting.answer().json()["cause"], "cancelled");
    let left = jobs(&service);
    assert_eq!((left.len(), &left[0]["id"]), (1, &listed[0]["id"]));
    assert_eq!(service.metric(RUNNING), 1.0);
}

#[test]
fn a_client_that_hangs_up_leaves_no_job_in_the_list() {
    let service = Service::start(&["--faults", "--processes=1", "--job-timeout=600"]);
    let mut hanging = service.connect();
    hanging.send("POST", "/faults/hang", &[], b"");
    eventually("the job to be listed", || jobs(&service).len() == 1);
    drop(hanging);
    eventually("the job to be gone", || jobs(&service).is_empty());
    service.wait_for_metric(CANCELLED, 1.0);
}

#[test]
fn jobs_of_others_are_cancelled_only_where_faults_are_on() {
    let service = Service::start(&[]);
    assert!(jobs(&service).is_empty());
    assert_eq!(service.connect().ask("DELETE", "/jobs/1", &[], b"").status, 404);
    let service = Service::start(&["--faults"]);
    for id in ["1", "", "-1", "first", "18446744073709551616"] {
        let answer = service.connect().ask("DELETE", &format!("/jobs/{id}"), &[], b"");
        assert_eq!(answer.status, 404, "{id}");
    }
}
