use loopool_executors::*;
use std::time::Duration;
fn add_one(n: u32) -> u32 {
    n + 1
}
fn main() {
    for round in 0..300 {
        let pool = ProcessPoolExecutor::new(2).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let pool = &pool;
                scope.spawn(move || {
                    let jobs: Vec<_> = (0..200)
                        .map(|n| pool.submit(call(add_one, thread * 1000 + n)).unwrap())
                        .collect();
                    for mut job in jobs {
                        if let Err(e) = job.result(Duration::from_secs(3)) {
                            println!("round {round} {e} {:?}\n{}", pool.stats(), pool.debug_dump());
                            for pid in pool.worker_pids() {
                                let r = |f: &str| {
                                    std::fs::read_to_string(format!("/proc/{pid}/{f}"))
                                        .unwrap_or_default()
                                };
                                println!("{pid} {} {}", r("wchan"), r("syscall"));
                            }
                            std::process::exit(1);
                        }
                    }
                });
            }
        });
    }
    println!("fine");
}
