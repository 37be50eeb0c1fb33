//! Prints events (for development).
use drainwatch::kernel::{Kernel, KernelOptions};
#[tokio::main(flavor = "current_thread")]
async fn main() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .init();
    let mut k = Kernel::start(&KernelOptions::default()).unwrap();
    for p in k.probes() {
        println!("{p:?}");
    }
    loop {
        for e in k.next_events(None).await {
            println!("{}", serde_json::to_string(&e).unwrap());
        }
        println!("{:?}", k.losses());
    }
}
