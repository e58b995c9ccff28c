use loopool_executors::*;
use std::time::{Duration, Instant};
fn add_one(n: u32) -> u32 {
    n + 1
}
fn same(b: Blob) -> Blob {
    b
}
fn sum(b: Blob) -> u64 {
    b.iter().step_by(64).map(|x| *x as u64).sum()
}
fn pct(v: &mut Vec<f64>, p: f64) -> f64 {
    v.sort_by(f64::total_cmp);
    v[((v.len() - 1) as f64 * p) as usize]
}
fn cpu() -> f64 {
    let mut t = unsafe { std::mem::zeroed::<libc::rusage>() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut t) };
    t.ru_utime.tv_sec as f64 * 1e6
        + t.ru_utime.tv_usec as f64
        + t.ru_stime.tv_sec as f64 * 1e6
        + t.ru_stime.tv_usec as f64
}
fn main() {
    let pool = ProcessPoolExecutor::new(2).unwrap();
    for _ in 0..2 {
        let _ = pool.submit(call(add_one, 1)).unwrap().result(None);
    }
    for round in 0..3 {
        let mut v = vec![];
        for n in 0..20000 {
            let t = Instant::now();
            pool.submit(call(add_one, n)).unwrap().result(None).unwrap();
            v.push(t.elapsed().as_nanos() as f64 / 1e3);
        }
        println!("{round} warm rtt p50 {:.2} p99 {:.2}", pct(&mut v, 0.5), pct(&mut v, 0.99));
        let mut v = vec![];
        for n in 0..200 {
            std::thread::sleep(Duration::from_millis(2));
            let t = Instant::now();
            pool.submit(call(add_one, n)).unwrap().result(None).unwrap();
            v.push(t.elapsed().as_nanos() as f64 / 1e3);
        }
        println!("{round} cold rtt p50 {:.2} p99 {:.2}", pct(&mut v, 0.5), pct(&mut v, 0.99));
        let t = Instant::now();
        let c = cpu();
        let total = 300000u32;
        let mut q = std::collections::VecDeque::new();
        for n in 0..total {
            if q.len() == 10000 {
                let mut j: Job<u32> = q.pop_front().unwrap();
                j.result(None).unwrap();
            }
            q.push_back(pool.submit(call(add_one, n)).unwrap());
        }
        for mut j in q {
            j.result(None).unwrap();
        }
        println!(
            "{round} tput {:.0}/s  parent cpu {:.2} us/job",
            total as f64 / t.elapsed().as_secs_f64(),
            (cpu() - c) / total as f64
        );
        for (name, len, times) in [("1MiB", 1usize << 20, 200), ("64MiB", 64 << 20, 5)] {
            let blob = Blob::from(vec![7u8; len]);
            let mut v = vec![];
            for _ in 0..times {
                let t = Instant::now();
                let b = pool.submit(call(same, blob.clone())).unwrap().result(None).unwrap();
                v.push(t.elapsed().as_nanos() as f64 / 1e3);
                assert_eq!(b.len(), len);
            }
            println!(
                "{round} {name} there and back p50 {:.0} min {:.0}",
                pct(&mut v, 0.5),
                pct(&mut v, 0.0)
            );
            let mut v = vec![];
            for _ in 0..times {
                let t = Instant::now();
                pool.submit(call(sum, blob.clone())).unwrap().result(None).unwrap();
                v.push(t.elapsed().as_nanos() as f64 / 1e3);
            }
            println!(
                "{round} {name} there p50 {:.0} min {:.0}",
                pct(&mut v, 0.5),
                pct(&mut v, 0.0)
            );
        }
    }
}
