//! Switches the included source files to loom's atomics, cells and locks: in this package only, so
//! that nothing else has to be built again.

fn main() {
    println!("cargo::rustc-cfg=loopool_loom");
    println!("cargo::rustc-check-cfg=cfg(loopool_loom)");
    println!("cargo::rerun-if-changed=build.rs");
}
